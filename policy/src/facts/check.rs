//! From files to facts: every reference must resolve, every name must be unique, every number must make sense.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use ids::{Delta, MicroEpsilon};

use super::files::{
    ActivationFile, ApproverRow, BrandsFile, BudgetsFile, CategoriesFile, ColumnsFile, ContractsFile,
    FilterRow, FloorsFile, ObligationsFile, PartiesFile, PurposesFile, TermsRow, parse,
};
use super::{
    ActivationTerms, Approver, Budgets, Category, Contract, Facts, Floor, Obligation, Party, PartyKind,
    Purpose,
};
use crate::refusal::BundleRefused;
use crate::request::ROWS;

const PARTIES: &str = "facts/parties.toml";
const BRANDS: &str = "facts/brands.toml";
const CATEGORIES: &str = "facts/categories.toml";
const CONTRACTS: &str = "facts/contracts.toml";
const FLOORS: &str = "facts/floors.toml";
const BUDGETS: &str = "facts/budgets.toml";
const PURPOSES: &str = "facts/purposes.toml";
const COLUMNS: &str = "facts/columns.toml";
const OBLIGATIONS: &str = "facts/obligations.toml";
const ACTIVATION: &str = "facts/activation.toml";

/// The facts files of a bundle: all of them, and no other.
pub(crate) const FILES: [&str; 10] =
    [PARTIES, BRANDS, CATEGORIES, CONTRACTS, FLOORS, BUDGETS, PURPOSES, COLUMNS, OBLIGATIONS, ACTIVATION];

/// No agreement has a smaller cohort: below it a group is a handful of people, whatever the noise.
const COHORT_MIN_LEAST: u32 = 10;
/// δ above this is no privacy parameter but a chance to publish somebody.
const DELTA_MOST: f64 = 1e-4;
/// No agreement sends a smaller audience: below it a list is about people, not about a group.
const AUDIENCE_MIN_LEAST: u32 = 100;
/// No agreement lets audiences differ by fewer: the difference would be a handful of people (PAIR refuses below 50, too).
const DELTA_MIN_LEAST: u32 = 50;
/// The longest that any known platform keeps a member.
const TTL_DAYS_MOST: u32 = 540;
/// A holdout outside of this either measures nothing or is no campaign: 1 % to 50 %.
const HOLDOUT_PPM: std::ops::RangeInclusive<u32> = 10_000..=500_000;
/// A window so long is the whole contract.
const WINDOW_DAYS_MOST: u32 = 366;

type Files = BTreeMap<String, String>;

/// Reads and cross-checks all facts.
pub(crate) fn load(files: &Files) -> Result<Facts, BundleRefused> {
    let text = |file: &str| {
        files
            .get(file)
            .map(String::as_str)
            .ok_or_else(|| BundleRefused::MissingFile { file: file.to_owned() })
    };
    let (levels, datasets) = columns(parse(COLUMNS, text(COLUMNS)?)?)?;
    let activation: ActivationFile = parse(ACTIVATION, text(ACTIVATION)?)?;
    let facts = Facts {
        parties: parties(parse(PARTIES, text(PARTIES)?)?)?,
        purposes: purposes(parse(PURPOSES, text(PURPOSES)?)?)?,
        brands: brands(parse(BRANDS, text(BRANDS)?)?)?,
        categories: categories(parse(CATEGORIES, text(CATEGORIES)?)?)?,
        contracts: contracts(
            parse(CONTRACTS, text(CONTRACTS)?)?,
            parse(FLOORS, text(FLOORS)?)?,
            activation.terms,
        )?,
        levels,
        datasets,
        obligations: obligations(parse(OBLIGATIONS, text(OBLIGATIONS)?)?)?,
        budgets: budgets(parse(BUDGETS, text(BUDGETS)?)?)?,
        channels: channels(activation.channels)?,
        approvers: approvers(activation.approver)?,
    };
    references(&facts)?;
    Ok(facts)
}

/// Collects rows under unique keys.
fn unique<K: Ord + Display, V>(
    file: &str,
    rows: impl IntoIterator<Item = (K, V)>,
) -> Result<BTreeMap<K, V>, BundleRefused> {
    let mut map = BTreeMap::new();
    for (key, value) in rows {
        if map.contains_key(&key) {
            return Err(BundleRefused::facts(file, format!("`{key}` is there twice: keep one")));
        }
        map.insert(key, value);
    }
    Ok(map)
}

fn parties(file: PartiesFile) -> Result<BTreeMap<ids::PartyId, Party>, BundleRefused> {
    let rows = file.party.into_iter().map(|row| {
        let party = Party {
            id: row.id.clone(),
            name: row.name,
            kind: row.kind,
            roles: row.roles,
            suppliers: row.suppliers,
        };
        (row.id, party)
    });
    unique(PARTIES, rows)
}

