//! Bodies (SQL text, parameters) beside the tree: sealed, committed to, erasable.
//!
//! Each record has two fresh keys: one seals the body (AES-256-GCM), one commits to it (HMAC-SHA256). Both lie beside
//! the body, sealed under the [`BodyKey`]. Destroying a record destroys its keys with it; what the leaf keeps is a MAC
//! under a destroyed key, so that guessing the body confirms nothing, and every proof stays valid.

use std::fmt;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use ids::{Digest, Entropy, EntropyFailed};
use ring::hmac;
use zeroize::Zeroizing;

use crate::entry::BodyCommit;
use crate::note::Origin;

/// Longest body in bytes: enough for any SQL text the grammar admits, far from what would slow the writer down.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Nonce, two sealed keys and their tag.
const WRAPPED_BYTES: usize = NONCE_BYTES + 2 * KEY_BYTES + TAG_BYTES;
/// Index (u64) and length (u32), big endian.
const HEADER_BYTES: usize = 12;

/// The key under which record keys are sealed. Its nonces are random, so it seals at most 2³² bodies (NIST SP 800-38D).
pub struct BodyKey(Zeroizing<[u8; KEY_BYTES]>);

impl BodyKey {
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

    /// The 32 bytes, for keeping them in a key file.
    pub fn to_bytes(&self) -> Zeroizing<[u8; KEY_BYTES]> {
        self.0.clone()
    }
}

impl fmt::Debug for BodyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyKey(…)")
    }
}

/// Why a body was not sealed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SealFailed {
    #[error("the body takes {bytes} bytes but at most {BODY_BYTES_MAX} are kept")]
    TooLarge { bytes: usize },
    #[error(transparent)]
    Entropy(#[from] EntropyFailed),
    #[error("the body could not be sealed")]
    Cipher,
}

/// The body does not open: another key, another place, or changed bytes. Deliberately no more than that.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error("the body does not open under this key at this place")]
pub(crate) struct OpenFailed;

/// Seals `body` for entry `index` of the log `origin`: the record's bytes and what the leaf says about it.
pub(crate) fn seal(
    key: &BodyKey,
    origin: &Origin,
    index: u64,
    body: &[u8],
    entropy: &dyn Entropy,
) -> Result<(Vec<u8>, BodyCommit), SealFailed> {
    let too_large = SealFailed::TooLarge { bytes: body.len() };
    let len = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_BYTES_MAX).ok_or(too_large)?;
    let mut record_keys = Zeroizing::new([0; 2 * KEY_BYTES]);
    entropy.fill(record_keys.as_mut())?;
    let mut nonce = [0; NONCE_BYTES];
    entropy.fill(&mut nonce)?;
    let (seal_key, commit_key) = record_keys.split_at(KEY_BYTES);

    let wrapped = encrypt(key.0.as_ref(), nonce, record_keys.as_ref(), &place(b"keys", origin, index))?;
    // The record's key seals this one message, so its nonce can be constant.
    let sealed = encrypt(seal_key, [0; NONCE_BYTES], body, &place(b"body", origin, index))?;
    let record = [nonce.as_slice(), &wrapped, &sealed].concat();
    let commit = BodyCommit { commit: commit(commit_key, body), len, sealed: Digest::of(&record) };
    Ok((record, commit))
}

/// Opens a record and checks it against what the leaf says.
pub(crate) fn open(
    key: &BodyKey,
    origin: &Origin,
    index: u64,
    record: &[u8],
    expected: &BodyCommit,
) -> Result<Vec<u8>, OpenFailed> {
    let (wrapped, sealed) = record.split_at_checked(WRAPPED_BYTES).ok_or(OpenFailed)?;
    let (nonce, wrapped) = wrapped.split_first_chunk::<NONCE_BYTES>().ok_or(OpenFailed)?;
    let record_keys = decrypt(key.0.as_ref(), *nonce, wrapped, &place(b"keys", origin, index))?;
    let record_keys = Zeroizing::new(record_keys);
    let (seal_key, commit_key) = record_keys.split_at_checked(KEY_BYTES).ok_or(OpenFailed)?;
    let body = decrypt(seal_key, [0; NONCE_BYTES], sealed, &place(b"body", origin, index))?;
    let tag = hmac::Key::new(hmac::HMAC_SHA256, commit_key);
    hmac::verify(&tag, &body, expected.commit.as_bytes()).map_err(|_| OpenFailed)?;
    Ok(body)
}

fn commit(key: &[u8], body: &[u8]) -> Digest {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), body);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    Digest::from_bytes(bytes)
}

/// Associated data: what it is, of which log, at which index. A record moved elsewhere does not open.
fn place(what: &[u8], origin: &Origin, index: u64) -> Vec<u8> {
    let parts: [&[u8]; 4] = [b"audits/body/v1", what, origin.as_str().as_bytes(), &index.to_be_bytes()];
    parts
        .iter()
        .flat_map(|part| (part.len() as u64).to_be_bytes().into_iter().chain(part.iter().copied()))
        .collect()
}

