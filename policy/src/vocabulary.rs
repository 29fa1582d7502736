//! How facts and a request look to Cedar: entities, context, and which names and texts can occur at all.
//!
//! | entity | parents | from |
//! |---|---|---|
//! | `Person::"brand-nord/analyst"` | its party and its role | parties |
//! | `Role::"supplier-analyst"` | | kind of party and role |
//! | `Party::"brand-nord"` | its contracts | parties, contracts |
//! | `Dataset::"loyalty"` | its contracts | columns, contracts |
//! | `Contract::"jv-north"` | | contracts |

use std::collections::{BTreeSet, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression, Schema,
};
use identity::Role;
use ids::PartyId;

use crate::facts::{Facts, PartyKind};
use crate::{Action, DestinationClass};

/// Something did not fit Cedar's types; the message is Cedar's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misfit(String);

impl Misfit {
    fn of(error: &impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

const KINDS: [PartyKind; 4] =
    [PartyKind::Retailer, PartyKind::Partner, PartyKind::Supplier, PartyKind::Authority];

/// Everything a rule may compare, as the request and the facts give it.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub purpose: &'a str,
    pub levels: BTreeSet<&'a str>,
    pub keys: BTreeSet<&'a str>,
    pub tables: BTreeSet<&'a str>,
    pub epsilon_micro: i64,
    pub epsilon_micro_max: i64,
    pub cohort_min: i64,
    pub obligations: BTreeSet<&'a str>,
    /// Of the campaign, or of whoever asks where there is none.
    pub contracts: BTreeSet<&'a str>,
    pub campaign: CampaignWords<'a>,
}

/// The part about a campaign. Without one it is empty and every limit is out of reach.
#[derive(Debug, Default)]
pub(crate) struct CampaignWords<'a> {
    pub relations: BTreeSet<&'static str>,
    pub channels: BTreeSet<&'a str>,
    pub destinations: BTreeSet<&'a str>,
    pub approvals: BTreeSet<&'a str>,
    pub approvals_needed: BTreeSet<&'a str>,
    pub audience_size: i64,
    pub audience_floor: i64,
    pub holdout_ppm: i64,
    pub holdout_ppm_min: i64,
    pub ttl_days: i64,
    pub ttl_days_max: i64,
    pub attempts: i64,
    pub attempts_max: i64,
}

/// The asker's party owns the campaign.
pub(crate) const OWN: &str = "own";
/// The asker wrote the campaign.
pub(crate) const AUTHOR: &str = "author";

impl Ask<'_> {
    pub(crate) fn context(&self) -> Result<Context, Misfit> {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let set = |texts: &BTreeSet<&str>| RestrictedExpression::new_set(texts.iter().map(|t| text(t)));
        let long = RestrictedExpression::new_long;
        let campaign = &self.campaign;
        let pairs = [
            ("purpose", text(self.purpose)),
            ("levels", set(&self.levels)),
            ("keys", set(&self.keys)),
            ("tables", set(&self.tables)),
            ("epsilonMicro", long(self.epsilon_micro)),
            ("epsilonMicroMax", long(self.epsilon_micro_max)),
            ("cohortMin", long(self.cohort_min)),
            ("obligations", set(&self.obligations)),
            ("contracts", set(&self.contracts)),
            ("relations", RestrictedExpression::new_set(campaign.relations.iter().map(|t| text(t)))),
            ("channels", set(&campaign.channels)),
            ("destinations", set(&campaign.destinations)),
            ("approvals", set(&campaign.approvals)),
            ("approvalsNeeded", set(&campaign.approvals_needed)),
            ("audienceSize", long(campaign.audience_size)),
            ("audienceFloor", long(campaign.audience_floor)),
            ("holdoutPpm", long(campaign.holdout_ppm)),
            ("holdoutPpmMin", long(campaign.holdout_ppm_min)),
            ("ttlDays", long(campaign.ttl_days)),
            ("ttlDaysMax", long(campaign.ttl_days_max)),
            ("attempts", long(campaign.attempts)),
            ("attemptsMax", long(campaign.attempts_max)),
        ];
        Context::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value))).map_err(|e| Misfit::of(&e))
    }
}

