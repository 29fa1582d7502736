//! Every file operation is made to fail, in each way it can, and the log is opened again.
//!
//! The file system is a model with two views: what processes see, and what is on disk. Contents are on disk when `write`
//! returns; names only after `sync_dir`. A process crash keeps the first view, a power loss only the second.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ids::{Digest, ManualClock, SystemEntropy, Timestamp};

use crate::commit::BATCH_ENTRIES_MAX;
use crate::files::{Files, Listed, Lock};
use crate::tree::verify_consistency;
use crate::verify::{Bodies, Verified, folder_on};
use crate::{
    AppendFailed, BodyKey, Entry, Kind, Log, LogConfig, LogKey, LogRefused, Receipt, VerifierKey,
    VerifyRefused, recover,
};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Nothing happened.
    Failed,
    /// It happened, but the caller is told that it failed.
    FailedButPersisted,
    /// Half of the bytes were written.
    Torn,
}

/// What follows the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The process goes on; files work again.
    GoOn,
    /// The process dies: no further operation happens, what processes saw remains.
    Die,
    /// The power goes: only what is on disk remains.
    LosePower,
}

#[derive(Debug, Clone, Default)]
struct View {
    files: BTreeMap<PathBuf, Vec<u8>>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Default)]
struct Model {
    seen: View,
    on_disk: View,
    operations: usize,
    fail_at: Option<(usize, How, Then)>,
    dead: bool,
    failed: bool,
    /// Files that a writer has locked.
    locked: BTreeSet<PathBuf>,
}

/// The modelled file system; clones share it.
#[derive(Clone, Default)]
struct MemoryFiles(Arc<Mutex<Model>>);

impl MemoryFiles {
    fn arm(&self, at: usize, how: How, then: Then) {
        let mut model = self.0.lock().unwrap();
        model.fail_at = Some((model.operations + at, how, then));
    }

    /// The machine comes up again, with what `then` leaves. True if the armed failure had happened.
    fn restart(&self, then: Then) -> bool {
        let mut model = self.0.lock().unwrap();
        if then == Then::LosePower && model.failed {
            let disk = model.on_disk.clone();
            let reachable = |path: &Path| {
                path.ancestors().skip(1).all(|dir| dir == Path::new("") || disk.dirs.contains(dir))
            };
            model.seen = View {
                files: disk
                    .files
                    .iter()
                    .filter(|(path, _)| reachable(path))
                    .map(|(p, b)| (p.clone(), b.clone()))
                    .collect(),
                dirs: disk.dirs.iter().filter(|path| reachable(path)).cloned().collect(),
            };
            model.on_disk = model.seen.clone();
        }
        model.fail_at = None;
        model.dead = false;
        std::mem::take(&mut model.failed)
    }

    fn fork(&self) -> Self {
        let model = self.0.lock().unwrap();
        let (seen, on_disk) = (model.seen.clone(), model.on_disk.clone());
        Self(Arc::new(Mutex::new(Model { seen, on_disk, ..Model::default() })))
    }

    /// Runs a changing operation, or fails it as armed. `torn` is what half of it leaves.
    fn change(
        &self,
        act: impl FnOnce(&mut Model) -> io::Result<()>,
        torn: impl FnOnce(&mut Model),
    ) -> io::Result<()> {
        let mut model = self.0.lock().unwrap();
        if model.dead {
            return Err(io::Error::other("the process is dead"));
        }
        model.operations += 1;
        let Some((_, how, then)) = model.fail_at.filter(|(at, ..)| *at == model.operations) else {
            return act(&mut model);
        };
        match how {
            How::Failed => {}
            How::FailedButPersisted => act(&mut model)?,
            How::Torn => torn(&mut model),
        }
        model.failed = true;
        model.dead = then != Then::GoOn;
        Err(io::Error::other("injected"))
    }
}

fn not_found() -> io::Error {
    ErrorKind::NotFound.into()
}

