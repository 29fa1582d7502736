//! The inbox: records durable first, then into the vault in loads, each once.
//!
//! ```text
//! received ─form→ loading ─vault takes the load→ stored      load: formed ─→ appended ─→ logged
//! ```
//!
//! Every arrow may be repeated: the load is fixed before the vault sees it, the vault takes a load's name once, and the log
//! entry is looked up by that name before it is appended.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use audits::{Entry, Kind};
use ids::{CampaignId, Clock, DatasetId, DestinationId, Digest, Entropy, Timestamp};
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row as _, Sqlite, Transaction};
use tokio::sync::Mutex;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{Act, Exposure, ExposureVault, Key, Resolved, Resolver, Row, VaultFailed, Who};
use crate::journal::{Journal, JournalFailed};
use crate::outbox::seal::{self, OutboxKey, SealFailed};
use crate::outbox::sqlite;

const SCHEMA: &str = include_str!("schema.sql");
/// Records of a load.
const LOAD_MAX: usize = 10_000;
/// Under which name the inbox's keys are derived; no destination has a name with a slash.
const KEY_NAME: &str = "inbox/v1";

/// Why the inbox does not do what it is asked to.
#[derive(Debug, thiserror::Error)]
pub enum InboxFailed {
    /// The store failed.
    #[error("the inbox's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A row cannot be read, or does not open with this key.
    #[error("the inbox holds a record that cannot be read: {0}")]
    Unreadable(&'static str),
    /// A record could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealFailed),
    /// The vault failed; the load stays and is given again.
    #[error(transparent)]
    Vault(#[from] VaultFailed),
    /// The log failed; the entry stays owed.
    #[error(transparent)]
    Journal(#[from] JournalFailed),
}

impl InboxFailed {
    /// A stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Database(_) => "inbox.store-failed",
            Self::Unreadable(_) => "inbox.unreadable",
            Self::Seal(_) => "inbox.seal-failed",
            Self::Vault(_) => "inbox.vault-failed",
            Self::Journal(_) => "inbox.log-failed",
        }
    }
}

/// What the inbox works with.
#[derive(Clone)]
pub struct InboxPorts {
    /// Where records end.
    pub vault: Arc<dyn ExposureVault>,
    /// Whom a token stands for.
    pub resolver: Arc<dyn Resolver>,
    /// The audit log.
    pub journal: Arc<dyn Journal>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Nonces.
    pub entropy: Arc<dyn Entropy>,
    /// The dataset that the log entries name.
    pub dataset: DatasetId,
}

impl fmt::Debug for InboxPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InboxPorts({})", self.dataset)
    }
}

/// What became of records that were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// New, and durable now.
    pub fresh: u64,
    /// Known already: nothing was done.
    pub repeated: u64,
    /// The key is known, but with other content: the first record stays, this one is noted and kept out.
    pub conflicts: Vec<Key>,
}

/// What was handed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Loads that the vault took.
    pub loads: u64,
    /// Records in them.
    pub records: u64,
    /// Records whose token stands for nobody (any more): dropped, and counted.
    pub nobody: u64,
    /// Records that wait until the map of their epoch is in memory.
    pub waiting: u64,
}

/// The inbox.
pub struct Inbox {
    pool: SqlitePool,
    seal: Zeroizing<[u8; 32]>,
    mac: Zeroizing<[u8; 32]>,
    ports: InboxPorts,
    /// One forwarding at a time.
    turn: Mutex<()>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// A token on its way into or out of a seal.
#[derive(Serialize, Deserialize, ZeroizeOnDrop)]
#[serde(transparent)]
struct Bare(String);

/// A record as it is sealed. `None` members are left out, so that equal records have equal bytes.
#[derive(Serialize, Deserialize)]
struct Written {
    act: Act,
    campaign: CampaignId,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<(DestinationId, u64, Bare)>,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<audits::Label>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creative: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon: Option<audits::Label>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount_minor: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u32>,
}

impl Written {
    fn of(exposure: &Exposure) -> Result<Zeroizing<Vec<u8>>, InboxFailed> {
        let Exposure { key: _, act, campaign, who, at, store, creative, coupon, amount_minor, duration_ms } =
            exposure;
        let member = match who {
            Who::Anybody => None,
            Who::Member { destination, epoch, token } => {
                Some((destination.clone(), *epoch, Bare(token.expose().to_owned())))
            }
        };
        let written = Self {
            act: *act,
            campaign: campaign.clone(),
            member,
            at: *at,
            store: store.clone(),
            creative: *creative,
            coupon: coupon.clone(),
            amount_minor: *amount_minor,
            duration_ms: *duration_ms,
        };
        serde_json::to_vec(&written).map(Zeroizing::new).map_err(|_| InboxFailed::Unreadable("record"))
    }

