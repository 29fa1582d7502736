//! A synthetic retailer of any size with known truth, for the demo, the sandbox and the benchmarks.
#![allow(clippy::todo, clippy::allow_attributes, unused, reason = "API first; bodies follow within the hour")]

use std::path::Path;

use ids::Date;

/// How much to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Number of loyalty shoppers.
    pub shoppers: u32,
    /// Everything follows from it: same seed and options, same bytes.
    pub seed: u64,
    /// First day of sales.
    pub first_day: Date,
    /// Last day of sales.
    pub last_day: Date,
    /// Mean number of lines per shopper over the whole period.
    pub lines_per_shopper: f64,
    /// Worker threads; the output does not depend on it.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        todo!()
    }
}

impl Options {
    /// The large one for benchmarks: about `lines` lines over `shoppers` shoppers.
    pub fn bench_lines(shoppers: u32, lines: u64) -> Self {
        todo!()
    }
}

/// File format of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One Parquet file per table.
    Parquet,
    /// One CSV file per table, with a header.
    Csv,
}

/// How far the writing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Shoppers done.
    pub shoppers: u64,
    /// Shoppers in all.
    pub shoppers_total: u64,
    /// Lines written.
    pub lines: u64,
}

/// Exact figures of what was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Truth {
    /// Loyalty shoppers.
    pub shoppers: u64,
    /// Lines.
    pub lines: u64,
}

/// Why nothing was generated.
#[derive(Debug, thiserror::Error)]
#[error("todo")]
pub struct SynthRefused;

/// A retailer, ready to be written.
#[derive(Debug)]
pub struct Retailer {
    options: Options,
}

impl Retailer {
    /// Plans assortment, stores and campaign.
    pub fn generate(options: Options) -> Result<Self, SynthRefused> {
        todo!()
    }

    /// Writes tables, `catalogue.toml` and `truth.json` into `folder`, which must not exist or be empty.
    pub fn write_folder(
        &self,
        folder: &Path,
        format: Format,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Truth, SynthRefused> {
        todo!()
    }
}
