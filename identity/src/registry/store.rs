//! The registry in one SQLite file. The statements are plain SQL, so that PostgreSQL can take them over.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use ids::{Digest, PurposeId, Timestamp};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{QueryBuilder, Row, Sqlite, Transaction};

use super::record::{
    Applied, CurrentConsent, Effective, Method, NewEvent, Operation, PendingChange, RecordId, Recorder,
    StoredRecord,
};
use super::terms::{Terms, TermsRefused};
use crate::consents::ConsentEvent;
use crate::pseudonym::ShopperPseudonym;

/// The tables, made where they are missing.
const SCHEMA: &str = include_str!("schema.sql");
/// How long a statement waits for another process's transaction before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// One writer at a time: SQLite has no other.
const CONNECTIONS: u32 = 1;
/// Rows per statement: far below the parameters that a statement may have.
const ROWS_PER_STATEMENT: usize = 500;
/// Terms that run out in one change; the rest is swept by the next.
const SWEEP_MAX: usize = 200_000;
/// How far the clock of whoever recorded an event may be ahead of ours.
const CLOCK_LEEWAY_SECS: i64 = 300;

/// The store failed. Its message may hold paths and goes to the operator only.
#[derive(Debug, thiserror::Error)]
pub enum RegistryFailed {
    /// The database said no.
    #[error("the consent registry's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A row cannot be read.
    #[error("the consent registry holds a row that cannot be read: its {0}")]
    Unreadable(&'static str),
}

/// Why a change was not made; nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum ConsentRefused {
    /// No event.
    #[error("there is no consent event to record")]
    Nothing,
    /// Consent given without terms.
    #[error("consent is given on terms (notice, controller, recipients), but none are stated")]
    TermsMissing,
    /// Terms that nobody can agree to.
    #[error(transparent)]
    Terms(#[from] TermsRefused),
    /// An event of the future.
    #[error("a consent event lies in the future: check its time and the clocks")]
    Future,
    /// Consent without term, or one that ends before it begins; or a withdrawal with a term.
    #[error(
        "consent that is given must have a term that ends after it begins, and a withdrawal none (94-V art. 8)"
    )]
    Term,
    /// Expiry is not told but follows.
    #[error("that a term ran out follows from the term and cannot be recorded")]
    Expired,
    /// The shopper was erased after this event.
    #[error("the shopper was erased after this event: only a consent given later counts")]
    Erased,
    /// The store failed.
    #[error(transparent)]
    Failed(#[from] RegistryFailed),
}

impl From<sqlx::Error> for ConsentRefused {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl ConsentRefused {
    /// A stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Nothing => "consent_nothing",
            Self::TermsMissing => "consent_terms_missing",
            Self::Terms(_) => "consent_terms",
            Self::Future => "consent_future",
            Self::Term => "consent_term",
            Self::Expired => "consent_expired",
            Self::Erased => "consent_erased",
            Self::Failed(_) => "consent_registry_failed",
        }
    }
}

/// The embedded registry. Every method is one transaction.
///
/// # Guarantee
/// Events are never changed; a change is there as a whole or not at all, with the next epoch; recording the same events
/// again changes nothing. SQLite: WAL, `synchronous = FULL`, `BEGIN IMMEDIATE`, one connection, `secure_delete`.
#[derive(Debug, Clone)]
pub struct Registry {
    pool: SqlitePool,
}

impl Registry {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub async fn open(path: &Path) -> Result<Self, RegistryFailed> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // What is erased is overwritten, not only forgotten.
            .pragma("secure_delete", "ON")
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Waits for running statements and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Number of the current state: 0 for an empty registry, and one more with each change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn epoch(&self) -> Result<u64, RegistryFailed> {
        let row = sqlx::query("SELECT COALESCE(MAX(epoch), 0) AS epoch FROM consent_changes")
            .fetch_one(&self.pool)
            .await?;
        count(&row, "epoch")
    }

