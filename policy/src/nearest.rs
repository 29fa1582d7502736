//! The nearest allowed form of a denied question, found by asking the policy itself.
//!
//! Small changes are tried one by one, then two by two: a lower cost, an ungrouped column, a column left out, another
//! purpose. What is proposed was judged by the same rules, so it never promises too much.

use std::collections::{BTreeMap, BTreeSet};

use ids::{MicroEpsilon, PurposeId, Timestamp};

use crate::request::ROWS;
use crate::{Action, Bundle, CampaignAsk, DestinationClass, Request};

/// Judging costs tens of microseconds; a denial must stay cheap.
const TRIES_MAX: usize = 200;
/// Columns named in one proposal.
const NAMED_MAX: usize = 4;

type Columns = BTreeSet<(String, String)>;

/// One small change of a request.
#[derive(Debug, Clone)]
enum Change {
    Epsilon(MicroEpsilon),
    Ungroup(Columns),
    LeaveOut { columns: Columns, tables: BTreeSet<String> },
    Purpose(PurposeId),
    WithoutChannel(String),
    Scoped,
    Holdout(u32),
    Ttl(u32),
}

impl Change {
    fn apply(&self, mut request: Request) -> Request {
        match self {
            Self::Epsilon(epsilon) => request.epsilon = *epsilon,
            Self::Ungroup(columns) => request.footprint.keys.retain(|column| !columns.contains(column)),
            Self::LeaveOut { columns, tables } => {
                request.footprint.keys.retain(|column| !columns.contains(column));
                request.footprint.columns.retain(|column| !columns.contains(column));
                request.footprint.tables.retain(|table| !tables.contains(table));
            }
            Self::Purpose(purpose) => request.purpose = purpose.clone(),
            Self::WithoutChannel(_) | Self::Scoped | Self::Holdout(_) | Self::Ttl(_) => {
                if let Some(campaign) = &mut request.campaign {
                    self.apply_to(campaign);
                }
            }
        }
        request
    }

    fn apply_to(&self, campaign: &mut CampaignAsk) {
        match self {
            Self::WithoutChannel(channel) => campaign.channels.retain(|other| other != channel),
            Self::Scoped => campaign.destinations = [DestinationClass::Scoped].into(),
            Self::Holdout(ppm) => campaign.holdout_ppm = *ppm,
            Self::Ttl(days) => campaign.ttl_days = *days,
            Self::Epsilon(_) | Self::Ungroup(_) | Self::LeaveOut { .. } | Self::Purpose(_) => {}
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Epsilon(epsilon) => format!("ask with ε at most {epsilon}"),
            Self::Ungroup(columns) => format!("do not group by {}", names(columns)),
            Self::LeaveOut { columns, .. } => format!("leave out {}", names(columns)),
            Self::Purpose(purpose) => format!("ask for the purpose `{purpose}`"),
            Self::WithoutChannel(channel) => format!("leave out the channel `{channel}`"),
            Self::Scoped => "send only scoped pseudonyms".to_owned(),
            Self::Holdout(ppm) => format!("hold out {} % of households", f64::from(*ppm) / 10_000.0),
            Self::Ttl(days) => format!("keep members for {days} days"),
        }
    }
}

fn names(columns: &Columns) -> String {
    let named = |table: &str| columns.iter().any(|(other, column)| other == table && column != ROWS);
    let all = columns.iter().filter_map(|(table, column)| match column.as_str() {
        ROWS if named(table) => None,
        ROWS => Some(format!("`{table}`")),
        column => Some(format!("`{table}.{column}`")),
    });
    let mut all: Vec<String> = all.collect();
    if all.len() > NAMED_MAX {
        let more = format!("{} more", all.len() - NAMED_MAX);
        all.truncate(NAMED_MAX);
        all.push(more);
    }
    all.join(", ")
}

