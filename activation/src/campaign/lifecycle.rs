//! The lifecycle as types:
//!
//! ```text
//! draft ─submit→ submitted ─approve…→ approved ─schedule→ scheduled ─start→ running ─end→ ended ─measure→ measured
//!   ↑               │ └─refuse→ refused ──revise→ draft (and from submitted and approved, too)
//!   └── revise ─────┘           every state up to running ─cancel→ cancelled
//! ```
//!
//! A transition is a pure function that says what the next state would be: a [`Moved`]. Only the store turns that into a
//! [`Campaign`] of the next state, after it is durable and logged; and it lets a state be left once.
//!
//! # Guarantee
//! A `Campaign<S>` exists only if its state is in the store *and* the entry of that step is in the log. So a
//! `Campaign<Scheduled>` is proof that the commitment to its arms was logged before `start` could be called.

use audits::{Entry, Kind, Label};
use identity::Principal;
use ids::{CampaignId, Digest, PartyId, Timestamp};
use serde::{Deserialize, Serialize};

use super::check::ContentRefused;
use super::content::Content;
use super::states::{
    Approved, By, Cancelled, Draft, Ended, Measured, Refused, Running, Salt, Scheduled, State, Submitted,
    Verdict,
};
use crate::approval::{Approval, ApprovalRefused, Approvers, Required, Submission};
use crate::arms::{Arms, ArmsKey, GlobalHoldout, Opening, Pairing};
use crate::audience::Admitted;
use crate::keys::Secrets;

/// Separates the digest of a step from any other.
const STEP_LABEL: &[u8] = b"cleanroom/campaign/step/v1";
/// Most characters of a reason given by a person.
const REASON_CHARS_MAX: usize = 500;

/// A campaign in one state, durable and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign<S> {
    content: Content,
    digest: Digest,
    revision: u32,
    step: u64,
    logged: u64,
    state: S,
}

/// What the next state would be. It is nothing until the store has saved it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the step is not taken until the store saves it"]
pub struct Moved<S> {
    pub(crate) content: Content,
    pub(crate) digest: Digest,
    pub(crate) revision: u32,
    pub(crate) step: u64,
    pub(crate) state: S,
    pub(crate) entry: Entry,
    pub(crate) at: Timestamp,
}

/// Why a step cannot be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TransitionRefused {
    /// The content breaks rules.
    #[error(transparent)]
    Content(#[from] ContentRefused),
    /// The signature is no approval.
    #[error(transparent)]
    Approval(#[from] ApprovalRefused),
    /// A name does not change.
    #[error("the draft is of the campaign `{expected}`, the content of `{found}`: make a new draft for it")]
    OtherCampaign {
        /// The draft's.
        expected: CampaignId,
        /// The content's.
        found: CampaignId,
    },
    /// Too late.
    #[error("the campaign had to be {word} before {limit}: revise it with later dates")]
    TooLate {
        /// What could not be done.
        word: &'static str,
        /// Until when it could.
        limit: Timestamp,
    },
    /// Too early.
    #[error("the campaign cannot be {word} before {limit}")]
    TooEarly {
        /// What cannot be done yet.
        word: &'static str,
        /// From when it can.
        limit: Timestamp,
    },
    /// Not one of those who decide.
    #[error("`{party}` does not approve this campaign and so cannot refuse it: cancel it instead")]
    NotAsked {
        /// Who.
        party: PartyId,
    },
    /// A reason is missing, or is not one line.
    #[error("the reason is empty, too long or not one line: write 1 to {REASON_CHARS_MAX} characters")]
    Reason,
    /// Arms or audiences are not those of this content.
    #[error("what is scheduled does not fit what was approved: {reason}")]
    Misfit {
        /// What differs.
        reason: String,
    },
    /// The arms are not those that were committed to.
    #[error(
        "the draw does not fit the commitment {commitment}: another master key or another global control group"
    )]
    Commitment {
        /// As logged.
        commitment: String,
    },
    /// A name of a party or a person is not a label.
    #[error("the step cannot be logged: {reason}")]
    Unloggable {
        /// Why.
        reason: String,
    },
}

/// What an approval leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the step is not taken until the store saves it"]
pub enum Approving {
    /// Others have yet to approve.
    Waiting(Moved<Submitted>),
    /// All have approved.
    Complete(Moved<Approved>),
}

impl<S: State> Campaign<S> {
    /// Its name.
    pub const fn id(&self) -> &CampaignId {
        &self.content.campaign
    }

