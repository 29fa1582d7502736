//! Tables of noisy numbers: what goes into post-processing and what comes out.

use std::fmt;

use ids::Date;

/// One value of a group key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyValue {
    /// No value.
    Null,
    /// False or true.
    Bool(bool),
    /// A whole number; for a private key over money, minor units.
    Int(i64),
    /// A day.
    Date(Date),
    /// Text.
    Text(String),
}

impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Date(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// One noisy base measure of one group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoisyCell {
    /// Noisy value in natural units (money: major units).
    pub value: f64,
    /// Standard deviation of its noise, same unit. The noise of different cells is independent.
    pub std: f64,
}

/// One group.
#[derive(Debug, Clone, PartialEq)]
pub struct NoisyRow {
    /// One value per [`KeySpec`](crate::KeySpec), in that order.
    pub keys: Vec<KeyValue>,
    /// One cell per [`MeasureSpec`](crate::MeasureSpec), in that order.
    pub cells: Vec<NoisyCell>,
}

/// The noisy base measures of a query.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NoisyTable {
    /// Groups, in any order.
    pub rows: Vec<NoisyRow>,
}

/// What a column of the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A group key, or computed from keys only: exact.
    Key,
    /// A noisy value.
    Value,
}

/// One column of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutColumn {
    /// Name: the alias, or the expression as written in canonical form.
    pub name: String,
    /// Key or value.
    pub role: Role,
    /// What is counted or summed: `shoppers`, `rows`, `amount`; `None` for anything else.
    pub unit: Option<&'static str>,
}

/// One value of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum OutCell {
    /// An exact key.
    Key(KeyValue),
    /// A noisy number.
    Number(OutNumber),
}

/// A noisy number with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutNumber {
    /// The value; `None` where it does not exist (a quotient by zero, or an expression that is NULL).
    pub value: Option<f64>,
    /// Standard deviation of the noise, to first order.
    pub std: Option<f64>,
    /// Lower end of the 95 % interval; `None` where no honest interval exists.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
    /// The denominator of a ratio is within twice its 95 % noise of zero: the ratio says next to nothing.
    pub unstable: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct OutTable {
    /// Columns, in SELECT order.
    pub columns: Vec<OutColumn>,
    /// Rows, after HAVING, ORDER BY and LIMIT.
    pub rows: Vec<Vec<OutCell>>,
}
