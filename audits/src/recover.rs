//! Making a log, and opening one: after a clean end, after a crash at any point, or not at all.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, RwLock};

use ids::{Clock, Entropy, Timestamp};

use crate::body::BodyKey;
use crate::commit::{
    BATCH_ENTRIES_MAX, CLOCK_STEP_BACK_MS_MAX, Writer, beside, erase, replace, replace_head,
};
use crate::files::{Files, Lock};
use crate::folder::{Folder, Listing, StorageFailed, VerifyRefused, derive};
use crate::log::{LogConfig, Shared, State};
use crate::note::{Checkpoint, LogKey, NoteRefused, Origin, OriginRefused, VerifierKey};
use crate::tiles::{CHECKPOINT, LOCK, Name, TILE_WIDTH};
use crate::tree::{Tree, empty_root};

/// Why a log is not opened. Each but the first four means that what is stored is not what this log wrote, or not all.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum LogRefused {
    /// Nothing there.
    #[error("there is no log here: make one with `Log::create`")]
    NotFound,
    /// Something there already.
    #[error("there is a log here already (`{found}`): open it, or choose another place")]
    Exists {
        /// What was found.
        found: String,
    },
    /// Another writer has it.
    #[error(
        "another process writes or verifies this log (`{file}` is locked): a log has one writer, so stop it or wait"
    )]
    Locked {
        /// The locked file.
        file: String,
    },
    /// The fork guard lies in the folder that it guards.
    #[error("the head file must not lie in the log's folder: it guards against that folder being put back")]
    HeadInsideLog,
    /// The name is none.
    #[error(transparent)]
    Origin(#[from] OriginRefused),
    /// A file operation failed.
    #[error(transparent)]
    Storage(#[from] StorageFailed),
    /// The writer's thread could not be started.
    #[error("the writer's thread could not be started")]
    Thread,
    /// The signing key cannot be used.
    #[error("the signing key cannot be used")]
    Key,
    /// The log has no head file.
    #[error(
        "the log has a checkpoint but no head file: put the head file back, or verify the log before trusting a copy of its checkpoint"
    )]
    HeadMissing,
    /// The head is not signed by this log's key, or is another log's.
    #[error("the head file is refused: {0}")]
    HeadRefused(NoteRefused),
    /// The folder's checkpoint is not there.
    #[error(
        "the head file signs {size} entries but the folder has no checkpoint: it was put back or emptied"
    )]
    CheckpointMissing {
        /// Entries of the head.
        size: u64,
    },
    /// The folder's checkpoint is not signed by this log's key, or is another log's.
    #[error("the checkpoint is refused: {0}")]
    CheckpointRefused(NoteRefused),
    /// The head file is older than the folder.
    #[error("the head file signs {head} entries but the checkpoint {checkpoint}: the head file was put back")]
    HeadBehind {
        /// Entries of the head.
        head: u64,
        /// Entries of the checkpoint.
        checkpoint: u64,
    },
    /// Two histories.
    #[error(
        "the head file and the checkpoint do not lie on one history (at {size} entries): the log was forked"
    )]
    Forked {
        /// Size at which they differ.
        size: u64,
    },
    /// There is more than a crash can leave behind.
    #[error(
        "`{file}` lies further beyond the signed head than one interrupted commit can reach: head and checkpoint were put back"
    )]
    BeyondHead {
        /// The file.
        file: String,
    },
    /// The files do not bear out the head.
    #[error("the head cannot be derived from the folder: {0}")]
    Damaged(VerifyRefused),
    /// The files bear out another head.
    #[error("the entries give another root than the head signs")]
    RootMismatch,
    /// The clock is behind the last entry.
    #[error("the clock says {now} but the newest entry is of {last}: set the clock right")]
    ClockBehind {
        /// What the clock says.
        now: Timestamp,
        /// Time of the newest entry.
        last: Timestamp,
    },
}

impl LogRefused {
    /// A stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "log-not-found",
            Self::Exists { .. } => "log-exists",
            Self::Locked { .. } => "log-locked",
            Self::HeadInsideLog => "head-inside-log",
            Self::Origin(_) => "origin-refused",
            Self::Storage(_) => "storage-failed",
            Self::Thread => "no-thread",
            Self::Key => "key-unusable",
            Self::HeadMissing => "head-missing",
            Self::HeadRefused(_) => "head-refused",
            Self::CheckpointMissing { .. } => "checkpoint-missing",
            Self::CheckpointRefused(_) => "checkpoint-refused",
            Self::HeadBehind { .. } => "head-behind",
            Self::Forked { .. } => "log-forked",
            Self::BeyondHead { .. } => "beyond-head",
            Self::Damaged(_) => "log-damaged",
            Self::RootMismatch => "root-mismatch",
            Self::ClockBehind { .. } => "clock-behind",
        }
    }
}

