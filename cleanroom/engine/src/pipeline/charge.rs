//! ─charge→: the log entries that name a question, its charge and its answer.

use audits::{Charge, Decision, Entry, Kind, Label, Receipt, Remaining};
use ids::{Digest, ReleaseId};

use super::{ChargedPlan, PrivacyPlan, ResolvedQuery};
use crate::error::Denial;
use crate::ledger::{Balance, NewCharge};
use crate::release::ReceiptShown;

/// A short name that always fits; what does not is left out of the entry rather than stopping it.
fn label(text: &str) -> Option<Label> {
    text.parse().ok()
}

/// What every entry about a question says.
fn about(kind: Kind, resolved: &ResolvedQuery) -> Entry {
    Entry {
        principal: Some(resolved.principal.subject().clone()),
        party: Some(resolved.principal.party().clone()),
        role: label(resolved.principal.role().as_str()),
        purpose: Some(resolved.question.purpose.clone()),
        consent_epoch: Some(resolved.dataset.consent_epoch()),
        datasets: vec![resolved.dataset.schema().dataset.clone()],
        snapshot: Some(resolved.dataset.snapshot()),
        plan: Some(resolved.fingerprint),
        request: resolved.question.request_id.clone(),
        ..Entry::new(kind)
    }
}

/// A question was refused by policy.
pub(crate) fn denied_entry(resolved: &ResolvedQuery, bundle: Digest, denial: &Denial) -> Entry {
    Entry {
        bundle: Some(bundle),
        clauses: denial.clauses.clone(),
        decision: Some(Decision::Denied),
        reason: label("denied"),
        ..about(Kind::QueryDenied, resolved)
    }
}

/// A question's price was shown.
pub(crate) fn preview_entry(plan: &PrivacyPlan) -> Entry {
    permitted(plan, Kind::Preview)
}

/// What every entry about a permitted question says.
fn permitted(plan: &PrivacyPlan, kind: Kind) -> Entry {
    let permit = &plan.permitted.permit;
    Entry {
        bundle: Some(permit.bundle()),
        clauses: permit.clauses().to_vec(),
        decision: Some(Decision::Permitted),
        request: Some(plan.key.request.clone()),
        ..about(kind, &plan.permitted.resolved)
    }
}

/// The charge, but for what is left after it.
pub(crate) fn permitted_entry(plan: &PrivacyPlan) -> Entry {
    Entry { charge: Some(charge_of(plan)), ..permitted(plan, Kind::QueryPermitted) }
}

fn charge_of(plan: &PrivacyPlan) -> Charge {
    let dataset = &plan.permitted.resolved.dataset.schema().dataset;
    let blocks = plan.blocks.iter().filter_map(|block| label(&format!("{dataset}/{block}"))).collect();
    Charge { rho: plan.cost.rho, delta: plan.cost.delta, blocks }
}

/// What is left, as the log says it.
pub(crate) fn remaining(left: Balance) -> Remaining {
    Remaining { rho: left.rho, delta: left.delta }
}

/// The answer of a charged question.
pub(crate) fn released_entry(charged: &ChargedPlan, release: &ReleaseId, result: Digest) -> Entry {
    Entry {
        release: Some(release.clone()),
        result: Some(result),
        charge: Some(charge_of(&charged.plan)),
        remaining: Some(remaining(charged.left)),
        target: Some(charged.charge_index),
        ..permitted(&charged.plan, Kind::QueryReleased)
    }
}

/// An answer out of an earlier release.
pub(crate) fn reused_entry(plan: &PrivacyPlan, release: &ReleaseId, result: Digest) -> Entry {
    Entry { release: Some(release.clone()), result: Some(result), ..permitted(plan, Kind::QueryReused) }
}

/// A charged question broke.
pub(crate) fn failed_entry(entry: &Entry, charge_index: Option<u64>) -> Entry {
    Entry {
        kind: Kind::QueryFailed,
        charge: None,
        remaining: None,
        reason: label("failed"),
        target: charge_index,
        ..entry.clone()
    }
}

impl PrivacyPlan {
    /// What the ledger is asked to write.
    pub(crate) fn new_charge(&self, log_size: u64, at: ids::Timestamp) -> NewCharge {
        NewCharge {
            key: self.key.clone(),
            fingerprint: self.fingerprint(),
            dataset: self.permitted.resolved.dataset.schema().dataset.clone(),
            blocks: self.blocks.clone(),
            rho: self.cost.rho,
            delta: self.cost.delta,
            limits: self.limits,
            reuse: self.reuse,
            log_size,
            entry: permitted_entry(self),
            at,
        }
    }

    /// ─charge→: the ledger has the charge, the log names it. Made only behind both.
    pub(crate) fn charged(self, left: Balance, charge_index: u64) -> ChargedPlan {
        ChargedPlan { plan: self, left, charge_index }
    }
}

/// A receipt as it is shown and stored.
pub(crate) fn receipt_shown(receipt: Receipt) -> ReceiptShown {
    let Receipt { index, tree_size, root, checkpoint, proof } = receipt;
    ReceiptShown { index, tree_size, root, checkpoint, proof }
}
