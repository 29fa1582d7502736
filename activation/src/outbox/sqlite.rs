//! The outbox in one SQLite file. The statements are plain SQL, so that PostgreSQL can take them over (with `BYTEA` for
//! `BLOB`).

use std::path::Path;
use std::time::Duration;

use ids::{Digest, Timestamp};
use roaring::RoaringBitmap;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, Sqlite, Transaction};

use super::store::{Change, Later, Pending, Row, Stage, Store, StoreFailed, Stored, StoredLane, StoredRow};
use crate::batch::{BatchId, Header, Lane, Op, Place};
use crate::destination::Reason;

/// The tables, made where they are missing.
const SCHEMA: &str = include_str!("schema.sql");
/// How long a statement waits for another process's transaction before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// One writer at a time: SQLite has no other, and a queue of our own beats its busy handler.
const CONNECTIONS: u32 = 1;

/// Opens a SQLite file as every store of this room is opened: write-ahead log, every commit flushed to disk.
pub(crate) async fn open(path: &Path, schema: &'static str) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?;
    sqlx::raw_sql(schema).execute(&pool).await?;
    Ok(pool)
}

/// The embedded store.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it cannot be opened or is something else.
    pub async fn open(path: &Path) -> Result<Self, StoreFailed> {
        Ok(Self { pool: open(path, SCHEMA).await? })
    }

    /// Waits for running statements and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Store for SqliteStore {
    fn load(&self) -> Later<'_, Stored> {
        Box::pin(async move {
            let mut tx = self.pool.begin().await?;
            let stored = Stored {
                generation: generation(&mut tx).await?,
                lanes: lanes(&mut tx).await?,
                rows: rows(&mut tx).await?,
                logged: logged(&mut tx).await?,
                pending: pending(&mut tx).await?,
            };
            tx.commit().await?;
            Ok(stored)
        })
    }

    fn generation(&self) -> Later<'_, u64> {
        Box::pin(async move {
            let row = sqlx::query("SELECT generation FROM outbox_generation WHERE one = 1");
            count(&row.fetch_one(&self.pool).await?, "generation")
        })
    }

    fn members<'a>(&'a self, batch: &'a BatchId) -> Later<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT kept FROM outbox_batches WHERE id = $1")
                .bind(batch.to_string())
                .fetch_optional(&self.pool)
                .await?;
            row.map_or(Ok(None), |row| Ok(row.try_get("kept")?))
        })
    }

    fn commit<'a>(&'a self, generation: u64, changes: &'a [Change]) -> Later<'a, ()> {
        Box::pin(async move {
            let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let moved = sqlx::query(
                "UPDATE outbox_generation SET generation = generation + 1 WHERE one = 1 AND generation = $1",
            )
            .bind(stored(generation)?)
            .execute(&mut *tx)
            .await?;
            if moved.rows_affected() != 1 {
                tx.rollback().await?;
                return Err(StoreFailed::Stale);
            }
            for change in changes {
                write(&mut tx, change).await?;
            }
            Ok(tx.commit().await?)
        })
    }
}

async fn write(tx: &mut Transaction<'static, Sqlite>, change: &Change) -> Result<(), StoreFailed> {
    match change {
        Change::Lane { lane, next_seq, closed } => {
            sqlx::query(
                "INSERT INTO outbox_lanes (destination, audience, next_seq, closed) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (destination, audience) DO UPDATE SET next_seq = excluded.next_seq, closed = excluded.closed",
            )
            .bind(lane.destination.as_str())
            .bind(lane.audience.as_str())
            .bind(stored(*next_seq)?)
            .bind(i64::from(*closed))
            .execute(&mut **tx)
            .await?;
            Ok(())
        }
        Change::Insert { row, units, members } => insert(tx, row, units, members).await,
        Change::Update { row, rejected } => update(tx, row, rejected.as_deref()).await,
        Change::Keep { batch, members } => {
            let done = sqlx::query("UPDATE outbox_batches SET kept = $2 WHERE id = $1")
                .bind(batch.to_string())
                .bind(members.as_deref())
                .execute(&mut **tx)
                .await?;
            one(done.rows_affected(), "the batch whose tokens change")
        }
        Change::Owe(owed) => owe(tx, owed).await,
        Change::Logged { id, index } => {
            let done = sqlx::query("UPDATE outbox_entries SET log_index = $2 WHERE id = $1")
                .bind(id.to_string())
                .bind(stored(*index)?)
                .execute(&mut **tx)
                .await?;
            one(done.rows_affected(), "the entry that was logged")
        }
    }
}

