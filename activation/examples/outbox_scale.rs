//! How long it takes to queue an audience and a day's churn: `cargo run --example outbox_scale -- <members>`.
//!
//! Prints seconds and peak memory. The tokens are SHA-256, about as dear as the HMAC that makes real ones.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use activation::batch::{Batch, Header, Lane, Members};
use activation::destination::{Answer, Destination, Later, SendFailed, Verdict};
use activation::outbox::{Cause, Outbox, OutboxKey, Ports, Settings, SqliteStore};
use audits::{BodyKey, Log, LogConfig, LogKey};
use ids::{Clock as _, DestinationId, Digest, SystemClock, SystemEntropy, UnitIx};
use roaring::RoaringBitmap;

/// Takes everything at once, so that only the outbox is measured.
struct Sink(DestinationId);

impl Destination for Sink {
    fn id(&self) -> &DestinationId {
        &self.0
    }

    fn submit<'a>(&'a self, _batch: &'a Batch) -> Later<'a, Result<Answer, SendFailed>> {
        Box::pin(async { Ok(Answer::Final(Verdict::Applied)) })
    }

    fn status<'a>(&'a self, _batch: &'a Header) -> Later<'a, Result<Answer, SendFailed>> {
        Box::pin(async { Ok(Answer::Final(Verdict::Applied)) })
    }
}

fn members(units: impl Iterator<Item = u32>) -> Result<Members, Box<dyn Error>> {
    let mut members = Members::default();
    for unit in units {
        let digest = Digest::of_parts(&[b"token", &unit.to_be_bytes()]).to_hex();
        members.push(UnitIx(unit), digest.get(..43).unwrap_or_default())?;
    }
    Ok(members)
}

fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? / 1024)
}

fn say(what: &str, start: Instant) {
    println!("{what:<44} {:7.2} s   peak {} MiB", start.elapsed().as_secs_f64(), peak_mib().unwrap_or(0));
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let count: u32 = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let home = tempfile::tempdir()?;
    let entropy = Arc::new(SystemEntropy::new());
    let config = LogConfig {
        dir: home.path().join("log"),
        head_path: home.path().join("head"),
        origin: "audit.example/scale".to_owned(),
    };
    let (key, body) = (LogKey::generate(entropy.as_ref())?, BodyKey::generate(entropy.as_ref())?);
    let journal = Log::create(config, key, body, Arc::new(SystemClock), entropy.clone())?;
    let ports = Ports {
        store: Arc::new(SqliteStore::open(&home.path().join("outbox.sqlite")).await?),
        journal: Arc::new(journal),
        clock: Arc::new(SystemClock),
        entropy,
        destinations: vec![Arc::new(Sink("gate".parse()?))],
    };
    let again = ports.clone();
    let outbox = Outbox::open(OutboxKey::from_bytes([1; 32]), Settings::default(), ports).await?;
    let lane = Lane { destination: "gate".parse()?, audience: "scale".parse()? };
    let expires = SystemClock.now().plus_secs(86_400);

    let start = Instant::now();
    let all = members(0..count)?;
    say(&format!("{count} tokens made"), start);
    let start = Instant::now();
    let queued = outbox.add(&lane, 1, expires, all, &Cause::default()).await?;
    say(&format!("{} members queued in {} batches", queued.units, queued.batches.len()), start);

    let start = Instant::now();
    let pumped = outbox.pump(&lane.destination).await?;
    say(&format!("{} batches sent and confirmed", pumped.sent), start);

    let churn = count / 100;
    let leaving: RoaringBitmap = (0..churn).map(|n| n * 100).collect();
    let start = Instant::now();
    let out = outbox.withdraw(&leaving, &Cause::default()).await?;
    say(&format!("{} withdrawn ({} batches of removals)", out.units, out.batches.len()), start);
    let start = Instant::now();
    let fresh = members(count..count + churn)?;
    let queued = outbox.add(&lane, 1, expires, fresh, &Cause::default()).await?;
    say(&format!("{} new members queued", queued.units), start);

    drop(outbox);
    let start = Instant::now();
    let outbox = Outbox::open(OutboxKey::from_bytes([1; 32]), Settings::default(), again).await?;
    let standing: BTreeMap<_, _> = outbox.membership(&lane).await?;
    let heading: u64 = standing.values().map(|of| of.heading.len()).sum();
    say(&format!("opened again: {heading} on their way"), start);
    Ok(())
}
