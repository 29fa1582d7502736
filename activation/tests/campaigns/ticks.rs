//! Ticks of audiences: controls are never addressed, removals never wait, nobody has two names, nothing can be joined.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::support::*;
use activation::arms::{Arm, Arms, ArmsKey, GlobalHoldout};
use activation::audience::{
    Audience, AudienceRules, GuardKey, Naming, Plan, Regular, Roll, Step, Terms, close, plan, render,
};
use activation::campaign::Content;
use identity::{IdentifierKind, PseudonymEpoch, Renderer, ScopedKey};
use ids::{Digest, Timestamp};
use proptest::prelude::*;
use roaring::RoaringBitmap;

const ALL_KINDS: [IdentifierKind; 2] = [IdentifierKind::Phone, IdentifierKind::Card];

/// One audience, its destination, and the vault behind.
struct World {
    content: Content,
    arms: Arms,
    guard: GuardKey,
    rules: AudienceRules,
    vault: MemoryVault,
    audience: Audience,
    /// By epoch, whom the destination holds or will hold.
    told: BTreeMap<u64, RoaringBitmap>,
}

fn audience(opened: Timestamp) -> Audience {
    Audience {
        id: "aud-1".parse().unwrap(),
        campaign: "butter".parse().unwrap(),
        destination: "gateway".parse().unwrap(),
        buyer: party("brand-nord"),
        segment: Digest::of(b"predicate"),
        opened,
        closed: None,
        period: None,
        basis: RoaringBitmap::new(),
        terms: Terms::default(),
        owed: RoaringBitmap::new(),
    }
}

fn epoch(now: Timestamp) -> u64 {
    u64::from(PseudonymEpoch::at(now).number())
}

impl World {
    fn new(vault: MemoryVault, share_bp: u16, salt: u8) -> Self {
        let secrets = secrets();
        let mut content = content("butter");
        content.holdout.share_bp = share_bp;
        let global = GlobalHoldout::derive(&secrets, "2026-H2", 500);
        let key = ArmsKey::derive(&secrets, &content.campaign, &[salt; 32]);
        let arms = Arms::new(&key, content.campaign.clone(), share_bp, Some(&global), None);
        Self {
            content,
            arms,
            guard: GuardKey::derive(&secrets),
            rules: AudienceRules::new(30, 1, None).unwrap(),
            vault,
            audience: audience(day(0)),
            told: BTreeMap::new(),
        }
    }

    fn everybody(&self) -> RoaringBitmap {
        self.told.values().fold(RoaringBitmap::new(), |all, units| all | units)
    }

    fn roll(&self, now: Timestamp) -> Roll {
        Roll::take(&self.content, &self.arms, &self.everybody(), self.rules.until(now), &self.vault).unwrap()
    }

    fn plan(&self, now: Timestamp) -> Plan {
        plan(&self.audience, &self.roll(now), &self.told, &self.rules, &self.guard, (epoch(now), now))
    }

    fn tell(&mut self, step: &Step) {
        match step {
            Step::Remove { epoch, units } => *self.told.entry(*epoch).or_default() -= units,
            Step::Retire { epoch, .. } => {
                self.told.remove(epoch);
            }
            Step::Add { epoch, units, .. } => *self.told.entry(*epoch).or_default() |= units,
        }
    }

    /// A tick that a crash stops after `steps` steps, if it has so many.
    fn tick(&mut self, now: Timestamp, steps: usize) -> Plan {
        let plan = self.plan(now);
        self.audience = plan.audience.clone();
        for step in plan.steps.iter().take(steps) {
            self.tell(step);
        }
        if steps >= plan.steps.len() {
            self.audience = plan.settled();
        }
        plan
    }

    fn is_control(&self, unit: u32) -> bool {
        self.arms.of(&self.vault.household(unit)) != Arm::Treatment
    }

