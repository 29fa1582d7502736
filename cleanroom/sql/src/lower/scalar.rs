//! Expressions over rows: an allow-list of total functions, typed, with NULLs and ranges tracked.

use sqlparser::ast::{CaseWhen, Expr, Ident, Spanned, TrimWhereField, UnaryOperator};
use sqlparser::tokenizer::Span;

use super::{Context, Scope, binary, call, check_depth, closest, literal};
use crate::limits::OPERATORS_MAX;
use crate::plan::{Bounds, Comparison, Node, Scalar, TextFunction, Ty};
use crate::refusal::{Code, Fault, Pass, fault};

/// Lowers an expression that is used as a value: anything but the unit key.
pub(crate) fn value(cx: &Context<'_>, scope: Scope<'_>, expr: &Expr, depth: usize) -> Pass<Scalar> {
    let scalar = any(cx, scope, expr, depth)?;
    if scalar.ty == Ty::Unit { Err(unit_key_used(expr.span())) } else { Ok(scalar) }
}

/// Lowers a condition.
pub(crate) fn condition(cx: &Context<'_>, scope: Scope<'_>, expr: &Expr, depth: usize) -> Pass<Scalar> {
    let scalar = value(cx, scope, expr, depth)?;
    as_condition(scalar, expr.span())
}

fn as_condition(scalar: Scalar, span: Span) -> Pass<Scalar> {
    match scalar.ty {
        Ty::Bool | Ty::Null => Ok(scalar),
        other => {
            Err(fault(span, Code::Type, format!("a condition is needed here, this is {}", other.name()))
                .try_instead("write a comparison"))
        }
    }
}

pub(crate) fn unit_key_used(span: Span) -> Fault {
    fault(span, Code::UnitKey, "the unit key identifies a shopper and cannot be used as a value")
        .try_instead("use it in COUNT(DISTINCT …), in joins, or as GROUP BY key of a per-shopper subquery")
}

/// Lowers any expression, the unit key included.
pub(crate) fn any(cx: &Context<'_>, scope: Scope<'_>, expr: &Expr, depth: usize) -> Pass<Scalar> {
    let span = expr.span();
    lower(cx, scope, expr, depth).map_err(|fault| fault.or_at(span))
}

