//! Function calls and casts: the list of total functions.

use sqlparser::ast::{
    DataType, DuplicateTreatment, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Spanned,
};
use sqlparser::tokenizer::Span;

use super::scalar::{merge, value};
use super::{Context, Scope, aggregate, binary};
use crate::limits::SCALE_MAX;
use crate::plan::{Bounds, CastTo, DatePart, Node, Range, Scalar, TextFunction, Ty};
use crate::refusal::{Code, Fault, Pass, fault};

/// The advice beside every refused function.
pub(crate) const ALLOWED: &str = "use lower, upper, trim, length, substring, coalesce, nullif, abs, date_trunc, \
                                  extract, CAST, or CASE";

/// The pieces of a plain call.
pub(crate) struct Call<'f> {
    pub(crate) name: String,
    pub(crate) distinct: bool,
    /// `None` is `*`.
    pub(crate) args: Option<Vec<&'f Expr>>,
    pub(crate) filter: Option<&'f Expr>,
    pub(crate) span: Span,
}

/// Takes a call apart; windows, ordered sets, named arguments and the like are refused.
pub(crate) fn plain(function: &Function) -> Pass<Call<'_>> {
    let span = function.span();
    // INVARIANT (allow-list): destructured, so that a new clause of the parser breaks the build.
    let Function { name, uses_odbc_syntax, parameters, args, filter, null_treatment, over, within_group } =
        function;
    let name = match name.0.as_slice() {
        [part] => part.as_ident().map(|ident| ident.value.to_ascii_lowercase()),
        _ => None,
    }
    .ok_or_else(|| unknown(span, &function.name.to_string()))?;
    if over.is_some() {
        return Err(fault(span, Code::Window, "window functions are not allowed")
            .try_instead("compute per-shopper figures in a subquery with GROUP BY the unit key"));
    }
    if !within_group.is_empty() {
        return Err(fault(span, Code::Aggregate, format!("`{name}` … WITHIN GROUP is not offered"))
            .try_instead("use COUNT, SUM or AVG"));
    }
    let odd = *uses_odbc_syntax || null_treatment.is_some() || !matches!(parameters, FunctionArguments::None);
    let list = match args {
        FunctionArguments::List(list) if !odd && list.clauses.is_empty() => list,
        FunctionArguments::Subquery(_) => {
            return Err(fault(span, Code::Subquery, "a subquery as argument is not allowed"));
        }
        FunctionArguments::List(_) | FunctionArguments::None => return Err(unknown(span, &name)),
    };
    let distinct = matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct));
    let mut exprs = Vec::new();
    for arg in &list.args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => exprs.push(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if list.args.len() == 1 => {
                return Ok(Call { name, distinct, args: None, filter: filter.as_deref(), span });
            }
            _ => {
                return Err(fault(span, Code::Expression, "this form of argument is not allowed")
                    .try_instead("write plain expressions as arguments"));
            }
        }
    }
    Ok(Call { name, distinct, args: Some(exprs), filter: filter.as_deref(), span })
}

fn unknown(span: Span, name: &str) -> Fault {
    let reason = match name.to_ascii_lowercase().as_str() {
        "random"
        | "now"
        | "current_date"
        | "current_timestamp"
        | "uuid"
        | "gen_random_uuid"
        | "setseed"
        | "today"
        | "get_current_timestamp"
        | "nextval" => {
            format!("`{name}` gives another value each time")
        }
        "error" | "regexp_matches" | "regexp_replace" | "regexp_extract" | "strptime" | "strftime"
        | "sqrt" | "ln" | "log" | "exp" | "pow" | "power" => format!("`{name}` can fail on some values"),
        _ => format!("the function `{name}` is not on the list"),
    };
    fault(span, Code::Function, reason).try_instead(ALLOWED)
}