    /// Records what one shopper said, for one purpose or several.
    ///
    /// # Errors
    /// See [`ConsentRefused`]; nothing is recorded then.
    pub async fn record(
        &self,
        events: Vec<NewEvent>,
        terms: Option<&Terms>,
        by: &Recorder,
    ) -> Result<Applied, ConsentRefused> {
        self.take(Operation::Record, events, terms, by).await
    }

    /// Records what many shoppers said, all of it or nothing. Events of shoppers who were erased later are left out and
    /// counted.
    ///
    /// # Errors
    /// See [`ConsentRefused`]; nothing is recorded then.
    pub async fn import(
        &self,
        events: Vec<NewEvent>,
        terms: Option<&Terms>,
        by: &Recorder,
    ) -> Result<Applied, ConsentRefused> {
        self.take(Operation::Import, events, terms, by).await
    }

    async fn take(
        &self,
        operation: Operation,
        events: Vec<NewEvent>,
        terms: Option<&Terms>,
        by: &Recorder,
    ) -> Result<Applied, ConsentRefused> {
        let terms = written(&events, terms, by.at)?;
        let given =
            |event: &NewEvent| terms.as_ref().filter(|_| event.event == ConsentEvent::Given).map(|(d, _)| d);
        let named: Vec<(RecordId, NewEvent)> =
            events.into_iter().map(|event| (RecordId::of(&event, given(&event)), event)).collect();
        let records = named.iter().map(|(id, _)| id.clone()).collect();

        let mut tx = self.begin().await?;
        let erasures = erasures(&mut tx).await?;
        let gone =
            |event: &NewEvent| erasures.get(&tombstone(&event.subject)).is_some_and(|&at| event.at <= at);
        let (gone, left): (Vec<_>, Vec<_>) = named.into_iter().partition(|(_, event)| gone(event));
        if operation == Operation::Record && !gone.is_empty() {
            return Err(ConsentRefused::Erased);
        }
        let fresh = unknown(&mut tx, left).await?;
        let erased = gone.len() as u64;
        if fresh.is_empty() {
            tx.rollback().await?;
            return Ok(Applied {
                epoch: self.epoch().await?,
                pending: None,
                records,
                events: Vec::new(),
                erased,
            });
        }
        let pending = write(&mut tx, operation, &fresh, terms.as_ref(), by).await?;
        tx.commit().await?;
        let events = fresh.into_iter().map(|(_, event)| event).collect();
        Ok(Applied { epoch: pending.epoch, pending: Some(pending), records, events, erased })
    }

