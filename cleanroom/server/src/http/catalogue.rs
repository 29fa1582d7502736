//! `GET /v1/catalogue?purpose=…`: tables, columns, domains and bounds; no counts.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get};
use ids::PurposeId;
use serde::Deserialize;

use super::{Caller, Problem, Shared};
use crate::catalogue::CatalogueView;
use crate::refusals::for_clients;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    purpose: PurposeId,
}

pub(super) fn route() -> MethodRouter<Shared> {
    get(catalogue)
}

async fn catalogue(
    State(service): State<Shared>,
    Caller(principal): Caller,
    parameters: Result<Query<Parameters>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<CatalogueView>, Problem> {
    let Query(parameters) = parameters.map_err(|why| {
        Problem::new(StatusCode::BAD_REQUEST, "parameter.purpose", why.body_text())
            .way_out("say what the look is for: `/v1/catalogue?purpose=measurement`")
    })?;
    // The look is put on record, which waits for the disk.
    let work = tokio::task::spawn_blocking(move || service.app.catalogue(&principal, &parameters.purpose));
    let view = work.await.map_err(|_| Problem::unexpected())?;
    view.map(Json).map_err(|error| for_clients(&error))
}
