//! Post-processing of noisy numbers: projections, propagation of noise, order, limits.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod common;

use sql::{KeyValue, NoisyCell, NoisyRow, NoisyTable, OutCell, OutNumber, OutTable, ParsedQuery, Role};

/// Keys and (value, standard deviation) of one row.
type Given<'a> = (&'a [KeyValue], &'a [(f64, f64)]);

fn evaluate(text: &str, rows: &[Given<'_>]) -> OutTable {
    let query = ParsedQuery::parse(text).unwrap().resolve(&common::retailer()).unwrap();
    let row = |(keys, cells): &Given<'_>| {
        assert_eq!((keys.len(), cells.len()), (query.keys().len(), query.measures().len()), "{text}");
        let cells = cells.iter().map(|(value, std)| NoisyCell { value: *value, std: *std }).collect();
        NoisyRow { keys: keys.to_vec(), cells }
    };
    query.post().evaluate(&NoisyTable { rows: rows.iter().map(row).collect() })
}

fn number(table: &OutTable, row: usize, column: usize) -> OutNumber {
    match &table.rows[row][column] {
        OutCell::Number(number) => *number,
        OutCell::Key(key) => panic!("key {key}"),
    }
}

fn near(found: Option<f64>, wanted: f64) {
    let found = found.unwrap();
    assert!((found - wanted).abs() < 1e-9 * wanted.abs().max(1.0), "{found} is not {wanted}");
}

fn key(text: &str) -> KeyValue {
    KeyValue::Text(text.into())
}

#[test]
fn averages_and_ratios_carry_first_order_noise() {
    // Cells are in canonical order: rows, then sums.
    let out = evaluate(
        "select avg(amount), sum(amount) / count(*) from lines",
        &[(&[], &[(100.0, 2.0), (500.0, 30.0)])],
    );
    for column in 0..2 {
        let ratio = number(&out, 0, column);
        near(ratio.value, 5.0);
        // (30/100)² + (500·2/100²)²
        let std = (0.09_f64 + 0.01).sqrt();
        near(ratio.std, std);
        near(ratio.low, 5.0 - 1.959_964 * std);
        near(ratio.high, 5.0 + 1.959_964 * std);
        assert!(!ratio.unstable);
    }
}

#[test]
fn a_cell_used_twice_counts_once() {
    let out = evaluate(
        "select count(*) + count(*), count(*) - count(*), count(*) / count(*), 2 * count(*) - 1 from lines",
        &[(&[], &[(50.0, 3.0)])],
    );
    for (column, value, std) in [(0, 100.0, 6.0), (1, 0.0, 0.0), (2, 1.0, 0.0), (3, 99.0, 6.0)] {
        near(number(&out, 0, column).value, value);
        near(number(&out, 0, column).std, std);
    }
}

#[test]
fn a_ratio_over_noise_has_no_interval() {
    let out = evaluate("select avg(amount), count(*) from lines", &[(&[], &[(7.0, 2.0), (500.0, 30.0)])]);
    let ratio = number(&out, 0, 0);
    assert!(ratio.unstable && ratio.low.is_none() && ratio.high.is_none() && ratio.value.is_some());
    assert!(!number(&out, 0, 1).unstable);
    let zero = evaluate("select avg(amount) from lines", &[(&[], &[(0.0, 2.0), (500.0, 30.0)])]);
    assert_eq!(number(&zero, 0, 0).value, None);
}

#[test]
fn having_order_and_limit_work_on_noisy_values() {
    let text = "select department, count(*) n from lines join products using (product_id) group by 1 having n > -5 order by n desc limit 2";
    let (a, b, c) = ([key("GROCERY")], [key("DAIRY")], [key("DRUG")]);
    let out = evaluate(text, &[(&c, &[(-9.0, 4.0)]), (&b, &[(10.0, 4.0)]), (&a, &[(10.0, 4.0)])]);
    let names: Vec<&OutCell> = out.rows.iter().map(|row| &row[0]).collect();
    // The tie is broken by the order of the domain; the third is below HAVING. Nothing is clamped.
    assert_eq!(names, [&OutCell::Key(key("GROCERY")), &OutCell::Key(key("DAIRY"))]);
    assert_eq!(
        (out.columns[0].role, out.columns[1].role, out.columns[1].unit),
        (Role::Key, Role::Value, Some("rows"))
    );
    let all = evaluate(
        "select department, count(*) from lines join products using (product_id) group by 1",
        &[(&c, &[(-9.0, 4.0)]), (&b, &[(10.0, 4.0)]), (&a, &[(1.0, 4.0)])],
    );
    assert_eq!(all.rows[0][0], OutCell::Key(key("GROCERY")));
    near(number(&all, 2, 1).value, -9.0);
}

#[test]
fn nulls_sort_last_and_private_amounts_print_in_major_units() {
    let text = "select amount, count(*) from lines group by amount order by amount desc";
    let out = evaluate(
        text,
        &[
            (&[KeyValue::Null], &[(1.0, 1.0)]),
            (&[KeyValue::Int(-250)], &[(1.0, 1.0)]),
            (&[KeyValue::Int(1999)], &[(1.0, 1.0)]),
        ],
    );
    let keys: Vec<&OutCell> = out.rows.iter().map(|row| &row[0]).collect();
    assert_eq!(
        keys,
        [&OutCell::Key(key("19.99")), &OutCell::Key(key("-2.50")), &OutCell::Key(KeyValue::Null)]
    );
}

#[test]
fn group_codes_and_values_are_inverse() {
    let text = "select s.region, p.department, count(*) from lines l left join stores s on l.store_id = s.store_id join products p on p.product_id = l.product_id group by 1, 2";
    let query = ParsedQuery::parse(text).unwrap().resolve(&common::retailer()).unwrap();
    assert_eq!(query.public_cells(), 9);
    assert_eq!(query.public_values(5).unwrap(), [&key("DAIRY"), &KeyValue::Null]);
    assert_eq!(query.public_values(9), None);
}

#[test]
fn days_are_a_superset_of_what_where_leaves() {
    let days = |text: &str| {
        let query = ParsedQuery::parse(text).unwrap().resolve(&common::retailer()).unwrap();
        query.event_days().map(|(a, b)| format!("{a} {b}"))
    };
    for (condition, wanted) in [
        ("1 = 1", "2017-01-01 2017-12-31"),
        ("day >= '2017-03-05' and day < '2017-04-01'", "2017-03-05 2017-03-31"),
        ("day between '2016-01-01' and '2017-02-02'", "2017-01-01 2017-02-02"),
        ("day = '2017-05-05' or qty = 1", "2017-01-01 2017-12-31"),
        ("not (day >= '2017-05-05')", "2017-01-01 2017-12-31"),
        ("day in ('2017-05-05', '2017-06-01')", "2017-05-05 2017-06-01"),
        ("day > '2030-01-01'", "2017-12-31 2017-12-31"),
    ] {
        assert_eq!(
            days(&format!("select count(*) from lines where {condition}")).as_deref(),
            Some(wanted),
            "{condition}"
        );
    }
    assert_eq!(days("select count(*) from shoppers"), None);
    let both = "select count(*) from lines l join baskets b on l.card_id = b.card_id where l.day < '2017-02-01' and b.at >= timestamp '2017-01-15 12:00:00' and b.at < timestamp '2017-01-20 00:00:00'";
    assert_eq!(days(both).as_deref(), Some("2017-01-01 2017-01-31"));
}
