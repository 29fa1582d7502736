//! What is refused at load, with the file, the line, the reason and the way out.

#![expect(clippy::unwrap_used, reason = "test helpers outside #[test]")]

mod support;

use std::fs;

use policy::{Bundle, COMPLETE_JOURNEY, JV_NORTH};
use support::Folder;

const JV: &str = "policies/joint-venture.cedar";

/// An author changes a file and locks again: the change itself is refused, and the old lock stays.
fn check(file: &str, from: &str, to: &str, expected: &str) {
    let folder = Folder::of(JV_NORTH);
    let lock = folder.read("bundle.lock");
    folder.replace(file, from, to);
    let refused = folder.relock().unwrap_err();
    let message = refused.to_string();
    assert!(message.starts_with(expected), "expected {expected}\ncame     {message}");
    assert!(!message.contains('\n') && !message.ends_with('.'), "one line without a full stop: {message}");
    assert_eq!(folder.read("bundle.lock"), lock);
    // Somebody who does not lock gets no further.
    assert_eq!(folder.load().unwrap_err().code(), "bundle-lock");
}

#[test]
fn rules_outside_the_profile() {
    let unless = "unless { context.obligations.contains(\"offline-only\") };";
    let rule = |unless_becomes: &str, expected: &str| {
        check(JV, unless, unless_becomes, &format!("{JV}:3: clause `JV-1.1` {expected}"));
    };
    rule("when { context.purpose like \"m*\" };", "uses `like`");
    rule(
        "when { context.purpose in [Party::\"retailer\"] };",
        "uses `in` on something else than an entity; write membership of text as",
    );
    rule("when { principal in [Party::\"retailer\"] };", "uses `in` on something else than an entity");
    rule(
        "when { principal in Party::\"retailor\" };",
        "names Party::\"retailor\", which the facts do not know",
    );
    rule(
        "when { context.purpose == \"measurment\" };",
        "compares context.purpose with `measurment`, which never occurs",
    );
    rule("when { context.levels.contains(\"skus\") };", "compares context.levels with `skus`");
    rule("when { context.tables.containsAny([\"consent\"]) };", "compares context.tables with `consent`");
    rule("when { context.purpose == \"measurement\" || context.cohortMin > 1 };", "uses `||`");
    rule("when { if context.cohortMin > 1 then true else false };", "uses `if-then-else`");
    rule("when { context.cohortMin + 1 > 50 };", "computes inside a condition");
    rule("when { !(!(context.cohortMin > 50)) };", "negates a negation");
    rule("when { !(context.cohortMin > 1 && context.cohortMin > 2) };", "uses `&&`");
    rule("when { context.purpose != \"measurement\" };", "uses `!=`");
    rule("when { true };", "uses `Value`");
    rule(
        "unless { context.cohortMin > 1 && context.cohortMin > 2 };",
        "has several `when` or `unless`, or an `unless`",
    );
    rule("when { context.cohortMin > 1 } when { context.cohortMin > 2 };", "has several `when`");
    let six = (1..=6).map(|n| format!("context.cohortMin > {n}")).collect::<Vec<_>>().join(" && ");
    rule(&format!("when {{ {six} }};"), "has 6 conditions, more than 5; split it into two clauses");
    rule("when { ip(\"10.0.0.1\").isLoopback() };", "uses `isLoopback`");
}

