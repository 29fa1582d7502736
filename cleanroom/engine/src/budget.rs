//! What a party has left.

use identity::Principal;
use ids::{DatasetId, Digest, PartyId};
use policy::Action;
use serde::{Deserialize, Serialize};

use crate::answer::ledger_down;
use crate::blocks;
use crate::error::QueryError;
use crate::release::{Figure, shown_epsilon, shown_rho};
use crate::room::CleanRoom;

/// What a party may still spend, block by block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetStatement {
    /// Whose.
    pub party: PartyId,
    /// On which dataset.
    pub dataset: DatasetId,
    /// The agreement's δ, at which every ε is meant.
    pub delta: Figure,
    /// Every block, oldest first.
    pub blocks: Vec<BlockBalance>,
}

/// One block of a party's budget. ε figures are those of one question that would spend it all; ρ figures add up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockBalance {
    /// The block, such as `2017-Q1`.
    pub block: String,
    /// The party's quota.
    pub quota_epsilon: Figure,
    /// The party's quota as ρ.
    pub quota_rho: Figure,
    /// What the party has spent.
    pub spent_epsilon: Figure,
    /// What the party has spent, as ρ.
    pub spent_rho: Figure,
    /// What the party can still spend: the rest of its quota, or of the cap over all parties where that is less.
    pub left_epsilon: Figure,
    /// The same as ρ.
    pub left_rho: Figure,
    /// Questions at the agreement's default price that still fit.
    pub default_answers_left: u64,
}

impl CleanRoom {
    /// What the caller's party has left, block by block. It is put on record.
    ///
    /// # Errors
    /// When policy says no, or the ledger or the log is not reachable.
    pub async fn budget(&self, principal: &Principal) -> Result<BudgetStatement, QueryError> {
        let dataset = self.inner.dataset();
        let id = dataset.schema().dataset.clone();
        let fingerprint = Digest::of_parts(&[b"read budget", id.as_str().as_bytes()]);
        self.act(principal, Action::ReadBudget, &id, None, fingerprint).await?;
        self.inner.log(read_entry(principal, &id), None).await?;
        let agreement = self.inner.agreement();
        let limits = agreement.limits(principal.party());
        let names = blocks::all(dataset.span());
        let spent = self.inner.ledger.spent(&id, &names, principal.party()).await.map_err(ledger_down)?;
        let epsilon = |rho| shown_epsilon(privacy::epsilon_of(rho, agreement.split.conversion));
        let price =
            privacy::rho_within(agreement.bundle.budgets().epsilon_default, agreement.split.conversion);
        let blocks = names.into_iter().zip(spent).map(|(block, spent)| {
            let left = limits.left(&spent);
            BlockBalance {
                block,
                quota_epsilon: epsilon(limits.quota),
                quota_rho: shown_rho(limits.quota),
                spent_epsilon: epsilon(spent.party),
                spent_rho: shown_rho(spent.party),
                left_epsilon: epsilon(left.rho),
                left_rho: shown_rho(left.rho),
                default_answers_left: left.answers(price, ids::Delta::ZERO),
            }
        });
        Ok(BudgetStatement {
            party: principal.party().clone(),
            dataset: id,
            delta: Figure(agreement.bundle.budgets().delta.as_f64()),
            blocks: blocks.collect(),
        })
    }
}

fn read_entry(principal: &Principal, dataset: &DatasetId) -> audits::Entry {
    audits::Entry {
        principal: Some(principal.subject().clone()),
        party: Some(principal.party().clone()),
        role: principal.role().as_str().parse().ok(),
        datasets: vec![dataset.clone()],
        decision: Some(audits::Decision::Permitted),
        ..audits::Entry::new(audits::Kind::BudgetRead)
    }
}
