//! No text makes the crate panic, and what is accepted prints to a fixed point.

#![expect(clippy::unwrap_used, reason = "test code")]

mod common;

use proptest::prelude::*;
use sql::ParsedQuery;

fn survives(text: &str) {
    let schema = common::retailer();
    if let Ok(query) = ParsedQuery::parse(text).and_then(|parsed| parsed.resolve(&schema)) {
        let again = ParsedQuery::parse(query.canonical()).unwrap().resolve(&schema).unwrap();
        assert_eq!(query.canonical(), again.canonical(), "{text}");
        assert_eq!(query.digest(), again.digest(), "{text}");
        assert_eq!(query.stream_sql(&[]).unwrap(), again.stream_sql(&[]).unwrap(), "{text}");
    }
}

fn statements() -> Vec<&'static str> {
    let corpora = [include_str!("corpus/accepted.slt"), include_str!("corpus/refused.slt")];
    corpora
        .iter()
        .flat_map(|c| c.split("\n\n\n"))
        .filter_map(|part| part.split("\n----").next())
        .map(str::trim)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn mutated_statements_are_answered(
        at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(), take in 0_usize..6, into in any::<prop::sample::Index>(), drop in 0_usize..4,
    ) {
        let all = statements();
        let words = |text: &str| text.split_inclusive([' ', '(', ')', ',']).map(str::to_owned).collect::<Vec<_>>();
        let (mut base, donor) = (words(all[at.index(all.len())]), words(all[other.index(all.len())]));
        let start = from.index(donor.len());
        let piece: Vec<String> = donor.into_iter().skip(start).take(take).collect();
        let place = into.index(base.len());
        let end = (place + drop).min(base.len());
        base.splice(place..end, piece);
        survives(&base.concat());
    }
}

#[test]
fn deep_and_long_statements_are_refused_not_crashed() {
    let repeat = |unit: &str, n: usize| unit.repeat(n);
    for text in [
        format!("select count(*) from lines where {}qty = 1{}", repeat("(", 5000), repeat(")", 5000)),
        format!("select count(*) from lines where qty = 1{}", repeat(" + 1", 3000)),
        format!("select count(*) from lines where {} qty = 1", repeat("not ", 3000)),
        format!("select {}1", repeat("-", 3000)),
        format!("select count(*) from {}lines{}", repeat("(select card_id from ", 200), repeat(") t", 200)),
        format!("select count(*) from lines where qty = 1{}", repeat(" or qty = 2", 1200)),
        format!("select count(*){} from lines", repeat(", count(*)", 70)),
        repeat("x", 20_000),
        format!("select count(*) from lines {}", repeat("join lines using (card_id) ", 13)),
        format!("select count(*) from lines where qty = 1{}", repeat("::int", 200)),
        format!(
            "select count(*) from lines where qty = {}1{}",
            repeat("case when qty = 1 then ", 60),
            repeat(" end", 60)
        ),
    ] {
        let refused =
            ParsedQuery::parse(&text).and_then(|parsed| parsed.resolve(&common::retailer())).unwrap_err();
        assert!(matches!(refused.code(), "sql.limit" | "sql.syntax" | "sql.ambiguous"), "{refused}");
    }
}

#[test]
fn a_long_list_and_a_long_chain_within_the_limits_are_accepted() {
    let list: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    let chain = " or qty = 2".repeat(150);
    for text in [
        format!("select count(*) from lines where qty in ({})", list.join(",")),
        format!("select count(*) from lines where qty = 1{chain}"),
    ] {
        ParsedQuery::parse(&text).unwrap().resolve(&common::retailer()).unwrap();
    }
}

#[test]
fn spelling_does_not_make_another_question() {
    let schema = common::retailer();
    let digest = |text: &str| ParsedQuery::parse(text).unwrap().resolve(&schema).unwrap().digest();
    let same = [
        "select p.department, sum(l.amount), count(distinct l.card_id) from lines l join products p on l.product_id = p.product_id where l.qty > 1 and l.day >= '2017-02-01' group by 1",
        "SELECT COUNT(DISTINCT x.card_id) AS n, AVG(x.amount) * 1, products.department FROM products JOIN lines AS x ON products.product_id = x.product_id \
         WHERE date '2017-02-01' <= x.day AND (1 < x.qty) AND x.qty > 1.0 GROUP BY products.department HAVING count(distinct x.card_id) > 3 ORDER BY 2 LIMIT 3",
    ];
    let [first, second] = same.map(digest);
    // AVG adds a count of rows to the second: another core.
    assert_ne!(first, second);
    assert_eq!(first, digest(&same[1].replace("AVG(x.amount) * 1", "SUM(x.amount) / 2")));
    for (a, b) in [("qty > 1", "qty > 2"), ("amount", "discount"), ("distinct l.card_id", "*")] {
        assert_ne!(first, digest(&same[0].replace(a, b)), "{a} → {b}");
    }
}
