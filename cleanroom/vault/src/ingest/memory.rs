//! Arrow batches in memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::DataType;

use super::cells::ColumnIntake;
use super::parquet_file::{push_array, unfit};
use super::source::{BadCell, CHUNK_ROWS, Chunk, Given, Places, intakes, match_columns};
use crate::catalogue::{Catalogue, Table, UNIT_IX, UNIT_PSEUDONYM, UnitSource};
use crate::part::plain_type;
use crate::refusal::VaultRefused;

/// Bytes of a pseudonym.
const PSEUDONYM_BYTES: i32 = 32;

/// Reads all batches; stops when `each` refuses. `name` is what messages call them.
pub(super) fn read(
    catalogue: &Catalogue,
    table: &Table,
    name: &str,
    batches: &[RecordBatch],
    each: &mut dyn FnMut(Chunk) -> Result<(), VaultRefused>,
) -> Result<(), VaultRefused> {
    let mut columns = intakes(catalogue, table);
    let mut first = 1;
    for batch in batches {
        let given = given(table, name, batch)?;
        for start in (0..batch.num_rows()).step_by(CHUNK_ROWS) {
            let rows = CHUNK_ROWS.min(batch.num_rows() - start);
            each(chunk(table, name, &batch.slice(start, rows), given, &mut columns, first)?)?;
            first += rows as u64;
        }
    }
    Ok(())
}

fn chunk(
    table: &Table,
    name: &str,
    batch: &RecordBatch,
    given: Option<&'static str>,
    intakes: &mut [ColumnIntake],
    first: u64,
) -> Result<Chunk, VaultRefused> {
    let missing = || VaultRefused::file(name, "its batches differ in their columns");
    let mut bad = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(table.columns.len());
    for (at, (intake, column)) in intakes.iter_mut().zip(&table.columns).enumerate() {
        if given.is_some() && table.is_unit_column(column) {
            columns.push(new_null_array(&plain_type(column.ty), batch.num_rows()));
            continue;
        }
        let array = batch.column_by_name(&column.source).ok_or_else(missing)?;
        push_array(array, intake, &mut |row, reason| bad.push(BadCell { row, column: Some(at), reason }))
            .ok_or_else(|| unfit(name, column, array.data_type()))?;
        columns.push(intake.finish());
    }
    let given = match given {
        None => None,
        Some(column) => {
            let array = Arc::clone(batch.column_by_name(column).ok_or_else(missing)?);
            Some(if column == UNIT_IX { Given::Units(array) } else { Given::Pseudonyms(array) })
        }
    };
    Ok(Chunk { columns, rows: batch.num_rows(), places: Places::From(first), bad, odd: Vec::new(), given })
}

/// The column that says whose the rows are in the vault's own terms, if there is one; refuses a batch whose columns are
/// not those of the table.
fn given(table: &Table, name: &str, batch: &RecordBatch) -> Result<Option<&'static str>, VaultRefused> {
    let schema = batch.schema();
    let mut names: Vec<String> = Vec::new();
    let mut given = None;
    for field in schema.fields() {
        let (column, expected) = match field.name().as_str() {
            UNIT_IX => (UNIT_IX, DataType::UInt32),
            UNIT_PSEUDONYM => (UNIT_PSEUDONYM, DataType::FixedSizeBinary(PSEUDONYM_BYTES)),
            other => {
                names.push(other.to_owned());
                continue;
            }
        };
        if *field.data_type() != expected {
            return Err(VaultRefused::file(name, format!("column `{column}` is not {expected}")));
        }
        if given.replace(column).is_some() {
            return Err(VaultRefused::file(name, "two columns say whose the rows are"));
        }
    }
    if let Some(column) = given {
        // It stands for the unit column, which must then be absent; `match_columns` refuses a name that is there twice.
        let Some(UnitSource::Column(unit)) = table.unit_source() else {
            let reason = format!("table `{}` finds its shoppers otherwise than by `{column}`", table.name);
            return Err(VaultRefused::file(name, reason));
        };
        let unit = table.column(unit).map(|unit| unit.source.clone());
        names.push(unit.ok_or(VaultRefused::Internal { act: "finding the unit column" })?);
    }
    match_columns(table, name, &names)?;
    Ok(given)
}
