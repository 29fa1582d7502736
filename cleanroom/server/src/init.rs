//! Making a home: all of it or nothing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use audits::{Entry, Kind, Log};
use ids::{Entropy, PartyId, SystemClock, SystemEntropy};
use policy::Bundle;
use vault::{Catalogue, Vault};

use crate::app::log_config;
use crate::config::Config;
use crate::failure::Failure;
use crate::home::{Home, copy_folder, private_folder};
use crate::keys;
use crate::refusals::broken;

/// Makes a home from the text of a catalogue and the folder of a bundle. It is built beside its place and moved there
/// at the end, so that a crash leaves no half-made home.
///
/// # Errors
///
/// A place that is taken, a catalogue or bundle that is refused, a party that the agreement does not know.
pub fn init(home: &Home, catalogue: &str, bundle: &Path, party: PartyId) -> Result<(), Failure> {
    home.must_be_free()?;
    let catalogue = Catalogue::parse(catalogue).map_err(|why| {
        broken(why.code(), "cannot use the catalogue", &why)
            .way_out("correct the catalogue; nothing was changed")
    })?;
    let building = Home::at(home.root().with_file_name(format!(
        ".{}.{}.partial",
        home.root().file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    )));
    let made = build(&building, catalogue, bundle, party).and_then(|()| {
        fs::rename(building.root(), home.root()).map_err(|why| {
            Failure::failed("home_move", "cannot move the home to its place", why).at(home.root().display())
        })
    });
    if made.is_err() {
        // Whatever was built so far is worthless; the failure that is reported is the one that counts.
        let _ = fs::remove_dir_all(building.root());
    }
    made
}

fn build(home: &Home, catalogue: Catalogue, bundle: &Path, party: PartyId) -> Result<(), Failure> {
    let agreement = Bundle::load(bundle).map_err(|why| {
        broken(why.code(), "cannot load the agreement", &why)
            .at(bundle.display())
            .way_out("correct the bundle and write its lock again; nothing was changed")
    })?;
    if !agreement.parties().contains_key(&party) {
        let known: Vec<&str> = agreement.parties().keys().map(PartyId::as_str).collect();
        return Err(Failure::usage(
            "party_unknown",
            "the agreement does not know the party",
            format!("`{party}` is not in it"),
        )
        .way_out(format!("one of: {}", known.join(", "))));
    }
    let config = Config::fresh(catalogue.dataset(), party)?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    private_folder(home.root())?;
    private_folder(&home.ledger())?;
    copy_folder(bundle, &home.policy())?;
    keys::make_all(home, &*entropy)?;
    fs::write(home.config(), config.to_toml()?).map_err(|why| {
        Failure::failed("config_write", "cannot write the configuration", why).at(home.config().display())
    })?;
    let root = keys::root_key(home)?;
    let ports = vault::Ports::system().with_head(&home.vault_head());
    Vault::create(&home.vault(), catalogue, &root, ports)
        .map_err(|why| broken(why.code(), "cannot make the vault", &why))?;
    let (log_key, body_key) = keys::log_keys(home)?;
    let log = Log::create(log_config(home, &config), log_key, body_key, Arc::new(SystemClock), entropy)
        .map_err(|why| broken("log_refused", "cannot make the audit log", &why))?;
    fs::write(home.log_vkey(), format!("{}\n", log.verifier_key()))
        .map_err(|why| Failure::failed("vkey_write", "cannot write the log's public key", why))?;
    let entry = Entry { bundle: Some(agreement.digest()), ..Entry::new(Kind::PolicyActivated) };
    log.append(entry, None)
        .map(drop)
        .map_err(|why| broken("log_failed", "cannot write the log's first entry", &why))
}
