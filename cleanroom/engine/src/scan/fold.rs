//! The bounded aggregator: one shopper's rows → one small vector → bounded → added up.
//!
//! One [`Fold`] handles one range of shoppers, so that a range can be thrown away and read again. Its inner loops run
//! over runs of rows of one shopper and over plain slices; everything that depends on the question is decided per run.

use privacy::{Bound, MeasureKind, Norm, NormHistogram, clip_l2, sum_of_squares};
use roaring::RoaringBitmap;

use super::arena::Arena;
use super::rows::{Rows, Values};
use super::select::Order;
use super::{ScanFailed, ScanMeasure};

/// Larger values of one row are cut to this, so that [`RUN_ROWS_MAX`] of them fit into 64 bits: 2⁴⁶ minor units are
/// 700 billion in money of two decimals.
const VALUE_MAX: i64 = 1 << 46;
/// After so many rows of one shopper the sums are brought back to ±[`SUM_MAX`]: 2¹⁵ · 2⁴⁶ + 2⁶¹ < 2⁶³.
const RUN_ROWS_MAX: usize = 1 << 15;
/// Largest magnitude of a shopper's sum in one group after [`RUN_ROWS_MAX`] rows. Far beyond any bound.
const SUM_MAX: i64 = 1 << 61;

/// What happens to a measure's vector when a shopper is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Bounded by this and added up.
    Add(Bound),
    /// Its norm is counted in a histogram up to this, and the vector is kept for later.
    Search(Bound),
    /// Nothing: it was done in another pass.
    Skip,
}

/// Why a range is not folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FoldFailed {
    /// A shopper came back after another one: the range has to be gathered and sorted first.
    NotClustered,
    /// Anything else.
    Broken,
}

impl From<ScanFailed> for FoldFailed {
    fn from(_: ScanFailed) -> Self {
        Self::Broken
    }
}

impl From<vault::StreamFailed> for FoldFailed {
    fn from(_: vault::StreamFailed) -> Self {
        Self::Broken
    }
}

/// What all folds of one pass have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub measures: &'a [ScanMeasure],
    pub actions: &'a [Action],
    /// Who agreed; `None` = nobody.
    pub consents: Option<&'a RoaringBitmap>,
    pub order: Order,
    /// Most groups per shopper, where keys are private.
    pub kappa: Option<usize>,
    /// Bytes the arena may take.
    pub arena_bytes_max: usize,
}

/// The exact sums of one range, measure by measure and group by group.
pub(super) type Sums = Vec<Vec<i128>>;

/// Folds one range of shoppers.
pub(super) struct Fold<'a> {
    rules: Rules<'a>,
    /// The shopper at hand, whether they agreed, and their rows since the sums were last brought back.
    unit: Option<u32>,
    allowed: bool,
    rows: usize,
    /// The shopper's sum per measure and group; zero outside `touched`.
    lanes: Vec<Vec<i64>>,
    /// Groups the shopper has rows in, in order of appearance, and the stamp that says so.
    touched: Vec<u32>,
    marks: Vec<u32>,
    mark: u32,
    /// Keyed hash of each private group; empty where groups are public.
    tags: Vec<u64>,
    sums: Sums,
    histograms: Vec<Option<NormHistogram>>,
    arena: Arena,
    scratch: Scratch,
}

/// Space for the vector at hand.
#[derive(Default)]
struct Scratch {
    kept: Vec<u32>,
    groups: Vec<u32>,
    vector: Vec<i64>,
}

/// What a folded range leaves.
pub(super) struct Folded {
    pub sums: Sums,
    pub histograms: Vec<Option<NormHistogram>>,
    /// The vectors of searched measures; `None` if they took too much space.
    pub arena: Option<Arena>,
    pub tags: Vec<u64>,
}

impl<'a> Fold<'a> {
    /// A fold over `cells` public groups; with private keys start from 0 and [`Fold::grow`].
    pub(super) fn new(rules: Rules<'a>, cells: usize) -> Self {
        let histogram = |action: &Action| match action {
            Action::Search(max) => Some(NormHistogram::up_to(*max)),
            Action::Add(_) | Action::Skip => None,
        };
        let searched = rules.actions.iter().filter(|action| matches!(action, Action::Search(_))).count();
        Self {
            rules,
            unit: None,
            allowed: false,
            rows: 0,
            lanes: vec![vec![0; cells]; rules.measures.len()],
            touched: Vec::new(),
            marks: vec![0; cells],
            mark: 0,
            tags: Vec::new(),
            sums: vec![vec![0; cells]; rules.measures.len()],
            histograms: rules.actions.iter().map(histogram).collect(),
            arena: Arena::new(searched, rules.arena_bytes_max),
            scratch: Scratch::default(),
        }
    }

    /// Makes room for private groups found since; `tags` are their keyed hashes. Never for public groups, whose number
    /// is fixed.
    pub(super) fn grow(&mut self, tags: &[u64]) {
        let cells = self.tags.len() + tags.len();
        self.tags.extend_from_slice(tags);
        self.marks.resize(cells, 0);
        self.lanes.iter_mut().for_each(|lane| lane.resize(cells, 0));
        self.sums.iter_mut().for_each(|sums| sums.resize(cells, 0));
    }

