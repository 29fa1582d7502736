//! `cleanroom export-subject` and `cleanroom erase`: the rights of one shopper, on this machine's own home.

use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use identity::{Principal, Role};
use ids::SystemClock;
use serde_json::json;
use zeroize::Zeroizing;

use super::{EraseSubject, ExportSubject, SubjectWho};
use crate::app::{elsewhere, load_bundle, open_log, open_vault, record_snapshot};
use crate::config::Config;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{Align, Document, Grid, Screen, grouped};
use crate::refusals::broken;
use crate::subject::{Desk, Erased, Exported};

/// Most bytes of the line that names the shopper.
const LINE_BYTES_MAX: u64 = 1024;

pub(super) fn export(home: &Home, words: &ExportSubject, screen: &mut Screen) -> Result<(), Failure> {
    free(&words.out)?;
    let exported =
        at_desk(home, &words.who, |desk, principal, card| desk.export(principal, &words.who.purpose, card))?;
    write_new(&words.out, exported.text.as_bytes())?;
    screen.show(&exported_document(&exported, &words.out))
}

pub(super) fn erase(home: &Home, words: &EraseSubject, screen: &mut Screen) -> Result<(), Failure> {
    if let Some(path) = &words.record {
        free(path)?;
    }
    let erased =
        at_desk(home, &words.who, |desk, principal, card| desk.erase(principal, &words.who.purpose, card))?;
    if let Some(path) = &words.record {
        write_new(path, format!("{:#}\n", signed_record(&erased)).as_bytes())?;
    }
    screen.show(&erased_document(&erased))
}

/// Opens what is needed, without unsealing the tables, and does it.
fn at_desk<T>(
    home: &Home,
    who: &SubjectWho,
    act: impl FnOnce(&mut Desk<'_>, &Principal, &str) -> Result<T, Failure>,
) -> Result<T, Failure> {
    home.must_exist()?;
    let _lock = home.lock()?;
    let config = Config::load(&home.config())?;
    let card = card(who)?;
    let (bundle, log, mut vault) = (load_bundle(home)?, open_log(home, &config)?, open_vault(home)?);
    record_snapshot(&log, &vault)?;
    let party = who.party.clone().unwrap_or_else(|| config.local.party.clone());
    let principal = Principal::local(config.local.subject.clone(), party, Role::from(who.role));
    let elsewhere = elsewhere(home, &config)?;
    let mut desk =
        Desk { bundle: &bundle, log: &log, vault: &mut vault, elsewhere: &elsewhere, clock: &SystemClock };
    act(&mut desk, &principal, &card)
}

/// The key given, or the first line of standard input: what is on a command line, other processes can see.
fn card(who: &SubjectWho) -> Result<Zeroizing<String>, Failure> {
    if let Some(card) = &who.card {
        return Ok(Zeroizing::new(card.clone()));
    }
    let mut line = Zeroizing::new(String::new());
    let read = std::io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut line);
    read.map_err(|why| Failure::usage("card_unreadable", "cannot read the shopper's key", why))?;
    if line.trim().is_empty() {
        let why = "neither `--card` nor standard input names one";
        return Err(Failure::usage("card_missing", "which shopper?", why)
            .way_out("write the card number to standard input, or give `--card`"));
    }
    Ok(line)
}

fn free(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        return Ok(());
    }
    Err(Failure::usage("file_exists", "will not overwrite a file", "it exists already")
        .at(path.display())
        .way_out("choose another name; nothing was done"))
}

/// Writes a file that only its owner may read; one that cannot be written whole is removed.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.create_new(true).write(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if written.is_err() {
            // What is left of it is worthless, and personal data; the failure that is reported is the one that counts.
            let _ = std::fs::remove_file(path);
        }
        written
    });
    written.map_err(|why| {
        broken("file_write", "it is on record, but the file cannot be written", &why)
            .at(path.display())
            .way_out("the same command again writes it, with an entry of its own")
    })
}

fn exported_document(exported: &Exported, out: &Path) -> Document {
    let mut grid = Grid::new([("table", Align::Left), ("rows", Align::Right)]);
    for (table, rows) in &exported.rows {
        grid.row([table.clone(), grouped(i128::try_from(*rows).unwrap_or(i128::MAX))]);
    }
    let rows: serde_json::Map<_, _> =
        exported.rows.iter().map(|(table, rows)| (table.clone(), json!(rows))).collect();
    Document {
        json: json!({
            "file": out,
            "rows": rows,
            "receipt": { "index": exported.receipt.index, "tree_size": exported.receipt.tree_size,
                         "root": exported.receipt.root.to_string() },
        }),
        grid,
        before: vec![format!("Exported to {}, readable by its owner only.", out.display())],
        after: vec![
            format!("  log entry {}, durable before the file was written", exported.receipt.index),
            "  hand it over on a safe way and delete it: it is the only plaintext this house gives out"
                .to_owned(),
        ],
    }
}

/// The record with the evidence that it is in the log: a C2SP tlog-proof under the log's key.
pub(crate) fn signed_record(erased: &Erased) -> serde_json::Value {
    json!({
        "record": erased.record,
        "receipt": { "index": erased.receipt.index, "tree_size": erased.receipt.tree_size,
                     "root": erased.receipt.root.to_string() },
        "proof": erased.receipt.to_tlog_proof(),
    })
}

fn erased_document(erased: &Erased) -> Document {
    let mut grid = Grid::new([("where", Align::Left), ("what", Align::Left), ("state", Align::Left)]);
    for table in &erased.erasure.tables {
        let what = format!("{} rows removed, {} part keys destroyed", table.rows, table.parts);
        grid.row([format!("vault, {}", table.table), what, "done".to_owned()]);
    }
    for removal in &erased.removals {
        let state = if removal.confirmed { "confirmed" } else { "on its way" };
        grid.row([removal.place.clone(), removal.what.clone(), state.to_owned()]);
    }
    let first = if erased.erasure.shoppers == 0 {
        "The shopper had been erased from the vault before; what was left to do elsewhere is under way."
    } else {
        "Erased. A later delivery of the same card is left out."
    };
    Document {
        json: signed_record(erased),
        grid,
        before: vec![first.to_owned()],
        after: vec![
            format!("  snapshot {}", erased.erasure.snapshot),
            format!(
                "  log entry {} commits to this record; copies of the vault made earlier must be rotated out",
                erased.receipt.index
            ),
        ],
    }
}
