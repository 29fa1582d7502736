//! Values with their noise: evaluation of one row.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use super::expr::PostExpr;
use super::table::{KeyValue, NoisyRow, OutCell, OutNumber};
use crate::plan::Comparison;

/// 97.5 % quantile of the normal distribution.
const Z_95: f64 = 1.959_964;
/// A denominator closer to zero than so many of its own 95 % half-widths makes a ratio unstable.
const FIELLER_WIDTHS: f64 = 2.0;

/// The value of an expression in one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A number and its noise.
    Number(Noisy),
    /// An exact value and its rank in the key's domain.
    Key(KeyValue, usize),
}

/// A number with its gradient: the first-order weight of each independent cell.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Noisy {
    value: f64,
    gradient: BTreeMap<usize, f64>,
    unstable: bool,
}

impl Noisy {
    fn exact(value: f64) -> Self {
        Self { value, ..Self::default() }
    }

    /// `value`, with the chain rule over the two sides' gradients.
    fn combine(value: f64, a: &Self, by_a: f64, b: &Self, by_b: f64) -> Self {
        let mut gradient = BTreeMap::new();
        for (side, factor) in [(a, by_a), (b, by_b)] {
            for (cell, weight) in &side.gradient {
                *gradient.entry(*cell).or_insert(0.0) += weight * factor;
            }
        }
        Self { value, gradient, unstable: a.unstable || b.unstable }
    }
}

impl Value {
    /// Order for ORDER BY: the values' own, reversed where asked, NULLs where asked.
    pub(crate) fn order(&self, other: &Self, descending: bool, nulls_first: bool) -> Ordering {
        let null =
            |a_is_null: bool| if a_is_null == nulls_first { Ordering::Less } else { Ordering::Greater };
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => null(true),
            (_, Self::Null) => null(false),
            (a, b) => {
                let by = a.compare(b).unwrap_or(Ordering::Equal);
                if descending { by.reverse() } else { by }
            }
        }
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.value.partial_cmp(&b.value),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Key(a, i), Self::Key(b, j)) if *i != usize::MAX && *j != usize::MAX => {
                Some(i.cmp(j).then_with(|| a.cmp(b)))
            }
            // Dates of private keys are released as text, in the same spelling.
            (Self::Key(KeyValue::Text(a), _), Self::Key(KeyValue::Date(b), _)) => Some(a.cmp(&b.to_string())),
            (Self::Key(KeyValue::Date(a), _), Self::Key(KeyValue::Text(b), _)) => Some(a.to_string().cmp(b)),
            (Self::Key(a, _), Self::Key(b, _)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// Evaluates expressions on one row.
pub(crate) struct Evaluator<'r> {
    pub(crate) row: &'r NoisyRow,
    pub(crate) ranks: &'r [HashMap<&'r KeyValue, usize>],
    pub(crate) key_scales: &'r [u8],
}

