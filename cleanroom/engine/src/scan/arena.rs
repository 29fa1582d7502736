//! The vectors of shoppers whose bound is still to be found, kept compactly between the histogram and the sum.

use super::ScanMeasure;

/// Column by column: shoppers with where their groups end, groups, and one value per group and searched measure.
pub(super) struct Arena {
    units: Vec<u32>,
    ends: Vec<usize>,
    groups: Vec<u32>,
    lanes: Vec<Vec<i64>>,
    kinds: Vec<Option<ScanMeasure>>,
    bytes_max: usize,
    full: bool,
}

/// One shopper's part.
pub(super) struct Shopper<'a> {
    pub unit: u32,
    arena: &'a Arena,
    from: usize,
    to: usize,
}

impl Arena {
    /// An empty arena for so many searched measures, which forgets everything when it would need more than `bytes_max`.
    pub(super) fn new(measures: usize, bytes_max: usize) -> Self {
        Self {
            units: Vec::new(),
            ends: Vec::new(),
            groups: Vec::new(),
            lanes: vec![Vec::new(); measures],
            kinds: vec![None; measures],
            bytes_max,
            full: false,
        }
    }

    /// Keeps one shopper's groups and the values of each searched measure in them.
    pub(super) fn push<'l>(
        &mut self,
        unit: u32,
        kept: &[u32],
        lanes: impl Iterator<Item = (&'l ScanMeasure, &'l [i64])>,
    ) {
        if self.full || self.bytes_with(kept.len()) > self.bytes_max {
            *self = Self { full: true, ..Self::new(self.lanes.len(), self.bytes_max) };
            return;
        }
        self.units.push(unit);
        self.groups.extend_from_slice(kept);
        self.ends.push(self.groups.len());
        for ((column, kind), (measure, lane)) in self.lanes.iter_mut().zip(&mut self.kinds).zip(lanes) {
            column.extend(kept.iter().map(|&group| lane.get(group as usize).copied().unwrap_or(0)));
            *kind = Some(*measure);
        }
    }

    /// What it would take with one more shopper of so many groups.
    fn bytes_with(&self, groups: usize) -> usize {
        let per_group = size_of::<u32>() + self.lanes.len() * size_of::<i64>();
        let per_unit = size_of::<u32>() + size_of::<usize>();
        (self.groups.len() + groups) * per_group + (self.units.len() + 1) * per_unit
    }

    /// The arena, unless it was too small.
    pub(super) fn finish(self) -> Option<Self> {
        (!self.full).then_some(self)
    }

    /// Every shopper, in order of arrival.
    pub(super) fn shoppers(&self) -> impl Iterator<Item = Shopper<'_>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        self.units.iter().zip(starts.zip(&self.ends)).map(|(&unit, (from, &to))| Shopper {
            unit,
            arena: self,
            from,
            to,
        })
    }
}

impl Shopper<'_> {
    /// The vector of the `lane`-th searched measure.
    pub(super) fn collect(&self, lane: usize, groups: &mut Vec<u32>, vector: &mut Vec<i64>) {
        groups.clear();
        vector.clear();
        let kept = self.arena.groups.get(self.from..self.to).unwrap_or_default();
        let values =
            self.arena.lanes.get(lane).and_then(|lane| lane.get(self.from..self.to)).unwrap_or_default();
        let units = self.arena.kinds.get(lane).copied().flatten().is_some_and(|measure| measure.is_units());
        for (&group, &value) in kept.iter().zip(values) {
            if value != 0 || !units {
                groups.push(group);
                vector.push(value);
            }
        }
    }
}
