//! The ledger in one SQLite file. The statements are plain SQL, so that PostgreSQL can take them over.

use std::path::Path;
use std::time::Duration;

use ids::{DatasetId, Delta, Digest, MicroRho, PartyId, ReleaseId};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, Sqlite, Transaction};

use super::{
    Balance, Charging, Later, Ledger, LedgerFailed, Limits, NewCharge, NewReuse, Record, RequestKey,
    Shortage, Spent, State, StoredAnswer,
};
use crate::error::BudgetOf;

/// The tables, made where they are missing.
const SCHEMA: &str = include_str!("schema.sql");
/// How long a statement waits for another process's transaction before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// One writer at a time: SQLite has no other, and a queue of our own beats its busy handler.
const CONNECTIONS: u32 = 1;
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);

/// The embedded ledger.
#[derive(Debug, Clone)]
pub struct SqliteLedger {
    pool: SqlitePool,
}

impl SqliteLedger {
    /// Opens the file, or makes it.
    pub async fn open(path: &Path) -> Result<Self, LedgerFailed> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(TURN_TIMEOUT)
            .connect_with(options)
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Waits for running statements and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that holds the write lock from its start, so that what it reads stays true.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, LedgerFailed> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

impl Ledger for SqliteLedger {
    fn find<'a>(&'a self, key: &'a RequestKey) -> Later<'a, Option<Record>> {
        Box::pin(async move {
            let mut tx = self.begin().await?;
            let found = find(&mut tx, key).await?;
            tx.commit().await?;
            Ok(found)
        })
    }

