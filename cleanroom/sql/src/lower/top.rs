//! The outermost SELECT: keys, measures, and the expressions over them.

use sqlparser::ast::{
    BinaryOperator, CaseWhen, Distinct, Expr, Ident, LimitClause, Offset, OrderBy, OrderByExpr, OrderByKind,
    OrderBySort, Query, Select, SelectItem, Spanned, UnaryOperator, Value,
};
use sqlparser::tokenizer::Span;

use super::aggregate::{self, Outer};
use super::binary::chain;
use super::from::{Lowered as Rows, lower_block};
use super::scalar::{any, not_allowed, unit_key_used};
use super::shopper::{check_name, group_exprs, item_meant};
use super::{
    Context, Ctes, Scope, call, check_depth, check_query_clauses, check_select_clauses, literal, select_of,
    with_ctes,
};
use crate::domain::public_key;
use crate::limits::{COLUMNS_MAX, LIMIT_MAX, MEASURES_MAX};
use crate::plan::{Comparison, Core, Key, Measure, Node, Scalar, Ty};
use crate::post::Order;
use crate::post::expr::PostExpr;
use crate::print::canonical;
use crate::refusal::{Code, Fault, Pass, fault};
use crate::{KeyValue, Schema};

/// A lowered statement, keys and measures in canonical order.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    pub(crate) core: Core,
    /// Name and expression of each output column.
    pub(crate) items: Vec<(Option<String>, PostExpr)>,
    pub(crate) having: Option<PostExpr>,
    pub(crate) order: Vec<Order>,
    pub(crate) limit: Option<u64>,
    pub(crate) offset: u64,
}

/// Lowers a statement.
pub(crate) fn lower_query(schema: &Schema, query: &Query) -> Pass<Lowered> {
    let mut cx = Context::new(schema);
    let ctes: Ctes<'_> = with_ctes(query, &Vec::new())?;
    check_query_clauses(query)?;
    let select = select_of(&query.body)?;
    check_select_clauses(select)?;
    if let Some(Distinct::Distinct | Distinct::On(_)) = &select.distinct {
        return Err(fault(select.span(), Code::Clause, "SELECT DISTINCT is not allowed at the top")
            .try_instead("use GROUP BY; every group is listed once"));
    }
    let rows = lower_block(&mut cx, &ctes, select, 1)?;
    let keys = keys(&cx, &rows, select)?;
    let mut top = Top { cx: &cx, rows: &rows, select, keys, measures: Vec::new(), aliases: false };
    let items = top.items()?;
    top.aliases = true;
    let having = select.having.as_ref().map(|expr| top.expr(expr, 1)).transpose()?;
    let order = query.order_by.as_ref().map_or_else(|| Ok(Vec::new()), |order| top.order(order))?;
    let (limit, offset) = limit(query.limit_clause.as_ref())?;
    let Top { keys, measures, .. } = top;
    if measures.is_empty() {
        return Err(fault(select.span(), Code::Rows, "the statement has no aggregate: rows are never shown")
            .try_instead("add COUNT(*), COUNT(DISTINCT unit key), SUM or AVG"));
    }
    let core = Core { block: rows.block, keys, measures };
    let mut lowered = Lowered { core, items, having, order, limit, offset };
    lowered.sort();
    Ok(lowered)
}

impl Lowered {
    /// Keys and measures in canonical order, so that the order of writing does not make another question.
    fn sort(&mut self) {
        let Core { block, keys, measures } = &mut self.core;
        let relations = &block.relations;
        let key_places = sort_by(keys, |key| (0, canonical::scalar(relations, &key.expr)));
        let rank = |measure: &Measure| match measure.kind {
            crate::plan::MeasureForm::Units => 0,
            crate::plan::MeasureForm::Rows(_) => 1,
            crate::plan::MeasureForm::Sum(_) => 2,
        };
        let cell_places = sort_by(measures, |measure| (rank(measure), canonical::measure(block, measure)));
        let exprs = self.items.iter_mut().map(|(_, item)| item);
        let order = self.order.iter_mut().map(|order| &mut order.expr);
        for expr in exprs.chain(self.having.as_mut()).chain(order) {
            expr.renumber(&key_places, &cell_places);
        }
    }
}

