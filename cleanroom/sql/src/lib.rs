//! SQL in, a checked plan out. Pure: no I/O, no clock, no keys, no data.
//!
//! A statement lives as `text → `[`ParsedQuery`]` → `[`ResolvedQuery`]. Parsing is `sqlparser`'s; resolving lowers the
//! tree to our own small plan by exhaustive match, and everything that is not on the list is a [`Refusal`] with its
//! place, the reason and the nearest allowed form. From the plan come the canonical text (whose digest stands for the
//! question), the DuckDB statement that streams rows (never the analyst's text), and the post-processing of the noisy
//! numbers.
//!
//! # Guarantee
//! * Every row of the stream is made of rows of one shopper and of public rows found by their whole key, so removing a
//!   shopper removes exactly that shopper's rows of the stream ([`ResolvedQuery::stream_sql`]).
//! * Every expression in the stream is total: no row can make it fail, so errors say nothing about rows.
//! * Cost, keys, domains and refusals are functions of the text and the catalogue alone.
//!
//! ```
//! use sql::{Column, Domain, ParsedQuery, Schema, Table, TableKind, Type};
//! let column = |name: &str, ty, domain| Column {
//!     name: name.into(), ty, nullable: false, domain, bounds: None, hidden: false,
//! };
//! let lines = Table {
//!     name: "lines".into(),
//!     kind: TableKind::Private { unit_key: "card_id".into() },
//!     columns: vec![
//!         column("card_id", Type::Text, None),
//!         column("channel", Type::Text, Some(Domain::Values(vec!["online".into(), "offline".into()]))),
//!     ],
//!     event_time: None,
//!     foreign_keys: vec![],
//! };
//! let schema = Schema {
//!     dataset: "retail".parse()?,
//!     tables: vec![lines],
//!     first_day: "2017-01-01".parse()?,
//!     last_day: "2017-12-31".parse()?,
//! };
//! let query = ParsedQuery::parse("select channel, count(distinct card_id) n from lines group by 1")?.resolve(&schema)?;
//! assert_eq!(
//!     query.stream_sql(&[])?.text,
//!     "SELECT lines.unit_ix, lines.\"channel#code\" AS g FROM lines \
//!      WHERE lines.unit_ix >= $1 AND lines.unit_ix < $2",
//! );
//! assert!(ParsedQuery::parse("select * from lines")?.resolve(&schema).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod calendar;
mod days;
mod domain;
pub mod limits;
mod lower;
mod parse;
mod plan;
mod post;
mod print;
mod refusal;
mod resolved;
mod schema;

pub use parse::ParsedQuery;
pub use post::{
    KeyValue, NoisyCell, NoisyRow, NoisyTable, OutCell, OutColumn, OutNumber, OutTable, PostPlan, Role,
};
pub use refusal::{Code, Refusal};
pub use resolved::{
    Footprint, KeySpec, KeyType, MeasureKind, MeasureSpec, ResolvedQuery, RowFilter, StreamColumn, StreamSql,
};
pub use schema::{Column, Domain, ForeignKey, Schema, Table, TableKind, Type};
