//! A destination with faults, a store and a log in memory, and a process that may die between any two effects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use activation::batch::{Batch, BatchId, Header, Lane, Members, Op};
use activation::destination::{
    Answer, Destination, Fault, Later as Sent, Reason, Rejection, SendFailed, Verdict,
};
use activation::journal::{Journal, JournalFailed};
use activation::outbox::store::{Change, Later, Pending, StoredLane, StoredRow};
use activation::outbox::{
    Cause, Outbox, OutboxFailed, OutboxKey, Ports, Settings, Store, StoreFailed, store::Stored,
};
use audits::{Entry, Kind, Receipt};
use ids::{DestinationId, Digest, Entropy, EntropyFailed, ManualClock, Timestamp, UnitIx};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use roaring::RoaringBitmap;

pub(crate) const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// Collects log lines of the whole test program, while somebody wants them.
#[derive(Default)]
pub(crate) struct Lines {
    wanted: AtomicBool,
    text: Mutex<Vec<u8>>,
}

impl Lines {
    /// One subscriber for all threads: an event that was first met without one would stay switched off.
    pub(crate) fn shared() -> &'static Self {
        static LINES: OnceLock<Lines> = OnceLock::new();
        static SET: OnceLock<()> = OnceLock::new();
        let lines = LINES.get_or_init(Self::default);
        SET.get_or_init(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_writer(move || Pen(lines));
            tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
        });
        lines
    }

    pub(crate) fn collect(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    pub(crate) fn take(&self) -> Vec<u8> {
        self.wanted.store(false, Ordering::SeqCst);
        std::mem::take(&mut self.text.lock().unwrap())
    }
}

struct Pen(&'static Lines);

impl io::Write for Pen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.wanted.load(Ordering::SeqCst) {
            self.0.text.lock().unwrap().extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Randomness that a failing run can be repeated with.
pub(crate) struct Seeded(Mutex<ChaCha8Rng>);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(ChaCha8Rng::seed_from_u64(seed))))
    }
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyFailed> {
        self.0.lock().unwrap().fill_bytes(bytes);
        Ok(())
    }
}

/// The token of a unit: as hard to tell apart as a real one, and known to the test.
pub(crate) fn token(destination: &DestinationId, epoch: u64, unit: u32) -> String {
    let digest =
        Digest::of_parts(&[destination.as_str().as_bytes(), &epoch.to_be_bytes(), &unit.to_be_bytes()]);
    digest.to_hex()
}

pub(crate) fn members(
    destination: &DestinationId,
    epoch: u64,
    units: impl IntoIterator<Item = u32>,
) -> Members {
    let mut members = Members::default();
    for unit in units {
        members.push(UnitIx(unit), &token(destination, epoch, unit)).unwrap();
    }
    members
}

pub(crate) fn units(units: impl IntoIterator<Item = u32>) -> RoaringBitmap {
    units.into_iter().collect()
}

pub(crate) fn lane(destination: &str, audience: &str) -> Lane {
    Lane { destination: destination.parse().unwrap(), audience: audience.parse().unwrap() }
}

/// What a fake destination does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Takes it and says so.
    Good,
    /// No connection.
    Unreachable,
    /// It never arrives, or arrives later, after others.
    Late,
    /// Takes it; the answer is lost.
    LostAnswer,
    /// Gets it twice.
    Twice,
    /// Asks to wait.
    Busy,
    /// Fails.
    Broken,
    /// Takes it later, and says so then.
    Slow,
    /// Says that it has it, and loses it.
    Forgetful,
    /// Answers nonsense.
    Nonsense,
}

const MOODS: [Mood; 10] = [
    Mood::Good,
    Mood::Unreachable,
    Mood::Late,
    Mood::LostAnswer,
    Mood::Twice,
    Mood::Busy,
    Mood::Broken,
    Mood::Slow,
    Mood::Forgetful,
    Mood::Nonsense,
];

/// One thing that really happened at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) op: Op,
    pub(crate) audience: String,
    pub(crate) token: String,
}

