//! What is true about the world of one agreement: parties, brands, categories, contracts, floors, budgets, columns.
//!
//! Facts come from the bundle only, never from data and never from the analyst. Everything is cross-checked at load: a
//! name that refers to nothing is a refusal.

mod check;
mod files;

use std::collections::{BTreeMap, BTreeSet};

use identity::Role;
use ids::{DatasetId, Date, Delta, MicroEpsilon, PartyId, PurposeId};
use serde::Serialize;

use crate::{DestinationClass, RowFilter};
pub use files::PartyKind;
use files::{FilterRow, ValuesFrom};

pub(crate) use check::{FILES, load};
pub(crate) use files::parse;

/// Sizes of the privacy budget, as the agreement grants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// The agreement's δ, at which every ε is meant.
    pub delta: Delta,
    /// The most δ one question may spend on choosing private keys.
    pub delta_per_question: Delta,
    /// The global cap of every block (data period of a dataset) over all parties together.
    pub block_cap: MicroEpsilon,
    /// Each party's share of every block; a party without one may not ask.
    pub quotas: BTreeMap<PartyId, MicroEpsilon>,
    /// The most that one question of a party may cost.
    pub question_caps: BTreeMap<PartyId, MicroEpsilon>,
    /// What a question costs when its asker does not say.
    pub epsilon_default: MicroEpsilon,
}

/// A participant of the agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// Its id in tokens, the ledger and the log.
    pub id: PartyId,
    /// Its legal name, for people.
    pub name: String,
    /// What kind of participant it is.
    pub kind: PartyKind,
    /// The roles its people may have.
    pub roles: BTreeSet<Role>,
    /// The values of the supplier column that are this party.
    pub suppliers: BTreeSet<String>,
}

/// What data may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// Its id in requests and consents.
    pub id: PurposeId,
    /// What it means, for people.
    pub text: String,
}

#[derive(Debug)]
pub(crate) struct Category {
    pub suppliers: BTreeSet<String>,
    pub sensitive: bool,
}

#[derive(Debug)]
pub(crate) struct Contract {
    pub id: String,
    pub datasets: BTreeSet<DatasetId>,
    pub starts: Date,
    pub ends: Date,
    /// Party → its categories; `None` = every one.
    pub binds: BTreeMap<PartyId, Option<BTreeSet<String>>>,
    pub floor: Floor,
    /// `None` = no campaigns under this contract.
    pub activation: Option<ActivationTerms>,
}

/// What an agreement demands of campaigns and of the audiences they send: a part of the permit's obligations. Several
/// contracts add up; the strictest value of each counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActivationTerms {
    /// Parties whose signature a campaign needs before it starts.
    pub approvers: BTreeSet<PartyId>,
    /// Fewest shoppers of an audience with scoped pseudonyms, compared with the noisy size.
    pub audience_min: u32,
    /// Fewest shoppers where identifiers can be joined.
    pub audience_open_min: u32,
    /// Fewest shoppers by which two audiences of one owner, or an audience before and after a tick, may differ.
    pub delta_min: u32,
    /// Most days that a member stays at a destination.
    pub ttl_days_max: u32,
    /// Smallest share of households held out, in millionths.
    pub holdout_min_ppm: u32,
    /// Most campaigns of one owner inside the window.
    pub attempts_max: u32,
    /// Days of the window.
    pub window_days: u32,
}

impl ActivationTerms {
    /// The smallest noisy size for destinations of these classes.
    pub fn floor(&self, destinations: &BTreeSet<DestinationClass>) -> u32 {
        if destinations.contains(&DestinationClass::Open) {
            self.audience_open_min
        } else {
            self.audience_min
        }
    }

