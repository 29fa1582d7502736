//! A crash between any two effects, each tried twice: the effect failed, or it happened and its answer was lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use audits::{Entry, Kind, Logged, Receipt};
use engine::journal::{Journal, JournalFailed};
use engine::ledger::{
    Charging, Later, Ledger, LedgerFailed, NewCharge, NewReuse, Record, RequestKey, Spent, SqliteLedger,
    State, StoredAnswer,
};
use engine::scan::{Executor, HotExecutor, Scan, ScanFailed, ScanPlan};
use engine::{CleanRoom, QueryError, Question, StartRefused};
use ids::{DatasetId, Digest, MicroRho, PartyId, ReleaseId};
use privacy::{NoiseFailed, NoiseSource, OpenDpNoise, Scale};

use crate::house::{Data, House, Memory, analyst, bundle, dataset, question};

/// Burns down with every effect; when it is burnt, everything fails, as in a process that is no more.
struct Fuse {
    left: AtomicI64,
    /// Whether the last effect still happens.
    persists: bool,
    effects: AtomicUsize,
}

/// What happens to an effect.
#[derive(PartialEq)]
enum Fate {
    Happens,
    HappensUnseen,
    Never,
}

impl Fuse {
    fn new(effects: i64, persists: bool) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(effects), persists, effects: AtomicUsize::new(0) })
    }

    fn burn(&self) -> Fate {
        self.effects.fetch_add(1, Ordering::SeqCst);
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            1.. => Fate::Happens,
            0 if self.persists => Fate::HappensUnseen,
            _ => Fate::Never,
        }
    }

    fn burnt(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }
}

/// A log, ledger, scan or noise source in a process that may die.
struct Mortal<T>(T, Arc<Fuse>);

fn dead() -> JournalFailed {
    JournalFailed { reason: "the process is no more".to_owned() }
}

impl Journal for Mortal<Arc<dyn Journal>> {
    fn append(&self, entry: Entry, body: Option<&[u8]>) -> Result<Receipt, JournalFailed> {
        match self.1.burn() {
            Fate::Happens => self.0.append(entry, body),
            Fate::HappensUnseen => self.0.append(entry, body).and(Err(dead())),
            Fate::Never => Err(dead()),
        }
    }

    fn size(&self) -> u64 {
        self.0.size()
    }

    fn entries(&self, from: u64, to: u64) -> Result<Vec<Logged>, JournalFailed> {
        if self.1.burnt() { Err(dead()) } else { self.0.entries(from, to) }
    }

    fn find_result(&self, result: &Digest) -> Option<u64> {
        self.0.find_result(result)
    }

    fn receipt(&self, index: u64) -> Result<Receipt, JournalFailed> {
        if self.1.burnt() { Err(dead()) } else { self.0.receipt(index) }
    }
}

impl Mortal<SqliteLedger> {
    fn write<'a, T: Send + 'a>(&'a self, effect: Later<'a, T>) -> Later<'a, T> {
        Box::pin(async move {
            match self.1.burn() {
                Fate::Happens => effect.await,
                Fate::HappensUnseen => effect.await.and(Err(LedgerFailed::Unreachable)),
                Fate::Never => Err(LedgerFailed::Unreachable),
            }
        })
    }

    fn read<'a, T: Send + 'a>(&'a self, look: Later<'a, T>) -> Later<'a, T> {
        Box::pin(async move { if self.1.burnt() { Err(LedgerFailed::Unreachable) } else { look.await } })
    }
}

