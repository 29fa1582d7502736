//! `cleanroom bench`: every figure a ratio within one run, against plain DuckDB on the same rows in the same process.
//!
//! What is compared: the whole pipeline (parse, permit, charge, bounded scan, noise, receipt, release) over the warm hot
//! store, against DuckDB's exact `COUNT(DISTINCT shopper), SUM` and its plain `COUNT(*), SUM` by department; sealing and
//! unsealing per second; and reading one sealed part against the same part unsealed. The answer's coarse tick is set to
//! zero: it is a wait, not work.

mod parts;
mod plain;
mod room;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use synth::{Options, Retailer};
use vault::{HotStore, HotStoreConfig, IngestOptions};

use crate::cli::{Bar, Bench, load};
use crate::config::Config;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{Align, Document, Grid, Progress, Screen, grouped, number};
use crate::refusals::broken;
use crate::samples;

/// One measured figure.
struct Figure {
    what: &'static str,
    ours: String,
    compared: String,
    /// The figure that has a target.
    value: f64,
    target: Target,
}

/// What a figure should reach.
enum Target {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
    /// Only shown.
    Shown,
}

impl Figure {
    fn met(&self) -> Option<bool> {
        match self.target {
            Target::Most(most) => Some(self.value <= most),
            Target::Least(least) => Some(self.value >= least),
            Target::Shown => None,
        }
    }

    fn target_text(&self) -> String {
        match self.target {
            Target::Most(most) => format!("≤ {most}"),
            Target::Least(least) => format!("≥ {}", number(least, 0)),
            Target::Shown => String::new(),
        }
    }
}

/// Measures everything and prints it.
///
/// # Errors
///
/// Data that cannot be made, sealed or read, or a question that is not answered. A target that is missed is no error.
pub async fn run(words: &Bench, screen: &mut Screen) -> Result<(), Failure> {
    let temporary;
    let folder: &Path = match &words.folder {
        Some(folder) => {
            crate::home::private_folder(folder)?;
            folder
        }
        None => {
            temporary = tempfile::Builder::new()
                .prefix("cleanroom-bench-")
                .tempdir()
                .map_err(|why| Failure::failed("bench_folder", "cannot make a temporary folder", why))?;
            temporary.path()
        }
    };
    let mut figures = Vec::new();
    let home = Home::at(folder.join("home"));
    let (config, lines) = seal(words, folder, &home, screen, &mut figures)?;
    let hot = unseal(words, &home, lines, screen, &mut figures)?;
    let bar = Progress::start(screen.format(), "loading plain DuckDB", "", None);
    let oracle = plain::Plain::load(&hot, words.threads)?;
    bar.finish();
    let room = room::Room::new(&home, &config, hot.into(), folder.join("rooms"), usize::from(words.threads))?;
    ask(words, &room, &oracle, screen, &mut figures).await?;
    figures.push(Figure {
        what: "memory of this process, with DuckDB's copy beside",
        ours: format!("{} MiB now", grouped(i128::from(status_kib("VmRSS:") >> 10))),
        compared: format!("{} MiB at most", grouped(i128::from(status_kib("VmHWM:") >> 10))),
        value: 0.0,
        target: Target::Shown,
    });
    screen.show(&document(words, lines, &figures))
}

/// Generates the retailer and seals it; gives the number of sealed lines.
fn seal(
    words: &Bench,
    folder: &Path,
    home: &Home,
    screen: &Screen,
    figures: &mut Vec<Figure>,
) -> Result<(Config, u64), Failure> {
    let data = folder.join("retailer");
    let failed = |why: synth::SynthRefused| broken(why.code(), "cannot generate the retailer", &why);
    let options = Options { seed: words.seed, ..Options::bench_lines(words.shoppers, words.lines) };
    let bar =
        Progress::start(screen.format(), "generating shoppers", "shoppers", Some(u64::from(words.shoppers)));
    Retailer::generate(options)
        .and_then(|retailer| {
            retailer.write_folder(&data, synth::Format::Parquet, &mut |progress| {
                bar.set(progress.shoppers, Some(progress.shoppers_total));
            })
        })
        .map_err(failed)?;
    bar.finish();
    let policy = folder.join("policy");
    samples::write("jv-north", &policy)?;
    let catalogue = std::fs::read_to_string(data.join("catalogue.toml"))
        .map_err(|why| Failure::failed("catalogue_unreadable", "cannot read the catalogue", why))?;
    let retailer = "retailer"
        .parse()
        .map_err(|why: ids::NameRefused| broken("bench", "cannot name the retailer", &why))?;
    crate::init::init(home, &catalogue, &policy, retailer)?;
    let config = Config::load(&home.config())?;
    let bar = Bar::new(screen.format(), "sealing");
    let options = IngestOptions { threads: usize::from(words.threads), ..IngestOptions::default() };
    let start = Instant::now();
    let report = load(home, &config, &data, &options, &bar)?;
    let took = start.elapsed();
    bar.finish();
    let lines = report.tables.iter().find(|table| table.table == "lines").map_or(0, |table| table.rows);
    let rows: u64 = report.tables.iter().map(|table| table.rows).sum();
    figures.push(Figure {
        what: "sealing, lines per second",
        ours: grouped(per_second(lines, took)),
        compared: format!("{} rows of all tables in {}", grouped(i128::from(rows)), seconds(took)),
        value: lines as f64 / took.as_secs_f64(),
        target: Target::Least(1e6),
    });
    Ok((config, lines))
}

