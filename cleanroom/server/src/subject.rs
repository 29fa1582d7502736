//! What the law gives one shopper: everything that is held about them (GDPR art. 15), and its erasure (art. 17).
//!
//! An export is the one deliberate way of plaintext out of the house. Its entry is durable in the log before a byte of it
//! leaves; its body, sealed beside the log, says whom it was about. An erasure has two entries: one before anything is
//! touched, and one that names the first and commits to what was executed where. If a crash comes between them, the same
//! command again goes on and completes the record: every step says what it finds done as readily as what it does.
//!
//! Destinations come first and the vault last, because a shopper's pseudonyms at a destination can be made only as long as
//! the vault can open their identifiers.

use std::fmt;
use std::sync::Arc;

use audits::{Entry, Kind, Log, Receipt};
use identity::{Principal, ShopperPseudonym};
use ids::{Clock, Digest, PurposeId, UnitIx};
use policy::{Action, Bundle, Decision};
use serde_json::{Map, Value, json};
use vault::{Erasure, Shopper, Vault};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome};
use crate::refusals::broken;

/// Longest unit key that is looked for, in bytes.
const CARD_BYTES_MAX: usize = 256;

/// A shopper as the other rooms know them.
#[derive(Debug, Clone, Copy)]
pub struct Whom {
    /// Their position in the vault; after an erasure it stays theirs, so that what is left elsewhere can be found.
    pub unit: UnitIx,
    /// The pseudonym of their card.
    pub pseudonym: ShopperPseudonym,
}

/// A place besides the vault where something is held about shoppers: the consent registry, the audiences at destinations.
///
/// Called on a thread that may block.
pub trait Elsewhere: fmt::Debug + Send + Sync {
    /// A short name for people and for the record.
    fn name(&self) -> &'static str;

    /// All that is held there about the shopper, and where it went from there.
    ///
    /// # Errors
    ///
    /// What cannot be read; an export that lacks a part is no export.
    fn export(&self, whom: &Whom) -> Result<Value, Failure>;

    /// Removes the shopper, or goes on with it. Returns when it is durable that they will be removed.
    ///
    /// # Errors
    ///
    /// What cannot be written; the erasure stops before the vault is touched.
    fn erase(&self, whom: &Whom) -> Result<Vec<Removal>, Failure>;
}

/// How far a removal in one place is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The destination or store.
    pub place: String,
    /// Whether the place has confirmed it; if not, it is on its way and will be sent until it has.
    pub confirmed: bool,
    /// What was done, without personal data.
    pub what: String,
}

/// Everything that an export or an erasure needs.
pub(crate) struct Desk<'a> {
    pub(crate) bundle: &'a Bundle,
    pub(crate) log: &'a Log,
    pub(crate) vault: &'a mut Vault,
    pub(crate) elsewhere: &'a [Arc<dyn Elsewhere>],
    pub(crate) clock: &'a dyn Clock,
}

/// An export whose entry is in the log: it may leave.
pub(crate) struct Exported {
    /// The JSON text. Personal data; wiped when dropped.
    pub(crate) text: Zeroizing<String>,
    pub(crate) receipt: Receipt,
    /// Rows by table, for the operator's screen.
    pub(crate) rows: Vec<(String, usize)>,
}

/// An erasure that is complete and on record.
pub(crate) struct Erased {
    /// What was executed where, without personal data. Its digest is the result of the entry that `receipt` proves.
    pub(crate) record: Value,
    pub(crate) receipt: Receipt,
    pub(crate) erasure: Erasure,
    pub(crate) removals: Vec<Removal>,
}

