//! What the vault writes about itself: the sealed manifest of a snapshot, and the key ring that points at it.

use std::collections::{BTreeMap, BTreeSet};

use ids::{DatasetId, Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::catalogue::Catalogue;
use crate::keys::Wrapped;

/// Version of both formats.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// One immutable state of the dataset. It holds no key, so that rotation leaves its digest as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) version: u32,
    pub(crate) sequence: u64,
    pub(crate) parent: Option<Digest>,
    pub(crate) created: Timestamp,
    pub(crate) catalogue: Catalogue,
    pub(crate) parts: Vec<PartEntry>,
    pub(crate) units: Option<UnitsEntry>,
    pub(crate) unit_count: u32,
    pub(crate) consent_epoch: u64,
    /// Digests of table name and content of every file loaded so far.
    pub(crate) sources: BTreeSet<Digest>,
    /// Names of the parts whose keys were destroyed.
    pub(crate) erased: BTreeSet<String>,
    /// Positions whose shopper was erased.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) erased_units: BTreeSet<u32>,
}

/// One sealed Parquet file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartEntry {
    pub(crate) table: String,
    /// Sequence number of the snapshot it was made for.
    pub(crate) snapshot: u64,
    /// Its name, unique in the vault, and its file's name without the ending.
    pub(crate) part: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
    /// Smallest and largest `unit_ix`; zeros for a public table.
    pub(crate) units: (u32, u32),
    /// Whether its direct identifiers are marked (see `ingest::identifiers`); parts from before that are not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) marked: bool,
}

/// The sealed unit directory: all pseudonyms in the order of `unit_ix`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnitsEntry {
    pub(crate) snapshot: u64,
    pub(crate) file: String,
    pub(crate) digest: Digest,
}

/// The one file whose replacement commits: the wrapped keys, and which snapshot is current.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pointer {
    pub(crate) version: u32,
    pub(crate) dataset: DatasetId,
    /// Names the root key, so that a wrong key is told from a changed file.
    pub(crate) root_key: String,
    /// Under the root key.
    pub(crate) dataset_key: Wrapped,
    /// Under the dataset key, like all that follow.
    pub(crate) identifier_key: Wrapped,
    pub(crate) pseudonym_key: Wrapped,
    pub(crate) part_keys: BTreeMap<String, Wrapped>,
    pub(crate) sequence: u64,
    pub(crate) snapshot: Digest,
    pub(crate) manifest: String,
}

/// What the head file remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    pub(crate) dataset: DatasetId,
    pub(crate) sequence: u64,
    pub(crate) snapshot: Digest,
}

impl PartEntry {
    /// Where the part belongs: the AAD prefix of its Parquet encryption, stored in no file.
    pub(crate) fn place(&self, dataset: &DatasetId) -> String {
        part_place(dataset, &self.table, self.snapshot, &self.part)
    }
}

/// See [`PartEntry::place`].
pub(crate) fn part_place(dataset: &DatasetId, table: &str, snapshot: u64, part: &str) -> String {
    format!("{dataset}/{table}/{snapshot}/{part}")
}

/// Where a part's key is wrapped for.
pub(crate) fn part_key_place(part_place: &str) -> String {
    format!("part-key/{part_place}")
}

/// Where the unit directory of a snapshot is sealed for.
pub(crate) fn units_place(dataset: &DatasetId, snapshot: u64) -> String {
    format!("units/{dataset}/{snapshot}")
}

/// Where the manifest of a snapshot is sealed for.
pub(crate) fn manifest_place(dataset: &DatasetId, snapshot: u64) -> String {
    format!("manifest/{dataset}/{snapshot}")
}

impl Manifest {
    pub(crate) fn parts_of<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a PartEntry> {
        self.parts.iter().filter(move |part| part.table == table)
    }
}
