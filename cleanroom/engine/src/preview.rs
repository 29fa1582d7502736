//! What a question would cost and return, from the catalogue, the policy and the ledger alone.

use identity::Principal;
use ids::{ClauseId, Digest};
use policy::Action;
use privacy::{Bound, half_width_95};
use serde::{Deserialize, Serialize};
use sql::KeySpec;

use crate::answer::{is_free, ledger_down, left_of};
use crate::error::QueryError;
use crate::pipeline::{Floor, PlannedMeasure, PrivacyPlan, budget_left, column_shown, preview_entry};
use crate::question::Question;
use crate::release::{BudgetLeft, Column, Figure, shown_epsilon, shown_rho};
use crate::room::CleanRoom;

/// What a question would cost and how exact its answer would be. No data is read: the same on an empty vault with the
/// same catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// The statement as it was understood.
    pub canonical: String,
    /// The question's fingerprint, as the log would name it.
    pub fingerprint: Digest,
    /// Columns of the answer.
    pub columns: Vec<Column>,
    /// Number of groups, where all keys are public.
    pub groups: Option<u64>,
    /// ε of the answer at `delta`.
    pub epsilon: Figure,
    /// The agreement's δ.
    pub delta: Figure,
    /// ρ that would be charged to each block.
    pub rho: Figure,
    /// The blocks that would be charged.
    pub blocks: Vec<String>,
    /// Whether a stored release answers it, free of charge.
    pub free: bool,
    /// What would be left afterwards.
    pub epsilon_remaining: Figure,
    /// How many questions of this price fit now.
    pub answers_like_this: u64,
    /// The expected error of each measure.
    pub expected: Vec<ExpectedError>,
    /// The fewest noisy shoppers of a group that would be shown.
    pub floor: u64,
    /// The clauses that allow it.
    pub clauses: Vec<ClauseId>,
    /// Digest of the bundle that decided.
    pub bundle: Digest,
}

/// The error of one measure before anything is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectedError {
    /// The measure in canonical form.
    pub measure: String,
    /// Where its bound would come from.
    pub source: crate::release::BoundFrom,
    /// The bound in natural units; the largest that can come out where it is searched for.
    pub bound: Figure,
    /// Standard deviation of the noise at that bound, in natural units.
    pub std: Figure,
    /// Half of the 95 % interval at that bound.
    pub half_width: Figure,
}

/// A preview with the way to it, told step by step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The figures.
    pub preview: Preview,
    /// One paragraph per pass: what it found and what it decided.
    pub passes: Vec<Pass>,
}

/// One pass of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Its name: `parse`, `resolve`, `gate`, `plan`, `charge`, `execute`, `noise`, `publish`.
    pub step: String,
    /// What it does for this question, line by line.
    pub says: Vec<String>,
}

impl CleanRoom {
    /// What a question would cost and return, from the catalogue, the policy and the ledger; no data is read and nothing
    /// is charged. It is put on record.
    ///
    /// # Errors
    /// As [`CleanRoom::ask`], but for an exhausted budget, which shows as `answers_like_this: 0`.
    pub async fn preview(&self, principal: &Principal, question: Question) -> Result<Preview, QueryError> {
        let plan = self.plan(principal, question, Action::Preview).await?;
        self.previewed(&plan).await
    }

    /// The same with every pass told.
    ///
    /// # Errors
    /// As [`CleanRoom::preview`].
    pub async fn explain(
        &self,
        principal: &Principal,
        question: Question,
    ) -> Result<Explanation, QueryError> {
        let plan = self.plan(principal, question, Action::Preview).await?;
        let preview = self.previewed(&plan).await?;
        let passes = passes(&plan, &preview);
        Ok(Explanation { preview, passes })
    }

    async fn previewed(&self, plan: &PrivacyPlan) -> Result<Preview, QueryError> {
        let left = left_of(&self.inner, plan).await.map_err(ledger_down)?;
        let free = is_free(&self.inner, plan).await.map_err(ledger_down)?.is_some();
        let mut expected = Vec::with_capacity(plan.measures.len());
        for measure in &plan.measures {
            expected.push(expected_error(measure)?);
        }
        self.inner.log(preview_entry(plan), None).await?;
        let resolved = &plan.permitted.resolved;
        let BudgetLeft { epsilon_remaining, answers_like_this } = budget_left(plan, left);
        let private = resolved.statement.keys().iter().any(|key| matches!(key, KeySpec::Private { .. }));
        Ok(Preview {
            canonical: resolved.statement.canonical().to_owned(),
            fingerprint: resolved.fingerprint,
            columns: resolved.statement.post().columns().iter().map(column_shown).collect(),
            groups: (!private).then(|| resolved.statement.public_cells()),
            epsilon: shown_epsilon(plan.epsilon()),
            delta: Figure(plan.permitted.permit.obligations().delta.as_f64()),
            rho: shown_rho(plan.cost.rho),
            blocks: plan.blocks.clone(),
            free,
            epsilon_remaining,
            answers_like_this,
            expected,
            floor: match plan.floor {
                Floor::None => 0,
                Floor::AtLeast { shoppers, .. } => shoppers,
                Floor::Above { shoppers, .. } => shoppers.saturating_add(1),
            },
            clauses: plan.permitted.permit.clauses().to_vec(),
            bundle: plan.permitted.permit.bundle(),
        })
    }
}

/// The error of a measure at its largest bound.
fn expected_error(measure: &PlannedMeasure) -> Result<ExpectedError, QueryError> {
    let largest = measure.design.largest_bound();
    let scale = measure
        .design
        .scale(largest)
        .map_err(|refused| QueryError::parameter(refused.code(), refused.to_string()))?;
    let unit = 10_f64.powi(i32::from(measure.decimals));
    let (Bound::Groups(bound) | Bound::Norm(bound)) = largest;
    Ok(ExpectedError {
        measure: measure.name.clone(),
        source: measure.from,
        bound: Figure(bound as f64 / unit),
        std: Figure(scale.sigma() / unit),
        half_width: Figure(half_width_95(&scale) as f64 / unit),
    })
}

