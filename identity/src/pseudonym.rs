//! Shopper pseudonyms: keyed hashes of unit keys, made and used inside the vault only.

use std::fmt;

use ids::{DatasetId, Entropy, EntropyFailed};
use ring::hmac;
use zeroize::{Zeroize, Zeroizing};

/// Separates this use of HMAC from any other that may share a root key one day.
const LABEL: &[u8] = b"cleanroom/shopper-pseudonym/v1";

/// The secret under which shoppers' unit keys become pseudonyms. Wiped when dropped.
pub struct PseudonymKey(Zeroizing<[u8; 32]>);

impl PseudonymKey {
    /// From 32 secret bytes; the caller wipes its own copy.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let key = Self(Zeroizing::new(bytes));
        bytes.zeroize();
        key
    }

    /// A new random key.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyFailed> {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    /// HMAC-SHA256 (RFC 2104) over a label, the dataset and the unit key, each of the latter two preceded by its length,
    /// so that no two different pairs have the same input.
    ///
    /// # Guarantee
    /// Who lacks the key can neither compute a shopper's pseudonym nor test a guessed phone or card number against one,
    /// and cannot link one shopper's pseudonyms of two datasets. Who has the key can do both.
    pub fn pseudonym(&self, dataset: &DatasetId, canonical_unit_key: &str) -> ShopperPseudonym {
        // Made per call: `ring` does not wipe its key schedule, so none is kept.
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref());
        let mut context = hmac::Context::with_key(&key);
        context.update(LABEL);
        for part in [dataset.as_str(), canonical_unit_key] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        ShopperPseudonym(bytes)
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey(redacted)")
    }
}

/// Stands for one shopper of one dataset. Personal data like what it was made of: it is never printed or logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShopperPseudonym([u8; 32]);

impl ShopperPseudonym {
    /// Wraps 32 bytes that already are a pseudonym, such as those read back from the sealed unit directory.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ShopperPseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShopperPseudonym(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(name: &str) -> DatasetId {
        name.parse().unwrap()
    }

    #[test]
    fn is_the_hmac_that_the_document_says() {
        // echoed by an independent implementation: python3, hmac.new(bytes([7]*32), LABEL + len + b"retail" + len +
        // b"C000000042", "sha256")
        let key = PseudonymKey::from_bytes([7; 32]);
        let pseudonym = key.pseudonym(&dataset("retail"), "C000000042");
        assert_eq!(
            hex::encode(pseudonym.as_bytes()),
            "33e737f4c9e46e148d04fdfa9bc5d2a957fd7abc81d993d6dedac49e94103dac"
        );
    }

    #[test]
    fn depends_on_key_dataset_and_unit_key_and_nothing_runs_together() {
        let key = PseudonymKey::from_bytes([7; 32]);
        let one = key.pseudonym(&dataset("ab"), "c");
        assert_eq!(one, key.pseudonym(&dataset("ab"), "c"));
        assert_ne!(one, key.pseudonym(&dataset("a"), "bc"));
        assert_ne!(one, key.pseudonym(&dataset("ab"), "d"));
        assert_ne!(one, PseudonymKey::from_bytes([8; 32]).pseudonym(&dataset("ab"), "c"));
    }

    #[test]
    fn debug_tells_nothing() {
        let key = PseudonymKey::from_bytes([0xab; 32]);
        let pseudonym = key.pseudonym(&dataset("a"), "b");
        assert_eq!(format!("{key:?} {pseudonym:?}"), "PseudonymKey(redacted) ShopperPseudonym(redacted)");
    }
}
