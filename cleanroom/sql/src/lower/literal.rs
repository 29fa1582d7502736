//! Literals: numbers with decimals, text, dates, timestamps, intervals.

use ids::Date;
use sqlparser::ast::{DataType, DateTimeField, Expr, Interval, TypedString, Value};
use sqlparser::tokenizer::Span;

use crate::limits::{DATE_SHIFT_MAX, SCALE_MAX};
use crate::plan::{Bounds, Node, Range, Scalar, Ty};
use crate::refusal::{Code, Pass, fault};

/// A number literal without its trailing zeros: `12.50` and `12.5` are the same number.
pub(crate) fn number(text: &str, span: Span) -> Pass<Scalar> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let decimals = decimals.trim_end_matches('0');
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(decimals) || (whole.is_empty() && decimals.is_empty()) {
        return Err(fault(span, Code::Type, format!("`{text}` is not a plain decimal number"))
            .try_instead("write digits with at most one point, such as 12.50"));
    }
    let scale = u8::try_from(decimals.len()).ok().filter(|scale| *scale <= SCALE_MAX);
    let value = format!("{whole}{decimals}").parse::<i64>().ok();
    match (value, scale) {
        (Some(value), Some(scale)) => Ok(literal_number(i128::from(value), scale)),
        _ => Err(fault(span, Code::Bounds, "the number is out of range")
            .try_instead(format!("use at most 18 digits, {SCALE_MAX} of them after the point"))),
    }
}

pub(crate) fn literal_number(value: i128, scale: u8) -> Scalar {
    Scalar::number(Node::Number(value), scale, false, Bounds::both(Range::point(value)))
}

pub(crate) fn text(value: &str, span: Span) -> Pass<Scalar> {
    if value.contains('\0') {
        return Err(fault(span, Code::Type, "text may not contain the character NUL"));
    }
    Ok(Scalar::new(Node::Text(value.to_owned()), Ty::Text, false))
}

/// A literal of the tree.
pub(crate) fn value(value: &Value, span: Span) -> Pass<Scalar> {
    match value {
        Value::Number(text, false) => number(text, span),
        Value::SingleQuotedString(value) => text(value, span),
        Value::Boolean(value) => Ok(Scalar::new(Node::Bool(*value), Ty::Bool, false)),
        Value::Null => Ok(Scalar::new(Node::Null, Ty::Null, true)),
        Value::Placeholder(_) => Err(fault(span, Code::Expression, "parameters are not allowed")
            .try_instead("write the value into the statement")),
        Value::Number(_, true)
        | Value::DollarQuotedString(_)
        | Value::TripleSingleQuotedString(_)
        | Value::TripleDoubleQuotedString(_)
        | Value::EscapedStringLiteral(_)
        | Value::UnicodeStringLiteral(_)
        | Value::SingleQuotedByteStringLiteral(_)
        | Value::DoubleQuotedByteStringLiteral(_)
        | Value::TripleSingleQuotedByteStringLiteral(_)
        | Value::TripleDoubleQuotedByteStringLiteral(_)
        | Value::SingleQuotedRawStringLiteral(_)
        | Value::DoubleQuotedRawStringLiteral(_)
        | Value::TripleSingleQuotedRawStringLiteral(_)
        | Value::TripleDoubleQuotedRawStringLiteral(_)
        | Value::NationalStringLiteral(_)
        | Value::QuoteDelimitedStringLiteral(_)
        | Value::NationalQuoteDelimitedStringLiteral(_)
        | Value::HexStringLiteral(_)
        | Value::DoubleQuotedString(_) => {
            Err(fault(span, Code::Expression, "this form of literal is not allowed")
                .try_instead("write text in single quotes and numbers in digits"))
        }
    }
}

/// `DATE '…'` and `TIMESTAMP '…'`.
pub(crate) fn typed(literal: &TypedString) -> Pass<Scalar> {
    let span = literal.value.span;
    let Value::SingleQuotedString(text) = &literal.value.value else {
        return Err(fault(span, Code::Expression, "this form of literal is not allowed")
            .try_instead("write DATE 'YYYY-MM-DD'"));
    };
    match &literal.data_type {
        DataType::Date => date(text, span),
        DataType::Timestamp(None, _) | DataType::Datetime(None) => timestamp(text, span),
        _ => Err(fault(span, Code::Type, "only DATE and TIMESTAMP literals are allowed")
            .try_instead("write DATE 'YYYY-MM-DD'")),
    }
}

