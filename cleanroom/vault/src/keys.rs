//! Keys and the sealing of small things with them. Parts are sealed by Parquet's own encryption, see `part`.

use std::fmt;
use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use ids::{Digest, Entropy};
use zeroize::{Zeroize, Zeroizing};

use crate::disk::{Disk, SystemDisk};
use crate::refusal::VaultRefused;

/// Bytes of a nonce (NIST SP 800-38D, the recommended length).
const NONCE_BYTES: usize = 12;

/// A sealed text does not open: wrong key, wrong place, or changed bytes. Which of them cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealBroken;

/// 256 secret bits. Wiped when dropped.
#[derive(Clone)]
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, VaultRefused> {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Self(Zeroizing::new([0; 32]));
        if bytes.len() != key.0.len() {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A sealer that holds the expanded key, for sealing many things.
    pub(crate) fn sealer(&self) -> Sealer {
        Sealer(Box::new(Aes256Gcm::new((&*self.0).into())))
    }

    /// AES-256-GCM with a random nonce in front; `place` is authenticated but not stored.
    pub(crate) fn seal(
        &self,
        plain: &[u8],
        place: &str,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, VaultRefused> {
        self.sealer().seal(plain, place.as_bytes(), entropy)
    }

    /// The opposite of [`Self::seal`].
    pub(crate) fn open(&self, sealed: &[u8], place: &str) -> Result<Zeroizing<Vec<u8>>, SealBroken> {
        self.sealer().open(sealed, place.as_bytes())
    }

    /// Seals another key.
    pub(crate) fn wrap(
        &self,
        key: &Self,
        place: &str,
        entropy: &dyn Entropy,
    ) -> Result<Wrapped, VaultRefused> {
        Ok(Wrapped(hex::encode(self.seal(key.as_bytes(), place, entropy)?)))
    }

    /// Opens a key sealed by [`Self::wrap`] for the same place.
    pub(crate) fn unwrap(&self, wrapped: &Wrapped, place: &str) -> Result<Self, SealBroken> {
        let sealed = hex::decode(&wrapped.0).map_err(|_| SealBroken)?;
        Self::from_slice(&self.open(&sealed, place)?).ok_or(SealBroken)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

/// An expanded key.
pub(crate) struct Sealer(Box<Aes256Gcm>);

impl Sealer {
    pub(crate) fn seal(
        &self,
        plain: &[u8],
        place: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, VaultRefused> {
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce)?;
        let payload = Payload { msg: plain, aad: place };
        let sealed = self
            .0
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| VaultRefused::Internal { act: "sealing" })?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn open(&self, sealed: &[u8], place: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealBroken> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(SealBroken)?;
        let payload = Payload { msg: sealed, aad: place };
        self.0.decrypt(&Nonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| SealBroken)
    }
}

/// A sealed key in hex; safe to store.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Wrapped(String);

/// The key that all keys of a vault hang from. It is kept outside the vault: in a key file or the environment.
///
/// Wiped when dropped; never printed.
pub struct RootKey(Key);

impl RootKey {
    /// A new random key.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, VaultRefused> {
        Key::generate(entropy).map(Self)
    }

    /// From 64 hex digits, as an environment variable holds them; white space around them is ignored.
    pub fn from_hex(text: &str) -> Result<Self, VaultRefused> {
        Self::parse(text, "the given text")
    }

    /// From a key file of 64 hex digits.
    pub fn from_file(path: &Path) -> Result<Self, VaultRefused> {
        let text = std::fs::read_to_string(path).map_err(|error| VaultRefused::io("read", path, error))?;
        Self::parse(&Zeroizing::new(text), &format!("`{}`", path.display()))
    }

    /// Writes a new key file that only its owner can read. Refuses to overwrite one.
    pub fn write_new(&self, path: &Path) -> Result<(), VaultRefused> {
        if path.exists() {
            return Err(VaultRefused::Exists { path: path.to_owned() });
        }
        let text = Zeroizing::new(hex::encode(self.0.as_bytes()));
        let write = || {
            let mut file = SystemDisk.create(path)?;
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync()
        };
        write().map_err(|error| VaultRefused::io("write", path, error))
    }

    fn parse(text: &str, origin: &str) -> Result<Self, VaultRefused> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), bytes.as_mut_slice())
            .map_err(|_| VaultRefused::KeyMalformed { origin: origin.to_owned() })?;
        let key = Self(Key(bytes.clone()));
        bytes.zeroize();
        Ok(key)
    }

    /// Names the key without telling it: a digest of 256 random bits is no help in guessing them.
    pub(crate) fn name(&self) -> String {
        let digest = Digest::of_parts(&[b"cleanroom/root-key-name/v1", self.0.as_bytes()]);
        digest.to_hex().chars().take(16).collect()
    }

    pub(crate) const fn key(&self) -> &Key {
        &self.0
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ids::SystemEntropy;

    #[test]
    fn what_is_sealed_for_one_place_opens_only_there_and_unchanged() {
        let entropy = SystemEntropy::new();
        let key = Key::generate(&entropy).unwrap();
        let sealed = key.seal(b"text", "here", &entropy).unwrap();
        assert_eq!(key.open(&sealed, "here").unwrap().as_slice(), b"text");
        assert_eq!(key.open(&sealed, "there"), Err(SealBroken));
        assert_eq!(Key::generate(&entropy).unwrap().open(&sealed, "here"), Err(SealBroken));
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert_eq!(key.open(&changed, "here"), Err(SealBroken), "byte {i}");
        }
        assert_eq!(key.open(&sealed[..5], "here"), Err(SealBroken));
    }

    #[test]
    fn keys_are_never_printed() {
        let root = RootKey::from_hex(&"ab".repeat(32)).unwrap();
        assert_eq!(format!("{root:?} {:?}", root.key()), "RootKey(redacted) Key(redacted)");
        let refused = RootKey::from_hex("secret").unwrap_err();
        assert!(!refused.to_string().contains("secret"));
    }

    #[test]
    fn a_key_file_is_written_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        let root = RootKey::generate(&SystemEntropy::new()).unwrap();
        root.write_new(&path).unwrap();
        assert_eq!(RootKey::from_file(&path).unwrap().name(), root.name());
        assert_eq!(root.write_new(&path).unwrap_err().code(), "exists");
    }
}
