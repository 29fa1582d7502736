//! A small house for tests: random rows of the Complete Journey's shape in memory, the sample agreement, a real log and
//! a real ledger, and ports that record, break, or add no noise. None of it ships.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use audits::{BodyKey, Log, LogConfig, LogKey};
use duckdb::Connection;
use engine::journal::Journal;
use engine::scan::{Executor, Feed, HotExecutor, Scan, ScanFailed, ScanPlan, Source, Stop, Totals};
use engine::{CleanRoom, Dataset, Ports, Question, Settings, schema_of};
use identity::{ConsentEvent, Consents, Principal, Role};
use ids::{Date, Digest, ManualClock, SystemEntropy, Timestamp, UnitIx};
use policy::Bundle;
use privacy::{Bound, NoiseFailed, NoiseSource, NormHistogram, OpenDpNoise, Scale};
use tempfile::TempDir;
use vault::{Catalogue, StreamFailed};

/// The departments of the test products, the last one without any rows.
pub(crate) const DEPARTMENTS: [&str; 5] = ["DRUG GM", "FUEL", "GROCERY", "MEAT", "TRAVEL"];
const AGES: [&str; 6] = ["19-24", "25-34", "35-44", "45-54", "55-64", "65+"];
/// Products 0..PRODUCTS; product p is of department p % 4.
pub(crate) const PRODUCTS: i64 = 40;

/// A small generator (SplitMix64), so that a failing case is named by its seed.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// One line of a receipt.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) unit: u32,
    pub(crate) store: i64,
    pub(crate) basket: i64,
    pub(crate) product: i64,
    pub(crate) quantity: i64,
    pub(crate) cents: i64,
    pub(crate) discount: Option<i64>,
    pub(crate) day: i32,
}

/// Private rows of all shoppers.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    pub(crate) units: u32,
    pub(crate) lines: Vec<Line>,
    /// (shopper, age) of those who told.
    pub(crate) ages: Vec<(u32, usize)>,
    pub(crate) withdrawn: Vec<u32>,
}

impl Data {
    /// So many shoppers with skewed baskets.
    pub(crate) fn random(seed: u64, units: u32) -> Self {
        let mut rng = Rng(seed);
        let mut data = Self { units, lines: Vec::new(), ages: Vec::new(), withdrawn: Vec::new() };
        for unit in 0..units {
            // Few shoppers buy much, some nothing.
            let lines = match rng.below(20) {
                0 => rng.below(400),
                1..=3 => rng.below(60),
                4..=17 => rng.below(12),
                _ => 0,
            };
            for _ in 0..lines {
                let dearest = if rng.below(50) == 0 { 90_000 } else { 1500 };
                data.lines.push(Line {
                    unit,
                    store: rng.below(7) as i64,
                    basket: rng.below(1_000_000) as i64,
                    product: rng.below(PRODUCTS as u64) as i64,
                    quantity: rng.below(5) as i64,
                    cents: rng.below(dearest) as i64,
                    discount: (rng.below(3) > 0).then(|| rng.below(300) as i64),
                    day: 17_167 + rng.below(365) as i32,
                });
            }
            if rng.below(3) > 0 {
                data.ages.push((unit, rng.below(6) as usize));
            }
            if rng.below(15) == 0 {
                data.withdrawn.push(unit);
            }
        }
        data
    }

    /// The neighbour: all rows of one shopper are gone from all private tables.
    pub(crate) fn without(&self, unit: u32) -> Self {
        let mut other = self.clone();
        other.lines.retain(|line| line.unit != unit);
        other.ages.retain(|(owner, _)| *owner != unit);
        other
    }

    pub(crate) fn consents(&self) -> Consents {
        let purpose = "measurement".parse().unwrap();
        let mut builder = Consents::builder(1);
        for unit in 0..self.units {
            builder.record(UnitIx(unit), &purpose, ConsentEvent::Given, Timestamp::from_millis(1));
        }
        for &unit in &self.withdrawn {
            builder.record(UnitIx(unit), &purpose, ConsentEvent::Withdrawn, Timestamp::from_millis(2));
        }
        builder.build()
    }
}

