//! Sealed parts: Parquet files under Modular Encryption (Apache Parquet format, Encryption.md), AES-256-GCM with an
//! encrypted footer and one key per file. The AAD prefix names dataset, table, snapshot and part and is not stored, so
//! that a file opens only where it belongs. Any reader that follows the standard opens one, given key and prefix.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use ids::Digest;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::encryption::decrypt::FileDecryptionProperties;
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::catalogue::{Column, ColumnType, Table, UNIT_IX};
use crate::disk::DiskFile;
use crate::keys::Key;

/// Rows of one row group: large enough to encode well, small enough that two of them decode in little memory.
const ROW_GROUP_ROWS: usize = 1 << 18;

/// Rows of one batch on the way in and out; a multiple of DuckDB's vector of 2,048.
pub(crate) const BATCH_ROWS: usize = 1 << 15;

/// Rows the encoder takes at a time.
const WRITE_BATCH_ROWS: usize = 8192;

/// Why a part was not written.
#[derive(Debug)]
pub(crate) enum WriteFailed {
    Disk(io::Error),
    Encoding,
}

/// Why a part was not read: it does not open with this key at this place, or is no Parquet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadFailed;

/// Columns of a table's parts: `unit_ix` first if it is private; no unit key; direct identifiers as sealed bytes.
pub(crate) fn stored_schema(table: &Table) -> SchemaRef {
    let unit = table.is_private().then(|| Field::new(UNIT_IX, DataType::UInt32, false));
    let columns =
        stored_columns(table).map(|column| Field::new(&column.name, stored_type(column), column.nullable));
    Arc::new(Schema::new(unit.into_iter().chain(columns).collect::<Vec<_>>()))
}

/// The columns that parts hold, in order.
pub(crate) fn stored_columns(table: &Table) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter(|column| !table.is_unit_column(column))
}

fn stored_type(column: &Column) -> DataType {
    if column.direct_identifier { DataType::Binary } else { plain_type(column.ty) }
}

/// The Arrow type of a column's plain values.
pub(crate) const fn plain_type(ty: ColumnType) -> DataType {
    match ty {
        ColumnType::Id | ColumnType::Int | ColumnType::Money { .. } => DataType::Int64,
        ColumnType::Text => DataType::Utf8,
        ColumnType::Bool => DataType::Boolean,
        ColumnType::Date => DataType::Date32,
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

/// Bytes and digest of a written file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
}

/// A part being written.
pub(crate) struct PartWriter {
    writer: ArrowWriter<Digesting>,
}

impl PartWriter {
    /// Begins a part; without a key it is left unsealed, which only the benchmark may ask for.
    pub(crate) fn new(
        file: Box<dyn DiskFile>,
        schema: SchemaRef,
        key: Option<(&Key, &str)>,
    ) -> Result<Self, WriteFailed> {
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(|_| WriteFailed::Encoding)?))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_write_batch_size(WRITE_BATCH_ROWS)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_offset_index_disabled(true);
        if let Some((key, place)) = key {
            // `parquet` keeps its own copy of the key and does not wipe it; it lives as long as the writer.
            let sealed = FileEncryptionProperties::builder(key.as_bytes().to_vec())
                .with_aad_prefix(place.as_bytes().to_vec())
                .with_aad_prefix_storage(false)
                .build()
                .map_err(|_| WriteFailed::Encoding)?;
            properties = properties.with_file_encryption_properties(sealed);
        }
        let file = Digesting::new(file);
        let writer = ArrowWriter::try_new(file, schema, Some(properties.build()))
            .map_err(|_| WriteFailed::Encoding)?;
        Ok(Self { writer })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteFailed> {
        let written = self.writer.write(batch);
        written.map_err(|_| self.failure())
    }

    /// Writes the footer and returns when everything is on the medium.
    pub(crate) fn finish(mut self) -> Result<Written, WriteFailed> {
        let finished = self.writer.finish();
        finished.map_err(|_| self.failure())?;
        let file = self.writer.inner_mut();
        file.inner.sync().map_err(WriteFailed::Disk)?;
        Ok(file.written())
    }

    /// The disk's own error if there was one; `parquet` wraps it beyond recognition.
    fn failure(&mut self) -> WriteFailed {
        self.writer.inner_mut().failed.take().map_or(WriteFailed::Encoding, WriteFailed::Disk)
    }
}

