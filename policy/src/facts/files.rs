//! The facts files as they are written. Every field is named here; a field that is not is a refusal.

use std::collections::{BTreeMap, BTreeSet};

use identity::Role;
use ids::{DatasetId, Date, PartyId, PurposeId};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::refusal::{BundleRefused, line_at};

/// What kind of participant a party is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartyKind {
    /// Owns the data.
    Retailer,
    /// Shares the joint venture.
    Partner,
    /// Sells through the retailer.
    Supplier,
    /// Supervises.
    Authority,
}

impl PartyKind {
    /// The name in facts and rules.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retailer => "retailer",
            Self::Partner => "partner",
            Self::Supplier => "supplier",
            Self::Authority => "authority",
        }
    }
}

/// `facts/parties.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartiesFile {
    pub party: Vec<PartyRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartyRow {
    pub id: PartyId,
    pub name: String,
    pub kind: PartyKind,
    pub roles: BTreeSet<Role>,
    /// Values of the supplier column that are this party or belong to it.
    #[serde(default)]
    pub suppliers: BTreeSet<String>,
}

/// `facts/brands.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BrandsFile {
    pub brand: Vec<BrandRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BrandRow {
    pub name: String,
    pub supplier: String,
}

/// `facts/categories.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CategoriesFile {
    pub category: Vec<CategoryRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CategoryRow {
    pub name: String,
    pub department: String,
    /// Who sells in it, as the agreement's annex says; never taken from data.
    pub suppliers: BTreeSet<String>,
    /// Alcohol, tobacco, baby food and the like: in nobody's scope but the retailer's.
    pub sensitive: bool,
}

/// `facts/contracts.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContractsFile {
    pub contract: Vec<ContractRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContractRow {
    pub id: String,
    pub title: String,
    pub datasets: BTreeSet<DatasetId>,
    /// First day in force.
    pub starts: Date,
    /// Last day in force.
    pub ends: Date,
    pub binds: Vec<BindRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BindRow {
    pub party: PartyId,
    /// Categories the party may see under this contract. Either this or `every_category = true`: leaving it out must
    /// not open everything.
    pub categories: Option<BTreeSet<String>>,
    #[serde(default)]
    pub every_category: bool,
}

/// `facts/floors.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FloorsFile {
    pub floor: Vec<FloorRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FloorRow {
    pub contract: String,
    pub cohort_min: u32,
    /// Fewest suppliers other than the one that asks, for a category to be shown as a whole.
    pub other_suppliers_min: u32,
    pub lookback_days: Option<u32>,
    pub lag_days: u32,
}

/// `facts/budgets.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BudgetsFile {
    /// δ in units of 10⁻¹⁵.
    pub delta_e15: u64,
    pub delta_per_question_e15: u64,
    pub block_cap_micro_epsilon: u64,
    pub default_micro_epsilon: u64,
    pub quota: Vec<QuotaRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuotaRow {
    pub party: PartyId,
    pub block_micro_epsilon: u64,
    pub question_micro_epsilon: u64,
}

/// `facts/purposes.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurposesFile {
    pub purpose: Vec<PurposeRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurposeRow {
    pub id: PurposeId,
    pub text: String,
}

/// `facts/columns.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ColumnsFile {
    /// The closed list of levels and what each means.
    pub levels: BTreeMap<String, String>,
    pub dataset: Vec<DatasetRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatasetRow {
    pub id: DatasetId,
    /// table → column → level
    pub tables: BTreeMap<String, BTreeMap<String, String>>,
}

/// `facts/obligations.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObligationsFile {
    pub obligation: Vec<ObligationRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObligationRow {
    pub id: String,
    pub text: String,
    pub filters: Vec<FilterRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterRow {
    pub dataset: DatasetId,
    pub table: String,
    pub column: String,
    /// Exactly one of `values` and `from`.
    pub values: Option<BTreeSet<String>>,
    pub from: Option<ValuesFrom>,
}

/// `facts/activation.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActivationFile {
    /// The closed list of channels and what each means.
    pub channels: BTreeMap<String, String>,
    pub terms: Vec<TermsRow>,
    pub approver: Vec<ApproverRow>,
}

/// What one contract says about campaigns. A contract without a row allows none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TermsRow {
    pub contract: String,
    /// Parties that must sign a campaign before it starts.
    pub approve: BTreeSet<PartyId>,
    pub audience_min: u32,
    pub audience_open_min: u32,
    pub delta_min: u32,
    pub ttl_days_max: u32,
    pub holdout_min_ppm: u32,
    pub attempts_max: u32,
    pub window_days: u32,
}

/// A key with which a party's people sign campaigns.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApproverRow {
    pub party: PartyId,
    /// Whose key it is, for people.
    pub name: String,
    /// Ed25519 public key, 64 hexadecimal digits.
    pub key: String,
}

/// Values that facts give for the party that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ValuesFrom {
    /// The party's names in the supplier column.
    OwnSuppliers,
    /// The brands of those suppliers.
    OwnBrands,
    /// The categories of its scope that are not sensitive.
    OwnCategories,
    /// Those of its categories in which enough other suppliers sell.
    MarketCategories,
}

/// Reads one facts file.
pub(crate) fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, BundleRefused> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        BundleRefused::malformed(file, line, error.message())
    })
}
