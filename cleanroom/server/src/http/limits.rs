//! Limits around the guarded routes: how many at once, and how long each.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower::limit::GlobalConcurrencyLimitLayer;

use super::{Problem, Shared};
use crate::config::HttpConfig;

/// What is left for writing the answer after the engine's own deadline.
const GRACE: Duration = Duration::from_secs(5);

/// Wraps routes in the concurrency limit and, around it, the time limit: waiting for a place counts.
pub(super) fn around(routes: Router<Shared>, config: &HttpConfig) -> Router<Shared> {
    let longest = Duration::from_secs(config.request_seconds_max) + GRACE;
    routes
        .route_layer(GlobalConcurrencyLimitLayer::new(config.concurrent_requests_max))
        .route_layer(middleware::from_fn(move |request: Request, next: Next| in_time(longest, request, next)))
}

async fn in_time(longest: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(longest, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "the request took too long")
            .way_out("ask again with the same `Idempotency-Key`: what was charged is charged once")
            .into_response(),
    }
}
