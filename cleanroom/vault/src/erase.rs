//! Erasure of shoppers (GDPR art. 17): their rows leave the sealed parts, the keys of the parts that held them are
//! destroyed, and a tombstone keeps them from coming back with the next delivery of old files.
//!
//! ```text
//! what                                        a crash right after it leaves
//! ─────────────────────────────────────────   ──────────────────────────────────────────────────────────────
//! parts without the shoppers, a new directory old snapshot, whole; the new files are removed at the next start
//! sealed manifest of the new snapshot         the same
//! CURRENT replaced: names it, holds no key    new snapshot; the old files, which no key opens any more, are removed
//!   of the old parts and the old directory      at the next start
//! old files removed                           new snapshot
//! ```

use std::collections::BTreeMap;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt32Type;
use ids::Digest;
use roaring::RoaringBitmap;

use crate::catalogue::UNIT_IX;
use crate::ingest::Progress;
use crate::ingest::seal::Sealing;
use crate::keys::Key;
use crate::manifest::PartEntry;
use crate::refusal::VaultRefused;
use crate::shoppers::tombstone;
use crate::store::{ChangeLock, Vault};

const INTERNAL: VaultRefused = VaultRefused::Internal { act: "erasing a shopper" };

/// What an erasure did. Exact counts: for the record that the shopper gets, and for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// The snapshot that is current now.
    pub snapshot: Digest,
    /// The snapshot before, which no key opens any more.
    pub previous: Digest,
    /// How many shoppers were erased; 0 if all had been before, and then nothing changed.
    pub shoppers: u64,
    /// What was done to each table that had rows of theirs.
    pub tables: Vec<ErasedTable>,
}

/// What an erasure did to one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedTable {
    /// The table.
    pub table: String,
    /// Rows removed.
    pub rows: u64,
    /// Parts whose keys were destroyed; their other rows were sealed anew under new keys.
    pub parts: usize,
}

impl Vault {
    /// Removes every row of these shoppers from all private tables, in one new snapshot, and destroys the keys of the parts
    /// that held them. Who was erased before is passed over.
    ///
    /// # Guarantee
    /// When it returns, no key in the vault opens a file that holds a row or an identifier of theirs, and a later load of
    /// the same unit key leaves its rows out. A crash on the way leaves the old snapshot or the new one, never a mixture.
    /// Copies of the whole vault made earlier still hold the old keys: backups must be rotated too.
    ///
    /// # Errors
    /// A position that is nobody's, a part that does not open, a disk that fails; the vault is then as it was.
    pub fn erase(
        &mut self,
        shoppers: &RoaringBitmap,
        progress: &dyn Progress,
    ) -> Result<Erasure, VaultRefused> {
        let lock = self.lock()?;
        self.refresh()?;
        if shoppers.max().is_some_and(|last| last >= self.units()) {
            return Err(VaultRefused::NoShopper);
        }
        let leaving = shoppers - &self.erased_shoppers();
        if leaving.is_empty() {
            let snapshot = self.snapshot();
            return Ok(Erasure { snapshot, previous: snapshot, shoppers: 0, tables: Vec::new() });
        }
        let result = self.erase_locked(&lock, &leaving, progress);
        if result.is_err() {
            self.clean_up(&lock);
        }
        result
    }