    /// What it is.
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// Digest of the canonical content: what approvals are over.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// How often it was submitted.
    pub const fn revision(&self) -> u32 {
        self.revision
    }

    /// What is known in this state.
    pub const fn state(&self) -> &S {
        &self.state
    }

    /// Index of this step's entry in the log.
    pub const fn logged(&self) -> u64 {
        self.logged
    }

    fn to<N: State>(&self, state: N, by: &By, at: Timestamp) -> Result<Moved<N>, TransitionRefused> {
        let mut moved = Moved {
            content: self.content.clone(),
            digest: self.digest,
            revision: self.revision,
            step: self.step + 1,
            state,
            entry: Entry::new(Kind::CampaignChanged),
            at,
        };
        moved.entry = moved.entry(by)?;
        Ok(moved)
    }
}

impl<S: State> Moved<S> {
    /// What the log will say.
    fn entry(&self, by: &By) -> Result<Entry, TransitionRefused> {
        let label = |text: &str| -> Result<Label, TransitionRefused> {
            text.parse().map_err(|refused: audits::LabelRefused| TransitionRefused::Unloggable {
                reason: refused.to_string(),
            })
        };
        Ok(Entry {
            principal: Some(by.subject.clone()),
            party: Some(by.party.clone()),
            role: Some(label(by.role.as_str())?),
            purpose: Some(self.content.purpose.clone()),
            datasets: vec![self.content.dataset.clone()],
            plan: Some(self.digest),
            campaign: Some(self.content.campaign.clone()),
            reason: Some(label(S::NAME)?),
            result: Some(self.step_digest()?),
            ..Entry::new(Kind::CampaignChanged)
        })
    }

    fn step_digest(&self) -> Result<Digest, TransitionRefused> {
        let kept = self.state.kept();
        step_digest(&self.content.campaign, self.step, self.digest, &kept)
            .map_err(|reason| TransitionRefused::Unloggable { reason })
    }

    /// The campaign's name.
    pub const fn id(&self) -> &CampaignId {
        &self.content.campaign
    }

    pub(crate) fn into_campaign(self, logged: u64) -> Campaign<S> {
        let Self { content, digest, revision, step, state, .. } = self;
        Campaign { content, digest, revision, step, logged, state }
    }
}

impl Campaign<Draft> {
    /// A new campaign.
    ///
    /// # Errors
    /// When the content breaks rules.
    pub fn draft(content: Content, by: &Principal, at: Timestamp) -> Result<Moved<Draft>, TransitionRefused> {
        let content = content.checked()?;
        let digest = content.digest()?;
        let state = Draft { by: by.into(), at };
        let empty = Self { content, digest, revision: 0, step: 0, logged: 0, state: state.clone() };
        empty.to(state, &by.into(), at)
    }

    /// The same campaign with another content.
    ///
    /// # Errors
    /// When the content breaks rules or is of another campaign.
    pub fn edit(
        &self,
        content: Content,
        by: &Principal,
        at: Timestamp,
    ) -> Result<Moved<Draft>, TransitionRefused> {
        let content = content.checked()?;
        if content.campaign != self.content.campaign {
            return Err(TransitionRefused::OtherCampaign {
                expected: self.content.campaign.clone(),
                found: content.campaign,
            });
        }
        let digest = content.digest()?;
        let by: By = by.into();
        Self { content, digest, ..self.clone() }.to(Draft { by: by.clone(), at }, &by, at)
    }

    /// Before the approvers; `required` is what policy says about the data that is used.
    ///
    /// # Errors
    /// When the first day is over already.
    pub fn submit(
        &self,
        required: Required,
        by: &Principal,
        at: Timestamp,
    ) -> Result<Moved<Submitted>, TransitionRefused> {
        before("submitted", at, self.content.starts_at())?;
        let by: By = by.into();
        let next = Self { revision: self.revision.saturating_add(1), ..self.clone() };
        next.to(Submitted { by: by.clone(), at, required, approvals: Vec::new() }, &by, at)
    }
}

