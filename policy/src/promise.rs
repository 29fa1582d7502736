//! Promise 9 of the house plan, as a test that may reach inside: rules that fail cannot be loaded, so they are put in
//! after loading.

use cedar_policy::{Policy, PolicyId};
use identity::{Principal, Role};
use ids::{Digest, MicroEpsilon, Timestamp};

use crate::{Action, BuiltIn, Bundle, COMPLETE_JOURNEY, Decision, Footprint, JV_NORTH, Lang, Request};

fn bundle(sample: crate::SampleBundle) -> Bundle {
    let dir = tempfile::tempdir().unwrap();
    sample.write_to(dir.path()).unwrap();
    Bundle::load(dir.path()).unwrap()
}

fn good() -> Request {
    let column = |table: &str, column: &str| (table.to_owned(), column.to_owned());
    Request {
        principal: Principal::local("ada".parse().unwrap(), "brand-nord".parse().unwrap(), Role::Analyst),
        action: Action::RunQuery,
        dataset: "loyalty".parse().unwrap(),
        purpose: "measurement".parse().unwrap(),
        footprint: Footprint {
            columns: [column("lines", "amount")].into(),
            keys: [column("products", "category")].into(),
            tables: ["lines".to_owned(), "products".to_owned()].into(),
        },
        epsilon: MicroEpsilon::from_units(500_000),
        campaign: None,
        fingerprint: Digest::of(b"question"),
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_780_000_000_000)
}

/// The clauses of a denial, whose reason names each of them.
fn denial(bundle: &Bundle, request: &Request) -> Vec<String> {
    let Decision::Denied(denied) = bundle.decide(request, now()) else { panic!("permitted: {request:?}") };
    let clauses: Vec<String> = denied.clauses.iter().map(ToString::to_string).collect();
    assert!(!clauses.is_empty());
    for (id, name) in denied.clauses.iter().zip(&clauses) {
        assert!(bundle.clause_text(id, Lang::En).is_some(), "{name} has no words");
    }
    assert!(clauses.iter().any(|clause| denied.reason.contains(clause.as_str())), "{}", denied.reason);
    clauses
}

fn failing(effect: &str, id: &str) -> Policy {
    let text = format!(
        "{effect} (principal, action, resource) when {{ context.nothing > 9223372036854775807 + 1 }};"
    );
    Policy::parse(Some(PolicyId::new(id)), text).unwrap()
}

#[test]
fn any_policy_error_missing_rule_unknown_field_or_failed_check_is_a_denial_a_denial_names_the_rule() {
    let whole = bundle(JV_NORTH);
    assert!(matches!(whole.decide(&good(), now()), Decision::Permitted(_)), "the question itself is allowed");

    // Any policy error: Cedar alone skips the failing forbid and allows.
    for effect in ["forbid", "permit"] {
        let mut broken = bundle(JV_NORTH);
        broken.rules.all.add(failing(effect, "JV-9.9")).unwrap();
        let Decision::Denied(denied) = broken.decide(&good(), now()) else {
            panic!("a failing {effect} was skipped")
        };
        let clauses: Vec<&str> = denied.clauses.iter().map(ids::ClauseId::as_str).collect();
        assert_eq!(clauses, ["JV-9.9", "POLICY-ERROR"]);
        let mut broken = bundle(JV_NORTH);
        broken.rules.permits.add(failing("permit", "JV-9.9")).unwrap();
        assert!(matches!(broken.decide(&good(), now()), Decision::Denied(_)));
    }
    // Rules that contradict themselves: the sets disagree about who permits.
    let mut torn = bundle(JV_NORTH);
    torn.rules.permits.remove_static(PolicyId::new("JV-2.2")).unwrap();
    assert_eq!(denial(&torn, &good()), ["POLICY-ERROR"]);
    // A missing entity: the request does not fit.
    let mut empty = bundle(JV_NORTH);
    empty.entities = cedar_policy::Entities::empty();
    assert_eq!(denial(&empty, &good()), ["DEFAULT-DENY"]);
    // Another vocabulary than the code's.
    let mut other = bundle(JV_NORTH);
    other.schema = cedar_policy::Schema::from_cedarschema_str(
        "entity A; action x appliesTo { principal: A, resource: A };",
    )
    .unwrap()
    .0;
    assert_eq!(denial(&other, &good()), ["POLICY-ERROR"]);

    // A missing rule.
    let mut without = bundle(JV_NORTH);
    for set in [&mut without.rules.all, &mut without.rules.permits] {
        set.remove_static(PolicyId::new("JV-2.2")).unwrap();
    }
    assert_eq!(denial(&without, &good()), ["DEFAULT-DENY"]);
    assert_eq!(denial(&whole, &Request { action: Action::Ingest, ..good() }), ["DEFAULT-DENY"]);

    // An unknown name in any field.
    let column = |table: &str, column: &str| [(table.to_owned(), column.to_owned())].into();
    let party = |party: &str, role| Principal::local("ada".parse().unwrap(), party.parse().unwrap(), role);
    let with = |footprint: Footprint| Request { footprint, ..good() };
    let cases = [
        (Request { principal: party("brand-x", Role::Analyst), ..good() }, BuiltIn::UnknownParty),
        (Request { principal: party("brand-nord", Role::Steward), ..good() }, BuiltIn::UnknownRole),
        (Request { purpose: "research".parse().unwrap(), ..good() }, BuiltIn::UnknownPurpose),
        (Request { dataset: "payroll".parse().unwrap(), ..good() }, BuiltIn::UnknownDataset),
        (
            with(Footprint { tables: ["salaries".to_owned()].into(), ..Footprint::default() }),
            BuiltIn::UnknownTable,
        ),
        (
            with(Footprint { columns: column("lines", "margin"), ..Footprint::default() }),
            BuiltIn::UnknownColumn,
        ),
        (with(Footprint { keys: column("lines", "margin"), ..Footprint::default() }), BuiltIn::UnknownColumn),
        (with(Footprint::default()), BuiltIn::EmptyFootprint),
        (Request { epsilon: MicroEpsilon::ZERO, ..good() }, BuiltIn::EpsilonZero),
    ];
    for (request, expected) in cases {
        assert_eq!(denial(&whole, &request), [expected.id()], "{request:?}");
    }

    // A failed check that no rule makes: without the agreement's own caps, the built-in one holds.
    let mut uncapped = bundle(JV_NORTH);
    uncapped.rules.all.remove_static(PolicyId::new("JV-3.2")).unwrap();
    let lumi = party("brand-lumi", Role::Analyst);
    let dear = Request { principal: lumi, epsilon: MicroEpsilon::from_units(500_001), ..good() };
    assert_eq!(denial(&uncapped, &dear), ["EPSILON-CAP"]);
    let journey = bundle(COMPLETE_JOURNEY);
    assert_eq!(denial(&journey, &good()), ["UNKNOWN-PARTY"]);
}
