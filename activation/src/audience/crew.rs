//! Keyed hashes of many shoppers on all cores: one thread reads from the vault, the others compute. What is read is moved to
//! the worker that needs it and dropped there; nothing is kept.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Items per piece of work: large enough that handing over costs nothing, small enough that memory stays low.
const PIECE: usize = 8_192;
/// Pieces that wait for a worker.
const WAITING: usize = 4;

/// A worker died; nothing it had computed is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a worker stopped while computing pseudonyms")]
pub struct WorkerLost;

/// Lets `read` hand in items one by one and applies `work` to pieces of them, on as many threads as there are cores. The
/// results come in no particular order.
pub(crate) fn spread<T: Send, R: Send, E>(
    read: impl FnOnce(&mut dyn FnMut(T)) -> Result<(), E>,
    work: impl Fn(Vec<T>) -> R + Sync,
) -> Result<Result<Vec<R>, E>, WorkerLost> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (to, from) = sync_channel::<Vec<T>>(WAITING);
    let from = Mutex::new(from);
    thread::scope(|scope| {
        let run = || {
            let mut done = Vec::new();
            while let Some(piece) = next(&from) {
                done.push(work(piece));
            }
            done
        };
        let crew: Vec<_> = (0..workers).map(|_| scope.spawn(run)).collect();
        let mut piece = Vec::with_capacity(PIECE);
        let mut lost = false;
        let read = read(&mut |item| {
            piece.push(item);
            if piece.len() == PIECE {
                lost |= to.send(std::mem::replace(&mut piece, Vec::with_capacity(PIECE))).is_err();
            }
        });
        lost |= !piece.is_empty() && to.send(piece).is_err();
        drop(to);
        let mut results = Vec::new();
        for worker in crew {
            results.extend(worker.join().map_err(|_| WorkerLost)?);
        }
        if lost { Err(WorkerLost) } else { Ok(read.map(|()| results)) }
    })
}

/// The next piece, or none when the reader is done. A poisoned lock holds a sound receiver.
fn next<T>(from: &Mutex<Receiver<Vec<T>>>) -> Option<Vec<T>> {
    from.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_read_is_worked_on_once() {
        let read = |each: &mut dyn FnMut(u64)| -> Result<(), ()> {
            (0..100_000).for_each(each);
            Ok(())
        };
        let sums = spread(read, |piece: Vec<u64>| piece.iter().sum::<u64>()).unwrap().unwrap();
        assert_eq!(sums.iter().sum::<u64>(), 99_999 * 50_000);
    }

    #[test]
    fn a_failed_read_is_told() {
        let read = |each: &mut dyn FnMut(u64)| {
            each(1);
            Err("no")
        };
        assert_eq!(spread(read, |piece: Vec<u64>| piece.len()).unwrap(), Err("no"));
    }
}
