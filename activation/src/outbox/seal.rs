//! What the outbox keeps of members is sealed: AES-256-GCM under one key per destination, bound to the batch.

use std::fmt;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use ids::{DestinationId, Entropy, EntropyFailed, UnitIx};
use ring::{hkdf, hmac};
use roaring::RoaringBitmap;
use zeroize::Zeroizing;

use crate::batch::{BatchId, Members};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// Separates these keys from all others of the house.
const SALT: &[u8] = b"cleanroom/activation/outbox/v1";

/// The root of all keys of an outbox. Its nonces are random, so each destination's key seals at most 2³² pieces
/// (NIST SP 800-38D).
pub struct OutboxKey(Zeroizing<[u8; KEY_BYTES]>);

impl OutboxKey {
    /// A new key.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyFailed> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(key.as_mut())?;
        Ok(Self(key))
    }

    /// From 32 bytes of key.
    pub fn from_bytes(key: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// The key `what` of one destination (HKDF-SHA256, RFC 5869).
    pub(crate) fn derive(
        &self,
        destination: &str,
        what: &[u8],
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealFailed> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(self.0.as_ref());
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let info = [what, b"|", destination.as_bytes()];
        let expanded = root.expand(&info, hkdf::HKDF_SHA256).map_err(|_| SealFailed::Cipher)?;
        expanded.fill(key.as_mut()).map_err(|_| SealFailed::Cipher)?;
        Ok(key)
    }
}

impl fmt::Debug for OutboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutboxKey(redacted)")
    }
}

/// Something could not be sealed or opened. Deliberately no more than that.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SealFailed {
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyFailed),
    /// It could not be sealed.
    #[error("a batch could not be sealed")]
    Cipher,
    /// Another key, another place, or changed bytes.
    #[error("a sealed part of batch {batch} does not open: it is another key, or the store was changed")]
    Open {
        /// The batch.
        batch: BatchId,
    },
}

/// What a sealed piece is. Part of what it is bound to, so that pieces cannot be swapped.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Piece {
    Units,
    Members,
    Rejected,
}

impl Piece {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Units => b"units",
            Self::Members => b"members",
            Self::Rejected => b"rejected",
        }
    }
}

/// The keys of one destination.
pub(crate) struct Sealer {
    seal: Zeroizing<[u8; KEY_BYTES]>,
    content: Zeroizing<[u8; KEY_BYTES]>,
}

impl Sealer {
    pub(crate) fn of(key: &OutboxKey, destination: &DestinationId) -> Result<Self, SealFailed> {
        let of = |what| key.derive(destination.as_str(), what);
        Ok(Self { seal: of(b"seal")?, content: of(b"content")? })
    }

