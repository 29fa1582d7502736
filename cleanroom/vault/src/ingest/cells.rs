//! One column's values on the way in: what may stand in a cell, and the array it becomes. All rules are here, for CSV
//! and Parquet alike. A reason never repeats the value.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use ids::PurposeId;

use crate::catalogue::{Catalogue, Column, ColumnType, ConsentSource, Domain, Table, parse_decimal};

/// How far a floating amount may lie from a whole number of minor units and still be taken for it.
const MINOR_UNIT_TOLERANCE: f64 = 1e-6;

/// Largest amount in minor units that a double holds exactly.
const DOUBLE_EXACT_MAX: f64 = 9_007_199_254_740_992.0;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Why a cell is refused, without its value.
pub(super) type Reason = String;

/// A value as a file holds it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'a> {
    Empty,
    Int(i64),
    Float(f64),
    /// Value and digits after the point.
    Decimal(i128, u8),
    Text(&'a str),
    Bool(bool),
    Days(i32),
    Micros(i64),
}

enum Allowed {
    Anything,
    Range(i64, i64),
    Days(i64, i64),
    Texts(HashSet<String>),
    Ids(HashSet<i64>),
    Purpose,
}

enum Values {
    Ints(Int64Builder),
    Texts(StringBuilder),
    Bools(BooleanBuilder),
    Days(Date32Builder),
    Moments(TimestampMicrosecondBuilder),
}

/// Takes one column's cells and builds its array.
pub(super) struct ColumnIntake {
    ty: ColumnType,
    nullable: bool,
    allowed: Allowed,
    values: Values,
}

impl ColumnIntake {
    /// For a column of the catalogue. An empty unit key is not this type's business: it passes.
    pub(super) fn new(catalogue: &Catalogue, table: &Table, column: &Column) -> Self {
        let values = match column.ty {
            ColumnType::Id | ColumnType::Int | ColumnType::Money { .. } => Values::Ints(Int64Builder::new()),
            ColumnType::Text => Values::Texts(StringBuilder::new()),
            ColumnType::Bool => Values::Bools(BooleanBuilder::new()),
            ColumnType::Date => Values::Days(Date32Builder::new()),
            ColumnType::Timestamp => Values::Moments(TimestampMicrosecondBuilder::new()),
        };
        let nullable = column.nullable || table.is_unit_column(column);
        Self { ty: column.ty, nullable, allowed: allowed(catalogue, table, column), values }
    }

    /// Takes the next cell. A refused cell leaves an empty one, so that columns stay in step.
    pub(super) fn push(&mut self, cell: Cell<'_>) -> Result<(), Reason> {
        match self.try_push(cell) {
            Ok(()) => Ok(()),
            Err(reason) => {
                self.push_empty();
                Err(reason)
            }
        }
    }

    /// The array of all cells taken since the last call.
    pub(super) fn finish(&mut self) -> ArrayRef {
        match &mut self.values {
            Values::Ints(values) => Arc::new(values.finish()),
            Values::Texts(values) => Arc::new(values.finish()),
            Values::Bools(values) => Arc::new(values.finish()),
            Values::Days(values) => Arc::new(values.finish()),
            Values::Moments(values) => Arc::new(values.finish()),
        }
    }

    fn push_empty(&mut self) {
        match &mut self.values {
            Values::Ints(values) => values.append_null(),
            Values::Texts(values) => values.append_null(),
            Values::Bools(values) => values.append_null(),
            Values::Days(values) => values.append_null(),
            Values::Moments(values) => values.append_null(),
        }
    }

    fn try_push(&mut self, cell: Cell<'_>) -> Result<(), Reason> {
        let cell = match cell {
            Cell::Text("") => Cell::Empty,
            Cell::Text(text) if self.ty != ColumnType::Text && text.trim().is_empty() => Cell::Empty,
            other => other,
        };
        if matches!(cell, Cell::Empty) {
            if !self.nullable {
                return Err("is empty".to_owned());
            }
            self.push_empty();
            return Ok(());
        }
        match &mut self.values {
            Values::Ints(values) => {
                let value = whole(self.ty, cell)?;
                self.allowed.number(self.ty, value)?;
                values.append_value(value);
            }
            Values::Texts(values) => match cell {
                Cell::Text(text) => {
                    self.allowed.text(text)?;
                    values.append_value(text);
                }
                Cell::Int(number) => {
                    let text = number.to_string();
                    self.allowed.text(&text)?;
                    values.append_value(text);
                }
                _ => return Err("is no text".to_owned()),
            },
            Values::Bools(values) => values.append_value(truth(cell)?),
            Values::Days(values) => {
                let day = day(cell)?;
                self.allowed.number(self.ty, i64::from(day))?;
                values.append_value(day);
            }
            Values::Moments(values) => {
                let micros = moment(cell)?;
                self.allowed.number(self.ty, micros.div_euclid(MICROS_PER_DAY))?;
                values.append_value(micros);
            }
        }
        Ok(())
    }
}

