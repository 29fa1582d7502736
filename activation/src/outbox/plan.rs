//! What a wish, an answer or the passing of time changes. Each function reads the state and gives a commit; none writes.

use std::collections::BTreeMap;

use audits::Kind;
use ids::{DestinationId, Timestamp};
use roaring::RoaringBitmap;

use super::draft::{Draft, Heritage};
use super::state::{LaneState, State};
use super::store::{Change, Row, Stage};
use super::{BATCHES_PER_COMMIT, Cause, MEMBERS_PER_COMMIT, Outbox, OutboxFailed};
use crate::batch::{Batch, BatchId, Header, Lane, Members, Op, Token};
use crate::destination::{Answer, Fault, Reason, SendFailed, Verdict};

/// Who is to be removed.
#[derive(Debug, Clone)]
pub(crate) enum Whom {
    /// These, whatever the epoch.
    Units(RoaringBitmap),
    /// Everybody of one epoch.
    Epoch(u64),
    /// These of one epoch.
    Within(u64, RoaringBitmap),
    /// Everybody.
    All,
}

impl Whom {
    fn of(&self, epoch: u64, present: &RoaringBitmap) -> RoaringBitmap {
        match self {
            Self::Units(units) => units & present,
            Self::Within(only, units) if *only == epoch => units & present,
            Self::Epoch(only) if *only == epoch => present.clone(),
            Self::All => present.clone(),
            Self::Epoch(_) | Self::Within(..) => RoaringBitmap::new(),
        }
    }
}

/// A commit, and what is to be told of it.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) changes: Vec<Change>,
    pub(crate) batches: Vec<Header>,
    /// Units that were queued, or taken out before they were ever sent.
    pub(crate) units: RoaringBitmap,
    /// Units to be removed whose tokens are not kept any more.
    pub(crate) missing: u64,
    /// Whether there is more of the same to do than one commit holds.
    pub(crate) more: bool,
    pub(crate) job: Option<Job>,
}

/// What is to be done at a destination.
#[derive(Debug)]
pub(crate) enum Job {
    Send(Batch),
    Ask(Header),
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    Answer(Answer),
    Failed(SendFailed),
}

impl Outbox {
    fn draft<'a>(&'a self, state: &'a State, lane: &Lane) -> Result<Draft<'a>, OutboxFailed> {
        Draft::new(state, &self.key, self.ports.entropy.as_ref(), self.ports.clock.now(), lane)
    }

    /// Members that are not on their way yet are put on their way.
    pub(crate) fn plan_add(
        &self,
        state: &State,
        lane: &Lane,
        (epoch, expires): (u64, Timestamp),
        members: &Members,
        cause: &Cause,
    ) -> Result<Plan, OutboxFailed> {
        let of = state.lanes.get(lane);
        if of.is_some_and(|of| of.closed) {
            return Err(OutboxFailed::Closed { lane: lane.clone() });
        }
        let mut fresh = members.clone();
        if let Some(standing) = of.and_then(|of| of.epochs.get(&epoch)) {
            let known = &standing.heading | &standing.quarantined;
            fresh.retain(|unit| !known.contains(unit.0));
        }
        if fresh.is_empty() {
            return Ok(Plan::default());
        }
        let mut draft = self.draft(state, lane)?;
        draft.queue(Op::Add, epoch, Some(expires), &fresh)?;
        let (batches, units) = (draft.batches(), fresh.units());
        let changes = draft.finish(Kind::AudienceQueued, cause, "add", &[])?;
        Ok(Plan { changes, batches, units, ..Plan::default() })
    }

