//! What is there to load: the files of each table, and the chunks of typed columns that come out of one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use arrow::array::{ArrayRef, RecordBatch};
use ids::Digest;
use zeroize::Zeroizing;

use super::cells::{ColumnIntake, Reason};
use super::identifiers::Identifiers;
use super::{csv_file, memory, parquet_file};
use crate::catalogue::{Catalogue, Table};
use crate::part::finish_digest;
use crate::refusal::VaultRefused;

/// Rows of one chunk.
pub(super) const CHUNK_ROWS: usize = 1 << 15;

/// Chunks read ahead of the thread that finds the shoppers.
const CHUNKS_AHEAD: usize = 4;

/// How deep a folder is searched.
const FOLDER_DEPTH_MAX: usize = 4;

/// Rows of one table as they come in: a file, or what stands for one.
pub(super) struct Source {
    /// A file's name relative to the loaded folder; what messages call it.
    pub(super) name: String,
    /// Digest of the table's name and the content. What was loaded once under a digest is not loaded again.
    pub(super) digest: Digest,
    pub(super) content: Content,
}

/// Where the rows are.
pub(super) enum Content {
    /// In a CSV or Parquet file.
    File(PathBuf),
    /// In memory, as the text of a CSV file.
    Csv(Zeroizing<Vec<u8>>),
    /// In memory, as Arrow batches of one schema.
    Batches(Vec<RecordBatch>),
}

/// Rows of a file as typed columns in the order of the table's columns. A refused cell is empty and listed in `bad`.
pub(super) struct Chunk {
    pub(super) columns: Vec<ArrayRef>,
    pub(super) rows: usize,
    pub(super) places: Places,
    pub(super) bad: Vec<BadCell>,
    /// Direct identifiers that cannot be brought into their canonical form; their rows are kept.
    pub(super) odd: Vec<BadCell>,
    /// Whose the rows are, where the source says it otherwise than by unit key.
    pub(super) given: Option<Given>,
}

/// Shoppers named in the vault's own terms; the unit column of such a chunk is empty.
pub(super) enum Given {
    /// Positions, as UInt32.
    Units(ArrayRef),
    /// Pseudonyms, as FixedSizeBinary(32).
    Pseudonyms(ArrayRef),
}

/// Where a chunk's rows are in the file.
pub(super) enum Places {
    /// The line each row begins on.
    Lines(Vec<u64>),
    /// The number of the first row, counted from 1.
    From(u64),
}

/// A refused cell, or a refused row where `column` is `None`.
pub(super) struct BadCell {
    pub(super) row: usize,
    pub(super) column: Option<usize>,
    pub(super) reason: Reason,
}

impl Places {
    pub(super) fn of(&self, row: usize) -> u64 {
        match self {
            Self::Lines(lines) => lines.get(row).copied().unwrap_or_default(),
            Self::From(first) => first + row as u64,
        }
    }

    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Lines(_) => "line",
            Self::From(_) => "row",
        }
    }
}

/// Sources by table.
pub(super) type Sources = BTreeMap<String, Vec<Source>>;

impl Source {
    /// Number of rows, if it says so beforehand.
    pub(super) fn rows(&self) -> Option<u64> {
        match &self.content {
            Content::File(path) => parquet_file::rows(path),
            Content::Csv(_) => None,
            Content::Batches(batches) => Some(batches.iter().map(|batch| batch.num_rows() as u64).sum()),
        }
    }

    /// Parses the source in a thread of its own, a few chunks ahead of `each`.
    pub(super) fn read_ahead(
        &self,
        catalogue: &Catalogue,
        table: &Table,
        each: &mut dyn FnMut(Chunk) -> Result<(), VaultRefused>,
    ) -> Result<(), VaultRefused> {
        let stopped = || VaultRefused::Internal { act: "reading rows" };
        let identifiers = Identifiers::of(table);
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel(CHUNKS_AHEAD);
            let reader = scope.spawn(move || {
                self.read(catalogue, table, &mut |mut chunk: Chunk| {
                    identifiers.canonicalise(&mut chunk)?;
                    send.send(chunk).map_err(|_| stopped())
                })
            });
            let taken = receive.iter().try_for_each(each);
            // A reader that still wants to send must be told that nobody listens, or it would never end.
            drop(receive);
            let read = reader.join().map_err(|_| stopped())?;
            taken.and(read)
        })
    }

    fn read(
        &self,
        catalogue: &Catalogue,
        table: &Table,
        each: &mut dyn FnMut(Chunk) -> Result<(), VaultRefused>,
    ) -> Result<(), VaultRefused> {
        let open = |path: &Path| File::open(path).map_err(|error| VaultRefused::io("read", path, error));
        match &self.content {
            Content::File(path)
                if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("parquet")) =>
            {
                parquet_file::read(catalogue, table, &self.name, open(path)?, each)
            }
            Content::File(path) => csv_file::read(catalogue, table, &self.name, open(path)?, each),
            Content::Csv(text) => csv_file::read(catalogue, table, &self.name, text.as_slice(), each),
            Content::Batches(batches) => memory::read(catalogue, table, &self.name, batches, each),
        }
    }
}

