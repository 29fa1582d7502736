//! Aggregates: inside per-shopper subqueries, and the measures of the private core.

use super::call::Call;
use super::scalar::{any, condition, unit_key_used, value};
use super::{Context, Scope, binary};
use crate::limits::{QUOTIENT_SCALE, ROWS_ASSUMED, ROWS_MAX};
use crate::plan::{Bounds, InnerAggregate, Measure, MeasureForm, Node, Range, Scalar, Ty};
use crate::refusal::{Code, Fault, Pass, fault};

/// Whether a function of that name aggregates rows, offered or not.
pub(crate) fn is_aggregate(name: &str) -> bool {
    matches!(
        name,
        "count"
            | "sum"
            | "avg"
            | "mean"
            | "min"
            | "max"
            | "median"
            | "mode"
            | "quantile"
            | "quantile_cont"
            | "quantile_disc"
            | "percentile_cont"
            | "percentile_disc"
            | "approx_quantile"
            | "stddev"
            | "stddev_samp"
            | "stddev_pop"
            | "variance"
            | "var_samp"
            | "var_pop"
            | "covar_samp"
            | "covar_pop"
            | "corr"
            | "any_value"
            | "first"
            | "last"
            | "arg_min"
            | "arg_max"
            | "string_agg"
            | "array_agg"
            | "listagg"
            | "group_concat"
            | "list"
            | "bool_and"
            | "bool_or"
            | "product"
            | "approx_count_distinct"
            | "count_if"
            | "histogram"
            | "bit_and"
            | "bit_or"
            | "bit_xor"
            | "entropy"
            | "kurtosis"
            | "skewness"
            | "mad"
            | "count_star"
    )
}

fn not_offered(call: &Call<'_>) -> Fault {
    let name = &call.name;
    let fault = fault(call.span, Code::Aggregate, format!("the aggregate `{name}` is not offered"));
    match name.as_str() {
        "min" | "max" => fault.try_instead(format!(
            "one shopper alone decides a {name}: count rows in ranges with CASE, or use {name} in a per-shopper subquery"
        )),
        "count_if" => fault.try_instead("write COUNT(*) FILTER (WHERE condition)"),
        "approx_count_distinct" => fault.try_instead("write COUNT(DISTINCT unit key)"),
        "median" | "mode" | "quantile" | "quantile_cont" | "quantile_disc" | "percentile_cont" | "percentile_disc"
        | "approx_quantile" | "histogram" => fault.try_instead("count rows in ranges: GROUP BY CASE WHEN … END"),
        _ => fault.try_instead("use COUNT, SUM or AVG"),
    }
}

/// An aggregate in the SELECT list or HAVING of a per-shopper subquery.
pub(crate) fn inner(cx: &Context<'_>, scope: Scope<'_>, call: &Call<'_>, depth: usize) -> Pass<Scalar> {
    if !scope.aggregates {
        return Err(fault(
            call.span,
            Code::Aggregate,
            format!("the aggregate `{}` is not allowed here", call.name),
        )
        .try_instead(
            "aggregate in the SELECT list or in HAVING; aggregate per shopper in a subquery first",
        ));
    }
    let rows = Scope { aggregates: false, ..scope };
    let filter = call.filter.map(|expr| condition(cx, rows, expr, depth)).transpose()?.map(Box::new);
    let args = call.args.as_deref();
    let counted = Bounds::both(Range { low: 0, high: ROWS_MAX });
    let counted = Bounds { assumed: Range { low: 0, high: ROWS_ASSUMED }, ..counted };
    let build = |function, arg: Option<Scalar>| Node::Aggregate { function, arg: arg.map(Box::new), filter };
    match (call.name.as_str(), call.distinct, args) {
        ("count", false, None | Some([])) => {
            Ok(Scalar::number(build(InnerAggregate::CountRows, None), 0, false, counted))
        }
        ("count", distinct, Some([arg])) => {
            let arg = value(cx, rows, arg, depth)?;
            let function = if distinct { InnerAggregate::CountDistinct } else { InnerAggregate::Count };
            Ok(Scalar::number(build(function, Some(arg)), 0, false, counted))
        }
        ("sum", false, Some([arg])) => {
            let arg = binary::as_number(value(cx, rows, arg, depth)?, call.span)?;
            let (scale, bounds) = (arg.scale().unwrap_or(0), summed(arg.bounds, call)?);
            Ok(Scalar::number(build(InnerAggregate::Sum, Some(arg)), scale, true, bounds))
        }
        ("avg", false, Some([arg])) => {
            let arg = binary::as_number(value(cx, rows, arg, depth)?, call.span)?;
            let from = arg.scale().unwrap_or(0);
            let scale = QUOTIENT_SCALE.max(from);
            // The sum is scaled before it is divided: it must fit, and so must the quotient.
            binary::rescaled_bounds(summed(arg.bounds, call)?, from, scale, call.span)?;
            let bounds = binary::rescaled_bounds(arg.bounds, from, scale, call.span)?;
            Ok(Scalar::number(build(InnerAggregate::Avg, Some(arg)), scale, true, bounds))
        }
        ("min" | "max", _, Some([arg])) => {
            let arg = value(cx, rows, arg, depth)?;
            let function = if call.name == "min" { InnerAggregate::Min } else { InnerAggregate::Max };
            let (ty, bounds) = (arg.ty, arg.bounds);
            Ok(Scalar { node: build(function, Some(arg)), ty, nullable: true, bounds })
        }
        _ => Err(not_offered(call)),
    }
}

