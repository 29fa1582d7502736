//! Parquet files of others.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::cells::{Cell, ColumnIntake};
use super::source::{BadCell, CHUNK_ROWS, Chunk, Places, intakes, match_columns};
use crate::catalogue::{Catalogue, Column, Table};
use crate::refusal::VaultRefused;

/// Number of rows the file says it has.
pub(super) fn rows(path: &Path) -> Option<u64> {
    let file = File::open(path).ok()?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).ok()?;
    u64::try_from(builder.metadata().file_metadata().num_rows()).ok()
}

/// Reads the whole file; stops when `each` refuses. `name` is what messages call it.
pub(super) fn read(
    catalogue: &Catalogue,
    table: &Table,
    name: &str,
    file: File,
    each: &mut dyn FnMut(Chunk) -> Result<(), VaultRefused>,
) -> Result<(), VaultRefused> {
    let damaged =
        || VaultRefused::file(name, "it is no complete Parquet file: truncated, damaged or encrypted");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|_| damaged())?;
    let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    match_columns(table, name, &names)?;
    let wanted = table.columns.iter().map(|column| column.source.as_str());
    let mask = ProjectionMask::columns(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).with_batch_size(CHUNK_ROWS).build().map_err(|_| damaged())?;
    let mut columns = intakes(catalogue, table);
    let mut first = 1;
    for batch in reader {
        let batch = batch.map_err(|_| damaged())?;
        let mut bad = Vec::new();
        for (at, (intake, column)) in columns.iter_mut().zip(&table.columns).enumerate() {
            let array = batch.column_by_name(&column.source).ok_or_else(damaged)?;
            push_array(array, intake, &mut |row, reason| bad.push(BadCell { row, column: Some(at), reason }))
                .ok_or_else(|| unfit(name, column, array.data_type()))?;
        }
        let rows = batch.num_rows();
        let columns = columns.iter_mut().map(ColumnIntake::finish).collect();
        each(Chunk { columns, rows, places: Places::From(first), bad, odd: Vec::new(), given: None })?;
        first += rows as u64;
    }
    Ok(())
}

/// The refusal of an array whose type has no cells for this column.
pub(super) fn unfit(name: &str, column: &Column, kind: &DataType) -> VaultRefused {
    let reason = format!("column `{}` holds {kind}, which cannot become {}", column.source, column.ty.word());
    VaultRefused::file(name, reason)
}

/// `None` where the array's type has no cells.
pub(super) fn push_array(
    array: &ArrayRef,
    intake: &mut ColumnIntake,
    bad: &mut dyn FnMut(usize, String),
) -> Option<()> {
    let mut at = 0;
    for_each_cell(array, |cell| {
        let pushed = match cell {
            Some(cell) => intake.push(cell),
            None => intake.push(Cell::Empty).and(Err("is beyond the range of its type".to_owned())),
        };
        if let Err(reason) = pushed {
            bad(at, reason);
        }
        at += 1;
    })
}

/// All values of an array in order, as cells; a value that no cell can hold is `None`. `None` where the array's type has
/// no cells at all.
pub(super) fn for_each_cell(array: &ArrayRef, mut each: impl FnMut(Option<Cell<'_>>)) -> Option<()> {
    let wide = widen(array)?;
    let beyond = wide.null_count() != array.null_count();
    let mut push = |row: usize, cell: Option<Cell<'_>>| match cell {
        None if beyond && array.is_valid(row) => each(None),
        cell => each(Some(cell.unwrap_or(Cell::Empty))),
    };
    macro_rules! push_all {
        ($values:expr, $cell:expr) => {
            $values.iter().enumerate().for_each(|(row, value)| push(row, value.map($cell)))
        };
    }
    match wide.data_type() {
        DataType::Int64 => push_all!(wide.as_primitive::<Int64Type>(), Cell::Int),
        DataType::Float64 => push_all!(wide.as_primitive::<Float64Type>(), Cell::Float),
        // The shortest decimal that is this float is what was written into it.
        DataType::Float32 => push_all!(wide.as_primitive::<Float32Type>(), |value: f32| {
            Cell::Float(value.to_string().parse().unwrap_or(f64::NAN))
        }),
        DataType::Decimal128(_, scale) => {
            let digits = u8::try_from(*scale).ok()?;
            push_all!(wide.as_primitive::<Decimal128Type>(), |value| Cell::Decimal(value, digits));
        }
        DataType::Utf8 => push_all!(wide.as_string::<i32>(), Cell::Text),
        DataType::Boolean => push_all!(wide.as_boolean(), Cell::Bool),
        DataType::Date32 => push_all!(wide.as_primitive::<Date32Type>(), Cell::Days),
        DataType::Timestamp(..) => push_all!(wide.as_primitive::<TimestampMicrosecondType>(), Cell::Micros),
        _ => return None,
    }
    Some(())
}

/// The same values in the widest type of their kind; a value that does not fit becomes empty.
fn widen(array: &ArrayRef) -> Option<ArrayRef> {
    let target = match array.data_type() {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            DataType::Int64
        }
        DataType::UInt32 | DataType::UInt64 | DataType::Int64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Dictionary(_, values) if matches!(**values, DataType::Utf8 | DataType::LargeUtf8) => {
            DataType::Utf8
        }
        DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => DataType::Decimal128(38, *scale),
        other => other.clone(),
    };
    if target == *array.data_type() { Some(array.clone()) } else { cast(array, &target).ok() }
}
