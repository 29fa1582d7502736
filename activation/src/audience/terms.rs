//! Until when a member may be held: the least of the destination's term, the end of the member's consent and the end of the
//! contract.
//!
//! A moment of expiry is sent along, so it must not single anybody out: a member whose consent ended on a day of their own
//! could be followed from epoch to epoch by it. Ends are therefore rounded down to days and gathered, from the
//! earliest on, until at least 50 members share one; who cannot share one is not sent. Nobody is held longer than their
//! consent says.

use std::collections::BTreeMap;

use ids::Timestamp;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::guard::CHANGES_MIN;

/// How long a destination holds a member unless it is told again, days.
pub const TERM_DAYS_DEFAULT: u16 = 30;
/// The longest term (what the large platforms hold at most), days.
pub const TERM_DAYS_MAX: u16 = 540;
/// Days between decisions on other changes than urgent removals.
const PERIOD_DAYS_DEFAULT: u16 = 7;
const DAY_MILLIS: i64 = 86_400_000;

/// How one audience is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudienceRules {
    term_days: u16,
    period_days: u16,
    /// When the contract under which the data is used ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contract_ends: Option<Timestamp>,
}

/// A rule is out of range.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum RulesRefused {
    /// The term.
    #[error("a term of {0} days is out of range: set 1 to {TERM_DAYS_MAX} ({TERM_DAYS_DEFAULT} by default)")]
    Term(u16),
    /// The period.
    #[error("a period of {0} days is out of range: set 1 to 30 ({PERIOD_DAYS_DEFAULT} by default)")]
    Period(u16),
}

impl AudienceRules {
    /// Rules with a term and a period between decisions, both in days.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn new(
        term_days: u16,
        period_days: u16,
        contract_ends: Option<Timestamp>,
    ) -> Result<Self, RulesRefused> {
        if !(1..=TERM_DAYS_MAX).contains(&term_days) {
            return Err(RulesRefused::Term(term_days));
        }
        if !(1..=30).contains(&period_days) {
            return Err(RulesRefused::Period(period_days));
        }
        Ok(Self { term_days, period_days, contract_ends })
    }

    /// The moment until which somebody who is told now may be held, their own consent aside.
    pub fn until(&self, now: Timestamp) -> Timestamp {
        let term = now.plus_secs(i64::from(self.term_days) * 86_400);
        self.contract_ends.map_or(term, |ends| term.min(ends))
    }

    /// The period of a moment, counted from when the audience was admitted.
    pub(crate) fn period(&self, opened: Timestamp, now: Timestamp) -> u64 {
        let seconds = now.as_secs().saturating_sub(opened.as_secs());
        u64::try_from(seconds.div_euclid(86_400 * i64::from(self.period_days))).unwrap_or(0)
    }
}

impl Default for AudienceRules {
    fn default() -> Self {
        Self { term_days: TERM_DAYS_DEFAULT, period_days: PERIOD_DAYS_DEFAULT, contract_ends: None }
    }
}

/// Until when each member may be held.
#[derive(Clone, PartialEq, Default)]
pub struct Terms(BTreeMap<Timestamp, RoaringBitmap>);

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Terms({} ends)", self.0.len())
    }
}

impl Terms {
    /// Of these ends.
    pub(crate) fn from_map(ends: BTreeMap<Timestamp, RoaringBitmap>) -> Self {
        Self(ends)
    }

    /// The ends, earliest first.
    pub(crate) const fn ends(&self) -> &BTreeMap<Timestamp, RoaringBitmap> {
        &self.0
    }

    /// Who has a term that is not over.
    pub(crate) fn running(&self, now: Timestamp) -> RoaringBitmap {
        let later = self.0.iter().filter(|(end, _)| **end > now);
        later.fold(RoaringBitmap::new(), |all, (_, units)| all | units)
    }

    /// These have a new term, and none of them another.
    pub(crate) fn set(&mut self, units: &RoaringBitmap, until: Timestamp) {
        self.forget(units);
        *self.0.entry(until).or_default() |= units;
    }

