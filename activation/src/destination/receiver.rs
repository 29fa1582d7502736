//! The other end of `audience.v1`: what a gateway that takes audiences does. It is idempotent and keeps the order.
//!
//! * One batch id has one effect; its answer is kept and given again.
//! * Of two batches that name one token the one with the larger `seq` has the last word, so that a copy of an old
//!   addition that arrives late changes nothing.
//! * Members are gone when their time is over, whether or not a removal comes.

use std::path::Path;
use std::sync::Arc;

use ids::{AudienceId, Clock, DestinationId, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use tonic::{Request, Response, Status};

use super::wire::audiences_server::{Audiences, AudiencesServer};
use super::wire::{NotABatch, StatusRequest, SubmitRequest, WireAnswer};
use super::{Answer, Reason, Verdict};
use crate::batch::{Batch, BatchId, Op, Token};
use crate::outbox::sqlite;

const SCHEMA: &str = include_str!("receiver.sql");

/// The receiver's store failed.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverFailed {
    /// The database said no.
    #[error("the receiver's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A row cannot be read.
    #[error("the receiver holds a row that cannot be read: {0}")]
    Unreadable(&'static str),
}

/// Who is in which audience, at a destination.
#[derive(Clone)]
pub struct Receiver {
    destination: DestinationId,
    pool: SqlitePool,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("destination", &self.destination).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(
        path: &Path,
        destination: DestinationId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ReceiverFailed> {
        Ok(Self { destination, pool: sqlite::open(path, SCHEMA).await?, clock })
    }

    /// A receiver that forgets everything with its process: for tests and demonstrations.
    ///
    /// # Errors
    /// When the database cannot be made.
    pub async fn in_memory(
        destination: DestinationId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ReceiverFailed> {
        let options = SqliteConnectOptions::new().in_memory(true);
        // A second connection would see another, empty database.
        let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let pool = pool.connect_with(options).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { destination, pool, clock })
    }

    /// Whose receiver this is.
    pub fn destination(&self) -> &DestinationId {
        &self.destination
    }

    /// Takes a batch, in one transaction with its answer.
    ///
    /// # Errors
    /// When the store fails; nothing was taken then.
    pub async fn take(&self, batch: &Batch) -> Result<Answer, ReceiverFailed> {
        let place = &batch.header.place;
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let known = sqlx::query("SELECT id FROM received WHERE id = $1").bind(batch.header.id.to_string());
        if known.fetch_optional(&mut *tx).await?.is_some() {
            tx.rollback().await?;
            return Ok(Answer::Final(Verdict::Applied));
        }
        for token in &batch.members {
            sqlx::query(
                "INSERT INTO held (audience, token, epoch, seq, held, expires) VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT (audience, token) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, \
                 held = excluded.held, expires = excluded.expires WHERE excluded.seq >= held.seq",
            )
            .bind(place.lane.audience.as_str())
            .bind(token.expose())
            .bind(i64::try_from(place.epoch).map_err(|_| ReceiverFailed::Unreadable("epoch"))?)
            .bind(i64::try_from(place.seq).map_err(|_| ReceiverFailed::Unreadable("seq"))?)
            .bind(i64::from(place.op == Op::Add))
            .bind(place.expires.map_or(0, Timestamp::as_millis))
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query("INSERT INTO received (id, at) VALUES ($1, $2)")
            .bind(batch.header.id.to_string())
            .bind(self.clock.now().as_millis())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Answer::Final(Verdict::Applied))
    }

    /// What became of a batch.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn status(&self, batch: &BatchId) -> Result<Answer, ReceiverFailed> {
        let known = sqlx::query("SELECT id FROM received WHERE id = $1").bind(batch.to_string());
        let known = known.fetch_optional(&self.pool).await?.is_some();
        Ok(if known { Answer::Final(Verdict::Applied) } else { Answer::Unknown })
    }

    /// Whether a token is in an audience now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn holds(&self, audience: &AudienceId, token: &Token) -> Result<bool, ReceiverFailed> {
        let row = sqlx::query(
            "SELECT 1 FROM held WHERE audience = $1 AND token = $2 AND held = 1 AND expires > $3",
        )
        .bind(audience.as_str())
        .bind(token.expose())
        .bind(self.clock.now().as_millis())
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.is_some())
    }

    /// The audiences that a token is in now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn audiences_of(&self, token: &Token) -> Result<Vec<AudienceId>, ReceiverFailed> {
        let rows = sqlx::query(
            "SELECT audience FROM held WHERE token = $1 AND held = 1 AND expires > $2 ORDER BY audience",
        )
        .bind(token.expose())
        .bind(self.clock.now().as_millis())
        .fetch_all(&self.pool)
        .await?;
        let name = |row: &sqlx::sqlite::SqliteRow| {
            row.try_get::<&str, _>("audience")?.parse().map_err(|_| ReceiverFailed::Unreadable("audience"))
        };
        rows.iter().map(name).collect()
    }

    /// Everybody who is in an audience now, in the order of the tokens.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn members(&self, audience: &AudienceId) -> Result<Vec<Token>, ReceiverFailed> {
        let rows = sqlx::query(
            "SELECT token FROM held WHERE audience = $1 AND held = 1 AND expires > $2 ORDER BY token",
        )
        .bind(audience.as_str())
        .bind(self.clock.now().as_millis())
        .fetch_all(&self.pool)
        .await?;
        let token = |row: &sqlx::sqlite::SqliteRow| {
            row.try_get::<&str, _>("token")?.parse().map_err(|_| ReceiverFailed::Unreadable("token"))
        };
        rows.iter().map(token).collect()
    }

    /// As a gRPC service, to be put into a tonic server. Who may call it is the server's business (client certificates).
    pub fn service(self: Arc<Self>) -> AudiencesServer<Service> {
        AudiencesServer::new(Service(self))
    }
}

/// The gRPC face of a [`Receiver`].
#[derive(Debug, Clone)]
pub struct Service(Arc<Receiver>);

#[tonic::async_trait]
impl Audiences for Service {
    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<WireAnswer>, Status> {
        let batch = match Batch::try_from(request.into_inner()) {
            Ok(batch) => batch,
            Err(NotABatch(field)) => {
                tracing::warn!(field, "a batch was refused");
                return Ok(Response::new(WireAnswer::from(&Answer::Final(Verdict::Refused(
                    Reason::Malformed,
                )))));
            }
        };
        if batch.header.place.lane.destination != self.0.destination {
            return Err(Status::failed_precondition("the batch is meant for another destination"));
        }
        let answer = self.0.take(&batch).await.map_err(|failed| unavailable(&failed))?;
        Ok(Response::new(WireAnswer::from(&answer)))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<WireAnswer>, Status> {
        let id = request.into_inner().batch_id.parse();
        let id: BatchId = id.map_err(|_| Status::invalid_argument("batch_id is not a digest"))?;
        let answer = self.0.status(&id).await.map_err(|failed| unavailable(&failed))?;
        Ok(Response::new(WireAnswer::from(&answer)))
    }
}

/// What went wrong is for the operator; the caller is told to come back.
fn unavailable(failed: &ReceiverFailed) -> Status {
    tracing::error!(%failed, "the receiver could not take a batch");
    Status::unavailable("not now")
}
