//! Promise 12: kill −9 at random moments under load. No charge is lost, no release is without its receipt, the log
//! verifies, and the next start needs no hand.
//!
//! `CLEANROOM_KILLS` says how often (default 12; the long run uses 300).
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Room, assert_ok, http};
use ids::Entropy as _;
use serde_json::{Value, json};

const CLIENTS: usize = 4;

/// What a client knows of one question: the answer, or that it was cut off.
type Known = BTreeMap<String, Option<Value>>;

struct Server {
    child: Child,
    address: SocketAddr,
}

/// Starts the service on a free port and waits until it says where it listens.
fn start(room: &Room) -> Server {
    let mut child = room
        .command()
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let Some(address) = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next()) else {
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        panic!("the service did not start by itself: {line} {}", common::stderr(&output));
    };
    Server { address: address.parse().unwrap(), child }
}

fn ask(address: SocketAddr, token: &str, key: &str, number: u64) -> std::io::Result<(u16, String)> {
    let sql = format!("SELECT COUNT(DISTINCT card_id) AS n FROM shoppers WHERE birth_year <> {number}");
    let body = json!({ "sql": sql, "purpose": "measurement", "epsilon": 0.02 }).to_string();
    let bearer = format!("Bearer {token}");
    let headers =
        [("Authorization", bearer.as_str()), ("Content-Type", "application/json"), ("Idempotency-Key", key)];
    http(address, "POST", "/v1/queries", &headers, &body)
}

/// Clients that ask new questions until the server goes away.
fn load(
    address: SocketAddr,
    token: &str,
    next: &Arc<AtomicU64>,
    known: &Arc<Mutex<Known>>,
    stop: &Arc<AtomicBool>,
) {
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let key = format!("k-{number}");
                    known.lock().unwrap().insert(key.clone(), None);
                    match ask(address, token, &key, number) {
                        Ok((200, body)) => {
                            let release = serde_json::from_str(&body).unwrap();
                            known.lock().unwrap().insert(key, Some(release));
                        }
                        Ok((status, body)) => panic!("{status}: {body}"),
                        Err(_) => break,
                    }
                }
            });
        }
    });
}

/// Everything a client was given is still there, is in the log under its receipt's index, and its charge is spent.
fn check(room: &Room, address: SocketAddr, token: &str, known: &Known) {
    let bearer = format!("Bearer {token}");
    let get = |path: &str| {
        let (status, body) = http(address, "GET", path, &[("Authorization", bearer.as_str())], "").unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let entries = room.json(&["audit", "show", "--last", "1000000"]);
    let entries = entries.as_array().unwrap();
    for release in known.values().flatten() {
        let entry = &entries[usize::try_from(release["receipt"]["index"].as_u64().unwrap()).unwrap()];
        assert_eq!(entry["result"], release["result"], "a release without its receipt: {release}");
        assert_eq!(entry["request"], release["request_id"]);
    }
    // The newest answers again, over HTTP.
    for release in known.values().flatten().rev().take(3) {
        let again = get(&format!("/v1/releases/{}", release["release_id"].as_str().unwrap()));
        assert_eq!(again["rows"], release["rows"]);
    }
    // Charges: the ledger holds at least what was answered, and exactly what the log says was permitted.
    let micro = |value: &Value| (value.as_f64().unwrap() * 1e6).round() as u64;
    let spent = micro(&get("/v1/budget")["blocks"][0]["spent_rho"]);
    let answered: u64 = known.values().flatten().map(|release| micro(&release["charge"]["rho"])).sum();
    let mut charged: BTreeMap<String, u64> = BTreeMap::new();
    for entry in entries {
        if entry["kind"] == "query-permitted" && entry["party"] == "retailer" {
            let request = entry["request"].as_str().unwrap().to_owned();
            let rho = entry["charge"]["rho_micro"].as_u64().unwrap();
            let twice = charged.insert(request, rho);
            assert!(twice.is_none_or(|before| before == rho), "{entry}");
        }
    }
    assert!(spent >= answered, "a charge was lost: {spent} µρ spent, {answered} µρ answered");
    // A charge is durable before it is logged, so the log never knows of more than the ledger.
    let logged: u64 = charged.values().sum();
    assert!(spent >= logged, "the log knows charges that the ledger lost: {spent} and {logged}");
    let asked = known.len() as u64
        * known
            .values()
            .flatten()
            .map(|release| micro(&release["charge"]["rho"]))
            .max()
            .unwrap_or(u64::MAX / 4_096);
    assert!(spent <= asked, "a key was charged twice: {spent} µρ for {} keys", known.len());
}

#[test]
fn a_crash_at_any_point_loses_no_acknowledged_write_double_counts_nothing_and_never_goes_back_in_the_log() {
    let kills: u32 = std::env::var("CLEANROOM_KILLS")
        .map_or(12, |text| text.parse().expect("CLEANROOM_KILLS is a number"));
    let room = Room::filled();
    let token = {
        let output = room.run(&["token", "--party=retailer", "--lifetime-seconds=86400"]);
        assert_ok(&output);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (next, known) = (Arc::new(AtomicU64::new(1)), Arc::new(Mutex::new(Known::new())));
    let mut size_before = 0;
    for kill in 0..kills {
        let mut server = start(&room);
        // An interrupted commit is settled by the start itself; from then on the log verifies and has not gone back.
        let size = room.json(&["audit", "verify"])["size"].as_u64().unwrap();
        assert!(size >= size_before, "the log went back from {size_before} to {size}");
        size_before = size;
        let stop = Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| load(server.address, &token, &next, &known, &stop));
            // The moment of the kill is random; what is asserted does not depend on it.
            let mut random = [0; 2];
            ids::SystemEntropy::new().fill(&mut random).unwrap();
            let moment =
                Instant::now() + Duration::from_micros(20_000 + u64::from(u16::from_le_bytes(random)) * 6);
            while Instant::now() < moment {
                std::thread::sleep(Duration::from_millis(1));
            }
            server.child.kill().unwrap();
            server.child.wait().unwrap();
            stop.store(true, Ordering::Release);
        });
        if kill % 10 == 9 || kill + 1 == kills {
            settle(&room, &token, &known);
        }
    }
    assert_ok(&room.run(&["audit", "verify"]));
    assert_ok(&room.run(&["doctor"]));
}

/// Asks every cut-off question again under its key, then compares all there is.
fn settle(room: &Room, token: &str, known: &Arc<Mutex<Known>>) {
    let mut server = start(room);
    let mut known = known.lock().unwrap();
    let open: Vec<String> =
        known.iter().filter(|(_, answer)| answer.is_none()).map(|(key, _)| key.clone()).collect();
    for key in open {
        let number: u64 = key.trim_start_matches("k-").parse().unwrap();
        let (status, body) = ask(server.address, token, &key, number).unwrap();
        // Charged before the crash and not answered: the charge is kept, and the generic failure says so.
        assert!(status == 200 || status == 500, "{status}: {body}");
        if status == 200 {
            known.insert(key, Some(serde_json::from_str(&body).unwrap()));
        }
    }
    check(room, server.address, token, &known);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
}
