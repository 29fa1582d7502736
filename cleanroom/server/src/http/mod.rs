//! The HTTP API: one file per endpoint, one table of problems, one extractor that hands out the principal.
//!
//! Nothing here knows a rule: handlers translate between JSON and the engine. What a client is told never depends on rows:
//! no counts, no sizes, no messages of the database, and every unforeseen failure reads `unexpected error`.

mod auth;
mod body;
mod budget;
mod catalogue;
mod health;
mod limits;
mod metrics;
mod openapi;
mod preview;
mod problem;
mod queries;
mod releases;
mod serve;
mod subjects;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;

pub use auth::Caller;
pub use metrics::Metrics;
pub use openapi::DOCUMENT as OPENAPI;
pub use problem::Problem;
pub(crate) use queries::epsilon_of;
pub(crate) use serve::told_to_stop;
pub use serve::{Listening, listen, must_be_loopback};

use crate::app::App;

/// What every handler may use.
#[derive(Debug)]
pub struct Service {
    app: Arc<App>,
    metrics: Metrics,
    draining: AtomicBool,
}

/// Shared by all requests.
pub type Shared = Arc<Service>;

impl Service {
    /// A service over an opened home.
    pub fn new(app: Arc<App>) -> Shared {
        Arc::new(Self { app, metrics: Metrics::default(), draining: AtomicBool::new(false) })
    }
}

/// One route of the API.
pub struct Route {
    /// Lower-case method, as OpenAPI writes it.
    pub method: &'static str,
    /// Path, with parameters in braces.
    pub path: &'static str,
    /// Whether it needs a bearer token.
    pub guarded: bool,
    handler: MethodRouter<Shared>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Every route there is; the router is made of exactly these.
pub fn routes() -> Vec<Route> {
    let route = |method, path, guarded, handler| Route { method, path, guarded, handler };
    vec![
        route("post", "/v1/queries", true, queries::route()),
        route("post", "/v1/queries:preview", true, preview::route()),
        route("get", "/v1/releases/{release_id}", true, releases::route()),
        route("get", "/v1/budget", true, budget::route()),
        route("get", "/v1/catalogue", true, catalogue::route()),
        route("post", "/v1/subjects:export", true, subjects::export_route()),
        route("post", "/v1/subjects:erase", true, subjects::erase_route()),
        route("get", "/healthz", false, health::live()),
        route("get", "/readyz", false, health::ready()),
        route("get", "/metrics", false, metrics::route()),
        route("get", "/openapi.json", false, openapi::route()),
    ]
}

/// The app as a service: routes, limits, and problems for everything that is not found.
pub fn router(service: &Shared) -> Router {
    let config = service.app.config();
    let (mut guarded, mut open) = (Router::new(), Router::new());
    for route in routes() {
        if route.guarded {
            guarded = guarded.route(route.path, route.handler);
        } else {
            open = open.route(route.path, route.handler);
        }
    }
    let guarded =
        guarded.route_layer(axum::middleware::from_fn_with_state(Arc::clone(service), unless_closed));
    let guarded = limits::around(guarded, &config.http);
    guarded
        .merge(open)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(service), metrics::count))
        .fallback(|uri: Uri| async move {
            Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at `{}`", uri.path()))
                .way_out("`/openapi.json` lists what there is")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this method is not served here",
            )
            .way_out("`/openapi.json` lists what there is")
        })
        .layer(DefaultBodyLimit::max(config.http.body_bytes_max))
        .with_state(Arc::clone(service))
}

/// A process whose memory holds more than the vault does answers nothing; see [`App::change_vault`].
async fn unless_closed(State(service): State<Shared>, request: Request, next: Next) -> Response {
    if service.app.is_closed() {
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "restart_needed",
            "the data changed and could not be taken into memory: this process answers no more until it is started again",
        )
        .into_response();
    }
    next.run(request).await
}
