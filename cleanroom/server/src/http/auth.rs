//! Authorization is the extractor that hands out the principal: a handler that takes no [`Caller`] has nobody to act for.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use identity::Principal;

use super::{Problem, Shared};

/// The verified caller.
#[derive(Debug, Clone)]
pub struct Caller(pub Principal);

impl FromRequestParts<Shared> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Shared) -> Result<Self, Problem> {
        let missing = |detail: &str| {
            Problem::new(StatusCode::UNAUTHORIZED, "token_missing", detail)
                .way_out("send `Authorization: Bearer …` once; `cleanroom token` makes a token")
        };
        let mut headers = parts.headers.get_all(header::AUTHORIZATION).iter();
        let first = headers.next().ok_or_else(|| missing("the request carries no token"))?;
        if headers.next().is_some() {
            return Err(missing("the request carries more than one `Authorization` header"));
        }
        let text = first.to_str().map_err(|_| missing("the `Authorization` header is not ASCII"))?;
        let token = match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Err(missing("the `Authorization` header is not a bearer token")),
        };
        match service.app.verify(token) {
            Ok(principal) => Ok(Self(principal)),
            Err(refused) => Err(Problem::new(StatusCode::UNAUTHORIZED, refused.code(), refused.to_string())),
        }
    }
}