    fn reusable(&self, reuse: Digest, rho: MicroRho) -> Later<'_, Option<Record>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT * FROM requests WHERE reuse = $1 AND state = 'released' AND rho >= $2 \
                 ORDER BY rho DESC, at, request LIMIT 1",
            )
            .bind(reuse.to_string())
            .bind(stored(rho.units())?)
            .fetch_optional(&self.pool)
            .await?;
            row.map(|row| record(&row, Vec::new())).transpose()
        })
    }

    fn charge(&self, charge: NewCharge) -> Later<'_, Charging> {
        Box::pin(async move {
            let mut tx = self.begin().await?;
            let outcome = charge_in(&mut tx, &charge).await?;
            match &outcome {
                Charging::Charged(_) => tx.commit().await?,
                Charging::Existing(_) | Charging::Exhausted(_) => tx.rollback().await?,
            }
            Ok(outcome)
        })
    }

    fn charge_logged<'a>(&'a self, key: &'a RequestKey, index: u64) -> Later<'a, ()> {
        Box::pin(async move {
            sqlx::query("UPDATE requests SET charge_index = $3 WHERE party = $1 AND request = $2")
                .bind(key.party.as_str())
                .bind(key.request.as_str())
                .bind(stored(index)?)
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }

    fn pend<'a>(&'a self, key: &'a RequestKey, answer: StoredAnswer) -> Later<'a, ()> {
        Box::pin(async move {
            let done = sqlx::query(
                "UPDATE requests SET state = 'pending', release_id = $3, body = $4, noisy = $5, result = $6, \
                 entry = $7 WHERE party = $1 AND request = $2 AND state = 'charged'",
            )
            .bind(key.party.as_str())
            .bind(key.request.as_str())
            .bind(answer.release.as_str())
            .bind(&answer.body)
            .bind(&answer.noisy)
            .bind(answer.result.to_string())
            .bind(written(&answer.entry)?)
            .execute(&self.pool)
            .await?;
            one(done.rows_affected(), key, State::Charged)
        })
    }

    fn reuse(&self, reuse: NewReuse) -> Later<'_, ()> {
        Box::pin(async move {
            let NewReuse { key, fingerprint, dataset, log_size, answer, at } = reuse;
            let done = sqlx::query(
                "INSERT INTO requests (party, request, fingerprint, state, dataset, rho, delta, log_size, release_id, \
                 body, noisy, result, entry, at) VALUES ($1, $2, $3, 'pending', $4, 0, 0, $5, $6, $7, $8, $9, $10, $11) \
                 ON CONFLICT (party, request) DO NOTHING",
            )
            .bind(key.party.as_str())
            .bind(key.request.as_str())
            .bind(fingerprint.to_string())
            .bind(dataset.as_str())
            .bind(stored(log_size)?)
            .bind(answer.release.as_str())
            .bind(&answer.body)
            .bind(&answer.noisy)
            .bind(answer.result.to_string())
            .bind(written(&answer.entry)?)
            .bind(at.as_millis())
            .execute(&self.pool)
            .await?;
            one(done.rows_affected(), &key, State::Charged)
        })
    }

    fn release<'a>(&'a self, key: &'a RequestKey, receipt: String, tree_size: u64) -> Later<'a, ()> {
        Box::pin(async move {
            sqlx::query(
                "UPDATE requests SET state = 'released', receipt = $3, tree_size = $4 \
                 WHERE party = $1 AND request = $2 AND state = 'pending'",
            )
            .bind(key.party.as_str())
            .bind(key.request.as_str())
            .bind(receipt)
            .bind(stored(tree_size)?)
            .execute(&self.pool)
            .await?;
            Ok(())
        })
    }

    fn fail<'a>(&'a self, key: &'a RequestKey) -> Later<'a, ()> {
        Box::pin(async move {
            sqlx::query(
                "UPDATE requests SET state = 'failed' WHERE party = $1 AND request = $2 AND state = 'charged'",
            )
            .bind(key.party.as_str())
            .bind(key.request.as_str())
            .execute(&self.pool)
            .await?;
            Ok(())
        })
    }

    fn released<'a>(&'a self, party: &'a PartyId, release: &'a ReleaseId) -> Later<'a, Option<Record>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT * FROM requests WHERE party = $1 AND release_id = $2 AND state = 'released'",
            )
            .bind(party.as_str())
            .bind(release.as_str())
            .fetch_optional(&self.pool)
            .await?;
            row.map(|row| record(&row, Vec::new())).transpose()
        })
    }

    fn spent<'a>(
        &'a self,
        dataset: &'a DatasetId,
        blocks: &'a [String],
        party: &'a PartyId,
    ) -> Later<'a, Vec<Spent>> {
        Box::pin(async move {
            let mut tx = self.begin().await?;
            let mut all = Vec::with_capacity(blocks.len());
            for block in blocks {
                all.push(spent_of(&mut tx, dataset, block, party).await?);
            }
            tx.commit().await?;
            Ok(all)
        })
    }

    fn unfinished(&self) -> Later<'_, Vec<Record>> {
        Box::pin(async move {
            let mut tx = self.begin().await?;
            let rows = sqlx::query(
                "SELECT * FROM requests WHERE state = 'pending' \
                 OR (charge_entry IS NOT NULL AND charge_index IS NULL) ORDER BY at, party, request",
            )
            .fetch_all(&mut *tx)
            .await?;
            let mut records = Vec::with_capacity(rows.len());
            for row in rows {
                let mut found = record(&row, Vec::new())?;
                found.blocks = blocks_of(&mut tx, &found.key).await?;
                records.push(found);
            }
            tx.commit().await?;
            Ok(records)
        })
    }

    fn log_size_known(&self) -> Later<'_, u64> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT COALESCE(MAX(tree_size), 0) AS receipts, COALESCE(MAX(charge_index + 1), 0) AS charges \
                 FROM requests",
            )
            .fetch_one(&self.pool)
            .await?;
            Ok(count(&row, "receipts")?.max(count(&row, "charges")?))
        })
    }

    fn crooked_block(&self) -> Later<'_, Option<String>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT block FROM ( \
                   SELECT dataset, block, party, rho, delta FROM accounts \
                   UNION ALL \
                   SELECT dataset, block, party, -rho, -delta FROM charges \
                 ) AS sides GROUP BY dataset, block, party HAVING SUM(rho) <> 0 OR SUM(delta) <> 0 \
                 ORDER BY dataset, block LIMIT 1",
            )
            .fetch_optional(&self.pool)
            .await?;
            row.map(|row| Ok(row.try_get::<String, _>("block")?)).transpose()
        })
    }
}

