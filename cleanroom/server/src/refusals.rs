//! One table from what the rooms refuse to what a person reads, how the process ends and what an HTTP client gets.

use axum::http::StatusCode;
use engine::QueryError;

use crate::failure::{Failure, Outcome, chain};
use crate::http::Problem;

/// The row of the table for one error of the pipeline.
struct Verdict {
    outcome: Outcome,
    status: StatusCode,
    what: &'static str,
    way_out: Option<String>,
}

fn verdict(error: &QueryError) -> Verdict {
    let row = |outcome, status, what, way_out: Option<&str>| Verdict {
        outcome,
        status,
        what,
        way_out: way_out.map(str::to_owned),
    };
    match error {
        QueryError::Refused(refusal) => Verdict {
            way_out: refusal.nearest.clone(),
            ..row(Outcome::Usage, StatusCode::UNPROCESSABLE_ENTITY, "the statement is refused", None)
        },
        QueryError::Parameter(_) => row(
            Outcome::Usage,
            StatusCode::UNPROCESSABLE_ENTITY,
            "a parameter of the question is refused",
            None,
        ),
        QueryError::Denied(denial) => Verdict {
            way_out: denial.nearest.clone(),
            ..row(Outcome::Denied, StatusCode::FORBIDDEN, "the agreement does not allow this question", None)
        },
        QueryError::Exhausted(exhaustion) => {
            row(Outcome::Exhausted, StatusCode::CONFLICT, "the budget is exhausted", Some(exhaustion.way_out))
        }
        QueryError::Conflict { .. } => row(
            Outcome::Usage,
            StatusCode::UNPROCESSABLE_ENTITY,
            "the request id belongs to another question",
            Some("use a new request id"),
        ),
        QueryError::Failed { .. } => row(
            Outcome::Failed,
            StatusCode::INTERNAL_SERVER_ERROR,
            "the question could not be answered",
            Some("ask again with the same request id: that costs nothing"),
        ),
        QueryError::NoSuchRelease(_) => row(
            Outcome::Failed,
            StatusCode::NOT_FOUND,
            "there is no such release",
            Some("take the `release_id` of an answer that was given to this party"),
        ),
        QueryError::Unavailable { .. } => row(
            Outcome::Failed,
            StatusCode::SERVICE_UNAVAILABLE,
            "the clean room cannot answer now",
            Some("ask again later with the same request id; `cleanroom doctor` says what is wrong"),
        ),
    }
}

/// An error of the pipeline for the command line.
pub(crate) fn for_people(error: &QueryError) -> Failure {
    let verdict = verdict(error);
    let failure = match error {
        QueryError::Refused(refusal) => {
            let failure = Failure::new(verdict.outcome, error.code(), verdict.what, &refusal.reason);
            if refusal.line == 0 {
                failure
            } else {
                failure.at(format!("line {}, column {}: `{}`", refusal.line, refusal.column, refusal.excerpt))
            }
        }
        QueryError::Denied(denial) => {
            let clauses: Vec<&str> = denial.clauses.iter().map(ids::ClauseId::as_str).collect();
            Failure::new(verdict.outcome, error.code(), verdict.what, &denial.reason).at(format!(
                "clause {} (log entry {})",
                clauses.join(", "),
                denial.log_index
            ))
        }
        QueryError::Exhausted(exhaustion) => {
            let why = format!("it costs ε {} and {} is left", exhaustion.asked, exhaustion.left);
            Failure::new(verdict.outcome, error.code(), verdict.what, why)
                .at(format!("block {}", exhaustion.block))
        }
        QueryError::Parameter(_)
        | QueryError::Conflict { .. }
        | QueryError::Failed { .. }
        | QueryError::NoSuchRelease(_)
        | QueryError::Unavailable { .. } => Failure::new(verdict.outcome, error.code(), verdict.what, error),
    };
    match verdict.way_out {
        Some(advice) => failure.way_out(advice),
        None => failure,
    }
}

/// An error of the pipeline for an HTTP client.
pub(crate) fn for_clients(error: &QueryError) -> Problem {
    let verdict = verdict(error);
    let problem = Problem::new(verdict.status, error.code(), error.to_string());
    let problem = match error {
        QueryError::Refused(refusal) => problem
            .with("line", refusal.line)
            .with("column", refusal.column)
            .with("excerpt", refusal.excerpt.as_str()),
        QueryError::Denied(denial) => {
            let clauses: Vec<&str> = denial.clauses.iter().map(ids::ClauseId::as_str).collect();
            problem.with("clauses", clauses).with("log_index", denial.log_index)
        }
        QueryError::Exhausted(exhaustion) => problem
            .with("block", exhaustion.block.as_str())
            .with("epsilon_asked", exhaustion.asked.as_f64())
            .with("epsilon_left", exhaustion.left.as_f64()),
        QueryError::Failed { request_id } | QueryError::Conflict { request_id } => {
            problem.with("request_id", request_id.as_str())
        }
        QueryError::Parameter(_) | QueryError::NoSuchRelease(_) | QueryError::Unavailable { .. } => problem,
    };
    match verdict.way_out {
        Some(advice) => problem.way_out(advice),
        None => problem,
    }
}

/// Anything else that goes wrong on this machine, with its causes.
pub(crate) fn broken(code: &str, what: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::failed(code, what, chain(error))
}
