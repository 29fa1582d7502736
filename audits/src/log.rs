//! The log as its users see it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;

use ids::{Clock, Digest, Entropy, Timestamp};
use zeroize::Zeroizing;

use crate::body::{self, BODY_BYTES_MAX, BodyKey};
use crate::entry::{Entry, EntryRefused, Kind, Logged};
use crate::files::{Disk, Files};
use crate::folder::StorageFailed;
use crate::note::{LogKey, Origin, VerifierKey};
use crate::receipt::Receipt;
use crate::recover::{self, LogRefused};
use crate::tiles::{Name, TILE_WIDTH, Width, split_entry};
use crate::tree::{ProofRefused, Tree};

/// Appends that may wait for the writer; a caller beyond them waits to be queued.
const QUEUE_MAX: usize = 4096;

/// Where a log lies and how it is called.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The folder of the log. It may be published; whoever edits it is found out.
    pub dir: PathBuf,
    /// A file outside of `dir`, best on another disk, that holds the newest signed head. It is the fork guard: it is
    /// written before the folder's own checkpoint, so that a folder put back to an older state is noticed.
    pub head_path: PathBuf,
    /// Name of the log, such as `audit.example.kz/main-2026`; see [`Origin`].
    pub origin: String,
}

/// Why an entry was not taken in. Where the text does not say otherwise, the entry is in nobody's tree.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum AppendFailed {
    /// The entry cannot be a leaf.
    #[error("the entry is refused: {0}")]
    Entry(#[from] EntryRefused),
    /// The body is too long.
    #[error("the body takes {bytes} bytes but at most {BODY_BYTES_MAX} are kept")]
    BodyTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The body could not be sealed.
    #[error("the body could not be sealed: {reason}")]
    Seal {
        /// Why.
        reason: String,
    },
    /// An erasure names no body that could be erased.
    #[error("entry {target} has no body that could be erased")]
    NothingToErase {
        /// The entry named.
        target: u64,
    },
    /// The clock is far behind the newest entry.
    #[error("the clock says {now} but the newest entry is of {last}: set the clock right, then append again")]
    ClockWentBack {
        /// What the clock says.
        now: Timestamp,
        /// Time of the newest entry.
        last: Timestamp,
    },
    /// A file operation failed while this entry was being written. It may turn out to be in the log after all when it
    /// is opened again; no receipt was given, so no result may leave.
    #[error("{0}; the log takes nothing more until it is opened again")]
    Storage(#[from] StorageFailed),
    /// An earlier file operation failed.
    #[error("the log stopped earlier: {0}; open it again")]
    Stopped(StorageFailed),
    /// The checkpoint could not be signed.
    #[error("the checkpoint could not be signed; the log takes nothing more until it is opened again")]
    Sign,
    /// The writer is gone.
    #[error("the log is closed")]
    Closed,
}

impl AppendFailed {
    /// A stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Entry(_) => "entry-refused",
            Self::BodyTooLarge { .. } => "body-too-large",
            Self::Seal { .. } => "body-not-sealed",
            Self::NothingToErase { .. } => "nothing-to-erase",
            Self::ClockWentBack { .. } => "clock-went-back",
            Self::Storage(_) => "storage-failed",
            Self::Stopped(_) => "log-stopped",
            Self::Sign => "not-signed",
            Self::Closed => "log-closed",
        }
    }
}