impl Files for MemoryFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.lock().unwrap().seen.files.get(path).cloned().ok_or_else(not_found)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let put = |model: &mut Model, bytes: &[u8]| {
            model.seen.files.insert(path.to_path_buf(), bytes.to_vec());
            // An existing name leads to the new contents at once; a new name is not on disk yet.
            if let Some(on_disk) = model.on_disk.files.get_mut(path) {
                *on_disk = bytes.to_vec();
            }
        };
        let is_dir = |model: &Model, dir: &Path| model.seen.dirs.contains(dir);
        self.change(
            |model| {
                if !path.parent().is_some_and(|dir| is_dir(model, dir)) {
                    return Err(not_found());
                }
                put(model, bytes);
                Ok(())
            },
            |model| put(model, &bytes[..bytes.len() / 2]),
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let act = |model: &mut Model| {
            let bytes = model.seen.files.remove(from).ok_or_else(not_found)?;
            model.seen.files.insert(to.to_path_buf(), bytes);
            Ok(())
        };
        self.change(act, |_| ())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|model| model.seen.files.remove(path).map(drop).ok_or_else(not_found), |_| ())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let act = |model: &mut Model| {
            model.seen.dirs.insert(path.to_path_buf());
            Ok(())
        };
        self.change(act, |_| ())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let act = |model: &mut Model| {
            model.seen.dirs.remove(path);
            Ok(())
        };
        self.change(act, |_| ())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let act = |model: &mut Model| {
            let inside = |other: &Path| other.parent() == Some(path);
            let Model { seen, on_disk, .. } = model;
            on_disk.files.retain(|other, _| !inside(other));
            on_disk.dirs.retain(|other| !inside(other));
            on_disk
                .files
                .extend(seen.files.iter().filter(|(p, _)| inside(p)).map(|(p, b)| (p.clone(), b.clone())));
            on_disk.dirs.extend(seen.dirs.iter().filter(|p| inside(p)).cloned());
            Ok(())
        };
        self.change(act, |_| ())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let model = self.0.lock().unwrap();
        // The folders above the log's are there, as on any machine.
        if path != Path::new("/") && !model.seen.dirs.contains(path) {
            return Err(not_found());
        }
        let name = |other: &Path| other.file_name().unwrap().to_str().unwrap().to_owned();
        let inside = |other: &&PathBuf| other.parent() == Some(path);
        let files = model.seen.files.keys().filter(inside).map(|p| Listed { name: name(p), is_dir: false });
        let dirs = model.seen.dirs.iter().filter(inside).map(|p| Listed { name: name(p), is_dir: true });
        let mut listed: Vec<_> = files.chain(dirs).collect();
        listed.sort();
        Ok(listed)
    }

    fn lock(&self, path: &Path, lock: Lock) -> io::Result<Box<dyn Any + Send>> {
        let mut model = self.0.lock().unwrap();
        if model.locked.contains(path) {
            return Err(ErrorKind::WouldBlock.into());
        }
        if lock == Lock::Shared {
            return Ok(Box::new(())); // no test starts a writer while a verifier reads
        }
        model.locked.insert(path.to_path_buf());
        Ok(Box::new(Held(self.clone(), path.to_path_buf())))
    }
}

/// A lock that is let go when dropped.
struct Held(MemoryFiles, PathBuf);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().locked.remove(&self.1);
    }
}

fn config() -> LogConfig {
    LogConfig { dir: "/log".into(), head_path: "/heads/head".into(), origin: "log.example/crash".to_owned() }
}

fn key() -> LogKey {
    LogKey::from_bytes([3; 32])
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_000)))
}

fn open(files: &MemoryFiles) -> Result<Log, LogRefused> {
    let body_key = BodyKey::from_bytes([4; 32]);
    Log::open_on(Arc::new(files.clone()), config(), key(), body_key, clock(), Arc::new(SystemEntropy::new()))
}

/// A model with an empty log in it.
fn fresh() -> MemoryFiles {
    let files = MemoryFiles::default();
    files.0.lock().unwrap().seen.dirs.insert("/".into());
    files.0.lock().unwrap().on_disk.dirs.insert("/".into());
    recover::create(Arc::new(files.clone()), &config(), &key()).unwrap();
    files
}

