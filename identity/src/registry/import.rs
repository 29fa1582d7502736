//! Consent events of many shoppers from one CSV file: all of it or nothing.
//!
//! ```text
//! subject,purpose,event,at,valid_until,method,evidence
//! C000000042,measurement,given,2026-03-01T10:00:00Z,2028-03-01,app,
//! C000000043,targeting,withdrawn,2026-03-02,,web,
//! ```
//!
//! `subject` is the shopper's unit key as files have it. What they were told is given once for the whole file.

use std::fmt;
use std::io::Read;

use ids::{Digest, Timestamp};

use super::record::{Method, NewEvent};
use crate::consents::ConsentEvent;
use crate::pseudonym::ShopperPseudonym;

/// The columns, in any order in the file.
const COLUMNS: [&str; 7] = ["subject", "purpose", "event", "at", "valid_until", "method", "evidence"];
/// Bad rows that are named; the rest is counted.
const BAD_ROWS_SHOWN: usize = 100;
/// Most events of one file: beyond, the transaction would hold the registry for minutes.
const EVENTS_MAX: usize = 5_000_000;

/// One row that cannot be an event. The reason never repeats the cell: it may be a shopper's key in the wrong column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Line in the file, from 1.
    pub line: u64,
    /// The column.
    pub column: &'static str,
    /// What is wrong.
    pub reason: &'static str,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column `{}`: {}", self.line, self.column, self.reason)
    }
}

/// All bad rows of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{total} rows are no consent events and nothing was imported; {}", first(rows))]
pub struct BadRows {
    /// The first of them.
    pub rows: Vec<BadRow>,
    /// How many there are.
    pub total: u64,
}

fn first(rows: &[BadRow]) -> String {
    rows.first().map_or_else(String::new, |row| format!("the first is {row}"))
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportRefused {
    /// Not the header that is expected.
    #[error("the header lacks the column `{column}` or has it twice: expected `{}`", COLUMNS.join(","))]
    Header {
        /// The column.
        column: &'static str,
    },
    /// A header with more than is known: a misspelt column would be ignored otherwise.
    #[error("the header has a column beside `{}`", COLUMNS.join(","))]
    UnknownColumn,
    /// The file is not CSV, not UTF-8, or cannot be read.
    #[error("line {line} cannot be read as comma-separated values in UTF-8")]
    Unreadable {
        /// Line, from 1; 0 if the file itself failed.
        line: u64,
    },
    /// Too many events for one transaction.
    #[error("the file has more than {EVENTS_MAX} events: split it")]
    TooMany,
    /// Bad rows.
    #[error(transparent)]
    Rows(#[from] BadRows),
}

impl ImportRefused {
    /// A stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Header { .. } => "consent_header",
            Self::UnknownColumn => "consent_column_unknown",
            Self::Unreadable { .. } => "consent_file_unreadable",
            Self::TooMany => "consent_file_too_large",
            Self::Rows(_) => "consent_rows",
        }
    }
}

/// Reads a file. `pseudonym` turns a unit key into the shopper's pseudonym, or says that it cannot be a unit key; `now` is
/// the moment after which an event lies in the future.
///
/// # Errors
/// All bad rows at once, or the first thing that makes the file unreadable. Nothing was recorded in any case: this only
/// reads.
pub fn parse_csv(
    file: impl Read,
    now: Timestamp,
    pseudonym: &mut dyn FnMut(&str) -> Option<ShopperPseudonym>,
) -> Result<Vec<NewEvent>, ImportRefused> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let places = places(reader.headers().map_err(|why| unreadable(&why))?)?;
    let (mut events, mut bad) = (Vec::new(), BadRows { rows: Vec::new(), total: 0 });
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|why| unreadable(&why))? {
        let cell =
            |column: Column| places.get(column as usize).and_then(|&at| record.get(at)).unwrap_or_default();
        match event(&cell, now, pseudonym) {
            Ok(event) => events.push(event),
            Err((column, reason)) => {
                bad.total += 1;
                if bad.rows.len() < BAD_ROWS_SHOWN {
                    let line = record.position().map_or(0, csv::Position::line);
                    let column = COLUMNS.get(column as usize).copied().unwrap_or_default();
                    bad.rows.push(BadRow { line, column, reason });
                }
            }
        }
        if events.len() > EVENTS_MAX {
            return Err(ImportRefused::TooMany);
        }
    }
    if bad.total > 0 { Err(bad.into()) } else { Ok(events) }
}

