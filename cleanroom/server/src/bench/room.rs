//! The pipeline end to end. Every run gets a fresh ledger and log, so that nothing is answered from an earlier release.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use audits::{BodyKey, Log, LogConfig, LogKey};
use engine::{CleanRoom, Dataset, Ports, Question, Settings};
use identity::{Principal, Role};
use ids::{Entropy, PurposeId, SystemClock, SystemEntropy};
use policy::Bundle;
use privacy::OpenDpNoise;
use vault::HotStore;

use crate::config::Config;
use crate::failure::Failure;
use crate::home::{Home, private_folder};
use crate::refusals::{broken, for_people};

/// The question of the benchmark.
const SQL: &str = "SELECT products.department, COUNT(DISTINCT lines.card_id) AS shoppers, SUM(lines.amount) AS sales \
                   FROM lines JOIN products ON lines.product_id = products.product_id GROUP BY products.department";

/// What every run shares.
#[derive(Debug)]
pub(super) struct Room {
    bundle: Arc<Bundle>,
    hot: Arc<HotStore>,
    folder: PathBuf,
    workers: usize,
    asker: Principal,
    purpose: PurposeId,
}

impl Room {
    /// Over an unsealed store; ledgers and logs go below `folder`.
    pub(super) fn new(
        home: &Home,
        config: &Config,
        hot: Arc<HotStore>,
        folder: PathBuf,
        workers: usize,
    ) -> Result<Self, Failure> {
        let bundle = Arc::new(crate::app::load_bundle(home)?);
        let purpose =
            "measurement".parse().map_err(|why| broken("bench", "cannot name the purpose", &why))?;
        let asker = Principal::local(config.local.subject.clone(), config.local.party.clone(), Role::Analyst);
        Ok(Self { bundle, hot, folder, workers, asker, purpose })
    }

    /// Asks once and gives the time from question to release.
    pub(super) async fn answer(&self, run: u64) -> Result<Duration, Failure> {
        let room = self.fresh(run).await?;
        let question = Question::new(SQL, self.purpose.clone());
        let start = Instant::now();
        let release = room.ask(&self.asker, question).await.map_err(|error| for_people(&error))?;
        let took = start.elapsed();
        if release.reused_from.is_some() || release.rows.is_empty() {
            return Err(Failure::failed(
                "bench_room",
                "the pipeline did not answer anew",
                "the release is reused or empty",
            ));
        }
        Ok(took)
    }

    async fn fresh(&self, run: u64) -> Result<CleanRoom, Failure> {
        let folder = self.folder.join(run.to_string());
        private_folder(&folder)?;
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let no_key = |why: ids::EntropyFailed| broken("entropy", "cannot make a key", &why);
        let config = LogConfig {
            dir: folder.join("log"),
            head_path: folder.join("log-head"),
            origin: "cleanroom.local/bench".to_owned(),
        };
        let (log_key, body_key) =
            (LogKey::generate(&*entropy).map_err(no_key)?, BodyKey::generate(&*entropy).map_err(no_key)?);
        let log = Log::create(config, log_key, body_key, Arc::new(SystemClock), Arc::clone(&entropy))
            .map_err(|why| broken("log_refused", "cannot make the audit log", &why))?;
        let settings = Settings {
            workers: self.workers,
            tick: Duration::ZERO,
            deadline: Duration::from_secs(3600),
            ..Settings::with_ledger(folder.join("ledger.sqlite"))
        };
        let ports = Ports {
            clock: Arc::new(SystemClock),
            entropy,
            noise: Arc::new(OpenDpNoise::default()),
            journal: Arc::new(log),
            ledger: None,
        };
        let failed = |why: engine::StartRefused| broken(why.code(), "cannot open a clean room", &why);
        let dataset = Dataset::over(Arc::clone(&self.hot), self.workers).map_err(failed)?;
        CleanRoom::open(settings, ports, Arc::clone(&self.bundle), dataset).await.map_err(failed)
    }
}