impl Allowed {
    fn number(&self, ty: ColumnType, value: i64) -> Result<(), Reason> {
        match self {
            Self::Anything | Self::Texts(_) | Self::Purpose => Ok(()),
            Self::Range(min, max) if (*min..=*max).contains(&value) => Ok(()),
            Self::Range(min, max) => match ty {
                ColumnType::Money { scale } if scale > 0 => {
                    Err(format!("is outside its bounds of {min} to {max} (in units of 10^-{scale})"))
                }
                _ => Err(format!("is outside its bounds of {min} to {max}")),
            },
            Self::Days(first, last) if (*first..=*last).contains(&value) => Ok(()),
            Self::Days(..) => Err("is outside its days".to_owned()),
            Self::Ids(values) if values.contains(&value) => Ok(()),
            Self::Ids(_) => Err("is not in its domain".to_owned()),
        }
    }

    fn text(&self, text: &str) -> Result<(), Reason> {
        match self {
            Self::Texts(values) if !values.contains(text) => Err("is not in its domain".to_owned()),
            Self::Purpose if text.parse::<PurposeId>().is_err() => Err("is no name of a purpose".to_owned()),
            _ => Ok(()),
        }
    }
}

fn allowed(catalogue: &Catalogue, table: &Table, column: &Column) -> Allowed {
    if let ConsentSource::Table { table: consents, purpose, state, .. } = catalogue.consent()
        && *consents == table.name
    {
        if *purpose == column.name {
            return Allowed::Purpose;
        }
        if *state == column.name {
            return Allowed::Texts(["given", "withdrawn", "expired"].map(str::to_owned).into());
        }
    }
    // A learned domain grows with the data; only a declared one limits it.
    let declared = column.domain.as_ref().filter(|_| !column.domain_from_data);
    match (declared, column.bounds) {
        (Some(Domain::Values(values)), _) if column.ty == ColumnType::Id => {
            Allowed::Ids(values.iter().filter_map(|value| value.parse().ok()).collect())
        }
        (Some(Domain::Values(values)), _) => Allowed::Texts(values.iter().cloned().collect()),
        (Some(Domain::IntRange { min, max }), None) => Allowed::Range(*min, *max),
        (Some(Domain::IntRange { min, max }), Some((low, high))) => {
            Allowed::Range(low.max(*min), high.min(*max))
        }
        (Some(Domain::DateRange { first, last }), _) => {
            Allowed::Days(i64::from(first.as_days()), i64::from(last.as_days()))
        }
        (None, Some((min, max))) => Allowed::Range(min, max),
        (None, None) => Allowed::Anything,
    }
}

fn whole(ty: ColumnType, cell: Cell<'_>) -> Result<i64, Reason> {
    let scale = if let ColumnType::Money { scale } = ty { scale } else { 0 };
    let unit = 10_i64.pow(u32::from(scale));
    let value = match cell {
        Cell::Int(value) => value.checked_mul(unit),
        Cell::Float(value) => return minor_units(value, unit, scale),
        Cell::Decimal(value, digits) => rescale(value, digits, scale),
        Cell::Text(text) => parse_decimal(text.trim(), scale),
        _ => None,
    };
    value.ok_or_else(|| match scale {
        0 => "is no whole number".to_owned(),
        _ => format!("is no amount with at most {scale} digits after the point"),
    })
}

/// The nearest whole number of minor units, if there is one within the tolerance.
fn minor_units(value: f64, unit: i64, scale: u8) -> Result<i64, Reason> {
    let scaled = value * unit as f64;
    let nearest = scaled.round();
    // The tolerance is absolute for amounts as people write them; a double of 10^10 units is no closer than its own step.
    let tolerance = MINOR_UNIT_TOLERANCE.max(scaled.abs() * f64::EPSILON);
    if nearest.abs() < DOUBLE_EXACT_MAX && (scaled - nearest).abs() <= tolerance {
        Ok(nearest as i64)
    } else if scale == 0 {
        Err("is no whole number".to_owned())
    } else {
        Err(format!("is no amount with at most {scale} digits after the point"))
    }
}

