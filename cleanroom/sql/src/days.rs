//! Which days of event time a query can touch: a superset, for the budget's blocks.

use ids::Date;

use crate::plan::{Block, Comparison, Node, Scalar, Source};
use crate::{Schema, Table};

/// First and last day over all private scans, clipped to the dataset's days; `None` where a private table without event
/// time is read.
///
/// Only conjuncts of WHERE that every row must pass count. What they do not exclude is included, so the result can be
/// too long, never too short.
pub(crate) fn event_days(schema: &Schema, block: &Block) -> Option<(Date, Date)> {
    let mut out: Option<(Date, Date)> = None;
    for (index, relation) in block.relations.iter().enumerate() {
        let (low, high) = match &relation.source {
            Source::Public { .. } => continue,
            Source::Private { table, .. } => scan_days(schema, schema.table(table)?, block, index)?,
            Source::Shopper(shopper) => event_days(schema, &shopper.block)?,
        };
        out = Some(out.map_or((low, high), |(a, b)| (a.min(low), b.max(high))));
    }
    out
}

fn scan_days(schema: &Schema, table: &Table, block: &Block, index: usize) -> Option<(Date, Date)> {
    let event = table.event_time.as_deref()?;
    let (mut low, mut high) = (schema.first_day, schema.last_day);
    let is_event = |scalar: &Scalar| matches!(&scalar.node, Node::Column { relation, name } if *relation == index && name == event);
    for filter in &block.filters {
        let (from, to) = match &filter.node {
            Node::Compare(op, a, b) if is_event(a) => bounds(*op, b),
            Node::InList(a, items) if is_event(a) => {
                let days: Option<Vec<Date>> = items.iter().map(day_of).collect();
                match days.filter(|days| !days.is_empty()) {
                    Some(days) => (days.iter().min().copied(), days.iter().max().copied()),
                    None => (None, None),
                }
            }
            Node::And(parts) => parts.iter().filter_map(|part| nested(part, &is_event)).fold(
                (None, None),
                |(low, high): (Option<Date>, Option<Date>), (from, to)| {
                    (low.into_iter().chain(from).max(), high.into_iter().chain(to).min())
                },
            ),
            _ => (None, None),
        };
        low = from.map_or(low, |from| low.max(from));
        high = to.map_or(high, |to| high.min(to));
    }
    if low > high {
        // No day is left: charge the one nearest to the question.
        let day = low.clamp(schema.first_day.min(schema.last_day), schema.last_day.max(schema.first_day));
        return Some((day, day));
    }
    Some((low, high))
}

fn nested(part: &Scalar, is_event: &dyn Fn(&Scalar) -> bool) -> Option<(Option<Date>, Option<Date>)> {
    match &part.node {
        Node::Compare(op, a, b) if is_event(a) => Some(bounds(*op, b)),
        _ => None,
    }
}

/// The days that a comparison with a literal leaves.
fn bounds(op: Comparison, literal: &Scalar) -> (Option<Date>, Option<Date>) {
    let Some(day) = day_of(literal) else { return (None, None) };
    // A moment lies inside its day: `<` and `<=` both leave it. On whole days `<` and `>` exclude it.
    let whole = matches!(literal.node, Node::Date(_));
    let strict = |days: i32| Some(if whole { day.plus_days(days) } else { day });
    match op {
        Comparison::Eq => (Some(day), Some(day)),
        Comparison::Lt => (None, strict(-1)),
        Comparison::LtEq => (None, Some(day)),
        Comparison::Gt => (strict(1), None),
        Comparison::GtEq => (Some(day), None),
        Comparison::NotEq => (None, None),
    }
}

fn day_of(literal: &Scalar) -> Option<Date> {
    match literal.node {
        Node::Date(day) => Some(day),
        Node::Timestamp(micros) => i32::try_from(micros.div_euclid(86_400_000_000)).ok().map(Date::from_days),
        _ => None,
    }
}
