//! What is true about the world of one agreement: parties, brands, categories, contracts, floors, budgets, columns.
//!
//! Facts come from the bundle only, never from data and never from the analyst. Everything is cross-checked at load: a
//! name that refers to nothing is a refusal.

mod check;
mod files;

use std::collections::{BTreeMap, BTreeSet};

use identity::Role;
use ids::{DatasetId, Date, Delta, MicroEpsilon, PartyId, PurposeId};

use crate::RowFilter;
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
}

/// What the contracts between one party and one dataset say together on one day.
#[derive(Debug)]
pub(crate) struct Terms {
    pub floor: Floor,
    /// Categories in scope; `None` = every one.
    categories: Option<BTreeSet<String>>,
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
            if today < contract.starts || today > contract.ends {
                let (starts, ends) = (contract.starts, contract.ends);
                return Err(NoTerms::NotInForce { contract: contract.id.clone(), starts, ends });
            }
            let here = Terms { floor: contract.floor, categories: scope.clone() };
            terms = Some(match terms {
                None => here,
                Some(so_far) => so_far.and(here),
            });
        }
        terms.ok_or(NoTerms::NoContract)
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
    fn and(self, other: Self) -> Self {
        let categories = match (self.categories, other.categories) {
            (Some(a), Some(b)) => Some(a.intersection(&b).cloned().collect()),
            (a, b) => a.or(b),
        };
        Self { floor: self.floor.stricter(other.floor), categories }
    }
}

/// Who asks about what, under which terms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub party: &'a Party,
    pub dataset: &'a DatasetId,
    pub terms: &'a Terms,
}
