//! The stream statement: blocks, keys and measures of the core as DuckDB SQL over the hot store's physical columns.

use super::filters::{conditions, unit_range};
use super::{aliases, ident};
use crate::plan::{
    Block, Core, JoinKind, Key, KeyCode, Measure, MeasureForm, Relation, Scalar, Shopper, Source, Ty,
};
use crate::print::physical::Physical;
use crate::refusal::Pass;
use crate::resolved::{RowFilter, StreamColumn, StreamSql};
use crate::{Domain, Schema};

/// Prints the stream of `core` under `filters`.
pub(crate) fn stream(schema: &Schema, core: &Core, filters: &[RowFilter]) -> Pass<StreamSql> {
    let physical = Physical { names: aliases(&core.block.relations), relations: &core.block.relations };
    let first = physical.names.first().cloned().unwrap_or_default();
    let mut columns = vec![StreamColumn::Unit];
    let mut items = vec![format!("{}.unit_ix", ident(&first))];
    if let Some(code) = group_code(&physical, &core.keys) {
        columns.push(StreamColumn::Group);
        items.push(format!("{code} AS g"));
    }
    for (at, key) in core.keys.iter().filter(|key| key.public.is_none()).enumerate() {
        columns.push(StreamColumn::Private(at));
        items.push(format!("{} AS p{at}", physical.private_key(&key.expr)));
    }
    for (at, measure) in core.measures.iter().enumerate() {
        if let Some(value) = measure_value(&physical, measure) {
            columns.push(StreamColumn::Measure(at));
            items.push(format!("{value} AS m{at}"));
        }
    }
    let text = format!("SELECT {}{}", items.join(", "), from_where(schema, &core.block, filters)?);
    Ok(StreamSql { text, columns })
}

/// Whether a measure needs a column of the stream.
pub(crate) fn is_streamed(measure: &Measure) -> bool {
    measure.filter.is_some() || !matches!(measure.kind, MeasureForm::Units | MeasureForm::Rows(None))
}

fn measure_value(physical: &Physical<'_>, measure: &Measure) -> Option<String> {
    let one = || "CAST(1 AS BIGINT)".to_owned();
    let (present, value) = match &measure.kind {
        MeasureForm::Units | MeasureForm::Rows(None) => (None, one()),
        MeasureForm::Rows(Some(arg)) => (Some(format!("{} IS NOT NULL", physical.operand(arg))), one()),
        MeasureForm::Sum(arg) => (None, physical.bigint(arg)),
    };
    let filter = measure.filter.as_ref().map(|filter| physical.operand(filter));
    let tests: Vec<String> = filter.into_iter().chain(present).collect();
    if tests.is_empty() {
        return matches!(measure.kind, MeasureForm::Sum(_)).then_some(value);
    }
    Some(format!("CASE WHEN {} THEN {value} END", tests.join(" AND ")))
}

/// One code for all public keys: mixed radix, first key most significant. NULL where any part is.
fn group_code(physical: &Physical<'_>, keys: &[Key]) -> Option<String> {
    let mut out: Option<String> = None;
    for key in keys {
        let Some(public) = &key.public else { continue };
        let values = public.domain.len() - usize::from(public.with_null);
        let null = public.with_null.then_some(values);
        let code = key_code(physical, &key.expr, &public.code, null);
        out = Some(match out {
            None => code,
            Some(before) => format!("({before}) * {} + {code}", public.domain.len()),
        });
    }
    out
}

fn key_code(physical: &Physical<'_>, expr: &Scalar, code: &KeyCode, null: Option<usize>) -> String {
    let or_null = |text: String| match null {
        Some(last) => format!("COALESCE({text}, {last})"),
        None => text,
    };
    match code {
        KeyCode::Sibling => or_null(physical.sibling(expr)),
        KeyCode::Condition => or_null(format!("CAST({} AS INTEGER)", physical.operand(expr))),
        KeyCode::Branches { codes, otherwise } => physical.branch_codes(expr, codes, *otherwise),
        KeyCode::Offset { first, last } => {
            let value = physical.operand(expr);
            let test = format!("{value} BETWEEN {first} AND {last}");
            ranged(&value, &test, &format!("CAST({value} - ({first}) AS INTEGER)"), null)
        }
        KeyCode::Calendar { part, first, last } => {
            let (value, test) = physical.days(expr, *first, *last);
            ranged(&value, &test, &physical.calendar_step(&value, *part, *first), null)
        }
        KeyCode::Part { part, first, last, lowest } => {
            let (value, test) = physical.days(expr, *first, *last);
            let step = format!("CAST(date_part('{}', {value}) - {lowest} AS INTEGER)", part.name());
            ranged(&value, &test, &step, null)
        }
    }
}

