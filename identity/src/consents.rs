//! Consent as it stands: one bitmap of shoppers per purpose.

use std::collections::{BTreeMap, HashMap};

use ids::{PurposeId, Timestamp, UnitIx};
use roaring::RoaringBitmap;

/// What happened to one shopper's consent to one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConsentEvent {
    /// The shopper agreed.
    Given,
    /// The shopper took the agreement back.
    Withdrawn,
    /// The agreement's term ran out.
    Expired,
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

/// Collects events in any order; see [`Consents::builder`].
#[derive(Debug, Clone)]
pub struct ConsentsBuilder {
    epoch: u64,
    /// Per purpose and shopper: time of the latest event, and whether all events of that time say yes.
    latest: BTreeMap<PurposeId, HashMap<u32, (Timestamp, bool)>>,
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
            self.latest.insert(purpose.clone(), HashMap::new());
        }
        let given = event == ConsentEvent::Given;
        if let Some(units) = self.latest.get_mut(purpose) {
            let known = units.entry(unit.0).or_insert((at, given));
            if at > known.0 {
                *known = (at, given);
            } else if at == known.0 {
                known.1 &= given;
            }
        }
        self
    }

    /// The state after all recorded events.
    pub fn build(&self) -> Consents {
        let allowed = self.latest.iter().map(|(purpose, units)| {
            let mut yes: Vec<u32> =
                units.iter().filter(|(_, (_, given))| *given).map(|(&unit, _)| unit).collect();
            // The bitmap is built fastest, and in the smallest form, from ascending positions.
            yes.sort_unstable();
            (purpose.clone(), RoaringBitmap::from_iter(yes))
        });
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
