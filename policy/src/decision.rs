//! The two answers policy can give. Only this crate can make a [`Permit`].

use std::collections::BTreeSet;

use ids::{ClauseId, DatasetId, Delta, Digest, MicroEpsilon, PartyId, PurposeId, Timestamp};
use serde::Serialize;

use crate::{Action, ActivationTerms};

/// Yes with conditions, or no with the rule that says so.
#[derive(Debug)]
pub enum Decision {
    /// Allowed, under the permit's obligations.
    Permitted(Permit),
    /// Not allowed.
    Denied(Denied),
}

impl Decision {
    /// The clauses that decided, sorted.
    pub fn clauses(&self) -> &[ClauseId] {
        match self {
            Self::Permitted(permit) => permit.clauses(),
            Self::Denied(denied) => &denied.clauses,
        }
    }

    /// The permit, or the denial.
    ///
    /// # Errors
    /// The denial.
    pub fn into_result(self) -> Result<Permit, Denied> {
        match self {
            Self::Permitted(permit) => Ok(permit),
            Self::Denied(denied) => Err(denied),
        }
    }
}

/// Proof that policy said yes to one very request. It cannot be made, copied or changed outside this crate.
#[derive(Debug)]
#[must_use = "a permit that nobody holds permits nothing"]
pub struct Permit {
    pub(crate) fingerprint: Digest,
    pub(crate) bundle: Digest,
    pub(crate) facts: Digest,
    pub(crate) action: Action,
    pub(crate) party: PartyId,
    pub(crate) dataset: DatasetId,
    pub(crate) purpose: PurposeId,
    pub(crate) decided_at: Timestamp,
    pub(crate) clauses: Vec<ClauseId>,
    pub(crate) obligations: Box<Obligations>,
}

impl Permit {
    /// The digest of the question this permit is for, and no other.
    pub const fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// The digest of the bundle that decided.
    pub const fn bundle(&self) -> Digest {
        self.bundle
    }

    /// The digest of the facts the decision used.
    pub const fn facts(&self) -> Digest {
        self.facts
    }

    /// The act that is allowed.
    pub const fn action(&self) -> Action {
        self.action
    }

    /// The party that asks and whose quota is charged.
    pub const fn party(&self) -> &PartyId {
        &self.party
    }

    /// The dataset.
    pub const fn dataset(&self) -> &DatasetId {
        &self.dataset
    }

    /// The purpose; only shoppers who consented to it take part.
    pub const fn purpose(&self) -> &PurposeId {
        &self.purpose
    }

    /// When the decision was taken.
    pub const fn decided_at(&self) -> Timestamp {
        self.decided_at
    }

    /// The clauses that allow it, sorted, at least one.
    pub fn clauses(&self) -> &[ClauseId] {
        &self.clauses
    }

    /// What the planner must apply.
    pub fn obligations(&self) -> &Obligations {
        &self.obligations
    }
}

/// A refusal that names its rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    /// The clauses that said no, sorted, at least one: of the agreement, or built in (see [`crate::BuiltIn`]).
    pub clauses: Vec<ClauseId>,
    /// Why, for people, in one line.
    pub reason: String,
    /// The nearest request that the same bundle allows, in one line, where there is one.
    pub nearest: Option<String>,
}

impl Denied {
    /// Stable code for logs, metrics and clients.
    pub const fn code(&self) -> &'static str {
        "policy-denied"
    }
}

/// What a permit demands of whoever uses it. Several clauses add up: the strictest value of each counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obligations {
    /// Rows that may be seen. Sorted by table and column, at most one per column.
    pub row_filters: Vec<RowFilter>,
    /// Fewest shoppers behind a released group.
    pub cohort_min: u32,
    /// The most ε this question may cost, at `delta`.
    pub epsilon_max: MicroEpsilon,
    /// The agreement's δ, at which every ε is meant; the same as [`crate::Budgets::delta`].
    pub delta: Delta,
    /// The most δ this one question may spend on choosing private keys.
    pub delta_per_question: Delta,
    /// How many days of events may be seen, counted back from the newest day that may be seen; `None` = all.
    pub lookback_days: Option<u32>,
    /// How many of the dataset's newest days stay unseen.
    pub lag_days: u32,
    /// What campaigns and audiences must keep; `None` where a contract allows none.
    pub activation: Option<ActivationTerms>,
}

/// Of `table`, only rows whose `column` is one of `allowed` may be seen (NULL is not).
///
/// It holds for every scan of the table and, by a semi-join along declared foreign keys, for every private table that
/// reaches it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RowFilter {
    /// The table.
    pub table: String,
    /// Its column.
    pub column: String,
    /// The values that may be seen; never empty.
    pub allowed: BTreeSet<String>,
}
