//! Runs plans in this process: a few ranges of shoppers per worker, taken from a shared counter, one connection each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use arrow::array::RecordBatch;
use identity::Consents;
use privacy::{Bound, NormHistogram};
use vault::HotStore;

use super::fold::{Action, Fold, FoldFailed, Folded, Rules};
use super::rows::{Gathered, Reader};
use super::{Bounding, Executor, GroupKey, Groups, Scan, ScanFailed, ScanPlan, Totals};

/// Ranges per worker: enough that no worker waits long for the last one.
const RANGES_PER_WORKER: u32 = 4;
/// Fewest shoppers of a range: below that, starting the statement costs more than it saves.
const RANGE_UNITS_MIN: u32 = 4096;
/// Bytes that vectors may take while their bound is searched for, over all workers; beyond it the data is read twice.
const ARENA_BYTES_MAX: usize = 1 << 30;

/// Where rows come from.
pub trait Source: Send + Sync {
    /// Number of shoppers: `unit_ix` is below it.
    fn units(&self) -> u32;
    /// Who agreed to what.
    fn consents(&self) -> &Consents;
    /// A connection for one thread.
    fn connect(&self) -> Result<Box<dyn Feed + '_>, ScanFailed>;
}

/// Streams rows on one thread.
pub trait Feed {
    /// Calls `each` with every batch of the statement for `lo ≤ unit_ix < hi`; stops at its first failure.
    fn stream(
        &mut self,
        statement: &str,
        lo: u32,
        hi: u32,
        each: &mut dyn FnMut(&RecordBatch) -> Result<(), Stop>,
    ) -> Result<(), Stop>;
}

/// A stream ended before its end. Carries nothing that depends on data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop(FoldFailed);

impl From<FoldFailed> for Stop {
    fn from(failed: FoldFailed) -> Self {
        Self(failed)
    }
}

impl From<vault::StreamFailed> for Stop {
    fn from(_: vault::StreamFailed) -> Self {
        Self(FoldFailed::Broken)
    }
}

impl From<ScanFailed> for Stop {
    fn from(_: ScanFailed) -> Self {
        Self(FoldFailed::Broken)
    }
}

impl Source for HotStore {
    fn units(&self) -> u32 {
        HotStore::units(self)
    }

    fn consents(&self) -> &Consents {
        HotStore::consents(self)
    }

    fn connect(&self) -> Result<Box<dyn Feed + '_>, ScanFailed> {
        Ok(Box::new(self.worker().map_err(|_| ScanFailed)?))
    }
}

impl Feed for vault::Worker {
    fn stream(
        &mut self,
        statement: &str,
        lo: u32,
        hi: u32,
        each: &mut dyn FnMut(&RecordBatch) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        vault::Worker::stream(self, statement, lo, hi, each)
    }
}

/// The embedded executor over the hot store.
#[derive(Clone)]
pub struct HotExecutor {
    source: Arc<dyn Source>,
    workers: usize,
    arena_bytes_max: usize,
}

impl HotExecutor {
    /// An executor with so many threads, at least one.
    pub fn new(source: Arc<dyn Source>, workers: usize) -> Self {
        Self { source, workers: workers.max(1), arena_bytes_max: ARENA_BYTES_MAX }
    }

    /// The same with another limit for the vectors that are kept during a search; 0 always reads twice.
    #[must_use]
    pub fn with_arena_bytes_max(self, arena_bytes_max: usize) -> Self {
        Self { arena_bytes_max, ..self }
    }
}

impl std::fmt::Debug for HotExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotExecutor").field("workers", &self.workers).finish_non_exhaustive()
    }
}

impl Executor for HotExecutor {
    fn begin(&self, plan: ScanPlan) -> Result<Box<dyn Scan + '_>, ScanFailed> {
        Ok(Box::new(HotScan { executor: self, plan, parts: Vec::new() }))
    }
}

/// One plan on its way, with the ranges that a search has left.
struct HotScan<'a> {
    executor: &'a HotExecutor,
    plan: ScanPlan,
    parts: Vec<Part>,
}

/// One folded range and the private groups its numbers stand for.
struct Part {
    folded: Folded,
    groups: Vec<GroupKey>,
}