    fn may_be_addressed(&self, unit: u32) -> bool {
        self.vault.consented.contains(unit)
            && !self.vault.suppressed.contains(unit)
            && !self.vault.without_household.contains(unit)
            && !self.is_control(unit)
    }
}

#[test]
fn the_first_tick_tells_exactly_the_target_and_the_next_one_nothing() {
    let mut vault = MemoryVault::of(3_000);
    vault.segment = (0..2_000).collect();
    vault.consented = (500..3_000).collect();
    vault.suppressed = (600..700).collect();
    vault.without_household = (700..710).collect();
    let mut world = World::new(vault, 1_000, 1);
    let plan = world.tick(day(1), usize::MAX);
    let expected: RoaringBitmap = (500..2_000).filter(|unit| world.may_be_addressed(*unit)).collect();
    assert_eq!(plan.regular, Regular::Told);
    assert_eq!(world.everybody(), expected);
    assert!(expected.len() > 1_100 && expected.len() < 1_290, "{}", expected.len());
    let again = world.tick(day(1), usize::MAX);
    assert_eq!((again.regular, again.steps.len()), (Regular::NotDue, 0));
    let next = world.tick(day(2), usize::MAX);
    assert_eq!((next.regular, next.steps.len()), (Regular::Waiting, 0));
}

#[test]
fn removals_by_consent_suppression_and_household_do_not_wait_and_other_changes_do() {
    let mut world = World::new(MemoryVault::of(3_000), 1_000, 1);
    world.tick(day(1), usize::MAX);
    let member: Vec<u32> = world.everybody().iter().take(4).collect();
    let control = (0..3_000).find(|unit| world.is_control(*unit)).unwrap();
    world.vault.consented.remove(member[0]);
    world.vault.suppressed.insert(member[1]);
    // A shopper moves in with a control household.
    world.vault.moved.insert(member[2], control);
    // A shopper leaves the segment: that waits for company.
    world.vault.segment.remove(member[3]);
    let plan = world.tick(day(1).plus_secs(900), usize::MAX);
    let urgent: RoaringBitmap = member[..3].iter().copied().collect();
    assert_eq!((plan.regular, &plan.urgent), (Regular::NotDue, &urgent));
    assert_eq!(plan.steps, [Step::Remove { epoch: epoch(day(1)), units: urgent.clone() }]);
    let plan = world.tick(day(2), usize::MAX);
    assert_eq!((plan.regular, plan.steps.len()), (Regular::Waiting, 0));
    assert!(world.everybody().contains(member[3]));
    // Enough company: every threshold below 230 + 10 standard deviations.
    let leaving: RoaringBitmap = world.everybody().iter().take(520).collect();
    world.vault.segment -= &leaving;
    let plan = world.tick(day(3), usize::MAX);
    assert_eq!(plan.regular, Regular::Told);
    assert!(!world.everybody().contains(member[3]) && world.everybody().is_disjoint(&leaving));
}

#[test]
fn at_a_change_of_epoch_everything_is_taken_back_first_and_told_anew() {
    let mut world = World::new(MemoryVault::of(3_000), 1_000, 1);
    world.tick(day(1), usize::MAX);
    let (before, old) = (world.everybody(), epoch(day(1)));
    let left = before.min().unwrap();
    world.vault.segment.remove(left);
    let turn = PseudonymEpoch::at(day(1)).ends();
    let withdrawn = before.max().unwrap();
    world.vault.consented.remove(withdrawn);
    let plan = world.tick(turn, usize::MAX);
    let [Step::Retire { epoch: retired, units }, Step::Add { epoch: added, units: again, expires }] =
        &plan.steps[..]
    else {
        panic!("{plan:?}");
    };
    assert_eq!((*retired, *added), (old, old + 1));
    assert_eq!(*units, before);
    // Who left the segment alone is carried: a size that changes by one would tell it.
    let mut carried = before.clone();
    carried.remove(withdrawn);
    assert_eq!(*again, carried);
    assert_eq!(*expires, turn.plus_secs(30 * DAY));
}

