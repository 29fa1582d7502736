//! The audit log as this room sees it: a port, so that tests can break it.

use audits::{Entry, Kind, Log, Receipt};
use ids::Digest;

/// The log took nothing, or cannot be read. Whether an entry that failed is in the log is unknown until it is looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log failed: {reason}")]
pub struct JournalFailed {
    /// What it said; goes to the operator.
    pub reason: String,
}

/// The tamper-evident log. Appending blocks until the entries are durable and part of the signed tree.
///
/// An entry is known by its `result`, a digest of what it is about: who appends after a crash looks it up first, so that
/// one fact has one entry.
pub trait Journal: Send + Sync {
    /// Takes entries in, in this order, each with its body; every one has its own outcome: its index.
    fn append(&self, entries: Vec<(Entry, Vec<u8>)>) -> Vec<Result<u64, JournalFailed>>;
    /// Number of entries.
    fn size(&self) -> u64;
    /// The results of the outbox's entries among `from..to`, with their indices.
    fn outbox_results(&self, from: u64, to: u64) -> Result<Vec<(u64, Digest)>, JournalFailed>;
    /// The first entry with this result.
    fn find_result(&self, result: &Digest) -> Option<u64>;
    /// A receipt of an entry in the newest tree: what a shopper may take away as a proof.
    fn receipt(&self, index: u64) -> Result<Receipt, JournalFailed>;
}

impl Journal for Log {
    fn append(&self, entries: Vec<(Entry, Vec<u8>)>) -> Vec<Result<u64, JournalFailed>> {
        let borrowed = entries.iter().map(|(entry, body)| {
            let body = (!body.is_empty()).then_some(body.as_slice());
            (entry.clone(), body)
        });
        let appended = self.append_all(borrowed.collect());
        appended.into_iter().map(|receipt| receipt.map(|receipt| receipt.index).map_err(failed)).collect()
    }

    fn size(&self) -> u64 {
        self.size()
    }

    fn outbox_results(&self, from: u64, to: u64) -> Result<Vec<(u64, Digest)>, JournalFailed> {
        let entries = self.entries(from..to.min(self.size())).map_err(failed)?;
        let ours = [Kind::AudienceQueued, Kind::AudienceSettled, Kind::AudienceAlarm];
        let about = entries.into_iter().filter(|logged| ours.contains(&logged.entry.kind));
        Ok(about.filter_map(|logged| Some((logged.index, logged.entry.result?))).collect())
    }

    fn find_result(&self, result: &Digest) -> Option<u64> {
        self.find_result(result)
    }

    fn receipt(&self, index: u64) -> Result<Receipt, JournalFailed> {
        self.prove_inclusion(index).map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> JournalFailed {
    JournalFailed { reason: error.to_string() }
}
