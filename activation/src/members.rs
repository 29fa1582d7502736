//! The port to the vault: who is in a segment, who agreed, which household somebody belongs to, how they are reached.
//!
//! `server` implements it over vault and engine. Positions ([`UnitIx`]) mean nothing outside the vault; identifiers are
//! streamed one by one and become pseudonyms at once.

use std::fmt;

use identity::{Canonical, IdentifierKind};
use ids::{Digest, PurposeId, SegmentId, Timestamp, UnitIx};
use roaring::RoaringBitmap;

/// The vault did not answer. The reason holds no identifier and goes to the operator only.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("the members could not be read: {reason}")]
pub struct MembersFailed {
    /// What it said.
    pub reason: String,
}

/// Stands for one household (or for a shopper of whom no household is known) under a key of the vault. Arms are drawn by
/// it, so that all cards of a household are in one arm. Personal data: it is never printed or logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HouseholdKey([u8; 32]);

impl HouseholdKey {
    /// Wraps 32 bytes that already are a keyed pseudonym.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for HouseholdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HouseholdKey(redacted)")
    }
}

/// What this room may learn from the vault, as of one moment per call.
pub trait Members: Send + Sync {
    /// Who the approved predicate selects now. Sybil cards (no tenure, no trips) are not in it.
    ///
    /// # Errors
    /// When the segment is unknown, its digest is another one, or the vault is sealed.
    fn segment(&self, segment: &SegmentId, digest: &Digest) -> Result<RoaringBitmap, MembersFailed>;

    /// Who agreed to this purpose, and the number of that state of consents.
    ///
    /// # Errors
    /// When the registry cannot be read. A purpose nobody was asked about is an empty bitmap.
    fn consented(&self, purpose: &PurposeId) -> Result<(RoaringBitmap, u64), MembersFailed>;

    /// Whose consent to this purpose has a term that ends before `until`, by the moment of its end, in any order. Who is
    /// in none of them agreed without term, or for longer.
    ///
    /// # Errors
    /// When the registry cannot be read.
    fn consents_ending(
        &self,
        purpose: &PurposeId,
        until: Timestamp,
    ) -> Result<Vec<(Timestamp, RoaringBitmap)>, MembersFailed>;

    /// Who must not be addressed whatever they agreed to: erased, deceased, blocked, complained.
    ///
    /// # Errors
    /// When the vault is sealed.
    fn suppressed(&self) -> Result<RoaringBitmap, MembersFailed>;

    /// Calls `each` with the household of every member, once each, in any order. Who is left out is never addressed.
    ///
    /// # Errors
    /// When the vault is sealed.
    fn households(
        &self,
        members: &RoaringBitmap,
        each: &mut dyn FnMut(UnitIx, HouseholdKey),
    ) -> Result<(), MembersFailed>;

    /// Calls `each` with the canonical identifier of every member who has one of this kind, once each, in any order. The
    /// identifier must not be kept.
    ///
    /// # Errors
    /// When the vault is sealed or an identifier does not open.
    fn identifiers(
        &self,
        members: &RoaringBitmap,
        kind: IdentifierKind,
        each: &mut dyn FnMut(UnitIx, &Canonical),
    ) -> Result<(), MembersFailed>;
}