/// Unseals into the hot store, and reads one part sealed and unsealed.
fn unseal(
    words: &Bench,
    home: &Home,
    lines: u64,
    screen: &Screen,
    figures: &mut Vec<Figure>,
) -> Result<HotStore, Failure> {
    let vault = crate::app::open_vault(home)?;
    let bar = Bar::new(screen.format(), "unsealing");
    let settings = HotStoreConfig { memory_bytes_max: 64 << 30, threads: usize::from(words.threads) };
    let start = Instant::now();
    let hot = HotStore::unseal_with(&vault, &settings, &bar)
        .map_err(|why| broken(why.code(), "cannot unseal the tables", &why))?;
    let took = start.elapsed();
    bar.finish();
    figures.push(Figure {
        what: "unsealing into the hot store, lines per second",
        ours: grouped(per_second(lines, took)),
        compared: format!("all tables in {}", seconds(took)),
        value: lines as f64 / took.as_secs_f64(),
        target: Target::Least(2e6),
    });
    let (sealed, plain, part_rows) = parts::read_both(&vault, "lines", usize::from(words.runs))?;
    figures.push(Figure {
        what: "reading one sealed part / the same part unsealed",
        ours: format!("{} for {} rows", seconds(sealed), grouped(i128::from(part_rows))),
        compared: seconds(plain),
        value: sealed.as_secs_f64() / plain.as_secs_f64(),
        target: Target::Most(1.15),
    });
    Ok(hot)
}

/// Asks in turn, so that all three see the same machine, and takes medians.
async fn ask(
    words: &Bench,
    room: &room::Room,
    oracle: &plain::Plain,
    screen: &Screen,
    figures: &mut Vec<Figure>,
) -> Result<(), Failure> {
    let (mut ours, mut distinct, mut simple) = (Vec::new(), Vec::new(), Vec::new());
    let bar = Progress::start(screen.format(), "asking", "rounds", Some(u64::from(words.runs)));
    for run in 0..=words.runs {
        let times = (room.answer(u64::from(run)).await?, oracle.distinct()?, oracle.simple()?);
        bar.set(u64::from(run), Some(u64::from(words.runs)));
        if run > 0 {
            // The first round warms everything up.
            ours.push(times.0);
            distinct.push(times.1);
            simple.push(times.2);
        }
    }
    bar.finish();
    let (ours, distinct, simple) = (median(ours), median(distinct), median(simple));
    for (what, other, most) in [
        ("shoppers and sales by department, released / DuckDB exact COUNT(DISTINCT), SUM", distinct, 0.25),
        ("the same / DuckDB plain COUNT(*), SUM", simple, 1.2),
    ] {
        figures.push(Figure {
            what,
            ours: seconds(ours),
            compared: seconds(other),
            value: ours.as_secs_f64() / other.as_secs_f64(),
            target: Target::Most(most),
        });
    }
    Ok(())
}

fn document(words: &Bench, lines: u64, figures: &[Figure]) -> Document {
    let mut grid = Grid::new([
        ("figure", Align::Left),
        ("ours", Align::Right),
        ("compared with", Align::Right),
        ("value", Align::Right),
        ("target", Align::Right),
        ("", Align::Left),
    ]);
    let mut list: Vec<Value> = Vec::new();
    for figure in figures {
        let met = match figure.met() {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        let value = match figure.target {
            Target::Most(_) => number(figure.value, 3),
            Target::Least(_) => number(figure.value, 0),
            Target::Shown => String::new(),
        };
        grid.row([figure.what, &figure.ours, &figure.compared, &value, &figure.target_text(), met]);
        list.push(json!({
            "figure": figure.what, "ours": figure.ours, "compared": figure.compared,
            "value": figure.value, "target": figure.target_text(), "met": figure.met(),
        }));
    }
    let title = format!(
        "{} shoppers, {} lines, {} threads, median of {} runs",
        grouped(i128::from(words.shoppers)),
        grouped(i128::from(lines)),
        words.threads,
        words.runs
    );
    Document { json: json!({ "over": title, "figures": list }), grid, before: vec![title], after: Vec::new() }
}

fn per_second(count: u64, took: Duration) -> i128 {
    (count as f64 / took.as_secs_f64()) as i128
}

fn seconds(took: Duration) -> String {
    format!("{} s", number(took.as_secs_f64(), 3))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A line of `/proc/self/status` in KiB; 0 where there is none.
fn status_kib(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_memory() {
        let times = [3, 1, 2].map(Duration::from_secs).to_vec();
        assert_eq!(median(times), Duration::from_secs(2));
        assert!(status_kib("VmRSS:") > 1000);
        assert_eq!(status_kib("NoSuchLine:"), 0);
    }

    #[test]
    fn targets_are_limits() {
        let figure =
            |value, target| Figure { what: "", ours: String::new(), compared: String::new(), value, target };
        assert_eq!(figure(1.15, Target::Most(1.15)).met(), Some(true));
        assert_eq!(figure(1.16, Target::Most(1.15)).met(), Some(false));
        assert_eq!(figure(2e6, Target::Least(2e6)).met(), Some(true));
        assert_eq!(figure(0.0, Target::Shown).met(), None);
    }
}
