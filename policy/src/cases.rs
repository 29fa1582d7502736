//! Examples that the agreement must keep: given who asks, when they ask this, then it is decided so, because.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use identity::{Principal, Role};
use ids::{ClauseId, DatasetId, Date, Digest, MicroEpsilon, PartyId, PurposeId, Subject, Timestamp};
use serde::Deserialize;

use crate::facts::{self, Facts};
use crate::refusal::BundleRefused;
use crate::{Bundle, CampaignAsk, Decision, Footprint, Request};

/// One example.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    name: String,
    /// Why it must be so, for the reviewer.
    because: String,
    given: Given,
    when: When,
    then: Then,
    #[serde(skip)]
    file: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CasesFile {
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    party: PartyId,
    role: Role,
    today: Date,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    action: String,
    dataset: DatasetId,
    purpose: PurposeId,
    #[serde(default)]
    epsilon_micro: u64,
    /// Columns read, as `table.column`.
    #[serde(default)]
    reads: BTreeSet<String>,
    /// Columns grouped by; they count as read.
    #[serde(default)]
    keys: BTreeSet<String>,
    /// Tables from which no column is named.
    #[serde(default)]
    tables: BTreeSet<String>,
    /// For acts about a campaign. The author `case` is the one who asks.
    campaign: Option<CampaignAsk>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Then {
    decision: Expected,
    clauses: BTreeSet<ClauseId>,
    /// Allowed values per `table.column`; where given, exactly these filters.
    filters: Option<BTreeMap<String, BTreeSet<String>>>,
    cohort_min: Option<u32>,
    audience_min: Option<u32>,
    /// Parties that must approve a campaign; where given, exactly these.
    approvers: Option<BTreeSet<PartyId>>,
    /// Exact text of the nearest allowed form.
    nearest: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Permit,
    Deny,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Permit { "permit" } else { "deny" })
    }
}

/// What became of the cases and promises of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TestReport {
    /// How many cases were decided as expected.
    pub passed: usize,
    /// The others.
    pub failures: Vec<CaseFailure>,
    /// Clauses that decide no case: nobody has said with an example what they are for.
    pub without_case: Vec<ClauseId>,
}

impl TestReport {
    /// Whether every case passed and every promise held. Clauses without a case do not count.
    pub fn is_ok(&self) -> bool {
        self.failures.is_empty()
    }
}

/// A case that was decided otherwise, or in which the policies alone break a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseFailure {
    /// The file of the case.
    pub file: String,
    /// Its name.
    pub case: String,
    /// What was expected and what came, in one line.
    pub reason: String,
}

