//! `GET /v1/releases/{release_id}`: an answer of the caller's party, again and free.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get};
use engine::Release;
use ids::ReleaseId;

use super::{Caller, Problem, Shared};
use crate::refusals::for_clients;

pub(super) fn route() -> MethodRouter<Shared> {
    get(release)
}

async fn release(
    State(service): State<Shared>,
    Caller(principal): Caller,
    Path(release_id): Path<String>,
) -> Result<Json<Release>, Problem> {
    let id: ReleaseId = release_id.parse().map_err(|why: ids::NameRefused| {
        Problem::new(StatusCode::NOT_FOUND, "no-such-release", why.to_string())
    })?;
    service.app.room().release(&principal, &id).await.map(Json).map_err(|error| for_clients(&error))
}
