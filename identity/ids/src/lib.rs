//! The kernel: names, times, digests and costs that every other room speaks in.
//!
//! It is the only place that reads the wall clock or asks the operating system for randomness; everybody else is
//! handed a [`Clock`] and an [`Entropy`]. It never does I/O beyond those two, and knows nothing of SQL, keys or policy.
//!
//! ```
//! use ids::{Digest, PartyId};
//! let party: PartyId = "brand-nord".parse()?;
//! let digest = Digest::of_parts(&[b"query", party.as_str().as_bytes()]);
//! assert!(digest.to_string().starts_with("sha256:"));
//! # Ok::<(), ids::NameRefused>(())
//! ```

mod cost;
mod digest;
mod entropy;
mod names;
mod time;

pub use cost::{CostOverflow, Delta, MicroEpsilon, MicroRho};
pub use digest::{Digest, DigestRefused};
pub use entropy::{Entropy, EntropyFailed, SystemEntropy};
pub use names::{
    AudienceId, CampaignId, ClauseId, DatasetId, DestinationId, NameRefused, PartyId, PurposeId, ReleaseId,
    RequestId, SegmentId, Subject,
};
pub use time::{Clock, Date, DateRefused, ManualClock, SystemClock, Timestamp, TimestampRefused};

/// A shopper's position in the vault: dense, starting at 0, assigned at ingest. It means nothing outside the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitIx(pub u32);