fn purposes(file: PurposesFile) -> Result<BTreeMap<ids::PurposeId, Purpose>, BundleRefused> {
    unique(
        PURPOSES,
        file.purpose.into_iter().map(|row| (row.id.clone(), Purpose { id: row.id, text: row.text })),
    )
}

fn brands(file: BrandsFile) -> Result<BTreeMap<String, String>, BundleRefused> {
    unique(BRANDS, file.brand.into_iter().map(|row| (row.name, row.supplier)))
}

fn categories(file: CategoriesFile) -> Result<BTreeMap<String, Category>, BundleRefused> {
    if let Some(row) = file.category.iter().find(|row| row.department.is_empty()) {
        return Err(BundleRefused::facts(CATEGORIES, format!("category `{}` needs a department", row.name)));
    }
    let rows = file.category.into_iter();
    unique(
        CATEGORIES,
        rows.map(|row| (row.name, Category { suppliers: row.suppliers, sensitive: row.sensitive })),
    )
}

fn contracts(
    file: ContractsFile,
    floors: FloorsFile,
    activation: Vec<TermsRow>,
) -> Result<Vec<Contract>, BundleRefused> {
    let mut activation = activation_terms(activation)?;
    let floors = floors.floor.into_iter().map(|row| {
        let floor = Floor {
            cohort_min: row.cohort_min,
            other_suppliers_min: row.other_suppliers_min,
            lookback_days: row.lookback_days,
            lag_days: row.lag_days,
        };
        (row.contract, floor)
    });
    let mut floors = unique(FLOORS, floors)?;
    if let Some((contract, _)) = floors.iter().find(|(_, floor)| floor.cohort_min < COHORT_MIN_LEAST) {
        let reason =
            format!("`{contract}` has a cohort_min below {COHORT_MIN_LEAST}: no agreement goes lower");
        return Err(BundleRefused::facts(FLOORS, reason));
    }
    let mut contracts: Vec<Contract> = Vec::new();
    for row in file.contract {
        let refuse = |reason: &str| Err(BundleRefused::facts(CONTRACTS, format!("`{}` {reason}", row.id)));
        if contracts.iter().any(|other| other.id == row.id) {
            return refuse("is there twice: keep one");
        }
        if row.title.is_empty() || row.starts > row.ends {
            return refuse("needs a title and must not end before it starts");
        }
        let Some(floor) = floors.remove(&row.id) else {
            return refuse("has no floor: add it to facts/floors.toml");
        };
        if let Some(bind) = row.binds.iter().find(|bind| bind.categories.is_some() == bind.every_category) {
            return refuse(&format!(
                "binds `{}`: give it either categories or every_category = true",
                bind.party
            ));
        }
        let binds = unique(CONTRACTS, row.binds.into_iter().map(|bind| (bind.party, bind.categories)))?;
        let (starts, ends) = (row.starts, row.ends);
        let activation = activation.remove(&row.id);
        contracts.push(Contract {
            id: row.id,
            datasets: row.datasets,
            starts,
            ends,
            binds,
            floor,
            activation,
        });
    }
    if let Some(left) = activation.into_keys().next() {
        return Err(BundleRefused::facts(ACTIVATION, format!("`{left}` is no contract: remove its terms")));
    }
    match floors.into_keys().next() {
        Some(left) => Err(BundleRefused::facts(FLOORS, format!("`{left}` is no contract: remove its floor"))),
        None => Ok(contracts),
    }
}

fn activation_terms(rows: Vec<TermsRow>) -> Result<BTreeMap<String, ActivationTerms>, BundleRefused> {
    for row in &rows {
        let refuse = |reason: String| {
            Err(BundleRefused::facts(ACTIVATION, format!("the terms of `{}` {reason}", row.contract)))
        };
        if row.approve.is_empty() {
            return refuse("need somebody who approves".to_owned());
        }
        if row.audience_min < AUDIENCE_MIN_LEAST || row.audience_open_min < row.audience_min {
            return refuse(format!(
                "need {AUDIENCE_MIN_LEAST} ≤ audience_min ≤ audience_open_min: no agreement goes lower"
            ));
        }
        if row.delta_min < DELTA_MIN_LEAST {
            return refuse(format!("have a delta_min below {DELTA_MIN_LEAST}: no agreement goes lower"));
        }
        if !(1..=TTL_DAYS_MOST).contains(&row.ttl_days_max) {
            return refuse(format!("need ttl_days_max from 1 to {TTL_DAYS_MOST}"));
        }
        if !HOLDOUT_PPM.contains(&row.holdout_min_ppm) {
            let (least, most) = (HOLDOUT_PPM.start(), HOLDOUT_PPM.end());
            return refuse(format!("need holdout_min_ppm from {least} to {most}"));
        }
        if row.attempts_max == 0 || !(1..=WINDOW_DAYS_MOST).contains(&row.window_days) {
            return refuse(format!("need attempts_max above 0 and window_days from 1 to {WINDOW_DAYS_MOST}"));
        }
    }
    let rows = rows.into_iter().map(|row| {
        let terms = ActivationTerms {
            approvers: row.approve,
            audience_min: row.audience_min,
            audience_open_min: row.audience_open_min,
            delta_min: row.delta_min,
            ttl_days_max: row.ttl_days_max,
            holdout_min_ppm: row.holdout_min_ppm,
            attempts_max: row.attempts_max,
            window_days: row.window_days,
        };
        (row.contract, terms)
    });
    unique(ACTIVATION, rows)
}

