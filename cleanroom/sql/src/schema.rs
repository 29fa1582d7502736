//! What the analyst may know about a dataset: tables, types, domains and bounds. No figure in it comes from rows of
//! private tables.

use ids::{DatasetId, Date};

/// One dataset as queries see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The dataset.
    pub dataset: DatasetId,
    /// Its tables, in catalogue order.
    pub tables: Vec<Table>,
    /// First day of the event time of the dataset, as declared.
    pub first_day: Date,
    /// Last day of the event time of the dataset, as declared (inclusive).
    pub last_day: Date,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Name, as queries write it.
    pub name: String,
    /// Whose rows they are.
    pub kind: TableKind,
    /// Visible and hidden columns.
    pub columns: Vec<Column>,
    /// The column (a date or a timestamp) that says when a row happened. Private tables only.
    pub event_time: Option<String>,
    /// Declared references to other tables.
    pub foreign_keys: Vec<ForeignKey>,
}

/// Whose rows a table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableKind {
    /// Every row belongs to one shopper.
    Private {
        /// The visible name of the column that identifies the shopper. In the hot store it is `unit_ix`.
        unit_key: String,
    },
    /// Rows that belong to nobody: products, stores, calendars.
    Public {
        /// The columns that identify a row.
        key: Vec<String>,
    },
}

/// A declared reference: `column` of this table holds values of `key` of `table`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// Referring column.
    pub column: String,
    /// Table referred to.
    pub table: String,
    /// Column referred to.
    pub key: String,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name, as queries write it.
    pub name: String,
    /// Type.
    pub ty: Type,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// The values it may take, where they are public. `Values` that are still to be learned are an empty list.
    pub domain: Option<Domain>,
    /// Smallest and largest value (inclusive), in stored integers: minor units for money.
    pub bounds: Option<(i64, i64)>,
    /// A direct identifier: out of every query's reach.
    pub hidden: bool,
}

/// Type of a column. Every number is an integer; money counts minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A whole number (BIGINT).
    Int,
    /// An amount with `scale` decimals, stored as a whole number of minor units (BIGINT).
    Money {
        /// Decimals: 2 for cents.
        scale: u8,
    },
    /// Text (VARCHAR).
    Text,
    /// True or false (BOOLEAN).
    Bool,
    /// A day (DATE).
    Date,
    /// A moment (TIMESTAMP, UTC).
    Timestamp,
}

/// The public values of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// Listed, in display order. The hot store keeps the position in a sibling column `"<name>#code"`.
    Values(Vec<String>),
    /// Whole numbers from `min` to `max`, both included.
    IntRange {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// Days from `first` to `last`, both included.
    DateRange {
        /// First day.
        first: Date,
        /// Last day.
        last: Date,
    },
}

impl Schema {
    /// The table of that name, letter case ignored.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name))
    }
}

impl Table {
    /// The column of that name, letter case ignored.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// The unit key's name, for a private table.
    pub fn unit_key(&self) -> Option<&str> {
        match &self.kind {
            TableKind::Private { unit_key } => Some(unit_key),
            TableKind::Public { .. } => None,
        }
    }
}