#[test]
fn a_crash_between_taking_back_and_telling_anew_loses_nobody() {
    let mut world = World::new(MemoryVault::of(3_000), 1_000, 1);
    world.tick(day(1), usize::MAX);
    let before = world.everybody();
    let turn = PseudonymEpoch::at(day(1)).ends();
    world.tick(turn, 1);
    assert!(world.everybody().is_empty());
    let plan = world.tick(turn.plus_secs(60), usize::MAX);
    assert_eq!(plan.regular, Regular::NotDue);
    assert_eq!(world.everybody(), before);
}

#[test]
fn a_handful_is_not_carried_into_another_epoch() {
    let mut world = World::new(MemoryVault::of(3_000), 1_000, 1);
    world.tick(day(1), usize::MAX);
    let few: RoaringBitmap = world.everybody().iter().take(49).collect();
    world.vault.consented = few;
    let plan = world.tick(PseudonymEpoch::at(day(1)).ends(), usize::MAX);
    assert!(matches!(&plan.steps[..], [Step::Retire { .. }]), "{plan:?}");
}

#[test]
fn a_term_that_is_over_is_a_removal_and_who_still_qualifies_is_added_anew() {
    let mut world = World::new(MemoryVault::of(3_000), 1_000, 1);
    world.rules = AudienceRules::new(3, 1, None).unwrap();
    world.tick(day(1), usize::MAX);
    let members = world.everybody();
    let plan = world.tick(day(4).plus_secs(-1), usize::MAX);
    assert!(plan.urgent.is_empty());
    let plan = world.tick(day(4), usize::MAX);
    assert_eq!(plan.urgent, members);
    assert!(world.everybody().is_empty());
    world.tick(day(5), usize::MAX);
    assert_eq!(world.everybody(), members);
}

#[test]
fn the_contracts_end_is_the_last_end() {
    let mut world = World::new(MemoryVault::of(3_000), 1_000, 1);
    world.rules = AudienceRules::new(30, 1, Some(day(2))).unwrap();
    let plan = world.tick(day(1), usize::MAX);
    assert!(plan.steps.iter().all(|step| matches!(step, Step::Add { expires, .. } if *expires == day(2))));
    let plan = world.tick(day(2), usize::MAX);
    assert!(world.everybody().is_empty() && !plan.urgent.is_empty());
}

#[test]
fn who_shares_no_end_with_others_is_not_sent() {
    let mut vault = MemoryVault::of(3_000);
    vault.consents_ending = vec![(day(9), (0..40).collect()), (day(12), (40..200).collect())];
    let mut world = World::new(vault, 1_000, 1);
    let plan = world.tick(day(1), usize::MAX);
    let ends: BTreeMap<Timestamp, u64> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Add { expires, units, .. } => Some((*expires, units.len())),
            _ => None,
        })
        .collect();
    assert!(ends.values().all(|members| *members >= 50), "{ends:?}");
    assert_eq!(ends.len(), 2);
    assert!(ends.contains_key(&day(9)));
}

#[test]
fn a_closed_audience_takes_everybody_back_and_nobody_in() {
    let mut world = World::new(MemoryVault::of(3_000), 1_000, 1);
    world.tick(day(1), usize::MAX);
    let everybody = world.everybody();
    let plan = close(&world.audience, &world.told, day(2));
    assert_eq!(plan.urgent, everybody);
    world.audience = plan.settled();
    for step in &plan.steps {
        world.tell(step);
    }
    let plan = world.tick(day(3), usize::MAX);
    assert_eq!((plan.regular, plan.steps.len()), (Regular::Closed, 0));
    assert_eq!(plan.audience.closed, Some(day(2)));
}

/// What may happen between two ticks.
#[derive(Debug, Clone)]
enum Event {
    Withdraw(u32),
    Agree(u32),
    Suppress(u32),
    Move(u32, u32),
    Loses(u32),
    Enter(u32, u32),
    Leave(u32, u32),
    Wait(i64),
}

