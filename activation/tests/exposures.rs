//! Exposures reach the vault once each, whatever breaks in between.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use activation::batch::Token;
use activation::exposure::{
    Act, Exposure, ExposureVault, Inbox, InboxPorts, Key, Resolved, Resolver, Row, Taken, VaultFailed, Who,
};
use activation::journal::{Journal, JournalFailed};
use activation::outbox::OutboxKey;
use audits::{Entry, Kind, Receipt};
use ids::{DestinationId, Digest, ManualClock, SystemEntropy, Timestamp, UnitIx};

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// Takes a load's name once; may die before or after.
#[derive(Default)]
struct Vault {
    rows: Mutex<Vec<Row>>,
    loads: Mutex<BTreeSet<Digest>>,
    fuse: Fuse,
}

/// Effects left until the process dies, and whether the last one still happens.
struct Fuse(AtomicI64, AtomicBool);

impl Default for Fuse {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MAX), AtomicBool::new(false))
    }
}

impl Fuse {
    /// Whether it happens, and whether the caller hears of it.
    fn burn(&self) -> (bool, bool) {
        match self.0.fetch_sub(1, Ordering::SeqCst) {
            1.. => (true, true),
            0 => (self.1.load(Ordering::SeqCst), false),
            _ => (false, false),
        }
    }

    fn set(&self, effects: i64, persists: bool) {
        self.0.store(effects, Ordering::SeqCst);
        self.1.store(persists, Ordering::SeqCst);
    }
}

impl ExposureVault for Vault {
    fn append(&self, load: &Digest, rows: &[Row]) -> Result<Digest, VaultFailed> {
        let (happens, heard) = self.fuse.burn();
        if happens && self.loads.lock().unwrap().insert(*load) {
            self.rows.lock().unwrap().extend(rows.iter().cloned());
        }
        let failed = VaultFailed { reason: "the process is no more".to_owned() };
        if heard { Ok(Digest::of_parts(&[b"snapshot", load.as_bytes()])) } else { Err(failed) }
    }
}

#[derive(Default)]
struct Log {
    entries: Mutex<Vec<Entry>>,
    fuse: Fuse,
}

impl Journal for Log {
    fn append(&self, entries: Vec<(Entry, Vec<u8>)>) -> Vec<Result<u64, JournalFailed>> {
        let append = |(entry, _)| {
            let (happens, heard) = self.fuse.burn();
            let mut log = self.entries.lock().unwrap();
            if happens {
                log.push(entry);
            }
            let failed = JournalFailed { reason: "the process is no more".to_owned() };
            if heard { Ok(log.len() as u64 - 1) } else { Err(failed) }
        };
        entries.into_iter().map(append).collect()
    }

    fn size(&self) -> u64 {
        self.entries.lock().unwrap().len() as u64
    }

    fn outbox_results(&self, _from: u64, _to: u64) -> Result<Vec<(u64, Digest)>, JournalFailed> {
        Ok(Vec::new())
    }

    fn find_result(&self, result: &Digest) -> Option<u64> {
        let log = self.entries.lock().unwrap();
        log.iter().position(|entry| entry.result == Some(*result)).map(|index| index as u64)
    }

    fn receipt(&self, _index: u64) -> Result<Receipt, JournalFailed> {
        Err(JournalFailed { reason: "no receipts here".to_owned() })
    }
}

/// Epochs whose map is in memory, with their tokens.
#[derive(Default)]
struct Maps(Mutex<BTreeMap<u64, BTreeMap<String, u32>>>);

impl Resolver for Maps {
    fn resolve(&self, _destination: &DestinationId, epoch: u64, token: &Token) -> Resolved {
        match self.0.lock().unwrap().get(&epoch) {
            None => Resolved::NotNow,
            Some(map) => {
                map.get(token.expose()).map_or(Resolved::Nobody, |unit| Resolved::Unit(UnitIx(*unit)))
            }
        }
    }
}