#[derive(Default)]
pub(crate) struct Inside {
    /// Who is where.
    pub(crate) held: BTreeSet<(String, String)>,
    /// Answers given, by batch.
    pub(crate) known: HashMap<BatchId, Answer>,
    /// What really happened, in order.
    pub(crate) effects: Vec<Effect>,
    /// Every token that was put on a wire to it.
    pub(crate) seen: BTreeSet<(String, String)>,
    /// Copies that are still under way.
    pub(crate) late: Vec<Batch>,
    /// Batches accepted and not done: how many questions until they are.
    pub(crate) slow: HashMap<BatchId, (Batch, u32)>,
    /// Whether it refuses them in removals too.
    pub(crate) stubborn: bool,
    /// Tokens that it will not have: the whole batch is refused.
    pub(crate) poison: BTreeSet<String>,
    /// Tokens that it will not have: the batch is taken without them.
    pub(crate) picky: BTreeSet<String>,
    /// Additions of somebody who was there already.
    pub(crate) doubles: usize,
    /// Calls, for tests that count.
    pub(crate) calls: usize,
}

/// A destination that does once per id what it is told, and is otherwise as bad as networks are. It does *not* look at
/// the order numbers: the sender's order alone must do.
pub(crate) struct Fake {
    pub(crate) id: DestinationId,
    pub(crate) inside: Mutex<Inside>,
    moods: Mutex<Box<dyn FnMut() -> Mood + Send>>,
}

impl Fake {
    pub(crate) fn new(id: &str, moods: impl FnMut() -> Mood + Send + 'static) -> Arc<Self> {
        let moods: Box<dyn FnMut() -> Mood + Send> = Box::new(moods);
        Arc::new(Self { id: id.parse().unwrap(), inside: Mutex::default(), moods: Mutex::new(moods) })
    }

    /// One that is always good.
    pub(crate) fn good(id: &str) -> Arc<Self> {
        Self::new(id, || Mood::Good)
    }

    /// One that is good in `good` of ten calls and anything otherwise.
    pub(crate) fn moody(id: &str, seed: u64, good: u32) -> Arc<Self> {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        Self::new(id, move || {
            if dice.random_range(0..10) < good {
                Mood::Good
            } else {
                MOODS[dice.random_range(0..MOODS.len())]
            }
        })
    }

    /// One with these moods, and good ever after.
    pub(crate) fn scripted(id: &str, moods: &[Mood]) -> Arc<Self> {
        let (moods, mut turn) = (moods.to_vec(), 0);
        Self::new(id, move || {
            turn += 1;
            moods.get(turn - 1).copied().unwrap_or(Mood::Good)
        })
    }

    pub(crate) fn become_good(&self) {
        *self.moods.lock().unwrap() = Box::new(|| Mood::Good);
    }

    /// Copies that were under way arrive, at last.
    pub(crate) fn deliver_late(&self) {
        let mut inside = self.inside.lock().unwrap();
        for batch in std::mem::take(&mut inside.late) {
            inside.take(&batch);
        }
    }

    /// The tokens in an audience.
    pub(crate) fn held(&self, audience: &str) -> BTreeSet<String> {
        let inside = self.inside.lock().unwrap();
        inside.held.iter().filter(|(of, _)| of == audience).map(|(_, token)| token.clone()).collect()
    }

    fn failed(&self, fault: Fault, retry_after_secs: Option<u32>) -> Result<Answer, SendFailed> {
        Err(SendFailed { destination: self.id.clone(), fault, retry_after_secs })
    }
}

impl Inside {
    /// What idempotency means: one id, one effect.
    fn take(&mut self, batch: &Batch) -> Answer {
        if let Some(answer) = self.known.get(&batch.header.id) {
            return answer.clone();
        }
        let texts: Vec<String> = batch.members.iter().map(|token| token.expose().to_owned()).collect();
        let minds = batch.header.place.op == Op::Add || self.stubborn;
        let answer = if minds && texts.iter().any(|token| self.poison.contains(token)) {
            Answer::Final(Verdict::Refused(Reason::Malformed))
        } else {
            let mut rejections = Vec::new();
            for (position, token) in texts.into_iter().enumerate() {
                if minds && self.picky.contains(&token) {
                    rejections.push(Rejection { position: position as u32, reason: Reason::Blocked });
                } else {
                    self.effect(batch, token);
                }
            }
            let partial = !rejections.is_empty();
            Answer::Final(if partial { Verdict::Partial(rejections) } else { Verdict::Applied })
        };
        self.known.insert(batch.header.id, answer.clone());
        answer
    }

