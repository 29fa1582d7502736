//! The log as the engine sees it: a port, so that tests can break it.

use audits::{Entry, Logged, Receipt};
use ids::Digest;

/// The log took nothing, or cannot be read. Whether an entry that failed is in the log is unknown until it is looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log failed: {reason}")]
pub struct JournalFailed {
    /// What it said; goes to the operator.
    pub reason: String,
}

/// The tamper-evident log. Appending blocks until the entry is durable and part of the signed tree.
pub trait Journal: Send + Sync {
    /// Takes an entry in, with its body.
    fn append(&self, entry: Entry, body: Option<&[u8]>) -> Result<Receipt, JournalFailed>;
    /// Number of entries.
    fn size(&self) -> u64;
    /// Entries `from..to`, at most as many as there are.
    fn entries(&self, from: u64, to: u64) -> Result<Vec<Logged>, JournalFailed>;
    /// The first entry whose result has this digest.
    fn find_result(&self, result: &Digest) -> Option<u64>;
    /// A receipt of an entry in the newest tree.
    fn receipt(&self, index: u64) -> Result<Receipt, JournalFailed>;
}

impl Journal for audits::Log {
    fn append(&self, entry: Entry, body: Option<&[u8]>) -> Result<Receipt, JournalFailed> {
        self.append(entry, body).map_err(failed)
    }

    fn size(&self) -> u64 {
        self.size()
    }

    fn entries(&self, from: u64, to: u64) -> Result<Vec<Logged>, JournalFailed> {
        self.entries(from..to.min(self.size())).map_err(failed)
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