/// Positions in [`COLUMNS`].
#[derive(Clone, Copy)]
enum Column {
    Subject,
    Purpose,
    Event,
    At,
    ValidUntil,
    Method,
    Evidence,
}

/// Where in the file each column of [`COLUMNS`] stands.
fn places(header: &csv::StringRecord) -> Result<Vec<usize>, ImportRefused> {
    let header: Vec<&str> = header.iter().map(|name| name.trim_start_matches('\u{feff}')).collect();
    if header.iter().any(|name| !COLUMNS.contains(name)) {
        return Err(ImportRefused::UnknownColumn);
    }
    COLUMNS
        .iter()
        .map(|&column| {
            let mut found = header.iter().enumerate().filter(|(_, name)| **name == column).map(|(at, _)| at);
            match (found.next(), found.next()) {
                (Some(at), None) => Ok(at),
                _ => Err(ImportRefused::Header { column }),
            }
        })
        .collect()
}

fn unreadable(why: &csv::Error) -> ImportRefused {
    ImportRefused::Unreadable { line: why.position().map_or(0, csv::Position::line) }
}

/// One event, or the column that is wrong and why.
fn event<'a>(
    cell: &dyn Fn(Column) -> &'a str,
    now: Timestamp,
    pseudonym: &mut dyn FnMut(&str) -> Option<ShopperPseudonym>,
) -> Result<NewEvent, (Column, &'static str)> {
    let subject =
        pseudonym(cell(Column::Subject)).ok_or((Column::Subject, "is no unit key of the dataset"))?;
    let purpose = cell(Column::Purpose).parse().map_err(|_| (Column::Purpose, "is no name of a purpose"))?;
    let event = match cell(Column::Event).parse() {
        Ok(ConsentEvent::Expired) => {
            return Err((
                Column::Event,
                "is `expired`, which follows from `valid_until` and is not imported",
            ));
        }
        Ok(event) => event,
        Err(_) => return Err((Column::Event, "is neither `given` nor `withdrawn`")),
    };
    let moment = |column: Column| {
        cell(column)
            .parse::<Timestamp>()
            .map_err(|_| (column, "is no moment such as `2026-05-31T10:00:00Z` or day"))
    };
    let at = moment(Column::At)?;
    if at > now {
        return Err((Column::At, "lies in the future"));
    }
    let valid_until = match (event, cell(Column::ValidUntil)) {
        (ConsentEvent::Given, "") => {
            return Err((Column::ValidUntil, "is missing: consent has a term (94-V art. 8)"));
        }
        (ConsentEvent::Given, _) => Some(moment(Column::ValidUntil)?),
        (_, "") => None,
        _ => return Err((Column::ValidUntil, "stands beside a withdrawal, which has no term")),
    };
    if valid_until.is_some_and(|until| until <= at) {
        return Err((Column::ValidUntil, "is not after `at`"));
    }
    let method: Method = cell(Column::Method)
        .parse()
        .map_err(|_| (Column::Method, "is none of `paper till app web phone letter desk`"))?;
    let evidence: Option<Digest> = match cell(Column::Evidence) {
        "" => None,
        text => Some(text.parse().map_err(|_| (Column::Evidence, "is no `sha256:` digest"))?),
    };
    Ok(NewEvent { subject, purpose, event, at, valid_until, method, evidence })
}
