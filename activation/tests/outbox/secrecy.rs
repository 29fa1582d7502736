//! No token in a log line, an error, a debug text or on disk; no unit at a destination.

use std::path::Path;
use std::sync::Arc;

use activation::batch::Op;
use activation::outbox::{Outbox, OutboxKey, Ports, Settings, SqliteStore};
use audits::{BodyKey, Log, LogConfig, LogKey};
use ids::{ManualClock, UnitIx};

use crate::world::{Fake, Lines, Mood, START, Seeded, cause, lane, members, token, units};

fn every_file(dir: &Path, out: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            every_file(&path, out);
        } else {
            out.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test]
async fn no_token_is_in_a_log_line_an_error_or_a_file() {
    let home = tempfile::tempdir().unwrap();
    Lines::shared().collect();
    let fake = Fake::new("gate", {
        let moods = [Mood::Broken, Mood::LostAnswer, Mood::Busy, Mood::Nonsense, Mood::Good, Mood::Slow];
        let mut turn = 0;
        move || {
            turn += 1;
            moods[turn % moods.len()]
        }
    });
    fake.inside.lock().unwrap().poison.insert(token(&fake.id, 1, 3));
    fake.inside.lock().unwrap().picky.insert(token(&fake.id, 1, 5));
    let clock = ManualClock::at(START);
    let entropy = Seeded::new(1);
    let config = LogConfig {
        dir: home.path().join("log"),
        head_path: home.path().join("head"),
        origin: "audit.example/outbox".to_owned(),
    };
    let (key, body) = (LogKey::generate(entropy.as_ref()).unwrap(), BodyKey::from_bytes([3; 32]));
    let log = Log::create(config, key, body, Arc::new(clock.clone()), entropy.clone()).unwrap();
    let log = Arc::new(log);
    let store = SqliteStore::open(&home.path().join("outbox.sqlite")).await.unwrap();
    let ports = Ports {
        store: Arc::new(store),
        journal: log.clone(),
        clock: Arc::new(clock.clone()),
        entropy,
        destinations: vec![fake.clone()],
    };
    let outbox = Outbox::open(OutboxKey::from_bytes([5; 32]), Settings::default(), ports).await.unwrap();
    let audience = lane("gate", "a-1");
    let mut shown = String::new();
    let queued =
        outbox.add(&audience, 1, START.plus_secs(9_000_000), members(&fake.id, 1, 0..40), &cause()).await;
    shown += &format!("{queued:?}");
    for round in 0..400 {
        let pumped = outbox.pump(&fake.id).await;
        shown += &format!("{pumped:?}");
        clock.advance_millis(400_000);
        if round == 3 {
            shown += &format!("{:?}", outbox.withdraw(&units(0..20), &cause()).await);
        }
        if pumped.unwrap().next_due.is_none() && round > 3 {
            break;
        }
    }
    assert_eq!(fake.held("a-1").len(), 20);
    shown += &format!("{:?} {:?}", outbox, outbox.presence(UnitIx(5)).await.unwrap());
    shown +=
        &format!("{:?} {:?}", outbox.alarms().await.unwrap(), outbox.membership(&audience).await.unwrap());

    let printed = Lines::shared().take();
    assert!(holds(&printed, "will be tried again"), "the lines were collected");
    let mut files = Vec::new();
    every_file(home.path(), &mut files);
    assert!(
        files.iter().any(|(name, _)| name.ends_with("outbox.sqlite-wal")),
        "the write-ahead log is looked at too"
    );
    for unit in 0..40 {
        let token = token(&fake.id, 1, unit);
        assert!(!holds(&printed, &token), "in a log line");
        assert!(!holds(shown.as_bytes(), &token), "in a debug text");
        for (name, content) in &files {
            assert!(!holds(content, &token), "in {name}");
            assert!(!holds(content, &hex::encode(token.as_bytes())), "in {name} as hex");
        }
    }
    // The log can be read by an auditor: what was queued, and each final word.
    let entries = log.entries(0..log.size()).unwrap();
    assert!(
        entries.iter().any(|logged| logged.entry.reason.as_ref().is_some_and(|r| r.as_str() == "withdraw"))
    );
    let proof = outbox.presence(UnitIx(0)).await.unwrap();
    let last = proof[0].history.last().unwrap();
    assert_eq!(last.op, Op::Remove);
    let settled = last.settled_entry.unwrap();
    let receipt = log.prove_inclusion(settled).unwrap();
    receipt.verify(&log.entry(settled).unwrap().to_leaf().unwrap(), log.verifier_key()).unwrap();
    let body = String::from_utf8(log.body(settled).unwrap().unwrap()).unwrap();
    assert!(body.contains(&last.batch.to_string()), "the removal's entry names its batch: {body}");
}
