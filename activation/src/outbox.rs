//! The outbox: what is to leave is durable first, leaves at least once, and arrives as one exact set.
//!
//! One commit writes the batches of a change together with the log entry that they owe; a batch is sent only when the
//! receipt of its entry is there (no receipt, nothing sent). A crash between any two steps is finished at the next start:
//! the entry is looked up in the log by its result before it is appended, and a batch that was perhaps sent is sent again
//! under the same id.
//!
//! # Guarantee
//! For every lane (destination and audience), whatever the interleaving, crash, lost answer or retry, given that the
//! destination acts once per batch id:
//! * in the end the destination holds exactly the members that were added and not removed since;
//! * a removal is never overtaken by, nor lost behind, an addition of the same member: an addition waits for every open
//!   removal of its members, a removal for every open addition of the same tokens, and nothing else is waited for;
//! * a member that is removed before it was ever sent is not sent at all;
//! * a removal is sent until the destination confirms it, also of an audience that is closed; what a destination refuses
//!   is split until it stands alone and raises the alarm, but is never given up;
//! * only a final word moves what counts as confirmed.
//!
//! What is kept of members (units, tokens) is sealed under a key of the destination, and tokens are destroyed with their
//! last use. Logs, errors and metrics hold batch ids and counts only.
//!
//! **Who trusts what.** Whoever can change the store can make it forget, but not read it nor move a piece elsewhere (it
//! does not open then). A store out of an old backup is refused at start, because the log knows entries that it lacks.

mod draft;
mod plan;
mod retry;
pub(crate) mod seal;
pub(crate) mod sqlite;
mod state;
pub mod store;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex as Lock, MutexGuard as LockGuard, PoisonError};

use audits::Label;
use ids::{
    AudienceId, ClauseId, Clock, DestinationId, Digest, Entropy, PartyId, PurposeId, Subject, Timestamp,
    UnitIx,
};
use roaring::RoaringBitmap;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use crate::batch::{BatchId, Header, Lane, Members, Op};
use crate::destination::{Answer, Destination, Fault, Reason, SendFailed, Verdict};
use crate::journal::{Journal, JournalFailed};
use plan::{Heard, Job, Plan, Whom};
use state::State;

pub use retry::Backoff;
pub use seal::{OutboxKey, SealFailed};
pub use sqlite::SqliteStore;
pub use store::{Stage, Store, StoreFailed};

/// Members per commit: keeps a commit below half a hundred megabytes.
const MEMBERS_PER_COMMIT: usize = 500_000;
/// Batches that one commit replaces at most: its log entry names each of them and its successor, and has to fit.
const BATCHES_PER_COMMIT: usize = 500;
/// How often a change is planned anew because another process was faster.
const STALE_RETRIES: usize = 16;
/// Entries read from the log at a time.
const PAGE: u64 = 4096;
/// Jobs of one pump, so that one destination's queue cannot hold its caller for ever.
const JOBS_MAX: usize = 100_000;

/// Why the outbox does not do what it is asked to.
#[derive(Debug, thiserror::Error)]
pub enum OutboxFailed {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFailed),
    /// Sealing or opening failed.
    #[error(transparent)]
    Seal(#[from] SealFailed),
    /// The log failed; nothing is sent until it works again.
    #[error("{0}; nothing is sent until it works again")]
    Journal(#[from] JournalFailed),
    /// An entry cannot be written.
    #[error("the log would not take the entry: {reason}")]
    Entry {
        /// Why.
        reason: String,
    },
    /// The audience takes nobody any more.
    #[error("audience `{lane}` is closed and its id is never used again: make a new audience")]
    Closed {
        /// Which.
        lane: Lane,
    },
    /// Members would expire before they are sent.
    #[error("members of `{lane}` would expire at {expires}, which is past: give a later time")]
    Expired {
        /// Which lane.
        lane: Lane,
        /// When.
        expires: Timestamp,
    },
    /// A batch that is needed has no tokens any more.
    #[error("the tokens of batch {batch} are not kept any more, so it cannot be sent: the store was changed")]
    TokensGone {
        /// Which.
        batch: BatchId,
    },
    /// The log has fewer entries than the outbox knows of.
    #[error("the log has {size} entries but the outbox knows entry {index}: the log was put back")]
    LogBehind {
        /// The entry known.
        index: u64,
        /// Entries of the log.
        size: u64,
    },
    /// The log knows more than the outbox.
    #[error(
        "entry {index} of the log is about a change that the outbox does not hold: the outbox was put back"
    )]
    OutboxBehind {
        /// The entry.
        index: u64,
    },
}

