//! Measuring the vault on its own data, for `cleanroom bench`. Unsealed bytes are kept in memory only.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;

use crate::disk::{Disk, DiskFile, SystemDisk};
use crate::hot::{HotStore, HotStoreConfig};
use crate::keys::Key;
use crate::part::{PartWriter, WriteFailed, read_part};
use crate::refusal::VaultRefused;
use crate::store::{Vault, random_name};

const INTERNAL: VaultRefused = VaultRefused::Internal { act: "measuring" };

/// Place that the measured parts are sealed for; they are thrown away.
const PLACE: &str = "bench/bench/0/bench";

/// How often each way of reading is timed; the fastest counts.
const READS: usize = 5;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measurement {
    /// Rows sealed.
    pub rows: u64,
    /// Bytes of them, sealed.
    pub sealed_bytes: u64,
    /// Rows of the table encoded, compressed, encrypted, written and synced per second, with all threads.
    pub seal_rows_per_second: f64,
    /// Rows of all tables read, checked, decrypted, decoded and appended to a new hot store per second.
    pub unseal_rows_per_second: f64,
    /// Time to read one sealed part divided by the time to read the same part unsealed, both from memory.
    pub sealed_read_ratio: f64,
}

/// Measures on one table of the vault; sealed copies of its parts are written to `scratch` and removed.
pub fn measure(
    vault: &Vault,
    table: &str,
    config: &HotStoreConfig,
    scratch: &Path,
) -> Result<Measurement, VaultRefused> {
    let mut parts: Vec<Vec<RecordBatch>> = Vec::new();
    for entry in vault.manifest.parts_of(table) {
        let mut batches = Vec::new();
        vault.read_entry(entry, None, &mut |batch| {
            batches.push(batch);
            Ok(())
        })?;
        parts.push(batches);
    }
    let rows: u64 = parts.iter().flatten().map(|batch| batch.num_rows() as u64).sum();
    let (sealing, sealed_bytes) = time_sealing(vault, &parts, config.threads, scratch)?;
    let sealed_read_ratio = read_ratio(vault, parts.first().ok_or(INTERNAL)?)?;
    drop(parts);
    let begun = Instant::now();
    let hot = HotStore::unseal(vault, config.clone())?;
    let unsealing = begun.elapsed();
    drop(hot);
    let all_rows: u64 = vault.manifest.parts.iter().map(|part| part.rows).sum();
    Ok(Measurement {
        rows,
        sealed_bytes,
        seal_rows_per_second: per_second(rows, sealing),
        unseal_rows_per_second: per_second(all_rows, unsealing),
        sealed_read_ratio,
    })
}

fn per_second(rows: u64, time: Duration) -> f64 {
    rows as f64 / time.as_secs_f64().max(f64::EPSILON)
}

fn time_sealing(
    vault: &Vault,
    parts: &[Vec<RecordBatch>],
    threads: usize,
    scratch: &Path,
) -> Result<(Duration, u64), VaultRefused> {
    let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || -> Result<(), VaultRefused> {
        while let Some(batches) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = scratch.join(format!("bench-{}.parquet", random_name(&*vault.ports.entropy)?));
            let failed = |error| VaultRefused::io("write", &path, error);
            let key = Key::generate(&*vault.ports.entropy)?;
            let written = write(SystemDisk.create(&path).map_err(failed)?, batches, Some(&key));
            SystemDisk.remove(&path).map_err(failed)?;
            bytes.fetch_add(written?, Ordering::Relaxed);
        }
        Ok(())
    };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| INTERNAL)?)
    })?;
    Ok((begun.elapsed(), bytes.into_inner() as u64))
}

/// Reads are taken in turns, so that whatever else the machine does hits both alike.
fn read_ratio(vault: &Vault, batches: &[RecordBatch]) -> Result<f64, VaultRefused> {
    let key = Key::generate(&*vault.ports.entropy)?;
    let (sealed, open) = (Memory::default(), Memory::default());
    write(Box::new(sealed.clone()), batches, Some(&key))?;
    write(Box::new(open.clone()), batches, None)?;
    let (mut fastest_sealed, mut fastest_open) = (Duration::MAX, Duration::MAX);
    for _ in 0..READS {
        fastest_open = fastest_open.min(time_read(open.bytes(), None)?);
        fastest_sealed = fastest_sealed.min(time_read(sealed.bytes(), Some(&key))?);
    }
    Ok(fastest_sealed.as_secs_f64() / fastest_open.as_secs_f64().max(f64::EPSILON))
}

fn time_read(bytes: Vec<u8>, key: Option<&Key>) -> Result<Duration, VaultRefused> {
    let begun = Instant::now();
    let reader = read_part(bytes, key.map(|key| (key, PLACE)), None).map_err(|_| INTERNAL)?;
    for batch in reader {
        std::hint::black_box(batch.map_err(|_| INTERNAL)?);
    }
    Ok(begun.elapsed())
}

fn write(file: Box<dyn DiskFile>, batches: &[RecordBatch], key: Option<&Key>) -> Result<usize, VaultRefused> {
    let failed = |_: WriteFailed| INTERNAL;
    let schema = batches.first().ok_or(INTERNAL)?.schema();
    let mut writer = PartWriter::new(file, schema, key.map(|key| (key, PLACE))).map_err(failed)?;
    for batch in batches {
        writer.write(batch).map_err(failed)?;
    }
    let written = writer.finish().map_err(failed)?;
    usize::try_from(written.bytes).map_err(|_| INTERNAL)
}

/// A file that is never on a disk.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Memory {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