fn encrypt(key: &[u8], nonce: [u8; NONCE_BYTES], msg: &[u8], aad: &[u8]) -> Result<Vec<u8>, SealFailed> {
    let cipher = Aes256Gcm::new_from_slice(key).map_err(|_| SealFailed::Cipher)?;
    cipher.encrypt(&nonce.into(), Payload { msg, aad }).map_err(|_| SealFailed::Cipher)
}

fn decrypt(key: &[u8], nonce: [u8; NONCE_BYTES], msg: &[u8], aad: &[u8]) -> Result<Vec<u8>, OpenFailed> {
    let cipher = Aes256Gcm::new_from_slice(key).map_err(|_| OpenFailed)?;
    cipher.decrypt(&nonce.into(), Payload { msg, aad }).map_err(|_| OpenFailed)
}

/// Adds a record to a bodies file: index (u64) and length (u32), big endian, and the record.
pub(crate) fn push_record(file: &mut Vec<u8>, index: u64, record: &[u8]) -> Option<()> {
    file.extend_from_slice(&index.to_be_bytes());
    file.extend_from_slice(&u32::try_from(record.len()).ok()?.to_be_bytes());
    file.extend_from_slice(record);
    Some(())
}

/// A record of a bodies file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'f> {
    pub(crate) index: u64,
    /// Where it begins in the file.
    pub(crate) offset: usize,
    pub(crate) bytes: &'f [u8],
}

/// The records of a bodies file, or the offset at which it cannot be read.
pub(crate) fn records(file: &[u8]) -> Result<Vec<Record<'_>>, usize> {
    let (mut found, mut rest) = (Vec::new(), file);
    while !rest.is_empty() {
        let offset = file.len() - rest.len();
        let (record, after) = split_record(rest, offset).ok_or(offset)?;
        found.push(record);
        rest = after;
    }
    Ok(found)
}

fn split_record(rest: &[u8], offset: usize) -> Option<(Record<'_>, &[u8])> {
    let (header, rest) = rest.split_first_chunk::<HEADER_BYTES>()?;
    let (index, length) = header.split_first_chunk::<8>()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((Record { index: u64::from_be_bytes(*index), offset, bytes }, after))
}

#[cfg(test)]
mod tests {
    use ids::SystemEntropy;

    use super::*;

    fn sealed(index: u64, body: &[u8]) -> (BodyKey, Origin, Vec<u8>, BodyCommit) {
        let (key, origin) = (BodyKey::from_bytes([7; 32]), "log.example/a".parse().unwrap());
        let (record, commit) = seal(&key, &origin, index, body, &SystemEntropy::new()).unwrap();
        (key, origin, record, commit)
    }

    #[test]
    fn a_body_opens_only_at_its_place_under_its_key_and_unchanged() {
        let (key, origin, record, commit) = sealed(5, b"SELECT 1");
        assert_eq!(open(&key, &origin, 5, &record, &commit).unwrap(), b"SELECT 1");
        assert!(!record.windows(8).any(|window| window == b"SELECT 1"));

        let other = "log.example/b".parse().unwrap();
        assert_eq!(open(&key, &origin, 6, &record, &commit), Err(OpenFailed));
        assert_eq!(open(&key, &other, 5, &record, &commit), Err(OpenFailed));
        assert_eq!(open(&BodyKey::from_bytes([8; 32]), &origin, 5, &record, &commit), Err(OpenFailed));
        let (.., another) = sealed(5, b"SELECT 2");
        assert_eq!(open(&key, &origin, 5, &record, &another), Err(OpenFailed));
        for position in 0..record.len() {
            let mut changed = record.clone();
            changed[position] ^= 1;
            assert_eq!(open(&key, &origin, 5, &changed, &commit), Err(OpenFailed), "byte {position}");
        }
    }

    #[test]
    fn equal_bodies_do_not_look_equal() {
        let ((.., one, first), (.., two, second)) = (sealed(5, b"SELECT 1"), sealed(5, b"SELECT 1"));
        assert_ne!(one, two);
        assert_ne!(first.commit, second.commit);
    }

    #[test]
    fn a_body_that_is_too_long_is_refused() {
        let key = BodyKey::from_bytes([7; 32]);
        let origin = "log.example/a".parse().unwrap();
        let refused =
            seal(&key, &origin, 0, &vec![0; BODY_BYTES_MAX + 1], &SystemEntropy::new()).unwrap_err();
        assert_eq!(refused.to_string(), "the body takes 262145 bytes but at most 262144 are kept");
    }

    #[test]
    fn keys_are_not_printed() {
        assert_eq!(format!("{:?}", BodyKey::from_bytes([7; 32])), "BodyKey(…)");
    }
}