    /// Ends every consent whose term has run out by `by.at`, at the moment it ran out. Where more terms have run out than
    /// one change takes, the next call goes on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep(&self, by: &Recorder) -> Result<Applied, ConsentRefused> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query(
            "SELECT subject, purpose, valid_until FROM consent_state \
             WHERE event = 'given' AND valid_until <= $1 ORDER BY valid_until, subject, purpose LIMIT $2",
        )
        .bind(by.at.as_millis())
        .bind(i64::try_from(SWEEP_MAX).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        let events: Result<Vec<(RecordId, NewEvent)>, RegistryFailed> = rows
            .iter()
            .map(|row| {
                let event = NewEvent {
                    subject: subject(row)?,
                    purpose: purpose(row)?,
                    event: ConsentEvent::Expired,
                    at: Timestamp::from_millis(row.try_get("valid_until")?),
                    valid_until: None,
                    method: Method::Term,
                    evidence: None,
                };
                Ok((RecordId::of(&event, None), event))
            })
            .collect();
        // An event that is known and yet did not come to count would make this run for ever; there is none, because its
        // time is later than that of the consent it ends.
        let events = unknown(&mut tx, events?).await?;
        if events.is_empty() {
            tx.rollback().await?;
            return Ok(Applied {
                epoch: self.epoch().await?,
                pending: None,
                records: Vec::new(),
                events: Vec::new(),
                erased: 0,
            });
        }
        let pending = write(&mut tx, Operation::Sweep, &events, None, by).await?;
        tx.commit().await?;
        let (records, events) = events.into_iter().unzip();
        Ok(Applied { epoch: pending.epoch, pending: Some(pending), records, events, erased: 0 })
    }

    /// The first moment at which a term runs out, so that a sweep can be due then.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_end(&self) -> Result<Option<Timestamp>, RegistryFailed> {
        let row = sqlx::query("SELECT MIN(valid_until) AS first FROM consent_state WHERE event = 'given'")
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get::<Option<i64>, _>("first")?.map(Timestamp::from_millis))
    }

    /// Erases a shopper: every event and state goes, a tombstone stays. What the change's events say is that all consents
    /// the registry knew end now. Erasing somebody who is not there leaves a tombstone too; erasing again changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase(&self, subject: &ShopperPseudonym, by: &Recorder) -> Result<Applied, ConsentRefused> {
        let mut tx = self.begin().await?;
        let stone = tombstone(subject);
        let states = sqlx::query("SELECT purpose FROM consent_state WHERE subject = $1 ORDER BY purpose")
            .bind(subject.as_bytes().as_slice())
            .fetch_all(&mut *tx)
            .await?;
        let known = erasures(&mut tx).await?.get(&stone).copied();
        if known.is_some() && states.is_empty() {
            tx.rollback().await?;
            return Ok(Applied {
                epoch: self.epoch().await?,
                pending: None,
                records: Vec::new(),
                events: Vec::new(),
                erased: 0,
            });
        }
        for statement in
            ["DELETE FROM consent_events WHERE subject = $1", "DELETE FROM consent_state WHERE subject = $1"]
        {
            sqlx::query(statement).bind(subject.as_bytes().as_slice()).execute(&mut *tx).await?;
        }
        // Never back: an erasure with a clock that went backwards must not revive older consents.
        let at = known.map_or(by.at, |known| known.max(by.at));
        sqlx::query(
            "INSERT INTO consent_erased (subject, erased_at) VALUES ($1, $2) \
             ON CONFLICT (subject) DO UPDATE SET erased_at = excluded.erased_at",
        )
        .bind(stone.to_string())
        .bind(at.as_millis())
        .execute(&mut *tx)
        .await?;
        let events: Result<Vec<NewEvent>, RegistryFailed> = states
            .iter()
            .map(|row| {
                Ok(NewEvent {
                    subject: *subject,
                    purpose: purpose(row)?,
                    event: ConsentEvent::Withdrawn,
                    at,
                    valid_until: None,
                    method: Method::Desk,
                    evidence: None,
                })
            })
            .collect();
        let events = events?;
        let pending =
            change(&mut tx, Operation::Erase, events.len(), &[stone.as_bytes().as_slice()], by).await?;
        tx.commit().await?;
        // The write-ahead log still holds the pages as they were: write them over in the file, and cut it.
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.pool).await?;
        Ok(Applied { epoch: pending.epoch, pending: Some(pending), records: Vec::new(), events, erased: 0 })
    }

    /// When this shopper was erased, if they were. Whoever builds bitmaps denies an erased shopper every purpose as of then,
    /// as long as other sources still know them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erasures(&self) -> Result<Erasures, RegistryFailed> {
        let mut tx = self.begin().await?;
        let all = erasures(&mut tx).await?;
        tx.commit().await?;
        Ok(Erasures(all))
    }

    /// The latest event of every shopper and purpose, as of `now`: a consent whose term has run out comes as expired,
    /// whether or not it was swept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn each_state(
        &self,
        now: Timestamp,
        each: &mut (dyn for<'a> FnMut(Effective<'a>) + Send),
    ) -> Result<(), RegistryFailed> {
        let mut tx = self.begin().await?;
        let (mut last_subject, mut last_purpose) = (Vec::new(), String::new());
        loop {
            let rows = sqlx::query(
                "SELECT subject, purpose, event, at, valid_until FROM consent_state \
                 WHERE subject > $1 OR (subject = $1 AND purpose > $2) ORDER BY subject, purpose LIMIT 10000",
            )
            .bind(last_subject.as_slice())
            .bind(&last_purpose)
            .fetch_all(&mut *tx)
            .await?;
            for row in &rows {
                let (subject, purpose) = (subject(row)?, purpose(row)?);
                let (event, at, valid_until) = latest(row, now)?;
                each(Effective { subject: &subject, purpose: &purpose, event, at, valid_until });
            }
            let Some(row) = rows.last() else { break };
            (last_subject, last_purpose) = (row.try_get("subject")?, row.try_get("purpose")?);
        }
        tx.commit().await?;
        Ok(())
    }

    /// The current state of one shopper as of `now`, by purpose.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn current(
        &self,
        subject: &ShopperPseudonym,
        now: Timestamp,
    ) -> Result<Vec<CurrentConsent>, RegistryFailed> {
        let rows = sqlx::query(
            "SELECT purpose, event, at, valid_until FROM consent_state WHERE subject = $1 ORDER BY purpose",
        )
        .bind(subject.as_bytes().as_slice())
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let (event, at, valid_until) = latest(row, now)?;
                Ok(CurrentConsent { purpose: purpose(row)?, event, at, valid_until })
            })
            .collect()
    }

    /// Every record of one shopper, oldest first: for the shopper (GDPR art. 15) and for the receipts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn records(&self, subject: &ShopperPseudonym) -> Result<Vec<StoredRecord>, RegistryFailed> {
        let rows = sqlx::query(
            "SELECT e.*, t.body AS terms_body, c.digest AS change_digest, c.log_index FROM consent_events AS e \
             LEFT JOIN consent_terms AS t ON t.digest = e.terms \
             JOIN consent_changes AS c ON c.epoch = e.epoch \
             WHERE e.subject = $1 ORDER BY e.sequence",
        )
        .bind(subject.as_bytes().as_slice())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(stored).collect()
    }

    /// Changes whose log entry may be missing, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pending(&self) -> Result<Vec<PendingChange>, RegistryFailed> {
        let rows = sqlx::query("SELECT * FROM consent_changes WHERE state = 'pending' ORDER BY epoch")
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(PendingChange {
                    epoch: count(row, "epoch")?,
                    operation: operation(&row.try_get::<String, _>("operation")?)?,
                    events: count(row, "events")?,
                    digest: digest(&row.try_get::<String, _>("digest")?)?,
                    entry: row.try_get("entry")?,
                })
            })
            .collect()
    }

    /// The change of this epoch stands in the log at `index`. Repeating it changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn logged(&self, epoch: u64, index: u64) -> Result<(), RegistryFailed> {
        sqlx::query("UPDATE consent_changes SET state = 'logged', log_index = $2 WHERE epoch = $1 AND state = 'pending'")
            .bind(number(epoch)?)
            .bind(number(index)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whether a change with this digest was made here. The log names one that was not: then this file is older than the
    /// log, withdrawals are missing in it, and nothing may be answered from it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn knows(&self, change: &Digest) -> Result<bool, RegistryFailed> {
        let row = sqlx::query("SELECT epoch FROM consent_changes WHERE digest = $1")
            .bind(change.to_string())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }

    /// The largest known place of a change in the log: a log that is not longer than this is older than the registry.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_index_known(&self) -> Result<Option<u64>, RegistryFailed> {
        let row =
            sqlx::query("SELECT MAX(log_index) AS last FROM consent_changes").fetch_one(&self.pool).await?;
        let last: Option<i64> = row.try_get("last")?;
        last.map(|last| u64::try_from(last).map_err(|_| RegistryFailed::Unreadable("log index"))).transpose()
    }

    /// A transaction that holds the write lock from its start, so that what it reads stays true.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, RegistryFailed> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Who was erased, and when.