async fn insert(
    tx: &mut Transaction<'static, Sqlite>,
    row: &Row,
    units: &[u8],
    members: &[u8],
) -> Result<(), StoreFailed> {
    let Header { id, place: Place { lane, epoch, op, seq, part, expires }, count } = &row.header;
    sqlx::query(
        "INSERT INTO outbox_batches (id, destination, audience, epoch, op, seq, part, expires, members, stage, reason, \
         attempts, polls, doubt, next_at, entry, settled_entry, alarm_at, queued_at, units, kept) VALUES \
         ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
    )
    .bind(id.to_string())
    .bind(lane.destination.as_str())
    .bind(lane.audience.as_str())
    .bind(stored(*epoch)?)
    .bind(op.as_str())
    .bind(stored(*seq)?)
    .bind(i64::from(*part))
    .bind(expires.map(Timestamp::as_millis))
    .bind(i64::from(*count))
    .bind(stage_name(row.stage))
    .bind(row.reason.map(Reason::as_str))
    .bind(i64::from(row.attempts))
    .bind(i64::from(row.polls))
    .bind(i64::from(row.doubt))
    .bind(row.next_at.as_millis())
    .bind(row.entry.to_string())
    .bind(row.settled_entry.map(|entry| entry.to_string()))
    .bind(row.alarm_at.map(Timestamp::as_millis))
    .bind(row.queued_at.as_millis())
    .bind(units)
    .bind(members)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Only what may change; the rest of a batch is as it was queued.
async fn update(
    tx: &mut Transaction<'static, Sqlite>,
    row: &Row,
    rejected: Option<&[u8]>,
) -> Result<(), StoreFailed> {
    let done = sqlx::query(
        "UPDATE outbox_batches SET stage = $2, reason = $3, attempts = $4, polls = $5, doubt = $6, next_at = $7, \
         settled_entry = $8, alarm_at = $9, rejected = $10 WHERE id = $1",
    )
    .bind(row.header.id.to_string())
    .bind(stage_name(row.stage))
    .bind(row.reason.map(Reason::as_str))
    .bind(i64::from(row.attempts))
    .bind(i64::from(row.polls))
    .bind(i64::from(row.doubt))
    .bind(row.next_at.as_millis())
    .bind(row.settled_entry.map(|entry| entry.to_string()))
    .bind(row.alarm_at.map(Timestamp::as_millis))
    .bind(rejected)
    .execute(&mut **tx)
    .await?;
    one(done.rows_affected(), "the batch that changes")
}

async fn owe(tx: &mut Transaction<'static, Sqlite>, owed: &Pending) -> Result<(), StoreFailed> {
    let entry = serde_json::to_string(&owed.entry).map_err(|_| StoreFailed::Unreadable("entry"))?;
    sqlx::query(
        "INSERT INTO outbox_entries (id, n, entry, body, log_index) \
         SELECT $1, COALESCE(MAX(n), 0) + 1, $2, $3, NULL FROM outbox_entries",
    )
    .bind(owed.id.to_string())
    .bind(entry)
    .bind(&owed.body)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Exactly one row changed, or what was planned on is not there.
fn one(rows: u64, what: &'static str) -> Result<(), StoreFailed> {
    if rows == 1 { Ok(()) } else { Err(StoreFailed::Unreadable(what)) }
}

async fn generation(tx: &mut Transaction<'static, Sqlite>) -> Result<u64, StoreFailed> {
    let row =
        sqlx::query("SELECT generation FROM outbox_generation WHERE one = 1").fetch_one(&mut **tx).await?;
    count(&row, "generation")
}

async fn lanes(tx: &mut Transaction<'static, Sqlite>) -> Result<Vec<StoredLane>, StoreFailed> {
    let found = sqlx::query("SELECT * FROM outbox_lanes ORDER BY destination, audience");
    let found = found.fetch_all(&mut **tx).await?;
    let lane = |row: &SqliteRow| {
        let closed = row.try_get::<i64, _>("closed")? == 1;
        Ok(StoredLane { lane: lane_of(row)?, next_seq: count(row, "next_seq")?, closed })
    };
    found.iter().map(lane).collect()
}

async fn logged(tx: &mut Transaction<'static, Sqlite>) -> Result<Vec<(Digest, u64)>, StoreFailed> {
    let found = sqlx::query("SELECT id, log_index FROM outbox_entries WHERE log_index IS NOT NULL");
    let found = found.fetch_all(&mut **tx).await?;
    found.iter().map(|row| Ok((digest(row, "id")?, count(row, "log_index")?))).collect()
}

async fn pending(tx: &mut Transaction<'static, Sqlite>) -> Result<Vec<Pending>, StoreFailed> {
    let found = sqlx::query("SELECT id, entry, body FROM outbox_entries WHERE log_index IS NULL ORDER BY n");
    let found = found.fetch_all(&mut **tx).await?;
    let owed = |row: &SqliteRow| {
        let entry = serde_json::from_str(row.try_get("entry")?);
        let entry = entry.map_err(|_| StoreFailed::Unreadable("entry"))?;
        Ok(Pending { id: digest(row, "id")?, entry, body: row.try_get("body")? })
    };
    found.iter().map(owed).collect()
}

async fn rows(tx: &mut Transaction<'static, Sqlite>) -> Result<Vec<StoredRow>, StoreFailed> {
    let found = sqlx::query(
        "SELECT id, destination, audience, epoch, op, seq, part, expires, members, stage, reason, attempts, polls, doubt, \
         next_at, entry, settled_entry, alarm_at, queued_at, units, rejected, kept IS NOT NULL AS keeps \
         FROM outbox_batches ORDER BY destination, audience, seq, part",
    );
    let found = found.fetch_all(&mut **tx).await?;
    found.iter().map(read_row).collect()
}

/// A row of the table. Every column is checked again: the file may have been in other hands.
fn read_row(row: &SqliteRow) -> Result<StoredRow, StoreFailed> {
    let unreadable = StoreFailed::Unreadable;
    let time = |column| -> Result<Option<Timestamp>, StoreFailed> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_millis))
    };
    let op = match row.try_get("op")? {
        "add" => Op::Add,
        "remove" => Op::Remove,
        _ => return Err(unreadable("op")),
    };
    let place = Place {
        lane: lane_of(row)?,
        epoch: count(row, "epoch")?,
        op,
        seq: count(row, "seq")?,
        part: small(row, "part")?,
        expires: time("expires")?,
    };
    let id = BatchId::from_digest(digest(row, "id")?);
    let settled: Option<String> = row.try_get("settled_entry")?;
    let settled = settled.map(|text| text.parse().map_err(|_| unreadable("settled_entry"))).transpose()?;
    let stage = stage_named(row.try_get("stage")?).ok_or(unreadable("stage"))?;
    Ok(StoredRow {
        row: Row {
            header: Header { id, place, count: small(row, "members")? },
            stage,
            units: RoaringBitmap::new(),
            rejected: RoaringBitmap::new(),
            reason: row.try_get::<Option<&str>, _>("reason")?.map(Reason::named),
            attempts: small(row, "attempts")?,
            polls: small(row, "polls")?,
            doubt: row.try_get::<i64, _>("doubt")? == 1,
            next_at: time("next_at")?.ok_or(unreadable("next_at"))?,
            entry: digest(row, "entry")?,
            settled_entry: settled,
            alarm_at: time("alarm_at")?,
            queued_at: time("queued_at")?.ok_or(unreadable("queued_at"))?,
            kept: row.try_get::<i64, _>("keeps")? == 1,
        },
        units: row.try_get("units")?,
        rejected: row.try_get("rejected")?,
    })
}