    fn effect(&mut self, batch: &Batch, token: String) {
        let place = &batch.header.place;
        let key = (place.lane.audience.to_string(), token.clone());
        match place.op {
            Op::Add => {
                if !self.held.insert(key) {
                    self.doubles += 1;
                }
            }
            Op::Remove => {
                self.held.remove(&key);
            }
        }
        self.effects.push(Effect { op: place.op, audience: place.lane.audience.to_string(), token });
    }
}

impl Destination for Fake {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn submit<'a>(&'a self, batch: &'a Batch) -> Sent<'a, Result<Answer, SendFailed>> {
        Box::pin(async move {
            let mood = (self.moods.lock().unwrap())();
            let mut inside = self.inside.lock().unwrap();
            inside.calls += 1;
            if mood == Mood::Unreachable {
                return self.failed(Fault::Unreachable, None);
            }
            let audience = batch.header.place.lane.audience.to_string();
            inside
                .seen
                .extend(batch.members.iter().map(|token| (audience.clone(), token.expose().to_owned())));
            match mood {
                Mood::Good => Ok(inside.take(batch)),
                Mood::Unreachable => unreachable!(),
                Mood::Late => {
                    inside.late.push(batch.clone());
                    self.failed(Fault::Timeout, None)
                }
                Mood::LostAnswer => {
                    inside.take(batch);
                    self.failed(Fault::Timeout, None)
                }
                Mood::Twice => {
                    inside.take(batch);
                    inside.late.push(batch.clone());
                    Ok(inside.take(batch))
                }
                Mood::Busy => self.failed(Fault::Busy, Some(30)),
                Mood::Broken => self.failed(Fault::Broken, None),
                Mood::Slow if !inside.known.contains_key(&batch.header.id) => {
                    inside.slow.insert(batch.header.id, (batch.clone(), 2));
                    Ok(Answer::Accepted { poll_after_secs: Some(5) })
                }
                Mood::Forgetful if !inside.known.contains_key(&batch.header.id) => {
                    Ok(Answer::Accepted { poll_after_secs: None })
                }
                Mood::Slow | Mood::Forgetful => Ok(inside.take(batch)),
                Mood::Nonsense => {
                    let rejection = Rejection { position: 1_000_000, reason: Reason::Blocked };
                    Ok(Answer::Final(Verdict::Partial(vec![rejection])))
                }
            }
        })
    }

    fn status<'a>(&'a self, batch: &'a Header) -> Sent<'a, Result<Answer, SendFailed>> {
        Box::pin(async move {
            let mood = (self.moods.lock().unwrap())();
            let mut inside = self.inside.lock().unwrap();
            inside.calls += 1;
            match mood {
                Mood::Unreachable => return self.failed(Fault::Unreachable, None),
                Mood::Late | Mood::LostAnswer => return self.failed(Fault::Timeout, None),
                Mood::Busy => return self.failed(Fault::Busy, None),
                Mood::Broken => return self.failed(Fault::Broken, Some(7)),
                Mood::Good | Mood::Twice | Mood::Slow | Mood::Forgetful | Mood::Nonsense => {}
            }
            if let Some(answer) = inside.known.get(&batch.id) {
                return Ok(answer.clone());
            }
            match inside.slow.remove(&batch.id) {
                None => Ok(Answer::Unknown),
                Some((batch, 0)) => Ok(inside.take(&batch)),
                Some((taken, left)) => {
                    inside.slow.insert(batch.id, (taken, left - 1));
                    Ok(Answer::Accepted { poll_after_secs: Some(5) })
                }
            }
        })
    }
}

/// A store that is lost with the test, but not with the process that dies in it.
#[derive(Default)]
pub(crate) struct MemoryStore(Mutex<MemoryRows>);

#[derive(Default)]
struct MemoryRows {
    generation: u64,
    lanes: BTreeMap<Lane, (u64, bool)>,
    rows: BTreeMap<BatchId, StoredRow>,
    kept: HashMap<BatchId, Vec<u8>>,
    logged: Vec<(Digest, u64)>,
    pending: Vec<Pending>,
}

