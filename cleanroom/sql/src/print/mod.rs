//! Plans as text: canonical SQL for people and digests, DuckDB SQL for the stream.

pub(crate) mod canonical;
pub(crate) mod filters;
pub(crate) mod physical;
pub(crate) mod stream;

use sqlparser::keywords::ALL_KEYWORDS;

use crate::plan::{Relation, Source};

/// Keywords that both grammars accept as plain names, and that tables like to use.
const PLAIN_KEYWORDS: [&str; 18] = [
    "DATE", "DAY", "WEEK", "MONTH", "YEAR", "QUARTER", "REGION", "NAME", "TYPE", "LINES", "CATEGORY",
    "CLASS", "COST", "LOCATION", "PRICE", "CHANNEL", "STORE", "TIER",
];

/// A name, quoted where it has to be.
pub(crate) fn ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let upper = name.to_ascii_uppercase();
    let keyword = ALL_KEYWORDS.binary_search(&upper.as_str()).is_ok();
    if plain && (!keyword || PLAIN_KEYWORDS.contains(&upper.as_str())) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// A text literal.
pub(crate) fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The names of a block's relations in printed form: the table's name, numbered where it repeats.
pub(crate) fn aliases(relations: &[Relation]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for relation in relations {
        let base = match &relation.source {
            Source::Private { table, .. } | Source::Public { table, .. } => table.as_str(),
            Source::Shopper(_) => "sub",
        };
        let mut name = base.to_owned();
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{base}_{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}
