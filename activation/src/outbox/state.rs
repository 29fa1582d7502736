//! What the outbox knows, in memory: a mirror of the store that is moved by the same changes.
//!
//! It decides nothing. Who is where follows from the batches alone, folded in lane order, so that a restart sees what the
//! running process saw.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ids::{DestinationId, Digest, Timestamp};
use roaring::RoaringBitmap;

use super::seal::{OutboxKey, Piece, SealFailed, Sealer};
use super::store::{Change, Pending, Row, Stage, Stored, StoredRow};
use crate::batch::{BatchId, Lane, Op};

/// Who is where, of one lane and one epoch.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Standing {
    /// Who will be there when every batch is settled.
    pub(crate) heading: RoaringBitmap,
    /// Whom the destination confirmed and did not confirm as removed since.
    pub(crate) acked: RoaringBitmap,
    /// Whom the destination would not take.
    pub(crate) quarantined: RoaringBitmap,
    /// Those of them that it may hold all the same.
    pub(crate) doubtful: RoaringBitmap,
}

/// A lane with the order of its batches.
#[derive(Debug, Clone, Default)]
pub(crate) struct LaneState {
    pub(crate) next_seq: u64,
    pub(crate) closed: bool,
    /// Every batch, by position.
    pub(crate) order: BTreeMap<(u64, u32), BatchId>,
    /// Those that are not settled.
    pub(crate) open: BTreeSet<(u64, u32)>,
    /// The removals among them: an addition looks at no more than these.
    pub(crate) removing: BTreeSet<(u64, u32)>,
    /// By epoch.
    pub(crate) epochs: BTreeMap<u64, Standing>,
}

/// The mirror.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) generation: u64,
    pub(crate) lanes: BTreeMap<Lane, LaneState>,
    pub(crate) rows: HashMap<BatchId, Row>,
    pub(crate) logged: HashMap<Digest, u64>,
    pub(crate) pending: Vec<Pending>,
}

impl State {
    /// Opens what the store holds.
    pub(crate) fn read(stored: Stored, key: &OutboxKey) -> Result<Self, SealFailed> {
        let Stored { generation, lanes, rows, logged, pending } = stored;
        let logged = logged.into_iter().collect();
        let mut state = Self { generation, logged, pending, ..Self::default() };
        for lane in lanes {
            let fresh = LaneState { next_seq: lane.next_seq, closed: lane.closed, ..LaneState::default() };
            state.lanes.insert(lane.lane, fresh);
        }
        let mut sealers: BTreeMap<DestinationId, Sealer> = BTreeMap::new();
        for stored in rows {
            let destination = &stored.row.header.place.lane.destination;
            if !sealers.contains_key(destination) {
                sealers.insert(destination.clone(), Sealer::of(key, destination)?);
            }
            let Some(sealer) = sealers.get(destination) else { continue };
            let row = opened(stored, sealer)?;
            state.place(&row);
            state.rows.insert(row.header.id, row);
        }
        let lanes: Vec<Lane> = state.lanes.keys().cloned().collect();
        lanes.iter().for_each(|lane| state.fold(lane));
        Ok(state)
    }

    /// After a commit: the same changes here.
    pub(crate) fn apply(&mut self, changes: Vec<Change>) {
        self.generation += 1;
        let mut dirty = BTreeSet::new();
        for change in changes {
            match change {
                Change::Lane { lane, next_seq, closed } => {
                    let of = self.lanes.entry(lane).or_default();
                    (of.next_seq, of.closed) = (next_seq, closed);
                }
                Change::Insert { row, .. } => {
                    if !self.step_inserted(&row) {
                        dirty.insert(row.header.place.lane.clone());
                    }
                    self.place(&row);
                    self.rows.insert(row.header.id, *row);
                }
                Change::Update { row, .. } => {
                    if !self.step_updated(&row) {
                        dirty.insert(row.header.place.lane.clone());
                    }
                    self.place(&row);
                    self.rows.insert(row.header.id, *row);
                }
                Change::Keep { batch, members } => {
                    if let Some(row) = self.rows.get_mut(&batch) {
                        row.kept = members.is_some();
                    }
                }
                Change::Owe(owed) => self.pending.push(*owed),
                Change::Logged { id, index } => {
                    self.pending.retain(|owed| owed.id != id);
                    self.logged.insert(id, index);
                }
            }
        }
        dirty.iter().for_each(|lane| self.fold(lane));
    }

    fn place(&mut self, row: &Row) {
        let place = &row.header.place;
        let lane = self.lanes.entry(place.lane.clone()).or_default();
        lane.order.insert((place.seq, place.part), row.header.id);
        let position = (place.seq, place.part);
        if row.stage.open() {
            lane.open.insert(position);
            if place.op == Op::Remove {
                lane.removing.insert(position);
            }
        } else {
            lane.open.remove(&position);
            lane.removing.remove(&position);
        }
    }

    /// A whole batch at the end of its lane moves the standing by itself; a part does not.
    fn step_inserted(&mut self, row: &Row) -> bool {
        let place = &row.header.place;
        let Some(lane) = self.lanes.get_mut(&place.lane) else { return false };
        let last = lane.order.last_key_value().is_none_or(|((seq, _), _)| *seq < place.seq);
        if !last || place.part != 0 || !row.rejected.is_empty() {
            return false;
        }
        step(lane.epochs.entry(place.epoch).or_default(), row);
        true
    }

