//! From syntax tree to plan. Each module takes one part of the language; every match is exhaustive or ends in a refusal.

mod aggregate;
mod binary;
mod call;
mod from;
mod literal;
mod scalar;
mod shopper;
mod top;

use sqlparser::ast::{Ident, Query, Select, SetExpr, Spanned};
use sqlparser::tokenizer::Span;

pub(crate) use top::{Lowered, lower_query};

use crate::Schema;
use crate::limits::{DEPTH_MAX, RELATIONS_MAX};
use crate::plan::Relation;
use crate::refusal::{Code, Pass, fault};

/// What every pass sees: the catalogue, the WITH names in reach, and how much of the limits is used.
pub(crate) struct Context<'a> {
    pub(crate) schema: &'a Schema,
    relations: usize,
}

/// WITH names in reach; a name sees only those before it.
type Ctes<'q> = Vec<(&'q Ident, &'q Query)>;

impl<'a> Context<'a> {
    pub(crate) fn new(schema: &'a Schema) -> Self {
        Self { schema, relations: 0 }
    }

    fn count_relation(&mut self, span: Span) -> Pass<()> {
        self.relations += 1;
        if self.relations > RELATIONS_MAX {
            return Err(fault(span, Code::Limit, format!("more than {RELATIONS_MAX} tables and subqueries")));
        }
        Ok(())
    }
}

/// The relations an expression can refer to, and whether aggregates are allowed in it.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'s> {
    pub(crate) relations: &'s [Relation],
    /// Columns named in USING: they have one meaning although several relations offer them.
    pub(crate) merged: &'s [String],
    /// Inside the SELECT list or HAVING of a per-shopper subquery.
    pub(crate) aggregates: bool,
}

/// Names are compared and kept in lower case unless they were quoted.
pub(crate) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

fn check_depth(depth: usize, span: Span) -> Pass<()> {
    if depth > DEPTH_MAX {
        return Err(fault(span, Code::Limit, format!("nested more than {DEPTH_MAX} levels deep")));
    }
    Ok(())
}

/// The WITH names of a query added to those in reach.
fn with_ctes<'q>(query: &'q Query, outer: &Ctes<'q>) -> Pass<Ctes<'q>> {
    let mut ctes = outer.clone();
    let Some(with) = &query.with else { return Ok(ctes) };
    if with.recursive {
        return Err(fault(with.span(), Code::Recursive, "recursive WITH is not allowed")
            .try_instead("write the steps as separate subqueries"));
    }
    for cte in &with.cte_tables {
        if !cte.alias.columns.is_empty() {
            return Err(fault(
                cte.alias.name.span,
                Code::Clause,
                "column lists after a WITH name are not allowed",
            )
            .try_instead("name the columns with AS inside the subquery"));
        }
        if cte.from.is_some() || cte.materialized.is_some() {
            return Err(fault(cte.alias.name.span, Code::Clause, "options of WITH are not allowed")
                .try_instead("write `WITH name AS (SELECT …)`"));
        }
        ctes.push((&cte.alias.name, &cte.query));
    }
    Ok(ctes)
}

/// The SELECT of a query body; everything else is refused.
fn select_of(body: &SetExpr) -> Pass<&Select> {
    match body {
        SetExpr::Select(select) => Ok(select),
        SetExpr::SetOperation { .. } => {
            Err(fault(body.span(), Code::SetOperation, "UNION, INTERSECT and EXCEPT are not allowed")
                .try_instead("ask one question per SELECT, or use CASE to form groups"))
        }
        SetExpr::Query(query) => {
            Err(fault(query.span(), Code::Statement, "a query in parentheses is not allowed here")
                .try_instead("remove the parentheses"))
        }
        SetExpr::Values(_)
        | SetExpr::Insert(_)
        | SetExpr::Update(_)
        | SetExpr::Delete(_)
        | SetExpr::Merge(_)
        | SetExpr::Table(_) => Err(fault(body.span(), Code::Statement, "only SELECT is allowed")
            .try_instead("write `SELECT aggregates FROM tables`")),
    }
}

/// Clauses of the query around the SELECT that have no meaning here. ORDER BY and LIMIT are the caller's business.
fn check_query_clauses(query: &Query) -> Pass<()> {
    // INVARIANT (allow-list): destructured, so that a new clause of the parser breaks the build.
    let Query {
        with: _,
        body: _,
        order_by: _,
        limit_clause: _,
        fetch,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators,
    } = query;
    let found = [
        (fetch.is_some(), "FETCH"),
        (!locks.is_empty(), "FOR UPDATE"),
        (for_clause.is_some(), "FOR"),
        (settings.is_some(), "SETTINGS"),
        (format_clause.is_some(), "FORMAT"),
        (!pipe_operators.is_empty(), "pipe operators"),
    ];
    refuse_clauses(query.body.span(), &found)
}

/// Clauses of a SELECT that are not on the list.
fn check_select_clauses(select: &Select) -> Pass<()> {
    let Select {
        select_token: _,
        optimizer_hints,
        distinct: _,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection: _,
        exclude,
        into,
        from: _,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by: _,
        cluster_by,
        distribute_by,
        sort_by,
        having: _,
        named_window,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    if qualify.is_some() || !named_window.is_empty() {
        return Err(fault(select.span(), Code::Window, "window functions are not allowed")
            .try_instead("compute per-shopper figures in a subquery with GROUP BY the unit key"));
    }
    let found = [
        (!optimizer_hints.is_empty(), "optimizer hints"),
        (select_modifiers.is_some(), "modifiers of SELECT"),
        (top.is_some(), "TOP"),
        (exclude.is_some(), "EXCLUDE"),
        (into.is_some(), "INTO"),
        (!lateral_views.is_empty(), "LATERAL VIEW"),
        (prewhere.is_some(), "PREWHERE"),
        (!connect_by.is_empty(), "CONNECT BY"),
        (!cluster_by.is_empty(), "CLUSTER BY"),
        (!distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!sort_by.is_empty(), "SORT BY"),
        (value_table_mode.is_some(), "SELECT AS"),
        (!matches!(flavor, sqlparser::ast::SelectFlavor::Standard), "FROM before SELECT"),
    ];
    refuse_clauses(select.span(), &found)
}

fn refuse_clauses(span: Span, found: &[(bool, &str)]) -> Pass<()> {
    match found.iter().find(|(present, _)| *present) {
        Some((_, name)) => Err(fault(span, Code::Clause, format!("{name} is not allowed"))
            .try_instead("use SELECT … FROM … WHERE … GROUP BY … HAVING … ORDER BY … LIMIT")),
        None => Ok(()),
    }
}

/// The name in `names` that is most like `wanted`, for "did you mean".
pub(crate) fn closest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let wanted = wanted.to_ascii_lowercase();
    names
        .map(|name| (edit_distance(&wanted, &name.to_ascii_lowercase()), name))
        .filter(|(distance, name)| *distance <= 2.max(name.chars().count() / 3))
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let change =
                row.get(j).copied().unwrap_or(usize::MAX).saturating_add(usize::from(left != *right));
            let insert = next.last().copied().unwrap_or(usize::MAX).saturating_add(1);
            let delete = row.get(j + 1).copied().unwrap_or(usize::MAX).saturating_add(1);
            next.push(change.min(insert).min(delete));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