/// The catalogue of the Complete Journey with listed departments and a declared span of days.
pub(crate) fn catalogue() -> Catalogue {
    let departments: Vec<String> = DEPARTMENTS.iter().map(|name| format!("\"{name}\"")).collect();
    let text = vault::COMPLETE_JOURNEY
        .replace(
            "{ name = \"department\", type = \"text\", domain = \"from-data\" }",
            &format!("{{ name = \"department\", type = \"text\", domain = [{}] }}", departments.join(", ")),
        )
        .replace(
            "{ name = \"transaction_timestamp\", type = \"timestamp\" }",
            "{ name = \"transaction_timestamp\", type = \"timestamp\", domain = { first = \"2017-01-01\", last = \"2017-12-31\" } }",
        )
        .replace(
            "{ name = \"redemption_date\", type = \"date\" }",
            "{ name = \"redemption_date\", type = \"date\", domain = { first = \"2017-01-01\", last = \"2017-12-31\" } }",
        );
    Catalogue::parse(&text).unwrap()
}

/// Rows in an in-memory DuckDB, as the hot store would hold them.
pub(crate) struct Memory {
    units: u32,
    consents: Consents,
    database: Mutex<Connection>,
}

impl Memory {
    /// Clustered by shopper, as the vault keeps them; or not, to see that nobody assumes it.
    pub(crate) fn of(data: &Data, clustered: bool) -> Arc<Self> {
        let database = Connection::open_in_memory().unwrap();
        database.execute_batch("SET threads = 1").unwrap();
        database.execute_batch(&tables(data)).unwrap();
        append_lines(&database, data, clustered);
        Arc::new(Self { units: data.units, consents: data.consents(), database: Mutex::new(database) })
    }

    /// An answer of plain DuckDB, for comparison.
    pub(crate) fn plain(&self, sql: &str) -> Vec<Vec<Option<i64>>> {
        let database = self.database.lock().unwrap();
        let mut statement = database.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let width = row.as_ref().column_count();
            all.push((0..width).map(|at| row.get::<_, Option<i64>>(at).unwrap()).collect());
        }
        all
    }
}

fn append_lines(database: &Connection, data: &Data, clustered: bool) {
    let mut lines: Vec<&Line> = data.lines.iter().collect();
    if !clustered {
        let mut rng = Rng(7);
        lines.sort_by_cached_key(|_| rng.next());
    }
    let mut appender = database.appender("transactions").unwrap();
    for line in lines {
        let Line { unit, store, basket, product, quantity, cents, discount, day } = line;
        let week = i64::from((day - 17_167) / 7 + 1);
        let time = format!("{} 10:00:00", Date::from_days(*day));
        let row = duckdb::params![
            unit, store, basket, product, quantity, cents, discount, 0_i64, 0_i64, week, time
        ];
        appender.append_row(row).unwrap();
    }
    appender.flush().unwrap();
}

fn tables(data: &Data) -> String {
    let mut sql = String::from(
        "CREATE TABLE products (product_id BIGINT, manufacturer_id BIGINT, department VARCHAR, \"department#code\" INTEGER, \
         brand VARCHAR, \"brand#code\" INTEGER, product_category VARCHAR, \"product_category#code\" INTEGER, \
         product_type VARCHAR, \"product_type#code\" INTEGER, package_size VARCHAR);
         CREATE TABLE transactions (unit_ix UINTEGER, store_id BIGINT, basket_id BIGINT, product_id BIGINT, quantity BIGINT, \
         sales_value BIGINT, retail_disc BIGINT, coupon_disc BIGINT, coupon_match_disc BIGINT, week BIGINT, \
         transaction_timestamp TIMESTAMP);
         CREATE TABLE demographics (unit_ix UINTEGER, age VARCHAR, \"age#code\" INTEGER, income VARCHAR, \"income#code\" INTEGER, \
         home_ownership VARCHAR, \"home_ownership#code\" INTEGER, marital_status VARCHAR, \"marital_status#code\" INTEGER, \
         household_size VARCHAR, \"household_size#code\" INTEGER, household_comp VARCHAR, \"household_comp#code\" INTEGER, \
         kids_count VARCHAR, \"kids_count#code\" INTEGER);\n",
    );
    sql.push_str("INSERT INTO products VALUES ");
    for product in 0..PRODUCTS {
        let department = (product % 4) as usize;
        let name = DEPARTMENTS[department];
        let _ = write!(
            sql,
            "({product}, 1, '{name}', {department}, 'National', 0, NULL, NULL, NULL, NULL, NULL),"
        );
    }
    sql.pop();
    if !data.ages.is_empty() {
        sql.push_str(";\nINSERT INTO demographics VALUES ");
        for (unit, age) in &data.ages {
            let name = AGES[*age];
            let _ = write!(
                sql,
                "({unit}, '{name}', {age}, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),"
            );
        }
        sql.pop();
    }
    sql
}

impl Source for Memory {
    fn units(&self) -> u32 {
        self.units
    }

    fn consents(&self) -> &Consents {
        &self.consents
    }

    fn connect(&self) -> Result<Box<dyn Feed + '_>, ScanFailed> {
        Ok(Box::new(MemoryFeed(self.database.lock().unwrap().try_clone().map_err(|_| ScanFailed)?)))
    }
}

