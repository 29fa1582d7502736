//! A checked statement: what it reads, how its groups and measures are made, and what happens to the noisy numbers.

use std::collections::BTreeSet;

use ids::{Date, Digest};
use sqlparser::ast::Query;

use crate::lower::{Lowered, lower_query};
use crate::plan::{Block, Core, Key, Measure, MeasureForm, Node, Range, Scalar, Source, Ty};
use crate::post::expr::{PostExpr, Spelling};
use crate::print::{canonical, ident, stream};
use crate::refusal::Pass;
use crate::{KeyValue, OutColumn, PostPlan, Refusal, Role, Schema, days};

/// What a query reads. A superset of what any evaluation of it can depend on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footprint {
    /// (table, column) read anywhere: keys, values, filters, joins.
    pub columns: BTreeSet<(String, String)>,
    /// (table, column) that group keys are made of.
    pub keys: BTreeSet<(String, String)>,
    /// Tables read.
    pub tables: BTreeSet<String>,
}

/// Type of a private key in the stream and in [`KeyValue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// VARCHAR; dates and moments as text.
    Text,
    /// BIGINT with so many decimals (0 for whole numbers).
    Int {
        /// Decimals.
        scale: u8,
    },
}

/// One group key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySpec {
    /// All values are public and all are answered, also those without rows.
    Public {
        /// The expression in canonical form.
        name: String,
        /// The values in order; NULL comes last and only where the expression can be NULL.
        domain: Vec<KeyValue>,
    },
    /// Values come from private rows: a group is shown only past the noisy threshold.
    Private {
        /// The expression in canonical form.
        name: String,
        /// Type in the stream.
        ty: KeyType,
    },
}

/// What a base measure adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasureKind {
    /// Distinct shoppers with at least one contributing row.
    Units,
    /// Contributing rows.
    Rows,
    /// A sum of integers with `scale` decimals.
    Sum {
        /// Decimals.
        scale: u8,
    },
}

/// One base measure. AVG becomes a sum and a count of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasureSpec {
    /// The aggregate in canonical form.
    pub name: String,
    /// What it adds up.
    pub kind: MeasureKind,
    /// Largest magnitude one row can add, in stored integers, under declared or default bounds. 1 for counts.
    pub row_bound: u64,
    /// Whether the stream has a column `m<i>` for it. Units and Rows without a filter have none: every row counts.
    pub streamed: bool,
}

/// A policy obligation: only rows of `table` whose `column` is one of `allowed` may be read, and only rows of private
/// tables that refer to such rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowFilter {
    /// Table.
    pub table: String,
    /// Column of that table.
    pub column: String,
    /// Allowed values, as the catalogue writes them.
    pub allowed: BTreeSet<String>,
}

/// One column of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamColumn {
    /// `unit_ix`: the shopper (UINTEGER).
    Unit,
    /// `g`: mixed-radix code over all public keys (INTEGER; NULL = the row belongs to no group).
    Group,
    /// `p<i>`: value of the i-th *private* key (VARCHAR or BIGINT).
    Private(usize),
    /// `m<i>`: value of the i-th measure (BIGINT; NULL = the row adds nothing).
    Measure(usize),
}

/// What DuckDB is asked, printed from the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSql {
    /// The statement, with two parameters `$1` and `$2`: `unit_ix >= $1 AND unit_ix < $2` in every private scan.
    pub text: String,
    /// The columns it yields, in order.
    pub columns: Vec<StreamColumn>,
}

/// A statement that passed every check. See the crate's documentation for its life.
#[derive(Debug, Clone)]
pub struct ResolvedQuery {
    schema: Schema,
    core: Core,
    canonical: String,
    core_text: String,
    footprint: Footprint,
    event_days: Option<(Date, Date)>,
    keys: Vec<KeySpec>,
    measures: Vec<MeasureSpec>,
    post: PostPlan,
}