impl Evaluator<'_> {
    /// Whether a condition is true (not false, not NULL).
    pub(crate) fn holds(&self, condition: &PostExpr) -> bool {
        matches!(self.value(condition), Value::Bool(true))
    }

    /// The displayed value of a SELECT item.
    pub(crate) fn cell(&self, item: &PostExpr) -> OutCell {
        let value = self.value(item);
        if !item.is_noisy() {
            return OutCell::Key(match (item, value) {
                (PostExpr::Key(key), _) => self.key(*key),
                (_, Value::Null) => KeyValue::Null,
                (_, Value::Bool(value)) => KeyValue::Bool(value),
                (_, Value::Key(value, _)) => value,
                (_, Value::Number(number)) => exact_number(number.value),
            });
        }
        let number = match value {
            Value::Number(number) if number.value.is_finite() => number,
            Value::Bool(value) => return OutCell::Key(KeyValue::Bool(value)),
            Value::Key(value, _) => return OutCell::Key(value),
            Value::Number(_) | Value::Null => {
                return OutCell::Number(OutNumber {
                    value: None,
                    std: None,
                    low: None,
                    high: None,
                    unstable: true,
                });
            }
        };
        let variance: f64 = number
            .gradient
            .iter()
            .map(|(cell, weight)| (weight * self.row.cells.get(*cell).map_or(0.0, |cell| cell.std)).powi(2))
            .sum();
        let std = variance.sqrt();
        let interval = !number.unstable && std.is_finite();
        OutCell::Number(OutNumber {
            value: Some(number.value),
            std: std.is_finite().then_some(std),
            low: interval.then_some(number.value - Z_95 * std),
            high: interval.then_some(number.value + Z_95 * std),
            unstable: number.unstable,
        })
    }

    fn key(&self, at: usize) -> KeyValue {
        let value = self.row.keys.get(at).cloned().unwrap_or(KeyValue::Null);
        match (value, self.key_scales.get(at)) {
            (KeyValue::Int(value), Some(scale)) if *scale > 0 => {
                KeyValue::Text(crate::print::canonical::number(i128::from(value), *scale))
            }
            (value, _) => value,
        }
    }

    /// The value of an expression.
    pub(crate) fn value(&self, expr: &PostExpr) -> Value {
        match expr {
            PostExpr::Key(at) => self.key_operand(*at),
            PostExpr::Cell(at) => self.measured(*at).map_or(Value::Null, Value::Number),
            PostExpr::Average { sum, rows } => match (self.measured(*sum), self.measured(*rows)) {
                (Some(sum), Some(rows)) => self.divided(&sum, &rows),
                _ => Value::Null,
            },
            PostExpr::Number(value, _) => Value::Number(Noisy::exact(*value)),
            PostExpr::Exact(value, _) => match value {
                KeyValue::Null => Value::Null,
                KeyValue::Bool(value) => Value::Bool(*value),
                other => Value::Key(other.clone(), usize::MAX),
            },
            PostExpr::Neg(a) => self.unary(a, |a| Noisy::combine(-a.value, a, -1.0, &Noisy::default(), 0.0)),
            PostExpr::Abs(a) => {
                self.unary(a, |a| Noisy::combine(a.value.abs(), a, a.value.signum(), &Noisy::default(), 0.0))
            }
            PostExpr::Round(a, digits) => {
                let unit = 10_f64.powi(*digits);
                self.unary(a, |a| Noisy { value: (a.value * unit).round() / unit, ..a.clone() })
            }
            PostExpr::Add(a, b) => {
                self.binary(a, b, |a, b| Noisy::combine(a.value + b.value, a, 1.0, b, 1.0))
            }
            PostExpr::Sub(a, b) => {
                self.binary(a, b, |a, b| Noisy::combine(a.value - b.value, a, 1.0, b, -1.0))
            }
            PostExpr::Mul(a, b) => {
                self.binary(a, b, |a, b| Noisy::combine(a.value * b.value, a, b.value, b, a.value))
            }
            PostExpr::Div(a, b) => match (self.value(a), self.value(b)) {
                (Value::Number(a), Value::Number(b)) => self.divided(&a, &b),
                _ => Value::Null,
            },
            PostExpr::Compare(op, a, b) => self.compared(*op, a, b),
            PostExpr::And(items) => self.junction(items, false),
            PostExpr::Or(items) => self.junction(items, true),
            PostExpr::Not(a) => match self.value(a) {
                Value::Bool(value) => Value::Bool(!value),
                _ => Value::Null,
            },
            PostExpr::IsNull(a) => Value::Bool(self.value(a) == Value::Null),
            PostExpr::Coalesce(items) => items
                .iter()
                .map(|item| self.value(item))
                .find(|value| *value != Value::Null)
                .unwrap_or(Value::Null),
            PostExpr::NullIf(a, b) => match self.compared(Comparison::Eq, a, b) {
                Value::Bool(true) => Value::Null,
                _ => self.value(a),
            },
            PostExpr::Case { branches, otherwise } => {
                let taken = branches.iter().find(|(when, _)| self.holds(when)).map(|(_, then)| then);
                taken.or(otherwise.as_deref()).map_or(Value::Null, |result| self.value(result))
            }
        }
    }

    fn key_operand(&self, at: usize) -> Value {
        let raw = self.row.keys.get(at).cloned().unwrap_or(KeyValue::Null);
        match raw {
            KeyValue::Null => Value::Null,
            KeyValue::Bool(value) => Value::Bool(value),
            KeyValue::Int(value) => {
                let scale = i32::from(self.key_scales.get(at).copied().unwrap_or(0));
                Value::Number(Noisy::exact(value as f64 / 10_f64.powi(scale)))
            }
            other => {
                let rank = self.ranks.get(at).and_then(|ranks| ranks.get(&other)).copied();
                Value::Key(other, rank.unwrap_or(usize::MAX))
            }
        }
    }

    fn measured(&self, at: usize) -> Option<Noisy> {
        let cell = self.row.cells.get(at)?;
        Some(Noisy { value: cell.value, gradient: BTreeMap::from([(at, 1.0)]), unstable: false })
    }

    fn divided(&self, a: &Noisy, b: &Noisy) -> Value {
        if b.value == 0.0 {
            return Value::Null;
        }
        let ratio = a.value / b.value;
        let mut out = Noisy::combine(ratio, a, 1.0 / b.value, b, -ratio / b.value);
        let std: f64 = b
            .gradient
            .iter()
            .map(|(cell, weight)| (weight * self.row.cells.get(*cell).map_or(0.0, |cell| cell.std)).powi(2))
            .sum::<f64>()
            .sqrt();
        out.unstable |= b.value.abs() < FIELLER_WIDTHS * Z_95 * std;
        Value::Number(out)
    }

    fn unary(&self, a: &PostExpr, f: impl Fn(&Noisy) -> Noisy) -> Value {
        match self.value(a) {
            Value::Number(a) => Value::Number(f(&a)),
            _ => Value::Null,
        }
    }

    fn binary(&self, a: &PostExpr, b: &PostExpr, f: impl Fn(&Noisy, &Noisy) -> Noisy) -> Value {
        match (self.value(a), self.value(b)) {
            (Value::Number(a), Value::Number(b)) => Value::Number(f(&a, &b)),
            _ => Value::Null,
        }
    }

    fn compared(&self, op: Comparison, a: &PostExpr, b: &PostExpr) -> Value {
        let (a, b) = (self.value(a), self.value(b));
        let Some(by) = a.compare(&b) else { return Value::Null };
        Value::Bool(match op {
            Comparison::Eq => by == Ordering::Equal,
            Comparison::NotEq => by != Ordering::Equal,
            Comparison::Lt => by == Ordering::Less,
            Comparison::LtEq => by != Ordering::Greater,
            Comparison::Gt => by == Ordering::Greater,
            Comparison::GtEq => by != Ordering::Less,
        })
    }

    /// Three-valued AND (`decisive` false) or OR (`decisive` true).
    fn junction(&self, items: &[PostExpr], decisive: bool) -> Value {
        let mut unknown = false;
        for item in items {
            match self.value(item) {
                Value::Bool(value) if value == decisive => return Value::Bool(decisive),
                Value::Bool(_) => {}
                _ => unknown = true,
            }
        }
        if unknown { Value::Null } else { Value::Bool(!decisive) }
    }
}

/// An exact number as a key: whole where it is whole.
fn exact_number(value: f64) -> KeyValue {
    if value.fract() == 0.0 && value.abs() < 9.0e15 {
        KeyValue::Int(value as i64)
    } else {
        KeyValue::Text(value.to_string())
    }
}
