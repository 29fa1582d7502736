//! The rights of one shopper through the binary and the API: everything about them, and nothing of them any more.
#![expect(clippy::unwrap_used, reason = "test code")]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};
use std::sync::Arc;

use audits::{Receipt, VerifierKey};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use common::{Room, SHOPPERS, assert_fails, assert_ok};
use identity::{LocalIssuer, Principal, Role};
use ids::{Digest, SystemClock};
use serde_json::{Value, json};
use server::app::App;
use server::home::Home;
use server::http::{Service, router};
use tower::ServiceExt as _;
use vault::{Ports, RootKey, Shopper, Vault};

/// The shopper of these tests: card, phone, and the number of their lines (see `common::write_data`).
const CARD: &str = "card-00040";
const PHONE: &str = "+77010000040";
const LINES: usize = 1 + 40 % 7;

fn vault_of(room: &Room) -> Vault {
    let root = RootKey::from_file(&room.home.join("keys/root.key")).unwrap();
    Vault::open(&room.home.join("vault"), &root, Ports::system()).unwrap()
}

fn with_card(room: &Room, args: &[&str], card: &str) -> Output {
    let mut process = room
        .command()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The process may refuse before it reads.
    let _ = process.stdin.take().unwrap().write_all(format!("{card}\n").as_bytes());
    process.wait_with_output().unwrap()
}

fn entries(room: &Room, kind: &str) -> Vec<Value> {
    let all = room.json(&["audit", "show", "--last", "1000"]);
    all.as_array().unwrap().iter().filter(|entry| entry["kind"] == kind).cloned().collect()
}

/// Every file of the home, for what must not be in it.
fn nowhere(room: &Room, texts: &[&str]) {
    fn walk(folder: &std::path::Path, texts: &[&str], seen: &mut usize) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, texts, seen);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            *seen += 1;
            for text in texts {
                let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
                assert!(!found, "`{text}` is in {}", path.display());
            }
        }
    }
    let mut seen = 0;
    walk(&room.home, texts, &mut seen);
    assert!(seen > 10);
}

#[test]
fn an_export_holds_everything_of_one_shopper_and_is_on_record_before_it_leaves() {
    let room = Room::filled();
    let out = room.folder.path().join("subject.json");
    let path = out.to_str().unwrap();
    assert_ok(&with_card(&room, &["export-subject", "--out", path], &format!("  {CARD} ")));
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&out).unwrap();
    let subject: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(subject["about"]["key"], CARD);
    let shoppers = subject["tables"]["shoppers"].as_array().unwrap();
    assert_eq!(
        (shoppers.len(), &shoppers[0]["phone"], &shoppers[0]["birth_year"]),
        (1, &json!(PHONE), &json!(1990))
    );
    let lines = subject["tables"]["lines"].as_array().unwrap();
    assert_eq!(lines.len(), LINES);
    assert!(lines.iter().any(|line| line["amount"] == "10.50"), "{lines:?}");
    assert!(subject["tables"]["baskets"].as_array().unwrap().is_empty(), "an empty table is named too");
    let neighbour = format!("+7701{:07}", 41);
    assert!(!text.contains(&neighbour), "nobody else is in it");

    let logged = entries(&room, "subject-exported");
    assert_eq!(
        (logged.len(), &logged[0]["decision"], &logged[0]["role"]),
        (1, &json!("permitted"), &json!("dpo"))
    );
    assert!(!logged[0].to_string().contains("card"), "a leaf names nobody: {}", logged[0]);
    nowhere(&room, &[CARD, PHONE]);
    assert_ok(&room.run(&["audit", "verify"]));

    // Nothing is overwritten, and then nothing is logged.
    assert_fails(&with_card(&room, &["export-subject", "--out", path], CARD), 2, &["file_exists"]);
    assert_eq!(entries(&room, "subject-exported").len(), 1);
    let other = room.folder.path().join("other.json");
    let other = other.to_str().unwrap();
    let unknown = with_card(&room, &["export-subject", "--out", other], "card-99999");
    assert_fails(&unknown, 2, &["subject_unknown"]);
    assert!(!common::stderr(&unknown).contains("99999"), "a key is not repeated");
    let denied = with_card(&room, &["export-subject", "--out", other, "--role", "analyst"], CARD);
    assert_fails(&denied, 3, &["denied", "clause"]);
    assert_fails(&with_card(&room, &["export-subject", "--out", other], " "), 2, &["card_missing"]);
    assert!(!std::path::Path::new(other).exists());
    let decisions: Vec<_> =
        entries(&room, "subject-exported").iter().map(|e| e["decision"].clone()).collect();
    assert_eq!(
        decisions,
        ["permitted", "permitted", "denied"],
        "asking for nobody and being denied are on record"
    );
}

