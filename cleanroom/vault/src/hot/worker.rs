//! One thread's connection to the hot store.

use std::sync::Arc;

use arrow::array::RecordBatch;
use duckdb::Connection;

use super::HotTable;

/// A statement failed. It carries no message, because DuckDB's may quote values of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamFailed {
    /// DuckDB does not take the statement: a mistake of ours, whatever the rows.
    #[error("the hot store does not take the statement")]
    Prepare,
    /// The number of parameters is neither zero nor even.
    #[error("the statement has a wrong number of parameters")]
    Parameters,
    /// It failed while running.
    #[error("the statement failed")]
    Run,
    /// It needed more memory than the hot store has.
    #[error("the statement needs more memory than the hot store has")]
    OutOfMemory,
}

impl StreamFailed {
    /// Stable name of this failure.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Prepare => "hot-prepare",
            Self::Parameters => "hot-parameters",
            Self::Run => "hot-run",
            Self::OutOfMemory => "hot-out-of-memory",
        }
    }
}

/// A connection for one thread; it can be sent to another, not shared.
pub struct Worker {
    connection: Connection,
    /// Keeps the tables of its snapshot in the database, even when the store is dropped first.
    _tables: Vec<Arc<HotTable>>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    pub(super) const fn new(connection: Connection, tables: Vec<Arc<HotTable>>) -> Self {
        Self { connection, _tables: tables }
    }

    /// Runs `sql` for the shoppers with `lo <= unit_ix < hi` and hands its rows to `each`, batch by batch as DuckDB makes
    /// them; the result as a whole is never in memory. Parameters are bound in pairs: `$1` or the odd `?` to `lo`, `$2` or
    /// the even `?` to `hi`. Stops at the first error of `each` and returns it.
    pub fn stream<E: From<StreamFailed>>(
        &mut self,
        sql: &str,
        lo: u32,
        hi: u32,
        each: &mut dyn FnMut(&RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut statement = self.connection.prepare(sql).map_err(|_| StreamFailed::Prepare)?;
        let parameters = statement.parameter_count();
        if parameters % 2 != 0 {
            return Err(StreamFailed::Parameters.into());
        }
        let bounds = [lo, hi].into_iter().cycle().take(parameters);
        let rows =
            statement.stream_arrow(duckdb::params_from_iter(bounds)).map_err(|error| failure(&error))?;
        for batch in rows {
            each(&batch.map_err(|error| failure(&error))?)?;
        }
        Ok(())
    }
}

fn failure(error: &duckdb::Error) -> StreamFailed {
    if is_out_of_memory(error) { StreamFailed::OutOfMemory } else { StreamFailed::Run }
}

/// How DuckDB says that memory ran out. It has no code for it, so its message is searched; it goes no further.
const OUT_OF_MEMORY: [&str; 5] =
    ["Out of Memory", "could not allocate", "failed to allocate", "failed to pin", "failed to offload"];

pub(super) fn is_out_of_memory(error: &duckdb::Error) -> bool {
    let text = error.to_string();
    OUT_OF_MEMORY.iter().any(|phrase| text.contains(phrase))
}
