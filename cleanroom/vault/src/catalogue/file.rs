//! The form of `catalogue.toml`, field by field, and its conversion. What needs a look at the whole is in `check`.

use ids::{DatasetId, Date, PurposeId};
use serde::Deserialize;

use super::{
    Catalogue, CatalogueRefused, Column, ColumnType, ConsentSource, DirectIdentifier, Domain, EmptyUnit,
    ForeignKey, HouseholdColumn, Table, TableKind, UnitCase, UnitSource,
};

/// Most digits after the decimal point of money.
const SCALE_MAX: u8 = 6;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogueFile {
    dataset: DatasetId,
    time_zone: String,
    #[serde(default)]
    unit_case: UnitCase,
    consent: ConsentFile,
    household: Option<HouseholdColumn>,
    table: Vec<TableFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsentFile {
    table: Option<String>,
    purpose: Option<String>,
    state: Option<String>,
    at: Option<String>,
    assumed: Option<Vec<PurposeId>>,
    basis: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    name: String,
    kind: KindWord,
    unit: Option<UnitFile>,
    empty_unit: Option<EmptyUnit>,
    key: Option<Vec<String>>,
    files: Option<Vec<String>>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    ignore: Vec<String>,
    event_time: Option<String>,
    columns: Vec<ColumnFile>,
    #[serde(default)]
    foreign_keys: Vec<ForeignKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindWord {
    Private,
    Public,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`unit` is a column name or `{ via = \"column\" }`")]
enum UnitFile {
    Column(String),
    Via(ViaFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ViaFile {
    via: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnFile {
    name: String,
    #[serde(rename = "type")]
    ty: TypeWord,
    scale: Option<u8>,
    source: Option<String>,
    #[serde(default)]
    nullable: bool,
    domain: Option<DomainFile>,
    bounds: Option<BoundsFile>,
    #[serde(default)]
    direct_identifier: DirectIdentifierFile,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`direct_identifier` is true, false, \"phone\", \"email\" or \"other\"")]
enum DirectIdentifierFile {
    Flag(bool),
    Kind(DirectIdentifier),
}

impl Default for DirectIdentifierFile {
    fn default() -> Self {
        Self::Flag(false)
    }
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum TypeWord {
    Id,
    Int,
    Money,
    Text,
    Bool,
    Date,
    Timestamp,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`domain` is a list of texts or whole numbers, `{ min, max }`, `{ first, last }` or \"from-data\""
)]
enum DomainFile {
    Word(String),
    Texts(Vec<String>),
    Numbers(Vec<i64>),
    Ints(IntRangeFile),
    Days(DateRangeFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IntRangeFile {
    min: i64,
    max: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DateRangeFile {
    first: Date,
    last: Date,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundsFile {
    min: BoundFile,
    max: BoundFile,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a bound is a whole number, or for money a text such as \"12.50\"")]
enum BoundFile {
    Whole(i64),
    Decimal(String),
}

/// Reads the text; what it returns has not yet been looked at as a whole.
pub(super) fn read(text: &str) -> Result<Catalogue, CatalogueRefused> {
    let file: CatalogueFile = toml::from_str(text).map_err(|error| {
        let place = error.span().map_or_else(|| "the file".to_owned(), |span| line_of(text, span.start));
        CatalogueRefused::at(place, error.message().lines().collect::<Vec<_>>().join(" "))
    })?;
    let CatalogueFile { dataset, time_zone, unit_case, consent, household, table } = file;
    let consent = read_consent(consent)?;
    let tables = table.into_iter().map(read_table).collect::<Result<_, _>>()?;
    Ok(Catalogue { dataset, time_zone, unit_case, consent, household, tables })
}

fn line_of(text: &str, offset: usize) -> String {
    let line = 1 + text.bytes().take(offset).filter(|&b| b == b'\n').count();
    format!("line {line}")
}

fn read_consent(file: ConsentFile) -> Result<ConsentSource, CatalogueRefused> {
    let ConsentFile { table, purpose, state, at, assumed, basis } = file;
    match (table, purpose, state, at, assumed, basis) {
        (Some(table), Some(purpose), Some(state), Some(at), None, None) => {
            Ok(ConsentSource::Table { table, purpose, state, at })
        }
        (None, None, None, None, Some(purposes), Some(basis)) if !basis.trim().is_empty() => {
            Ok(ConsentSource::Assumed { purposes, basis })
        }
        _ => Err(CatalogueRefused::at(
            "`[consent]`",
            "give either `table`, `purpose`, `state` and `at`, or `assumed` with its `basis`",
        )),
    }
}

fn read_table(file: TableFile) -> Result<Table, CatalogueRefused> {
    let TableFile {
        name,
        kind,
        unit,
        empty_unit,
        key,
        files,
        optional,
        ignore,
        event_time,
        columns,
        foreign_keys,
    } = file;
    let refused = |reason: &str| CatalogueRefused::at(format!("table `{name}`"), reason);
    let kind = match (kind, unit, key) {
        (KindWord::Private, Some(unit), None) => TableKind::Private {
            unit: match unit {
                UnitFile::Column(column) => UnitSource::Column(column),
                UnitFile::Via(ViaFile { via }) => UnitSource::Via(via),
            },
            empty_unit: empty_unit.unwrap_or_default(),
        },
        (KindWord::Public, None, Some(key)) if empty_unit.is_none() => TableKind::Public { key },
        (KindWord::Private, ..) => return Err(refused("a private table has a `unit` and no `key`")),
        (KindWord::Public, ..) => {
            return Err(refused("a public table has a `key`, no `unit` and no `empty_unit`"));
        }
    };
    let files = files.unwrap_or_else(|| {
        ["csv", "parquet"]
            .iter()
            .flat_map(|end| [format!("{name}.{end}"), format!("{name}-*.{end}")])
            .collect()
    });
    let columns = columns.into_iter().map(|column| read_column(&name, column)).collect::<Result<_, _>>()?;
    Ok(Table { kind, files, optional, ignore, event_time, columns, foreign_keys, name })
}

fn read_column(table: &str, file: ColumnFile) -> Result<Column, CatalogueRefused> {
    let ColumnFile { name, ty, scale, source, nullable, domain, bounds, direct_identifier } = file;
    let refused = |reason: String| CatalogueRefused::at(format!("column `{table}.{name}`"), reason);
    let ty = match (ty, scale) {
        (TypeWord::Money, Some(scale)) if scale <= SCALE_MAX => ColumnType::Money { scale },
        (TypeWord::Money, _) => {
            return Err(refused(format!("money needs a `scale` of 0 to {SCALE_MAX} digits")));
        }
        (_, Some(_)) => return Err(refused("only money has a `scale`".to_owned())),
        (TypeWord::Id, None) => ColumnType::Id,
        (TypeWord::Int, None) => ColumnType::Int,
        (TypeWord::Text, None) => ColumnType::Text,
        (TypeWord::Bool, None) => ColumnType::Bool,
        (TypeWord::Date, None) => ColumnType::Date,
        (TypeWord::Timestamp, None) => ColumnType::Timestamp,
    };
    let (domain, domain_from_data) = match domain {
        None => (None, false),
        Some(DomainFile::Word(word)) if word == "from-data" => (None, true),
        Some(DomainFile::Word(word)) => {
            return Err(refused(format!("`domain = \"{word}\"` is not `\"from-data\"`")));
        }
        Some(DomainFile::Texts(values)) => (Some(Domain::Values(values)), false),
        Some(DomainFile::Numbers(values)) => {
            (Some(Domain::Values(values.iter().map(i64::to_string).collect())), false)
        }
        Some(DomainFile::Ints(IntRangeFile { min, max })) => (Some(Domain::IntRange { min, max }), false),
        Some(DomainFile::Days(DateRangeFile { first, last })) => {
            (Some(Domain::DateRange { first, last }), false)
        }
    };
    let bounds = match bounds {
        None => None,
        Some(BoundsFile { min, max }) => {
            Some((read_bound(min, ty).map_err(refused)?, read_bound(max, ty).map_err(refused)?))
        }
    };
    let source = source.unwrap_or_else(|| name.clone());
    let (direct_identifier, identifier) = match direct_identifier {
        DirectIdentifierFile::Flag(flag) => (flag, None),
        DirectIdentifierFile::Kind(kind) => (true, Some(kind)),
    };
    Ok(Column { name, source, ty, nullable, domain, domain_from_data, bounds, direct_identifier, identifier })
}

fn read_bound(bound: BoundFile, ty: ColumnType) -> Result<i64, String> {
    match (ty, bound) {
        (ColumnType::Int, BoundFile::Whole(value)) => Ok(value),
        (ColumnType::Money { scale }, BoundFile::Decimal(text)) => parse_decimal(&text, scale)
            .ok_or_else(|| format!("`{text}` is not an amount with at most {scale} digits after the point")),
        (ColumnType::Money { .. }, BoundFile::Whole(_)) => {
            Err("bounds of money are written as text, such as \"12.50\"".to_owned())
        }
        _ => Err("only int (whole numbers) and money (texts) have `bounds`".to_owned()),
    }
}

/// An amount such as `-12.5` in units of 10^-scale; `None` if it has more digits than that, or is none.
pub(crate) fn parse_decimal(text: &str, scale: u8) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let (kept, rest) = fraction.as_bytes().split_at(fraction.len().min(usize::from(scale)));
    if rest.iter().any(|&b| b != b'0') {
        return None;
    }
    let padding = std::iter::repeat_n(&b'0', usize::from(scale) - kept.len());
    // Accumulated below zero, because the smallest i64 has no positive counterpart.
    let value = whole
        .as_bytes()
        .iter()
        .chain(kept)
        .chain(padding)
        .try_fold(0_i64, |value, digit| value.checked_mul(10)?.checked_sub(i64::from(digit - b'0')))?;
    if negative { Some(value) } else { value.checked_neg() }
}

#[cfg(test)]
mod tests {
    use super::parse_decimal;

    #[test]
    fn amounts_are_exact_or_nothing() {
        for (text, scale, value) in [
            ("12.5", 2, Some(1250)),
            ("-0.01", 2, Some(-1)),
            (".5", 1, Some(5)),
            ("7.", 0, Some(7)),
            ("1.2300", 2, Some(123)),
            ("1.234", 2, None),
            ("", 2, None),
            (".", 2, None),
            ("1e3", 2, None),
            ("--1", 2, None),
            ("-9223372036854775808", 0, Some(i64::MIN)),
            ("9223372036854775808", 0, None),
        ] {
            assert_eq!(parse_decimal(text, scale), value, "{text}");
        }
    }
}
