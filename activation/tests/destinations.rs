//! Every kind of destination over loopback: gRPC, a folder, a webhook.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use activation::batch::{Batch, BatchId, Header, Lane, Members, Op, Place, Token};
use activation::destination::receiver::Receiver;
use activation::destination::wire::{
    StatusRequest, SubmitRequest, WireState, audiences_client::AudiencesClient,
};
use activation::destination::{
    Acknowledge, Answer, Destination, DestinationRefused, Fault, Folder, Gateway, Reason, SIGNATURE_HEADER,
    TIMESTAMP_HEADER, Verdict, Webhook, WebhookSecret, signature,
};
use activation::outbox::{Cause, Outbox, OutboxKey, Ports, Settings, SqliteStore};
use audits::{BodyKey, Log, LogConfig, LogKey};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Router, body::Bytes, routing::post};
use ids::{Clock as _, Digest, ManualClock, SystemEntropy, Timestamp, UnitIx};
use roaring::RoaringBitmap;

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn token(unit: u32) -> String {
    Digest::of_parts(&[b"token", &unit.to_be_bytes()]).to_hex()
}

fn members(units: impl IntoIterator<Item = u32>) -> Members {
    let mut members = Members::default();
    units.into_iter().for_each(|unit| members.push(UnitIx(unit), &token(unit)).unwrap());
    members
}

fn lane(destination: &str) -> Lane {
    Lane { destination: destination.parse().unwrap(), audience: "coffee".parse().unwrap() }
}

fn batch(op: Op, seq: u64, units: impl IntoIterator<Item = u32>) -> Batch {
    let members: Vec<Token> = units.into_iter().map(|unit| token(unit).parse().unwrap()).collect();
    let expires = (op == Op::Add).then_some(START.plus_secs(3600));
    let place = Place { lane: lane("gate"), epoch: 1, op, seq, part: 0, expires };
    let id = BatchId::from_digest(Digest::of_parts(&[op.as_str().as_bytes(), &seq.to_be_bytes()]));
    Batch { header: Header { id, place, count: members.len() as u32 }, members }
}

/// An outbox over real files that sends to one destination.
async fn outbox(home: &Path, clock: &ManualClock, destination: Arc<dyn Destination>) -> Outbox {
    let entropy = Arc::new(SystemEntropy::new());
    let config = LogConfig {
        dir: home.join("log"),
        head_path: home.join("head"),
        origin: "audit.example/destinations".to_owned(),
    };
    let key = LogKey::generate(entropy.as_ref()).unwrap();
    let log =
        Log::create(config, key, BodyKey::from_bytes([1; 32]), Arc::new(clock.clone()), entropy.clone());
    let ports = Ports {
        store: Arc::new(SqliteStore::open(&home.join("outbox.sqlite")).await.unwrap()),
        journal: Arc::new(log.unwrap()),
        clock: Arc::new(clock.clone()),
        entropy,
        destinations: vec![destination],
    };
    Outbox::open(OutboxKey::from_bytes([2; 32]), Settings::default(), ports).await.unwrap()
}

/// Fills, withdraws, tops up; the answer is who must be there.
async fn story(outbox: &Outbox, clock: &ManualClock, to: &str) -> RoaringBitmap {
    let (lane, expires) = (lane(to), START.plus_secs(30 * 86_400));
    outbox.add(&lane, 1, expires, members(0..50), &Cause::default()).await.unwrap();
    settle(outbox, clock, to).await;
    outbox.withdraw(&(10..20).collect(), &Cause::default()).await.unwrap();
    outbox.add(&lane, 1, expires, members(50..60), &Cause::default()).await.unwrap();
    settle(outbox, clock, to).await;
    let target: RoaringBitmap = (0..10).chain(20..60).collect();
    assert_eq!(outbox.membership(&lane).await.unwrap()[&1].acked, target);
    target
}

async fn settle(outbox: &Outbox, clock: &ManualClock, to: &str) {
    for _ in 0..1000 {
        let Some(due) = outbox.pump(&to.parse().unwrap()).await.unwrap().next_due else { return };
        clock.advance_millis(u32::try_from((due.as_millis() - clock.now().as_millis()).max(1)).unwrap());
    }
    panic!("it does not come to rest: {:?}", outbox.health(&to.parse().unwrap()).await);
}

