//! The catalogue: what tables a dataset has, whom their rows are about, and what may be known about their columns.
//!
//! It is written as `catalogue.toml` by the steward, read strictly (an unknown field is a refusal) and checked as a
//! whole. A [`Catalogue`] that exists is valid. Domains declared `"from-data"` are learned when public tables are
//! ingested and are then part of the snapshot's catalogue.
//!
//! ```toml
//! dataset = "retail"
//! time_zone = "event times are local time of Almaty, written without an offset"
//! unit_case = "fold"                       # or "exact"; matters for text unit keys only
//!
//! [consent]                                # or: assumed = ["measurement"], basis = "contract 7, loyalty terms § 4"
//! table = "consents"
//! purpose = "purpose"
//! state = "state"                          # given | withdrawn | expired
//! at = "at"
//!
//! [household]                              # optional: who shares a holdout; without it every shopper is alone
//! table = "cards"
//! column = "household_no"
//!
//! [[table]]
//! name = "cards"
//! kind = "private"
//! unit = "shopper_id"
//! columns = [
//!   { name = "shopper_id", type = "id" },
//!   { name = "household_no", type = "id", nullable = true },
//!   { name = "mobile", type = "text", nullable = true, direct_identifier = "phone" },   # "phone" | "email" | "other"
//! ]
//!
//! [[table]]
//! name = "baskets"
//! kind = "private"
//! unit = "shopper_id"                      # the column that holds the unit key …
//! empty_unit = "drop"                      # refuse (default) | drop | own-unit
//! event_time = "bought_at"
//! files = ["baskets*.csv"]                 # default: NAME.csv, NAME.parquet, NAME-*.csv, NAME-*.parquet
//! ignore = ["till_operator"]               # columns of the files that are not taken over
//! columns = [
//!   { name = "shopper_id", type = "id", nullable = true },
//!   { name = "basket_id", type = "id" },
//!   { name = "channel", type = "text", domain = ["offline", "online"] },
//!   { name = "bought_at", type = "timestamp", source = "Time of sale" },
//! ]
//!
//! [[table]]
//! name = "lines"
//! kind = "private"
//! unit = { via = "basket_id" }             # … or the foreign key that leads to it
//! foreign_keys = [
//!   { column = "basket_id", table = "baskets", key = "basket_id" },
//!   { column = "product_id", table = "products", key = "product_id" },
//! ]
//! columns = [
//!   { name = "basket_id", type = "id" },
//!   { name = "product_id", type = "id" },
//!   { name = "paid", type = "money", scale = 2, bounds = { min = "0.00", max = "5000.00" } },
//! ]
//!
//! [[table]]
//! name = "products"
//! kind = "public"
//! key = ["product_id"]
//! columns = [
//!   { name = "product_id", type = "id" },
//!   { name = "department", type = "text", domain = "from-data" },
//! ]
//! ```

mod check;
pub(crate) mod domain;
mod file;

use identity::IdentifierKind;
use ids::{DatasetId, Date, PurposeId};
use serde::{Deserialize, Serialize};

pub use domain::DomainRefused;
pub(crate) use file::parse_decimal;

/// The catalogue of the public dataset *The Complete Journey* in the folder layout of the tests.
pub const COMPLETE_JOURNEY: &str = include_str!("../catalogues/complete-journey.toml");

/// Name of the column that stands for the unit key in every private table of the hot store.
pub const UNIT_IX: &str = "unit_ix";

/// Name of the column by which rows in memory name their shopper by pseudonym; see [`crate::Rows`].
pub const UNIT_PSEUDONYM: &str = "unit_pseudonym";

/// Most values a listed or learned domain may have.
pub const DOMAIN_VALUES_MAX: usize = 65_536;

/// Why a catalogue is refused: where, and what is wrong there.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("catalogue refused at {place}: {reason}")]
pub struct CatalogueRefused {
    place: String,
    reason: String,
}

impl CatalogueRefused {
    fn at(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.into(), reason: reason.into() }
    }

    /// Stable name of this refusal.
    pub const fn code(&self) -> &'static str {
        "catalogue-refused"
    }
}

/// A checked description of one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    dataset: DatasetId,
    time_zone: String,
    unit_case: UnitCase,
    consent: ConsentSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    household: Option<HouseholdColumn>,
    tables: Vec<Table>,
}

