//! Consent as it stands: one bitmap of shoppers per purpose.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ids::{PurposeId, Timestamp, UnitIx};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

/// What happened to one shopper's consent to one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsentEvent {
    /// The shopper agreed.
    Given,
    /// The shopper took the agreement back.
    Withdrawn,
    /// The agreement's term ran out.
    Expired,
}

/// Why a text is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no consent event: expected one of `given withdrawn expired`")]
pub struct ConsentEventUnknown;

impl ConsentEvent {
    /// Every event.
    pub const ALL: [Self; 3] = [Self::Given, Self::Withdrawn, Self::Expired];

    /// The event as it stands in files, in the registry and in receipts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for ConsentEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ConsentEvent {
    type Err = ConsentEventUnknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|event| event.as_str() == text).ok_or(ConsentEventUnknown)
    }
}

/// Who agreed to what, as of one epoch. A purpose nobody was asked about allows nobody.
///
/// # Guarantee
/// `allows(purpose, unit)` is true only if the latest recorded event of that shopper for that purpose is
/// [`ConsentEvent::Given`] and no other event has the same time. No record, no consent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Consents {
    epoch: u64,
    allowed: BTreeMap<PurposeId, RoaringBitmap>,
}

impl Consents {
    /// Begins an empty state. `epoch` numbers the states of one vault and goes up with each change; it is written into
    /// every log entry, so that anybody can tell which state a release was made under.
    pub fn builder(epoch: u64) -> ConsentsBuilder {
        ConsentsBuilder { epoch, latest: BTreeMap::new() }
    }

    /// The number of this state.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether this shopper's rows may be used for this purpose.
    pub fn allows(&self, purpose: &PurposeId, unit: UnitIx) -> bool {
        self.allowed.get(purpose).is_some_and(|units| units.contains(unit.0))
    }

    /// Positions of all shoppers who agreed; `None` for a purpose without any record, which allows nobody.
    pub fn bitmap(&self, purpose: &PurposeId) -> Option<&RoaringBitmap> {
        self.allowed.get(purpose)
    }

    /// The purposes with at least one record, in alphabetical order.
    pub fn purposes(&self) -> impl Iterator<Item = &PurposeId> {
        self.allowed.keys()
    }
}

/// Collects events in any order; see [`Consents::builder`]. It remembers the time of the latest event of each shopper, so
/// that events from several sources, the vault's consent table and the registry, merge by time; eight bytes per shopper
/// and purpose.
#[derive(Debug, Clone)]
pub struct ConsentsBuilder {
    epoch: u64,
    latest: BTreeMap<PurposeId, Latest>,
}

/// The latest events for one purpose.
#[derive(Debug, Clone, Default)]
struct Latest {
    /// Twice the time in milliseconds, plus one if all events of that time say yes; [`NOTHING`] where there is no event.
    /// Positions are dense, but a stray one must not cost memory up to it: hence chunks.
    chunks: BTreeMap<u16, Box<[i64]>>,
    allowed: RoaringBitmap,
}

/// No event so far.
const NOTHING: i64 = i64::MIN;
/// Positions of one chunk: as many as the lower half of a position can tell apart.
const CHUNK: usize = 1 << 16;
/// Beyond these times all are equal: some hundred million years from now.
const MILLIS_MAX: i64 = 1 << 60;

impl Latest {
    fn record(&mut self, unit: u32, at: i64, given: bool) {
        let (chunk, within) = ((unit >> 16) as u16, (unit & 0xffff) as usize);
        let chunk = self.chunks.entry(chunk).or_insert_with(|| vec![NOTHING; CHUNK].into_boxed_slice());
        let Some(known) = chunk.get_mut(within) else { return };
        let (time, said) = (*known >> 1, *known & 1 == 1);
        let now = match at {
            _ if *known == NOTHING || at > time => given,
            _ if at == time => said && given,
            _ => return,
        };
        *known = (at << 1) | i64::from(now);
        if now {
            self.allowed.insert(unit);
        } else {
            self.allowed.remove(unit);
        }
    }
}

impl ConsentsBuilder {
    /// Takes one event. The order of calls does not matter: the latest event wins, and among events of the same time
    /// the more restrictive.
    pub fn record(
        &mut self,
        unit: UnitIx,
        purpose: &PurposeId,
        event: ConsentEvent,
        at: Timestamp,
    ) -> &mut Self {
        if !self.latest.contains_key(purpose) {
            self.latest.insert(purpose.clone(), Latest::default());
        }
        if let Some(latest) = self.latest.get_mut(purpose) {
            let at = at.as_millis().clamp(-MILLIS_MAX, MILLIS_MAX);
            latest.record(unit.0, at, event == ConsentEvent::Given);
        }
        self
    }

