//! Consent records: what goes in, what is kept, what comes out.

use std::fmt;
use std::str::FromStr;

use ids::{Digest, PartyId, PurposeId, Subject, Timestamp};
use serde::{Deserialize, Serialize};

use super::terms::Terms;
use crate::consents::ConsentEvent;
use crate::pseudonym::ShopperPseudonym;

/// Name of the record structure in exports.
const SCHEMA: &str = "ISO/IEC TS 27560:2023";

/// How a shopper told us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A signed sheet.
    Paper,
    /// At the till or a smart scale.
    Till,
    /// In the retailer's app.
    App,
    /// On a web site.
    Web,
    /// By telephone.
    Phone,
    /// By e-mail or letter.
    Letter,
    /// At a service desk.
    Desk,
    /// Nobody told: the term ran out.
    Term,
}

/// Why a text is no method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no method of consent: expected one of `paper till app web phone letter desk`")]
pub struct MethodUnknown;

impl Method {
    /// Every method that somebody can choose.
    pub const CHOSEN: [Self; 7] =
        [Self::Paper, Self::Till, Self::App, Self::Web, Self::Phone, Self::Letter, Self::Desk];

    /// The method as it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Till => "till",
            Self::App => "app",
            Self::Web => "web",
            Self::Phone => "phone",
            Self::Letter => "letter",
            Self::Desk => "desk",
            Self::Term => "term",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Method {
    type Err = MethodUnknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::CHOSEN.into_iter().find(|method| method.as_str() == text).ok_or(MethodUnknown)
    }
}

/// One event to be recorded.
#[derive(Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Whose.
    pub subject: ShopperPseudonym,
    /// To what.
    pub purpose: PurposeId,
    /// What happened.
    pub event: ConsentEvent,
    /// When the shopper said so: not in the future.
    pub at: Timestamp,
    /// End of the term; consent given has one, other events have none.
    pub valid_until: Option<Timestamp>,
    /// How.
    pub method: Method,
    /// Digest of what proves it, such as a scanned sheet.
    pub evidence: Option<Digest>,
}

impl fmt::Debug for NewEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewEvent({} {} at {}, subject redacted)", self.purpose, self.event, self.at)
    }
}

/// Who puts it into the registry, and with which entry for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorder {
    /// The caller.
    pub operator: Subject,
    /// The party the caller acts for.
    pub party: PartyId,
    /// When.
    pub at: Timestamp,
    /// The log entry of the change as its writer reads it, without the change's epoch and digest. Opaque here; never
    /// personal data.
    pub entry: String,
}

/// What a change was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Consent of one shopper given or withdrawn.
    Record,
    /// Events of many, from a file.
    Import,
    /// Terms that ran out.
    Sweep,
    /// A shopper was erased.
    Erase,
}

impl Operation {
    /// The operation as it stands in the registry and in log entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Import => "import",
            Self::Sweep => "sweep",
            Self::Erase => "erase",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Name of one record: derived from its content, so that recording the same again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(String);

impl RecordId {
    /// Over everything that the shopper said and was told, but not over who typed it in and when.
    pub(super) fn of(event: &NewEvent, terms: Option<&Digest>) -> Self {
        let (at, until) = (millis(Some(event.at)), millis(event.valid_until));
        let (evidence, terms) = (event.evidence.map(|d| *d.as_bytes()), terms.map(|d| *d.as_bytes()));
        let digest = Digest::of_parts(&[
            b"consent record 1",
            event.subject.as_bytes(),
            event.purpose.as_str().as_bytes(),
            event.event.as_str().as_bytes(),
            &at,
            &until,
            event.method.as_str().as_bytes(),
            evidence.as_ref().map_or(&[], |bytes| bytes.as_slice()),
            terms.as_ref().map_or(&[], |bytes| bytes.as_slice()),
        ]);
        let hex: String = digest.to_hex().chars().take(40).collect();
        Self(format!("con_{hex}"))
    }

    pub(super) const fn restored(text: String) -> Self {
        Self(text)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn millis(moment: Option<Timestamp>) -> Vec<u8> {
    moment.map_or_else(Vec::new, |moment| moment.as_millis().to_be_bytes().to_vec())
}

/// What one change did to the state of one shopper and purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Effective<'a> {
    /// Whose.
    pub subject: &'a ShopperPseudonym,
    /// To what.
    pub purpose: &'a PurposeId,
    /// What.
    pub event: ConsentEvent,
    /// When.
    pub at: Timestamp,
    /// End of the term.
    pub valid_until: Option<Timestamp>,
}

impl fmt::Debug for Effective<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Effective({} {} at {}, subject redacted)", self.purpose, self.event, self.at)
    }
}

/// A change as it happened.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The registry's epoch after it; the one before if nothing was new.
    pub epoch: u64,
    /// What has to be logged; `None` if nothing was new.
    pub pending: Option<PendingChange>,
    /// The records, new or known, in the order of the events.
    pub records: Vec<RecordId>,
    /// The events that were new.
    pub events: Vec<NewEvent>,
    /// How many events were left out because their shopper was erased later.
    pub erased: u64,
}

/// A change whose log entry may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingChange {
    /// Its epoch.
    pub epoch: u64,
    /// What it was.
    pub operation: Operation,
    /// How many events it has.
    pub events: u64,
    /// Digest over its epoch and records: what the entry names as its result.
    pub digest: Digest,
    /// The entry that came with it.
    pub entry: String,
}

/// The current state for one purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CurrentConsent {
    /// To what.
    pub purpose: PurposeId,
    /// The latest event.
    pub event: ConsentEvent,
    /// When.
    pub at: Timestamp,
    /// End of the term.
    pub valid_until: Option<Timestamp>,
}

/// One record as the registry keeps it, with everything a data subject or an authority may ask for. The shopper is not in
/// it: it is handed out to that shopper, and the pseudonym means nothing to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredRecord {
    /// Structure of the record.
    pub schema: &'static str,
    /// Its name.
    pub record_id: RecordId,
    /// To what.
    pub purpose: PurposeId,
    /// What happened.
    pub event: ConsentEvent,
    /// When the shopper said so.
    #[serde(serialize_with = "shown")]
    pub at: Timestamp,
    /// End of the term.
    #[serde(serialize_with = "shown_if", skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    /// How.
    pub method: Method,
    /// Digest of what proves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Digest>,
    /// What they were told; consent given has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// The party that recorded it.
    pub party: PartyId,
    /// Who recorded it.
    pub operator: Subject,
    /// When it was recorded.
    #[serde(serialize_with = "shown")]
    pub recorded_at: Timestamp,
    /// Epoch of the change it belongs to.
    pub epoch: u64,
    /// Digest of that change: the log's entry names it as its result.
    pub change: Digest,
    /// The change's place in the log, once it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
}

impl StoredRecord {
    /// Name of the structure.
    pub const SCHEMA: &'static str = SCHEMA;
}

fn shown<S: serde::Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(moment)
}

fn shown_if<S: serde::Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match moment {
        Some(moment) => serializer.collect_str(moment),
        None => serializer.serialize_none(),
    }
}
