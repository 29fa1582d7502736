//! Where the demo's data comes from, and how it gets into the vault.

use std::path::{Path, PathBuf};

use identity::Role;
use ids::PartyId;
use policy::Bundle;
use serde_json::Value;
use synth::{Options, Retailer};
use vault::{Catalogue, IngestOptions, IngestReport};

use super::script::{self, Script};
use super::story::Teller;
use crate::cli::{Bar, Demo, load};
use crate::config::Config;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{Progress, grouped};
use crate::refusals::broken;
use crate::samples;

/// What the story needs.
pub(super) struct Prepared {
    pub(super) script: Script,
    /// Figures published elsewhere about the same data (`facts.json`), to check the owner's count against.
    pub(super) facts: Option<Value>,
}

/// What is to be loaded, before it is.
struct Source {
    folder: PathBuf,
    catalogue: String,
    policy: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Retail,
    CompleteJourney,
    Own,
}

/// Makes the home: data, keys, sealing, agreement.
pub(super) fn prepare(home: &Home, words: &Demo, teller: &mut Teller<'_>) -> Result<Prepared, Failure> {
    let scratch = tempfile::Builder::new()
        .prefix("cleanroom-demo-data-")
        .tempdir()
        .map_err(|why| Failure::failed("demo_folder", "cannot make a temporary folder", why))?;
    let source = match &words.data {
        None => generated(words, scratch.path(), teller)?,
        Some(folder) => brought(folder, scratch.path())?,
    };
    let bundle =
        Bundle::load(&source.policy).map_err(|why| broken(why.code(), "cannot load the agreement", &why))?;
    let asker = first_asker(&bundle)?;
    let name = |why: ids::NameRefused| broken("demo_script", "cannot tell the story", &why);
    let script = match source.kind {
        Kind::Retail => script::retail().map_err(name)?,
        Kind::CompleteJourney => script::complete_journey().map_err(name)?,
        Kind::Own => {
            let catalogue = Catalogue::parse(&source.catalogue)
                .map_err(|why| broken(why.code(), "cannot use the catalogue", &why))?;
            script::of_catalogue(&catalogue, asker).ok_or_else(|| {
                Failure::failed(
                    "demo_script",
                    "cannot tell a story about this data",
                    "it has no private table",
                )
            })?
        }
    };
    crate::init::init(home, &source.catalogue, &source.policy, script.asker.clone())?;
    teller.title(&script.title)?;
    let report = seal(home, &source.folder, teller)?;
    teller.sealed(home, &report)?;
    let facts = std::fs::read(source.folder.join("facts.json")).ok();
    let facts = facts.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(Prepared { script, facts: facts.filter(|_| source.kind == Kind::CompleteJourney) })
}

fn generated(words: &Demo, scratch: &Path, teller: &Teller<'_>) -> Result<Source, Failure> {
    let folder = scratch.join("retailer");
    let options = Options { shoppers: words.shoppers, seed: words.seed, ..Options::default() };
    let failed = |why: synth::SynthRefused| broken("synth", "cannot generate the retailer", &why);
    let retailer = Retailer::generate(options).map_err(failed)?;
    let bar =
        Progress::start(teller.format(), "generating shoppers", "shoppers", Some(u64::from(words.shoppers)));
    retailer
        .write_folder(&folder, synth::Format::Parquet, &mut |progress| {
            bar.set(progress.shoppers, Some(progress.shoppers_total));
        })
        .map_err(failed)?;
    bar.finish();
    let policy = scratch.join("policy");
    samples::write("jv-north", &policy)?;
    Ok(Source { catalogue: read(&folder.join("catalogue.toml"))?, folder, policy, kind: Kind::Retail })
}

/// A folder of the caller: with a catalogue of its own, or in the layout of The Complete Journey.
fn brought(folder: &Path, scratch: &Path) -> Result<Source, Failure> {
    let folder = folder.to_owned();
    let policy = scratch.join("policy");
    let own = folder.join("catalogue.toml");
    if own.is_file() {
        let catalogue = read(&own)?;
        if folder.join("policy").is_dir() {
            return Ok(Source { policy: folder.join("policy"), folder, catalogue, kind: Kind::Own });
        }
        // A folder that `synth` wrote: the agreement is the sample's.
        let parsed = Catalogue::parse(&catalogue)
            .map_err(|why| broken(why.code(), "cannot use the catalogue", &why))?;
        if parsed.dataset().as_str() == "loyalty" {
            samples::write("jv-north", &policy)?;
            return Ok(Source { catalogue, folder, policy, kind: Kind::Retail });
        }
        return Err(Failure::usage(
            "demo_policy",
            "there is no agreement for this data",
            "the folder has no `policy/`",
        )
        .at(folder.display())
        .way_out("put a policy bundle into its `policy/`, or use `cleanroom init` with `--policy DIR`"));
    }
    let journey = ["transactions.parquet", "products.parquet", "demographics.parquet"];
    if journey.iter().all(|file| folder.join(file).is_file()) {
        samples::write("complete-journey", &policy)?;
        let catalogue = vault::COMPLETE_JOURNEY.to_owned();
        return Ok(Source { folder, catalogue, policy, kind: Kind::CompleteJourney });
    }
    let why = "it has neither `catalogue.toml` nor the files of The Complete Journey";
    Err(Failure::usage("demo_data", "cannot use this folder", why)
        .at(folder.display())
        .way_out("write a `catalogue.toml` into it; the one of `cleanroom demo --home DIR` is an example"))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|why| {
        Failure::failed("catalogue_unreadable", "cannot read the catalogue", why).at(path.display())
    })
}

/// The first party that may ask: one with analysts and a quota.
fn first_asker(bundle: &Bundle) -> Result<PartyId, Failure> {
    let asker = bundle
        .budgets()
        .quotas
        .keys()
        .find(|id| bundle.parties().get(*id).is_some_and(|party| party.roles.contains(&Role::Analyst)));
    asker.cloned().ok_or_else(|| {
        Failure::usage(
            "demo_policy",
            "nobody may ask under this agreement",
            "no party has both analysts and a quota",
        )
    })
}

fn seal(home: &Home, folder: &Path, teller: &Teller<'_>) -> Result<IngestReport, Failure> {
    let _lock = home.lock()?;
    let config = Config::load(&home.config())?;
    let options = IngestOptions { threads: config.engine.threads, ..IngestOptions::default() };
    let bar = Bar::new(teller.format(), "sealing");
    let report = load(home, &config, folder, &options, &bar);
    bar.finish();
    report
}

impl Teller<'_> {
    /// What was sealed, and that nothing of it can be read.
    fn sealed(&mut self, home: &Home, report: &IngestReport) -> Result<(), Failure> {
        let rows: u64 = report.tables.iter().map(|table| table.rows).sum();
        let bytes = folder_bytes(&home.vault());
        let mut document = crate::cli::ingest_document(report);
        document.after.push(format!(
            "  {} rows in {} MiB of Parquet, encrypted part by part; each key is wrapped under the root key",
            grouped(i128::from(rows)),
            grouped(i128::from(bytes >> 20).max(1))
        ));
        self.step("What was sealed", "Plaintext stays outside; on disk there is ciphertext only.", &document)
    }
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
