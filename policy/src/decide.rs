//! One request, one answer. Every way out of this file but one is a denial.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{AuthorizationError, Authorizer, Decision as Verdict, PolicySet};
use ids::{ClauseId, DatasetId, MicroEpsilon, PartyId, Timestamp};

use crate::facts::{Asker, NoTerms, Party, Terms};
use crate::refusal::one_line;
use crate::request::ROWS;
use crate::vocabulary::{AUTHOR, Ask, CampaignWords, OWN};
use crate::{
    Action, ActivationTerms, BuiltIn, Bundle, CampaignAsk, Decision, Denied, Lang, Obligations, Permit,
    Request, RowFilter, nearest,
};

/// Columns named in a reason; more would bury the rule.
const NAMED_MAX: usize = 3;

/// A denial before anybody looked for the nearest allowed form.
#[derive(Debug)]
pub(crate) struct No {
    clauses: Vec<ClauseId>,
    reason: String,
}

impl No {
    fn built_in(clause: BuiltIn, detail: impl std::fmt::Display) -> Self {
        let reason = format!("{}: {} ({detail})", clause.id(), clause.text(Lang::En));
        Self { clauses: clause.clause().into_iter().collect(), reason }
    }

    fn with(mut self, more: impl IntoIterator<Item = ClauseId>) -> Self {
        self.clauses.extend(more);
        self
    }
}

/// What a set of rules says: the clauses that decided, or what failed.
#[derive(Debug)]
pub(crate) struct Said {
    pub allow: bool,
    pub clauses: BTreeSet<ClauseId>,
}

/// A campaign with what the contracts that bind it say.
#[derive(Debug)]
struct Matter<'a> {
    ask: &'a CampaignAsk,
    contracts: BTreeSet<String>,
    activation: Option<ActivationTerms>,
}

impl Matter<'_> {
    /// As the rules see it. Where no terms allow campaigns, every limit is out of reach.
    fn words(&self, request: &Request) -> CampaignWords<'_> {
        let Self { ask, activation, .. } = self;
        let principal = &request.principal;
        let own = *principal.party() == ask.owner;
        let author = own && *principal.subject() == ask.author;
        let relations = [(own, OWN), (author, AUTHOR)].into_iter().filter(|(is, _)| *is);
        let limits = activation.as_ref();
        CampaignWords {
            relations: relations.map(|(_, word)| word).collect(),
            channels: texts(&ask.channels),
            destinations: ask.destinations.iter().map(|class| class.name()).collect(),
            approvals: ask.approvals.iter().map(PartyId::as_str).collect(),
            approvals_needed: limits.iter().flat_map(|t| &t.approvers).map(PartyId::as_str).collect(),
            audience_size: ask.noisy_size.unwrap_or(0),
            audience_floor: limits.map_or(0, |terms| i64::from(terms.floor(&ask.destinations))),
            holdout_ppm: i64::from(ask.holdout_ppm),
            holdout_ppm_min: limits.map_or(i64::MAX, |terms| i64::from(terms.holdout_min_ppm)),
            ttl_days: i64::from(ask.ttl_days),
            ttl_days_max: limits.map_or(0, |terms| i64::from(terms.ttl_days_max)),
            attempts: i64::from(ask.attempts),
            attempts_max: limits.map_or(0, |terms| i64::from(terms.attempts_max)),
        }
    }

    /// The agreement's own numbers once more, whatever the rules forgot to say.
    fn limits(&self, action: Action) -> Result<(), No> {
        if !action.advances_campaign() {
            return Ok(());
        }
        let ask = self.ask;
        let Some(terms) = &self.activation else {
            let names = self.contracts.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(No::built_in(BuiltIn::NoActivation, format_args!("{names}")));
        };
        if action.addresses_shoppers() {
            let floor = terms.floor(&ask.destinations);
            if ask.noisy_size.is_none_or(|size| size < i64::from(floor)) {
                return Err(No::built_in(BuiltIn::AudienceFloor, format_args!("at least {floor}")));
            }
            if ask.holdout_ppm < terms.holdout_min_ppm {
                let detail = format_args!("{} of {} millionths", ask.holdout_ppm, terms.holdout_min_ppm);
                return Err(No::built_in(BuiltIn::HoldoutMin, detail));
            }
            if ask.ttl_days == 0 || ask.ttl_days > terms.ttl_days_max {
                let detail = format_args!("{} days, 1 to {} allowed", ask.ttl_days, terms.ttl_days_max);
                return Err(No::built_in(BuiltIn::TtlMax, detail));
            }
        }
        if action == Action::SubmitCampaign && ask.attempts > terms.attempts_max {
            let ActivationTerms { attempts_max, window_days, .. } = terms;
            let detail = format_args!("{} in {window_days} days, {attempts_max} allowed", ask.attempts);
            return Err(No::built_in(BuiltIn::AttemptsMax, detail));
        }
        match terms.approvers.iter().find(|party| !ask.approvals.contains(*party)) {
            Some(party) if action.needs_approvals() => {
                Err(No::built_in(BuiltIn::ApprovalMissing, format_args!("`{party}`")))
            }
            _ => Ok(()),
        }
    }
}

