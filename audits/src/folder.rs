//! Reading a log's folder: what lies in it, and whether it all follows from the entries.
//!
//! [`derive`] is the one reading of the folder: the writer runs it at every start, the verifier runs it offline. It
//! streams: apart from the places of bodies it holds one bundle and one row of hashes per tile level.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use ids::{Digest, Timestamp};

use crate::body;
use crate::entry::{EntryRefused, Kind, Logged};
use crate::files::Files;
use crate::note::NoteRefused;
use crate::tiles::{HASH_BYTES, Name, TILE_HEIGHT, TILE_WIDTH, Width, split_entry};
use crate::tree::{Edge, leaf_hash, node_hash};

/// Folders deeper than this are none of ours: seven groups of three digits cover 2⁶⁴.
const DEPTH_MAX: usize = 12;

/// A file operation did not work.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("cannot {act} `{file}`: {reason}")]
pub struct StorageFailed {
    act: &'static str,
    file: String,
    reason: String,
}

impl StorageFailed {
    pub(crate) fn new(act: &'static str, file: impl fmt::Display, error: &std::io::Error) -> Self {
        Self { act, file: file.to_string(), reason: error.to_string() }
    }
}

/// The first thing in a log's folder that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyRefused {
    pub(crate) file: String,
    pub(crate) offset: Option<u64>,
    pub(crate) index: Option<u64>,
    pub(crate) fault: Fault,
}

impl VerifyRefused {
    pub(crate) fn at(file: impl fmt::Display, fault: Fault) -> Self {
        Self { file: file.to_string(), offset: None, index: None, fault }
    }

    pub(crate) fn offset(mut self, offset: usize) -> Self {
        self.offset = Some(offset as u64);
        self
    }

    pub(crate) fn index(mut self, index: u64) -> Self {
        self.index = Some(index);
        self
    }

    /// The file, relative to the log's folder.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The byte in the file, where one can be named.
    pub fn offset_bytes(&self) -> Option<u64> {
        self.offset
    }

    /// The entry concerned, where one can be named.
    pub fn entry_index(&self) -> Option<u64> {
        self.index
    }

    /// What is wrong with it.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// A stable name of the fault.
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }
}

impl fmt::Display for VerifyRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.file)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        if let Some(index) = self.index {
            write!(f, " (entry {index})")?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl std::error::Error for VerifyRefused {}

/// What can be wrong with a file of a log.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Fault {
    /// The file is not there.
    #[error("it is missing")]
    Missing,
    /// The file cannot be read.
    #[error("it cannot be read: {reason}")]
    Unreadable {
        /// What the operating system said.
        reason: String,
    },
    /// No file of a log has this name.
    #[error("it does not belong to a log")]
    Stray,
    /// The file belongs to a larger log than the checkpoint signs.
    #[error(
        "it lies beyond the signed size: a commit was interrupted, or the checkpoint was put back; opening the log with its writer settles which"
    )]
    Ahead,
    /// The checkpoint is not signed as it must be.
    #[error("{0}")]
    Note(#[from] NoteRefused),
    /// The entries give another root than the one signed.
    #[error("its root is not the root of the entries")]
    Root,
    /// A bundle ends within an entry.
    #[error("it ends within an entry")]
    Truncated,
    /// There is something after the last entry, hash or record.
    #[error("it is longer than it must be")]
    Trailing,
    /// A leaf is not one.
    #[error("{0}")]
    Entry(#[from] EntryRefused),
    /// A leaf and the tree disagree.
    #[error("the entry is not the one that `{tile}` holds the hash of")]
    EntryHash {
        /// The tile.
        tile: String,
    },
    /// An upper tile does not follow from the ones below.
    #[error("the hash is not the one that follows from the tiles below")]
    NodeHash,
    /// A narrower tile or bundle is not the beginning of the wider one.
    #[error("it is not the beginning of `{wider}`")]
    Partial {
        /// The wider file.
        wider: String,
    },
    /// An entry is older than the one before.
    #[error("its time is before the time of the entry before it")]
    Time,
    /// A bodies file has no such structure.
    #[error("it ends within a record")]
    BodyTruncated,
    /// A record where no entry has a body.
    #[error("the record belongs to no entry")]
    BodyStray,
    /// A record is not the one the leaf commits to.
    #[error("the record is not the one that the entry commits to")]
    BodyHash,
    /// A body is gone and no entry says why.
    #[error("the body is missing and no entry says that it was erased")]
    BodyMissing,
    /// An entry says that a body was erased, but it is there.
    #[error(
        "the body is still there though entry {by} says that it was erased: opening the log with its writer finishes it"
    )]
    BodyNotErased {
        /// The entry that says so.
        by: u64,
    },
}

