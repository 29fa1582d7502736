//! Post-processing: what happens to the noisy numbers of a release. It reads nothing else, so it costs nothing.
//!
//! # Guarantee
//! [`PostPlan::evaluate`] is a function of the noisy table alone (DESIGN §5): any HAVING, ORDER BY, LIMIT or arithmetic
//! in it is free of privacy cost.

pub(crate) mod evaluate;
pub(crate) mod expr;
mod table;

use std::cmp::Ordering;
use std::collections::HashMap;

pub use table::{KeyValue, NoisyCell, NoisyRow, NoisyTable, OutCell, OutColumn, OutNumber, OutTable, Role};

use evaluate::{Evaluator, Value};
use expr::PostExpr;

/// What happens to the noisy numbers: projections, HAVING, ORDER BY, LIMIT.
#[derive(Debug, Clone, PartialEq)]
pub struct PostPlan {
    pub(crate) columns: Vec<OutColumn>,
    pub(crate) items: Vec<PostExpr>,
    pub(crate) having: Option<PostExpr>,
    pub(crate) order: Vec<Order>,
    pub(crate) limit: Option<u64>,
    pub(crate) offset: u64,
    /// For each key: the public domain in display order; empty for private keys.
    pub(crate) domains: Vec<Vec<KeyValue>>,
    /// For each key: decimals of its whole numbers.
    pub(crate) key_scales: Vec<u8>,
}

/// One ORDER BY expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    pub(crate) expr: PostExpr,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

impl PostPlan {
    /// The columns of the answer.
    pub fn columns(&self) -> &[OutColumn] {
        &self.columns
    }

    /// Computes the answer.
    ///
    /// Standard deviations are propagated to first order: the gradient of each expression with respect to the row's
    /// independent cells, so a cell that occurs twice counts once. Intervals are ±1.96 standard deviations. A ratio
    /// whose denominator is within twice its own 95 % noise of zero has no interval and is marked `unstable` (Fieller:
    /// its confidence set may be unbounded). HAVING and ORDER BY work on the noisy values. Ties, and rows without ORDER
    /// BY, are in the order of the keys, so the answer is a function of the numbers.
    pub fn evaluate(&self, noisy: &NoisyTable) -> OutTable {
        let ranks: Vec<HashMap<&KeyValue, usize>> = self
            .domains
            .iter()
            .map(|domain| domain.iter().enumerate().map(|(at, value)| (value, at)).collect())
            .collect();
        let evaluator = |row| Evaluator { row, ranks: &ranks, key_scales: &self.key_scales };
        let mut kept: Vec<(Vec<Value>, &NoisyRow)> = noisy
            .rows
            .iter()
            .filter(|row| self.having.as_ref().is_none_or(|having| evaluator(row).holds(having)))
            .map(|row| (self.order.iter().map(|order| evaluator(row).value(&order.expr)).collect(), row))
            .collect();
        kept.sort_by(|a, b| self.compare(a, b, &ranks));
        let skip = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let take = self.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let rows = kept
            .into_iter()
            .skip(skip)
            .take(take)
            .map(|(_, row)| self.items.iter().map(|item| evaluator(row).cell(item)).collect())
            .collect();
        OutTable { columns: self.columns.clone(), rows }
    }

    fn compare(
        &self,
        a: &(Vec<Value>, &NoisyRow),
        b: &(Vec<Value>, &NoisyRow),
        ranks: &[HashMap<&KeyValue, usize>],
    ) -> Ordering {
        for ((order, x), y) in self.order.iter().zip(&a.0).zip(&b.0) {
            let by = x.order(y, order.descending, order.nulls_first);
            if by != Ordering::Equal {
                return by;
            }
        }
        // Keys in the order of the SELECT list first, then all others.
        let listed = self.items.iter().filter_map(|item| match item {
            PostExpr::Key(key) => Some(*key),
            _ => None,
        });
        for key in listed.chain(0..self.domains.len()) {
            let (Some(x), Some(y)) = (a.1.keys.get(key), b.1.keys.get(key)) else { continue };
            let rank =
                |value| ranks.get(key).and_then(|ranks| ranks.get(value)).copied().unwrap_or(usize::MAX);
            let by = rank(x).cmp(&rank(y)).then_with(|| x.cmp(y));
            if by != Ordering::Equal {
                return by;
            }
        }
        Ordering::Equal
    }
}