    fn stricter(self, other: &Self) -> Self {
        Self {
            approvers: self.approvers.union(&other.approvers).cloned().collect(),
            audience_min: self.audience_min.max(other.audience_min),
            audience_open_min: self.audience_open_min.max(other.audience_open_min),
            delta_min: self.delta_min.max(other.delta_min),
            ttl_days_max: self.ttl_days_max.min(other.ttl_days_max),
            holdout_min_ppm: self.holdout_min_ppm.max(other.holdout_min_ppm),
            attempts_max: self.attempts_max.min(other.attempts_max),
            window_days: self.window_days.max(other.window_days),
        }
    }
}

/// A key with which somebody of a party approves campaigns. It stands in the facts, so that nobody can add one without
/// changing the agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    /// The party it speaks for.
    pub party: PartyId,
    /// Whose key it is, for people.
    pub name: String,
    /// Ed25519 public key.
    pub key: [u8; 32],
}

impl Contract {
    /// What it says on one day to somebody with these categories in scope.
    fn on(&self, today: Date, categories: Option<BTreeSet<String>>) -> Result<Terms, NoTerms> {
        let (starts, ends) = (self.starts, self.ends);
        if today < starts || today > ends {
            return Err(NoTerms::NotInForce { contract: self.id.clone(), starts, ends });
        }
        let contracts = [self.id.clone()].into();
        Ok(Terms { floor: self.floor, categories, contracts, activation: self.activation.clone() })
    }
}

/// Limits of one contract, or the strictest of several.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Floor {
    pub cohort_min: u32,
    pub other_suppliers_min: u32,
    pub lookback_days: Option<u32>,
    pub lag_days: u32,
}