impl Store for MemoryStore {
    fn load(&self) -> Later<'_, Stored> {
        let rows = self.0.lock().unwrap();
        let lane = |(lane, (next_seq, closed)): (&Lane, &(u64, bool))| StoredLane {
            lane: lane.clone(),
            next_seq: *next_seq,
            closed: *closed,
        };
        let stored = Stored {
            generation: rows.generation,
            lanes: rows.lanes.iter().map(lane).collect(),
            rows: rows.rows.values().cloned().collect(),
            logged: rows.logged.clone(),
            pending: rows.pending.clone(),
        };
        Box::pin(async move { Ok(stored) })
    }

    fn generation(&self) -> Later<'_, u64> {
        let generation = self.0.lock().unwrap().generation;
        Box::pin(async move { Ok(generation) })
    }

    fn members<'a>(&'a self, batch: &'a BatchId) -> Later<'a, Option<Vec<u8>>> {
        let kept = self.0.lock().unwrap().kept.get(batch).cloned();
        Box::pin(async move { Ok(kept) })
    }

    fn commit<'a>(&'a self, generation: u64, changes: &'a [Change]) -> Later<'a, ()> {
        let mut rows = self.0.lock().unwrap();
        let outcome = if rows.generation == generation {
            rows.generation += 1;
            changes.iter().for_each(|change| rows.write(change.clone()));
            Ok(())
        } else {
            Err(StoreFailed::Stale)
        };
        Box::pin(async move { outcome })
    }
}

impl MemoryRows {
    fn write(&mut self, change: Change) {
        let bare = |row: activation::outbox::store::Row| activation::outbox::store::Row {
            units: RoaringBitmap::new(),
            rejected: RoaringBitmap::new(),
            ..row
        };
        match change {
            Change::Lane { lane, next_seq, closed } => {
                self.lanes.insert(lane, (next_seq, closed));
            }
            Change::Insert { row, units, members } => {
                let id = row.header.id;
                self.kept.insert(id, members);
                let stored = StoredRow { row: bare(*row), units, rejected: None };
                assert!(self.rows.insert(id, stored).is_none(), "a batch id was used twice");
            }
            Change::Update { row, rejected } => {
                let stored = self.rows.get_mut(&row.header.id).unwrap();
                let kept = stored.row.kept;
                (stored.row, stored.rejected) = (bare(*row), rejected);
                stored.row.kept = kept;
            }
            Change::Keep { batch, members } => {
                self.rows.get_mut(&batch).unwrap().row.kept = members.is_some();
                match members {
                    Some(members) => self.kept.insert(batch, members),
                    None => self.kept.remove(&batch),
                };
            }
            Change::Owe(owed) => {
                let known =
                    self.pending.iter().map(|owed| owed.id).chain(self.logged.iter().map(|(id, _)| *id));
                assert!(known.into_iter().all(|id| id != owed.id), "an entry was owed twice");
                self.pending.push(*owed);
            }
            Change::Logged { id, index } => {
                self.pending.retain(|owed| owed.id != id);
                self.logged.push((id, index));
            }
        }
    }
}

/// A log in memory.
#[derive(Default)]
pub(crate) struct MemoryJournal(pub(crate) Mutex<Vec<Entry>>);

impl Journal for MemoryJournal {
    fn append(&self, entries: Vec<(Entry, Vec<u8>)>) -> Vec<Result<u64, JournalFailed>> {
        let mut log = self.0.lock().unwrap();
        let append = |(entry, body): (Entry, Vec<u8>)| {
            if body.len() > audits::BODY_BYTES_MAX {
                return Err(JournalFailed { reason: format!("a body of {} bytes", body.len()) });
            }
            log.push(entry);
            Ok(log.len() as u64 - 1)
        };
        entries.into_iter().map(append).collect()
    }

