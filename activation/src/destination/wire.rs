//! `audience.v1` as it is on the wire, and its way to and from our types.
//!
//! Every message is taken apart whole, so that a new field cannot be ignored. Nothing that came from a peer is printed.

use std::fmt;

use ids::Timestamp;

use super::{Answer, Reason, Rejection, Verdict};
use crate::batch::{Batch, Header, Lane, MEMBERS_MAX, Op, Place};

#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, reason = "generated code")]
mod generated {
    tonic::include_proto!("audience.v1");
}

pub use generated::{
    Answer as WireAnswer, Op as WireOp, Reason as WireReason, Rejection as WireRejection, State as WireState,
    StatusRequest, SubmitRequest, audiences_client, audiences_server,
};

impl fmt::Debug for SubmitRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubmitRequest({} tokens, redacted)", self.tokens.len())
    }
}

/// What was submitted is no batch. Deliberately no more than which field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a batch: field `{0}` is not as `audience.v1` says")]
pub struct NotABatch(pub &'static str);

impl From<&Batch> for SubmitRequest {
    fn from(batch: &Batch) -> Self {
        let Batch { header: Header { id, place, count: _ }, members } = batch;
        let Place { lane, epoch, op, seq, part, expires } = place;
        let op = match op {
            Op::Add => WireOp::Add,
            Op::Remove => WireOp::Remove,
        };
        Self {
            batch_id: id.to_string(),
            destination: lane.destination.to_string(),
            audience: lane.audience.to_string(),
            epoch: *epoch,
            op: op.into(),
            seq: *seq,
            part: *part,
            expires_ms: expires.map_or(0, Timestamp::as_millis),
            tokens: members.iter().map(|token| token.expose().to_owned()).collect(),
        }
    }
}

impl TryFrom<SubmitRequest> for Batch {
    type Error = NotABatch;

    fn try_from(request: SubmitRequest) -> Result<Self, NotABatch> {
        let SubmitRequest { batch_id, destination, audience, epoch, op, seq, part, expires_ms, tokens } =
            request;
        let op = match WireOp::try_from(op) {
            Ok(WireOp::Add) => Op::Add,
            Ok(WireOp::Remove) => Op::Remove,
            Ok(WireOp::Unspecified) | Err(_) => return Err(NotABatch("op")),
        };
        let expires = match (op, expires_ms) {
            (Op::Add, 1..) => Some(Timestamp::from_millis(expires_ms)),
            (Op::Remove, 0) => None,
            _ => return Err(NotABatch("expires_ms")),
        };
        let lane = Lane {
            destination: destination.parse().map_err(|_| NotABatch("destination"))?,
            audience: audience.parse().map_err(|_| NotABatch("audience"))?,
        };
        let count = u32::try_from(tokens.len()).map_err(|_| NotABatch("tokens"))?;
        if tokens.is_empty() || tokens.len() > MEMBERS_MAX {
            return Err(NotABatch("tokens"));
        }
        if seq == 0 {
            return Err(NotABatch("seq"));
        }
        let members = tokens.iter().map(|token| token.parse());
        let members = members.collect::<Result<Vec<_>, _>>().map_err(|_| NotABatch("tokens"))?;
        let id = batch_id.parse().map_err(|_| NotABatch("batch_id"))?;
        let place = Place { lane, epoch, op, seq, part, expires };
        Ok(Self { header: Header { id, place, count }, members })
    }
}

impl From<Reason> for WireReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Malformed => Self::Malformed,
            Reason::Blocked => Self::Blocked,
            Reason::TooLarge => Self::TooLarge,
            Reason::Unspecified => Self::Unspecified,
        }
    }
}

impl From<WireReason> for Reason {
    fn from(reason: WireReason) -> Self {
        match reason {
            WireReason::Malformed => Self::Malformed,
            WireReason::Blocked => Self::Blocked,
            WireReason::TooLarge => Self::TooLarge,
            WireReason::Unspecified => Self::Unspecified,
        }
    }
}

impl From<&Answer> for WireAnswer {
    fn from(answer: &Answer) -> Self {
        let of = |state: WireState| Self { state: state.into(), ..Self::default() };
        match answer {
            Answer::Unknown => of(WireState::Unknown),
            Answer::Accepted { poll_after_secs } => {
                Self { poll_after_secs: poll_after_secs.unwrap_or(0), ..of(WireState::Accepted) }
            }
            Answer::Final(Verdict::Applied) => of(WireState::Applied),
            Answer::Final(Verdict::Refused(reason)) => {
                Self { reason: WireReason::from(*reason).into(), ..of(WireState::Refused) }
            }
            Answer::Final(Verdict::Partial(rejections)) => {
                let rejected = rejections.iter().map(|Rejection { position, reason }| WireRejection {
                    position: *position,
                    reason: WireReason::from(*reason).into(),
                });
                Self { rejected: rejected.collect(), ..of(WireState::Partial) }
            }
        }
    }
}

impl TryFrom<WireAnswer> for Answer {
    type Error = NotABatch;

    fn try_from(answer: WireAnswer) -> Result<Self, NotABatch> {
        let WireAnswer { state, rejected, reason, poll_after_secs } = answer;
        let reason_of = |reason| WireReason::try_from(reason).map_or(Reason::Unspecified, Reason::from);
        match WireState::try_from(state) {
            Ok(WireState::Unknown) => Ok(Self::Unknown),
            Ok(WireState::Accepted) => {
                Ok(Self::Accepted { poll_after_secs: (poll_after_secs > 0).then_some(poll_after_secs) })
            }
            Ok(WireState::Applied) => Ok(Self::Final(Verdict::Applied)),
            Ok(WireState::Refused) => Ok(Self::Final(Verdict::Refused(reason_of(reason)))),
            Ok(WireState::Partial) => {
                let rejections = rejected.into_iter().map(|WireRejection { position, reason }| Rejection {
                    position,
                    reason: reason_of(reason),
                });
                Ok(Self::Final(Verdict::Partial(rejections.collect())))
            }
            Ok(WireState::Unspecified) | Err(_) => Err(NotABatch("state")),
        }
    }
}
