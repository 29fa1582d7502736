//! `cleanroom ingest`: files into the vault, all or nothing, permitted by policy and put on record.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use audits::{Entry, Kind, Log};
use identity::{Principal, Role};
use ids::{Clock as _, Digest, MicroEpsilon, PurposeId, SystemClock};
use policy::{Action, Bundle, Decision, Footprint};
use serde_json::json;
use vault::{IngestOptions, IngestReport, Vault, VaultRefused};

use super::Ingest;
use crate::app::{load_bundle, open_log, open_vault, record_snapshot};
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::home::Home;
use crate::output::{Align, Document, Format, Grid, Progress, Screen, grouped};
use crate::refusals::broken;

pub(super) fn run(home: &Home, words: &Ingest, screen: &mut Screen) -> Result<(), Failure> {
    home.must_exist()?;
    let _lock = home.lock()?;
    let config = Config::load(&home.config())?;
    let options = IngestOptions {
        quarantine: words.quarantine.clone(),
        threads: config.engine.threads,
        ..IngestOptions::default()
    };
    let bar = Bar::new(screen.format(), "sealing");
    let report = load(home, &config, &words.source, &options, &bar)?;
    bar.finish();
    screen.show(&document(&report))
}

/// Loads files: asks policy, loads, and puts the new snapshot on record.
///
/// # Errors
///
/// A denial, or the vault's refusal; in both cases nothing was changed.
pub(crate) fn load(
    home: &Home,
    config: &Config,
    source: &std::path::Path,
    options: &IngestOptions,
    progress: &dyn vault::Progress,
) -> Result<IngestReport, Failure> {
    let bundle = load_bundle(home)?;
    let log = open_log(home, config)?;
    let mut vault = open_vault(home)?;
    record_snapshot(&log, &vault)?;
    let entry = permitted(&bundle, &log, &vault, config)?;
    let report = vault.ingest(source, options, progress).map_err(|why| refused(&why, source))?;
    if !report.unchanged {
        let entry = Entry { snapshot: Some(report.snapshot), ..entry };
        log.append(entry, None).map_err(|why| {
            broken("log_failed", "the load is sealed but not on record", &why)
                .way_out("any next command puts it on record")
        })?;
    }
    Ok(report)
}

/// Asks policy whether the steward may load; a denial is logged.
fn permitted(bundle: &Bundle, log: &Log, vault: &Vault, config: &Config) -> Result<Entry, Failure> {
    let steward = Principal::local(config.local.subject.clone(), retailer_of(bundle, config), Role::Steward);
    let dataset = vault.catalogue().dataset().clone();
    let purpose: PurposeId =
        "operations".parse().map_err(|why| broken("purpose", "cannot name the purpose of a load", &why))?;
    let decision = bundle.decide(
        &policy::Request {
            principal: steward.clone(),
            action: Action::Ingest,
            dataset: dataset.clone(),
            purpose: purpose.clone(),
            footprint: Footprint::default(),
            epsilon: MicroEpsilon::ZERO,
            campaign: None,
            fingerprint: Digest::of_parts(&[b"ingest", vault.snapshot().as_bytes()]),
        },
        SystemClock.now(),
    );
    let entry = Entry {
        principal: Some(steward.subject().clone()),
        party: Some(steward.party().clone()),
        role: steward.role().to_string().parse().ok(),
        purpose: Some(purpose),
        bundle: Some(bundle.digest()),
        clauses: decision.clauses().to_vec(),
        decision: Some(audits::Decision::Permitted),
        datasets: vec![dataset],
        ..Entry::new(Kind::Ingest)
    };
    match decision {
        Decision::Permitted(_permit) => Ok(entry),
        Decision::Denied(denied) => {
            let entry =
                Entry { decision: Some(audits::Decision::Denied), snapshot: Some(vault.snapshot()), ..entry };
            log.append(entry, None)
                .map_err(|why| broken("log_failed", "cannot write the audit log", &why))?;
            let clauses: Vec<&str> = denied.clauses.iter().map(ids::ClauseId::as_str).collect();
            Err(Failure::new(
                Outcome::Denied,
                "denied",
                "the agreement does not allow this load",
                &denied.reason,
            )
            .at(format!("clause {}", clauses.join(", "))))
        }
    }
}

/// The party whose steward loads: the one configured if its people may be stewards, else the first such.
fn retailer_of(bundle: &Bundle, config: &Config) -> ids::PartyId {
    let may = |party: &policy::Party| party.roles.contains(&Role::Steward);
    match bundle.parties().get(&config.local.party) {
        Some(party) if may(party) => config.local.party.clone(),
        _ => {
            let first = bundle.parties().iter().find(|(_, party)| may(party));
            first.map_or_else(|| config.local.party.clone(), |(id, _)| id.clone())
        }
    }
}

