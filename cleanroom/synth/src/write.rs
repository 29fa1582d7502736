//! Writes the folder: workers generate and encode chunks of shoppers, one thread writes them in order.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use arrow::error::ArrowError;

use crate::encode::{Encoded, Encoder, Sink, open};
use crate::options::{Options, SynthRefused};
use crate::tables::{CHUNKED, Chunk, PUBLIC, public_batches};
use crate::truth::{Tallies, Truth};
use crate::{Format, Progress, Retailer, shopper};

/// Lines of a chunk, about: large enough for good Parquet row groups, small enough for memory to stay flat.
const CHUNK_LINES: f64 = 262_144.0;
/// Guests' baskets, in percent of the shoppers' baskets.
const GUEST_PERCENT: usize = 6;
/// The catalogue; the period is filled in.
const CATALOGUE: &str = include_str!("catalogue.toml");

/// What a worker hands over for one chunk.
struct Done {
    tables: [Encoded; CHUNKED.len()],
    tallies: Tallies,
}

type Handed = Result<Done, SynthRefused>;

/// See [`Retailer::write_folder`].
pub(crate) fn write_folder(
    retailer: &Retailer,
    folder: &Path,
    format: Format,
    progress: &mut dyn FnMut(Progress),
) -> Result<Truth, SynthRefused> {
    prepare(folder)?;
    for (table, batch) in PUBLIC.into_iter().zip(public_batches(retailer).map_err(batch_refused)?) {
        let (encoder, mut sink) = open(folder, table, format)?;
        sink.append(encoder.encode(&batch)?)?;
        sink.close()?;
    }
    let (mut encoders, mut sinks) = (Vec::new(), Vec::new());
    for table in CHUNKED {
        let (encoder, sink) = open(folder, table, format)?;
        encoders.push(encoder);
        sinks.push(sink);
    }
    let tallies = write_chunks(retailer, &encoders, &mut sinks, progress)?;
    sinks.into_iter().try_for_each(Sink::close)?;
    let truth = tallies.truth(retailer);
    write_text(folder, "catalogue.toml", &catalogue(&retailer.options))?;
    let json = serde_json::to_string_pretty(&truth)
        .map_err(|error| SynthRefused::Encode { table: "truth", reason: error.to_string() })?;
    write_text(folder, "truth.json", &(json + "\n"))?;
    Ok(truth)
}

/// The catalogue of a folder with this period.
pub(crate) fn catalogue(options: &Options) -> String {
    CATALOGUE
        .replace("{first_day}", &options.first_day.to_string())
        .replace("{last_day}", &options.last_day.to_string())
}

fn prepare(folder: &Path) -> Result<(), SynthRefused> {
    let io = |source| SynthRefused::Io { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(io)?;
    match std::fs::read_dir(folder).map_err(io)?.next() {
        None => Ok(()),
        Some(_) => Err(SynthRefused::NotEmpty { folder: folder.to_owned() }),
    }
}

fn write_text(folder: &Path, name: &str, text: &str) -> Result<(), SynthRefused> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(|source| SynthRefused::Io { path, source })
}

/// Chunk `n` is made by worker `n` modulo the number of workers, each of which waits until its last one is fetched.
/// So the order is fixed, and no more than two chunks per worker are held at any time.
fn write_chunks(
    retailer: &Retailer,
    encoders: &[Encoder],
    sinks: &mut [Sink],
    progress: &mut dyn FnMut(Progress),
) -> Result<Tallies, SynthRefused> {
    let size = chunk_shoppers(&retailer.options);
    let total = u64::from(retailer.options.shoppers);
    let chunks = total.div_ceil(u64::from(size));
    let workers = retailer.options.threads.min(usize::try_from(chunks).unwrap_or(usize::MAX));
    thread::scope(|scope| {
        let mut hands: Vec<Receiver<Handed>> = Vec::new();
        for worker in 0..workers {
            let (sender, receiver) = sync_channel(1);
            hands.push(receiver);
            scope.spawn(move || {
                let mine = (worker as u64..chunks).step_by(workers);
                work(retailer, encoders, size, mine, &sender);
            });
        }
        let mut tallies = Tallies::new(retailer);
        for (chunk, hand) in (0..chunks).zip(hands.iter().cycle()) {
            let done = hand.recv().map_err(|_| SynthRefused::WorkerLost)??;
            for (sink, encoded) in sinks.iter_mut().zip(done.tables) {
                sink.append(encoded)?;
            }
            tallies.add(&done.tallies);
            let shoppers = total.min((chunk + 1) * u64::from(size));
            progress(Progress { shoppers, shoppers_total: total, lines: tallies.lines() });
        }
        Ok(tallies)
    })
}

/// How many shoppers a chunk has. It follows from the options alone, because card and basket numbers depend on it.
fn chunk_shoppers(options: &Options) -> u32 {
    ((CHUNK_LINES / options.lines_per_shopper) as u32).clamp(64, 16_384)
}

fn work(
    retailer: &Retailer,
    encoders: &[Encoder],
    size: u32,
    chunks: impl Iterator<Item = u64>,
    sender: &SyncSender<Handed>,
) {
    for chunk in chunks {
        let done = make(retailer, encoders, size, chunk);
        let failed = done.is_err();
        // The receiver is gone only when writing has failed: then there is nothing left to do.
        if sender.send(done).is_err() || failed {
            return;
        }
    }
}

fn make(retailer: &Retailer, encoders: &[Encoder], size: u32, index: u64) -> Handed {
    let mut chunk = Chunk::default();
    let mut tallies = Tallies::new(retailer);
    let first = u32::try_from(index).unwrap_or(u32::MAX).saturating_mul(size);
    for shopper in first..first.saturating_add(size).min(retailer.options.shoppers) {
        let begin = chunk.baskets.len();
        let made = shopper::generate(retailer, shopper, &mut chunk.baskets, &mut chunk.lines);
        let (shopper, sales) = made.ok_or(SynthRefused::WorkerLost)?;
        let baskets = chunk.baskets.get(begin..).unwrap_or_default();
        tallies.shopper(retailer, &shopper, sales, baskets, &chunk.lines);
        chunk.shoppers.push(shopper);
    }
    let known = chunk.baskets.len();
    let guests = known * GUEST_PERCENT / 100;
    shopper::generate_guests(retailer, index, guests, &mut chunk.baskets, &mut chunk.lines)
        .ok_or(SynthRefused::WorkerLost)?;
    tallies.guests(chunk.baskets.get(known..).unwrap_or_default(), &chunk.lines);
    let batches = chunk.batches(retailer, index).map_err(batch_refused)?;
    let mut tables = [const { Encoded::Nothing }; CHUNKED.len()];
    for ((table, batch), encoder) in tables.iter_mut().zip(&batches).zip(encoders) {
        *table = encoder.encode(batch)?;
    }
    Ok(Done { tables, tallies })
}

fn batch_refused(error: ArrowError) -> SynthRefused {
    SynthRefused::Encode { table: "batch", reason: error.to_string() }
}
