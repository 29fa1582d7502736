//! ─publish→: from noisy totals to the answer as it is shown. Post-processing only: no step here knows exact numbers.

use ids::{Digest, Entropy, EntropyFailed, ReleaseId, RequestId};
use sql::{KeyValue, OutCell, OutNumber, OutTable};

use super::{ChargedPlan, Floor, NoisyAnswer, PrivacyPlan};
use crate::ledger::{Balance, StoredAnswer};
use crate::noisy::{Clipped, NoisyMeasure, NoisyMeasures};
use crate::release::{
    BoundShown, BudgetLeft, Cell, ChargeShown, Column, Figure, Key, NoisyValue, PolicyShown, Role, Row,
    Status, Suppressed, Unreceipted, shown_epsilon, shown_rho,
};

/// An answer with everything but its log receipt.
#[derive(Debug)]
pub(crate) struct Answer {
    pub release: ReleaseId,
    pub body: String,
    pub noisy: String,
    pub result: Digest,
}

/// An answer cannot be written down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishFailed {
    #[error(transparent)]
    Entropy(#[from] EntropyFailed),
    #[error("the answer cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl NoisyAnswer {
    /// ─publish→ of a charged question.
    pub(crate) fn publish(self, entropy: &dyn Entropy) -> Result<(ChargedPlan, Answer), PublishFailed> {
        let Self { charged, measures } = self;
        let charge = ChargeShown {
            epsilon: shown_epsilon(charged.plan.epsilon()),
            delta: Figure(charged.plan.permitted.permit.obligations().delta.as_f64()),
            rho: shown_rho(charged.plan.cost.rho),
            blocks: charged.plan.blocks.clone(),
        };
        let answer = written(&charged.plan, &measures, charge, charged.left, None, entropy)?;
        Ok((charged, answer))
    }
}

impl PrivacyPlan {
    /// The same for a question that a stored release answers: nothing is charged, only the post-processing is new.
    pub(crate) fn republish(
        &self,
        stored: &NoisyMeasures,
        from: &ReleaseId,
        left: Balance,
        entropy: &dyn Entropy,
    ) -> Result<Answer, PublishFailed> {
        let charge = ChargeShown {
            epsilon: Figure(0.0),
            delta: Figure(self.permitted.permit.obligations().delta.as_f64()),
            rho: Figure(0.0),
            blocks: Vec::new(),
        };
        written(self, stored, charge, left, Some(from.clone()), entropy)
    }
}

impl Answer {
    /// As the ledger stores it, with the log entry that will name it.
    pub(crate) fn stored(self, entry: audits::Entry) -> StoredAnswer {
        let Self { release, body, noisy, result } = self;
        StoredAnswer { release, body, noisy, result, entry }
    }
}

/// Evaluates the post-processing and writes everything down.
fn written(
    plan: &PrivacyPlan,
    measures: &NoisyMeasures,
    charge: ChargeShown,
    left: Balance,
    reused_from: Option<ReleaseId>,
    entropy: &dyn Entropy,
) -> Result<Answer, PublishFailed> {
    let statement = &plan.permitted.resolved.statement;
    let asked = statement.measures().len();
    let left_out = measures.groups.iter().any(|group| !keeps(plan.floor, group));
    let table = measures.table(asked, |group| keeps(plan.floor, group));
    let out = statement.post().evaluate(&table);
    let release_id = super::name_release(entropy)?;
    let request_id: RequestId = plan.key.request.clone();
    let body = Unreceipted {
        release_id: release_id.clone(),
        status: Status::Released,
        request_id,
        columns: out.columns.iter().map(column_shown).collect(),
        notes: notes_of(&out, measures, asked, reused_from.as_ref()),
        rows: rows_of(out),
        suppressed: suppressed(plan.floor, left_out),
        charge,
        budget: budget_left(plan, left),
        bounds: measures.measures.iter().take(asked).map(bound_shown).collect(),
        policy: PolicyShown {
            bundle: plan.permitted.permit.bundle(),
            clauses: plan.permitted.permit.clauses().to_vec(),
        },
        snapshot: plan.permitted.resolved.dataset.snapshot(),
        reused_from,
    };
    let body = serde_json::to_string(&body)?;
    let result = Digest::of(body.as_bytes());
    Ok(Answer { release: release_id, noisy: serde_json::to_string(measures)?, body, result })
}

/// Whether a group is shown: decided on its noisy number of shoppers.
fn keeps(floor: Floor, group: &crate::noisy::NoisyGroup) -> bool {
    let number = |measure| group.value(measure).unwrap_or(0);
    match floor {
        Floor::None => true,
        Floor::AtLeast { measure, shoppers } => number(measure) >= i128::from(shoppers),
        // Private groups below the threshold were forgotten before; a stored release was cut at its own threshold.
        Floor::Above { .. } => true,
    }
}