fn entry(number: u64) -> Entry {
    Entry { consent_epoch: Some(number), ..Entry::new(Kind::QueryReleased) }
}

/// What callers of a log believe: the receipts that they were given, with the entry's number.
#[derive(Default)]
struct Believed {
    receipts: Vec<(u64, Receipt)>,
    erased: Vec<u64>,
    stopped: bool,
}

impl Believed {
    fn append(&mut self, log: &Log, number: u64) {
        let body = number.is_multiple_of(3).then(|| format!("body {number}").into_bytes());
        match log.append(entry(number), body.as_deref()) {
            Ok(receipt) => {
                assert!(!self.stopped, "a stopped log gave a receipt");
                self.receipts.push((number, receipt));
            }
            Err(AppendFailed::Storage(_)) => self.stopped = true,
            Err(AppendFailed::Stopped(_)) => assert!(self.stopped),
            Err(other) => panic!("{other}"),
        }
    }

    fn erase(&mut self, log: &Log, index: u64) {
        match log.erase_body(index, Entry::new(Kind::BodyErased)) {
            Ok(_) => self.erased.push(index),
            Err(AppendFailed::Storage(_)) => self.stopped = true,
            Err(AppendFailed::Stopped(_)) => assert!(self.stopped),
            Err(other) => panic!("{other}"),
        }
    }

    /// All that was acknowledged is there, in one history with every receipt ever given.
    fn check(&self, log: &Log, files: &MemoryFiles) {
        let vkey = log.verifier_key();
        let size = log.size();
        let newest = log.prove_inclusion(size - 1).unwrap();
        for (number, receipt) in &self.receipts {
            let logged = log.entry(receipt.index).unwrap();
            assert_eq!(logged.entry, entry(*number));
            receipt.verify(&logged.to_leaf().unwrap(), vkey).unwrap();
            let proof = log.prove_consistency(receipt.tree_size, size).unwrap();
            assert!(verify_consistency(receipt.tree_size, size, &receipt.root, &newest.root, &proof));
            let body = (number.is_multiple_of(3) && !self.erased.contains(&receipt.index))
                .then(|| format!("body {number}"));
            let found = log.body(receipt.index).unwrap();
            // An erasure that was not acknowledged may have happened all the same, but then the log says so.
            let said = || {
                log.entries(0..size).unwrap().iter().any(|logged| logged.entry.target == Some(receipt.index))
            };
            assert!(
                found == body.map(String::into_bytes) || (found.is_none() && said()),
                "body of {}",
                receipt.index
            );
        }
        assert_eq!(verify(files, vkey).map(|verified| (verified.size, verified.live)), Ok((size, true)));
    }
}

fn verify(files: &MemoryFiles, vkey: &VerifierKey) -> Result<Verified, VerifyRefused> {
    folder_on(files, Path::new("/log"), vkey, Bodies::Required, &mut |_, _| ())
}

/// Runs `scenario` once for each operation it makes, failing that one; then opens the log, checks it, goes on, and
/// opens it once more. The answer is the number of operations.
fn fail_everywhere(
    before: &MemoryFiles,
    scenario: &dyn Fn(&Log, &mut Believed),
    how: How,
    then: Then,
) -> usize {
    for at in 1.. {
        let files = before.fork();
        files.arm(at, how, then);
        let mut believed = Believed::default();
        match open(&files) {
            Ok(log) => scenario(&log, &mut believed),
            Err(refused) => assert!(matches!(refused, LogRefused::Storage(_)), "operation {at}: {refused}"),
        }
        let failed = files.restart(then);
        let log =
            open(&files).unwrap_or_else(|refused| panic!("{how:?}, {then:?} at operation {at}: {refused}"));
        let mut after = Believed { receipts: believed.receipts, erased: believed.erased, stopped: false };
        after.append(&log, 999);
        after.check(&log, &files);
        let (size, vkey) = (log.size(), log.verifier_key().clone());
        drop(log);
        assert_eq!(verify(&files, &vkey).map(|verified| (verified.size, verified.live)), Ok((size, false)));
        after.check(&open(&files).unwrap(), &files);
        if !failed {
            return at - 1;
        }
    }
    unreachable!()
}

