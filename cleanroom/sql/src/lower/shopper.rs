//! Subqueries that carry the unit key: per-shopper features and plain filters.

use sqlparser::ast::{Distinct, Expr, GroupByExpr, Ident, Query, Select, SelectItem, Spanned, Value};
use sqlparser::tokenizer::Span;

use super::from::{Lowered, lower_block};
use super::scalar::{any, condition, grouping};
use super::{
    Context, Ctes, Scope, check_depth, check_query_clauses, check_select_clauses, folded, select_of,
    with_ctes,
};
use crate::limits::{COLUMNS_MAX, KEYS_MAX};
use crate::plan::{Field, Node, Scalar, Shopper, Ty};
use crate::refusal::{Code, Fault, Pass, fault};

/// Lowers a subquery of FROM and gives the columns it offers.
pub(crate) fn lower_shopper<'q>(
    cx: &mut Context<'_>,
    query: &'q Query,
    outer: &Ctes<'q>,
    depth: usize,
) -> Pass<(Shopper, Vec<Field>)> {
    check_depth(depth, query.span())?;
    let ctes = with_ctes(query, outer)?;
    check_query_clauses(query)?;
    if let Some(order) = &query.order_by {
        return Err(row_order(order.span(), "ORDER BY"));
    }
    if let Some(limit) = &query.limit_clause {
        return Err(row_order(limit.span(), "LIMIT"));
    }
    let select = select_of(&query.body)?;
    check_select_clauses(select)?;
    let lowered = lower_block(cx, &ctes, select, depth)?;
    let (items, places) = items(cx, &lowered, select, depth)?;
    let group = group(cx, &lowered, select, &items, depth)?;
    let scope = Scope { relations: &lowered.block.relations, merged: &lowered.merged, aggregates: true };
    let having = select.having.as_ref().map(|expr| condition(cx, scope, expr, depth)).transpose()?;
    let aggregated = items.iter().any(|(_, item)| item.has_aggregate()) || having.is_some();
    let distinct = match &select.distinct {
        None | Some(Distinct::All) => false,
        Some(Distinct::Distinct) if !aggregated && group.is_none() => true,
        Some(Distinct::Distinct) | Some(Distinct::On(_)) => {
            return Err(fault(select.span(), Code::Clause, "this use of DISTINCT is not allowed")
                .try_instead("use GROUP BY"));
        }
    };
    let group = if distinct { Some(items.iter().map(|(_, item)| item.clone()).collect()) } else { group };
    let group = check_unit(select, group, aggregated)?;
    if let Some(keys) = &group {
        for ((_, item), span) in items.iter().zip(&places) {
            check_grouped(item, keys, *span)?;
        }
        if let (Some(having), Some(expr)) = (&having, &select.having) {
            check_grouped(having, keys, expr.span())?;
        }
    }
    let fields = offered(&lowered, &items);
    let unit_name = unit_item(select, &items)?;
    Ok((Shopper { block: lowered.block, items, unit_name, group, having }, fields))
}

fn row_order(span: Span, what: &str) -> Fault {
    fault(
        span,
        Code::RowOrder,
        format!("{what} below the aggregate is not allowed: other shoppers' rows would decide"),
    )
    .try_instead(format!("move {what} to the end of the statement, where it works on the released numbers"))
}

type Items = Vec<(String, Scalar)>;

fn items(cx: &Context<'_>, lowered: &Lowered, select: &Select, depth: usize) -> Pass<(Items, Vec<Span>)> {
    if select.projection.len() > COLUMNS_MAX {
        return Err(fault(select.span(), Code::Limit, format!("more than {COLUMNS_MAX} columns")));
    }
    let scope = Scope { relations: &lowered.block.relations, merged: &lowered.merged, aggregates: true };
    let (mut items, mut places): (Items, _) = (Vec::new(), Vec::new());
    for item in &select.projection {
        let span = item.span();
        let (expr, name) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(folded(alias))),
            SelectItem::UnnamedExpr(expr) => (expr, column_name(expr)),
            SelectItem::Wildcard(_)
            | SelectItem::QualifiedWildcard(..)
            | SelectItem::ExprWithAliases { .. } => {
                return Err(fault(span, Code::Rows, "`*` is not allowed").try_instead("name the columns"));
            }
        };
        let Some(name) = name else {
            return Err(fault(span, Code::Clause, "a computed column of a subquery needs a name")
                .try_instead("write expression AS name"));
        };
        check_name(&name, span)?;
        if items.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            return Err(fault(span, Code::Ambiguous, format!("the column `{name}` is named twice"))
                .try_instead("give each column its own name with AS"));
        }
        let mut scalar = any(cx, scope, expr, depth)?;
        if scalar.ty == Ty::Null {
            return Err(
                fault(span, Code::Type, "the type of NULL is unknown here").try_instead("remove the column")
            );
        }
        one_unit_key(lowered, &mut scalar);
        items.push((name, scalar));
        places.push(span);
    }
    Ok((items, places))
}

/// Names that the stream uses itself cannot be names of columns.
pub(crate) fn check_name(name: &str, span: Span) -> Pass<()> {
    if name.is_empty() || name.contains(['#', '\0', '"']) || name.eq_ignore_ascii_case("unit_ix") {
        return Err(fault(span, Code::Clause, format!("`{name}` cannot be the name of a column"))
            .try_instead("use letters, digits and underscores"));
    }
    Ok(())
}

/// All unit keys of a block are equal: the first relation's stands for all.
fn one_unit_key(lowered: &Lowered, scalar: &mut Scalar) {
    if scalar.ty == Ty::Unit
        && let Node::Column { relation, name } = &mut scalar.node
    {
        *relation = 0;
        if let Some(unit) = lowered.block.relations.first().and_then(|first| first.unit_key()) {
            unit.clone_into(name);
        }
    }
}

fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        Expr::Nested(inner) => column_name(inner),
        _ => None,
    }
}

/// The expressions of GROUP BY, taken apart; `None` without one.
pub(crate) fn group_exprs(select: &Select) -> Pass<Option<&[Expr]>> {
    match &select.group_by {
        GroupByExpr::All(_) => Err(grouping(select.span())),
        GroupByExpr::Expressions(exprs, modifiers) => {
            let span = exprs.first().map_or(Span::empty(), Spanned::span);
            if !modifiers.is_empty() {
                return Err(grouping(span));
            }
            if exprs.len() > KEYS_MAX {
                return Err(fault(span, Code::Limit, format!("more than {KEYS_MAX} group keys")));
            }
            Ok((!exprs.is_empty()).then_some(exprs))
        }
    }
}

/// The SELECT item a GROUP BY expression stands for, if it is a position or an alias.
pub(crate) fn item_meant<'q>(
    select: &'q Select,
    expr: &'q Expr,
    is_column: impl Fn(&Ident) -> bool,
) -> Pass<&'q Expr> {
    let item_expr = |item: &'q SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. } => {
            None
        }
    };
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(position, _) => {
                let at = position.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
                at.and_then(|at| select.projection.get(at)).and_then(item_expr).ok_or_else(|| {
                    fault(value.span, Code::NotGrouped, format!("the SELECT list has no column {position}"))
                        .try_instead("name the expression")
                })
            }
            _ => Ok(expr),
        },
        Expr::Identifier(ident) if !is_column(ident) => {
            let named = select.projection.iter().find_map(|item| match item {
                SelectItem::ExprWithAlias { expr, alias }
                    if alias.value.eq_ignore_ascii_case(&ident.value) =>
                {
                    Some(expr)
                }
                _ => None,
            });
            Ok(named.unwrap_or(expr))
        }
        _ => Ok(expr),
    }
}

fn group(
    cx: &Context<'_>,
    lowered: &Lowered,
    select: &Select,
    items: &Items,
    depth: usize,
) -> Pass<Option<Vec<Scalar>>> {
    let Some(exprs) = group_exprs(select)? else { return Ok(None) };
    let scope = Scope { relations: &lowered.block.relations, merged: &lowered.merged, aggregates: false };
    let is_column = |ident: &Ident| {
        scope.relations.iter().any(|r| r.fields.iter().any(|f| f.name.eq_ignore_ascii_case(&ident.value)))
    };
    let mut keys: Vec<Scalar> = Vec::new();
    for expr in exprs {
        let mut key = any(cx, scope, item_meant(select, expr, is_column)?, depth)?;
        one_unit_key(lowered, &mut key);
        if key.ty != Ty::Unit && key.is_literal() {
            return Err(
                fault(expr.span(), Code::Grouping, "a literal is no group key").try_instead("remove it")
            );
        }
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    // The order of keys has no meaning: the unit key first, then as in the SELECT list.
    let position = |key: &Scalar| {
        let listed = items.iter().position(|(_, item)| item == key);
        (key.ty != Ty::Unit, listed.unwrap_or(usize::MAX))
    };
    keys.sort_by_key(position);
    Ok(Some(keys))
}

fn check_unit(select: &Select, group: Option<Vec<Scalar>>, aggregated: bool) -> Pass<Option<Vec<Scalar>>> {
    let grouped_by_unit = group.as_ref().is_some_and(|keys| keys.iter().any(|key| key.ty == Ty::Unit));
    if (aggregated || group.is_some()) && !grouped_by_unit {
        return Err(fault(
            select.span(),
            Code::Subquery,
            "an aggregating subquery must be grouped by the unit key",
        )
        .try_instead("add the unit key to SELECT and GROUP BY, or ask the question without the subquery"));
    }
    Ok(group)
}

fn unit_item(select: &Select, items: &Items) -> Pass<String> {
    let mut units = items.iter().filter(|(_, item)| item.ty == Ty::Unit);
    match (units.next(), units.next()) {
        (Some((name, _)), None) => Ok(name.clone()),
        (None, _) => Err(fault(select.span(), Code::Subquery, "a subquery of FROM must carry the unit key")
            .try_instead("add the unit key to its SELECT list")),
        (Some(_), Some(_)) => Err(fault(select.span(), Code::Subquery, "the unit key is selected twice")
            .try_instead("select it once")),
    }
}

/// Every column is grouped or inside an aggregate.
fn check_grouped(scalar: &Scalar, keys: &[Scalar], span: Span) -> Pass<()> {
    if keys.contains(scalar) || matches!(scalar.node, Node::Aggregate { .. }) {
        return Ok(());
    }
    if let Node::Column { name, .. } = &scalar.node {
        return Err(fault(span, Code::NotGrouped, format!("`{name}` is neither grouped nor aggregated"))
            .try_instead(format!("add {name} to GROUP BY, or aggregate it")));
    }
    scalar.children().into_iter().try_for_each(|child| check_grouped(child, keys, span))
}

fn offered(lowered: &Lowered, items: &Items) -> Vec<Field> {
    let domain = |item: &Scalar| match &item.node {
        Node::Column { relation, name } => {
            lowered.block.relations.get(*relation).and_then(|r| r.field(name)).and_then(|f| f.domain.clone())
        }
        _ => None,
    };
    let field = |(name, item): &(String, Scalar)| Field {
        name: name.clone(),
        ty: item.ty,
        nullable: item.nullable,
        bounds: item.bounds,
        domain: domain(item),
        hidden: false,
    };
    items.iter().map(field).collect()
}