/// The first change, or pair of changes, that turns the denial into a permit.
pub(crate) fn find(bundle: &Bundle, request: &Request, now: Timestamp) -> Option<String> {
    let changes = match &request.campaign {
        _ if request.action.is_question() => changes(bundle, request),
        // Only what is put forward can still be changed; later a change needs new approvals.
        Some(campaign) if request.action == Action::SubmitCampaign => {
            campaign_changes(bundle, request, campaign, now)
        }
        _ => return None,
    };
    let singles = changes.iter().map(|change| vec![change]);
    let pairs = changes
        .iter()
        .enumerate()
        .flat_map(|(at, first)| changes.iter().skip(at + 1).map(move |second| vec![first, second]));
    for tried in singles.chain(pairs).take(TRIES_MAX) {
        let changed = tried.iter().fold(request.clone(), |request, change| change.apply(request));
        if let Ok(permit) = bundle.judge(&changed, now) {
            let words: Vec<String> = tried.iter().map(|change| change.words()).collect();
            let clauses: Vec<&str> = permit.clauses().iter().map(ids::ClauseId::as_str).collect();
            return Some(format!("{} (allowed by {})", words.join(" and "), clauses.join(", ")));
        }
    }
    None
}

/// Every small change worth trying, the least painful first.
fn changes(bundle: &Bundle, request: &Request) -> Vec<Change> {
    let mut changes = Vec::new();
    let cap = bundle.facts.budgets.question_caps.get(request.principal.party());
    if let Some(&cap) = cap.filter(|cap| request.epsilon > **cap || request.epsilon == MicroEpsilon::ZERO) {
        changes.push(Change::Epsilon(cap));
    }
    let by_level = |columns: &Columns| {
        let mut found: BTreeMap<String, Columns> = BTreeMap::new();
        for column in columns {
            found.entry(level(bundle, request, column)).or_default().insert(column.clone());
        }
        found
    };
    changes.extend(by_level(&request.footprint.keys).into_values().map(Change::Ungroup));
    let reads = request.footprint.reads();
    changes.extend(by_level(&reads).into_values().map(|columns| {
        // A table goes with the columns, when its very rows are of the level and nothing else of it is used.
        let used = |table: &str| reads.difference(&columns).any(|(other, _)| other == table);
        let rows = columns.iter().filter(|(table, column)| column == ROWS && !used(table));
        Change::LeaveOut { tables: rows.map(|(table, _)| table.clone()).collect(), columns }
    }));
    let others = bundle.facts.purposes.keys().filter(|purpose| **purpose != request.purpose);
    changes.extend(others.cloned().map(Change::Purpose));
    changes
}

/// Every small change of a campaign worth trying.
fn campaign_changes(
    bundle: &Bundle,
    request: &Request,
    campaign: &CampaignAsk,
    now: Timestamp,
) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Some(terms) = bundle.activation_terms(request, now) {
        if campaign.holdout_ppm < terms.holdout_min_ppm {
            changes.push(Change::Holdout(terms.holdout_min_ppm));
        }
        if campaign.ttl_days == 0 || campaign.ttl_days > terms.ttl_days_max {
            changes.push(Change::Ttl(terms.ttl_days_max));
        }
    }
    if campaign.destinations.contains(&DestinationClass::Open) {
        changes.push(Change::Scoped);
    }
    changes.extend(campaign.channels.iter().cloned().map(Change::WithoutChannel));
    let others = bundle.facts.purposes.keys().filter(|purpose| **purpose != request.purpose);
    changes.extend(others.cloned().map(Change::Purpose));
    changes
}

/// The level of a column; columns without one go together.
fn level(bundle: &Bundle, request: &Request, (table, column): &(String, String)) -> String {
    let tables = bundle.facts.datasets.get(&request.dataset);
    let level = tables.and_then(|tables| tables.get(table)).and_then(|columns| columns.get(column));
    level.cloned().unwrap_or_default()
}
