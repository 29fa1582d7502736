//! One type per step; each consumes the one before.
//!
//! ```text
//! SqlText ─parse→ ParsedQuery ─resolve→ ResolvedQuery ─gate→ PermittedQuery ─plan→ PrivacyPlan ─charge→ ChargedPlan
//!         ─execute→ ExactAnswer ─noise→ NoisyAnswer ─publish→ Release
//! ```
//!
//! No step can be skipped: its input has no other maker. Each value carries the question's fingerprint, and the permit,
//! the charge and both log entries name it.
//!
//! # The order of effects, and what a crash after each leaves behind
//!
//! | # | effect | after a crash right behind it |
//! |---|--------|-------------------------------|
//! | 1 | ledger: charge, state `charged`, with its log entry (one transaction) | charge kept; start appends the entry; the same request id takes it up, uncharged |
//! | 2 | log: `query-permitted` with the charge | start finds it and notes its place; as 1 |
//! | 3 | ledger: place of the entry | as 1 |
//! | 4 | noise for known sizes and scales, then the scan, then the rest of the noise | nothing was shown; the same request id scans again and draws anew, and only one answer is ever stored |
//! | 5 | ledger: answer stored, state `pending` (only from `charged`) | start appends its log entry, then 7 |
//! | 6 | log: `query-released` with the answer's digest | start finds it by that digest, then 7 |
//! | 7 | ledger: receipt stored, state `released` | the answer is fetched again with the request id, free |
//!
//! The ledger commits before the log, so the log never knows a charge that the ledger lacks, unless an older copy of the
//! ledger was put back; then the room refuses to start. An answer leaves only with a receipt (6), data is read only
//! behind 1–3, and a charge is never taken back. A failure behind 1 has one face, whatever broke: `QueryError::Failed`.

mod charge;
mod execute;
mod gate;
mod plan;
mod publish;

use identity::Principal;
use ids::{Digest, MicroEpsilon, MicroRho, ReleaseId};
use policy::Permit;
use privacy::{BoundChoice, Cost, DeltaSplit, Design, Drawn, MeasurePlan};

use crate::catalogue::Dataset;
use crate::ledger::{Balance, Limits, RequestKey};
use crate::noisy::NoisyMeasures;
use crate::question::Question;
use crate::release::BoundFrom;
use crate::scan::{ScanPlan, Totals};

pub(crate) use charge::{
    denied_entry, failed_entry, permitted_entry, preview_entry, receipt_shown, released_entry, remaining,
    reused_entry,
};
pub(crate) use execute::Broken;
pub(crate) use gate::Gated;
pub(crate) use plan::Terms;
pub(crate) use publish::{budget_left, column_shown};

/// A statement that is SQL, with what came along.
#[derive(Debug)]
pub struct ParsedQuery {
    question: Question,
    statement: sql::ParsedQuery,
}

/// A statement that the catalogue and the language's rules allow.
#[derive(Debug)]
pub struct ResolvedQuery {
    pub(crate) question: Question,
    pub(crate) statement: sql::ResolvedQuery,
    pub(crate) dataset: Dataset,
    pub(crate) principal: Principal,
    pub(crate) epsilon: MicroEpsilon,
    pub(crate) fingerprint: Digest,
}

/// A question that policy allows. The permit names its fingerprint.
#[derive(Debug)]
pub struct PermittedQuery {
    pub(crate) resolved: ResolvedQuery,
    pub(crate) permit: Permit,
}

/// A question whose bounds, noise, cost and blocks are fixed, without any data.
#[derive(Debug)]
pub struct PrivacyPlan {
    pub(crate) permitted: PermittedQuery,
    pub(crate) key: RequestKey,
    pub(crate) design: Design,
    pub(crate) measures: Vec<PlannedMeasure>,
    pub(crate) scan: ScanPlan,
    pub(crate) floor: Floor,
    pub(crate) cost: Cost,
    pub(crate) blocks: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) split: DeltaSplit,
    /// What an equal question on the same data under the same rules has in common with this one.
    pub(crate) reuse: Digest,
}

/// One measure of a plan. The last one may have been added to compare groups with the floor.
#[derive(Debug, Clone)]
pub(crate) struct PlannedMeasure {
    /// In canonical form.
    pub name: String,
    /// Decimals of its smallest unit.
    pub decimals: u8,
    /// Where its bound comes from.
    pub from: BoundFrom,
    /// Its share of the budget and its noise.
    pub design: MeasurePlan,
}

/// How small groups are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floor {
    /// Every group is shown.
    None,
    /// Public groups are shown if this measure's noisy number is at least so many.
    AtLeast { measure: usize, shoppers: u64 },
    /// Groups with private keys are shown if it is greater.
    Above { measure: usize, shoppers: u64 },
}

/// A plan whose charge is durable and on record.
#[derive(Debug)]
pub struct ChargedPlan {
    pub(crate) plan: PrivacyPlan,
    /// What is left after it.
    pub(crate) left: Balance,
    /// Position of the charge in the log.
    pub(crate) charge_index: u64,
}

/// Exact totals. They leave this type only into [`NoisyAnswer`].
///
/// # Guarantee
/// No Clone, no Serialize, Debug shows nothing; `noise` consumes it.
pub struct ExactAnswer {
    charged: ChargedPlan,
    totals: Totals,
    bounds: Vec<Bounded>,
}

/// The bound of one measure, and its noise if that could be drawn before the scan.
struct Bounded {
    bound: privacy::Bound,
    choice: Option<BoundChoice>,
    drawn: Option<Drawn>,
}

impl std::fmt::Debug for ExactAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExactAnswer(redacted)")
    }
}

/// Noisy totals: free to be used by anything.
#[derive(Debug)]
pub struct NoisyAnswer {
    charged: ChargedPlan,
    measures: NoisyMeasures,
}

impl PrivacyPlan {
    /// The question's fingerprint.
    pub(crate) fn fingerprint(&self) -> Digest {
        self.permitted.resolved.fingerprint
    }

    /// ε of the answer alone.
    pub(crate) fn epsilon(&self) -> MicroEpsilon {
        self.epsilon_of(self.cost.rho)
    }

    /// ε of so much ρ, at the part of δ that conversions may use.
    pub(crate) fn epsilon_of(&self, rho: MicroRho) -> MicroEpsilon {
        privacy::epsilon_of(rho, self.split.conversion)
    }
}

/// A name for an answer.
pub(crate) fn name_release(entropy: &dyn ids::Entropy) -> Result<ReleaseId, ids::EntropyFailed> {
    ReleaseId::random(entropy)
}
