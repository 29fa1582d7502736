//! What can be asked for.

use std::path::PathBuf;

use ids::Date;

/// Most shoppers: their phone numbers have seven digits of their own.
const SHOPPERS_MAX: u32 = 5_000_000;
/// Shortest and longest period in days. Shorter leaves no room for a campaign, longer none for the weekly tables.
const DAYS: std::ops::RangeInclusive<i64> = 28..=1_100;
/// Fewest and most lines per shopper.
const LINES_PER_SHOPPER: std::ops::RangeInclusive<f64> = 1.0..=10_000.0;
/// Most worker threads.
const THREADS_MAX: usize = 64;

/// Why nothing, or not everything, was written. Messages hold no generated data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynthRefused {
    /// An option is out of range.
    #[error("`{option}` is out of range: expected {expected}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What it may be.
        expected: String,
    },
    /// The folder holds something already.
    #[error("the folder `{}` is not empty: name a new one", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot write `{}`: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A table could not be encoded.
    #[error("cannot encode table `{table}`: {reason}")]
    Encode {
        /// The table.
        table: &'static str,
        /// What the encoder said.
        reason: String,
    },
    /// A worker thread ended early.
    #[error("a worker thread ended before its work was done")]
    WorkerLost,
}

impl SynthRefused {
    /// A stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Option { .. } => "synth_option",
            Self::NotEmpty { .. } => "synth_folder_not_empty",
            Self::Io { .. } => "synth_io",
            Self::Encode { .. } => "synth_encode",
            Self::WorkerLost => "synth_worker_lost",
        }
    }
}

/// How much to generate. Same options, same bytes; `threads` alone changes nothing but the time it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Number of loyalty shoppers, 1 to 5,000,000.
    pub shoppers: u32,
    /// Everything random follows from it.
    pub seed: u64,
    /// First day of sales.
    pub first_day: Date,
    /// Last day of sales, 27 to 1,099 days after the first.
    pub last_day: Date,
    /// Mean number of lines per shopper over the whole period, 1 to 10,000. Guests' lines come on top, about 6 %.
    pub lines_per_shopper: f64,
    /// Worker threads, 1 to 64.
    pub threads: usize,
}

impl Default for Options {
    /// 20,000 shoppers with 40 lines each in the year 2024.
    fn default() -> Self {
        Self {
            shoppers: 20_000,
            seed: 1,
            first_day: Date::from_days(19_723),
            last_day: Date::from_days(20_088),
            lines_per_shopper: 40.0,
            threads: std::thread::available_parallelism().map_or(2, usize::from).min(8),
        }
    }
}

impl Options {
    /// The large one for benchmarks: about `lines` lines of `shoppers` loyalty shoppers, otherwise the defaults.
    pub fn bench_lines(shoppers: u32, lines: u64) -> Self {
        let lines_per_shopper = lines as f64 / f64::from(shoppers.max(1));
        Self { shoppers, lines_per_shopper, ..Self::default() }
    }

    /// Number of days of the period.
    pub(crate) fn days(&self) -> i64 {
        i64::from(self.last_day.as_days()) - i64::from(self.first_day.as_days()) + 1
    }

    pub(crate) fn check(&self) -> Result<(), SynthRefused> {
        let refused = |option, expected| Err(SynthRefused::Option { option, expected });
        if !(1..=SHOPPERS_MAX).contains(&self.shoppers) {
            return refused("shoppers", format!("1 to {SHOPPERS_MAX}"));
        }
        if !DAYS.contains(&self.days()) {
            return refused("last_day", format!("a period of {} to {} days", DAYS.start(), DAYS.end()));
        }
        if !LINES_PER_SHOPPER.contains(&self.lines_per_shopper) {
            let (least, most) = LINES_PER_SHOPPER.into_inner();
            return refused("lines_per_shopper", format!("{least} to {most}"));
        }
        if !(1..=THREADS_MAX).contains(&self.threads) {
            return refused("threads", format!("1 to {THREADS_MAX}"));
        }
        Ok(())
    }
}