/// Lowers a call inside an expression over rows.
pub(crate) fn function(
    cx: &Context<'_>,
    scope: Scope<'_>,
    function: &Function,
    depth: usize,
) -> Pass<Scalar> {
    let call = plain(function)?;
    let span = call.span;
    if aggregate::is_aggregate(&call.name) {
        return aggregate::inner(cx, scope, &call, depth);
    }
    if call.distinct || call.filter.is_some() {
        return Err(unknown(span, &call.name));
    }
    let exprs = call.args.as_deref().unwrap_or_default();
    if call.name == "date_trunc" || call.name == "date_part" {
        return date_function(cx, scope, &call.name, exprs, span, depth);
    }
    let mut args =
        exprs.iter().map(|expr| value(cx, scope, expr, depth)).collect::<Pass<Vec<_>>>()?.into_iter();
    let known = (call.name.as_str(), args.next(), args.next(), args.next(), args.next());
    match known {
        ("lower", Some(arg), None, None, None) => text(TextFunction::Lower, arg, span),
        ("upper", Some(arg), None, None, None) => text(TextFunction::Upper, arg, span),
        ("trim", Some(arg), None, None, None) => text(TextFunction::Trim, arg, span),
        ("length" | "char_length" | "character_length", Some(arg), None, None, None) => {
            text(TextFunction::Length, arg, span)
        }
        ("substring" | "substr", Some(arg), Some(from), length, None) => {
            substring(arg, Some(from), length, span)
        }
        ("abs", Some(arg), None, None, None) => absolute(arg, span),
        ("nullif", Some(a), Some(b), None, None) => nullif(a, b, span),
        ("coalesce", ..) => {
            let args = exprs.iter().map(|expr| value(cx, scope, expr, depth)).collect::<Pass<Vec<_>>>()?;
            coalesce(args, span)
        }
        ("year" | "quarter" | "month" | "week" | "day", Some(arg), None, None, None) => {
            extract(&call.name, arg, span)
        }
        _ => Err(unknown(span, &call.name)),
    }
}

fn date_function(
    cx: &Context<'_>,
    scope: Scope<'_>,
    name: &str,
    exprs: &[&Expr],
    span: Span,
    depth: usize,
) -> Pass<Scalar> {
    let [part, arg] = exprs else { return Err(unknown(span, name)) };
    let part = match part {
        Expr::Value(value) => match &value.value {
            sqlparser::ast::Value::SingleQuotedString(part) => part.clone(),
            _ => return Err(unknown_part(span)),
        },
        _ => return Err(unknown_part(span)),
    };
    let arg = value(cx, scope, arg, depth)?;
    if name == "date_part" { extract(&part, arg, span) } else { date_trunc(&part, arg, span) }
}

fn unknown_part(span: Span) -> Fault {
    fault(span, Code::Function, "this part of a date is not offered")
        .try_instead("use year, quarter, month, week, day, dow, isodow or doy")
}

fn need_time(arg: &Scalar, span: Span) -> Pass<()> {
    match arg.ty {
        Ty::Date | Ty::Timestamp => Ok(()),
        other => Err(fault(span, Code::Type, format!("a date is needed here, this is {}", other.name()))
            .try_instead("use a date column, or CAST(text AS DATE)")),
    }
}

fn date_trunc(part: &str, arg: Scalar, span: Span) -> Pass<Scalar> {
    need_time(&arg, span)?;
    let part = DatePart::parse(part).ok_or_else(|| unknown_part(span))?;
    if matches!(part, DatePart::Dow | DatePart::Isodow | DatePart::Doy) {
        return Err(unknown_part(span));
    }
    let nullable = arg.nullable;
    Ok(Scalar::new(Node::DateTrunc(part, Box::new(arg)), Ty::Date, nullable))
}

