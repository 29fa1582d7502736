//! The hot store: the current snapshot in an in-memory DuckDB that can reach nothing outside itself.
//!
//! Every private table is ordered by `unit_ix`, which stands in for the unit key; every column with a list of values has
//! a sibling `"<name>#code"` with the position in that list; direct identifiers are absent. Nothing is spilled to disk:
//! what does not fit into memory is refused.
//!
//! After a change of the vault the next snapshot is filled beside the one in use, in the same database: only tables that
//! changed are filled, and nobody who is still asking the older one is disturbed.

mod consents;
mod decode;
mod merge;
mod pipeline;
mod worker;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    tables: Vec<Arc<HotTable>>,
    database: Arc<Database>,
}

/// The in-memory database that the stores of successive snapshots share.
struct Database {
    // A `Connection` is `Send` but not `Sync`; it is used only to make others and to drop tables.
    connection: Mutex<Connection>,
    /// How many fills there have been; it names tables.
    fills: AtomicU64,
}

/// One table as it was filled once; gone from the database when the last snapshot that has it is dropped.
struct HotTable {
    /// Its name in the database.
    stored: String,
    /// What it is and which parts it was filled from, to tell whether another snapshot has the same.
    table: Table,
    parts: Vec<String>,
    database: Arc<Database>,
}

impl Database {
    fn connect(&self) -> Result<Connection, VaultRefused> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.try_clone().map_err(|_| VaultRefused::Internal { act: "connecting to the hot store" })
    }
}

impl Drop for HotTable {
    fn drop(&mut self) {
        // Without a connection there is no database either, and so no table.
        if let Ok(connection) = self.database.connect() {
            let dropped = connection.execute_batch(&format!("DROP TABLE IF EXISTS {}", quoted(&self.stored)));
            if dropped.is_err() {
                tracing::warn!("a table of an older snapshot could not be dropped from memory");
            }
        }
    }
}

impl HotTable {
    /// Fills a table from the vault's parts of it.
    fn fill(
        vault: &Vault,
        table: &Table,
        database: &Arc<Database>,
        filling: &Connection,
        config: &HotStoreConfig,
        progress: &dyn Progress,
    ) -> Result<Arc<Self>, VaultRefused> {
        let stored = match database.fills.fetch_add(1, Ordering::Relaxed) {
            fill if fill < vault.catalogue().tables().len() as u64 => table.name.clone(),
            fill => format!("{}@{fill}", table.name),
        };
        // Made first, so that a fill that fails takes its table along.
        let hot = Self {
            stored,
            table: table.clone(),
            parts: part_names(vault, table),
            database: Arc::clone(database),
        };
        run(filling, &create_table(table, &hot.stored), config)?;
        progress.table(&table.name, Some(vault.rows(&table.name)));
        pipeline::fill(vault, table, &hot.stored, filling, config, progress)?;
        Ok(Arc::new(hot))
    }
}

fn part_names(vault: &Vault, table: &Table) -> Vec<String> {
    vault.manifest.parts_of(&table.name).map(|part| part.part.clone()).collect()
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
        let connection = open_database(config)?;
        let filling = connection
            .try_clone()
            .map_err(|_| VaultRefused::Internal { act: "connecting to the hot store" })?;
        let database = Arc::new(Database { connection: Mutex::new(connection), fills: AtomicU64::new(0) });
        let catalogue = vault.catalogue().clone();
        let tables = catalogue
            .tables()
            .iter()
            .map(|table| HotTable::fill(vault, table, &database, &filling, config, progress))
            .collect::<Result<_, _>>()?;
        run(&filling, "SET lock_configuration = true", config)?;
        let consents = consents::read(vault)?;
        let (snapshot, units) = (vault.snapshot(), vault.units());
        Ok(Self { catalogue, consents, snapshot, units, tables, database })
    }

    /// The vault's current snapshot beside this one, in the same database: tables whose parts are the same are shared, the
    /// others are filled anew. Questions that hold this store go on undisturbed; what only it has is freed with it.
    ///
    /// # Errors
    /// As [`HotStore::unseal`]; a table that changed is in memory twice while both stores live, so it may be too large where
    /// a new store, after this one is dropped, would fit.
    pub fn refreshed(
        &self,
        vault: &Vault,
        config: &HotStoreConfig,
        progress: &dyn Progress,
    ) -> Result<Self, VaultRefused> {
        let (catalogue, database) = (vault.catalogue().clone(), Arc::clone(&self.database));
        let filling = database.connect()?;
        let same = |table: &Table| {
            let parts = part_names(vault, table);
            self.tables.iter().find(|hot| hot.table == *table && hot.parts == parts)
        };
        let tables = catalogue
            .tables()
            .iter()
            .map(|table| match same(table) {
                Some(hot) => Ok(Arc::clone(hot)),
                None => HotTable::fill(vault, table, &database, &filling, config, progress),
            })
            .collect::<Result<_, _>>()?;
        let consents = if vault.manifest.consent_epoch == self.consents.epoch() {
            self.consents.clone()
        } else {
            consents::read(vault)?
        };
        let (snapshot, units) = (vault.snapshot(), vault.units());
        Ok(Self { catalogue, consents, snapshot, units, tables, database })
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

    /// A connection of its own for one thread. It sees the tables of this snapshot under their names in the catalogue.
    pub fn worker(&self) -> Result<Worker, VaultRefused> {
        let connection = self.database.connect()?;
        // Views of this connection only; they come before the tables of other snapshots that may have the plain name.
        for hot in self.tables.iter().filter(|hot| hot.stored != hot.table.name) {
            let (name, stored) = (quoted(&hot.table.name), quoted(&hot.stored));
            connection
                .execute_batch(&format!("CREATE TEMP VIEW {name} AS SELECT * FROM {stored}"))
                .map_err(|_| VaultRefused::Internal { act: "connecting to the hot store" })?;
        }
        Ok(Worker::new(connection, self.tables.clone()))
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

fn create_table(table: &Table, stored: &str) -> String {
    let unit = table.is_private().then(|| format!("{} UINTEGER", quoted(UNIT_IX)));
    let columns = table.visible_columns().flat_map(|column| {
        let code =
            coded(column).map(|_| format!("{} INTEGER", quoted(&format!("{}{CODE_SUFFIX}", column.name))));
        std::iter::once(format!("{} {}", quoted(&column.name), sql_type(column.ty))).chain(code)
    });
    let columns: Vec<String> = unit.into_iter().chain(columns).collect();
    format!("CREATE TABLE {} ({})", quoted(stored), columns.join(", "))
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
