//! What somebody wants to do, in the words policy is written in.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use identity::Principal;
use ids::{DatasetId, Digest, MicroEpsilon, PurposeId};

/// What can be done in the clean room. A new act has no rule, and what has no rule is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Ask a question that is answered from data.
    RunQuery,
    /// Learn what a question would cost and return, without data.
    Preview,
    /// Read tables, columns and public domains of the catalogue.
    ReadCatalogue,
    /// Read one's own remaining budget.
    ReadBudget,
    /// Read a release that was published before.
    ReadRelease,
    /// Read the agreement: rules, facts and cases.
    ReadPolicy,
    /// Read entries of the audit log.
    ReadLog,
    /// Bring data into the vault.
    Ingest,
}

/// A text is no action.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not an action: expected one of {}", Action::ALL.map(Action::name).join(", "))]
pub struct ActionRefused {
    text: String,
}

impl Action {
    /// Every action there is.
    pub const ALL: [Self; 8] = [
        Self::RunQuery,
        Self::Preview,
        Self::ReadCatalogue,
        Self::ReadBudget,
        Self::ReadRelease,
        Self::ReadPolicy,
        Self::ReadLog,
        Self::Ingest,
    ];

    /// The name in the log, in cases and for people, such as `run-query`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunQuery => "run-query",
            Self::Preview => "preview",
            Self::ReadCatalogue => "read-catalogue",
            Self::ReadBudget => "read-budget",
            Self::ReadRelease => "read-release",
            Self::ReadPolicy => "read-policy",
            Self::ReadLog => "read-log",
            Self::Ingest => "ingest",
        }
    }

    /// The name in Cedar, such as `Action::"runQuery"`.
    pub(crate) const fn cedar_name(self) -> &'static str {
        match self {
            Self::RunQuery => "runQuery",
            Self::Preview => "preview",
            Self::ReadCatalogue => "readCatalogue",
            Self::ReadBudget => "readBudget",
            Self::ReadRelease => "readRelease",
            Self::ReadPolicy => "readPolicy",
            Self::ReadLog => "readLog",
            Self::Ingest => "ingest",
        }
    }

    /// Whether the act is about one question and so has a footprint and a cost.
    pub const fn is_question(self) -> bool {
        matches!(self, Self::RunQuery | Self::Preview)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Action {
    type Err = ActionRefused;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|a| a.name() == text)
            .ok_or_else(|| ActionRefused { text: text.to_owned() })
    }
}

/// Stands for the rows of a table where no column is named, in `facts/columns.toml` and in [`Footprint::reads`].
pub(crate) const ROWS: &str = "*";

/// Everything a question touches, as `(table, column)` in the visible names of the catalogue.
///
/// `columns` leaves out a column that is used *only* in an equality join along a declared foreign key or along the unit
/// key: such a join shows nothing of the column's values. A column left in by mistake can only make the decision
/// narrower.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Columns read anywhere: results, filters, keys, measures, other joins.
    pub columns: BTreeSet<(String, String)>,
    /// Columns used as a group key of the released table; each is also in `columns` (policy adds it where it is not).
    pub keys: BTreeSet<(String, String)>,
    /// Tables scanned anywhere.
    pub tables: BTreeSet<String>,
}

impl Footprint {
    /// All tables: those scanned and those of every column.
    pub(crate) fn all_tables(&self) -> BTreeSet<&str> {
        let of_columns = self.columns.iter().chain(&self.keys).map(|(table, _)| table.as_str());
        self.tables.iter().map(String::as_str).chain(of_columns).collect()
    }

    /// Everything that is read: columns, keys, and of every table that it has rows at all (`(table, "*")`).
    pub(crate) fn reads(&self) -> BTreeSet<(String, String)> {
        let rows = self.all_tables().into_iter().map(|table| (table.to_owned(), ROWS.to_owned()));
        rows.chain(self.columns.iter().chain(&self.keys).cloned()).collect()
    }
}

/// One act, by one verified caller, on one dataset, for one purpose.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks.
    pub principal: Principal,
    /// What they want to do.
    pub action: Action,
    /// On which dataset.
    pub dataset: DatasetId,
    /// What for.
    pub purpose: PurposeId,
    /// What the question touches; empty for acts that are no question.
    pub footprint: Footprint,
    /// The most loss the question may cost (at the agreement's δ); zero for acts that are no question.
    pub epsilon: MicroEpsilon,
    /// Digest of the very question; the permit is bound to it.
    pub fingerprint: Digest,
}
