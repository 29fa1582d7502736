//! ─execute→ ─noise→: exact totals inside, noisy totals out.

use privacy::{BoundChoice, Clipping, Drawn, GroupSpace, NoiseReport, NoiseSource, NormHistogram, draw};

use super::{Bounded, ChargedPlan, ExactAnswer, Floor, NoisyAnswer, PlannedMeasure};
use crate::noisy::{Clipped, NoisyGroup, NoisyMeasure, NoisyMeasures, StoredKey};
use crate::scan::{GroupKey, Totals};
use sql::{KeySpec, KeyValue};

/// The charged question could not be answered. It carries nothing: see the crate's errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Self {
        // Every error on this path is without data: ports redact (`ScanFailed`), noise knows no rows.
        tracing::error!(error = %error, "a charged question broke");
        Self
    }
}

impl ChargedPlan {
    /// ─execute→: draws the noise whose size and scale are public, then reads the data.
    pub(crate) fn execute(self, noise: &dyn NoiseSource) -> Result<ExactAnswer, Broken> {
        let plan = &self.plan;
        let cells = match plan.design.groups() {
            GroupSpace::Public { cells } => Some(usize::try_from(cells).map_err(|_| Broken)?),
            GroupSpace::Private { .. } => None,
        };
        let mut searches = Vec::new();
        let mut before = Vec::with_capacity(plan.measures.len());
        for measure in &plan.measures {
            let (search, drawn) = draw_before(measure, cells, noise)?;
            searches.push(search);
            before.push(drawn);
        }
        let executor = plan.permitted.resolved.dataset.executor();
        let mut scan = executor.begin(plan.scan.clone())?;
        let norms = if searches.iter().any(Option::is_some) { scan.norms()? } else { Vec::new() };
        let mut choices = choose(plan, searches, norms)?;
        let mut bounds = Vec::with_capacity(plan.measures.len());
        for ((measure, drawn), choice) in plan.measures.iter().zip(before).zip(choices.drain(..)) {
            let bound =
                choice.map(|choice| choice.bound).or_else(|| measure.design.fixed_bound()).ok_or(Broken)?;
            bounds.push(Bounded { bound, choice, drawn });
        }
        let totals = scan.totals(&bounds.iter().map(|bounded| bounded.bound).collect::<Vec<_>>())?;
        check_shape(&totals, cells, plan.measures.len())?;
        Ok(ExactAnswer { charged: self, totals, bounds })
    }
}

/// The noise of one measure that needs no data: for the search histogram, and for the totals where their number and
/// their bound are public.
fn draw_before(
    measure: &PlannedMeasure,
    cells: Option<usize>,
    noise: &dyn NoiseSource,
) -> Result<(Option<Drawn>, Option<Drawn>), Broken> {
    if let Some(scale) = measure.design.search_scale() {
        let buckets = NormHistogram::up_to(measure.design.largest_bound()).buckets();
        return Ok((Some(draw(noise, scale, buckets)?), None));
    }
    let (Some(cells), Some(bound)) = (cells, measure.design.fixed_bound()) else { return Ok((None, None)) };
    Ok((None, Some(draw(noise, &measure.design.scale(bound)?, cells)?)))
}

/// The bounds that the noisy histograms suggest.
fn choose(
    plan: &super::PrivacyPlan,
    searches: Vec<Option<Drawn>>,
    norms: Vec<(usize, NormHistogram)>,
) -> Result<Vec<Option<BoundChoice>>, Broken> {
    let cells = match plan.design.groups() {
        GroupSpace::Public { cells } => cells,
        // A shopper is in at most κ groups; how many groups there are is not public.
        GroupSpace::Private { kappa, .. } => u64::from(kappa),
    };
    let mut norms = norms.into_iter();
    let mut choices = Vec::with_capacity(searches.len());
    for (position, (measure, search)) in plan.measures.iter().zip(searches).enumerate() {
        let Some(search) = search else {
            choices.push(None);
            continue;
        };
        let (at, histogram) = norms.next().ok_or(Broken)?;
        if at != position {
            return Err(Broken);
        }
        choices.push(Some(measure.design.choose(&histogram.with_noise(search)?, cells)));
    }
    Ok(choices)
}

/// The executor answered what it was asked.
fn check_shape(totals: &Totals, cells: Option<usize>, measures: usize) -> Result<(), Broken> {
    let fits = match (totals, cells) {
        (Totals::Public(sums), Some(cells)) => {
            sums.len() == measures && sums.iter().all(|cell| cell.len() == cells)
        }
        (Totals::Private(groups), None) => groups.values().all(|sums| sums.len() == measures),
        _ => false,
    };
    if fits { Ok(()) } else { Err(Broken) }
}