/// EXTRACT(part FROM date).
pub(crate) fn extract(part: &str, arg: Scalar, span: Span) -> Pass<Scalar> {
    need_time(&arg, span)?;
    let part = DatePart::parse(part).ok_or_else(|| unknown_part(span))?;
    let range = match part {
        DatePart::Year => Range { low: -6_000_000, high: 6_000_000 },
        DatePart::Quarter => Range { low: 1, high: 4 },
        DatePart::Month => Range { low: 1, high: 12 },
        DatePart::Week => Range { low: 1, high: 53 },
        DatePart::Day => Range { low: 1, high: 31 },
        DatePart::Dow => Range { low: 0, high: 6 },
        DatePart::Isodow => Range { low: 1, high: 7 },
        DatePart::Doy => Range { low: 1, high: 366 },
    };
    let nullable = arg.nullable;
    let bounds = Bounds { assumed: range, certain: range };
    Ok(Scalar::number(Node::Extract(part, Box::new(arg)), 0, nullable, bounds))
}

pub(crate) fn text(function: TextFunction, arg: Scalar, span: Span) -> Pass<Scalar> {
    if arg.ty != Ty::Text {
        return Err(fault(span, Code::Type, format!("text is needed here, this is {}", arg.ty.name()))
            .try_instead("CAST the value AS VARCHAR"));
    }
    let nullable = arg.nullable;
    let node = Node::TextCall(function, Box::new(arg));
    Ok(match function {
        TextFunction::Length => {
            let range = Range { low: 0, high: 1 << 32 };
            let assumed = Range { low: 0, high: 1 << 16 };
            Scalar::number(node, 0, nullable, Bounds { assumed, certain: range })
        }
        TextFunction::Lower | TextFunction::Upper | TextFunction::Trim => {
            Scalar::new(node, Ty::Text, nullable)
        }
    })
}

/// SUBSTRING(text FROM n FOR m) with literal positions.
pub(crate) fn substring(
    arg: Scalar,
    from: Option<Scalar>,
    length: Option<Scalar>,
    span: Span,
) -> Pass<Scalar> {
    if arg.ty != Ty::Text {
        return Err(fault(span, Code::Type, format!("text is needed here, this is {}", arg.ty.name()))
            .try_instead("CAST the value AS VARCHAR"));
    }
    let position = |value: Option<Scalar>, low: i128| match value.map(|value| (value.node, value.ty)) {
        None => Ok(None),
        Some((Node::Number(n), Ty::Num(0))) if n >= low && n <= 1_000_000 => {
            i64::try_from(n).map(Some).map_err(|_| crate::plan::overflow(span))
        }
        Some(_) => {
            Err(fault(span, Code::Type, "positions in a text must be literals from 1, lengths from 0")
                .try_instead("write SUBSTRING(text FROM 1 FOR 3)"))
        }
    };
    let (from, length) = (position(from, 1)?.unwrap_or(1), position(length, 0)?);
    let nullable = arg.nullable;
    Ok(Scalar::new(Node::Substring { expr: Box::new(arg), from, length }, Ty::Text, nullable))
}

fn absolute(arg: Scalar, span: Span) -> Pass<Scalar> {
    let arg = binary::as_number(arg, span)?;
    let (scale, nullable) = (arg.scale().unwrap_or(0), arg.nullable);
    let upto = |range: Range| Range { low: 0, high: range.magnitude() };
    let bounds = Bounds { assumed: upto(arg.bounds.assumed), certain: upto(arg.bounds.certain) };
    Ok(Scalar::number(Node::Abs(Box::new(arg)), scale, nullable, bounds))
}

fn nullif(a: Scalar, b: Scalar, span: Span) -> Pass<Scalar> {
    let merged = merge(&[a.clone(), b.clone()], span)?;
    let b = binary::typed_as(b, merged.ty);
    Ok(Scalar {
        node: Node::NullIf(Box::new(binary::typed_as(a, merged.ty)), Box::new(b)),
        nullable: true,
        ..merged
    })
}