pub(crate) fn date(text: &str, span: Span) -> Pass<Scalar> {
    let day: Date = text.parse().map_err(|_| {
        fault(span, Code::Type, format!("`{text}` is not a date")).try_instead("write DATE 'YYYY-MM-DD'")
    })?;
    Ok(Scalar::new(Node::Date(day), Ty::Date, false))
}

/// `YYYY-MM-DD[ HH:MM[:SS]]`, UTC.
pub(crate) fn timestamp(text: &str, span: Span) -> Pass<Scalar> {
    let refused = || {
        fault(span, Code::Type, format!("`{text}` is not a timestamp"))
            .try_instead("write TIMESTAMP 'YYYY-MM-DD HH:MM:SS'")
    };
    let (day, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let day: Date = day.parse().map_err(|_| refused())?;
    let mut seconds = 0_i64;
    let fields: Vec<&str> = time.split(':').collect();
    if fields.len() < 2 || fields.len() > 3 {
        return Err(refused());
    }
    for (index, limit) in [(0, 24), (1, 60), (2, 60)] {
        let field = fields.get(index).copied().unwrap_or("00");
        let value =
            field.parse::<i64>().ok().filter(|v| *v < limit && field.len() == 2).ok_or_else(refused)?;
        seconds = seconds * 60 + value;
    }
    let micros = (i64::from(day.as_days()) * 86_400 + seconds) * 1_000_000;
    Ok(Scalar::new(Node::Timestamp(micros), Ty::Timestamp, false))
}

/// A span of time a date can be moved by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shift {
    Days(i64),
    Months(i64),
}

/// `INTERVAL '3' DAY`, `INTERVAL 3 MONTH`, `INTERVAL '3 days'`.
pub(crate) fn interval(interval: &Interval, span: Span) -> Pass<Shift> {
    let refused = || {
        fault(span, Code::Type, "this interval is not allowed")
            .try_instead("write INTERVAL '3' DAY with DAY, WEEK, MONTH, QUARTER or YEAR")
    };
    let Interval {
        value,
        leading_field,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    } = interval
    else {
        return Err(refused());
    };
    let Expr::Value(value) = &**value else { return Err(refused()) };
    let text = match &value.value {
        Value::SingleQuotedString(text) => text.trim(),
        Value::Number(text, false) => text,
        _ => return Err(refused()),
    };
    let (count, unit) = match leading_field {
        Some(field) => (text, unit_name(field).ok_or_else(refused)?.to_owned()),
        None => {
            let (count, unit) = text.split_once(' ').ok_or_else(refused)?;
            (count, unit.trim().to_ascii_lowercase())
        }
    };
    let count: i64 = count.parse().map_err(|_| refused())?;
    let (factor, days) = match unit.trim_end_matches('s') {
        "day" => (1, true),
        "week" => (7, true),
        "month" => (1, false),
        "quarter" => (3, false),
        "year" => (12, false),
        _ => return Err(refused()),
    };
    let amount = count.checked_mul(factor).filter(|n| n.abs() <= DATE_SHIFT_MAX).ok_or_else(|| {
        fault(span, Code::Limit, "the interval is too long")
            .try_instead(format!("use at most {DATE_SHIFT_MAX} days or months"))
    })?;
    Ok(if days { Shift::Days(amount) } else { Shift::Months(amount) })
}

fn unit_name(field: &DateTimeField) -> Option<&'static str> {
    match field {
        DateTimeField::Day | DateTimeField::Days => Some("day"),
        DateTimeField::Week(None) | DateTimeField::Weeks => Some("week"),
        DateTimeField::Month | DateTimeField::Months => Some("month"),
        DateTimeField::Quarter => Some("quarter"),
        DateTimeField::Year | DateTimeField::Years => Some("year"),
        _ => None,
    }
}