/// A gRPC server on loopback.
async fn serve(receiver: &Arc<Receiver>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let service = receiver.clone().service();
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    address
}

#[tokio::test]
async fn the_gateway_gets_exactly_the_audience_over_grpc() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(START));
    let file = home.path().join("gate.sqlite");
    let receiver = Receiver::open(&file, "gate".parse().unwrap(), Arc::new(clock.clone()));
    let receiver = Arc::new(receiver.await.unwrap());
    let address = serve(&receiver).await;
    let gateway = Gateway::new("gate".parse().unwrap(), &format!("http://{address}"), None).unwrap();
    let outbox = outbox(home.path(), &clock, Arc::new(gateway)).await;
    let target = story(&outbox, &clock, "gate").await;
    let audience = "coffee".parse().unwrap();
    let held = receiver.members(&audience).await.unwrap();
    let held: BTreeSet<String> = held.iter().map(|token| token.expose().to_owned()).collect();
    assert_eq!(held, target.iter().map(token).collect());
    let (there, gone) = (token(0).parse().unwrap(), token(10).parse().unwrap());
    assert!(
        receiver.holds(&audience, &there).await.unwrap() && !receiver.holds(&audience, &gone).await.unwrap()
    );
    assert_eq!(receiver.audiences_of(&there).await.unwrap(), std::slice::from_ref(&audience));
    // Nobody has to be told when the time is over.
    clock.advance_millis(u32::MAX);
    assert!(receiver.members(&audience).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_receiver_acts_once_per_id_and_a_late_addition_does_not_undo_a_removal() {
    let clock: Arc<dyn ids::Clock> = Arc::new(ManualClock::at(START));
    let receiver = Receiver::in_memory("gate".parse().unwrap(), clock).await.unwrap();
    let audience = "coffee".parse().unwrap();
    let (add, remove) = (batch(Op::Add, 1, 0..5), batch(Op::Remove, 2, 2..4));
    assert_eq!(receiver.status(&add.header.id).await.unwrap(), Answer::Unknown);
    for batch in [&add, &add, &remove, &add] {
        assert_eq!(receiver.take(batch).await.unwrap(), Answer::Final(Verdict::Applied));
    }
    assert_eq!(receiver.members(&audience).await.unwrap().len(), 3);
    // One that overtook nobody: the removal came first, the older addition under an id that was never seen.
    receiver.take(&batch(Op::Remove, 9, 7..8)).await.unwrap();
    receiver.take(&batch(Op::Add, 8, 7..8)).await.unwrap();
    assert_eq!(receiver.members(&audience).await.unwrap().len(), 3);
    assert_eq!(receiver.status(&remove.header.id).await.unwrap(), Answer::Final(Verdict::Applied));
}

#[tokio::test]
async fn the_receiver_refuses_what_is_no_batch_or_is_meant_for_another() {
    let clock: Arc<dyn ids::Clock> = Arc::new(ManualClock::at(START));
    let receiver = Arc::new(Receiver::in_memory("gate".parse().unwrap(), clock).await.unwrap());
    let address = serve(&receiver).await;
    let mut client = AudiencesClient::connect(format!("http://{address}")).await.unwrap();
    let good = SubmitRequest::from(&batch(Op::Add, 1, 0..3));
    let bad = [
        SubmitRequest { op: 0, ..good.clone() },
        SubmitRequest { op: 77, ..good.clone() },
        SubmitRequest { seq: 0, ..good.clone() },
        SubmitRequest { expires_ms: 0, ..good.clone() },
        SubmitRequest { tokens: Vec::new(), ..good.clone() },
        SubmitRequest { tokens: vec!["two words".to_owned()], ..good.clone() },
        SubmitRequest { tokens: vec!["a".to_owned(); 10_001], ..good.clone() },
        SubmitRequest { batch_id: "1".to_owned(), ..good.clone() },
        SubmitRequest { audience: "A B".to_owned(), ..good.clone() },
    ];
    for request in bad {
        let answer = client.submit(request).await.unwrap().into_inner();
        assert_eq!(answer.state(), WireState::Refused);
    }
    let other = SubmitRequest { destination: "hook".to_owned(), ..good.clone() };
    assert_eq!(client.submit(other).await.unwrap_err().code(), tonic::Code::FailedPrecondition);
    assert_eq!(
        client.status(StatusRequest { batch_id: good.batch_id.clone() }).await.unwrap().into_inner().state(),
        WireState::Unknown
    );
    assert!(receiver.members(&"coffee".parse().unwrap()).await.unwrap().is_empty());
    assert_eq!(client.submit(good).await.unwrap().into_inner().state(), WireState::Applied);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_was_certainly_not_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let gateway = Gateway::new("gate".parse().unwrap(), &format!("http://{address}"), None).unwrap();
    let failed = gateway.submit(&batch(Op::Add, 1, 0..3)).await.unwrap_err();
    assert_eq!(failed.fault, Fault::Unreachable);
    assert!(!failed.fault.in_doubt());
    let hook = webhook(&format!("http://{address}/in"));
    assert_eq!(hook.submit(&batch(Op::Add, 1, 0..3)).await.unwrap_err().fault, Fault::Unreachable);
}

#[tokio::test]
async fn nothing_is_sent_unencrypted_beyond_this_machine() {
    let id = || "gate".parse().unwrap();
    for address in ["http://10.0.0.1:7443", "http://gateway.example.kz"] {
        assert_eq!(Gateway::new(id(), address, None).unwrap_err(), DestinationRefused::Plain(id()));
        let clock: Arc<dyn ids::Clock> = Arc::new(ManualClock::at(START));
        let hook = Webhook::new(id(), address, WebhookSecret::new(vec![1]), None, clock).unwrap_err();
        assert_eq!(hook, DestinationRefused::Plain(id()));
    }
    assert_eq!(
        Gateway::new(id(), "https://gateway.example.kz", None).unwrap_err(),
        DestinationRefused::Tls(id())
    );
    assert_eq!(Gateway::new(id(), "not an address", None).unwrap_err(), DestinationRefused::Address(id()));
}

fn manifest(dir: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap()
}

/// What a partner does who reads the folder: manifest order, digests checked, last word per token.
fn read_folder(dir: &Path) -> BTreeSet<String> {
    let mut held = BTreeSet::new();
    for listed in manifest(dir)["batches"].as_array().unwrap() {
        let content = std::fs::read(dir.join(listed["file"].as_str().unwrap())).unwrap();
        assert_eq!(Digest::of(&content).to_hex(), listed["sha256"].as_str().unwrap());
        let document: serde_json::Value = serde_json::from_slice(&content).unwrap();
        assert_eq!(document["batch_id"], listed["batch_id"]);
        for member in document["members"].as_array().unwrap() {
            let member = member.as_str().unwrap().to_owned();
            if document["op"] == "add" {
                held.insert(member)
            } else {
                held.remove(&member)
            };
        }
    }
    held
}

#[tokio::test]
async fn a_folder_holds_exactly_the_audience_in_order() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(START));
    let folder = Folder::new("gate".parse().unwrap(), home.path().join("out"), Acknowledge::OnWrite);
    let outbox = outbox(home.path(), &clock, Arc::new(folder)).await;
    let target = story(&outbox, &clock, "gate").await;
    let dir = home.path().join("out/coffee");
    assert_eq!(read_folder(&dir), target.iter().map(token).collect());
    let leftovers = std::fs::read_dir(&dir)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".tmp"));
    assert_eq!(leftovers.count(), 0);
}