/// The charge, within its transaction.
async fn charge_in(
    tx: &mut Transaction<'static, Sqlite>,
    charge: &NewCharge,
) -> Result<Charging, LedgerFailed> {
    if let Some(existing) = find(tx, &charge.key).await? {
        return Ok(Charging::Existing(Box::new(existing)));
    }
    let mut left = Balance::UNLIMITED;
    let mut shortage: Option<(String, BudgetOf, u64)> = None;
    for block in &charge.blocks {
        let spent = spent_of(tx, &charge.dataset, block, &charge.key.party).await?;
        let of_block = charge.limits.left(&spent);
        left = left.min(of_block);
        if let Some(of) = short_of(&charge.limits, &spent, charge.rho, charge.delta)
            && shortage.as_ref().is_none_or(|(_, _, least)| of_block.rho.units() < *least)
        {
            shortage = Some((block.clone(), of, of_block.rho.units()));
        }
    }
    if let Some((block, of, _)) = shortage {
        return Ok(Charging::Exhausted(Shortage { block, of, left }));
    }
    insert_charge(tx, charge).await?;
    Ok(Charging::Charged(Balance { rho: left.rho.minus(charge.rho), delta: left.delta.minus(charge.delta) }))
}

/// Which budget of a block the charge would overdraw.
fn short_of(limits: &Limits, spent: &Spent, rho: MicroRho, delta: Delta) -> Option<BudgetOf> {
    let over = |spent: MicroRho, cap: MicroRho| spent.plus(rho).map_or(true, |sum| sum > cap);
    if over(spent.party, limits.quota) {
        Some(BudgetOf::Party)
    } else if over(spent.all, limits.cap) {
        Some(BudgetOf::Block)
    } else if spent.delta.plus(delta).map_or(true, |sum| sum > limits.delta) {
        Some(BudgetOf::Delta)
    } else {
        None
    }
}

