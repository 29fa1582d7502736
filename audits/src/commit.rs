//! The single writer: takes what waits, commits it as one batch, answers.
//!
//! **Commit order.** Each step is durable before the next begins:
//!
//! 1. sealed bodies of the batch: one new file, contents synced
//! 2. entry bundles and hash tiles: new files (a wider partial is a new name), contents synced
//! 3. the folders that hold their names, synced
//! 4. the signed head at `head_path`: new file, synced, renamed into place, folder synced — **the commit point**
//! 5. the published `checkpoint`: the same way
//! 6. bodies that the batch erases: file replaced without the record, folder synced
//! 7. receipts are given out
//! 8. partial files that a full one supersedes are removed; nothing waits for this
//!
//! A crash before 4 leaves files that no head covers: they are removed at the next start, nobody had a receipt. A crash
//! after 4 leaves a head that the files bear out: the next start finishes 5 and 6. No file that a head covers is ever
//! written again, except that erasing a body replaces its file.

use std::any::Any;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use ids::{Clock, Digest, Entropy, Timestamp};

use crate::body::{self, SealFailed};
use crate::entry::{Kind, Logged};
use crate::files::Files;
use crate::folder::StorageFailed;
use crate::log::{AppendFailed, Job, Shared};
use crate::note::{Checkpoint, LogKey};
use crate::tiles::{CHECKPOINT, Name, TEMPORARY, TILE_HEIGHT, TILE_WIDTH, grown, push_entry};
use crate::tree::leaf_hash;

/// Most entries of one commit. What arrives during a commit forms the next batch, so nobody waits for company and a
/// batch is as old as one commit takes.
pub(crate) const BATCH_ENTRIES_MAX: u64 = 1024;
/// Bytes of bodies after which a batch takes no more.
const BATCH_BODY_BYTES_MAX: usize = 16 << 20;
/// How far the clock may step back before appends are refused: what time synchronisation does in one step.
pub(crate) const CLOCK_STEP_BACK_MS_MAX: i64 = 10_000;

/// Entries that are about to be committed together.
struct Batch {
    first: u64,
    leaves: Vec<Vec<u8>>,
    /// Contents of the bodies file; empty if no entry has a body.
    bodies: Vec<u8>,
    results: Vec<(Digest, u64)>,
    erased: Vec<u64>,
    last_time: Option<Timestamp>,
}

impl Batch {
    fn next(&self) -> u64 {
        self.first + self.leaves.len() as u64
    }
}

/// The one thread that writes.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: LogKey,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) head_path: PathBuf,
    pub(crate) last_time: Option<Timestamp>,
    /// Entries of the last bundle, if it is not full.
    pub(crate) last_bundle: Vec<u8>,
    /// Folders whose names are known to be durable.
    pub(crate) durable_dirs: BTreeSet<PathBuf>,
    /// The failure after which nothing more is taken.
    pub(crate) stopped: Option<StorageFailed>,
    /// Held as long as the writer lives.
    pub(crate) _locks: Vec<Box<dyn Any + Send>>,
}