impl OutboxFailed {
    /// A stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => "outbox.store-failed",
            Self::Seal(_) => "outbox.seal-failed",
            Self::Journal(_) => "outbox.log-failed",
            Self::Entry { .. } => "outbox.entry-refused",
            Self::Closed { .. } => "outbox.audience-closed",
            Self::Expired { .. } => "outbox.expired",
            Self::TokensGone { .. } => "outbox.tokens-gone",
            Self::LogBehind { .. } => "outbox.log-behind",
            Self::OutboxBehind { .. } => "outbox.behind-log",
        }
    }
}

/// On whose behalf and by which rule members are added or removed: what the log entry says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// The verified caller.
    pub principal: Option<Subject>,
    /// The party the caller acts for.
    pub party: Option<PartyId>,
    /// The caller's role.
    pub role: Option<Label>,
    /// The purpose that the members agreed to.
    pub purpose: Option<PurposeId>,
    /// Epoch of the consent bitmaps that were applied.
    pub consent_epoch: Option<u64>,
    /// Digest of the policy bundle that decided.
    pub bundle: Option<Digest>,
    /// The clauses that decided.
    pub clauses: Vec<ClauseId>,
}

/// How patient the outbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Between attempts, and between questions for a final word.
    pub backoff: Backoff,
    /// Batches of additions of one lane that may wait for their final word at a time. Removals never wait for room.
    pub window: usize,
    /// A removal that is not confirmed after so many attempts raises the alarm.
    pub alarm_after_attempts: u32,
    /// A removal that is not confirmed after so many seconds raises the alarm.
    pub alarm_after_secs: u32,
    /// Batches refused in a row, without one taken, after which a destination is held to refuse everything.
    pub refusals_max: u32,
}

impl Default for Settings {
    /// Quarter of an hour until the alarm, as long as a withdrawal may take; 40 refusals, more than the 15 in a row that
    /// one bad member among 10,000 can cause.
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            window: 8,
            alarm_after_attempts: 8,
            alarm_after_secs: 900,
            refusals_max: 40,
        }
    }
}

/// What the outbox works with.
#[derive(Clone)]
pub struct Ports {
    /// Where its rows are.
    pub store: Arc<dyn Store>,
    /// The audit log.
    pub journal: Arc<dyn Journal>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Nonces and jitter.
    pub entropy: Arc<dyn Entropy>,
    /// The destinations; each has its own name.
    pub destinations: Vec<Arc<dyn Destination>>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ports({} destinations)", self.destinations.len())
    }
}

/// What was queued.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Queued {
    /// The new batches.
    pub batches: Vec<Header>,
    /// Units that are now on their way in (an addition) or out (a removal, counting those that were never sent).
    pub units: u64,
    /// Units that were already there or on their way, or are quarantined: nothing was done.
    pub skipped: u64,
    /// Units to be removed whose tokens are not kept any more. Never, unless somebody changed the store.
    pub missing: u64,
    /// Whether the receipts are there. If not, the next pump gets them before it sends anything.
    pub logged: bool,
}

impl Queued {
    fn take(&mut self, plan: &Plan) {
        self.batches.extend(plan.batches.iter().cloned());
        self.units += plan.units.len();
        self.missing += plan.missing;
    }
}

/// What a pump did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pumped {
    /// Batches sent, counting every attempt.
    pub sent: usize,
    /// Questions asked for a final word.
    pub asked: usize,
    /// When it is worth pumping again, if anything is open.
    pub next_due: Option<Timestamp>,
}

