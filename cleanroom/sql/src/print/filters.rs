//! Policy row filters as conditions: on each scan of their table, and on every private scan that refers to it.
//!
//! # Guarantee
//! A semi-join is correlated on `unit_ix` wherever the filtered table is private, so one shopper's rows never decide
//! about another's, even where the data breaks its foreign keys.

use super::{ident, text_literal};
use crate::refusal::{Code, Pass, fault};
use crate::resolved::RowFilter;
use crate::{Column, Domain, Schema, Table, TableKind, Type};

use sqlparser::tokenizer::Span;

/// The private range condition of a scan.
pub(crate) fn unit_range(alias: &str) -> String {
    format!("{0}.unit_ix >= $1 AND {0}.unit_ix < $2", ident(alias))
}

/// The conditions that `filters` put on a scan of `table` under `alias`.
pub(crate) fn conditions(
    schema: &Schema,
    table: &Table,
    alias: &str,
    filters: &[RowFilter],
) -> Pass<Vec<String>> {
    let mut out = Vec::new();
    for filter in filters {
        let target = schema.table(&filter.table).ok_or_else(|| {
            unusable(format!(
                "a row filter names the table `{}`, which the catalogue does not have",
                filter.table
            ))
        })?;
        let column = target.column(&filter.column).ok_or_else(|| {
            unusable(format!(
                "a row filter names the column `{}.{}`, which the catalogue does not have",
                filter.table, filter.column
            ))
        })?;
        if target.name == table.name {
            out.push(allowed(alias, column, filter)?);
        } else if table.unit_key().is_some() {
            let mut path = vec![table.name.as_str()];
            out.extend(reaching(schema, table, alias, target, column, filter, &mut path)?);
        }
    }
    out.sort();
    out.dedup();
    Ok(out)
}

fn unusable(reason: String) -> crate::refusal::Fault {
    fault(Span::empty(), Code::Catalogue, reason).try_instead("correct the policy bundle")
}

/// One semi-join per declared foreign key of `table` through which `target` is reached; all must hold.
fn reaching<'s>(
    schema: &'s Schema,
    table: &Table,
    alias: &str,
    target: &Table,
    column: &Column,
    filter: &RowFilter,
    path: &mut Vec<&'s str>,
) -> Pass<Vec<String>> {
    let mut out = Vec::new();
    for reference in &table.foreign_keys {
        let Some(next) = schema.table(&reference.table) else { continue };
        if path.iter().any(|seen| *seen == next.name) {
            continue;
        }
        if table.unit_key().is_none() && next.unit_key().is_some() {
            return Err(fault(
                Span::empty(),
                Code::Catalogue,
                format!("the public table `{}` refers to the private table `{}`", table.name, next.name),
            )
            .try_instead("correct the catalogue: public rows belong to nobody"));
        }
        let inner = format!("f{}", path.len());
        let conditions = if next.name == target.name {
            vec![allowed(&inner, column, filter)?]
        } else {
            path.push(&next.name);
            let deeper = reaching(schema, next, &inner, target, column, filter, path)?;
            path.pop();
            deeper
        };
        if conditions.is_empty() {
            continue;
        }
        let mut all = vec![format!(
            "{}.{} = {}.{}",
            ident(&inner),
            ident(&reference.key),
            ident(alias),
            ident(&reference.column)
        )];
        if table.unit_key().is_some() && matches!(next.kind, TableKind::Private { .. }) {
            all.push(format!("{}.unit_ix = {}.unit_ix", ident(&inner), ident(alias)));
            all.push(unit_range(&inner));
        }
        all.extend(conditions);
        out.push(format!(
            "EXISTS (SELECT 1 FROM {} AS {} WHERE {})",
            ident(&next.name),
            inner,
            all.join(" AND ")
        ));
    }
    Ok(out)
}

/// `alias.column` is one of the allowed values.
fn allowed(alias: &str, column: &Column, filter: &RowFilter) -> Pass<String> {
    let mut values = Vec::new();
    let mut by_code = None;
    if let Some(Domain::Values(known)) = &column.domain
        && !known.is_empty()
    {
        by_code = Some(());
        let positions = known.iter().enumerate().filter(|(_, value)| filter.allowed.contains(*value));
        values.extend(positions.map(|(at, _)| at.to_string()));
    } else {
        for value in &filter.allowed {
            values.push(literal(column.ty, value).ok_or_else(|| {
                unusable(format!(
                    "a row filter allows `{value}`, which is no value of `{}.{}`",
                    filter.table, column.name
                ))
            })?);
        }
    }
    if values.is_empty() {
        return Ok("FALSE".to_owned());
    }
    let name = if by_code.is_some() { format!("\"{}#code\"", column.name) } else { ident(&column.name) };
    Ok(format!("{}.{} IN ({})", ident(alias), name, values.join(", ")))
}

/// A catalogue value as a DuckDB literal of the stored type.
fn literal(ty: Type, value: &str) -> Option<String> {
    match ty {
        Type::Text => (!value.contains('\0')).then(|| text_literal(value)),
        Type::Int => value.parse::<i64>().ok().map(|n| n.to_string()),
        Type::Money { scale } => {
            let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
            let missing = usize::from(scale).checked_sub(decimals.len())?;
            let digits = format!("{whole}{decimals}{}", "0".repeat(missing));
            digits.parse::<i64>().ok().map(|n| n.to_string())
        }
        Type::Bool => value.parse::<bool>().ok().map(|b| b.to_string().to_uppercase()),
        Type::Date => value.parse::<ids::Date>().ok().map(|day| format!("DATE '{day}'")),
        Type::Timestamp => None,
    }
}
