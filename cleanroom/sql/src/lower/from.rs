//! FROM and WHERE: which relations are read and how their rows meet.
//!
//! # Guarantee
//! Every row of a lowered block is made of rows of one shopper and of public rows, and a public row is found by its
//! whole key. So removing a shopper removes exactly the block's rows of that shopper and changes no other row
//! (`dp-engines.md` P11, P12).

use sqlparser::ast::{
    BinaryOperator, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, Query, Select, Spanned,
    TableAlias, TableFactor,
};
use sqlparser::tokenizer::Span;

use super::binary::chain;
use super::scalar::{any, condition};
use super::{Context, Ctes, Scope, binary, closest, folded, shopper};
use crate::limits::{INT_BOUND_DEFAULT, MONEY_BOUND_DEFAULT};
use crate::plan::{Block, Bounds, Comparison, Field, JoinKind, Node, Range, Relation, Scalar, Source, Ty};
use crate::print::canonical;
use crate::refusal::{Code, Fault, Pass, fault};
use crate::{Column, Domain, Schema, Table, TableKind, Type};

/// A lowered FROM and WHERE, and the columns that USING merged.
pub(crate) struct Lowered {
    pub(crate) block: Block,
    pub(crate) merged: Vec<String>,
}

/// A relation as written, before the join order is known. Columns in conditions count relations as written.
struct Written {
    relation: Relation,
    span: Span,
    /// For LEFT joins: their own conditions.
    left_on: Option<Vec<Condition>>,
}

/// One conjunct of ON.
struct Condition {
    left: Scalar,
    right: Scalar,
    span: Span,
}

/// Lowers FROM and WHERE of a SELECT.
pub(crate) fn lower_block<'q>(
    cx: &mut Context<'_>,
    ctes: &Ctes<'q>,
    select: &'q Select,
    depth: usize,
) -> Pass<Lowered> {
    let [from] = select.from.as_slice() else {
        return Err(match select.from.as_slice() {
            [] => {
                fault(select.span(), Code::Rows, "the statement reads no table").try_instead("add FROM table")
            }
            [_, second, ..] => {
                fault(second.span(), Code::Join, "comma joins are not allowed").try_instead(JOIN_FORM)
            }
            [_] => fault(select.span(), Code::Join, "this join is not allowed"),
        });
    };
    let mut written = Vec::new();
    let mut pool = Vec::new();
    let mut filters = Vec::new();
    let mut merged = Vec::new();
    let first = relation(cx, ctes, &from.relation, &[], depth)?;
    written.push(Written { relation: first, span: from.relation.span(), left_on: None });
    for join in &from.joins {
        let (left, constraint) = join_kind(join)?;
        let earlier: Vec<&str> = written.iter().map(|w: &Written| w.relation.alias.as_str()).collect();
        let span = join.relation.span();
        let relation = relation(cx, ctes, &join.relation, &earlier, depth)?;
        written.push(Written { relation, span, left_on: None });
        let relations: Vec<Relation> = written.iter().map(|w| w.relation.clone()).collect();
        let scope = Scope { relations: &relations, merged: &merged, aggregates: false };
        let mut using = Vec::new();
        let (equalities, rest) = match constraint {
            JoinConstraint::On(expr) => conditions(cx, scope, expr, depth)?,
            JoinConstraint::Using(names) => (using_columns(scope, names, &mut using)?, Vec::new()),
            JoinConstraint::Natural => {
                return Err(fault(span, Code::Join, "NATURAL joins are not allowed").try_instead(JOIN_FORM));
            }
            JoinConstraint::None => {
                return Err(fault(span, Code::Join, "a join needs a condition").try_instead(JOIN_FORM));
            }
        };
        merged.extend(using);
        if left {
            if let Some((_, place)) = rest.first() {
                return Err(fault(*place, Code::Join, "LEFT JOIN … ON takes equalities with the key only")
                    .try_instead("move other conditions into CASE or FILTER"));
            }
            if let Some(last) = written.last_mut() {
                last.left_on = Some(equalities);
            }
        } else {
            pool.extend(equalities);
            filters.extend(rest.into_iter().map(|(filter, _)| filter));
        }
    }
    let mut block = order(written, pool, filters)?;
    let scope = Scope { relations: &block.relations, merged: &merged, aggregates: false };
    if let Some(expr) = &select.selection {
        for part in chain(expr, &BinaryOperator::And) {
            let filter = condition(cx, scope, part, depth)?;
            match filter.node {
                Node::And(parts) => block.filters.extend(parts),
                node => block.filters.push(Scalar { node, ..filter }),
            }
        }
    }
    sort_filters(&mut block);
    Ok(Lowered { block, merged })
}

