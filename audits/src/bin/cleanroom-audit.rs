//! `cleanroom-audit`: verifies a log's folder offline and makes proofs from it. Needs the folder and the verifier key,
//! no network, no secret, no running service. Exit codes: 0 as it must be, 1 not, 2 usage.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use audits::verify::{self, Bodies, Consistency, Verified};
use audits::{Checkpoint, Kind, Logged, Receipt, VerifierKey};
use clap::{Args, Parser, Subcommand};

/// Verifies the audit log of a clean room offline.
#[derive(Parser)]
#[command(version, about)]
struct Command {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Derive everything in the folder anew; name the first thing that is not as it must be
    Verify {
        #[command(flatten)]
        log: LogArgs,
        /// Accept bodies that are gone without an entry that says so (an export of headers)
        #[arg(long)]
        headers_only: bool,
    },
    /// Print entries as JSON lines, after verifying the folder
    Show {
        #[command(flatten)]
        log: LogArgs,
        #[command(flatten)]
        filter: Filter,
    },
    /// Print the proof of one entry as a `.tlog-proof` file
    Prove {
        #[command(flatten)]
        log: LogArgs,
        /// Index of the entry
        index: u64,
    },
    /// Check a `.tlog-proof` file against the entry that it is about
    Check {
        /// The proof
        proof: PathBuf,
        /// The entry's canonical bytes, as `show` prints them
        #[arg(long)]
        entry: PathBuf,
        /// The log's verifier key, or a file that holds it
        #[arg(long)]
        key: String,
    },
    /// Check that the folder extends an older checkpoint or size, and print the proof
    Consistency {
        #[command(flatten)]
        log: LogArgs,
        /// A checkpoint file kept from earlier, or a number of entries
        old: String,
        /// A number of entries; the folder's newest if not given
        new: Option<u64>,
    },
}

#[derive(Args)]
struct LogArgs {
    /// The log's folder
    dir: PathBuf,
    /// The log's verifier key, or a file that holds it
    #[arg(long)]
    key: String,
}

/// Which entries to print.
#[derive(Args)]
struct Filter {
    /// First index
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Index after the last
    #[arg(long, default_value_t = u64::MAX)]
    to: u64,
    /// Only this kind, such as `query-denied`
    #[arg(long)]
    kind: Option<String>,
    /// Only this party
    #[arg(long)]
    party: Option<String>,
}

impl Filter {
    fn admits(&self, logged: &Logged) -> bool {
        let party = logged.entry.party.as_ref().map(|party| party.as_str());
        (self.from..self.to).contains(&logged.index)
            && self.kind.as_deref().is_none_or(|kind| kind == logged.entry.kind.name())
            && self.party.as_deref().is_none_or(|wanted| party == Some(wanted))
    }
}

fn main() -> ExitCode {
    match run(Command::parse().act) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed pipe is the reader's choice and not a fault of the log; there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(act: Act) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match act {
        Act::Verify { log, headers_only } => {
            let bodies = if headers_only { Bodies::Optional } else { Bodies::Required };
            let verified = verify::folder_with(&log.dir, &read_key(&log.key)?, bodies, &mut |_| ())?;
            out.write_all(describe(&verified).as_bytes())?;
        }
        Act::Show { log, filter } => {
            if let Some(kind) = &filter.kind {
                let known = serde_json::from_value::<Kind>(serde_json::Value::String(kind.clone()));
                known.with_context(|| format!("`{kind}` is not a kind of entry"))?;
            }
            let mut lines = Vec::new();
            let mut show = |logged: &Logged| {
                if filter.admits(logged) {
                    lines.push((logged.index, logged.to_leaf()));
                }
            };
            verify::folder_with(&log.dir, &read_key(&log.key)?, Bodies::Optional, &mut show)?;
            for (index, leaf) in lines {
                writeln!(out, "{index}\t{}", String::from_utf8_lossy(&leaf?))?;
            }
        }
        Act::Prove { log, index } => {
            let (receipt, _) = verify::inclusion(&log.dir, &read_key(&log.key)?, index)?;
            out.write_all(receipt.to_tlog_proof().as_bytes())?;
        }
        Act::Check { proof, entry, key } => {
            let key = read_key(&key)?;
            let receipt = Receipt::from_tlog_proof(&read_text(&proof)?, &key)?;
            let leaf = read_text(&entry)?;
            receipt.verify(leaf.strip_suffix('\n').unwrap_or(&leaf).as_bytes(), &key)?;
            writeln!(
                out,
                "ok: entry {} of {} in the tree of {} entries",
                receipt.index,
                key.origin(),
                receipt.tree_size
            )?;
        }
        Act::Consistency { log, old, new } => {
            let Extended { old, new, shown } = extends(&log.dir, &read_key(&log.key)?, &old, new)?;
            writeln!(out, "ok: the log of {new} entries extends the log of {old} entries")?;
            writeln!(out, "old root {}\nnew root {}", shown.old_root, shown.new_root)?;
            for hash in shown.proof {
                writeln!(out, "{hash}")?;
            }
        }
    }
    Ok(())
}

/// A consistency proof that was checked.
struct Extended {
    old: u64,
    new: u64,
    shown: Consistency,
}

fn extends(dir: &Path, key: &VerifierKey, old: &str, new: Option<u64>) -> anyhow::Result<Extended> {
    let new = match new {
        Some(new) => new,
        None => verify::folder_with(dir, key, Bodies::Optional, &mut |_| ())?.size,
    };
    let (size, signed) = match old.parse() {
        Ok(size) => (size, None),
        Err(_) => {
            let note = fs::read(old)
                .with_context(|| format!("`{old}` is neither a number nor a checkpoint file"))?;
            let head = Checkpoint::open(&note, key).with_context(|| format!("`{old}`"))?;
            (head.size, Some(head.root))
        }
    };
    let shown = verify::consistency(dir, key, size, new)?;
    if signed.is_some_and(|root| root != shown.old_root) {
        bail!("the log of {new} entries does not extend `{old}`: both are signed, so the log was forked");
    }
    if !verify::verify_consistency(size, new, &shown.old_root, &shown.new_root, &shown.proof) {
        bail!("the proof from {size} to {new} entries does not hold");
    }
    Ok(Extended { old: size, new, shown })
}

fn describe(verified: &Verified) -> String {
    let mut lines = vec![
        format!("ok: {} holds {} entries, all as signed", verified.origin, verified.size),
        format!("root {}", verified.root),
    ];
    if let (Some(first), Some(last)) = (verified.first_time, verified.last_time) {
        lines.push(format!("from {first} to {last}"));
    }
    let Verified { bodies_present, bodies_erased, bodies_absent, .. } = verified;
    lines.push(format!(
        "bodies: {bodies_present} sealed and unchanged, {bodies_erased} erased, {bodies_absent} not here"
    ));
    if verified.live {
        lines.push("a writer has the log open: what lies beyond the checkpoint was not looked at".to_owned());
    }
    lines.join("\n") + "\n"
}

fn read_key(text: &str) -> anyhow::Result<VerifierKey> {
    match text.parse() {
        Ok(key) => Ok(key),
        Err(refused) => match fs::read_to_string(text) {
            Ok(held) => held.parse().with_context(|| format!("`{text}`")),
            Err(_) => Err(refused)
                .with_context(|| format!("`{text}` is neither a verifier key nor a file with one")),
        },
    }
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}