/// Writes a charge that fits: the request, its blocks, and the accounts.
async fn insert_charge(
    tx: &mut Transaction<'static, Sqlite>,
    charge: &NewCharge,
) -> Result<(), LedgerFailed> {
    let (party, request) = (charge.key.party.as_str(), charge.key.request.as_str());
    let (rho, delta) = (stored(charge.rho.units())?, stored(charge.delta.units())?);
    sqlx::query(
        "INSERT INTO requests (party, request, fingerprint, state, dataset, rho, delta, reuse, log_size, charge_entry, \
         at) VALUES ($1, $2, $3, 'charged', $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(party)
    .bind(request)
    .bind(charge.fingerprint.to_string())
    .bind(charge.dataset.as_str())
    .bind(rho)
    .bind(delta)
    .bind(charge.reuse.to_string())
    .bind(stored(charge.log_size)?)
    .bind(written(&charge.entry)?)
    .bind(charge.at.as_millis())
    .execute(&mut **tx)
    .await?;
    for block in &charge.blocks {
        sqlx::query("INSERT INTO charges (party, request, dataset, block, rho, delta) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(party)
            .bind(request)
            .bind(charge.dataset.as_str())
            .bind(block)
            .bind(rho)
            .bind(delta)
            .execute(&mut **tx)
            .await?;
        sqlx::query(
            "INSERT INTO accounts (dataset, block, party, rho, delta) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (dataset, block, party) \
             DO UPDATE SET rho = accounts.rho + excluded.rho, delta = accounts.delta + excluded.delta",
        )
        .bind(charge.dataset.as_str())
        .bind(block)
        .bind(party)
        .bind(rho)
        .bind(delta)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// A request with its blocks.
async fn find(
    tx: &mut Transaction<'static, Sqlite>,
    key: &RequestKey,
) -> Result<Option<Record>, LedgerFailed> {
    let row = sqlx::query("SELECT * FROM requests WHERE party = $1 AND request = $2")
        .bind(key.party.as_str())
        .bind(key.request.as_str())
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let blocks = blocks_of(tx, key).await?;
    record(&row, blocks).map(Some)
}

async fn blocks_of(
    tx: &mut Transaction<'static, Sqlite>,
    key: &RequestKey,
) -> Result<Vec<String>, LedgerFailed> {
    let rows = sqlx::query("SELECT block FROM charges WHERE party = $1 AND request = $2 ORDER BY block")
        .bind(key.party.as_str())
        .bind(key.request.as_str())
        .fetch_all(&mut **tx)
        .await?;
    rows.iter().map(|row| Ok(row.try_get("block")?)).collect()
}

/// What was spent of a block, by all and by one.
async fn spent_of(
    tx: &mut Transaction<'static, Sqlite>,
    dataset: &DatasetId,
    block: &str,
    party: &PartyId,
) -> Result<Spent, LedgerFailed> {
    let row = sqlx::query(
        "SELECT COALESCE(SUM(rho), 0) AS everyone, COALESCE(SUM(delta), 0) AS delta, \
         COALESCE(SUM(CASE WHEN party = $3 THEN rho ELSE 0 END), 0) AS party \
         FROM accounts WHERE dataset = $1 AND block = $2",
    )
    .bind(dataset.as_str())
    .bind(block)
    .bind(party.as_str())
    .fetch_one(&mut **tx)
    .await?;
    Ok(Spent {
        all: MicroRho::from_units(count(&row, "everyone")?),
        party: MicroRho::from_units(count(&row, "party")?),
        delta: Delta::from_units(count(&row, "delta")?),
    })
}

/// Exactly one row changed, or the request was in another state.
fn one(rows: u64, key: &RequestKey, expected: State) -> Result<(), LedgerFailed> {
    if rows == 1 {
        Ok(())
    } else {
        Err(LedgerFailed::State { request: key.request.clone(), expected: expected.as_str() })
    }
}

/// SQL's integers are signed.
fn stored(number: u64) -> Result<i64, LedgerFailed> {
    i64::try_from(number).map_err(|_| LedgerFailed::TooLarge)
}

fn count(row: &SqliteRow, column: &'static str) -> Result<u64, LedgerFailed> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| LedgerFailed::Unreadable(column))
}

fn written(entry: &audits::Entry) -> Result<String, LedgerFailed> {
    serde_json::to_string(entry).map_err(|_| LedgerFailed::Unreadable("entry"))
}

/// A row as a record. Every column is checked again: the file may have been in other hands.
fn record(row: &SqliteRow, blocks: Vec<String>) -> Result<Record, LedgerFailed> {
    let text = |column: &'static str| -> Result<Option<String>, LedgerFailed> { Ok(row.try_get(column)?) };
    let needed = |column: &'static str| text(column)?.ok_or(LedgerFailed::Unreadable(column));
    let number = |column: &'static str| -> Result<Option<u64>, LedgerFailed> {
        let value: Option<i64> = row.try_get(column)?;
        value.map(|value| u64::try_from(value).map_err(|_| LedgerFailed::Unreadable(column))).transpose()
    };
    let unreadable = LedgerFailed::Unreadable;
    let state = match needed("state")?.as_str() {
        "charged" => State::Charged,
        "pending" => State::Pending,
        "released" => State::Released,
        "failed" => State::Failed,
        _ => return Err(unreadable("state")),
    };
    let entry_of = |column: &'static str| {
        text(column)?.map(|json| serde_json::from_str(&json).map_err(|_| unreadable(column))).transpose()
    };
    let answer = match text("release_id")? {
        None => None,
        Some(release) => Some(StoredAnswer {
            release: release.parse().map_err(|_| unreadable("release_id"))?,
            body: needed("body")?,
            noisy: needed("noisy")?,
            result: needed("result")?.parse().map_err(|_| unreadable("result"))?,
            entry: entry_of("entry")?.ok_or(unreadable("entry"))?,
        }),
    };
    Ok(Record {
        key: RequestKey {
            party: needed("party")?.parse().map_err(|_| unreadable("party"))?,
            request: needed("request")?.parse().map_err(|_| unreadable("request"))?,
        },
        fingerprint: needed("fingerprint")?.parse().map_err(|_| unreadable("fingerprint"))?,
        state,
        dataset: needed("dataset")?.parse().map_err(|_| unreadable("dataset"))?,
        rho: MicroRho::from_units(count(row, "rho")?),
        delta: Delta::from_units(count(row, "delta")?),
        blocks,
        log_size: count(row, "log_size")?,
        charge_entry: entry_of("charge_entry")?,
        charge_index: number("charge_index")?,
        answer,
        receipt: text("receipt")?,
    })
}
