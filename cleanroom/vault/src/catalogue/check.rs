//! What can be wrong with a catalogue as a whole.

use std::collections::BTreeSet;

use super::{
    Catalogue, CatalogueRefused, Column, ColumnType, ConsentSource, DOMAIN_VALUES_MAX, Domain,
    HouseholdColumn, Table, TableKind, UNIT_IX, UNIT_PSEUDONYM, UnitSource,
};

/// Longest name of a table or column.
const NAME_BYTES_MAX: usize = 63;

type Checked = Result<(), CatalogueRefused>;

/// Refuses a catalogue whose parts do not fit together.
pub(super) fn check(catalogue: &Catalogue) -> Checked {
    if catalogue.tables.is_empty() {
        return Err(CatalogueRefused::at("the file", "there is no `[[table]]`"));
    }
    unique(catalogue.tables.iter().map(|table| table.name.as_str()), "the file", "two tables are named")?;
    for table in &catalogue.tables {
        check_table(catalogue, table)?;
    }
    check_units(catalogue)?;
    check_household(catalogue)?;
    check_consent(catalogue)
}

fn check_household(catalogue: &Catalogue) -> Checked {
    let Some(household) = &catalogue.household else { return Ok(()) };
    let table = catalogue.table(&household.table).filter(|table| table.is_private());
    let fits = |table: &Table| {
        table.column(&household.column).is_some_and(|column| {
            matches!(column.ty, ColumnType::Id | ColumnType::Text)
                && !column.direct_identifier
                && !table.is_unit_column(column)
        })
    };
    if table.is_some_and(fits) {
        return Ok(());
    }
    let HouseholdColumn { table, column } = household;
    Err(CatalogueRefused::at(
        "`[household]`",
        format!(
            "`{table}.{column}` is no id or text of a private table, or is the unit key or a direct identifier"
        ),
    ))
}

fn check_table(catalogue: &Catalogue, table: &Table) -> Checked {
    let place = format!("table `{}`", table.name);
    check_name(&place, &table.name)?;
    if table.columns.is_empty() {
        return Err(CatalogueRefused::at(place, "there are no columns"));
    }
    unique(table.columns.iter().map(|column| column.name.as_str()), &place, "two columns are named")?;
    let sources = table.columns.iter().map(|column| column.source.as_str());
    unique(sources.chain(table.ignore.iter().map(String::as_str)), &place, "two columns are read from")?;
    for column in &table.columns {
        check_column(table, column)?;
    }
    if let Some(event_time) = &table.event_time {
        let column = existing(table, event_time, "event_time")?;
        if !matches!(column.ty, ColumnType::Date | ColumnType::Timestamp) || column.direct_identifier {
            return Err(CatalogueRefused::at(
                place,
                format!("event time `{event_time}` is no date or timestamp"),
            ));
        }
    }
    for pattern in &table.files {
        if pattern.is_empty() || pattern.starts_with('/') || pattern.split('/').any(|part| part == "..") {
            return Err(CatalogueRefused::at(
                place,
                format!("file pattern `{pattern}` leads out of the folder"),
            ));
        }
    }
    check_kind(table)?;
    check_foreign_keys(catalogue, table)
}

fn check_kind(table: &Table) -> Checked {
    let place = || format!("table `{}`", table.name);
    match &table.kind {
        TableKind::Public { key } => {
            if key.is_empty() {
                return Err(CatalogueRefused::at(place(), "the `key` names no column"));
            }
            for name in key {
                let column = existing(table, name, "key")?;
                if column.nullable || column.direct_identifier {
                    let reason =
                        format!("key column `{name}` must be neither nullable nor a direct identifier");
                    return Err(CatalogueRefused::at(place(), reason));
                }
            }
            match table.columns.iter().find(|column| column.direct_identifier) {
                Some(column) => {
                    let reason = format!("direct identifier `{}` in a public table", column.name);
                    Err(CatalogueRefused::at(place(), reason))
                }
                None => Ok(()),
            }
        }
        TableKind::Private { unit: UnitSource::Column(name), .. } => {
            let column = existing(table, name, "unit")?;
            if !matches!(column.ty, ColumnType::Id | ColumnType::Text) || column.domain.is_some() {
                let reason = format!("unit column `{name}` must be an id or a text without a domain");
                return Err(CatalogueRefused::at(place(), reason));
            }
            Ok(())
        }
        TableKind::Private { unit: UnitSource::Via(name), .. } => {
            existing(table, name, "unit")?;
            Ok(())
        }
    }
}