/// One intake per column of the table.
pub(super) fn intakes(catalogue: &Catalogue, table: &Table) -> Vec<ColumnIntake> {
    table.columns.iter().map(|column| ColumnIntake::new(catalogue, table, column)).collect()
}

/// For each column of the table its position among the file's columns; refuses a file that has other columns.
pub(super) fn match_columns(table: &Table, file: &str, names: &[String]) -> Result<Vec<usize>, VaultRefused> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(VaultRefused::file(file, format!("two columns are named `{name}`")));
        }
        if !table.ignore.contains(name) && !table.columns.iter().any(|column| column.source == *name) {
            let reason = format!(
                "column `{name}` is not in the catalogue's table `{}`; describe it there, or list it under `ignore`",
                table.name
            );
            return Err(VaultRefused::file(file, reason));
        }
    }
    let position = |column: &crate::Column| {
        names.iter().position(|name| *name == column.source).ok_or_else(|| {
            VaultRefused::file(
                file,
                format!("column `{}` of table `{}` is missing", column.source, table.name),
            )
        })
    };
    table.columns.iter().map(position).collect()
}

/// Files by table. A folder is searched; a single file must fit a table's pattern by its name.
pub(super) fn find(catalogue: &Catalogue, source: &Path) -> Result<Sources, VaultRefused> {
    let mut found: Vec<(PathBuf, String)> = Vec::new();
    if source.is_dir() {
        walk(source, "", FOLDER_DEPTH_MAX, &mut found)?;
    } else {
        let metadata = fs::metadata(source).map_err(|error| VaultRefused::io("read", source, error))?;
        let name = source.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if metadata.is_file() {
            found.push((source.to_owned(), name.to_owned()));
        }
    }
    found.sort();
    let mut files = Sources::new();
    for (path, name) in found {
        let fits = |table: &&Table| table.files.iter().any(|pattern| matches_pattern(pattern, &name));
        let tables: Vec<&Table> = catalogue.tables().iter().filter(fits).collect();
        match tables.as_slice() {
            [] => {}
            [table] => {
                let digest = digest_file(&table.name, &path)?;
                let source = Source { name, digest, content: Content::File(path) };
                files.entry(table.name.clone()).or_default().push(source);
            }
            [one, two, ..] => {
                let reason = format!("it fits the patterns of two tables, `{}` and `{}`", one.name, two.name);
                return Err(VaultRefused::file(&name, reason));
            }
        }
    }
    if files.is_empty() {
        return Err(VaultRefused::NothingToLoad { path: source.to_owned() });
    }
    Ok(files)
}

fn walk(
    folder: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Vec<(PathBuf, String)>,
) -> Result<(), VaultRefused> {
    let failed = |error| VaultRefused::io("read", folder, error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            if depth > 1 {
                walk(&path, &format!("{name}/"), depth - 1, found)?;
            }
        } else {
            found.push((path, name));
        }
    }
    Ok(())
}

/// `*` stands for any characters within one name; folders must agree one by one.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let (patterns, names): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), name.split('/').collect());
    patterns.len() == names.len()
        && patterns.iter().zip(names).all(|(pattern, name)| matches_name(pattern, name))
}

fn matches_name(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.any(|at| rest.get(at..).is_some_and(|end| matches_name(after, end)))
        }),
    }
}

fn digest_file(table: &str, path: &Path) -> Result<Digest, VaultRefused> {
    let failed = |error| VaultRefused::io("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        match buffer.get(..n) {
            Some(bytes) if n > 0 => context.update(bytes),
            _ => break,
        }
    }
    Ok(Digest::of_parts(&[table.as_bytes(), finish_digest(context).as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn a_star_stands_within_one_name() {
        for (pattern, name, fits) in [
            ("lines.csv", "lines.csv", true),
            ("lines*.csv", "lines-2017-01.csv", true),
            ("lines*.csv", "lines.csv.bak", false),
            ("lines-*.csv", "old/lines-1.csv", false),
            ("*/lines-*.csv", "old/lines-1.csv", true),
            ("a*b*c", "aXbYbc", true),
            ("a*b*c", "aXc", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), fits, "{pattern} {name}");
        }
    }
}
