//! From a key of a parent table to the shopper its row belongs to: how `lines` find theirs through `baskets`.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, UInt32Type};

use crate::catalogue::{Catalogue, UNIT_IX};
use crate::refusal::VaultRefused;

/// Stands for a parent row that was left out because it has no shopper.
const LEFT_OUT: u32 = u32::MAX;

/// What a parent's key leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// This shopper.
    Unit(u32),
    /// A row that was left out.
    LeftOut,
    /// There is no such row.
    Unknown,
}

/// The keys of one column of one parent table.
#[derive(Debug, Default)]
pub(super) struct KeyOwners {
    ids: HashMap<i64, u32>,
    texts: HashMap<String, u32>,
}

/// The keys of all parent tables, by table and column.
#[derive(Debug, Default)]
pub(super) struct Links(BTreeMap<(String, String), KeyOwners>);

impl Links {
    /// Empty maps for the columns that unit paths lead through.
    pub(super) fn new(catalogue: &Catalogue) -> Self {
        let parents = catalogue.tables().iter().filter_map(|table| table.parent());
        Self(parents.map(|fk| ((fk.table.clone(), fk.key.clone()), KeyOwners::default())).collect())
    }

    /// The key columns of a table that others find their shopper through.
    pub(super) fn columns_of(&self, table: &str) -> Vec<String> {
        self.0.keys().filter(|(parent, _)| parent == table).map(|(_, column)| column.clone()).collect()
    }

    pub(super) fn owners(&self, table: &str, column: &str) -> Option<&KeyOwners> {
        self.0.get(&(table.to_owned(), column.to_owned()))
    }

    pub(super) fn owners_mut(&mut self, table: &str, column: &str) -> Option<&mut KeyOwners> {
        self.0.get_mut(&(table.to_owned(), column.to_owned()))
    }
}

impl KeyOwners {
    /// Whom the row with the key at `row` of `keys` belongs to; `None` if that key is empty.
    pub(super) fn find(&self, keys: &ArrayRef, row: usize) -> Option<Owner> {
        if keys.is_null(row) {
            return None;
        }
        let found = match keys.data_type() {
            DataType::Int64 => self.ids.get(&keys.as_primitive::<Int64Type>().value(row)),
            DataType::Utf8 => self.texts.get(keys.as_string::<i32>().value(row)),
            _ => None,
        };
        Some(match found {
            None => Owner::Unknown,
            Some(&LEFT_OUT) => Owner::LeftOut,
            Some(&unit) => Owner::Unit(unit),
        })
    }

    /// Notes the rows of a sealed part: `unit_ix` and the key column.
    pub(super) fn load(&mut self, batch: &RecordBatch, column: &str) -> Result<(), VaultRefused> {
        let internal = VaultRefused::Internal { act: "following a foreign key" };
        let (units, keys) = (batch.column_by_name(UNIT_IX), batch.column_by_name(column));
        let (Some(units), Some(keys)) = (units.and_then(|u| u.as_primitive_opt::<UInt32Type>()), keys) else {
            return Err(internal);
        };
        for (row, &unit) in units.values().iter().enumerate() {
            self.insert(keys, row, Some(unit));
        }
        Ok(())
    }

    /// Notes a parent row (`None`: left out). False if its key is already another shopper's.
    pub(super) fn insert(&mut self, keys: &ArrayRef, row: usize, unit: Option<u32>) -> bool {
        if keys.is_null(row) {
            return true;
        }
        let unit = unit.unwrap_or(LEFT_OUT);
        let known = match keys.data_type() {
            DataType::Int64 => *self.ids.entry(keys.as_primitive::<Int64Type>().value(row)).or_insert(unit),
            DataType::Utf8 => {
                let key = keys.as_string::<i32>().value(row);
                match self.texts.get(key) {
                    Some(&known) => known,
                    None => {
                        self.texts.insert(key.to_owned(), unit);
                        unit
                    }
                }
            }
            _ => unit,
        };
        known == unit
    }
}