    /// Takes the next rows. Shoppers must come in ascending order.
    pub(super) fn take(&mut self, rows: &Rows<'_>) -> Result<(), FoldFailed> {
        let mut rest = rows.units;
        let mut at = 0;
        while let Some(&unit) = rest.first() {
            let run = rest.iter().take(RUN_ROWS_MAX).take_while(|&&next| next == unit).count();
            if self.unit != Some(unit) {
                self.turn_to(unit)?;
            }
            if self.allowed {
                self.take_run(rows, at, run)?;
            }
            at += run;
            rest = rest.get(run..).unwrap_or_default();
        }
        Ok(())
    }

    /// Completes the shopper at hand and begins the next.
    fn turn_to(&mut self, unit: u32) -> Result<(), FoldFailed> {
        if self.unit.is_some_and(|before| before > unit) {
            return Err(FoldFailed::NotClustered);
        }
        self.complete();
        self.unit = Some(unit);
        self.allowed = self.rules.consents.is_some_and(|agreed| agreed.contains(unit));
        self.rows = 0;
        // A stamp of its own per shopper saves clearing the marks; units are u32, and so there are never too many.
        self.mark = match self.mark.checked_add(1) {
            Some(mark) => mark,
            None => {
                self.marks.fill(0);
                1
            }
        };
        Ok(())
    }

    /// Adds rows `at..at + run`, all of the shopper at hand.
    fn take_run(&mut self, rows: &Rows<'_>, at: usize, run: usize) -> Result<(), FoldFailed> {
        let codes = rows.codes.get(at..at + run).ok_or(FoldFailed::Broken)?;
        for &code in codes {
            // A negative code is a row without a group: as an unsigned number it is beyond every cell.
            match self.marks.get_mut(code as u32 as usize) {
                Some(mark) if *mark == self.mark => {}
                Some(mark) => {
                    *mark = self.mark;
                    self.touched.push(code as u32);
                }
                None if code < 0 => {}
                None => return Err(FoldFailed::Broken),
            }
        }
        for ((measure, lane), values) in self.rules.measures.iter().zip(&mut self.lanes).zip(&rows.values) {
            add_run(measure, lane, codes, values.as_ref(), at)?;
        }
        self.rows += run;
        if self.rows >= RUN_ROWS_MAX {
            self.rows = 0;
            for lane in &mut self.lanes {
                for_each_of(lane, &self.touched, |sum| *sum = (*sum).clamp(-SUM_MAX, SUM_MAX));
            }
        }
        Ok(())
    }

    /// Bounds and adds up the vectors of the shopper at hand, and clears them.
    fn complete(&mut self) {
        let Some(unit) = self.unit.filter(|_| !self.touched.is_empty()) else { return };
        let mut kept = std::mem::take(&mut self.scratch.kept);
        kept.clear();
        kept.extend_from_slice(&self.touched);
        if let Some(kappa) = self.rules.kappa {
            self.rules.order.limit(unit, &mut kept, kappa, |group| tag_of(&self.tags, group));
        }
        if self.histograms.iter().any(Option::is_some) {
            let searched = self.rules.actions.iter().zip(self.rules.measures).zip(&self.lanes);
            let searched = searched.filter(|((action, _), _)| matches!(action, Action::Search(_)));
            self.arena.push(unit, &kept, searched.map(|((_, measure), lane)| (measure, lane.as_slice())));
        }
        for measure in 0..self.rules.measures.len() {
            self.bound_and_add(unit, measure, &kept);
        }
        self.scratch.kept = kept;
        for lane in &mut self.lanes {
            for_each_of(lane, &self.touched, |sum| *sum = 0);
        }
        self.touched.clear();
    }

    /// One measure of the shopper at hand.
    fn bound_and_add(&mut self, unit: u32, measure: usize, kept: &[u32]) {
        let (Some(&action), Some(kind), Some(lane), Some(sums), Some(histogram)) = (
            self.rules.actions.get(measure),
            self.rules.measures.get(measure),
            self.lanes.get(measure),
            self.sums.get_mut(measure),
            self.histograms.get_mut(measure),
        ) else {
            return;
        };
        if action == Action::Skip {
            return;
        }
        let Scratch { groups, vector, .. } = &mut self.scratch;
        collect(kind, lane, kept, groups, vector);
        match (action, histogram) {
            (Action::Add(bound), _) => {
                add_bounded(sums, bound, unit, groups, vector, self.rules.order, &self.tags);
            }
            (Action::Search(max), Some(histogram)) => histogram.add(norm_of(max, groups, vector)),
            (Action::Search(_), None) | (Action::Skip, _) => {}
        }
    }

    /// Completes the last shopper and hands out what was found.
    pub(super) fn finish(mut self) -> Folded {
        self.complete();
        Folded { sums: self.sums, histograms: self.histograms, arena: self.arena.finish(), tags: self.tags }
    }
}