/// Whether a text can occur in an attribute of the context.
pub(crate) fn can_occur(facts: &Facts, attribute: &str, text: &str) -> bool {
    match attribute {
        "purpose" => facts.purposes.keys().any(|purpose| purpose.as_str() == text),
        "levels" | "keys" => facts.levels.contains(text),
        "tables" => facts.datasets.values().any(|tables| tables.contains_key(text)),
        "obligations" => facts.obligations.contains_key(text),
        "contracts" => facts.contracts.iter().any(|contract| contract.id == text),
        "relations" => [OWN, AUTHOR].contains(&text),
        "channels" => facts.channels.contains_key(text),
        "destinations" => DestinationClass::ALL.iter().any(|class| class.name() == text),
        "approvals" | "approvalsNeeded" => facts.parties.keys().any(|party| party.as_str() == text),
        _ => false,
    }
}

/// Whether an entity exists.
pub(crate) fn exists(facts: &Facts, kind: &str, id: &str) -> bool {
    match kind {
        "Action" => Action::ALL.iter().any(|action| action.cedar_name() == id),
        "Party" => facts.parties.keys().any(|party| party.as_str() == id),
        "Dataset" => facts.datasets.keys().any(|dataset| dataset.as_str() == id),
        "Contract" => facts.contracts.iter().any(|contract| contract.id == id),
        "Role" => KINDS.iter().any(|kind| Role::ALL.iter().any(|role| role_id(*kind, *role) == id)),
        _ => false,
    }
}

fn role_id(kind: PartyKind, role: Role) -> String {
    format!("{}-{}", kind.name(), role.as_str())
}

pub(crate) fn person(party: &PartyId, role: Role) -> Result<EntityUid, Misfit> {
    uid("Person", &format!("{party}/{}", role.as_str()))
}

pub(crate) fn uid(kind: &str, id: &str) -> Result<EntityUid, Misfit> {
    let kind: EntityTypeName = kind.parse().map_err(|error| Misfit::of(&error))?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

/// All entities, checked against the schema.
pub(crate) fn entities(facts: &Facts, schema: &Schema) -> Result<Entities, Misfit> {
    let mut all = Vec::new();
    for contract in &facts.contracts {
        all.push(entity("Contract", &contract.id, HashSet::new())?);
    }
    for kind in KINDS {
        for role in Role::ALL {
            all.push(entity("Role", &role_id(kind, role), HashSet::new())?);
        }
    }
    for dataset in facts.datasets.keys() {
        let contracts = facts.contracts.iter().filter(|contract| contract.datasets.contains(dataset));
        all.push(entity("Dataset", dataset.as_str(), uids(contracts.map(|contract| contract.id.as_str()))?)?);
    }
    for party in facts.parties.values() {
        let contracts = facts.contracts.iter().filter(|contract| contract.binds.contains_key(&party.id));
        all.push(entity("Party", party.id.as_str(), uids(contracts.map(|contract| contract.id.as_str()))?)?);
        for &role in &party.roles {
            let parents = [uid("Party", party.id.as_str())?, uid("Role", &role_id(party.kind, role))?];
            all.push(Entity::new_no_attrs(person(&party.id, role)?, parents.into()));
        }
    }
    Entities::from_entities(all, Some(schema)).map_err(|error| Misfit::of(&error))
}

fn uids<'a>(contracts: impl Iterator<Item = &'a str>) -> Result<HashSet<EntityUid>, Misfit> {
    contracts.map(|id| uid("Contract", id)).collect()
}

fn entity(kind: &str, id: &str, parents: HashSet<EntityUid>) -> Result<Entity, Misfit> {
    Ok(Entity::new_no_attrs(uid(kind, id)?, parents))
}
