//! Noisy totals as they are kept: whole numbers after noise, with what is known of their error.

use ids::Date;
use serde::{Deserialize, Serialize};
use sql::{KeyValue, NoisyCell, NoisyRow, NoisyTable};

use crate::release::BoundFrom;

/// The noisy base measures of one release. Stored, so that an equal question is answered from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoisyMeasures {
    /// In the order of every row's values.
    pub measures: Vec<NoisyMeasure>,
    /// The groups that may be shown at all: all public ones, or the private ones past the threshold.
    pub groups: Vec<NoisyGroup>,
}

/// One measure after noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoisyMeasure {
    /// In canonical form.
    pub name: String,
    /// Decimals of its smallest unit.
    pub decimals: u8,
    /// σ of its noise, in its smallest unit.
    pub sigma: f64,
    /// The bound, in its smallest unit.
    pub bound: u64,
    /// Where the bound came from.
    pub from: BoundFrom,
    /// Noisy share of shoppers beyond it.
    pub clipped_share: Option<f64>,
    /// What clipping may have done.
    pub clipping: Clipped,
}

/// What clipping may have done to a number, in its smallest unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Clipped {
    /// Nothing.
    Nothing,
    /// Perhaps more than the interval covers; the estimate where there is one.
    MayExceed { estimate: Option<f64> },
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoisyGroup {
    /// One per key.
    pub keys: Vec<StoredKey>,
    /// One per measure, in its smallest unit; text, because JSON has no integers of 128 bits.
    pub values: Vec<String>,
}

/// A key value as JSON that tells types apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoredKey {
    /// No value.
    Null,
    /// False or true.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A day.
    Date(Date),
    /// Text.
    Text(String),
}

impl From<&KeyValue> for StoredKey {
    fn from(value: &KeyValue) -> Self {
        match value {
            KeyValue::Null => Self::Null,
            KeyValue::Bool(value) => Self::Bool(*value),
            KeyValue::Int(value) => Self::Int(*value),
            KeyValue::Date(value) => Self::Date(*value),
            KeyValue::Text(value) => Self::Text(value.clone()),
        }
    }
}

impl From<&StoredKey> for KeyValue {
    fn from(value: &StoredKey) -> Self {
        match value {
            StoredKey::Null => Self::Null,
            StoredKey::Bool(value) => Self::Bool(*value),
            StoredKey::Int(value) => Self::Int(*value),
            StoredKey::Date(value) => Self::Date(*value),
            StoredKey::Text(value) => Self::Text(value.clone()),
        }
    }
}

impl NoisyMeasure {
    /// How many smallest units make one.
    pub(crate) fn unit(&self) -> f64 {
        10_f64.powi(i32::from(self.decimals))
    }

    /// Standard deviation of the noise, in natural units.
    fn std(&self) -> f64 {
        self.sigma / self.unit()
    }
}

impl NoisyGroup {
    /// The noisy number of a measure, in its smallest unit.
    pub(crate) fn value(&self, measure: usize) -> Option<i128> {
        self.values.get(measure)?.parse().ok()
    }
}

impl NoisyMeasures {
    /// The first `measures` measures of all groups that `shown` keeps, in natural units, for post-processing.
    pub(crate) fn table(&self, measures: usize, shown: impl Fn(&NoisyGroup) -> bool) -> NoisyTable {
        let row = |group: &NoisyGroup| {
            let cells = self.measures.iter().take(measures).enumerate();
            NoisyRow {
                keys: group.keys.iter().map(KeyValue::from).collect(),
                cells: cells.map(|(at, measure)| cell(measure, group.value(at))).collect(),
            }
        };
        NoisyTable { rows: self.groups.iter().filter(|group| shown(group)).map(row).collect() }
    }
}

fn cell(measure: &NoisyMeasure, value: Option<i128>) -> NoisyCell {
    NoisyCell { value: value.unwrap_or(0) as f64 / measure.unit(), std: measure.std() }
}
