//! Where the outbox keeps its rows: one transactional port.
//!
//! Every change of the outbox is one [`Store::commit`]: all of its changes or none. A commit names the generation that it
//! was planned on, so that two processes over one store cannot plan past each other.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use audits::Entry;
use ids::{Digest, Timestamp};
use roaring::RoaringBitmap;

use crate::batch::{BatchId, Header, Lane};
use crate::destination::Reason;

/// The store failed. Its message may hold paths and goes to the operator only.
#[derive(Debug, thiserror::Error)]
pub enum StoreFailed {
    /// Somebody else committed since; nothing was written.
    #[error("the outbox was changed by another process meanwhile")]
    Stale,
    /// The database said no; whether the change was written is not known.
    #[error("the outbox's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A row cannot be read.
    #[error("the outbox holds a row that cannot be read: {0}")]
    Unreadable(&'static str),
    /// A number is too large to be stored.
    #[error("a number is too large to be stored")]
    TooLarge,
    /// The store is not reachable; whether the change was written is not known.
    #[error("the outbox's store is not reachable")]
    Unreachable,
}

/// What every operation returns.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreFailed>> + Send + 'a>>;

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// To be sent, perhaps again.
    Queued,
    /// Being sent. After a crash: nobody knows whether it was.
    Sending,
    /// The destination has it and is asked for its final word.
    Accepted,
    /// The destination took it, but for the rejected members.
    Settled,
    /// Other batches took its place (it was split, or its members left before it was ever sent).
    Replaced,
}

impl Stage {
    /// Whether there is still something to do.
    pub const fn open(self) -> bool {
        matches!(self, Self::Queued | Self::Sending | Self::Accepted)
    }
}

/// One batch as the outbox knows it.
#[derive(Clone, PartialEq)]
pub struct Row {
    /// Name and place.
    pub header: Header,
    /// How far it has come.
    pub stage: Stage,
    /// Its members. Sealed in the store.
    pub units: RoaringBitmap,
    /// The members that the destination did not take. Sealed in the store.
    pub rejected: RoaringBitmap,
    /// Why it did not.
    pub reason: Option<Reason>,
    /// How often it was sent.
    pub attempts: u32,
    /// How often its status was asked for since.
    pub polls: u32,
    /// Whether the destination may hold members although it never confirmed (a lost answer, a crash).
    pub doubt: bool,
    /// When it is due.
    pub next_at: Timestamp,
    /// The log entry without whose receipt it is not sent.
    pub entry: Digest,
    /// The log entry of its final word.
    pub settled_entry: Option<Digest>,
    /// When the alarm was raised over it.
    pub alarm_at: Option<Timestamp>,
    /// When it, or what it is a part of, was queued.
    pub queued_at: Timestamp,
    /// Whether its tokens are still kept.
    pub kept: bool,
}

impl Row {
    /// The members that it brings in or takes out: all but the rejected.
    pub(crate) fn live(&self) -> RoaringBitmap {
        &self.units - &self.rejected
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("header", &self.header)
            .field("stage", &self.stage)
            .field("rejected", &self.rejected.len())
            .field("attempts", &self.attempts)
            .field("doubt", &self.doubt)
            .field("next_at", &self.next_at)
            .finish_non_exhaustive()
    }
}

/// A log entry to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// Its result, by which it is known.
    pub id: Digest,
    /// The entry.
    pub entry: Entry,
    /// Its body: batch ids and counts.
    pub body: Vec<u8>,
}

/// What a commit does.
#[derive(Clone)]
pub enum Change {
    /// Makes or changes a lane.
    Lane {
        /// Which.
        lane: Lane,
        /// The next position to be given out.
        next_seq: u64,
        /// Whether it takes no more members.
        closed: bool,
    },
    /// A new batch.
    Insert {
        /// It.
        row: Box<Row>,
        /// Its units, sealed.
        units: Vec<u8>,
        /// Units and tokens, sealed.
        members: Vec<u8>,
    },
    /// A batch changed.
    Update {
        /// As it is now.
        row: Box<Row>,
        /// Its rejected units, sealed, if there are any.
        rejected: Option<Vec<u8>>,
    },
    /// Other tokens are kept of a batch, or none.
    Keep {
        /// Which.
        batch: BatchId,
        /// Units and tokens, sealed.
        members: Option<Vec<u8>>,
    },
    /// A log entry is owed.
    Owe(Box<Pending>),
    /// It is in the log.
    Logged {
        /// Which.
        id: Digest,
        /// Where.
        index: u64,
    },
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lane { lane, next_seq, closed } => write!(f, "Lane({lane}, {next_seq}, closed {closed})"),
            Self::Insert { row, .. } => write!(f, "Insert({row:?})"),
            Self::Update { row, .. } => write!(f, "Update({row:?})"),
            Self::Keep { batch, members } => write!(f, "Keep({batch}, {})", members.is_some()),
            Self::Owe(pending) => write!(f, "Owe({})", pending.id),
            Self::Logged { id, index } => write!(f, "Logged({id}, {index})"),
        }
    }
}

/// A row as it lies in the store: its bitmaps are empty, what they are is sealed beside it.
#[derive(Debug, Clone)]
pub struct StoredRow {
    /// All but the bitmaps.
    pub row: Row,
    /// The units, sealed.
    pub units: Vec<u8>,
    /// The rejected units, sealed.
    pub rejected: Option<Vec<u8>>,
}

/// A lane as it lies in the store.
#[derive(Debug, Clone)]
pub struct StoredLane {
    /// Which.
    pub lane: Lane,
    /// The next position to be given out.
    pub next_seq: u64,
    /// Whether it takes no more members.
    pub closed: bool,
}

/// Everything but the tokens.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// How many commits there were.
    pub generation: u64,
    /// The lanes.
    pub lanes: Vec<StoredLane>,
    /// The batches.
    pub rows: Vec<StoredRow>,
    /// The log entries that are in the log, with their indices.
    pub logged: Vec<(Digest, u64)>,
    /// The log entries that are owed, oldest first.
    pub pending: Vec<Pending>,
}

/// The transactional store.
pub trait Store: Send + Sync {
    /// Everything but the tokens.
    fn load(&self) -> Later<'_, Stored>;
    /// How many commits there were.
    fn generation(&self) -> Later<'_, u64>;
    /// The units and tokens of a batch, sealed; `None` if they are no longer kept.
    fn members<'a>(&'a self, batch: &'a BatchId) -> Later<'a, Option<Vec<u8>>>;
    /// All changes or none, if the store is still at `generation`; it is at the next one then.
    fn commit<'a>(&'a self, generation: u64, changes: &'a [Change]) -> Later<'a, ()>;
}
