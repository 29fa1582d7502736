//! Why there is no answer. One table from cause to stable code.

use ids::{ClauseId, MicroEpsilon, ReleaseId, RequestId};

/// Why a question has no answer.
///
/// Everything but [`QueryError::Failed`] is decided before any data is read and is a function of the question, the
/// catalogue, the policy and the ledger. After the charge there is exactly one error, with one text; the charge stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The statement is not one that can be answered.
    #[error("{0}")]
    Refused(Box<sql::Refusal>),
    /// A parameter of the question does not fit it.
    #[error("{}", .0.reason)]
    Parameter(ParameterRefused),
    /// Policy says no.
    #[error("{}", .0.reason)]
    Denied(Box<Denial>),
    /// The budget does not suffice.
    #[error("{0}")]
    Exhausted(Box<Exhaustion>),
    /// The idempotency key was used for another question.
    #[error("the request id `{request_id}` was used for another question: use a new one")]
    Conflict {
        /// The key.
        request_id: RequestId,
    },
    /// The question was charged and could not be answered. Nothing in this depends on data but that it happened.
    #[error(
        "the question was charged and could not be answered; its charge is kept; asking again with the same request id costs nothing"
    )]
    Failed {
        /// The key under which the charge is kept.
        request_id: RequestId,
    },
    /// There is no such release, or not for this party.
    #[error("there is no release `{0}` for this party")]
    NoSuchRelease(ReleaseId),
    /// The room cannot work at the moment; nothing was charged that asking again with the same request id would not
    /// take up.
    #[error("the clean room cannot answer now: {reason}; ask again with the same request id")]
    Unavailable {
        /// Which part is missing; no data, no paths.
        reason: &'static str,
    },
}

/// A parameter that does not fit the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterRefused {
    /// Stable code, such as `parameter.bounds`.
    pub code: &'static str,
    /// What is wrong, and the way out, in one line.
    pub reason: String,
}

/// A denial, as it was logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The clauses that said no.
    pub clauses: Vec<ClauseId>,
    /// Why, in one line.
    pub reason: String,
    /// The nearest question that would be allowed.
    pub nearest: Option<String>,
    /// Position of the denial in the audit log.
    pub log_index: u64,
}

/// A budget that does not suffice. Nothing was charged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the budget of block `{block}` does not suffice: the question costs ε {asked} and {left} is left; {way_out}"
)]
pub struct Exhaustion {
    /// The block with the least left.
    pub block: String,
    /// Whose budget it is.
    pub of: BudgetOf,
    /// What the question costs.
    pub asked: MicroEpsilon,
    /// The ε that one question on these blocks could still cost.
    pub left: MicroEpsilon,
    /// How many questions of this price still fit: 0, but for the δ of private keys.
    pub answers_like_this: u64,
    /// What can be done.
    pub way_out: &'static str,
}

/// Which budget ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetOf {
    /// The party's quota.
    Party,
    /// The cap over all parties.
    Block,
    /// The δ that thresholds of private keys may spend.
    Delta,
}

impl QueryError {
    /// Stable code for clients, logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Parameter(refused) => refused.code,
            Self::Denied(_) => "denied",
            Self::Exhausted(_) => "exhausted",
            Self::Conflict { .. } => "conflict",
            Self::Failed { .. } => "failed",
            Self::NoSuchRelease(_) => "no-such-release",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    pub(crate) fn parameter(code: &'static str, reason: impl Into<String>) -> Self {
        Self::Parameter(ParameterRefused { code, reason: reason.into() })
    }
}

impl From<sql::Refusal> for QueryError {
    fn from(refusal: sql::Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

/// Why the clean room does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartRefused {
    /// The ledger's file cannot be opened or is not a ledger.
    #[error("the ledger cannot be opened: {0}")]
    Ledger(#[from] crate::ledger::LedgerFailed),
    /// The audit log knows a charge that the ledger lacks or holds differently: a backup of the ledger was restored.
    #[error(
        "the audit log knows the charge of request `{request}` by `{party}` (entry {index}) but the ledger does not: restore the ledger's newest copy, never an older one"
    )]
    LedgerBehindLog {
        /// Position in the log.
        index: u64,
        /// Who was charged.
        party: String,
        /// For which request.
        request: String,
    },
    /// The ledger holds a receipt for more entries than the log has: a backup of the log was restored.
    #[error(
        "the ledger holds a receipt for {receipt} entries but the audit log has {size}: restore the log's newest copy, never an older one"
    )]
    LogBehindLedger {
        /// Entries that a receipt names.
        receipt: u64,
        /// Entries that the log has.
        size: u64,
    },
    /// The ledger's running totals are not the sums of its charges.
    #[error(
        "the ledger's accounts do not add up in block `{block}`: its file was changed by another program"
    )]
    Accounts {
        /// The block.
        block: String,
    },
    /// The audit log cannot be read or written.
    #[error("the audit log cannot be used: {reason}")]
    Log {
        /// What it said.
        reason: String,
    },
    /// The catalogue cannot be shown to queries.
    #[error("the catalogue cannot be used: {reason}")]
    Catalogue {
        /// Why.
        reason: String,
    },
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] ids::EntropyFailed),
}

impl StartRefused {
    /// Stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Ledger(_) => "start.ledger",
            Self::LedgerBehindLog { .. } => "start.ledger-behind-log",
            Self::LogBehindLedger { .. } => "start.log-behind-ledger",
            Self::Accounts { .. } => "start.accounts",
            Self::Log { .. } => "start.log",
            Self::Catalogue { .. } => "start.catalogue",
            Self::Entropy(_) => "start.entropy",
        }
    }
}
