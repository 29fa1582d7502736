//! Everything the vault holds about one shopper (GDPR art. 15): for the one deliberate way out of plaintext.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use chrono::DateTime;
use ids::{Date, UnitIx};
use serde_json::{Map, Value};

use crate::catalogue::{Column, ColumnType, Table, UNIT_IX};
use crate::ingest::identifiers::Held;
use crate::refusal::VaultRefused;
use crate::store::Vault;

const INTERNAL: VaultRefused = VaultRefused::Internal { act: "collecting a shopper's rows" };

/// What the vault holds about one shopper, decrypted. It is personal data through and through: `Debug` tells nothing.
pub struct Subject {
    /// One entry per private table of the catalogue, also the empty ones, so that it can be seen that none was left out.
    pub tables: Vec<SubjectTable>,
}

/// The shopper's rows of one table.
pub struct SubjectTable {
    /// The table.
    pub table: String,
    /// One JSON object per row: column names as in the catalogue, amounts as decimal text, times in ISO 8601.
    pub rows: Vec<Map<String, Value>>,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subject(redacted)")
    }
}

impl std::fmt::Debug for SubjectTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SubjectTable({}, redacted)", self.table)
    }
}

impl Vault {
    /// Collects and decrypts all rows of one shopper, direct identifiers included. The unit key is not among them: the vault
    /// does not hold it.
    ///
    /// # Errors
    /// A position that is nobody's, or a part that does not open.
    pub fn subject(&self, unit: UnitIx) -> Result<Subject, VaultRefused> {
        if unit.0 >= self.units() || self.manifest.erased_units.contains(&unit.0) {
            return Err(VaultRefused::NoShopper);
        }
        let private = self.catalogue().tables().iter().filter(|table| table.is_private());
        let tables = private.map(|table| {
            let rows = self.rows_of(table, unit.0)?;
            Ok(SubjectTable { table: table.name.clone(), rows })
        });
        Ok(Subject { tables: tables.collect::<Result<_, VaultRefused>>()? })
    }

    fn rows_of(&self, table: &Table, unit: u32) -> Result<Vec<Map<String, Value>>, VaultRefused> {
        let mut rows = Vec::new();
        for entry in self.manifest.parts_of(&table.name) {
            if !(entry.units.0..=entry.units.1).contains(&unit) {
                continue;
            }
            self.read_plain(table, entry, &mut |batch| {
                let units = batch.column_by_name(UNIT_IX).and_then(|a| a.as_primitive_opt::<UInt32Type>());
                let theirs: BooleanArray =
                    units.ok_or(INTERNAL)?.values().iter().map(|ix| Some(*ix == unit)).collect();
                if theirs.true_count() == 0 {
                    return Ok(());
                }
                let batch = filter_record_batch(&batch, &theirs).map_err(|_| INTERNAL)?;
                for row in 0..batch.num_rows() {
                    let mut object = Map::new();
                    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
                        if let Some(column) = table.column(field.name()) {
                            object.insert(column.name.clone(), value(column, array, row).ok_or(INTERNAL)?);
                        }
                    }
                    rows.push(object);
                }
                Ok(())
            })?;
        }
        Ok(rows)
    }
}

/// One value for people; `None` if the array is not of the column's type.
fn value(column: &Column, array: &ArrayRef, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return Some(Value::Null);
    }
    let int = || Some(array.as_primitive_opt::<Int64Type>()?.value(row));
    Some(match column.ty {
        ColumnType::Id | ColumnType::Int => Value::from(int()?),
        ColumnType::Money { scale } => Value::from(amount(int()?, scale)),
        ColumnType::Text => {
            let text = array.as_string_opt::<i32>()?.value(row);
            Value::from(if column.direct_identifier { Held::of_marked(text).text() } else { text })
        }
        ColumnType::Bool => Value::from(array.as_boolean_opt()?.value(row)),
        ColumnType::Date => {
            Value::from(Date::from_days(array.as_primitive_opt::<Date32Type>()?.value(row)).to_string())
        }
        ColumnType::Timestamp => {
            let micros = array.as_primitive_opt::<TimestampMicrosecondType>()?.value(row);
            Value::from(DateTime::from_timestamp_micros(micros)?.format("%Y-%m-%dT%H:%M:%S%.6f").to_string())
        }
    })
}

/// An amount of minor units as people write it.
fn amount(minor: i64, scale: u8) -> String {
    let (sign, digits) = (if minor < 0 { "-" } else { "" }, minor.unsigned_abs());
    let unit = 10_u64.pow(u32::from(scale));
    match scale {
        0 => format!("{sign}{digits}"),
        _ => format!("{sign}{}.{:0width$}", digits / unit, digits % unit, width = usize::from(scale)),
    }
}

#[cfg(test)]
mod tests {
    use super::amount;

    #[test]
    fn amounts_are_written_with_all_their_digits() {
        for (minor, scale, text) in
            [(1250, 2, "12.50"), (-5, 2, "-0.05"), (7, 0, "7"), (i64::MIN, 1, "-922337203685477580.8")]
        {
            assert_eq!(amount(minor, scale), text);
        }
    }
}