/// Who is where, of one lane and epoch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Membership {
    /// The destination confirmed them and did not confirm their removal.
    pub acked: RoaringBitmap,
    /// They are there when every open batch is settled. A tick compares its target with this one.
    pub heading: RoaringBitmap,
    /// The destination would not take them.
    pub quarantined: RoaringBitmap,
}

/// A removal that is overdue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// The batch.
    pub batch: Header,
    /// Since when.
    pub since: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
}

/// Where one shopper is, at one destination, under one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Destination and audience.
    pub lane: Lane,
    /// Under which epoch.
    pub epoch: u64,
    /// What was done, batch by batch, oldest first.
    pub history: Vec<Moved>,
}

/// One batch that a shopper was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Added or removed.
    pub op: Op,
    /// The batch.
    pub batch: BatchId,
    /// How far it has come.
    pub stage: Stage,
    /// Whether the destination would not take this shopper.
    pub rejected: bool,
    /// Whether it may have left: it was sent, or a crash or a lost answer leaves that open.
    pub left: bool,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// The log entry of the queueing.
    pub queued_entry: Option<u64>,
    /// The log entry of the destination's final word: the proof of a removal.
    pub settled_entry: Option<u64>,
}

/// How a destination does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Batches that are not settled.
    pub open: u64,
    /// Removals among them.
    pub removals_open: u64,
    /// Queueing time of the oldest of those.
    pub oldest_removal: Option<Timestamp>,
    /// What went wrong last, if the last attempt failed.
    pub fault: Option<&'static str>,
}

/// The outbox. One process pumps it; others may queue into the same store.
pub struct Outbox {
    pub(crate) key: OutboxKey,
    pub(crate) settings: Settings,
    pub(crate) ports: Ports,
    destinations: BTreeMap<DestinationId, Arc<dyn Destination>>,
    state: Mutex<Option<State>>,
    /// Refusals in a row, and the last fault, by destination.
    streaks: Lock<HashMap<DestinationId, (u32, Option<&'static str>)>>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destinations: Vec<_> = self.destinations.keys().collect();
        f.debug_struct("Outbox").field("destinations", &destinations).finish_non_exhaustive()
    }
}

impl Outbox {
    /// Opens the outbox: reads the store, compares it with the log, and writes the entries that are owed.
    ///
    /// # Errors
    /// When the store cannot be read or opened with this key, or store and log do not belong together.
    pub async fn open(key: OutboxKey, settings: Settings, ports: Ports) -> Result<Self, OutboxFailed> {
        let named =
            ports.destinations.iter().map(|destination| (destination.id().clone(), destination.clone()));
        let destinations = named.collect();
        let (state, streaks) = (Mutex::new(None), Lock::default());
        let outbox = Self { key, settings, ports, destinations, state, streaks };
        outbox.check_log().await?;
        outbox.log_owed().await?;
        Ok(outbox)
    }

    /// Puts members on their way to an audience. Who is there already, is on the way, or was refused by the destination
    /// is skipped, so that a tick may be repeated after a crash.
    ///
    /// The members come as one call, because their order is mixed within a call only.
    ///
    /// # Errors
    /// When the audience is closed, the time is past, or the store fails.
    pub async fn add(
        &self,
        lane: &Lane,
        epoch: u64,
        expires: Timestamp,
        mut members: Members,
        cause: &Cause,
    ) -> Result<Queued, OutboxFailed> {
        if expires <= self.ports.clock.now() {
            return Err(OutboxFailed::Expired { lane: lane.clone(), expires });
        }
        members.sort_by_token();
        let mut queued = Queued::default();
        for part in members.chunks(MEMBERS_PER_COMMIT) {
            let plan =
                self.run(async |state| self.plan_add(state, lane, (epoch, expires), &part, cause)).await?;
            queued.take(&plan);
        }
        queued.skipped = (members.len() as u64).saturating_sub(queued.units);
        queued.logged = self.log_owed_or_warn().await;
        Ok(queued)
    }