    /// Members are removed: those that were never sent at once and for good, the others by a batch behind everything that
    /// was sent of them.
    pub(crate) async fn plan_remove(
        &self,
        state: &State,
        lane: &Lane,
        whom: &Whom,
        (close, reason): (bool, &'static str),
        cause: &Cause,
    ) -> Result<Plan, OutboxFailed> {
        let mut plan = Plan::default();
        let mut draft = self.draft(state, lane)?;
        if close {
            draft.close();
        }
        let empty = LaneState::default();
        let of = state.lanes.get(lane).unwrap_or(&empty);
        for (epoch, standing) in &of.epochs {
            let mut wanted = whom.of(*epoch, &(&standing.heading | &standing.doubtful));
            if wanted.is_empty() {
                continue;
            }
            let asked = wanted.clone();
            if !self.cut(state, of, &mut draft, *epoch, &mut wanted).await? {
                plan.more = true;
                plan.units |= asked - wanted;
                break;
            }
            let leaving = self.tokens_of(state, of, &draft, *epoch, &mut wanted).await?;
            draft.queue(Op::Remove, *epoch, None, &leaving)?;
            if leaving.len() >= MEMBERS_PER_COMMIT {
                plan.more = true;
                plan.units |= asked - wanted;
                break;
            }
            plan.missing += wanted.len();
            plan.units |= asked;
        }
        if !draft.is_empty() {
            plan.batches = draft.batches();
            plan.changes = draft.finish(Kind::AudienceQueued, cause, reason, &[])?;
        }
        Ok(plan)
    }

    /// Takes members out of batches that were never sent. Somebody who withdrew is then not sent at all. `false` if the
    /// commit is full before all such batches were seen.
    async fn cut(
        &self,
        state: &State,
        of: &LaneState,
        draft: &mut Draft<'_>,
        epoch: u64,
        wanted: &mut RoaringBitmap,
    ) -> Result<bool, OutboxFailed> {
        let never_sent = |row: &&Row| {
            let place = &row.header.place;
            row.stage == Stage::Queued && !row.doubt && place.op == Op::Add && place.epoch == epoch
        };
        for position in &of.open {
            let Some(row) = state.at(of, *position).filter(never_sent) else { continue };
            if row.units.is_disjoint(wanted) {
                continue;
            }
            if draft.touched() >= BATCHES_PER_COMMIT {
                return Ok(false);
            }
            let members = self.members_of(row, draft).await?;
            let (out, rest) = members.divide(wanted);
            *wanted -= out.units();
            draft.update(Row { stage: Stage::Replaced, ..row.clone() }, false);
            draft.drop_tokens(row.header.id);
            let due = Some(row.next_at);
            draft.part_of(row, &rest, Heritage { next_at: due, ..Heritage::default() })?;
        }
        Ok(true)
    }

    /// The tokens under which members were sent, from the newest batch back; what is not found stays in `wanted`.
    async fn tokens_of(
        &self,
        state: &State,
        of: &LaneState,
        draft: &Draft<'_>,
        epoch: u64,
        wanted: &mut RoaringBitmap,
    ) -> Result<Members, OutboxFailed> {
        let mut leaving = Members::default();
        for row in state.rows_of(of).rev() {
            let place = &row.header.place;
            let holds =
                place.op == Op::Add && place.epoch == epoch && row.kept && row.stage != Stage::Replaced;
            if wanted.is_empty() || leaving.len() >= MEMBERS_PER_COMMIT {
                break;
            }
            if !holds || row.units.is_disjoint(wanted) {
                continue;
            }
            let (found, _) = self.members_of(row, draft).await?.divide(wanted);
            *wanted -= found.units();
            leaving.append(&found);
        }
        leaving.sort_by_token();
        Ok(leaving)
    }

    async fn members_of(&self, row: &Row, draft: &Draft<'_>) -> Result<Members, OutboxFailed> {
        let id = &row.header.id;
        let sealed = self.ports.store.members(id).await?.ok_or(OutboxFailed::TokensGone { batch: *id })?;
        Ok(draft.sealer().open_members(id, &sealed)?)
    }

    /// Members whose time is over are removed. Who was added again since has another time.
    pub(crate) fn expired(&self, state: &State, destination: &DestinationId) -> Vec<(Lane, Whom)> {
        let now = self.ports.clock.now();
        let mut due: Vec<(Lane, Whom)> = Vec::new();
        for (lane, of) in state.lanes.iter().filter(|(lane, _)| lane.destination == *destination) {
            if !state.rows_of(of).any(|row| row.header.place.expires.is_some_and(|expires| expires <= now)) {
                continue;
            }
            let mut by_epoch: BTreeMap<u64, RoaringBitmap> = BTreeMap::new();
            let mut later: BTreeMap<u64, RoaringBitmap> = BTreeMap::new();
            for row in state.rows_of(of).rev().filter(|row| row.stage != Stage::Replaced) {
                let place = &row.header.place;
                let (Some(expires), Some(standing)) = (place.expires, of.epochs.get(&place.epoch)) else {
                    continue;
                };
                let later = later.entry(place.epoch).or_default();
                let present = &standing.heading | &standing.doubtful;
                if expires <= now && !row.units.is_disjoint(&present) {
                    *by_epoch.entry(place.epoch).or_default() |= (&row.units & present) - &*later;
                }
                *later |= row.live();
            }
            let over = by_epoch.into_iter().filter(|(_, units)| !units.is_empty());
            due.extend(over.map(|(epoch, units)| (lane.clone(), Whom::Within(epoch, units))));
        }
        due
    }

    /// The next thing to do at a destination: removals first, then questions, then additions, each in its order.
    pub(crate) async fn plan_job(
        &self,
        state: &State,
        destination: &DestinationId,
    ) -> Result<Plan, OutboxFailed> {
        let now = self.ports.clock.now();
        let mut due: Vec<(u8, &Row)> = Vec::new();
        for (_, of) in state.lanes.iter().filter(|(lane, _)| lane.destination == *destination) {
            let ready = state.ready(of, self.settings.window).filter(|row| row.next_at <= now);
            due.extend(ready.map(|row| match (row.header.place.op, row.stage) {
                (Op::Remove, _) => (0, row),
                (Op::Add, Stage::Accepted) => (1, row),
                (Op::Add, _) => (2, row),
            }));
        }
        due.sort_by_key(|(rank, row)| (*rank, row.next_at, row.header.place.seq, row.header.place.part));
        for (_, row) in due {
            if row.stage == Stage::Accepted {
                return Ok(Plan { job: Some(Job::Ask(row.header.clone())), ..Plan::default() });
            }
            if state.may_leave(row) {
                return self.claim(state, row).await;
            }
        }
        Ok(Plan::default())
    }

    /// Marks a batch as being sent, before it is: what was perhaps sent is known as such after a crash.
    async fn claim(&self, state: &State, row: &Row) -> Result<Plan, OutboxFailed> {
        let draft = self.draft(state, &row.header.place.lane)?;
        let members = self.members_of(row, &draft).await?;
        let tokens = members.groups().map(|(token, _)| token.parse::<Token>());
        let tokens = tokens.collect::<Result<Vec<_>, _>>();
        let members = tokens.map_err(|_| OutboxFailed::TokensGone { batch: row.header.id })?;
        let batch = Batch { header: row.header.clone(), members };
        let sending =
            Row { stage: Stage::Sending, attempts: row.attempts.saturating_add(1), polls: 0, ..row.clone() };
        let changes = vec![Change::Update { row: Box::new(sending), rejected: None }];
        Ok(Plan { changes, job: Some(Job::Send(batch)), ..Plan::default() })
    }

    /// What a destination said, or that it said nothing, becomes the batch's state.
    pub(crate) async fn plan_heard(
        &self,
        state: &State,
        id: &BatchId,
        heard: &Heard,
    ) -> Result<Plan, OutboxFailed> {
        let Some(row) = state.rows.get(id).filter(|row| row.stage.open()) else { return Ok(Plan::default()) };
        let asked = row.stage == Stage::Accepted;
        match heard {
            Heard::Failed(failed) => self.again(state, row, failed.fault, failed.retry_after_secs),
            Heard::Answer(Answer::Accepted { poll_after_secs }) => self.accepted(row, *poll_after_secs),
            Heard::Answer(Answer::Unknown) if asked => {
                self.again(state, row, Fault::Broken, None).map(resend)
            }
            Heard::Answer(Answer::Unknown) => self.again(state, row, Fault::Protocol, None),
            Heard::Answer(Answer::Final(Verdict::Applied)) => self.settle(state, row, &[], None).await,
            Heard::Answer(Answer::Final(Verdict::Partial(rejections))) => {
                let mut positions: Vec<u32> = rejections.iter().map(|rejection| rejection.position).collect();
                positions.sort_unstable();
                positions.dedup();
                if positions.last().is_some_and(|last| *last >= row.header.count) {
                    return self.again(state, row, Fault::Protocol, None);
                }
                self.settle(state, row, &positions, rejections.first().map(|rejection| rejection.reason))
                    .await
            }
            Heard::Answer(Answer::Final(Verdict::Refused(reason))) => self.refused(state, row, *reason).await,
        }
    }

    /// It will be tried again: a batch is sent again, an accepted one asked for again.
    fn again(
        &self,
        state: &State,
        row: &Row,
        fault: Fault,
        retry_after_secs: Option<u32>,
    ) -> Result<Plan, OutboxFailed> {
        let asked = row.stage == Stage::Accepted;
        let tries = if asked { row.polls.saturating_add(1) } else { row.attempts };
        let next_at = self.next_at(tries, retry_after_secs)?;
        let mut row = Row { next_at, ..row.clone() };
        if asked {
            row.polls = tries;
        } else {
            row.stage = Stage::Queued;
            row.doubt |= fault.in_doubt();
        }
        let place = &row.header.place;
        tracing::debug!(lane = %place.lane, batch = %row.header.id, fault = fault.code(), attempts = row.attempts,
            "a batch will be tried again");
        let mut changes = self.alarm(state, &mut row, fault.code())?;
        changes.push(Change::Update { row: Box::new(row), rejected: None });
        Ok(Plan { changes, ..Plan::default() })
    }

    fn accepted(&self, row: &Row, poll_after_secs: Option<u32>) -> Result<Plan, OutboxFailed> {
        let polls = if row.stage == Stage::Accepted { row.polls.saturating_add(1) } else { 0 };
        let next_at = self.next_at(polls.saturating_add(1), poll_after_secs)?;
        let row = Row { stage: Stage::Accepted, polls, next_at, ..row.clone() };
        let changes = vec![Change::Update { row: Box::new(row), rejected: None }];
        Ok(Plan { changes, ..Plan::default() })
    }

    /// The destination's final word: all but the rejected were taken. A rejected addition is quarantined; a rejected
    /// removal goes on as a batch of its own.
    async fn settle(
        &self,
        state: &State,
        row: &Row,
        positions: &[u32],
        reason: Option<Reason>,
    ) -> Result<Plan, OutboxFailed> {
        let mut draft = self.draft(state, &row.header.place.lane)?;
        let mut settled = Row { stage: Stage::Settled, reason, ..row.clone() };
        let removal = row.header.place.op == Op::Remove;
        let mut word = "applied";
        if !positions.is_empty() {
            word = "partial";
            let members = self.members_of(row, &draft).await?;
            let of = |wanted: bool| move |n: usize| positions.binary_search(&(n as u32)).is_ok() == wanted;
            let rejected = members.pick(of(true));
            settled.rejected = rejected.units();
            if removal {
                let heritage = self.goes_on(row)?;
                draft.part_of(row, &rejected, heritage)?;
            }
        }
        if removal {
            draft.drop_tokens(row.header.id);
        }
        let alarm = if removal && !positions.is_empty() { Some(row.clone()) } else { None };
        draft.update(settled, true);
        let mut changes = draft.finish(Kind::AudienceSettled, &Cause::default(), word, &[])?;
        if let Some(mut row) = alarm {
            changes.extend(self.raise(state, &mut row, "rejected")?);
        }
        Ok(Plan { changes, ..Plan::default() })
    }

    /// The destination takes nothing of it. The batch is split until what it will not take stands alone.
    async fn refused(&self, state: &State, row: &Row, reason: Reason) -> Result<Plan, OutboxFailed> {
        let removal = row.header.place.op == Op::Remove;
        if self.refuses_all(&row.header.place.lane.destination) && (row.header.count > 1 || !removal) {
            return self.again(state, row, Fault::RefusesAll, None);
        }
        let mut draft = self.draft(state, &row.header.place.lane)?;
        let mut after = Row { reason: Some(reason), ..row.clone() };
        let mut alarm = None;
        if row.header.count > 1 || removal {
            let members = self.members_of(row, &draft).await?;
            let half = members.tokens().div_ceil(2);
            let mut heritage = Heritage { doubt: row.doubt, ..Heritage::default() };
            if removal {
                // A part gets a new id, because a destination answers an old one as it did before.
                heritage = self.goes_on(row)?;
                if row.header.count == 1 {
                    alarm = Some(row.clone());
                } else {
                    // The bad one is not found yet: the halves go at once.
                    (heritage.next_at, heritage.alarm_at) = (None, row.alarm_at);
                }
            }
            for part in members.chunks(half) {
                draft.part_of(row, &part, heritage)?;
            }
            after.stage = Stage::Replaced;
            draft.drop_tokens(row.header.id);
        } else {
            after.stage = Stage::Settled;
            after.rejected = row.units.clone();
        }
        draft.update(after, true);
        let mut changes = draft.finish(Kind::AudienceSettled, &Cause::default(), "refused", &[])?;
        if let Some(mut row) = alarm {
            changes.extend(self.raise(state, &mut row, "refused")?);
        }
        Ok(Plan { changes, ..Plan::default() })
    }

    /// What a part of a removal takes over when the destination would not have it: the alarm, and a wait.
    fn goes_on(&self, row: &Row) -> Result<Heritage, OutboxFailed> {
        Ok(Heritage {
            attempts: row.attempts,
            doubt: row.doubt,
            next_at: Some(self.next_at(row.attempts, None)?),
            alarm_at: Some(row.alarm_at.unwrap_or(self.ports.clock.now())),
            queued_at: None,
        })
    }

    fn next_at(&self, tries: u32, retry_after_secs: Option<u32>) -> Result<Timestamp, OutboxFailed> {
        let now = self.ports.clock.now();
        let entropy = self.ports.entropy.as_ref();
        let next = self.settings.backoff.next(now, tries, retry_after_secs, entropy);
        Ok(next.map_err(super::seal::SealFailed::from)?)
    }

    /// Raises the alarm over a removal that is overdue, once.
    pub(crate) fn alarm(
        &self,
        state: &State,
        row: &mut Row,
        why: &'static str,
    ) -> Result<Vec<Change>, OutboxFailed> {
        let age_ms = self.ports.clock.now().as_millis().saturating_sub(row.queued_at.as_millis());
        let overdue = age_ms >= i64::from(self.settings.alarm_after_secs) * 1000;
        let often = row.attempts >= self.settings.alarm_after_attempts;
        if row.header.place.op == Op::Remove && (overdue || often) {
            self.raise(state, row, why)
        } else {
            Ok(Vec::new())
        }
    }

    /// Raises it, unless it was raised already.
    fn raise(&self, state: &State, row: &mut Row, why: &'static str) -> Result<Vec<Change>, OutboxFailed> {
        if row.alarm_at.is_some() {
            return Ok(Vec::new());
        }
        row.alarm_at = Some(self.ports.clock.now());
        let place = &row.header.place;
        tracing::error!(lane = %place.lane, batch = %row.header.id, members = row.header.count, why,
            "a removal is overdue: it is sent again until the destination confirms it");
        let draft = self.draft(state, &place.lane)?;
        let id = row.header.id;
        let identity: &[&[u8]] = &[id.digest().as_bytes()];
        draft.finish(Kind::AudienceAlarm, &Cause::default(), why, identity)
    }

    /// Removals that are overdue without anything having been heard: nobody tried, or something is in their way.
    pub(crate) fn plan_alarms(
        &self,
        state: &State,
        destination: &DestinationId,
    ) -> Result<Plan, OutboxFailed> {
        let mut changes = Vec::new();
        for (_, of) in state.lanes.iter().filter(|(lane, _)| lane.destination == *destination) {
            for row in of.open.iter().filter_map(|at| state.at(of, *at)).filter(|row| row.alarm_at.is_none())
            {
                let mut late = row.clone();
                let raised = self.alarm(state, &mut late, "overdue")?;
                if !raised.is_empty() {
                    changes.extend(raised);
                    changes.push(Change::Update { row: Box::new(late), rejected: None });
                }
            }
        }
        Ok(Plan { changes, ..Plan::default() })
    }

    /// Tokens of members that are nowhere any more are destroyed.
    pub(crate) async fn plan_forget(&self, state: &State, lane: &Lane) -> Result<Plan, OutboxFailed> {
        let mut plan = Plan::default();
        let Some(of) = state.lanes.get(lane) else { return Ok(plan) };
        let draft = self.draft(state, lane)?;
        for row in state.rows_of(of).filter(|row| row.kept && row.stage == Stage::Settled) {
            let place = &row.header.place;
            let Some(standing) = of.epochs.get(&place.epoch).filter(|_| place.op == Op::Add) else {
                continue;
            };
            let needed = &standing.heading | &standing.doubtful | &standing.acked;
            if row.units.is_subset(&needed) {
                continue;
            }
            let members = self.members_of(row, &draft).await?;
            let (keep, gone) = members.divide(&needed);
            if gone.is_empty() {
                continue;
            }
            plan.units |= gone.units();
            let id = row.header.id;
            let entropy = self.ports.entropy.as_ref();
            let seal = || draft.sealer().seal_members(&id, &keep, entropy);
            let members = (!keep.is_empty()).then(seal).transpose()?;
            plan.changes.push(Change::Keep { batch: id, members });
        }
        Ok(plan)
    }
}

/// The destination lost it: what was accepted is sent again.
fn resend(mut plan: Plan) -> Plan {
    for change in &mut plan.changes {
        if let Change::Update { row, .. } = change {
            (row.stage, row.doubt) = (Stage::Queued, true);
        }
    }
    plan
}
