//! Ingest: files, or rows handed over in memory, become sealed parts of a new snapshot, all of them or none.

pub(crate) mod append;
mod cells;
mod csv_file;
pub(crate) mod identifiers;
mod links;
mod memory;
mod parquet_file;
pub(crate) mod seal;
mod source;
pub(crate) mod table;
mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ids::Digest;

use crate::catalogue::{Catalogue, ConsentSource, Table};
use crate::keys::Key;
use crate::manifest::{Manifest, PartEntry};
use crate::refusal::{BadRows, VaultRefused};
use crate::store::{ChangeLock, Vault};
use links::Links;
use seal::Sealing;
use source::{Source, Sources};
use table::TableIntake;
use units::UnitDirectory;

/// How to load.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Keep the good rows of a load that has bad ones, and write the positions and reasons of the bad ones, never their
    /// values, into this new CSV file.
    pub quarantine: Option<PathBuf>,
    /// Most bad rows named in a refusal.
    pub shown_max: usize,
    /// Threads that seal.
    pub threads: usize,
    /// Most rows of one part.
    pub part_rows: usize,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self { quarantine: None, shown_max: 10, threads: 2, part_rows: 1 << 20 }
    }
}

/// Hears how far a load has come.
pub trait Progress: Send + Sync {
    /// A table is begun; `rows` is how many its files say they have, if they say so.
    fn table(&self, table: &str, rows: Option<u64>);
    /// So many more rows were read.
    fn read(&self, rows: u64);
    /// So many more rows were sealed.
    fn sealed(&self, rows: u64);
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn table(&self, _: &str, _: Option<u64>) {}
    fn read(&self, _: u64) {}
    fn sealed(&self, _: u64) {}
}

/// Where a row is bad, and why; never what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The file, relative to what was loaded.
    pub file: String,
    /// `line` (CSV) or `row` (Parquet): what `row` counts.
    pub place: &'static str,
    /// The line or row, counted from 1.
    pub row: u64,
    /// The column's name in the file, if one cell is to blame.
    pub column: Option<String>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {} {}", self.file, self.place, self.row)?;
        if let Some(column) = &self.column {
            write!(f, " column `{column}`")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// What a load did. Exact counts: for the operator only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestReport {
    /// All files had been loaded before, so nothing changed.
    pub unchanged: bool,
    /// The snapshot that is current now.
    pub snapshot: Digest,
    /// How many shoppers there are now.
    pub units: u32,
    /// How many of them are new.
    pub units_added: u32,
    /// What came into each table, in the order loaded.
    pub tables: Vec<TableReport>,
    /// Files that had been loaded before and were skipped.
    pub files_skipped: Vec<String>,
}

/// What came into one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReport {
    /// The table.
    pub table: String,
    /// Files read.
    pub files: usize,
    /// Rows kept.
    pub rows: u64,
    /// Rows left out because they belong to no shopper, as the catalogue says.
    pub left_out: u64,
    /// Rows left out because their shopper was erased (see [`Vault::erase`]).
    pub erased: u64,
    /// Phones and e-mail addresses without a canonical form, by column. Their rows are kept: they count in every answer,
    /// their shopper only cannot be addressed.
    pub unaddressable: Vec<Unaddressable>,
    /// Bad rows left out under `quarantine`.
    pub quarantined: u64,
    /// Bytes of the sealed parts.
    pub sealed_bytes: u64,
}

/// Direct identifiers of one column that cannot be brought into their canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unaddressable {
    /// The column.
    pub column: String,
    /// How many there are.
    pub total: u64,
    /// Places and reasons of the first of them; never the text.
    pub shown: Vec<BadRow>,
}

/// Collects bad rows.
pub(crate) struct RowFaults {
    total: u64,
    listed: Vec<BadRow>,
    shown_max: usize,
    quarantine: bool,
}

impl RowFaults {
    fn add(&mut self, row: BadRow) {
        self.total += 1;
        if self.quarantine || self.listed.len() < self.shown_max {
            self.listed.push(row);
        }
    }

    const fn refuses(&self) -> bool {
        self.total > 0 && !self.quarantine
    }
}

/// What a load has made so far; nothing of it counts before the commit.
struct Load {
    manifest: Manifest,
    keys: BTreeMap<String, Key>,
    reports: Vec<TableReport>,
    faults: RowFaults,
}

