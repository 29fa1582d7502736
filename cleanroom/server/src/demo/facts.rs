//! The owner's count against figures that somebody else published about the same data (`facts.json`).

use serde_json::Value;

use super::owner::Exact;
use super::script::Asked;
use super::story::{is_units, key_of};

/// Money is compared to the cent.
const CENT: f64 = 0.005;

/// Whether the facts say anything about this question.
pub(super) fn knows(asked: &Asked) -> bool {
    matches!(key_of(asked), None | Some("department"))
}

/// Compares every figure that the facts hold.
///
/// # Errors
///
/// The first figure that differs, or a fact that is missing.
pub(super) fn check(asked: &Asked, exact: &Exact, facts: &Value) -> Result<(), String> {
    match key_of(asked) {
        None => {
            let totals = facts.pointer("/totals/0").ok_or("facts.json has no totals")?;
            figures(asked, exact, "", totals, "households")
        }
        Some("department") => {
            let departments =
                facts.get("dept").and_then(Value::as_array).ok_or("facts.json has no departments")?;
            for department in departments {
                if let Some(name) = department.get("department").and_then(Value::as_str) {
                    figures(asked, exact, name, department, "hh")?;
                }
            }
            Ok(())
        }
        Some(_) => Ok(()),
    }
}

fn figures(asked: &Asked, exact: &Exact, key: &str, facts: &Value, units: &str) -> Result<(), String> {
    let counted = exact.get(key).ok_or_else(|| format!("the owner's count knows no `{key}`"))?;
    for ((_, measure), counted) in asked.truth.measures.iter().zip(counted) {
        let name = if is_units(measure) { units } else { "sales" };
        let fact =
            facts.get(name).and_then(Value::as_f64).ok_or_else(|| format!("facts.json has no `{name}`"))?;
        if (fact - counted).abs() > CENT {
            return Err(format!("{name} of `{key}`: facts.json says {fact}, the owner's count {counted}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fact_that_differs_by_a_cent_is_found() {
        let script = super::super::script::complete_journey().unwrap();
        let sales = &script.questions[1];
        let facts = json!({ "totals": [{ "sales": 10.01, "households": 2 }] });
        let exact = |sum: f64| Exact::from([(String::new(), vec![sum])]);
        check(sales, &exact(10.01), &facts).unwrap();
        assert!(check(sales, &exact(10.02), &facts).unwrap_err().contains("10.02"));
    }
}
