//! The tick: from a running campaign to what its destinations are told, in the one order that a crash cannot break.
//!
//! ```text
//! read what was told → read the roll → plan → save the audience → removals, retired epochs, additions → save it as settled
//! ```
//!
//! Everything before the save is pure; everything after it may be repeated. A crash leaves either nothing, or an audience
//! that owes its additions and a destination that was told a part: the next tick tells the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::{DestinationClass, OpenFormat, PseudonymEpoch, Renderer, ScopedKey};
use ids::{AudienceId, CampaignId, DestinationId, Timestamp};
use roaring::RoaringBitmap;

use crate::Secrets;
use crate::arms::GlobalHoldout;
use crate::audience::{
    AudienceRules, GuardKey, Naming, Plan, Regular, Rendered, Roll, Step, TickFailed, close, plan, render,
};
use crate::batch::Lane;
use crate::campaign::{Campaign, Class, DestinationRef, Running, TransitionRefused};
use crate::members::Members;
use crate::outbox::{Cause, Outbox, OutboxFailed};
use crate::store::{CampaignStore, CampaignStoreFailed};

/// How a destination is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Terms and periods.
    pub rules: AudienceRules,
    /// The platform's format for an open destination; none for a scoped one.
    pub open: Option<OpenFormat>,
}

/// What a tick needs.
#[derive(Clone)]
pub struct Desk {
    /// Campaigns and audiences.
    pub store: CampaignStore,
    /// What is to leave.
    pub outbox: Arc<Outbox>,
    /// The keys.
    pub secrets: Arc<Secrets>,
    /// The key behind the guard's thresholds.
    pub guard: Arc<GuardKey>,
    /// The global control group of the present period, if there is one.
    pub global: Option<Arc<GlobalHoldout>>,
    /// The vault.
    pub members: Arc<dyn Members>,
    /// Every destination that audiences may be sent to.
    pub manners: BTreeMap<DestinationId, Manner>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("manners", &self.manners).finish_non_exhaustive()
    }
}

/// What one destination was told. For the operator only: the exact numbers are not for buyers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Where.
    pub destination: DestinationId,
    /// Which audience.
    pub audience: AudienceId,
    /// What became of the changes that are not urgent.
    pub regular: Regular,
    /// Added.
    pub added: u64,
    /// Taken back, whether urgent, regular or for a new epoch.
    pub removed: u64,
    /// Removed because it could not wait.
    pub urgent: u64,
    /// Not sent: no identifier that the destination takes.
    pub unreached: u64,
    /// Not sent: the identifier is also somebody's who must not be addressed.
    pub shared: u64,
    /// Not sent: shares no moment of expiry with others.
    pub left_out: u64,
}