fn refused(why: &VaultRefused, source: &std::path::Path) -> Failure {
    let failure = Failure::failed(why.code(), "the load is refused", why);
    match why {
        VaultRefused::Rows(_) => failure.at(source.display()).way_out(
            "correct these rows, or keep the good ones with `--quarantine FILE`; nothing was changed",
        ),
        VaultRefused::File { file, .. } => {
            failure.at(file).way_out("correct the file or the catalogue; nothing was changed")
        }
        _ => failure.at(source.display()).way_out("nothing was changed"),
    }
}

/// What a load did.
pub(crate) fn document(report: &IngestReport) -> Document {
    let mut grid = Grid::new([
        ("table", Align::Left),
        ("rows sealed", Align::Right),
        ("left out", Align::Right),
        ("quarantined", Align::Right),
        ("erased", Align::Right),
    ]);
    for table in &report.tables {
        grid.row([
            table.table.clone(),
            grouped(i128::from(table.rows)),
            grouped(i128::from(table.left_out)),
            grouped(i128::from(table.quarantined)),
            grouped(i128::from(table.erased)),
        ]);
    }
    let tables: Vec<_> = report
        .tables
        .iter()
        .map(|t| {
            json!({
                "table": t.table, "rows": t.rows, "left_out": t.left_out, "quarantined": t.quarantined,
                "erased": t.erased, "unaddressable": t.unaddressable.iter().map(unaddressable).collect::<Vec<_>>(),
            })
        })
        .collect();
    let first = if report.unchanged {
        "Nothing changed: every file had been loaded before.".to_owned()
    } else {
        format!("Sealed. The vault now knows {} shoppers.", grouped(i128::from(report.units)))
    };
    Document {
        json: json!({
            "unchanged": report.unchanged,
            "snapshot": report.snapshot.to_string(),
            "units": report.units,
            "units_added": report.units_added,
            "tables": tables,
            "files_skipped": report.files_skipped,
        }),
        grid,
        before: vec![first],
        after: report
            .tables
            .iter()
            .flat_map(unaddressable_lines)
            .chain([format!("  snapshot {}", report.snapshot)])
            .collect(),
    }
}

/// Phones and e-mail addresses of a column that are none: how many, and where the first of them are.
fn unaddressable(odd: &vault::Unaddressable) -> serde_json::Value {
    let shown: Vec<_> = odd
        .shown
        .iter()
        .map(|row| json!({ "file": row.file, "counted_in": row.place, "row": row.row, "reason": row.reason }))
        .collect();
    json!({ "column": odd.column, "total": odd.total, "shown": shown })
}

fn unaddressable_lines(table: &vault::TableReport) -> impl Iterator<Item = String> {
    table.unaddressable.iter().map(move |odd| {
        let first = odd.shown.first().map(|row| format!(", the first in {row}")).unwrap_or_default();
        format!(
            "  {}.{}: {} without a canonical form{first}; the rows count, the shoppers cannot be addressed by it",
            table.table,
            odd.column,
            grouped(i128::from(odd.total))
        )
    })
}

/// A progress bar that listens to a load.
#[derive(Debug)]
pub(crate) struct Bar {
    format: Format,
    doing: &'static str,
    shown: Mutex<Option<Progress>>,
    total: Mutex<Option<u64>>,
    read: AtomicU64,
}

impl Bar {
    /// A bar for this kind of output and work, such as `sealing`.
    pub(crate) const fn new(format: Format, doing: &'static str) -> Self {
        Self { format, doing, shown: Mutex::new(None), total: Mutex::new(None), read: AtomicU64::new(0) }
    }

    /// Removes it.
    pub(crate) fn finish(&self) {
        if let Ok(mut shown) = self.shown.lock() {
            *shown = None;
        }
    }
}

impl vault::Progress for Bar {
    fn table(&self, table: &str, rows: Option<u64>) {
        self.read.store(0, Ordering::Relaxed);
        if let (Ok(mut shown), Ok(mut total)) = (self.shown.lock(), self.total.lock()) {
            *total = rows;
            *shown = Some(Progress::start(self.format, &format!("{} {table}", self.doing), "rows", rows));
        }
    }

    fn read(&self, rows: u64) {
        let done = self.read.fetch_add(rows, Ordering::Relaxed).saturating_add(rows);
        if let (Ok(shown), Ok(total)) = (self.shown.lock(), self.total.lock())
            && let Some(progress) = shown.as_ref()
        {
            progress.set(done, *total);
        }
    }

    fn sealed(&self, _rows: u64) {}
}
