//! parse → resolve → gate: from text to a question that policy allows. Nothing here knows any data.

use identity::Principal;
use ids::{Digest, MicroEpsilon, Timestamp};
use policy::{Action, Bundle, Decision, Denied};

use super::{ParsedQuery, PermittedQuery, ResolvedQuery};
use crate::catalogue::Dataset;
use crate::error::QueryError;
use crate::question::{BOUNDS_MAX, Question};

/// What policy said.
#[derive(Debug)]
pub(crate) enum Gated {
    /// Yes.
    Permitted(Box<PermittedQuery>),
    /// No; the question is handed back for the log.
    Denied(Box<(ResolvedQuery, Denied)>),
}

impl ParsedQuery {
    /// SqlText ─parse→
    pub(crate) fn parse(question: Question) -> Result<Self, QueryError> {
        if question.bounds.len() > BOUNDS_MAX {
            return Err(QueryError::parameter(
                "parameter.bounds",
                format!("{} bounds are named but at most {BOUNDS_MAX} are read", question.bounds.len()),
            ));
        }
        let statement = sql::ParsedQuery::parse(&question.sql)?;
        Ok(Self { question, statement })
    }

    /// ─resolve→ against the catalogue. `epsilon_default` is the price when the question names none.
    pub(crate) fn resolve(
        self,
        dataset: &Dataset,
        principal: &Principal,
        epsilon_default: MicroEpsilon,
    ) -> Result<ResolvedQuery, QueryError> {
        let Self { question, statement } = self;
        let statement = statement.resolve(dataset.schema())?;
        let epsilon = question.epsilon.unwrap_or(epsilon_default);
        if epsilon == MicroEpsilon::ZERO {
            return Err(QueryError::parameter(
                "parameter.epsilon",
                "epsilon is 0: an answer costs at least 0.000001",
            ));
        }
        let fingerprint = fingerprint(&question, &statement, dataset, principal);
        Ok(ResolvedQuery {
            question,
            statement,
            dataset: dataset.clone(),
            principal: principal.clone(),
            epsilon,
            fingerprint,
        })
    }
}

/// The digest of the very question: what is asked, by which party, what for, at which price and with which bounds. Not
/// of the data it is asked about: asked again on a newer snapshot, it is the same question.
fn fingerprint(
    question: &Question,
    statement: &sql::ResolvedQuery,
    dataset: &Dataset,
    principal: &Principal,
) -> Digest {
    let price = question.epsilon.map_or_else(|| "default".to_owned(), |epsilon| epsilon.units().to_string());
    let groups = question.groups_max.map_or_else(|| "default".to_owned(), |groups| groups.to_string());
    let mut parts = vec![
        "cleanroom question 1",
        dataset.schema().dataset.as_str(),
        principal.party().as_str(),
        question.purpose.as_str(),
        statement.canonical(),
        &price,
        &groups,
    ];
    for (name, bound) in &question.bounds {
        parts.extend([name.as_str(), bound.as_str()]);
    }
    Digest::of_parts(&parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>())
}

impl ResolvedQuery {
    /// ─gate→ by the bundle, now.
    pub(crate) fn gate(self, bundle: &Bundle, action: Action, now: Timestamp) -> Gated {
        let read = self.statement.footprint();
        let request = policy::Request {
            principal: self.principal.clone(),
            action,
            dataset: self.dataset.schema().dataset.clone(),
            purpose: self.question.purpose.clone(),
            footprint: policy::Footprint {
                columns: read.columns.clone(),
                keys: read.keys.clone(),
                tables: read.tables.clone(),
            },
            epsilon: self.epsilon,
            campaign: None,
            fingerprint: self.fingerprint,
        };
        match bundle.decide(&request, now) {
            // INVARIANT (bound permit): a permit for another question is no permit.
            Decision::Permitted(permit) if permit.fingerprint() == self.fingerprint => {
                Gated::Permitted(Box::new(PermittedQuery { resolved: self, permit }))
            }
            Decision::Permitted(permit) => {
                let denied = Denied {
                    clauses: permit.clauses().to_vec(),
                    reason: "the permit is for another question".to_owned(),
                    nearest: None,
                };
                Gated::Denied(Box::new((self, denied)))
            }
            Decision::Denied(denied) => Gated::Denied(Box::new((self, denied))),
        }
    }
}