/// Sorts and tells where each element went.
fn sort_by<T: Clone>(list: &mut Vec<T>, by: impl Fn(&T) -> (u8, String)) -> Vec<usize> {
    let mut order: Vec<(usize, (u8, String), T)> =
        list.iter().enumerate().map(|(at, item)| (at, by(item), item.clone())).collect();
    order.sort_by(|a, b| a.1.cmp(&b.1));
    let mut places = vec![0; order.len()];
    for (new, (old, _, _)) in order.iter().enumerate() {
        if let Some(place) = places.get_mut(*old) {
            *place = new;
        }
    }
    *list = order.into_iter().map(|(_, _, item)| item).collect();
    places
}

fn keys(cx: &Context<'_>, rows: &Rows, select: &Select) -> Pass<Vec<Key>> {
    let relations = &rows.block.relations;
    let scope = Scope { relations, merged: &rows.merged, aggregates: false };
    let is_column = |ident: &Ident| {
        relations.iter().any(|r| r.fields.iter().any(|f| f.name.eq_ignore_ascii_case(&ident.value)))
    };
    let mut keys: Vec<Key> = Vec::new();
    for expr in group_exprs(select)?.unwrap_or_default() {
        let span = expr.span();
        let key = any(cx, scope, item_meant(select, expr, is_column)?, 1)?;
        if key.ty == Ty::Unit {
            return Err(fault(span, Code::UnitKey, "a group per shopper would show single shoppers")
                .try_instead("group by shopper in a subquery and aggregate its columns"));
        }
        if key.is_literal() || key.ty == Ty::Null {
            return Err(fault(span, Code::Grouping, "a literal is no group key").try_instead("remove it"));
        }
        if !keys.iter().any(|known| known.expr == key) {
            let public = public_key(relations, &key, span)?;
            if public.is_none() && key.ty == Ty::Num(0) && !key.bounds.certain.fits_bigint() {
                return Err(crate::plan::overflow(span));
            }
            keys.push(Key { expr: key, public });
        }
    }
    let cells = keys.iter().filter_map(|key| key.public.as_ref()).try_fold(1_u64, |cells, public| {
        cells.checked_mul(public.domain.len() as u64).filter(|cells| *cells <= crate::limits::CELLS_MAX)
    });
    if cells.is_none() {
        let span = group_exprs(select)?.and_then(|exprs| exprs.first()).map_or(Span::empty(), Spanned::span);
        return Err(fault(
            span,
            Code::Limit,
            format!("the keys have more than {} combinations", crate::limits::CELLS_MAX),
        )
        .try_instead("group by fewer or coarser keys"));
    }
    Ok(keys)
}

/// The outermost SELECT while it is lowered.
struct Top<'t> {
    cx: &'t Context<'t>,
    rows: &'t Rows,
    select: &'t Select,
    keys: Vec<Key>,
    measures: Vec<Measure>,
    /// Names may be aliases of the SELECT list: in HAVING and ORDER BY.
    aliases: bool,
}