fn lane_of(row: &SqliteRow) -> Result<Lane, StoreFailed> {
    let name = |column: &'static str| -> Result<&str, StoreFailed> { Ok(row.try_get(column)?) };
    let destination = name("destination")?.parse().map_err(|_| StoreFailed::Unreadable("destination"))?;
    Ok(Lane {
        destination,
        audience: name("audience")?.parse().map_err(|_| StoreFailed::Unreadable("audience"))?,
    })
}

fn digest(row: &SqliteRow, column: &'static str) -> Result<Digest, StoreFailed> {
    row.try_get::<&str, _>(column)?.parse().map_err(|_| StoreFailed::Unreadable(column))
}

/// SQL's integers are signed.
fn stored(number: u64) -> Result<i64, StoreFailed> {
    i64::try_from(number).map_err(|_| StoreFailed::TooLarge)
}

fn count(row: &SqliteRow, column: &'static str) -> Result<u64, StoreFailed> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreFailed::Unreadable(column))
}

fn small(row: &SqliteRow, column: &'static str) -> Result<u32, StoreFailed> {
    u32::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreFailed::Unreadable(column))
}

const fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Queued => "queued",
        Stage::Sending => "sending",
        Stage::Accepted => "accepted",
        Stage::Settled => "settled",
        Stage::Replaced => "replaced",
    }
}

fn stage_named(name: &str) -> Option<Stage> {
    let all = [Stage::Queued, Stage::Sending, Stage::Accepted, Stage::Settled, Stage::Replaced];
    all.into_iter().find(|stage| stage_name(*stage) == name)
}