fn lower(cx: &Context<'_>, scope: Scope<'_>, expr: &Expr, depth: usize) -> Pass<Scalar> {
    let span = expr.span();
    check_depth(depth, span)?;
    let deeper = depth + 1;
    let cond = |e: &Expr| condition(cx, scope, e, deeper);
    let val = |e: &Expr| value(cx, scope, e, deeper);
    match expr {
        Expr::Identifier(ident) => column(scope, None, ident),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, name] => column(scope, Some(table), name),
            _ => Err(fault(span, Code::UnknownColumn, "names have at most two parts")
                .try_instead("write table.column")),
        },
        Expr::Nested(inner) => any(cx, scope, inner, deeper),
        Expr::Value(inner) => literal::value(&inner.value, inner.span),
        Expr::TypedString(inner) => literal::typed(inner),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => Ok(not(cond(expr)?)),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => binary::negate(val(expr)?, span),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => binary::as_number(val(expr)?, span),
        Expr::BinaryOp { .. } => binary::operation(cx, scope, expr, deeper),
        Expr::IsNull(inner) => Ok(is_null(val(inner)?)),
        Expr::IsNotNull(inner) => Ok(not(is_null(val(inner)?))),
        Expr::IsTrue(inner) => binary::distinct(cond(inner)?, boolean(true), true, span),
        Expr::IsNotTrue(inner) => binary::distinct(cond(inner)?, boolean(true), false, span),
        Expr::IsFalse(inner) => binary::distinct(cond(inner)?, boolean(false), true, span),
        Expr::IsNotFalse(inner) => binary::distinct(cond(inner)?, boolean(false), false, span),
        Expr::IsUnknown(inner) => Ok(is_null(cond(inner)?)),
        Expr::IsNotUnknown(inner) => Ok(not(is_null(cond(inner)?))),
        Expr::IsDistinctFrom(a, b) => binary::distinct(val(a)?, val(b)?, false, span),
        Expr::IsNotDistinctFrom(a, b) => binary::distinct(val(a)?, val(b)?, true, span),
        Expr::InList { expr, list, negated } => {
            let list = list.iter().map(val).collect::<Pass<Vec<_>>>()?;
            Ok(negate_if(*negated, binary::in_list(val(expr)?, list, span)?))
        }
        Expr::Between { expr, negated, low, high } => {
            let subject = val(expr)?;
            let low = binary::compare(Comparison::GtEq, subject.clone(), val(low)?, span)?;
            let high = binary::compare(Comparison::LtEq, subject, val(high)?, span)?;
            Ok(negate_if(*negated, and(vec![low, high])))
        }
        Expr::Like { negated, any: false, expr, pattern, escape_char } => {
            Ok(negate_if(*negated, like(val(expr)?, pattern, escape_char.is_some(), false)?))
        }
        Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
            Ok(negate_if(*negated, like(val(expr)?, pattern, escape_char.is_some(), true)?))
        }
        Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
            case(cx, scope, operand.as_deref(), conditions, else_result.as_deref(), deeper)
        }
        Expr::Cast { kind: _, expr, data_type, format: None } => call::cast(val(expr)?, data_type, span),
        Expr::Extract { field, syntax: _, expr } => call::extract(&field.to_string(), val(expr)?, span),
        Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
            let from = substring_from.as_deref().map(val).transpose()?;
            let length = substring_for.as_deref().map(val).transpose()?;
            call::substring(val(expr)?, from, length, span)
        }
        Expr::Trim {
            expr,
            trim_where: None | Some(TrimWhereField::Both),
            trim_what: None,
            trim_characters: None,
        } => call::text(TextFunction::Trim, val(expr)?, span),
        Expr::Function(function) => call::function(cx, scope, function, deeper),
        Expr::InSubquery { .. } | Expr::Exists { .. } | Expr::Subquery(_) => Err(subquery(span)),
        Expr::AnyOp { .. } | Expr::AllOp { .. } => Err(subquery(span)),
        Expr::Interval(_) => Err(fault(span, Code::Type, "an interval can only be added to a date")
            .try_instead("write date + INTERVAL '3' DAY")),
        Expr::RLike { .. } | Expr::SimilarTo { .. } => Err(fault(
            span,
            Code::Expression,
            "regular expressions are not allowed: some patterns can fail or stall",
        )
        .try_instead("use LIKE with % and _")),
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => Err(grouping(span)),
        Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => {
            Err(fault(span, Code::Rows, "`*` is not allowed here").try_instead("name the columns"))
        }
        Expr::Tuple(_) => Err(fault(span, Code::Expression, "row values are not allowed")
            .try_instead("compare the columns one by one with AND")),
        Expr::Ceil { .. }
        | Expr::Floor { .. }
        | Expr::Position { .. }
        | Expr::Overlay { .. }
        | Expr::Convert { .. } => Err(not_allowed(span).try_instead(call::ALLOWED)),
        Expr::Like { .. }
        | Expr::ILike { .. }
        | Expr::Cast { .. }
        | Expr::Trim { .. }
        | Expr::UnaryOp { .. }
        | Expr::CompoundFieldAccess { .. }
        | Expr::JsonAccess { .. }
        | Expr::IsJson { .. }
        | Expr::IsNormalized { .. }
        | Expr::InUnnest { .. }
        | Expr::AtTimeZone { .. }
        | Expr::Collate { .. }
        | Expr::Prefixed { .. }
        | Expr::Struct { .. }
        | Expr::Named { .. }
        | Expr::Dictionary(_)
        | Expr::Map(_)
        | Expr::Array(_)
        | Expr::MatchAgainst { .. }
        | Expr::OuterJoin(_)
        | Expr::Prior(_)
        | Expr::Lambda(_)
        | Expr::MemberOf(_) => Err(not_allowed(span)),
    }
}

pub(crate) fn not_allowed(span: Span) -> Fault {
    fault(span, Code::Expression, "this form of expression is not allowed")
        .try_instead("use comparisons, + - * / %, CASE, COALESCE, BETWEEN, IN (list), LIKE, IS NULL")
}

pub(crate) fn grouping(span: Span) -> Fault {
    fault(span, Code::Grouping, "GROUPING SETS, ROLLUP, CUBE and GROUP BY ALL are not allowed")
        .try_instead("ask one GROUP BY per statement")
}