impl Ledger for Mortal<SqliteLedger> {
    fn find<'a>(&'a self, key: &'a RequestKey) -> Later<'a, Option<Record>> {
        self.read(self.0.find(key))
    }
    fn reusable(&self, reuse: Digest, rho: MicroRho) -> Later<'_, Option<Record>> {
        self.read(self.0.reusable(reuse, rho))
    }
    fn charge(&self, charge: NewCharge) -> Later<'_, Charging> {
        self.write(self.0.charge(charge))
    }
    fn charge_logged<'a>(&'a self, key: &'a RequestKey, index: u64) -> Later<'a, ()> {
        self.write(self.0.charge_logged(key, index))
    }
    fn pend<'a>(&'a self, key: &'a RequestKey, answer: StoredAnswer) -> Later<'a, ()> {
        self.write(self.0.pend(key, answer))
    }
    fn reuse(&self, reuse: NewReuse) -> Later<'_, ()> {
        self.write(self.0.reuse(reuse))
    }
    fn release<'a>(&'a self, key: &'a RequestKey, receipt: String, tree_size: u64) -> Later<'a, ()> {
        self.write(self.0.release(key, receipt, tree_size))
    }
    fn fail<'a>(&'a self, key: &'a RequestKey) -> Later<'a, ()> {
        self.write(self.0.fail(key))
    }
    fn released<'a>(&'a self, party: &'a PartyId, release: &'a ReleaseId) -> Later<'a, Option<Record>> {
        self.read(self.0.released(party, release))
    }
    fn spent<'a>(
        &'a self,
        dataset: &'a DatasetId,
        blocks: &'a [String],
        party: &'a PartyId,
    ) -> Later<'a, Vec<Spent>> {
        self.read(self.0.spent(dataset, blocks, party))
    }
    fn unfinished(&self) -> Later<'_, Vec<Record>> {
        self.read(self.0.unfinished())
    }
    fn log_size_known(&self) -> Later<'_, u64> {
        self.read(self.0.log_size_known())
    }
    fn crooked_block(&self) -> Later<'_, Option<String>> {
        self.read(self.0.crooked_block())
    }
}

impl Executor for Mortal<HotExecutor> {
    fn begin(&self, plan: ScanPlan) -> Result<Box<dyn Scan + '_>, ScanFailed> {
        // Data is read only when the charge is in the ledger and in the log: two effects and the note of its place.
        assert!(self.1.effects.load(Ordering::SeqCst) >= 3, "read before the charge was durable");
        match self.1.burn() {
            Fate::Happens => self.0.begin(plan),
            Fate::HappensUnseen | Fate::Never => Err(ScanFailed),
        }
    }
}

impl NoiseSource for Mortal<OpenDpNoise> {
    fn discrete_gaussian(&self, draws: usize, scale: &Scale) -> Result<Vec<i128>, NoiseFailed> {
        match self.1.burn() {
            Fate::Happens => self.0.discrete_gaussian(draws, scale),
            Fate::HappensUnseen | Fate::Never => Err(NoiseFailed::Drawing),
        }
    }
}

fn asked() -> Question {
    let mut asked =
        question("SELECT COUNT(DISTINCT household_id) AS n, SUM(sales_value) AS s FROM transactions");
    asked.request_id = Some("crash-1".parse().unwrap());
    asked
}

/// Asks once in a process that dies after so many effects.
async fn dying(house: &House, memory: &Arc<Memory>, fuse: &Arc<Fuse>) -> Result<(), QueryError> {
    let ledger = SqliteLedger::open(&house.path("ledger.sqlite")).await.unwrap();
    let journal: Arc<dyn Journal> = house.log();
    let noise = Arc::new(Mortal(OpenDpNoise::default(), fuse.clone()));
    let mut ports = house.ports(Arc::new(Mortal(journal, fuse.clone())), noise);
    ports.ledger = Some(Arc::new(Mortal(ledger.clone(), fuse.clone())));
    let executor = Arc::new(Mortal(HotExecutor::new(memory.clone(), 1), fuse.clone()));
    let room = CleanRoom::open(house.settings(), ports, bundle(), dataset(executor)).await;
    let outcome = match room {
        Ok(room) => room.ask(&analyst(), asked()).await.map(drop),
        Err(_) => Err(QueryError::Unavailable { reason: "it died at its start" }),
    };
    ledger.close().await;
    outcome
}

async fn spent(house: &House) -> u64 {
    let ledger = SqliteLedger::open(&house.path("ledger.sqlite")).await.unwrap();
    let blocks = ["2017-Q1".to_owned()];
    let spent = ledger.spent(&"complete-journey".parse().unwrap(), &blocks, analyst().party()).await.unwrap();
    ledger.close().await;
    spent[0].all.units()
}