impl Scan for HotScan<'_> {
    fn norms(&mut self) -> Result<Vec<(usize, NormHistogram)>, ScanFailed> {
        let actions: Vec<Action> =
            self.plan.measures.iter().map(|measure| first_pass(measure.bounding)).collect();
        self.parts = self.run(&actions)?;
        let mut norms = Vec::new();
        for (measure, action) in actions.iter().enumerate() {
            if let Action::Search(max) = action {
                let mut whole = NormHistogram::up_to(*max);
                for part in &self.parts {
                    if let Some(Some(histogram)) = part.folded.histograms.get(measure) {
                        whole.merge(histogram);
                    }
                }
                norms.push((measure, whole));
            }
        }
        Ok(norms)
    }

    fn totals(mut self: Box<Self>, bounds: &[Bound]) -> Result<Totals, ScanFailed> {
        if bounds.len() != self.plan.measures.len() {
            return Err(ScanFailed);
        }
        let searched: Vec<(usize, Bound)> = self.searched(bounds);
        let mut parts = std::mem::take(&mut self.parts);
        if parts.is_empty() {
            let actions: Vec<Action> = bounds.iter().map(|bound| Action::Add(*bound)).collect();
            parts = self.run(&actions)?;
        } else if parts.iter().all(|part| part.folded.arena.is_some()) {
            self.replay(&mut parts, &searched);
        } else {
            // Too many vectors to keep: read once more, for the searched measures only.
            let mut actions = vec![Action::Skip; bounds.len()];
            for (measure, bound) in &searched {
                if let Some(action) = actions.get_mut(*measure) {
                    *action = Action::Add(*bound);
                }
            }
            parts.iter_mut().for_each(|part| part.folded.arena = None);
            parts.extend(self.run(&actions)?);
        }
        Ok(self.add_up(parts))
    }
}

/// What the first pass does with a measure.
const fn first_pass(bounding: Bounding) -> Action {
    match bounding {
        Bounding::Fixed(bound) => Action::Add(bound),
        Bounding::Search(max) => Action::Search(max),
    }
}

impl HotScan<'_> {
    /// The searched measures with the bounds that were chosen.
    fn searched(&self, bounds: &[Bound]) -> Vec<(usize, Bound)> {
        let all = self.plan.measures.iter().zip(bounds).enumerate();
        all.filter(|(_, (measure, _))| matches!(measure.bounding, Bounding::Search(_)))
            .map(|(position, (_, bound))| (position, *bound))
            .collect()
    }

    /// The first shoppers of all ranges, and the width of a range.
    fn ranges(&self) -> (u32, u32) {
        let units = self.executor.source.units();
        let workers = u32::try_from(self.executor.workers).unwrap_or(1);
        let count = units.div_ceil(RANGE_UNITS_MIN).clamp(1, workers.saturating_mul(RANGES_PER_WORKER));
        (count, units.div_ceil(count).max(1))
    }

    /// Folds all ranges.
    fn run(&self, actions: &[Action]) -> Result<Vec<Part>, ScanFailed> {
        let source = &self.executor.source;
        let kappa = match &self.plan.groups {
            Groups::Public { .. } => None,
            Groups::Private { kappa, .. } => Some(usize::try_from(*kappa).map_err(|_| ScanFailed)?),
        };
        let rules = Rules {
            measures: &self.plan.measures,
            actions,
            consents: source.consents().bitmap(&self.plan.purpose),
            order: self.plan.selection.order(),
            kappa,
            arena_bytes_max: self.executor.arena_bytes_max
                / (self.executor.workers * RANGES_PER_WORKER as usize),
        };
        let (count, width) = self.ranges();
        let next = AtomicU32::new(0);
        let work = || -> Result<Vec<Part>, ScanFailed> {
            let mut feed = source.connect()?;
            let mut parts = Vec::new();
            loop {
                let range = next.fetch_add(1, Ordering::Relaxed);
                if range >= count {
                    return Ok(parts);
                }
                let lo = range.saturating_mul(width);
                let hi = if range + 1 == count { source.units() } else { lo.saturating_add(width) };
                parts.push(fold_range(&self.plan, rules, feed.as_mut(), lo, hi)?);
            }
        };
        let workers = self.executor.workers.min(count as usize);
        thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
            let mut parts = work();
            for other in others {
                let more = other.join().unwrap_or(Err(ScanFailed));
                parts = parts.and_then(|mut all| {
                    all.extend(more?);
                    Ok(all)
                });
            }
            parts
        })
    }

    /// Bounds and adds up the vectors kept during the search, on all workers.
    fn replay(&self, parts: &mut [Part], searched: &[(usize, Bound)]) {
        let (measures, bounds): (Vec<usize>, Vec<Bound>) = searched.iter().copied().unzip();
        let order = self.plan.selection.order();
        let share = parts.len().div_ceil(self.executor.workers).max(1);
        thread::scope(|scope| {
            for some in parts.chunks_mut(share) {
                let (measures, bounds) = (&measures, &bounds);
                scope.spawn(move || {
                    for part in some {
                        if let Some(arena) = part.folded.arena.take() {
                            part.folded.replay(&arena, measures, bounds, order);
                        }
                    }
                });
            }
        });
    }

    /// All ranges together. Whole numbers: the order makes no difference.
    fn add_up(&self, parts: Vec<Part>) -> Totals {
        match &self.plan.groups {
            Groups::Public { cells } => {
                let mut totals = vec![vec![0_i128; *cells as usize]; self.plan.measures.len()];
                for part in parts {
                    for (total, sums) in totals.iter_mut().zip(&part.folded.sums) {
                        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
                    }
                }
                Totals::Public(totals)
            }
            Groups::Private { .. } => {
                let mut totals: BTreeMap<GroupKey, Vec<i128>> = BTreeMap::new();
                for part in parts {
                    for (number, group) in part.groups.into_iter().enumerate() {
                        let total = totals.entry(group).or_insert_with(|| vec![0; self.plan.measures.len()]);
                        for (total, sums) in total.iter_mut().zip(&part.folded.sums) {
                            *total += sums.get(number).copied().unwrap_or(0);
                        }
                    }
                }
                // A group may be seen and yet hold nobody: all of its shoppers were left out or count elsewhere.
                totals.retain(|_, total| total.iter().any(|&sum| sum != 0));
                Totals::Private(totals)
            }
        }
    }
}