impl Writer {
    /// Commits batch after batch until every [`crate::Log`] handle is gone.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut bytes = first.body.as_ref().map_or(0, |body| body.len());
            let mut batch = vec![first];
            while (batch.len() as u64) < BATCH_ENTRIES_MAX && bytes < BATCH_BODY_BYTES_MAX {
                let Ok(job) = jobs.try_recv() else { break };
                bytes += job.body.as_ref().map_or(0, |body| body.len());
                batch.push(job);
            }
            self.take(batch);
        }
    }

    fn take(&mut self, jobs: Vec<Job>) {
        let first = self.shared.state().size;
        let (last_time, leaves) = (self.last_time, Vec::new());
        let mut batch =
            Batch { first, leaves, bodies: Vec::new(), results: Vec::new(), erased: Vec::new(), last_time };
        let mut waiting = Vec::new();
        for job in jobs {
            match self.prepare(&job, &mut batch) {
                Ok(index) => waiting.push((index, job.reply)),
                Err(failed) => answer(&job, Err(failed)),
            }
        }
        if waiting.is_empty() {
            return;
        }
        let committed = self.commit(batch);
        if let Err(failed) = &committed {
            tracing::error!(code = failed.code(), "the audit log stopped");
        }
        for (index, reply) in waiting {
            let receipt = match &committed {
                Ok(()) => self.shared.receipt(index).map_err(|_| AppendFailed::Closed),
                Err(failed) => Err(failed.clone()),
            };
            // A caller that has gone away does not need its receipt; the entry stays.
            let _ = reply.send(receipt);
        }
        if committed.is_ok() {
            self.tidy(first);
        }
    }

    /// Makes the job's leaf and sealed body and puts them into the batch.
    fn prepare(&self, job: &Job, batch: &mut Batch) -> Result<u64, AppendFailed> {
        if let Some(failed) = &self.stopped {
            return Err(AppendFailed::Stopped(failed.clone()));
        }
        let index = batch.next();
        let time = self.stamp(batch.last_time)?;
        let erased = (job.entry.kind == Kind::BodyErased).then_some(job.entry.target.unwrap_or(index));
        if let Some(target) = erased {
            self.check_erasable(target, batch)?; // an erasure without a target names itself, which has no body yet
        }
        let sealed = job.body.as_ref().map(|body| {
            body::seal(&self.shared.body_key, &self.shared.origin, index, body, self.entropy.as_ref())
        });
        let sealed = sealed.transpose().map_err(|failed| match failed {
            SealFailed::TooLarge { bytes } => AppendFailed::BodyTooLarge { bytes },
            failed => AppendFailed::Seal { reason: failed.to_string() },
        })?;
        let commit = sealed.as_ref().map(|(_, commit)| *commit);
        let leaf = Logged { index, time, entry: job.entry.clone(), body: commit }.to_leaf()?;
        if let Some((record, _)) = sealed {
            let too_large = AppendFailed::BodyTooLarge { bytes: record.len() };
            body::push_record(&mut batch.bodies, index, &record).ok_or(too_large)?;
        }
        batch.leaves.push(leaf);
        batch.results.extend(job.entry.result.map(|result| (result, index)));
        batch.erased.extend(erased);
        batch.last_time = Some(time);
        Ok(index)
    }

    /// The clock's time, but not before the entry before.
    fn stamp(&self, last: Option<Timestamp>) -> Result<Timestamp, AppendFailed> {
        let now = self.clock.now();
        match last {
            Some(last) if last.as_millis().saturating_sub(now.as_millis()) > CLOCK_STEP_BACK_MS_MAX => {
                Err(AppendFailed::ClockWentBack { now, last })
            }
            last => Ok(last.map_or(now, |last| last.max(now))),
        }
    }

    fn check_erasable(&self, target: u64, batch: &Batch) -> Result<(), AppendFailed> {
        let there = target < batch.first && !batch.erased.contains(&target);
        match self.shared.record(target) {
            Ok(Some(_)) if there => Ok(()),
            _ => Err(AppendFailed::NothingToErase { target }),
        }
    }

    /// Commits the batch in the order of the module's documentation. After a failure the writer takes nothing more.
    fn commit(&mut self, batch: Batch) -> Result<(), AppendFailed> {
        let committed = self.try_commit(batch);
        match &committed {
            Err(AppendFailed::Storage(failed)) => self.stopped = Some(failed.clone()),
            Err(failed) => {
                let reason = std::io::Error::other(failed.to_string());
                self.stopped = Some(StorageFailed::new("sign", CHECKPOINT, &reason));
            }
            Ok(()) => {}
        }
        committed
    }

    fn try_commit(&mut self, batch: Batch) -> Result<(), AppendFailed> {
        let mut touched = BTreeSet::new();
        self.write_bodies(&batch, &mut touched)?;
        let last_bundle = self.write_bundles(&batch, &mut touched)?;
        let root = self.write_tiles(&batch, &mut touched)?;
        for dir in touched {
            self.sync_dir(&dir)?;
        }
        let size = batch.next();
        let head = Checkpoint { origin: self.shared.origin.clone(), size, root };
        let checkpoint = head.sign(&self.key).map_err(|_| AppendFailed::Sign)?;
        replace_head(self.shared.files.as_ref(), &self.head_path, checkpoint.as_bytes())?;
        replace(self.shared.files.as_ref(), &self.shared.dir, Name::Checkpoint, checkpoint.as_bytes())?;
        self.publish(&batch, root, checkpoint);
        self.last_time = batch.last_time;
        self.last_bundle = last_bundle;
        for target in batch.erased {
            erase(&self.shared, target)?;
        }
        Ok(())
    }

    fn write_bodies(&mut self, batch: &Batch, touched: &mut BTreeSet<PathBuf>) -> Result<(), StorageFailed> {
        if batch.bodies.is_empty() {
            return Ok(());
        }
        self.write_new(Name::Bodies { first: batch.first }, &batch.bodies, touched)
    }

    /// Writes the bundles that grow; the answer is the contents of the last one, if it is not full.
    fn write_bundles(
        &mut self,
        batch: &Batch,
        touched: &mut BTreeSet<PathBuf>,
    ) -> Result<Vec<u8>, AppendFailed> {
        let mut bundle = self.last_bundle.clone();
        let mut leaves = (batch.first..).zip(&batch.leaves).peekable();
        for (n, width) in grown(batch.first, batch.next()) {
            while let Some((_, leaf)) = leaves.next_if(|(index, _)| index / TILE_WIDTH == n) {
                let too_large = crate::EntryRefused::TooLarge { bytes: leaf.len() };
                push_entry(&mut bundle, leaf).ok_or(too_large)?;
            }
            self.write_new(Name::Entries { n, width }, &bundle, touched)?;
            if u64::from(width) == TILE_WIDTH {
                bundle.clear();
            }
        }
        Ok(bundle)
    }

    /// Adds the leaves to the tree and writes the tiles that grow; the answer is the new root.
    fn write_tiles(
        &mut self,
        batch: &Batch,
        touched: &mut BTreeSet<PathBuf>,
    ) -> Result<Digest, StorageFailed> {
        let shared = Arc::clone(&self.shared);
        {
            let mut state = shared.state.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            batch.leaves.iter().for_each(|leaf| state.tree.push(leaf_hash(leaf)));
        }
        let state = shared.state();
        let missing =
            || StorageFailed::new("derive", "tile", &std::io::Error::other("the tree is not complete"));
        let (mut level, mut old, mut new) = (0_u8, batch.first, batch.next());
        while new > 0 {
            for (n, width) in grown(old, new) {
                let height = usize::from(level) * TILE_HEIGHT;
                let hashes =
                    (n * TILE_WIDTH..n * TILE_WIDTH + u64::from(width)).map(|at| state.tree.node(height, at));
                let hashes = hashes.collect::<Option<Vec<_>>>().ok_or_else(missing)?;
                let tile: Vec<u8> = hashes.iter().flat_map(|hash| hash.as_bytes()).copied().collect();
                self.write_new(Name::Tile { level, n, width }, &tile, touched)?;
            }
            (level, old, new) = (level + 1, old / TILE_WIDTH, new / TILE_WIDTH);
        }
        state.tree.root(batch.next()).ok_or_else(missing)
    }

    /// Writes a file under a name that no head covers yet; its folder is to be synced before the head is.
    fn write_new(
        &mut self,
        name: Name,
        bytes: &[u8],
        touched: &mut BTreeSet<PathBuf>,
    ) -> Result<(), StorageFailed> {
        let path = self.shared.dir.join(name.to_string());
        let parent = path.parent().unwrap_or(&self.shared.dir).to_path_buf();
        self.make_dir(&parent)?;
        let files = self.shared.files.as_ref();
        files.write(&path, bytes).map_err(|error| StorageFailed::new("write", name, &error))?;
        touched.insert(parent);
        Ok(())
    }

    /// Makes a folder below the log's, durably, with those above it.
    fn make_dir(&mut self, dir: &Path) -> Result<(), StorageFailed> {
        if dir == self.shared.dir || self.durable_dirs.contains(dir) {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(&self.shared.dir).to_path_buf();
        self.make_dir(&parent)?;
        let created = self.shared.files.create_dir(dir);
        created.map_err(|error| StorageFailed::new("make the folder", self.relative(dir), &error))?;
        self.sync_dir(&parent)?;
        self.durable_dirs.insert(dir.to_path_buf());
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StorageFailed> {
        let synced = self.shared.files.sync_dir(dir);
        synced.map_err(|error| StorageFailed::new("sync the folder", self.relative(dir), &error))
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.shared.dir).unwrap_or(path).display().to_string()
    }

    fn publish(&self, batch: &Batch, root: Digest, checkpoint: String) {
        let mut state = self.shared.state.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.size = batch.next();
        state.root = root;
        state.checkpoint = checkpoint;
        for (result, index) in &batch.results {
            state.results.entry(*result).or_insert(*index);
        }
        if !batch.bodies.is_empty() {
            state.bodies.insert(batch.first);
        }
    }

    /// Removes the partial files that became full since the log had `old` entries.
    fn tidy(&mut self, old: u64) {
        let (mut level, mut old, mut new) = (0, old, self.shared.state().size);
        while new > 0 {
            for n in old / TILE_WIDTH..new / TILE_WIDTH {
                self.remove_partials(Name::Tile { level, n, width: TILE_WIDTH as u16 });
                if level == 0 {
                    self.remove_partials(Name::Entries { n, width: TILE_WIDTH as u16 });
                }
            }
            (level, old, new) = (level + 1, old / TILE_WIDTH, new / TILE_WIDTH);
        }
    }

    /// What cannot be removed now is still true, and is removed at the next start.
    fn remove_partials(&mut self, full: Name) {
        let dir = self.shared.dir.join(format!("{full}.p"));
        let files = self.shared.files.as_ref();
        for listed in files.list(&dir).unwrap_or_default() {
            let _ = files.remove(&dir.join(listed.name));
        }
        let _ = files.remove_dir(&dir);
        self.durable_dirs.remove(&dir);
    }
}