    /// The row for the vault, or what stands in the way.
    fn row(self, resolver: &dyn Resolver) -> Result<Row, Resolved> {
        let Self { act, campaign, member, at, store, creative, coupon, amount_minor, duration_ms } = self;
        let unit = match member {
            None => None,
            Some((destination, epoch, token)) => {
                let token = token.0.parse().map_err(|_| Resolved::Nobody)?;
                match resolver.resolve(&destination, epoch, &token) {
                    Resolved::Unit(unit) => Some(unit),
                    other => return Err(other),
                }
            }
        };
        Ok(Row { act, campaign, unit, at, store, creative, coupon, amount_minor, duration_ms })
    }
}

impl Inbox {
    /// Opens the file, or makes it. What a crash interrupted is finished by the next [`Inbox::forward`].
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub async fn open(path: &Path, key: &OutboxKey, ports: InboxPorts) -> Result<Self, InboxFailed> {
        let pool = sqlite::open(path, SCHEMA).await?;
        let (seal, mac) = (key.derive(KEY_NAME, b"seal")?, key.derive(KEY_NAME, b"content")?);
        Ok(Self { pool, seal, mac, ports, turn: Mutex::new(()) })
    }

    /// Takes records in, all or none. When it returns they are durable, and the sender may forget them.
    ///
    /// # Errors
    /// When the store fails; the sender keeps the records then and sends them again.
    pub async fn take(&self, records: &[Exposure]) -> Result<Taken, InboxFailed> {
        let mut taken = Taken::default();
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for exposure in records {
            self.take_one(&mut tx, exposure, &mut taken).await?;
        }
        tx.commit().await?;
        if !taken.conflicts.is_empty() {
            tracing::warn!(
                records = taken.conflicts.len(),
                "records came again under their keys with other content"
            );
        }
        Ok(taken)
    }

    async fn take_one(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        exposure: &Exposure,
        taken: &mut Taken,
    ) -> Result<(), InboxFailed> {
        let (record, content) = (exposure.key.to_string(), Written::of(exposure)?);
        let mac = self.content_mac(&record, &content);
        let known = sqlx::query("SELECT mac FROM inbox_records WHERE record = $1").bind(&record);
        let now = self.ports.clock.now().as_millis();
        match known.fetch_optional(&mut **tx).await? {
            Some(row) if row.try_get::<&str, _>("mac")? == mac => taken.repeated += 1,
            Some(_) => {
                taken.conflicts.push(exposure.key.clone());
                sqlx::query(
                    "INSERT INTO inbox_conflicts (record, mac, at) VALUES ($1, $2, $3) \
                     ON CONFLICT (record, mac) DO NOTHING",
                )
                .bind(&record)
                .bind(&mac)
                .bind(now)
                .execute(&mut **tx)
                .await?;
            }
            None => {
                taken.fresh += 1;
                let place = seal::place(b"record", record.as_bytes());
                let sealed = seal::seal(&self.seal, &place, &content, self.ports.entropy.as_ref())?;
                sqlx::query(
                    "INSERT INTO inbox_records (record, mac, stage, load, sealed, at) \
                     VALUES ($1, $2, 'received', NULL, $3, $4)",
                )
                .bind(&record)
                .bind(&mac)
                .bind(sealed)
                .bind(now)
                .execute(&mut **tx)
                .await?;
            }
        }
        Ok(())
    }