impl Fault {
    /// A stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing-file",
            Self::Unreadable { .. } => "unreadable-file",
            Self::Stray => "stray-file",
            Self::Ahead => "beyond-checkpoint",
            Self::Note(_) => "checkpoint-refused",
            Self::Root => "root-mismatch",
            Self::Truncated => "bundle-truncated",
            Self::Trailing => "trailing-bytes",
            Self::Entry(_) => "entry-refused",
            Self::EntryHash { .. } => "entry-hash-mismatch",
            Self::NodeHash => "node-hash-mismatch",
            Self::Partial { .. } => "partial-mismatch",
            Self::Time => "time-went-back",
            Self::BodyTruncated => "body-truncated",
            Self::BodyStray => "body-stray",
            Self::BodyHash => "body-mismatch",
            Self::BodyMissing => "body-missing",
            Self::BodyNotErased { .. } => "body-not-erased",
        }
    }
}

/// What lies in the folder.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) names: BTreeSet<Name>,
    /// Files that no log has, relative to the folder.
    pub(crate) strays: Vec<String>,
}

impl Listing {
    pub(crate) fn read(files: &dyn Files, dir: &Path) -> Result<Self, StorageFailed> {
        let mut listing = Self::default();
        listing.walk(files, dir, "", 0)?;
        Ok(listing)
    }

    fn walk(
        &mut self,
        files: &dyn Files,
        dir: &Path,
        below: &str,
        depth: usize,
    ) -> Result<(), StorageFailed> {
        let listed = match files.list(&dir.join(below)) {
            // A writer at work removes partial folders; a folder that went is not one that hides something.
            Err(error) if error.kind() == ErrorKind::NotFound && depth > 0 => return Ok(()),
            listed => listed.map_err(|error| StorageFailed::new("list", below, &error))?,
        };
        for item in listed {
            let path = if below.is_empty() { item.name } else { format!("{below}/{}", item.name) };
            match Name::parse(&path) {
                Some(name) if !item.is_dir => {
                    self.names.insert(name);
                }
                _ if item.is_dir && depth < DEPTH_MAX => self.walk(files, dir, &path, depth + 1)?,
                _ => self.strays.push(path),
            }
        }
        Ok(())
    }

    /// The first entries of the bodies files.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = u64> {
        self.names.iter().filter_map(|name| match name {
            Name::Bodies { first } => Some(*first),
            _ => None,
        })
    }

    /// The widths of the partial files beside `name` that are narrower than it.
    fn narrower(&self, name: Name) -> impl Iterator<Item = (Name, Width)> {
        let (from, to) = match name {
            Name::Tile { level, n, .. } => (Name::Tile { level, n, width: 0 }, name),
            Name::Entries { n, .. } => (Name::Entries { n, width: 0 }, name),
            _ => (name, name),
        };
        self.names.range(from..to).filter_map(|name| match name {
            Name::Tile { width, .. } | Name::Entries { width, .. } => Some((*name, *width)),
            _ => None,
        })
    }
}

/// A folder to be read.
#[derive(Clone, Copy)]
pub(crate) struct Folder<'f> {
    pub(crate) files: &'f dyn Files,
    pub(crate) dir: &'f Path,
    pub(crate) listing: &'f Listing,
    /// A writer may be at work: superseded partial files may go while we read.
    pub(crate) live: bool,
}

