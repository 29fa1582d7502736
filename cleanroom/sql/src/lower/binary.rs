//! Operators of two sides: arithmetic on scaled integers, comparisons with aligned scales, dates, text.

use sqlparser::ast::{BinaryOperator, Expr, Spanned};
use sqlparser::tokenizer::Span;

use super::literal::{self, Shift};
use super::scalar::{any, condition, not_allowed, unit_key_used, value};
use super::{Context, Scope, scalar};
use crate::limits::{DATE_SHIFT_MAX, QUOTIENT_SCALE, SCALE_MAX};
use crate::plan::{Arithmetic, Bounds, Comparison, Node, Range, Scalar, Ty, overflow, pow10};
use crate::refusal::{Code, Pass, fault};

/// Lowers a binary operation. Chains of AND and of OR are walked without recursion.
pub(crate) fn operation(cx: &Context<'_>, scope: Scope<'_>, expr: &Expr, depth: usize) -> Pass<Scalar> {
    let span = expr.span();
    let Expr::BinaryOp { left, op, right } = expr else { return Err(not_allowed(span)) };
    let val = |e: &Expr| value(cx, scope, e, depth);
    let arithmetic = |op| arithmetic(op, val(left)?, val(right)?, span);
    match op {
        BinaryOperator::And | BinaryOperator::Or => {
            let mut parts = Vec::new();
            for part in chain(expr, op) {
                parts.push(condition(cx, scope, part, depth)?);
            }
            Ok(if *op == BinaryOperator::And { scalar::and(parts) } else { scalar::or(parts) })
        }
        BinaryOperator::Eq => comparison(cx, scope, Comparison::Eq, left, right, depth),
        BinaryOperator::NotEq => comparison(cx, scope, Comparison::NotEq, left, right, depth),
        BinaryOperator::Lt => comparison(cx, scope, Comparison::Lt, left, right, depth),
        BinaryOperator::LtEq => comparison(cx, scope, Comparison::LtEq, left, right, depth),
        BinaryOperator::Gt => comparison(cx, scope, Comparison::Gt, left, right, depth),
        BinaryOperator::GtEq => comparison(cx, scope, Comparison::GtEq, left, right, depth),
        BinaryOperator::Plus | BinaryOperator::Minus => {
            let minus = *op == BinaryOperator::Minus;
            if let Expr::Interval(interval) = &**right {
                let shift = literal::interval(interval, span)?;
                return shifted(val(left)?, shift, minus, span);
            }
            if let (Expr::Interval(interval), false) = (&**left, minus) {
                return shifted(val(right)?, literal::interval(interval, span)?, false, span);
            }
            plus_minus(val(left)?, val(right)?, minus, span)
        }
        BinaryOperator::Multiply => arithmetic(Arithmetic::Mul),
        BinaryOperator::Divide => arithmetic(Arithmetic::Div),
        BinaryOperator::Modulo => arithmetic(Arithmetic::Mod),
        BinaryOperator::StringConcat => concat(val(left)?, val(right)?, span),
        other => Err(fault(span, Code::Expression, format!("the operator `{other}` is not allowed"))
            .try_instead("use AND, OR, = <> < <= > >=, + - * / %, ||")),
    }
}

/// The parts of a chain of one operator, in order.
pub(crate) fn chain<'e>(expr: &'e Expr, operator: &BinaryOperator) -> Vec<&'e Expr> {
    let mut stack = vec![expr];
    let mut parts = Vec::new();
    while let Some(next) = stack.pop() {
        match next {
            Expr::BinaryOp { left, op, right } if op == operator => {
                stack.push(right);
                stack.push(left);
            }
            Expr::Nested(inner) if matches!(&**inner, Expr::BinaryOp { op, .. } if op == operator) => {
                stack.push(inner);
            }
            other => parts.push(other),
        }
    }
    parts
}

