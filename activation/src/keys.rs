//! The master key of this room and what is derived from it: each use has its own key, so that opening one tells nothing
//! about another.

use std::fmt;

use identity::MasterKey;
use ids::{CampaignId, PartyId};
use ring::hmac;
use zeroize::Zeroizing;

/// The master key of one retailer. Destinations' keys are derived from the same one, with other names.
pub struct Secrets {
    master: MasterKey,
    tenant: PartyId,
}

impl Secrets {
    /// The keys of `tenant`, the retailer.
    pub const fn new(master: MasterKey, tenant: PartyId) -> Self {
        Self { master, tenant }
    }

    /// For destinations' keys.
    pub const fn master(&self) -> &MasterKey {
        &self.master
    }

    /// Whose keys they are.
    pub const fn tenant(&self) -> &PartyId {
        &self.tenant
    }

    /// The secret behind a campaign's control group. Without the campaign's random `salt` it cannot be derived again, so
    /// destroying the salt erases it. Names hold no `|`, so no two pairs have the same info.
    pub(crate) fn campaign(&self, campaign: &CampaignId, salt: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let salt = hex::encode(salt);
        self.master.derive(&self.tenant, &format!("dcr/holdout/v1|campaign|{campaign}|{salt}"))
    }

    /// The secret behind the global control group of a period.
    pub(crate) fn global(&self, period: &str) -> Zeroizing<[u8; 32]> {
        self.master.derive(&self.tenant, &format!("dcr/holdout/v1|global|{period}"))
    }

    /// The secret behind the guard's thresholds.
    pub(crate) fn guard(&self) -> Zeroizing<[u8; 32]> {
        self.master.derive(&self.tenant, "dcr/guard/v1")
    }

    /// The key that seals bitmaps in the store of audiences.
    pub(crate) fn sealing(&self) -> Zeroizing<[u8; 32]> {
        self.master.derive(&self.tenant, "dcr/audiences/v1")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({}, redacted)", self.tenant)
    }
}

/// The first eight bytes of HMAC-SHA256 over `parts`, each preceded by its length, as a number: uniform on 0..2⁶⁴ to whoever
/// lacks the key.
pub(crate) fn keyed_u64(key: &hmac::Key, parts: &[&[u8]]) -> u64 {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    leading(&context.sign())
}

/// The first eight bytes of a tag, big endian.
pub(crate) fn leading(tag: &hmac::Tag) -> u64 {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    u64::from_be_bytes(first)
}
