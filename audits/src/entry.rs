//! What one leaf of the log says: who did what, under which rule, at which price, with which result.
//!
//! A leaf holds names, digests and whole numbers. It never holds a row, a match key, SQL text or any other body: those
//! lie beside the tree, sealed, and the leaf only commits to them (see [`BodyCommit`]).

use std::fmt;
use std::str::FromStr;

use ids::{
    AudienceId, CampaignId, ClauseId, DatasetId, Delta, Digest, MicroRho, PartyId, PurposeId, ReleaseId,
    RequestId, Subject, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::json;

/// Largest leaf in bytes. The format's own limit is 65,535; headers stay far below, so that a regulator can take all of
/// them away.
pub const ENTRY_BYTES_MAX: usize = 4096;

/// Version of the leaf format, the member `v`.
const VERSION: u8 = 1;

/// Longest label in bytes.
const LABEL_BYTES_MAX: usize = 96;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A query was permitted and is about to run; its charge is durable.
    QueryPermitted,
    /// An answer left: the entry names its result digest. No receipt of this entry, no result.
    QueryReleased,
    /// A stored release was handed out again, free of charge.
    QueryReused,
    /// Something was refused; `decision` is denied and `clauses` or `reason` say why.
    QueryDenied,
    /// A permitted and charged query broke; the charge stays.
    QueryFailed,
    /// A plan or a price was shown without reading data.
    Preview,
    /// The catalogue was read.
    CatalogueRead,
    /// A budget was read.
    BudgetRead,
    /// The log itself, or an export of it, was read.
    LogRead,
    /// Data entered the vault.
    Ingest,
    /// A policy bundle came into force.
    PolicyActivated,
    /// The state of consents changed.
    ConsentChanged,
    /// A key was made, used outside the pipeline, or destroyed.
    KeyUsed,
    /// The sealed body of the entry `target` was destroyed.
    BodyErased,
    /// A shopper's data was exported to them (GDPR art. 15).
    SubjectExported,
    /// A shopper's data was erased (GDPR art. 17).
    SubjectErased,
    /// Members are to be sent to, or removed from, a destination: durable, not yet sent. No receipt of this entry,
    /// nothing sent.
    AudienceQueued,
    /// A destination gave its final word on one batch of members.
    AudienceSettled,
    /// A removal is overdue at a destination; it keeps being sent.
    AudienceAlarm,
    /// Exposures and redemptions entered the vault.
    ExposuresTaken,
    /// The service was created, started or stopped.
    Service,
    /// A campaign went from one state to the next; `reason` is the new state and `plan` the digest of its content.
    CampaignChanged,
    /// A segment was admitted as an audience of a campaign.
    AudienceAdmitted,
    /// A segment was not admitted as an audience: too small or too similar to another one.
    AudienceRefused,
}

impl Kind {
    /// The name that the leaf carries, such as `query-released`.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => String::new(),
        }
    }
}

/// What policy said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Yes.
    Permitted,
    /// No.
    Denied,
}

/// A short name without spaces that no type of [`ids`] covers: a role, a ledger block, a destination, an error code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Label(String);

/// Why a text is not a label.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{text}` is not a label: expected 1 to {LABEL_BYTES_MAX} characters of printable ASCII without spaces, quotes and backslashes"
)]
pub struct LabelRefused {
    text: String,
}

impl Label {
    /// The text of the label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Label {
    type Err = LabelRefused;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=LABEL_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
            Ok(Self(text.to_owned()))
        } else {
            Err(LabelRefused { text: text.chars().take(LABEL_BYTES_MAX).collect() })
        }
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

impl TryFrom<String> for Label {
    type Error = LabelRefused;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// What a query cost, as the ledger debited it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// ρ in millionths, per block.
    #[serde(rename = "rho_micro")]
    pub rho: MicroRho,
    /// δ in units of 10⁻¹⁵, per block.
    #[serde(rename = "delta_femto")]
    pub delta: Delta,
    /// The ledger blocks that were charged, such as `retail/2017-Q1`.
    pub blocks: Vec<Label>,
}

/// What the caller's party may still spend after the charge: the least over the charged blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remaining {
    /// ρ in millionths.
    #[serde(rename = "rho_micro")]
    pub rho: MicroRho,
    /// δ in units of 10⁻¹⁵.
    #[serde(rename = "delta_femto")]
    pub delta: Delta,
}

