//! The HTTP API in process: good, repeated, unknown, forbidden, and what no token or a bad one gets.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use common::Room;
use identity::{LocalIssuer, Principal, Role};
use ids::{Clock as _, ManualClock, SystemClock};
use serde_json::{Value, json};
use server::app::App;
use server::home::Home;
use server::http::{OPENAPI, Service, router, routes};
use tower::ServiceExt as _;

/// The service over a room, and tokens for it.
struct Api {
    room: Room,
    router: Router,
    issuer: LocalIssuer,
}

struct Answer {
    status: StatusCode,
    kind: String,
    text: String,
    json: Value,
}

impl Api {
    async fn over(room: Room) -> Self {
        let app = Arc::new(App::open(&Home::at(room.home.clone()), &vault::Quiet).await.unwrap());
        let issuer =
            LocalIssuer::from_pkcs8(&std::fs::read(room.home.join("keys/token.key")).unwrap()).unwrap();
        Self { room, router: router(&Service::new(app)), issuer }
    }

    fn token(&self, party: &str, role: Role) -> String {
        let principal = Principal::local("ada".parse().unwrap(), party.parse().unwrap(), role);
        self.issuer.issue(&principal, 600, &SystemClock).unwrap()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        let bytes = axum::body::to_bytes(response.into_body(), 16 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, kind: kind.unwrap_or_default(), text, json }
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        let request =
            Request::get(path).header("authorization", format!("Bearer {token}")).body(Body::empty());
        self.send(request.unwrap()).await
    }

    async fn post(&self, path: &str, token: &str, key: Option<&str>, body: &Value) -> Answer {
        let mut request = Request::post(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }
}

fn question(sql: &str) -> Value {
    json!({ "sql": sql, "purpose": "measurement" })
}

fn problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert_eq!(answer.kind, "application/problem+json");
    assert_eq!(answer.json["code"], code, "{}", answer.text);
    assert_eq!(answer.json["status"], status);
}