impl ResolvedQuery {
    pub(crate) fn new(schema: &Schema, query: &Query) -> Pass<Self> {
        let lowered = lower_query(schema, query)?;
        let names = Names::new(&lowered.core);
        let keys: Vec<KeySpec> =
            lowered.core.keys.iter().zip(&names.keys).map(|(key, name)| key_spec(key, name)).collect();
        let measures: Vec<MeasureSpec> = lowered
            .core
            .measures
            .iter()
            .zip(&names.cells)
            .map(|(measure, name)| measure_spec(measure, name))
            .collect();
        let post = post_plan(&lowered, &names, &keys, &measures);
        let core_text = core_text(&lowered.core, &names);
        let canonical = canonical_text(&lowered, &names);
        let footprint = footprint(schema, &lowered.core);
        let event_days = days::event_days(schema, &lowered.core.block);
        let Lowered { core, .. } = lowered;
        // A plan that cannot be printed is refused now, not after the charge.
        stream::stream(schema, &core, &[])?;
        Ok(Self {
            schema: schema.clone(),
            core,
            canonical,
            core_text,
            footprint,
            event_days,
            keys,
            measures,
            post,
        })
    }

    /// The statement printed from the plan. Parsing and resolving it gives the same plan and the same text.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Digest of the private core: dataset, relations, filters, keys with their domains, and measures. Aliases,
    /// projections, HAVING, ORDER BY and LIMIT do not change it.
    pub fn digest(&self) -> Digest {
        self.core_digest_with(&[])
    }

    /// Digest of the private core together with the row filters that were applied to it. The order of the filters and
    /// filters given twice do not change it.
    pub fn core_digest_with(&self, filters: &[RowFilter]) -> Digest {
        let sorted: BTreeSet<&RowFilter> = filters.iter().collect();
        let mut parts: Vec<String> =
            vec!["sql-core-1".to_owned(), self.schema.dataset.to_string(), self.core_text.clone()];
        for filter in sorted {
            parts.push(format!("filter {}", filter.allowed.len()));
            parts.extend([filter.table.clone(), filter.column.clone()]);
            parts.extend(filter.allowed.iter().cloned());
        }
        let bytes: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        Digest::of_parts(&bytes)
    }

    /// What it reads. Columns of policy row filters are not in it.
    pub fn footprint(&self) -> &Footprint {
        &self.footprint
    }

    /// First and last day (inclusive) whose rows the WHERE clauses cannot exclude; a superset. `None` where a private
    /// table without event time is read: then every block is touched.
    pub fn event_days(&self) -> Option<(Date, Date)> {
        self.event_days
    }

    /// The group keys, in the order of [`NoisyRow::keys`](crate::NoisyRow).
    pub fn keys(&self) -> &[KeySpec] {
        &self.keys
    }

    /// The number of cells of the public group space: the product of the public domains; 1 without public keys, 0
    /// where a domain is still to be learned.
    pub fn public_cells(&self) -> u64 {
        self.public_domains().map(|domain| domain.len() as u64).product()
    }

    /// The values of the public keys, in key order, that a stream code `g` stands for; `None` outside the space.
    pub fn public_values(&self, code: u64) -> Option<Vec<&KeyValue>> {
        let mut rest = code;
        let mut values = Vec::new();
        let domains: Vec<&Vec<KeyValue>> = self.public_domains().collect();
        for domain in domains.into_iter().rev() {
            let size = domain.len() as u64;
            let at = rest.checked_rem(size)?;
            values.push(domain.get(usize::try_from(at).ok()?)?);
            rest /= size;
        }
        values.reverse();
        (rest == 0).then_some(values)
    }

    fn public_domains(&self) -> impl Iterator<Item = &Vec<KeyValue>> {
        self.keys.iter().filter_map(|key| match key {
            KeySpec::Public { domain, .. } => Some(domain),
            KeySpec::Private { .. } => None,
        })
    }

    /// The base measures, without duplicates, in the order of [`NoisyRow::cells`](crate::NoisyRow).
    pub fn measures(&self) -> &[MeasureSpec] {
        &self.measures
    }

    /// The DuckDB statement of the private core under `filters`.
    ///
    /// # Guarantee
    /// Unit: the shopper, with all rows in all private tables. Removing a shopper removes exactly the stream's rows with
    /// that `unit_ix`; no bound on their number or size is implied, bounding comes after.
    ///
    /// # Errors
    /// A filter that names an unknown table or column is refused (code `sql.catalogue`): a policy that cannot be
    /// applied must not be skipped.
    pub fn stream_sql(&self, filters: &[RowFilter]) -> Result<StreamSql, Refusal> {
        stream::stream(&self.schema, &self.core, filters).map_err(|fault| fault.into_refusal(""))
    }

    /// What happens to the noisy numbers.
    pub fn post(&self) -> &PostPlan {
        &self.post
    }
}

