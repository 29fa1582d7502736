//! `cleanroom audit verify` and `cleanroom audit show`: the log, read without opening the clean room.

use audits::{Logged, VerifierKey, verify};
use serde_json::{Value, json};

use super::AuditShow;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{Align, Document, Grid, Screen};
use crate::refusals::broken;

/// The log's public key, from the file that regulators get.
pub(crate) fn verifier_key(home: &Home) -> Result<VerifierKey, Failure> {
    let path = home.log_vkey();
    let text = std::fs::read_to_string(&path).map_err(|why| {
        Failure::failed("vkey_unreadable", "cannot read the log's public key", why).at(path.display())
    })?;
    text.trim().parse().map_err(|why: audits::VerifierKeyRefused| {
        broken("vkey_refused", "cannot use the log's public key", &why).at(path.display())
    })
}

fn refused(home: &Home, why: &audits::VerifyRefused) -> Failure {
    let file = home.log().join(why.file());
    let mut place = file.display().to_string();
    if let Some(offset) = why.offset_bytes() {
        place.push_str(&format!(", byte {offset}"));
    }
    if let Some(index) = why.entry_index() {
        place.push_str(&format!(", entry {index}"));
    }
    broken(why.code(), "the audit log does not verify", why)
        .at(place)
        .way_out("keep this folder as evidence and restore the newest copy; receipts name the size and root to compare with")
}

pub(super) fn verify(home: &Home, screen: &mut Screen) -> Result<(), Failure> {
    home.must_exist()?;
    let verified = verify::folder(&home.log(), &verifier_key(home)?).map_err(|why| refused(home, &why))?;
    screen.show(&document(&verified, home))
}

/// What was verified, as people read it.
pub(crate) fn document(verified: &verify::Verified, home: &Home) -> Document {
    let time = |time: Option<ids::Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    Document {
        json: json!({
            "verified": true,
            "origin": verified.origin.to_string(),
            "size": verified.size,
            "root": verified.root.to_string(),
            "checkpoint": verified.checkpoint,
            "first_time": time(verified.first_time),
            "last_time": time(verified.last_time),
            "bodies_present": verified.bodies_present,
            "bodies_erased": verified.bodies_erased,
            "live": verified.live,
        }),
        grid: {
            let mut grid = Grid::new([("what", Align::Left), ("", Align::Left)]);
            grid.row(["log", &verified.origin.to_string()]);
            grid.row(["entries", &verified.size.to_string()]);
            grid.row(["root", &verified.root.to_string()]);
            grid.row(["from", &time(verified.first_time)]);
            grid.row(["to", &time(verified.last_time)]);
            grid.row([
                "sealed bodies",
                &format!("{}, {} erased", verified.bodies_present, verified.bodies_erased),
            ]);
            grid
        },
        before: vec![
            "The log verifies: every entry, every hash and the signature were derived anew.".to_owned(),
        ],
        after: vec![format!(
            "  anybody can repeat it: `cleanroom-audit verify` with {} and {}",
            home.log().display(),
            home.log_vkey().display()
        )],
    }
}

pub(super) fn show(home: &Home, words: &AuditShow, screen: &mut Screen) -> Result<(), Failure> {
    home.must_exist()?;
    let entries = read(home)?;
    let shown: Vec<&Logged> = match words.index {
        Some(index) => {
            let found = entries.iter().find(|logged| logged.index == index);
            vec![found.ok_or_else(|| {
                let why = format!("the log has {} entries, from 0", entries.len());
                Failure::usage("no_such_entry", format!("there is no entry {index}"), why)
            })?]
        }
        None => {
            let skip = entries.len().saturating_sub(usize::try_from(words.last).unwrap_or(usize::MAX));
            entries.iter().skip(skip).collect()
        }
    };
    let total = entries.len();
    let after = vec![format!("  {} of {total} entries, verified on the way", shown.len())];
    screen.show(&Document {
        json: Value::Array(shown.iter().map(|logged| entry_json(logged)).collect()),
        grid: entries_grid(&shown),
        before: Vec::new(),
        after,
    })
}

/// All entries of a log that verifies.
pub(crate) fn read(home: &Home) -> Result<Vec<Logged>, Failure> {
    let mut entries = Vec::new();
    let key = verifier_key(home)?;
    verify::folder_with(&home.log(), &key, verify::Bodies::Required, &mut |logged| {
        entries.push(logged.clone())
    })
    .map_err(|why| refused(home, &why))?;
    Ok(entries)
}

fn entry_json(logged: &Logged) -> Value {
    let mut value = json!(logged.entry);
    if let Value::Object(members) = &mut value {
        members.insert("index".to_owned(), json!(logged.index));
        members.insert("time".to_owned(), json!(logged.time.to_string()));
    }
    value
}

/// Entries as a table: who did what, under which clause, at what price.
pub(crate) fn entries_grid(entries: &[&Logged]) -> Grid {
    let mut grid = Grid::new([
        ("#", Align::Right),
        ("time", Align::Left),
        ("what", Align::Left),
        ("who", Align::Left),
        ("decision", Align::Left),
        ("clauses", Align::Left),
        ("charge µρ", Align::Right),
        ("left µρ", Align::Right),
    ]);
    for logged in entries {
        let entry = &logged.entry;
        let who = match (&entry.party, &entry.principal) {
            (Some(party), Some(subject)) => format!("{subject} @ {party}"),
            (Some(party), None) => party.to_string(),
            _ => String::new(),
        };
        let decision = match entry.decision {
            Some(audits::Decision::Permitted) => "permitted",
            Some(audits::Decision::Denied) => "denied",
            None => "",
        };
        let reason = entry.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let clauses: Vec<&str> = entry.clauses.iter().map(ids::ClauseId::as_str).collect();
        grid.row([
            logged.index.to_string(),
            logged.time.to_string(),
            entry.kind.name(),
            who,
            format!("{decision}{reason}"),
            clauses.join(", "),
            entry.charge.as_ref().map(|charge| charge.rho.units().to_string()).unwrap_or_default(),
            entry.remaining.map(|left| left.rho.units().to_string()).unwrap_or_default(),
        ]);
    }
    grid
}