/// Folds one range; if its shoppers do not come in order, reads it again and sorts it first.
fn fold_range(
    plan: &ScanPlan,
    rules: Rules<'_>,
    feed: &mut dyn Feed,
    lo: u32,
    hi: u32,
) -> Result<Part, ScanFailed> {
    match fold_clustered(plan, rules, feed, lo, hi) {
        Err(Stop(FoldFailed::NotClustered)) => {
            fold_gathered(plan, rules, feed, lo, hi).map_err(|_| ScanFailed)
        }
        other => other.map_err(|_| ScanFailed),
    }
}

/// An empty fold for a plan.
fn fold_for<'r>(plan: &ScanPlan, rules: Rules<'r>) -> Fold<'r> {
    let cells = match &plan.groups {
        Groups::Public { cells } => *cells as usize,
        Groups::Private { .. } => 0,
    };
    Fold::new(rules, cells)
}

fn fold_clustered(
    plan: &ScanPlan,
    rules: Rules<'_>,
    feed: &mut dyn Feed,
    lo: u32,
    hi: u32,
) -> Result<Part, Stop> {
    let mut reader = Reader::new(plan);
    let mut fold = fold_for(plan, rules);
    let mut known = 0;
    feed.stream(&plan.statement, lo, hi, &mut |batch| {
        let block = reader.read(batch)?;
        if let Some(found) = reader.tags().get(known..).filter(|found| !found.is_empty()) {
            fold.grow(found);
            known += found.len();
        }
        Ok(fold.take(&block.rows())?)
    })?;
    Ok(Part { folded: fold.finish(), groups: reader.into_groups() })
}

fn fold_gathered(
    plan: &ScanPlan,
    rules: Rules<'_>,
    feed: &mut dyn Feed,
    lo: u32,
    hi: u32,
) -> Result<Part, Stop> {
    let mut reader = Reader::new(plan);
    let mut gathered = Gathered::default();
    feed.stream(&plan.statement, lo, hi, &mut |batch| {
        gathered.take(&reader.read(batch)?.rows());
        Ok(())
    })?;
    let mut fold = fold_for(plan, rules);
    if !reader.tags().is_empty() {
        fold.grow(reader.tags());
    }
    fold.take(&gathered.sorted().rows())?;
    Ok(Part { folded: fold.finish(), groups: reader.into_groups() })
}
