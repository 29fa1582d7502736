//! A checked statement: what it reads, how its groups and measures are made, and what happens to the noisy numbers.

use std::collections::BTreeSet;

use ids::{Date, Digest};

use crate::{KeyValue, PostPlan, Refusal};

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
    _todo: (),
}

impl ResolvedQuery {
    /// The statement printed from the plan. Parsing and resolving it gives the same plan and the same text.
    pub fn canonical(&self) -> &str {
        todo!()
    }

    /// Digest of the private core: relations, filters, keys and measures. Aliases, projections, HAVING, ORDER BY and
    /// LIMIT do not change it.
    pub fn digest(&self) -> Digest {
        todo!()
    }

    /// Digest of the private core together with the row filters that were applied to it.
    pub fn core_digest_with(&self, filters: &[RowFilter]) -> Digest {
        let _ = filters;
        todo!()
    }

    /// What it reads.
    pub fn footprint(&self) -> &Footprint {
        todo!()
    }

    /// First and last day (inclusive) whose rows the WHERE clauses cannot exclude; a superset. `None` where a private
    /// table without event time is read: then every block is touched.
    pub fn event_days(&self) -> Option<(Date, Date)> {
        todo!()
    }

    /// The group keys, in the order of [`NoisyRow::keys`](crate::NoisyRow).
    pub fn keys(&self) -> &[KeySpec] {
        todo!()
    }

    /// The number of cells of the public group space: the product of the public domains; 1 without public keys.
    pub fn public_cells(&self) -> u64 {
        todo!()
    }

    /// The values of the public keys, in key order, that a stream code `g` stands for.
    pub fn public_values(&self, code: u64) -> Option<Vec<&KeyValue>> {
        let _ = code;
        todo!()
    }

    /// The base measures, without duplicates, in the order of [`NoisyRow::cells`](crate::NoisyRow).
    pub fn measures(&self) -> &[MeasureSpec] {
        todo!()
    }

    /// The DuckDB statement of the private core under `filters`.
    ///
    /// # Errors
    /// A filter that names an unknown table or column is refused (code `sql.catalogue`): a policy that cannot be
    /// applied must not be skipped.
    pub fn stream_sql(&self, filters: &[RowFilter]) -> Result<StreamSql, Refusal> {
        let _ = filters;
        todo!()
    }

    /// What happens to the noisy numbers.
    pub fn post(&self) -> &PostPlan {
        todo!()
    }
}