/// What a caller puts on record. Everything but the kind may lack; start from [`Entry::new`].
///
/// The time is not part of it: the log's single writer stamps it, so that times never go back (see [`crate::Log`]).
///
/// ```
/// use audits::{Decision, Entry, Kind};
/// let entry = Entry {
///     party: Some("brand-nord".parse()?),
///     clauses: vec!["JV-3.1".parse()?],
///     decision: Some(Decision::Denied),
///     ..Entry::new(Kind::QueryDenied)
/// };
/// # let _ = entry;
/// # Ok::<(), ids::NameRefused>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What happened.
    pub kind: Kind,
    /// The verified caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Subject>,
    /// The party the caller acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<PartyId>,
    /// The caller's role, such as `analyst`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Label>,
    /// What data was used for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<PurposeId>,
    /// Epoch of the consent bitmaps that were applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent_epoch: Option<u64>,
    /// Digest of the policy bundle that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Digest>,
    /// The clauses that decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<ClauseId>,
    /// What policy said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Stable code of a refusal or failure, such as `budget-exhausted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Label>,
    /// The datasets concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<DatasetId>,
    /// Digest of the vault snapshot that was read or made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Digest>,
    /// Digest of the canonical plan (the query's fingerprint).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Digest>,
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// The release that was made or handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// What was debited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<Charge>,
    /// What is left after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<Remaining>,
    /// Digest of what left the clean room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Digest>,
    /// Where it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Label>,
    /// The audience that was sent, changed or heard from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<AudienceId>,
    /// Index of the earlier entry that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u64>,
    /// The campaign concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<CampaignId>,
    /// What was committed to and may be opened later, such as the key that draws a campaign's control group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Digest>,
}

impl Entry {
    /// An entry of this kind that says nothing else yet.
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            principal: None,
            party: None,
            role: None,
            purpose: None,
            consent_epoch: None,
            bundle: None,
            clauses: Vec::new(),
            decision: None,
            reason: None,
            datasets: Vec::new(),
            snapshot: None,
            plan: None,
            request: None,
            release: None,
            charge: None,
            remaining: None,
            result: None,
            destination: None,
            audience: None,
            target: None,
            campaign: None,
            commitment: None,
        }
    }
}

/// What a leaf says about its body. None of it tells anything about the body once the record key is destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyCommit {
    /// HMAC-SHA256 of the body under the record key, which lies sealed beside the body.
    pub commit: Digest,
    /// Length of the body in bytes.
    pub len: u32,
    /// SHA-256 of the sealed record, so that it can be checked without any key.
    pub sealed: Digest,
}

/// An entry as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Position in the log, from 0.
    pub index: u64,
    /// When the writer took it in.
    pub time: Timestamp,
    /// What was put on record.
    pub entry: Entry,
    /// What is committed of its body, if it came with one.
    pub body: Option<BodyCommit>,
}

/// The leaf as JSON. Positions are implied by the tree, so the index is not part of it.
#[derive(Serialize, Deserialize)]
struct Leaf {
    v: u8,
    time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<BodyCommit>,
    #[serde(flatten)]
    entry: Entry,
}

/// Why an entry cannot be a leaf, or bytes are not one.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum EntryRefused {
    /// Longer than a leaf may be.
    #[error(
        "the entry takes {bytes} bytes but a leaf holds at most {ENTRY_BYTES_MAX}: name fewer clauses or blocks, or move text to the body"
    )]
    TooLarge {
        /// Its length in canonical form.
        bytes: usize,
    },
    /// A number beyond 2⁵³ − 1.
    #[error("the number `{number}` has no exact form in JSON: the largest is {}", json::INTEGER_MAX)]
    Number {
        /// As it was given.
        number: String,
    },
    /// Not a leaf of this version.
    #[error("the leaf cannot be read: {reason}")]
    Unreadable {
        /// What the parser said; leaves hold no secrets.
        reason: String,
    },
    /// The same content written differently.
    #[error("the leaf is not in canonical form (RFC 8785) or has unknown members")]
    NotCanonical,
}

impl Logged {
    /// The canonical bytes of the leaf.
    ///
    /// # Errors
    /// When it is longer than [`ENTRY_BYTES_MAX`] or holds a number beyond 2⁵³ − 1.
    pub fn to_leaf(&self) -> Result<Vec<u8>, EntryRefused> {
        let leaf = Leaf { v: VERSION, time: self.time, body: self.body, entry: self.entry.clone() };
        let value = serde_json::to_value(&leaf).map_err(unreadable)?;
        let text = json::canonical(&value).map_err(|refused| EntryRefused::Number { number: refused.0 })?;
        if text.len() > ENTRY_BYTES_MAX {
            return Err(EntryRefused::TooLarge { bytes: text.len() });
        }
        Ok(text.into_bytes())
    }

    /// Reads a leaf; every other writing of the same content is refused.
    ///
    /// # Errors
    /// When the bytes are not a canonical leaf of this version.
    pub fn from_leaf(index: u64, bytes: &[u8]) -> Result<Self, EntryRefused> {
        let Leaf { v, time, body, entry } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if v != VERSION {
            return Err(EntryRefused::Unreadable { reason: format!("version `{v}` is not {VERSION}") });
        }
        let logged = Self { index, time, entry, body };
        if logged.to_leaf()? == bytes { Ok(logged) } else { Err(EntryRefused::NotCanonical) }
    }
}

fn unreadable(error: serde_json::Error) -> EntryRefused {
    EntryRefused::Unreadable { reason: error.to_string() }
}