    /// From now on the state has this number.
    pub const fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// The purposes with at least one record, in alphabetical order.
    pub fn purposes(&self) -> impl Iterator<Item = &PurposeId> {
        self.latest.keys()
    }

    /// The state after all recorded events.
    pub fn build(&self) -> Consents {
        let allowed = self.latest.iter().map(|(purpose, latest)| (purpose.clone(), latest.allowed.clone()));
        Consents { epoch: self.epoch, allowed: allowed.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn purpose(name: &str) -> PurposeId {
        name.parse().unwrap()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn no_record_means_no_consent() {
        let mut builder = Consents::builder(7);
        builder.record(UnitIx(3), &purpose("measurement"), ConsentEvent::Given, at(1));
        let consents = builder.build();
        assert_eq!(consents.epoch(), 7);
        assert!(consents.allows(&purpose("measurement"), UnitIx(3)));
        assert!(!consents.allows(&purpose("measurement"), UnitIx(4)));
        assert!(!consents.allows(&purpose("activation"), UnitIx(3)));
        assert_eq!(consents.bitmap(&purpose("activation")), None);
    }

    #[test]
    fn the_latest_event_wins_whatever_the_order_of_arrival() {
        let (p, unit) = (purpose("p"), UnitIx(0));
        let mut builder = Consents::builder(0);
        builder.record(unit, &p, ConsentEvent::Expired, at(20)).record(unit, &p, ConsentEvent::Given, at(10));
        assert!(!builder.build().allows(&p, unit));
        builder.record(unit, &p, ConsentEvent::Given, at(30));
        assert!(builder.build().allows(&p, unit));
    }

    #[test]
    fn at_the_same_time_the_more_restrictive_event_wins() {
        for no in [ConsentEvent::Withdrawn, ConsentEvent::Expired] {
            for events in [[ConsentEvent::Given, no], [no, ConsentEvent::Given]] {
                let mut builder = Consents::builder(0);
                for event in events {
                    builder.record(UnitIx(1), &purpose("p"), event, at(5));
                }
                assert!(!builder.build().allows(&purpose("p"), UnitIx(1)), "{events:?}");
            }
        }
    }

    #[test]
    fn a_stray_position_costs_one_chunk_and_events_print_and_parse() {
        let mut builder = Consents::builder(0);
        builder.record(UnitIx(u32::MAX), &purpose("p"), ConsentEvent::Given, at(i64::MAX));
        builder.record(UnitIx(u32::MAX), &purpose("p"), ConsentEvent::Withdrawn, at(i64::MIN));
        assert!(builder.build().allows(&purpose("p"), UnitIx(u32::MAX)));
        builder.set_epoch(9);
        assert_eq!(builder.build().epoch(), 9);
        for event in ConsentEvent::ALL {
            assert_eq!(event.to_string().parse(), Ok(event));
        }
        assert!("Given".parse::<ConsentEvent>().is_err());
    }

    proptest! {
        /// Against the definition: sort all events of one shopper and purpose, look at those of the last moment.
        #[test]
        fn agrees_with_the_definition(
            events in prop::collection::vec((0_u32..6, 0_usize..3, 0_usize..3, -2_i64..3), 0..60)
        ) {
            let purposes = [purpose("a"), purpose("b"), purpose("c")];
            let kinds = [ConsentEvent::Given, ConsentEvent::Withdrawn, ConsentEvent::Expired];
            let mut builder = Consents::builder(1);
            for &(unit, p, kind, time) in &events {
                builder.record(UnitIx(unit), &purposes[p], kinds[kind], at(time));
            }
            let consents = builder.build();
            for (p, name) in purposes.iter().enumerate() {
                for unit in 0..6 {
                    let mine: Vec<_> = events.iter().filter(|e| e.0 == unit && e.1 == p).collect();
                    let last = mine.iter().map(|e| e.3).max();
                    let expected = last.is_some_and(|last| mine.iter().filter(|e| e.3 == last).all(|e| e.2 == 0));
                    prop_assert_eq!(consents.allows(name, UnitIx(unit)), expected);
                }
            }
        }
    }
}