const JOIN_FORM: &str = "write FROM a JOIN b ON a.key = b.key";

/// Whether it is a LEFT join, and its constraint.
fn join_kind(join: &Join) -> Pass<(bool, &JoinConstraint)> {
    let span = join.relation.span();
    let refused = |what: &str, nearest: &str| {
        Err(fault(span, Code::Join, format!("{what} is not allowed")).try_instead(nearest))
    };
    if join.global {
        return refused("GLOBAL JOIN", JOIN_FORM);
    }
    match &join.join_operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => Ok((false, constraint)),
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => Ok((true, constraint)),
        JoinOperator::CrossJoin(_) => refused("CROSS JOIN", JOIN_FORM),
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => {
            refused("RIGHT JOIN", "start FROM the private table and LEFT JOIN the public one")
        }
        JoinOperator::FullOuter(_) => {
            refused("FULL JOIN", "start FROM the private table and LEFT JOIN the public one")
        }
        JoinOperator::Semi(_)
        | JoinOperator::LeftSemi(_)
        | JoinOperator::RightSemi(_)
        | JoinOperator::Anti(_)
        | JoinOperator::LeftAnti(_)
        | JoinOperator::RightAnti(_) => {
            refused("a semi-join", "join a subquery that selects the unit key and groups by it")
        }
        JoinOperator::CrossApply
        | JoinOperator::OuterApply
        | JoinOperator::AsOf { .. }
        | JoinOperator::StraightJoin(_)
        | JoinOperator::ArrayJoin
        | JoinOperator::LeftArrayJoin
        | JoinOperator::InnerArrayJoin => refused("this kind of join", JOIN_FORM),
    }
}

/// The equalities between two columns' expressions, and all other conjuncts, of an ON clause.
type Conjuncts = (Vec<Condition>, Vec<(Scalar, Span)>);

fn conditions(cx: &Context<'_>, scope: Scope<'_>, on: &Expr, depth: usize) -> Pass<Conjuncts> {
    let (mut equalities, mut rest) = (Vec::new(), Vec::new());
    for part in chain(on, &BinaryOperator::And) {
        let span = part.span();
        let mut inner = part;
        while let Expr::Nested(expr) = inner {
            inner = expr;
        }
        if let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = inner {
            let (left, right) = (any(cx, scope, left, depth)?, any(cx, scope, right, depth)?);
            if left.ty == Ty::Unit && right.ty == Ty::Unit || !(left.is_literal() || right.is_literal()) {
                equalities.push(Condition { left, right, span });
                continue;
            }
            rest.push((binary::compare(Comparison::Eq, left, right, span)?, span));
        } else {
            rest.push((condition(cx, scope, inner, depth)?, span));
        }
    }
    Ok((equalities, rest))
}

fn using_columns(scope: Scope<'_>, names: &[ObjectName], merged: &mut Vec<String>) -> Pass<Vec<Condition>> {
    let Some((last, earlier)) = scope.relations.split_last() else { return Ok(Vec::new()) };
    let mut equalities = Vec::new();
    for name in names {
        let span = name.span();
        let ident = match name.0.as_slice() {
            [part] => part.as_ident(),
            _ => None,
        };
        let ident: &Ident = ident.ok_or_else(|| fault(span, Code::Join, "USING takes plain column names"))?;
        let left = super::scalar::column(Scope { relations: earlier, ..scope }, None, ident)?;
        let only = std::slice::from_ref(last);
        let mut right = super::scalar::column(Scope { relations: only, ..scope }, None, ident)?;
        shift_relations(&mut right, &|_| earlier.len());
        equalities.push(Condition { left, right, span });
        merged.push(folded(ident));
    }
    Ok(equalities)
}

