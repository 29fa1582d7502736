//! Corpora of statements as data: `accepted.slt` with canonical and stream SQL, `refused.slt` with place, code, reason
//! and nearest form. A record is the statement, `----`, and what must come out. `SQL_CORPUS=write cargo test -p sql`
//! rewrites what comes out; read the diff.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod common;

use std::fs;
use std::path::PathBuf;

use sql::{ParsedQuery, Refusal, ResolvedQuery};

fn resolve(text: &str) -> Result<ResolvedQuery, Refusal> {
    ParsedQuery::parse(text)?.resolve(&common::retailer())
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

/// Records of a corpus: statement and expected text.
fn records(name: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(path(name)).unwrap();
    let record = |part: &str| {
        let (sql, expected) = part.split_once("\n----").unwrap_or_else(|| panic!("no ---- in `{part}`"));
        (sql.trim_matches('\n').to_owned(), expected.trim_matches('\n').to_owned())
    };
    text.split("\n\n\n")
        .map(|part| part.trim_matches('\n'))
        .filter(|part| !part.is_empty())
        .map(record)
        .collect()
}

/// Compares what comes out of each statement with the file, or writes the file.
fn check(name: &str, least: usize, outcome: impl Fn(&str) -> String) {
    let records = records(name);
    assert!(records.len() >= least, "{name}: {} statements", records.len());
    if std::env::var_os("SQL_CORPUS").is_some() {
        let parts: Vec<String> =
            records.iter().map(|(sql, _)| format!("{sql}\n----\n{}\n", outcome(sql))).collect();
        fs::write(path(name), parts.join("\n\n")).unwrap();
        return;
    }
    for (sql, expected) in records {
        assert_eq!(outcome(&sql), expected, "{sql}");
    }
}

#[test]
fn accepted_statements_print_as_recorded() {
    check("accepted.slt", 60, |sql| {
        let query = resolve(sql).unwrap_or_else(|refusal| panic!("{sql}\n{refusal}"));
        let stream = query.stream_sql(&[]).unwrap().text;
        let days = match query.event_days() {
            Some((first, last)) => format!("{first} to {last}"),
            None => "every block".to_owned(),
        };
        let keys: Vec<String> = query
            .keys()
            .iter()
            .map(|key| match key {
                sql::KeySpec::Public { domain, .. } => format!("public({})", domain.len()),
                sql::KeySpec::Private { ty, .. } => format!("private({ty:?})"),
            })
            .collect();
        let measures: Vec<String> = query
            .measures()
            .iter()
            .map(|measure| format!("{:?}≤{}", measure.kind, measure.row_bound))
            .collect();
        format!(
            "{}\n=> {stream}\n=> days {days}; keys [{}]; measures [{}]",
            query.canonical(),
            keys.join(", "),
            measures.join(", ")
        )
    });
}

#[test]
fn refused_statements_say_where_why_and_what_instead() {
    check("refused.slt", 90, |sql| match resolve(sql) {
        Ok(query) => panic!("accepted: {sql}\n{}", query.canonical()),
        Err(refusal) => {
            assert!(
                !refusal.reason.is_empty()
                    && !refusal.reason.ends_with('.')
                    && !refusal.reason.contains('\n')
            );
            format!(
                "{}:{} {} `{}`\n{}\n=> {}",
                refusal.line,
                refusal.column,
                refusal.code(),
                refusal.excerpt,
                refusal.reason,
                refusal.nearest.as_deref().unwrap_or("-")
            )
        }
    });
}

#[test]
fn canonical_text_is_a_fixed_point() {
    for (sql, _) in records("accepted.slt") {
        let first = resolve(&sql).unwrap();
        let second =
            resolve(first.canonical()).unwrap_or_else(|refusal| panic!("{}\n{refusal}", first.canonical()));
        assert_eq!(first.canonical(), second.canonical(), "{sql}");
        assert_eq!(first.digest(), second.digest(), "{sql}");
        assert_eq!(first.stream_sql(&[]).unwrap(), second.stream_sql(&[]).unwrap(), "{sql}");
        assert_eq!(first.keys(), second.keys(), "{sql}");
        assert_eq!(first.measures(), second.measures(), "{sql}");
        assert_eq!(first.footprint(), second.footprint(), "{sql}");
        assert_eq!(first.event_days(), second.event_days(), "{sql}");
    }
}