/// A code for values in a range; rows outside belong to no group, NULL to the last one if there is one.
fn ranged(value: &str, test: &str, code: &str, null: Option<usize>) -> String {
    match null {
        Some(last) => format!("CASE WHEN {value} IS NULL THEN {last} WHEN {test} THEN {code} END"),
        None => format!("CASE WHEN {test} THEN {code} END"),
    }
}

/// FROM and WHERE, with the unit range and the policy's filters on every scan.
fn from_where(schema: &Schema, block: &Block, filters: &[RowFilter]) -> Pass<String> {
    let physical = Physical { names: aliases(&block.relations), relations: &block.relations };
    let mut text = " FROM ".to_owned();
    let mut tests = Vec::new();
    let mut policy = Vec::new();
    for (relation, name) in block.relations.iter().zip(&physical.names) {
        let scan = scan_conditions(schema, relation, name, filters)?;
        text.push_str(match relation.join {
            JoinKind::First => "",
            JoinKind::Inner => " JOIN ",
            JoinKind::Left => " LEFT JOIN ",
        });
        text.push_str(&match &relation.source {
            Source::Private { table, .. } | Source::Public { table, .. } if table == name => ident(table),
            Source::Private { table, .. } | Source::Public { table, .. } => {
                format!("{} AS {}", ident(table), ident(name))
            }
            Source::Shopper(inner) => format!("({}) AS {}", shopper(schema, inner, filters)?, ident(name)),
        });
        let mut on: Vec<String> = relation.on.iter().map(|(a, b)| physical.equal(a, b)).collect();
        if relation.join == JoinKind::Left {
            // In ON, so that rows without an allowed partner stay and see NULL.
            on.extend(scan);
        } else {
            policy.extend(scan);
        }
        if !on.is_empty() {
            text.push_str(&format!(" ON {}", on.join(" AND ")));
        }
        if matches!(relation.source, Source::Private { .. }) {
            tests.push(unit_range(name));
        }
    }
    tests.extend(block.filters.iter().map(|filter| physical.operand(filter)));
    tests.extend(policy);
    if !tests.is_empty() {
        text.push_str(&format!(" WHERE {}", tests.join(" AND ")));
    }
    Ok(text)
}

fn scan_conditions(
    schema: &Schema,
    relation: &Relation,
    name: &str,
    filters: &[RowFilter],
) -> Pass<Vec<String>> {
    let table = match &relation.source {
        Source::Private { table, .. } | Source::Public { table, .. } => table,
        Source::Shopper(_) => return Ok(Vec::new()),
    };
    match schema.table(table) {
        Some(table) => conditions(schema, table, name, filters),
        None => Ok(Vec::new()),
    }
}

fn shopper(schema: &Schema, shopper: &Shopper, filters: &[RowFilter]) -> Pass<String> {
    let relations = &shopper.block.relations;
    let physical = Physical { names: aliases(relations), relations };
    let unit = physical.names.first().map_or_else(String::new, |first| format!("{}.unit_ix", ident(first)));
    let mut items = Vec::new();
    let mut codes = Vec::new();
    for (name, item) in &shopper.items {
        if item.ty == Ty::Unit {
            items.push(unit.clone());
            continue;
        }
        items.push(format!("{} AS {}", physical.stored(item), ident(name)));
        if has_code(relations, item) {
            let code = physical.sibling(item);
            items.push(format!("{code} AS \"{name}#code\""));
            codes.push(code);
        }
    }
    let mut text = format!("SELECT {}{}", items.join(", "), from_where(schema, &shopper.block, filters)?);
    if let Some(keys) = &shopper.group {
        let mut keys: Vec<String> = keys.iter().map(|key| physical.print(key)).collect();
        keys.extend(codes);
        text.push_str(&format!(" GROUP BY {}", keys.join(", ")));
    }
    if let Some(having) = &shopper.having {
        text.push_str(&format!(" HAVING {}", physical.print(having)));
    }
    Ok(text)
}

/// Whether an output column of a subquery passes a column's code on.
fn has_code(relations: &[Relation], item: &Scalar) -> bool {
    match &item.node {
        crate::plan::Node::Column { relation, name } => relations
            .get(*relation)
            .and_then(|relation| relation.field(name))
            .is_some_and(|field| matches!(field.domain, Some(Domain::Values(_)))),
        _ => false,
    }
}
