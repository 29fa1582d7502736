//! Who waits for whom, who goes first, and what is final.

use activation::batch::{Members, Op};
use activation::outbox::{OutboxFailed, Settings, Stage};
use audits::Kind;
use ids::{Clock as _, UnitIx};

use crate::world::{Fake, Mood, START, World, cause, lane, members, token, units};

fn month() -> ids::Timestamp {
    START.plus_secs(30 * 86_400)
}

#[tokio::test]
async fn a_withdrawal_while_the_addition_is_in_flight_is_sent_behind_it_and_before_everything_else() {
    let fake = Fake::scripted("gate", &[Mood::Slow]);
    let (world, audience) = (World::new(1, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..5), &cause()).await.unwrap();
    outbox.pump(&fake.id).await.unwrap();
    let out = outbox.withdraw(&units([3]), &cause()).await.unwrap();
    assert_eq!((out.batches.len(), out.units, out.missing), (1, 1, 0));
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 5..9), &cause()).await.unwrap();

    // The addition has no final word yet: the removal waits for it, the other addition does not.
    outbox.pump(&fake.id).await.unwrap();
    assert_eq!(outbox.membership(&audience).await.unwrap()[&1].acked, units(5..9));
    assert!(fake.held("a-1").len() == 4, "what was accepted is not applied");

    world.settle(&outbox).await;
    world.assert_holds(&fake, "a-1", &[(1, units([0, 1, 2, 4, 5, 6, 7, 8]))], "");
    let of_three: Vec<Op> = {
        let (inside, token) = (fake.inside.lock().unwrap(), token(&fake.id, 1, 3));
        inside.effects.iter().filter(|effect| effect.token == token).map(|effect| effect.op).collect()
    };
    assert_eq!(of_three, [Op::Add, Op::Remove]);
}

#[tokio::test]
async fn who_withdraws_before_being_sent_is_never_sent() {
    let fake = Fake::scripted("gate", &[Mood::Unreachable]);
    let (world, audience) = (World::new(2, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..5), &cause()).await.unwrap();
    // Tried once; the operating system says that nothing was sent.
    outbox.pump(&fake.id).await.unwrap();
    let out = outbox.withdraw(&units([3, 4]), &cause()).await.unwrap();
    assert_eq!(out.units, 2);
    assert!(out.batches.iter().all(|batch| batch.place.op == Op::Add), "no removal is needed");
    world.settle(&outbox).await;
    world.assert_holds(&fake, "a-1", &[(1, units([0, 1, 2]))], "");
    assert_eq!(fake.inside.lock().unwrap().seen.len(), 3);
}

#[tokio::test]
async fn an_addition_of_a_member_with_an_open_removal_waits() {
    let fake = Fake::scripted("gate", &[Mood::Good, Mood::LostAnswer]);
    let (world, audience) = (World::new(3, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..3), &cause()).await.unwrap();
    outbox.pump(&fake.id).await.unwrap();
    outbox.remove(&audience, &units([1]), &cause()).await.unwrap();
    outbox.add(&audience, 1, month(), members(&fake.id, 1, [1, 7]), &cause()).await.unwrap();
    let first = outbox.pump(&fake.id).await.unwrap();
    assert_eq!(first.sent, 1, "only the removal");
    assert!(first.next_due.is_some());
    world.settle(&outbox).await;
    world.assert_holds(&fake, "a-1", &[(1, units([0, 1, 2, 7]))], "");
}

#[tokio::test]
async fn only_a_final_word_moves_what_is_confirmed() {
    let fake = Fake::scripted("gate", &[Mood::Slow]);
    let (world, audience) = (World::new(4, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..3), &cause()).await.unwrap();
    for _ in 0..2 {
        let pumped = outbox.pump(&fake.id).await.unwrap();
        let due = pumped.next_due.unwrap();
        assert!(due >= world.clock.now().plus_secs(5), "not asked before the destination said");
        let of = &outbox.membership(&audience).await.unwrap()[&1];
        assert!(of.acked.is_empty() && of.heading == units(0..3));
        world.clock.advance_millis(u32::try_from(due.as_millis() - world.clock.now().as_millis()).unwrap());
    }
    world.settle(&outbox).await;
    assert_eq!(outbox.membership(&audience).await.unwrap()[&1].acked, units(0..3));
}

