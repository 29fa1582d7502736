//! Request bodies: JSON, of the announced type, within the size limit, without unknown members.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::{Problem, Shared};

/// A body that was read and understood as a whole.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Shared) -> Result<Self, Problem> {
        if !announces_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media_type",
                "the body must be JSON",
            )
            .way_out("send `Content-Type: application/json`"));
        }
        let bytes =
            Bytes::from_request(request, service).await.map_err(|rejection| unreadable(&rejection))?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Self(value)),
            Err(why) => {
                Err(Problem::new(StatusCode::BAD_REQUEST, "body", format!("the body is refused: {why}"))
                    .way_out("`/openapi.json` describes it"))
            }
        }
    }
}

fn announces_json(headers: &HeaderMap) -> bool {
    let announced =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = announced.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn unreadable(rejection: &BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "the body is larger than this service reads",
        ),
        _ => Problem::new(StatusCode::BAD_REQUEST, "body", "the body could not be read to its end"),
    }
}