fn check_foreign_keys(catalogue: &Catalogue, table: &Table) -> Checked {
    let place = || format!("table `{}`", table.name);
    unique(table.foreign_keys.iter().map(|fk| fk.column.as_str()), &place(), "two foreign keys are on")?;
    for fk in &table.foreign_keys {
        let here = existing(table, &fk.column, "foreign_keys")?;
        let Some(target) = catalogue.table(&fk.table) else {
            return Err(CatalogueRefused::at(
                place(),
                format!("foreign key to `{}`, which is no table", fk.table),
            ));
        };
        let there = existing(target, &fk.key, "foreign_keys")?;
        let joinable = here.ty == there.ty && !here.direct_identifier && !there.direct_identifier;
        if !joinable {
            let reason = format!("foreign key `{}` and `{}.{}` differ in type", fk.column, fk.table, fk.key);
            return Err(CatalogueRefused::at(place(), reason));
        }
        if matches!(&target.kind, TableKind::Public { key } if *key != [fk.key.clone()]) {
            let reason =
                format!("foreign key `{}`: `{}` is not the key of `{}`", fk.column, fk.key, fk.table);
            return Err(CatalogueRefused::at(place(), reason));
        }
    }
    Ok(())
}

/// Every private table must reach one kind of unit key, and no child may hide that key's name.
fn check_units(catalogue: &Catalogue) -> Checked {
    let mut kind: Option<ColumnType> = None;
    for table in catalogue.tables.iter().filter(|table| table.is_private()) {
        let place = format!("table `{}`", table.name);
        if let Some(UnitSource::Via(name)) = table.unit_source() {
            let Some(fk) = table.parent() else {
                return Err(CatalogueRefused::at(
                    place,
                    format!("`unit = {{ via = \"{name}\" }}` is no foreign key"),
                ));
            };
            let key = catalogue.table(&fk.table).and_then(|parent| parent.column(&fk.key));
            let usable = |column: &Column| matches!(column.ty, ColumnType::Id | ColumnType::Text);
            if !catalogue.table(&fk.table).is_some_and(Table::is_private) || !key.is_some_and(usable) {
                let reason = format!(
                    "the unit path leads through `{}.{}`, which is no private id or text",
                    fk.table, fk.key
                );
                return Err(CatalogueRefused::at(place, reason));
            }
            if catalogue
                .table(&fk.table)
                .is_some_and(|parent| key.is_some_and(|key| parent.is_unit_column(key)))
            {
                return Err(CatalogueRefused::at(
                    place,
                    format!("`{name}` is the unit key itself: write `unit = \"{name}\"`"),
                ));
            }
        }
        let Some((_, unit)) = catalogue.unit_column(table) else {
            return Err(CatalogueRefused::at(place, "the unit path is a circle"));
        };
        if *kind.get_or_insert(unit.ty) != unit.ty {
            return Err(CatalogueRefused::at(place, "its unit key has another type than the other tables'"));
        }
        let hides = |column: &Column| column.name == unit.name && !table.is_unit_column(column);
        if table.columns.iter().any(hides) {
            let reason = format!("column `{}` has the name of the unit key but is another thing", unit.name);
            return Err(CatalogueRefused::at(place, reason));
        }
    }
    match kind {
        Some(_) => Ok(()),
        None => Err(CatalogueRefused::at("the file", "there is no private table: nothing to protect")),
    }
}