#[derive(Clone)]
pub struct Erasures(HashMap<Digest, Timestamp>);

impl Erasures {
    /// When this shopper was erased, if they were.
    pub fn of(&self, subject: &ShopperPseudonym) -> Option<Timestamp> {
        if self.0.is_empty() { None } else { self.0.get(&tombstone(subject)).copied() }
    }

    /// Whether nobody was.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Erasures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Erasures({})", self.0.len())
    }
}

/// What stays of an erased shopper. The pseudonym is keyed, so nobody can test a card against this without the vault's key.
fn tombstone(subject: &ShopperPseudonym) -> Digest {
    Digest::of_parts(&[b"consent tombstone 1", subject.as_bytes()])
}

/// Checks the events; gives the terms as they are stored, if consent is given on some.
fn written(
    events: &[NewEvent],
    terms: Option<&Terms>,
    now: Timestamp,
) -> Result<Option<(Digest, String)>, ConsentRefused> {
    if events.is_empty() {
        return Err(ConsentRefused::Nothing);
    }
    let latest = now.plus_secs(CLOCK_LEEWAY_SECS);
    for event in events {
        match (event.event, event.valid_until) {
            _ if event.at > latest => return Err(ConsentRefused::Future),
            (ConsentEvent::Given, Some(until)) if until > event.at => {}
            (ConsentEvent::Withdrawn, None) => {}
            (ConsentEvent::Expired, _) => return Err(ConsentRefused::Expired),
            _ => return Err(ConsentRefused::Term),
        }
    }
    if !events.iter().any(|event| event.event == ConsentEvent::Given) {
        return Ok(None);
    }
    let terms = terms.ok_or(ConsentRefused::TermsMissing)?;
    terms.check()?;
    let body = terms.canonical()?;
    Ok(Some((Terms::digest_of(&body), body)))
}

