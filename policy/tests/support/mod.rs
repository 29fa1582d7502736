//! A sample bundle in a temporary folder, and requests written as one line of text.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "test code, shared by several test binaries"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use identity::{Principal, Role};
use ids::{Date, Digest, MicroEpsilon, Timestamp};
use policy::{
    Action, Bundle, BundleRefused, CampaignAsk, Decision, DestinationClass, Footprint, Request, SampleBundle,
};
use tempfile::TempDir;

/// A sample bundle on disk, to be changed and loaded again.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn of(sample: SampleBundle) -> Self {
        let dir = tempfile::tempdir().unwrap();
        sample.write_to(dir.path()).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path().join(file)).unwrap()
    }

    pub(crate) fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path().join(file), text).unwrap();
    }

    /// Replaces the first occurrence of `from`, which must be there.
    pub(crate) fn replace(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "`{from}` is not in {file}");
        self.write(file, text.replacen(from, to, 1));
    }

    pub(crate) fn load(&self) -> Result<Bundle, BundleRefused> {
        Bundle::load(self.path())
    }

    /// What an author does after a change: lock, then load.
    pub(crate) fn relock(&self) -> Result<Bundle, BundleRefused> {
        Bundle::lock(self.path())?;
        self.load()
    }
}

pub(crate) fn day(text: &str) -> Timestamp {
    let date: Date = text.parse().unwrap();
    Timestamp::from_millis(i64::from(date.as_days()) * 86_400_000)
}

/// A day on which every sample contract is in force.
pub(crate) fn today() -> Timestamp {
    day("2026-06-01")
}

/// `owner:author:channels:classes:approvals:size:holdout_ppm:ttl_days:attempts[:joint]`, sets separated by commas, `-` for
/// none or not known.
pub(crate) fn campaign(word: &str) -> CampaignAsk {
    let parts: Vec<&str> = word.split(':').collect();
    let [owner, author, channels, classes, approvals, size, holdout, ttl, attempts, ref joint @ ..] =
        parts[..]
    else {
        panic!("nine parts: {word}")
    };
    fn set<T: Ord>(text: &str, parse: impl Fn(&str) -> T) -> BTreeSet<T> {
        text.split(',').filter(|name| *name != "-").map(parse).collect()
    }
    let class = |name: &str| DestinationClass::ALL.into_iter().find(|class| class.name() == name).unwrap();
    CampaignAsk {
        owner: owner.parse().unwrap(),
        author: author.parse().unwrap(),
        channels: set(channels, str::to_owned),
        destinations: set(classes, class),
        joint: joint == ["joint"],
        approvals: set(approvals, |party| party.parse().unwrap()),
        noisy_size: (size != "-").then(|| size.parse().unwrap()),
        holdout_ppm: holdout.parse().unwrap(),
        ttl_days: ttl.parse().unwrap(),
        attempts: attempts.parse().unwrap(),
    }
}

/// `party role action dataset purpose epsilon_micro reads keys [campaign]`, where reads and keys are `table.column` or
/// `table` separated by commas, or `-`. The one who asks is called `ada`.
pub(crate) fn request(line: &str) -> Request {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [party, role, action, dataset, purpose, epsilon, reads, keys, ref about @ ..] = words[..] else {
        panic!("eight or nine words: {line}")
    };
    let mut footprint = Footprint::default();
    for name in reads.split(',').filter(|name| *name != "-") {
        match name.split_once('.') {
            Some((table, column)) => {
                footprint.tables.insert(table.to_owned());
                footprint.columns.insert((table.to_owned(), column.to_owned()));
            }
            None => {
                footprint.tables.insert(name.to_owned());
            }
        }
    }
    for (table, column) in keys.split(',').filter_map(|name| name.split_once('.')) {
        footprint.tables.insert(table.to_owned());
        footprint.keys.insert((table.to_owned(), column.to_owned()));
    }
    let action: Action = action.parse().unwrap();
    let role: Role = role.parse().unwrap();
    Request {
        principal: Principal::local("ada".parse().unwrap(), party.parse().unwrap(), role),
        action,
        dataset: dataset.parse().unwrap(),
        purpose: purpose.parse().unwrap(),
        footprint,
        epsilon: MicroEpsilon::from_units(epsilon.parse().unwrap()),
        campaign: about.first().map(|word| campaign(word)),
        fingerprint: Digest::of(line.as_bytes()),
    }
}

/// `permit JV-2.1` or `deny P-1 JV-5.1`.
pub(crate) fn outcome(decision: &Decision) -> String {
    let word = match decision {
        Decision::Permitted(_) => "permit",
        Decision::Denied(_) => "deny",
    };
    let clauses: Vec<&str> = decision.clauses().iter().map(ids::ClauseId::as_str).collect();
    format!("{word} {}", clauses.join(" "))
}

/// Every line of a corpus: the request and the expected outcome.
pub(crate) fn corpus(text: &str) -> Vec<(Request, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &str| {
        let (ask, expected) = line.split_once("=>").unwrap();
        (request(ask), expected.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    lines.map(split).collect()
}

pub(crate) const JV_NORTH_CORPUS: &str = include_str!("../corpus/jv-north.txt");
pub(crate) const COMPLETE_JOURNEY_CORPUS: &str = include_str!("../corpus/complete-journey.txt");