#[test]
fn an_erased_shopper_is_gone_does_not_come_back_and_has_proof_of_it() {
    let room = Room::filled();
    let before = vault_of(&room);
    let (lines, units) = (before.rows("lines"), before.units());
    let old_parts: Vec<_> = before.parts().map(|(_, part)| before.part_path(part)).collect();
    drop(before);
    let ingests = entries(&room, "ingest").len();
    let record_path = room.folder.path().join("record.json");
    let path = record_path.to_str().unwrap();
    let denied = with_card(&room, &["erase", "--record", path, "--role", "legal"], CARD);
    assert_fails(&denied, 3, &["denied"]);
    assert_eq!(vault_of(&room).rows("lines"), lines);
    assert_ok(&with_card(&room, &["erase", "--record", path], CARD));

    let vault = vault_of(&room);
    assert_eq!((vault.rows("lines"), vault.rows("shoppers")), (lines - LINES as u64, SHOPPERS as u64 - 1));
    assert!(matches!(vault.shoppers().unwrap().find(CARD), Shopper::Erased(_)));
    let gone = old_parts.iter().filter(|path| !path.exists()).count();
    assert_eq!(gone, 2, "one part of `shoppers` and one of `lines` were sealed anew");
    drop(vault);
    let out = room.folder.path().join("late.json");
    let late = with_card(&room, &["export-subject", "--out", out.to_str().unwrap()], CARD);
    assert_fails(&late, 2, &["subject_erased"]);

    // What the shopper takes away: the record, and proof that the log commits to it.
    let signed: Value = serde_json::from_slice(&fs::read(&record_path).unwrap()).unwrap();
    assert!(!signed.to_string().contains(CARD));
    let key: VerifierKey = fs::read_to_string(room.home.join("log.vkey")).unwrap().trim().parse().unwrap();
    let receipt = Receipt::from_tlog_proof(signed["proof"].as_str().unwrap(), &key).unwrap();
    let logged = entries(&room, "subject-erased");
    let last = logged.last().unwrap();
    assert_eq!(last["index"], receipt.index);
    assert_eq!(last["result"], Digest::of(signed["record"].to_string().as_bytes()).to_string());
    assert_eq!(last["target"], signed["record"]["erased"]["begun_in_entry"]);
    let tables = signed["record"]["erased"]["vault"]["tables"].as_array().unwrap();
    assert_eq!(tables.iter().map(|t| t["rows_removed"].as_u64().unwrap()).sum::<u64>(), LINES as u64 + 1);
    assert_ok(&room.run(&["audit", "verify"]));
    nowhere(&room, &[CARD, PHONE]);

    // An old delivery again: everybody else's rows are taken, theirs are not.
    let again = room.folder.path().join("again");
    fs::create_dir(&again).unwrap();
    let rows =
        format!("card_id,tier,birth_year,phone\n{CARD},gold,1990,{PHONE}\ncard-x,basic,1991,87010000001\n");
    fs::write(again.join("shoppers.csv"), rows).unwrap();
    let loaded = room.json(&["ingest", again.to_str().unwrap()]);
    assert_eq!((&loaded["tables"][0]["rows"], &loaded["tables"][0]["erased"]), (&json!(1), &json!(1)));
    let vault = vault_of(&room);
    assert_eq!((vault.units(), vault.rows("shoppers")), (units + 1, SHOPPERS as u64));
    drop(vault);

    // Again is no error: it says that it had been done.
    let repeated = with_card(&room, &["--format", "json", "erase"], CARD);
    assert_ok(&repeated);
    let repeated: Value = serde_json::from_slice(&repeated.stdout).unwrap();
    assert_eq!(repeated["record"]["erased"]["erased_before"], true);
    assert_fails(&with_card(&room, &["erase"], "card-99999"), 2, &["subject_unknown"]);
    let after = entries(&room, "ingest").len();
    assert_eq!(after, ingests + 1, "an erasure's snapshot is on record as an erasure, not as a load");
}

