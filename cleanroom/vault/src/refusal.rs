//! Everything that can go wrong in the vault, with a stable code each. No message carries a value of a row.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ids::EntropyFailed;

use crate::catalogue::{CatalogueRefused, DomainRefused};
use crate::ingest::BadRow;

/// Why the vault refused.
#[derive(Debug, thiserror::Error)]
pub enum VaultRefused {
    /// The catalogue is not valid.
    #[error(transparent)]
    Catalogue(#[from] CatalogueRefused),
    /// A domain cannot be learned.
    #[error(transparent)]
    Domain(#[from] DomainRefused),
    /// There is something at the place of the new vault or key.
    #[error("`{}` exists already: choose another place", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// There is no vault.
    #[error("`{}` holds no vault: create one with `cleanroom init`", path.display())]
    NoVault {
        /// The place.
        path: PathBuf,
    },
    /// The root key is not 64 hex digits.
    #[error("the root key from {origin} is not 64 hex digits")]
    KeyMalformed {
        /// Where it came from.
        origin: String,
    },
    /// Another root key sealed this vault.
    #[error("the root key does not fit the vault at `{}`: nothing was opened; give the key it was sealed with", path.display())]
    WrongRootKey {
        /// The vault.
        path: PathBuf,
    },
    /// A sealed file was changed.
    #[error("{what} was changed after it was sealed: restore it from a backup")]
    Tampered {
        /// Which file.
        what: String,
    },
    /// A part's file holds another part.
    #[error(
        "part `{part}` of table `{table}` holds the bytes of part `{found}`: parts were swapped; restore them from a backup"
    )]
    Swapped {
        /// The table.
        table: String,
        /// The part that is asked for.
        part: String,
        /// The part that was found.
        found: String,
    },
    /// A file of the vault is missing.
    #[error("{what} is missing: restore it from a backup")]
    Missing {
        /// Which file.
        what: String,
    },
    /// The vault is older than what the head file has seen.
    #[error(
        "the vault stands at snapshot {found} but snapshot {seen} was seen before: it was set back; \
         restore the newer state, or remove the head file if this is meant"
    )]
    RolledBack {
        /// Sequence number of the vault's snapshot.
        found: u64,
        /// Sequence number in the head file.
        seen: u64,
    },
    /// Another process changes the vault.
    #[error("another process is changing the vault at `{}`: try again when it has ended", path.display())]
    Busy {
        /// The vault.
        path: PathBuf,
    },
    /// No space is left.
    #[error("no space is left to write `{}`: nothing was changed; make room and load again", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The system failed.
    #[error("cannot {act} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyFailed),
    /// A library failed on something that is neither the caller's fault nor the data's.
    #[error("internal failure while {act}")]
    Internal {
        /// What was tried.
        act: &'static str,
    },
    /// What was given to ingest holds no file of a table.
    #[error("`{}` holds no file of any table in the catalogue", path.display())]
    NothingToLoad {
        /// The place.
        path: PathBuf,
    },
    /// The first load lacks a table.
    #[error(
        "no file for table `{table}` (looked for {patterns}): a first load needs every table that is not `optional`"
    )]
    TableAbsent {
        /// The table.
        table: String,
        /// The patterns of its files.
        patterns: String,
    },
    /// A file cannot be read as what it claims to be, or its columns are not those of the catalogue.
    #[error("file `{file}`: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Rows are bad.
    #[error("{0}")]
    Rows(BadRows),
    /// The dataset has more shoppers or rows than the formats hold.
    #[error("too many {what}: at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// The table does not exist.
    #[error("there is no table `{table}` in the catalogue")]
    NoTable {
        /// The table.
        table: String,
    },
    /// The position is nobody's.
    #[error("there is no such shopper in the vault")]
    NoShopper,
    /// The part does not exist.
    #[error("there is no part `{part}` in the current snapshot")]
    NoPart {
        /// The part.
        part: String,
    },
    /// The hot store would not fit.
    #[error(
        "the dataset does not fit into {} MiB of memory: raise the limit of the hot store, or load less; nothing is \
         written to disk instead",
        limit_bytes >> 20
    )]
    OutOfMemory {
        /// The limit.
        limit_bytes: u64,
    },
}

/// The bad rows of a refused load: how many in total, and the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRows {
    /// How many rows are bad.
    pub total: u64,
    /// The first of them, in the order of files and rows.
    pub shown: Vec<BadRow>,
}

impl fmt::Display for BadRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bad row{}: nothing was loaded", self.total, if self.total == 1 { "" } else { "s" })?;
        for (i, row) in self.shown.iter().enumerate() {
            write!(f, "{} {row}", if i == 0 { ";" } else { "," })?;
        }
        let hidden = self.total.saturating_sub(self.shown.len() as u64);
        if hidden > 0 { write!(f, ", and {hidden} more") } else { Ok(()) }
    }
}

impl VaultRefused {
    /// Stable name of this refusal.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Catalogue(_) => "catalogue-refused",
            Self::Domain(_) => "domain-too-large",
            Self::Exists { .. } => "exists",
            Self::NoVault { .. } => "no-vault",
            Self::KeyMalformed { .. } => "root-key-malformed",
            Self::WrongRootKey { .. } => "wrong-root-key",
            Self::Tampered { .. } => "vault-tampered",
            Self::Swapped { .. } => "parts-swapped",
            Self::Missing { .. } => "vault-file-missing",
            Self::RolledBack { .. } => "vault-rolled-back",
            Self::Busy { .. } => "vault-busy",
            Self::DiskFull { .. } => "disk-full",
            Self::Io { .. } => "io",
            Self::Entropy(_) => "no-entropy",
            Self::Internal { .. } => "internal",
            Self::NothingToLoad { .. } => "nothing-to-load",
            Self::TableAbsent { .. } => "table-absent",
            Self::File { .. } => "file-refused",
            Self::Rows(_) => "bad-rows",
            Self::TooMany { .. } => "too-many",
            Self::NoTable { .. } => "no-table",
            Self::NoShopper => "no-shopper",
            Self::NoPart { .. } => "no-part",
            Self::OutOfMemory { .. } => "out-of-memory",
        }
    }

    /// A failure of the system on one file; a full disk has its own variant.
    pub(crate) fn io(act: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_owned() }
            }
            _ => Self::Io { act, path: path.to_owned(), source },
        }
    }

    pub(crate) fn file(file: &str, reason: impl Into<String>) -> Self {
        Self::File { file: file.to_owned(), reason: reason.into() }
    }
}
