//! The published answer: what a supplier, the CLI and the HTTP interface see. Wire format of DESIGN §12.

use std::fmt;

use ids::{ClauseId, Digest, MicroEpsilon, MicroRho, ReleaseId, RequestId};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A published answer. Everything in it is noisy or public; nothing in it is an exact figure of the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its name, for fetching it again.
    pub release_id: ReleaseId,
    /// Always [`Status::Released`]: nothing else leaves.
    pub status: Status,
    /// The caller's idempotency key, or the one that was drawn for them.
    pub request_id: RequestId,
    /// Columns in SELECT order.
    pub columns: Vec<Column>,
    /// Rows, after HAVING, ORDER BY and LIMIT.
    pub rows: Vec<Row>,
    /// Whether groups may be missing.
    pub suppressed: Suppressed,
    /// What this answer cost; zero where it was answered from an earlier release.
    pub charge: ChargeShown,
    /// What is left to the asker's party after it.
    pub budget: BudgetLeft,
    /// How much one shopper could contribute to each measure.
    pub bounds: Vec<BoundShown>,
    /// What a careful reader has to know: clipping that may exceed the interval, unstable ratios, re-use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Under which rules.
    pub policy: PolicyShown,
    /// Digest of the vault snapshot it was computed from.
    pub snapshot: Digest,
    /// The earlier release whose noise this answer re-uses, free of charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<ReleaseId>,
    /// Digest of this object as written, up to `reused_from`, without `result` and `receipt`; the log's `result`.
    pub result: Digest,
    /// The log's receipt for this very answer.
    pub receipt: ReceiptShown,
}

/// An answer without its receipt: what the log's `result` is the digest of. Its members are those of [`Release`], in
/// the same order, and the whole is spliced together by [`Release::from_parts`].
#[derive(Debug, Serialize)]
pub(crate) struct Unreceipted {
    pub release_id: ReleaseId,
    pub status: Status,
    pub request_id: RequestId,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    pub suppressed: Suppressed,
    pub charge: ChargeShown,
    pub budget: BudgetLeft,
    pub bounds: Vec<BoundShown>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    pub policy: PolicyShown,
    pub snapshot: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<ReleaseId>,
}

impl Release {
    /// A stored answer and its stored receipt as one; `None` if they are not what this crate writes.
    pub(crate) fn from_parts(body: &str, result: Digest, receipt: &str) -> Option<Self> {
        let members = body.strip_suffix('}')?;
        serde_json::from_str(&format!("{members},\"result\":\"{result}\",\"receipt\":{receipt}}}")).ok()
    }
}

/// State of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Published.
    Released,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Key or value.
    pub role: Role,
    /// What is counted or summed, such as `shoppers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Public or thresholded keys: exact.
    Key,
    /// Noisy numbers.
    Value,
}

/// One row: a JSON object whose members are in column order.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub Vec<(String, Cell)>);

/// One value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A noisy number.
    Value(NoisyValue),
    /// A key.
    Key(Key),
}

/// A key value as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key {
    /// No value.
    Null,
    /// False or true.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text, or a day as `YYYY-MM-DD`.
    Text(String),
}

/// A noisy number with its 95 % interval. The interval covers the noise, not the clipping; see the release's notes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoisyValue {
    /// The value; absent where it does not exist, such as a quotient by zero.
    pub value: Option<Figure>,
    /// Standard deviation of its noise.
    pub std: Option<Figure>,
    /// Lower end.
    pub low: Option<Figure>,
    /// Upper end.
    pub high: Option<Figure>,
    /// A ratio whose denominator is within its noise of zero.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unstable: bool,
}

/// A finite number that is written without a fraction where it has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure(pub f64);

/// Largest magnitude up to which f64 counts every whole number.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() <= WHOLE_MAX {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self)
    }
}

/// Groups that are not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppressed {
    /// Whether groups may be missing because too few shoppers are behind them. A property of the question, not of the
    /// data: it does not tell whether any group is missing.
    pub groups: bool,
    /// The fewest noisy shoppers of a group that is shown (more than this number for keys out of private rows).
    pub floor: u64,
}

/// What was charged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeShown {
    /// ε of this answer alone at `delta`.
    pub epsilon: Figure,
    /// The agreement's δ.
    pub delta: Figure,
    /// ρ, which is what the ledger adds up.
    pub rho: Figure,
    /// The blocks charged, such as `2017-Q1`.
    pub blocks: Vec<String>,
}

/// What is left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetLeft {
    /// ε that one more question on the same blocks could cost at most.
    pub epsilon_remaining: Figure,
    /// How many more questions of this price fit.
    pub answers_like_this: u64,
}

/// How much one shopper could contribute to a measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundShown {
    /// The measure.
    pub column: String,
    /// The bound in natural units: groups for distinct shoppers, else the L2 norm over all groups.
    pub clip: Figure,
    /// Where the bound comes from.
    pub source: BoundFrom,
    /// Noisy share of shoppers whose contribution was cut, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clipped_share: Option<Figure>,
}

/// Where a bound comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoundFrom {
    /// The asker named it.
    Question,
    /// It follows from the question: a shopper counts once per group.
    Inherent,
    /// A noisy histogram of the shoppers' norms, a tenth of the charge.
    PrivateHistogram,
}

/// Under which rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyShown {
    /// Digest of the bundle that decided.
    pub bundle: Digest,
    /// The clauses that allowed it.
    pub clauses: Vec<ClauseId>,
}

/// The log's receipt: position, size of the tree that contains it, its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptShown {
    /// Position of the entry.
    pub index: u64,
    /// Entries in the tree that the receipt is about.
    pub tree_size: u64,
    /// Root of that tree.
    pub root: Digest,
    /// The signed checkpoint, three lines and a signature.
    pub checkpoint: String,
    /// The inclusion proof, from the leaf upwards.
    pub proof: Vec<Digest>,
}

impl Row {
    /// The value of a column.
    pub fn get(&self, column: &str) -> Option<&Cell> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, cell)| cell)
    }

    /// The noisy number of a column.
    pub fn value(&self, column: &str) -> Option<&NoisyValue> {
        match self.get(column) {
            Some(Cell::Value(value)) => Some(value),
            _ => None,
        }
    }

    /// The key of a column.
    pub fn key(&self, column: &str) -> Option<&Key> {
        match self.get(column) {
            Some(Cell::Key(key)) => Some(key),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, cell) in &self.0 {
            map.serialize_entry(name, cell)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one member per column")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Row(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// ε shown to people.
pub(crate) fn shown_epsilon(epsilon: MicroEpsilon) -> Figure {
    Figure(epsilon.as_f64())
}

/// ρ shown to people.
pub(crate) fn shown_rho(rho: MicroRho) -> Figure {
    Figure(rho.as_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_figures_have_no_fraction_and_rows_keep_their_order() {
        let value = NoisyValue {
            value: Some(Figure(2457.0)),
            std: Some(Figure(4.1)),
            low: Some(Figure(2449.0)),
            high: None,
            unstable: false,
        };
        let row = Row(vec![
            ("z".to_owned(), Cell::Key(Key::Text("GROCERY".to_owned()))),
            ("a".to_owned(), Cell::Value(value)),
            ("m".to_owned(), Cell::Key(Key::Null)),
        ]);
        let text = serde_json::to_string(&row).unwrap();
        let expected = r#"{"z":"GROCERY","a":{"value":2457,"std":4.1,"low":2449,"high":null},"m":null}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
    }
}
