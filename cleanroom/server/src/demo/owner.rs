//! What only the owner may see: exact figures, by another way than the engine's.
//!
//! Plain SQL over the unsealed tables, one row per shopper and group, folded over the shoppers who agreed to the purpose.
//! The rows are those the permit allows, as the policy itself says. Nothing but the demo reaches this.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array as _, Int64Array, RecordBatch, StringArray, UInt32Array};
use identity::{Principal, Role};
use ids::{Clock as _, Digest, MicroEpsilon, PurposeId, SystemClock};
use policy::{Action, Footprint, RowFilter};

use super::script::{Measure, Truth};
use crate::app::App;
use crate::failure::Failure;

/// Exact figures by key (the empty key where there is none), in the order of the measures; sums in natural units.
pub(super) type Exact = BTreeMap<String, Vec<f64>>;

/// Counts exactly what the question asks.
pub(super) fn count(
    app: &App,
    asker: &Principal,
    purpose: &PurposeId,
    truth: &Truth,
) -> Result<Exact, Failure> {
    let filters = row_filters(app, asker, purpose, truth);
    let statement = statement(truth, &filters);
    let hot = app.hot();
    let consents = hot.consents();
    let mut totals: BTreeMap<String, Vec<i128>> = BTreeMap::new();
    let failed = || Failure::failed("owner", "the owner's own count failed", "the statement did not run");
    let mut worker = hot.worker().map_err(|_| failed())?;
    let mut fold = |batch: &RecordBatch| -> Result<(), vault::StreamFailed> {
        let units = column::<UInt32Array>(batch, 0)?;
        let keys = column::<StringArray>(batch, 1)?;
        let measures: Vec<&Int64Array> =
            (0..truth.measures.len()).map(|at| column(batch, at + 2)).collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            if !consents.allows(purpose, ids::UnitIx(units.value(row))) {
                continue;
            }
            let key = if keys.is_null(row) { "NULL" } else { keys.value(row) };
            let sums = totals.entry(key.to_owned()).or_insert_with(|| vec![0; measures.len()]);
            for (sum, values) in sums.iter_mut().zip(&measures) {
                if !values.is_null(row) {
                    *sum += i128::from(values.value(row));
                }
            }
        }
        Ok(())
    };
    worker.stream(&statement, 0, hot.units(), &mut fold).map_err(|_| failed())?;
    Ok(totals.into_iter().map(|(key, sums)| (key, natural(truth, &sums))).collect())
}

fn column<T: 'static>(batch: &RecordBatch, at: usize) -> Result<&T, vault::StreamFailed> {
    batch.columns().get(at).and_then(|array| array.as_any().downcast_ref()).ok_or(vault::StreamFailed::Run)
}

fn natural(truth: &Truth, sums: &[i128]) -> Vec<f64> {
    sums.iter()
        .zip(&truth.measures)
        .map(|(sum, (_, measure))| match measure {
            Measure::Units | Measure::Rows => *sum as f64,
            Measure::Sum { scale, .. } => *sum as f64 / 10_f64.powi(i32::from(*scale)),
        })
        .collect()
}

/// One row per shopper and group: distinct shoppers are then counted by adding ones.
fn statement(truth: &Truth, filters: &[RowFilter]) -> String {
    let first = truth.tables.first().map_or("", String::as_str);
    let key = truth.key.as_ref().map_or("''", |(expression, _)| expression);
    let measures: Vec<String> = truth
        .measures
        .iter()
        .map(|(_, measure)| match measure {
            Measure::Units => "CAST(1 AS BIGINT)".to_owned(),
            Measure::Rows => "CAST(COUNT(*) AS BIGINT)".to_owned(),
            Measure::Sum { value, .. } => format!("CAST(SUM({value}) AS BIGINT)"),
        })
        .collect();
    let mut conditions = vec![format!("{first}.unit_ix >= $1"), format!("{first}.unit_ix < $2")];
    for filter in filters {
        let allowed: Vec<String> =
            filter.allowed.iter().map(|value| format!("'{}'", value.replace('\'', "''"))).collect();
        conditions.push(format!("{}.{} IN ({})", filter.table, filter.column, allowed.join(", ")));
    }
    format!(
        "SELECT {first}.unit_ix, CAST({key} AS VARCHAR), {} FROM {} WHERE {} GROUP BY 1, 2",
        measures.join(", "),
        truth.from,
        conditions.join(" AND ")
    )
}

/// The rows the agreement lets this asker see, as the policy says; none where it denies.
fn row_filters(app: &App, asker: &Principal, purpose: &PurposeId, truth: &Truth) -> Vec<RowFilter> {
    let columns: BTreeSet<(String, String)> = truth.columns.iter().cloned().collect();
    let request = policy::Request {
        principal: Principal::local(asker.subject().clone(), asker.party().clone(), Role::Analyst),
        action: Action::Preview,
        dataset: app.hot().catalogue().dataset().clone(),
        purpose: purpose.clone(),
        footprint: Footprint {
            keys: BTreeSet::new(),
            tables: truth.tables.iter().cloned().collect(),
            columns,
        },
        epsilon: MicroEpsilon::from_units(1),
        campaign: None,
        fingerprint: Digest::of(b"the owner's own count"),
    };
    let permit = app.bundle().decide(&request, SystemClock.now()).into_result();
    let filters = permit.map(|permit| permit.obligations().row_filters.clone()).unwrap_or_default();
    filters.into_iter().filter(|filter| truth.tables.contains(&filter.table)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_the_permit_are_part_of_the_count() {
        let truth = Truth {
            from: "lines JOIN products ON lines.product_id = products.product_id".to_owned(),
            tables: vec!["lines".to_owned(), "products".to_owned()],
            key: Some(("products.category".to_owned(), "category".to_owned())),
            measures: vec![("n".to_owned(), Measure::Units)],
            columns: Vec::new(),
        };
        let filter = RowFilter {
            table: "products".to_owned(),
            column: "category".to_owned(),
            allowed: ["Milk".to_owned(), "Kid's food".to_owned()].into(),
        };
        let text = statement(&truth, &[filter]);
        assert!(text.contains("products.category IN ('Kid''s food', 'Milk')"), "{text}");
        assert!(
            text.starts_with(
                "SELECT lines.unit_ix, CAST(products.category AS VARCHAR), CAST(1 AS BIGINT) FROM"
            )
        );
    }
}
