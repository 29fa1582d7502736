//! What queries may know of the vault: the catalogue as a schema, and a dataset as the pipeline holds it.

use std::sync::Arc;

use ids::{Date, Digest};
use sql::Schema;
use vault::{Catalogue, ColumnType, HotStore};

use crate::blocks;
use crate::error::StartRefused;
use crate::scan::{Executor, HotExecutor};

/// First and last day of the calendar, for datasets whose event times have no declared span.
const CALENDAR: (i32, i32) = (1, 9999);

/// One snapshot that questions are answered from.
#[derive(Clone)]
pub struct Dataset {
    schema: Arc<Schema>,
    span: Option<(Date, Date)>,
    snapshot: Digest,
    consent_epoch: u64,
    executor: Arc<dyn Executor>,
}

impl Dataset {
    /// A dataset over any executor.
    ///
    /// `span` is the declared range of event times; without it all of a question's cost goes to one block.
    ///
    /// # Errors
    /// When the span has more quarters than a log entry can name.
    pub fn new(
        schema: Schema,
        span: Option<(Date, Date)>,
        snapshot: Digest,
        consent_epoch: u64,
        executor: Arc<dyn Executor>,
    ) -> Result<Self, StartRefused> {
        if blocks::all(span).len() > blocks::QUARTERS_MAX {
            let reason = format!("its event times span more than {} quarters", blocks::QUARTERS_MAX - 1);
            return Err(StartRefused::Catalogue { reason });
        }
        Ok(Self { schema: Arc::new(schema), span, snapshot, consent_epoch, executor })
    }

    /// The dataset of a hot store, scanned by so many threads.
    ///
    /// # Errors
    /// See [`Dataset::new`].
    pub fn over(hot: Arc<HotStore>, workers: usize) -> Result<Self, StartRefused> {
        let (schema, span) = (schema_of(hot.catalogue()), span_of(hot.catalogue()));
        let (snapshot, epoch) = (hot.snapshot(), hot.consents().epoch());
        Self::new(schema, span, snapshot, epoch, Arc::new(HotExecutor::new(hot, workers)))
    }

    /// What queries may know.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The declared range of event times.
    pub const fn span(&self) -> Option<(Date, Date)> {
        self.span
    }

    /// Digest of the snapshot.
    pub const fn snapshot(&self) -> Digest {
        self.snapshot
    }

    /// Number of the consent state.
    pub const fn consent_epoch(&self) -> u64 {
        self.consent_epoch
    }

    pub(crate) fn executor(&self) -> Arc<dyn Executor> {
        self.executor.clone()
    }
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataset")
            .field("dataset", &self.schema.dataset)
            .field("snapshot", &self.snapshot)
            .field("consent_epoch", &self.consent_epoch)
            .finish_non_exhaustive()
    }
}

/// The declared range of event times: over all private tables with an event time, each of which must declare one as the
/// `domain` of that column.
pub(crate) fn span_of(catalogue: &Catalogue) -> Option<(Date, Date)> {
    let mut span: Option<(Date, Date)> = None;
    for table in catalogue.tables().iter().filter(|table| table.is_private()) {
        let Some(event_time) = &table.event_time else { continue };
        let Some(vault::Domain::DateRange { first, last }) = table.column(event_time)?.domain else {
            return None;
        };
        span = Some(span.map_or((first, last), |(from, to)| (from.min(first), to.max(last))));
    }
    span
}

/// The catalogue as queries see it, with the public domains that ingest has learned.
pub fn schema_of(catalogue: &Catalogue) -> Schema {
    let (from, to) = CALENDAR;
    let calendar = (
        Date::from_ymd(from, 1, 1).unwrap_or(Date::from_days(0)),
        Date::from_ymd(to, 12, 31).unwrap_or(Date::from_days(0)),
    );
    let (first_day, last_day) = span_of(catalogue).unwrap_or(calendar);
    Schema {
        dataset: catalogue.dataset().clone(),
        tables: catalogue.tables().iter().map(|table| table_of(catalogue, table)).collect(),
        first_day,
        last_day,
    }
}

fn table_of(catalogue: &Catalogue, table: &vault::Table) -> sql::Table {
    let kind = match &table.kind {
        vault::TableKind::Private { .. } => sql::TableKind::Private {
            unit_key: catalogue.unit_key(table).unwrap_or(vault::UNIT_IX).to_owned(),
        },
        vault::TableKind::Public { key } => sql::TableKind::Public { key: key.clone() },
    };
    sql::Table {
        name: table.name.clone(),
        kind,
        // The unit key is no column: the hot store has `unit_ix` in its place.
        columns: table.columns.iter().filter(|column| !table.is_unit_column(column)).map(column_of).collect(),
        event_time: table.event_time.clone().filter(|_| table.is_private()),
        foreign_keys: table
            .foreign_keys
            .iter()
            .map(|fk| sql::ForeignKey {
                column: fk.column.clone(),
                table: fk.table.clone(),
                key: fk.key.clone(),
            })
            .collect(),
    }
}

fn column_of(column: &vault::Column) -> sql::Column {
    let ty = match column.ty {
        ColumnType::Id | ColumnType::Int => sql::Type::Int,
        ColumnType::Money { scale } => sql::Type::Money { scale },
        ColumnType::Text => sql::Type::Text,
        ColumnType::Bool => sql::Type::Bool,
        ColumnType::Date => sql::Type::Date,
        ColumnType::Timestamp => sql::Type::Timestamp,
    };
    let domain = match &column.domain {
        Some(vault::Domain::Values(values)) => Some(sql::Domain::Values(values.clone())),
        Some(vault::Domain::IntRange { min, max }) => Some(sql::Domain::IntRange { min: *min, max: *max }),
        // The range of a moment says which blocks there are; as a group key a moment has no domain.
        Some(vault::Domain::DateRange { first, last }) => {
            (ty == sql::Type::Date).then_some(sql::Domain::DateRange { first: *first, last: *last })
        }
        // Still to be learned: public, but empty so far.
        None => column.domain_from_data.then(|| sql::Domain::Values(Vec::new())),
    };
    sql::Column {
        name: column.name.clone(),
        ty,
        nullable: column.nullable,
        domain,
        bounds: column.bounds,
        hidden: column.direct_identifier,
    }
}
