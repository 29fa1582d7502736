//! The hot store: the current snapshot in an in-memory DuckDB that can reach nothing outside itself.
//!
//! Every private table is ordered by `unit_ix`, which stands in for the unit key; every column with a list of values has
//! a sibling `"<name>#code"` with the position in that list; direct identifiers are absent. Nothing is spilled to disk:
//! what does not fit into memory is refused.

mod consents;
mod decode;
mod merge;
mod pipeline;
mod worker;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use duckdb::{Config, Connection};
use identity::Consents;
use ids::Digest;

use crate::catalogue::{Catalogue, Column, ColumnType, Domain, Table, UNIT_IX};
use crate::ingest::{Progress, Quiet};
use crate::refusal::VaultRefused;
use crate::store::Vault;

pub use worker::{StreamFailed, Worker};

/// What is appended to a column's name for its sibling of codes.
pub const CODE_SUFFIX: &str = "#code";

/// How the hot store is filled.
#[derive(Debug, Clone)]
pub struct HotStoreConfig {
    /// Most bytes DuckDB may use for tables and running statements.
    pub memory_bytes_max: u64,
    /// Threads that decrypt and decode while another one appends.
    pub threads: usize,
}

impl Default for HotStoreConfig {
    fn default() -> Self {
        Self { memory_bytes_max: 8 << 30, threads: 2 }
    }
}

/// One snapshot, unsealed. Whoever holds it sees exact rows.
pub struct HotStore {
    catalogue: Catalogue,
    consents: Consents,
    snapshot: Digest,
    units: u32,
    // A `Connection` is `Send` but not `Sync`; it is used only to make workers.
    database: Mutex<Connection>,
}

impl HotStore {
    /// Fills a new hot store with the vault's current snapshot.
    pub fn unseal(vault: &Vault, config: HotStoreConfig) -> Result<Self, VaultRefused> {
        Self::unseal_with(vault, &config, &Quiet)
    }

    /// The same, telling `progress` of the rows read.
    pub fn unseal_with(
        vault: &Vault,
        config: &HotStoreConfig,
        progress: &dyn Progress,
    ) -> Result<Self, VaultRefused> {
        let database = open_database(config)?;
        let catalogue = vault.catalogue().clone();
        for table in catalogue.tables() {
            run(&database, &create_table(table), config)?;
            progress.table(&table.name, Some(vault.rows(&table.name)));
            pipeline::fill(vault, table, &database, config, progress)?;
        }
        run(&database, "SET lock_configuration = true", config)?;
        let consents = consents::read(vault)?;
        let (snapshot, units) = (vault.snapshot(), vault.units());
        Ok(Self { catalogue, consents, snapshot, units, database: Mutex::new(database) })
    }

    /// How many shoppers there are; their `unit_ix` are all numbers below that.
    pub const fn units(&self) -> u32 {
        self.units
    }

    /// Who agreed to what.
    pub const fn consents(&self) -> &Consents {
        &self.consents
    }

    /// Digest of the snapshot this store holds.
    pub const fn snapshot(&self) -> Digest {
        self.snapshot
    }

    /// The snapshot's catalogue, with learned domains.
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// A connection of its own for one thread.
    pub fn worker(&self) -> Result<Worker, VaultRefused> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = database
            .try_clone()
            .map_err(|_| VaultRefused::Internal { act: "connecting to the hot store" })?;
        Ok(Worker::new(connection))
    }
}

impl fmt::Debug for HotStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotStore").field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

/// The column's list of values, for which it has a sibling of codes.
pub(crate) fn coded(column: &Column) -> Option<&[String]> {
    match &column.domain {
        Some(Domain::Values(values)) => Some(values),
        _ => None,
    }
}

/// A name in double quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn open_database(config: &HotStoreConfig) -> Result<Connection, VaultRefused> {
    let internal = |_| VaultRefused::Internal { act: "opening the hot store" };
    let settings = [
        // One connection per worker and no threads within a statement: several workers then scale, and each statement
        // yields its rows in the order of the table.
        ("threads", "1".to_owned()),
        ("memory_limit", format!("{}B", config.memory_bytes_max)),
        ("temp_directory", String::new()),
        ("enable_external_access", "false".to_owned()),
        ("autoload_known_extensions", "false".to_owned()),
        ("autoinstall_known_extensions", "false".to_owned()),
        ("allow_community_extensions", "false".to_owned()),
    ];
    let mut flags = Config::default();
    for (name, value) in settings {
        flags = flags.with(name, value).map_err(internal)?;
    }
    Connection::open_in_memory_with_flags(flags).map_err(internal)
}

fn run(database: &Connection, sql: &str, config: &HotStoreConfig) -> Result<(), VaultRefused> {
    database.execute_batch(sql).map_err(|error| refusal(&error, config))
}

/// DuckDB's messages may quote values, so they end here; only whether memory ran out is passed on.
pub(crate) fn refusal(error: &duckdb::Error, config: &HotStoreConfig) -> VaultRefused {
    if worker::is_out_of_memory(error) {
        VaultRefused::OutOfMemory { limit_bytes: config.memory_bytes_max }
    } else {
        VaultRefused::Internal { act: "filling the hot store" }
    }
}

fn create_table(table: &Table) -> String {
    let unit = table.is_private().then(|| format!("{} UINTEGER", quoted(UNIT_IX)));
    let columns = table.visible_columns().flat_map(|column| {
        let code =
            coded(column).map(|_| format!("{} INTEGER", quoted(&format!("{}{CODE_SUFFIX}", column.name))));
        std::iter::once(format!("{} {}", quoted(&column.name), sql_type(column.ty))).chain(code)
    });
    let columns: Vec<String> = unit.into_iter().chain(columns).collect();
    format!("CREATE TABLE {} ({})", quoted(&table.name), columns.join(", "))
}

const fn sql_type(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Id | ColumnType::Int | ColumnType::Money { .. } => "BIGINT",
        ColumnType::Text => "VARCHAR",
        ColumnType::Bool => "BOOLEAN",
        ColumnType::Date => "DATE",
        ColumnType::Timestamp => "TIMESTAMP",
    }
}