#[test]
fn rules_that_do_not_parse_or_fit_the_schema() {
    let unless = "unless { context.obligations.contains(\"offline-only\") };";
    check(JV, unless, "unless { context.obligations.contains(\"offline-only\") }", &format!("{JV}:3: "));
    check(JV, unless, "unless { context.obligations.contains(\"offline-only\" };", &format!("{JV}:3: "));
    check(JV, unless, "when { context.colour == context.purpose };", &format!("{JV}:3: "));
    check(JV, unless, "when { context.cohortMin > context.purpose };", &format!("{JV}:3: "));
    check(JV, unless, "when { context has colour };", &format!("{JV}:3: "));
    check(JV, "principal in Contract::\"jv-north\",", "principal in ?principal,", &format!("{JV}:3: "));
    check(
        JV,
        "principal in Contract::\"jv-north\",",
        "principal is Person,",
        &format!("{JV}:3: clause `JV-1.1` limits its principal by `is`"),
    );
    check(
        JV,
        "principal in Contract::\"jv-north\",",
        "principal in Dataset::\"loyalty\",",
        &format!("{JV}:3: "),
    );
    check(
        JV,
        "action in [Action::\"runQuery\",",
        "action in [Action::\"run\",",
        &format!("{JV}:3: clause `JV-1.1` names Action::\"run\""),
    );
}

#[test]
fn annotations_are_all_there_and_no_other() {
    let at = format!("{JV}:3: ");
    for name in ["clause", "basis", "owner", "expires", "text_en", "text_ru", "text_kk"] {
        let folder = Folder::of(JV_NORTH);
        let text = folder.read(JV);
        let line = text.lines().find(|line| line.starts_with(&format!("@{name}("))).unwrap();
        check(JV, &format!("{line}\n"), "", &format!("{at}the rule has no `@{name}`; add"));
        check(JV, line, &format!("@{name}(\" \")"), &format!("{at}the rule has no `@{name}`"));
    }
    check(
        JV,
        "@owner(\"legal@retailer\")",
        "@owner(\"x\")\n@advice(\"y\")",
        &format!("{at}unknown annotation `@advice`"),
    );
    check(JV, "@clause(\"JV-1.1\")", "@clause(\"JV 1.1\")", &format!("{at}`JV 1.1` is not a clause"));
    check(
        JV,
        "@clause(\"JV-1.1\")",
        "@clause(\"DEFAULT-DENY\")",
        &format!("{at}`DEFAULT-DENY` is a built-in clause"),
    );
    check(JV, "@expires(\"2035-12-31\")", "@expires(\"never\")", &format!("{at}`never` is not a date"));
    check(
        JV,
        "@owner(\"legal@retailer\")",
        "@owner(\"x\")\n@obligation(\"offline-only\")",
        &format!("{at}clause `JV-1.1` forbids and has an @obligation"),
    );
    check(
        "policies/house.cedar",
        "@clause(\"HR-1.2\")",
        "@clause(\"HR-1.1\")",
        "policies/house.cedar:23: clause `HR-1.1` is also in policies/house.cedar:3",
    );
    check(
        JV,
        "@obligation(\"offline-only, own-products, own-campaigns\")",
        "@obligation(\"ofline-only\")",
        &format!("{JV}:17: clause `JV-2.1` has the obligation `ofline-only`"),
    );
}

#[test]
fn a_permit_states_every_limit_itself() {
    let at = format!("{JV}:41: clause `JV-2.2` permits `run-query` without its own limit on context.");
    let market = "@text_en(\"Beyond";
    let limits = [
        ("context.purpose == \"measurement\" &&", "purpose"),
        ("context.epsilonMicro <= 1000000 &&", "epsilonMicro"),
    ];
    for (limit, name) in limits {
        let folder = Folder::of(JV_NORTH);
        let text = folder.read(JV);
        let (before, after) = text.split_at(text.find(market).unwrap());
        folder.write(JV, format!("{before}{}", after.replacen(limit, "", 1)));
        let message = folder.relock().unwrap_err().to_string();
        assert!(message.starts_with(&format!("{at}{name}")), "{message}");
    }
    let every = [
        ("context.epsilonMicro <= 1000000", "context.epsilonMicro >= 1000000", "epsilonMicro"),
        ("context.cohortMin >= 50", "context.cohortMin <= 50", "cohortMin"),
        ("context.cohortMin >= 50", "context.cohortMin >= context.epsilonMicro", "cohortMin"),
    ];
    for (limit, becomes, name) in every {
        let folder = Folder::of(JV_NORTH);
        let text = folder.read(JV);
        let (before, after) = text.split_at(text.find(market).unwrap());
        folder.write(JV, format!("{before}{}", after.replacen(limit, becomes, 1)));
        let message = folder.relock().unwrap_err().to_string();
        assert!(message.starts_with(&format!("{at}{name}")), "{message}");
    }
    check(
        "policies/house.cedar",
        "action in [Action::\"ingest\", Action::\"readCatalogue\", Action::\"readBudget\", Action::\"readPolicy\", Action::\"readLog\"],",
        "action,",
        "policies/house.cedar:43: clause `HR-2.1` permits every action; name the actions",
    );
    check(
        "promises/never.cedar",
        "forbid (principal,",
        "permit (principal,",
        "promises/never.cedar:4: clause `P-1` is a promise that permits",
    );
}

