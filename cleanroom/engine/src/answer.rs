//! ─charge→ ─execute→ ─noise→ ─publish→: everything that has effects, in the order that [`crate::pipeline`] fixes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ids::{Digest, ReleaseId};

use crate::error::{Exhaustion, QueryError};
use crate::ledger::{
    Balance, Charging, LedgerFailed, NewReuse, Record, RequestKey, Shortage, State, StoredAnswer,
};
use crate::noisy::NoisyMeasures;
use crate::pipeline::{
    ChargedPlan, PrivacyPlan, failed_entry, receipt_shown, released_entry, remaining, reused_entry,
};
use crate::recover;
use crate::release::Release;
use crate::room::Inner;

/// Equal questions wait for each other, so that the second finds the first one's release.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// The turn of a question.
    fn of(&self, reuse: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(&reuse).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        turns.insert(reuse, Arc::downgrade(&turn));
        turn
    }
}

/// Before a charge: the ledger could not be asked.
pub(crate) fn ledger_down(error: LedgerFailed) -> QueryError {
    tracing::error!(error = %error, "the ledger failed");
    QueryError::Unavailable { reason: "the budget ledger is not reachable" }
}

/// Behind a charge there is one error.
fn failed(key: &RequestKey) -> QueryError {
    QueryError::Failed { request_id: key.request.clone() }
}

/// Answers a planned question: from its own earlier answer, from an equal one's, or from the data.
pub(crate) async fn answer(inner: Arc<Inner>, plan: PrivacyPlan) -> Result<Release, QueryError> {
    let turn = inner.turns.of(plan.reuse);
    let _turn = turn.lock().await;
    if let Some(record) = inner.ledger.find(&plan.key).await.map_err(ledger_down)? {
        return resume(&inner, plan, record).await;
    }
    if let Some(stored) = inner.ledger.reusable(plan.reuse, plan.cost.rho).await.map_err(ledger_down)? {
        return reuse(&inner, plan, &stored).await;
    }
    let charge = plan.new_charge(inner.ports.journal.size(), inner.ports.clock.now());
    match inner.ledger.charge(charge).await.map_err(ledger_down)? {
        Charging::Existing(record) => resume(&inner, plan, *record).await,
        Charging::Exhausted(shortage) => Err(exhausted(&plan, shortage)),
        Charging::Charged(left) => from_data(&inner, plan, left, None).await,
    }
}

/// The request was seen before.
async fn resume(inner: &Inner, plan: PrivacyPlan, record: Record) -> Result<Release, QueryError> {
    if record.fingerprint != plan.fingerprint() {
        return Err(QueryError::Conflict { request_id: plan.key.request });
    }
    match record.state {
        State::Released => release_of(&record).ok_or_else(|| failed(&record.key)),
        State::Pending => finish(inner, &record.key).await,
        State::Failed => Err(failed(&record.key)),
        State::Charged => {
            // The plan may be another one by now (new data, new policy); its price and blocks must be those paid for.
            let paid = record.rho == plan.cost.rho && record.delta == plan.cost.delta;
            let mut blocks = plan.blocks.clone();
            blocks.sort();
            if !paid || blocks != record.blocks {
                return Err(
                    give_up(inner, &record.key, record.charge_entry.as_ref(), record.charge_index).await
                );
            }
            let left = left_of(inner, &plan).await.map_err(|_| failed(&record.key))?;
            from_data(inner, plan, left, Some(&record)).await
        }
    }
}

/// What is left of the plan's blocks to the asker.
pub(crate) async fn left_of(inner: &Inner, plan: &PrivacyPlan) -> Result<Balance, LedgerFailed> {
    let dataset = &plan.permitted.resolved.dataset.schema().dataset;
    let spent = inner.ledger.spent(dataset, &plan.blocks, &plan.key.party).await?;
    Ok(spent.iter().map(|spent| plan.limits.left(spent)).fold(Balance::UNLIMITED, Balance::min))
}

fn exhausted(plan: &PrivacyPlan, shortage: Shortage) -> QueryError {
    let Shortage { block, of, left } = shortage;
    QueryError::Exhausted(Box::new(Exhaustion {
        block,
        of,
        asked: plan.epsilon(),
        left: plan.epsilon_of(left.rho),
        answers_like_this: left.answers(plan.cost.rho, plan.cost.delta),
        way_out: "ask with a smaller epsilon, restrict the event time to other quarters, or repeat an earlier question, which is free",
    }))
}

/// An equal question was answered: its noisy numbers answer this one too.
async fn reuse(inner: &Inner, plan: PrivacyPlan, stored: &Record) -> Result<Release, QueryError> {
    let unreadable = QueryError::Unavailable { reason: "a stored release cannot be read" };
    let Some(answer) = &stored.answer else { return Err(unreadable) };
    let measures: NoisyMeasures = serde_json::from_str(&answer.noisy).map_err(|_| unreadable.clone())?;
    let left = left_of(inner, &plan).await.map_err(ledger_down)?;
    let made = plan
        .republish(&measures, &answer.release, left, inner.ports.entropy.as_ref())
        .map_err(|_| unreadable.clone())?;
    let entry = reused_entry(&plan, &made.release, made.result);
    let reuse = NewReuse {
        key: plan.key.clone(),
        fingerprint: plan.fingerprint(),
        dataset: plan.permitted.resolved.dataset.schema().dataset.clone(),
        log_size: inner.ports.journal.size(),
        answer: made.stored(entry),
        at: inner.ports.clock.now(),
    };
    match inner.ledger.reuse(reuse).await {
        Ok(()) => finish(inner, &plan.key).await,
        Err(LedgerFailed::State { .. }) => {
            let record = inner.ledger.find(&plan.key).await.map_err(ledger_down)?.ok_or(unreadable)?;
            // Boxed: `resume` and `reuse` call each other, at most once.
            Box::pin(resume(inner, plan, record)).await
        }
        Err(error) => Err(ledger_down(error)),
    }
}