    /// Removes members from an audience, under whatever epoch they are there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove(
        &self,
        lane: &Lane,
        units: &RoaringBitmap,
        cause: &Cause,
    ) -> Result<Queued, OutboxFailed> {
        self.take_out(lane, &Whom::Units(units.clone()), (false, "remove"), cause).await
    }

    /// Removes everybody who is in an audience under one epoch, as after the next epoch's tokens have arrived.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retire(&self, lane: &Lane, epoch: u64, cause: &Cause) -> Result<Queued, OutboxFailed> {
        self.take_out(lane, &Whom::Epoch(epoch), (false, "retire"), cause).await
    }

    /// Closes an audience for good: it takes nobody any more, and everybody is removed. The removals are sent until they
    /// are confirmed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn close(&self, lane: &Lane, cause: &Cause) -> Result<Queued, OutboxFailed> {
        self.take_out(lane, &Whom::All, (true, "close"), cause).await
    }

    /// Removes shoppers everywhere: from every audience of every destination. Effective at once: nothing that was not
    /// sent yet is sent of them, and a removal stands behind everything that was.
    ///
    /// # Errors
    /// When the store fails; what was queued before it did is durable, and calling again goes on.
    pub async fn withdraw(&self, units: &RoaringBitmap, cause: &Cause) -> Result<Queued, OutboxFailed> {
        let mut all = Queued::default();
        for lane in self.lanes().await? {
            let whom = Whom::Units(units.clone());
            let Queued { batches, units, missing, .. } =
                self.queue_out(&lane, &whom, (false, "withdraw"), cause).await?;
            all.batches.extend(batches);
            all.units += units;
            all.missing += missing;
        }
        all.logged = self.log_owed_or_warn().await;
        Ok(all)
    }

    async fn take_out(
        &self,
        lane: &Lane,
        whom: &Whom,
        how: (bool, &'static str),
        cause: &Cause,
    ) -> Result<Queued, OutboxFailed> {
        let mut queued = self.queue_out(lane, whom, how, cause).await?;
        queued.logged = self.log_owed_or_warn().await;
        Ok(queued)
    }

    /// As many commits as it takes; each leaves a state from which calling again goes on.
    async fn queue_out(
        &self,
        lane: &Lane,
        whom: &Whom,
        how: (bool, &'static str),
        cause: &Cause,
    ) -> Result<Queued, OutboxFailed> {
        let mut queued = Queued::default();
        loop {
            let plan = self.run(async |state| self.plan_remove(state, lane, whom, how, cause).await).await?;
            queued.take(&plan);
            if !plan.more {
                break;
            }
        }
        if queued.missing > 0 {
            tracing::error!(lane = %lane, units = queued.missing, "members to be removed have no tokens any more");
        }
        Ok(queued)
    }

    /// Destroys the tokens of members of an audience that are nowhere any more. The answer is how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget(&self, lane: &Lane) -> Result<u64, OutboxFailed> {
        Ok(self.run(async |state| self.plan_forget(state, lane).await).await?.units.len())
    }

    /// Does everything that is due at a destination, then says when it is worth coming back.
    ///
    /// Destinations do not hold each other up: pump each in its own task, one task per destination.
    ///
    /// # Errors
    /// When the store or the log fails; what a destination does wrong is no error but a reason to come back.
    pub async fn pump(&self, destination: &DestinationId) -> Result<Pumped, OutboxFailed> {
        let mut pumped = Pumped::default();
        self.sweep(destination).await?;
        while pumped.sent + pumped.asked < JOBS_MAX {
            self.log_owed().await?;
            let plan = self.run(async |state| self.plan_job(state, destination).await).await?;
            let Some(job) = plan.job else { break };
            let id = match &job {
                Job::Send(batch) => batch.header.id,
                Job::Ask(header) => header.id,
            };
            let heard = self.talk(destination, &job, &mut pumped).await;
            self.note(destination, &heard);
            self.run(async |state| self.plan_heard(state, &id, &heard).await).await?;
        }
        self.log_owed().await?;
        pumped.next_due = self.look().await?.next_due(destination, self.settings.window);
        Ok(pumped)
    }

    /// What time alone brings about: members expire, removals become overdue, closed audiences are forgotten.
    async fn sweep(&self, destination: &DestinationId) -> Result<(), OutboxFailed> {
        let (over, closed) = {
            let state = self.look().await?;
            let over = self.expired(&state, destination);
            let lanes = state
                .lanes
                .iter()
                .filter(|(lane, of)| lane.destination == *destination && of.closed && of.open.is_empty());
            (over, lanes.map(|(lane, _)| lane.clone()).collect::<Vec<_>>())
        };
        for (lane, whom) in over {
            self.queue_out(&lane, &whom, (false, "expired"), &Cause::default()).await?;
        }
        for lane in closed {
            self.forget(&lane).await?;
        }
        self.run(async |state| self.plan_alarms(state, destination)).await?;
        Ok(())
    }

    async fn talk(&self, destination: &DestinationId, job: &Job, pumped: &mut Pumped) -> Heard {
        let Some(port) = self.destinations.get(destination) else {
            let fault = Fault::NotConfigured;
            return Heard::Failed(SendFailed {
                destination: destination.clone(),
                fault,
                retry_after_secs: None,
            });
        };
        let answer = match job {
            Job::Send(batch) => {
                pumped.sent += 1;
                port.submit(batch).await
            }
            Job::Ask(header) => {
                pumped.asked += 1;
                port.status(header).await
            }
        };
        answer.map_or_else(Heard::Failed, Heard::Answer)
    }

    /// Counts refusals in a row and remembers the last fault.
    fn note(&self, destination: &DestinationId, heard: &Heard) {
        let mut streaks = self.streaks();
        let (refusals, fault) = streaks.entry(destination.clone()).or_default();
        match heard {
            Heard::Failed(failed) => *fault = Some(failed.fault.code()),
            Heard::Answer(Answer::Final(Verdict::Refused(Reason::TooLarge))) => {}
            Heard::Answer(Answer::Final(Verdict::Refused(_))) => *refusals += 1,
            Heard::Answer(Answer::Final(Verdict::Applied | Verdict::Partial(_))) => {
                (*refusals, *fault) = (0, None)
            }
            Heard::Answer(Answer::Accepted { .. } | Answer::Unknown) => *fault = None,
        }
    }

    pub(crate) fn refuses_all(&self, destination: &DestinationId) -> bool {
        self.streaks().get(destination).is_some_and(|(refusals, _)| *refusals > self.settings.refusals_max)
    }

    fn streaks(&self) -> LockGuard<'_, HashMap<DestinationId, (u32, Option<&'static str>)>> {
        self.streaks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looking.
impl Outbox {
    /// The lanes that there are.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lanes(&self) -> Result<Vec<Lane>, OutboxFailed> {
        Ok(self.look().await?.lanes.keys().cloned().collect())
    }

    /// Who is in an audience, by epoch.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn membership(&self, lane: &Lane) -> Result<BTreeMap<u64, Membership>, OutboxFailed> {
        let state = self.look().await?;
        let epochs = state.lanes.get(lane).map(|of| &of.epochs);
        let shown = epochs.into_iter().flatten().map(|(epoch, standing)| {
            let standing = standing.clone();
            let (acked, heading) = (standing.acked, standing.heading);
            (*epoch, Membership { acked, heading, quarantined: standing.quarantined })
        });
        Ok(shown.collect())
    }

    /// Whether an audience takes nobody any more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn closed(&self, lane: &Lane) -> Result<bool, OutboxFailed> {
        Ok(self.look().await?.lanes.get(lane).is_some_and(|of| of.closed))
    }

    /// The removals that are overdue.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, OutboxFailed> {
        let state = self.look().await?;
        let open = state.lanes.values().flat_map(|of| of.open.iter().filter_map(|at| state.at(of, *at)));
        let alarms = open.filter_map(|row| {
            let (batch, attempts) = (row.header.clone(), row.attempts);
            row.alarm_at.map(|since| Alarm { batch, since, attempts })
        });
        Ok(alarms.collect())
    }

    /// How a destination does.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn health(&self, destination: &DestinationId) -> Result<Health, OutboxFailed> {
        let state = self.look().await?;
        let fault = self.streaks().get(destination).and_then(|(_, fault)| *fault);
        let mut health = Health { fault, ..Health::default() };
        for (_, of) in state.lanes.iter().filter(|(lane, _)| lane.destination == *destination) {
            for row in of.open.iter().filter_map(|at| state.at(of, *at)) {
                health.open += 1;
                if row.header.place.op == Op::Remove {
                    health.removals_open += 1;
                    let oldest = health.oldest_removal.unwrap_or(row.queued_at);
                    health.oldest_removal = Some(oldest.min(row.queued_at));
                }
            }
        }
        Ok(health)
    }

    /// Where one shopper is and was: for an export to them, and as the proof of a removal.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn presence(&self, unit: UnitIx) -> Result<Vec<Presence>, OutboxFailed> {
        let state = self.look().await?;
        let mut found: BTreeMap<(Lane, u64), Vec<Moved>> = BTreeMap::new();
        for of in state.lanes.values() {
            let rows = state.rows_of(of).filter(|row| row.stage != Stage::Replaced);
            for row in rows.filter(|row| row.units.contains(unit.0)) {
                let place = &row.header.place;
                found.entry((place.lane.clone(), place.epoch)).or_default().push(Moved {
                    op: place.op,
                    batch: row.header.id,
                    stage: row.stage,
                    rejected: row.rejected.contains(unit.0),
                    left: row.stage != Stage::Queued || row.doubt,
                    queued_at: row.queued_at,
                    queued_entry: state.logged.get(&row.entry).copied(),
                    settled_entry: row.settled_entry.and_then(|entry| state.logged.get(&entry).copied()),
                });
            }
        }
        let presence = |((lane, epoch), history)| Presence { lane, epoch, history };
        Ok(found.into_iter().map(presence).collect())
    }

    /// The audience's lane at a destination.
    pub fn lane(destination: &DestinationId, audience: &AudienceId) -> Lane {
        Lane { destination: destination.clone(), audience: audience.clone() }
    }
}

