//! Members that a destination will not take.

use activation::batch::Op;
use activation::outbox::Settings;
use audits::Kind;

use crate::world::{Fake, START, World, cause, lane, members, token, units};

fn month() -> ids::Timestamp {
    START.plus_secs(30 * 86_400)
}

#[tokio::test]
async fn a_batch_that_is_refused_is_split_until_the_bad_ones_stand_alone() {
    let fake = Fake::good("gate");
    for unit in [17, 333] {
        fake.inside.lock().unwrap().poison.insert(token(&fake.id, 1, unit));
    }
    let (world, audience) = (World::new(1, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..1000), &cause()).await.unwrap();
    world.settle(&outbox).await;
    let of = &outbox.membership(&audience).await.unwrap()[&1];
    assert_eq!(of.quarantined, units([17, 333]));
    assert_eq!(of.acked, units(0..1000) - units([17, 333]));
    let calls = fake.inside.lock().unwrap().calls;
    assert!(
        calls <= 2 * 2 * 11,
        "two bad ones among 1000 cost two paths of a binary tree, not {calls} calls"
    );
    // The next tick does not offer them again.
    let again = outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..1000), &cause()).await.unwrap();
    assert_eq!((again.units, again.skipped), (0, 1000));
}

#[tokio::test]
async fn members_left_out_of_an_addition_are_quarantined_and_not_held_to_be_there() {
    let fake = Fake::good("gate");
    fake.inside.lock().unwrap().picky.insert(token(&fake.id, 1, 4));
    let (world, audience) = (World::new(2, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..9), &cause()).await.unwrap();
    world.settle(&outbox).await;
    let of = world.run().await.membership(&audience).await.unwrap()[&1].clone();
    assert_eq!((of.quarantined, of.acked), (units([4]), units((0..9).filter(|unit| *unit != 4))));
}

#[tokio::test]
async fn a_removal_that_is_refused_is_never_given_up() {
    for whole in [true, false] {
        let fake = Fake::good("gate");
        let (world, audience) = (World::new(3, vec![fake.clone()]), lane("gate", "a-1"));
        let outbox = world.run().await;
        outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..9), &cause()).await.unwrap();
        world.settle(&outbox).await;
        let bad = token(&fake.id, 1, 4);
        {
            let mut inside = fake.inside.lock().unwrap();
            inside.stubborn = true;
            let list = if whole { &mut inside.poison } else { &mut inside.picky };
            list.insert(bad.clone());
        }
        outbox.withdraw(&units(2..7), &cause()).await.unwrap();
        for _ in 0..200 {
            outbox.pump(&fake.id).await.unwrap();
            world.clock.advance_millis(60_000);
        }
        world.assert_holds(&fake, "a-1", &[(1, units([0, 1, 4, 7, 8]))], "the others are out");
        assert_eq!(outbox.membership(&audience).await.unwrap()[&1].acked, units([0, 1, 4, 7, 8]));
        let alarms = outbox.alarms().await.unwrap();
        assert_eq!((alarms.len(), alarms[0].batch.count, alarms[0].batch.place.op), (1, 1, Op::Remove));
        assert!(world.log.count(Kind::AudienceAlarm) >= 1);
        // Somebody repaired the destination.
        fake.inside.lock().unwrap().poison.clear();
        fake.inside.lock().unwrap().picky.clear();
        let restarted = world.run().await;
        world.settle(&restarted).await;
        world.assert_holds(&fake, "a-1", &[(1, units([0, 1, 7, 8]))], "and now it is");
        assert!(restarted.alarms().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_destination_that_refuses_everything_is_not_taken_for_ten_thousand_bad_members() {
    let fake = Fake::good("gate");
    let all = (0..5000).map(|unit| token(&fake.id, 1, unit));
    fake.inside.lock().unwrap().poison.extend(all);
    let mut world = World::new(4, vec![fake.clone()]);
    world.settings = Settings { refusals_max: 20, ..Settings::default() };
    let (outbox, audience) = (world.run().await, lane("gate", "a-1"));
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..5000), &cause()).await.unwrap();
    for _ in 0..50 {
        outbox.pump(&fake.id).await.unwrap();
        world.clock.advance_millis(60_000);
    }
    assert_eq!(outbox.health(&fake.id).await.unwrap().fault, None, "it answers");
    let of = outbox.membership(&audience).await.unwrap()[&1].clone();
    assert!(of.quarantined.is_empty(), "{} quarantined", of.quarantined.len());
    // The format was agreed upon, and everybody arrives.
    fake.inside.lock().unwrap().poison.clear();
    fake.inside.lock().unwrap().known.clear();
    world.settle(&outbox).await;
    world.assert_holds(&fake, "a-1", &[(1, units(0..5000))], "");
}
