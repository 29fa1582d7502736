//! SQL in, a checked plan out.
#![allow(clippy::todo, clippy::allow_attributes, clippy::allow_attributes_without_reason, dead_code)]
pub mod limits;
mod parse;
mod post;
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