/// Why something could not be read from an open log.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ReadRefused {
    /// Beyond the log's end.
    #[error("the log has {size} entries, so there is no entry {index}")]
    OutsideLog {
        /// The entry asked for.
        index: u64,
        /// Entries of the log.
        size: u64,
    },
    /// A file operation failed.
    #[error(transparent)]
    Storage(#[from] StorageFailed),
    /// The bundle is not what was written: run a verification.
    #[error("entry {index} cannot be read from its bundle: verify the log")]
    Damaged {
        /// The entry asked for.
        index: u64,
    },
    /// The body does not open under the log's body key, or is not the one committed to.
    #[error("the body of entry {index} does not open under this body key")]
    Body {
        /// The entry asked for.
        index: u64,
    },
    /// No such proof.
    #[error(transparent)]
    Proof(#[from] ProofRefused),
}

impl ReadRefused {
    /// A stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OutsideLog { .. } => "no-such-entry",
            Self::Storage(_) => "storage-failed",
            Self::Damaged { .. } => "bundle-damaged",
            Self::Body { .. } => "body-does-not-open",
            Self::Proof(_) => "no-such-proof",
        }
    }
}

/// What the writer and its readers share.
pub(crate) struct Shared {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) dir: PathBuf,
    pub(crate) origin: Origin,
    pub(crate) verifier_key: VerifierKey,
    pub(crate) body_key: BodyKey,
    pub(crate) state: RwLock<State>,
}

/// The committed log. Only the writer changes it.
pub(crate) struct State {
    /// May hold more leaves than `size` while a commit is under way; nobody is shown those.
    pub(crate) tree: Tree,
    pub(crate) size: u64,
    pub(crate) root: Digest,
    pub(crate) checkpoint: String,
    /// First entry with each result digest.
    pub(crate) results: HashMap<Digest, u64>,
    /// First entries of the bodies files.
    pub(crate) bodies: BTreeSet<u64>,
}

impl Shared {
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        // The state is changed in one go after a commit, so a panic elsewhere cannot have left it half changed.
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The receipt of an entry in the committed tree.
    pub(crate) fn receipt(&self, index: u64) -> Result<Receipt, ProofRefused> {
        let state = self.state();
        let proof = state.tree.inclusion(index, state.size)?;
        Ok(Receipt {
            index,
            tree_size: state.size,
            root: state.root,
            checkpoint: state.checkpoint.clone(),
            proof,
        })
    }

    /// The bundle that holds entry `n·256`, as wide as the committed log makes it.
    fn bundle(&self, state: &State, n: u64) -> Result<Vec<u8>, StorageFailed> {
        let width = (state.size - n * TILE_WIDTH).min(TILE_WIDTH) as Width;
        let name = Name::Entries { n, width };
        self.files
            .read(&self.dir.join(name.to_string()))
            .map_err(|error| StorageFailed::new("read", name, &error))
    }

    pub(crate) fn entries(&self, range: Range<u64>) -> Result<Vec<Logged>, ReadRefused> {
        // Held while reading: the writer removes superseded partial bundles only after it has had the lock.
        let state = self.state();
        if range.end > state.size {
            return Err(ReadRefused::OutsideLog { index: range.end - 1, size: state.size });
        }
        let mut found = Vec::new();
        let mut next = range.start;
        while next < range.end {
            let n = next / TILE_WIDTH;
            let bundle = self.bundle(&state, n)?;
            let mut rest = bundle.as_slice();
            for index in n * TILE_WIDTH..range.end.min((n + 1) * TILE_WIDTH) {
                let (entry, after) = split_entry(rest).ok_or(ReadRefused::Damaged { index })?;
                if index >= next {
                    found.push(Logged::from_leaf(index, entry).map_err(|_| ReadRefused::Damaged { index })?);
                }
                rest = after;
            }
            next = (n + 1) * TILE_WIDTH;
        }
        Ok(found)
    }

    pub(crate) fn entry(&self, index: u64) -> Result<Logged, ReadRefused> {
        let outside = |size| ReadRefused::OutsideLog { index, size };
        let end = index.checked_add(1).ok_or(outside(self.state().size))?;
        self.entries(index..end)?.pop().ok_or(ReadRefused::Damaged { index })
    }