impl fmt::Display for CaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`: {}", self.file, self.case, self.reason)
    }
}

/// Reads every case file; whether the cases hold is for [`Bundle::test`] to say.
pub(crate) fn load(files: &BTreeMap<String, String>, _facts: &Facts) -> Result<Vec<Case>, BundleRefused> {
    let mut cases = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| file.starts_with("cases/")) {
        let parsed: CasesFile = facts::parse(file, text)?;
        for case in parsed.case {
            let refuse =
                |reason: &str| Err(BundleRefused::facts(file, format!("case `{}` {reason}", case.name)));
            if case.name.is_empty() || case.because.is_empty() {
                return refuse("needs a name and a because");
            }
            if let Err(reason) = case.request() {
                return refuse(&reason);
            }
            cases.push(Case { file: file.clone(), ..case });
        }
    }
    Ok(cases)
}

impl Case {
    fn request(&self) -> Result<Request, String> {
        let Given { party, role, .. } = &self.given;
        let subject: Subject = "case".parse().map_err(|error: ids::NameRefused| error.to_string())?;
        let columns =
            |names: &BTreeSet<String>| names.iter().map(|name| column(name)).collect::<Result<_, String>>();
        let (mut read, keys): (BTreeSet<_>, BTreeSet<_>) =
            (columns(&self.when.reads)?, columns(&self.when.keys)?);
        read.extend(keys.iter().cloned());
        let of_columns = read.iter().map(|(table, _)| table.clone());
        let tables = of_columns.chain(self.when.tables.iter().cloned()).collect();
        Ok(Request {
            principal: Principal::local(subject, party.clone(), *role),
            action: self.when.action.parse().map_err(|error: crate::ActionRefused| error.to_string())?,
            dataset: self.when.dataset.clone(),
            purpose: self.when.purpose.clone(),
            footprint: Footprint { columns: read, keys, tables },
            epsilon: MicroEpsilon::from_units(self.when.epsilon_micro),
            campaign: self.when.campaign.clone(),
            fingerprint: Digest::of(self.name.as_bytes()),
        })
    }

    /// Noon of the day the case is given.
    fn now(&self) -> Timestamp {
        let noon_secs = i64::from(self.given.today.as_days()) * 86_400 + 43_200;
        Timestamp::from_millis(0).plus_secs(noon_secs)
    }

    fn check(&self, decision: &Decision) -> Result<(), String> {
        let came = match decision {
            Decision::Permitted(_) => Expected::Permit,
            Decision::Denied(_) => Expected::Deny,
        };
        let clauses: BTreeSet<ClauseId> = decision.clauses().iter().cloned().collect();
        let Then { decision: expected, clauses: because, .. } = &self.then;
        if came != *expected || clauses != *because {
            return Err(format!(
                "expected {expected} by {}, came {came} by {}",
                list(because),
                list(&clauses)
            ));
        }
        match decision {
            Decision::Permitted(permit) => self.check_obligations(permit.obligations()),
            Decision::Denied(denied)
                if self.then.nearest.is_some() && self.then.nearest != denied.nearest =>
            {
                Err(format!("expected the nearest {:?}, came {:?}", self.then.nearest, denied.nearest))
            }
            Decision::Denied(_) => Ok(()),
        }
    }

    fn check_obligations(&self, came: &crate::Obligations) -> Result<(), String> {
        let filters = came.row_filters.iter();
        let filters: BTreeMap<String, BTreeSet<String>> =
            filters.map(|f| (format!("{}.{}", f.table, f.column), f.allowed.clone())).collect();
        if let Some(expected) = self.then.filters.as_ref().filter(|expected| **expected != filters) {
            return Err(format!("expected the row filters {expected:?}, came {filters:?}"));
        }
        let terms = came.activation.as_ref();
        differs("cohort_min", self.then.cohort_min.as_ref(), Some(&came.cohort_min))?;
        differs("audience_min", self.then.audience_min.as_ref(), terms.map(|terms| &terms.audience_min))?;
        differs("approvers", self.then.approvers.as_ref(), terms.map(|terms| &terms.approvers))
    }
}

/// Where something is expected, it must have come.
fn differs<T: PartialEq + fmt::Debug>(
    what: &str,
    expected: Option<&T>,
    came: Option<&T>,
) -> Result<(), String> {
    match expected {
        Some(_) if expected != came => Err(format!("expected {what} {expected:?}, came {came:?}")),
        _ => Ok(()),
    }
}

fn column(name: &str) -> Result<(String, String), String> {
    match name.split_once('.') {
        Some((table, column)) if !table.is_empty() && !column.is_empty() => {
            Ok((table.to_owned(), column.to_owned()))
        }
        _ => Err(format!("names the column `{name}`: expected `table.column`")),
    }
}

fn list(clauses: &BTreeSet<ClauseId>) -> String {
    clauses.iter().map(ClauseId::as_str).collect::<Vec<_>>().join(", ")
}

impl Bundle {
    /// Decides every case of the bundle, and shows for each that the policies keep the promises by themselves.
    pub fn test(&self) -> TestReport {
        let mut report = TestReport::default();
        let mut decided: BTreeSet<ClauseId> = BTreeSet::new();
        for case in &self.cases {
            let outcome = case.request().and_then(|request| {
                let decision = self.decide(&request, case.now());
                decided.extend(decision.clauses().iter().cloned());
                case.check(&decision)?;
                self.keeps_promises(&request, case.now())
            });
            match outcome {
                Ok(()) => report.passed += 1,
                Err(reason) => {
                    let (file, case) = (case.file.clone(), case.name.clone());
                    report.failures.push(CaseFailure { file, case, reason });
                }
            }
        }
        report.without_case =
            self.rules.clauses.keys().filter(|id| !decided.contains(*id)).cloned().collect();
        report
    }
}
