//! Tables of requests and the decisions they get, and the examples that the bundles bring themselves.

#![expect(clippy::unwrap_used, reason = "test helpers outside #[test]")]

mod support;

use ids::{Delta, MicroEpsilon};
use policy::{BuiltIn, COMPLETE_JOURNEY, Decision, JV_NORTH, Lang, SampleBundle};
use support::{COMPLETE_JOURNEY_CORPUS, Folder, JV_NORTH_CORPUS, corpus, outcome, request, today};

fn check(sample: SampleBundle, text: &str) {
    let bundle = Folder::of(sample).load().unwrap();
    let corpus = corpus(text);
    assert!(corpus.len() >= 30);
    let mut wrong = Vec::new();
    for (request, expected) in corpus {
        let decision = bundle.decide(&request, today());
        if outcome(&decision) != expected {
            wrong.push(format!(
                "{request:?}\n  expected {expected}\n  came     {} {decision:?}",
                outcome(&decision)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn jv_north_decides_as_the_table_says() {
    check(JV_NORTH, JV_NORTH_CORPUS);
}

#[test]
fn complete_journey_decides_as_the_table_says() {
    check(COMPLETE_JOURNEY, COMPLETE_JOURNEY_CORPUS);
}

#[test]
fn the_samples_are_locked_and_keep_their_own_examples_and_promises() {
    for sample in SampleBundle::ALL {
        let bundle = Folder::of(sample).load().unwrap();
        let report = bundle.test();
        assert!(report.is_ok(), "{}: {:#?}", sample.name, report.failures);
        assert!(report.passed >= 15);
        // Guards that no request can reach while the permits and floors stand; `changes.rs` reaches them.
        let guards = ["JV-1.1", "JV-3.1", "P-1", "P-3", "P-8"];
        assert!(
            report.without_case.iter().all(|id| guards.contains(&id.as_str())),
            "{:?}",
            report.without_case
        );
    }
}

#[test]
fn the_files_of_a_sample_are_all_embedded() {
    for sample in SampleBundle::ALL {
        let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles").join(sample.name);
        let embedded = Folder::of(sample).load().unwrap();
        // An extra or different file in the folder would change the digest or be refused.
        assert_eq!(policy::Bundle::load(&shipped).unwrap().digest(), embedded.digest());
    }
}

#[test]
fn a_permit_carries_what_the_planner_needs_and_is_bound_to_the_question() {
    let bundle = Folder::of(JV_NORTH).load().unwrap();
    let ask =
        request("brand-lumi analyst run-query loyalty measurement 500000 lines.amount products.category");
    let Decision::Permitted(permit) = bundle.decide(&ask, today()) else { panic!("denied") };
    assert_eq!(permit.fingerprint(), ask.fingerprint);
    assert_eq!((permit.bundle(), permit.facts()), (bundle.digest(), bundle.facts_digest()));
    assert_eq!((permit.party().as_str(), permit.purpose().as_str()), ("brand-lumi", "measurement"));
    let obligations = permit.obligations();
    assert_eq!(obligations.cohort_min, 50);
    assert_eq!(obligations.epsilon_max, MicroEpsilon::from_units(500_000));
    assert_eq!(obligations.delta, Delta::from_units(1_000_000_000));
    assert_eq!((obligations.lookback_days, obligations.lag_days), (None, 0));
    let filters: Vec<String> = obligations
        .row_filters
        .iter()
        .map(|f| {
            format!("{}.{} {}", f.table, f.column, f.allowed.iter().cloned().collect::<Vec<_>>().join("|"))
        })
        .collect();
    assert_eq!(
        filters,
        [
            "baskets.channel offline",
            "campaigns.brand Lumi",
            "lines.channel offline",
            "products.category Milk|Yoghurt"
        ]
    );
}

#[test]
fn look_back_and_lag_of_the_contract_come_with_the_permit() {
    let folder = Folder::of(JV_NORTH);
    let floors = folder.read("facts/floors.toml");
    let (house, jv) = floors.split_at(floors.rfind("[[floor]]").unwrap());
    folder.write(
        "facts/floors.toml",
        format!("{house}{}", jv.replace("lag_days = 0", "lag_days = 28\nlookback_days = 365")),
    );
    let bundle = folder.relock().unwrap();
    let days = |line: &str| {
        let Decision::Permitted(permit) = bundle.decide(&request(line), today()) else {
            panic!("denied: {line}")
        };
        (permit.obligations().lookback_days, permit.obligations().lag_days)
    };
    assert_eq!(
        days("jv-partner analyst run-query loyalty measurement 500000 lines.amount -"),
        (Some(365), 28)
    );
    assert_eq!(days("retailer analyst run-query loyalty measurement 500000 lines.amount -"), (None, 0));
}

#[test]
fn a_campaigns_permit_carries_the_strictest_terms_of_the_contracts_that_bind_it() {
    let bundle = Folder::of(JV_NORTH).load().unwrap();
    let terms = |line: &str| {
        let Decision::Permitted(permit) = bundle.decide(&request(line), today()) else {
            panic!("denied: {line}")
        };
        let terms = permit.obligations().activation.as_ref().unwrap();
        let approvers: Vec<String> = terms.approvers.iter().map(ToString::to_string).collect();
        (
            approvers.join(" "),
            terms.holdout_min_ppm,
            terms.ttl_days_max,
            terms.attempts_max,
            terms.audience_min,
        )
    };
    let venture = ("jv-partner retailer".to_owned(), 100_000, 30, 10, 1000);
    // The steward is bound by the house alone; what counts is whose campaign it is.
    let signed = "push:scoped:retailer,jv-partner:5000:100000:30:1";
    let start = "retailer steward start-campaign loyalty activation 0 - -";
    assert_eq!(terms(&format!("{start} brand-nord:ana:{signed}")), venture);
    assert_eq!(
        terms(&format!("{start} retailer:ana:{signed}")),
        ("retailer".to_owned(), 50_000, 90, 40, 1000)
    );
    assert_eq!(terms(&format!("{start} retailer:ana:{signed}:joint")), venture);
    assert_eq!(terms("brand-nord analyst define-segment loyalty activation 500000 lines.amount -"), venture);
}

#[test]
fn every_clause_speaks_three_languages() {
    for sample in SampleBundle::ALL {
        let bundle = Folder::of(sample).load().unwrap();
        let built_in = BuiltIn::ALL.map(|clause| clause.id().parse().unwrap());
        for id in bundle.clauses().keys().chain(&built_in) {
            let [en, ru, kk] = Lang::ALL.map(|lang| bundle.clause_text(id, lang).unwrap());
            assert!(en.is_ascii() || en.contains('ε'), "{id}: {en}");
            assert!(en != ru && ru != kk && en != kk, "{id}");
        }
        assert_eq!(bundle.clause_text(&"JV-9.9".parse().unwrap(), Lang::En), None);
    }
}

#[test]
fn budgets_are_those_of_the_annex() {
    let bundle = Folder::of(JV_NORTH).load().unwrap();
    let budgets = bundle.budgets();
    assert_eq!(budgets.block_cap, MicroEpsilon::from_units(10_000_000));
    assert_eq!(budgets.epsilon_default, MicroEpsilon::from_units(500_000));
    assert_eq!(budgets.quotas[&"brand-lumi".parse().unwrap()], MicroEpsilon::from_units(1_200_000));
    assert!(budgets.quotas.values().all(|quota| *quota <= budgets.block_cap));
    assert_eq!(bundle.parties().len(), 8);
    assert_eq!(bundle.purposes().len(), 4);
}