const WAYS: [(How, Then); 9] = [
    (How::Failed, Then::GoOn),
    (How::Failed, Then::Die),
    (How::Failed, Then::LosePower),
    (How::FailedButPersisted, Then::GoOn),
    (How::FailedButPersisted, Then::Die),
    (How::FailedButPersisted, Then::LosePower),
    (How::Torn, Then::GoOn),
    (How::Torn, Then::Die),
    (How::Torn, Then::LosePower),
];

#[test]
fn a_crash_at_any_point_loses_no_acknowledged_entry_and_never_goes_back() {
    let before = fresh();
    let scenario = |log: &Log, believed: &mut Believed| {
        for number in 0..5 {
            believed.append(log, number);
        }
        if believed.receipts.len() == 5 {
            believed.erase(log, 3);
        }
        believed.append(log, 5);
    };
    for (how, then) in WAYS {
        let operations = fail_everywhere(&before, &scenario, how, then);
        assert!(operations > 60, "only {operations} operations were tried");
    }
}

#[test]
fn a_crash_where_tiles_become_full_loses_nothing_either() {
    let before = fresh();
    let log = open(&before).unwrap();
    let earlier = (0..254).map(|number| (entry(number), None)).collect();
    assert!(log.append_all(earlier).iter().all(Result::is_ok));
    drop(log);
    let scenario =
        |log: &Log, believed: &mut Believed| (300..304).for_each(|number| believed.append(log, number));
    for (how, then) in WAYS {
        let operations = fail_everywhere(&before, &scenario, how, then);
        assert!(operations > 50, "only {operations} operations were tried");
    }
}

#[test]
fn a_crash_while_a_log_is_made_leaves_one_that_can_be_made_or_opened() {
    for (how, then) in WAYS {
        for at in 1.. {
            let files = MemoryFiles::default();
            files.0.lock().unwrap().seen.dirs.insert("/".into());
            files.0.lock().unwrap().on_disk.dirs.insert("/".into());
            files.arm(at, how, then);
            let made = recover::create(Arc::new(files.clone()), &config(), &key());
            let failed = files.restart(then);
            if let Err(LogRefused::NotFound) = open(&files).map(drop) {
                assert!(made.is_err(), "a log that was made is gone");
                recover::create(Arc::new(files.clone()), &config(), &key()).unwrap();
            }
            let log = open(&files).unwrap_or_else(|refused| panic!("{how:?}, {then:?} at {at}: {refused}"));
            assert_eq!(log.size(), 0);
            if !failed {
                break;
            }
        }
    }
}

#[test]
fn after_a_failure_the_writer_takes_nothing_more() {
    let files = fresh();
    let log = open(&files).unwrap();
    log.append(entry(0), None).unwrap();
    files.arm(1, How::Failed, Then::GoOn);
    let failed = log.append(entry(1), None).unwrap_err();
    assert_eq!(failed.code(), "storage-failed");
    let refused = log.append(entry(2), None).unwrap_err();
    assert_eq!(refused.code(), "log-stopped");
    assert_eq!(log.size(), 1);
    // Reading goes on.
    assert_eq!(log.entry(0).unwrap().entry, entry(0));
}

/// Changes the model's files and opens the log.
fn refused_after(change: impl FnOnce(&mut View)) -> &'static str {
    let files = fresh();
    let log = open(&files).unwrap();
    (0..3).for_each(|number| drop(log.append(entry(number), None).unwrap()));
    drop(log);
    change(&mut files.0.lock().unwrap().seen);
    open(&files).map(drop).map_err(|refused| refused.code()).unwrap_err()
}

