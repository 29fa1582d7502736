//! Why a statement is refused, where, and what would be allowed instead.

use std::fmt;

use sqlparser::tokenizer::Span;

use crate::limits::EXCERPT_CHARS_MAX;

/// One refused statement: the place, the reason, the nearest allowed form and a stable code.
///
/// A refusal is a function of the text and the catalogue only; no data is read to produce it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// Line of the offending text, from 1; 0 where the statement as a whole is meant.
    pub line: u64,
    /// Column of the offending text in characters, from 1; 0 where the statement as a whole is meant.
    pub column: u64,
    /// The offending text, at most 60 characters.
    pub excerpt: String,
    /// Why it is refused: one lower-case sentence without a stop.
    pub reason: String,
    /// The nearest form that is allowed.
    pub nearest: Option<String>,
    /// Stable code, see [`Code`].
    pub code: Code,
}

impl Refusal {
    /// The stable code as text, for clients.
    pub fn code(&self) -> &'static str {
        self.code.as_str()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}", self.line, self.column)?;
            if !self.excerpt.is_empty() {
                write!(f, " at `{}`", self.excerpt)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.reason)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; {nearest}"),
            None => Ok(()),
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// The stable codes of refusals.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name),* }

        impl Code {
            /// The code as clients see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

codes! {
    /// The text is not SQL.
    Syntax = "sql.syntax",
    /// A named limit is exceeded.
    Limit = "sql.limit",
    /// Not exactly one SELECT statement.
    Statement = "sql.statement",
    /// The catalogue has no such table.
    UnknownTable = "sql.unknown-table",
    /// No table in reach has such a column.
    UnknownColumn = "sql.unknown-column",
    /// A column name fits several tables.
    Ambiguous = "sql.ambiguous",
    /// A direct identifier.
    HiddenColumn = "sql.hidden-column",
    /// The key that identifies shoppers is used as a value.
    UnitKey = "sql.unit-key",
    /// A join whose shape could let one shopper change other shoppers' rows.
    Join = "sql.join",
    /// A subquery that does not carry the unit key, or in a place where none is allowed.
    Subquery = "sql.subquery",
    /// A function that is not on the list.
    Function = "sql.function",
    /// An aggregate that is not offered here.
    Aggregate = "sql.aggregate",
    /// A window function.
    Window = "sql.window",
    /// UNION, INTERSECT, EXCEPT.
    SetOperation = "sql.set-operation",
    /// A recursive WITH.
    Recursive = "sql.recursive",
    /// ORDER BY, LIMIT or the like below the private aggregate.
    RowOrder = "sql.row-order",
    /// GROUPING SETS, ROLLUP, CUBE, GROUP BY ALL.
    Grouping = "sql.grouping",
    /// A column that is neither aggregated nor grouped.
    NotGrouped = "sql.not-grouped",
    /// No aggregate: rows are never shown.
    Rows = "sql.rows",
    /// An expression form that is not on the list.
    Expression = "sql.expression",
    /// Types that do not fit each other.
    Type = "sql.type",
    /// A value that could overflow under the declared bounds.
    Bounds = "sql.bounds",
    /// A clause that is not on the list.
    Clause = "sql.clause",
    /// The catalogue contradicts itself.
    Catalogue = "sql.catalogue",
}

/// A refusal whose place is still a span of the text. Boxed: refusals are rare and results are everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Fault(Box<FaultBody>);

#[derive(Debug, Clone)]
struct FaultBody {
    span: Span,
    code: Code,
    reason: String,
    nearest: Option<String>,
}

/// What every pass returns.
pub(crate) type Pass<T> = Result<T, Fault>;

/// A fault at `span`.
pub(crate) fn fault(span: Span, code: Code, reason: impl Into<String>) -> Fault {
    Fault(Box::new(FaultBody { span, code, reason: reason.into(), nearest: None }))
}

impl Fault {
    /// Adds the way out.
    pub(crate) fn try_instead(mut self, nearest: impl Into<String>) -> Self {
        self.0.nearest = Some(nearest.into());
        self
    }

    /// Puts the fault at `span` if it has no place yet.
    pub(crate) fn or_at(mut self, span: Span) -> Self {
        if self.0.span == Span::empty() {
            self.0.span = span;
        }
        self
    }

    /// The refusal as the analyst sees it, with the excerpt cut from `text`.
    pub(crate) fn into_refusal(self, text: &str) -> Refusal {
        let FaultBody { span, code, reason, nearest } = *self.0;
        let excerpt = excerpt(text, span);
        Refusal { line: span.start.line, column: span.start.column, excerpt, reason, nearest, code }
    }
}

/// The text under a span: the rest of its first line at most, and at most [`EXCERPT_CHARS_MAX`] characters.
fn excerpt(text: &str, span: Span) -> String {
    let (Some(line), Some(column)) = (span.start.line.checked_sub(1), span.start.column.checked_sub(1))
    else {
        return String::new();
    };
    let index = usize::try_from(line).unwrap_or(usize::MAX);
    let skip = usize::try_from(column).unwrap_or(usize::MAX);
    let rest = text.split('\n').nth(index).unwrap_or_default().chars().skip(skip);
    let width = if span.end.line == span.start.line {
        usize::try_from(span.end.column.saturating_sub(span.start.column)).unwrap_or(0)
    } else {
        usize::MAX
    };
    let mut rest = rest.peekable();
    let mut shown: String = rest.by_ref().take(width.max(1)).collect();
    // The parser's places of calls end before the closing parenthesis.
    if rest.peek() == Some(&')') && shown.matches('(').count() > shown.matches(')').count() {
        shown.push(')');
    }
    let shown = shown.trim_end();
    if shown.chars().count() > EXCERPT_CHARS_MAX {
        shown.chars().take(EXCERPT_CHARS_MAX - 1).chain(['…']).collect()
    } else {
        shown.to_owned()
    }
}
