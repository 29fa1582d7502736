//! Sealing: a table's rows, put together by shopper, become parts of at most so many rows, written in parallel.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, AsArray, BinaryBuilder, RecordBatch, UInt32Array};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::UInt32Type;

use super::Progress;
use crate::catalogue::{Table, UNIT_IX};
use crate::keys::Key;
use crate::manifest::{PartEntry, part_place};
use crate::part::{BATCH_ROWS, PartWriter, WriteFailed, stored_schema};
use crate::refusal::VaultRefused;
use crate::store::{PARTS, Vault, random_name};

const INTERNAL: VaultRefused = VaultRefused::Internal { act: "sealing a part" };

/// Everything needed to write the parts of one table.
pub(crate) struct Sealing<'a> {
    pub(crate) vault: &'a Vault,
    pub(crate) table: &'a Table,
    pub(crate) snapshot: u64,
    pub(crate) threads: usize,
    pub(crate) part_rows: usize,
    pub(crate) progress: &'a dyn Progress,
}

/// Where a row lies before it is put in order: batch and row.
type Place = (u32, u32);

impl Sealing<'_> {
    /// Writes the rows of `batches` and returns the parts in order of shoppers, with their keys by place.
    pub(crate) fn seal(
        &self,
        batches: &[RecordBatch],
    ) -> Result<(Vec<PartEntry>, BTreeMap<String, Key>), VaultRefused> {
        let order = order_by_unit(batches, self.table.is_private())?;
        let slices: Vec<&[Place]> = order.chunks(self.part_rows.max(1)).collect();
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, PartEntry, Key)>> = Mutex::new(Vec::new());
        let work = || -> Result<(), VaultRefused> {
            while let Some((at, slice)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                slices.get(at).map(|slice| (at, *slice))
            } {
                let (entry, key) = self.seal_part(batches, slice).inspect_err(|_| {
                    // No other thread begins a part after one has failed.
                    next.store(slices.len(), Ordering::Relaxed);
                })?;
                done.lock().unwrap_or_else(PoisonError::into_inner).push((at, entry, key));
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..self.threads.clamp(1, slices.len().max(1))).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| INTERNAL)?)
        })?;
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, ..)| *at);
        let dataset = self.vault.catalogue().dataset();
        let keys = done.iter().map(|(_, entry, key)| (entry.place(dataset), key.clone())).collect();
        Ok((done.into_iter().map(|(_, entry, _)| entry).collect(), keys))
    }

    fn seal_part(&self, batches: &[RecordBatch], order: &[Place]) -> Result<(PartEntry, Key), VaultRefused> {
        let entropy = &*self.vault.ports.entropy;
        let part = format!("{}-{}-{}", self.table.name, self.snapshot, random_name(entropy)?);
        let place = part_place(self.vault.catalogue().dataset(), &self.table.name, self.snapshot, &part);
        let key = Key::generate(entropy)?;
        let path = self.vault.folder(PARTS).join(format!("{part}.parquet"));
        let failed = |error: WriteFailed| match error {
            WriteFailed::Disk(error) => VaultRefused::io("write", &path, error),
            WriteFailed::Encoding => INTERNAL,
        };
        let file =
            self.vault.ports.disk.create(&path).map_err(|error| VaultRefused::io("create", &path, error))?;
        let mut writer =
            PartWriter::new(file, stored_schema(self.table), Some((&key, &place))).map_err(failed)?;
        let sources: Vec<&RecordBatch> = batches.iter().collect();
        let (mut first, mut last, mut row) = (u32::MAX, 0, 0);
        for slice in order.chunks(BATCH_ROWS) {
            let plain = gather(&sources, slice)?;
            if let Some(units) = unit_column(&plain) {
                first = first.min(units.values().first().copied().unwrap_or(u32::MAX));
                last = units.values().last().copied().unwrap_or(last);
            }
            let sealed = self.seal_identifiers(&plain, &place, row)?;
            writer.write(&sealed).map_err(failed)?;
            row += plain.num_rows() as u64;
            self.progress.sealed(plain.num_rows() as u64);
        }
        let written = writer.finish().map_err(failed)?;
        let entry = PartEntry {
            table: self.table.name.clone(),
            snapshot: self.snapshot,
            part,
            rows: row,
            bytes: written.bytes,
            digest: written.digest,
            units: if self.table.is_private() { (first, last) } else { (0, 0) },
            marked: true,
        };
        Ok((entry, key))
    }

    /// Replaces each direct identifier by its sealed form, bound to part, row and column.
    fn seal_identifiers(
        &self,
        plain: &RecordBatch,
        place: &str,
        first_row: u64,
    ) -> Result<RecordBatch, VaultRefused> {
        let sealer = self.vault.identifier_key.sealer();
        let mut columns: Vec<ArrayRef> = plain.columns().to_vec();
        for column in self.table.columns.iter().filter(|column| column.direct_identifier) {
            let at = plain.schema().index_of(&column.name).map_err(|_| INTERNAL)?;
            let slot = columns.get_mut(at).ok_or(INTERNAL)?;
            let mut sealed = BinaryBuilder::new();
            for (row, text) in (first_row..).zip(slot.as_string::<i32>().iter()) {
                match text {
                    None => sealed.append_null(),
                    Some(text) => sealed.append_value(sealer.seal(
                        text.as_bytes(),
                        identifier_place(place, row, &column.name).as_bytes(),
                        &*self.vault.ports.entropy,
                    )?),
                }
            }
            *slot = Arc::new(sealed.finish());
        }
        RecordBatch::try_new(stored_schema(self.table), columns).map_err(|_| INTERNAL)
    }
}