impl Campaign<Submitted> {
    /// What lies before the approvers; its statement is what they sign.
    pub const fn submission(&self) -> Submission<'_> {
        Submission {
            campaign: &self.content.campaign,
            revision: self.revision,
            content: self.digest,
            required: &self.state.required,
        }
    }

    /// Takes one party's signed approval. `by` handed it in; whose approval it is, is in the signature.
    ///
    /// # Errors
    /// With its own reason for each way in which the note is no approval of this, or when the first day is over.
    pub fn approve(
        &self,
        note: &str,
        approvers: &Approvers,
        by: &Principal,
        at: Timestamp,
    ) -> Result<Approving, TransitionRefused> {
        before("approved", at, self.content.starts_at())?;
        let approval = Approval::open(note, &self.submission(), approvers, at)?;
        if self.state.approvals.iter().any(|other| other.party() == approval.party()) {
            return Err(ApprovalRefused::Twice { party: approval.party().clone() }.into());
        }
        let mut submitted = self.state.clone();
        submitted.approvals.push(approval);
        if submitted.missing().is_empty() {
            self.to(Approved { submitted, at }, &by.into(), at).map(Approving::Complete)
        } else {
            self.to(submitted, &by.into(), at).map(Approving::Waiting)
        }
    }

    /// One of the approvers says no.
    ///
    /// # Errors
    /// When the caller's party is not asked, or there is no reason.
    pub fn refuse(
        &self,
        by: &Principal,
        reason: &str,
        at: Timestamp,
    ) -> Result<Moved<Refused>, TransitionRefused> {
        if !self.state.required.parties().contains(by.party()) {
            return Err(TransitionRefused::NotAsked { party: by.party().clone() });
        }
        let by: By = by.into();
        let state = Refused { submitted: self.state.clone(), by: by.clone(), reason: reason_of(reason)?, at };
        self.to(state, &by, at)
    }
}

impl Campaign<Approved> {
    /// Draws the arms and takes in the admitted audiences, one for each destination.
    ///
    /// # Errors
    /// When any of them is not of this content, or the first day is over.
    pub fn schedule(
        &self,
        armed: Armed<'_>,
        admitted: &[Admitted],
        by: &Principal,
        at: Timestamp,
    ) -> Result<Moved<Scheduled>, TransitionRefused> {
        before("scheduled", at, self.content.starts_at())?;
        let Armed { secrets, salt, global, pairing } = armed;
        self.pairing_fits(pairing.as_ref())?;
        let key = ArmsKey::derive(secrets, self.id(), &salt);
        let arms =
            Arms::new(&key, self.id().clone(), self.content.holdout.share_bp, global, pairing.as_ref());
        let by: By = by.into();
        let state = Scheduled {
            approved: self.state.clone(),
            design: arms.design().clone(),
            commitment: arms.commitment(),
            salt: Salt(salt),
            pairing,
            audiences: self.audiences(admitted)?,
            at,
        };
        let commitment = state.commitment;
        let mut moved = self.to(state, &by, at)?;
        moved.entry.commitment = Some(commitment.0);
        Ok(moved)
    }

    fn pairing_fits(&self, pairing: Option<&Pairing>) -> Result<(), TransitionRefused> {
        let misfit = |reason: &str| Err(TransitionRefused::Misfit { reason: reason.to_owned() });
        match (self.content.holdout.store_pairs, pairing) {
            (true, None) => misfit("stores are to be drawn in pairs and no pairs are given"),
            (false, Some(_)) => misfit("pairs of stores are given and none are to be drawn"),
            (false, None) => Ok(()),
            (true, Some(pairing)) => {
                let mut named = pairing.pairs.iter().flat_map(|pair| [&pair.a, &pair.b]);
                if named.all(|store| self.content.stores.contains(store)) {
                    Ok(())
                } else {
                    misfit("a paired store is not among the campaign's stores")
                }
            }
        }
    }

    fn audiences(
        &self,
        admitted: &[Admitted],
    ) -> Result<Vec<(ids::DestinationId, ids::AudienceId)>, TransitionRefused> {
        let misfit = |reason: String| TransitionRefused::Misfit { reason };
        if admitted.len() != self.content.destinations.len() {
            let (are, should) = (admitted.len(), self.content.destinations.len());
            return Err(misfit(format!("{are} audiences are admitted for {should} destinations")));
        }
        let of = |destination: &ids::DestinationId| {
            let found = admitted
                .iter()
                .find(|admitted| admitted.content() == self.digest && admitted.destination() == destination);
            found
                .map(|admitted| (destination.clone(), admitted.audience().clone()))
                .ok_or_else(|| misfit(format!("no audience of this content is admitted for `{destination}`")))
        };
        self.content.destinations.iter().map(|destination| of(&destination.id)).collect()
    }
}