#[tokio::test]
async fn a_destination_that_asks_to_wait_is_not_bothered_before() {
    let fake = Fake::scripted("gate", &[Mood::Busy]);
    let (world, audience) = (World::new(5, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..3), &cause()).await.unwrap();
    let due = outbox.pump(&fake.id).await.unwrap().next_due.unwrap();
    assert!(due >= START.plus_secs(30) && due <= START.plus_secs(31), "{due}");
    world.clock.advance_millis(29_999);
    assert_eq!(outbox.pump(&fake.id).await.unwrap().sent, 0);
    assert_eq!(outbox.health(&fake.id).await.unwrap().fault, Some("busy"));
    world.settle(&outbox).await;
    assert_eq!(outbox.health(&fake.id).await.unwrap().fault, None);
}

#[tokio::test]
async fn additions_that_wait_for_their_final_word_are_few_and_hold_up_no_removal() {
    let fake = Fake::new("gate", || Mood::Slow);
    let mut world = World::new(6, vec![fake.clone()]);
    world.settings = Settings { window: 2, ..Settings::default() };
    let (outbox, audience) = (world.run().await, lane("gate", "a-1"));
    for unit in 0..5 {
        outbox.add(&audience, 1, month(), members(&fake.id, 1, [unit]), &cause()).await.unwrap();
    }
    assert_eq!(outbox.pump(&fake.id).await.unwrap().sent, 2);
    // One that was not sent is cut; one that was is removed, and the window does not matter to it.
    outbox.withdraw(&units([0, 4]), &cause()).await.unwrap();
    world.settle(&outbox).await;
    world.assert_holds(&fake, "a-1", &[(1, units([1, 2, 3]))], "");
}

#[tokio::test]
async fn a_closed_audience_takes_nobody_and_its_removals_are_sent_until_confirmed() {
    let fake =
        Fake::scripted("gate", &[Mood::Good, Mood::Broken, Mood::LostAnswer, Mood::Busy, Mood::Forgetful]);
    let (world, audience) = (World::new(7, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    let queued = outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..3), &cause()).await.unwrap();
    outbox.pump(&fake.id).await.unwrap();
    outbox.close(&audience, &cause()).await.unwrap();
    outbox.close(&audience, &cause()).await.unwrap();
    let again = outbox.add(&audience, 1, month(), members(&fake.id, 1, 5..6), &cause()).await.unwrap_err();
    assert!(matches!(again, OutboxFailed::Closed { .. }), "{again}");
    assert_eq!(again.code(), "outbox.audience-closed");
    let restarted = world.run().await;
    world.settle(&restarted).await;
    world.assert_holds(&fake, "a-1", &[], "");
    assert!(restarted.closed(&audience).await.unwrap());
    assert_eq!(world.log.count(Kind::AudienceQueued), 2, "closing twice is one fact");
    // With the last removal confirmed nobody's token is kept any more.
    restarted.pump(&fake.id).await.unwrap();
    assert_eq!(world.store.members(&queued.batches[0].id).await.unwrap(), None);
}

#[tokio::test]
async fn members_whose_time_is_over_are_removed_and_late_ones_are_refused() {
    let fake = Fake::good("gate");
    let (world, audience) = (World::new(8, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    outbox.add(&audience, 1, START.plus_secs(60), members(&fake.id, 1, 0..3), &cause()).await.unwrap();
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 3..6), &cause()).await.unwrap();
    outbox.pump(&fake.id).await.unwrap();
    // Removed and added again in time: the new time counts.
    outbox.remove(&audience, &units([1]), &cause()).await.unwrap();
    outbox.add(&audience, 1, month(), members(&fake.id, 1, [1]), &cause()).await.unwrap();
    world.settle(&outbox).await;
    world.clock.advance_millis(60_000);
    world.settle(&outbox).await;
    world.assert_holds(&fake, "a-1", &[(1, units([1, 3, 4, 5]))], "");
    let late = outbox.add(&audience, 1, START.plus_secs(60), members(&fake.id, 1, [0]), &cause()).await;
    assert!(matches!(late, Err(OutboxFailed::Expired { .. })));
}