/// What a sealed direct identifier is bound to.
pub(crate) fn identifier_place(part_place: &str, row: u64, column: &str) -> String {
    format!("identifier/{part_place}/{row}/{column}")
}

fn unit_column(batch: &RecordBatch) -> Option<&UInt32Array> {
    batch.column_by_name(UNIT_IX)?.as_primitive_opt::<UInt32Type>()
}

/// All rows in the order of `unit_ix`; rows of one shopper stay in the order they came in. One pass counts, one places.
fn order_by_unit(batches: &[RecordBatch], private: bool) -> Result<Vec<Place>, VaultRefused> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let places = || {
        let sizes = (0_u32..).zip(batches.iter().map(RecordBatch::num_rows));
        sizes.flat_map(|(batch, rows)| (0_u32..).take(rows).map(move |row| (batch, row)))
    };
    if !private {
        return Ok(places().collect());
    }
    let units = || batches.iter().filter_map(unit_column).flat_map(|units| units.values().iter().copied());
    if units().is_sorted() {
        return Ok(places().collect());
    }
    let mut starts: Vec<usize> = vec![0; units().max().map_or(0, |max| max as usize + 2)];
    for unit in units() {
        *starts.get_mut(unit as usize + 1).ok_or(INTERNAL)? += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut order = vec![(0, 0); rows];
    for (unit, place) in units().zip(places()) {
        let start = starts.get_mut(unit as usize).ok_or(INTERNAL)?;
        *order.get_mut(*start).ok_or(INTERNAL)? = place;
        *start += 1;
    }
    Ok(order)
}

/// The rows at these places as one batch; neighbouring rows of one batch are only sliced.
fn gather(batches: &[&RecordBatch], order: &[Place]) -> Result<RecordBatch, VaultRefused> {
    let (batch, row) = *order.first().ok_or(INTERNAL)?;
    let whole = (row..).zip(order).all(|(row, place)| *place == (batch, row));
    if whole {
        let source = batches.get(batch as usize).ok_or(INTERNAL)?;
        return Ok(source.slice(row as usize, order.len()));
    }
    let indices: Vec<(usize, usize)> =
        order.iter().map(|&(batch, row)| (batch as usize, row as usize)).collect();
    interleave_record_batch(batches, &indices).map_err(|_| INTERNAL)
}