/// Every pass in words.
fn passes(plan: &PrivacyPlan, preview: &Preview) -> Vec<Pass> {
    let resolved = &plan.permitted.resolved;
    let pass = |step: &str, says: Vec<String>| Pass { step: step.to_owned(), says };
    vec![
        pass("parse", vec![format!("one SELECT of {} bytes", resolved.question.sql.len())]),
        pass("resolve", resolve_says(plan)),
        pass("gate", gate_says(plan)),
        pass("plan", plan_says(plan, preview)),
        pass("charge", charge_says(preview)),
        pass("execute", execute_says(plan)),
        pass("noise", noise_says(preview)),
        pass("publish", publish_says(preview)),
    ]
}

fn resolve_says(plan: &PrivacyPlan) -> Vec<String> {
    let resolved = &plan.permitted.resolved;
    let schema = resolved.dataset.schema();
    let mut says = vec![format!("understood as: {}", resolved.statement.canonical())];
    for name in &resolved.statement.footprint().tables {
        says.push(match schema.table(name).and_then(sql::Table::unit_key) {
            Some(key) => format!("`{name}` is private: every row belongs to the shopper in `{key}`"),
            None => format!("`{name}` is public: its rows belong to nobody"),
        });
    }
    for key in resolved.statement.keys() {
        says.push(match key {
            KeySpec::Public { name, domain } => {
                format!("key `{name}` is public: all {} values are answered", domain.len())
            }
            KeySpec::Private { name, .. } => {
                format!("key `{name}` is private: a value shows only past the threshold")
            }
        });
    }
    says.extend(resolved.statement.measures().iter().map(|measure| format!("measures {}", measure.name)));
    says
}

fn gate_says(plan: &PrivacyPlan) -> Vec<String> {
    let permit = &plan.permitted.permit;
    let clauses: Vec<_> = permit.clauses().iter().map(ToString::to_string).collect();
    let mut says = vec![format!("permitted by {} of {}", clauses.join(", "), permit.bundle())];
    for filter in &permit.obligations().row_filters {
        let allowed: Vec<_> = filter.allowed.iter().map(|value| format!("`{value}`")).collect();
        says.push(format!("only rows with `{}.{}` in {}", filter.table, filter.column, allowed.join(", ")));
    }
    says.push(format!("only shoppers who agreed to `{}`", permit.purpose()));
    says
}

fn plan_says(plan: &PrivacyPlan, preview: &Preview) -> Vec<String> {
    let bounds = preview.expected.iter().zip(&plan.measures).map(|(expected, measure)| {
        let bound = expected.bound.0;
        let what = match measure.from {
            crate::BoundFrom::Question => format!("at most {bound} per shopper, as the question says"),
            crate::BoundFrom::Inherent => format!("a shopper counts once in each of at most {bound} groups"),
            crate::BoundFrom::PrivateHistogram => {
                "a bound per shopper is searched for with a tenth of the measure's share".to_owned()
            }
        };
        format!("{}: {what}", expected.measure)
    });
    let mut says: Vec<String> = bounds.collect();
    says.push(match plan.floor {
        Floor::None => "no group is left out".to_owned(),
        Floor::AtLeast { shoppers, .. } => {
            format!("groups with fewer than {shoppers} noisy shoppers are left out")
        }
        Floor::Above { shoppers, .. } => {
            format!("groups with no more than {shoppers} noisy shoppers are left out")
        }
    });
    says
}

fn charge_says(preview: &Preview) -> Vec<String> {
    let Preview { epsilon, delta, rho, blocks, .. } = preview;
    let blocks = blocks.join(", ");
    let mut says = vec![format!("ε {} at δ {} (ρ {}) to each of {blocks}", epsilon.0, delta.0, rho.0)];
    if preview.free {
        says.push("nothing, in fact: a stored release answers it".to_owned());
    }
    says.push(format!("{} questions of this price fit now", preview.answers_like_this));
    says
}

fn execute_says(plan: &PrivacyPlan) -> Vec<String> {
    vec![
        format!("streams per range of shoppers: {}", plan.scan.statement),
        "folds each shopper's rows into one vector, bounds it, adds it up in whole numbers".to_owned(),
    ]
}

fn noise_says(preview: &Preview) -> Vec<String> {
    let says = preview.expected.iter().map(|expected| {
        let ExpectedError { measure, source, bound, std, half_width } = expected;
        match source {
            // The largest bound says nothing about the one that will be found; what is known is the ratio.
            crate::BoundFrom::PrivateHistogram => format!(
                "{measure}: standard deviation {:.1} × the bound that will be found, 95 % interval ± {:.1} × it; \
                 name a bound to know it beforehand",
                std.0 / bound.0,
                half_width.0 / bound.0
            ),
            crate::BoundFrom::Question | crate::BoundFrom::Inherent => format!(
                "{measure}: standard deviation {:.2}, 95 % interval ± {:.2}, or less",
                std.0, half_width.0
            ),
        }
    });
    says.collect()
}

fn publish_says(preview: &Preview) -> Vec<String> {
    let columns: Vec<_> = preview.columns.iter().map(|column| format!("`{}`", column.name)).collect();
    let groups = match preview.groups {
        Some(groups) => format!("{groups} groups"),
        None => format!("the groups past the threshold of {}", preview.floor),
    };
    vec![format!("{} for {groups}, with the log's receipt", columns.join(", "))]
}