impl Folded {
    /// Bounds the vectors that were kept and adds them up; `bounds` belongs to the searched measures, in order, and
    /// `measures` tells which sums are theirs.
    pub(super) fn replay(&mut self, arena: &Arena, measures: &[usize], bounds: &[Bound], order: Order) {
        let (mut groups, mut vector) = (Vec::new(), Vec::new());
        for shopper in arena.shoppers() {
            for (lane, (&measure, &bound)) in measures.iter().zip(bounds).enumerate() {
                shopper.collect(lane, &mut groups, &mut vector);
                if let Some(sums) = self.sums.get_mut(measure) {
                    add_bounded(sums, bound, shopper.unit, &mut groups, &mut vector, order, &self.tags);
                }
            }
        }
    }
}

/// Runs `act` on the groups `which` of a lane.
fn for_each_of(lane: &mut [i64], which: &[u32], mut act: impl FnMut(&mut i64)) {
    for &group in which {
        if let Some(sum) = lane.get_mut(group as usize) {
            act(sum);
        }
    }
}

/// The keyed hash of a private group, or the code of a public one.
fn tag_of(tags: &[u64], group: u32) -> u64 {
    tags.get(group as usize).copied().unwrap_or(u64::from(group))
}

/// Adds a run of rows of one shopper to one lane. A row without a group is skipped: see `take_run`.
fn add_run(
    measure: &ScanMeasure,
    lane: &mut [i64],
    codes: &[i32],
    values: Option<&Values<'_>>,
    at: usize,
) -> Result<(), FoldFailed> {
    let Some(values) = values else {
        // No column: every row counts; a distinct shopper counts once.
        for &code in codes {
            if let Some(sum) = lane.get_mut(code as u32 as usize) {
                *sum = if measure.kind == MeasureKind::Units { 1 } else { *sum + 1 };
            }
        }
        return Ok(());
    };
    let numbers = values.numbers.get(at..at + codes.len()).ok_or(FoldFailed::Broken)?;
    let max = i64::try_from(measure.row_max).unwrap_or(VALUE_MAX).min(VALUE_MAX);
    match (measure.kind, values.nulls) {
        (MeasureKind::Sum, None) => {
            for (&code, &value) in codes.iter().zip(numbers) {
                if let Some(sum) = lane.get_mut(code as u32 as usize) {
                    *sum += value.clamp(-max, max);
                }
            }
        }
        (kind, nulls) => {
            for ((row, &code), &value) in codes.iter().enumerate().zip(numbers) {
                let counts = nulls.is_none_or(|nulls| nulls.is_valid(at + row));
                if let Some(sum) = lane.get_mut(code as u32 as usize).filter(|_| counts) {
                    *sum = match kind {
                        MeasureKind::Units => 1,
                        MeasureKind::Rows => *sum + 1,
                        MeasureKind::Sum => *sum + value.clamp(-max, max),
                    };
                }
            }
        }
    }
    Ok(())
}

/// The vector of one measure over the kept groups; for distinct shoppers only the groups they count in.
pub(super) fn collect(
    measure: &ScanMeasure,
    lane: &[i64],
    kept: &[u32],
    groups: &mut Vec<u32>,
    vector: &mut Vec<i64>,
) {
    groups.clear();
    vector.clear();
    for &group in kept {
        let sum = lane.get(group as usize).copied().unwrap_or(0);
        if sum != 0 || measure.kind != MeasureKind::Units {
            groups.push(group);
            vector.push(sum);
        }
    }
}

/// The norm as the histogram of this bound counts it.
fn norm_of(max: Bound, groups: &[u32], vector: &[i64]) -> Norm {
    match max {
        Bound::Groups(_) => Norm::Squared(groups.len() as u128),
        Bound::Norm(_) => sum_of_squares(vector),
    }
}

/// Bounds one shopper's vector and adds it to the sums.
///
/// # Guarantee
/// What is added has an L2 norm of at most `bound.sensitivity()`, and depends on this shopper's vector only: at most k
/// groups with one each, or a vector clipped to its bound (`privacy::clip_l2`).
fn add_bounded(
    sums: &mut [i128],
    bound: Bound,
    unit: u32,
    groups: &mut Vec<u32>,
    vector: &mut [i64],
    order: Order,
    tags: &[u64],
) {
    match bound {
        Bound::Groups(most) => {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            order.limit(unit, groups, most, |group| tag_of(tags, group));
            for &group in groups.iter() {
                add(sums, group, 1);
            }
        }
        Bound::Norm(norm) => {
            clip_l2(vector, norm);
            for (&group, &value) in groups.iter().zip(vector.iter()) {
                add(sums, group, i128::from(value));
            }
        }
    }
}

/// Adds to one total: 2³² shoppers with 64 bits each fit into 128.
fn add(sums: &mut [i128], group: u32, value: i128) {
    if let Some(sum) = sums.get_mut(group as usize) {
        *sum += value;
    }
}