/// Puts relations into join order: a private one first, then whatever can be joined, as early as written.
fn order(mut written: Vec<Written>, mut pool: Vec<Condition>, mut filters: Vec<Scalar>) -> Pass<Block> {
    let Some(start) = written.iter().position(|w| w.relation.unit_key().is_some() && w.left_on.is_none())
    else {
        let span = written.first().map_or(Span::empty(), |w| w.span);
        return Err(fault(span, Code::Rows, "the statement reads no rows of shoppers")
            .try_instead("public tables are in the catalogue; join them to a private table"));
    };
    let mut places: Vec<Option<usize>> = vec![None; written.len()];
    if let Some(place) = places.get_mut(start) {
        *place = Some(0);
    }
    let mut joined: Vec<Relation> = Vec::new();
    if let Some(w) = written.get_mut(start) {
        joined.push(Relation { join: JoinKind::First, ..w.relation.clone() });
    }
    loop {
        let mut progressed = false;
        for index in 0..written.len() {
            let free = places.get(index).is_some_and(Option::is_none);
            let Some(w) = written.get_mut(index).filter(|_| free) else { continue };
            let on = match &mut w.left_on {
                Some(own) => keys_of(&w.relation, index, own, &places, true),
                None => keys_of(&w.relation, index, &mut pool, &places, false),
            };
            if let Some(on) = on {
                let join = if w.left_on.is_some() { JoinKind::Left } else { JoinKind::Inner };
                joined.push(Relation { join, on, ..w.relation.clone() });
                if let Some(place) = places.get_mut(index) {
                    *place = Some(joined.len() - 1);
                }
                progressed = true;
                break;
            }
        }
        if !progressed {
            break;
        }
    }
    if let Some(index) = places.iter().position(Option::is_none) {
        return Err(unjoinable(&written, index));
    }
    let place_of = |index: usize| places.get(index).copied().flatten().unwrap_or(0);
    for condition in pool {
        if condition.left.ty != Ty::Unit || condition.right.ty != Ty::Unit {
            filters.push(binary::compare(Comparison::Eq, condition.left, condition.right, condition.span)?);
        }
    }
    for filter in &mut filters {
        shift_relations(filter, &place_of);
    }
    for relation in &mut joined {
        for (a, b) in &mut relation.on {
            shift_relations(a, &place_of);
            shift_relations(b, &place_of);
            if a.ty == Ty::Unit {
                // All unit keys of a block are equal: one spelling for all.
                *a = Scalar { node: Node::Column { relation: 0, name: String::new() }, ..a.clone() };
            }
        }
    }
    finish_block(joined, filters)
}

/// Gives the relations their canonical aliases and marks what LEFT JOIN makes nullable.
fn finish_block(mut relations: Vec<Relation>, filters: Vec<Scalar>) -> Pass<Block> {
    let unit_name = relations.first().and_then(Relation::unit_key).unwrap_or_default().to_owned();
    for relation in &mut relations {
        for (a, _) in &mut relation.on {
            if let Node::Column { name, .. } = &mut a.node
                && name.is_empty()
            {
                name.clone_from(&unit_name);
            }
        }
        if relation.join == JoinKind::Left {
            for field in &mut relation.fields {
                field.nullable = true;
            }
        }
    }
    Ok(Block { relations, filters })
}

/// The key equalities that join `relation` to relations already placed; they are taken out of `pool`.
fn keys_of(
    relation: &Relation,
    index: usize,
    pool: &mut Vec<Condition>,
    places: &[Option<usize>],
    all: bool,
) -> Option<Vec<(Scalar, Scalar)>> {
    let placed = |scalar: &Scalar| {
        let mut ok = true;
        scalar.visit_columns(&mut |i, _| ok &= places.get(i).is_some_and(Option::is_some));
        ok
    };
    let own_column = |scalar: &Scalar, name: &str| matches!(&scalar.node, Node::Column { relation, name: own } if *relation == index && own == name);
    let wanted: Vec<&str> = match &relation.source {
        Source::Public { key, .. } => key.iter().map(String::as_str).collect(),
        Source::Private { .. } | Source::Shopper(_) if all => return None,
        Source::Private { unit_key, .. } => vec![unit_key],
        Source::Shopper(shopper) => vec![&shopper.unit_name],
    };
    let mut used = Vec::new();
    let mut on = Vec::new();
    for name in &wanted {
        let (at, flip) = pool.iter().enumerate().find_map(|(at, c)| {
            let same = c.left.ty == c.right.ty;
            if used.contains(&at) || !same {
                None
            } else if own_column(&c.right, name) && placed(&c.left) {
                Some((at, false))
            } else if own_column(&c.left, name) && placed(&c.right) {
                Some((at, true))
            } else {
                None
            }
        })?;
        let condition = pool.get(at)?;
        let (a, b) =
            if flip { (&condition.right, &condition.left) } else { (&condition.left, &condition.right) };
        on.push((a.clone(), b.clone()));
        used.push(at);
    }
    if all && used.len() != pool.len() {
        return None;
    }
    let mut at = 0;
    pool.retain(|_| {
        at += 1;
        !used.contains(&(at - 1))
    });
    Some(on)
}