struct MemoryFeed(Connection);

impl Feed for MemoryFeed {
    fn stream(
        &mut self,
        statement: &str,
        lo: u32,
        hi: u32,
        each: &mut dyn FnMut(&RecordBatch) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let broken = |error: duckdb::Error| {
            eprintln!("{error}\n{statement}");
            Stop::from(StreamFailed::Run)
        };
        let mut prepared = self.0.prepare(statement).map_err(broken)?;
        let bounds = [lo, hi].into_iter().cycle().take(prepared.parameter_count());
        for batch in prepared.stream_arrow(duckdb::params_from_iter(bounds)).map_err(broken)? {
            each(&batch.map_err(broken)?)?;
        }
        Ok(())
    }
}

/// What a scan was asked and what it found before noise.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) plans: Vec<ScanPlan>,
    /// Exact histograms, bucket by bucket.
    pub(crate) norms: Vec<Vec<Vec<i128>>>,
    pub(crate) bounds: Vec<Vec<Bound>>,
    pub(crate) totals: Vec<Totals>,
    /// Bounds to apply instead of those asked for: a recorded run's noisy choice, replayed (dp-engines T1).
    pub(crate) replay: Option<Vec<Bound>>,
}

/// An executor that writes down everything that passes it.
pub(crate) struct Recorder {
    pub(crate) executor: HotExecutor,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

impl Recorder {
    pub(crate) fn over(executor: HotExecutor) -> (Arc<Self>, Arc<Mutex<Seen>>) {
        let seen = Arc::new(Mutex::new(Seen::default()));
        (Arc::new(Self { executor, seen: seen.clone() }), seen)
    }
}

impl Executor for Recorder {
    fn begin(&self, plan: ScanPlan) -> Result<Box<dyn Scan + '_>, ScanFailed> {
        self.seen.lock().unwrap().plans.push(plan.clone());
        let maxima = plan.measures.iter().map(|measure| measure.bounding).collect();
        Ok(Box::new(RecordedScan { scan: self.executor.begin(plan)?, maxima, seen: self.seen.clone() }))
    }
}

struct RecordedScan<'a> {
    scan: Box<dyn Scan + 'a>,
    maxima: Vec<engine::scan::Bounding>,
    seen: Arc<Mutex<Seen>>,
}