#[tokio::test]
async fn what_was_queued_and_expires_before_it_is_sent_is_not_sent() {
    let fake = Fake::good("gate");
    let (world, audience) = (World::new(9, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    outbox.add(&audience, 1, START.plus_secs(60), members(&fake.id, 1, 0..3), &cause()).await.unwrap();
    world.clock.advance_millis(60_000);
    world.settle(&outbox).await;
    assert_eq!(fake.inside.lock().unwrap().calls, 0);
}

#[tokio::test]
async fn two_processes_over_one_store_do_not_plan_past_each_other() {
    let fake = Fake::good("gate");
    let (world, audience) = (World::new(10, vec![fake.clone()]), lane("gate", "a-1"));
    let (server, command) = (world.run().await, world.run().await);
    server.add(&audience, 1, month(), members(&fake.id, 1, 0..6), &cause()).await.unwrap();
    command.withdraw(&units([2]), &cause()).await.unwrap();
    server.pump(&fake.id).await.unwrap();
    command.withdraw(&units([3]), &cause()).await.unwrap();
    world.settle(&server).await;
    world.assert_holds(&fake, "a-1", &[(1, units([0, 1, 4, 5]))], "");
    assert_eq!(fake.inside.lock().unwrap().doubles, 0);
}

#[tokio::test]
async fn a_store_or_a_log_out_of_an_old_backup_is_refused() {
    let fake = Fake::good("gate");
    let mut world = World::new(11, vec![fake.clone()]);
    let outbox = world.run().await;
    let audience = lane("gate", "a-1");
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..6), &cause()).await.unwrap();
    let (store, log) = (world.store.clone(), world.log.clone());
    world.store = std::sync::Arc::new(crate::world::MemoryStore::default());
    let refused = world.start(&crate::world::Fuse::endless()).await.unwrap_err();
    assert_eq!(refused.code(), "outbox.behind-log", "{refused}");
    world.store = store;
    log.0.lock().unwrap().clear();
    let refused = world.start(&crate::world::Fuse::endless()).await.unwrap_err();
    assert_eq!(refused.code(), "outbox.log-behind", "{refused}");
}

#[tokio::test]
async fn nothing_is_sent_without_a_receipt() {
    let fake = Fake::good("gate");
    let mut world = World::new(12, vec![fake.clone()]);
    world.journal = std::sync::Arc::new(crate::world::Mortal(
        std::sync::Arc::new(crate::world::MemoryJournal::default()),
        crate::world::Fuse::new(0, false),
    ));
    let (outbox, audience) = (world.run().await, lane("gate", "a-1"));
    let queued = outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..6), &cause()).await.unwrap();
    assert!(!queued.logged);
    let failed = outbox.pump(&fake.id).await.unwrap_err();
    assert_eq!(failed.code(), "outbox.log-failed");
    assert_eq!(fake.inside.lock().unwrap().calls, 0);
}

#[tokio::test]
async fn cards_that_share_a_token_are_one_member() {
    let fake = Fake::good("gate");
    let (world, audience) = (World::new(13, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    let mut shared = Members::default();
    for unit in [4, 9] {
        shared.push(UnitIx(unit), "one-phone").unwrap();
    }
    shared.push(UnitIx(5), "another").unwrap();
    let queued = outbox.add(&audience, 1, month(), shared, &cause()).await.unwrap();
    assert_eq!((queued.units, queued.batches[0].count), (3, 2));
    world.settle(&outbox).await;
    outbox.withdraw(&units([9]), &cause()).await.unwrap();
    world.settle(&outbox).await;
    assert_eq!(fake.held("a-1").into_iter().collect::<Vec<_>>(), ["another"]);
    assert_eq!(outbox.membership(&audience).await.unwrap()[&1].acked, units([5]));
}

#[tokio::test]
async fn the_order_of_members_and_the_ids_of_batches_join_nothing() {
    let (gate, hook) = (Fake::good("gate"), Fake::good("hook"));
    let world = World::new(14, vec![gate.clone(), hook.clone()]);
    let outbox = world.run().await;
    for fake in [&gate, &hook] {
        let audience = lane(fake.id.as_str(), "a-1");
        outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..2000), &cause()).await.unwrap();
    }
    world.settle(&outbox).await;
    let order = |fake: &Fake| -> Vec<u32> {
        let inside = fake.inside.lock().unwrap();
        let unit: std::collections::HashMap<String, u32> =
            (0..2000).map(|unit| (token(&fake.id, 1, unit), unit)).collect();
        inside.effects.iter().map(|effect| unit[&effect.token]).collect()
    };
    let (one, two) = (order(&gate), order(&hook));
    // Spearman's footrule of two independent permutations of n is about n²/3 ± 0.21 n^1.5 (Diaconis and Graham 1977);
    // equal orders give 0. Ten standard deviations: false alarm below 1e-20; the seedless hashes make it a constant.
    let place = |order: &[u32]| {
        let mut place = vec![0i64; order.len()];
        order.iter().enumerate().for_each(|(at, unit)| place[*unit as usize] = at as i64);
        place
    };
    let footrule: i64 = place(&one).iter().zip(place(&two)).map(|(a, b)| (a - b).abs()).sum();
    let (mean, deviation) = (2000.0_f64.powi(2) / 3.0, 0.21 * 2000.0_f64.powf(1.5));
    assert!((footrule as f64 - mean).abs() < 10.0 * deviation, "{footrule} against {mean}");
    let ids = |fake: &Fake| {
        fake.inside.lock().unwrap().known.keys().copied().collect::<std::collections::BTreeSet<_>>()
    };
    assert!(ids(&gate).is_disjoint(&ids(&hook)));
}

