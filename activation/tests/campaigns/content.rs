//! A campaign's content: one digest whatever the writing, and every broken rule with its place and a way out.

use crate::support::{campaign_toml, content};
use activation::campaign::{Channel, Content, Place, Problem};

#[test]
fn one_content_has_one_digest_however_it_is_written() {
    let toml = content("butter");
    let json = Content::from_json(&serde_json::to_string_pretty(&toml).unwrap()).unwrap();
    assert_eq!(toml, json);
    let turned = campaign_toml("butter")
        .replace(r#"["almaty-02", "almaty-01"]"#, r#"["almaty-01", "almaty-02"]"#)
        .replace(r#"["push", "scale"]"#, r#"["scale", "push"]"#)
        .replace(r#"["tue", "mon"]"#, r#"["mon", "tue"]"#);
    assert_eq!(Content::from_toml(&turned).unwrap().digest(), toml.digest());
    // python3: tomllib.loads of the sample with its lists in order, then hashlib.sha256 of json.dumps(…, sort_keys=True,
    // separators=(",", ":"), ensure_ascii=False), which is JCS for this document.
    assert_eq!(toml.digest().unwrap().to_string(), ORACLE);
    let restored = Content::from_json(&toml.canonical().unwrap()).unwrap();
    assert_eq!(restored, toml);
}

/// From Python, see above.
const ORACLE: &str = "sha256:b6b096ef5011a39576a9e794c87dec1e88c0193a277b63ba41393fbb40262f5e";

#[test]
fn every_field_is_in_the_digest() {
    let base = content("butter");
    let digest = base.digest().unwrap();
    type Edit = Box<dyn Fn(&mut Content)>;
    let edits: Vec<(&str, Edit)> = vec![
        ("title", Box::new(|c| c.title.push('!'))),
        ("advertiser", Box::new(|c| c.advertiser = "brand-sued".parse().unwrap())),
        ("dataset", Box::new(|c| c.dataset = "other".parse().unwrap())),
        ("purpose", Box::new(|c| c.purpose = "other".parse().unwrap())),
        ("segment.id", Box::new(|c| c.segment.id = "other".parse().unwrap())),
        ("segment.digest", Box::new(|c| c.segment.digest = ids::Digest::of(b"x"))),
        ("stores", Box::new(|c| assert!(c.stores.insert(Place("almaty-03".to_owned()))))),
        ("dayparts", Box::new(|c| c.dayparts.clear())),
        ("creatives", Box::new(|c| c.creatives[0].sha256 = ids::Digest::of(b"x"))),
        ("caps.per_day", Box::new(|c| c.caps.per_day = 3)),
        ("caps.per_campaign", Box::new(|c| c.caps.per_campaign = 9)),
        ("starts", Box::new(|c| c.starts = c.starts.plus_days(1))),
        ("ends", Box::new(|c| c.ends = c.ends.plus_days(1))),
        ("price.rate", Box::new(|c| c.price.rate_minor += 1)),
        ("price.cost", Box::new(|c| c.price.cost_minor += 1)),
        ("price.currency", Box::new(|c| c.price.currency = "EUR".to_owned())),
        ("holdout", Box::new(|c| c.holdout.share_bp += 1)),
        ("threshold", Box::new(|c| c.hypothesis.threshold_bp += 1)),
        ("statement", Box::new(|c| c.hypothesis.statement.push('!'))),
        ("window", Box::new(|c| c.hypothesis.post_days += 1)),
        ("pre-period", Box::new(|c| c.hypothesis.pre_days += 1)),
        ("destination", Box::new(|c| c.destinations[0].id = "other".parse().unwrap())),
        ("reached", Box::new(|c| assert!(c.destinations[0].reached.pop().is_some()))),
    ];
    for (name, edit) in edits {
        let mut changed = base.clone();
        edit(&mut changed);
        let changed = changed.checked().unwrap_or_else(|refused| panic!("{name}: {refused}"));
        assert_ne!(changed.digest().unwrap(), digest, "{name}");
    }
}

/// The problems of the sample after one edit of its text.
fn problems(from: &str, to: &str) -> Vec<Problem> {
    let text = campaign_toml("butter");
    assert!(text.contains(from), "the sample has no `{from}`");
    match Content::from_toml(&text.replacen(from, to, 1)) {
        Err(refused) => refused.problems,
        Ok(_) => panic!("`{to}` is accepted"),
    }
}

#[test]
fn every_broken_rule_is_told_with_its_place() {
    let long = format!("\"{}\"", "x".repeat(501));
    for (from, to, place) in [
        ("\"Butter, spring\"", "\" \"", "title"),
        ("\"Butter, spring\"", long.as_str(), "title"),
        ("\"Butter, spring\"", "\"a\\u0007b\"", "title"),
        ("[\"push\", \"scale\"]", "[]", "channels"),
        ("[\"push\", \"scale\"]", "[\"push\", \"scale\", \"app\"]", "creative"),
        ("\"almaty-02\"", "\" almaty\"", "stores"),
        ("to   = \"12:00\"", "to   = \"08:00\"", "daypart[0]"),
        ("[\"tue\", \"mon\"]", "[]", "daypart[0]"),
        (
            "[[daypart]]",
            "[[daypart]]\ndays = [\"mon\"]\nfrom = \"11:00\"\nto = \"13:00\"\n[[daypart]]",
            "daypart[1]",
        ),
        ("per_day = 2", "per_day = 0", "caps.per_day"),
        ("per_campaign = 8", "per_campaign = 1", "caps.per_campaign"),
        ("2026-12-28", "2026-11-30", "ends"),
        ("2026-12-28", "2027-12-28", "ends"),
        ("\"KZT\"", "\"kzt\"", "price.currency"),
        ("rate_minor = 150000", "rate_minor = 0", "price.rate_minor"),
        ("cost_minor = 90000000", "cost_minor = 9007199254740992", "price.cost_minor"),
        ("share_bp = 1000", "share_bp = 99", "holdout.share_bp"),
        ("share_bp = 1000", "share_bp = 9001", "holdout.share_bp"),
        ("share_bp = 1000", "share_bp = 1000, store_pairs = true", "holdout.store_pairs"),
        ("\"Lapsed buyers come back\"", "\"\"", "hypothesis.statement"),
        ("threshold_bp = 0", "threshold_bp = 1000001", "hypothesis.threshold_bp"),
        ("pre_days     = 56", "pre_days     = 367", "hypothesis.pre_days"),
        ("post_days    = 14", "post_days    = 91", "hypothesis.post_days"),
        ("id      = \"folder\"", "id      = \"gateway\"", "destination[1]"),
        ("[\"phone\", \"card\"]", "[]", "destination"),
        ("[\"phone\", \"card\"]", "[\"phone\", \"phone\"]", "destination"),
        ("class   = \"scoped\"", "class   = \"open\"", "destination"),
        ("channel = \"push\"", "channel = \"scale\"", "creative"),
    ] {
        let found = problems(from, to);
        assert!(
            found.iter().any(|problem| problem.place.starts_with(place)),
            "`{to}`: {found:?} names no `{place}`"
        );
        assert!(found.iter().all(|p| !p.reason.is_empty() && !p.way_out.is_empty()), "{found:?}");
    }
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    for (from, to) in [
        ("per_day = 2", "per_day = 2, per_week = 3"),
        ("per_day = 2", "per_day = -2"),
        ("per_day = 2", "per_day = 2.5"),
        ("\"2026-12-01\"", "\"2026-13-01\""),
        ("\"08:00\"", "\"8:00\""),
        ("\"08:00\"", "\"24:01\""),
        ("model = \"cpm\"", "model = \"cpx\""),
        ("[\"phone\", \"card\"]", "[\"phone\", \"pigeon\"]"),
        ("advertiser = \"brand-nord\"", ""),
        ("campaign   = \"butter\"", "campaign   = \"Butter!\""),
    ] {
        let found = problems(from, to);
        assert!(found[0].place.starts_with("line "), "`{to}`: {found:?}");
    }
    assert!(Content::from_json("{").unwrap_err().problems[0].place.starts_with("line 1, column"));
}

#[test]
fn screens_are_drawn_by_store_and_need_no_identifier() {
    let stores: Vec<String> = (0..10).map(|n| format!("\"s-{n:02}\"")).collect();
    let screens = |stores: &str, share: u16, pairs: bool| {
        let text = campaign_toml("screens")
            .replace("[\"push\", \"scale\"]", "[\"screen\"]")
            .replace("[\"almaty-02\", \"almaty-01\"]", stores)
            .replace("share_bp = 1000", &format!("share_bp = {share}, store_pairs = {pairs}"))
            .replace("channel = \"push\"", "channel = \"screen\"\nseconds = 8");
        let start = text.find("[[creative]]\nchannel = \"scale\"").unwrap();
        let end = text.find("[hypothesis]").unwrap();
        Content::from_toml(&format!("{}{}", &text[..start], &text[end..]))
    };
    let all = format!("[{}]", stores.join(", "));
    let content = screens(&all, 0, true).unwrap();
    assert!(content.channels.iter().all(|channel| *channel == Channel::Screen));
    assert!(screens(&all, 1000, true).is_err(), "a share of households behind screens");
    assert!(screens(&all, 0, false).is_err(), "screens without pairs");
    assert!(screens("[\"s-01\"]", 0, true).is_err(), "one store");
}
