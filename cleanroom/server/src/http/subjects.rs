//! `POST /v1/subjects:export` and `POST /v1/subjects:erase`: the rights of one shopper.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, post};
use ids::PurposeId;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::body::Json;
use super::{Caller, Problem, Shared};
use crate::app::App;
use crate::cli::signed_record;
use crate::failure::Failure;

/// Which shopper, and what for. It comes in the body, because paths are written into access logs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectBody {
    card: String,
    purpose: PurposeId,
}

pub(super) fn export_route() -> MethodRouter<Shared> {
    post(export)
}

pub(super) fn erase_route() -> MethodRouter<Shared> {
    post(erase)
}

async fn export(
    State(service): State<Shared>,
    Caller(principal): Caller,
    Json(body): Json<SubjectBody>,
) -> Result<Response, Problem> {
    let exported =
        done(service, body, move |app, purpose, card| app.export_subject(&principal, purpose, card)).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"subject.json\""),
    ];
    Ok((StatusCode::OK, headers, exported.text.as_str().to_owned()).into_response())
}

async fn erase(
    State(service): State<Shared>,
    Caller(principal): Caller,
    Json(body): Json<SubjectBody>,
) -> Result<Response, Problem> {
    let erased =
        done(service, body, move |app, purpose, card| app.erase_subject(&principal, purpose, card)).await?;
    Ok(axum::Json(signed_record(&erased)).into_response())
}

/// Does it on a thread that may wait for the disk, and to its end, even if the client goes away.
async fn done<T: Send + 'static>(
    service: Shared,
    body: SubjectBody,
    act: impl FnOnce(&App, &PurposeId, &str) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Problem> {
    let work = tokio::task::spawn_blocking(move || {
        let card = Zeroizing::new(body.card);
        act(&service.app, &body.purpose, &card)
    });
    match work.await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(failure)) => Err(Problem::from(&failure)),
        Err(_) => Err(Problem::unexpected()),
    }
}
