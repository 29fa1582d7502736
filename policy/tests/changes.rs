//! No accident with a bundle turns a denial into a permit; and what each limit does one below, at and above its value.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "test helpers outside #[test]"
)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use policy::{Bundle, COMPLETE_JOURNEY, Decision, JV_NORTH, Request, SampleBundle};
use proptest::prelude::*;
use support::{COMPLETE_JOURNEY_CORPUS, Folder, JV_NORTH_CORPUS, corpus, day, outcome, request, today};

/// The requests of a corpus that are denied.
fn denied(text: &str) -> Vec<Request> {
    corpus(text)
        .into_iter()
        .filter(|(_, expected)| expected.starts_with("deny"))
        .map(|(request, _)| request)
        .collect()
}

fn permits_none(bundle: &Bundle, requests: &[Request]) -> Result<(), String> {
    for request in requests {
        if let Decision::Permitted(permit) = bundle.decide(request, today()) {
            return Err(format!("now permitted by {:?}: {request:?}", permit.clauses()));
        }
    }
    Ok(())
}

const SAMPLES: [(SampleBundle, &str); 2] =
    [(JV_NORTH, JV_NORTH_CORPUS), (COMPLETE_JOURNEY, COMPLETE_JOURNEY_CORPUS)];

/// The rules of a file, each from its `@clause` to its semicolon.
fn rules(text: &str) -> Vec<&str> {
    let starts: Vec<usize> = text.match_indices("@clause(").map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(&from, to)| &text[from..to]).collect()
}

#[test]
fn a_dropped_rule_never_turns_a_denial_into_a_permit_even_if_it_is_locked_without_it() {
    let mut dropped = 0;
    for (sample, text) in SAMPLES {
        let denied = denied(text);
        for (file, content) in sample.files.iter().filter(|(file, _)| file.ends_with(".cedar")) {
            for rule in rules(content) {
                let folder = Folder::of(sample);
                folder.replace(file, rule, "");
                assert_eq!(folder.load().unwrap_err().code(), "bundle-lock");
                let bundle = folder.relock().unwrap();
                permits_none(&bundle, &denied).map_err(|reason| format!("without {rule}: {reason}")).unwrap();
                dropped += 1;
            }
        }
    }
    assert!(dropped >= 65, "{dropped}");
}

#[test]
fn all_forbids_and_promises_together_may_go_and_what_was_denied_stays_denied() {
    for (sample, text) in SAMPLES {
        let folder = Folder::of(sample);
        for (file, content) in sample.files.iter().filter(|(file, _)| file.ends_with(".cedar")) {
            for rule in rules(content).into_iter().filter(|rule| rule.contains("\nforbid (")) {
                folder.replace(file, rule, "");
            }
        }
        permits_none(&folder.relock().unwrap(), &denied(text)).unwrap();
    }
}

#[test]
fn a_dropped_line_of_facts_never_turns_a_denial_into_a_permit_even_if_it_is_locked_without_it() {
    let (mut refused, mut loaded) = (0, 0);
    for (sample, text) in SAMPLES {
        let denied = denied(text);
        for (file, content) in sample.files.iter().filter(|(file, _)| file.starts_with("facts/")) {
            let lines: Vec<&str> = content.lines().collect();
            let worth = |line: &str| !line.trim().is_empty() && !line.starts_with('#');
            // Every third line: all of them take a minute, and the lines repeat in kind.
            for at in (0..lines.len()).filter(|&at| worth(lines[at])).step_by(3) {
                let folder = Folder::of(sample);
                let rest: Vec<&str> =
                    lines.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, l)| *l).collect();
                folder.write(file, rest.join("\n"));
                match folder.relock() {
                    Err(_) => refused += 1,
                    Ok(bundle) => {
                        loaded += 1;
                        let place = format!("{}/{file} without `{}`", sample.name, lines[at]);
                        permits_none(&bundle, &denied)
                            .map_err(|reason| format!("{place}: {reason}"))
                            .unwrap();
                    }
                }
            }
        }
    }
    assert!(refused >= 30 && loaded >= 10, "{refused} refused, {loaded} loaded");
}