fn unjoinable(written: &[Written], index: usize) -> Fault {
    let Some(w) = written.get(index) else {
        return fault(Span::empty(), Code::Join, "this join is not allowed");
    };
    let alias = &w.relation.alias;
    match &w.relation.source {
        Source::Public { key, .. } => {
            let form: Vec<String> = key.iter().map(|column| format!("… = {alias}.{column}")).collect();
            let only = if w.left_on.is_some() { " and nothing else" } else { "" };
            fault(
                w.span,
                Code::Join,
                format!("the public table `{alias}` must be joined on its whole key{only}"),
            )
            .try_instead(format!("write JOIN {alias} ON {}", form.join(" AND ")))
        }
        Source::Private { .. } | Source::Shopper(_) => {
            let unit = w.relation.unit_key().unwrap_or_default();
            if w.left_on.is_some() {
                return fault(
                    w.span,
                    Code::Join,
                    format!("`{alias}` has rows of shoppers and cannot be LEFT joined"),
                )
                .try_instead(format!("write JOIN {alias} ON … = {alias}.{unit}"));
            }
            fault(
                w.span,
                Code::Join,
                format!("`{alias}` has rows of shoppers and must be joined on the unit key"),
            )
            .try_instead(format!("add {alias}.{unit} = the other table's unit key to ON"))
        }
    }
}

/// Sorts conjuncts by their printed form and drops repeats, so that their order does not make another question.
fn sort_filters(block: &mut Block) {
    let printed = |filter: &Scalar| canonical::scalar(&block.relations, filter);
    let mut keyed: Vec<(String, Scalar)> = block.filters.iter().map(|f| (printed(f), f.clone())).collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    keyed.dedup_by(|a, b| a.0 == b.0);
    block.filters = keyed.into_iter().map(|(_, filter)| filter).collect();
}

/// One item of FROM.
fn relation<'q>(
    cx: &mut Context<'_>,
    ctes: &Ctes<'q>,
    factor: &'q TableFactor,
    taken: &[&str],
    depth: usize,
) -> Pass<Relation> {
    let span = factor.span();
    cx.count_relation(span)?;
    super::check_depth(depth, span)?;
    let (mut relation, alias) = match factor {
        TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
            let ident = match name.0.as_slice() {
                [part] => part.as_ident(),
                _ => None,
            }
            .ok_or_else(|| {
                fault(span, Code::UnknownTable, "table names have one part").try_instead("write FROM table")
            })?;
            (named(cx, ctes, ident, depth)?, alias)
        }
        TableFactor::Table { sample: Some(_), .. } => {
            return Err(fault(
                span,
                Code::RowOrder,
                "TABLESAMPLE is not allowed: chance is not the analyst's to draw",
            )
            .try_instead("remove TABLESAMPLE"));
        }
        TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
            (derived(cx, subquery, ctes, depth)?, alias)
        }
        _ => {
            return Err(fault(span, Code::Clause, "this form of FROM is not allowed")
                .try_instead("name a table of the catalogue, a WITH name or a subquery"));
        }
    };
    if let Some(TableAlias { columns, at, name, explicit: _ }) = alias {
        if !columns.is_empty() || at.is_some() {
            return Err(fault(name.span, Code::Clause, "column lists after an alias are not allowed")
                .try_instead("name the columns with AS inside the subquery"));
        }
        relation.alias = folded(name);
    }
    if taken.iter().any(|other| other.eq_ignore_ascii_case(&relation.alias)) {
        return Err(fault(
            span,
            Code::Ambiguous,
            format!("the name `{}` is used twice in FROM", relation.alias),
        )
        .try_instead("give each table its own alias"));
    }
    Ok(relation)
}

