//! Pseudonyms that belong to one destination and one epoch.
//!
//! ```text
//! K         = HKDF-SHA256(master, salt = tenant, info = "dcr/activation/v1|" destination "|" epoch)
//! pseudonym = HMAC-SHA256(K, 0x01 kind 0x00 canonical), sent as base64url without padding
//! ```

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ids::{DestinationId, Entropy, EntropyFailed, PartyId, Timestamp};
use ring::hmac;
use zeroize::{Zeroize, Zeroizing};

use super::Token;
use crate::canonical::Canonical;

/// Length of an epoch in days: after it a destination's pseudonyms are others, so that what it keeps longer than it
/// may is worthless.
pub const PSEUDONYM_EPOCH_DAYS: u32 = 30;
const EPOCH_SECS: i64 = PSEUDONYM_EPOCH_DAYS as i64 * 86_400;
/// Version byte of the pseudonym's input.
const VERSION: u8 = 1;

/// A stretch of [`PSEUDONYM_EPOCH_DAYS`] days, counted from 1970-01-01; the same for all destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PseudonymEpoch(u32);

impl PseudonymEpoch {
    /// From its number.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The epoch that contains this moment; everything before 1970 is in the first.
    pub fn at(moment: Timestamp) -> Self {
        Self(u32::try_from(moment.as_secs().max(0) / EPOCH_SECS).unwrap_or(u32::MAX))
    }

    /// Its first moment.
    pub fn starts(self) -> Timestamp {
        Timestamp::from_millis(0).plus_secs(i64::from(self.0) * EPOCH_SECS)
    }

    /// The first moment of the next.
    pub fn ends(self) -> Timestamp {
        self.starts().plus_secs(EPOCH_SECS)
    }

    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for PseudonymEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The secret from which every destination's key is derived. Wiped when dropped, never printed.
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// From 32 secret bytes; the caller wipes its own copy.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let key = Self(Zeroizing::new(bytes));
        bytes.zeroize();
        key
    }

    /// A new random key.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyFailed> {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    /// HKDF-SHA256 (RFC 5869) with `salt = tenant`: one block of 32 bytes, so that nothing in it can fail. Keys of
    /// different `info` tell nothing about one another or about the master key.
    pub fn derive(&self, tenant: &PartyId, info: &str) -> Zeroizing<[u8; 32]> {
        hkdf(self.0.as_ref(), tenant.as_str().as_bytes(), info.as_bytes())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(redacted)")
    }
}

/// Extract, and the first block of expand. `ring::hkdf` does the same but returns the block as something that can fail;
/// a test holds the two against each other and against RFC 5869.
fn hkdf(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let extracted = Zeroizing::new(mac(salt, &[secret]));
    Zeroizing::new(mac(extracted.as_ref(), &[info, &[1]]))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

/// The key of one destination in one epoch. Wiped when dropped, never printed.
///
/// # Guarantee
/// Who knows the keys or any number of pseudonyms of other destinations or epochs, but not this key, cannot tell which of
/// this destination's pseudonyms belongs to which shopper, nor test a guessed phone number against one (HMAC-SHA256 and
/// HKDF as pseudo-random functions). Who holds this key, or the master key, can test guesses; the destination holds neither.
pub struct ScopedKey(Zeroizing<[u8; 32]>);

impl ScopedKey {
    /// The key of `destination` in `epoch`. The names cannot hold a `|`, so no two pairs have the same `info`.
    pub fn derive(
        master: &MasterKey,
        tenant: &PartyId,
        destination: &DestinationId,
        epoch: PseudonymEpoch,
    ) -> Self {
        Self(master.derive(tenant, &format!("dcr/activation/v1|{destination}|{epoch}")))
    }

    /// One shopper's pseudonym. For many, see [`ScopedKey::renderer`].
    pub fn pseudonym(&self, identifier: &Canonical) -> ScopedPseudonym {
        self.renderer().pseudonym(identifier)
    }

    /// For a long row of pseudonyms: twice as fast, because the key schedule is computed once. `ring` does not wipe it, so
    /// drop the renderer with the run.
    pub fn renderer(&self) -> ScopedRenderer {
        ScopedRenderer(hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref()))
    }
}

impl fmt::Debug for ScopedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScopedKey(redacted)")
    }
}

/// A [`ScopedKey`] at work.
#[derive(Clone)]
pub struct ScopedRenderer(hmac::Key);

impl ScopedRenderer {
    /// The pseudonym of one identifier. Kind and text cannot run together: a kind has no zero byte.
    pub fn pseudonym(&self, identifier: &Canonical) -> ScopedPseudonym {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[VERSION]);
        context.update(identifier.kind().as_str().as_bytes());
        context.update(&[0]);
        context.update(identifier.as_str().as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        ScopedPseudonym(bytes)
    }
}

impl fmt::Debug for ScopedRenderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScopedRenderer(redacted)")
    }
}

/// Stands for one shopper at one destination in one epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopedPseudonym([u8; 32]);

impl ScopedPseudonym {
    /// Wraps 32 bytes that already are one, such as those that came back with an exposure.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As it is sent: 43 characters of base64url.
    pub fn token(&self) -> Token {
        Token(URL_SAFE_NO_PAD.encode(self.0).into_boxed_str())
    }
}

impl fmt::Debug for ScopedPseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScopedPseudonym(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::hkdf::{HKDF_SHA256, Salt};

    #[test]
    fn hkdf_is_that_of_rfc_5869_and_of_ring() {
        // RFC 5869, appendix A.1: the first 32 of its 42 bytes are the first block.
        let (secret, salt) = ([0x0b; 22], hex::decode("000102030405060708090a0b0c").unwrap());
        let info = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        let block = hkdf(&secret, &salt, &info);
        assert_eq!(
            hex::encode(block.as_ref()),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        );
        let mut of_ring = [0; 32];
        let parts = [info.as_slice()];
        let extracted = Salt::new(HKDF_SHA256, &salt).extract(&secret);
        extracted.expand(&parts, HKDF_SHA256).unwrap().fill(&mut of_ring).unwrap();
        assert_eq!(block.as_ref(), &of_ring);
    }

    #[test]
    fn epochs_are_thirty_days() {
        let epoch = PseudonymEpoch::at(Timestamp::from_millis(1_700_000_000_000));
        assert_eq!(epoch.number(), 655);
        assert_eq!(PseudonymEpoch::at(epoch.starts()), epoch);
        assert_eq!(PseudonymEpoch::at(epoch.ends()), epoch.next());
        assert_eq!(PseudonymEpoch::at(Timestamp::from_millis(epoch.ends().as_millis() - 1)), epoch);
        assert_eq!(PseudonymEpoch::at(Timestamp::from_millis(-1)).number(), 0);
    }
}