/// What arms are drawn with.
#[derive(Debug)]
pub struct Armed<'a> {
    /// The keys of this room.
    pub secrets: &'a Secrets,
    /// Fresh random bytes: [`ArmsKey::salt`].
    pub salt: [u8; 32],
    /// The period's global control group, if there is one.
    pub global: Option<&'a GlobalHoldout>,
    /// The matched stores, where stores are drawn.
    pub pairing: Option<Pairing>,
}

impl Campaign<Scheduled> {
    /// Begins.
    ///
    /// # Errors
    /// Before the first day, and after the last.
    pub fn start(&self, by: &Principal, at: Timestamp) -> Result<Moved<Running>, TransitionRefused> {
        not_before("started", at, self.content.starts_at())?;
        before("started", at, self.content.ends_at())?;
        self.to(Running { scheduled: self.state.clone(), at }, &by.into(), at)
    }
}

impl Campaign<Running> {
    /// Ends after the last day. Who wants to stop earlier cancels.
    ///
    /// # Errors
    /// Before that.
    pub fn end(&self, by: &Principal, at: Timestamp) -> Result<Moved<Ended>, TransitionRefused> {
        not_before("ended", at, self.content.ends_at())?;
        self.to(Ended { running: self.state.clone(), at }, &by.into(), at)
    }
}

impl Campaign<Ended> {
    /// Takes the result in.
    ///
    /// # Errors
    /// Before the days that still count are over.
    pub fn measure(
        &self,
        report: Digest,
        verdict: Verdict,
        by: &Principal,
        at: Timestamp,
    ) -> Result<Moved<Measured>, TransitionRefused> {
        not_before("measured", at, self.content.measured_from())?;
        self.to(Measured { ended: self.state.clone(), report, verdict, at }, &by.into(), at)
    }
}

/// States in which arms exist.
trait Drawn {
    fn scheduled(&self) -> &Scheduled;
}

impl Drawn for Scheduled {
    fn scheduled(&self) -> &Scheduled {
        self
    }
}

impl Drawn for Running {
    fn scheduled(&self) -> &Scheduled {
        &self.scheduled
    }
}

impl Drawn for Ended {
    fn scheduled(&self) -> &Scheduled {
        &self.running.scheduled
    }
}

impl Drawn for Measured {
    fn scheduled(&self) -> &Scheduled {
        &self.ended.running.scheduled
    }
}

/// The draw again, out of the master key and what the store kept; it must be the one that was committed to.
fn draw(
    id: &CampaignId,
    scheduled: &Scheduled,
    secrets: &Secrets,
    global: Option<&GlobalHoldout>,
) -> Result<(ArmsKey, Arms), TransitionRefused> {
    let key = ArmsKey::derive(secrets, id, &scheduled.salt.0);
    let arms = Arms::new(&key, id.clone(), scheduled.design.share_bp, global, scheduled.pairing.as_ref());
    if arms.commitment() == scheduled.commitment && *arms.design() == scheduled.design {
        Ok((key, arms))
    } else {
        Err(TransitionRefused::Commitment { commitment: scheduled.commitment.to_string() })
    }
}

macro_rules! drawn {
    ($($state:ty),*) => {$(
        impl Campaign<$state> {
            /// The arms, drawn again and checked against the commitment.
            ///
            /// # Errors
            /// When the master key or the global control group is another one.
            pub fn arms(&self, secrets: &Secrets, global: Option<&GlobalHoldout>) -> Result<Arms, TransitionRefused> {
                draw(self.id(), self.state.scheduled(), secrets, global).map(|(_, arms)| arms)
            }

            /// The audience at each destination.
            pub fn audiences(&self) -> &[(ids::DestinationId, ids::AudienceId)] {
                &self.state.scheduled().audiences
            }

            /// The matched stores, where stores are drawn.
            pub fn pairing(&self) -> Option<&Pairing> {
                self.state.scheduled().pairing.as_ref()
            }
        }
    )*};
}
drawn!(Scheduled, Running, Ended, Measured);

macro_rules! opened {
    ($($state:ty),*) => {$(
        impl Campaign<$state> {
            /// What an auditor needs to draw the arms again. It exists only after the end: before it, whoever has it knows
            /// the controls.
            ///
            /// # Errors
            /// As [`Campaign::arms`].
            pub fn opening(
                &self,
                secrets: &Secrets,
                global: Option<&GlobalHoldout>,
            ) -> Result<Opening, TransitionRefused> {
                draw(self.id(), self.state.scheduled(), secrets, global).map(|(key, arms)| Opening::new(&key, &arms))
            }
        }
    )*};
}
opened!(Ended, Measured);