impl Floor {
    fn stricter(self, other: Self) -> Self {
        Self {
            cohort_min: self.cohort_min.max(other.cohort_min),
            other_suppliers_min: self.other_suppliers_min.max(other.other_suppliers_min),
            lookback_days: match (self.lookback_days, other.lookback_days) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            lag_days: self.lag_days.max(other.lag_days),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Obligation {
    pub filters: Vec<FilterRow>,
}

/// All facts of a bundle, cross-checked.
#[derive(Debug)]
pub(crate) struct Facts {
    pub parties: BTreeMap<PartyId, Party>,
    pub purposes: BTreeMap<PurposeId, Purpose>,
    /// Brand → supplier.
    pub brands: BTreeMap<String, String>,
    pub categories: BTreeMap<String, Category>,
    pub contracts: Vec<Contract>,
    pub levels: BTreeSet<String>,
    pub datasets: BTreeMap<DatasetId, BTreeMap<String, BTreeMap<String, String>>>,
    pub obligations: BTreeMap<String, Obligation>,
    pub budgets: Budgets,
    /// Channel → what it means.
    pub channels: BTreeMap<String, String>,
    pub approvers: Vec<Approver>,
}

/// What the contracts between one party and one dataset say together on one day.
#[derive(Debug)]
pub(crate) struct Terms {
    pub floor: Floor,
    /// Categories in scope; `None` = every one.
    categories: Option<BTreeSet<String>>,
    /// The contracts that say it.
    pub contracts: BTreeSet<String>,
    /// `None` where one of them allows no campaigns.
    pub activation: Option<ActivationTerms>,
}

/// Why there are no terms.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoTerms {
    /// No contract binds the party to the dataset.
    NoContract,
    /// There is one, but it is not in force on the day.
    NotInForce { contract: String, starts: Date, ends: Date },
}

impl Facts {
    /// The strictest reading of all contracts that bind `party` to `dataset`; each of them must be in force.
    pub(crate) fn terms(&self, party: &PartyId, dataset: &DatasetId, today: Date) -> Result<Terms, NoTerms> {
        let mut terms: Option<Terms> = None;
        for contract in &self.contracts {
            let Some(scope) = contract.binds.get(party) else { continue };
            if !contract.datasets.contains(dataset) {
                continue;
            }
            let here = contract.on(today, scope.clone())?;
            terms = Some(match terms {
                None => here,
                Some(so_far) => so_far.and(here),
            });
        }
        terms.ok_or(NoTerms::NoContract)
    }

    /// The strictest reading of all contracts that cover `dataset`, whomever they bind; each of them must be in force.
    pub(crate) fn joint_terms(&self, dataset: &DatasetId, today: Date) -> Result<Terms, NoTerms> {
        let covering = self.contracts.iter().filter(|contract| contract.datasets.contains(dataset));
        let mut terms: Option<Terms> = None;
        for contract in covering {
            let here = contract.on(today, None)?;
            terms = Some(match terms {
                None => here,
                Some(so_far) => so_far.and(here),
            });
        }
        terms.ok_or(NoTerms::NoContract)
    }

    /// The contracts that bind `party` to `dataset`, or all that cover it, in force or not.
    pub(crate) fn contracts_of(&self, party: Option<&PartyId>, dataset: &DatasetId) -> BTreeSet<String> {
        let binding = |contract: &&Contract| {
            contract.datasets.contains(dataset)
                && party.is_none_or(|party| contract.binds.contains_key(party))
        };
        self.contracts.iter().filter(binding).map(|contract| contract.id.clone()).collect()
    }

    /// The row filters of an obligation for one party on one dataset; a filter with no allowed value stays in the list,
    /// and makes the permit impossible.
    pub(crate) fn filters(&self, obligation: &Obligation, ask: &Asker<'_>) -> Vec<RowFilter> {
        let here = obligation.filters.iter().filter(|f| f.dataset == *ask.dataset);
        here.map(|f| RowFilter {
            table: f.table.clone(),
            column: f.column.clone(),
            allowed: self.values(f, ask),
        })
        .collect()
    }

    fn values(&self, filter: &FilterRow, ask: &Asker<'_>) -> BTreeSet<String> {
        match (&filter.values, filter.from) {
            (Some(values), None) => values.clone(),
            (None, Some(ValuesFrom::OwnSuppliers)) => ask.party.suppliers.clone(),
            (None, Some(ValuesFrom::OwnBrands)) => self.brands_of(ask.party),
            (None, Some(ValuesFrom::OwnCategories)) => self.categories_of(ask, 0),
            (None, Some(ValuesFrom::MarketCategories)) => {
                self.categories_of(ask, ask.terms.floor.other_suppliers_min)
            }
            // Refused at load; an empty set denies.
            (Some(_), Some(_)) | (None, None) => BTreeSet::new(),
        }
    }

    fn brands_of(&self, party: &Party) -> BTreeSet<String> {
        let own = self.brands.iter().filter(|(_, supplier)| party.suppliers.contains(*supplier));
        own.map(|(brand, _)| brand.clone()).collect()
    }

    /// Categories in scope that are not sensitive and in which at least `others_min` suppliers sell besides the asker.
    fn categories_of(&self, ask: &Asker<'_>, others_min: u32) -> BTreeSet<String> {
        let in_scope = |name: &String| ask.terms.categories.as_ref().is_none_or(|scope| scope.contains(name));
        let others = |category: &Category| category.suppliers.difference(&ask.party.suppliers).count();
        let fits = |category: &Category| !category.sensitive && others(category) >= others_min as usize;
        let found = self.categories.iter().filter(|(name, category)| in_scope(name) && fits(category));
        found.map(|(name, _)| name.clone()).collect()
    }
}

impl Terms {
    /// The strictest reading of both.
    pub(crate) fn and(self, other: Self) -> Self {
        let categories = match (self.categories, other.categories) {
            (Some(a), Some(b)) => Some(a.intersection(&b).cloned().collect()),
            (a, b) => a.or(b),
        };
        let activation = match (self.activation, &other.activation) {
            (Some(a), Some(b)) => Some(a.stricter(b)),
            (_, _) => None,
        };
        let contracts = self.contracts.into_iter().chain(other.contracts).collect();
        Self { floor: self.floor.stricter(other.floor), categories, contracts, activation }
    }
}

/// Who asks about what, under which terms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub party: &'a Party,
    pub dataset: &'a DatasetId,
    pub terms: &'a Terms,
}