impl Scan for RecordedScan<'_> {
    fn norms(&mut self) -> Result<Vec<(usize, NormHistogram)>, ScanFailed> {
        let norms = self.scan.norms()?;
        let mut exact = Vec::new();
        for (measure, histogram) in &norms {
            let engine::scan::Bounding::Search(max) = self.maxima[*measure] else { panic!("not searched") };
            let mut copy = NormHistogram::up_to(max);
            copy.merge(histogram);
            let scale =
                Scale::calibrated(privacy::Sensitivity::ONE, ids::MicroRho::from_units(1_000_000)).unwrap();
            let zeros = privacy::draw(&NoNoise, &scale, copy.buckets()).unwrap();
            exact.push(copy.with_noise(zeros).unwrap().counts().to_vec());
        }
        self.seen.lock().unwrap().norms.push(exact);
        Ok(norms)
    }

    fn totals(self: Box<Self>, bounds: &[Bound]) -> Result<Totals, ScanFailed> {
        let replay = self.seen.lock().unwrap().replay.clone();
        let bounds = replay.as_deref().unwrap_or(bounds).to_vec();
        let totals = self.scan.totals(&bounds)?;
        let copy = match &totals {
            Totals::Public(columns) => Totals::Public(columns.clone()),
            Totals::Private(groups) => Totals::Private(groups.clone()),
        };
        let mut seen = self.seen.lock().unwrap();
        seen.bounds.push(bounds);
        seen.totals.push(copy);
        Ok(totals)
    }
}

/// No noise at all. It exists only here.
pub(crate) struct NoNoise;

impl NoiseSource for NoNoise {
    fn discrete_gaussian(&self, draws: usize, _scale: &Scale) -> Result<Vec<i128>, NoiseFailed> {
        Ok(vec![0; draws])
    }
}

/// Where a house's files lie, and what it needs to be opened again.
pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) clock: ManualClock,
    log_key: [u8; 32],
    body_key: [u8; 32],
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(1_750_000_000_000));
        let entropy = SystemEntropy::new();
        let key = LogKey::generate(&entropy).unwrap();
        let house = Self { folder, clock, log_key: *key.to_bytes(), body_key: [9; 32] };
        drop(
            Log::create(
                house.config(),
                key,
                house.body_key(),
                Arc::new(house.clock.clone()),
                Arc::new(entropy),
            )
            .unwrap(),
        );
        house
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> LogConfig {
        LogConfig {
            dir: self.path("log"),
            head_path: self.path("log-head"),
            origin: "test.example/log".to_owned(),
        }
    }

    fn body_key(&self) -> BodyKey {
        BodyKey::from_bytes(self.body_key)
    }

    /// The real log.
    pub(crate) fn log(&self) -> Arc<Log> {
        let key = LogKey::from_bytes(self.log_key);
        let entropy = Arc::new(SystemEntropy::new());
        Arc::new(
            Log::open(self.config(), key, self.body_key(), Arc::new(self.clock.clone()), entropy).unwrap(),
        )
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings { tick: Duration::ZERO, ..Settings::with_ledger(self.path("ledger.sqlite")) }
    }

    pub(crate) fn ports(&self, journal: Arc<dyn Journal>, noise: Arc<dyn NoiseSource>) -> Ports {
        Ports {
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SystemEntropy::new()),
            noise,
            journal,
            ledger: None,
        }
    }

    /// A room with real ports over an executor.
    pub(crate) async fn room(&self, executor: Arc<dyn Executor>) -> CleanRoom {
        self.room_with(executor, Arc::new(OpenDpNoise::default())).await
    }

    pub(crate) async fn room_with(
        &self,
        executor: Arc<dyn Executor>,
        noise: Arc<dyn NoiseSource>,
    ) -> CleanRoom {
        let ports = self.ports(self.log(), noise);
        CleanRoom::open(self.settings(), ports, bundle(), dataset(executor)).await.unwrap()
    }
}

/// The dataset of the test catalogue over any executor.
pub(crate) fn dataset(executor: Arc<dyn Executor>) -> Dataset {
    let catalogue = catalogue();
    let span = Some(("2017-01-01".parse().unwrap(), "2017-12-31".parse().unwrap()));
    Dataset::new(schema_of(&catalogue), span, Digest::of(b"snapshot 1"), 1, executor).unwrap()
}

/// The sample agreement of the Complete Journey.
pub(crate) fn bundle() -> Arc<Bundle> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policy/bundles/complete-journey");
    Arc::new(Bundle::load(&path).unwrap())
}

pub(crate) fn analyst() -> Principal {
    Principal::local("ada".parse().unwrap(), "insights".parse().unwrap(), Role::Analyst)
}

pub(crate) fn question(sql: &str) -> Question {
    Question::new(sql, "measurement".parse().unwrap())
}