fn comparison(
    cx: &Context<'_>,
    scope: Scope<'_>,
    op: Comparison,
    left: &Expr,
    right: &Expr,
    depth: usize,
) -> Pass<Scalar> {
    let span = left.span().union(&right.span());
    let (a, b) = (any(cx, scope, left, depth)?, any(cx, scope, right, depth)?);
    if a.ty == Ty::Unit && b.ty == Ty::Unit {
        return Err(fault(span, Code::UnitKey, "unit keys are compared in JOIN … ON only")
            .try_instead("write JOIN … ON a.key = b.key"));
    }
    if a.ty == Ty::Unit || b.ty == Ty::Unit {
        return Err(unit_key_used(span));
    }
    compare(op, a, b, span)
}

/// A comparison; NULL where a side is NULL.
pub(crate) fn compare(op: Comparison, left: Scalar, right: Scalar, span: Span) -> Pass<Scalar> {
    let (left, right) = aligned(left, right, span)?;
    let nullable = left.nullable || right.nullable;
    // The literal stands on the right, so that two spellings of one comparison are one plan.
    let (op, left, right) = if left.is_literal() && !right.is_literal() {
        (op.flipped(), right, left)
    } else {
        (op, left, right)
    };
    Ok(Scalar::new(Node::Compare(op, Box::new(left), Box::new(right)), Ty::Bool, nullable))
}

/// IS [NOT] DISTINCT FROM; `negated` means NOT DISTINCT.
pub(crate) fn distinct(left: Scalar, right: Scalar, negated: bool, span: Span) -> Pass<Scalar> {
    let (left, right) = aligned(left, right, span)?;
    let node = Node::Distinct { negated, left: Box::new(left), right: Box::new(right) };
    Ok(Scalar::new(node, Ty::Bool, false))
}

/// IN (list).
pub(crate) fn in_list(subject: Scalar, list: Vec<Scalar>, span: Span) -> Pass<Scalar> {
    let mut items: Vec<Scalar> = Vec::new();
    for item in list {
        if !item.is_literal() {
            return Err(fault(span, Code::Expression, "IN takes a list of literals")
                .try_instead("write a = b OR a = c for expressions"));
        }
        let (_, item) = aligned(subject.clone(), item, span)?;
        if !items.contains(&item) {
            items.push(item);
        }
    }
    let nullable = subject.nullable || items.iter().any(|item| item.nullable);
    Ok(Scalar::new(Node::InList(Box::new(subject), items), Ty::Bool, nullable))
}

/// Checks that two values can be compared and turns text literals into the other side's type.
fn aligned(left: Scalar, right: Scalar, span: Span) -> Pass<(Scalar, Scalar)> {
    match (left.ty, right.ty) {
        (Ty::Unit, _) | (_, Ty::Unit) => Err(unit_key_used(span)),
        (Ty::Num(a), Ty::Num(b)) => {
            let scale = a.max(b);
            rescaled_bounds(left.bounds, a, scale, span)?;
            rescaled_bounds(right.bounds, b, scale, span)?;
            Ok((left, right))
        }
        (Ty::Date | Ty::Timestamp, Ty::Text) => Ok((left.clone(), time_literal(right, left.ty, span)?)),
        (Ty::Text, Ty::Date | Ty::Timestamp) => Ok((time_literal(left, right.ty, span)?, right)),
        (Ty::Timestamp, Ty::Date) if right.is_literal() => Ok((left, midnight(right))),
        (Ty::Date, Ty::Timestamp) if left.is_literal() => Ok((midnight(left), right)),
        (a, Ty::Null) => Ok((left, typed_as(right, a))),
        (Ty::Null, b) => Ok((typed_as(left, b), right)),
        (a, b) if a == b => Ok((left, right)),
        (a, b) => Err(fault(span, Code::Type, format!("{} cannot be compared with {}", a.name(), b.name()))
            .try_instead("compare values of one type; CAST one side if you must")),
    }
}

fn time_literal(literal: Scalar, ty: Ty, span: Span) -> Pass<Scalar> {
    match (&literal.node, ty) {
        (Node::Text(text), Ty::Date) => literal::date(text, span),
        (Node::Text(text), Ty::Timestamp) => literal::timestamp(text, span),
        _ => Err(fault(span, Code::Type, "text cannot be compared with a date")
            .try_instead("write DATE 'YYYY-MM-DD', or CAST(text AS DATE)")),
    }
}

