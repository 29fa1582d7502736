//! The keys of a home: made once, readable by their owner only, wiped from memory after use.

use audits::{BodyKey, LogKey};
use identity::{LocalIssuer, Principal};
use ids::{Clock, Entropy};
use vault::RootKey;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::failure::Failure;
use crate::home::{Home, private_folder, read_secret, write_secret};
use crate::refusals::broken;

/// Makes all keys of a fresh home.
///
/// # Errors
///
/// No randomness, or a file that exists already.
pub(crate) fn make_all(home: &Home, entropy: &dyn Entropy) -> Result<(), Failure> {
    private_folder(&home.keys())?;
    let no_entropy = |why: ids::EntropyFailed| broken("entropy", "cannot make a key", &why);
    let root =
        RootKey::generate(entropy).map_err(|why| broken(why.code(), "cannot make the root key", &why))?;
    root.write_new(&home.root_key()).map_err(|why| broken(why.code(), "cannot write the root key", &why))?;
    write_secret(&home.log_key(), LogKey::generate(entropy).map_err(no_entropy)?.to_bytes().as_slice())?;
    write_secret(&home.body_key(), BodyKey::generate(entropy).map_err(no_entropy)?.to_bytes().as_slice())?;
    let issuer = LocalIssuer::generate(entropy)
        .map_err(|why| broken(why.code(), "cannot make the token key", &why))?;
    write_secret(&home.token_key(), &issuer.to_pkcs8())
}

/// The root key, from its file.
///
/// # Errors
///
/// A missing or malformed file, or one that others may read.
pub(crate) fn root_key(home: &Home) -> Result<RootKey, Failure> {
    drop(read_secret(&home.root_key())?);
    RootKey::from_file(&home.root_key())
        .map_err(|why| broken(why.code(), "cannot use the root key", &why).at(home.root_key().display()))
}

/// The log's signing key and the key of its bodies.
///
/// # Errors
///
/// A missing file, one that others may read, or not 32 bytes.
pub(crate) fn log_keys(home: &Home) -> Result<(LogKey, BodyKey), Failure> {
    let seed = |path: std::path::PathBuf| -> Result<Zeroizing<[u8; 32]>, Failure> {
        let bytes = read_secret(&path)?;
        <[u8; 32]>::try_from(bytes.as_slice()).map(Zeroizing::new).map_err(|_| {
            Failure::failed("key_refused", "cannot use a key", "it is not 32 bytes").at(path.display())
        })
    };
    Ok((LogKey::from_bytes(*seed(home.log_key())?), BodyKey::from_bytes(*seed(home.body_key())?)))
}

/// A token, within the configured life.
///
/// # Errors
///
/// A life longer than `tokens.lifetime_seconds_max`.
pub(crate) fn issue(
    issuer: &LocalIssuer,
    config: &Config,
    principal: &Principal,
    lifetime_seconds: u32,
    clock: &dyn Clock,
) -> Result<String, Failure> {
    let longest = config.tokens.lifetime_seconds_max;
    if lifetime_seconds > longest {
        let why = format!("{lifetime_seconds} seconds asked, {longest} allowed");
        return Err(Failure::usage("token_lifetime", "the token would live too long", why)
            .way_out("ask for a shorter life, or raise `tokens.lifetime_seconds_max`"));
    }
    issuer
        .issue(principal, u64::from(lifetime_seconds), clock)
        .map_err(|why| broken(why.code(), "cannot make the token", &why))
}
