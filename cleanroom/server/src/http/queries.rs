//! `POST /v1/queries`: ask a question.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use engine::Question;
use ids::{MicroEpsilon, PurposeId, RequestId};
use serde::Deserialize;

use super::body::Json;
use super::{Caller, Problem, Shared};
use crate::refusals::for_clients;

/// The header that carries the idempotency key (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The body of a question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuestionBody {
    sql: String,
    purpose: PurposeId,
    #[serde(default)]
    epsilon: Option<f64>,
    #[serde(default)]
    bounds: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    groups_max: Option<u32>,
}

pub(super) fn route() -> MethodRouter<Shared> {
    post(ask)
}

async fn ask(
    State(service): State<Shared>,
    Caller(principal): Caller,
    headers: HeaderMap,
    Json(body): Json<QuestionBody>,
) -> Result<Response, Problem> {
    let mut question = body.into_question()?;
    question.request_id = request_id(&headers)?;
    // A client that goes away must not stop the work between the charge and the release.
    let work = {
        let service = service.clone();
        tokio::spawn(async move { service.app.room().ask(&principal, question).await })
    };
    let answer = work.await.map_err(|_| Problem::unexpected())?;
    service.metrics.question(answer.as_ref().map_or_else(engine::QueryError::code, |_| "released"));
    let release = answer.map_err(|error| for_clients(&error))?;
    let place = HeaderValue::from_str(&format!("/v1/releases/{}", release.release_id))
        .map_err(|_| Problem::unexpected())?;
    Ok((StatusCode::OK, [(header::CONTENT_LOCATION, place)], axum::Json(release)).into_response())
}

impl QuestionBody {
    /// The question, with ε as whole millionths, rounded down: never more than the asker was willing to spend.
    #[expect(clippy::result_large_err, reason = "one problem per request, moved once")]
    pub(super) fn into_question(self) -> Result<Question, Problem> {
        let Self { sql, purpose, epsilon, bounds, groups_max } = self;
        let epsilon = match epsilon {
            None => None,
            Some(value) => Some(epsilon_of(value).ok_or_else(|| {
                Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "parameter.epsilon",
                    "`epsilon` must be a positive number",
                )
                .way_out("leave it out to ask at the agreement's default price")
            })?),
        };
        Ok(Question { epsilon, bounds, groups_max, ..Question::new(sql, purpose) })
    }
}

/// ε in whole millionths, rounded down; `None` unless positive and countable.
pub(crate) fn epsilon_of(value: f64) -> Option<MicroEpsilon> {
    // The tiny step undoes the binary rounding of decimals such as 0.3, which would lose a millionth.
    let units = (value * MicroEpsilon::ONE + 1e-6).floor();
    (value.is_finite() && (1.0..9.0e15).contains(&units)).then(|| MicroEpsilon::from_units(units as u64))
}

#[expect(clippy::result_large_err, reason = "one problem per request, moved once")]
fn request_id(headers: &HeaderMap) -> Result<Option<RequestId>, Problem> {
    let refused = |detail: String| {
        Problem::new(StatusCode::BAD_REQUEST, "idempotency_key", detail)
            .way_out("send one `Idempotency-Key` of 1 to 96 letters, digits, `-` or `_`")
    };
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refused("there is more than one `Idempotency-Key`".to_owned()));
    }
    let text = first.to_str().map_err(|_| refused("the `Idempotency-Key` is not ASCII".to_owned()))?;
    // The draft writes the key as a quoted string; most clients send it bare.
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    bare.parse().map(Some).map_err(|why: ids::NameRefused| refused(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epsilon_is_rounded_down_but_not_by_binary_fractions() {
        assert_eq!(epsilon_of(0.3), Some(MicroEpsilon::from_units(300_000)));
        assert_eq!(epsilon_of(0.000_001_9), Some(MicroEpsilon::from_units(1)));
        for refused in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-9] {
            assert_eq!(epsilon_of(refused), None, "{refused}");
        }
    }

    #[test]
    fn idempotency_keys_are_names_bare_or_quoted() {
        let with = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static(value));
            }
            request_id(&headers).map_err(|problem| problem.code().to_owned())
        };
        assert_eq!(with(&[]), Ok(None));
        assert_eq!(with(&["a-1"]), Ok(Some("a-1".parse().unwrap())));
        assert_eq!(with(&["\"a-1\""]), Ok(Some("a-1".parse().unwrap())));
        for bad in [&["a b"][..], &[""], &["a", "b"]] {
            assert_eq!(with(bad), Err("idempotency_key".to_owned()), "{bad:?}");
        }
    }
}