    /// A batch that is taken whole moves what is confirmed by itself, and one that only waits moves nothing.
    fn step_updated(&mut self, row: &Row) -> bool {
        let place = &row.header.place;
        let Some(before) = self.rows.get(&row.header.id) else { return false };
        if before.stage.open() && row.stage.open() {
            return true;
        }
        let Some(lane) = self.lanes.get_mut(&place.lane) else { return false };
        if row.stage != Stage::Settled || !row.rejected.is_empty() {
            return false;
        }
        let standing = lane.epochs.entry(place.epoch).or_default();
        match place.op {
            Op::Add => standing.acked |= &row.units,
            Op::Remove => standing.acked -= &row.units,
        }
        true
    }

    /// The standing of a lane from its batches alone.
    fn fold(&mut self, lane: &Lane) {
        let Some(of) = self.lanes.get_mut(lane) else { return };
        of.epochs.clear();
        for id in of.order.values() {
            if let Some(row) = self.rows.get(id) {
                step(of.epochs.entry(row.header.place.epoch).or_default(), row);
            }
        }
    }

    /// The row at a position.
    pub(crate) fn at(&self, lane: &LaneState, position: (u64, u32)) -> Option<&Row> {
        lane.order.get(&position).and_then(|id| self.rows.get(id))
    }

    /// The rows of a lane, in order.
    pub(crate) fn rows_of<'s>(&'s self, lane: &'s LaneState) -> impl DoubleEndedIterator<Item = &'s Row> {
        lane.order.values().filter_map(|id| self.rows.get(id))
    }

    /// Whether the receipt is there without which a batch is not sent.
    pub(crate) fn may_leave(&self, row: &Row) -> bool {
        self.logged.contains_key(&row.entry)
    }

    /// Whether an earlier batch of its lane has to be settled first.
    ///
    /// INVARIANT (order): an addition waits for every open removal that names one of its members, whatever the epoch; a
    /// removal waits for every open addition of the same tokens. Two additions, or two removals, may go in any order.
    pub(crate) fn blocked(&self, lane: &LaneState, row: &Row) -> bool {
        let place = &row.header.place;
        let others = if place.op == Op::Add { &lane.removing } else { &lane.open };
        others.range(..(place.seq, place.part)).any(|position| {
            self.at(lane, *position).is_some_and(|earlier| {
                let of = &earlier.header.place;
                let meets = match (of.op, place.op) {
                    (Op::Remove, Op::Add) => true,
                    (Op::Add, Op::Remove) => of.epoch == place.epoch,
                    (Op::Add, Op::Add) | (Op::Remove, Op::Remove) => false,
                };
                meets && !earlier.units.is_disjoint(&row.units)
            })
        })
    }

    /// The batches of a lane that something can be done about, once they are due: not those that wait for another one,
    /// nor additions beyond the window of those that wait for their final word.
    pub(crate) fn ready<'s>(&'s self, lane: &'s LaneState, window: usize) -> impl Iterator<Item = &'s Row> {
        let open = || lane.open.iter().filter_map(|position| self.at(lane, *position));
        let full = open().filter(|row| row.stage == Stage::Accepted).count() >= window;
        open().filter(move |row| {
            let beyond = full && row.header.place.op == Op::Add;
            row.stage == Stage::Accepted || (!beyond && !self.blocked(lane, row))
        })
    }

    /// When something can be done for a destination next.
    pub(crate) fn next_due(&self, destination: &DestinationId, window: usize) -> Option<Timestamp> {
        let lanes = self.lanes.iter().filter(|(lane, _)| lane.destination == *destination);
        lanes.flat_map(|(_, of)| self.ready(of, window)).map(|row| row.next_at).min()
    }
}

/// Moves a standing by one batch.
fn step(standing: &mut Standing, row: &Row) {
    if row.stage == Stage::Replaced {
        return;
    }
    let (live, settled) = (row.live(), row.stage == Stage::Settled);
    match row.header.place.op {
        Op::Add => {
            standing.heading |= &live;
            standing.quarantined |= &row.rejected;
            if row.doubt {
                standing.doubtful |= &row.rejected;
            }
            if settled {
                standing.acked |= &live;
            }
        }
        Op::Remove => {
            standing.heading -= &live;
            standing.doubtful -= &live;
            if settled {
                standing.acked -= &live;
            }
        }
    }
}

fn opened(stored: StoredRow, sealer: &Sealer) -> Result<Row, SealFailed> {
    let StoredRow { mut row, units, rejected } = stored;
    let id = row.header.id;
    row.units = sealer.open_units(Piece::Units, &id, &units)?;
    if let Some(rejected) = rejected {
        row.rejected = sealer.open_units(Piece::Rejected, &id, &rejected)?;
    }
    // A process died while it was sending: whether it did is not known.
    if row.stage == Stage::Sending {
        (row.stage, row.doubt) = (Stage::Queued, true);
    }
    Ok(row)
}