/// All tombstones: there are as few as there are erasures.
async fn erasures(
    tx: &mut Transaction<'static, Sqlite>,
) -> Result<HashMap<Digest, Timestamp>, RegistryFailed> {
    let rows = sqlx::query("SELECT subject, erased_at FROM consent_erased").fetch_all(&mut **tx).await?;
    rows.iter()
        .map(|row| {
            let at = Timestamp::from_millis(row.try_get("erased_at")?);
            Ok((digest(&row.try_get::<String, _>("subject")?)?, at))
        })
        .collect()
}

/// Those of the events that are not recorded yet, each once.
async fn unknown(
    tx: &mut Transaction<'static, Sqlite>,
    named: Vec<(RecordId, NewEvent)>,
) -> Result<Vec<(RecordId, NewEvent)>, RegistryFailed> {
    let mut known: HashSet<String> = HashSet::new();
    for some in named.chunks(ROWS_PER_STATEMENT) {
        let mut query =
            QueryBuilder::<Sqlite>::new("SELECT record_id FROM consent_events WHERE record_id IN (");
        let mut list = query.separated(", ");
        for (id, _) in some {
            list.push_bind(id.as_str());
        }
        query.push(")");
        for row in query.build().fetch_all(&mut **tx).await? {
            known.insert(row.try_get("record_id")?);
        }
    }
    Ok(named.into_iter().filter(|(id, _)| known.insert(id.as_str().to_owned())).collect())
}

