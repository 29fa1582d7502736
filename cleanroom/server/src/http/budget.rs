//! `GET /v1/budget`: what the caller's party has left.

use axum::Json;
use axum::extract::State;
use axum::routing::{MethodRouter, get};
use engine::BudgetStatement;

use super::{Caller, Problem, Shared};
use crate::refusals::for_clients;

pub(super) fn route() -> MethodRouter<Shared> {
    get(budget)
}

async fn budget(
    State(service): State<Shared>,
    Caller(principal): Caller,
) -> Result<Json<BudgetStatement>, Problem> {
    service.app.room().budget(&principal).await.map(Json).map_err(|error| for_clients(&error))
}
