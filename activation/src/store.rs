//! Campaigns, the guard's verdicts and audiences, durable in one SQLite file.
//!
//! Every step is one transaction: the new state together with the log entry that it owes. Then the entry goes into the log,
//! and only then is there a [`Campaign`] of the new state. What a crash left between the two is finished by
//! [`CampaignStore::recover`], or by the next call that meets it: an entry is looked for by its result first and appended
//! only if it is missing, so that one step has one entry.
//!
//! # Guarantee
//! * A state is left at most once: of two transitions out of one state the second is refused.
//! * A campaign's name and an audience's name are never used twice; nothing is ever deleted.
//! * What comes out was checked again: the content's digest, every signature, every needed approval. Who can edit the file
//!   but holds no approver's key cannot make a campaign approved.
//! * A verdict of the guard is durable before it is told, and told again instead of judged again.

mod audiences;
mod rows;
mod seal;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use audits::Entry;
use ids::{AudienceId, CampaignId, Digest, Entropy, EntropyFailed};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, Sqlite, Transaction};

use crate::approval::Approvers;
use crate::audience::{NotAdmitted, TickFailed};
use crate::campaign::{AnyCampaign, Campaign, ContentRefused, Kept, Loaded, Moved, State};
use crate::journal::{Journal, JournalFailed};
use crate::keys::Secrets;

pub use audiences::Admission;
use rows::{number, optional, stored, text};
use seal::Seal;
pub use seal::SealBroken;

/// The tables, made where they are missing.
const SCHEMA: &str = include_str!("store/schema.sql");
/// How long a statement waits for another process's transaction before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a call waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);

