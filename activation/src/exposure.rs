//! What comes back: plays, pushes, opens, look-ups and coupon redemptions, on their way into the vault.
//!
//! A device or a till sends a record until it is acknowledged; [`Inbox::take`] acknowledges when it is durable. Records go
//! on to the vault in loads. A load is a fixed set of records under a name that follows from them, and the vault takes a
//! name once, so that a crash between any two steps neither loses nor doubles a record.
//!
//! Nothing is filtered by what it would mean: late records are kept, and so are records of households of the control group
//! (contamination is measured, not hidden). A second record under the same key that says something else is kept out and
//! reported.
//!
//! Tokens are turned back into units by the [`Resolver`], which holds the map of an epoch in memory; what lies in the inbox
//! is sealed, and is destroyed when the vault has it.

mod inbox;

use std::fmt;

use audits::Label;
use ids::{CampaignId, DestinationId, Digest, Timestamp, UnitIx};
use serde::{Deserialize, Serialize};

use crate::batch::Token;

pub use inbox::{Forwarded, Inbox, InboxFailed, InboxPorts, Taken};

/// What a shopper or a screen did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// A screen finished showing a creative.
    Play,
    /// A push was handed to the shopper's phone.
    Push,
    /// The shopper opened it.
    Open,
    /// A scale or checkout looked the shopper up and showed an offer.
    LookUp,
    /// A coupon was redeemed.
    Redemption,
}

/// By what a record is known: sent again, it is the same record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A device counts its records, anew with each start.
    Device {
        /// The system that the device belongs to.
        source: Label,
        /// The device.
        device: Label,
        /// Its start.
        boot: u64,
        /// The count.
        seq: u64,
    },
    /// A system names its records.
    Record {
        /// The system.
        source: Label,
        /// The name.
        id: Label,
    },
}

impl fmt::Display for Key {
    /// Labels hold no spaces, so that no two keys look alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { source, device, boot, seq } => write!(f, "{source} {device} {boot} {seq}"),
            Self::Record { source, id } => write!(f, "{source} {id}"),
        }
    }
}

/// Who or what was exposed, as the sender knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A shopper, by the token of a destination and epoch.
    Member {
        /// The destination.
        destination: DestinationId,
        /// The epoch.
        epoch: u64,
        /// The token.
        token: Token,
    },
    /// Whoever was there: a screen knows nobody.
    Anybody,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// By what it is known.
    pub key: Key,
    /// What happened.
    pub act: Act,
    /// For which campaign.
    pub campaign: CampaignId,
    /// To whom.
    pub who: Who,
    /// When, by the sender's clock.
    pub at: Timestamp,
    /// In which store.
    pub store: Option<Label>,
    /// What was shown, by content.
    pub creative: Option<Digest>,
    /// Which coupon.
    pub coupon: Option<Label>,
    /// Worth of a redemption, in minor units of the currency.
    pub amount_minor: Option<i64>,
    /// How long a play took, in milliseconds.
    pub duration_ms: Option<u32>,
}

/// A record as the vault gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What happened.
    pub act: Act,
    /// For which campaign.
    pub campaign: CampaignId,
    /// To whom; `None` for a screen that knows nobody.
    pub unit: Option<UnitIx>,
    /// When.
    pub at: Timestamp,
    /// In which store.
    pub store: Option<Label>,
    /// What was shown.
    pub creative: Option<Digest>,
    /// Which coupon.
    pub coupon: Option<Label>,
    /// Worth, in minor units.
    pub amount_minor: Option<i64>,
    /// Duration in milliseconds.
    pub duration_ms: Option<u32>,
}

/// What the resolver says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// It stands for this shopper.
    Unit(UnitIx),
    /// The map of that epoch is there, and it is in it no more, or never was.
    Nobody,
    /// The map of that epoch is not in memory now: ask again later.
    NotNow,
}

/// Turns tokens back into units. Implemented where the vault is; the map lives in memory for the epoch only.
pub trait Resolver: Send + Sync {
    /// Whom a token stands for.
    fn resolve(&self, destination: &DestinationId, epoch: u64, token: &Token) -> Resolved;
}

/// The vault did not take a load. Whether it is in is unknown until it is given again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the vault did not take the exposures: {reason}")]
pub struct VaultFailed {
    /// What it said; goes to the operator.
    pub reason: String,
}

/// Where exposures end.
pub trait ExposureVault: Send + Sync {
    /// Appends the rows of a load. Blocks until they are durable; the answer is the snapshot that holds them.
    ///
    /// # Guarantee it must give
    /// A load that it holds already changes nothing, whatever the rows say now, and is answered with a snapshot that holds
    /// it.
    fn append(&self, load: &Digest, rows: &[Row]) -> Result<Digest, VaultFailed>;
}
