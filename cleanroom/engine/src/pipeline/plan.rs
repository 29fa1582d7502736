//! ─plan→: bounds, noise, cost and blocks, fixed before any data is read.
//!
//! # Guarantee
//! A plan is a function of the question, the catalogue, the permit and the room's settings. No measure is without a
//! bound: it is named by the question, follows from the groups, or is searched for privately within a public maximum.

use ids::{ClauseId, Date, Digest, MicroEpsilon, RequestId};
use privacy::{BoundSource, DeltaSplit, Design, DesignRequest, GroupSpace, MeasureDesign, MeasureKind};
use sql::{KeySpec, MeasureSpec, StreamColumn};

use super::{Floor, PermittedQuery, PlannedMeasure, PrivacyPlan};
use crate::blocks;
use crate::error::{Denial, QueryError};
use crate::ledger::{Limits, RequestKey};
use crate::release::BoundFrom;
use crate::scan::{Bounding, Groups, ScanMeasure, ScanPlan, SelectionKey};
use crate::settings::Settings;

/// Up to so many public groups a shopper simply counts in all of them; beyond, the number of groups per shopper is
/// searched for, because noise for all of them would drown the answer.
const INHERENT_CELLS_MAX: u64 = 256;
/// The largest L2 norm a search looks for, in rows: who has more is cut to it.
const ROWS_PER_SHOPPER_MAX: u64 = 1 << 20;
/// The largest norm a search looks for at all.
const NORM_MAX: u64 = 1 << 60;
/// Name of the measure that is added to compare groups with the floor.
const SHOPPERS: &str = "COUNT(DISTINCT shopper)";

/// What a plan is made under, beside the permit.
#[derive(Debug)]
pub(crate) struct Terms<'a> {
    /// The room's settings.
    pub settings: &'a Settings,
    /// The parts of δ.
    pub split: DeltaSplit,
    /// ρ of the block's cap and the party's quota.
    pub limits: Limits,
    /// The idempotency key.
    pub request: RequestId,
    /// Drawn for this question.
    pub selection: SelectionKey,
}

/// A bound as it was decided.
#[derive(Debug, Clone, Copy)]
struct Decided {
    source: BoundSource,
    from: BoundFrom,
}

impl PermittedQuery {
    /// ─plan→
    pub(crate) fn plan(self, terms: Terms<'_>) -> Result<PrivacyPlan, QueryError> {
        let days = self.visible_days()?;
        self.check_days(days)?;
        let epsilon = self.price()?;
        let rho = privacy::rho_within(epsilon, terms.split.conversion);
        let space = self.group_space(&terms)?;
        let (specs, decided) = self.bounds(space)?;
        let designs = specs
            .iter()
            .zip(&decided)
            .map(|(spec, decided)| MeasureDesign { kind: kind_of(spec.kind), bound: decided.source });
        let design = Design::new(DesignRequest { groups: space, measures: designs.collect(), rho })
            .map_err(|refused| QueryError::parameter(refused.code(), refused.to_string()))?;
        let measures = planned(&specs, &decided, &design);
        let scan = self.scan(space, &specs, &design, terms.selection)?;
        let floor = floor_of(space, &specs, &design, self.permit.obligations().cohort_min);
        let reuse = self.reuse_digest(&scan, &design, floor)?;
        let resolved = &self.resolved;
        Ok(PrivacyPlan {
            key: RequestKey { party: resolved.principal.party().clone(), request: terms.request },
            blocks: blocks::touched(resolved.statement.event_days(), resolved.dataset.span()),
            cost: design.cost(),
            limits: terms.limits,
            split: terms.split,
            design,
            measures,
            scan,
            floor,
            reuse,
            permitted: self,
        })
    }

    /// The days whose events may be seen, where the permit says so.
    fn visible_days(&self) -> Result<Option<(Date, Date)>, QueryError> {
        let obligations = self.permit.obligations();
        if obligations.lookback_days.is_none() && obligations.lag_days == 0 {
            return Ok(None);
        }
        let Some((first, last)) = self.resolved.dataset.span() else {
            return Err(self.denied(
                "the agreement limits the days that may be seen but the catalogue declares none",
                None,
            ));
        };
        let back =
            |day: Date, days: u32| day.plus_days(i32::try_from(days).unwrap_or(i32::MAX).saturating_neg());
        let newest = back(last, obligations.lag_days);
        let oldest = obligations.lookback_days.map_or(first, |days| back(newest, days.saturating_sub(1)));
        Ok(Some((oldest.max(first), newest)))
    }