#[tokio::test(flavor = "multi_thread")]
async fn sum_of_charges_never_exceeds_the_grant_under_every_interleaving_crash_and_retry() {
    let memory = Memory::of(&Data::random(11, 300), true);
    let whole = {
        let (house, fuse) = (House::new(), Fuse::new(i64::MAX, false));
        dying(&house, &memory, &fuse).await.unwrap();
        (spent(&house).await, fuse.effects.load(Ordering::SeqCst))
    };
    let (price, effects) = whole;
    assert!(price > 0 && effects >= 9, "{effects} effects");
    for persists in [false, true] {
        for survived in 0..effects {
            let house = House::new();
            let fuse = Fuse::new(i64::try_from(survived).unwrap(), persists);
            let outcome = dying(&house, &memory, &fuse).await;
            assert!(
                outcome.is_err(),
                "no result without its last step ({survived} of {effects}, {persists})"
            );
            after_the_crash(&house, &memory, price, &format!("{survived} of {effects}, {persists}")).await;
        }
    }
}

/// Starts again over the same files, asks again with the same key, and counts.
async fn after_the_crash(house: &House, memory: &Arc<Memory>, price: u64, case: &str) {
    let before = spent(house).await;
    assert!(before == 0 || before == price, "{case}: charged {before}");
    let log = house.log();
    let ports = house.ports(log.clone(), Arc::new(OpenDpNoise::default()));
    let executor = Arc::new(HotExecutor::new(memory.clone(), 1));
    let room = CleanRoom::open(house.settings(), ports, bundle(), dataset(executor)).await.unwrap();
    let charges = |log: &audits::Log| {
        let all = log.entries(0..log.size()).unwrap();
        all.iter().filter(|logged| logged.entry.kind == Kind::QueryPermitted).count()
    };
    assert_eq!(
        charges(&log),
        usize::from(before > 0),
        "{case}: the log knows the ledger's charges after the start"
    );
    let again = room.ask(&analyst(), asked()).await;
    assert_eq!(spent(house).await, price, "{case}: charged exactly once in the end");
    assert_eq!(charges(&log), 1, "{case}: logged exactly once");
    let ledger = SqliteLedger::open(&house.path("ledger.sqlite")).await.unwrap();
    let key = RequestKey { party: analyst().party().clone(), request: "crash-1".parse().unwrap() };
    let record = ledger.find(&key).await.unwrap().unwrap();
    ledger.close().await;
    let answers = |log: &audits::Log| {
        let all = log.entries(0..log.size()).unwrap();
        all.iter().filter(|logged| logged.entry.kind == Kind::QueryReleased).count()
    };
    match again {
        Ok(release) => {
            assert_eq!((record.state, answers(&log)), (State::Released, 1), "{case}");
            assert_eq!(room.ask(&analyst(), asked()).await.unwrap(), release, "{case}: and again the same");
            assert_eq!(log.find_result(&release.result), Some(release.receipt.index), "{case}");
        }
        // It had already been given up, with its charge, before the process died.
        Err(QueryError::Failed { .. }) => {
            assert_eq!((record.state, answers(&log)), (State::Failed, 0), "{case}")
        }
        Err(other) => panic!("{case}: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_scan_keeps_its_charge_and_has_one_generic_face() {
    struct Broken;
    impl Executor for Broken {
        fn begin(&self, _plan: ScanPlan) -> Result<Box<dyn Scan + '_>, ScanFailed> {
            Err(ScanFailed)
        }
    }
    let house = House::new();
    let room = house.room(Arc::new(Broken)).await;
    let error = room.ask(&analyst(), asked()).await.unwrap_err();
    assert_eq!(error, QueryError::Failed { request_id: "crash-1".parse().unwrap() });
    let price = spent(&house).await;
    assert!(price > 0, "the charge is kept");
    assert_eq!(room.ask(&analyst(), asked()).await.unwrap_err(), error, "and the same again");
    assert_eq!(spent(&house).await, price);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_out_of_an_old_backup_is_refused() {
    let house = House::new();
    let memory = Memory::of(&Data::random(12, 100), true);
    let fuse = Fuse::new(i64::MAX, false);
    dying(&house, &memory, &fuse).await.unwrap();
    for file in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(house.path(file));
    }
    let ports = house.ports(house.log(), Arc::new(OpenDpNoise::default()));
    let executor = Arc::new(HotExecutor::new(memory, 1));
    let refused = CleanRoom::open(house.settings(), ports, bundle(), dataset(executor)).await.unwrap_err();
    assert!(matches!(refused, StartRefused::LedgerBehindLog { .. }), "{refused}");
    assert_eq!(refused.code(), "start.ledger-behind-log");
}
