//! One part of the vault, read sealed, and read again after being written without a seal.

use std::fs::File;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::encryption::decrypt::FileDecryptionProperties;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use vault::Vault;

use crate::failure::Failure;
use crate::refusals::broken;

/// Rows per batch while reading.
const BATCH_ROWS: usize = 65_536;

/// Times to read the largest part of a table sealed and unsealed (best of `runs` each, in turn), and its rows.
///
/// The unsealed twin holds generated rows of the benchmark only and is deleted with its folder.
pub(super) fn read_both(
    vault: &Vault,
    table: &str,
    runs: usize,
) -> Result<(Duration, Duration, u64), Failure> {
    let failed = |why: String| Failure::failed("bench_part", "cannot read a part", why);
    let parts: Vec<&str> = vault.parts().filter(|(name, _)| *name == table).map(|(_, part)| part).collect();
    let size = |part: &&&str| std::fs::metadata(vault.part_path(part)).map_or(0, |meta| meta.len());
    let part = parts.iter().max_by_key(size).ok_or_else(|| failed("the table has no part".to_owned()))?;
    let (place, key) = vault.part_key(part).map_err(|why| broken(why.code(), "cannot read a part", &why))?;
    let unlock = FileDecryptionProperties::builder(key.to_vec())
        .with_aad_prefix(place.into_bytes())
        .build()
        .map_err(|why| failed(why.to_string()))?;
    let sealed_options = ArrowReaderOptions::new().with_file_decryption_properties(unlock);
    let folder = tempfile::tempdir().map_err(|why| failed(why.to_string()))?;
    let plain_path = folder.path().join("plain.parquet");
    let batches = read(&vault.part_path(part), sealed_options.clone())?;
    write_like(&vault.part_path(part), &sealed_options, &plain_path, &batches)?;
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    drop(batches);
    let (mut sealed, mut plain) = (Duration::MAX, Duration::MAX);
    for _ in 0..runs.max(3) {
        let start = Instant::now();
        drop(read(&vault.part_path(part), sealed_options.clone())?);
        sealed = sealed.min(start.elapsed());
        let start = Instant::now();
        drop(read(&plain_path, ArrowReaderOptions::new())?);
        plain = plain.min(start.elapsed());
    }
    Ok((sealed, plain, rows))
}

fn read(path: &std::path::Path, options: ArrowReaderOptions) -> Result<Vec<RecordBatch>, Failure> {
    let failed = |why: String| Failure::failed("bench_part", "cannot read a part", why);
    let file = File::open(path).map_err(|why| failed(why.to_string()))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
        .map_err(|why| failed(why.to_string()))?;
    reader.collect::<Result<_, _>>().map_err(|why| failed(why.to_string()))
}

/// Rows the vault's encoder takes at a time, which sets the size of pages.
const WRITE_BATCH_ROWS: usize = 8192;

/// Writes the same rows as the vault does, with the compression and row groups of the sealed part, but no seal.
fn write_like(
    sealed: &std::path::Path,
    options: &ArrowReaderOptions,
    path: &std::path::Path,
    batches: &[RecordBatch],
) -> Result<(), Failure> {
    let failed = |why: String| Failure::failed("bench_part", "cannot write the unsealed twin", why);
    let file = File::open(sealed).map_err(|why| failed(why.to_string()))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options.clone())
        .map_err(|why| failed(why.to_string()))?;
    let group =
        builder.metadata().row_groups().first().ok_or_else(|| failed("the part is empty".to_owned()))?;
    let column = group.columns().first().ok_or_else(|| failed("the part has no column".to_owned()))?;
    let properties = WriterProperties::builder()
        .set_compression(column.compression())
        .set_max_row_group_row_count(usize::try_from(group.num_rows()).ok().filter(|&rows| rows > 0))
        .set_write_batch_size(WRITE_BATCH_ROWS)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .build();
    let twin = File::create_new(path).map_err(|why| failed(why.to_string()))?;
    let schema = builder.schema().clone();
    let mut writer =
        ArrowWriter::try_new(twin, schema, Some(properties)).map_err(|why| failed(why.to_string()))?;
    for batch in batches {
        writer.write(batch).map_err(|why| failed(why.to_string()))?;
    }
    writer.close().map(drop).map_err(|why| failed(why.to_string()))
}