/// Counts and digests what goes through it, and remembers why writing failed.
struct Digesting {
    inner: Box<dyn DiskFile>,
    digest: ring::digest::Context,
    bytes: u64,
    failed: Option<io::Error>,
}

impl Digesting {
    fn new(inner: Box<dyn DiskFile>) -> Self {
        Self { inner, digest: ring::digest::Context::new(&ring::digest::SHA256), bytes: 0, failed: None }
    }

    fn written(&self) -> Written {
        Written { bytes: self.bytes, digest: finish_digest(self.digest.clone()) }
    }

    fn remember(&mut self, error: io::Error) -> io::Error {
        let copy = io::Error::from(error.kind());
        self.failed = Some(error);
        copy
    }
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes).map_err(|error| self.remember(error))?;
        self.digest.update(bytes.get(..written).unwrap_or(bytes));
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().map_err(|error| self.remember(error))
    }
}

/// The digest of everything fed to a SHA-256 context.
pub(crate) fn finish_digest(context: ring::digest::Context) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Digest::from_bytes(bytes)
}

/// Opens a part held in memory; `columns` are the names to decode, or all.
pub(crate) fn read_part(
    bytes: Vec<u8>,
    key: Option<(&Key, &str)>,
    columns: Option<&[&str]>,
) -> Result<ParquetRecordBatchReader, ReadFailed> {
    let mut options = ArrowReaderOptions::new();
    if let Some((key, place)) = key {
        let opened = FileDecryptionProperties::builder(key.as_bytes().to_vec())
            .with_aad_prefix(place.as_bytes().to_vec())
            .build()
            .map_err(|_| ReadFailed)?;
        options = options.with_file_decryption_properties(opened);
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(parquet_bytes(bytes), options);
    let mut builder = builder.map_err(|_| ReadFailed)?.with_batch_size(BATCH_ROWS);
    if let Some(columns) = columns {
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    builder.build().map_err(|_| ReadFailed)
}

fn parquet_bytes(bytes: Vec<u8>) -> bytes::Bytes {
    bytes::Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, SystemDisk};
    use arrow::array::{ArrayRef, Int64Array};
    use ids::SystemEntropy;

    fn batch(rows: i64) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
        let values: ArrayRef =
            Arc::new(Int64Array::from_iter((0..rows).map(|i| (i % 7 != 0).then_some(i * i))));
        RecordBatch::try_new(schema, vec![values]).unwrap()
    }

    #[test]
    fn a_part_opens_with_its_key_at_its_place_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.parquet");
        let key = Key::generate(&SystemEntropy::new()).unwrap();
        let batch = batch(100_000);
        let file = SystemDisk.create(&path).unwrap();
        let mut writer = PartWriter::new(file, batch.schema(), Some((&key, "d/t/1/p"))).unwrap();
        writer.write(&batch).unwrap();
        let written = writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((written.bytes, written.digest), (bytes.len() as u64, Digest::of(&bytes)));

        let read = |bytes: &[u8], key: Option<(&Key, &str)>| -> Result<usize, ReadFailed> {
            read_part(bytes.to_vec(), key, None)?
                .try_fold(0, |n, b| b.map(|b| n + b.num_rows()).map_err(|_| ReadFailed))
        };
        assert_eq!(read(&bytes, Some((&key, "d/t/1/p"))), Ok(100_000));
        assert_eq!(read(&bytes, Some((&key, "d/t/1/q"))), Err(ReadFailed), "another place");
        let other = Key::generate(&SystemEntropy::new()).unwrap();
        assert_eq!(read(&bytes, Some((&other, "d/t/1/p"))), Err(ReadFailed), "another key");
        assert_eq!(read(&bytes, None), Err(ReadFailed), "no key");
        assert_eq!(read(&bytes[..bytes.len() - 9], Some((&key, "d/t/1/p"))), Err(ReadFailed), "truncated");
    }
}