fn subquery(span: Span) -> Fault {
    fault(
        span,
        Code::Subquery,
        "subqueries are allowed in FROM only: elsewhere other shoppers' rows could decide",
    )
    .try_instead(
        "join a subquery that selects the unit key: JOIN (SELECT key FROM … GROUP BY key) s ON s.key = t.key",
    )
}

fn boolean(value: bool) -> Scalar {
    Scalar::new(Node::Bool(value), Ty::Bool, false)
}

pub(crate) fn not(inner: Scalar) -> Scalar {
    let nullable = inner.nullable;
    match inner.node {
        Node::Not(inner) => *inner,
        node => Scalar::new(Node::Not(Box::new(Scalar { node, ..inner })), Ty::Bool, nullable),
    }
}

fn negate_if(negated: bool, inner: Scalar) -> Scalar {
    if negated { not(inner) } else { inner }
}

fn is_null(inner: Scalar) -> Scalar {
    Scalar::new(Node::IsNull(Box::new(inner)), Ty::Bool, false)
}

/// A conjunction, flattened.
pub(crate) fn and(parts: Vec<Scalar>) -> Scalar {
    let mut flat = Vec::new();
    for part in parts {
        match part.node {
            Node::And(inner) => flat.extend(inner),
            node => flat.push(Scalar { node, ..part }),
        }
    }
    let nullable = flat.iter().any(|part| part.nullable);
    Scalar::new(Node::And(flat), Ty::Bool, nullable)
}

/// A disjunction, flattened.
pub(crate) fn or(parts: Vec<Scalar>) -> Scalar {
    let mut flat = Vec::new();
    for part in parts {
        match part.node {
            Node::Or(inner) => flat.extend(inner),
            node => flat.push(Scalar { node, ..part }),
        }
    }
    let nullable = flat.iter().any(|part| part.nullable);
    Scalar::new(Node::Or(flat), Ty::Bool, nullable)
}

/// Finds a column by name among the relations in reach.
pub(crate) fn column(scope: Scope<'_>, table: Option<&Ident>, ident: &Ident) -> Pass<Scalar> {
    let span = table.map_or(ident.span, |table| table.span.union(&ident.span));
    let wanted = &ident.value;
    let mut found = Vec::new();
    for (index, relation) in scope.relations.iter().enumerate() {
        if table.is_none_or(|table| relation.alias.eq_ignore_ascii_case(&table.value)) {
            let fields = relation.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(wanted));
            found.extend(fields.map(|field| (index, field)));
        }
    }
    if let Some(table) = table
        && !scope.relations.iter().any(|relation| relation.alias.eq_ignore_ascii_case(&table.value))
    {
        let known = scope.relations.iter().map(|relation| relation.alias.as_str());
        let fault =
            fault(table.span, Code::UnknownTable, format!("no table or alias `{}` in FROM", table.value));
        return Err(match closest(&table.value, known) {
            Some(name) => fault.try_instead(format!("did you mean `{name}`?")),
            None => fault.try_instead("name it in FROM"),
        });
    }
    let one_meaning = found.iter().all(|(_, field)| field.ty == Ty::Unit)
        || scope.merged.iter().any(|name| name.eq_ignore_ascii_case(wanted));
    let (index, field) = match found.as_slice() {
        [] => {
            let known =
                scope.relations.iter().flat_map(|relation| &relation.fields).filter(|field| !field.hidden);
            let fault = fault(span, Code::UnknownColumn, format!("no column `{wanted}`"));
            return Err(match closest(wanted, known.map(|field| field.name.as_str())) {
                Some(name) => fault.try_instead(format!("did you mean `{name}`?")),
                None => fault.try_instead("see the catalogue for the tables' columns"),
            });
        }
        [only] => only,
        [first, ..] if one_meaning => first,
        [..] => {
            return Err(fault(span, Code::Ambiguous, format!("several tables have a column `{wanted}`"))
                .try_instead(format!("write table.{wanted}")));
        }
    };
    if field.hidden {
        return Err(fault(
            span,
            Code::HiddenColumn,
            format!("`{wanted}` is a direct identifier and in no query's reach"),
        )
        .try_instead("use COUNT(DISTINCT unit key) to count shoppers"));
    }
    let node = Node::Column { relation: *index, name: field.name.clone() };
    Ok(Scalar { node, ty: field.ty, nullable: field.nullable, bounds: field.bounds })
}

