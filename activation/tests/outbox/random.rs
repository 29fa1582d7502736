//! Random lives: ticks, withdrawals, re-consent, epochs, crashes and faults in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use activation::batch::{Lane, Op};
use activation::outbox::Outbox;
use proptest::prelude::*;
use roaring::RoaringBitmap;

use crate::world::{Fake, Fuse, World, cause, lane, members, token, units};

const UNITS: u32 = 10;

#[derive(Debug, Clone)]
enum Act {
    /// The target of a lane becomes this, among those who consent.
    Tick { lane: usize, target: u16 },
    /// These withdraw.
    Withdraw(u16),
    /// These consent again.
    Consent(u16),
    /// A new epoch begins: new tokens come, the old ones go.
    Epoch,
    /// A destination is served.
    Pump(usize),
    /// Time passes.
    Wait(u32),
    /// Copies under way arrive.
    Late(usize),
    /// The process dies after so many more effects, perhaps in the middle of one.
    Fuse(i64, bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..3usize, any::<u16>()).prop_map(|(lane, target)| Act::Tick { lane, target }),
        2 => (0..1024u16).prop_map(Act::Withdraw),
        1 => (0..1024u16).prop_map(Act::Consent),
        1 => Just(Act::Epoch),
        6 => (0..2usize).prop_map(Act::Pump),
        4 => (1..40_000u32).prop_map(Act::Wait),
        2 => (0..2usize).prop_map(Act::Late),
        2 => (0..12i64, any::<bool>()).prop_map(|(effects, persists)| Act::Fuse(effects, persists)),
    ]
}

fn some(bits: u16) -> RoaringBitmap {
    units((0..UNITS).filter(|unit| bits & (1 << unit) != 0))
}

/// What must be true in the end, kept beside.
struct Model {
    lanes: Vec<Lane>,
    wanted: BTreeMap<Lane, RoaringBitmap>,
    epoch: u64,
    withdrawn: RoaringBitmap,
    /// Tokens that had not left when their shopper withdrew, nor perhaps: none may leave before a new consent.
    never: BTreeSet<(usize, String, String)>,
    /// Tokens whose removal was confirmed after a withdrawal, with the number of effects seen by then.
    gone: BTreeMap<(usize, String, String), usize>,
}

impl Model {
    fn fake_of(&self, lane: &Lane) -> usize {
        usize::from(lane.destination.as_str() != "gate")
    }
}

/// Runs one act; whatever the process says when it dies, the act is repeated by the next one.
async fn perform(world: &World, outbox: &Outbox, model: &Model, act: &Act) -> bool {
    let expires = crate::world::START.plus_secs(400 * 86_400);
    match act {
        Act::Tick { lane, .. } => {
            let lane = &model.lanes[*lane];
            tick(outbox, model, lane, expires).await
        }
        Act::Withdraw(bits) => outbox.withdraw(&some(*bits), &cause()).await.is_ok(),
        Act::Epoch => {
            let mut done = true;
            for lane in &model.lanes {
                done &= tick(outbox, model, lane, expires).await;
            }
            done
        }
        Act::Pump(fake) => outbox.pump(&world.fakes[*fake].id).await.is_ok(),
        Act::Wait(_) | Act::Late(_) | Act::Consent(_) | Act::Fuse(..) => true,
    }
}

/// As the audience's tick does it: compare the target with where the members are heading.
async fn tick(outbox: &Outbox, model: &Model, lane: &Lane, expires: ids::Timestamp) -> bool {
    let Some(target) = model.wanted.get(lane) else { return true };
    let Ok(membership) = outbox.membership(lane).await else { return false };
    for (epoch, of) in &membership {
        let out = if *epoch == model.epoch { &of.heading - target } else { of.heading.clone() };
        if *epoch != model.epoch && !out.is_empty() && outbox.retire(lane, *epoch, &cause()).await.is_err() {
            return false;
        }
        if *epoch == model.epoch && !out.is_empty() && outbox.remove(lane, &out, &cause()).await.is_err() {
            return false;
        }
    }
    let fresh = members(&lane.destination, model.epoch, target.iter());
    outbox.add(lane, model.epoch, expires, fresh, &cause()).await.is_ok()
}

fn note(world: &World, model: &mut Model, act: &Act) {
    match act {
        Act::Tick { lane, target } => {
            let lane = model.lanes[*lane].clone();
            model.wanted.insert(lane, some(*target) - &model.withdrawn);
        }
        Act::Withdraw(bits) => {
            let out = some(*bits);
            model.withdrawn |= &out;
            model.wanted.values_mut().for_each(|wanted| *wanted -= &out);
        }
        Act::Consent(bits) => {
            let back = some(*bits);
            model.withdrawn -= &back;
            let again = |token: &str| {
                back.iter().any(|unit| {
                    (0..=model.epoch + 1).any(|epoch| {
                        world.fakes.iter().any(|fake| self::token(&fake.id, epoch, unit) == token)
                    })
                })
            };
            model.never.retain(|(_, _, token)| !again(token));
            model.gone.retain(|(_, _, token), _| !again(token));
        }
        Act::Epoch => model.epoch += 1,
        Act::Wait(millis) => world.clock.advance_millis(*millis),
        Act::Late(fake) => world.fakes[*fake].deliver_late(),
        Act::Pump(_) | Act::Fuse(..) => {}
    }
}