/// Whether groups may be missing, and how few shoppers it takes.
fn suppressed(floor: Floor, left_out: bool) -> Suppressed {
    match floor {
        Floor::None => Suppressed { groups: false, floor: 0 },
        Floor::AtLeast { shoppers, .. } => Suppressed { groups: left_out, floor: shoppers },
        Floor::Above { shoppers, .. } => Suppressed { groups: true, floor: shoppers },
    }
}

/// What is left, for people.
pub(crate) fn budget_left(plan: &PrivacyPlan, left: Balance) -> BudgetLeft {
    BudgetLeft {
        epsilon_remaining: shown_epsilon(plan.epsilon_of(left.rho)),
        answers_like_this: left.answers(plan.cost.rho, plan.cost.delta),
    }
}

pub(crate) fn column_shown(column: &sql::OutColumn) -> Column {
    let role = match column.role {
        sql::Role::Key => Role::Key,
        sql::Role::Value => Role::Value,
    };
    Column { name: column.name.clone(), role, unit: column.unit.map(str::to_owned) }
}

fn rows_of(out: OutTable) -> Vec<Row> {
    let OutTable { columns, rows } = out;
    let row = |cells: Vec<OutCell>| {
        let cells =
            columns.iter().zip(cells).map(|(column, cell)| (column.name.clone(), cell_shown(column, cell)));
        Row(cells.collect())
    };
    rows.into_iter().map(row).collect()
}

fn cell_shown(column: &sql::OutColumn, cell: OutCell) -> Cell {
    match cell {
        OutCell::Key(key) => Cell::Key(key_shown(key)),
        OutCell::Number(number) => Cell::Value(value_shown(column, number)),
    }
}

fn key_shown(key: KeyValue) -> Key {
    match key {
        KeyValue::Null => Key::Null,
        KeyValue::Bool(value) => Key::Bool(value),
        KeyValue::Int(value) => Key::Int(value),
        KeyValue::Date(value) => Key::Text(value.to_string()),
        KeyValue::Text(value) => Key::Text(value),
    }
}

/// A number with its interval. Counts are whole, so their interval ends at whole numbers, outwards: with little noise a
/// fraction of one would cost more than a per cent of coverage.
fn value_shown(column: &sql::OutColumn, number: OutNumber) -> NoisyValue {
    let counts = matches!(column.unit, Some("shoppers" | "rows"));
    let outwards =
        |end: Option<f64>, round: fn(f64) -> f64| end.map(|end| if counts { round(end) } else { end });
    let figure = |value: Option<f64>| value.filter(|value| value.is_finite()).map(Figure);
    NoisyValue {
        value: figure(number.value),
        std: figure(number.std),
        low: figure(outwards(number.low, f64::floor)),
        high: figure(outwards(number.high, f64::ceil)),
        unstable: number.unstable,
    }
}

fn bound_shown(measure: &NoisyMeasure) -> BoundShown {
    BoundShown {
        column: measure.name.clone(),
        clip: Figure(measure.bound as f64 / measure.unit()),
        source: measure.from,
        clipped_share: measure.clipped_share.map(Figure),
    }
}

/// What a careful reader has to know.
fn notes_of(
    out: &OutTable,
    measures: &NoisyMeasures,
    asked: usize,
    reused_from: Option<&ReleaseId>,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(release) = reused_from {
        notes.push(format!("answered from release `{release}`: same question, same data, no charge"));
    }
    for measure in measures.measures.iter().take(asked) {
        if let Clipped::MayExceed { estimate } = measure.clipping {
            notes.push(clipping_note(measure, estimate));
        }
    }
    let unstable = out.rows.iter().flatten().any(|cell| matches!(cell, OutCell::Number(n) if n.unstable));
    if unstable {
        notes.push("a ratio marked `unstable` has a denominator within its noise of zero".to_owned());
    }
    notes
}

fn clipping_note(measure: &NoisyMeasure, estimate: Option<f64>) -> String {
    let NoisyMeasure { name, .. } = measure;
    let clip = measure.bound as f64 / measure.unit();
    let share = measure
        .clipped_share
        .map_or_else(String::new, |share| format!("; about {:.1} % of shoppers exceed it", share * 100.0));
    let amount = estimate.map_or_else(String::new, |estimate| {
        format!("; over all groups together it takes away about {:.2}", estimate / measure.unit())
    });
    format!(
        "`{name}`: contributions beyond {clip} per shopper were cut, which may exceed the interval{share}{amount}"
    )
}
