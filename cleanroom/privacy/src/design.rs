//! What a question costs and which noise it gets, decided before any data is read.

use ids::{CostOverflow, Delta, MicroRho};

use crate::{
    Bound, BoundChoice, BoundQuestion, NoisyHistogram, Scale, ScaleRefused, Sensitivity, choose_bound,
    threshold,
};

/// Of a measure whose bound is searched for, one part in ten of its share goes to the search.
const SEARCH_SHARE: u64 = 10;
/// A question has no more measures than this.
const MEASURES_MAX: usize = 64;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeasureKind {
    /// Distinct shoppers per group: each shopper 1 in each of their groups.
    Units,
    /// Rows per group.
    Rows,
    /// Sum of a whole-number value per group.
    Sum,
}

/// Where a measure's bound comes from. There is no default: a measure without bound is not a measure.
///
/// The number means groups for [`MeasureKind::Units`] and an L2 norm over all groups, in the measure's smallest unit,
/// for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundSource {
    /// It follows from the groups: all public groups, or κ. Only for [`MeasureKind::Units`].
    Inherent,
    /// Given by the analyst or the catalogue; at least 1.
    Given(u64),
    /// Found privately, at most `max`.
    Search {
        /// Nobody can exceed it, or is clipped to it; at least 1.
        max: u64,
    },
}

/// One measure of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasureDesign {
    /// What is measured.
    pub kind: MeasureKind,
    /// Its bound.
    pub bound: BoundSource,
}

/// The groups of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupSpace {
    /// All groups are known without the data; all are answered.
    Public {
        /// How many, at least 1.
        cells: u64,
    },
    /// At least one key comes from private rows.
    Private {
        /// How many combinations the public keys have; 1 without public keys.
        public_cells: u64,
        /// At most this many groups per shopper, picked by a keyed hash that does not depend on data.
        kappa: u32,
        /// The probability with which a group that one shopper alone makes may show; spent in full.
        delta: Delta,
        /// The agreement's smallest cohort, compared with the noisy number of shoppers.
        floor: u64,
    },
}

/// A question, as far as privacy is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesignRequest {
    /// Its groups.
    pub groups: GroupSpace,
    /// Its measures.
    pub measures: Vec<MeasureDesign>,
    /// What it may cost.
    pub rho: MicroRho,
}

/// Why there is no design. Known from the question alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DesignRefused {
    /// No measure.
    #[error("the question measures nothing: add COUNT, COUNT(DISTINCT …), SUM or AVG")]
    NoMeasure,
    /// Too many.
    #[error("the question has `{count}` measures: at most {MEASURES_MAX} are allowed, split it")]
    TooManyMeasures {
        /// How many.
        count: usize,
    },
    /// No groups, or κ or a bound of zero.
    #[error("`{what}` is zero: it must be at least 1")]
    Zero {
        /// Which number.
        what: &'static str,
    },
    /// Rows or a sum without a bound.
    #[error("measure `{measure}` has no bound: give one, or let it be found privately")]
    NoBound {
        /// Its position, from 0.
        measure: usize,
    },
    /// The budget is too small to be divided.
    #[error("the budget of `{rho}` is too small for {measures} measures: ask for a larger epsilon")]
    TooLittle {
        /// The budget.
        rho: MicroRho,
        /// How many measures share it.
        measures: usize,
    },
    /// No threshold reaches δ.
    #[error("private groups need a delta above zero")]
    NoDelta,
    /// No noise scale.
    #[error(transparent)]
    Scale(#[from] ScaleRefused),
    /// Costs do not add up.
    #[error(transparent)]
    Overflow(#[from] CostOverflow),
}

impl DesignRefused {
    /// Stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoMeasure => "privacy.no_measure",
            Self::TooManyMeasures { .. } => "privacy.too_many_measures",
            Self::Zero { .. } => "privacy.zero",
            Self::NoBound { .. } => "privacy.no_bound",
            Self::TooLittle { .. } => "privacy.budget_too_small",
            Self::NoDelta => "privacy.no_delta",
            Self::Scale(refused) => refused.code(),
            Self::Overflow(_) => "privacy.cost_overflow",
        }
    }
}

/// What one question spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// ρ of zero-concentrated differential privacy.
    pub rho: MicroRho,
    /// The thresholds' δ.
    pub delta: Delta,
}

/// The plan for one measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasurePlan {
    kind: MeasureKind,
    source: BoundSource,
    inherent: Option<u64>,
    groups_are_cut: bool,
    release: MicroRho,
    search: Option<Scale>,
}

