//! The command line: what can be said, and which module does it.

mod args;
mod audit;
mod doctor;
mod ingest;
mod questions;
mod serve;
mod subject;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use identity::{Principal, Role};

pub use args::{
    AuditCommand, AuditShow, Bench, Cli, Command, Demo, EraseSubject, ExportSubject, Ingest, Init, Question,
    RoleArg, Serve, SubjectWho, Token, Who,
};
pub(crate) use audit::{
    document as audit_document, entries_grid as audit_grid, read as audit_entries, verifier_key as audit_key,
};
pub(crate) use ingest::{Bar, document as ingest_document, load};
pub(crate) use serve::keep_serving;
pub(crate) use subject::signed_record;

use crate::app::App;
use crate::config::Config;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{Document, Format, Screen};

/// Parses the process's arguments, runs the command, prints a failure to standard error and gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.format;
    trace_to_stderr();
    let ran = runtime().and_then(|runtime| {
        let ended = runtime.block_on(run(cli));
        // Work that nobody waits for any more must not hold the process up.
        runtime.shutdown_background();
        ended
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure, format);
            failure.exit_code()
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|why| Failure::failed("runtime", "cannot start the runtime", why))
}

/// Operator's traces on standard error, off unless `RUST_LOG` asks for them.
fn trace_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let mut screen = Screen::stdout(cli.format);
    match cli.command {
        Command::Demo(demo) => crate::demo::run(cli.home, &demo, &mut screen).await,
        Command::Bench(bench) => crate::bench::run(&bench, &mut screen).await,
        command => {
            let home = Home::locate(cli.home)?;
            on_home(&home, command, &mut screen).await
        }
    }
}

async fn on_home(home: &Home, command: Command, screen: &mut Screen) -> Result<(), Failure> {
    match command {
        Command::Init(init) => make(home, &init, screen),
        Command::Ingest(ingest) => ingest::run(home, &ingest, screen),
        Command::Serve(serve) => serve::run(home, &serve, screen).await,
        Command::Token(token) => make_token(home, &token, screen),
        Command::Query(question) => questions::query(home, question, screen).await,
        Command::Explain(question) => questions::explain(home, question, screen).await,
        Command::Budget(who) => questions::budget(home, &who, screen).await,
        Command::Catalogue(who) => questions::catalogue(home, &who, screen).await,
        Command::Audit(AuditCommand::Verify) => audit::verify(home, screen),
        Command::Audit(AuditCommand::Show(show)) => audit::show(home, &show, screen),
        Command::ExportSubject(words) => blocking(|| subject::export(home, &words, screen)),
        Command::Erase(words) => blocking(|| subject::erase(home, &words, screen)),
        Command::Doctor => doctor::run(home, screen).await,
        Command::Demo(_) | Command::Bench(_) => Ok(()),
    }
}

/// Work that waits for the disk, on a thread of the runtime that may.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

fn make(home: &Home, init: &Init, screen: &mut Screen) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&init.catalogue).map_err(|why| {
        Failure::failed("catalogue_unreadable", "cannot read the catalogue", why).at(init.catalogue.display())
    })?;
    crate::init::init(home, &text, &init.policy, init.party.clone())?;
    screen.show(&Document {
        json: serde_json::json!({ "home": home.root(), "status": "made" }),
        before: vec![
            format!("Made an empty clean room at {}.", home.root().display()),
            "  next: `cleanroom ingest DIR`, then `cleanroom query` or `cleanroom serve`".to_owned(),
            format!("  keep {} safe and apart: without it the vault is lost", home.root_key().display()),
        ],
        ..Document::default()
    })
}

fn make_token(home: &Home, token: &Token, screen: &mut Screen) -> Result<(), Failure> {
    home.must_exist()?;
    let config = Config::load(&home.config())?;
    let bundle = crate::app::load_bundle(home)?;
    if !bundle.parties().contains_key(&token.party) {
        let known: Vec<&str> = bundle.parties().keys().map(ids::PartyId::as_str).collect();
        let why = format!("`{}` is not in the agreement", token.party);
        return Err(Failure::usage("party_unknown", "cannot make a token for this party", why)
            .way_out(format!("one of: {}", known.join(", "))));
    }
    let issuer = crate::app::open_issuer(home, &config)?;
    let principal = Principal::local(token.subject.clone(), token.party.clone(), token.role.into());
    let text = crate::keys::issue(&issuer, &config, &principal, token.lifetime_seconds, &ids::SystemClock)?;
    match screen.format() {
        Format::Json => screen.show(&Document {
            json: serde_json::json!({ "token": text, "lifetime_seconds": token.lifetime_seconds }),
            ..Document::default()
        }),
        Format::Table | Format::Csv => screen.write(format!("{text}\n").as_bytes()),
    }
}

/// Opens a home, with a spinner while the tables are unsealed.
pub(crate) async fn open(home: &Home, format: Format) -> Result<App, Failure> {
    let bar = Bar::new(format, "unsealing");
    let app = App::open(home, &bar).await;
    bar.finish();
    app
}

impl Who {
    /// The principal these words name on this machine.
    pub(crate) fn principal(&self, config: &Config) -> Principal {
        let party = self.party.clone().unwrap_or_else(|| config.local.party.clone());
        Principal::local(config.local.subject.clone(), party, self.role.into())
    }
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Analyst => Self::Analyst,
            RoleArg::Legal => Self::Legal,
            RoleArg::Steward => Self::Steward,
            RoleArg::Regulator => Self::Regulator,
            RoleArg::Dpo => Self::Dpo,
            RoleArg::Gateway => Self::Gateway,
        }
    }
}

/// A failure on standard error: text for people, one JSON object for programs.
fn report(failure: &Failure, format: Format) {
    let text = match format {
        Format::Json => serde_json::to_string(failure).unwrap_or_else(|_| failure.to_string()),
        Format::Table | Format::Csv => failure.to_string(),
    };
    let _ = writeln!(std::io::stderr(), "{text}");
}