/// Makes an empty log: the folder, then the head, then the checkpoint. An interrupted making can be repeated (before the
/// head) or opened (after it).
pub(crate) fn create(files: Arc<dyn Files>, config: &LogConfig, key: &LogKey) -> Result<(), LogRefused> {
    let origin: Origin = config.origin.parse()?;
    check_places(config)?;
    let files = files.as_ref();
    if read(files, &config.head_path, "head")?.is_some() {
        return Err(LogRefused::Exists { found: "head".to_owned() });
    }
    make_dirs(files, &config.dir)?;
    make_dirs(files, config.head_path.parent().unwrap_or(Path::new("")))?;
    let _locks = lock(files, config)?;
    let listing = Listing::read(files, &config.dir)?;
    let ours = |name: &&Name| !matches!(name, Name::Lock | Name::Temporary);
    let found =
        listing.names.iter().find(ours).map(ToString::to_string).or(listing.strays.into_iter().next());
    if let Some(found) = found {
        return Err(LogRefused::Exists { found });
    }
    let head = Checkpoint { origin, size: 0, root: empty_root() }.sign(key).map_err(|_| LogRefused::Key)?;
    replace_head(files, &config.head_path, head.as_bytes())?;
    replace(files, &config.dir, Name::Checkpoint, head.as_bytes())?;
    Ok(())
}