struct World {
    home: tempfile::TempDir,
    vault: Arc<Vault>,
    log: Arc<Log>,
    maps: Arc<Maps>,
    clock: ManualClock,
}

impl World {
    fn new() -> Self {
        let (vault, log, maps) = (Arc::default(), Arc::default(), Arc::<Maps>::default());
        let tokens = |epoch: u64| (0..100).map(move |unit| (token(epoch, unit), unit)).collect();
        maps.0.lock().unwrap().insert(1, tokens(1));
        Self { home: tempfile::tempdir().unwrap(), vault, log, maps, clock: ManualClock::at(START) }
    }

    async fn inbox(&self) -> Inbox {
        let ports = InboxPorts {
            vault: self.vault.clone(),
            resolver: self.maps.clone(),
            journal: self.log.clone(),
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SystemEntropy::new()),
            dataset: "retail".parse().unwrap(),
        };
        let file = self.home.path().join("inbox.sqlite");
        Inbox::open(&file, &OutboxKey::from_bytes([7; 32]), ports).await.unwrap()
    }

    fn rows(&self) -> Vec<Row> {
        self.vault.rows.lock().unwrap().clone()
    }
}

fn token(epoch: u64, unit: u32) -> String {
    Digest::of_parts(&[b"token", &epoch.to_be_bytes(), &unit.to_be_bytes()]).to_hex()
}

fn push(seq: u64, epoch: u64, unit: u32) -> Exposure {
    Exposure {
        key: Key::Device { source: "gateway".parse().unwrap(), device: "app".parse().unwrap(), boot: 1, seq },
        act: Act::Push,
        campaign: "coffee-spring".parse().unwrap(),
        who: Who::Member {
            destination: "gate".parse().unwrap(),
            epoch,
            token: token(epoch, unit).parse().unwrap(),
        },
        at: START,
        store: None,
        creative: None,
        coupon: None,
        amount_minor: None,
        duration_ms: None,
    }
}

fn redemption(id: &str, unit: u32, amount_minor: i64) -> Exposure {
    Exposure {
        key: Key::Record { source: "till".parse().unwrap(), id: id.parse().unwrap() },
        act: Act::Redemption,
        coupon: Some("C-1".parse().unwrap()),
        amount_minor: Some(amount_minor),
        ..push(0, 1, unit)
    }
}

#[tokio::test]
async fn a_record_that_comes_again_is_one_record_and_one_that_differs_is_reported() {
    let world = World::new();
    let inbox = world.inbox().await;
    let first = inbox.take(&[push(1, 1, 4), redemption("r1", 5, 990), push(1, 1, 4)]).await.unwrap();
    assert_eq!(first, Taken { fresh: 2, repeated: 1, conflicts: Vec::new() });
    inbox.forward().await.unwrap();
    // Also after the vault has it and the content is gone from the inbox.
    let again = inbox.take(&[push(1, 1, 4), redemption("r1", 5, 1990)]).await.unwrap();
    assert_eq!(again, Taken { fresh: 0, repeated: 1, conflicts: vec![redemption("r1", 5, 0).key] });
    assert_eq!(inbox.conflicts().await.unwrap(), 1);
    inbox.forward().await.unwrap();
    let rows = world.rows();
    assert_eq!(rows.len(), 2);
    assert!(
        rows.iter().any(|row| row.amount_minor == Some(990) && row.unit == Some(UnitIx(5))),
        "the first stays"
    );
}

#[tokio::test]
async fn late_records_wait_for_their_epoch_and_nobodys_are_dropped_and_counted() {
    let world = World::new();
    let inbox = world.inbox().await;
    let screen = Exposure { act: Act::Play, who: Who::Anybody, duration_ms: Some(8000), ..push(3, 1, 0) };
    inbox.take(&[push(1, 1, 4), push(2, 0, 4), screen, push(4, 1, 4000)]).await.unwrap();
    let done = inbox.forward().await.unwrap();
    assert_eq!((done.loads, done.records, done.waiting, done.nobody), (1, 2, 1, 1));
    assert!(world.rows().iter().any(|row| row.unit.is_none() && row.act == Act::Play));
    // The map of the old epoch is made again: nothing was lost.
    world.maps.0.lock().unwrap().insert(0, BTreeMap::from([(token(0, 4), 4)]));
    let done = inbox.forward().await.unwrap();
    assert_eq!((done.loads, done.records, done.waiting, done.nobody), (1, 1, 0, 0));
    assert_eq!(inbox.forward().await.unwrap(), activation::exposure::Forwarded::default());
}