    /// Hands on what is there: first what was begun, then what came since.
    ///
    /// # Errors
    /// When the store, the vault or the log fails; the next call goes on where this one stopped.
    pub async fn forward(&self) -> Result<Forwarded, InboxFailed> {
        let _turn = self.turn.lock().await;
        let mut forwarded = Forwarded::default();
        self.finish_loads(&mut forwarded).await?;
        let mut after = String::new();
        while let Some(last) = self.form_load(&after, &mut forwarded).await? {
            after = last;
            self.finish_loads(&mut forwarded).await?;
        }
        Ok(forwarded)
    }

    /// How many records came again with other content.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn conflicts(&self) -> Result<u64, InboxFailed> {
        let row = sqlx::query("SELECT COUNT(*) AS n FROM inbox_conflicts").fetch_one(&self.pool).await?;
        u64::try_from(row.try_get::<i64, _>("n")?).map_err(|_| InboxFailed::Unreadable("n"))
    }

    /// Fixes which records the next load holds. The answer is where to go on; `None` at the end.
    async fn form_load(&self, after: &str, forwarded: &mut Forwarded) -> Result<Option<String>, InboxFailed> {
        let rows = sqlx::query(
            "SELECT record, mac, sealed FROM inbox_records WHERE stage = 'received' AND record > $1 \
             ORDER BY record LIMIT $2",
        )
        .bind(after)
        .bind(LOAD_MAX as i64)
        .fetch_all(&self.pool)
        .await?;
        let (mut chosen, mut nobody) = (Vec::new(), Vec::new());
        let mut parts: Vec<String> = Vec::new();
        for row in &rows {
            let record: String = row.try_get("record")?;
            match self.opened(row)?.row(self.ports.resolver.as_ref()) {
                Ok(_) => {
                    parts.extend([record.clone(), row.try_get("mac")?]);
                    chosen.push(record);
                }
                Err(Resolved::NotNow) => forwarded.waiting += 1,
                Err(Resolved::Nobody | Resolved::Unit(_)) => nobody.push(record),
            }
        }
        let last = rows.last().map(|row| row.try_get::<String, _>("record")).transpose()?;
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if !chosen.is_empty() {
            let mut content: Vec<&[u8]> = vec![b"activation/load/v1"];
            content.extend(parts.iter().map(String::as_bytes));
            let load = Digest::of_parts(&content).to_string();
            sqlx::query("INSERT INTO inbox_loads (id, stage, records, at) VALUES ($1, 'formed', $2, $3)")
                .bind(&load)
                .bind(chosen.len() as i64)
                .bind(self.ports.clock.now().as_millis())
                .execute(&mut *tx)
                .await?;
            for record in &chosen {
                let moved = "UPDATE inbox_records SET stage = 'loading', load = $2 WHERE record = $1";
                sqlx::query(moved).bind(record).bind(&load).execute(&mut *tx).await?;
            }
        }
        for record in &nobody {
            let dropped = "UPDATE inbox_records SET stage = 'nobody', sealed = NULL WHERE record = $1";
            sqlx::query(dropped).bind(record).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        forwarded.nobody += nobody.len() as u64;
        Ok(last)
    }

    /// Brings every load that was begun to its end.
    async fn finish_loads(&self, forwarded: &mut Forwarded) -> Result<(), InboxFailed> {
        let begun =
            sqlx::query("SELECT id, stage, records FROM inbox_loads WHERE stage <> 'logged' ORDER BY at, id");
        for row in begun.fetch_all(&self.pool).await? {
            let load: Digest =
                row.try_get::<&str, _>("id")?.parse().map_err(|_| InboxFailed::Unreadable("id"))?;
            if row.try_get::<&str, _>("stage")? == "formed" && !self.append(&load, forwarded).await? {
                continue;
            }
            self.log(&load).await?;
        }
        Ok(())
    }

    /// Gives a load to the vault, perhaps again. `false` if it has to wait for the map of an epoch.
    async fn append(&self, load: &Digest, forwarded: &mut Forwarded) -> Result<bool, InboxFailed> {
        let stored = sqlx::query("SELECT record, sealed FROM inbox_records WHERE load = $1 ORDER BY record")
            .bind(load.to_string())
            .fetch_all(&self.pool)
            .await?;
        let mut rows = Vec::with_capacity(stored.len());
        for row in &stored {
            match self.opened(row)?.row(self.ports.resolver.as_ref()) {
                Ok(row) => rows.push(row),
                Err(Resolved::NotNow) => {
                    forwarded.waiting += stored.len() as u64;
                    return Ok(false);
                }
                // Erased since the load was formed.
                Err(Resolved::Nobody | Resolved::Unit(_)) => forwarded.nobody += 1,
            }
        }
        let (vault, name, records) = (self.ports.vault.clone(), *load, rows.len() as u64);
        let appended = tokio::task::spawn_blocking(move || vault.append(&name, &rows)).await;
        let gone = |_| VaultFailed { reason: "it did not answer".to_owned() };
        let snapshot = appended.map_err(gone)??;
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "UPDATE inbox_loads SET stage = 'appended', snapshot = $2 WHERE id = $1 AND stage = 'formed'",
        )
        .bind(load.to_string())
        .bind(snapshot.to_string())
        .execute(&mut *tx)
        .await?;
        sqlx::query("UPDATE inbox_records SET stage = 'stored', sealed = NULL WHERE load = $1")
            .bind(load.to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        forwarded.loads += 1;
        forwarded.records += records;
        Ok(true)
    }

    /// Writes the entry of a load, unless the log has it.
    async fn log(&self, load: &Digest) -> Result<(), InboxFailed> {
        let row =
            sqlx::query("SELECT snapshot, records FROM inbox_loads WHERE id = $1").bind(load.to_string());
        let row = row.fetch_one(&self.pool).await?;
        let snapshot = row.try_get::<&str, _>("snapshot")?.parse();
        let entry = Entry {
            datasets: vec![self.ports.dataset.clone()],
            snapshot: Some(snapshot.map_err(|_| InboxFailed::Unreadable("snapshot"))?),
            result: Some(*load),
            ..Entry::new(Kind::ExposuresTaken)
        };
        let body = json!({ "records": row.try_get::<i64, _>("records")? }).to_string().into_bytes();
        let (journal, name) = (self.ports.journal.clone(), *load);
        let logged = tokio::task::spawn_blocking(move || match journal.find_result(&name) {
            Some(index) => Ok(index),
            None => journal.append(vec![(entry, body)]).pop().unwrap_or_else(|| Err(silent())),
        });
        let index = logged.await.map_err(|_| silent())??;
        sqlx::query("UPDATE inbox_loads SET stage = 'logged', log_index = $2 WHERE id = $1")
            .bind(load.to_string())
            .bind(i64::try_from(index).map_err(|_| InboxFailed::Unreadable("log_index"))?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    fn opened(&self, row: &SqliteRow) -> Result<Written, InboxFailed> {
        let (record, sealed): (&str, &[u8]) = (row.try_get("record")?, row.try_get("sealed")?);
        let place = seal::place(b"record", record.as_bytes());
        let content = seal::open(&self.seal, &place, sealed).ok_or(InboxFailed::Unreadable("sealed"))?;
        serde_json::from_slice(&content).map_err(|_| InboxFailed::Unreadable("content"))
    }

    /// Keyed, so that what stays when the record is gone confirms no guess about it.
    fn content_mac(&self, record: &str, content: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, self.mac.as_ref()));
        context.update(&(record.len() as u64).to_be_bytes());
        context.update(record.as_bytes());
        context.update(content);
        hex::encode(context.sign().as_ref())
    }
}

fn silent() -> JournalFailed {
    JournalFailed { reason: "its writer did not answer".to_owned() }
}