fn like(subject: Scalar, pattern: &Expr, escape: bool, insensitive: bool) -> Pass<Scalar> {
    let span = pattern.span();
    let Expr::Value(value) = pattern else {
        return Err(fault(span, Code::Expression, "the pattern of LIKE must be a literal")
            .try_instead("write LIKE 'text%'"));
    };
    let sqlparser::ast::Value::SingleQuotedString(pattern) = &value.value else {
        return Err(
            fault(span, Code::Type, "the pattern of LIKE must be text").try_instead("write LIKE 'text%'")
        );
    };
    if escape {
        return Err(
            fault(span, Code::Expression, "ESCAPE is not allowed").try_instead("use _ for any one character")
        );
    }
    if subject.ty != Ty::Text {
        return Err(fault(span, Code::Type, format!("LIKE needs text, this is {}", subject.ty.name()))
            .try_instead("compare with = or BETWEEN"));
    }
    literal::text(pattern, span)?;
    let nullable = subject.nullable;
    let node = Node::Like { expr: Box::new(subject), pattern: pattern.clone(), insensitive };
    Ok(Scalar::new(node, Ty::Bool, nullable))
}

fn case(
    cx: &Context<'_>,
    scope: Scope<'_>,
    operand: Option<&Expr>,
    conditions: &[CaseWhen],
    otherwise: Option<&Expr>,
    depth: usize,
) -> Pass<Scalar> {
    let operand = operand.map(|expr| Ok((value(cx, scope, expr, depth)?, expr.span()))).transpose()?;
    let mut branches = Vec::new();
    for CaseWhen { condition: when, result } in conditions.iter().take(OPERATORS_MAX) {
        let test = match &operand {
            None => condition(cx, scope, when, depth)?,
            Some((subject, span)) => {
                binary::compare(Comparison::Eq, subject.clone(), value(cx, scope, when, depth)?, *span)?
            }
        };
        branches.push((test, value(cx, scope, result, depth)?));
    }
    let otherwise = otherwise.map(|expr| value(cx, scope, expr, depth)).transpose()?;
    let mut results: Vec<Scalar> = branches.iter().map(|(_, result)| result.clone()).collect();
    results.extend(otherwise.clone());
    let mut merged = merge(&results, Span::empty())?;
    merged.nullable |= otherwise.is_none();
    let otherwise = otherwise.map(|result| Box::new(binary::typed_as(result, merged.ty)));
    let branches =
        branches.into_iter().map(|(when, then)| (when, binary::typed_as(then, merged.ty))).collect();
    Ok(Scalar { node: Node::Case { branches, otherwise }, ..merged })
}

/// The common type, NULLs and range of values of which one is taken. The node is a placeholder.
pub(crate) fn merge(values: &[Scalar], span: Span) -> Pass<Scalar> {
    let mut out: Option<Scalar> = None;
    for value in values {
        out = Some(match out {
            None => Scalar { node: Node::Null, ..value.clone() },
            Some(seen) => merge_two(seen, value, span)?,
        });
    }
    let out = out.ok_or_else(|| not_allowed(span))?;
    if out.ty == Ty::Null {
        return Err(fault(span, Code::Type, "the type of this expression is unknown: all values are NULL")
            .try_instead("write NULLs beside a value of the type you mean"));
    }
    Ok(out)
}

fn merge_two(seen: Scalar, value: &Scalar, span: Span) -> Pass<Scalar> {
    let nullable = seen.nullable || value.nullable;
    match (seen.ty, value.ty) {
        (Ty::Null, _) => Ok(Scalar { node: Node::Null, nullable, ..value.clone() }),
        (_, Ty::Null) => Ok(Scalar { nullable, ..seen }),
        (Ty::Num(a), Ty::Num(b)) => {
            let scale = a.max(b);
            let left = binary::rescaled_bounds(seen.bounds, a, scale, span)?;
            let right = binary::rescaled_bounds(value.bounds, b, scale, span)?;
            Ok(Scalar::number(Node::Null, scale, nullable, left.union(right)))
        }
        (a, b) if a == b => Ok(Scalar { nullable, bounds: Bounds::ZERO, ..seen }),
        (a, b) => Err(fault(span, Code::Type, format!("{} and {} do not fit together", a.name(), b.name()))
            .try_instead("give all branches one type")),
    }
}