#[test]
fn a_permit_about_campaigns_states_every_limit_itself() {
    let file = "policies/activation.cedar";
    let limits = [
        ("AC-2.1", "context.purpose == \"activation\" &&", "submit-campaign", "purpose"),
        (
            "AC-2.1",
            "[\"push\", \"app\", \"scale\", \"checkout\", \"screen\"].containsAll(context.channels) &&",
            "submit-campaign",
            "channels",
        ),
        ("AC-2.1", "[\"scoped\"].containsAll(context.destinations) &&", "submit-campaign", "destinations"),
        ("AC-2.1", "context.audienceFloor >= 1000 &&", "submit-campaign", "audienceFloor"),
        ("AC-3.1", "&&\n  !context.relations.contains(\"author\")", "approve-campaign", "relations"),
        ("AC-3.1", "[\"scoped\"].containsAll(context.destinations) &&", "approve-campaign", "destinations"),
        (
            "AC-5.1",
            "&&\n  context.approvals.containsAll(context.approvalsNeeded)",
            "start-campaign",
            "approvals",
        ),
        ("AC-5.1", "context.audienceFloor >= 1000 &&", "start-campaign", "audienceFloor"),
        ("AC-1.2", "context.cohortMin >= 50", "define-segment", "cohortMin"),
    ];
    for (clause, limit, act, name) in limits {
        let folder = Folder::of(JV_NORTH);
        let text = folder.read(file);
        let (before, after) = text.split_at(text.find(&format!("@clause(\"{clause}\")")).unwrap());
        assert!(after.contains(limit), "{limit}");
        let instead = if name == "cohortMin" { "context.cohortMin >= context.epsilonMicro" } else { "" };
        folder.write(file, format!("{before}{}", after.replacen(limit, instead, 1)));
        let message = folder.relock().unwrap_err().to_string();
        let expected =
            format!("clause `{clause}` permits `{act}` without its own limit on context.{name}; state ");
        assert!(message.contains(&expected), "{message}");
    }
    // To approve as the author, and to approve what the author wrote, differ by one sign.
    let folder = Folder::of(JV_NORTH);
    folder.replace(file, "!context.relations.contains(\"author\")", "context.relations.contains(\"author\")");
    assert!(folder.relock().unwrap_err().to_string().contains("own limit on context.relations"));
}

#[test]
fn one_key_does_not_speak_for_two_parties() {
    let folder = Folder::of(JV_NORTH);
    let key = "ab".repeat(32);
    let approver = |party: &str| format!("{{ party = \"{party}\", name = \"A\", key = \"{key}\" }}");
    let both = format!("approver = [{}, {}]", approver("retailer"), approver("jv-partner"));
    folder.replace("facts/activation.toml", "approver = []", &both);
    let message = folder.relock().unwrap_err().to_string();
    assert!(message.contains("has a key that is there twice"), "{message}");
    folder.replace("facts/activation.toml", &both, &format!("approver = [{}]", approver("retailer")));
    let bundle = folder.relock().unwrap();
    assert_eq!(bundle.approvers()[0].key, [0xab; 32]);
}