fn channels(channels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, BundleRefused> {
    let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match channels.iter().find(|(id, text)| id.is_empty() || !id.chars().all(name) || text.is_empty()) {
        None => Ok(channels),
        Some((id, _)) => {
            let reason =
                format!("channel `{id}` needs a name of `a-z 0-9 -` and a text that says what it is");
            Err(BundleRefused::facts(ACTIVATION, reason))
        }
    }
}

/// A key stands for one party: with one key under two names, one person could approve for both.
fn approvers(rows: Vec<ApproverRow>) -> Result<Vec<Approver>, BundleRefused> {
    let mut found: Vec<Approver> = Vec::new();
    for row in rows {
        let refuse = |reason: &str| {
            Err(BundleRefused::facts(
                ACTIVATION,
                format!("approver `{}` of `{}` {reason}", row.name, row.party),
            ))
        };
        if row.name.is_empty() {
            return refuse("needs a name");
        }
        let mut key = [0; 32];
        if hex::decode_to_slice(&row.key, &mut key).is_err() {
            return refuse("needs an Ed25519 public key of 64 hexadecimal digits");
        }
        if found.iter().any(|other| other.key == key) {
            return refuse("has a key that is there twice: every approver has their own");
        }
        found.push(Approver { party: row.party, name: row.name, key });
    }
    Ok(found)
}

type Datasets = BTreeMap<ids::DatasetId, BTreeMap<String, BTreeMap<String, String>>>;

fn columns(file: ColumnsFile) -> Result<(BTreeSet<String>, Datasets), BundleRefused> {
    let levels: BTreeSet<String> = file.levels.into_keys().collect();
    for dataset in &file.dataset {
        for (table, columns) in &dataset.tables {
            if !columns.contains_key(ROWS) {
                let reason = format!("`{table}` has no \"{ROWS}\": say the level of having rows at all");
                return Err(BundleRefused::facts(COLUMNS, reason));
            }
            if let Some((column, level)) = columns.iter().find(|(_, level)| !levels.contains(*level)) {
                let reason = format!(
                    "`{table}.{column}` has the level `{level}`, which [levels] does not list: add it or use one of {}",
                    levels.iter().cloned().collect::<Vec<_>>().join(", ")
                );
                return Err(BundleRefused::facts(COLUMNS, reason));
            }
        }
    }
    Ok((levels, unique(COLUMNS, file.dataset.into_iter().map(|row| (row.id, row.tables)))?))
}

fn obligations(file: ObligationsFile) -> Result<BTreeMap<String, Obligation>, BundleRefused> {
    for row in &file.obligation {
        let refuse = |reason: &str| Err(BundleRefused::facts(OBLIGATIONS, format!("`{}` {reason}", row.id)));
        let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if row.id.is_empty() || !row.id.chars().all(name) {
            return refuse("is no name for an obligation: use `a-z 0-9 -`");
        }
        if row.text.is_empty() {
            return refuse("needs a text that says what it does");
        }
        if row.filters.iter().any(|f| f.values.is_some() == f.from.is_some()) {
            return refuse("has a filter that needs either `values` or `from`, and not both");
        }
        if row.filters.iter().any(|f| f.values.as_ref().is_some_and(BTreeSet::is_empty)) {
            return refuse("has a filter without values: it would never permit anything");
        }
    }
    unique(OBLIGATIONS, file.obligation.into_iter().map(|row| (row.id, Obligation { filters: row.filters })))
}

fn budgets(file: BudgetsFile) -> Result<Budgets, BundleRefused> {
    let refuse = |reason: String| Err(BundleRefused::facts(BUDGETS, reason));
    let (delta, delta_per_question) =
        (Delta::from_units(file.delta_e15), Delta::from_units(file.delta_per_question_e15));
    if delta == Delta::ZERO || delta.as_f64() > DELTA_MOST || delta_per_question > delta {
        return refuse(format!(
            "δ must be above 0 and at most {DELTA_MOST}, and a question's δ no more than that"
        ));
    }
    for row in &file.quota {
        let (quota, question) = (row.block_micro_epsilon, row.question_micro_epsilon);
        if quota == 0 || question == 0 || question > quota || quota > file.block_cap_micro_epsilon {
            return refuse(format!(
                "quota of `{}`: expected 0 < question_micro_epsilon ≤ block_micro_epsilon ≤ block_cap_micro_epsilon",
                row.party
            ));
        }
    }
    if file.default_micro_epsilon == 0 {
        return refuse("default_micro_epsilon must be above 0".to_owned());
    }
    let units = MicroEpsilon::from_units;
    let rows = file.quota.into_iter();
    let quotas =
        unique(BUDGETS, rows.map(|row| (row.party, (row.block_micro_epsilon, row.question_micro_epsilon))))?;
    Ok(Budgets {
        delta,
        delta_per_question,
        block_cap: units(file.block_cap_micro_epsilon),
        question_caps: quotas
            .iter()
            .map(|(party, (_, question))| (party.clone(), units(*question)))
            .collect(),
        quotas: quotas.into_iter().map(|(party, (quota, _))| (party, units(quota))).collect(),
        epsilon_default: units(file.default_micro_epsilon),
    })
}

/// Names that point from one file into another.
fn references(facts: &Facts) -> Result<(), BundleRefused> {
    let refuse = |file: &str, what: &str, name: &dyn Display, wanted: &str| {
        Err(BundleRefused::facts(
            file,
            format!("{what} `{name}` is not in {wanted}: add it there or remove it here"),
        ))
    };
    if let Some(party) = facts.budgets.quotas.keys().find(|party| !facts.parties.contains_key(*party)) {
        return refuse(BUDGETS, "party", party, PARTIES);
    }
    for contract in &facts.contracts {
        if let Some(dataset) = contract.datasets.iter().find(|d| !facts.datasets.contains_key(*d)) {
            return refuse(CONTRACTS, "dataset", dataset, COLUMNS);
        }
        for (party, scope) in &contract.binds {
            if !facts.parties.contains_key(party) {
                return refuse(CONTRACTS, "party", party, PARTIES);
            }
            if let Some(name) = scope.iter().flatten().find(|name| !facts.categories.contains_key(*name)) {
                return refuse(CONTRACTS, "category", name, CATEGORIES);
            }
        }
    }
    for filter in facts.obligations.values().flat_map(|obligation| &obligation.filters) {
        let FilterRow { dataset, table, column, .. } = filter;
        let there =
            facts.datasets.get(dataset).and_then(|tables| tables.get(table)).map(|c| c.contains_key(column));
        if there != Some(true) {
            return refuse(OBLIGATIONS, "column", &format!("{dataset}.{table}.{column}"), COLUMNS);
        }
    }
    activation_references(facts)?;
    supplier_references(facts)
}

/// Whoever approves is a party with lawyers, and the owner of the data is always among them.
fn activation_references(facts: &Facts) -> Result<(), BundleRefused> {
    let refuse = |reason: String| Err(BundleRefused::facts(ACTIVATION, reason));
    let legal = |party: &ids::PartyId| {
        facts.parties.get(party).is_some_and(|party| party.roles.contains(&identity::Role::Legal))
    };
    let needed = facts.contracts.iter().filter_map(|contract| contract.activation.as_ref());
    for terms in needed {
        if let Some(party) = terms.approvers.iter().find(|party| !legal(party)) {
            return refuse(format!("`{party}` approves but is no party with the role legal in {PARTIES}"));
        }
        let owns = |id: &ids::PartyId| facts.parties.get(id).is_some_and(|p| p.kind == PartyKind::Retailer);
        if !terms.approvers.iter().any(owns) {
            return refuse(
                "some terms let campaigns start without the retailer: add it to `approve`".to_owned(),
            );
        }
    }
    match facts.approvers.iter().find(|approver| !legal(&approver.party)) {
        Some(Approver { party, name, .. }) => refuse(format!(
            "approver `{name}` is of `{party}`, which is no party with the role legal in {PARTIES}"
        )),
        None => Ok(()),
    }
}

fn supplier_references(facts: &Facts) -> Result<(), BundleRefused> {
    let sellers: BTreeSet<&String> = facts.categories.values().flat_map(|c| &c.suppliers).collect();
    for party in facts.parties.values() {
        if let Some(name) = party.suppliers.iter().find(|name| !sellers.contains(name)) {
            let reason = format!("supplier `{name}` of `{}` sells in no category of {CATEGORIES}", party.id);
            return Err(BundleRefused::facts(PARTIES, reason));
        }
    }
    if let Some((brand, supplier)) = facts.brands.iter().find(|(_, supplier)| !sellers.contains(supplier)) {
        let reason = format!("supplier `{supplier}` of brand `{brand}` sells in no category of {CATEGORIES}");
        return Err(BundleRefused::facts(BRANDS, reason));
    }
    Ok(())
}