#[test]
fn an_unknown_field_anywhere_in_the_facts_is_a_refusal() {
    for (sample, _) in SAMPLES {
        for (file, content) in sample.files.iter().filter(|(file, _)| file.starts_with("facts/")) {
            let folder = Folder::of(sample);
            folder.write(file, format!("surprise = 1\n{content}"));
            assert!(folder.relock().is_err(), "{file}");
            for (at, _) in content.match_indices("]]\n") {
                let (before, after) = content.split_at(at + 3);
                folder.write(file, format!("{before}surprise = 1\n{after}"));
                assert!(folder.relock().is_err(), "{file} at {at}");
            }
            for (at, _) in content.match_indices("{ ") {
                let (before, after) = content.split_at(at + 2);
                folder.write(file, format!("{before}surprise = 1, {after}"));
                assert!(folder.relock().is_err(), "{file} at {at}");
            }
        }
    }
}

/// What an accident or an attacker does to a folder.
#[derive(Debug, Clone)]
enum Harm {
    Flip { file: usize, at: usize, bits: u8 },
    Cut { file: usize, at: usize },
    Append { file: usize, bytes: Vec<u8> },
    Remove { file: usize },
    Swap { file: usize, other: usize },
    Add { name: String, bytes: Vec<u8> },
}

fn harm() -> impl Strategy<Value = Harm> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        4 => (any::<usize>(), any::<usize>(), 1..=255u8).prop_map(|(file, at, bits)| Harm::Flip { file, at, bits }),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(file, at)| Harm::Cut { file, at }),
        2 => (any::<usize>(), bytes()).prop_map(|(file, bytes)| Harm::Append { file, bytes }),
        1 => any::<usize>().prop_map(|file| Harm::Remove { file }),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(file, other)| Harm::Swap { file, other }),
        1 => ("(policies|facts|cases|promises)/[a-z]{1,8}\\.(cedar|toml)", bytes())
            .prop_map(|(name, bytes)| Harm::Add { name, bytes }),
    ]
}

impl Harm {
    fn apply(&self, folder: &Folder) {
        let files: Vec<PathBuf> = JV_NORTH.files.iter().map(|(file, _)| folder.path().join(file)).collect();
        let nth = |n: usize| &files[n % files.len()];
        match self {
            Self::Flip { file, at, bits } => {
                let mut content = fs::read(nth(*file)).unwrap();
                let at = at % content.len();
                content[at] ^= bits;
                fs::write(nth(*file), content).unwrap();
            }
            Self::Cut { file, at } => {
                let mut content = fs::read(nth(*file)).unwrap();
                content.truncate(at % content.len());
                fs::write(nth(*file), content).unwrap();
            }
            Self::Append { file, bytes } => {
                let mut content = fs::read(nth(*file)).unwrap();
                content.extend(bytes);
                fs::write(nth(*file), content).unwrap();
            }
            Self::Remove { file } => fs::remove_file(nth(*file)).unwrap(),
            Self::Swap { file, other } => {
                let (one, two) = (fs::read(nth(*file)).unwrap(), fs::read(nth(*other)).unwrap());
                fs::write(nth(*file), two).unwrap();
                fs::write(nth(*other), one).unwrap();
            }
            Self::Add { name, bytes } => folder.write(name, bytes),
        }
    }
}

static WHOLE: LazyLock<Bundle> = LazyLock::new(|| Folder::of(JV_NORTH).load().unwrap());

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// A damaged folder is refused; if it loads, nothing but spaces of the lock was touched, and it is the same bundle.
    #[test]
    fn no_damage_turns_a_denial_into_a_permit(harms in prop::collection::vec(harm(), 1..3)) {
        let folder = Folder::of(JV_NORTH);
        for harm in &harms {
            // A second harm may hit what the first removed.
            if JV_NORTH.files.iter().all(|(file, _)| folder.path().join(file).exists()) {
                harm.apply(&folder);
            }
        }
        if let Ok(bundle) = folder.load() {
            prop_assert_eq!(bundle.digest(), WHOLE.digest());
            prop_assert!(permits_none(&bundle, &denied(JV_NORTH_CORPUS)).is_ok());
        }
    }
}

const COLUMNS: [&str; 20] = [
    "lines.amount",
    "lines.card_id",
    "lines.channel",
    "lines.product_id",
    "lines.bought_on",
    "products.brand",
    "products.category",
    "products.supplier",
    "stores.region",
    "shoppers.tier",
    "shoppers.phone",
    "shoppers.email",
    "consents.state",
    "consents.card_id",
    "exposures.arm",
    "campaigns.brand",
    "baskets.basket_id",
    "lines.margin",
    "nowhere.x",
    "baskets.channel",
];