/// Canonical spellings of keys and measures.
struct Names {
    keys: Vec<String>,
    cells: Vec<String>,
    averages: Vec<String>,
}

impl Names {
    fn new(core: &Core) -> Self {
        let block = &core.block;
        Self {
            keys: core.keys.iter().map(|key| canonical::scalar(&block.relations, &key.expr)).collect(),
            cells: core.measures.iter().map(|measure| canonical::measure(block, measure)).collect(),
            averages: core.measures.iter().map(|measure| canonical::average(block, measure)).collect(),
        }
    }

    fn spelling(&self) -> Spelling<'_> {
        Spelling { keys: &self.keys, cells: &self.cells, averages: &self.averages }
    }
}

fn key_spec(key: &Key, name: &str) -> KeySpec {
    let name = name.to_owned();
    match (&key.public, key.expr.ty) {
        (Some(public), _) => KeySpec::Public { name, domain: public.domain.clone() },
        (None, Ty::Num(scale)) => KeySpec::Private { name, ty: KeyType::Int { scale } },
        (None, _) => KeySpec::Private { name, ty: KeyType::Text },
    }
}

fn measure_spec(measure: &Measure, name: &str) -> MeasureSpec {
    let (kind, row_bound) = match &measure.kind {
        MeasureForm::Units => (MeasureKind::Units, 1),
        MeasureForm::Rows(_) => (MeasureKind::Rows, 1),
        MeasureForm::Sum(arg) => {
            let Range { low, high } = arg.bounds.assumed;
            let bound = u64::try_from(low.unsigned_abs().max(high.unsigned_abs())).unwrap_or(u64::MAX);
            (MeasureKind::Sum { scale: arg.scale().unwrap_or(0) }, bound.max(1))
        }
    };
    MeasureSpec { name: name.to_owned(), kind, row_bound, streamed: stream::is_streamed(measure) }
}

fn post_plan(lowered: &Lowered, names: &Names, keys: &[KeySpec], measures: &[MeasureSpec]) -> PostPlan {
    let spelling = names.spelling();
    let column = |(name, item): &(Option<String>, PostExpr)| OutColumn {
        name: name.clone().unwrap_or_else(|| spelling.print(item)),
        role: if item.is_noisy() { Role::Value } else { Role::Key },
        unit: match item {
            PostExpr::Cell(at) => measures.get(*at).map(|measure| match measure.kind {
                MeasureKind::Units => "shoppers",
                MeasureKind::Rows => "rows",
                MeasureKind::Sum { .. } => "amount",
            }),
            _ => None,
        },
    };
    let domain = |key: &KeySpec| match key {
        KeySpec::Public { domain, .. } => domain.clone(),
        KeySpec::Private { .. } => Vec::new(),
    };
    let scale = |key: &KeySpec| match key {
        KeySpec::Private { ty: KeyType::Int { scale }, .. } => *scale,
        KeySpec::Public { .. } | KeySpec::Private { .. } => 0,
    };
    PostPlan {
        columns: lowered.items.iter().map(column).collect(),
        items: lowered.items.iter().map(|(_, item)| item.clone()).collect(),
        having: lowered.having.clone(),
        order: lowered.order.clone(),
        limit: lowered.limit,
        offset: lowered.offset,
        domains: keys.iter().map(domain).collect(),
        key_scales: keys.iter().map(scale).collect(),
    }
}

/// The private core as text: what the digest stands for. The domains belong to it: other values, another question.
fn core_text(core: &Core, names: &Names) -> String {
    let mut text = format!("SELECT {}{}", names.cells.join(", "), canonical::block(&core.block));
    for (key, name) in core.keys.iter().zip(&names.keys) {
        text.push_str(&format!("\nKEY {name}"));
        if let Some(public) = &key.public {
            text.push_str(&format!(" OF {:?}", public.domain));
        }
    }
    text
}