impl Vault {
    /// Loads a file or a folder of files into a new snapshot. Either all of it is in the new snapshot, or the vault is
    /// as it was. Files loaded before, by content, are skipped.
    ///
    /// Rows of private tables are added. Rows of public tables replace those with the same key.
    pub fn ingest(
        &mut self,
        source: &Path,
        options: &IngestOptions,
        progress: &dyn Progress,
    ) -> Result<IngestReport, VaultRefused> {
        self.load(options, progress, |catalogue| source::find(catalogue, source))
    }

    /// Loads what `find` finds, or leaves the vault as it was.
    fn load(
        &mut self,
        options: &IngestOptions,
        progress: &dyn Progress,
        find: impl FnOnce(&Catalogue) -> Result<Sources, VaultRefused>,
    ) -> Result<IngestReport, VaultRefused> {
        let lock = self.lock()?;
        self.refresh()?;
        if let Some(path) = options.quarantine.as_ref().filter(|path| path.exists()) {
            return Err(VaultRefused::Exists { path: path.clone() });
        }
        let files = find(self.catalogue())?;
        let result = self.load_locked(&lock, files, options, progress);
        if result.is_err() {
            self.clean_up(&lock);
        }
        result
    }

    fn load_locked(
        &mut self,
        lock: &ChangeLock,
        mut files: Sources,
        options: &IngestOptions,
        progress: &dyn Progress,
    ) -> Result<IngestReport, VaultRefused> {
        self.check_complete(&files)?;
        let files_skipped = skip_known(&mut files, &self.manifest);
        if files.is_empty() {
            let (snapshot, units) = (self.snapshot(), self.units());
            return Ok(IngestReport {
                unchanged: true,
                snapshot,
                units,
                units_added: 0,
                tables: Vec::new(),
                files_skipped,
            });
        }
        let (catalogue, old) = (self.catalogue().clone(), self);
        let mut manifest = old.manifest.clone();
        manifest.sequence += 1;
        manifest.parent = Some(old.snapshot());
        manifest.created = old.ports.clock.now();
        let faults = RowFaults {
            total: 0,
            listed: Vec::new(),
            shown_max: options.shown_max,
            quarantine: options.quarantine.is_some(),
        };
        let mut load = Load { manifest, keys: BTreeMap::new(), reports: Vec::new(), faults };
        let mut units = UnitDirectory::open(old)?;
        let mut links = old.known_links(&catalogue, &files)?;
        for table in catalogue.load_order() {
            if let Some(files) = files.get(&table.name) {
                old.load_table(
                    &catalogue, table, files, options, progress, &mut units, &mut links, &mut load,
                )?;
            }
        }
        let Load { mut manifest, mut keys, reports, faults } = load;
        if faults.refuses() {
            return Err(VaultRefused::Rows(BadRows { total: faults.total, shown: faults.listed }));
        }
        let units_added = units.added();
        if units_added > 0 || manifest.units.is_none() {
            let (entry, place, key) = old.seal_units(manifest.sequence, units.pseudonyms())?;
            manifest.units = Some(entry);
            keys.insert(place, key);
        }
        manifest.unit_count = units.count();
        drop(units);
        if consents_changed(&catalogue, &files, units_added) {
            manifest.consent_epoch += 1;
        }
        manifest.sources.extend(files.values().flatten().map(|file| file.digest));
        if let Some(path) = options.quarantine.as_ref().filter(|_| faults.total > 0) {
            old.write_quarantine(path, &faults.listed)?;
        }
        old.commit(lock, manifest, keys)?;
        let (snapshot, units) = (old.snapshot(), old.units());
        Ok(IngestReport { unchanged: false, snapshot, units, units_added, tables: reports, files_skipped })
    }