/// Writes a change with its events, and brings the state up to date.
async fn write(
    tx: &mut Transaction<'static, Sqlite>,
    operation: Operation,
    events: &[(RecordId, NewEvent)],
    terms: Option<&(Digest, String)>,
    by: &Recorder,
) -> Result<PendingChange, RegistryFailed> {
    let records: Vec<&[u8]> = events.iter().map(|(id, _)| id.as_str().as_bytes()).collect();
    let pending = change(tx, operation, events.len(), &records, by).await?;
    if let Some((digest, body)) = terms {
        sqlx::query(
            "INSERT INTO consent_terms (digest, body) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING",
        )
        .bind(digest.to_string())
        .bind(body)
        .execute(&mut **tx)
        .await?;
    }
    let row = sqlx::query("SELECT COALESCE(MAX(sequence), 0) AS last FROM consent_events")
        .fetch_one(&mut **tx)
        .await?;
    let mut sequence: i64 = row.try_get("last")?;
    let (epoch, terms) = (number(pending.epoch)?, terms.map(|(digest, _)| digest.to_string()));
    for some in events.chunks(ROWS_PER_STATEMENT) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO consent_events (sequence, record_id, subject, purpose, event, at, valid_until, method, \
             evidence, terms, party, operator, recorded_at, epoch) ",
        );
        query.push_values(some, |mut row, (id, event)| {
            sequence += 1;
            let terms = terms.as_deref().filter(|_| event.event == ConsentEvent::Given);
            row.push_bind(sequence)
                .push_bind(id.as_str())
                .push_bind(event.subject.as_bytes().as_slice())
                .push_bind(event.purpose.as_str())
                .push_bind(event.event.as_str())
                .push_bind(event.at.as_millis())
                .push_bind(event.valid_until.map(Timestamp::as_millis))
                .push_bind(event.method.as_str())
                .push_bind(event.evidence.map(|digest| digest.to_string()))
                .push_bind(terms)
                .push_bind(by.party.as_str())
                .push_bind(by.operator.as_str())
                .push_bind(by.at.as_millis())
                .push_bind(epoch);
        });
        query.build().execute(&mut **tx).await?;
    }
    for some in latest_of(events).chunks(ROWS_PER_STATEMENT) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO consent_state (subject, purpose, event, at, valid_until) ",
        );
        query.push_values(some, |mut row, event| {
            row.push_bind(event.subject.as_bytes().as_slice())
                .push_bind(event.purpose.as_str())
                .push_bind(event.event.as_str())
                .push_bind(event.at.as_millis())
                .push_bind(event.valid_until.map(Timestamp::as_millis));
        });
        // Two consents of one moment: the one that ends first, as the more restrictive.
        query.push(
            " ON CONFLICT (subject, purpose) DO UPDATE SET event = excluded.event, at = excluded.at, \
             valid_until = excluded.valid_until WHERE excluded.at > consent_state.at \
             OR (excluded.at = consent_state.at AND consent_state.event = 'given' AND (excluded.event <> 'given' \
             OR excluded.valid_until < consent_state.valid_until))",
        );
        query.build().execute(&mut **tx).await?;
    }
    Ok(pending)
}

/// The latest event of each shopper and purpose: a statement may touch a row once only.
fn latest_of(events: &[(RecordId, NewEvent)]) -> Vec<&NewEvent> {
    let mut latest: BTreeMap<(&ShopperPseudonym, &PurposeId), &NewEvent> = BTreeMap::new();
    for (_, event) in events {
        let known = latest.entry((&event.subject, &event.purpose)).or_insert(event);
        if supersedes(event, known) {
            *known = event;
        }
    }
    latest.into_values().collect()
}

/// Whether an event counts instead of another of the same shopper and purpose.
fn supersedes(new: &NewEvent, old: &NewEvent) -> bool {
    let stricter = old.event == ConsentEvent::Given
        && (new.event != ConsentEvent::Given || new.valid_until < old.valid_until);
    new.at > old.at || (new.at == old.at && stricter)
}

