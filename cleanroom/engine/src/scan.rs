//! The execution port: a plan in, exact totals out.
//!
//! Bounding happens here and nowhere else, on whole numbers: whatever runs a [`ScanPlan`] folds each shopper's rows into
//! one small vector, leaves out who did not consent, bounds the vector and adds it up. [`HotExecutor`] does it in this
//! process over the vault's hot store; a distributed engine would do the same per range of `unit_ix` and add the ranges.

mod arena;
mod fold;
mod hot;
mod rows;
mod select;

use std::collections::BTreeMap;
use std::fmt;

use ids::PurposeId;
use privacy::{Bound, MeasureKind, NormHistogram};
use sql::{KeyType, KeyValue, StreamColumn};

pub use hot::{Feed, HotExecutor, Source, Stop};
pub use select::SelectionKey;

/// What is streamed, and how it is bounded.
#[derive(Debug, Clone)]
pub struct ScanPlan {
    /// The statement, with `$1 ≤ unit_ix < $2`.
    pub statement: String,
    /// What its columns are.
    pub columns: Vec<StreamColumn>,
    /// The groups.
    pub groups: Groups,
    /// What is added up, in the order of [`Totals`].
    pub measures: Vec<ScanMeasure>,
    /// Only shoppers who agreed to this purpose take part.
    pub purpose: PurposeId,
    /// Chooses the groups of a shopper who is in too many.
    pub selection: SelectionKey,
}

/// The group space of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// Codes `0..cells`, all of them answered.
    Public {
        /// How many.
        cells: u32,
    },
    /// Groups are found in the rows; a shopper counts in at most `kappa` of them.
    Private {
        /// Codes of the public keys are `0..public_cells`.
        public_cells: u32,
        /// Types of the private keys, in stream order.
        keys: Vec<KeyType>,
        /// Most groups per shopper.
        kappa: u32,
    },
}

/// One thing that is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanMeasure {
    /// What.
    pub kind: MeasureKind,
    /// The `i` of its stream column `m<i>`; without one every row contributes 1.
    pub column: Option<usize>,
    /// Values beyond this magnitude are cut to it, row by row.
    pub row_max: u64,
    /// How much one shopper may contribute.
    pub bounding: Bounding,
}

impl ScanMeasure {
    /// Whether it counts distinct shoppers.
    pub(crate) fn is_units(&self) -> bool {
        self.kind == MeasureKind::Units
    }
}

/// How much one shopper may contribute to a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounding {
    /// Known before the data is read.
    Fixed(Bound),
    /// Chosen from the histogram of norms, at most this.
    Search(Bound),
}

/// A group with at least one private key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// Code of its public keys; 0 without any.
    pub code: u32,
    /// Values of its private keys.
    pub values: Vec<KeyValue>,
}

/// Exact totals, before noise. Whoever implements the port sees rows anyway; the pipeline wraps this at once into its
/// `ExactAnswer`. Debug shows no number.
#[derive(PartialEq, Eq)]
pub enum Totals {
    /// Per measure, one total per cell.
    Public(Vec<Vec<i128>>),
    /// Per group that was seen, one total per measure.
    Private(BTreeMap<GroupKey, Vec<i128>>),
}

impl fmt::Debug for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Totals(redacted)")
    }
}

/// The scan broke. What broke it may depend on data, so it carries nothing; the cause goes to the operator's trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the scan failed")]
pub struct ScanFailed;

impl From<vault::StreamFailed> for ScanFailed {
    fn from(_: vault::StreamFailed) -> Self {
        Self
    }
}

/// Runs plans.
pub trait Executor: Send + Sync {
    /// Prepares a scan; reads no row yet.
    fn begin(&self, plan: ScanPlan) -> Result<Box<dyn Scan + '_>, ScanFailed>;
}

/// One plan on its way.
///
/// # Guarantee
/// Let D′ be D without the rows of one shopper. The histograms differ by 1 in one bucket each, the totals of a measure by
/// at most `bound.sensitivity()` in L2 (DERIVATION.md of `privacy`, §4), and both do not depend on the order of rows
/// between shoppers or on the number of threads: they are sums of whole numbers.
pub trait Scan {
    /// The norms of each measure that is searched for, by position of the measure.
    fn norms(&mut self) -> Result<Vec<(usize, NormHistogram)>, ScanFailed>;

    /// The totals under these bounds, one per measure; a fixed measure's bound is the plan's.
    fn totals(self: Box<Self>, bounds: &[Bound]) -> Result<Totals, ScanFailed>;
}