fn texts(names: &BTreeSet<String>) -> BTreeSet<&str> {
    names.iter().map(String::as_str).collect()
}

fn no_terms(none: &NoTerms, party: &PartyId, dataset: &DatasetId) -> No {
    match none {
        NoTerms::NoContract => No::built_in(BuiltIn::NoContract, format_args!("`{party}` on `{dataset}`")),
        NoTerms::NotInForce { contract, starts, ends } => {
            let detail = format_args!("`{contract}` runs from {starts} to {ends}");
            No::built_in(BuiltIn::ContractNotInForce, detail)
        }
    }
}

impl Bundle {
    /// Decides one request at the moment `now`.
    ///
    /// # Guarantee
    /// A [`Permit`] comes out only if Cedar says Allow *and* no rule failed, every name in the request is known to the
    /// facts, every contract between party and dataset is in force, no deciding clause has expired, the cost is above
    /// zero and within the party's cap, and the obligations leave rows to see. For a campaign, the contracts that bind it
    /// are in force too, and size, holdout, lifetime, attempts and approvals keep their terms. Everything else is a denial
    /// with at least one clause id.
    pub fn decide(&self, request: &Request, now: Timestamp) -> Decision {
        match self.judge(request, now) {
            Ok(permit) => Decision::Permitted(permit),
            Err(No { mut clauses, reason }) => {
                clauses.sort();
                clauses.dedup();
                Decision::Denied(Denied { clauses, reason, nearest: nearest::find(self, request, now) })
            }
        }
    }

    pub(crate) fn judge(&self, request: &Request, now: Timestamp) -> Result<Permit, No> {
        let (party, terms) = self.asker(request, now)?;
        let asker = Asker { party, dataset: &request.dataset, terms: &terms };
        let cap = self.facts.budgets.question_caps.get(&party.id).copied().unwrap_or(MicroEpsilon::ZERO);
        if request.action.is_question() {
            self.question(request)?;
        }
        let matter = self.matter(request, now)?;
        let ask = self.ask(request, &terms, matter.as_ref(), cap)?;
        let clauses = self.allowing(request, ask)?;
        if request.epsilon > cap {
            let detail = format_args!("ε {} asked, {cap} allowed for `{}`", request.epsilon, party.id);
            return Err(No::built_in(BuiltIn::EpsilonCap, detail));
        }
        if let Some(matter) = &matter {
            matter.limits(request.action)?;
        }
        self.in_force(&clauses, now)?;
        let activation = match matter {
            Some(matter) => matter.activation,
            None => terms.activation.clone(),
        };
        let obligations = Obligations { activation, ..self.obligations(&clauses, &asker, cap)? };
        Ok(Permit {
            fingerprint: request.fingerprint,
            bundle: self.digest(),
            facts: self.facts_digest(),
            action: request.action,
            party: party.id.clone(),
            dataset: request.dataset.clone(),
            purpose: request.purpose.clone(),
            decided_at: now,
            clauses: clauses.into_iter().collect(),
            obligations: Box::new(obligations),
        })
    }