    fn size(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    fn outbox_results(&self, from: u64, to: u64) -> Result<Vec<(u64, Digest)>, JournalFailed> {
        let log = self.0.lock().unwrap();
        let range = (from..to).zip(log.iter().skip(from as usize));
        Ok(range.filter_map(|(index, entry)| Some((index, entry.result?))).collect())
    }

    fn find_result(&self, result: &Digest) -> Option<u64> {
        let log = self.0.lock().unwrap();
        log.iter().position(|entry| entry.result == Some(*result)).map(|index| index as u64)
    }

    fn receipt(&self, _index: u64) -> Result<Receipt, JournalFailed> {
        Err(JournalFailed { reason: "a log in memory gives no receipts".to_owned() })
    }
}

impl MemoryJournal {
    /// How many entries of a kind there are; no fact may have two.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        let log = self.0.lock().unwrap();
        let results: BTreeSet<Digest> = log.iter().filter_map(|entry| entry.result).collect();
        assert_eq!(results.len(), log.len(), "one fact has one entry");
        log.iter().filter(|entry| entry.kind == kind).count()
    }
}

/// Burns down with every effect; when it is burnt, everything fails, as in a process that is no more.
pub(crate) struct Fuse {
    left: AtomicI64,
    /// Whether the last effect still happens.
    persists: bool,
    pub(crate) effects: AtomicUsize,
}

/// What happens to an effect.
#[derive(PartialEq)]
enum Fate {
    Happens,
    HappensUnseen,
    Never,
}

impl Fuse {
    pub(crate) fn new(effects: i64, persists: bool) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(effects), persists, effects: AtomicUsize::new(0) })
    }

    pub(crate) fn endless() -> Arc<Self> {
        Self::new(i64::MAX, false)
    }

    fn burn(&self) -> Fate {
        self.effects.fetch_add(1, Ordering::SeqCst);
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            1.. => Fate::Happens,
            0 if self.persists => Fate::HappensUnseen,
            _ => Fate::Never,
        }
    }

    pub(crate) fn burnt(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }
}

/// A store, log or destination as a process sees it that may die.
pub(crate) struct Mortal<T: ?Sized>(pub(crate) Arc<T>, pub(crate) Arc<Fuse>);

impl<T: Store + ?Sized> Store for Mortal<T> {
    fn load(&self) -> Later<'_, Stored> {
        Box::pin(
            async move { if self.1.burnt() { Err(StoreFailed::Unreachable) } else { self.0.load().await } },
        )
    }

    fn generation(&self) -> Later<'_, u64> {
        Box::pin(async move {
            if self.1.burnt() { Err(StoreFailed::Unreachable) } else { self.0.generation().await }
        })
    }

    fn members<'a>(&'a self, batch: &'a BatchId) -> Later<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            if self.1.burnt() { Err(StoreFailed::Unreachable) } else { self.0.members(batch).await }
        })
    }

    fn commit<'a>(&'a self, generation: u64, changes: &'a [Change]) -> Later<'a, ()> {
        Box::pin(async move {
            match self.1.burn() {
                Fate::Happens => self.0.commit(generation, changes).await,
                Fate::HappensUnseen => {
                    self.0.commit(generation, changes).await.and(Err(StoreFailed::Unreachable))
                }
                Fate::Never => Err(StoreFailed::Unreachable),
            }
        })
    }
}

impl<T: Journal + ?Sized> Journal for Mortal<T> {
    fn append(&self, entries: Vec<(Entry, Vec<u8>)>) -> Vec<Result<u64, JournalFailed>> {
        let dead = || Err(JournalFailed { reason: "the process is no more".to_owned() });
        // Each entry is an effect of its own: a crash may come between two.
        let append = |entry| match self.1.burn() {
            Fate::Happens => self.0.append(vec![entry]).remove(0),
            Fate::HappensUnseen => {
                self.0.append(vec![entry]);
                dead()
            }
            Fate::Never => dead(),
        };
        entries.into_iter().map(append).collect()
    }

    fn size(&self) -> u64 {
        self.0.size()
    }

    fn outbox_results(&self, from: u64, to: u64) -> Result<Vec<(u64, Digest)>, JournalFailed> {
        self.0.outbox_results(from, to)
    }

    fn find_result(&self, result: &Digest) -> Option<u64> {
        self.0.find_result(result)
    }

    fn receipt(&self, index: u64) -> Result<Receipt, JournalFailed> {
        self.0.receipt(index)
    }
}

impl<T: Destination + ?Sized> Destination for Mortal<T> {
    fn id(&self) -> &DestinationId {
        self.0.id()
    }