    /// The file that would hold the record of entry `index`, and its contents; `None` if there is no such file.
    pub(crate) fn bodies_file(&self, index: u64) -> Result<Option<(Name, Vec<u8>)>, StorageFailed> {
        let Some(first) = self.state().bodies.range(..=index).next_back().copied() else { return Ok(None) };
        let name = Name::Bodies { first };
        match self.files.read(&self.dir.join(name.to_string())) {
            Ok(file) => Ok(Some((name, file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageFailed::new("read", name, &error)),
        }
    }

    /// The sealed record of entry `index`, if it lies there.
    pub(crate) fn record(&self, index: u64) -> Result<Option<Vec<u8>>, ReadRefused> {
        let Some((_, file)) = self.bodies_file(index)? else { return Ok(None) };
        let records = body::records(&file).map_err(|_| ReadRefused::Body { index })?;
        Ok(records.into_iter().find(|record| record.index == index).map(|record| record.bytes.to_vec()))
    }
}

/// One append on its way to the writer.
pub(crate) struct Job {
    pub(crate) entry: Entry,
    pub(crate) body: Option<Zeroizing<Vec<u8>>>,
    pub(crate) reply: SyncSender<Result<Receipt, AppendFailed>>,
}

type Reply = Receiver<Result<Receipt, AppendFailed>>;

/// An open log: appended to by many threads, written by one.
///
/// **Time.** The writer stamps each entry with its clock. A clock that steps back by up to ten seconds (as time
/// synchronisation does) is clamped: the entry gets the time of the one before. One that is further behind is refused,
/// for then either the clock or the log is wrong and a person has to say which.
///
/// **Memory.** About 64 bytes per entry, for the tree; entries and bodies stay on disk. Opening reads and checks every
/// entry, so it takes time in proportion to the log; a log is meant to be closed and succeeded, say, every half year.
pub struct Log {
    shared: Arc<Shared>,
    /// `None` only while being dropped.
    queue: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl Log {
    /// Makes a new, empty log and opens it. A log is made only on purpose, so that a lost folder or a wrong path cannot
    /// begin a second history under the same name.
    ///
    /// # Errors
    /// When there is something at `dir` or `head_path` already, or a file operation fails.
    pub fn create(
        config: LogConfig,
        key: LogKey,
        body_key: BodyKey,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, LogRefused> {
        recover::create(Arc::new(Disk), &config, &key)?;
        Self::open(config, key, body_key, clock, entropy)
    }

    /// Opens a log: locks it, derives the head anew from every file, finishes a commit that a crash interrupted, and
    /// refuses to run if anything else is not as it must be.
    ///
    /// # Errors
    /// When there is no log, another writer has it, the head cannot be derived, or the clock is behind its last entry.
    pub fn open(
        config: LogConfig,
        key: LogKey,
        body_key: BodyKey,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, LogRefused> {
        Self::open_on(Arc::new(Disk), config, key, body_key, clock, entropy)
    }

    pub(crate) fn open_on(
        files: Arc<dyn Files>,
        config: LogConfig,
        key: LogKey,
        body_key: BodyKey,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, LogRefused> {
        let (shared, writer) = recover::open(files, &config, key, body_key, clock, entropy)?;
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let thread = std::thread::Builder::new().name("audit-writer".to_owned());
        let writer = thread.spawn(move || writer.run(&jobs)).map_err(|_| LogRefused::Thread)?;
        Ok(Self { shared, queue: Some(queue), writer: Some(writer) })
    }

    /// Takes an entry in, with its body if it has one, and returns when it is durable and part of the signed tree.
    /// Blocks for one or two commits; many threads share each commit.
    ///
    /// # Errors
    /// When the entry or body is refused, or the log cannot be written. After a failed file operation the log takes
    /// nothing more until it is opened again.
    pub fn append(&self, entry: Entry, body: Option<&[u8]>) -> Result<Receipt, AppendFailed> {
        receive(self.enqueue(entry, body)?)
    }

    /// Takes several entries in, in this order, sharing commits. Each has its own outcome.
    pub fn append_all(&self, entries: Vec<(Entry, Option<&[u8]>)>) -> Vec<Result<Receipt, AppendFailed>> {
        let queued: Vec<_> = entries.into_iter().map(|(entry, body)| self.enqueue(entry, body)).collect();
        queued.into_iter().map(|reply| reply.and_then(receive)).collect()
    }

    /// Puts `entry` (its kind becomes [`Kind::BodyErased`], its target `index`) on record, then destroys the sealed body
    /// of entry `index` with its keys. Every proof stays valid.
    ///
    /// The file is rewritten without the record; what a disk keeps of freed blocks is sealed under the body key.
    ///
    /// # Errors
    /// As [`Log::append`], and when that entry has no body (any more).
    pub fn erase_body(&self, index: u64, entry: Entry) -> Result<Receipt, AppendFailed> {
        self.append(Entry { kind: Kind::BodyErased, target: Some(index), ..entry }, None)
    }

    fn enqueue(&self, entry: Entry, body: Option<&[u8]>) -> Result<Reply, AppendFailed> {
        if let Some(bytes) = body.map(<[u8]>::len).filter(|bytes| *bytes > BODY_BYTES_MAX) {
            return Err(AppendFailed::BodyTooLarge { bytes });
        }
        let (reply, outcome) = sync_channel(1);
        let job = Job { entry, body: body.map(|body| Zeroizing::new(body.to_vec())), reply };
        let queue = self.queue.as_ref().ok_or(AppendFailed::Closed)?;
        queue.send(job).map_err(|_| AppendFailed::Closed)?;
        Ok(outcome)
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.shared.state().size
    }

    /// The newest checkpoint, as published.
    pub fn checkpoint(&self) -> String {
        self.shared.state().checkpoint.clone()
    }

    /// What a verifier must know.
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.shared.verifier_key
    }

    /// One entry.
    ///
    /// # Errors
    /// When there is none at `index`, or its bundle cannot be read.
    pub fn entry(&self, index: u64) -> Result<Logged, ReadRefused> {
        self.shared.entry(index)
    }

    /// The entries of a range.
    ///
    /// # Errors
    /// When the range goes beyond the log, or a bundle cannot be read.
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Logged>, ReadRefused> {
        self.shared.entries(range)
    }

    /// The body of entry `index`; `None` if it had none or was erased.
    ///
    /// # Errors
    /// When there is no such entry or the body does not open.
    pub fn body(&self, index: u64) -> Result<Option<Vec<u8>>, ReadRefused> {
        let logged = self.shared.entry(index)?;
        let (Some(commit), Some(record)) = (logged.body, self.shared.record(index)?) else { return Ok(None) };
        let opened = body::open(&self.shared.body_key, &self.shared.origin, index, &record, &commit);
        opened.map(Some).map_err(|_| ReadRefused::Body { index })
    }

    /// The first entry whose result has this digest.
    pub fn find_result(&self, result: &Digest) -> Option<u64> {
        self.shared.state().results.get(result).copied()
    }

    /// A receipt of entry `index` in the newest tree.
    ///
    /// # Errors
    /// When there is no such entry.
    pub fn prove_inclusion(&self, index: u64) -> Result<Receipt, ReadRefused> {
        Ok(self.shared.receipt(index)?)
    }

    /// The proof that the log of `new` entries extends the one of `old` entries.
    ///
    /// # Errors
    /// When the sizes are in the wrong order or beyond the log.
    pub fn prove_consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, ReadRefused> {
        let state = self.shared.state();
        if new > state.size {
            return Err(ProofRefused::Sizes { old, new, size: state.size }.into());
        }
        Ok(state.tree.consistency(old, new)?)
    }
}

fn receive(reply: Reply) -> Result<Receipt, AppendFailed> {
    reply.recv().unwrap_or(Err(AppendFailed::Closed))
}

impl Drop for Log {
    /// Waits until everything in the queue is on disk.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has answered nobody since; there is nothing left to wait for.
            let _ = writer.join();
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("origin", &self.shared.origin)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
