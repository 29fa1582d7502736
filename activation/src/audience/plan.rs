//! One tick of one audience: what is told, in which order. A pure function of sets, rules and time.

use std::collections::BTreeMap;

use ids::Timestamp;
use roaring::RoaringBitmap;

use super::guard::{CHANGES_MIN, GuardKey};
use super::terms::{AudienceRules, gather};
use super::{Audience, Roll};

/// One thing to tell a destination. Steps are told in their order.
#[derive(Clone, PartialEq)]
pub enum Step {
    /// These are no longer members.
    Remove {
        /// Under which epoch they are known.
        epoch: u64,
        /// Who.
        units: RoaringBitmap,
    },
    /// Nobody is a member under this epoch any more.
    Retire {
        /// The epoch.
        epoch: u64,
        /// Who was: everybody.
        units: RoaringBitmap,
    },
    /// These are members from now on.
    Add {
        /// Under which epoch they are to be named.
        epoch: u64,
        /// Who.
        units: RoaringBitmap,
        /// Until when they may be held.
        expires: Timestamp,
    },
}

impl Step {
    /// Whom it is about.
    pub const fn units(&self) -> &RoaringBitmap {
        match self {
            Self::Remove { units, .. } | Self::Retire { units, .. } | Self::Add { units, .. } => units,
        }
    }
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (word, epoch) = match self {
            Self::Remove { epoch, .. } => ("Remove", epoch),
            Self::Retire { epoch, .. } => ("Retire", epoch),
            Self::Add { epoch, .. } => ("Add", epoch),
        };
        write!(f, "{word}({} in epoch {epoch})", self.units().len())
    }
}

/// What became of the changes that are not urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regular {
    /// They are told.
    Told,
    /// Too few have gathered; the next period decides again.
    Waiting,
    /// This period has decided already.
    NotDue,
    /// The audience takes nothing any more.
    Closed,
}

/// A tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What to tell, in this order: removals, retired epochs, additions.
    pub steps: Vec<Step>,
    /// The audience as it is from then on. It must be saved before the first step is told, and [`Plan::settled`] after the
    /// last one.
    pub audience: Audience,
    /// What became of the changes that are not urgent.
    pub regular: Regular,
    /// Whose removal could not wait.
    pub urgent: RoaringBitmap,
    /// Who would be told but shares no moment of expiry with 49 others.
    pub left_out: RoaringBitmap,
}

impl Plan {
    /// The audience when every step is told. What a crash in between leaves is finished by the next tick.
    pub fn settled(&self) -> Audience {
        Audience { owed: RoaringBitmap::new(), ..self.audience.clone() }
    }
}

/// Compares the target with what was told: `told` is, by epoch, whom the destination holds or will hold when everything queued
/// is done.
///
/// The order of steps at a change of epoch is stated and not incidental: everything under the old epoch is taken back
/// first. For a moment nobody is addressed; nobody is ever addressed under two names.
pub fn plan(
    audience: &Audience,
    roll: &Roll,
    told: &BTreeMap<u64, RoaringBitmap>,
    rules: &AudienceRules,
    guard: &GuardKey,
    (epoch, now): (u64, Timestamp),
) -> Plan {
    if audience.closed.is_some() {
        return close(audience, told, now);
    }
    let allowed = roll.allowed();
    let everybody = told.values().fold(RoaringBitmap::new(), |all, units| all | units);
    // Who was told and has no term that runs counts as expired, also where the book of terms was lost.
    let urgent = (&everybody - &allowed) | (&everybody - audience.terms.running(now));
    let stay = &everybody - &urgent;

    let target = roll.target();
    let (leaving, joining) = (&stay - &target, &target - &everybody);
    let period = rules.period(audience.opened, now);
    let regular = if audience.period.is_some_and(|last| last >= period) {
        Regular::NotDue
    } else if leaving.len() + joining.len() >= guard.changes(&audience.id, period) {
        Regular::Told
    } else {
        Regular::Waiting
    };

    let mut next = audience.clone();
    if regular != Regular::NotDue {
        next.period = Some(period);
    }
    let mut gone = urgent.clone();
    let mut come = RoaringBitmap::new();
    if regular == Regular::Told {
        gone |= &leaving;
        come |= &joining;
        next.basis = roll.eligible();
    }

    let mut steps = Vec::new();
    let mut carried = RoaringBitmap::new();
    for (&old, units) in told.iter().filter(|(_, units)| !units.is_empty()) {
        if old == epoch {
            let units = units & &gone;
            if !units.is_empty() {
                steps.push(Step::Remove { epoch, units });
            }
        } else {
            carried |= units - &gone;
            steps.push(Step::Retire { epoch: old, units: units.clone() });
        }
    }
    // Who is under the new epoch already stays there as they are.
    let present = told.get(&epoch).cloned().unwrap_or_default() - &gone;
    come |= carried - &present;
    come |= ((&audience.owed & &allowed) - &everybody) - &gone;
    // A handful that goes from one epoch to the next could be followed by its number alone.
    if present.len() + come.len() < CHANGES_MIN {
        come.clear();
    }
    let (groups, left_out) = gather(&come, &roll.consents_ending, rules.until(now), now);
    next.terms.forget(&gone);
    next.terms.forget(&left_out);
    next.owed.clear();
    for (expires, units) in groups {
        next.owed |= &units;
        next.terms.set(&units, expires);
        steps.push(Step::Add { epoch, units, expires });
    }
    Plan { steps, audience: next, regular, urgent, left_out }
}

/// Takes everybody back, for good: the campaign ended or was cancelled, or the audience was closed.
pub fn close(audience: &Audience, told: &BTreeMap<u64, RoaringBitmap>, now: Timestamp) -> Plan {
    let mut next = audience.clone();
    next.closed = next.closed.or(Some(now));
    let held = told.iter().filter(|(_, units)| !units.is_empty());
    let steps: Vec<_> = held.map(|(&epoch, units)| Step::Retire { epoch, units: units.clone() }).collect();
    let urgent = steps.iter().fold(RoaringBitmap::new(), |all, step| all | step.units());
    next.terms.forget(&urgent);
    next.owed.clear();
    Plan { steps, audience: next, regular: Regular::Closed, urgent, left_out: RoaringBitmap::new() }
}