    /// A keyed digest of the tokens: equal for equal content, and no use for confirming a guess.
    pub(crate) fn content(&self, members: &Members) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, self.content.as_ref()));
        for (unit, token) in members.iter() {
            context.update(&unit.0.to_be_bytes());
            context.update(&(token.len() as u64).to_be_bytes());
            context.update(token.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    pub(crate) fn seal(
        &self,
        piece: Piece,
        batch: &BatchId,
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealFailed> {
        seal(&self.seal, &place(piece.label(), batch.digest().as_bytes()), plain, entropy)
    }

    pub(crate) fn open(
        &self,
        piece: Piece,
        batch: &BatchId,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealFailed> {
        let opened = open(&self.seal, &place(piece.label(), batch.digest().as_bytes()), sealed);
        opened.ok_or(SealFailed::Open { batch: *batch })
    }

    pub(crate) fn seal_units(
        &self,
        piece: Piece,
        batch: &BatchId,
        units: &RoaringBitmap,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealFailed> {
        let mut plain = Zeroizing::new(Vec::with_capacity(units.serialized_size()));
        units.serialize_into(&mut *plain).map_err(|_| SealFailed::Cipher)?;
        self.seal(piece, batch, &plain, entropy)
    }

    pub(crate) fn open_units(
        &self,
        piece: Piece,
        batch: &BatchId,
        sealed: &[u8],
    ) -> Result<RoaringBitmap, SealFailed> {
        let plain = self.open(piece, batch, sealed)?;
        RoaringBitmap::deserialize_from(plain.as_slice()).map_err(|_| SealFailed::Open { batch: *batch })
    }

    pub(crate) fn seal_members(
        &self,
        batch: &BatchId,
        members: &Members,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealFailed> {
        let mut plain = Zeroizing::new(Vec::with_capacity(members.len().saturating_mul(64)));
        for (unit, token) in members.iter() {
            plain.extend_from_slice(&unit.0.to_be_bytes());
            plain.push(u8::try_from(token.len()).map_err(|_| SealFailed::Cipher)?);
            plain.extend_from_slice(token.as_bytes());
        }
        self.seal(Piece::Members, batch, &plain, entropy)
    }

    pub(crate) fn open_members(&self, batch: &BatchId, sealed: &[u8]) -> Result<Members, SealFailed> {
        let plain = self.open(Piece::Members, batch, sealed)?;
        read_members(&plain).ok_or(SealFailed::Open { batch: *batch })
    }
}

fn read_members(mut rest: &[u8]) -> Option<Members> {
    let mut members = Members::with_capacity(rest.len() / 48);
    while !rest.is_empty() {
        let (unit, after) = rest.split_first_chunk::<4>()?;
        let (length, after) = after.split_first()?;
        let (token, after) = after.split_at_checked(usize::from(*length))?;
        members.push(UnitIx(u32::from_be_bytes(*unit)), std::str::from_utf8(token).ok()?).ok()?;
        rest = after;
    }
    Some(members)
}

/// Associated data: what it is, and whose.
pub(crate) fn place(what: &[u8], whose: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 3] = [SALT, what, whose];
    let with_length = |part: &&[u8]| (part.len() as u64).to_be_bytes().into_iter().chain(part.to_vec());
    parts.iter().flat_map(with_length).collect()
}

/// Nonce and ciphertext.
pub(crate) fn seal(
    key: &[u8; KEY_BYTES],
    aad: &[u8],
    msg: &[u8],
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, SealFailed> {
    let mut nonce = [0; NONCE_BYTES];
    entropy.fill(&mut nonce)?;
    let cipher = Aes256Gcm::new_from_slice(key).map_err(|_| SealFailed::Cipher)?;
    let sealed = cipher.encrypt(&nonce.into(), Payload { msg, aad }).map_err(|_| SealFailed::Cipher)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

pub(crate) fn open(key: &[u8; KEY_BYTES], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, msg) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let cipher = Aes256Gcm::new_from_slice(key).ok()?;
    cipher.decrypt(&(*nonce).into(), Payload { msg, aad }).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use ids::{Digest, SystemEntropy};

    use super::*;

    fn batch(n: u8) -> BatchId {
        BatchId::from_digest(Digest::of(&[n]))
    }

    fn members() -> Members {
        let mut members = Members::default();
        members.push(UnitIx(7), "tok-seven").unwrap();
        members.push(UnitIx(3), "tok-three").unwrap();
        members
    }

    #[test]
    fn a_piece_opens_only_as_what_it_is_for_its_batch_and_destination() {
        let (key, entropy) = (OutboxKey::from_bytes([1; 32]), SystemEntropy::new());
        let gate = Sealer::of(&key, &"gate".parse().unwrap()).unwrap();
        let other = Sealer::of(&key, &"other".parse().unwrap()).unwrap();
        let sealed = gate.seal_members(&batch(1), &members(), &entropy).unwrap();
        assert!(!sealed.windows(9).any(|window| window == b"tok-seven"));
        let opened = gate.open_members(&batch(1), &sealed).unwrap();
        assert!(opened.iter().eq(members().iter()));
        assert!(gate.open_members(&batch(2), &sealed).is_err());
        assert!(other.open_members(&batch(1), &sealed).is_err());
        assert!(gate.open(Piece::Units, &batch(1), &sealed).is_err());
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert!(gate.open_members(&batch(1), &changed).is_err(), "byte {position}");
        }
    }

    #[test]
    fn equal_content_has_one_digest_per_destination() {
        let key = OutboxKey::from_bytes([1; 32]);
        let gate = Sealer::of(&key, &"gate".parse().unwrap()).unwrap();
        let other = Sealer::of(&key, &"other".parse().unwrap()).unwrap();
        assert_eq!(gate.content(&members()), gate.content(&members()));
        assert_ne!(gate.content(&members()), other.content(&members()));
        assert_ne!(gate.content(&members()), gate.content(&Members::default()));
        assert_eq!(format!("{key:?}"), "OutboxKey(redacted)");
    }
}