fn canonical_text(lowered: &Lowered, names: &Names) -> String {
    let spelling = names.spelling();
    let items: Vec<String> = lowered
        .items
        .iter()
        .map(|(name, item)| match name {
            Some(name) => format!("{} AS {}", spelling.print(item), ident(name)),
            None => spelling.print(item),
        })
        .collect();
    let mut text = format!("SELECT {}{}", items.join(", "), canonical::block(&lowered.core.block));
    if !names.keys.is_empty() {
        text.push_str(&format!(" GROUP BY {}", names.keys.join(", ")));
    }
    if let Some(having) = &lowered.having {
        text.push_str(&format!(" HAVING {}", spelling.print(having)));
    }
    if !lowered.order.is_empty() {
        let order: Vec<String> = lowered
            .order
            .iter()
            .map(|order| {
                let direction = if order.descending { " DESC" } else { "" };
                let nulls = if order.nulls_first { " NULLS FIRST" } else { "" };
                format!("{}{direction}{nulls}", spelling.print(&order.expr))
            })
            .collect();
        text.push_str(&format!(" ORDER BY {}", order.join(", ")));
    }
    if let Some(limit) = lowered.limit {
        text.push_str(&format!(" LIMIT {limit}"));
    }
    if lowered.offset > 0 {
        text.push_str(&format!(" OFFSET {}", lowered.offset));
    }
    text
}

fn footprint(schema: &Schema, core: &Core) -> Footprint {
    let mut out = Footprint::default();
    block_footprint(schema, &core.block, &mut out);
    let exprs = core.measures.iter().flat_map(|measure| {
        let arg = match &measure.kind {
            MeasureForm::Units | MeasureForm::Rows(None) => None,
            MeasureForm::Rows(Some(arg)) | MeasureForm::Sum(arg) => Some(arg),
        };
        arg.into_iter().chain(&measure.filter)
    });
    for expr in exprs {
        trace(&core.block, expr, &mut out.columns);
    }
    for key in &core.keys {
        trace(&core.block, &key.expr, &mut out.columns);
        trace(&core.block, &key.expr, &mut out.keys);
    }
    out
}

fn block_footprint(schema: &Schema, block: &Block, out: &mut Footprint) {
    for relation in &block.relations {
        match &relation.source {
            Source::Private { table, unit_key } => {
                out.tables.insert(table.clone());
                // The unit key decides whose row it is, whether it is written or not.
                out.columns.insert((table.clone(), unit_key.clone()));
            }
            Source::Public { table, .. } => {
                out.tables.insert(table.clone());
            }
            Source::Shopper(shopper) => {
                block_footprint(schema, &shopper.block, out);
                let items = shopper.items.iter().map(|(_, item)| item);
                for expr in items.chain(shopper.group.iter().flatten()).chain(&shopper.having) {
                    trace(&shopper.block, expr, &mut out.columns);
                }
            }
        }
        // Following a declared reference says nothing about its value beyond that the row exists; a join on anything
        // else compares values and counts as reading them.
        for (a, b) in relation.on.iter().filter(|(a, b)| !follows_reference(schema, block, a, b)) {
            trace(block, a, &mut out.columns);
            trace(block, b, &mut out.columns);
        }
    }
    for filter in &block.filters {
        trace(block, filter, &mut out.columns);
    }
}

/// Whether a join pair only follows a foreign key of the catalogue, between plain columns of two tables.
fn follows_reference(schema: &Schema, block: &Block, a: &Scalar, b: &Scalar) -> bool {
    let (Some((from, column)), Some((to, key))) = (table_column(block, a), table_column(block, b)) else {
        return false;
    };
    let declared = |from: &str, column: &str, to: &str, key: &str| {
        schema.table(from).is_some_and(|table| {
            table.foreign_keys.iter().any(|fk| fk.column == column && fk.table == to && fk.key == key)
        })
    };
    declared(from, column, to, key) || declared(to, key, from, column)
}

/// The table and column that an expression is, if it is nothing more than a column of a table.
fn table_column<'a>(block: &'a Block, expr: &'a Scalar) -> Option<(&'a str, &'a str)> {
    let Node::Column { relation, name } = &expr.node else { return None };
    match &block.relations.get(*relation)?.source {
        Source::Private { table, .. } | Source::Public { table, .. } => Some((table, name)),
        Source::Shopper(_) => None,
    }
}

/// Adds the catalogue columns that an expression is made of, through subqueries down to the tables.
fn trace(block: &Block, expr: &Scalar, out: &mut BTreeSet<(String, String)>) {
    expr.visit_columns(&mut |index, name| {
        let Some(relation) = block.relations.get(index) else { return };
        match &relation.source {
            Source::Private { table, .. } | Source::Public { table, .. } => {
                out.insert((table.clone(), name.to_owned()));
            }
            Source::Shopper(shopper) => {
                if let Some((_, item)) = shopper.items.iter().find(|(item, _)| item == name) {
                    trace(&shopper.block, item, out);
                }
            }
        }
    });
}
