//! `cleanroom doctor`: every part of the home by itself, with a way out for what is wrong. It changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ids::{Clock as _, SystemClock};
use serde_json::json;

use crate::app::{App, load_bundle, open_vault};
use crate::config::Config;
use crate::failure::Failure;
use crate::home::{Home, HomeLock};
use crate::output::{Align, Document, Grid, Screen, grouped};

/// Free bytes below which a load or the log may soon fail.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// A clock before this is not set: 2025-01-01.
const CLOCK_SECS_MIN: i64 = 1_735_689_600;

/// One check: its name, and what it found or why it failed with a way out.
struct Check {
    name: &'static str,
    found: Result<String, Failure>,
}

pub(super) async fn run(home: &Home, screen: &mut Screen) -> Result<(), Failure> {
    home.must_exist()?;
    let mut checks = vec![
        check(
            "settings",
            Config::load(&home.config()).map(|_| "all known, all within their ranges".to_owned()),
        ),
        check("key files", keys(home)),
        check("clock", clock()),
        check("disk space", disk(home.root())),
        check("agreement", load_bundle(home).map(|bundle| bundle.digest().to_string())),
        check("audit log", log(home)),
    ];
    match home.lock() {
        Ok(lock) => checks.extend(inside(home, lock).await),
        Err(taken) => checks.push(check("vault and ledger", Err(taken))),
    }
    let failed = checks.iter().filter(|check| check.found.is_err()).count();
    screen.show(&document(&checks))?;
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::failed(
        "doctor",
        "the home is not well",
        format!("{failed} of {} checks failed", checks.len()),
    )
    .way_out("follow the table from the top: later checks may fail because of earlier ones"))
}

fn check(name: &'static str, found: Result<String, Failure>) -> Check {
    Check { name, found }
}

fn document(checks: &[Check]) -> Document {
    let mut grid = Grid::new([("check", Align::Left), ("state", Align::Left), ("found", Align::Left)]);
    let mut list = Vec::new();
    for check in checks {
        match &check.found {
            Ok(found) => {
                grid.row([check.name, "ok", found]);
                list.push(json!({ "check": check.name, "ok": true, "found": found }));
            }
            Err(failure) => {
                grid.row([check.name, "FAILED", &failure.to_string()]);
                list.push(json!({ "check": check.name, "ok": false, "failure": failure }));
            }
        }
    }
    Document { json: json!({ "checks": list }), grid, ..Document::default() }
}

/// Keys and what holds rows or spending must be the owner's alone.
fn keys(home: &Home) -> Result<String, Failure> {
    for path in [home.root_key(), home.log_key(), home.body_key(), home.token_key()] {
        drop(crate::home::read_secret(&path)?);
    }
    for path in [home.keys(), home.vault(), home.ledger()] {
        let mode = fs::metadata(&path)
            .map_err(|why| Failure::failed("folder", "cannot look at a folder", why).at(path.display()))?
            .permissions()
            .mode();
        if path == home.keys() && mode & 0o077 != 0 {
            let why = format!("others may enter it (mode {:03o})", mode & 0o777);
            return Err(Failure::failed("folder_open", "a folder is open to others", why)
                .at(path.display())
                .way_out(format!("chmod 700 {}", path.display())));
        }
    }
    Ok("4 keys, readable by their owner only".to_owned())
}

fn clock() -> Result<String, Failure> {
    let now = SystemClock.now();
    if now.as_secs() < CLOCK_SECS_MIN {
        return Err(Failure::failed("clock", "the clock is not set", format!("it says {now}"))
            .way_out("set the machine's clock (NTP); tokens and the log depend on it"));
    }
    Ok(now.to_string())
}

fn disk(root: &Path) -> Result<String, Failure> {
    let stat = rustix::fs::statvfs(root)
        .map_err(|why| Failure::failed("disk", "cannot ask for free space", why).at(root.display()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let text = format!("{} MiB free", grouped(i128::from(free >> 20)));
    if free < FREE_BYTES_MIN {
        return Err(Failure::failed("disk_nearly_full", "the disk is nearly full", text)
            .at(root.display())
            .way_out("make room: loads and the log need it, and both stop rather than lose anything"));
    }
    Ok(text)
}

fn log(home: &Home) -> Result<String, Failure> {
    let entries = super::audit::read(home)?;
    Ok(format!("{} entries verify", grouped(entries.len() as i128)))
}

/// What needs the home for itself: the vault's seals, then the ledger against the log.
async fn inside(home: &Home, lock: HomeLock) -> Vec<Check> {
    let vault = open_vault(home).map(|vault| format!("opens; snapshot {}", vault.snapshot()));
    let sealed = vault.is_ok();
    let mut checks = vec![check("vault manifest", vault)];
    if sealed {
        // Opening reads and authenticates every part, compares ledger and log, and finishes what a crash left open.
        let opened = App::open_locked(home, lock, &vault::Quiet).await;
        checks.push(check(
            "parts, ledger and log",
            opened.map(|app| format!("agree; {} shoppers unsealed", grouped(i128::from(app.hot().units())))),
        ));
    }
    checks
}