impl<'t> Top<'t> {
    fn scope(&self) -> Scope<'_> {
        Scope { relations: &self.rows.block.relations, merged: &self.rows.merged, aggregates: false }
    }

    fn items(&mut self) -> Pass<Vec<(Option<String>, PostExpr)>> {
        let select = self.select;
        if select.projection.len() > COLUMNS_MAX {
            return Err(fault(select.span(), Code::Limit, format!("more than {COLUMNS_MAX} columns")));
        }
        let mut items: Vec<(Option<String>, PostExpr)> = Vec::new();
        for item in &select.projection {
            let (expr, name) = match item {
                SelectItem::ExprWithAlias { expr, alias } => {
                    let name = super::folded(alias);
                    check_name(&name, alias.span)?;
                    if items
                        .iter()
                        .any(|(other, _)| other.as_ref().is_some_and(|o| o.eq_ignore_ascii_case(&name)))
                    {
                        return Err(fault(
                            alias.span,
                            Code::Ambiguous,
                            format!("the column `{name}` is named twice"),
                        )
                        .try_instead("give each column its own name with AS"));
                    }
                    (expr, Some(name))
                }
                SelectItem::UnnamedExpr(expr) => (expr, bare_name(expr)),
                SelectItem::Wildcard(_)
                | SelectItem::QualifiedWildcard(..)
                | SelectItem::ExprWithAliases { .. } => {
                    return Err(fault(item.span(), Code::Rows, "`*` is not allowed: rows are never shown")
                        .try_instead("write COUNT(*), COUNT(DISTINCT unit key), SUM or AVG"));
                }
            };
            items.push((name, self.expr(expr, 1)?));
        }
        if items.is_empty() {
            return Err(
                fault(select.span(), Code::Rows, "the SELECT list is empty").try_instead("add COUNT(*)")
            );
        }
        Ok(items)
    }

    fn measure(&mut self, measure: Measure, span: Span) -> Pass<usize> {
        if let Some(at) = self.measures.iter().position(|known| *known == measure) {
            return Ok(at);
        }
        if self.measures.len() >= MEASURES_MAX {
            return Err(fault(span, Code::Limit, format!("more than {MEASURES_MAX} base measures"))
                .try_instead("ask in two statements"));
        }
        self.measures.push(measure);
        Ok(self.measures.len() - 1)
    }

    /// The key that a whole expression is, if it is one.
    fn key_of(&self, expr: &Expr) -> Option<usize> {
        if self.keys.is_empty() {
            return None;
        }
        let scalar = any(self.cx, self.scope(), expr, 1).ok()?;
        self.keys.iter().position(|key| key.expr == scalar)
    }

    fn expr(&mut self, expr: &Expr, depth: usize) -> Pass<PostExpr> {
        let span = expr.span();
        check_depth(depth, span)?;
        if let Some(key) = self.key_of(expr) {
            return Ok(PostExpr::Key(key));
        }
        self.computed(expr, depth + 1).map_err(|fault| fault.or_at(span))
    }

    fn computed(&mut self, expr: &Expr, depth: usize) -> Pass<PostExpr> {
        let span = expr.span();
        match expr {
            Expr::Nested(inner) => self.expr(inner, depth),
            Expr::Value(value) => exact(literal::value(&value.value, value.span)?),
            Expr::TypedString(value) => exact(literal::typed(value)?),
            Expr::Function(function) => self.call(&call::plain(function)?, depth),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Ok(negated(self.expr(expr, depth)?)),
            Expr::UnaryOp { op: UnaryOperator::Plus, expr } => self.expr(expr, depth),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => Ok(not(self.expr(expr, depth)?)),
            Expr::BinaryOp { left, op, right } => self.operation(expr, left, op, right, depth),
            Expr::IsNull(inner) => Ok(PostExpr::IsNull(Box::new(self.expr(inner, depth)?))),
            Expr::IsNotNull(inner) => Ok(not(PostExpr::IsNull(Box::new(self.expr(inner, depth)?)))),
            Expr::Between { expr, negated, low, high } => {
                let subject = Box::new(self.expr(expr, depth)?);
                let low = Box::new(self.expr(low, depth)?);
                let high = Box::new(self.expr(high, depth)?);
                let both = PostExpr::And(vec![
                    PostExpr::Compare(Comparison::GtEq, subject.clone(), low),
                    PostExpr::Compare(Comparison::LtEq, subject, high),
                ]);
                Ok(if *negated { not(both) } else { both })
            }
            Expr::InList { expr, list, negated } => {
                let subject = Box::new(self.expr(expr, depth)?);
                let mut any_of = Vec::new();
                for item in list {
                    let item = Box::new(self.expr(item, depth)?);
                    any_of.push(PostExpr::Compare(Comparison::Eq, subject.clone(), item));
                }
                let found = if any_of.len() == 1 { any_of.remove(0) } else { PostExpr::Or(any_of) };
                Ok(if *negated { not(found) } else { found })
            }
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), depth)
            }
            Expr::Cast { expr, .. } => self.expr(expr, depth).and_then(|_| {
                Err(fault(span, Code::Expression, "CAST has no meaning over released numbers")
                    .try_instead("remove CAST"))
            }),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                Err(fault(span, Code::Subquery, "subqueries are allowed in FROM only")
                    .try_instead("join a subquery that selects the unit key"))
            }
            Expr::Identifier(ident) => match self.alias(ident) {
                Some(meant) => {
                    self.aliases = false;
                    let meant = self.expr(meant, depth);
                    self.aliases = true;
                    meant
                }
                None => Err(self.not_grouped(expr)),
            },
            Expr::CompoundIdentifier(_) => Err(self.not_grouped(expr)),
            _ => {
                // Its own refusal first: an unknown column or a forbidden form, with its place.
                any(self.cx, self.scope(), expr, 1)?;
                Err(self.not_grouped(expr))
            }
        }
    }

    /// The SELECT item that an alias names in HAVING or ORDER BY. Not inside an item that an alias stands for: chains of
    /// aliases could grow without end.
    fn alias(&self, ident: &Ident) -> Option<&'t Expr> {
        if !self.aliases {
            return None;
        }
        self.select.projection.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if alias.value.eq_ignore_ascii_case(&ident.value) => {
                let itself =
                    matches!(expr, Expr::Identifier(own) if own.value.eq_ignore_ascii_case(&ident.value));
                (!itself).then_some(expr)
            }
            _ => None,
        })
    }

    fn not_grouped(&self, expr: &Expr) -> Fault {
        let span = expr.span();
        match any(self.cx, self.scope(), expr, 1) {
            Err(fault) => fault,
            Ok(scalar) if scalar.ty == Ty::Unit => unit_key_used(span),
            Ok(_) => fault(span, Code::NotGrouped, format!("`{expr}` is neither grouped nor aggregated"))
                .try_instead("add it to GROUP BY, or aggregate it"),
        }
    }

    fn call(&mut self, call: &call::Call<'_>, depth: usize) -> Pass<PostExpr> {
        let span = call.span;
        if aggregate::is_aggregate(&call.name) {
            return match aggregate::outer(self.cx, self.scope(), call, depth)? {
                Outer::One(measure) => Ok(PostExpr::Cell(self.measure(measure, span)?)),
                Outer::Average(sum, rows) => {
                    let sum = self.measure(sum, span)?;
                    Ok(PostExpr::Average { sum, rows: self.measure(rows, span)? })
                }
            };
        }
        let args = call.args.as_deref().unwrap_or_default();
        match (call.name.as_str(), args) {
            ("abs", [a]) => Ok(PostExpr::Abs(Box::new(self.expr(a, depth)?))),
            ("round", [a]) => Ok(PostExpr::Round(Box::new(self.expr(a, depth)?), 0)),
            ("round", [a, digits]) => {
                let digits = whole(digits).filter(|digits| *digits <= 9).ok_or_else(|| {
                    fault(digits.span(), Code::Type, "the digits of ROUND must be 0 to 9").try_instead("write ROUND(x, 2)")
                })?;
                Ok(PostExpr::Round(Box::new(self.expr(a, depth)?), i32::try_from(digits).unwrap_or(0)))
            }
            ("coalesce", args) if !args.is_empty() => {
                let items = args.iter().map(|arg| self.expr(arg, depth)).collect::<Pass<Vec<_>>>()?;
                Ok(PostExpr::Coalesce(items))
            }
            ("nullif", [a, b]) => {
                Ok(PostExpr::NullIf(Box::new(self.expr(a, depth)?), Box::new(self.expr(b, depth)?)))
            }
            _ => Err(fault(span, Code::Function, format!("`{}` is not offered over released numbers", call.name))
                .try_instead("use + - * /, ROUND, ABS, COALESCE, NULLIF, CASE; put expressions over rows inside the aggregate")),
        }
    }

    fn operation(
        &mut self,
        whole: &Expr,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
        depth: usize,
    ) -> Pass<PostExpr> {
        if let BinaryOperator::And | BinaryOperator::Or = op {
            let mut parts = Vec::new();
            for part in chain(whole, op) {
                parts.push(self.expr(part, depth)?);
            }
            return Ok(if *op == BinaryOperator::And { PostExpr::And(parts) } else { PostExpr::Or(parts) });
        }
        let comparison = match op {
            BinaryOperator::Eq => Some(Comparison::Eq),
            BinaryOperator::NotEq => Some(Comparison::NotEq),
            BinaryOperator::Lt => Some(Comparison::Lt),
            BinaryOperator::LtEq => Some(Comparison::LtEq),
            BinaryOperator::Gt => Some(Comparison::Gt),
            BinaryOperator::GtEq => Some(Comparison::GtEq),
            _ => None,
        };
        let (mut a, mut b) = (Box::new(self.expr(left, depth)?), Box::new(self.expr(right, depth)?));
        if let Some(op) = comparison {
            as_days(&mut a, &mut b);
            return Ok(PostExpr::Compare(op, a, b));
        }
        match op {
            BinaryOperator::Plus => Ok(PostExpr::Add(a, b)),
            BinaryOperator::Minus => Ok(PostExpr::Sub(a, b)),
            BinaryOperator::Multiply => Ok(PostExpr::Mul(a, b)),
            BinaryOperator::Divide => Ok(PostExpr::Div(a, b)),
            _ => Err(not_allowed(whole.span())),
        }
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
        depth: usize,
    ) -> Pass<PostExpr> {
        let operand = operand.map(|expr| self.expr(expr, depth)).transpose()?;
        let mut branches = Vec::new();
        for CaseWhen { condition, result } in conditions {
            let when = self.expr(condition, depth)?;
            let when = match &operand {
                Some(subject) => PostExpr::Compare(Comparison::Eq, Box::new(subject.clone()), Box::new(when)),
                None => when,
            };
            branches.push((when, self.expr(result, depth)?));
        }
        let otherwise = otherwise.map(|expr| self.expr(expr, depth)).transpose()?.map(Box::new);
        Ok(PostExpr::Case { branches, otherwise })
    }

    fn order(&mut self, order: &OrderBy) -> Pass<Vec<Order>> {
        let span = order.span();
        let OrderByKind::Expressions(exprs) = &order.kind else {
            return Err(
                fault(span, Code::Clause, "ORDER BY ALL is not allowed").try_instead("name the columns")
            );
        };
        if order.interpolate.is_some() {
            return Err(fault(span, Code::Clause, "INTERPOLATE is not allowed").try_instead("remove it"));
        }
        let mut out = Vec::new();
        for OrderByExpr { expr, options, with_fill } in exprs {
            if with_fill.is_some() {
                return Err(
                    fault(expr.span(), Code::Clause, "WITH FILL is not allowed").try_instead("remove it")
                );
            }
            let descending = match &options.sort {
                None | Some(OrderBySort::Asc) => false,
                Some(OrderBySort::Desc) => true,
                Some(_) => return Err(fault(expr.span(), Code::Clause, "use ASC or DESC")),
            };
            let meant = item_meant(self.select, expr, |_| true)?;
            let expr = self.expr(meant, 1)?;
            out.push(Order { expr, descending, nulls_first: options.nulls_first.unwrap_or(false) });
        }
        Ok(out)
    }
}