fn answer(job: &Job, outcome: Result<crate::Receipt, AppendFailed>) {
    // As above: the caller may have gone away.
    let _ = job.reply.send(outcome);
}

/// Puts new contents in the place of a file below `dir`, atomically and durably.
pub(crate) fn replace(files: &dyn Files, dir: &Path, name: Name, bytes: &[u8]) -> Result<(), StorageFailed> {
    let (path, temporary) = (dir.join(name.to_string()), dir.join(TEMPORARY));
    let failed = |act| move |error: std::io::Error| StorageFailed::new(act, name, &error);
    files.write(&temporary, bytes).map_err(failed("write"))?;
    files.rename(&temporary, &path).map_err(failed("replace"))?;
    files.sync_dir(path.parent().unwrap_or(dir)).map_err(failed("sync the folder of"))?;
    // The temporary name is gone from its own folder, too.
    if path.parent() == Some(dir) {
        Ok(())
    } else {
        files.sync_dir(dir).map_err(failed("sync the folder of"))
    }
}

/// Puts a new head in the place of the old one. This is the commit point.
pub(crate) fn replace_head(files: &dyn Files, path: &Path, bytes: &[u8]) -> Result<(), StorageFailed> {
    let failed = |act| move |error: std::io::Error| StorageFailed::new(act, "head", &error);
    let temporary = beside(path, ".tmp");
    files.write(&temporary, bytes).map_err(failed("write"))?;
    files.rename(&temporary, path).map_err(failed("replace"))?;
    files.sync_dir(path.parent().unwrap_or(Path::new(""))).map_err(failed("sync the folder of"))
}

/// The path with something added to its last part.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Destroys the record of entry `target`: its file is replaced by one without it, or removed if it held nothing else.
pub(crate) fn erase(shared: &Shared, target: u64) -> Result<(), StorageFailed> {
    let Some((name, file)) = shared.bodies_file(target)? else { return Ok(()) };
    let damaged =
        || StorageFailed::new("erase from", name, &std::io::Error::other("it has no such structure"));
    let mut kept = Vec::new();
    for record in body::records(&file).map_err(|_| damaged())? {
        if record.index != target {
            body::push_record(&mut kept, record.index, record.bytes).ok_or_else(damaged)?;
        }
    }
    let files = shared.files.as_ref();
    if !kept.is_empty() {
        return replace(files, &shared.dir, name, &kept);
    }
    let path = shared.dir.join(name.to_string());
    files.remove(&path).map_err(|error| StorageFailed::new("remove", name, &error))?;
    let synced = files.sync_dir(path.parent().unwrap_or(&shared.dir));
    synced.map_err(|error| StorageFailed::new("sync the folder of", name, &error))
}