/// The column that says which shoppers live together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HouseholdColumn {
    /// Name of a private table.
    pub table: String,
    /// Its id or text column with the same value for all of one household.
    pub column: String,
}

/// What a direct identifier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectIdentifier {
    /// A telephone number.
    Phone,
    /// An e-mail address.
    Email,
    /// Something nobody is reached by, such as a name.
    Other,
}

/// Whether two text unit keys that differ in letter case are one shopper.
///
/// Merging two shoppers into one unit keeps every guarantee; splitting one shopper into two would halve their
/// protection. That is why folding is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum UnitCase {
    /// They are one shopper.
    #[default]
    Fold,
    /// They are two.
    Exact,
}

/// Where consent comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsentSource {
    /// A private table of events.
    Table {
        /// Name of that table.
        table: String,
        /// Its text column with the purpose.
        purpose: String,
        /// Its text column with `given`, `withdrawn` or `expired`.
        state: String,
        /// Its timestamp column with the moment of the event.
        at: String,
    },
    /// Every shopper is taken to agree to these purposes, for the reason stated.
    Assumed {
        /// The purposes.
        purposes: Vec<PurposeId>,
        /// Why that may be assumed; shown to the reviewers.
        basis: String,
    },
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its name in SQL.
    pub name: String,
    /// Private, with the way to the unit, or public, with its key.
    pub kind: TableKind,
    /// File names or patterns (`*` within one name) that hold it, relative to the ingested folder.
    pub files: Vec<String>,
    /// Whether the first load may lack it.
    pub optional: bool,
    /// Columns of the files that are not taken over.
    pub ignore: Vec<String>,
    /// The date or timestamp column that tells when a row happened.
    pub event_time: Option<String>,
    /// Its columns in order. The unit key column is among them, though it is never stored.
    pub columns: Vec<Column>,
    /// Columns whose values are keys of other tables.
    pub foreign_keys: Vec<ForeignKey>,
}

/// Whether rows of a table are about shoppers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableKind {
    /// Every row belongs to one shopper.
    Private {
        /// How the shopper of a row is found.
        unit: UnitSource,
        /// What happens to a row without a unit key.
        empty_unit: EmptyUnit,
    },
    /// Rows are about products, stores, weeks: known to all parties.
    Public {
        /// The columns that name a row uniquely.
        key: Vec<String>,
    },
}

/// How the shopper of a row is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnitSource {
    /// This column holds the unit key.
    Column(String),
    /// This column is a foreign key to another private table whose row tells the shopper.
    Via(String),
}

/// What happens to a row whose unit key is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyUnit {
    /// It is a bad row.
    #[default]
    Refuse,
    /// It is left out and counted.
    Drop,
    /// It becomes a shopper of its own.
    OwnUnit,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name in SQL.
    pub name: String,
    /// Its name in the files.
    pub source: String,
    /// Its type.
    pub ty: ColumnType,
    /// Whether it may be empty.
    pub nullable: bool,
    /// All values it may have. In a learned domain: all it had at ingest, `None` before the first.
    pub domain: Option<Domain>,
    /// Whether the domain is learned from the data of a public table.
    pub domain_from_data: bool,
    /// Smallest and largest value, inclusive, in stored integers (money: minor units).
    pub bounds: Option<(i64, i64)>,
    /// Whether it is sealed field by field and out of every query's reach.
    pub direct_identifier: bool,
    /// What a direct identifier is, where the catalogue says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<DirectIdentifier>,
}

/// Type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnType {
    /// A whole number that names something; not to be summed. Stored as BIGINT.
    Id,
    /// A whole number. Stored as BIGINT.
    Int,
    /// An amount, stored as BIGINT in units of 10^-scale. In files it is written in whole units with a decimal point; a
    /// whole number is that many whole units.
    Money {
        /// Digits after the decimal point, at most 6.
        scale: u8,
    },
    /// UTF-8 text. Stored as VARCHAR.
    Text,
    /// True or false. Stored as BOOLEAN.
    Bool,
    /// A calendar day. Stored as DATE.
    Date,
    /// A moment in microseconds. Stored as TIMESTAMP.
    Timestamp,
}

/// The values a column may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Domain {
    /// Exactly these texts (for an id column: decimal numbers); the position is the code.
    Values(Vec<String>),
    /// All whole numbers from `min` to `max`, inclusive.
    IntRange {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// All days from `first` to `last`, inclusive.
    DateRange {
        /// The first.
        first: Date,
        /// The last.
        last: Date,
    },
}

