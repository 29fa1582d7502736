//! The words of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ids::{PartyId, PurposeId, RequestId, Subject};

use crate::output::Format;

/// Answers suppliers' questions over loyalty data without giving any of it away.
///
/// Exit codes: 0 ok, 1 failed, 2 usage, 3 denied by policy, 4 budget exhausted.
#[derive(Debug, Parser)]
#[command(
    name = "cleanroom",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Home folder of the clean room [default: ~/.cleanroom].
    #[arg(long, global = true, env = "CLEANROOM_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See it all: make a clean room with data, ask, be denied, run out of budget, verify the log.
    Demo(Demo),
    /// Make an empty clean room from a catalogue and an agreement.
    Init(Init),
    /// Load CSV or Parquet files into the vault.
    Ingest(Ingest),
    /// Serve the HTTP API on loopback.
    Serve(Serve),
    /// Make a bearer token of the local issuer.
    Token(Token),
    /// Ask a question; it is charged and logged.
    Query(Question),
    /// Show what a question would cost and how it would be answered; reads no data, costs nothing.
    Explain(Question),
    /// Show what a party has left to spend.
    Budget(Who),
    /// Show tables, columns and domains.
    Catalogue(Who),
    /// Verify or read the audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Hand out everything held about one shopper (GDPR art. 15), into a file that only its owner may read.
    ExportSubject(ExportSubject),
    /// Erase one shopper from the vault and everywhere else (GDPR art. 17).
    Erase(EraseSubject),
    /// Check the home folder and say what to do about what is wrong.
    Doctor,
    /// Measure the engine against plain DuckDB on synthetic data.
    Bench(Bench),
}

/// `cleanroom demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// End after the story instead of serving on.
    #[arg(long)]
    pub once: bool,
    /// Shoppers to generate.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(200..=5_000_000), conflicts_with = "data")]
    pub shoppers: u32,
    /// Seed of the generated retailer (not of any noise: noise has no seed).
    #[arg(long, default_value_t = 7, conflicts_with = "data")]
    pub seed: u64,
    /// Your own data: a folder with `catalogue.toml` and `policy/`, or the Complete Journey folder.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to serve after the story.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
}

/// `cleanroom init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The catalogue of the dataset.
    #[arg(long, value_name = "FILE")]
    pub catalogue: PathBuf,
    /// The agreement: a policy bundle's folder, which is copied.
    #[arg(long, value_name = "DIR")]
    pub policy: PathBuf,
    /// The party that commands on this machine ask for where they name none.
    #[arg(long)]
    pub party: PartyId,
}

/// `cleanroom ingest`.
#[derive(Debug, Args)]
pub struct Ingest {
    /// A folder with files named as the catalogue says, or one such file.
    #[arg(value_name = "PATH")]
    pub source: PathBuf,
    /// Keep the good rows of a load with bad ones, and write the positions of the bad ones to this file.
    #[arg(long, value_name = "FILE")]
    pub quarantine: Option<PathBuf>,
}

/// `cleanroom serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen instead of the configured address; loopback only.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
}

/// `cleanroom token`.
#[derive(Debug, Args)]
pub struct Token {
    /// The party the bearer acts for.
    #[arg(long)]
    pub party: PartyId,
    /// The bearer's role.
    #[arg(long, value_enum, default_value_t = RoleArg::Analyst)]
    pub role: RoleArg,
    /// The bearer's name in the log.
    #[arg(long, default_value = "analyst")]
    pub subject: Subject,
    /// How long the token is valid, in seconds.
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    pub lifetime_seconds: u32,
}

/// A role on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Asks questions for a supplier.
    Analyst,
    /// Reviews and signs policy.
    Legal,
    /// Runs the clean room.
    Steward,
    /// Verifies.
    Regulator,
    /// Protects the shoppers.
    Dpo,
    /// A machine that delivers audiences.
    Gateway,
}

/// Who asks, on this machine.
#[derive(Debug, Clone, Args)]
pub struct Who {
    /// The party to act for [default: the home's `local.party`].
    #[arg(long)]
    pub party: Option<PartyId>,
    /// The role to act in.
    #[arg(long, value_enum, default_value_t = RoleArg::Analyst)]
    pub role: RoleArg,
    /// The purpose of the use.
    #[arg(long, default_value = "measurement")]
    pub purpose: PurposeId,
}

/// `cleanroom query` and `cleanroom explain`.
#[derive(Debug, Args)]
pub struct Question {
    /// The question in SQL; `-` reads it from standard input.
    #[arg(value_name = "SQL", required_unless_present = "file")]
    pub sql: Option<String>,
    /// Read the question from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "sql")]
    pub file: Option<PathBuf>,
    /// Who asks, and what for.
    #[command(flatten)]
    pub who: Who,
    /// The most that may be spent, as ε [default: the agreement's].
    #[arg(long, value_name = "EPSILON")]
    pub epsilon: Option<f64>,
    /// Most that one shopper may contribute to a measure or column, such as `sales=5712.00`; may be repeated.
    #[arg(long = "bound", value_name = "NAME=VALUE")]
    pub bounds: Vec<String>,
    /// Most groups with private keys that one shopper is counted in.
    #[arg(long, value_name = "N")]
    pub groups_max: Option<u32>,
    /// Idempotency key: the same key never charges twice.
    #[arg(long, value_name = "KEY")]
    pub request_id: Option<RequestId>,
}

/// `cleanroom audit …`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Re-derive the whole log and compare it with its signed checkpoint.
    Verify,
    /// List entries.
    Show(AuditShow),
}

/// `cleanroom audit show`.
#[derive(Debug, Args)]
pub struct AuditShow {
    /// Only this entry.
    #[arg(long, conflicts_with = "last")]
    pub index: Option<u64>,
    /// Only the last so many entries.
    #[arg(long, default_value_t = 40)]
    pub last: u64,
}

/// Which shopper, and who does it.
#[derive(Debug, Clone, Args)]
pub struct SubjectWho {
    /// The shopper's key as the loyalty files write it; without it, the first line of standard input, which other users of
    /// this machine cannot see.
    #[arg(long)]
    pub card: Option<String>,
    /// The party to act for [default: the home's `local.party`].
    #[arg(long)]
    pub party: Option<PartyId>,
    /// The role to act in.
    #[arg(long, value_enum, default_value_t = RoleArg::Dpo)]
    pub role: RoleArg,
    /// The purpose of the act.
    #[arg(long, default_value = "operations")]
    pub purpose: PurposeId,
}

/// `cleanroom export-subject`.
#[derive(Debug, Args)]
pub struct ExportSubject {
    /// Whose data, and who asks for it.
    #[command(flatten)]
    pub who: SubjectWho,
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `cleanroom erase`.
#[derive(Debug, Args)]
pub struct EraseSubject {
    /// Who is erased, and who does it.
    #[command(flatten)]
    pub who: SubjectWho,
    /// Write the record of what was executed, with its proof, to this file; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// `cleanroom bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Shoppers to generate.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1000..=20_000_000))]
    pub shoppers: u32,
    /// Lines to generate, about.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(10_000..=2_000_000_000))]
    pub lines: u64,
    /// Seed of the generated retailer.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Threads of the engine and of the DuckDB it is compared with.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Runs of each timed question; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=101))]
    pub runs: u16,
    /// Where the files and the home are made [default: a temporary folder, removed afterwards].
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_words_fit_together() {
        Cli::command().debug_assert();
    }
}