/// State, store and log.
impl Outbox {
    /// The state, read anew if it is not known or another process changed the store.
    async fn fresh<'s>(&self, guard: &'s mut Option<State>) -> Result<&'s mut State, OutboxFailed> {
        let known = guard.as_ref().map(|state| state.generation);
        if known.is_none() || known != Some(self.ports.store.generation().await?) {
            *guard = Some(State::read(self.ports.store.load().await?, &self.key)?);
        }
        guard.as_mut().ok_or(OutboxFailed::Store(StoreFailed::Unreachable))
    }

    /// Plans on the state and commits, again if another process was faster.
    async fn run(
        &self,
        plan: impl AsyncFn(&State) -> Result<Plan, OutboxFailed>,
    ) -> Result<Plan, OutboxFailed> {
        let mut guard = self.state.lock().await;
        for _ in 0..STALE_RETRIES {
            let state = self.fresh(&mut guard).await?;
            let mut planned = plan(state).await?;
            if planned.changes.is_empty() {
                return Ok(planned);
            }
            match self.commit(&mut guard, std::mem::take(&mut planned.changes)).await {
                Ok(()) => return Ok(planned),
                Err(StoreFailed::Stale) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Err(StoreFailed::Stale.into())
    }

    /// Writes changes to the store and moves the state by them. After a failure the state is read anew: whether they were
    /// written is not known.
    async fn commit(
        &self,
        guard: &mut MutexGuard<'_, Option<State>>,
        changes: Vec<store::Change>,
    ) -> Result<(), StoreFailed> {
        let Some(state) = guard.as_mut() else { return Err(StoreFailed::Unreachable) };
        match self.ports.store.commit(state.generation, &changes).await {
            Ok(()) => {
                state.apply(changes);
                Ok(())
            }
            Err(failed) => {
                **guard = None;
                Err(failed)
            }
        }
    }

    /// Writes the entries that are owed, each once: one that is in the log already (a crash came before that was noted)
    /// is only noted.
    async fn log_owed(&self) -> Result<(), OutboxFailed> {
        let mut guard = self.state.lock().await;
        for _ in 0..STALE_RETRIES {
            let owed = self.fresh(&mut guard).await?.pending.clone();
            if owed.is_empty() {
                return Ok(());
            }
            let journal = self.ports.journal.clone();
            let appended = tokio::task::spawn_blocking(move || append_missing(journal.as_ref(), owed)).await;
            let (logged, failed) = appended.map_err(|_| no_thread())?;
            let changes = logged.into_iter().map(|(id, index)| store::Change::Logged { id, index });
            let changes: Vec<_> = changes.collect();
            let committed = if changes.is_empty() { Ok(()) } else { self.commit(&mut guard, changes).await };
            match (committed, failed) {
                (Err(StoreFailed::Stale), None) => {}
                (Err(other), None) => return Err(other.into()),
                (_, Some(failed)) => return Err(failed.into()),
                (Ok(()), None) => return Ok(()),
            }
        }
        Err(StoreFailed::Stale.into())
    }

    /// For whoever queued: what was queued is durable, and is sent only after its receipt is there.
    async fn log_owed_or_warn(&self) -> bool {
        match self.log_owed().await {
            Ok(()) => true,
            Err(failed) => {
                tracing::warn!(%failed, "queued, but not yet logged: the next pump writes the entry first");
                false
            }
        }
    }

    /// Store and log must be of one age.
    async fn check_log(&self) -> Result<(), OutboxFailed> {
        let mut guard = self.state.lock().await;
        let state = self.fresh(&mut guard).await?;
        let size = self.ports.journal.size();
        if let Some(index) = state.logged.values().copied().max().filter(|index| *index >= size) {
            return Err(OutboxFailed::LogBehind { index, size });
        }
        let journal = self.ports.journal.clone();
        let in_log = tokio::task::spawn_blocking(move || all_results(journal.as_ref(), size)).await;
        let in_log = in_log.map_err(|_| no_thread())??;
        let held =
            |id: &Digest| state.logged.contains_key(id) || state.pending.iter().any(|owed| owed.id == *id);
        match in_log.into_iter().find(|(_, id)| !held(id)) {
            Some((index, _)) => Err(OutboxFailed::OutboxBehind { index }),
            None => Ok(()),
        }
    }

    /// The state, for looking at.
    async fn look(&self) -> Result<MappedMutexGuard<'_, State>, OutboxFailed> {
        let mut guard = self.state.lock().await;
        self.fresh(&mut guard).await?;
        let state = MutexGuard::try_map(guard, Option::as_mut);
        state.map_err(|_| OutboxFailed::Store(StoreFailed::Unreachable))
    }
}