    /// Whether the question keeps to the days that may be seen. Tables without event time are not concerned, but beside
    /// them the days of the others cannot be told.
    fn check_days(&self, visible: Option<(Date, Date)>) -> Result<(), QueryError> {
        let Some((oldest, newest)) = visible else { return Ok(()) };
        let resolved = &self.resolved;
        let schema = resolved.dataset.schema();
        let mut tables = resolved.statement.footprint().tables.iter().filter_map(|name| schema.table(name));
        if !tables.any(|table| table.event_time.is_some()) {
            return Ok(());
        }
        let within = resolved.statement.event_days().is_some_and(|(from, to)| oldest <= from && to <= newest);
        if within {
            return Ok(());
        }
        let nearest = format!("restrict the event time of every table to {oldest} … {newest} in WHERE");
        Err(self.denied("the question reaches days that the agreement does not show", Some(nearest)))
    }

    /// What the question may cost.
    fn price(&self) -> Result<MicroEpsilon, QueryError> {
        let most = self.permit.obligations().epsilon_max;
        if self.resolved.epsilon > most {
            let nearest = format!("ask with an epsilon of at most {most}");
            return Err(
                self.denied("the question costs more than the agreement allows for one", Some(nearest))
            );
        }
        Ok(self.resolved.epsilon)
    }

    /// A denial by one of the permit's obligations; the permit's clauses are what demands it.
    fn denied(&self, reason: &str, nearest: Option<String>) -> QueryError {
        let clauses: Vec<ClauseId> = self.permit.clauses().to_vec();
        QueryError::Denied(Box::new(Denial { clauses, reason: reason.to_owned(), nearest, log_index: 0 }))
    }

    /// The groups as privacy sees them.
    fn group_space(&self, terms: &Terms<'_>) -> Result<GroupSpace, QueryError> {
        let resolved = &self.resolved;
        let cells = resolved.statement.public_cells();
        let private = resolved.statement.keys().iter().any(|key| matches!(key, KeySpec::Private { .. }));
        if !private {
            return Ok(GroupSpace::Public { cells });
        }
        let most = terms.settings.groups_max;
        let kappa = resolved.question.groups_max.unwrap_or(terms.settings.groups_default.min(most));
        if kappa == 0 || kappa > most {
            let reason =
                format!("a shopper may count in 1 to {most} private groups but the question says {kappa}");
            return Err(QueryError::parameter("parameter.groups", reason));
        }
        let obligations = self.permit.obligations();
        Ok(GroupSpace::Private {
            public_cells: cells,
            kappa,
            delta: obligations.delta_per_question,
            floor: u64::from(obligations.cohort_min),
        })
    }

    /// The measures, with one for the floor where it is needed and missing, and their bounds.
    fn bounds(&self, space: GroupSpace) -> Result<(Vec<MeasureSpec>, Vec<Decided>), QueryError> {
        let mut specs = self.resolved.statement.measures().to_vec();
        let counted = specs.iter().any(is_all_shoppers);
        let public = matches!(space, GroupSpace::Public { .. });
        if public && self.permit.obligations().cohort_min > 0 && !counted {
            specs.push(MeasureSpec {
                name: SHOPPERS.to_owned(),
                kind: sql::MeasureKind::Units,
                row_bound: 1,
                streamed: false,
            });
        }
        let named = &self.resolved.question.bounds;
        let mut used = vec![false; named.len()];
        let mut decided = Vec::with_capacity(specs.len());
        for spec in &specs {
            let mut given = None;
            for ((name, text), used) in named.iter().zip(&mut used) {
                if is_named(spec, name) {
                    *used = true;
                    given = Some(bound_from(name, text, spec)?);
                }
            }
            decided.push(given.unwrap_or_else(|| default_bound(spec, space)));
        }
        match named.keys().zip(used).find(|(_, used)| !used) {
            None => Ok((specs, decided)),
            Some((name, _)) => {
                let known: Vec<_> = specs.iter().map(|spec| format!("`{}`", spec.name)).collect();
                let reason = format!("no measure is called `{name}`: name one of {}", known.join(", "));
                Err(QueryError::parameter("parameter.bounds", reason))
            }
        }
    }