#[test]
fn facts_that_are_unknown_missing_or_contradict_each_other() {
    let cases = [
        (
            "facts/parties.toml",
            "name = \"North Market JSC\"",
            "nick = \"x\"",
            "facts/parties.toml:5: unknown field `nick`",
        ),
        (
            "facts/parties.toml",
            "kind = \"retailer\"",
            "kind = \"shop\"",
            "facts/parties.toml:6: unknown variant `shop`",
        ),
        ("facts/parties.toml", "\"steward\"", "\"boss\"", "facts/parties.toml:7: unknown variant `boss`"),
        (
            "facts/parties.toml",
            "id = \"jv-partner\"",
            "id = \"retailer\"",
            "facts/parties.toml: `retailer` is there twice",
        ),
        (
            "facts/parties.toml",
            "id = \"jv-partner\"",
            "id = \"JV partner\"",
            "facts/parties.toml:11: `JV partner` is not a party",
        ),
        (
            "facts/parties.toml",
            "suppliers = [\"brand-lumi\"]",
            "suppliers = [\"lumi\"]",
            "facts/parties.toml: supplier `lumi` of `brand-lumi` sells in no category",
        ),
        (
            "facts/brands.toml",
            "name = \"Nord\", supplier = \"brand-nord\"",
            "name = \"Nord\", supplier = \"nord\"",
            "facts/brands.toml: supplier `nord` of brand `Nord`",
        ),
        (
            "facts/categories.toml",
            ", sensitive = false",
            "",
            "facts/categories.toml:4: missing field `sensitive`",
        ),
        (
            "facts/contracts.toml",
            "\"Cheese\"",
            "\"Chees\"",
            "facts/contracts.toml: category `Chees` is not in facts/categories.toml",
        ),
        (
            "facts/contracts.toml",
            "{ party = \"jv-partner\", every_category = true }",
            "{ party = \"jv-partner\" }",
            "facts/contracts.toml: `jv-north` binds `jv-partner`: give it either",
        ),
        (
            "facts/contracts.toml",
            "party = \"brand-nord\"",
            "party = \"brand-mord\"",
            "facts/contracts.toml: party `brand-mord` is not in facts/parties.toml",
        ),
        (
            "facts/contracts.toml",
            "starts = \"2020-01-01\"",
            "starts = \"2036-01-01\"",
            "facts/contracts.toml: `house` needs a title and must not end before",
        ),
        (
            "facts/contracts.toml",
            "datasets = [\"loyalty\"]",
            "datasets = [\"loyal\"]",
            "facts/contracts.toml: dataset `loyal` is not in facts/columns.toml",
        ),
        (
            "facts/floors.toml",
            "contract = \"house\"",
            "contract = \"home\"",
            "facts/contracts.toml: `house` has no floor",
        ),
        (
            "facts/floors.toml",
            "cohort_min = 50",
            "cohort_min = 9",
            "facts/floors.toml: `house` has a cohort_min below 10",
        ),
        ("facts/floors.toml", "cohort_min = 50", "cohort_min = -50", "facts/floors.toml:6: invalid value"),
        (
            "facts/budgets.toml",
            "delta_e15 = 1_000_000_000 ",
            "delta_e15 = 0 ",
            "facts/budgets.toml: δ must be above 0",
        ),
        (
            "facts/budgets.toml",
            "block_micro_epsilon = 1_200_000",
            "block_micro_epsilon = 400_000",
            "facts/budgets.toml: quota of `brand-lumi`: expected 0 <",
        ),
        (
            "facts/budgets.toml",
            "block_micro_epsilon = 8_000_000",
            "block_micro_epsilon = 11_000_000",
            "facts/budgets.toml: quota of `retailer`",
        ),
        (
            "facts/budgets.toml",
            "default_micro_epsilon = 500_000",
            "default_micro_epsilon = 0.5",
            "facts/budgets.toml:6: invalid type: floating point",
        ),
        (
            "facts/columns.toml",
            "amount = \"sale\"",
            "amount = \"sales\"",
            "facts/columns.toml: `lines.amount` has the level `sales`",
        ),
        (
            "facts/columns.toml",
            "[dataset.tables.lines]\n\"*\" = \"sale\"\n",
            "[dataset.tables.lines]\n",
            "facts/columns.toml: `lines` has no \"*\"",
        ),
        (
            "facts/columns.toml",
            "amount = \"sale\"",
            "amount = \"sale\"\namount = \"open\"",
            "facts/columns.toml:",
        ),
        (
            "facts/obligations.toml",
            "column = \"channel\"",
            "column = \"chanel\"",
            "facts/obligations.toml: column `loyalty.baskets.chanel` is not in",
        ),
        (
            "facts/obligations.toml",
            "values = [\"offline\"]",
            "values = []",
            "facts/obligations.toml: `offline-only` has a filter without values",
        ),
        (
            "facts/obligations.toml",
            "from = \"own-brands\"",
            "from = \"all-brands\"",
            "facts/obligations.toml:28: unknown variant `all-brands`",
        ),
        (
            "cases/house.toml",
            "role = \"analyst\"",
            "role = \"boss\"",
            "cases/house.toml:6: unknown variant `boss`",
        ),
        (
            "cases/house.toml",
            "epsilon_micro = 2_000_000",
            "epsilon = 2",
            "cases/house.toml:11: unknown field `epsilon`",
        ),
        (
            "cases/house.toml",
            "\"lines.amount\"",
            "\"amount\"",
            "cases/house.toml: case `the retailer's analyst sees",
        ),
        (
            "schema.cedarschema",
            "readLog, ingest,",
            "readLog, ingest, activate,",
            "schema.cedarschema: the actions must be exactly",
        ),
        ("schema.cedarschema", "cohortMin: Long", "cohort: Long", "policies/"),
        (
            "facts/activation.toml",
            "approve = [\"retailer\", \"jv-partner\"]",
            "approve = [\"jv-partner\"]",
            "facts/activation.toml: some terms let campaigns start without the retailer",
        ),
        (
            "facts/activation.toml",
            "approve = [\"retailer\", \"jv-partner\"]",
            "approve = []",
            "facts/activation.toml: the terms of `jv-north` need somebody who approves",
        ),
        (
            "facts/activation.toml",
            "approve = [\"retailer\", \"jv-partner\"]",
            "approve = [\"retailer\", \"brand-mord\"]",
            "facts/activation.toml: `brand-mord` approves but is no party with the role legal",
        ),
        (
            "facts/activation.toml",
            "contract = \"jv-north\"",
            "contract = \"jv\"",
            "facts/activation.toml: `jv` is no contract",
        ),
        (
            "facts/activation.toml",
            "audience_min = 1000",
            "audience_min = 99",
            "facts/activation.toml: the terms of `house` need 100 ≤ audience_min",
        ),
        (
            "facts/activation.toml",
            "audience_open_min = 5000",
            "audience_open_min = 999",
            "facts/activation.toml: the terms of `house` need 100 ≤ audience_min",
        ),
        (
            "facts/activation.toml",
            "delta_min = 50",
            "delta_min = 49",
            "facts/activation.toml: the terms of `house` have a delta_min below 50",
        ),
        (
            "facts/activation.toml",
            "ttl_days_max = 90",
            "ttl_days_max = 541",
            "facts/activation.toml: the terms of `house` need ttl_days_max from 1 to 540",
        ),
        (
            "facts/activation.toml",
            "holdout_min_ppm = 50_000",
            "holdout_min_ppm = 9_999",
            "facts/activation.toml: the terms of `house` need holdout_min_ppm from 10000 to 500000",
        ),
        (
            "facts/activation.toml",
            "attempts_max = 40",
            "attempts_max = 0",
            "facts/activation.toml: the terms of `house` need attempts_max above 0",
        ),
        (
            "facts/activation.toml",
            "approver = []",
            "approver = [{ party = \"retailer\", name = \"Ada\", key = \"00\" }]",
            "facts/activation.toml: approver `Ada` of `retailer` needs an Ed25519 public key",
        ),
        (
            "facts/activation.toml",
            "approver = []",
            "approver = [{ party = \"regulator\", name = \"Ada\", key = \"0000000000000000000000000000000000000000000000000000000000000000\" }]",
            "facts/activation.toml: approver `Ada` is of `regulator`, which is no party with the role legal",
        ),
        (
            "facts/activation.toml",
            "screen = \"a screen",
            "\"Big screen\" = \"a screen",
            "facts/activation.toml: channel `Big screen` needs a name",
        ),
        (
            "schema.cedarschema",
            "tables: Set<String>,",
            "tables: Set<String>, colour: String,",
            "schema.cedarschema: action `runQuery` does not fit",
        ),
        ("schema.cedarschema", "entity Role;", "entity Role", "schema.cedarschema:1: "),
    ];
    for (file, from, to, expected) in cases {
        check(file, from, to, expected);
    }
}