#[test]
fn a_log_whose_files_do_not_bear_out_its_head_is_not_opened() {
    let path = |name: &str| PathBuf::from(format!("/log/{name}"));
    let old = {
        let files = fresh();
        let log = open(&files).unwrap();
        log.append(entry(7), None).unwrap();
        log.checkpoint().into_bytes()
    };
    assert_eq!(refused_after(|view| drop(view.files.remove(Path::new("/heads/head")))), "head-missing");
    assert_eq!(refused_after(|view| drop(view.files.remove(&path("checkpoint")))), "checkpoint-missing");
    assert_eq!(refused_after(|view| drop(view.files.remove(&path("tile/0/000.p/3")))), "log-damaged");
    assert_eq!(refused_after(|view| drop(view.files.remove(&path("tile/entries/000.p/3")))), "log-damaged");
    assert_eq!(
        refused_after(|view| view.files.get_mut(&path("tile/0/000.p/3")).unwrap()[40] ^= 1),
        "log-damaged"
    );
    assert_eq!(
        refused_after(|view| view.files.get_mut(Path::new("/heads/head")).unwrap()[20] ^= 1),
        "head-refused"
    );
    assert_eq!(
        refused_after(|view| view.files.get_mut(&path("checkpoint")).unwrap()[20] ^= 1),
        "checkpoint-refused"
    );
    // An older head in the place of the newest: the head file was put back.
    assert_eq!(
        refused_after(|view| drop(view.files.insert("/heads/head".into(), old.clone()))),
        "head-behind"
    );
    // A checkpoint of another history that is signed all the same: the log was forked.
    assert_eq!(refused_after(|view| drop(view.files.insert(path("checkpoint"), old.clone()))), "log-forked");
    assert_eq!(refused_after(|view| view.files.clear()), "log-not-found");
    let far = format!("tile/0/{:03}", BATCH_ENTRIES_MAX / 256 + 1);
    assert_eq!(refused_after(|view| drop(view.files.insert(path(&far), vec![0; 8192]))), "beyond-head");
}

#[test]
fn a_folder_put_back_to_an_older_state_is_not_opened() {
    let files = fresh();
    let log = open(&files).unwrap();
    log.append(entry(0), None).unwrap();
    let older = files.fork();
    log.append(entry(1), None).unwrap();
    drop(log);
    let mut view = older.0.lock().unwrap().seen.clone();
    let head = files.0.lock().unwrap().seen.files.get(Path::new("/heads/head")).cloned().unwrap();
    view.files.insert("/heads/head".into(), head);
    files.0.lock().unwrap().seen = view;
    assert_eq!(open(&files).map(drop).unwrap_err().code(), "log-damaged");
}

#[test]
fn times_never_go_back() {
    let files = fresh();
    let hand = ManualClock::at(Timestamp::from_millis(1_000_000));
    let open_at = |clock: ManualClock| {
        let (key, body_key) = (key(), BodyKey::from_bytes([4; 32]));
        let entropy = Arc::new(SystemEntropy::new());
        Log::open_on(Arc::new(files.clone()), config(), key, body_key, Arc::new(clock), entropy)
    };
    let log = open_at(hand.clone()).unwrap();
    log.append(entry(0), None).unwrap();
    drop(log);
    // A small step back is clamped.
    let log = open_at(ManualClock::at(Timestamp::from_millis(995_000))).unwrap();
    let receipt = log.append(entry(1), None).unwrap();
    assert_eq!(log.entry(receipt.index).unwrap().time, Timestamp::from_millis(1_000_000));
    drop(log);
    // A large one is refused.
    let refused = open_at(ManualClock::at(Timestamp::from_millis(989_999))).map(drop).unwrap_err();
    assert_eq!(refused.code(), "clock-behind");
    hand.advance_millis(5);
    let log = open_at(hand).unwrap();
    let receipt = log.append(entry(2), None).unwrap();
    assert_eq!(log.entry(receipt.index).unwrap().time, Timestamp::from_millis(1_000_005));
}

#[test]
fn results_are_found_again_after_a_restart() {
    let files = fresh();
    let log = open(&files).unwrap();
    let result = Digest::of(b"answer");
    let released = Entry { result: Some(result), ..entry(1) };
    log.append(entry(0), None).unwrap();
    log.append(released.clone(), None).unwrap();
    log.append(released, None).unwrap();
    assert_eq!(log.find_result(&result), Some(1));
    drop(log);
    let log = open(&files).unwrap();
    assert_eq!(log.find_result(&result), Some(1));
    assert_eq!(log.find_result(&Digest::of(b"other")), None);
}
