//! Measures appends per second and receipt latency on this machine's disk: `cargo run --release -p audits --example
//! throughput`. One line per number of threads; no claim is tested.

use std::sync::Arc;
use std::time::{Duration, Instant};

use audits::{BodyKey, Entry, Kind, Log, LogConfig, LogKey, verify};
use ids::{SystemClock, SystemEntropy};

const SECONDS_PER_ROUND: u64 = 2;
const BODY: &[u8] =
    b"SELECT department, COUNT(DISTINCT shopper) FROM lines JOIN products USING (product) GROUP BY 1";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let home = tempfile::tempdir()?;
    let (dir, head_path) = (home.path().join("log"), home.path().join("head"));
    let config = LogConfig { dir: dir.clone(), head_path, origin: "audit.example/throughput".to_owned() };
    let entropy = SystemEntropy::new();
    let (key, body_key) = (LogKey::generate(&entropy)?, BodyKey::generate(&entropy)?);
    let log = Log::create(config, key, body_key, Arc::new(SystemClock), Arc::new(entropy))?;
    println!("threads  in flight  body   appends/s   p50 ms   p99 ms");
    for (threads, in_flight, body) in [
        (1, 1, None),
        (1, 1, Some(BODY)),
        (8, 1, None),
        (64, 1, None),
        (64, 1, Some(BODY)),
        (4, 1024, None),
        (4, 1024, Some(BODY)),
    ] {
        let mut latencies = round(&log, threads, in_flight, body);
        latencies.sort();
        let at = |share: f64| {
            latencies.get((latencies.len() as f64 * share) as usize).map_or(0.0, |l| l.as_secs_f64() * 1e3)
        };
        let rate = (latencies.len() * in_flight) as u64 / SECONDS_PER_ROUND;
        let sealed = if body.is_some() { "sealed" } else { "-" };
        println!("{threads:>7}  {in_flight:>9}  {sealed:<6} {rate:>9} {:>8.2} {:>8.2}", at(0.5), at(0.99));
    }
    let (size, vkey) = (log.size(), log.verifier_key().clone());
    drop(log);
    let started = Instant::now();
    verify::folder(&dir, &vkey)?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "verified {size} entries in {seconds:.2} s: {:.0} entries/s on one thread",
        size as f64 / seconds
    );
    Ok(())
}

/// The latencies of all calls that began within the round.
fn round(log: &Log, threads: usize, in_flight: usize, body: Option<&[u8]>) -> Vec<Duration> {
    let until = Instant::now() + Duration::from_secs(SECONDS_PER_ROUND);
    let work = move || {
        let mut latencies = Vec::new();
        while Instant::now() < until {
            let started = Instant::now();
            let entries = (0..in_flight).map(|_| (Entry::new(Kind::QueryReleased), body)).collect();
            if log.append_all(entries).iter().all(Result::is_ok) {
                latencies.push(started.elapsed());
            }
        }
        latencies
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    })
}