prop_compose! {
    fn any_request()(
        party in prop::sample::select(vec!["retailer", "jv-partner", "brand-nord", "brand-lumi", "regulator", "brand-aqua"]),
        role in prop::sample::select(vec!["analyst", "legal", "steward", "dpo", "gateway", "regulator"]),
        action in prop::sample::select(policy::Action::ALL.to_vec()),
        purpose in prop::sample::select(vec!["measurement", "operations", "activation", "activation-open", "research"]),
        epsilon in prop::sample::select(vec![0u64, 1, 500_000, 500_001, 1_000_000, 1_000_001, 2_000_000, 2_000_001, u64::MAX]),
        reads in prop::collection::vec(prop::sample::select(COLUMNS.to_vec()), 0..4),
        keys in prop::collection::vec(prop::sample::select(COLUMNS.to_vec()), 0..3),
        campaign in any_campaign(),
    ) -> Request {
        let list = |names: &[&str]| if names.is_empty() { "-".to_owned() } else { names.join(",") };
        let campaign = if action.is_about_campaign() { campaign } else { String::new() };
        request(&format!(
            "{party} {role} {action} loyalty {purpose} {epsilon} {} {} {campaign}",
            list(&reads),
            list(&keys)
        ))
    }
}

prop_compose! {
    /// Limits one below, at and above, most of them fine, so that permits occur.
    fn any_campaign()(
        owner in prop::sample::select(vec!["brand-nord", "brand-nord", "retailer", "brand-lumi", "jv-partner"]),
        author in prop::sample::select(vec!["ana", "ana", "ada"]),
        channels in prop::sample::select(vec!["push", "push,app,scale,checkout,screen", "offsite", "push,offsite", "radio"]),
        classes in prop::sample::select(vec!["scoped", "scoped", "open", "open,scoped"]),
        approvals in prop::sample::select(vec!["retailer,jv-partner", "retailer,jv-partner", "retailer", "jv-partner", "-"]),
        size in prop::sample::select(vec!["5000", "1000", "999", "4999", "-", "-7"]),
        holdout in prop::sample::select(vec![100_000, 100_000, 99_999, 50_000, 0]),
        ttl in prop::sample::select(vec![30, 30, 31, 90, 0]),
        attempts in prop::sample::select(vec![1, 1, 10, 11, 41]),
        joint in prop::sample::select(vec!["", "", ":joint"]),
    ) -> String {
        format!("{owner}:{author}:{channels}:{classes}:{approvals}:{size}:{holdout}:{ttl}:{attempts}{joint}")
    }
}