impl Folder<'_> {
    fn read(&self, name: Name) -> Result<Vec<u8>, VerifyRefused> {
        self.files.read(&self.dir.join(name.to_string())).map_err(|error| unreadable(name, &error))
    }

    /// A tile or bundle of this width, or the full one in its place, as the specification lets a log do.
    fn read_wide(&self, name: Name, full: Name) -> Result<Vec<u8>, VerifyRefused> {
        match self.read(name) {
            Err(VerifyRefused { fault: Fault::Missing, .. }) if self.live && name != full => {
                self.read(full).map_err(|refused| VerifyRefused { file: name.to_string(), ..refused })
            }
            read => read,
        }
    }

    /// Each narrower file beside `name` must be the beginning of its contents; `length` tells how long.
    fn check_narrower(
        &self,
        name: Name,
        contents: &[u8],
        length: impl Fn(Width) -> Option<usize>,
    ) -> Result<(), VerifyRefused> {
        for (narrower, width) in self.listing.narrower(name) {
            let bytes = match self.read(narrower) {
                Err(VerifyRefused { fault: Fault::Missing, .. }) if self.live => continue,
                read => read?,
            };
            let expected = length(width).and_then(|length| contents.get(..length)).unwrap_or_default();
            if bytes != expected {
                let fault = Fault::Partial { wider: name.to_string() };
                return Err(VerifyRefused::at(narrower, fault).offset(first_difference(&bytes, expected)));
            }
        }
        Ok(())
    }
}

fn unreadable(name: Name, error: &std::io::Error) -> VerifyRefused {
    let fault = match error.kind() {
        ErrorKind::NotFound => Fault::Missing,
        _ => Fault::Unreadable { reason: error.to_string() },
    };
    VerifyRefused::at(name, fault)
}

fn first_difference(found: &[u8], expected: &[u8]) -> usize {
    found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()))
}

/// What follows from the entries of a folder.
#[derive(Debug)]
pub(crate) struct Derived {
    pub(crate) root: Digest,
    pub(crate) first_time: Option<Timestamp>,
    pub(crate) last_time: Option<Timestamp>,
    /// The last bundle, if it is not full.
    pub(crate) last_bundle: Vec<u8>,
    /// Entries whose body lies there.
    pub(crate) present: BTreeSet<u64>,
    /// Entries whose body is gone with an entry that says so.
    pub(crate) erased: BTreeSet<u64>,
    /// Entries whose body is gone without one.
    pub(crate) absent: BTreeSet<u64>,
    /// Bodies that lie there although an entry (the second) says that they were erased.
    pub(crate) unerased: Vec<(u64, u64)>,
}

/// Reads the first `size` entries, checks every file that belongs to them, and shows each entry with its leaf hash.
pub(crate) fn derive(
    folder: Folder<'_>,
    size: u64,
    visit: &mut dyn FnMut(Logged, Digest),
) -> Result<Derived, VerifyRefused> {
    let mut walk = Walk {
        folder,
        rows: Vec::new(),
        edge: Edge::default(),
        bodies: Bodies::new(folder, size),
        derived: Derived {
            root: crate::tree::empty_root(),
            first_time: None,
            last_time: None,
            last_bundle: Vec::new(),
            present: BTreeSet::new(),
            erased: BTreeSet::new(),
            absent: BTreeSet::new(),
            unerased: Vec::new(),
        },
    };
    for n in 0..size.div_ceil(TILE_WIDTH) {
        let width = (size - n * TILE_WIDTH).min(TILE_WIDTH) as Width;
        walk.bundle(n, width, visit)?;
    }
    walk.finish()
}

struct Walk<'f> {
    folder: Folder<'f>,
    /// Per tile level from 1: hashes seen so far, and those of the tile in progress.
    rows: Vec<(u64, Vec<Digest>)>,
    edge: Edge,
    bodies: Bodies<'f>,
    derived: Derived,
}