/// Appends what the log does not have. Blocks. What was appended before a failure is told too.
fn append_missing(
    journal: &dyn Journal,
    owed: Vec<store::Pending>,
) -> (Vec<(Digest, u64)>, Option<JournalFailed>) {
    let (mut logged, mut missing) = (Vec::new(), Vec::new());
    for owed in owed {
        match journal.find_result(&owed.id) {
            Some(index) => logged.push((owed.id, index)),
            None => missing.push(owed),
        }
    }
    let ids: Vec<Digest> = missing.iter().map(|owed| owed.id).collect();
    let entries = missing.into_iter().map(|owed| (owed.entry, owed.body)).collect();
    let mut failed = None;
    for (id, appended) in ids.into_iter().zip(journal.append(entries)) {
        match appended {
            Ok(index) => logged.push((id, index)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    (logged, failed)
}

/// The result of every entry that is about an audience. Blocks.
fn all_results(journal: &dyn Journal, size: u64) -> Result<Vec<(u64, Digest)>, JournalFailed> {
    let mut all = Vec::new();
    let mut from = 0;
    while from < size {
        let to = size.min(from + PAGE);
        all.extend(journal.outbox_results(from, to)?);
        from = to;
    }
    Ok(all)
}

fn no_thread() -> OutboxFailed {
    OutboxFailed::Journal(JournalFailed { reason: "its writer did not answer".to_owned() })
}