/// The plan for a whole question: every share of the budget and every noise scale that is known without data.
///
/// # Guarantee
/// Unit: one shopper with all their rows, added or removed. If each measure's vector is bounded by the bound that its
/// scale was made for, the joint release of the search histograms, of all measures and of the private keys is
/// δ-approximate ρ-zCDP with [`Design::cost`], and that is never more than was asked for: the shares are whole µρ and
/// add up to the cost exactly (composition: Bun & Steinke 2016, Lemma 2.3 and §8; `DERIVATION.md` §3).
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    groups: GroupSpace,
    measures: Vec<MeasurePlan>,
    key_selection: Option<usize>,
    threshold: Option<u64>,
    cost: Cost,
}

impl Design {
    /// Divides the budget: an even share of whole µρ per measure (the rest, less than one µρ per measure, stays unspent);
    /// a searched measure gives a tenth of its share, rounded up, to the search.
    ///
    /// Private groups need a [`MeasureKind::Units`] measure to select keys by; if the question has none, one is added
    /// at the end ([`Design::key_selection`]). Its bound is κ, and its answer is the number of shoppers per group.
    pub fn new(request: DesignRequest) -> Result<Self, DesignRefused> {
        let DesignRequest { groups, mut measures, rho } = request;
        if measures.is_empty() {
            return Err(DesignRefused::NoMeasure);
        }
        if measures.len() > MEASURES_MAX {
            return Err(DesignRefused::TooManyMeasures { count: measures.len() });
        }
        groups_per_shopper(groups)?;
        let key_selection =
            matches!(groups, GroupSpace::Private { .. }).then(|| select_keys_by(&mut measures));
        let share = MicroRho::from_units(rho.units() / measures.len() as u64);
        let too_little = DesignRefused::TooLittle { rho, measures: measures.len() };
        let measures = measures
            .iter()
            .enumerate()
            .map(|(position, measure)| MeasurePlan::new(*measure, position, groups, share, &too_little))
            .collect::<Result<Vec<_>, _>>()?;
        let threshold = threshold_of(groups, key_selection.and_then(|position| measures.get(position)))?;
        let cost = cost_of(groups, &measures)?;
        Ok(Self { groups, measures, key_selection, threshold, cost })
    }

    /// The groups.
    pub const fn groups(&self) -> GroupSpace {
        self.groups
    }

    /// The measures, in the order of the question.
    pub fn measures(&self) -> &[MeasurePlan] {
        &self.measures
    }

    /// The position of the measure by which private keys are selected; possibly one more than the question asked for.
    pub const fn key_selection(&self) -> Option<usize> {
        self.key_selection
    }

    /// A private group is released if its noisy number of shoppers is **greater** than this: the larger of the
    /// threshold for δ and of what the agreement's floor demands.
    pub const fn threshold(&self) -> Option<u64> {
        self.threshold
    }

    /// What the question costs, whatever the data.
    pub const fn cost(&self) -> Cost {
        self.cost
    }
}

/// How many groups one shopper can touch.
fn groups_per_shopper(groups: GroupSpace) -> Result<u64, DesignRefused> {
    match groups {
        GroupSpace::Public { cells: 0 } => Err(DesignRefused::Zero { what: "cells" }),
        GroupSpace::Private { public_cells: 0, .. } => Err(DesignRefused::Zero { what: "public cells" }),
        GroupSpace::Private { kappa: 0, .. } => Err(DesignRefused::Zero { what: "groups per shopper" }),
        GroupSpace::Public { cells } => Ok(cells),
        GroupSpace::Private { kappa, .. } => Ok(u64::from(kappa)),
    }
}

/// The position of the measure that selects keys, appended if missing. Its bound is made inherent: a tighter one would
/// leave groups of the shopper uncounted that are there.
fn select_keys_by(measures: &mut Vec<MeasureDesign>) -> usize {
    let by_units = MeasureDesign { kind: MeasureKind::Units, bound: BoundSource::Inherent };
    match measures.iter().position(|measure| measure.kind == MeasureKind::Units) {
        Some(position) => {
            if let Some(measure) = measures.get_mut(position) {
                *measure = by_units;
            }
            position
        }
        None => {
            measures.push(by_units);
            measures.len() - 1
        }
    }
}

/// The threshold of private groups, with the floor.
fn threshold_of(groups: GroupSpace, units: Option<&MeasurePlan>) -> Result<Option<u64>, DesignRefused> {
    let (GroupSpace::Private { kappa, delta, floor, .. }, Some(units)) = (groups, units) else {
        return Ok(None);
    };
    let scale = units.scale(Bound::Groups(u64::from(kappa)))?;
    let by_delta = threshold(&scale, kappa, delta).ok_or(DesignRefused::NoDelta)?;
    // "at least the floor" is "greater than the floor less one" on integers.
    Ok(Some(by_delta.max(floor.saturating_sub(1))))
}