    fn erase_locked(
        &mut self,
        lock: &ChangeLock,
        leaving: &RoaringBitmap,
        progress: &dyn Progress,
    ) -> Result<Erasure, VaultRefused> {
        let previous = self.snapshot();
        let mut manifest = self.manifest.clone();
        manifest.sequence += 1;
        manifest.parent = Some(previous);
        manifest.created = self.ports.clock.now();
        manifest.consent_epoch += 1;
        let (mut parts, mut keys) = (Vec::new(), BTreeMap::new());
        let mut done: BTreeMap<&str, ErasedTable> = BTreeMap::new();
        for entry in &self.manifest.parts {
            let Some((kept, rows)) = self.rows_without(entry, leaving)? else {
                parts.push(entry.clone());
                continue;
            };
            progress.table(&entry.table, Some(entry.rows));
            manifest.erased.insert(entry.part.clone());
            let (sealed, new_keys) = self.seal_again(entry, &kept, manifest.sequence, progress)?;
            // In the place of the old part: what is in order stays in order.
            parts.extend(sealed);
            keys.extend(new_keys);
            let table = done.entry(&entry.table).or_insert_with(|| ErasedTable {
                table: entry.table.clone(),
                rows: 0,
                parts: 0,
            });
            table.rows += rows;
            table.parts += 1;
        }
        let tables = done.into_values().collect();
        manifest.parts = parts;
        manifest.erased_units.extend(leaving);
        let directory = self.directory_without(leaving)?;
        let (entry, place, key) = self.seal_units(manifest.sequence, &directory)?;
        manifest.units = Some(entry);
        keys.insert(place, key);
        self.commit(lock, manifest, keys)?;
        Ok(Erasure { snapshot: self.snapshot(), previous, shoppers: leaving.len(), tables })
    }

    /// The rows of a part without those of `leaving`, and how many these are; `None` if it has none of them.
    fn rows_without(
        &self,
        entry: &PartEntry,
        leaving: &RoaringBitmap,
    ) -> Result<Option<(Vec<RecordBatch>, u64)>, VaultRefused> {
        let table = self.catalogue().table(&entry.table).ok_or(INTERNAL)?;
        let in_range = leaving.range_cardinality(entry.units.0..=entry.units.1) > 0;
        if !table.is_private() || !in_range || !self.holds(entry, leaving)? {
            return Ok(None);
        }
        let (mut kept, mut removed) = (Vec::new(), 0);
        self.read_plain(table, entry, &mut |batch| {
            let units =
                batch.column_by_name(UNIT_IX).and_then(|units| units.as_primitive_opt::<UInt32Type>());
            let stays = units.ok_or(INTERNAL)?.values().iter().map(|unit| Some(!leaving.contains(*unit)));
            let stays: BooleanArray = stays.collect();
            let rest = filter_record_batch(&batch, &stays).map_err(|_| INTERNAL)?;
            removed += (batch.num_rows() - rest.num_rows()) as u64;
            if rest.num_rows() > 0 {
                kept.push(rest);
            }
            Ok(())
        })?;
        Ok(Some((kept, removed)))
    }

    /// Whether a part has rows of any of these shoppers.
    fn holds(&self, entry: &PartEntry, shoppers: &RoaringBitmap) -> Result<bool, VaultRefused> {
        let mut holds = false;
        self.read_entry(entry, Some(&[UNIT_IX]), &mut |batch| {
            let units =
                batch.column_by_name(UNIT_IX).and_then(|units| units.as_primitive_opt::<UInt32Type>());
            holds |= units.ok_or(INTERNAL)?.values().iter().any(|unit| shoppers.contains(*unit));
            Ok(())
        })?;
        Ok(holds)
    }

    /// Seals rows of an old part as a new one, under a new key; nothing if there are no rows.
    fn seal_again(
        &self,
        entry: &PartEntry,
        rows: &[RecordBatch],
        snapshot: u64,
        progress: &dyn Progress,
    ) -> Result<(Vec<PartEntry>, BTreeMap<String, Key>), VaultRefused> {
        if rows.is_empty() {
            return Ok((Vec::new(), BTreeMap::new()));
        }
        let table = self.catalogue().table(&entry.table).ok_or(INTERNAL)?;
        let sealing = Sealing { vault: self, table, snapshot, threads: 1, part_rows: usize::MAX, progress };
        sealing.seal(rows)
    }

    /// The unit directory with tombstones at these positions.
    fn directory_without(
        &self,
        leaving: &RoaringBitmap,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, VaultRefused> {
        let mut directory = self.open_units()?;
        let (slots, _) = directory.as_chunks_mut::<32>();
        for unit in leaving {
            let slot = slots.get_mut(unit as usize).ok_or(INTERNAL)?;
            *slot = tombstone(&self.pseudonym_key, self.catalogue().dataset(), *slot);
        }
        Ok(directory)
    }
}