impl Walk<'_> {
    fn bundle(
        &mut self,
        n: u64,
        width: Width,
        visit: &mut dyn FnMut(Logged, Digest),
    ) -> Result<(), VerifyRefused> {
        let name = Name::Entries { n, width };
        let mut bundle = self.folder.read_wide(name, Name::Entries { n, width: TILE_WIDTH as Width })?;
        let tile = Name::Tile { level: 0, n, width };
        let hashes_in_tile =
            self.folder.read_wide(tile, Name::Tile { level: 0, n, width: TILE_WIDTH as Width })?;
        let mut offsets = vec![0];
        let mut hashes = Vec::new();
        let mut rest = bundle.as_slice();
        for position in 0..u64::from(width) {
            let (index, offset) = (n * TILE_WIDTH + position, bundle.len() - rest.len());
            let here = |fault| VerifyRefused::at(name, fault).offset(offset).index(index);
            let (entry, after) = split_entry(rest).ok_or_else(|| here(Fault::Truncated))?;
            let logged = Logged::from_leaf(index, entry).map_err(|refused| here(refused.into()))?;
            let hash = leaf_hash(entry);
            let stored = hashes_in_tile.chunks(HASH_BYTES).nth(hashes.len());
            if stored.is_some_and(|stored| stored != hash.as_bytes()) {
                return Err(here(Fault::EntryHash { tile: tile.to_string() }));
            }
            if self.derived.last_time.is_some_and(|last| logged.time < last) {
                return Err(here(Fault::Time));
            }
            self.derived.first_time = self.derived.first_time.or(Some(logged.time));
            self.derived.last_time = Some(logged.time);
            self.bodies.check(&logged, &mut self.derived)?;
            self.edge.push(hash);
            hashes.push(hash);
            visit(logged, hash);
            rest = after;
            offsets.push(bundle.len() - rest.len());
        }
        let (expected, found) = (bundle.len() - rest.len(), bundle.len());
        if found > expected && self.folder.live {
            bundle.truncate(expected); // the full bundle in the place of a partial one
        } else if found > expected {
            return Err(VerifyRefused::at(name, Fault::Trailing).offset(expected));
        }
        self.folder.check_narrower(name, &bundle, |width| offsets.get(usize::from(width)).copied())?;
        self.check_tile(tile, &hashes, Some(hashes_in_tile))?;
        if u64::from(width) == TILE_WIDTH {
            return self.raise(1, tile_root(hashes));
        }
        self.derived.last_bundle = bundle;
        Ok(())
    }

    /// Adds the root of a full tile to the row above, and that row's to the next when it is full.
    fn raise(&mut self, level: u8, root: Digest) -> Result<(), VerifyRefused> {
        let position = usize::from(level) - 1;
        if self.rows.len() == position {
            self.rows.push((0, Vec::new()));
        }
        let Some((count, row)) = self.rows.get_mut(position) else { return Ok(()) };
        *count += 1;
        row.push(root);
        if (row.len() as u64) < TILE_WIDTH {
            return Ok(());
        }
        let (n, full) = (*count / TILE_WIDTH - 1, std::mem::take(row));
        self.check_tile(Name::Tile { level, n, width: TILE_WIDTH as Width }, &full, None)?;
        self.raise(level + 1, tile_root(full))
    }

    fn check_tile(&self, name: Name, hashes: &[Digest], read: Option<Vec<u8>>) -> Result<(), VerifyRefused> {
        let Name::Tile { level, n, .. } = name else { return Ok(()) };
        let mut found = match read {
            Some(found) => found,
            None => self.folder.read_wide(name, Name::Tile { level, n, width: TILE_WIDTH as Width })?,
        };
        let expected: Vec<u8> = hashes.iter().flat_map(|hash| hash.as_bytes()).copied().collect();
        if self.folder.live && found.len() > expected.len() {
            found.truncate(expected.len());
        }
        if found != expected {
            let offset = first_difference(&found, &expected);
            let fault = if found.starts_with(&expected) {
                Fault::Trailing
            } else if expected.starts_with(&found) {
                Fault::Truncated
            } else {
                Fault::NodeHash
            };
            return Err(VerifyRefused::at(name, fault).offset(offset));
        }
        self.folder.check_narrower(name, &found, |width| Some(usize::from(width) * HASH_BYTES))
    }

    /// Checks the partial tiles above, and that no body is left over.
    fn finish(mut self) -> Result<Derived, VerifyRefused> {
        for (position, (count, row)) in self.rows.iter().enumerate() {
            if !row.is_empty() {
                let (level, n) = (position as u8 + 1, *count / TILE_WIDTH);
                self.check_tile(Name::Tile { level, n, width: row.len() as Width }, row, None)?;
            }
        }
        self.bodies.finish()?;
        self.derived.root = self.edge.root();
        Ok(self.derived)
    }
}

