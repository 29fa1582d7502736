//! Expressions over released numbers: keys are exact, cells are noisy and independent.

use crate::KeyValue;
use crate::plan::Comparison;

/// An expression of the outermost SELECT, HAVING or ORDER BY.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PostExpr {
    /// The i-th key of the row.
    Key(usize),
    /// The i-th measure of the row.
    Cell(usize),
    /// Sum over count.
    Average {
        sum: usize,
        rows: usize,
    },
    /// A number and its canonical spelling.
    Number(f64, String),
    /// An exact value other than a number, and its canonical spelling.
    Exact(KeyValue, String),
    Neg(Box<PostExpr>),
    Abs(Box<PostExpr>),
    Add(Box<PostExpr>, Box<PostExpr>),
    Sub(Box<PostExpr>, Box<PostExpr>),
    Mul(Box<PostExpr>, Box<PostExpr>),
    Div(Box<PostExpr>, Box<PostExpr>),
    /// Rounded to so many decimals, for display; the interval is that of the unrounded value.
    Round(Box<PostExpr>, i32),
    Compare(Comparison, Box<PostExpr>, Box<PostExpr>),
    And(Vec<PostExpr>),
    Or(Vec<PostExpr>),
    Not(Box<PostExpr>),
    IsNull(Box<PostExpr>),
    Coalesce(Vec<PostExpr>),
    NullIf(Box<PostExpr>, Box<PostExpr>),
    Case {
        branches: Vec<(PostExpr, PostExpr)>,
        otherwise: Option<Box<PostExpr>>,
    },
}

impl PostExpr {
    /// Direct parts.
    pub(crate) fn children(&self) -> Vec<&Self> {
        match self {
            Self::Key(_) | Self::Cell(_) | Self::Average { .. } | Self::Number(..) | Self::Exact(..) => {
                Vec::new()
            }
            Self::Neg(a) | Self::Abs(a) | Self::Round(a, _) | Self::Not(a) | Self::IsNull(a) => vec![a],
            Self::Add(a, b)
            | Self::Sub(a, b)
            | Self::Mul(a, b)
            | Self::Div(a, b)
            | Self::NullIf(a, b)
            | Self::Compare(_, a, b) => vec![a, b],
            Self::And(list) | Self::Or(list) | Self::Coalesce(list) => list.iter().collect(),
            Self::Case { branches, otherwise } => {
                branches.iter().flat_map(|(c, r)| [c, r]).chain(otherwise.as_deref()).collect()
            }
        }
    }

    /// Whether it depends on a noisy cell.
    pub(crate) fn is_noisy(&self) -> bool {
        matches!(self, Self::Cell(_) | Self::Average { .. })
            || self.children().into_iter().any(Self::is_noisy)
    }

    /// Renames keys and cells after they have been sorted.
    pub(crate) fn renumber(&mut self, keys: &[usize], cells: &[usize]) {
        let new = |map: &[usize], at: usize| map.get(at).copied().unwrap_or(at);
        match self {
            Self::Key(at) => *at = new(keys, *at),
            Self::Cell(at) => *at = new(cells, *at),
            Self::Average { sum, rows } => {
                *sum = new(cells, *sum);
                *rows = new(cells, *rows);
            }
            Self::Number(..) | Self::Exact(..) => {}
            Self::Neg(a) | Self::Abs(a) | Self::Round(a, _) | Self::Not(a) | Self::IsNull(a) => {
                a.renumber(keys, cells)
            }
            Self::Add(a, b)
            | Self::Sub(a, b)
            | Self::Mul(a, b)
            | Self::Div(a, b)
            | Self::NullIf(a, b)
            | Self::Compare(_, a, b) => {
                a.renumber(keys, cells);
                b.renumber(keys, cells);
            }
            Self::And(list) | Self::Or(list) | Self::Coalesce(list) => {
                list.iter_mut().for_each(|a| a.renumber(keys, cells));
            }
            Self::Case { branches, otherwise } => {
                for (when, then) in branches {
                    when.renumber(keys, cells);
                    then.renumber(keys, cells);
                }
                otherwise.iter_mut().for_each(|a| a.renumber(keys, cells));
            }
        }
    }
}

/// How keys and measures are spelled in canonical text.
pub(crate) struct Spelling<'s> {
    pub(crate) keys: &'s [String],
    pub(crate) cells: &'s [String],
    /// AVG of what the i-th measure sums.
    pub(crate) averages: &'s [String],
}

impl Spelling<'_> {
    /// The canonical text of an expression.
    pub(crate) fn print(&self, expr: &PostExpr) -> String {
        let at = |list: &[String], at: usize| list.get(at).cloned().unwrap_or_default();
        let two =
            |a: &PostExpr, by: &str, b: &PostExpr| format!("{} {by} {}", self.operand(a), self.operand(b));
        let list =
            |items: &[PostExpr], by: &str| items.iter().map(|i| self.operand(i)).collect::<Vec<_>>().join(by);
        match expr {
            PostExpr::Key(key) => at(self.keys, *key),
            PostExpr::Cell(cell) => at(self.cells, *cell),
            PostExpr::Average { sum, .. } => at(self.averages, *sum),
            PostExpr::Number(_, text) | PostExpr::Exact(_, text) => text.clone(),
            PostExpr::Neg(a) => format!("-{}", self.operand(a)),
            PostExpr::Abs(a) => format!("ABS({})", self.print(a)),
            PostExpr::Round(a, digits) => format!("ROUND({}, {digits})", self.print(a)),
            PostExpr::Add(a, b) => two(a, "+", b),
            PostExpr::Sub(a, b) => two(a, "-", b),
            PostExpr::Mul(a, b) => two(a, "*", b),
            PostExpr::Div(a, b) => two(a, "/", b),
            PostExpr::Compare(op, a, b) => two(a, op.symbol(), b),
            PostExpr::And(items) => list(items, " AND "),
            PostExpr::Or(items) => list(items, " OR "),
            PostExpr::Not(a) => format!("NOT {}", self.operand(a)),
            PostExpr::IsNull(a) => format!("{} IS NULL", self.operand(a)),
            PostExpr::Coalesce(items) => {
                format!("COALESCE({})", items.iter().map(|i| self.print(i)).collect::<Vec<_>>().join(", "))
            }
            PostExpr::NullIf(a, b) => format!("NULLIF({}, {})", self.print(a), self.print(b)),
            PostExpr::Case { branches, otherwise } => {
                let mut text = "CASE".to_owned();
                for (when, then) in branches {
                    text.push_str(&format!(" WHEN {} THEN {}", self.print(when), self.print(then)));
                }
                if let Some(otherwise) = otherwise {
                    text.push_str(&format!(" ELSE {}", self.print(otherwise)));
                }
                text + " END"
            }
        }
    }

    fn operand(&self, expr: &PostExpr) -> String {
        match expr {
            PostExpr::Cell(_)
            | PostExpr::Average { .. }
            | PostExpr::Exact(..)
            | PostExpr::Abs(_)
            | PostExpr::Round(..)
            | PostExpr::Coalesce(_)
            | PostExpr::NullIf(..)
            | PostExpr::Case { .. } => self.print(expr),
            PostExpr::Number(value, _) if *value >= 0.0 => self.print(expr),
            _ => format!("({})", self.print(expr)),
        }
    }
}
