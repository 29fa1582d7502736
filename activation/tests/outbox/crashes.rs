//! A crash between any two effects, each tried twice: the effect failed, or it happened and its answer was lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use activation::outbox::{Outbox, OutboxFailed};
use audits::Kind;
use ids::UnitIx;
use roaring::RoaringBitmap;

use crate::world::{Fake, Fuse, Mood, World, cause, lane, members, token, units};

/// One step of the story.
type Step = u8;
const STEPS: Step = 9;

/// A campaign's life: fill, deliver, withdraw in flight, top up, poison, renew the epoch, close.
async fn step(world: &World, outbox: &Outbox, step: Step) -> Result<(), OutboxFailed> {
    let (gate, audience) = (&world.fakes[0].id, lane("gate", "a-1"));
    let expires = crate::world::START.plus_secs(30 * 86_400);
    match step {
        0 => drop(outbox.add(&audience, 1, expires, members(gate, 1, 0..12), &cause()).await?),
        1 => drop(outbox.pump(gate).await?),
        2 => drop(outbox.withdraw(&units([2, 3]), &cause()).await?),
        3 => drop(outbox.add(&audience, 1, expires, members(gate, 1, 10..16), &cause()).await?),
        4 => drop(outbox.remove(&audience, &units([5, 12]), &cause()).await?),
        5 => drop(outbox.pump(gate).await?),
        6 => drop(
            outbox
                .add(
                    &audience,
                    2,
                    expires,
                    members(gate, 2, (0..16).filter(|u| ![2, 3].contains(u))),
                    &cause(),
                )
                .await?,
        ),
        7 => drop(outbox.retire(&audience, 1, &cause()).await?),
        _ => drop(outbox.pump(gate).await?),
    }
    Ok(())
}

/// The story in a process that dies; the answer is the step it died in.
async fn dying(world: &World, fuse: &Arc<Fuse>) -> Step {
    let Ok(outbox) = world.start(fuse).await else { return 0 };
    for n in 0..STEPS {
        let done = step(world, &outbox, n).await;
        // A dead process does not go on, whatever its last call said.
        if done.is_err() || fuse.burnt() {
            return n;
        }
    }
    STEPS
}

fn world(moods: &'static [Mood]) -> World {
    let mut turn = 0;
    let fake = Fake::new("gate", move || {
        turn += 1;
        moods[(turn - 1) % moods.len()]
    });
    // One that the whole batch is refused for, one that is left out.
    fake.inside.lock().unwrap().poison.insert(token(&fake.id, 1, 7));
    fake.inside.lock().unwrap().picky.insert(token(&fake.id, 1, 11));
    World::new(9, vec![fake])
}

fn target() -> RoaringBitmap {
    units((0..16).filter(|unit| ![2, 3].contains(unit)))
}

async fn every_crash(moods: &'static [Mood]) {
    let whole = Fuse::endless();
    dying(&world(moods), &whole).await;
    let effects = i64::try_from(whole.effects.load(Ordering::SeqCst)).unwrap();
    assert!(effects >= 24, "{effects} effects");
    for persists in [false, true] {
        for survived in 0..effects {
            let case = format!("{survived} of {effects}, {persists}, {moods:?}");
            let world = world(moods);
            let died_in = dying(&world, &Fuse::new(survived, persists)).await;
            assert!(died_in < STEPS, "{case}: it was to die");
            // A new process repeats the step in which the old one died, as a tick does, and goes on.
            let outbox = world.run().await;
            for n in died_in..STEPS {
                step(&world, &outbox, n).await.unwrap();
                world.fakes[0].deliver_late();
            }
            world.settle(&outbox).await;
            world.fakes[0].deliver_late();
            world.settle(&outbox).await;
            check(&world, &outbox, &case).await;
        }
    }
}

async fn check(world: &World, outbox: &Outbox, case: &str) {
    let fake = &world.fakes[0];
    world.assert_holds(fake, "a-1", &[(2, target())], case);
    assert_eq!(fake.inside.lock().unwrap().doubles, 0, "{case}: no double add");
    let membership = outbox.membership(&lane("gate", "a-1")).await.unwrap();
    assert_eq!(membership[&2].acked, target(), "{case}: what is confirmed is what is there");
    assert_eq!(membership[&2].heading, target(), "{case}");
    assert!(membership[&1].acked.is_empty() && membership[&1].heading.is_empty(), "{case}");
    assert_eq!(membership[&1].quarantined, units([7, 11]), "{case}: who was not taken");
    // One fact, one entry: `count` looks at all of them.
    assert!(world.log.count(Kind::AudienceQueued) >= 6, "{case}");
    assert!(world.log.count(Kind::AudienceSettled) >= 6, "{case}");
    // The shopper who withdrew has a proof: either never sent, or a removal with its entry in the log.
    let history: Vec<_> = outbox.presence(UnitIx(2)).await.unwrap();
    for of in history {
        let last = of.history.last().unwrap();
        assert_eq!(last.op, activation::batch::Op::Remove, "{case}");
        assert!(last.settled_entry.is_some() && !last.rejected, "{case}");
    }
}

#[tokio::test]
async fn a_crash_at_every_step_ends_with_exactly_the_target_set_no_double_add_and_no_lost_removal() {
    every_crash(&[Mood::Good]).await;
}

#[tokio::test]
async fn and_so_it_does_when_answers_are_lost_and_copies_arrive_late() {
    every_crash(&[Mood::LostAnswer, Mood::Twice, Mood::Late]).await;
}

#[tokio::test]
async fn and_so_it_does_when_the_destination_is_slow_busy_forgetful_or_broken() {
    every_crash(&[Mood::Slow, Mood::Busy, Mood::Forgetful, Mood::Broken, Mood::Nonsense, Mood::Unreachable])
        .await;
}