struct Api {
    router: axum::Router,
    issuer: LocalIssuer,
}

impl Api {
    async fn post(&self, path: &str, role: Role, body: Value) -> (StatusCode, Option<String>, Value) {
        let principal = Principal::local("dana".parse().unwrap(), "retailer".parse().unwrap(), role);
        let token = self.issuer.issue(&principal, 600, &SystemClock).unwrap();
        let request = Request::post(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let cache = response.headers().get("cache-control").map(|value| value.to_str().unwrap().to_owned());
        let bytes = axum::body::to_bytes(response.into_body(), 16 << 20).await.unwrap();
        (status, cache, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_exports_erases_and_answers_from_the_new_snapshot_at_once() {
    let room = Room::filled();
    let app = Arc::new(App::open(&Home::at(room.home.clone()), &vault::Quiet).await.unwrap());
    let issuer = LocalIssuer::from_pkcs8(&fs::read(room.home.join("keys/token.key")).unwrap()).unwrap();
    let api = Api { router: router(&Service::new(app)), issuer };
    let whom = json!({ "card": CARD, "purpose": "operations" });
    let (export, erase) = ("/v1/subjects:export", "/v1/subjects:erase");

    let (status, _, answer) = api.post(export, Role::Analyst, whom.clone()).await;
    assert_eq!((status, &answer["code"]), (StatusCode::FORBIDDEN, &json!("denied")), "{answer}");
    let (status, cache, subject) = api.post(export, Role::Dpo, whom.clone()).await;
    assert_eq!((status, cache.as_deref()), (StatusCode::OK, Some("no-store")), "{subject}");
    assert_eq!(subject["tables"]["lines"].as_array().unwrap().len(), LINES);
    let (status, _, answer) =
        api.post(export, Role::Dpo, json!({ "card": "nobody", "purpose": "operations" })).await;
    assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &json!("subject_unknown")));

    let question = json!({ "sql": "SELECT COUNT(*) AS n FROM lines", "purpose": "measurement" });
    let ask = || async { api.post("/v1/queries", Role::Analyst, question.clone()).await };
    let (status, _, first) = ask().await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let (status, _, answer) = api.post(erase, Role::Analyst, whom.clone()).await;
    assert_eq!((status, &answer["code"]), (StatusCode::FORBIDDEN, &json!("denied")), "{answer}");
    let (status, _, done) = api.post(erase, Role::Dpo, whom.clone()).await;
    assert_eq!(status, StatusCode::OK, "{done}");
    let snapshot = &done["record"]["erased"]["vault"]["snapshot"];
    let (_, _, second) = ask().await;
    assert_eq!(&second["snapshot"], snapshot, "{second}");
    assert_ne!(
        second["release_id"], first["release_id"],
        "an answer about the old snapshot is not handed out for the new one"
    );
    let (status, _, answer) = api.post(export, Role::Dpo, whom.clone()).await;
    assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &json!("subject_erased")), "{answer}");
    let (status, _, again) = api.post(erase, Role::Dpo, whom).await;
    assert_eq!((status, &again["record"]["erased"]["erased_before"]), (StatusCode::OK, &json!(true)));
}