/// The exact sum of all shares.
fn cost_of(groups: GroupSpace, measures: &[MeasurePlan]) -> Result<Cost, CostOverflow> {
    let rho = measures
        .iter()
        .try_fold(MicroRho::ZERO, |sum, plan| sum.plus(plan.release)?.plus(plan.rho_search()))?;
    let delta = match groups {
        GroupSpace::Public { .. } => Delta::ZERO,
        GroupSpace::Private { delta, .. } => delta,
    };
    Ok(Cost { rho, delta })
}

impl MeasurePlan {
    fn new(
        design: MeasureDesign,
        position: usize,
        groups: GroupSpace,
        share: MicroRho,
        too_little: &DesignRefused,
    ) -> Result<Self, DesignRefused> {
        let MeasureDesign { kind, bound: source } = design;
        match source {
            BoundSource::Given(0) | BoundSource::Search { max: 0 } => {
                return Err(DesignRefused::Zero { what: "bound" });
            }
            BoundSource::Inherent if kind != MeasureKind::Units => {
                return Err(DesignRefused::NoBound { measure: position });
            }
            _ => {}
        }
        let search_rho = match source {
            BoundSource::Search { .. } => MicroRho::from_units(share.units().div_ceil(SEARCH_SHARE)),
            BoundSource::Inherent | BoundSource::Given(_) => MicroRho::ZERO,
        };
        let release = share.minus(search_rho);
        if release == MicroRho::ZERO {
            return Err(too_little.clone());
        }
        let search = match source {
            BoundSource::Search { .. } => Some(Scale::calibrated(Sensitivity::ONE, search_rho)?),
            BoundSource::Inherent | BoundSource::Given(_) => None,
        };
        let units_max = groups_per_shopper(groups)?;
        let inherent = (kind == MeasureKind::Units).then_some(units_max);
        let groups_are_cut = matches!(groups, GroupSpace::Private { .. });
        let plan = Self { kind, source, inherent, groups_are_cut, release, search };
        // Whatever bound is found, its scale exists: the largest one's does.
        plan.scale(plan.largest_bound())?;
        Ok(plan)
    }

    /// What is measured.
    pub const fn kind(&self) -> MeasureKind {
        self.kind
    }

    /// What the release of the measure costs.
    pub const fn rho_release(&self) -> MicroRho {
        self.release
    }

    /// What the search for its bound costs; zero without a search.
    pub const fn rho_search(&self) -> MicroRho {
        match &self.search {
            Some(scale) => scale.rho(),
            None => MicroRho::ZERO,
        }
    }

    /// The scale of the search histogram's noise, if the bound is searched for.
    pub const fn search_scale(&self) -> Option<&Scale> {
        self.search.as_ref()
    }

    /// The largest bound that can come out: the fixed one, or the search's maximum. Histograms are made for it.
    pub fn largest_bound(&self) -> Bound {
        let asked = match self.source {
            BoundSource::Inherent => u64::MAX,
            BoundSource::Given(bound) | BoundSource::Search { max: bound } => bound,
        };
        match self.inherent {
            Some(groups) => Bound::Groups(asked.min(groups)),
            None => Bound::Norm(asked),
        }
    }

    /// The bound, unless it has to be searched for.
    pub fn fixed_bound(&self) -> Option<Bound> {
        self.search.is_none().then(|| self.largest_bound())
    }

    /// Whether a shopper can exceed `bound`, so that something may be cut off. Private groups always cut off: a shopper
    /// may have more than κ of them.
    pub fn can_clip(&self, bound: Bound) -> bool {
        self.groups_are_cut || self.inherent.is_none_or(|groups| bound != Bound::Groups(groups))
    }

    /// Chooses the bound from the noisy histogram for a release of `cells` numbers.
    pub fn choose(&self, histogram: &NoisyHistogram, cells: u64) -> BoundChoice {
        choose_bound(histogram, &BoundQuestion { largest: self.largest_bound(), rho: self.release, cells })
    }

    /// The noise for the measure, once its bound is known.
    ///
    /// # Guarantee
    /// Costs [`MeasurePlan::rho_release`] for a vector bounded by `bound`.
    pub fn scale(&self, bound: Bound) -> Result<Scale, ScaleRefused> {
        Scale::calibrated(bound.sensitivity(), self.release)
    }
}