/// A WITH name or a table of the catalogue.
fn named(cx: &mut Context<'_>, ctes: &Ctes<'_>, ident: &Ident, depth: usize) -> Pass<Relation> {
    if let Some(at) = ctes.iter().rposition(|(name, _)| name.value.eq_ignore_ascii_case(&ident.value)) {
        let before: Ctes<'_> = ctes.iter().take(at).copied().collect();
        let query = ctes.get(at).map(|(_, query)| *query);
        if let Some(query) = query {
            let mut relation = derived(cx, query, &before, depth)?;
            relation.alias = folded(ident);
            return Ok(relation);
        }
    }
    let Some(table) = cx.schema.table(&ident.value) else {
        let fault = fault(ident.span, Code::UnknownTable, format!("no table `{}`", ident.value));
        let names = cx.schema.tables.iter().map(|table| table.name.as_str());
        return Err(match closest(&ident.value, names) {
            Some(name) => fault.try_instead(format!("did you mean `{name}`?")),
            None => {
                let names: Vec<&str> = cx.schema.tables.iter().map(|table| table.name.as_str()).collect();
                fault.try_instead(format!("the tables are {}", names.join(", ")))
            }
        });
    };
    let source = match &table.kind {
        TableKind::Private { unit_key } => {
            Source::Private { table: table.name.clone(), unit_key: unit_key.clone() }
        }
        TableKind::Public { key } if key.is_empty() => {
            return Err(fault(ident.span, Code::Catalogue, format!("the table `{}` has no key", table.name))
                .try_instead("declare its key in the catalogue"));
        }
        TableKind::Public { key } => Source::Public { table: table.name.clone(), key: key.clone() },
    };
    let alias = table.name.clone();
    Ok(Relation { alias, source, fields: fields(cx.schema, table), join: JoinKind::First, on: Vec::new() })
}

fn derived<'q>(cx: &mut Context<'_>, query: &'q Query, ctes: &Ctes<'q>, depth: usize) -> Pass<Relation> {
    let (shopper, fields) = shopper::lower_shopper(cx, query, ctes, depth + 1)?;
    let source = Source::Shopper(Box::new(shopper));
    Ok(Relation { alias: "sub".to_owned(), source, fields, join: JoinKind::First, on: Vec::new() })
}

/// The columns of a table as expressions see them.
fn fields(schema: &Schema, table: &Table) -> Vec<Field> {
    let unit_key = table.unit_key();
    let mut fields: Vec<Field> = table.columns.iter().map(|column| field(schema, table, column)).collect();
    match (unit_key, unit_key.and_then(|name| fields.iter_mut().find(|field| field.name == name))) {
        (Some(_), Some(field)) => {
            (field.ty, field.nullable, field.domain, field.hidden) = (Ty::Unit, false, None, false);
            field.bounds = Bounds::ZERO;
        }
        (Some(name), None) => fields.push(Field {
            name: name.to_owned(),
            ty: Ty::Unit,
            nullable: false,
            bounds: Bounds::ZERO,
            domain: None,
            hidden: false,
        }),
        (None, _) => {}
    }
    fields
}

fn field(schema: &Schema, table: &Table, column: &Column) -> Field {
    let (ty, default) = match column.ty {
        Type::Int => (Ty::Num(0), INT_BOUND_DEFAULT),
        Type::Money { scale } => (Ty::Num(scale), MONEY_BOUND_DEFAULT),
        Type::Text => (Ty::Text, 0),
        Type::Bool => (Ty::Bool, 0),
        Type::Date => (Ty::Date, 0),
        Type::Timestamp => (Ty::Timestamp, 0),
    };
    let assumed = match column.bounds {
        Some((low, high)) => Range { low: i128::from(low.min(high)), high: i128::from(low.max(high)) },
        None => Range { low: -i128::from(default), high: i128::from(default) },
    };
    let bounds = match (ty, column.bounds) {
        // The vault refuses rows outside declared bounds; without any, every BIGINT may occur.
        (Ty::Num(_), Some(_)) => Bounds::both(assumed),
        (Ty::Num(_), None) => Bounds { assumed, certain: Range::BIGINT },
        _ => Bounds::ZERO,
    };
    let is_event = table.event_time.as_deref() == Some(column.name.as_str());
    let domain = match (&column.domain, column.ty) {
        // The event time of a dataset runs over days that its catalogue declares.
        (None, Type::Date | Type::Timestamp) if is_event => {
            Some(Domain::DateRange { first: schema.first_day, last: schema.last_day })
        }
        (domain, _) => domain.clone(),
    };
    Field { name: column.name.clone(), ty, nullable: column.nullable, bounds, domain, hidden: column.hidden }
}

/// Renames the relations that columns belong to.
fn shift_relations(scalar: &mut Scalar, place_of: &dyn Fn(usize) -> usize) {
    scalar.for_each_mut(&mut |inner| {
        if let Node::Column { relation, .. } = &mut inner.node {
            *relation = place_of(*relation);
        }
    });
}