/// A text literal beside a date key is a date.
fn as_days(a: &mut PostExpr, b: &mut PostExpr) {
    for side in [a, b] {
        if let PostExpr::Exact(KeyValue::Text(text), _) = side
            && let Ok(day) = text.parse::<ids::Date>()
        {
            *side = PostExpr::Exact(KeyValue::Date(day), format!("DATE '{day}'"));
        }
    }
}

fn not(inner: PostExpr) -> PostExpr {
    match inner {
        PostExpr::Not(inner) => *inner,
        inner => PostExpr::Not(Box::new(inner)),
    }
}

fn negated(inner: PostExpr) -> PostExpr {
    match inner {
        PostExpr::Number(value, text) if value != 0.0 => {
            let text = text.strip_prefix('-').map_or_else(|| format!("-{text}"), str::to_owned);
            PostExpr::Number(-value, text)
        }
        inner => PostExpr::Neg(Box::new(inner)),
    }
}

/// A literal over released numbers.
fn exact(literal: Scalar) -> Pass<PostExpr> {
    let text = canonical::scalar(&[], &literal);
    Ok(match (literal.node, literal.ty) {
        (Node::Number(_), _) => PostExpr::Number(text.parse().unwrap_or(0.0), text),
        (Node::Text(value), _) => PostExpr::Exact(KeyValue::Text(value), text),
        (Node::Bool(value), _) => PostExpr::Exact(KeyValue::Bool(value), text),
        (Node::Date(day), _) => PostExpr::Exact(KeyValue::Date(day), text),
        (Node::Null, _) => PostExpr::Exact(KeyValue::Null, text),
        _ => return Err(not_allowed(Span::empty())),
    })
}

/// The name of an output column that is just a column.
fn bare_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(super::folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(super::folded),
        _ => None,
    }
}

fn whole(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn limit(clause: Option<&LimitClause>) -> Pass<(Option<u64>, u64)> {
    let number = |expr: &Expr| {
        whole(expr).filter(|n| *n <= LIMIT_MAX).ok_or_else(|| {
            fault(expr.span(), Code::Clause, "LIMIT and OFFSET take a literal number")
                .try_instead(format!("write LIMIT n with n up to {LIMIT_MAX}"))
        })
    };
    match clause {
        None => Ok((None, 0)),
        Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
            if let Some(by) = limit_by.first() {
                return Err(
                    fault(by.span(), Code::Clause, "LIMIT … BY is not allowed").try_instead("write LIMIT n")
                );
            }
            let limit = limit.as_ref().map(number).transpose()?;
            let offset = offset.as_ref().map(|Offset { value, .. }| number(value)).transpose()?;
            Ok((limit, offset.unwrap_or(0)))
        }
        Some(LimitClause::OffsetCommaLimit { offset, limit }) => Ok((Some(number(limit)?), number(offset)?)),
    }
}
