//! What a caller may know about the tables: names, types, domains and bounds; never counts, never direct identifiers.

use serde::Serialize;
use vault::{Catalogue, Column, ColumnType, Domain, Table};

/// Most values of a domain that are listed; longer ones are counted.
const VALUES_SHOWN_MAX: usize = 2_000;

/// A dataset's tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CatalogueView {
    /// The dataset.
    pub dataset: String,
    /// In which time zone event times are written.
    pub time_zone: String,
    /// Its tables.
    pub tables: Vec<TableView>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableView {
    /// Its name in SQL.
    pub name: String,
    /// `private` or `public`.
    pub kind: &'static str,
    /// The column that counts shoppers, in private tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_key: Option<String>,
    /// The column that tells when a row happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<String>,
    /// Its columns.
    pub columns: Vec<ColumnView>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnView {
    /// Its name in SQL.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Whether it may be empty.
    pub nullable: bool,
    /// What its values may be.
    pub domain: DomainView,
    /// Smallest and largest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounds: Option<(String, String)>,
    /// The table and key that it leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leads_to: Option<String>,
}

/// What a column's values may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum DomainView {
    /// Exactly these; all are answered.
    Values {
        /// How many there are.
        count: usize,
        /// The values, up to a limit.
        values: Vec<String>,
    },
    /// All from first to last.
    Range {
        /// The first.
        first: String,
        /// The last.
        last: String,
    },
    /// A unit key: it can be counted, not listed.
    UnitKey,
    /// Not known in advance: groups pass a noisy threshold.
    Open,
}

impl ColumnView {
    /// How the column can be grouped by, in a few words.
    pub fn keys_text(&self) -> String {
        match &self.domain {
            DomainView::Range { .. } if self.ty == ColumnType::Timestamp.word() => {
                "public, by day, month …".to_owned()
            }
            DomainView::Values { count, .. } => format!("public, {count} values"),
            DomainView::Range { first, last } => format!("public, {first} to {last}"),
            DomainView::UnitKey => "unit key".to_owned(),
            DomainView::Open => "noisy".to_owned(),
        }
    }
}

/// The part of a catalogue that a caller may see.
pub fn view(catalogue: &Catalogue) -> CatalogueView {
    CatalogueView {
        dataset: catalogue.dataset().to_string(),
        time_zone: catalogue.time_zone().to_owned(),
        tables: catalogue.tables().iter().map(|table| table_view(catalogue, table)).collect(),
    }
}

fn table_view(catalogue: &Catalogue, table: &Table) -> TableView {
    let unit_key = catalogue.unit_key(table).map(str::to_owned);
    let mut columns: Vec<ColumnView> = Vec::new();
    if let Some(name) = &unit_key {
        columns.push(ColumnView {
            name: name.clone(),
            ty: "id".to_owned(),
            nullable: false,
            domain: DomainView::UnitKey,
            bounds: None,
            leads_to: None,
        });
    }
    columns.extend(table.visible_columns().map(|column| column_view(table, column)));
    TableView {
        name: table.name.clone(),
        kind: if table.is_private() { "private" } else { "public" },
        unit_key,
        event_time: table.event_time.clone(),
        columns,
    }
}

fn column_view(table: &Table, column: &Column) -> ColumnView {
    let foreign = table.foreign_keys.iter().find(|fk| fk.column == column.name);
    ColumnView {
        name: column.name.clone(),
        ty: match column.ty {
            ColumnType::Money { scale } => format!("money with {scale} decimals"),
            other => other.word().to_owned(),
        },
        nullable: column.nullable,
        domain: domain_view(table, column),
        bounds: column.bounds.map(|(low, high)| (natural(column.ty, low), natural(column.ty, high))),
        leads_to: foreign.map(|fk| format!("{}.{}", fk.table, fk.key)),
    }
}

fn domain_view(table: &Table, column: &Column) -> DomainView {
    match &column.domain {
        Some(Domain::Values(values)) => DomainView::Values {
            count: values.len(),
            values: values.iter().take(VALUES_SHOWN_MAX).cloned().collect(),
        },
        Some(Domain::IntRange { min, max }) => {
            DomainView::Range { first: min.to_string(), last: max.to_string() }
        }
        Some(Domain::DateRange { first, last }) => {
            DomainView::Range { first: first.to_string(), last: last.to_string() }
        }
        None if !table.is_private() && column.domain_from_data => {
            DomainView::Values { count: 0, values: Vec::new() }
        }
        None => DomainView::Open,
    }
}

/// A stored number as people write it.
fn natural(ty: ColumnType, stored: i64) -> String {
    match ty {
        ColumnType::Money { scale } => crate::output::money(i128::from(stored), scale),
        _ => stored.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_identifiers_and_raw_unit_columns_are_not_shown() {
        let text = r#"
            dataset = "retail"
            time_zone = "UTC"
            consent = { assumed = ["measurement"], basis = "test" }
            [[table]]
            name = "members"
            kind = "private"
            unit = "member_id"
            columns = [
              { name = "member_id", type = "id" },
              { name = "phone", type = "text", direct_identifier = true },
              { name = "tier", type = "text", domain = ["GOLD", "SILVER"] },
              { name = "points", type = "money", scale = 2, bounds = { min = "0.00", max = "12.50" } },
            ]
        "#;
        let view = view(&Catalogue::parse(text).unwrap());
        let columns = &view.tables[0].columns;
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["member_id", "tier", "points"]);
        assert_eq!(columns[0].domain, DomainView::UnitKey);
        assert_eq!(columns[1].keys_text(), "public, 2 values");
        assert_eq!(columns[2].bounds, Some(("0.00".to_owned(), "12.50".to_owned())));
    }
}
