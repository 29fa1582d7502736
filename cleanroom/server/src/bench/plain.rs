//! The competitor: plain DuckDB in this process, with the same rows in an ordinary table.

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use duckdb::Connection;
use vault::{HotStore, StreamFailed};

use crate::failure::Failure;

/// The joined question, once exactly and once without the count of shoppers.
const DISTINCT: &str = "SELECT department, COUNT(DISTINCT shopper), SUM(amount) \
                        FROM lines JOIN products USING (product_id) GROUP BY department";
const SIMPLE: &str = "SELECT department, COUNT(*), SUM(amount) FROM lines JOIN products USING (product_id) GROUP BY department";

/// An in-memory DuckDB with `lines` and `products`.
#[derive(Debug)]
pub(super) struct Plain {
    connection: Connection,
}

/// The row of a stream that could not be copied.
struct CopyFailed(String);

impl From<StreamFailed> for CopyFailed {
    fn from(_: StreamFailed) -> Self {
        Self("the hot store could not be read".to_owned())
    }
}

impl Plain {
    /// Copies what the question needs, in the same order; shoppers are numbers, which is kind to DuckDB.
    pub(super) fn load(hot: &HotStore, threads: u16) -> Result<Self, Failure> {
        let failed = |why: duckdb::Error| Failure::failed("bench_duckdb", "plain DuckDB failed", why);
        let connection = Connection::open_in_memory().map_err(failed)?;
        connection
            .execute_batch(&format!(
                "SET threads = {threads};
                 CREATE TABLE lines (shopper UINTEGER, product_id BIGINT, amount BIGINT);
                 CREATE TABLE products (product_id BIGINT, department VARCHAR);"
            ))
            .map_err(failed)?;
        let copies = [
            ("lines", "SELECT unit_ix, product_id, amount FROM lines WHERE unit_ix >= $1 AND unit_ix < $2"),
            ("products", "SELECT product_id, department FROM products"),
        ];
        for (table, statement) in copies {
            copy(hot, &connection, table, statement)
                .map_err(|why| Failure::failed("bench_duckdb", "plain DuckDB could not be filled", why.0))?;
        }
        Ok(Self { connection })
    }

    /// Exact distinct shoppers and sales by department.
    pub(super) fn distinct(&self) -> Result<Duration, Failure> {
        self.time(DISTINCT)
    }

    /// Rows and sales by department.
    pub(super) fn simple(&self) -> Result<Duration, Failure> {
        self.time(SIMPLE)
    }

    fn time(&self, statement: &str) -> Result<Duration, Failure> {
        let failed = |why: duckdb::Error| Failure::failed("bench_duckdb", "plain DuckDB failed", why);
        let start = Instant::now();
        let mut prepared = self.connection.prepare(statement).map_err(failed)?;
        let rows: usize = prepared.query_arrow([]).map_err(failed)?.map(|batch| batch.num_rows()).sum();
        let took = start.elapsed();
        if rows == 0 {
            return Err(Failure::failed(
                "bench_duckdb",
                "plain DuckDB answered nothing",
                "its tables are empty",
            ));
        }
        Ok(took)
    }
}

fn copy(hot: &HotStore, connection: &Connection, table: &str, statement: &str) -> Result<(), CopyFailed> {
    let failed = |why: duckdb::Error| CopyFailed(why.to_string());
    let mut worker = hot.worker().map_err(|why| CopyFailed(why.to_string()))?;
    let mut appender = connection.appender(table).map_err(failed)?;
    let mut append = |batch: &RecordBatch| appender.append_record_batch(batch.clone()).map_err(failed);
    worker.stream(statement, 0, hot.units(), &mut append)?;
    appender.flush().map_err(failed)
}
