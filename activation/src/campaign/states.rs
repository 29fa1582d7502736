//! The states of a campaign, each with what is known in it. A later state holds the earlier one whole, so that nothing that
//! was agreed on the way can be missing.

use std::fmt;

use identity::{Principal, Role};
use ids::{AudienceId, DestinationId, Digest, PartyId, Subject, Timestamp};
use serde::{Deserialize, Serialize};

use super::lifecycle::Kept;
use crate::approval::{Approval, Required};
use crate::arms::{Commitment, Design, Pairing};

/// A state of the lifecycle. The set is closed.
pub trait State: sealed::Sealed + Clone + fmt::Debug {
    /// Its word in the store, the log and for people.
    const NAME: &'static str;

    /// The state as the store keeps it.
    #[doc(hidden)]
    fn kept(&self) -> Kept;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! state {
    ($name:ident, $word:literal) => {
        impl sealed::Sealed for $name {}
        impl State for $name {
            const NAME: &'static str = $word;

            fn kept(&self) -> Kept {
                Kept::$name(Box::new(self.clone()))
            }
        }
    };
}

state!(Draft, "draft");
state!(Submitted, "submitted");
state!(Approved, "approved");
state!(Scheduled, "scheduled");
state!(Running, "running");
state!(Ended, "ended");
state!(Measured, "measured");
state!(Refused, "refused");
state!(Cancelled, "cancelled");

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    /// The verified caller.
    pub subject: Subject,
    /// For which party.
    pub party: PartyId,
    /// In which role.
    pub role: Role,
}

impl From<&Principal> for By {
    fn from(principal: &Principal) -> Self {
        Self {
            subject: principal.subject().clone(),
            party: principal.party().clone(),
            role: principal.role(),
        }
    }
}

/// Being written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Who wrote it last.
    pub by: By,
    /// When.
    pub at: Timestamp,
}

/// Before the approvers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submitted {
    /// Who submitted it.
    pub by: By,
    /// When.
    pub at: Timestamp,
    /// Who must approve.
    pub required: Required,
    /// Who has.
    pub approvals: Vec<Approval>,
}

impl Submitted {
    /// Who has not approved yet.
    pub fn missing(&self) -> Vec<&PartyId> {
        let has = |party: &PartyId| self.approvals.iter().any(|approval| approval.party() == party);
        self.required.parties().into_iter().filter(|party| !has(party)).collect()
    }
}

/// Approved by everybody who must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// As submitted, with all approvals.
    pub submitted: Submitted,
    /// When the last approval came.
    pub at: Timestamp,
}

/// Random bytes of a campaign that its key is derived with. They are no secret without the master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Salt(pub(crate) [u8; 32]);

/// A text is no salt.
#[derive(Debug, thiserror::Error)]
#[error("a salt is 64 hex digits")]
pub(crate) struct SaltRefused;

impl From<Salt> for String {
    fn from(salt: Salt) -> Self {
        hex::encode(salt.0)
    }
}

impl TryFrom<String> for Salt {
    type Error = SaltRefused;

    fn try_from(text: String) -> Result<Self, SaltRefused> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| SaltRefused)?;
        Ok(Self(bytes))
    }
}

/// Arms are drawn, their key is committed to in the log, audiences are admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduled {
    /// As approved.
    pub approved: Approved,
    /// What is committed to besides the key.
    pub design: Design,
    /// The commitment.
    pub commitment: Commitment,
    pub(crate) salt: Salt,
    /// The matched stores, where stores are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing: Option<Pairing>,
    /// The audience at each destination.
    pub audiences: Vec<(DestinationId, AudienceId)>,
    /// When.
    pub at: Timestamp,
}

/// Being shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// As scheduled.
    pub scheduled: Scheduled,
    /// Since when.
    pub at: Timestamp,
}

/// Over; audiences are taken back, and what happens in the days after still counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// As it ran.
    pub running: Running,
    /// When.
    pub at: Timestamp,
}

/// What the numbers say about the threshold that was declared in advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval lies above it.
    Certified,
    /// The whole interval lies below it.
    Rejected,
    /// It lies within the interval, or the arms were not sound.
    Unresolved,
}

/// With a result. Nothing comes after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// As it ended.
    pub ended: Ended,
    /// Digest of the lift report.
    pub report: Digest,
    /// Its verdict.
    pub verdict: Verdict,
    /// When.
    pub at: Timestamp,
}

/// Not approved. It can be revised and submitted again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// As submitted.
    pub submitted: Submitted,
    /// Who refused.
    pub by: By,
    /// In their words.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// Given up. Nothing comes after, but audiences that were sent are taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancelled {
    /// The state that it was in.
    pub was: String,
    /// As scheduled, where it had come so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Scheduled>,
    /// Who gave it up.
    pub by: By,
    /// In their words.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}