#[tokio::test]
async fn an_overdue_removal_raises_the_alarm_once_and_is_still_sent() {
    let mut moods = vec![Mood::Good];
    moods.extend([Mood::Broken; 12]);
    let fake = Fake::scripted("gate", &moods);
    let (world, audience) = (World::new(15, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..3), &cause()).await.unwrap();
    outbox.pump(&fake.id).await.unwrap();
    outbox.withdraw(&units([1]), &cause()).await.unwrap();
    outbox.pump(&fake.id).await.unwrap();
    assert!(outbox.alarms().await.unwrap().is_empty());
    world.clock.advance_millis(900_000);
    outbox.pump(&fake.id).await.unwrap();
    let alarms = outbox.alarms().await.unwrap();
    assert_eq!((alarms.len(), alarms[0].batch.count), (1, 1));
    let restarted = world.run().await;
    assert_eq!(restarted.alarms().await.unwrap().len(), 1);
    world.settle(&restarted).await;
    assert_eq!(world.log.count(Kind::AudienceAlarm), 1);
    assert!(restarted.alarms().await.unwrap().is_empty());
    world.assert_holds(&fake, "a-1", &[(1, units([0, 2]))], "");
    let presence = restarted.presence(UnitIx(1)).await.unwrap();
    let last = presence[0].history.last().unwrap();
    assert_eq!((last.op, last.stage), (Op::Remove, Stage::Settled));
    assert!(last.settled_entry.is_some(), "the proof of the removal");
}

#[tokio::test]
async fn tokens_of_who_left_are_destroyed_on_demand() {
    let fake = Fake::good("gate");
    let (world, audience) = (World::new(16, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    outbox.add(&audience, 1, month(), members(&fake.id, 1, 0..5), &cause()).await.unwrap();
    world.settle(&outbox).await;
    assert_eq!(outbox.forget(&audience).await.unwrap(), 0);
    outbox.withdraw(&units([1, 2]), &cause()).await.unwrap();
    assert_eq!(outbox.forget(&audience).await.unwrap(), 0, "as long as it may be there, its token is needed");
    world.settle(&outbox).await;
    assert_eq!(outbox.forget(&audience).await.unwrap(), 2);
    assert_eq!(outbox.forget(&audience).await.unwrap(), 0);
    // Who stayed can still be removed.
    let out = world.run().await.withdraw(&units(0..5), &cause()).await.unwrap();
    assert_eq!((out.units, out.missing), (3, 0));
}

#[tokio::test]
async fn a_withdrawal_that_touches_very_many_batches_takes_several_commits_and_is_whole() {
    let fake = Fake::good("gate");
    let (world, audience) = (World::new(17, vec![fake.clone()]), lane("gate", "a-1"));
    let outbox = world.run().await;
    for batch in 0..1200 {
        let two = members(&fake.id, 1, [2 * batch, 2 * batch + 1]);
        outbox.add(&audience, 1, month(), two, &cause()).await.unwrap();
    }
    let out = outbox.withdraw(&units((0..1200).map(|batch| 2 * batch)), &cause()).await.unwrap();
    assert_eq!((out.units, out.missing, out.logged), (1200, 0, true));
    world.settle(&outbox).await;
    world.assert_holds(&fake, "a-1", &[(1, units((0..1200).map(|batch| 2 * batch + 1)))], "");
    assert_eq!(fake.inside.lock().unwrap().seen.len(), 1200, "nobody who withdrew was sent");
}
