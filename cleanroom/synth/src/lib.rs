//! A synthetic retailer of any size with known truth, for the demo, the sandbox and the benchmarks.
//!
//! Shoppers differ widely in how much they buy, shop by the week and by the year, agree to some purposes and take a few
//! consents back. One campaign, with a random holdout, has a true effect. Everything follows from the seed: the same
//! [`Options`] give the same bytes, whatever the number of threads. What was written is counted exactly while it is
//! written, so that an answer can be held against [`Truth`].
//!
//! Nobody in it exists: e-mail addresses lie in `example.com`, names end in a number, phone numbers count up from zero.
//! It needs no key, no network and no clock, and its randomness is good for statistics and for nothing else.
//!
//! ```
//! use synth::{Format, Options, Retailer};
//!
//! let folder = tempfile::tempdir()?;
//! let retailer = Retailer::generate(Options { shoppers: 100, ..Options::default() })?;
//! let truth = retailer.write_folder(&folder.path().join("data"), Format::Csv, &mut |_| {})?;
//! assert_eq!(truth.loyalty.shoppers, 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod assortment;
mod calendar;
mod draw;
mod encode;
mod options;
mod shopper;
mod stores;
mod tables;
mod truth;
mod write;

use std::path::Path;

pub use options::{Options, SynthRefused};
pub use truth::{ArmTruth, CampaignTruth, Cell, ConsentTruth, Totals, Truth};

use crate::assortment::{Assortment, Campaign};
use crate::calendar::Calendar;
use crate::shopper::Habits;
use crate::stores::Stores;

/// File format of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One Parquet file per table, Snappy, money as decimals. The fast one.
    Parquet,
    /// One CSV file per table with a header line.
    Csv,
}

/// How far the writing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Shoppers written.
    pub shoppers: u64,
    /// Shoppers to be written in all.
    pub shoppers_total: u64,
    /// Lines written.
    pub lines: u64,
}

/// A retailer with its assortment, stores, calendar and campaign. Shoppers and sales come into being when written.
#[derive(Debug)]
pub struct Retailer {
    options: Options,
    assortment: Assortment,
    stores: Stores,
    calendar: Calendar,
    campaign: Campaign,
    habits: Habits,
}

impl Retailer {
    /// Plans everything that does not grow with the number of shoppers; refuses options out of range.
    pub fn generate(options: Options) -> Result<Self, SynthRefused> {
        options.check()?;
        let days = i32::try_from(options.days()).unwrap_or_default();
        let calendar = Calendar::new(options.first_day, days);
        let habits = Habits::new(options.lines_per_shopper).ok_or_else(|| SynthRefused::Option {
            option: "lines_per_shopper",
            expected: "a finite number".to_owned(),
        })?;
        Ok(Self {
            assortment: Assortment::new(options.seed, &calendar),
            campaign: Campaign::new(&calendar),
            stores: Stores::new(),
            habits,
            calendar,
            options,
        })
    }

    /// The options it was made from.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The `catalogue.toml` that describes the folder.
    pub fn catalogue(&self) -> String {
        write::catalogue(&self.options)
    }

    /// Writes all tables, `catalogue.toml` and, last of all, `truth.json` into `folder`, which is created or must be
    /// empty. `progress` is called after each chunk of shoppers. Memory in use does not grow with the number of
    /// shoppers. After a refusal the folder is incomplete: remove it.
    pub fn write_folder(
        &self,
        folder: &Path,
        format: Format,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Truth, SynthRefused> {
        write::write_folder(self, folder, format, progress)
    }
}
