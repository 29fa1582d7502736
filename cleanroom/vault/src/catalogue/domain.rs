//! Learning the domains of public tables.

use std::collections::BTreeSet;

use ids::Date;

use super::{Catalogue, Column, ColumnType, DOMAIN_VALUES_MAX, Domain};

/// A learned domain would have too many values.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "column `{table}.{column}` has more than {DOMAIN_VALUES_MAX} different values: too many for `domain = \"from-data\"`; \
     leave the domain out"
)]
pub struct DomainRefused {
    table: String,
    column: String,
}

/// The values a column was seen to have, on the way to a learned domain.
#[derive(Debug)]
pub(crate) enum Seen {
    Texts(BTreeSet<String>),
    Ids(BTreeSet<i64>),
    Ints(Option<(i64, i64)>),
    Days(Option<(i32, i32)>),
}

impl Seen {
    /// Starts from what earlier snapshots knew; `None` if the column's domain is not learned.
    pub(crate) fn of(column: &Column) -> Option<Self> {
        if !column.domain_from_data {
            return None;
        }
        let known = column.domain.as_ref();
        let texts = || match known {
            Some(Domain::Values(values)) => values.clone(),
            _ => Vec::new(),
        };
        match column.ty {
            ColumnType::Text => Some(Self::Texts(texts().into_iter().collect())),
            ColumnType::Id => Some(Self::Ids(texts().iter().filter_map(|text| text.parse().ok()).collect())),
            ColumnType::Int => Some(Self::Ints(match known {
                Some(Domain::IntRange { min, max }) => Some((*min, *max)),
                _ => None,
            })),
            ColumnType::Date => Some(Self::Days(match known {
                Some(Domain::DateRange { first, last }) => Some((first.as_days(), last.as_days())),
                _ => None,
            })),
            ColumnType::Money { .. } | ColumnType::Bool | ColumnType::Timestamp => None,
        }
    }

    pub(crate) fn text(&mut self, value: &str) {
        if let Self::Texts(seen) = self
            && !seen.contains(value)
        {
            seen.insert(value.to_owned());
        }
    }

    pub(crate) fn number(&mut self, value: i64) {
        match self {
            Self::Ids(seen) => {
                seen.insert(value);
            }
            Self::Ints(range) => *range = Some(widen(*range, value)),
            Self::Days(range) => {
                if let Ok(day) = i32::try_from(value) {
                    *range = Some(widen(*range, day));
                }
            }
            Self::Texts(_) => {}
        }
    }

    fn into_domain(self) -> Result<Option<Domain>, ()> {
        let values = |values: Vec<String>| match values.len() {
            0 => Ok(None),
            n if n > DOMAIN_VALUES_MAX => Err(()),
            _ => Ok(Some(Domain::Values(values))),
        };
        match self {
            Self::Texts(seen) => values(seen.into_iter().collect()),
            Self::Ids(seen) => values(seen.iter().map(i64::to_string).collect()),
            Self::Ints(range) => Ok(range.map(|(min, max)| Domain::IntRange { min, max })),
            Self::Days(range) => Ok(range.map(|(first, last)| Domain::DateRange {
                first: Date::from_days(first),
                last: Date::from_days(last),
            })),
        }
    }
}

fn widen<T: Ord + Copy>(range: Option<(T, T)>, value: T) -> (T, T) {
    range.map_or((value, value), |(min, max)| (min.min(value), max.max(value)))
}

impl Catalogue {
    /// Takes over what a column was seen to have.
    pub(crate) fn learn(&mut self, table: &str, column: &str, seen: Seen) -> Result<(), DomainRefused> {
        let found = self
            .tables
            .iter_mut()
            .filter(|t| t.name == table)
            .flat_map(|t| &mut t.columns)
            .find(|c| c.name == column && c.domain_from_data);
        if let Some(known) = found {
            known.domain = seen
                .into_domain()
                .map_err(|()| DomainRefused { table: table.to_owned(), column: column.to_owned() })?;
        }
        Ok(())
    }
}