impl ExactAnswer {
    /// ─noise→: the only way out.
    ///
    /// # Guarantee
    /// Every number gets its own noise, of the scale that its measure's bound and share of ρ demand. A group with
    /// private keys leaves only if its noisy number of shoppers is greater than the threshold.
    pub(crate) fn noise(self, source: &dyn NoiseSource) -> Result<NoisyAnswer, Broken> {
        let Self { charged, totals, bounds } = self;
        let plan = &charged.plan;
        let (keys, columns) = columns_of(totals, plan)?;
        let mut measures = Vec::with_capacity(bounds.len());
        let mut noisy: Vec<Vec<i128>> = Vec::with_capacity(bounds.len());
        for ((measure, bounded), exact) in plan.measures.iter().zip(bounds).zip(&columns) {
            let scale = measure.design.scale(bounded.bound)?;
            let drawn = match bounded.drawn {
                Some(drawn) => drawn,
                None => draw(source, &scale, exact.len())?,
            };
            if *drawn.scale() != scale {
                return Err(Broken);
            }
            let can_clip = measure.design.can_clip(bounded.bound);
            let report = match &bounded.choice {
                Some(choice) => NoiseReport::with_choice(&scale, choice, can_clip),
                None => NoiseReport::without_histogram(&scale, bounded.bound, can_clip),
            };
            measures.push(reported(measure, &report));
            noisy.push(drawn.add_to(exact)?);
        }
        let groups = groups_of(keys, &noisy, plan.floor);
        Ok(NoisyAnswer { charged, measures: NoisyMeasures { measures, groups } })
    }
}

/// The keys of every group.
type Keys = Vec<Vec<StoredKey>>;
/// One column of totals per measure, one number per group.
type Columns = Vec<Vec<i128>>;

/// Groups in a public order (by code, or by key) and one column of totals per measure.
fn columns_of(totals: Totals, plan: &super::PrivacyPlan) -> Result<(Keys, Columns), Broken> {
    let statement = &plan.permitted.resolved.statement;
    match totals {
        Totals::Public(columns) => {
            let cells = columns.first().map_or(0, Vec::len);
            let keys = (0..cells as u64).map(|code| {
                let values = statement.public_values(code).ok_or(Broken)?;
                Ok(values.into_iter().map(StoredKey::from).collect())
            });
            Ok((keys.collect::<Result<_, Broken>>()?, columns))
        }
        Totals::Private(groups) => {
            let mut keys = Vec::with_capacity(groups.len());
            let mut columns = vec![Vec::with_capacity(groups.len()); plan.measures.len()];
            for (group, sums) in groups {
                keys.push(keys_of(&group, statement).ok_or(Broken)?);
                columns.iter_mut().zip(sums).for_each(|(column, sum)| column.push(sum));
            }
            Ok((keys, columns))
        }
    }
}

/// The keys of a group in the question's order: public ones from the code, private ones from the rows.
fn keys_of(group: &GroupKey, statement: &sql::ResolvedQuery) -> Option<Vec<StoredKey>> {
    let mut public = statement.public_values(u64::from(group.code))?.into_iter();
    let mut private = group.values.iter();
    let of = |key: &KeySpec| -> Option<&KeyValue> {
        match key {
            KeySpec::Public { .. } => public.next(),
            KeySpec::Private { .. } => private.next(),
        }
    };
    statement.keys().iter().map(of).map(|value| value.map(StoredKey::from)).collect()
}

/// What is said about a measure.
fn reported(measure: &PlannedMeasure, report: &NoiseReport) -> NoisyMeasure {
    let (privacy::Bound::Groups(bound) | privacy::Bound::Norm(bound)) = report.bound;
    NoisyMeasure {
        name: measure.name.clone(),
        decimals: measure.decimals,
        sigma: report.std,
        bound,
        from: measure.from,
        clipped_share: report.clipped_share,
        clipping: match report.clipping {
            Clipping::Impossible => Clipped::Nothing,
            Clipping::MayExceed { bias_estimate, bias_upper: _ } => {
                Clipped::MayExceed { estimate: bias_estimate }
            }
        },
    }
}

/// The groups with their noisy numbers. What does not pass a private threshold is forgotten here: its key is a secret.
fn groups_of(keys: Vec<Vec<StoredKey>>, noisy: &[Vec<i128>], floor: Floor) -> Vec<NoisyGroup> {
    let mut groups = Vec::with_capacity(keys.len());
    for (row, keys) in keys.into_iter().enumerate() {
        let value = |column: &Vec<i128>| column.get(row).copied().unwrap_or(0);
        let shown = match floor {
            Floor::Above { measure, shoppers } => {
                noisy.get(measure).is_some_and(|column| value(column) > i128::from(shoppers))
            }
            Floor::None | Floor::AtLeast { .. } => true,
        };
        if shown {
            groups.push(NoisyGroup {
                keys,
                values: noisy.iter().map(|column| value(column).to_string()).collect(),
            });
        }
    }
    groups
}