/// What a permit about a campaign means, in plain Rust.
fn keeps_the_terms_of_campaigns(ask: &Request, permit: &policy::Permit) -> Result<(), TestCaseError> {
    use policy::Action::{ApproveCampaign, CancelCampaign, ReadCampaign, SubmitCampaign};
    let campaign = ask.campaign.as_ref().unwrap();
    let (party, role) = (ask.principal.party(), ask.principal.role().as_str());
    let supplier = campaign.owner.as_str().starts_with("brand-");
    let venture = supplier || campaign.joint;
    prop_assert!(!["gateway", "regulator"].contains(&role));
    if [CancelCampaign, ReadCampaign].contains(&ask.action) {
        prop_assert!(*party == campaign.owner || ["retailer", "jv-partner"].contains(&party.as_str()));
        prop_assert!(party.as_str() != "jv-partner" || venture && role == "legal");
        return Ok(());
    }
    let open = campaign.destinations.contains(&policy::DestinationClass::Open);
    prop_assert!(
        campaign
            .channels
            .iter()
            .all(|c| ["push", "app", "scale", "checkout", "screen", "offsite"].contains(&c.as_str()))
    );
    prop_assert_eq!(ask.purpose.as_str(), if open { "activation-open" } else { "activation" });
    prop_assert!(!venture || !open && !campaign.channels.contains("offsite"));
    if ask.action == ApproveCampaign {
        prop_assert!(role == "legal" && ["retailer", "jv-partner"].contains(&party.as_str()));
        prop_assert!(*party != campaign.owner || *ask.principal.subject() != campaign.author);
        prop_assert!(party.as_str() != "jv-partner" || venture);
        return Ok(());
    }
    let (holdout, ttl, attempts) = if venture { (100_000, 30, 10) } else { (50_000, 90, 40) };
    let floor = if open { 5000 } else { 1000 };
    prop_assert!(campaign.noisy_size.unwrap() >= floor);
    prop_assert!(campaign.holdout_ppm >= holdout && (1..=ttl).contains(&campaign.ttl_days));
    if ask.action == SubmitCampaign {
        prop_assert!(role == "analyst" && *party == campaign.owner && campaign.attempts <= attempts);
    } else {
        prop_assert!(role == "steward" && party.as_str() == "retailer");
        prop_assert!(campaign.approvals.iter().any(|p| p.as_str() == "retailer"));
        prop_assert!(!venture || campaign.approvals.iter().any(|p| p.as_str() == "jv-partner"));
        let terms = permit.obligations().activation.as_ref().unwrap();
        prop_assert!(terms.approvers.is_subset(&campaign.approvals));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What the agreement promises, said a second time in plain Rust, holds for whatever is asked.
    #[test]
    fn whatever_is_asked_a_permit_keeps_the_agreement_and_a_denial_names_its_rule(ask in any_request()) {
        match WHOLE.decide(&ask, today()) {
            Decision::Denied(denied) => {
                prop_assert!(!denied.clauses.is_empty() && !denied.reason.is_empty());
                for clause in &denied.clauses {
                    prop_assert!(WHOLE.clause_text(clause, policy::Lang::Kk).is_some());
                }
            }
            Decision::Permitted(permit) if ask.action.is_about_campaign() => {
                keeps_the_terms_of_campaigns(&ask, &permit)?;
            }
            Decision::Permitted(permit) if ask.action.is_question() => {
                let (party, role) = (ask.principal.party().as_str(), ask.principal.role().as_str());
                let reads = |table: &str, column: &str| {
                    ask.footprint.columns.iter().chain(&ask.footprint.keys).any(|(t, c)| t == table && c == column)
                };
                prop_assert!(!ask.footprint.tables.contains("consents") && !ask.footprint.tables.contains("nowhere"));
                prop_assert!(!reads("shoppers", "phone") && !reads("shoppers", "email") && !reads("lines", "margin"));
                prop_assert!(ask.footprint.keys.iter().all(|(_, column)| !["card_id", "basket_id", "amount"].contains(&column.as_str())));
                prop_assert!(!permit.clauses().is_empty() && permit.obligations().cohort_min >= 50);
                prop_assert!(ask.epsilon.units() > 0 && ask.epsilon <= permit.obligations().epsilon_max);
                prop_assert!(role == "analyst" || role == "steward" && ask.action == policy::Action::Preview);
                let allowed = |table: &str, column: &str| {
                    let filters = &permit.obligations().row_filters;
                    let filter = filters.iter().find(|f| f.table == table && f.column == column);
                    filter.map(|f| f.allowed.iter().map(String::as_str).collect::<Vec<_>>())
                };
                let segment = ask.action == policy::Action::DefineSegment;
                if segment {
                    prop_assert!(!reads("exposures", "arm") && !reads("campaigns", "brand"));
                }
                if party != "retailer" {
                    let purpose = ask.purpose.as_str();
                    prop_assert!(purpose == "measurement" || segment && purpose == "activation");
                    prop_assert_eq!(allowed("lines", "channel"), Some(vec!["offline"]));
                    prop_assert_eq!(allowed("baskets", "channel"), Some(vec!["offline"]));
                    prop_assert!(!allowed("products", "category").unwrap().contains(&"Beer"));
                    let article = reads("products", "brand") || reads("products", "supplier") || reads("lines", "product_id");
                    if article {
                        prop_assert_eq!(allowed("products", "supplier"), Some(vec![party]));
                    }
                }
            }
            Decision::Permitted(permit) => prop_assert!(!permit.clauses().is_empty()),
        }
    }
}

const MARKET: &str = "brand-nord analyst run-query loyalty measurement 500000 lines.amount products.category";

#[test]
fn the_floor_one_below_at_and_above() {
    for (cohort, expected) in [(49, "deny JV-3.1 P-3"), (50, "permit JV-2.2"), (51, "permit JV-2.2")] {
        let folder = Folder::of(JV_NORTH);
        let text = folder.read("facts/floors.toml");
        let (house, jv) = text.split_at(text.rfind("[[floor]]").unwrap());
        folder.write(
            "facts/floors.toml",
            format!("{house}{}", jv.replace("cohort_min = 50", &format!("cohort_min = {cohort}"))),
        );
        let bundle = folder.relock().unwrap();
        let decision = bundle.decide(&request(MARKET), today());
        assert_eq!(outcome(&decision), expected, "cohort {cohort}");
        if let Decision::Permitted(permit) = decision {
            assert_eq!(permit.obligations().cohort_min, cohort);
        }
    }
}

#[test]
fn the_number_of_other_suppliers_one_below_at_and_above() {
    // Three others sell Butter, two sell Cheese, four sell Milk.
    let expected = [
        (2, vec!["Butter", "Cheese", "Ice cream", "Milk", "Yoghurt"]),
        (3, vec!["Butter", "Ice cream", "Milk", "Yoghurt"]),
        (4, vec!["Milk", "Yoghurt"]),
    ];
    for (least, categories) in expected {
        let folder = Folder::of(JV_NORTH);
        folder.replace(
            "facts/floors.toml",
            "other_suppliers_min = 3",
            &format!("other_suppliers_min = {least}"),
        );
        let Decision::Permitted(permit) = folder.relock().unwrap().decide(&request(MARKET), today()) else {
            panic!()
        };
        let filters = &permit.obligations().row_filters;
        let filter = filters.iter().find(|f| f.table == "products" && f.column == "category").unwrap();
        assert_eq!(filter.allowed.iter().collect::<Vec<_>>(), categories);
    }
    let folder = Folder::of(JV_NORTH);
    folder.replace("facts/floors.toml", "other_suppliers_min = 3", "other_suppliers_min = 5");
    assert_eq!(outcome(&folder.relock().unwrap().decide(&request(MARKET), today())), "deny EMPTY-SCOPE");
}

#[test]
fn the_cost_one_below_at_and_above_the_cap() {
    for (epsilon, expected) in
        [(999_999, "permit JV-2.2"), (1_000_000, "permit JV-2.2"), (1_000_001, "deny JV-3.2")]
    {
        let ask = request(&MARKET.replace("500000", &epsilon.to_string()));
        assert_eq!(outcome(&WHOLE.decide(&ask, today())), expected, "{epsilon}");
    }
}

#[test]
fn contracts_and_clauses_on_their_last_day_and_the_day_after() {
    let ask = request(MARKET);
    let at = |date: &str| outcome(&WHOLE.decide(&ask, day(date)));
    assert_eq!(at("2019-12-31"), "deny CONTRACT-NOT-IN-FORCE");
    assert_eq!(at("2020-01-01"), "permit JV-2.2");
    assert_eq!(at("2035-12-31"), "permit JV-2.2");
    assert_eq!(at("2036-01-01"), "deny CONTRACT-NOT-IN-FORCE");

    let folder = Folder::of(JV_NORTH);
    let file = "policies/joint-venture.cedar";
    let text = folder.read(file);
    let (before, after) = text.split_at(text.find("@clause(\"JV-2.2\")").unwrap());
    folder.write(file, format!("{before}{}", after.replacen("2035-12-31", "2026-06-01", 1)));
    let bundle = folder.relock().unwrap();
    assert_eq!(outcome(&bundle.decide(&ask, day("2026-06-01"))), "permit JV-2.2");
    assert_eq!(outcome(&bundle.decide(&ask, day("2026-06-02"))), "deny CLAUSE-EXPIRED JV-2.2");
}

#[test]
fn a_permit_without_the_offline_obligation_is_forbidden_by_the_clause_that_demands_it() {
    let folder = Folder::of(JV_NORTH);
    let file = "policies/joint-venture.cedar";
    folder.replace(
        file,
        "@obligation(\"offline-only, market-categories, own-campaigns\")",
        "@obligation(\"market-categories\")",
    );
    assert_eq!(outcome(&folder.relock().unwrap().decide(&request(MARKET), today())), "deny JV-1.1");
}

#[test]
fn the_nearest_allowed_form_is_allowed() {
    let cases = [
        (
            "shoppers.phone,lines.amount",
            "products.brand",
            500_000,
            "leave out `shoppers.phone` (allowed by JV-2.1)",
        ),
        (
            "lines.amount",
            "lines.card_id",
            2_000_000,
            "ask with ε at most 1 and do not group by `lines.card_id` (allowed by JV-2.2)",
        ),
        ("consents", "-", 500_000, ""),
        ("consents,lines", "-", 500_000, "leave out `consents` (allowed by JV-2.2)"),
    ];
    for (reads, keys, epsilon, expected) in cases {
        let ask =
            request(&format!("brand-nord analyst run-query loyalty measurement {epsilon} {reads} {keys}"));
        let Decision::Denied(denied) = WHOLE.decide(&ask, today()) else { panic!("{reads}") };
        assert_eq!(denied.nearest.unwrap_or_default(), expected);
    }
}
