//! The embedded store keeps what the store in memory keeps.

use std::sync::Arc;

use activation::outbox::{SqliteStore, Store, StoreFailed};
use audits::Kind;

use crate::world::{Fake, START, World, cause, lane, members, token, units};

#[tokio::test]
async fn a_restart_over_the_file_sees_what_the_running_process_saw() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("outbox.sqlite");
    let fake = Fake::moody("gate", 4, 3);
    fake.inside.lock().unwrap().poison.insert(token(&fake.id, 1, 3));
    let mut world = World::new(1, vec![fake.clone()]);
    world.store = Arc::new(SqliteStore::open(&file).await.unwrap());
    let (mut outbox, audience) = (world.run().await, lane("gate", "a-1"));
    let month = START.plus_secs(30 * 86_400);
    for round in 0..12u32 {
        outbox.add(&audience, 1, month, members(&fake.id, 1, round..round + 9), &cause()).await.unwrap();
        outbox.withdraw(&units([round]), &cause()).await.unwrap();
        outbox.pump(&fake.id).await.unwrap();
        world.clock.advance_millis(20_000);
        let before = outbox.membership(&audience).await.unwrap();
        world.store = Arc::new(SqliteStore::open(&file).await.unwrap());
        outbox = world.run().await;
        assert_eq!(outbox.membership(&audience).await.unwrap(), before, "round {round}");
    }
    world.settle(&outbox).await;
    fake.deliver_late();
    let there = units((12..20).filter(|unit| *unit != 3));
    world.assert_holds(&fake, "a-1", &[(1, there)], "");
    assert_eq!(fake.inside.lock().unwrap().doubles, 0);
    assert!(world.log.count(Kind::AudienceSettled) > 12);
}

#[tokio::test]
async fn a_commit_planned_on_an_older_state_is_refused_whole() {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&home.path().join("outbox.sqlite")).await.unwrap();
    assert_eq!(store.load().await.unwrap().generation, 0);
    store.commit(0, &[]).await.unwrap();
    let change =
        activation::outbox::store::Change::Lane { lane: lane("gate", "a-1"), next_seq: 1, closed: false };
    let stale = store.commit(0, std::slice::from_ref(&change)).await.unwrap_err();
    assert!(matches!(stale, StoreFailed::Stale), "{stale}");
    assert!(store.load().await.unwrap().lanes.is_empty());
    store.commit(1, &[change]).await.unwrap();
    assert_eq!(store.load().await.unwrap().lanes.len(), 1);
}