#[tokio::test]
async fn a_folder_is_written_once_per_batch_and_finishes_what_a_crash_left() {
    let home = tempfile::tempdir().unwrap();
    let folder = Folder::new("gate".parse().unwrap(), home.path().to_path_buf(), Acknowledge::OnWrite);
    let (add, dir) = (batch(Op::Add, 1, 0..3), home.path().join("coffee"));
    assert_eq!(folder.status(&add.header).await.unwrap(), Answer::Unknown);
    let applied = Answer::Final(Verdict::Applied);
    for _ in 0..2 {
        assert_eq!(folder.submit(&add).await.unwrap(), applied);
        assert_eq!(manifest(&dir)["batches"].as_array().unwrap().len(), 1);
    }
    // A crash came after the file and before the manifest.
    std::fs::remove_file(dir.join("manifest.json")).unwrap();
    assert_eq!(folder.status(&add.header).await.unwrap(), Answer::Unknown, "it is sent again, then");
    assert_eq!(folder.submit(&add).await.unwrap(), applied);
    assert_eq!(folder.status(&add.header).await.unwrap(), applied);
    // Somebody changed the file: it is not overwritten, and not called delivered.
    let file = dir.join(manifest(&dir)["batches"][0]["file"].as_str().unwrap());
    std::fs::write(file, b"{}").unwrap();
    let failed = folder.submit(&add).await.unwrap_err();
    assert_eq!(failed.fault, Fault::Storage(std::io::ErrorKind::AlreadyExists));
}

