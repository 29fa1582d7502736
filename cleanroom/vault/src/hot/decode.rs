//! From a part's batch to the hot store's columns: codes are added beside every column with a list of values.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use super::{CODE_SUFFIX, coded};
use crate::catalogue::{ColumnType, Table, UNIT_IX};
use crate::part::plain_type;
use crate::refusal::VaultRefused;

const INTERNAL: VaultRefused = VaultRefused::Internal { act: "decoding a part" };

/// Knows one table's codes.
pub(super) struct Decoder {
    schema: SchemaRef,
    columns: Vec<(String, Option<Codes>)>,
}

enum Codes {
    Texts(HashMap<String, i32>),
    Ids(HashMap<i64, i32>),
}

impl Decoder {
    pub(super) fn new(table: &Table) -> Self {
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        if table.is_private() {
            fields.push(Field::new(UNIT_IX, DataType::UInt32, false));
            columns.push((UNIT_IX.to_owned(), None));
        }
        for column in table.visible_columns() {
            fields.push(Field::new(&column.name, plain_type(column.ty), column.nullable));
            let codes = coded(column).map(|values| {
                fields.push(Field::new(format!("{}{CODE_SUFFIX}", column.name), DataType::Int32, true));
                Codes::new(column.ty, values)
            });
            columns.push((column.name.clone(), codes));
        }
        Self { schema: Arc::new(Schema::new(fields)), columns }
    }

    /// The columns to read from the parts.
    pub(super) fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub(super) fn decode(&self, batch: &RecordBatch) -> Result<RecordBatch, VaultRefused> {
        let mut arrays = Vec::with_capacity(self.schema.fields().len());
        for (name, codes) in &self.columns {
            let array = batch.column_by_name(name).ok_or(INTERNAL)?;
            arrays.push(Arc::clone(array));
            if let Some(codes) = codes {
                arrays.push(codes.of(array));
            }
        }
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|_| INTERNAL)
    }
}

impl Codes {
    fn new(ty: ColumnType, values: &[String]) -> Self {
        let numbered = || values.iter().zip(0_i32..);
        match ty {
            ColumnType::Id => {
                Self::Ids(numbered().filter_map(|(value, code)| Some((value.parse().ok()?, code))).collect())
            }
            _ => Self::Texts(numbered().map(|(value, code)| (value.clone(), code)).collect()),
        }
    }

    /// Empty where the value is; a value outside the list, which ingest lets nobody write, has no code either.
    fn of(&self, array: &ArrayRef) -> ArrayRef {
        let codes: Int32Array = match self {
            Self::Texts(codes) => match array.as_string_opt::<i32>() {
                Some(texts) => texts.iter().map(|text| codes.get(text?).copied()).collect(),
                None => Int32Array::new_null(array.len()),
            },
            Self::Ids(codes) => match array.as_primitive_opt::<Int64Type>() {
                Some(ids) => ids.iter().map(|id| codes.get(&id?).copied()).collect(),
                None => Int32Array::new_null(array.len()),
            },
        };
        Arc::new(codes)
    }
}