    fn submit<'a>(&'a self, batch: &'a Batch) -> Sent<'a, Result<Answer, SendFailed>> {
        Box::pin(async move {
            let destination = self.0.id().clone();
            let dead = SendFailed { destination, fault: Fault::Timeout, retry_after_secs: None };
            match self.1.burn() {
                Fate::Happens => self.0.submit(batch).await,
                Fate::HappensUnseen => self.0.submit(batch).await.and(Err(dead)),
                Fate::Never => Err(dead),
            }
        })
    }

    fn status<'a>(&'a self, batch: &'a Header) -> Sent<'a, Result<Answer, SendFailed>> {
        Box::pin(async move {
            let destination = self.0.id().clone();
            let dead = SendFailed { destination, fault: Fault::Timeout, retry_after_secs: None };
            match self.1.burn() {
                Fate::Happens => self.0.status(batch).await,
                Fate::HappensUnseen | Fate::Never => Err(dead),
            }
        })
    }
}

/// What outlives a process: store, log, destinations, clock.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: Arc<MemoryJournal>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: ManualClock,
    pub(crate) entropy: Arc<Seeded>,
    pub(crate) fakes: Vec<Arc<Fake>>,
    pub(crate) settings: Settings,
}

impl World {
    pub(crate) fn new(seed: u64, fakes: Vec<Arc<Fake>>) -> Self {
        Lines::shared();
        let log = Arc::new(MemoryJournal::default());
        Self {
            store: Arc::new(MemoryStore::default()),
            log: log.clone(),
            journal: log,
            clock: ManualClock::at(START),
            entropy: Seeded::new(seed),
            fakes,
            settings: Settings::default(),
        }
    }

    /// A process over this world that dies with the fuse.
    pub(crate) async fn start(&self, fuse: &Arc<Fuse>) -> Result<Outbox, OutboxFailed> {
        let destination =
            |fake: &Arc<Fake>| -> Arc<dyn Destination> { Arc::new(Mortal(fake.clone(), fuse.clone())) };
        let ports = Ports {
            store: Arc::new(Mortal(self.store.clone(), fuse.clone())),
            journal: Arc::new(Mortal(self.journal.clone(), fuse.clone())),
            clock: Arc::new(self.clock.clone()),
            entropy: self.entropy.clone(),
            destinations: self.fakes.iter().map(destination).collect(),
        };
        Outbox::open(OutboxKey::from_bytes([5; 32]), self.settings, ports).await
    }

    /// A process that does not die.
    pub(crate) async fn run(&self) -> Outbox {
        self.start(&Fuse::endless()).await.unwrap()
    }

    /// Pumps until nothing is open, moving the clock from due time to due time.
    pub(crate) async fn settle(&self, outbox: &Outbox) {
        use ids::Clock as _;
        for _ in 0..10_000 {
            let mut next = None;
            for fake in &self.fakes {
                let pumped = outbox.pump(&fake.id).await.unwrap();
                next = match (next, pumped.next_due) {
                    (Some(one), Some(two)) => Some(std::cmp::min::<Timestamp>(one, two)),
                    (one, two) => one.or(two),
                };
            }
            let Some(due) = next else { return };
            let wait = due.as_millis() - self.clock.now().as_millis();
            self.clock.advance_millis(u32::try_from(wait.max(1)).unwrap());
        }
        panic!("the outbox does not come to rest");
    }

    /// What the destination has must be exactly these units' tokens.
    pub(crate) fn assert_holds(
        &self,
        fake: &Fake,
        audience: &str,
        epochs: &[(u64, RoaringBitmap)],
        case: &str,
    ) {
        let tokens = epochs.iter().flat_map(|(epoch, units)| {
            units.iter().map(|unit| token(&fake.id, *epoch, unit)).collect::<Vec<_>>()
        });
        let expected: BTreeSet<String> = tokens.collect();
        let held = fake.held(audience);
        let (lost, extra) = (expected.difference(&held).count(), held.difference(&expected).count());
        assert!(held == expected, "{case}: {lost} lost, {extra} extra of {} at {}", expected.len(), fake.id);
    }
}

pub(crate) fn cause() -> Cause {
    Cause {
        purpose: Some("activation".parse().unwrap()),
        consent_epoch: Some(3),
        clauses: vec!["JV-3.1".parse().unwrap()],
        ..Cause::default()
    }
}
