//! Problem details (RFC 9457): what a client is told when a request does not succeed.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::failure::{Failure, Outcome};

/// One problem: a status, a stable code, and a text that never depends on rows.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// URI reference that names the kind of problem; the same information as `code`.
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    /// Stable name of the problem, for programs.
    code: String,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    way_out: Option<String>,
    /// Further members, such as the denying clauses or the place in the SQL.
    #[serde(flatten, skip_serializing_if = "serde_json::Map::is_empty")]
    more: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A problem with its status, stable code, and what is wrong.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{code}"),
            title: status.canonical_reason().unwrap_or("Problem").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            way_out: None,
            more: serde_json::Map::new(),
        }
    }

    /// Adds what the client can do.
    #[must_use]
    pub fn way_out(mut self, advice: impl Into<String>) -> Self {
        self.way_out = Some(advice.into());
        self
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What anything unforeseen becomes: nothing of the cause is told.
    pub fn unexpected() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "unexpected", "unexpected error")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<&Failure> for Problem {
    /// Only for failures of the request itself; everything that may know about files or rows becomes `unexpected`.
    fn from(failure: &Failure) -> Self {
        match failure.outcome() {
            Outcome::Failed => Self::unexpected(),
            Outcome::Usage => Self::new(StatusCode::BAD_REQUEST, failure.code(), failure.to_string()),
            Outcome::Denied => Self::new(StatusCode::FORBIDDEN, failure.code(), failure.to_string()),
            Outcome::Exhausted => Self::new(StatusCode::CONFLICT, failure.code(), failure.to_string()),
        }
    }
}
