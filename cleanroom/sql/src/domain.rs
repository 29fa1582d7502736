//! Which group keys are public, their values in order, and how the stream tells them apart.

use ids::Date;
use sqlparser::tokenizer::Span;

use crate::limits::{CELLS_MAX, KEY_DAYS_MAX};
use crate::plan::{CastTo, DatePart, KeyCode, Node, PublicKey, Relation, Scalar, Ty};
use crate::print::canonical;
use crate::refusal::{Code, Pass, fault};
use crate::{Domain, KeyValue, calendar};

/// The public form of a key; `None` where its values come from private rows.
///
/// NULL is a value of the domain only where the expression can be NULL: a nullable column, a LEFT JOIN, or a CASE
/// without ELSE.
pub(crate) fn public_key(relations: &[Relation], expr: &Scalar, span: Span) -> Pass<Option<PublicKey>> {
    let found = match &expr.node {
        Node::Case { branches, otherwise } => branch_key(branches, otherwise.as_deref()),
        _ if expr.ty == Ty::Bool => {
            Some((vec![KeyValue::Bool(false), KeyValue::Bool(true)], KeyCode::Condition))
        }
        Node::Column { .. } => column_key(relations, expr, span)?,
        Node::DateTrunc(part, inner) => days_of(relations, inner, span)?.map(|(first, last)| {
            let days = calendar::units(*part, first, last).into_iter().map(KeyValue::Date).collect();
            (days, KeyCode::Calendar { part: *part, first, last })
        }),
        Node::Cast(CastTo::Date, inner) => days_of(relations, inner, span)?.map(|(first, last)| {
            let days = calendar::units(DatePart::Day, first, last).into_iter().map(KeyValue::Date).collect();
            (days, KeyCode::Calendar { part: DatePart::Day, first, last })
        }),
        Node::Extract(part, inner) => days_of(relations, inner, span)?.map(|days| part_key(*part, days)),
        _ => None,
    };
    let Some((mut domain, mut code)) = found else { return Ok(None) };
    let with_null = match &mut code {
        // A CASE already says which branches are NULL.
        KeyCode::Branches { codes, otherwise } => {
            let null = domain.len();
            let missing = codes.iter().chain([&*otherwise]).any(Option::is_none);
            codes.iter_mut().chain([otherwise]).for_each(|at| *at = Some(at.unwrap_or(null)));
            missing
        }
        _ => expr.nullable,
    };
    if with_null {
        domain.push(KeyValue::Null);
    }
    if domain.len() as u64 > CELLS_MAX {
        return Err(fault(span, Code::Limit, format!("the key has more than {CELLS_MAX} values"))
            .try_instead("group by a coarser key"));
    }
    Ok(Some(PublicKey { domain, code, with_null }))
}

type Found = (Vec<KeyValue>, KeyCode);

/// CASE with literal results: the literals, in order of first appearance.
fn branch_key(branches: &[(Scalar, Scalar)], otherwise: Option<&Scalar>) -> Option<Found> {
    let mut domain: Vec<KeyValue> = Vec::new();
    let mut code_of = |result: &Scalar| -> Option<Option<usize>> {
        let value = match &result.node {
            Node::Null => return Some(None),
            Node::Text(text) => KeyValue::Text(text.clone()),
            Node::Bool(value) => KeyValue::Bool(*value),
            Node::Date(day) => KeyValue::Date(*day),
            Node::Number(value) if result.ty == Ty::Num(0) => KeyValue::Int(i64::try_from(*value).ok()?),
            Node::Number(value) => KeyValue::Text(canonical::number(*value, result.scale()?)),
            _ => return None,
        };
        let at = domain.iter().position(|known| *known == value).unwrap_or_else(|| {
            domain.push(value);
            domain.len() - 1
        });
        Some(Some(at))
    };
    let codes = branches.iter().map(|(_, result)| code_of(result)).collect::<Option<Vec<_>>>()?;
    let otherwise = match otherwise {
        Some(result) => code_of(result)?,
        None => None,
    };
    Some((domain, KeyCode::Branches { codes, otherwise }))
}

fn column_key(relations: &[Relation], expr: &Scalar, span: Span) -> Pass<Option<Found>> {
    let Some(domain) = domain_of(relations, expr) else { return Ok(None) };
    Ok(match (domain, expr.ty) {
        (Domain::Values(values), _) => {
            let values = values.iter().map(|value| key_value(expr.ty, value)).collect();
            Some((values, KeyCode::Sibling))
        }
        (Domain::IntRange { min, max }, Ty::Num(0)) => {
            let size = i128::from(*max) - i128::from(*min) + 1;
            if size > i128::from(CELLS_MAX) {
                return Err(fault(span, Code::Limit, format!("the key has more than {CELLS_MAX} values"))
                    .try_instead("group by ranges: CASE WHEN … THEN … END"));
            }
            let values = (*min..=*max).map(KeyValue::Int).collect();
            Some((values, KeyCode::Offset { first: i128::from(*min), last: i128::from(*max) }))
        }
        (Domain::DateRange { first, last }, Ty::Date) => {
            check_days(*first, *last, span)?;
            let days =
                calendar::units(DatePart::Day, *first, *last).into_iter().map(KeyValue::Date).collect();
            Some((days, KeyCode::Calendar { part: DatePart::Day, first: *first, last: *last }))
        }
        (Domain::IntRange { .. } | Domain::DateRange { .. }, _) => None,
    })
}

/// A listed value in the type of its column.
fn key_value(ty: Ty, value: &str) -> KeyValue {
    let typed = match ty {
        Ty::Num(0) => value.parse().ok().map(KeyValue::Int),
        Ty::Bool => value.parse().ok().map(KeyValue::Bool),
        Ty::Date => value.parse().ok().map(KeyValue::Date),
        _ => None,
    };
    typed.unwrap_or_else(|| KeyValue::Text(value.to_owned()))
}

fn domain_of<'r>(relations: &'r [Relation], expr: &Scalar) -> Option<&'r Domain> {
    match &expr.node {
        Node::Column { relation, name } => relations.get(*relation)?.field(name)?.domain.as_ref(),
        _ => None,
    }
}

/// The public range of days of a date or timestamp column.
fn days_of(relations: &[Relation], expr: &Scalar, span: Span) -> Pass<Option<(Date, Date)>> {
    match domain_of(relations, expr) {
        Some(Domain::DateRange { first, last }) => {
            check_days(*first, *last, span)?;
            Ok(Some((*first, *last)))
        }
        Some(Domain::Values(_) | Domain::IntRange { .. }) | None => Ok(None),
    }
}

fn check_days(first: Date, last: Date, span: Span) -> Pass<()> {
    if i64::from(last.as_days()) - i64::from(first.as_days()) > KEY_DAYS_MAX {
        return Err(fault(span, Code::Limit, "the range of days is longer than 400 years")
            .try_instead("declare a shorter range of days in the catalogue"));
    }
    Ok(())
}

/// All values that the part of a date takes over the range, without gaps.
fn part_key(part: DatePart, (first, last): (Date, Date)) -> Found {
    let mut days =
        calendar::units(DatePart::Day, first, last).into_iter().map(|day| calendar::part_of(part, day));
    let start = days.next().unwrap_or(0);
    let (low, high) = days.fold((start, start), |(low, high), value| (low.min(value), high.max(value)));
    let values = (low..=high).map(KeyValue::Int).collect();
    (values, KeyCode::Part { part, first, last, lowest: low })
}