/// Opens a log: what the writer thread and its readers need.
pub(crate) fn open(
    files: Arc<dyn Files>,
    config: &LogConfig,
    key: LogKey,
    body_key: BodyKey,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<(Arc<Shared>, Writer), LogRefused> {
    let origin: Origin = config.origin.parse()?;
    check_places(config)?;
    let verifier_key = key.verifier_key(&origin).map_err(|_| LogRefused::Key)?;
    check_there(files.as_ref(), config)?;
    let locks = lock(files.as_ref(), config)?;
    let heads = Heads::read(files.as_ref(), config, &verifier_key)?;
    let listing = discard_uncommitted(files.as_ref(), &config.dir, heads.head.size)?;

    let (mut tree, mut results) = (Tree::default(), HashMap::new());
    let folder = Folder { files: files.as_ref(), dir: &config.dir, listing: &listing, live: false };
    let derived = derive(folder, heads.head.size, &mut |logged, hash| {
        tree.push(hash);
        if let Some(result) = logged.entry.result {
            results.entry(result).or_insert(logged.index);
        }
    });
    let derived = derived.map_err(LogRefused::Damaged)?;
    if derived.root != heads.head.root {
        return Err(LogRefused::RootMismatch);
    }
    heads.check_one_history(&tree)?;
    check_clock(clock.as_ref(), derived.last_time)?;
    heads.publish(files.as_ref(), config)?;

    let Heads { head, head_note, .. } = heads;
    let state = State {
        tree,
        size: head.size,
        root: head.root,
        checkpoint: head_note,
        results,
        bodies: listing.bodies().collect(),
    };
    let (dir, head_path, state) = (config.dir.clone(), config.head_path.clone(), RwLock::new(state));
    let shared = Arc::new(Shared { files, dir, origin, verifier_key, body_key, state });
    for (target, _) in &derived.unerased {
        erase(&shared, *target)?;
    }
    let writer = Writer {
        shared: Arc::clone(&shared),
        key,
        clock,
        entropy,
        head_path,
        last_time: derived.last_time,
        last_bundle: derived.last_bundle,
        durable_dirs: BTreeSet::new(),
        stopped: None,
        _locks: locks,
    };
    Ok((shared, writer))
}

/// The two signed heads: the fork guard's, which is written first, and the folder's.
struct Heads {
    head: Checkpoint,
    head_note: String,
    /// `None` if the making of the log was interrupted.
    checkpoint: Option<Checkpoint>,
}

impl Heads {
    fn read(files: &dyn Files, config: &LogConfig, key: &VerifierKey) -> Result<Self, LogRefused> {
        let head = read(files, &config.head_path, "head")?;
        let checkpoint = read(files, &config.dir.join(CHECKPOINT), CHECKPOINT)?;
        let head_note = match (head, &checkpoint) {
            (Some(head), _) => head,
            (None, Some(_)) => return Err(LogRefused::HeadMissing),
            (None, None) => return Err(LogRefused::NotFound),
        };
        let head = Checkpoint::open(&head_note, key).map_err(LogRefused::HeadRefused)?;
        let checkpoint = checkpoint.map(|note| Checkpoint::open(&note, key)).transpose();
        let checkpoint = checkpoint.map_err(LogRefused::CheckpointRefused)?;
        match &checkpoint {
            None if head.size > 0 => return Err(LogRefused::CheckpointMissing { size: head.size }),
            Some(checkpoint) if checkpoint.size > head.size => {
                return Err(LogRefused::HeadBehind { head: head.size, checkpoint: checkpoint.size });
            }
            _ => {}
        }
        Ok(Self { head, head_note: String::from_utf8_lossy(&head_note).into_owned(), checkpoint })
    }

    /// The folder's checkpoint must be an earlier head of the same tree.
    fn check_one_history(&self, tree: &Tree) -> Result<(), LogRefused> {
        match &self.checkpoint {
            Some(checkpoint) if tree.root(checkpoint.size) != Some(checkpoint.root) => {
                Err(LogRefused::Forked { size: checkpoint.size })
            }
            _ => Ok(()),
        }
    }

    /// Makes the head durable (a crash may have come between its renaming and the folder's sync), then publishes it.
    fn publish(&self, files: &dyn Files, config: &LogConfig) -> Result<(), LogRefused> {
        let parent = config.head_path.parent().unwrap_or(Path::new(""));
        files.sync_dir(parent).map_err(|error| StorageFailed::new("sync the folder of", "head", &error))?;
        if self.checkpoint.as_ref() != Some(&self.head) {
            tracing::warn!(size = self.head.size, "finishing a commit that was interrupted");
            return Ok(replace(files, &config.dir, Name::Checkpoint, self.head_note.as_bytes())?);
        }
        let synced = files.sync_dir(&config.dir);
        Ok(synced.map_err(|error| StorageFailed::new("sync the folder of", CHECKPOINT, &error))?)
    }
}

/// Removes what an interrupted commit left beyond the head, and what a full file supersedes. The answer is what remains.
fn discard_uncommitted(files: &dyn Files, dir: &Path, size: u64) -> Result<Listing, LogRefused> {
    let mut listing = Listing::read(files, dir)?;
    let limit = size.saturating_add(BATCH_ENTRIES_MAX);
    if let Some(file) = listing.names.iter().find(|name| name.reach() > limit) {
        return Err(LogRefused::BeyondHead { file: file.to_string() });
    }
    let superseded = |name: &Name| match name {
        Name::Tile { width, .. } | Name::Entries { width, .. } if u64::from(*width) == TILE_WIDTH => false,
        Name::Tile { level, n, .. } => {
            (Name::Tile { level: *level, n: *n, width: TILE_WIDTH as u16 }).reach() <= size
        }
        Name::Entries { n, .. } => (Name::Entries { n: *n, width: TILE_WIDTH as u16 }).reach() <= size,
        _ => false,
    };
    let discarded: Vec<Name> = listing
        .names
        .iter()
        .filter(|name| name.reach() > size || **name == Name::Temporary || superseded(name))
        .copied()
        .collect();
    let mut touched = BTreeSet::new();
    for name in discarded {
        let path = dir.join(name.to_string());
        files.remove(&path).map_err(|error| StorageFailed::new("remove", name, &error))?;
        touched.extend(path.parent().map(Path::to_path_buf));
        listing.names.remove(&name);
    }
    // Otherwise a later power loss could bring them back under names that are in use by then.
    for parent in touched {
        let synced = files.sync_dir(&parent);
        synced.map_err(|error| StorageFailed::new("sync a folder of", "tile", &error))?;
    }
    Ok(listing)
}

fn check_places(config: &LogConfig) -> Result<(), LogRefused> {
    if config.head_path.starts_with(&config.dir) { Err(LogRefused::HeadInsideLog) } else { Ok(()) }
}

/// Says "nothing there" before anything is locked, because locking makes files.
fn check_there(files: &dyn Files, config: &LogConfig) -> Result<(), LogRefused> {
    let there = read(files, &config.head_path, "head")?.is_some()
        || read(files, &config.dir.join(CHECKPOINT), CHECKPOINT)?.is_some();
    if there { Ok(()) } else { Err(LogRefused::NotFound) }
}

fn check_clock(clock: &dyn Clock, last: Option<Timestamp>) -> Result<(), LogRefused> {
    let now = clock.now();
    match last {
        Some(last) if last.as_millis().saturating_sub(now.as_millis()) > CLOCK_STEP_BACK_MS_MAX => {
            Err(LogRefused::ClockBehind { now, last })
        }
        _ => Ok(()),
    }
}

/// Locks the folder and the head: neither may have a second writer, also not a copy of the other.
fn lock(files: &dyn Files, config: &LogConfig) -> Result<Vec<Box<dyn std::any::Any + Send>>, LogRefused> {
    let paths = [(config.dir.join(LOCK), "lock"), (beside(&config.head_path, ".lock"), "head.lock")];
    let locked = paths.iter().map(|(path, file)| {
        files.lock(path, Lock::Exclusive).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => LogRefused::Locked { file: (*file).to_owned() },
            ErrorKind::NotFound => LogRefused::NotFound,
            _ => StorageFailed::new("lock", file, &error).into(),
        })
    });
    locked.collect()
}

fn read(files: &dyn Files, path: &Path, name: &str) -> Result<Option<Vec<u8>>, StorageFailed> {
    match files.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageFailed::new("read", name, &error)),
    }
}

/// Makes a folder with those above it, each durably.
fn make_dirs(files: &dyn Files, dir: &Path) -> Result<(), StorageFailed> {
    let failed = |error: std::io::Error| StorageFailed::new("make the folder", dir.display(), &error);
    if dir.as_os_str().is_empty() || files.list(dir).is_ok() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new(""));
    make_dirs(files, parent)?;
    files.create_dir(dir).map_err(failed)?;
    files.sync_dir(parent).map_err(failed)
}