#[tokio::test]
async fn a_folder_that_is_receipted_is_final_with_the_receipt_only() {
    let home = tempfile::tempdir().unwrap();
    let folder = Folder::new("gate".parse().unwrap(), home.path().to_path_buf(), Acknowledge::ByReceipt);
    let add = batch(Op::Add, 1, 0..3);
    assert_eq!(folder.submit(&add).await.unwrap(), Answer::Accepted { poll_after_secs: None });
    assert_eq!(folder.status(&add.header).await.unwrap(), Answer::Accepted { poll_after_secs: None });
    let receipts = home.path().join("coffee/receipts");
    std::fs::create_dir(&receipts).unwrap();
    let receipt = receipts.join(format!("{}.json", add.header.id.digest().to_hex()));
    std::fs::write(&receipt, r#"{"state":"partial","rejected":[{"position":2,"reason":"blocked"}]}"#)
        .unwrap();
    let Answer::Final(Verdict::Partial(rejections)) = folder.status(&add.header).await.unwrap() else {
        panic!()
    };
    assert_eq!((rejections.len(), rejections[0].position, rejections[0].reason), (1, 2, Reason::Blocked));
    std::fs::write(&receipt, "done!").unwrap();
    assert_eq!(folder.status(&add.header).await.unwrap_err().fault, Fault::Protocol);
}

const SECRET: [u8; 32] = [9; 32];

fn webhook(url: &str) -> Webhook {
    let clock: Arc<dyn ids::Clock> = Arc::new(ManualClock::at(START));
    Webhook::new("gate".parse().unwrap(), url, WebhookSecret::new(SECRET.to_vec()), None, clock).unwrap()
}

/// Someone else's endpoint.
#[derive(Clone, Default)]
struct Endpoint(Arc<Mutex<EndpointState>>);

#[derive(Default)]
struct EndpointState {
    held: BTreeSet<String>,
    known: BTreeSet<String>,
    /// The next answers: status, retry-after, body.
    script: Vec<(u16, Option<&'static str>, &'static str)>,
    signed_wrong: usize,
}

impl Endpoint {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/in", post(taken).get(asked)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/in?key=k1")
    }

    fn script(&self, script: &[(u16, Option<&'static str>, &'static str)]) {
        self.0.lock().unwrap().script = script.iter().rev().copied().collect();
    }

    fn check(&self, headers: &HeaderMap, over: &[u8]) {
        let text = |name| headers[name].to_str().unwrap().to_owned();
        let seconds: i64 = text(TIMESTAMP_HEADER).parse().unwrap();
        let expected = signature(&WebhookSecret::new(SECRET.to_vec()), seconds, over);
        self.0.lock().unwrap().signed_wrong += usize::from(expected != text(SIGNATURE_HEADER));
    }

    fn scripted(&self) -> Option<Response> {
        let (status, wait, body) = self.0.lock().unwrap().script.pop()?;
        let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
        if let Some(wait) = wait {
            response.headers_mut().insert("retry-after", wait.parse().unwrap());
        }
        if status == 302 {
            response.headers_mut().insert("location", "/elsewhere".parse().unwrap());
        }
        Some(response)
    }
}

async fn taken(State(endpoint): State<Endpoint>, headers: HeaderMap, body: Bytes) -> Response {
    endpoint.check(&headers, &body);
    if let Some(response) = endpoint.scripted() {
        return response;
    }
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    assert_eq!(document["batch_id"], key.as_str());
    let mut state = endpoint.0.lock().unwrap();
    if state.known.insert(key) {
        for member in document["members"].as_array().unwrap() {
            let member = member.as_str().unwrap().to_owned();
            if document["op"] == "add" {
                state.held.insert(member)
            } else {
                state.held.remove(&member)
            };
        }
    }
    StatusCode::ACCEPTED.into_response()
}

