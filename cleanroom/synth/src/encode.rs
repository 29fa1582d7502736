//! From batches to bytes of Parquet or CSV: encoding runs in the workers, writing in one place and in order.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int64Type, SchemaRef, TimestampMicrosecondType,
};
use ids::{Date, Timestamp};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use crate::options::SynthRefused;
use crate::{Format, tables};

/// Bytes written to a file at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Encodes the batches of one table; shared by all workers.
pub(crate) struct Encoder {
    table: &'static str,
    schema: SchemaRef,
    parquet: Option<ArrowRowGroupWriterFactory>,
}

/// One encoded batch.
pub(crate) enum Encoded {
    Columns(Vec<ArrowColumnChunk>),
    Text(Vec<u8>),
    Nothing,
}

/// The file of one table.
pub(crate) struct Sink {
    table: &'static str,
    path: PathBuf,
    file: SinkFile,
}

enum SinkFile {
    Parquet(Box<SerializedFileWriter<BufWriter<File>>>),
    Csv(BufWriter<File>),
}

/// Opens the file of a table.
pub(crate) fn open(
    folder: &Path,
    table: &'static str,
    format: Format,
) -> Result<(Encoder, Sink), SynthRefused> {
    let schema = tables::schema(table);
    let path = folder.join(match format {
        Format::Parquet => format!("{table}.parquet"),
        Format::Csv => format!("{table}.csv"),
    });
    let io = |source| SynthRefused::Io { path: path.clone(), source };
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create_new(&path).map_err(io)?);
    let (file, parquet) = match format {
        Format::Parquet => {
            let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties()));
            let (writer, factory) =
                writer.and_then(ArrowWriter::into_serialized_writer).map_err(encode(table))?;
            (SinkFile::Parquet(Box::new(writer)), Some(factory))
        }
        Format::Csv => {
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            writeln!(file, "{}", names.join(",")).map_err(io)?;
            (SinkFile::Csv(file), None)
        }
    };
    Ok((Encoder { table, schema, parquet }, Sink { table, path, file }))
}

fn properties() -> WriterProperties {
    let plain = |name: &str| ColumnPath::from(name);
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // Basket and card numbers hardly repeat: a dictionary of them would only cost time.
        .set_column_dictionary_enabled(plain("basket_id"), false)
        .set_column_encoding(plain("basket_id"), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(plain("card_id"), false)
        .build()
}

fn encode<E: std::fmt::Display>(table: &'static str) -> impl Fn(E) -> SynthRefused {
    move |error| SynthRefused::Encode { table, reason: error.to_string() }
}

impl Encoder {
    /// The bytes of one batch.
    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Encoded, SynthRefused> {
        if batch.num_rows() == 0 {
            return Ok(Encoded::Nothing);
        }
        let Some(factory) = &self.parquet else {
            return csv_rows(batch).map(Encoded::Text).map_err(encode(self.table));
        };
        let parquet = || {
            // The position of the row group matters to encrypted files only.
            let mut columns = factory.create_column_writers(0)?.into_iter();
            let mut chunks = Vec::with_capacity(batch.num_columns());
            for (field, array) in self.schema.fields().iter().zip(batch.columns()) {
                for (leaf, mut writer) in compute_leaves(field, array)?.iter().zip(columns.by_ref()) {
                    writer.write(leaf)?;
                    chunks.push(writer.close()?);
                }
            }
            Ok(Encoded::Columns(chunks))
        };
        parquet().map_err(encode::<parquet::errors::ParquetError>(self.table))
    }
}

impl Sink {
    /// Appends one encoded batch.
    pub(crate) fn append(&mut self, encoded: Encoded) -> Result<(), SynthRefused> {
        match (&mut self.file, encoded) {
            (SinkFile::Parquet(writer), Encoded::Columns(columns)) => {
                let append = || {
                    let mut group = writer.next_row_group()?;
                    for column in columns {
                        column.append_to_row_group(&mut group)?;
                    }
                    group.close().map(drop)
                };
                append().map_err(encode::<parquet::errors::ParquetError>(self.table))
            }
            (SinkFile::Csv(file), Encoded::Text(text)) => {
                file.write_all(&text).map_err(|source| SynthRefused::Io { path: self.path.clone(), source })
            }
            (_, Encoded::Nothing) => Ok(()),
            _ => Err(encode(self.table)("encoded for another format")),
        }
    }

    /// Completes the file.
    pub(crate) fn close(self) -> Result<(), SynthRefused> {
        let io = |source| SynthRefused::Io { path: self.path.clone(), source };
        let mut file = match self.file {
            SinkFile::Parquet(writer) => writer.into_inner().map_err(encode(self.table))?,
            SinkFile::Csv(file) => file,
        };
        file.flush().map_err(io)
    }
}

/// The rows without a header. Dates as `2024-01-31`, moments as `2024-01-31 18:05:00`, money as `12.50`, an absent
/// value as nothing.
fn csv_rows(batch: &RecordBatch) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    for row in 0..batch.num_rows() {
        for column in batch.columns() {
            let text = match column.data_type() {
                _ if column.is_null(row) => String::new(),
                DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
                DataType::Boolean => column.as_boolean().value(row).to_string(),
                DataType::Date32 => {
                    Date::from_days(column.as_primitive::<Date32Type>().value(row)).to_string()
                }
                DataType::Timestamp(..) => {
                    moment(column.as_primitive::<TimestampMicrosecondType>().value(row))
                }
                DataType::Decimal128(..) => decimal(column.as_primitive::<Decimal128Type>().value(row)),
                _ => column.as_string::<i32>().value(row).to_owned(),
            };
            writer.write_field(text)?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// Local time without an offset; whole seconds, because tills print no more.
fn moment(micros: i64) -> String {
    let second = micros.div_euclid(1_000_000).rem_euclid(86_400);
    let day = Timestamp::from_millis(micros.div_euclid(1_000)).date();
    format!("{day} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// An amount of minor units, never negative here.
fn decimal(minor: i128) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}
