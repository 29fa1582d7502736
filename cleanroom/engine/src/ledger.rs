//! The budget ledger and the release store, behind one transactional port.
//!
//! One row per request holds its whole life: `charged → pending → released`, or `charged → failed`; a request that is
//! answered from an earlier release starts at `pending`. A charge is written once, in the same transaction that checks
//! every block's cap and quota, and is never taken back.
//!
//! # Guarantee
//! For every block: Σρ and Σδ over all charges ≤ the block's caps, and Σρ over the charges of one party ≤ the party's
//! quota, whatever the interleaving, crash or retry; one (party, request id) is charged at most once. SQLite: WAL,
//! `synchronous = FULL`, `BEGIN IMMEDIATE`, one connection.

mod sqlite;

use std::future::Future;
use std::pin::Pin;

use ids::{DatasetId, Delta, Digest, MicroRho, PartyId, ReleaseId, RequestId, Timestamp};

pub use sqlite::SqliteLedger;

/// The store failed. Its message may hold paths and goes to the operator only.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFailed {
    /// The database said no.
    #[error("the ledger's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A row cannot be read.
    #[error("the ledger holds a row that cannot be read: {0}")]
    Unreadable(&'static str),
    /// A number is too large to be stored.
    #[error("a cost is too large to be stored")]
    TooLarge,
    /// The state of a request is not the one that the step needs.
    #[error("request `{request}` is not in state `{expected}`")]
    State {
        /// The request.
        request: RequestId,
        /// The state it had to be in.
        expected: &'static str,
    },
    /// The store is not reachable.
    #[error("the ledger is not reachable")]
    Unreachable,
}

/// What every operation returns.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, LedgerFailed>> + Send + 'a>>;

/// Whose request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// The party.
    pub party: PartyId,
    /// Its idempotency key.
    pub request: RequestId,
}

/// What a charge is checked against, per block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most ρ over all parties.
    pub cap: MicroRho,
    /// Most ρ of this party.
    pub quota: MicroRho,
    /// Most δ over all parties.
    pub delta: Delta,
}

/// A charge to be made.
#[derive(Debug, Clone)]
pub struct NewCharge {
    /// Whose.
    pub key: RequestKey,
    /// The question's fingerprint.
    pub fingerprint: Digest,
    /// The dataset that the blocks belong to.
    pub dataset: DatasetId,
    /// The blocks, at least one; each is charged the whole cost.
    pub blocks: Vec<String>,
    /// ρ.
    pub rho: MicroRho,
    /// δ.
    pub delta: Delta,
    /// What may be spent.
    pub limits: Limits,
    /// What an equal question on the same data has in common with this one.
    pub reuse: Digest,
    /// Entries of the audit log before the charge: its entry cannot be earlier.
    pub log_size: u64,
    /// The log entry of the charge but for what is left, so that a crash between the two cannot lose it.
    pub entry: audits::Entry,
    /// When.
    pub at: Timestamp,
}

/// What became of a charge.
#[derive(Debug, Clone)]
pub enum Charging {
    /// It is durable; so much is left.
    Charged(Balance),
    /// The request was there before.
    Existing(Box<Record>),
    /// It does not fit; nothing was written.
    Exhausted(Shortage),
}

/// What is left of a block to a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// ρ: the least over the blocks of quota and cap.
    pub rho: MicroRho,
    /// δ: the least over the blocks.
    pub delta: Delta,
}

/// Why a charge does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// The block with the least left.
    pub block: String,
    /// Whose budget it is.
    pub of: crate::error::BudgetOf,
    /// What is left over all blocks.
    pub left: Balance,
}

/// What was spent of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// ρ by all parties.
    pub all: MicroRho,
    /// ρ by this party.
    pub party: MicroRho,
    /// δ by all parties.
    pub delta: Delta,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Charged; nothing is known of an answer.
    Charged,
    /// An answer is stored but its log entry may be missing: it must not be shown.
    Pending,
    /// The answer has its receipt.
    Released,
    /// The answer could not be made.
    Failed,
}

impl State {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Charged => "charged",
            Self::Pending => "pending",
            Self::Released => "released",
            Self::Failed => "failed",
        }
    }
}

/// An answer on its way out. Everything in it is noisy.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAnswer {
    /// Its name.
    pub release: ReleaseId,
    /// The release as JSON, without its receipt.
    pub body: String,
    /// The noisy base measures as JSON, for later re-use.
    pub noisy: String,
    /// Digest of `body`.
    pub result: Digest,
    /// Its log entry.
    pub entry: audits::Entry,
}