async fn asked(
    State(endpoint): State<Endpoint>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    assert_eq!(query["key"], "k1", "what was in the address stays in it");
    endpoint.check(&headers, query["batch"].as_bytes());
    if let Some(response) = endpoint.scripted() {
        return response;
    }
    let known = endpoint.0.lock().unwrap().known.contains(&query["batch"]);
    let state = if known { r#"{"state":"applied"}"# } else { r#"{"state":"unknown"}"# };
    state.into_response()
}

#[tokio::test]
async fn a_webhook_gets_exactly_the_audience_signed_and_idempotent() {
    let (home, clock, endpoint) = (tempfile::tempdir().unwrap(), ManualClock::at(START), Endpoint::default());
    let url = endpoint.start().await;
    endpoint.script(&[
        (500, None, ""),
        (429, Some("20"), ""),
        (302, None, ""),
        (200, None, "what?"),
        (401, None, ""),
    ]);
    let outbox = outbox(home.path(), &clock, Arc::new(webhook(&url))).await;
    let target = story(&outbox, &clock, "gate").await;
    let state = endpoint.0.lock().unwrap();
    assert_eq!(state.held, target.iter().map(token).collect());
    assert_eq!(state.signed_wrong, 0);
}

#[tokio::test]
async fn what_a_webhook_answers_is_understood() {
    let endpoint = Endpoint::default();
    let hook = webhook(&endpoint.start().await);
    let add = batch(Op::Add, 1, 0..3);
    let at = "Mon, 21 Sep 2026 14:13:25 GMT";
    let wait = Timestamp::from_millis(1_790_000_005_000).as_secs() - START.as_secs();
    let failures = [
        (401, None, Fault::Credentials, None),
        (403, None, Fault::Credentials, None),
        (404, None, Fault::NotThere, None),
        (302, None, Fault::NotThere, None),
        (408, None, Fault::Busy, None),
        (409, None, Fault::Busy, None),
        (429, Some("17"), Fault::Busy, Some(17)),
        (503, Some(at), Fault::Busy, Some(u32::try_from(wait).unwrap())),
        (500, None, Fault::Broken, None),
    ];
    for (status, header, fault, retry_after_secs) in failures {
        endpoint.script(&[(status, header, "")]);
        let failed = hook.submit(&add).await.unwrap_err();
        assert_eq!((failed.fault, failed.retry_after_secs), (fault, retry_after_secs), "{status}");
    }
    let finals = [
        (200, "", Answer::Final(Verdict::Applied)),
        (204, "", Answer::Final(Verdict::Applied)),
        (202, "", Answer::Accepted { poll_after_secs: None }),
        (200, r#"{"state":"accepted","poll_after_secs":3}"#, Answer::Accepted { poll_after_secs: Some(3) }),
        (400, "token 5 is bad", Answer::Final(Verdict::Refused(Reason::Malformed))),
        (422, "", Answer::Final(Verdict::Refused(Reason::Malformed))),
        (413, "", Answer::Final(Verdict::Refused(Reason::TooLarge))),
    ];
    for (status, body, answer) in finals {
        endpoint.script(&[(status, None, body)]);
        assert_eq!(hook.submit(&add).await.unwrap(), answer, "{status} {body}");
    }
    endpoint.script(&[(200, None, "<html>")]);
    let failed = hook.submit(&add).await.unwrap_err();
    assert_eq!(failed.fault, Fault::Protocol);
    let shown = format!("{failed} {failed:?} {hook:?}");
    assert!(
        !shown.contains("k1") && !shown.contains("127.0.0.1"),
        "no address, no secret in an error: {shown}"
    );
}

#[test]
fn the_signature_is_the_one_that_the_document_says() {
    // python3: hmac.new(bytes([9]*32), b'1790000000.{"a":1}', "sha256").hexdigest()
    let signed = signature(&WebhookSecret::new(SECRET.to_vec()), 1_790_000_000, br#"{"a":1}"#);
    assert_eq!(signed, "v1=5000c87429e27e58e34d747cd94ae81d18d6bfc00b39d0a12b1214ee1f576e87");
}
