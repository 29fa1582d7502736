//! Bitmaps and terms of an audience, sealed at rest: positions mean nothing outside the vault, but they are somebody's.

use std::collections::BTreeMap;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use ids::{AudienceId, Entropy, EntropyFailed, Timestamp};
use roaring::RoaringBitmap;
use zeroize::Zeroizing;

use crate::audience::{Audience, Terms};
use crate::keys::Secrets;

const NONCE_BYTES: usize = 12;
/// Version of the sealed form.
const VERSION: u8 = 1;

/// A sealed piece does not open: another key, another audience, another version of it, or a flipped bit.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("the sealed members of the audience `{audience}` do not open: the key or the file is another one")]
pub struct SealBroken {
    audience: AudienceId,
}

pub(super) struct Seal(Aes256Gcm);

impl Seal {
    pub(super) fn new(secrets: &Secrets) -> Self {
        Self(Aes256Gcm::new((&*secrets.sealing()).into()))
    }

    /// Seals basis, owed members and terms to one audience and one version of it.
    pub(super) fn close(
        &self,
        audience: &Audience,
        version: u64,
        entropy: &dyn Entropy,
    ) -> Result<Result<Vec<u8>, SealBroken>, EntropyFailed> {
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce)?;
        let broken = || SealBroken { audience: audience.id.clone() };
        let Some(plain) = written(audience) else { return Ok(Err(broken())) };
        let place = place(&audience.id, version);
        let sealed = self.0.encrypt(&Nonce::from(nonce), Payload { msg: &plain, aad: &place });
        Ok(sealed.map(|sealed| [nonce.as_slice(), &sealed].concat()).map_err(|_| broken()))
    }

    pub(super) fn open(
        &self,
        audience: &AudienceId,
        version: u64,
        sealed: &[u8],
    ) -> Result<Opened, SealBroken> {
        let broken = || SealBroken { audience: audience.clone() };
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or_else(broken)?;
        let place = place(audience, version);
        let plain = self.0.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: &place });
        let plain = Zeroizing::new(plain.map_err(|_| broken())?);
        read(&plain).ok_or_else(broken)
    }
}

fn place(audience: &AudienceId, version: u64) -> Vec<u8> {
    [b"cleanroom/audience|", audience.as_str().as_bytes(), b"|", &version.to_be_bytes()].concat()
}

/// What was sealed.
pub(super) struct Opened {
    pub(super) basis: RoaringBitmap,
    pub(super) owed: RoaringBitmap,
    pub(super) terms: Terms,
}

fn written(audience: &Audience) -> Option<Zeroizing<Vec<u8>>> {
    let mut plain = Zeroizing::new(vec![VERSION]);
    audience.basis.serialize_into(&mut *plain).ok()?;
    audience.owed.serialize_into(&mut *plain).ok()?;
    for (end, units) in audience.terms.ends() {
        plain.extend(end.as_millis().to_be_bytes());
        units.serialize_into(&mut *plain).ok()?;
    }
    Some(plain)
}

fn read(plain: &[u8]) -> Option<Opened> {
    let (&VERSION, mut rest) = plain.split_first()? else { return None };
    let basis = RoaringBitmap::deserialize_from(&mut rest).ok()?;
    let owed = RoaringBitmap::deserialize_from(&mut rest).ok()?;
    let mut ends = BTreeMap::new();
    while !rest.is_empty() {
        let (end, mut after) = rest.split_first_chunk::<8>()?;
        let units = RoaringBitmap::deserialize_from(&mut after).ok()?;
        ends.insert(Timestamp::from_millis(i64::from_be_bytes(*end)), units);
        rest = after;
    }
    Some(Opened { basis, owed, terms: Terms::from_map(ends) })
}