fn midnight(literal: Scalar) -> Scalar {
    match literal.node {
        Node::Date(day) => {
            let micros = i64::from(day.as_days()) * 86_400_000_000;
            Scalar::new(Node::Timestamp(micros), Ty::Timestamp, false)
        }
        node => Scalar { node, ..literal },
    }
}

/// Gives a bare NULL the type of its surroundings.
pub(crate) fn typed_as(value: Scalar, ty: Ty) -> Scalar {
    if value.ty == Ty::Null { Scalar { ty, ..value } } else { value }
}

/// The bounds after multiplying by a power of ten; refused where HUGEINT could overflow.
pub(crate) fn rescaled_bounds(bounds: Bounds, from: u8, to: u8, span: Span) -> Pass<Bounds> {
    let factor = Range::point(pow10(to.saturating_sub(from)));
    each(bounds, Bounds::both(factor), span, i128::checked_mul)
}

fn each(a: Bounds, b: Bounds, span: Span, f: fn(i128, i128) -> Option<i128>) -> Pass<Bounds> {
    Ok(Bounds {
        assumed: a.assumed.corners(b.assumed, span, f)?,
        certain: a.certain.corners(b.certain, span, f)?,
    })
}

pub(crate) fn as_number(value: Scalar, span: Span) -> Pass<Scalar> {
    match value.ty {
        Ty::Num(_) => Ok(value),
        Ty::Null => Ok(typed_as(value, Ty::Num(0))),
        other => Err(fault(span, Code::Type, format!("a number is needed here, this is {}", other.name()))
            .try_instead("use a numeric column, or CAST(text AS INTEGER)")),
    }
}

pub(crate) fn negate(value: Scalar, span: Span) -> Pass<Scalar> {
    let value = as_number(value, span)?;
    let scale = value.scale().unwrap_or(0);
    if let Node::Number(number) = value.node {
        return Ok(literal::literal_number(-number, scale));
    }
    let bounds = each(Bounds::ZERO, value.bounds, span, i128::checked_sub)?;
    let nullable = value.nullable;
    Ok(Scalar::number(Node::Neg(Box::new(value)), scale, nullable, bounds))
}

fn plus_minus(left: Scalar, right: Scalar, minus: bool, span: Span) -> Pass<Scalar> {
    let op = if minus { Arithmetic::Sub } else { Arithmetic::Add };
    match (left.ty, right.ty) {
        (Ty::Date, Ty::Num(0)) => match right.node {
            Node::Number(days) => {
                let days = i64::try_from(days).unwrap_or(i64::MAX);
                shifted(left, Shift::Days(days), minus, span)
            }
            _ => Err(fault(span, Code::Type, "a date can be moved by a literal number of days only")
                .try_instead("write date + 7 or date + INTERVAL '1' MONTH")),
        },
        (Ty::Date, Ty::Date) if minus => {
            let days = Range { low: -(1 << 33), high: 1 << 33 };
            let node = Node::DaysBetween(Box::new(left), Box::new(right));
            // Dates that the store can hold are less than 2³³ days apart; a dataset's days are far closer.
            let assumed = Range { low: -200_000, high: 200_000 };
            // NULL where a date is infinite, so it is nullable whatever the sides are.
            Ok(Scalar::number(node, 0, true, Bounds { assumed, certain: days }))
        }
        _ => arithmetic(op, left, right, span),
    }
}

/// A date moved by an interval; NULL where it leaves the calendar.
fn shifted(date: Scalar, shift: Shift, minus: bool, span: Span) -> Pass<Scalar> {
    if date.ty != Ty::Date {
        return Err(fault(span, Code::Type, format!("only dates can be moved, this is {}", date.ty.name()))
            .try_instead("CAST(timestamp AS DATE) + INTERVAL '3' DAY"));
    }
    let (Shift::Days(amount) | Shift::Months(amount)) = shift;
    if amount.saturating_abs() > DATE_SHIFT_MAX {
        return Err(fault(span, Code::Limit, "the date is moved too far")
            .try_instead(format!("use at most {DATE_SHIFT_MAX} days or months")));
    }
    let amount = if minus { -amount } else { amount };
    if let (Node::Date(day), Shift::Days(_)) = (&date.node, shift) {
        let moved = day.plus_days(i32::try_from(amount).unwrap_or(0));
        return Ok(Scalar::new(Node::Date(moved), Ty::Date, false));
    }
    let node = match shift {
        Shift::Days(_) => Node::ShiftDays(Box::new(date), amount),
        Shift::Months(_) => Node::ShiftMonths(Box::new(date), amount),
    };
    Ok(Scalar::new(node, Ty::Date, true))
}

