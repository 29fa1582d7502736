//! `GET /healthz` (the process runs) and `GET /readyz` (it takes questions).

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get};

use super::{Problem, Shared};

pub(super) fn live() -> MethodRouter<Shared> {
    get(|| async { "ok\n" })
}

pub(super) fn ready() -> MethodRouter<Shared> {
    get(readiness)
}

async fn readiness(State(service): State<Shared>) -> Result<&'static str, Problem> {
    if service.draining.load(Ordering::Acquire) {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "the service is shutting down",
        ));
    }
    Ok("ready\n")
}