#[tokio::test]
async fn a_household_of_the_control_group_that_was_exposed_is_kept() {
    // The inbox does not know arms at all: whoever the token stands for is a row.
    let world = World::new();
    let inbox = world.inbox().await;
    let all: Vec<Exposure> = (0..100).map(|unit| push(u64::from(unit), 1, unit)).collect();
    inbox.take(&all).await.unwrap();
    inbox.forward().await.unwrap();
    let units: BTreeSet<u32> = world.rows().iter().filter_map(|row| row.unit.map(|unit| unit.0)).collect();
    assert_eq!(units, (0..100).collect());
}

#[tokio::test]
async fn a_crash_between_any_two_steps_loses_no_record_and_doubles_none() {
    for persists in [false, true] {
        for (vault, log) in [(0, i64::MAX), (1, i64::MAX), (i64::MAX, 0), (i64::MAX, 1)] {
            let case = format!("vault {vault}, log {log}, persists {persists}");
            let world = World::new();
            world.vault.fuse.set(vault, persists);
            world.log.fuse.set(log, persists);
            let inbox = world.inbox().await;
            // Two loads: the second is in another state than the first when the process dies.
            inbox.take(&[push(1, 1, 1), push(2, 1, 2)]).await.unwrap();
            let first = inbox.forward().await;
            inbox.take(&[push(3, 1, 3)]).await.unwrap();
            let second = inbox.forward().await;
            assert!(first.is_err() || second.is_err(), "{case}: it was to die");
            drop(inbox);

            world.vault.fuse.set(i64::MAX, false);
            world.log.fuse.set(i64::MAX, false);
            let inbox = world.inbox().await;
            // The sender had no acknowledgement and sends everything again.
            let taken = inbox.take(&[push(1, 1, 1), push(2, 1, 2), push(3, 1, 3)]).await.unwrap();
            assert_eq!((taken.fresh, taken.repeated), (0, 3), "{case}");
            inbox.forward().await.unwrap();
            inbox.forward().await.unwrap();
            let mut units: Vec<u32> =
                world.rows().iter().filter_map(|row| row.unit.map(|unit| unit.0)).collect();
            units.sort_unstable();
            assert_eq!(units, [1, 2, 3], "{case}");
            let log = world.log.entries.lock().unwrap();
            let results: BTreeSet<_> = log.iter().filter_map(|entry| entry.result).collect();
            assert_eq!((log.len(), results.len()), (2, 2), "{case}: one entry per load");
            assert_eq!(results, *world.vault.loads.lock().unwrap(), "{case}");
            assert!(
                log.iter().all(|entry| entry.kind == Kind::ExposuresTaken && entry.snapshot.is_some()),
                "{case}"
            );
        }
    }
}

fn holds(path: &Path, needle: &str) -> bool {
    let content = std::fs::read(path).unwrap();
    content.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test]
async fn no_token_lies_open_in_the_inbox() {
    let world = World::new();
    let inbox = world.inbox().await;
    let records = [push(1, 1, 4), push(2, 0, 5)];
    let taken = inbox.take(&records).await.unwrap();
    inbox.forward().await.unwrap();
    let shown = format!("{taken:?} {inbox:?} {:?}", records);
    for file in ["inbox.sqlite", "inbox.sqlite-wal"] {
        for (epoch, unit) in [(1, 4), (0, 5)] {
            assert!(!holds(&world.home.path().join(file), &token(epoch, unit)), "{file}");
            assert!(!shown.contains(&token(epoch, unit)));
        }
    }
}