    /// Who asks, in which role, for what, on which dataset, under which contracts: all known and in force.
    fn asker(&self, request: &Request, now: Timestamp) -> Result<(&Party, Terms), No> {
        let Request { principal, dataset, purpose, .. } = request;
        let Some(party) = self.facts.parties.get(principal.party()) else {
            return Err(No::built_in(BuiltIn::UnknownParty, format_args!("`{}`", principal.party())));
        };
        if !party.roles.contains(&principal.role()) {
            let detail = format_args!("`{}` has no {}", party.id, principal.role());
            return Err(No::built_in(BuiltIn::UnknownRole, detail));
        }
        if !self.facts.datasets.contains_key(dataset) {
            return Err(No::built_in(BuiltIn::UnknownDataset, format_args!("`{dataset}`")));
        }
        if !self.facts.purposes.contains_key(purpose) {
            return Err(No::built_in(BuiltIn::UnknownPurpose, format_args!("`{purpose}`")));
        }
        let terms = self.facts.terms(&party.id, dataset, now.date());
        terms.map(|terms| (party, terms)).map_err(|none| no_terms(&none, &party.id, dataset))
    }

    /// The campaign the request is about, under the contracts that bind it.
    fn matter<'a>(&self, request: &'a Request, now: Timestamp) -> Result<Option<Matter<'a>>, No> {
        let Request { action, dataset, .. } = request;
        let ask = match (&request.campaign, action.is_about_campaign()) {
            (None, false) => return Ok(None),
            (Some(ask), true) => ask,
            (None, true) | (Some(_), false) => {
                return Err(No::built_in(BuiltIn::NoCampaign, format_args!("{action}")));
            }
        };
        if !self.facts.parties.contains_key(&ask.owner) {
            return Err(No::built_in(BuiltIn::UnknownParty, format_args!("`{}`", ask.owner)));
        }
        if !action.advances_campaign() {
            let party = (!ask.joint).then_some(&ask.owner);
            let contracts = self.facts.contracts_of(party, dataset);
            return Ok(Some(Matter { ask, contracts, activation: None }));
        }
        if ask.channels.is_empty() || ask.destinations.is_empty() {
            return Err(No::built_in(BuiltIn::NoCampaign, "no channel or no destination named"));
        }
        if let Some(channel) = ask.channels.iter().find(|channel| !self.facts.channels.contains_key(*channel))
        {
            return Err(No::built_in(BuiltIn::UnknownChannel, format_args!("`{channel}`")));
        }
        let no = |none: NoTerms| no_terms(&none, &ask.owner, dataset);
        let mut terms = self.facts.terms(&ask.owner, dataset, now.date()).map_err(no)?;
        if ask.joint {
            terms = terms.and(self.facts.joint_terms(dataset, now.date()).map_err(no)?);
        }
        Ok(Some(Matter { ask, contracts: terms.contracts, activation: terms.activation }))
    }

    /// What every question needs.
    fn question(&self, request: &Request) -> Result<(), No> {
        let party = request.principal.party();
        if !self.facts.budgets.quotas.contains_key(party) {
            return Err(No::built_in(BuiltIn::NoQuota, format_args!("`{party}`")));
        }
        if request.footprint.all_tables().is_empty() {
            return Err(No::built_in(BuiltIn::EmptyFootprint, "no table named"));
        }
        if request.epsilon == MicroEpsilon::ZERO {
            return Err(No::built_in(BuiltIn::EpsilonZero, "ε 0 asked"));
        }
        Ok(())
    }

    /// The request as the rules see it.
    fn ask<'a>(
        &'a self,
        request: &'a Request,
        terms: &'a Terms,
        matter: Option<&'a Matter<'a>>,
        cap: MicroEpsilon,
    ) -> Result<Ask<'a>, No> {
        let levels = self.levels(request)?;
        let footprint = &request.footprint;
        // A number beyond i64 is far beyond every cap; the largest i64 is, too.
        let whole = |epsilon: MicroEpsilon| i64::try_from(epsilon.units()).unwrap_or(i64::MAX);
        Ok(Ask {
            purpose: request.purpose.as_str(),
            keys: footprint.keys.iter().filter_map(|column| levels.get(column).copied()).collect(),
            levels: levels.into_values().collect(),
            tables: footprint.all_tables(),
            epsilon_micro: whole(request.epsilon),
            epsilon_micro_max: whole(cap),
            cohort_min: i64::from(terms.floor.cohort_min),
            obligations: BTreeSet::new(),
            contracts: texts(matter.map_or(&terms.contracts, |matter| &matter.contracts)),
            campaign: matter.map(|matter| matter.words(request)).unwrap_or_default(),
        })
    }

    /// The level of everything that is read; a table or column without one is a denial.
    fn levels(&self, request: &Request) -> Result<BTreeMap<(String, String), &str>, No> {
        let Request { dataset, footprint, .. } = request;
        let Some(tables) = self.facts.datasets.get(dataset) else {
            return Err(No::built_in(BuiltIn::UnknownDataset, format_args!("`{dataset}`")));
        };
        if let Some(table) = footprint.all_tables().into_iter().find(|table| !tables.contains_key(*table)) {
            return Err(No::built_in(BuiltIn::UnknownTable, format_args!("`{table}`")));
        }
        let mut levels = BTreeMap::new();
        for (table, column) in footprint.reads() {
            let Some(level) = tables.get(&table).and_then(|columns| columns.get(&column)) else {
                return Err(No::built_in(BuiltIn::UnknownColumn, format_args!("`{table}.{column}`")));
            };
            levels.insert((table, column), level.as_str());
        }
        Ok(levels)
    }

    /// The clauses that allow the request, when none forbids it and none fails.
    ///
    /// First the permits alone say which obligations would come along; then everything is evaluated with those in the
    /// context, so that a clause can forbid what comes without them.
    fn allowing<'a>(&'a self, request: &Request, mut ask: Ask<'a>) -> Result<BTreeSet<ClauseId>, No> {
        let permits = self.evaluate(&self.rules.permits, request, &ask)?;
        // Where nothing permits, a missing obligation is not the reason: show the clauses that forbid anyway.
        let none = permits.clauses.is_empty();
        let all = self.facts.obligations.keys().map(String::as_str);
        ask.obligations = if none { all.collect() } else { self.obligations_of(&permits.clauses) };
        let said = self.evaluate(&self.rules.all, request, &ask)?;
        match (said.allow, said.clauses.is_empty()) {
            (true, false) if said.clauses == permits.clauses => Ok(said.clauses),
            (true, _) => Err(No::built_in(BuiltIn::PolicyError, "the rules do not agree with themselves")),
            (false, true) => {
                let (party, role) = (request.principal.party(), request.principal.role());
                let Request { action, dataset, purpose, .. } = request;
                let detail = format_args!("{action} on `{dataset}` by {role} of `{party}` for `{purpose}`");
                Err(No::built_in(BuiltIn::DefaultDeny, detail))
            }
            (false, false) => Err(self.forbidden(&said.clauses, request)),
        }
    }

    /// Asks Cedar. Any error of any rule is a denial, whatever the other rules say.
    pub(crate) fn evaluate(&self, rules: &PolicySet, request: &Request, ask: &Ask<'_>) -> Result<Said, No> {
        let failed = |reason: &dyn std::fmt::Display| {
            No::built_in(BuiltIn::PolicyError, one_line(&reason.to_string()))
        };
        let Request { principal, action, dataset, .. } = request;
        let cedar = self
            .cedar_request(principal.party(), principal.role(), *action, dataset, ask)
            .map_err(|error| failed(&error))?;
        let response = Authorizer::new().is_authorized(&cedar, rules, &self.entities);
        let diagnostics = response.diagnostics();
        let clause_of = |id: &cedar_policy::PolicyId| AsRef::<str>::as_ref(id).parse::<ClauseId>();
        if let Some(error) = diagnostics.errors().next() {
            let AuthorizationError::PolicyEvaluationError(rule) = error;
            return Err(failed(error).with(clause_of(rule.policy_id())));
        }
        let clauses: Result<BTreeSet<ClauseId>, _> = diagnostics.reason().map(clause_of).collect();
        let clauses = clauses.map_err(|error| failed(&error))?;
        Ok(Said { allow: response.decision() == Verdict::Allow, clauses })
    }

    fn obligations_of(&self, clauses: &BTreeSet<ClauseId>) -> BTreeSet<&str> {
        let found = clauses.iter().filter_map(|id| self.rules.clauses.get(id));
        found.flat_map(|clause| &clause.obligations).map(String::as_str).collect()
    }

    /// The words of the clauses that forbid, and the columns they are about.
    fn forbidden(&self, clauses: &BTreeSet<ClauseId>, request: &Request) -> No {
        let tables = self.facts.datasets.get(&request.dataset);
        let level = |(table, column): &(String, String)| tables?.get(table)?.get(column);
        let reads = request.footprint.reads();
        let reasons: Vec<String> = clauses
            .iter()
            .filter_map(|id| self.rules.clauses.get(id))
            .map(|clause| {
                let about =
                    |read: &&(String, String)| level(read).is_some_and(|l| clause.constants.contains(l));
                let named = reads.iter().filter(|(_, column)| column != ROWS).filter(about).take(NAMED_MAX);
                let named: Vec<String> = named.map(|(table, column)| format!("`{table}.{column}`")).collect();
                let open = if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) };
                format!("{}: {}{open}", clause.id, clause.text(Lang::En))
            })
            .collect();
        No { clauses: clauses.iter().cloned().collect(), reason: reasons.join("; ") }
    }

    fn in_force(&self, clauses: &BTreeSet<ClauseId>, now: Timestamp) -> Result<(), No> {
        let found = clauses.iter().filter_map(|id| self.rules.clauses.get(id));
        match found.into_iter().find(|clause| clause.expires < now.date()) {
            None => Ok(()),
            Some(clause) => {
                let detail = format_args!("`{}` expired after {}", clause.id, clause.expires);
                Err(No::built_in(BuiltIn::ClauseExpired, detail).with([clause.id.clone()]))
            }
        }
    }

    fn obligations(
        &self,
        clauses: &BTreeSet<ClauseId>,
        asker: &Asker<'_>,
        cap: MicroEpsilon,
    ) -> Result<Obligations, No> {
        let mut filters: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for name in self.obligations_of(clauses) {
            let Some(obligation) = self.facts.obligations.get(name) else {
                return Err(No::built_in(BuiltIn::PolicyError, format_args!("unknown obligation `{name}`")));
            };
            for RowFilter { table, column, allowed } in self.facts.filters(obligation, asker) {
                filters
                    .entry((table, column))
                    .and_modify(|so_far| so_far.retain(|v| allowed.contains(v)))
                    .or_insert(allowed);
            }
        }
        if let Some((table, column)) =
            filters.iter().find(|(_, allowed)| allowed.is_empty()).map(|(place, _)| place)
        {
            let detail =
                format_args!("no value of `{table}.{column}` is in the scope of `{}`", asker.party.id);
            return Err(No::built_in(BuiltIn::EmptyScope, detail));
        }
        let filter = |((table, column), allowed)| RowFilter { table, column, allowed };
        Ok(Obligations {
            row_filters: filters.into_iter().map(filter).collect(),
            cohort_min: asker.terms.floor.cohort_min,
            epsilon_max: cap,
            delta: self.facts.budgets.delta,
            delta_per_question: self.facts.budgets.delta_per_question,
            lookback_days: asker.terms.floor.lookback_days,
            lag_days: asker.terms.floor.lag_days,
            activation: None,
        })
    }
}