fn check_column(table: &Table, column: &Column) -> Checked {
    let place = format!("column `{}.{}`", table.name, column.name);
    check_name(&place, &column.name)?;
    let refused = |reason: String| Err(CatalogueRefused::at(&place, reason));
    if column.direct_identifier {
        let plain = column.domain.is_none() && !column.domain_from_data && column.bounds.is_none();
        if column.ty != ColumnType::Text || !plain || table.is_unit_column(column) {
            return refused(
                "a direct identifier is a text without domain and bounds, and not the unit key".to_owned(),
            );
        }
    }
    if column.domain_from_data && table.is_private() {
        return refused(
            "`from-data` would publish what shoppers did; list the values, or leave the domain out"
                .to_owned(),
        );
    }
    if column.domain_from_data
        && matches!(column.ty, ColumnType::Money { .. } | ColumnType::Bool | ColumnType::Timestamp)
    {
        return refused(format!("a {} has no domain", column.ty.word()));
    }
    if column.bounds.is_some_and(|(min, max)| min > max) {
        return refused("`bounds`: min is above max".to_owned());
    }
    match (&column.domain, column.ty) {
        (None, _) => Ok(()),
        (Some(Domain::Values(values)), ColumnType::Text) => check_values(&place, values),
        (Some(Domain::Values(values)), ColumnType::Id) => {
            if values.iter().any(|value| value.parse::<i64>().map(|n| n.to_string()).as_ref() != Ok(value)) {
                return refused("the domain of an id lists whole numbers".to_owned());
            }
            check_values(&place, values)
        }
        (Some(Domain::IntRange { min, max }), ColumnType::Int | ColumnType::Id) if min <= max => Ok(()),
        (Some(Domain::DateRange { first, last }), ColumnType::Date | ColumnType::Timestamp)
            if first <= last =>
        {
            Ok(())
        }
        (Some(_), ty) => refused(format!("this domain does not fit a {}, or is empty", ty.word())),
    }
}

fn check_values(place: &str, values: &[String]) -> Checked {
    if values.is_empty() || values.len() > DOMAIN_VALUES_MAX {
        return Err(CatalogueRefused::at(place, format!("a domain has 1 to {DOMAIN_VALUES_MAX} values")));
    }
    unique(values.iter().map(String::as_str), place, "the domain lists twice")
}

fn check_consent(catalogue: &Catalogue) -> Checked {
    let ConsentSource::Table { table: name, purpose, state, at } = &catalogue.consent else {
        return Ok(());
    };
    let place = "`[consent]`";
    let Some(table) = catalogue.table(name).filter(|table| table.is_private()) else {
        return Err(CatalogueRefused::at(place, format!("`{name}` is no private table")));
    };
    for (field, column, ty) in [
        ("purpose", purpose, ColumnType::Text),
        ("state", state, ColumnType::Text),
        ("at", at, ColumnType::Timestamp),
    ] {
        let fits = |column: &Column| column.ty == ty && !column.nullable && !column.direct_identifier;
        if !table.column(column).is_some_and(|c| fits(c) && !table.is_unit_column(c)) {
            let reason = format!("`{field}` must be a {} column of `{name}` that is never empty", ty.word());
            return Err(CatalogueRefused::at(place, reason));
        }
    }
    Ok(())
}

fn existing<'t>(table: &'t Table, column: &str, field: &str) -> Result<&'t Column, CatalogueRefused> {
    table.column(column).ok_or_else(|| {
        CatalogueRefused::at(
            format!("table `{}`", table.name),
            format!("`{field}` names `{column}`, which is no column"),
        )
    })
}

fn check_name(place: &str, name: &str) -> Checked {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let rest = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !first || !rest || name.len() > NAME_BYTES_MAX || [UNIT_IX, UNIT_PSEUDONYM].contains(&name) {
        let reason = format!(
            "`{name}` cannot be a name: use a-z, 0-9 and _, at most {NAME_BYTES_MAX}, not `{UNIT_IX}`; \
             a column's name in the files goes into `source`"
        );
        return Err(CatalogueRefused::at(place, reason));
    }
    Ok(())
}

fn unique<'a>(names: impl Iterator<Item = &'a str>, place: &str, what: &str) -> Checked {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(CatalogueRefused::at(place, format!("{what} `{name}`")));
        }
    }
    Ok(())
}
