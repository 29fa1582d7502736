//! CSV: a header line, commas, quotes as in RFC 4180, UTF-8 with or without a byte order mark.

use std::io::Read;

use csv::{ByteRecord, ReaderBuilder};

use super::cells::{Cell, ColumnIntake};
use super::source::{BadCell, CHUNK_ROWS, Chunk, Places, intakes, match_columns};
use crate::catalogue::{Catalogue, Table};
use crate::refusal::VaultRefused;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Reads the whole text; stops when `each` refuses. `name` is what messages call it.
pub(super) fn read(
    catalogue: &Catalogue,
    table: &Table,
    name: &str,
    file: impl Read,
    each: &mut dyn FnMut(Chunk) -> Result<(), VaultRefused>,
) -> Result<(), VaultRefused> {
    let mut reader = ReaderBuilder::new().flexible(true).buffer_capacity(BUFFER_BYTES).from_reader(file);
    let unreadable = |_| VaultRefused::file(name, "it cannot be read as CSV");
    let header = reader.headers().map_err(|_| VaultRefused::file(name, "its header line is not UTF-8"))?;
    let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
    let positions = match_columns(table, name, &names)?;
    let mut columns = intakes(catalogue, table);
    let mut record = ByteRecord::new();
    loop {
        let (mut lines, mut bad) = (Vec::with_capacity(CHUNK_ROWS), Vec::new());
        while lines.len() < CHUNK_ROWS && reader.read_byte_record(&mut record).map_err(unreadable)? {
            if record.len() == names.len() {
                push_row(&record, &positions, &mut columns, lines.len(), &mut bad);
            } else {
                let reason = format!("has {} fields where the header has {}", record.len(), names.len());
                bad.push(BadCell { row: lines.len(), column: None, reason });
                // The row is listed once; its cells only keep the columns in step.
                columns.iter_mut().for_each(|column| drop(column.push(Cell::Empty)));
            }
            lines.push(record.position().map_or(0, csv::Position::line));
        }
        if lines.is_empty() {
            return Ok(());
        }
        let rows = lines.len();
        let columns = columns.iter_mut().map(ColumnIntake::finish).collect();
        each(Chunk { columns, rows, places: Places::Lines(lines), bad, odd: Vec::new(), given: None })?;
    }
}

fn push_row(
    record: &ByteRecord,
    positions: &[usize],
    columns: &mut [ColumnIntake],
    row: usize,
    bad: &mut Vec<BadCell>,
) {
    for (at, (column, &position)) in columns.iter_mut().zip(positions).enumerate() {
        let field = record.get(position).unwrap_or_default();
        let pushed = match std::str::from_utf8(field) {
            Ok(text) => column.push(Cell::Text(text)),
            Err(_) => column.push(Cell::Empty).and(Err("is not UTF-8".to_owned())),
        };
        if let Err(reason) = pushed {
            bad.push(BadCell { row, column: Some(at), reason });
        }
    }
}
