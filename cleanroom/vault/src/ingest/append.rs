//! Rows handed over in memory: what the house itself makes (assignments, exposures, redemptions) and what arrives over
//! the network. They take the same way as files, so every rule of a load holds for them.

use std::fmt;
use std::io::Read;

use arrow::array::{Array, AsArray, RecordBatch};
use ids::Digest;
use ring::digest::{Context, SHA256};
use zeroize::Zeroizing;

use super::cells::Cell;
use super::parquet_file::for_each_cell;
use super::source::{Content, Source, Sources};
use super::{IngestOptions, IngestReport, Progress};
use crate::part::finish_digest;
use crate::refusal::VaultRefused;
use crate::store::Vault;

/// Rows of one table in memory.
///
/// Batches name their columns as files do. Whose a row is may be said in one of three ways: by the unit key, as in files;
/// by a column [`crate::UNIT_IX`] of UInt32 positions; or by a column [`crate::UNIT_PSEUDONYM`] of 32-byte pseudonyms. The
/// latter two find known shoppers only and never make one.
pub struct Rows {
    table: String,
    name: String,
    content: Content,
    key: Option<Digest>,
}

impl Rows {
    /// Arrow batches of one schema.
    pub fn batches(table: &str, batches: Vec<RecordBatch>) -> Self {
        Self::new(table, Content::Batches(batches))
    }

    /// The text of a CSV file with a header line, read whole into memory and wiped when the rows are dropped.
    ///
    /// # Errors
    /// When the reader fails, or has more than `bytes_max` bytes.
    pub fn csv(table: &str, reader: impl Read, bytes_max: u64) -> Result<Self, VaultRefused> {
        let mut text = Zeroizing::new(Vec::new());
        let read = reader.take(bytes_max.saturating_add(1)).read_to_end(&mut text);
        let read = read.map_err(|_| VaultRefused::file(table, "the rows cannot be read to their end"))?;
        if read as u64 > bytes_max {
            return Err(VaultRefused::file(table, format!("the rows take more than {bytes_max} bytes")));
        }
        Ok(Self::new(table, Content::Csv(text)))
    }

    fn new(table: &str, content: Content) -> Self {
        Self { table: table.to_owned(), name: format!("rows for {table}"), content, key: None }
    }

    /// What messages call them; without it, `rows for` and the table.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// Names the load: whatever comes under the same key for the same table is taken for the same rows and skipped.
    /// Without a key the content itself decides, and then two loads with equal content are one.
    #[must_use]
    pub fn once(self, key: Digest) -> Self {
        Self { key: Some(key), ..self }
    }

    fn into_source(self) -> Result<(String, Source), VaultRefused> {
        let Self { table, name, content, key } = self;
        let content_digest = match (&key, &content) {
            (Some(key), _) => Digest::of_parts(&[b"cleanroom/load-key/v1", key.as_bytes()]),
            (None, Content::Csv(text)) => Digest::of(text),
            (None, Content::Batches(batches)) => digest_batches(&name, batches)?,
            (None, Content::File(_)) => return Err(VaultRefused::Internal { act: "naming rows in memory" }),
        };
        let digest = Digest::of_parts(&[table.as_bytes(), content_digest.as_bytes()]);
        Ok((table, Source { name, digest, content }))
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Vault {
    /// Loads rows from memory into a new snapshot, all of them or none. As [`Vault::ingest`] in everything: types, domains
    /// and bounds are checked, digests make it idempotent, nothing is written in plain.
    ///
    /// # Errors
    /// As [`Vault::ingest`]; the vault is then as it was.
    pub fn append(
        &mut self,
        rows: Vec<Rows>,
        options: &IngestOptions,
        progress: &dyn Progress,
    ) -> Result<IngestReport, VaultRefused> {
        let mut sources = Sources::new();
        for rows in rows {
            let (table, source) = rows.into_source()?;
            if self.catalogue().table(&table).is_none() {
                return Err(VaultRefused::NoTable { table });
            }
            sources.entry(table).or_default().push(source);
        }
        self.load(options, progress, move |_| Ok(sources))
    }
}

/// Digest of what batches say, column by column: how the rows are cut into batches, and in which width a number is held,
/// makes no difference.
fn digest_batches(name: &str, batches: &[RecordBatch]) -> Result<Digest, VaultRefused> {
    let schema = batches.first().map(RecordBatch::schema);
    let Some(schema) = schema else { return Ok(Digest::of(b"")) };
    let mut columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    columns.sort_unstable();
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for column in columns {
        let mut context = Context::new(&SHA256);
        for batch in batches {
            let array = batch.column_by_name(column);
            let array =
                array.ok_or_else(|| VaultRefused::file(name, "its batches differ in their columns"))?;
            if let Some(bytes) = array.as_fixed_size_binary_opt() {
                for row in bytes {
                    feed(&mut context, 8, row.unwrap_or_default());
                }
                continue;
            }
            for_each_cell(array, |cell| match cell {
                None => feed(&mut context, 9, &[]),
                Some(Cell::Empty) => feed(&mut context, 0, &[]),
                Some(Cell::Int(value)) => feed(&mut context, 1, &value.to_le_bytes()),
                Some(Cell::Float(value)) => feed(&mut context, 2, &value.to_bits().to_le_bytes()),
                Some(Cell::Decimal(value, digits)) => {
                    feed(&mut context, 3, &value.to_le_bytes());
                    context.update(&[digits]);
                }
                Some(Cell::Text(text)) => feed(&mut context, 4, text.as_bytes()),
                Some(Cell::Bool(value)) => feed(&mut context, 5, &[u8::from(value)]),
                Some(Cell::Days(days)) => feed(&mut context, 6, &days.to_le_bytes()),
                Some(Cell::Micros(micros)) => feed(&mut context, 7, &micros.to_le_bytes()),
            })
            .ok_or_else(|| {
                let reason =
                    format!("column `{column}` holds {}, which no column can take", array.data_type());
                VaultRefused::file(name, reason)
            })?;
        }
        parts.push(column.as_bytes().to_vec());
        parts.push(finish_digest(context).as_bytes().to_vec());
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Ok(Digest::of_parts(&parts))
}

/// Kind, length, bytes: nothing runs together.
fn feed(context: &mut Context, kind: u8, bytes: &[u8]) {
    context.update(&[kind]);
    context.update(&(bytes.len() as u64).to_le_bytes());
    context.update(bytes);
}