/// One request as the ledger holds it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Whose.
    pub key: RequestKey,
    /// Of which question.
    pub fingerprint: Digest,
    /// Where it stands.
    pub state: State,
    /// On which dataset.
    pub dataset: DatasetId,
    /// ρ charged to each block; zero for an answer from an earlier release.
    pub rho: MicroRho,
    /// δ charged to each block.
    pub delta: Delta,
    /// The blocks.
    pub blocks: Vec<String>,
    /// Entries of the audit log before it.
    pub log_size: u64,
    /// The log entry of the charge; none for an answer from an earlier release.
    pub charge_entry: Option<audits::Entry>,
    /// Its position in the log, once known.
    pub charge_index: Option<u64>,
    /// The answer, once there is one.
    pub answer: Option<StoredAnswer>,
    /// The receipt as JSON, once there is one.
    pub receipt: Option<String>,
}

/// A request that is answered from an earlier release.
#[derive(Debug, Clone)]
pub struct NewReuse {
    /// Whose.
    pub key: RequestKey,
    /// The question's fingerprint.
    pub fingerprint: Digest,
    /// On which dataset.
    pub dataset: DatasetId,
    /// Entries of the audit log before it.
    pub log_size: u64,
    /// The answer.
    pub answer: StoredAnswer,
    /// When.
    pub at: Timestamp,
}

/// The ledger. Every method is one transaction.
pub trait Ledger: Send + Sync {
    /// A request.
    fn find<'a>(&'a self, key: &'a RequestKey) -> Later<'a, Option<Record>>;

    /// A released answer with this re-use digest that cost at least `rho`; the best one.
    fn reusable(&self, reuse: Digest, rho: MicroRho) -> Later<'_, Option<Record>>;

    /// Charges, or says why not.
    fn charge(&self, charge: NewCharge) -> Later<'_, Charging>;

    /// Notes where the charge stands in the log.
    fn charge_logged<'a>(&'a self, key: &'a RequestKey, index: u64) -> Later<'a, ()>;

    /// `charged → pending`. Whoever comes second finds [`LedgerFailed::State`].
    fn pend<'a>(&'a self, key: &'a RequestKey, answer: StoredAnswer) -> Later<'a, ()>;

    /// A new request that is `pending` from the start; whoever comes second finds [`LedgerFailed::State`].
    fn reuse(&self, reuse: NewReuse) -> Later<'_, ()>;

    /// `pending → released`. Repeating it changes nothing. `tree_size` is the receipt's.
    fn release<'a>(&'a self, key: &'a RequestKey, receipt: String, tree_size: u64) -> Later<'a, ()>;

    /// `charged → failed`.
    fn fail<'a>(&'a self, key: &'a RequestKey) -> Later<'a, ()>;

    /// A party's released answer.
    fn released<'a>(&'a self, party: &'a PartyId, release: &'a ReleaseId) -> Later<'a, Option<Record>>;

    /// What was spent of each block.
    fn spent<'a>(
        &'a self,
        dataset: &'a DatasetId,
        blocks: &'a [String],
        party: &'a PartyId,
    ) -> Later<'a, Vec<Spent>>;

    /// Requests that a crash may have left between two steps: charges without a place in the log, and pending answers.
    fn unfinished(&self) -> Later<'_, Vec<Record>>;

    /// Entries that the largest receipt names, and one more than the largest known place of a charge.
    fn log_size_known(&self) -> Later<'_, u64>;

    /// The first block whose account is not the sum of its charges.
    fn crooked_block(&self) -> Later<'_, Option<String>>;
}

impl Limits {
    /// What is left of a block of which so much is spent.
    pub(crate) fn left(&self, spent: &Spent) -> Balance {
        let of_party = self.quota.minus(spent.party);
        let of_all = self.cap.minus(spent.all);
        Balance { rho: of_party.min(of_all), delta: self.delta.minus(spent.delta) }
    }
}

impl Balance {
    /// More than any budget.
    pub(crate) const UNLIMITED: Self =
        Self { rho: MicroRho::from_units(u64::MAX), delta: Delta::from_units(u64::MAX) };

    /// The lesser of both.
    pub(crate) fn min(self, other: Self) -> Self {
        Self { rho: self.rho.min(other.rho), delta: self.delta.min(other.delta) }
    }

    /// How many charges of this size fit.
    pub(crate) fn answers(self, rho: MicroRho, delta: Delta) -> u64 {
        let by_rho = self.rho.units().checked_div(rho.units()).unwrap_or(u64::MAX);
        let by_delta = self.delta.units().checked_div(delta.units()).unwrap_or(u64::MAX);
        by_rho.min(by_delta)
    }
}
