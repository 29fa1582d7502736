//! The printed stream, run by DuckDB, against SQL written by hand; totality on extreme values; policy row filters.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod common;

use std::collections::BTreeSet;

use duckdb::Connection;
use sql::{ParsedQuery, RowFilter, StreamColumn};

/// The retailer's tables as the hot store holds them: NULLs, zeros, negative and extreme values included.
fn store() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        r#"
        CREATE TABLE lines (unit_ix UINTEGER, basket_id BIGINT, product_id BIGINT, store_id BIGINT, day DATE, qty BIGINT,
            amount BIGINT, discount BIGINT, note VARCHAR, points BIGINT);
        CREATE TABLE baskets (unit_ix UINTEGER, basket_id BIGINT, channel VARCHAR, "channel#code" INTEGER, "at" TIMESTAMP,
            paid_cash BOOLEAN);
        CREATE TABLE shoppers (unit_ix UINTEGER, tier VARCHAR, "tier#code" INTEGER, age BIGINT, city VARCHAR, born DATE);
        CREATE TABLE products (product_id BIGINT, department VARCHAR, "department#code" INTEGER, brand VARCHAR,
            "brand#code" INTEGER, title VARCHAR, commodity VARCHAR, "commodity#code" INTEGER);
        CREATE TABLE stores (store_id BIGINT, region VARCHAR, "region#code" INTEGER);
        CREATE TABLE prices (product_id BIGINT, store_id BIGINT, shelf_price BIGINT);
        INSERT INTO products VALUES (1,'GROCERY',0,'Own',0,'Rye Bread','BREAD',NULL), (2,'DAIRY',1,'Nord',1,'Milk','MILK',NULL),
            (3,'DRUG',2,NULL,NULL,'Soap','SOAP',NULL);
        INSERT INTO stores VALUES (10,'north',0), (20,'south',1);
        INSERT INTO prices SELECT p, s, p * 100 + s FROM range(1, 4) a(p), (VALUES (10), (20)) b(s);
        INSERT INTO shoppers VALUES (0,'gold',0,18,'Almaty','1980-05-17'), (1,'silver',1,99,'7','1990-01-01'),
            (2,NULL,NULL,NULL,NULL,NULL), (3,'gold',0,17,'2017-01-01','1955-12-31');
        INSERT INTO baskets SELECT u, u * 10 + b, CASE WHEN b % 2 = 0 THEN 'offline' ELSE 'online' END,
            CASE WHEN b % 2 = 0 THEN 1 ELSE 0 END, TIMESTAMP '2017-02-01 09:00:00' + INTERVAL (b * 13 + u) HOUR,
            CASE b % 3 WHEN 0 THEN TRUE WHEN 1 THEN FALSE END FROM range(4) a(u), range(6) c(b);
        INSERT INTO lines SELECT u, u * 10 + i % 6, i % 3 + 1, CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN 20 ELSE 10 END,
            DATE '2016-12-25' + CAST(i * 11 + u AS INTEGER), i % 7 - 2, (i * 379 + u * 101) % 9000 - 500,
            CASE WHEN i % 3 = 0 THEN NULL ELSE i * 10 END, CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN 'ab' WHEN 2 THEN ' aBc '
            WHEN 3 THEN 'a%b' ELSE '12.345' END, i * i - 50 FROM range(4) a(u), range(40) c(i);
        "#,
    )
    .unwrap();
    db
}