fn summed(bounds: Bounds, call: &Call<'_>) -> Pass<Bounds> {
    let times = |range: Range, rows: i128| {
        range.union(Range::point(0)).corners(Range { low: 0, high: rows }, call.span, i128::checked_mul)
    };
    Ok(Bounds { assumed: times(bounds.assumed, ROWS_ASSUMED)?, certain: times(bounds.certain, ROWS_MAX)? })
}

/// An aggregate of the private core, as base measures.
#[expect(clippy::large_enum_variant, reason = "lives for one line of lowering")]
pub(crate) enum Outer {
    One(Measure),
    /// AVG: a sum and the number of its rows.
    Average(Measure, Measure),
}

/// Lowers an aggregate of the outermost SELECT.
pub(crate) fn outer(cx: &Context<'_>, scope: Scope<'_>, call: &Call<'_>, depth: usize) -> Pass<Outer> {
    let filter = call.filter.map(|expr| condition(cx, scope, expr, depth)).transpose()?;
    let measure = |kind| Measure { kind, filter: filter.clone() };
    match (call.name.as_str(), call.distinct, call.args.as_deref()) {
        ("count", false, None | Some([])) => Ok(Outer::One(measure(MeasureForm::Rows(None)))),
        ("count", distinct, Some([arg])) => {
            let arg = any(cx, scope, arg, depth)?;
            match (arg.ty, distinct) {
                (Ty::Unit, true) => Ok(Outer::One(measure(MeasureForm::Units))),
                (Ty::Unit, false) => Err(unit_key_used(call.span)
                    .try_instead("write COUNT(DISTINCT unit key) for shoppers, COUNT(*) for rows")),
                (_, true) => Err(fault(call.span, Code::Aggregate, "only distinct shoppers can be counted")
                    .try_instead("write COUNT(DISTINCT unit key), or COUNT(*)")),
                (_, false) => Ok(Outer::One(measure(rows_of(arg)))),
            }
        }
        ("sum", false, Some([arg])) => {
            let arg = binary::as_number(value(cx, scope, arg, depth)?, call.span)?;
            check_sum(&arg, call)?;
            Ok(Outer::One(measure(MeasureForm::Sum(arg))))
        }
        ("avg", false, Some([arg])) => {
            let arg = binary::as_number(value(cx, scope, arg, depth)?, call.span)?;
            check_sum(&arg, call)?;
            let rows = measure(rows_of(arg.clone()));
            Ok(Outer::Average(measure(MeasureForm::Sum(arg)), rows))
        }
        ("sum" | "avg", true, _) => {
            Err(fault(call.span, Code::Aggregate, "DISTINCT is offered in COUNT only")
                .try_instead("remove DISTINCT"))
        }
        _ => Err(not_offered(call)),
    }
}

fn rows_of(arg: Scalar) -> MeasureForm {
    MeasureForm::Rows(arg.nullable.then_some(arg))
}

/// One row's value must fit into BIGINT under the bounds, or the sum has no scale to be clipped at.
fn check_sum(arg: &Scalar, call: &Call<'_>) -> Pass<()> {
    if arg.bounds.assumed.fits_bigint() { Ok(()) } else { Err(crate::plan::overflow(call.span)) }
}