    /// These have none.
    pub(crate) fn forget(&mut self, units: &RoaringBitmap) {
        self.0.retain(|_, held| {
            *held -= units;
            !held.is_empty()
        });
    }
}

/// Members by the moment until which they may be held, and those who can share none with at least 49 others.
pub(crate) fn gather(
    members: &RoaringBitmap,
    consents_ending: &[(Timestamp, RoaringBitmap)],
    until: Timestamp,
    now: Timestamp,
) -> (Vec<(Timestamp, RoaringBitmap)>, RoaringBitmap) {
    let mut days: BTreeMap<i64, RoaringBitmap> = BTreeMap::new();
    let mut whole = members.clone();
    let mut seen = RoaringBitmap::new();
    let mut ends: Vec<_> = consents_ending.iter().filter(|(end, _)| *end < until).collect();
    ends.sort_by_key(|(end, _)| *end);
    for (end, units) in ends {
        // The earliest end counts where a shopper has several.
        let ending = (units & members) - &seen;
        seen |= &ending;
        whole -= &ending;
        *days.entry(end.as_millis().div_euclid(DAY_MILLIS)).or_default() |= ending;
    }
    let mut groups = Vec::new();
    let (mut group, mut first) = (RoaringBitmap::new(), None);
    for (day, units) in days {
        let end = Timestamp::from_millis(day.saturating_mul(DAY_MILLIS));
        // Who may not be held even until now is not sent.
        if end <= now || units.is_empty() {
            continue;
        }
        let shared = *first.get_or_insert(end);
        group |= units;
        if group.len() >= CHANGES_MIN {
            groups.push((shared, std::mem::take(&mut group)));
            first = None;
        }
    }
    if !whole.is_empty() {
        groups.push((until, whole));
    }
    let sent = groups.iter().fold(RoaringBitmap::new(), |all, (_, units)| all | units);
    (groups, members - sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_millis(0).plus_secs(day * DAY)
    }

    #[test]
    fn nobody_is_held_longer_than_consent_says_and_no_end_is_rare() {
        let members: RoaringBitmap = (0..1_000).collect();
        let ends = vec![
            (at(5).plus_secs(60), (0..30).collect()),
            (at(6).plus_secs(60), (30..80).collect()),
            (at(9), (80..100).collect()),
            (at(40), (100..200).collect()),
        ];
        let (groups, left_out) = gather(&members, &ends, at(30), at(1));
        let sizes: Vec<_> = groups.iter().map(|(end, units)| (*end, units.len())).collect();
        assert_eq!(sizes, [(at(5), 80), (at(30), 900)]);
        assert_eq!(left_out, (80..100).collect());
    }

    #[test]
    fn who_is_past_the_end_is_not_sent() {
        let members: RoaringBitmap = (0..100).collect();
        let (groups, left_out) = gather(&members, &[(at(3), (0..60).collect())], at(30), at(3));
        assert_eq!(groups, [(at(30), (60..100).collect())]);
        assert_eq!(left_out, (0..60).collect());
    }

    #[test]
    fn rules_have_bounds() {
        assert_eq!(AudienceRules::new(0, 7, None), Err(RulesRefused::Term(0)));
        assert_eq!(AudienceRules::new(541, 7, None), Err(RulesRefused::Term(541)));
        assert_eq!(AudienceRules::new(540, 0, None), Err(RulesRefused::Period(0)));
        let rules = AudienceRules::new(540, 30, Some(at(12))).unwrap();
        assert_eq!(rules.until(at(1)), at(12));
        assert_eq!(AudienceRules::default().until(at(1)), at(31));
        assert_eq!(AudienceRules::default().period(at(10), at(17)), 1);
        assert_eq!(AudienceRules::default().period(at(10), at(9)), 0);
    }

    #[test]
    fn a_member_has_one_term() {
        let mut terms = Terms::default();
        terms.set(&(0..10).collect(), at(3));
        terms.set(&(5..15).collect(), at(9));
        assert_eq!(terms.running(at(3)), (5..15).collect());
        terms.forget(&(0..12).collect());
        assert_eq!(terms.ends().len(), 1);
        assert_eq!(terms.running(at(0)), (12..15).collect());
    }
}