/// The charge is durable: log it, read, add noise, store, log, show.
async fn from_data(
    inner: &Inner,
    plan: PrivacyPlan,
    left: Balance,
    record: Option<&Record>,
) -> Result<Release, QueryError> {
    let key = plan.key.clone();
    let index = log_charge(inner, &plan, left, record).await.map_err(|_| failed(&key))?;
    let entry = crate::pipeline::permitted_entry(&plan);
    let charged = plan.charged(left, index);
    let (noise, entropy) = (inner.ports.noise.clone(), inner.ports.entropy.clone());
    let work = tokio::task::spawn_blocking(move || noisy_answer(charged, noise.as_ref(), entropy.as_ref()));
    let Ok(Ok(answer)) = work.await else {
        return Err(give_up(inner, &key, Some(&entry), Some(index)).await);
    };
    match inner.ledger.pend(&key, answer).await {
        // Somebody else stored an answer to the same charge: theirs counts, ours was never seen.
        Ok(()) | Err(LedgerFailed::State { .. }) => finish(inner, &key).await,
        Err(error) => {
            ledger_down(error);
            Err(failed(&key))
        }
    }
}

/// ─execute→ ─noise→ ─publish→, on a thread that may block.
fn noisy_answer(
    charged: ChargedPlan,
    noise: &dyn privacy::NoiseSource,
    entropy: &dyn ids::Entropy,
) -> Result<StoredAnswer, crate::pipeline::Broken> {
    let (charged, answer) = charged.execute(noise)?.noise(noise)?.publish(entropy)?;
    let entry = released_entry(&charged, &answer.release, answer.result);
    Ok(answer.stored(entry))
}

/// Puts the charge on record, unless it is there already, and notes where.
async fn log_charge(
    inner: &Inner,
    plan: &PrivacyPlan,
    left: Balance,
    record: Option<&Record>,
) -> Result<u64, QueryError> {
    if let Some(index) = record.and_then(|record| record.charge_index) {
        return Ok(index);
    }
    let known = match record {
        // An earlier attempt may have reached the log and died before noting it.
        Some(record) => recover::find_charge(inner.ports.journal.as_ref(), record)
            .map_err(|_| QueryError::Unavailable { reason: "the audit log cannot be read" })?,
        None => None,
    };
    let index = match known {
        Some(index) => index,
        None => {
            let entry = crate::pipeline::permitted_entry(plan);
            let entry = audits::Entry { remaining: Some(remaining(left)), ..entry };
            let sql = plan.permitted.resolved.question.sql.clone();
            inner.log(entry, Some(sql.into_bytes())).await?.index
        }
    };
    inner.ledger.charge_logged(&plan.key, index).await.map_err(ledger_down)?;
    Ok(index)
}

/// The charged question cannot be answered: the charge stays, the log says so, the caller learns no more.
async fn give_up(
    inner: &Inner,
    key: &RequestKey,
    entry: Option<&audits::Entry>,
    index: Option<u64>,
) -> QueryError {
    if let Err(error) = inner.ledger.fail(key).await {
        ledger_down(error);
    }
    if let Some(entry) = entry {
        // Whether the log takes it changes nothing for the caller.
        let _ = inner.log(failed_entry(entry, index), None).await;
    }
    failed(key)
}

/// `pending → released`: the answer's entry goes on record, then its receipt is stored, then it may be shown.
async fn finish(inner: &Inner, key: &RequestKey) -> Result<Release, QueryError> {
    let record = inner.ledger.find(key).await.ok().flatten().ok_or_else(|| failed(key))?;
    if record.state == State::Pending {
        let journal = inner.ports.journal.clone();
        let pending = record.clone();
        let logged =
            tokio::task::spawn_blocking(move || recover::log_answer(journal.as_ref(), &pending)).await;
        let Ok(Ok(receipt)) = logged else { return Err(failed(key)) };
        let (tree_size, shown) = (receipt.tree_size, receipt_shown(receipt));
        let text = serde_json::to_string(&shown).map_err(|_| failed(key))?;
        inner.ledger.release(key, text, tree_size).await.map_err(|_| failed(key))?;
    }
    let record = inner.ledger.find(key).await.ok().flatten().ok_or_else(|| failed(key))?;
    release_of(&record).ok_or_else(|| failed(key))
}

/// A released answer as it is shown; `None` for anything else: no receipt, no result.
pub(crate) fn release_of(record: &Record) -> Option<Release> {
    let (State::Released, Some(answer), Some(receipt)) = (record.state, &record.answer, &record.receipt)
    else {
        return None;
    };
    Release::from_parts(&answer.body, answer.result, receipt)
}

/// Whether a stored release would answer this plan.
pub(crate) async fn is_free(inner: &Inner, plan: &PrivacyPlan) -> Result<Option<ReleaseId>, LedgerFailed> {
    let stored = inner.ledger.reusable(plan.reuse, plan.cost.rho).await?;
    Ok(stored.and_then(|record| record.answer).map(|answer| answer.release))
}