fn concat(left: Scalar, right: Scalar, span: Span) -> Pass<Scalar> {
    for side in [&left, &right] {
        if !matches!(side.ty, Ty::Text | Ty::Null) {
            return Err(fault(span, Code::Type, format!("|| joins texts, this is {}", side.ty.name()))
                .try_instead("CAST the value AS VARCHAR"));
        }
    }
    let nullable = left.nullable || right.nullable;
    let (left, right) = (typed_as(left, Ty::Text), typed_as(right, Ty::Text));
    Ok(Scalar::new(Node::Concat(Box::new(left), Box::new(right)), Ty::Text, nullable))
}

/// Arithmetic on numbers. Scales: the larger for + - %, the sum for ×, a fixed one for ÷.
fn arithmetic(op: Arithmetic, left: Scalar, right: Scalar, span: Span) -> Pass<Scalar> {
    let (left, right) = (as_number(left, span)?, as_number(right, span)?);
    let (a, b) = (left.scale().unwrap_or(0), right.scale().unwrap_or(0));
    let mut nullable = left.nullable || right.nullable;
    let common = a.max(b);
    let widened = |scale: u8| -> Pass<(Bounds, Bounds)> {
        Ok((rescaled_bounds(left.bounds, a, scale, span)?, rescaled_bounds(right.bounds, b, scale, span)?))
    };
    let (scale, bounds) = match op {
        Arithmetic::Add => (common, widened(common).and_then(|(x, y)| each(x, y, span, i128::checked_add))?),
        Arithmetic::Sub => (common, widened(common).and_then(|(x, y)| each(x, y, span, i128::checked_sub))?),
        Arithmetic::Mul => {
            let scale = a.checked_add(b).filter(|scale| *scale <= SCALE_MAX).ok_or_else(|| overflow(span))?;
            (scale, each(left.bounds, right.bounds, span, i128::checked_mul)?)
        }
        Arithmetic::Div => {
            nullable = true;
            // Numerator and denominator as printed: both must fit.
            let up = (QUOTIENT_SCALE + b).saturating_sub(a);
            let bounds = rescaled_bounds(left.bounds, 0, up, span)?;
            rescaled_bounds(right.bounds, 0, a.saturating_sub(QUOTIENT_SCALE + b), span)?;
            (
                QUOTIENT_SCALE,
                Bounds { assumed: symmetric(bounds.assumed), certain: symmetric(bounds.certain) },
            )
        }
        Arithmetic::Mod => {
            nullable = true;
            let (x, _) = widened(common)?;
            (common, Bounds { assumed: symmetric(x.assumed), certain: symmetric(x.certain) })
        }
    };
    if let (Node::Number(x), Node::Number(y), Arithmetic::Add | Arithmetic::Sub | Arithmetic::Mul) =
        (&left.node, &right.node, op)
    {
        let (x, y) =
            if op == Arithmetic::Mul { (*x, *y) } else { (x * pow10(common - a), y * pow10(common - b)) };
        let folded = match op {
            Arithmetic::Add => x + y,
            Arithmetic::Sub => x - y,
            _ => x * y,
        };
        return folded_literal(folded, scale, span);
    }
    let node = Node::Arithmetic(op, Box::new(left), Box::new(right));
    Ok(Scalar::number(node, scale, nullable, bounds))
}

fn symmetric(range: Range) -> Range {
    Range { low: -range.magnitude(), high: range.magnitude() }
}

/// A folded literal in the same normal form as a written one: no trailing zeros, within BIGINT.
fn folded_literal(mut value: i128, mut scale: u8, span: Span) -> Pass<Scalar> {
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    if Range::point(value).fits_bigint() {
        Ok(literal::literal_number(value, scale))
    } else {
        Err(overflow(span))
    }
}
