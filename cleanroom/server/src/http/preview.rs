//! `POST /v1/queries:preview`: what a question would cost; reads no data, charges nothing.

use axum::Json as Answer;
use axum::extract::State;
use axum::routing::{MethodRouter, post};
use engine::Preview;

use super::body::Json;
use super::queries::QuestionBody;
use super::{Caller, Problem, Shared};
use crate::refusals::for_clients;

pub(super) fn route() -> MethodRouter<Shared> {
    post(preview)
}

async fn preview(
    State(service): State<Shared>,
    Caller(principal): Caller,
    Json(body): Json<QuestionBody>,
) -> Result<Answer<Preview>, Problem> {
    let question = body.into_question()?;
    let preview = service.app.room().preview(&principal, question).await;
    preview.map(Answer).map_err(|error| for_clients(&error))
}
