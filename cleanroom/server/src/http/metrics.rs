//! `GET /metrics`: counters in Prometheus' text format. None depends on rows: no sizes, no durations, no memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

use super::Shared;

/// What has been counted since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    questions: Mutex<BTreeMap<&'static str, u64>>,
}

impl Metrics {
    /// A question ended with this stable code.
    pub fn question(&self, code: &'static str) {
        if let Ok(mut questions) = self.questions.lock() {
            *questions.entry(code).or_default() += 1;
        }
    }

    fn request(&self, endpoint: &str, status: u16) {
        if let Ok(mut requests) = self.requests.lock() {
            *requests.entry((endpoint.to_owned(), status)).or_default() += 1;
        }
    }

    /// The counters as text.
    pub fn text(&self) -> String {
        let mut text = String::from(
            "# HELP cleanroom_http_requests_total Requests by endpoint and status.\n\
             # TYPE cleanroom_http_requests_total counter\n",
        );
        if let Ok(requests) = self.requests.lock() {
            for ((endpoint, status), count) in requests.iter() {
                let _ = writeln!(
                    text,
                    "cleanroom_http_requests_total{{endpoint=\"{endpoint}\",status=\"{status}\"}} {count}"
                );
            }
        }
        text.push_str(
            "# HELP cleanroom_questions_total Questions by how they ended (stable codes).\n\
             # TYPE cleanroom_questions_total counter\n",
        );
        if let Ok(questions) = self.questions.lock() {
            for (code, count) in questions.iter() {
                let _ = writeln!(text, "cleanroom_questions_total{{code=\"{code}\"}} {count}");
            }
        }
        text
    }
}

pub(super) fn route() -> MethodRouter<Shared> {
    get(metrics)
}

async fn metrics(State(service): State<Shared>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, service.metrics.text()).into_response()
}

/// Counts every request by its route, never by the path that was sent.
pub(super) async fn count(State(service): State<Shared>, request: Request, next: Next) -> Response {
    let endpoint = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    service.metrics.request(&endpoint, response.status().as_u16());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_by_code_and_route() {
        let metrics = Metrics::default();
        metrics.question("released");
        metrics.question("released");
        metrics.request("/v1/queries", 200);
        let text = metrics.text();
        assert!(text.contains("cleanroom_questions_total{code=\"released\"} 2\n"), "{text}");
        assert!(text.contains("{endpoint=\"/v1/queries\",status=\"200\"} 1\n"), "{text}");
    }
}