impl Bundle {
    /// What the contracts that bind a campaign demand of it, where they allow one.
    pub(crate) fn activation_terms(&self, request: &Request, now: Timestamp) -> Option<ActivationTerms> {
        self.matter(request, now).ok()??.activation
    }

    /// Whether the policies, without the promises, keep every promise for this request.
    ///
    /// # Errors
    /// The promise that only the promise itself would have kept.
    pub(crate) fn keeps_promises(&self, request: &Request, now: Timestamp) -> Result<(), String> {
        let Ok((_, terms)) = self.asker(request, now) else { return Ok(()) };
        let cap = self.facts.budgets.question_caps.get(request.principal.party()).copied();
        let cap = cap.unwrap_or(MicroEpsilon::ZERO);
        let Ok(matter) = self.matter(request, now) else { return Ok(()) };
        let Ok(mut ask) = self.ask(request, &terms, matter.as_ref(), cap) else { return Ok(()) };
        let broken = |no: No| no.reason;
        let permits = self.evaluate(&self.rules.permits, request, &ask).map_err(broken)?;
        ask.obligations = self.obligations_of(&permits.clauses);
        if !self.evaluate(&self.rules.policies, request, &ask).map_err(broken)?.allow {
            return Ok(());
        }
        let promises = self.evaluate(&self.rules.promises, request, &ask).map_err(broken)?;
        match promises.clauses.first() {
            None => Ok(()),
            Some(promise) => Err(format!("the policies alone break the promise {promise}")),
        }
    }
}