/// After a withdrawal: which tokens had never left, and which removals were confirmed.
async fn watch(world: &World, outbox: &Outbox, model: &mut Model, withdrawn_now: Option<u16>) {
    let mut left = BTreeSet::new();
    for unit in withdrawn_now.map(some).unwrap_or_default().iter() {
        let Ok(presence) = outbox.presence(ids::UnitIx(unit)).await else { return };
        let out = |of: &&activation::outbox::Presence| of.history.iter().any(|moved| moved.left);
        left.extend(presence.iter().filter(out).map(|of| (of.lane.clone(), of.epoch, unit)));
    }
    for lane in model.lanes.clone() {
        let at = model.fake_of(&lane);
        let inside = world.fakes[at].inside.lock().unwrap();
        let audience = lane.audience.to_string();
        for unit in withdrawn_now.map(some).unwrap_or_default().iter() {
            let of = token(&lane.destination, model.epoch, unit);
            let unsent = !left.contains(&(lane.clone(), model.epoch, unit));
            if unsent && !inside.seen.contains(&(audience.clone(), of.clone())) {
                model.never.insert((at, audience.clone(), of));
            }
        }
    }
    for unit in model.withdrawn.clone().iter() {
        let Ok(presence) = outbox.presence(ids::UnitIx(unit)).await else { return };
        for of in presence {
            let settled = of.history.last().is_some_and(|last| {
                last.op == Op::Remove && last.stage == activation::outbox::Stage::Settled && !last.rejected
            });
            if settled {
                let at = model.fake_of(&of.lane);
                let seen = world.fakes[at].inside.lock().unwrap().effects.len();
                let key = (at, of.lane.audience.to_string(), token(&of.lane.destination, of.epoch, unit));
                model.gone.entry(key).or_insert(seen);
            }
        }
    }
}

async fn live(acts: Vec<Act>, seed: u64, good: u32) {
    let fakes = vec![Fake::moody("gate", seed, good), Fake::moody("hook", seed ^ 1, good)];
    let world = World::new(seed, fakes);
    let mut model = Model {
        lanes: vec![lane("gate", "a-1"), lane("gate", "a-2"), lane("hook", "b-1")],
        wanted: BTreeMap::new(),
        epoch: 1,
        withdrawn: RoaringBitmap::new(),
        never: BTreeSet::new(),
        gone: BTreeMap::new(),
    };
    let mut fuse = Fuse::endless();
    let mut outbox = world.run().await;
    for act in acts {
        if let Act::Fuse(effects, persists) = act {
            fuse = Fuse::new(effects, persists);
            match world.start(&fuse).await {
                Ok(started) => outbox = started,
                Err(_) => {
                    fuse = Fuse::endless();
                    outbox = world.run().await;
                }
            }
            continue;
        }
        note(&world, &mut model, &act);
        let mut done = perform(&world, &outbox, &model, &act).await;
        while !done || fuse.burnt() {
            fuse = Fuse::endless();
            outbox = world.run().await;
            done = perform(&world, &outbox, &model, &act).await;
        }
        let withdrawn = if let Act::Withdraw(bits) = act { Some(bits) } else { None };
        watch(&world, &outbox, &mut model, withdrawn).await;
    }
    finish(&world, &model).await;
}

async fn finish(world: &World, model: &Model) {
    let outbox = world.run().await;
    world.fakes.iter().for_each(|fake| fake.become_good());
    // The last tick of every lane, as the next one would come anyway.
    for lane in &model.lanes {
        assert!(tick(&outbox, model, lane, crate::world::START.plus_secs(400 * 86_400)).await);
    }
    world.settle(&outbox).await;
    world.fakes.iter().for_each(|fake| fake.deliver_late());
    for lane in &model.lanes {
        let fake: &Arc<Fake> = &world.fakes[model.fake_of(lane)];
        let wanted = model.wanted.get(lane).cloned().unwrap_or_default();
        world.assert_holds(fake, lane.audience.as_str(), &[(model.epoch, wanted.clone())], "in the end");
        let membership = outbox.membership(lane).await.unwrap();
        let acked = membership.get(&model.epoch).map(|of| of.acked.clone()).unwrap_or_default();
        assert_eq!(acked, wanted, "what is confirmed is what is there");
    }
    for fake in &world.fakes {
        assert_eq!(fake.inside.lock().unwrap().doubles, 0, "no double add");
    }
    for (at, audience, token) in &model.never {
        let inside = world.fakes[*at].inside.lock().unwrap();
        assert!(!inside.seen.contains(&(audience.clone(), token.clone())), "sent after the withdrawal");
    }
    for ((at, audience, token), seen) in &model.gone {
        let inside = world.fakes[*at].inside.lock().unwrap();
        let again = inside.effects[*seen..]
            .iter()
            .any(|effect| effect.op == Op::Add && effect.audience == *audience && effect.token == *token);
        assert!(!again, "added again after the confirmed removal");
    }
    world.log.count(audits::Kind::AudienceQueued);
    // A process that starts now sees what this one saw.
    let restarted = world.run().await;
    for lane in &model.lanes {
        assert_eq!(restarted.membership(lane).await.unwrap(), outbox.membership(lane).await.unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_destinations_end_with_the_target_and_no_withdrawal_is_undone(
        acts in prop::collection::vec(act(), 1..60),
        seed in any::<u64>(),
        good in 0..10u32,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(acts, seed, good));
    }
}