    /// The first load must bring every table that is not optional.
    fn check_complete(&self, files: &Sources) -> Result<(), VaultRefused> {
        let first = self.manifest.sources.is_empty();
        let absent = |table: &&Table| first && !table.optional && !files.contains_key(&table.name);
        match self.catalogue().tables().iter().find(absent) {
            None => Ok(()),
            Some(table) => {
                let patterns = table.files.join(", ");
                Err(VaultRefused::TableAbsent { table: table.name.clone(), patterns })
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one load, borrowed separately")]
    fn load_table(
        &self,
        catalogue: &Catalogue,
        table: &Table,
        files: &[Source],
        options: &IngestOptions,
        progress: &dyn Progress,
        units: &mut UnitDirectory<'_>,
        links: &mut Links,
        load: &mut Load,
    ) -> Result<(), VaultRefused> {
        let known: Option<u64> = files.iter().map(Source::rows).sum();
        progress.table(&table.name, known);
        let mut intake = TableIntake::new(table, options.shown_max)?;
        let bad_before = load.faults.total;
        for file in files {
            file.read_ahead(catalogue, table, &mut |chunk| {
                intake.take(file, &chunk, units, links, &mut load.faults)?;
                progress.read(chunk.rows as u64);
                Ok(())
            })?;
        }
        if load.faults.refuses() {
            return Ok(());
        }
        let mut parts: Vec<PartEntry> = Vec::new();
        std::mem::swap(&mut parts, &mut load.manifest.parts);
        if !table.is_private() {
            let (older, others): (Vec<_>, Vec<_>) =
                parts.into_iter().partition(|part| part.table == table.name);
            for part in &older {
                self.read_entry(part, None, &mut |batch| intake.keep_older(&batch))?;
            }
            parts = others;
        }
        for (column, seen) in intake.seen {
            load.manifest.catalogue.learn(&table.name, &column, seen)?;
        }
        let snapshot = load.manifest.sequence;
        let sealing = Sealing {
            vault: self,
            table,
            snapshot,
            threads: options.threads,
            part_rows: options.part_rows,
            progress,
        };
        let (sealed, keys) = sealing.seal(&intake.batches)?;
        load.reports.push(TableReport {
            table: table.name.clone(),
            files: files.len(),
            rows: intake.rows,
            left_out: intake.left_out,
            erased: intake.erased,
            unaddressable: intake.unaddressable,
            quarantined: load.faults.total - bad_before,
            sealed_bytes: sealed.iter().map(|part| part.bytes).sum(),
        });
        parts.extend(sealed);
        load.manifest.parts = parts;
        load.keys.extend(keys);
        Ok(())
    }

    /// Keys of parent tables that were sealed earlier, for those parents whose children are in this load.
    fn known_links(&self, catalogue: &Catalogue, files: &Sources) -> Result<Links, VaultRefused> {
        let mut links = Links::new(catalogue);
        for table in catalogue.tables() {
            for column in links.columns_of(&table.name) {
                let needs = |child: &Table| {
                    let leads = child.parent().is_some_and(|fk| fk.table == table.name && fk.key == column);
                    leads && files.contains_key(&child.name)
                };
                if !catalogue.tables().iter().any(needs) && !files.contains_key(&table.name) {
                    continue;
                }
                let owners = links.owners_mut(&table.name, &column);
                let owners = owners.ok_or(VaultRefused::Internal { act: "following a foreign key" })?;
                for part in self.manifest.parts_of(&table.name) {
                    self.read_entry(part, Some(&[crate::UNIT_IX, &column]), &mut |batch| {
                        owners.load(&batch, &column)
                    })?;
                }
            }
        }
        Ok(links)
    }

    fn write_quarantine(&self, path: &Path, rows: &[BadRow]) -> Result<(), VaultRefused> {
        let internal = || VaultRefused::Internal { act: "writing the quarantine file" };
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["file", "counted_in", "row", "column", "reason"]).map_err(|_| internal())?;
        for BadRow { file, place, row, column, reason } in rows {
            let column = column.as_deref().unwrap_or_default();
            writer.write_record([file, *place, &row.to_string(), column, reason]).map_err(|_| internal())?;
        }
        self.write_file(path, &writer.into_inner().map_err(|_| internal())?)
    }
}

/// Removes the files that were loaded before, or that are the same as another of this load, and names them.
fn skip_known(files: &mut Sources, manifest: &Manifest) -> Vec<String> {
    let (mut seen, mut skipped) = (manifest.sources.clone(), Vec::new());
    for files in files.values_mut() {
        files.retain(|file| {
            let new = seen.insert(file.digest);
            if !new {
                skipped.push(file.name.clone());
            }
            new
        });
    }
    files.retain(|_, files| !files.is_empty());
    skipped
}

/// Whether who agreed to what may be different after this load.
fn consents_changed(catalogue: &Catalogue, files: &Sources, units_added: u32) -> bool {
    match catalogue.consent() {
        ConsentSource::Table { table, .. } => files.contains_key(table),
        ConsentSource::Assumed { .. } => units_added > 0,
    }
}
