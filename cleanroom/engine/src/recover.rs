//! After a crash: the ledger and the log are compared, and what lies between two steps is finished.
//!
//! It runs the same code as the normal path: an entry is looked for first and appended only if it is missing.

use std::collections::HashMap;
use std::sync::Arc;

use audits::{Kind, Logged, Receipt};

use crate::error::StartRefused;
use crate::journal::{Journal, JournalFailed};
use crate::ledger::{Ledger, Record, RequestKey, State};
use crate::pipeline::receipt_shown;

/// Entries read from the log at a time.
const PAGE: u64 = 4096;

/// Brings ledger and log together, or refuses to start.
pub(crate) async fn recover(ledger: &dyn Ledger, journal: &Arc<dyn Journal>) -> Result<(), StartRefused> {
    if let Some(block) = ledger.crooked_block().await? {
        return Err(StartRefused::Accounts { block });
    }
    let (known, size) = (ledger.log_size_known().await?, journal.size());
    if known > size {
        return Err(StartRefused::LogBehindLedger { receipt: known, size });
    }
    let charges = logged_charges(journal.as_ref()).map_err(log_failed)?;
    for (key, logged) in &charges {
        let held = ledger.find(key).await?;
        if !held.is_some_and(|record| is_the_charge(&record, logged)) {
            return Err(StartRefused::LedgerBehindLog {
                index: logged.index,
                party: key.party.to_string(),
                request: key.request.to_string(),
            });
        }
    }
    for record in ledger.unfinished().await? {
        finish(ledger, journal, &record, &charges).await?;
    }
    Ok(())
}

/// Every charge in the log, by request.
fn logged_charges(journal: &dyn Journal) -> Result<HashMap<RequestKey, Logged>, JournalFailed> {
    let mut charges = HashMap::new();
    let size = journal.size();
    let mut from = 0;
    while from < size {
        let to = size.min(from + PAGE);
        for logged in journal.entries(from, to)? {
            if let Some(key) = key_of(&logged) {
                charges.entry(key).or_insert(logged);
            }
        }
        from = to;
    }
    Ok(charges)
}

/// The request that an entry charges.
fn key_of(logged: &Logged) -> Option<RequestKey> {
    let entry = &logged.entry;
    let charges = entry.kind == Kind::QueryPermitted && entry.charge.is_some();
    let key = RequestKey { party: entry.party.clone()?, request: entry.request.clone()? };
    charges.then_some(key)
}

/// Whether a record holds the charge that the log names: same question, same price.
fn is_the_charge(record: &Record, logged: &Logged) -> bool {
    let same_price = logged
        .entry
        .charge
        .as_ref()
        .is_some_and(|charge| charge.rho == record.rho && charge.delta == record.delta);
    logged.entry.plan == Some(record.fingerprint) && same_price && record.charge_entry.is_some()
}

/// Finishes one request.
async fn finish(
    ledger: &dyn Ledger,
    journal: &Arc<dyn Journal>,
    record: &Record,
    charges: &HashMap<RequestKey, Logged>,
) -> Result<(), StartRefused> {
    if let (Some(entry), None) = (&record.charge_entry, record.charge_index) {
        let index = match charges.get(&record.key) {
            Some(logged) => logged.index,
            None => append(journal, entry.clone()).await?.index,
        };
        ledger.charge_logged(&record.key, index).await?;
    }
    if record.state == State::Pending {
        let (port, pending) = (journal.clone(), record.clone());
        let logged = tokio::task::spawn_blocking(move || log_answer(port.as_ref(), &pending)).await;
        let receipt = logged.map_err(|_| no_thread())?.map_err(log_failed)?;
        let (tree_size, shown) = (receipt.tree_size, receipt_shown(receipt));
        let text = serde_json::to_string(&shown).map_err(|error| StartRefused::Log {
            reason: format!("its receipt cannot be written: {error}"),
        })?;
        ledger.release(&record.key, text, tree_size).await?;
    }
    Ok(())
}

async fn append(journal: &Arc<dyn Journal>, entry: audits::Entry) -> Result<Receipt, StartRefused> {
    let port = journal.clone();
    let appended = tokio::task::spawn_blocking(move || port.append(entry, None)).await;
    appended.map_err(|_| no_thread())?.map_err(log_failed)
}

/// The entry of a pending answer: the one that is there, or a new one. Blocks.
pub(crate) fn log_answer(journal: &dyn Journal, record: &Record) -> Result<Receipt, JournalFailed> {
    let missing = || JournalFailed { reason: "a pending request holds no answer".to_owned() };
    let answer = record.answer.as_ref().ok_or_else(missing)?;
    match journal.find_result(&answer.result) {
        Some(index) => journal.receipt(index),
        None => journal.append(answer.entry.clone(), None),
    }
}

/// Where the charge of a record stands in the log, if it is there. The log is read from where it ended before the charge.
pub(crate) fn find_charge(journal: &dyn Journal, record: &Record) -> Result<Option<u64>, JournalFailed> {
    let size = journal.size();
    let mut from = record.log_size;
    while from < size {
        let to = size.min(from + PAGE);
        let found = journal.entries(from, to)?;
        if let Some(logged) = found.iter().find(|logged| key_of(logged).as_ref() == Some(&record.key)) {
            return Ok(Some(logged.index));
        }
        from = to;
    }
    Ok(None)
}

fn log_failed(failed: JournalFailed) -> StartRefused {
    StartRefused::Log { reason: failed.reason }
}

fn no_thread() -> StartRefused {
    StartRefused::Log { reason: "its writer did not answer".to_owned() }
}