macro_rules! cancelled {
    ($($state:ty, $scheduled:expr;)*) => {$(
        impl Campaign<$state> {
            /// Gives it up.
            ///
            /// # Errors
            /// Without a reason.
            pub fn cancel(
                &self,
                by: &Principal,
                reason: &str,
                at: Timestamp,
            ) -> Result<Moved<Cancelled>, TransitionRefused> {
                let by: By = by.into();
                let scheduled: fn(&$state) -> Option<Scheduled> = $scheduled;
                let state = Cancelled {
                    was: <$state as State>::NAME.to_owned(),
                    scheduled: scheduled(&self.state),
                    by: by.clone(),
                    reason: reason_of(reason)?,
                    at,
                };
                self.to(state, &by, at)
            }
        }
    )*};
}
cancelled! {
    Draft, |_| None;
    Submitted, |_| None;
    Approved, |_| None;
    Scheduled, |state| Some(state.clone());
    Running, |state| Some(state.scheduled.clone());
}

macro_rules! revised {
    ($($state:ty),*) => {$(
        impl Campaign<$state> {
            /// Back to a draft. Approvals are void: the next submission is another revision.
            ///
            /// # Errors
            /// When the caller cannot be named in the log.
            pub fn revise(&self, by: &Principal, at: Timestamp) -> Result<Moved<Draft>, TransitionRefused> {
                let by: By = by.into();
                self.to(Draft { by: by.clone(), at }, &by, at)
            }
        }
    )*};
}
revised!(Submitted, Approved, Refused);

impl Campaign<Cancelled> {
    /// The audiences that must be taken back.
    pub fn audiences(&self) -> &[(ids::DestinationId, ids::AudienceId)] {
        self.state.scheduled.as_ref().map_or(&[], |scheduled| &scheduled.audiences)
    }
}

fn before(word: &'static str, at: Timestamp, limit: Timestamp) -> Result<(), TransitionRefused> {
    if at < limit { Ok(()) } else { Err(TransitionRefused::TooLate { word, limit }) }
}

fn not_before(word: &'static str, at: Timestamp, limit: Timestamp) -> Result<(), TransitionRefused> {
    if at >= limit { Ok(()) } else { Err(TransitionRefused::TooEarly { word, limit }) }
}

fn reason_of(reason: &str) -> Result<String, TransitionRefused> {
    let reason = reason.trim();
    let fits = (1..=REASON_CHARS_MAX).contains(&reason.chars().count());
    if fits && !reason.chars().any(char::is_control) {
        Ok(reason.to_owned())
    } else {
        Err(TransitionRefused::Reason)
    }
}

/// A state as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Kept {
    /// See [`Draft`].
    Draft(Box<Draft>),
    /// See [`Submitted`].
    Submitted(Box<Submitted>),
    /// See [`Approved`].
    Approved(Box<Approved>),
    /// See [`Scheduled`].
    Scheduled(Box<Scheduled>),
    /// See [`Running`].
    Running(Box<Running>),
    /// See [`Ended`].
    Ended(Box<Ended>),
    /// See [`Measured`].
    Measured(Box<Measured>),
    /// See [`Refused`].
    Refused(Box<Refused>),
    /// See [`Cancelled`].
    Cancelled(Box<Cancelled>),
}

/// Why a state in the store is not believed: the file may have been in other hands.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub(crate) enum StateRefused {
    #[error("an approval in the store does not hold: {0}")]
    Approval(#[from] ApprovalRefused),
    #[error("the store calls it approved, and `{party}` has not approved it")]
    Unapproved { party: PartyId },
}

impl Kept {
    fn submitted(&self) -> Option<&Submitted> {
        match self {
            Self::Draft(_) => None,
            Self::Submitted(state) => Some(state),
            Self::Approved(state) => Some(&state.submitted),
            Self::Scheduled(state) => Some(&state.approved.submitted),
            Self::Running(state) => Some(&state.scheduled.approved.submitted),
            Self::Ended(state) => Some(&state.running.scheduled.approved.submitted),
            Self::Measured(state) => Some(&state.ended.running.scheduled.approved.submitted),
            Self::Refused(state) => Some(&state.submitted),
            Self::Cancelled(state) => state.scheduled.as_ref().map(|state| &state.approved.submitted),
        }
    }