/// The store failed, or does not hold what it should. The message goes to the operator.
#[derive(Debug, thiserror::Error)]
pub enum CampaignStoreFailed {
    /// The database said no.
    #[error("the store of campaigns failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A row cannot be read.
    #[error("the store of campaigns holds a row that cannot be read: {0}")]
    Unreadable(&'static str),
    /// A row says something else than what was signed: the file was in other hands.
    #[error("the store of campaigns cannot be believed about `{campaign}`: {reason}")]
    NotBelieved {
        /// Which campaign.
        campaign: CampaignId,
        /// What does not hold.
        reason: String,
    },
    /// There is none of this name.
    #[error("there is no campaign `{0}`")]
    Unknown(CampaignId),
    /// There is no audience of this name.
    #[error("there is no audience `{0}`")]
    UnknownAudience(AudienceId),
    /// The name is taken.
    #[error("the name `{0}` was used before and names are never used twice: choose another")]
    Taken(CampaignId),
    /// Somebody else was faster.
    #[error("the campaign `{0}` has gone on since it was read: read it again")]
    GoneOn(CampaignId),
    /// Somebody else was faster.
    #[error("the audience `{0}` has changed since it was read: read it again")]
    AudienceChanged(AudienceId),
    /// The guard, or the floor, said no.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The members could not be read.
    #[error(transparent)]
    Members(#[from] TickFailed),
    /// The content has no digest.
    #[error(transparent)]
    Content(#[from] ContentRefused),
    /// The log failed; the step is durable and is logged by the next call.
    #[error("{0}; the step is kept and logged as soon as the log works again")]
    Journal(#[from] JournalFailed),
    /// A sealed bitmap does not open.
    #[error(transparent)]
    Seal(#[from] SealBroken),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyFailed),
    /// The log's writer did not answer.
    #[error("the log's writer did not answer")]
    Writer,
}

/// What a list of campaigns shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its name.
    pub id: CampaignId,
    /// The state's word. It is the store's; [`CampaignStore::load`] checks it.
    pub state: String,
    /// How often it was submitted.
    pub revision: u32,
    /// Digest of its content.
    pub digest: Digest,
}

/// The store.
#[derive(Clone)]
pub struct CampaignStore {
    pool: SqlitePool,
    journal: Arc<dyn Journal>,
    entropy: Arc<dyn Entropy>,
    seal: Arc<Seal>,
}

impl std::fmt::Debug for CampaignStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CampaignStore")
    }
}

impl CampaignStore {
    /// Opens the file, or makes it, and finishes what a crash left.
    ///
    /// # Errors
    /// When the file or the log cannot be used.
    pub async fn open(
        path: &Path,
        secrets: &Secrets,
        journal: Arc<dyn Journal>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, CampaignStoreFailed> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        // One writer at a time: SQLite has no other, and a queue of our own beats its busy handler.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(TURN_TIMEOUT)
            .connect_with(options)
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        let store = Self { pool, journal, entropy, seal: Arc::new(Seal::new(secrets)) };
        store.recover().await?;
        Ok(store)
    }

    /// Waits for running statements and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that holds the write lock from its start, so that what it reads stays true.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, CampaignStoreFailed> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Takes a step: durable, then logged, then a campaign of the new state.
    ///
    /// # Errors
    /// When the state was left already, a new campaign's name is taken, or store or log fail. After
    /// [`CampaignStoreFailed::Journal`] the step is taken all the same; [`CampaignStore::load`] logs it and gives it out.
    pub async fn save<S: State>(&self, moved: Moved<S>) -> Result<Campaign<S>, CampaignStoreFailed> {
        let content = moved.content.canonical()?;
        let kept = serde_json::to_string(&moved.state.kept())
            .map_err(|_| CampaignStoreFailed::Unreadable("kept"))?;
        let mut tx = self.begin().await?;
        let rows = if moved.step == 1 {
            sqlx::query(
                "INSERT INTO campaigns (id, revision, step, state, content, digest, kept, at) \
                 VALUES ($1, $2, 1, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
            )
            .bind(moved.id().as_str())
            .bind(i64::from(moved.revision))
            .bind(S::NAME)
            .bind(&content)
            .bind(moved.digest.to_string())
            .bind(&kept)
            .bind(moved.at.as_millis())
            .execute(&mut *tx)
            .await?
        } else {
            sqlx::query(
                "UPDATE campaigns SET revision = $2, step = $3, state = $4, content = $5, digest = $6, kept = $7, \
                 at = $8 WHERE id = $1 AND step = $3 - 1",
            )
            .bind(moved.id().as_str())
            .bind(i64::from(moved.revision))
            .bind(stored(moved.step)?)
            .bind(S::NAME)
            .bind(&content)
            .bind(moved.digest.to_string())
            .bind(&kept)
            .bind(moved.at.as_millis())
            .execute(&mut *tx)
            .await?
        };
        if rows.rows_affected() != 1 {
            tx.rollback().await?;
            let id = moved.id().clone();
            return Err(if moved.step == 1 {
                CampaignStoreFailed::Taken(id)
            } else {
                CampaignStoreFailed::GoneOn(id)
            });
        }
        owe(&mut tx, moved.id(), Some(moved.step), &moved.entry, moved.at.as_millis()).await?;
        tx.commit().await?;
        let index = self.log(&moved.entry).await?;
        Ok(moved.into_campaign(index))
    }

    /// A campaign in whatever state it is in, everything checked again.
    ///
    /// # Errors
    /// When there is none, a row cannot be believed, or a step that is not logged yet cannot be logged.
    pub async fn load(
        &self,
        id: &CampaignId,
        approvers: &Approvers,
    ) -> Result<AnyCampaign, CampaignStoreFailed> {
        let row = sqlx::query(
            "SELECT c.*, e.entry, e.log_index FROM campaigns c \
             LEFT JOIN campaign_entries e ON e.campaign = c.id AND e.step = c.step WHERE c.id = $1",
        )
        .bind(id.as_str())
        .fetch_optional(&self.pool)
        .await?;
        let row = row.ok_or_else(|| CampaignStoreFailed::Unknown(id.clone()))?;
        let logged = match optional(&row, "log_index")? {
            Some(index) => index,
            None => self.log(&entry_of(&row)?).await?,
        };
        let loaded = loaded(&row, id, approvers, logged)?;
        // A state that was put in by hand is in no log, whatever the file says.
        let digest = loaded.step_digest().map_err(|_| CampaignStoreFailed::Unreadable("kept"))?;
        if self.journal.find_result(&digest) != Some(logged) {
            let reason = "its state is not the one that was logged".to_owned();
            return Err(CampaignStoreFailed::NotBelieved { campaign: id.clone(), reason });
        }
        Ok(loaded.into())
    }

    /// All campaigns, in the order of their names.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub async fn list(&self) -> Result<Vec<Summary>, CampaignStoreFailed> {
        let rows = sqlx::query("SELECT id, state, revision, digest FROM campaigns ORDER BY id")
            .fetch_all(&self.pool)
            .await?;
        let unreadable = CampaignStoreFailed::Unreadable;
        let summary = |row: &SqliteRow| {
            Ok(Summary {
                id: text(row, "id")?.parse().map_err(|_| unreadable("id"))?,
                state: text(row, "state")?,
                revision: u32::try_from(number(row, "revision")?).map_err(|_| unreadable("revision"))?,
                digest: text(row, "digest")?.parse().map_err(|_| unreadable("digest"))?,
            })
        };
        rows.iter().map(summary).collect()
    }

    /// Logs every step and verdict that a crash left without its entry.
    ///
    /// # Errors
    /// When store or log fail.
    pub async fn recover(&self) -> Result<u64, CampaignStoreFailed> {
        let rows =
            sqlx::query("SELECT entry FROM campaign_entries WHERE log_index IS NULL ORDER BY at, result")
                .fetch_all(&self.pool)
                .await?;
        for row in &rows {
            self.log(&entry_of(row)?).await?;
        }
        Ok(rows.len() as u64)
    }

    /// The index of an owed entry: where it is, or where it is put now.
    async fn log(&self, entry: &Entry) -> Result<u64, CampaignStoreFailed> {
        let result = entry.result.ok_or(CampaignStoreFailed::Unreadable("entry"))?;
        let (journal, entry) = (self.journal.clone(), entry.clone());
        let find_or_append = move || match journal.find_result(&result) {
            Some(index) => Ok(index),
            None => journal.append(vec![(entry, Vec::new())]).pop().unwrap_or_else(|| {
                Err(JournalFailed { reason: "it gave no outcome for an entry".to_owned() })
            }),
        };
        let index =
            tokio::task::spawn_blocking(find_or_append).await.map_err(|_| CampaignStoreFailed::Writer)??;
        sqlx::query("UPDATE campaign_entries SET log_index = $2 WHERE result = $1")
            .bind(result.to_string())
            .bind(stored(index)?)
            .execute(&self.pool)
            .await?;
        Ok(index)
    }
}

/// Writes down an entry that the log is owed.
async fn owe(
    tx: &mut Transaction<'static, Sqlite>,
    campaign: &CampaignId,
    step: Option<u64>,
    entry: &Entry,
    at: i64,
) -> Result<(), CampaignStoreFailed> {
    let unreadable = || CampaignStoreFailed::Unreadable("entry");
    let result = entry.result.ok_or_else(unreadable)?;
    sqlx::query(
        "INSERT INTO campaign_entries (result, campaign, step, entry, log_index, at) VALUES ($1, $2, $3, $4, NULL, $5)",
    )
    .bind(result.to_string())
    .bind(campaign.as_str())
    .bind(step.map(stored).transpose()?)
    .bind(serde_json::to_string(entry).map_err(|_| unreadable())?)
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn entry_of(row: &SqliteRow) -> Result<Entry, CampaignStoreFailed> {
    let unreadable = CampaignStoreFailed::Unreadable("entry");
    let text: Option<String> = row.try_get("entry")?;
    text.and_then(|text| serde_json::from_str(&text).ok()).ok_or(unreadable)
}

/// A row as a campaign. Nothing in it is believed because it is there.
fn loaded(
    row: &SqliteRow,
    id: &CampaignId,
    approvers: &Approvers,
    logged: u64,
) -> Result<Loaded, CampaignStoreFailed> {
    let not_believed = |reason: String| CampaignStoreFailed::NotBelieved { campaign: id.clone(), reason };
    let content = crate::campaign::Content::from_json(&text(row, "content")?)?;
    let digest = content.digest()?;
    if text(row, "digest")? != digest.to_string() || content.campaign != *id {
        return Err(not_believed("its content has another digest or name".to_owned()));
    }
    let kept: Kept =
        serde_json::from_str(&text(row, "kept")?).map_err(|_| CampaignStoreFailed::Unreadable("kept"))?;
    let revision =
        u32::try_from(number(row, "revision")?).map_err(|_| CampaignStoreFailed::Unreadable("revision"))?;
    kept.check(&content, digest, revision, approvers).map_err(|refused| not_believed(refused.to_string()))?;
    Ok(Loaded { content, digest, revision, step: number(row, "step")?, logged, kept })
}