fn rescale(value: i128, digits: u8, scale: u8) -> Option<i64> {
    let power = |n: u8| 10_i128.checked_pow(u32::from(n));
    let value = if digits <= scale {
        value.checked_mul(power(scale - digits)?)?
    } else {
        let divisor = power(digits - scale)?;
        (value % divisor == 0).then_some(value / divisor)?
    };
    i64::try_from(value).ok()
}

fn truth(cell: Cell<'_>) -> Result<bool, Reason> {
    match cell {
        Cell::Bool(value) => Ok(value),
        Cell::Int(0) => Ok(false),
        Cell::Int(1) => Ok(true),
        Cell::Text(text) => match text.trim() {
            "true" | "TRUE" | "True" | "t" | "1" => Ok(true),
            "false" | "FALSE" | "False" | "f" | "0" => Ok(false),
            _ => Err("is neither true nor false".to_owned()),
        },
        _ => Err("is neither true nor false".to_owned()),
    }
}

fn day(cell: Cell<'_>) -> Result<i32, Reason> {
    let refused = || "is no date (YYYY-MM-DD)".to_owned();
    match cell {
        Cell::Days(day) => Ok(day),
        Cell::Micros(micros) if micros % MICROS_PER_DAY == 0 => {
            i32::try_from(micros / MICROS_PER_DAY).map_err(|_| refused())
        }
        Cell::Text(text) => text.trim().parse::<ids::Date>().map(ids::Date::as_days).map_err(|_| refused()),
        _ => Err(refused()),
    }
}

fn moment(cell: Cell<'_>) -> Result<i64, Reason> {
    let micros = match cell {
        Cell::Micros(micros) => Some(micros),
        Cell::Days(day) => Some(i64::from(day) * MICROS_PER_DAY),
        Cell::Text(text) => parse_moment(text.trim()),
        _ => None,
    };
    micros.ok_or_else(|| "is no time (YYYY-MM-DD HH:MM:SS)".to_owned())
}

/// ISO 8601 with `T` or a space, up to six decimals, and optionally `Z` or an offset, which is applied.
fn parse_moment(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    for form in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, form) {
            return Some(time.and_utc().timestamp_micros());
        }
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(i64::from(day.to_epoch_days()) * MICROS_PER_DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONEY: ColumnType = ColumnType::Money { scale: 2 };

    #[test]
    fn amounts_are_rounded_to_the_nearest_cent_or_refused() {
        for (cell, value) in [
            (Cell::Float(0.99), Ok(99)),
            (Cell::Float(1.43), Ok(143)),
            (Cell::Float(0.1 + 0.2), Ok(30)),
            (Cell::Float(-12.34), Ok(-1234)),
            (Cell::Float(1.005), Err(())),
            (Cell::Float(f64::NAN), Err(())),
            (Cell::Float(1e300), Err(())),
            (Cell::Decimal(1250, 3), Ok(125)),
            (Cell::Decimal(1251, 3), Err(())),
            (Cell::Text(" 7.5 "), Ok(750)),
            (Cell::Text("7,5"), Err(())),
            (Cell::Int(3), Ok(300)),
            (Cell::Int(i64::MAX), Err(())),
            (Cell::Bool(true), Err(())),
        ] {
            assert_eq!(whole(MONEY, cell).map_err(drop), value, "{cell:?}");
        }
        assert_eq!(whole(ColumnType::Int, Cell::Float(2.0)), Ok(2));
        assert!(whole(ColumnType::Int, Cell::Text("2.5")).is_err());
    }

    #[test]
    fn times_are_read_in_the_usual_forms() {
        for text in ["2017-01-01 11:53:26", "2017-01-01T11:53:26Z", "2017-01-01T16:53:26.000+05:00"] {
            assert_eq!(moment(Cell::Text(text)), Ok(1_483_271_606_000_000), "{text}");
        }
        for text in ["01.01.2017", "2017-13-01 00:00:00", "now"] {
            assert!(moment(Cell::Text(text)).is_err(), "{text}");
        }
    }
}