/// Writes the row of a change, pending.
async fn change(
    tx: &mut Transaction<'static, Sqlite>,
    operation: Operation,
    events: usize,
    content: &[&[u8]],
    by: &Recorder,
) -> Result<PendingChange, RegistryFailed> {
    let row = sqlx::query("SELECT COALESCE(MAX(epoch), 0) AS epoch FROM consent_changes")
        .fetch_one(&mut **tx)
        .await?;
    let epoch = count(&row, "epoch")? + 1;
    let events = events as u64;
    let number_bytes = epoch.to_be_bytes();
    let mut parts: Vec<&[u8]> = vec![b"consent change 1", &number_bytes, operation.as_str().as_bytes()];
    parts.extend(content);
    let digest = Digest::of_parts(&parts);
    sqlx::query(
        "INSERT INTO consent_changes (epoch, operation, events, digest, entry, state, at) \
         VALUES ($1, $2, $3, $4, $5, 'pending', $6)",
    )
    .bind(number(epoch)?)
    .bind(operation.as_str())
    .bind(number(events)?)
    .bind(digest.to_string())
    .bind(&by.entry)
    .bind(by.at.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(PendingChange { epoch, operation, events, digest, entry: by.entry.clone() })
}

/// Event, time and term of a row of `consent_state` as of `now`.
fn latest(
    row: &SqliteRow,
    now: Timestamp,
) -> Result<(ConsentEvent, Timestamp, Option<Timestamp>), RegistryFailed> {
    let event = event(&row.try_get::<String, _>("event")?)?;
    let at = Timestamp::from_millis(row.try_get("at")?);
    let until = row.try_get::<Option<i64>, _>("valid_until")?.map(Timestamp::from_millis);
    Ok(match (event, until) {
        (ConsentEvent::Given, Some(until)) if until <= now => (ConsentEvent::Expired, until, None),
        _ => (event, at, until),
    })
}

fn stored(row: &SqliteRow) -> Result<StoredRecord, RegistryFailed> {
    let unreadable = RegistryFailed::Unreadable;
    let method: String = row.try_get("method")?;
    let method = match method.as_str() {
        "term" => Method::Term,
        text => text.parse().map_err(|_| unreadable("method"))?,
    };
    let terms: Option<String> = row.try_get("terms_body")?;
    let evidence: Option<String> = row.try_get("evidence")?;
    let index: Option<i64> = row.try_get("log_index")?;
    Ok(StoredRecord {
        schema: StoredRecord::SCHEMA,
        record_id: RecordId::restored(row.try_get("record_id")?),
        purpose: purpose(row)?,
        event: event(&row.try_get::<String, _>("event")?)?,
        at: Timestamp::from_millis(row.try_get("at")?),
        valid_until: row.try_get::<Option<i64>, _>("valid_until")?.map(Timestamp::from_millis),
        method,
        evidence: evidence.as_deref().map(digest).transpose()?,
        terms: terms.map(|body| serde_json::from_str(&body).map_err(|_| unreadable("terms"))).transpose()?,
        party: row.try_get::<String, _>("party")?.parse().map_err(|_| unreadable("party"))?,
        operator: row.try_get::<String, _>("operator")?.parse().map_err(|_| unreadable("operator"))?,
        recorded_at: Timestamp::from_millis(row.try_get("recorded_at")?),
        epoch: count(row, "epoch")?,
        change: digest(&row.try_get::<String, _>("change_digest")?)?,
        log_index: index
            .map(|index| u64::try_from(index).map_err(|_| unreadable("log index")))
            .transpose()?,
    })
}

fn subject(row: &SqliteRow) -> Result<ShopperPseudonym, RegistryFailed> {
    let bytes: Vec<u8> = row.try_get("subject")?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| RegistryFailed::Unreadable("subject"))?;
    Ok(ShopperPseudonym::from_bytes(bytes))
}

fn purpose(row: &SqliteRow) -> Result<PurposeId, RegistryFailed> {
    row.try_get::<String, _>("purpose")?.parse().map_err(|_| RegistryFailed::Unreadable("purpose"))
}

fn event(text: &str) -> Result<ConsentEvent, RegistryFailed> {
    text.parse().map_err(|_| RegistryFailed::Unreadable("event"))
}

fn operation(text: &str) -> Result<Operation, RegistryFailed> {
    [Operation::Record, Operation::Import, Operation::Sweep, Operation::Erase]
        .into_iter()
        .find(|operation| operation.as_str() == text)
        .ok_or(RegistryFailed::Unreadable("operation"))
}

fn digest(text: &str) -> Result<Digest, RegistryFailed> {
    text.parse().map_err(|_| RegistryFailed::Unreadable("digest"))
}

/// A count as the database holds it.
fn number(value: u64) -> Result<i64, RegistryFailed> {
    i64::try_from(value).map_err(|_| RegistryFailed::Unreadable("number"))
}

fn count(row: &SqliteRow, column: &'static str) -> Result<u64, RegistryFailed> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| RegistryFailed::Unreadable("number"))
}
