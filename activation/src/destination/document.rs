//! A batch and an answer as JSON: what the folder and the webhook write and read.

use ids::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Answer, Reason, Rejection, Verdict};
use crate::batch::{Batch, Header, Op, Place, Token};

/// Version of both forms.
pub(super) const VERSION: u8 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u8,
    batch_id: String,
    destination: &'a str,
    audience: &'a str,
    epoch: u64,
    op: Op,
    seq: u64,
    part: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    members: Vec<&'a str>,
}

/// The batch as JSON. Equal batches have equal bytes.
pub(super) fn write(batch: &Batch) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let Batch { header: Header { id, place, count: _ }, members } = batch;
    let Place { lane, epoch, op, seq, part, expires } = place;
    let document = Document {
        version: VERSION,
        batch_id: id.to_string(),
        destination: lane.destination.as_str(),
        audience: lane.audience.as_str(),
        epoch: *epoch,
        op: *op,
        seq: *seq,
        part: *part,
        expires: expires.as_ref().map(Timestamp::to_string),
        members: members.iter().map(Token::expose).collect(),
    };
    serde_json::to_vec(&document).map(Zeroizing::new)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Accepted,
    Applied,
    Partial,
    Refused,
    Unknown,
}

#[derive(Deserialize)]
struct Rejected {
    position: u32,
    #[serde(default)]
    reason: String,
}

/// Unknown members are left alone: a destination may say more than we ask.
#[derive(Deserialize)]
struct Said {
    state: State,
    #[serde(default)]
    rejected: Vec<Rejected>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    poll_after_secs: Option<u32>,
}

/// What a destination said; `None` if it cannot be read.
pub(super) fn read(text: &[u8]) -> Option<Answer> {
    let Said { state, rejected, reason, poll_after_secs } = serde_json::from_slice(text).ok()?;
    Some(match state {
        State::Accepted => Answer::Accepted { poll_after_secs },
        State::Applied => Answer::Final(Verdict::Applied),
        State::Refused => Answer::Final(Verdict::Refused(Reason::named(&reason))),
        State::Unknown => Answer::Unknown,
        State::Partial => {
            let rejection =
                |Rejected { position, reason }| Rejection { position, reason: Reason::named(&reason) };
            Answer::Final(Verdict::Partial(rejected.into_iter().map(rejection).collect()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_anything_else_is_not() {
        let read = |text: &str| read(text.as_bytes());
        assert_eq!(read(r#"{"state":"applied"}"#), Some(Answer::Final(Verdict::Applied)));
        assert_eq!(
            read(r#"{"state":"accepted","poll_after_secs":9,"more":1}"#),
            Some(Answer::Accepted { poll_after_secs: Some(9) })
        );
        assert_eq!(
            read(r#"{"state":"partial","rejected":[{"position":3,"reason":"blocked"}]}"#),
            Some(Answer::Final(Verdict::Partial(vec![Rejection { position: 3, reason: Reason::Blocked }])))
        );
        assert_eq!(
            read(r#"{"state":"refused","reason":"free text"}"#),
            Some(Answer::Final(Verdict::Refused(Reason::Unspecified)))
        );
        for text in ["", "ok", "{}", r#"{"state":"done"}"#, r#"{"state":"partial","rejected":[{}]}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