    /// Whether the state is one that needs all approvals.
    fn is_approved(&self) -> bool {
        match self {
            Self::Draft(_) | Self::Submitted(_) | Self::Refused(_) => false,
            Self::Cancelled(state) => state.scheduled.is_some(),
            Self::Approved(_)
            | Self::Scheduled(_)
            | Self::Running(_)
            | Self::Ended(_)
            | Self::Measured(_) => true,
        }
    }

    /// Checks every approval again.
    pub(crate) fn check(
        &self,
        content: &Content,
        digest: Digest,
        revision: u32,
        approvers: &Approvers,
    ) -> Result<(), StateRefused> {
        let Some(submitted) = self.submitted() else { return Ok(()) };
        let submission = Submission {
            campaign: &content.campaign,
            revision,
            content: digest,
            required: &submitted.required,
        };
        for approval in &submitted.approvals {
            approval.check(&submission, approvers)?;
        }
        match submitted.missing().first() {
            Some(party) if self.is_approved() => Err(StateRefused::Unapproved { party: (*party).clone() }),
            _ => Ok(()),
        }
    }
}

/// A campaign in whatever state it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "one variant per state; see the states")]
pub enum AnyCampaign {
    Draft(Campaign<Draft>),
    Submitted(Campaign<Submitted>),
    Approved(Campaign<Approved>),
    Scheduled(Campaign<Scheduled>),
    Running(Campaign<Running>),
    Ended(Campaign<Ended>),
    Measured(Campaign<Measured>),
    Refused(Campaign<Refused>),
    Cancelled(Campaign<Cancelled>),
}

/// What the store holds of a campaign, checked.
pub(crate) struct Loaded {
    pub(crate) content: Content,
    pub(crate) digest: Digest,
    pub(crate) revision: u32,
    pub(crate) step: u64,
    pub(crate) logged: u64,
    pub(crate) kept: Kept,
}

impl Loaded {
    /// What the log entry of its last step must name.
    pub(crate) fn step_digest(&self) -> Result<Digest, String> {
        step_digest(&self.content.campaign, self.step, self.digest, &self.kept)
    }
}

/// Names one step and no other: campaign, number, content and everything known in the state.
fn step_digest(campaign: &CampaignId, step: u64, content: Digest, kept: &Kept) -> Result<Digest, String> {
    let value = serde_json::to_value(kept).map_err(|error| error.to_string())?;
    let kept = audits::canonical_json(&value).map_err(|error| error.to_string())?;
    Ok(Digest::of_parts(&[
        STEP_LABEL,
        campaign.as_str().as_bytes(),
        &step.to_be_bytes(),
        content.as_bytes(),
        kept.as_bytes(),
    ]))
}

impl From<Loaded> for AnyCampaign {
    fn from(loaded: Loaded) -> Self {
        let Loaded { content, digest, revision, step, logged, kept } = loaded;
        macro_rules! of {
            ($($state:ident),*) => {
                match kept {
                    $(Kept::$state(state) => Self::$state(Campaign {
                        content, digest, revision, step, logged, state: *state,
                    }),)*
                }
            };
        }
        of!(Draft, Submitted, Approved, Scheduled, Running, Ended, Measured, Refused, Cancelled)
    }
}

macro_rules! any {
    ($self:ident, $campaign:ident => $value:expr) => {
        match $self {
            Self::Draft($campaign) => $value,
            Self::Submitted($campaign) => $value,
            Self::Approved($campaign) => $value,
            Self::Scheduled($campaign) => $value,
            Self::Running($campaign) => $value,
            Self::Ended($campaign) => $value,
            Self::Measured($campaign) => $value,
            Self::Refused($campaign) => $value,
            Self::Cancelled($campaign) => $value,
        }
    };
}

impl AnyCampaign {
    /// Its name.
    pub const fn id(&self) -> &CampaignId {
        any!(self, campaign => &campaign.content.campaign)
    }

    /// What it is.
    pub const fn content(&self) -> &Content {
        any!(self, campaign => &campaign.content)
    }

    /// Digest of the canonical content.
    pub const fn digest(&self) -> Digest {
        any!(self, campaign => campaign.digest)
    }

    /// How often it was submitted.
    pub const fn revision(&self) -> u32 {
        any!(self, campaign => campaign.revision)
    }

    /// Index of its last step's entry in the log.
    pub const fn logged(&self) -> u64 {
        any!(self, campaign => campaign.logged)
    }

    /// The state's word.
    pub fn state(&self) -> &'static str {
        fn name<S: State>(_: &Campaign<S>) -> &'static str {
            S::NAME
        }
        any!(self, campaign => name(campaign))
    }
}