    /// What the executor is asked.
    fn scan(
        &self,
        space: GroupSpace,
        specs: &[MeasureSpec],
        design: &Design,
        selection: SelectionKey,
    ) -> Result<ScanPlan, QueryError> {
        let statement = &self.resolved.statement;
        let filters: Vec<_> = self.permit.obligations().row_filters.iter().map(filter_of).collect();
        let stream = statement.stream_sql(&filters)?;
        let cells = |cells: u64| {
            u32::try_from(cells)
                .map_err(|_| QueryError::parameter("parameter.groups", "the question has too many groups"))
        };
        let groups = match space {
            GroupSpace::Public { cells: count } => Groups::Public { cells: cells(count)? },
            GroupSpace::Private { public_cells, kappa, .. } => Groups::Private {
                public_cells: cells(public_cells)?,
                keys: statement.keys().iter().filter_map(private_type).collect(),
                kappa,
            },
        };
        let measures = design.measures().iter().enumerate().map(|(position, plan)| {
            let spec = specs.get(position);
            ScanMeasure {
                kind: plan.kind(),
                column: spec.filter(|spec| spec.streamed).map(|_| position),
                row_max: spec.map_or(1, |spec| spec.row_bound),
                bounding: plan.fixed_bound().map_or(Bounding::Search(plan.largest_bound()), Bounding::Fixed),
            }
        });
        let (measures, columns): (Vec<_>, Vec<StreamColumn>) = (measures.collect(), stream.columns);
        let purpose = self.resolved.question.purpose.clone();
        Ok(ScanPlan { statement: stream.text, columns, groups, measures, purpose, selection })
    }

    /// The private core under the row filters, the purpose, the data and the consents, the groups and the bounds: two
    /// questions that agree in this are answered from the same noisy numbers.
    fn reuse_digest(&self, scan: &ScanPlan, design: &Design, floor: Floor) -> Result<Digest, QueryError> {
        let resolved = &self.resolved;
        let filters: Vec<_> = self.permit.obligations().row_filters.iter().map(filter_of).collect();
        let core = resolved.statement.core_digest_with(&filters);
        let measures: Vec<String> = scan.measures.iter().map(|measure| format!("{measure:?}")).collect();
        let (groups, floor) = (format!("{:?} {:?}", design.groups(), scan.groups), format!("{floor:?}"));
        let epoch = resolved.dataset.consent_epoch().to_be_bytes();
        let mut parts: Vec<&[u8]> = vec![
            b"cleanroom answer 1",
            resolved.dataset.schema().dataset.as_str().as_bytes(),
            resolved.question.purpose.as_str().as_bytes(),
            core.as_bytes(),
        ];
        let snapshot = resolved.dataset.snapshot();
        parts.extend([snapshot.as_bytes().as_slice(), &epoch, groups.as_bytes()]);
        // A private threshold depends on ρ; whoever re-uses the release re-uses its threshold, which is never below the
        // floor. So the floor's number is part of the key only where it is the agreement's.
        if matches!(design.groups(), GroupSpace::Public { .. }) {
            parts.push(floor.as_bytes());
        }
        parts.extend(measures.iter().map(String::as_bytes));
        Ok(Digest::of_parts(&parts))
    }
}

/// What privacy calls it.
const fn kind_of(kind: sql::MeasureKind) -> MeasureKind {
    match kind {
        sql::MeasureKind::Units => MeasureKind::Units,
        sql::MeasureKind::Rows => MeasureKind::Rows,
        sql::MeasureKind::Sum { .. } => MeasureKind::Sum,
    }
}

/// Whether it counts every shopper of a group.
fn is_all_shoppers(spec: &MeasureSpec) -> bool {
    spec.kind == sql::MeasureKind::Units && !spec.streamed
}

/// What sql calls it.
fn filter_of(filter: &policy::RowFilter) -> sql::RowFilter {
    sql::RowFilter {
        table: filter.table.clone(),
        column: filter.column.clone(),
        allowed: filter.allowed.clone(),
    }
}