/// A column whose values are keys of another table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignKey {
    /// The column here.
    pub column: String,
    /// The table there.
    pub table: String,
    /// The key column there.
    pub key: String,
}

impl Catalogue {
    /// Reads and checks the text of a `catalogue.toml`.
    pub fn parse(text: &str) -> Result<Self, CatalogueRefused> {
        let catalogue = file::read(text)?;
        check::check(&catalogue)?;
        Ok(catalogue)
    }

    /// The dataset it describes.
    pub const fn dataset(&self) -> &DatasetId {
        &self.dataset
    }

    /// In which time zone event times are written; a note for people.
    pub fn time_zone(&self) -> &str {
        &self.time_zone
    }

    /// Whether text unit keys are compared without regard to letter case.
    pub const fn unit_case(&self) -> UnitCase {
        self.unit_case
    }

    /// Where consent comes from.
    pub const fn consent(&self) -> &ConsentSource {
        &self.consent
    }

    /// The column that says which shoppers live together; without one, every shopper is a household.
    pub const fn household(&self) -> Option<&HouseholdColumn> {
        self.household.as_ref()
    }

    /// All tables, in the order of the file.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The table of that name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// The name under which analysts see the unit key of a private table: the unit column at the end of its path.
    /// `None` for public tables.
    pub fn unit_key<'a>(&'a self, table: &'a Table) -> Option<&'a str> {
        self.unit_column(table).map(|(_, column)| column.name.as_str())
    }

    /// The table and column at the end of a private table's unit path.
    pub(crate) fn unit_column<'a>(&'a self, table: &'a Table) -> Option<(&'a Table, &'a Column)> {
        let mut here = table;
        for _ in 0..=self.tables.len() {
            match here.unit_source()? {
                UnitSource::Column(name) => return here.column(name).map(|column| (here, column)),
                UnitSource::Via(_) => here = self.table(&here.parent()?.table)?,
            }
        }
        None
    }

    /// Tables so ordered that the parent on a unit path comes before its children, and public tables first.
    pub(crate) fn load_order(&self) -> Vec<&Table> {
        let depth = |table: &Table| -> usize {
            let mut here = table;
            let mut depth = usize::from(table.is_private());
            while let Some(parent) = here.parent().and_then(|fk| self.table(&fk.table)) {
                depth += 1;
                here = parent;
            }
            depth
        };
        let mut order: Vec<&Table> = self.tables.iter().collect();
        order.sort_by_key(|table| depth(table));
        order
    }
}

impl Table {
    /// Whether rows are about shoppers.
    pub const fn is_private(&self) -> bool {
        matches!(self.kind, TableKind::Private { .. })
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// How the shopper of a row is found; `None` for public tables.
    pub const fn unit_source(&self) -> Option<&UnitSource> {
        match &self.kind {
            TableKind::Private { unit, .. } => Some(unit),
            TableKind::Public { .. } => None,
        }
    }

    /// Whether this column holds the unit key itself.
    pub fn is_unit_column(&self, column: &Column) -> bool {
        matches!(self.unit_source(), Some(UnitSource::Column(name)) if *name == column.name)
    }

    /// Columns that can be asked for: neither the unit key nor a direct identifier.
    pub fn visible_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.direct_identifier && !self.is_unit_column(column))
    }

    /// The foreign key that leads to the shopper, if this table has no unit column itself.
    pub(crate) fn parent(&self) -> Option<&ForeignKey> {
        match self.unit_source()? {
            UnitSource::Column(_) => None,
            UnitSource::Via(column) => self.foreign_keys.iter().find(|fk| fk.column == *column),
        }
    }
}

impl Column {
    /// What a shopper is reached by through this column, if through any. A direct identifier of which the catalogue says no
    /// more is a phone or an e-mail address if that is its name.
    pub fn identifier_kind(&self) -> Option<IdentifierKind> {
        if !self.direct_identifier {
            return None;
        }
        match (self.identifier, self.name.as_str()) {
            (Some(DirectIdentifier::Phone), _) | (None, "phone") => Some(IdentifierKind::Phone),
            (Some(DirectIdentifier::Email), _) | (None, "email") => Some(IdentifierKind::Email),
            _ => None,
        }
    }
}

impl ColumnType {
    /// The word for it in a catalogue file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Int => "int",
            Self::Money { .. } => "money",
            Self::Text => "text",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
        }
    }
}
