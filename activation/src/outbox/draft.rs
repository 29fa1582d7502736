//! A commit in the making: batches, what they replace, and the log entry that names them all.

use std::collections::BTreeMap;

use audits::{BODY_BYTES_MAX, Decision, Entry, Kind, Label, Logged};
use ids::{Digest, Entropy, Timestamp};
use serde_json::json;

use super::seal::{OutboxKey, Piece, Sealer};
use super::state::State;
use super::store::{Change, Pending, Row, Stage};
use super::{Cause, OutboxFailed};
use crate::batch::{BatchId, Header, Lane, MEMBERS_MAX, Members, Op, Place};

/// What a part takes over from the batch that it is a part of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heritage {
    pub(crate) attempts: u32,
    pub(crate) doubt: bool,
    pub(crate) next_at: Option<Timestamp>,
    pub(crate) alarm_at: Option<Timestamp>,
    pub(crate) queued_at: Option<Timestamp>,
}

/// One lane's part of a commit.
pub(crate) struct Draft<'a> {
    state: &'a State,
    entropy: &'a dyn Entropy,
    sealer: Sealer,
    now: Timestamp,
    lane: Lane,
    next_seq: u64,
    closed: bool,
    lane_changed: bool,
    /// Largest part given out, by position.
    parts: BTreeMap<u64, u32>,
    inserts: Vec<(Row, Vec<u8>, Vec<u8>)>,
    updates: Vec<(Row, bool)>,
    dropped: Vec<BatchId>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(
        state: &'a State,
        key: &OutboxKey,
        entropy: &'a dyn Entropy,
        now: Timestamp,
        lane: &Lane,
    ) -> Result<Self, OutboxFailed> {
        let of = state.lanes.get(lane);
        Ok(Self {
            state,
            entropy,
            sealer: Sealer::of(key, &lane.destination)?,
            now,
            lane: lane.clone(),
            next_seq: of.map_or(1, |of| of.next_seq),
            closed: of.is_some_and(|of| of.closed),
            lane_changed: of.is_none(),
            parts: BTreeMap::new(),
            inserts: Vec::new(),
            updates: Vec::new(),
            dropped: Vec::new(),
        })
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    pub(crate) fn close(&mut self) {
        self.lane_changed |= !self.closed;
        self.closed = true;
    }

    /// New batches at the end of the lane. The members must be sorted.
    pub(crate) fn queue(
        &mut self,
        op: Op,
        epoch: u64,
        expires: Option<Timestamp>,
        members: &Members,
    ) -> Result<(), OutboxFailed> {
        for chunk in members.chunks(MEMBERS_MAX) {
            let seq = self.next_seq;
            self.next_seq += 1;
            self.lane_changed = true;
            let place = Place { lane: self.lane.clone(), epoch, op, seq, part: 0, expires };
            self.insert(place, &chunk, Heritage::default())?;
        }
        Ok(())
    }

    /// A part of an earlier batch, at the same position of the lane.
    pub(crate) fn part_of(
        &mut self,
        whole: &Row,
        members: &Members,
        heritage: Heritage,
    ) -> Result<(), OutboxFailed> {
        if members.is_empty() {
            return Ok(());
        }
        let seq = whole.header.place.seq;
        let known = || {
            let lane = self.state.lanes.get(&self.lane);
            let last = lane.and_then(|lane| lane.order.range((seq, 0)..=(seq, u32::MAX)).next_back());
            last.map_or(0, |((_, part), _)| *part)
        };
        let part = self.parts.get(&seq).copied().unwrap_or_else(known).saturating_add(1);
        self.parts.insert(seq, part);
        let heritage = Heritage { queued_at: Some(whole.queued_at), ..heritage };
        self.insert(Place { part, ..whole.header.place.clone() }, members, heritage)
    }

    fn insert(&mut self, place: Place, members: &Members, heritage: Heritage) -> Result<(), OutboxFailed> {
        let id = BatchId::derive(&place, &self.sealer.content(members));
        let units = members.units();
        let sealed_units = self.sealer.seal_units(Piece::Units, &id, &units, self.entropy)?;
        let sealed_members = self.sealer.seal_members(&id, members, self.entropy)?;
        let count = u32::try_from(members.tokens()).unwrap_or(u32::MAX);
        let row = Row {
            header: Header { id, place, count },
            stage: Stage::Queued,
            units,
            rejected: roaring::RoaringBitmap::new(),
            reason: None,
            attempts: heritage.attempts,
            polls: 0,
            doubt: heritage.doubt,
            next_at: heritage.next_at.unwrap_or(self.now),
            // Set when the entry is known: it names the batches.
            entry: *id.digest(),
            settled_entry: None,
            alarm_at: heritage.alarm_at,
            queued_at: heritage.queued_at.unwrap_or(self.now),
            kept: true,
        };
        self.inserts.push((row, sealed_units, sealed_members));
        Ok(())
    }

    /// A batch as it is from now on; `heard` if the destination's final word made it so.
    pub(crate) fn update(&mut self, row: Row, heard: bool) {
        self.updates.push((row, heard));
    }

    /// Tokens of a batch that are kept no longer.
    pub(crate) fn drop_tokens(&mut self, batch: BatchId) {
        self.dropped.push(batch);
    }

    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        !self.lane_changed && self.inserts.is_empty() && self.updates.is_empty()
    }

    /// How many batches it changes.
    pub(crate) fn touched(&self) -> usize {
        self.updates.len()
    }

    /// The batches that are new.
    pub(crate) fn batches(&self) -> Vec<Header> {
        self.inserts.iter().map(|(row, ..)| row.header.clone()).collect()
    }

    /// The commit, with the one log entry that it owes: known by `identity`, so that it is written once.
    pub(crate) fn finish(
        self,
        kind: Kind,
        cause: &Cause,
        reason: &'static str,
        identity: &[&[u8]],
    ) -> Result<Vec<Change>, OutboxFailed> {
        let ids: Vec<[u8; 32]> =
            self.inserts.iter().map(|(row, ..)| *row.header.id.digest().as_bytes()).collect();
        let replaced = self.updates.iter().map(|(row, _)| *row.header.id.digest().as_bytes());
        let replaced: Vec<[u8; 32]> = replaced.collect();
        let name = kind.name();
        let mut parts: Vec<&[u8]> = vec![b"activation/outbox/entry/v1", name.as_bytes(), reason.as_bytes()];
        parts.extend([self.lane.destination.as_str().as_bytes(), self.lane.audience.as_str().as_bytes()]);
        parts.extend(identity);
        parts.push(b"batches");
        parts.extend(ids.iter().map(<[u8; 32]>::as_slice));
        parts.push(b"replaced");
        parts.extend(replaced.iter().map(<[u8; 32]>::as_slice));
        let id = Digest::of_parts(&parts);
        let entry = self.entry(kind, cause, reason, id)?;
        let owed = Pending { id, entry, body: self.body(reason)? };

        let mut changes = Vec::new();
        if self.lane_changed {
            changes.push(Change::Lane { lane: self.lane, next_seq: self.next_seq, closed: self.closed });
        }
        changes.push(Change::Owe(Box::new(owed)));
        for (mut row, heard) in self.updates {
            if heard {
                row.settled_entry = Some(id);
            }
            let rejected = &row.rejected;
            let batch = row.header.id;
            let sealed = (!rejected.is_empty())
                .then(|| self.sealer.seal_units(Piece::Rejected, &batch, rejected, self.entropy))
                .transpose()?;
            changes.push(Change::Update { row: Box::new(row), rejected: sealed });
        }
        for (mut row, units, members) in self.inserts {
            row.entry = id;
            changes.push(Change::Insert { row: Box::new(row), units, members });
        }
        changes.extend(self.dropped.into_iter().map(|batch| Change::Keep { batch, members: None }));
        Ok(changes)
    }

    fn entry(
        &self,
        kind: Kind,
        cause: &Cause,
        reason: &'static str,
        id: Digest,
    ) -> Result<Entry, OutboxFailed> {
        let label = |text: &str| text.parse::<Label>().ok();
        let entry = Entry {
            principal: cause.principal.clone(),
            party: cause.party.clone(),
            role: cause.role.clone(),
            purpose: cause.purpose.clone(),
            consent_epoch: cause.consent_epoch,
            bundle: cause.bundle,
            clauses: cause.clauses.clone(),
            decision: (!cause.clauses.is_empty()).then_some(Decision::Permitted),
            reason: label(reason),
            destination: label(self.lane.destination.as_str()),
            audience: Some(self.lane.audience.clone()),
            result: Some(id),
            ..Entry::new(kind)
        };
        // An entry that can never be a leaf would hold its batches back for ever: find out before it is owed.
        let probe = Logged { index: 0, time: self.now, entry, body: None };
        probe.to_leaf().map_err(|refused| OutboxFailed::Entry { reason: refused.to_string() })?;
        Ok(probe.entry)
    }

    /// Batch ids and counts: what an auditor needs to follow a batch, and nothing about its members.
    fn body(&self, reason: &'static str) -> Result<Vec<u8>, OutboxFailed> {
        let listed = |header: &Header| {
            let place = &header.place;
            json!({ "batch": header.id, "op": place.op, "epoch": place.epoch, "seq": place.seq, "part": place.part,
                    "members": header.count })
        };
        let batches: Vec<_> = self.inserts.iter().map(|(row, ..)| listed(&row.header)).collect();
        let changed = self.updates.iter().map(|(row, _)| {
            json!({ "batch": row.header.id, "op": row.header.place.op, "members": row.header.count,
                    "rejected": row.rejected.len(), "reason": row.reason })
        });
        let body = json!({ "reason": reason, "batches": batches, "changed": changed.collect::<Vec<_>>() });
        let body =
            serde_json::to_vec(&body).map_err(|error| OutboxFailed::Entry { reason: error.to_string() })?;
        if body.len() > BODY_BYTES_MAX {
            let reason = format!("its body takes {} bytes but at most {BODY_BYTES_MAX} are kept", body.len());
            return Err(OutboxFailed::Entry { reason });
        }
        Ok(body)
    }
}