impl Desk<'_> {
    /// Collects everything about the shopper with this unit key, and puts on record that it is handed out.
    ///
    /// # Errors
    ///
    /// A denial, nobody of that key, or a part that cannot be read; nothing has left then.
    pub(crate) fn export(
        &self,
        principal: &Principal,
        purpose: &PurposeId,
        card: &str,
    ) -> Result<Exported, Failure> {
        let entry = self.permitted(principal, purpose, Action::ExportSubject, Kind::SubjectExported)?;
        let whom = match self.find(card, &entry)? {
            (whom, false) => whom,
            (_, true) => {
                return Err(self.nobody(&entry, "subject_erased", "the shopper was erased: nothing is held"));
            }
        };
        let subject = self
            .vault
            .subject(whom.unit)
            .map_err(|why| broken(why.code(), "cannot collect the shopper's rows", &why))?;
        let rows = subject.tables.iter().map(|table| (table.table.clone(), table.rows.len())).collect();
        let tables: Map<String, Value> = subject
            .tables
            .into_iter()
            .map(|table| (table.table, table.rows.into_iter().map(Value::from).collect()))
            .collect();
        let mut elsewhere = Map::new();
        for place in self.elsewhere {
            elsewhere.insert(place.name().to_owned(), place.export(&whom)?);
        }
        let document = json!({
            "about": {
                "dataset": self.vault.catalogue().dataset().as_str(),
                "key": card.trim(),
                "snapshot": self.vault.snapshot().to_string(),
                "exported_at": self.clock.now().to_string(),
                "time_zone": self.vault.catalogue().time_zone(),
            },
            "tables": tables,
            "elsewhere": elsewhere,
            "releases": "Published statistics hold noise in place of any one shopper: they cannot be traced to this \
                         person and are not part of this export.",
        });
        let text = Zeroizing::new(format!("{document:#}\n"));
        let body = json!({
            "shopper": pseudonym_hex(&whom),
            "digest": Digest::of(text.as_bytes()).to_string(),
        });
        let receipt = self.append(entry, &body)?;
        Ok(Exported { text, receipt, rows })
    }

    /// Erases the shopper with this unit key everywhere. Repeated, it goes on where it stopped.
    ///
    /// # Errors
    ///
    /// A denial, nobody of that key, or a place that fails; what was done until then stays done, and the same call again
    /// does the rest.
    pub(crate) fn erase(
        &mut self,
        principal: &Principal,
        purpose: &PurposeId,
        card: &str,
    ) -> Result<Erased, Failure> {
        let entry = self.permitted(principal, purpose, Action::EraseSubject, Kind::SubjectErased)?;
        let (whom, before) = self.find(card, &entry)?;
        let intent =
            self.append(entry.clone(), &json!({ "shopper": pseudonym_hex(&whom), "step": "begun" }))?;
        let mut removals = Vec::new();
        for place in self.elsewhere {
            removals.extend(place.erase(&whom)?);
        }
        let shoppers = std::iter::once(whom.unit.0).collect();
        let erasure = self.vault.erase(&shoppers, &vault::Quiet).map_err(|why| {
            broken(why.code(), "cannot erase the shopper from the vault", &why)
                .way_out("the vault is as it was; the same command again goes on where this one stopped")
        })?;
        let record = json!({
            "erased": {
                "dataset": self.vault.catalogue().dataset().as_str(),
                "at": self.clock.now().to_string(),
                "begun_in_entry": intent.index,
                "erased_before": before,
                "vault": {
                    "snapshot": erasure.snapshot.to_string(),
                    "previous_snapshot": erasure.previous.to_string(),
                    "tables": erasure.tables.iter().map(|table| json!({
                        "table": table.table, "rows_removed": table.rows, "part_keys_destroyed": table.parts,
                    })).collect::<Vec<_>>(),
                },
                "elsewhere": removals.iter().map(|removal| json!({
                    "place": removal.place, "confirmed": removal.confirmed, "what": removal.what,
                })).collect::<Vec<_>>(),
                "kept": "a keyed tombstone by which the card is known again and left out; the log's entries, which name \
                         nobody; published statistics, which hold noise in place of any one shopper",
            }
        });
        let result = Digest::of(record.to_string().as_bytes());
        let entry = Entry {
            snapshot: Some(erasure.snapshot),
            result: Some(result),
            target: Some(intent.index),
            ..entry
        };
        let receipt = self.append(entry, &record).map_err(|failure| {
            failure.way_out("the shopper is erased but not on record: the same command again records it")
        })?;
        Ok(Erased { record, receipt, erasure, removals })
    }

    /// Asks policy; a denial is logged under the same kind.
    fn permitted(
        &self,
        principal: &Principal,
        purpose: &PurposeId,
        action: Action,
        kind: Kind,
    ) -> Result<Entry, Failure> {
        let (dataset, snapshot) = (self.vault.catalogue().dataset().clone(), self.vault.snapshot());
        let decision = self.bundle.decide(
            &policy::Request::act(
                principal.clone(),
                action,
                dataset.clone(),
                purpose.clone(),
                Digest::of_parts(&[action.name().as_bytes(), snapshot.as_bytes()]),
            ),
            self.clock.now(),
        );
        let entry = Entry {
            principal: Some(principal.subject().clone()),
            party: Some(principal.party().clone()),
            role: principal.role().to_string().parse().ok(),
            purpose: Some(purpose.clone()),
            bundle: Some(self.bundle.digest()),
            clauses: decision.clauses().to_vec(),
            decision: Some(audits::Decision::Permitted),
            datasets: vec![dataset],
            snapshot: Some(snapshot),
            ..Entry::new(kind)
        };
        let Decision::Denied(denied) = decision else { return Ok(entry) };
        let receipt = self
            .log
            .append(Entry { decision: Some(audits::Decision::Denied), ..entry }, None)
            .map_err(|why| broken("log_failed", "cannot write the audit log", &why))?;
        let clauses: Vec<&str> = denied.clauses.iter().map(ids::ClauseId::as_str).collect();
        Err(Failure::new(Outcome::Denied, "denied", "the agreement does not allow this", &denied.reason)
            .at(format!("clause {} (log entry {})", clauses.join(", "), receipt.index)))
    }

    /// The shopper with this unit key, and whether they were erased before. A key that is nobody's is a refusal, on record:
    /// to ask who is a shopper is an act too.
    fn find(&self, card: &str, entry: &Entry) -> Result<(Whom, bool), Failure> {
        let nobody = || self.nobody(entry, "subject_unknown", "the vault knows no shopper of this key");
        if card.len() > CARD_BYTES_MAX {
            return Err(nobody());
        }
        let shoppers = self
            .vault
            .shoppers()
            .map_err(|why| broken(why.code(), "cannot open the unit directory", &why))?;
        let pseudonym = self.vault.pseudonym_of_key(card).ok_or_else(nobody)?;
        match shoppers.find(card) {
            Shopper::Known(unit) => Ok((Whom { unit, pseudonym }, false)),
            Shopper::Erased(unit) => Ok((Whom { unit, pseudonym }, true)),
            Shopper::Unknown => Err(nobody()),
        }
    }

    fn nobody(&self, entry: &Entry, code: &str, why: &str) -> Failure {
        let entry = Entry { reason: code.parse().ok(), ..entry.clone() };
        match self.log.append(entry, None) {
            Ok(_) => Failure::usage(code, "there is nobody to do this for", why)
                .way_out("give the key as the loyalty files write it, such as the card number"),
            Err(why) => broken("log_failed", "cannot write the audit log", &why),
        }
    }

    fn append(&self, entry: Entry, body: &Value) -> Result<Receipt, Failure> {
        let body = Zeroizing::new(body.to_string());
        self.log
            .append(entry, Some(body.as_bytes()))
            .map_err(|why| broken("log_failed", "cannot write the audit log", &why))
    }
}

fn pseudonym_hex(whom: &Whom) -> String {
    whom.pseudonym.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