const UNITS: u32 = 1_500;

fn event() -> impl Strategy<Value = Event> {
    let unit = || 0..UNITS;
    prop_oneof![
        4 => unit().prop_map(Event::Withdraw),
        3 => unit().prop_map(Event::Agree),
        1 => unit().prop_map(Event::Suppress),
        3 => (unit(), unit()).prop_map(|(a, b)| Event::Move(a, b)),
        1 => unit().prop_map(Event::Loses),
        2 => (unit(), 1_u32..600).prop_map(|(a, n)| Event::Enter(a, n)),
        2 => (unit(), 1_u32..600).prop_map(|(a, n)| Event::Leave(a, n)),
        4 => (0_i64..20).prop_map(Event::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_control_household_is_never_in_any_audience_whatever_happens(
        rounds in prop::collection::vec((prop::collection::vec(event(), 0..12), 0_usize..4), 1..16),
        share in 100_u16..9_000,
        salt in 0_u8..=255,
        per_household in 1_u32..4,
    ) {
        let mut vault = MemoryVault::of(UNITS);
        vault.per_household = per_household;
        vault.segment = (0..1_000).collect();
        let mut world = World::new(vault, share, salt);
        let mut now = day(0);
        for (events, crash_after) in rounds {
            for event in events {
                let vault = &mut world.vault;
                match event {
                    Event::Withdraw(unit) => {
                        vault.consented.remove(unit);
                    }
                    Event::Agree(unit) => {
                        vault.consented.insert(unit);
                    }
                    Event::Suppress(unit) => {
                        vault.suppressed.insert(unit);
                    }
                    Event::Move(unit, to) => {
                        vault.moved.insert(unit, to / per_household);
                    }
                    Event::Loses(unit) => {
                        vault.without_household.insert(unit);
                    }
                    Event::Enter(from, n) => {
                        vault.segment.insert_range(from..UNITS.min(from + n));
                    }
                    Event::Leave(from, n) => {
                        vault.segment.remove_range(from..UNITS.min(from + n));
                    }
                    Event::Wait(days) => now = now.plus_secs(days * DAY),
                }
            }
            // A tick that a crash stops, and the one after the restart.
            for steps in [crash_after, usize::MAX] {
                let before = world.everybody();
                let plan = world.tick(now, steps);
                let mut adding = false;
                for step in &plan.steps {
                    if let Step::Add { units, expires, epoch: under } = step {
                        adding = true;
                        prop_assert_eq!(*under, epoch(now));
                        prop_assert!(*expires > now);
                        for unit in units {
                            prop_assert!(!world.is_control(unit), "a control is addressed");
                            prop_assert!(world.may_be_addressed(unit));
                        }
                    } else {
                        prop_assert!(!adding, "a removal stands behind an addition");
                    }
                }
                let urgent: RoaringBitmap = before.iter().filter(|unit| !world.may_be_addressed(*unit)).collect();
                prop_assert!(urgent.is_subset(&plan.urgent), "a removal waits");
            }
            // Everything is told: only who may be addressed is there, under one name, of this epoch.
            let everybody = world.everybody();
            prop_assert!(everybody.iter().all(|unit| world.may_be_addressed(unit)));
            prop_assert_eq!(world.told.values().map(RoaringBitmap::len).sum::<u64>(), everybody.len());
            prop_assert!(world.told.iter().all(|(under, units)| *under == epoch(now) || units.is_empty()));
        }
    }
}

#[test]
fn no_two_destinations_and_no_two_epochs_share_a_name() {
    let vault = MemoryVault { without_phone: (0..100).collect(), ..MemoryVault::of(1_000) };
    let secrets = secrets();
    let units: RoaringBitmap = (0..1_000).collect();
    let mut seen: HashMap<String, (String, u32)> = HashMap::new();
    let mut orders = BTreeSet::new();
    for destination in ["gateway", "folder", "partner-dsp"] {
        for number in [690, 691, 692] {
            let epoch = PseudonymEpoch::from_number(number);
            let key =
                ScopedKey::derive(secrets.master(), secrets.tenant(), &destination.parse().unwrap(), epoch);
            let renderer = Renderer::Scoped(key.renderer());
            let rendered = render(&units, &nobody(), naming(&ALL_KINDS, &renderer), &vault).unwrap();
            assert_eq!(rendered.members.len(), 1_000);
            assert!(rendered.unreached.is_empty());
            let order: Vec<u32> = rendered.members.iter().map(|(unit, _)| unit.0).collect();
            assert!(orders.insert(order), "two lists are in one order and join row by row");
            for (_, token) in rendered.members.iter() {
                let place = (destination.to_owned(), number);
                let other = seen.insert(token.to_owned(), place.clone());
                assert_eq!(other, None, "{place:?}");
            }
        }
    }
    assert_eq!(seen.len(), 9_000);
}

#[test]
fn the_best_identifier_is_taken_and_who_has_none_is_told() {
    let vault = MemoryVault { without_phone: (0..100).collect(), ..MemoryVault::of(1_000) };
    let secrets = secrets();
    let units: RoaringBitmap = (0..1_000).collect();
    let key = ScopedKey::derive(
        secrets.master(),
        secrets.tenant(),
        &"gateway".parse().unwrap(),
        PseudonymEpoch::from_number(690),
    );
    let renderer = Renderer::Scoped(key.renderer());
    let rendered = render(&units, &nobody(), naming(&[IdentifierKind::Phone], &renderer), &vault).unwrap();
    assert_eq!(rendered.unreached, (0..100).collect());
    for (unit, token) in rendered.members.iter() {
        let phone = vault.identifier(unit.0, IdentifierKind::Phone).unwrap();
        assert_eq!(renderer.token(&phone).unwrap().as_str(), token);
    }
    let both = render(&units, &nobody(), naming(&ALL_KINDS, &renderer), &vault).unwrap();
    let card = vault.identifier(7, IdentifierKind::Card).unwrap();
    let of_seven = both.members.iter().find(|(unit, _)| unit.0 == 7).map(|(_, token)| token.to_owned());
    assert_eq!(of_seven.as_deref(), Some(renderer.token(&card).unwrap().as_str()));
}

fn nobody() -> RoaringBitmap {
    RoaringBitmap::new()
}

fn naming<'a>(reached: &'a [IdentifierKind], renderer: &'a Renderer) -> Naming<'a> {
    Naming { reached, renderer }
}

#[test]
fn a_phone_of_two_cards_does_not_reach_a_control_through_the_other_card() {
    // Each number is known of two cards, of shoppers 2n and 2n + 1, who live in two households.
    let vault = MemoryVault { cards_per_phone: 2, ..MemoryVault::of(3_000) };
    let world = World::new(vault, 1_000, 1);
    let (roll, secrets) = (world.roll(day(1)), secrets());
    let epoch = PseudonymEpoch::at(day(1));
    let key = ScopedKey::derive(secrets.master(), secrets.tenant(), &"gateway".parse().unwrap(), epoch);
    let renderer = Renderer::Scoped(key.renderer());
    let (target, blocked) = (roll.target(), roll.blocked());
    let rendered = render(&target, &blocked, naming(&ALL_KINDS, &renderer), &world.vault).unwrap();
    let of_controls: BTreeSet<String> = (0..3_000)
        .filter(|unit| world.is_control(*unit))
        .filter_map(|unit| world.vault.identifier(unit, IdentifierKind::Phone))
        .map(|phone| renderer.token(&phone).unwrap().as_str().to_owned())
        .collect();
    assert!(rendered.members.iter().all(|(_, token)| !of_controls.contains(token)));
    let alone = target.iter().filter(|unit| world.is_control(unit ^ 1));
    assert_eq!(rendered.shared, alone.collect());
    assert!(rendered.shared.len() > 100, "the case did not occur");
}