/// Type of a private key.
const fn private_type(key: &KeySpec) -> Option<sql::KeyType> {
    match key {
        KeySpec::Private { ty, .. } => Some(*ty),
        KeySpec::Public { .. } => None,
    }
}

/// Decimals of a measure's smallest unit.
const fn decimals(spec: &MeasureSpec) -> u8 {
    match spec.kind {
        sql::MeasureKind::Sum { scale } => scale,
        sql::MeasureKind::Units | sql::MeasureKind::Rows => 0,
    }
}

/// Whether a bound called `name` is meant for this measure: by its whole name, or, for a sum, by a column in it.
fn is_named(spec: &MeasureSpec, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let is_sum = matches!(spec.kind, sql::MeasureKind::Sum { .. });
    let column = name.rsplit('.').next().unwrap_or(name);
    spec.name.eq_ignore_ascii_case(name.trim())
        || is_sum && spec.name.split(|c| !word(c)).any(|token| token.eq_ignore_ascii_case(column))
}

/// A bound that the question names, in the measure's smallest unit.
fn bound_from(name: &str, text: &str, spec: &MeasureSpec) -> Result<Decided, QueryError> {
    let decimals = usize::from(decimals(spec));
    let bad = || {
        let example = if decimals == 0 { "250".to_owned() } else { format!("5712.{}", "0".repeat(decimals)) };
        let reason = format!("the bound `{text}` of `{name}` is not a positive number such as `{example}`");
        QueryError::parameter("parameter.bounds", reason)
    };
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = format!("{whole}{fraction:0<decimals$}");
    let shaped =
        !whole.is_empty() && fraction.len() <= decimals && digits.bytes().all(|b| b.is_ascii_digit());
    let units: u64 = if shaped { digits.parse().map_err(|_| bad())? } else { return Err(bad()) };
    if units == 0 || units > NORM_MAX {
        return Err(bad());
    }
    Ok(Decided { source: BoundSource::Given(units), from: BoundFrom::Question })
}

/// The bound of a measure for which the question names none.
fn default_bound(spec: &MeasureSpec, space: GroupSpace) -> Decided {
    let searched =
        |max: u64| Decided { source: BoundSource::Search { max }, from: BoundFrom::PrivateHistogram };
    match (spec.kind, space) {
        (sql::MeasureKind::Units, GroupSpace::Public { cells }) if cells > INHERENT_CELLS_MAX => {
            searched(cells)
        }
        (sql::MeasureKind::Units, _) => Decided { source: BoundSource::Inherent, from: BoundFrom::Inherent },
        (sql::MeasureKind::Rows, _) => searched(ROWS_PER_SHOPPER_MAX),
        (sql::MeasureKind::Sum { .. }, _) => {
            searched(spec.row_bound.saturating_mul(ROWS_PER_SHOPPER_MAX).clamp(1, NORM_MAX))
        }
    }
}

/// The measures as they are reported. Where keys are private the design may have added one or made one inherent.
fn planned(specs: &[MeasureSpec], decided: &[Decided], design: &Design) -> Vec<PlannedMeasure> {
    let selects = design.key_selection();
    let measures = design.measures().iter().enumerate().map(|(position, plan)| {
        match specs.get(position).zip(decided.get(position)) {
            Some((spec, decided)) => PlannedMeasure {
                name: spec.name.clone(),
                decimals: decimals(spec),
                from: if selects == Some(position) { BoundFrom::Inherent } else { decided.from },
                design: *plan,
            },
            None => PlannedMeasure {
                name: SHOPPERS.to_owned(),
                decimals: 0,
                from: BoundFrom::Inherent,
                design: *plan,
            },
        }
    });
    measures.collect()
}

/// How small groups are left out. Never on exact numbers: see `NoisyAnswer`.
fn floor_of(space: GroupSpace, specs: &[MeasureSpec], design: &Design, cohort_min: u32) -> Floor {
    match (space, design.key_selection(), design.threshold()) {
        (GroupSpace::Private { .. }, Some(measure), Some(shoppers)) => Floor::Above { measure, shoppers },
        _ => match specs.iter().position(is_all_shoppers) {
            Some(measure) if cohort_min > 0 => Floor::AtLeast { measure, shoppers: u64::from(cohort_min) },
            _ => Floor::None,
        },
    }
}