#[test]
fn the_lock_names_exactly_the_files_that_are_there() {
    let locked = |change: &dyn Fn(&Folder), expected: &str| {
        for sample in [JV_NORTH, COMPLETE_JOURNEY] {
            let folder = Folder::of(sample);
            change(&folder);
            let message = folder.load().unwrap_err().to_string();
            assert!(message.starts_with(expected), "expected {expected}\ncame     {message}");
        }
    };
    let remove =
        |file: &'static str| move |folder: &Folder| fs::remove_file(folder.path().join(file)).unwrap();
    locked(&remove("promises/never.cedar"), "bundle.lock: `promises/never.cedar` is locked but missing");
    locked(&remove("facts/brands.toml"), "`facts/brands.toml` is missing");
    locked(&remove("schema.cedarschema"), "`schema.cedarschema` is missing");
    locked(&remove("bundle.lock"), "`bundle.lock` is missing");
    locked(&|f| f.write("policies/extra.cedar", ""), "bundle.lock: `policies/extra.cedar` is not locked");
    locked(&|f| f.write("policies/notes.txt", ""), "`policies/notes.txt` does not belong to a bundle");
    locked(&|f| f.write("policies/.hidden", ""), "`policies/.hidden` does not belong to a bundle");
    locked(&|f| f.write("facts/extra.toml", ""), "`facts/extra.toml` does not belong to a bundle");
    locked(&|f| f.write("README", ""), "`README` does not belong to a bundle");
    locked(
        &|f| fs::create_dir(f.path().join("facts/more")).unwrap(),
        "`facts/more` does not belong to a bundle",
    );
    locked(&|f| f.write("facts/brands.toml", b"\xff\xfe"), "facts/brands.toml:1: not UTF-8");
    locked(&|f| f.write("facts/brands.toml", vec![b'#'; (1 << 20) + 1]), "facts/brands.toml:1: longer than");
    locked(
        &|f| f.replace("bundle.lock", "version = 1", "version = 2"),
        "bundle.lock: version 2 is not known",
    );
    locked(
        &|f| f.replace("bundle.lock", "signatures = []", "signatures = [\"x\"]"),
        "bundle.lock: there are signatures",
    );
    locked(
        &|f| f.replace("bundle.lock", "signatures = []", "signed = []"),
        "bundle.lock:2: unknown field `signed`",
    );
    locked(&|f| f.replace("bundle.lock", "signatures = []\n", ""), "bundle.lock:");
    locked(&|f| f.replace("bundle.lock", "sha256:", "sha1:"), "bundle.lock:5: ");
    assert_eq!(Bundle::load(std::path::Path::new("no-such-folder")).unwrap_err().code(), "bundle-io");
}

#[cfg(unix)]
#[test]
fn links_do_not_belong_to_a_bundle() {
    let folder = Folder::of(JV_NORTH);
    let file = folder.path().join("facts/brands.toml");
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    fs::copy(&file, elsewhere.path()).unwrap();
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), &file).unwrap();
    assert_eq!(folder.load().unwrap_err().code(), "bundle-unexpected-file");
}
