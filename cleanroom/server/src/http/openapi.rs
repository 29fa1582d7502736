//! `GET /openapi.json`: the description of this API.

use axum::http::header;
use axum::routing::{MethodRouter, get};

use super::Shared;

/// The document, written by hand; a test compares it with the routes.
pub const DOCUMENT: &str = include_str!("openapi.json");

pub(super) fn route() -> MethodRouter<Shared> {
    get(|| async { ([(header::CONTENT_TYPE, "application/json")], DOCUMENT) })
}