/// Values that break careless arithmetic: the ends of BIGINT and of the calendar, odd text.
fn extremes(db: &Connection) {
    db.execute_batch(
        r"
        INSERT INTO lines SELECT u, b, p, NULL, d, q, a, x, n, pts FROM
            (VALUES (1), (3)) t1(u), (VALUES (9223372036854775807), (0)) t2(b), (VALUES (1), (-1)) t3(p),
            (VALUES (DATE '5881580-07-10'), (DATE '5877642-06-25 (BC)'), (DATE 'infinity'), (DATE '2017-06-01')) t4(d),
            (VALUES (0), (-100), (1000)) t5(q),
            (VALUES (9223372036854775807), (-9223372036854775808), (0)) t6(a), (VALUES (NULL), (0), (100000)) t7(x),
            (VALUES (NULL), (''), ('%_\'), ('9999999999999999999'), ('-1e400'), ('2017-13-45'), ('ünïcödé 😀')) t8(n),
            (VALUES (9223372036854775807), (-9223372036854775808)) t9(pts);
        INSERT INTO baskets VALUES (1, 0, NULL, NULL, TIMESTAMP 'infinity', NULL),
            (1, 0, 'odd', NULL, TIMESTAMP '290309-12-22 (BC) 00:00:00', TRUE);
        INSERT INTO shoppers VALUES (5, NULL, NULL, -9223372036854775808, '1e999', DATE '-infinity'),
            (5, NULL, NULL, 9223372036854775807, 'x', DATE '5881580-07-10');
        ",
    )
    .unwrap();
}

/// The stream of a statement over all units, as a subquery.
fn stream(text: &str, filters: &[RowFilter]) -> (String, Vec<StreamColumn>) {
    let query = ParsedQuery::parse(text).unwrap().resolve(&common::retailer());
    let query = query.unwrap_or_else(|refusal| panic!("{text}\n{refusal}"));
    let stream = query.stream_sql(filters).unwrap();
    (format!("({})", stream.text.replace("$1", "0").replace("$2", "4294967295")), stream.columns)
}

fn rows(db: &Connection, text: &str) -> Vec<String> {
    let list = format!("SELECT CAST(t AS VARCHAR) FROM ({text}) t ORDER BY 1");
    let mut statement = db.prepare(&list).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let found = statement
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap_or_else(|error| panic!("{text}\n{error}"));
    found.map(|row| row.unwrap_or_else(|error| panic!("{text}\n{error}"))).collect()
}

/// Aggregating the stream of `text` by `over` gives what `by_hand` gives.
fn check(text: &str, filters: &[RowFilter], over: &str, by_hand: &str) {
    let db = store();
    let (stream, _) = stream(text, filters);
    let found = rows(&db, &over.replace("STREAM", &stream));
    let wanted = rows(&db, by_hand);
    assert!(!wanted.is_empty());
    assert_eq!(found, wanted, "{text}\n{stream}");
}

#[test]
fn streams_agree_with_sql_written_by_hand() {
    let totals = "SELECT g, count(*) n, count(DISTINCT unit_ix) u FROM STREAM WHERE g IS NOT NULL GROUP BY g";
    let sums = "SELECT sum(m0) s, count(m0) n FROM STREAM";
    for (text, over, by_hand) in [
        (
            "select department, count(distinct card_id), sum(amount) from lines join products using (product_id) group by 1",
            "SELECT g, count(DISTINCT unit_ix) n, sum(m1) s FROM STREAM GROUP BY g",
            "SELECT \"department#code\" AS g, count(DISTINCT unit_ix) n, sum(amount) s FROM lines JOIN products USING (product_id) GROUP BY 1",
        ),
        (
            "select date_trunc('week', day), count(*) from lines group by 1",
            totals,
            "SELECT CAST((date_trunc('week', day)::DATE - DATE '2016-12-26') / 7 AS INTEGER) AS g, count(*) n, \
             count(DISTINCT unit_ix) u FROM lines WHERE year(day) = 2017 GROUP BY 1",
        ),
        (
            "select date_trunc('month', day), count(*) from lines group by 1",
            totals,
            "SELECT CAST(month(day) - 1 AS INTEGER) AS g, count(*) n, count(DISTINCT unit_ix) u FROM lines WHERE year(day) = 2017 GROUP BY 1",
        ),
        (
            "select extract(week from day), count(*) from lines group by 1",
            totals,
            "SELECT CAST(week(day) - 1 AS INTEGER) AS g, count(*) n, count(DISTINCT unit_ix) u FROM lines WHERE year(day) = 2017 GROUP BY 1",
        ),
        (
            "select age, count(*) from shoppers group by age",
            totals,
            "SELECT CAST(CASE WHEN age IS NULL THEN 82 ELSE age - 18 END AS INTEGER) AS g, count(*) n, count(DISTINCT unit_ix) u \
             FROM shoppers WHERE age IS NULL OR age BETWEEN 18 AND 99 GROUP BY 1",
        ),
        (
            "select s.region, p.department, count(*) from lines l left join stores s on l.store_id = s.store_id \
             join products p on p.product_id = l.product_id group by 1, 2",
            totals,
            "SELECT \"department#code\" * 3 + CASE WHEN s.store_id IS NULL THEN 2 ELSE \"region#code\" END AS g, count(*) n, \
             count(DISTINCT unit_ix) u FROM lines l LEFT JOIN stores s ON l.store_id = s.store_id JOIN products p \
             ON p.product_id = l.product_id GROUP BY 1",
        ),
        (
            "select case when amount < 10 then 'a' when amount < 50.5 then 'b' end, count(*) from lines group by 1",
            totals,
            "SELECT CASE WHEN amount < 1000 THEN 0 WHEN amount < 5050 THEN 1 ELSE 2 END AS g, count(*) n, \
             count(DISTINCT unit_ix) u FROM lines GROUP BY 1",
        ),
        (
            "select sum(amount - coalesce(discount, 0)) from lines where qty between 1 and 3",
            sums,
            "SELECT sum(amount - coalesce(discount, 0)) s, count(*) n FROM lines WHERE qty BETWEEN 1 AND 3",
        ),
        (
            "select sum(amount * 1.5 + qty) from lines",
            sums,
            "SELECT sum(amount * 15 + qty * 1000) s, count(*) n FROM lines",
        ),
        (
            "select sum(amount / qty) from lines",
            sums,
            "SELECT sum(CASE WHEN qty <> 0 THEN trunc(amount::DOUBLE / qty * 100)::BIGINT END) s, \
             count(CASE WHEN qty <> 0 THEN 1 END) n FROM lines",
        ),
        (
            "select sum(amount) filter (where note like 'a%' and discount > 0.5) from lines",
            sums,
            "SELECT sum(amount) s, count(*) n FROM lines WHERE note LIKE 'a%' AND discount > 50",
        ),
        (
            "select sum(l.amount) from lines l join baskets b on b.card_id = l.card_id and b.basket_id = l.basket_id where b.channel = 'offline'",
            sums,
            "SELECT sum(amount) s, count(*) n FROM lines JOIN baskets USING (unit_ix, basket_id) WHERE channel = 'offline'",
        ),
        (
            "select sum(t) from (select card_id, sum(amount) t, min(day) d, count(*) n from lines group by card_id having count(*) > 5) x where t > 100 and d < '2017-01-01'",
            sums,
            "SELECT sum(t) s, count(*) n FROM (SELECT unit_ix, sum(amount) t, min(day) d FROM lines GROUP BY 1 HAVING count(*) > 5) \
             WHERE t > 10000 AND d < DATE '2017-01-01'",
        ),
        (
            "select sum(a) from (select card_id, avg(amount) a from lines group by card_id) x",
            sums,
            "SELECT sum(a) s, count(*) n FROM (SELECT trunc(sum(amount)::DOUBLE * 100 / count(*))::BIGINT a FROM lines GROUP BY unit_ix)",
        ),
        (
            "select count(discount) from lines where not (discount > 1 and note = 'ab')",
            "SELECT count(m0) n FROM STREAM",
            "SELECT count(discount) n FROM lines WHERE NOT (discount > 100 AND note = 'ab')",
        ),
        (
            "select lower(trim(note)), count(*) from lines where day + interval '1' month > '2017-03-15' group by 1",
            "SELECT p0, count(*) n FROM STREAM GROUP BY 1",
            "SELECT lower(trim(note)) p0, count(*) n FROM lines WHERE day + INTERVAL 1 MONTH > DATE '2017-03-15' GROUP BY 1",
        ),
        (
            "select t.department, count(*) from (select l.card_id, p.department from lines l join products p on \
             p.product_id = l.product_id group by 1, 2) t group by 1",
            totals,
            "SELECT \"department#code\" g, count(DISTINCT unit_ix) n, count(DISTINCT unit_ix) u FROM lines JOIN products USING (product_id) GROUP BY 1",
        ),
        (
            "select date_trunc('quarter', born), count(*) from shoppers group by 1",
            "SELECT p0, count(*) n FROM STREAM GROUP BY 1",
            "SELECT CAST(CAST(date_trunc('quarter', born) AS DATE) AS VARCHAR) p0, count(*) n FROM shoppers GROUP BY 1",
        ),
        (
            "select count(*) from lines where date_trunc('week', day) = '2017-02-06' or date_trunc('month', day) = date '2017-04-01'",
            "SELECT count(*) n FROM STREAM",
            "SELECT count(*) n FROM lines WHERE date_trunc('week', day) = DATE '2017-02-06' OR (year(day) = 2017 AND month(day) = 4)",
        ),
    ] {
        check(text, &[], over, by_hand);
    }
}

fn filter(table: &str, column: &str, allowed: &[&str]) -> RowFilter {
    let allowed = allowed.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<_>>();
    RowFilter { table: table.into(), column: column.into(), allowed }
}

#[test]
fn row_filters_reach_every_private_table_along_foreign_keys() {
    let count = "SELECT count(*) n FROM STREAM";
    let offline = filter("baskets", "channel", &["offline"]);
    let dairy = filter("products", "department", &["DAIRY", "unknown"]);
    check(
        "select count(*) from baskets",
        std::slice::from_ref(&offline),
        count,
        "SELECT count(*) n FROM baskets WHERE channel = 'offline'",
    );
    check(
        "select count(*) from lines",
        std::slice::from_ref(&offline),
        count,
        "SELECT count(*) n FROM lines JOIN baskets USING (unit_ix, basket_id) WHERE channel = 'offline'",
    );
    check(
        "select count(*) from lines",
        &[offline.clone(), dairy.clone()],
        count,
        "SELECT count(*) n FROM lines JOIN baskets USING (unit_ix, basket_id) WHERE channel = 'offline' AND product_id = 2",
    );
    check(
        "select count(*) from (select card_id, sum(qty) q from lines group by 1) t",
        std::slice::from_ref(&dairy),
        count,
        "SELECT count(DISTINCT unit_ix) n FROM lines WHERE product_id = 2",
    );
    // Shoppers do not refer to baskets: untouched.
    check("select count(*) from shoppers", &[offline, dairy], count, "SELECT count(*) n FROM shoppers");
    check("select count(*) from lines", &[filter("baskets", "channel", &[])], count, "SELECT 0 n");
}

#[test]
fn a_row_filter_that_cannot_be_applied_is_refused() {
    let query =
        ParsedQuery::parse("select count(*) from lines").unwrap().resolve(&common::retailer()).unwrap();
    for bad in
        [filter("nope", "x", &["a"]), filter("baskets", "nope", &["a"]), filter("lines", "qty", &["many"])]
    {
        assert_eq!(query.stream_sql(std::slice::from_ref(&bad)).unwrap_err().code(), "sql.catalogue");
    }
    let offline = filter("baskets", "channel", &["offline"]);
    assert_ne!(query.digest(), query.core_digest_with(std::slice::from_ref(&offline)));
    assert_eq!(
        query.core_digest_with(&[offline.clone(), offline.clone()]),
        query.core_digest_with(&[offline])
    );
}

#[test]
fn no_accepted_statement_can_fail_on_a_row_and_all_types_are_as_declared() {
    let db = store();
    extremes(&db);
    let corpus = include_str!("corpus/accepted.slt");
    let more = "select sum(points / points), sum(amount % points), sum(-points), sum(points - amount) from lines\n----\n\n\n\
        select sum(date '2017-01-01' - day) from lines where day - 400 < '2017-01-01' or day + interval '90' year > day\n----\n\n\n\
        select sum(cast(note as bigint)), sum(cast(note as decimal(18,4))), count(cast(note as timestamp)) from lines\n----\n\n\n\
        select sum(t), avg(m), sum(a) from (select card_id, sum(points) t, avg(points) m, sum(abs(points)) a from lines group by 1) x\n----\n\n\n\
        select date_trunc('month', day), extract(doy from day), count(*) from lines where date_trunc('week', day) > '2000-01-01' group by 1, 2\n----\n";
    for part in corpus.split("\n\n\n").chain(more.split("\n\n\n")) {
        let text = part.split("\n----").next().unwrap().trim();
        let (stream, columns) = stream(text, &[filter("baskets", "channel", &["offline", "online"])]);
        rows(&db, &format!("SELECT * FROM {stream}"));
        let types: Vec<String> =
            rows(&db, &format!("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {stream})"));
        assert_eq!(types.len(), columns.len(), "{text}");
        for found in types {
            let fits = match found.chars().nth(found.find("'column_name': ").unwrap() + 15).unwrap() {
                'u' => found.contains("UINTEGER"),
                'g' => found.contains("INTEGER") && !found.contains("UINTEGER"),
                'p' => found.contains("VARCHAR") || found.contains("BIGINT"),
                _ => found.contains("BIGINT"),
            };
            assert!(fits, "{text}: {found}");
        }
    }
}