const COUNT: &str = "SELECT COUNT(DISTINCT card_id) AS shoppers FROM lines";

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_repeated_free_and_fetched_again() {
    let api = Api::over(Room::filled()).await;
    let token = api.token("retailer", Role::Analyst);
    let first = api.post("/v1/queries", &token, Some("key-1"), &question(COUNT)).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    let shoppers = &first.json["rows"][0]["shoppers"];
    assert!(shoppers["low"].as_f64().unwrap() < shoppers["high"].as_f64().unwrap(), "{shoppers}");
    assert!(first.json["charge"]["rho"].as_f64().unwrap() > 0.0);

    // The same key: the very same answer. Another key: the same noise, free of charge.
    let again = api.post("/v1/queries", &token, Some("key-1"), &question(COUNT)).await;
    assert_eq!(again.json["rows"], first.json["rows"], "{}", again.text);
    let other = api.post("/v1/queries", &token, Some("key-2"), &question(COUNT)).await;
    assert_eq!(other.json["rows"], first.json["rows"]);
    assert_eq!(other.json["charge"]["rho"], 0);
    let budget = api.get("/v1/budget", &token).await;
    let spent = |answer: &Answer| answer.json["blocks"][0]["spent_rho"].clone();
    assert_eq!(spent(&budget), first.json["charge"]["rho"], "{}", budget.text);

    // The same key for another question is refused.
    let conflict =
        api.post("/v1/queries", &token, Some("key-1"), &question("SELECT COUNT(*) AS n FROM lines")).await;
    problem(&conflict, 422, "conflict");

    let id = first.json["release_id"].as_str().unwrap();
    let fetched = api.get(&format!("/v1/releases/{id}"), &token).await;
    assert_eq!(fetched.json["rows"], first.json["rows"], "{}", fetched.text);
    // Another party does not learn that it exists.
    let stranger = api.get(&format!("/v1/releases/{id}"), &api.token("brand-nord", Role::Analyst)).await;
    problem(&stranger, 404, "no-such-release");
    problem(&api.get("/v1/releases/rel_0", &token).await, 404, "no-such-release");
    problem(&api.get("/v1/releases/Not%20An%20Id", &token).await, 404, "no-such-release");

    // Metrics count by stable codes and tell no figure of the data.
    let metrics = api.get("/metrics", "").await;
    assert!(metrics.text.contains("cleanroom_questions_total{code=\"released\"} 3"), "{}", metrics.text);
    assert!(metrics.text.contains("cleanroom_questions_total{code=\"conflict\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_denials_and_malformed_requests_are_problems_with_stable_codes() {
    let api = Api::over(Room::filled()).await;
    let token = api.token("retailer", Role::Analyst);
    let ask = |body: Value| {
        let (api, token) = (&api, &token);
        async move { api.post("/v1/queries", token, None, &body).await }
    };
    let unknown = ask(question("SELECT COUNT(*) FROM nowhere")).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", unknown.text);
    assert_eq!(unknown.json["line"], 1);
    let denied = ask(json!({ "sql": COUNT, "purpose": "activation" })).await;
    problem(&denied, 403, "denied");
    assert!(!denied.json["clauses"].as_array().unwrap().is_empty());
    assert!(denied.json["log_index"].as_u64().is_some());
    problem(&ask(json!({ "sql": COUNT, "purpose": "measurement", "speed": 1 })).await, 400, "body");
    problem(&ask(json!({ "sql": COUNT })).await, 400, "body");
    problem(
        &ask(json!({ "sql": COUNT, "purpose": "measurement", "epsilon": 0 })).await,
        422,
        "parameter.epsilon",
    );
    let bad_key = api.post("/v1/queries", &token, Some("two words"), &question(COUNT)).await;
    problem(&bad_key, 400, "idempotency_key");
    let untyped = Request::post("/v1/queries")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from("{}"));
    problem(&api.send(untyped.unwrap()).await, 415, "media_type");
    let large = ask(json!({ "sql": "x".repeat(80_000), "purpose": "measurement" })).await;
    problem(&large, 413, "body_too_large");
    problem(&api.get("/v1/nothing", &token).await, 404, "not_found");
    problem(&api.get("/v1/queries", &token).await, 405, "method_not_allowed");
    problem(&api.get("/v1/catalogue", &token).await, 400, "parameter.purpose");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_of_ours_for_us_and_of_now_opens_the_api() {
    let api = Api::over(Room::filled()).await;
    let guarded = |token: String| {
        let api = &api;
        async move { api.get("/v1/budget", &token).await }
    };
    assert_eq!(guarded(api.token("retailer", Role::Analyst)).await.status, StatusCode::OK);
    let none = api.send(Request::get("/v1/budget").body(Body::empty()).unwrap()).await;
    problem(&none, 401, "token_missing");

    let ada = Principal::local("ada".parse().unwrap(), "retailer".parse().unwrap(), Role::Analyst);
    let yesterday = ManualClock::at(SystemClock.now().plus_secs(-86_400));
    problem(&guarded(api.issuer.issue(&ada, 60, &yesterday).unwrap()).await, 401, "token_expired");
    let pkcs8 = std::fs::read(api.room.home.join("keys/token.key")).unwrap();
    let other_audience = LocalIssuer::from_pkcs8(&pkcs8).unwrap().named("cleanroom-local", "another-service");
    problem(
        &guarded(other_audience.issue(&ada, 60, &SystemClock).unwrap()).await,
        401,
        "token_audience_wrong",
    );
    let stranger = LocalIssuer::generate(&ids::SystemEntropy::new()).unwrap();
    problem(&guarded(stranger.issue(&ada, 60, &SystemClock).unwrap()).await, 401, "token_key_unknown");
    problem(&guarded(api.token("nobody", Role::Analyst)).await, 401, "token_party_unknown");

    // `alg: none` with the claims of a good token and no signature.
    let good = api.token("retailer", Role::Analyst);
    let claims = good.split('.').nth(1).unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    problem(&guarded(format!("{header}.{claims}.")).await, 401, "token_algorithm_forbidden");
    // Two headers, another scheme.
    let twice = Request::get("/v1/budget")
        .header("authorization", format!("Bearer {good}"))
        .header("authorization", format!("Bearer {good}"))
        .body(Body::empty());
    problem(&api.send(twice.unwrap()).await, 401, "token_missing");
    let basic = Request::get("/v1/budget").header("authorization", "Basic YTpi").body(Body::empty());
    problem(&api.send(basic.unwrap()).await, 401, "token_missing");
    // What needs no token says nothing of the data.
    for open in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        let answer = api.send(Request::get(open).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{open}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_shows_no_count_and_no_direct_identifier_and_the_look_is_logged() {
    let api = Api::over(Room::filled()).await;
    let token = api.token("brand-nord", Role::Analyst);
    let answer = api.get("/v1/catalogue?purpose=measurement", &token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(!answer.text.contains("phone"), "{}", answer.text);
    assert!(!answer.text.contains(&common::SHOPPERS.to_string()), "{}", answer.text);
    assert_eq!(answer.json["tables"].as_array().unwrap().len(), 5);
    drop(api.router);
    let entries = api.room.json(&["audit", "show", "--last", "1"]);
    assert_eq!(entries[0]["kind"], "catalogue-read", "{entries}");
    assert_eq!(entries[0]["party"], "brand-nord");
}

#[test]
fn openapi_describes_every_route_and_nothing_else() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut described = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            described.push((method.clone(), path.clone(), operation["security"] != Value::Null));
        }
    }
    let mut served: Vec<_> = routes()
        .iter()
        .map(|route| (route.method.to_owned(), route.path.to_owned(), route.guarded))
        .collect();
    described.sort();
    served.sort();
    assert_eq!(described, served);
    // Every reference leads somewhere.
    let mut stack = vec![&document];
    let mut references = 0;
    while let Some(value) = stack.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                    references += 1;
                }
                stack.extend(members.values());
            }
            Value::Array(values) => stack.extend(values),
            _ => {}
        }
    }
    assert!(references > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_openapi_says_of_a_release_and_a_preview_is_what_is_sent() {
    let api = Api::over(Room::filled()).await;
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let token = api.token("retailer", Role::Analyst);
    let release = api.post("/v1/queries", &token, None, &question(COUNT)).await.json;
    let preview = api.post("/v1/queries:preview", &token, None, &question(COUNT)).await.json;
    let budget = api.get("/v1/budget", &token).await.json;
    let catalogue = api.get("/v1/catalogue?purpose=measurement", &token).await.json;
    for (name, sent) in
        [("Release", release), ("Preview", preview), ("Budget", budget), ("Catalogue", catalogue)]
    {
        let schema = &document["components"]["schemas"][name];
        let properties = schema["properties"].as_object().unwrap();
        for member in sent.as_object().unwrap().keys() {
            assert!(properties.contains_key(member), "{name}.{member} is not described");
        }
        for required in schema["required"].as_array().unwrap() {
            assert!(sent.get(required.as_str().unwrap()).is_some(), "{name} lacks {required}: {sent}");
        }
    }
}

/// Promise of the issue: `explain` and `:preview` read no data, so an empty vault with the same catalogue answers alike.
#[tokio::test(flavor = "multi_thread")]
async fn explain_and_preview_are_the_same_on_an_empty_vault_with_the_same_catalogue() {
    let questions = [
        COUNT,
        "SELECT tier, COUNT(DISTINCT card_id) AS n FROM shoppers GROUP BY tier",
        "SELECT products.category, SUM(lines.amount) AS sales FROM lines JOIN products \
         ON lines.product_id = products.product_id GROUP BY products.category",
        "SELECT MAX(amount) FROM lines",
        "SELECT COUNT(*) FROM nowhere",
    ];
    let (full, empty) = (Room::filled(), Room::empty());
    for sql in questions {
        let of = |room: &Room| {
            let output = room.run(&["--format=json", "explain", "--party=retailer", sql]);
            (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap(), common::stderr(&output))
        };
        assert_eq!(of(&full), of(&empty), "{sql}");
    }
    let (full, empty) = (Api::over(full).await, Api::over(empty).await);
    for sql in questions {
        let (one, two) = (full.token("retailer", Role::Analyst), empty.token("retailer", Role::Analyst));
        let one = full.post("/v1/queries:preview", &one, None, &question(sql)).await;
        let two = empty.post("/v1/queries:preview", &two, None, &question(sql)).await;
        assert_eq!((one.status, one.text), (two.status, two.text), "{sql}");
    }
}