/// A tick did not come to its end. What was told stays told; the next tick goes on.
#[derive(Debug, thiserror::Error)]
pub enum DeskFailed {
    /// The store of campaigns failed.
    #[error(transparent)]
    Store(#[from] CampaignStoreFailed),
    /// The outbox failed.
    #[error(transparent)]
    Outbox(#[from] OutboxFailed),
    /// The vault did not answer, or a worker stopped.
    #[error(transparent)]
    Tick(#[from] TickFailed),
    /// The arms are not those that were committed to.
    #[error(transparent)]
    Arms(#[from] TransitionRefused),
    /// Nobody said how to tell this destination.
    #[error("the settings have no destination `{0}`: add it, or cancel the campaign")]
    NoManner(DestinationId),
    /// The settings contradict what was approved.
    #[error("`{destination}` was approved as {approved}, the settings have it {set}: nothing is sent there")]
    Class {
        /// Where.
        destination: DestinationId,
        /// As signed.
        approved: &'static str,
        /// As set.
        set: &'static str,
    },
    /// The computing thread is gone.
    #[error("the thread that computes a tick did not answer")]
    Thread,
}

impl Desk {
    /// Tells every destination of a running campaign what has changed. After the last day everything is taken back.
    ///
    /// `cause` is on whose behalf and by which clauses; the purpose and the epoch of consents are filled in.
    ///
    /// # Errors
    /// When any part fails. Destinations that came before are told; calling again goes on.
    pub async fn tick(
        &self,
        campaign: &Campaign<Running>,
        cause: &Cause,
        now: Timestamp,
    ) -> Result<Vec<Told>, DeskFailed> {
        if now >= campaign.content().ends_at() {
            return self.take_back(campaign.id(), cause, now).await;
        }
        let mut lanes = Vec::new();
        for (destination, audience) in campaign.audiences() {
            let manner = self.manner(campaign, destination)?;
            let lane = Lane { destination: destination.clone(), audience: audience.clone() };
            let (audience, version) = self.store.audience(&lane.audience).await?;
            let presence = self.presence(&lane).await?;
            lanes.push((lane, manner, audience, version, presence));
        }
        let everybody =
            lanes.iter().fold(RoaringBitmap::new(), |all, (.., presence)| all | presence.everybody());
        let until = lanes.iter().map(|(_, manner, ..)| manner.rules.until(now)).max().unwrap_or(now);
        let roll = Arc::new(self.roll(campaign, everybody, until).await?);
        let cause = Cause {
            purpose: Some(campaign.content().purpose.clone()),
            consent_epoch: Some(roll.consent_epoch()),
            ..cause.clone()
        };
        let mut told = Vec::new();
        for (lane, manner, audience, version, presence) in lanes {
            let epoch = PseudonymEpoch::at(now);
            let number = u64::from(epoch.number());
            let plan = plan(
                &audience,
                &roll.without(&presence.refused(number)),
                &presence.held,
                &manner.rules,
                &self.guard,
                (number, now),
            );
            let reached = campaign.content().destination(&lane.destination);
            let reached = reached.ok_or_else(|| DeskFailed::NoManner(lane.destination.clone()))?;
            let renderer = Arc::new(self.renderer(&lane.destination, manner, epoch));
            told.push(self.tell(&lane, plan, version, (&roll, reached, &renderer), &cause).await?);
        }
        Ok(told)
    }

    /// Takes back everything that a campaign has anywhere, for good: it ended, was measured or was cancelled. Repeating it
    /// changes nothing.
    ///
    /// # Errors
    /// When store or outbox fail; calling again goes on.
    pub async fn take_back(
        &self,
        campaign: &CampaignId,
        cause: &Cause,
        now: Timestamp,
    ) -> Result<Vec<Told>, DeskFailed> {
        let mut told = Vec::new();
        for (audience, version) in self.store.audiences_of(campaign).await? {
            let lane = Lane { destination: audience.destination.clone(), audience: audience.id.clone() };
            let plan = close(&audience, &self.presence(&lane).await?.held, now);
            if plan.audience != audience {
                self.store.save_audience(&plan.audience, version).await?;
            }
            if !plan.urgent.is_empty() || !self.outbox.closed(&lane).await? {
                self.outbox.close(&lane, cause).await?;
            }
            let removed = plan.urgent.len();
            told.push(Told { removed, urgent: removed, ..Told::nothing(&lane, &plan) });
        }
        Ok(told)
    }

    fn manner(
        &self,
        campaign: &Campaign<Running>,
        destination: &DestinationId,
    ) -> Result<Manner, DeskFailed> {
        let missing = || DeskFailed::NoManner(destination.clone());
        let manner = *self.manners.get(destination).ok_or_else(missing)?;
        let approved = match campaign.content().destination(destination).ok_or_else(missing)?.class {
            Class::Scoped => DestinationClass::Scoped,
            Class::Open => DestinationClass::Open,
        };
        let set = if manner.open.is_some() { DestinationClass::Open } else { DestinationClass::Scoped };
        if approved == set {
            Ok(manner)
        } else {
            let (approved, set) = (approved.joinability(), set.joinability());
            Err(DeskFailed::Class { destination: destination.clone(), approved, set })
        }
    }

    fn renderer(&self, destination: &DestinationId, manner: Manner, epoch: PseudonymEpoch) -> Renderer {
        match manner.open {
            Some(format) => Renderer::Open(format),
            None => {
                let (master, tenant) = (self.secrets.master(), self.secrets.tenant());
                Renderer::Scoped(ScopedKey::derive(master, tenant, destination, epoch).renderer())
            }
        }
    }

    async fn presence(&self, lane: &Lane) -> Result<Presence, DeskFailed> {
        let mut presence = Presence::default();
        for (epoch, membership) in self.outbox.membership(lane).await? {
            presence.held.insert(epoch, membership.heading);
            presence.quarantined.insert(epoch, membership.quarantined);
        }
        Ok(presence)
    }

    async fn roll(
        &self,
        campaign: &Campaign<Running>,
        everybody: RoaringBitmap,
        until: Timestamp,
    ) -> Result<Roll, DeskFailed> {
        let arms = campaign.arms(&self.secrets, self.global.as_deref())?;
        let (content, members) = (campaign.content().clone(), self.members.clone());
        let take = move || Roll::take(&content, &arms, &everybody, until, members.as_ref());
        Ok(tokio::task::spawn_blocking(take).await.map_err(|_| DeskFailed::Thread)??)
    }

    async fn tell(
        &self,
        lane: &Lane,
        plan: Plan,
        version: u64,
        (roll, reached, renderer): (&Arc<Roll>, &DestinationRef, &Arc<Renderer>),
        cause: &Cause,
    ) -> Result<Told, DeskFailed> {
        let version = self.store.save_audience(&plan.audience, version).await?;
        let mut told = Told::nothing(lane, &plan);
        for step in &plan.steps {
            match step {
                Step::Remove { units, .. } => {
                    told.removed += self.outbox.remove(lane, units, cause).await?.units;
                }
                Step::Retire { epoch, .. } => {
                    told.removed += self.outbox.retire(lane, *epoch, cause).await?.units;
                }
                Step::Add { epoch, units, expires } => {
                    let rendered = self.rendered(units, roll, reached, renderer).await?;
                    told.unreached += rendered.unreached.len();
                    told.shared += rendered.shared.len();
                    if !rendered.members.is_empty() {
                        let queued = self.outbox.add(lane, *epoch, *expires, rendered.members, cause).await?;
                        told.added += queued.units;
                    }
                }
            }
        }
        self.store.save_audience(&plan.settled(), version).await?;
        Ok(told)
    }

    async fn rendered(
        &self,
        units: &RoaringBitmap,
        roll: &Arc<Roll>,
        reached: &DestinationRef,
        renderer: &Arc<Renderer>,
    ) -> Result<Rendered, DeskFailed> {
        let (units, roll, renderer) = (units.clone(), roll.clone(), renderer.clone());
        let (reached, members) = (reached.reached.clone(), self.members.clone());
        let work = move || {
            let naming = Naming { reached: &reached, renderer: &renderer };
            render(&units, &roll.blocked(), naming, members.as_ref())
        };
        Ok(tokio::task::spawn_blocking(work).await.map_err(|_| DeskFailed::Thread)??)
    }
}

/// Who is where, as the outbox knows it.
#[derive(Default)]
struct Presence {
    /// By epoch, whom the destination will hold when everything queued is done.
    held: BTreeMap<u64, RoaringBitmap>,
    /// By epoch, whom it would not take.
    quarantined: BTreeMap<u64, RoaringBitmap>,
}

impl Presence {
    fn everybody(&self) -> RoaringBitmap {
        self.held.values().fold(RoaringBitmap::new(), |all, units| all | units)
    }

    /// Whom it would not take in this epoch and does not hold: to try again in the same epoch is no use.
    fn refused(&self, epoch: u64) -> RoaringBitmap {
        let refused = self.quarantined.get(&epoch).cloned().unwrap_or_default();
        self.held.get(&epoch).map_or(refused.clone(), |held| refused - held)
    }
}

impl Told {
    fn nothing(lane: &Lane, plan: &Plan) -> Self {
        Self {
            destination: lane.destination.clone(),
            audience: lane.audience.clone(),
            regular: plan.regular,
            added: 0,
            removed: 0,
            urgent: plan.urgent.len(),
            unreached: 0,
            shared: 0,
            left_out: plan.left_out.len(),
        }
    }
}
