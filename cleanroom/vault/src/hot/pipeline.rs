//! Filling one table: some threads decrypt and decode parts, this one appends them in order.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use arrow::array::RecordBatch;
use duckdb::Connection;

use super::decode::Decoder;
use super::merge::merge;
use super::{HotStoreConfig, refusal};
use crate::catalogue::Table;
use crate::ingest::Progress;
use crate::manifest::PartEntry;
use crate::refusal::VaultRefused;
use crate::store::Vault;

type Batches = Result<RecordBatch, VaultRefused>;

/// Parts that may lie decoded in memory beyond the one being appended.
const PARTS_AHEAD: usize = 1;

/// Appends all rows of the table's parts to the table `stored` of the database, in the order of shoppers.
pub(super) fn fill(
    vault: &Vault,
    table: &Table,
    stored: &str,
    database: &Connection,
    config: &HotStoreConfig,
    progress: &dyn Progress,
) -> Result<(), VaultRefused> {
    let parts: Vec<&PartEntry> = vault.manifest.parts_of(&table.name).collect();
    let decoder = Decoder::new(table);
    let mut appender = database.appender(stored).map_err(|error| refusal(&error, config))?;
    let mut append = |batch: RecordBatch| {
        progress.read(batch.num_rows() as u64);
        appender.append_record_batch(batch).map_err(|error| refusal(&error, config))
    };
    if in_order(&parts) {
        decode_in_parallel(vault, &decoder, &parts, config.threads, &mut append)?;
    } else {
        merge_runs(vault, &decoder, &parts, &mut append)?;
    }
    appender.flush().map_err(|error| refusal(&error, config))
}

/// Whether reading the parts one after the other yields ascending `unit_ix`.
fn in_order(parts: &[&PartEntry]) -> bool {
    parts.is_sorted_by(|one, next| one.units.1 <= next.units.0)
}

fn decode_part(
    vault: &Vault,
    decoder: &Decoder,
    part: &PartEntry,
    each: &mut dyn FnMut(RecordBatch) -> Result<(), VaultRefused>,
) -> Result<(), VaultRefused> {
    vault.read_entry(part, Some(&decoder.names()), &mut |batch| each(decoder.decode(&batch)?))
}

/// Decodes several parts at a time and appends them one after the other. A gate lets a thread begin a part only when few
/// enough are waiting, so memory stays bounded; parts are begun in order, so the next to append is always under way.
fn decode_in_parallel(
    vault: &Vault,
    decoder: &Decoder,
    parts: &[&PartEntry],
    threads: usize,
    append: &mut dyn FnMut(RecordBatch) -> Result<(), VaultRefused>,
) -> Result<(), VaultRefused> {
    let threads = threads.clamp(1, parts.len().max(1));
    let (open, gate) = sync_channel::<()>(threads + PARTS_AHEAD);
    let (senders, receivers): (Vec<Sender<Batches>>, Vec<Receiver<Batches>>) =
        parts.iter().map(|_| channel()).unzip();
    let work = Mutex::new(parts.iter().zip(senders));
    let take = || {
        let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
        // The gate is closed for good when the appending side has given up.
        if open.send(()).is_err() { None } else { work.next() }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((part, send)) = take() {
                    let gone = || VaultRefused::Internal { act: "filling the hot store" };
                    let decoded = decode_part(vault, decoder, part, &mut |batch| {
                        send.send(Ok(batch)).map_err(|_| gone())
                    });
                    if let Err(refused) = decoded {
                        // If nobody listens any more, the reason is known already.
                        send.send(Err(refused)).unwrap_or_default();
                    }
                }
            });
        }
        let mut appended = Ok(());
        for receiver in receivers {
            appended = receiver.iter().try_for_each(|batch| append(batch?));
            if appended.is_err() {
                break;
            }
            gate.recv().unwrap_or_default();
        }
        drop(gate);
        appended
    })
}

/// Parts of one load are in order among themselves, also where one of them was rewritten; those of several loads are merged.
fn merge_runs(
    vault: &Vault,
    decoder: &Decoder,
    parts: &[&PartEntry],
    append: &mut dyn FnMut(RecordBatch) -> Result<(), VaultRefused>,
) -> Result<(), VaultRefused> {
    let runs: Vec<&[&PartEntry]> = parts.chunk_by(|one, next| one.units.1 <= next.units.0).collect();
    std::thread::scope(|scope| {
        let mut receivers = Vec::new();
        for run in runs {
            let (send, receive) = sync_channel::<Batches>(1);
            receivers.push(receive);
            scope.spawn(move || {
                for part in run {
                    let gone = || VaultRefused::Internal { act: "filling the hot store" };
                    let decoded = decode_part(vault, decoder, part, &mut |batch| {
                        send.send(Ok(batch)).map_err(|_| gone())
                    });
                    if let Err(refused) = decoded {
                        send.send(Err(refused)).unwrap_or_default();
                        return;
                    }
                }
            });
        }
        merge(receivers.into_iter().map(Receiver::into_iter).collect(), append)
    })
}