fn coalesce(args: Vec<Scalar>, span: Span) -> Pass<Scalar> {
    let merged = merge(&args, span)?;
    let nullable = args.iter().all(|arg| arg.nullable);
    let args = args.into_iter().map(|arg| binary::typed_as(arg, merged.ty)).collect();
    Ok(Scalar { node: Node::Coalesce(args), nullable, ..merged })
}

/// CAST; whatever cannot be converted becomes NULL.
pub(crate) fn cast(arg: Scalar, data_type: &DataType, span: Span) -> Pass<Scalar> {
    let to = match data_type {
        DataType::Int(None) | DataType::Integer(None) | DataType::BigInt(None) | DataType::SmallInt(None) => {
            CastTo::BigInt
        }
        DataType::Decimal(info) | DataType::Numeric(info) | DataType::Dec(info) => {
            CastTo::Decimal(scale_of(info, span)?)
        }
        DataType::Varchar(None)
        | DataType::Text
        | DataType::String(None)
        | DataType::CharacterVarying(None) => CastTo::Text,
        DataType::Date => CastTo::Date,
        DataType::Timestamp(None, _) => CastTo::Timestamp,
        DataType::Boolean | DataType::Bool => CastTo::Bool,
        _ => {
            return Err(fault(span, Code::Type, format!("a cast to `{data_type}` is not allowed"))
                .try_instead("cast to BIGINT, DECIMAL(18,2), VARCHAR, DATE, TIMESTAMP or BOOLEAN"));
        }
    };
    let nullable = arg.nullable;
    let from = arg.ty;
    let node = Node::Cast(to, Box::new(arg.clone()));
    let bigint = Bounds { assumed: Range::BIGINT, certain: Range::BIGINT };
    match (from, to) {
        (Ty::Num(0), CastTo::BigInt) | (Ty::Text, CastTo::Text) | (Ty::Date, CastTo::Date) => Ok(arg),
        (Ty::Timestamp, CastTo::Timestamp) | (Ty::Bool, CastTo::Bool) => Ok(arg),
        (Ty::Num(a), CastTo::Decimal(b)) if b >= a => {
            let bounds = binary::rescaled_bounds(arg.bounds, a, b, span)?;
            Ok(Scalar::number(node, b, nullable, bounds))
        }
        (Ty::Text, CastTo::BigInt) => Ok(Scalar::number(node, 0, true, bigint)),
        (Ty::Text, CastTo::Decimal(scale)) => Ok(Scalar::number(node, scale, true, bigint)),
        (Ty::Text, CastTo::Date) => Ok(Scalar::new(node, Ty::Date, true)),
        (Ty::Timestamp, CastTo::Date) => Ok(Scalar::new(node, Ty::Date, nullable)),
        (Ty::Date | Ty::Text, CastTo::Timestamp) => Ok(Scalar::new(node, Ty::Timestamp, true)),
        (Ty::Text, CastTo::Bool) => Ok(Scalar::new(node, Ty::Bool, true)),
        (Ty::Num(0) | Ty::Date | Ty::Bool, CastTo::Text) => Ok(Scalar::new(node, Ty::Text, nullable)),
        (Ty::Bool, CastTo::BigInt) => {
            let bounds = Bounds::both(Range { low: 0, high: 1 });
            Ok(Scalar::number(node, 0, nullable, bounds))
        }
        (from, _) => Err(fault(span, Code::Type, format!("{} cannot be cast to `{data_type}`", from.name()))
            .try_instead("use the value as it is, or CASE")),
    }
}

fn scale_of(info: &ExactNumberInfo, span: Span) -> Pass<u8> {
    let scale = match info {
        ExactNumberInfo::None | ExactNumberInfo::Precision(_) => 0,
        ExactNumberInfo::PrecisionAndScale(_, scale) => *scale,
    };
    u8::try_from(scale).ok().filter(|scale| *scale <= SCALE_MAX).ok_or_else(|| {
        fault(span, Code::Type, format!("at most {SCALE_MAX} decimals are allowed"))
            .try_instead("cast to DECIMAL(18,2)")
    })
}