/// Root of a full tile's hashes.
fn tile_root(mut hashes: Vec<Digest>) -> Digest {
    for _ in 0..TILE_HEIGHT {
        hashes = hashes.chunks(2).filter_map(|pair| Some(node_hash(pair.first()?, pair.get(1)?))).collect();
    }
    hashes.first().copied().unwrap_or_else(crate::tree::empty_root)
}

/// The bodies, read file by file in step with the entries.
struct Bodies<'f> {
    folder: Folder<'f>,
    files: VecDeque<u64>,
    /// The file that is being compared, and of its records: index, offset, digest.
    open: Option<Name>,
    records: VecDeque<(u64, usize, Digest)>,
}

impl<'f> Bodies<'f> {
    fn new(folder: Folder<'f>, size: u64) -> Self {
        let files = folder.listing.bodies().filter(|first| *first < size).collect();
        Self { folder, files, open: None, records: VecDeque::new() }
    }

    fn check(&mut self, logged: &Logged, derived: &mut Derived) -> Result<(), VerifyRefused> {
        if self.files.pop_front_if(|first| *first == logged.index).is_some() {
            self.finish()?;
            self.load(Name::Bodies { first: logged.index })?;
        }
        let record = self.records.pop_front_if(|(index, ..)| *index <= logged.index);
        match (record, logged.body) {
            (Some((index, offset, found)), commit) => {
                let file = self.open.map(|name| name.to_string()).unwrap_or_default();
                let here = |fault| VerifyRefused::at(file, fault).offset(offset).index(index);
                match commit {
                    Some(commit) if index == logged.index && commit.sealed == found => {
                        derived.present.insert(index);
                    }
                    Some(_) if index == logged.index => return Err(here(Fault::BodyHash)),
                    _ => return Err(here(Fault::BodyStray)),
                }
            }
            (None, Some(_)) => {
                derived.absent.insert(logged.index);
            }
            (None, None) => {}
        }
        if let (Kind::BodyErased, Some(target)) = (logged.entry.kind, logged.entry.target) {
            if derived.absent.remove(&target) {
                derived.erased.insert(target);
            } else if derived.present.contains(&target) {
                derived.unerased.push((target, logged.index));
            }
        }
        Ok(())
    }

    fn load(&mut self, name: Name) -> Result<(), VerifyRefused> {
        let file = match self.folder.read(name) {
            // A writer at work has just erased the last body of this file.
            Err(VerifyRefused { fault: Fault::Missing, .. }) if self.folder.live => return Ok(()),
            read => read?,
        };
        let cut = |offset| VerifyRefused::at(name, Fault::BodyTruncated).offset(offset);
        if file.is_empty() {
            return Err(cut(0));
        }
        let records = body::records(&file).map_err(cut)?;
        self.records =
            records.iter().map(|record| (record.index, record.offset, Digest::of(record.bytes))).collect();
        self.open = Some(name);
        Ok(())
    }

    /// No record may be left over when the next file begins or the log ends.
    fn finish(&self) -> Result<(), VerifyRefused> {
        match (self.records.front(), self.open) {
            (Some((index, offset, _)), Some(name)) => {
                Err(VerifyRefused::at(name, Fault::BodyStray).offset(*offset).index(*index))
            }
            _ => Ok(()),
        }
    }
}
