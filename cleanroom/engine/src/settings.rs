//! What the operator decides, and what the room is connected to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ids::{Clock, Entropy};
use privacy::NoiseSource;

use crate::journal::Journal;
use crate::ledger::Ledger;

/// What the operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// File of the ledger; it and its siblings `-wal` and `-shm` are made when missing.
    pub ledger: PathBuf,
    /// Threads that scan; each holds one connection to the hot store.
    pub workers: usize,
    /// Answers leave at whole multiples of this after the question came in, so that their time says little about the
    /// rows; zero lets them leave at once.
    pub tick: Duration,
    /// A question that takes longer is answered with the generic failure; its work goes on, and asking again with the
    /// same request id fetches the result.
    pub deadline: Duration,
    /// Most private groups that one shopper counts in, when the question does not say.
    pub groups_default: u32,
    /// The most a question may ask for.
    pub groups_max: u32,
}

impl Settings {
    /// The defaults over a ledger at `ledger`: two workers, a tick of 250 ms, a deadline of a minute.
    pub fn with_ledger(ledger: impl Into<PathBuf>) -> Self {
        Self {
            ledger: ledger.into(),
            workers: 2,
            tick: Duration::from_millis(250),
            deadline: Duration::from_secs(60),
            groups_default: 8,
            groups_max: 64,
        }
    }
}

/// Every effect the room has on the world.
#[derive(Clone)]
pub struct Ports {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for names and keys.
    pub entropy: Arc<dyn Entropy>,
    /// Noise. The only implementation that ships is [`privacy::OpenDpNoise`].
    pub noise: Arc<dyn NoiseSource>,
    /// The tamper-evident log.
    pub journal: Arc<dyn Journal>,
    /// The budget ledger and the release store; `None` opens the SQLite ledger of [`Settings::ledger`].
    pub ledger: Option<Arc<dyn Ledger>>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}
