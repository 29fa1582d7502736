//! The relational plan: everything a statement can mean. What is not representable here cannot be asked.
//!
//! Expressions are typed, know whether they can be NULL and which values they can take, and contain only total
//! functions: no row can make them fail.

use ids::Date;
use sqlparser::tokenizer::Span;

use crate::limits::MAGNITUDE_MAX;
use crate::refusal::{Code, Pass, fault};
use crate::{Domain, KeyValue};

/// Type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
    /// A number with so many decimals, kept as an integer.
    Num(u8),
    Text,
    Bool,
    Date,
    Timestamp,
    /// The key that identifies the shopper.
    Unit,
    /// The bare literal NULL.
    Null,
}

impl Ty {
    /// The type's name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Num(0) => "a whole number",
            Self::Num(_) => "an amount",
            Self::Text => "text",
            Self::Bool => "a condition",
            Self::Date => "a date",
            Self::Timestamp => "a timestamp",
            Self::Unit => "the unit key",
            Self::Null => "NULL",
        }
    }
}

/// Smallest and largest value of a number, in scaled integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) low: i128,
    pub(crate) high: i128,
}

impl Range {
    pub(crate) const BIGINT: Self = Self { low: i64::MIN as i128, high: i64::MAX as i128 };

    pub(crate) const fn point(value: i128) -> Self {
        Self { low: value, high: value }
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    pub(crate) fn magnitude(self) -> i128 {
        self.low.saturating_abs().max(self.high.saturating_abs())
    }

    pub(crate) fn fits_bigint(self) -> bool {
        self.low >= Self::BIGINT.low && self.high <= Self::BIGINT.high
    }

    /// Applies `f` to the corners; refused where the result could leave HUGEINT.
    pub(crate) fn corners(
        self,
        other: Self,
        span: Span,
        f: impl Fn(i128, i128) -> Option<i128>,
    ) -> Pass<Self> {
        let mut out: Option<Self> = None;
        for (a, b) in
            [(self.low, other.low), (self.low, other.high), (self.high, other.low), (self.high, other.high)]
        {
            let value =
                f(a, b).filter(|v| v.saturating_abs() <= MAGNITUDE_MAX).ok_or_else(|| overflow(span))?;
            out = Some(out.map_or(Self::point(value), |range| range.union(Self::point(value))));
        }
        out.ok_or_else(|| overflow(span))
    }
}

pub(crate) fn overflow(span: Span) -> crate::refusal::Fault {
    fault(span, Code::Bounds, "the value could overflow under the bounds of its columns")
        .try_instead("declare bounds for the columns in the catalogue, or multiply fewer columns")
}

/// 10 to the power of `exponent`, for exponents that scales can make.
pub(crate) fn pow10(exponent: u8) -> i128 {
    10_i128.checked_pow(u32::from(exponent)).unwrap_or(i128::MAX)
}

/// What is known about a number: the values it takes under declared or assumed bounds, and those it can take at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Under declared bounds, or the assumed ones where none are declared. For clipping and display only.
    pub(crate) assumed: Range,
    /// Without any assumption: what keeps the arithmetic from failing.
    pub(crate) certain: Range,
}

impl Bounds {
    pub(crate) const fn point(value: i128) -> Self {
        Self { assumed: Range::point(value), certain: Range::point(value) }
    }

    pub(crate) const fn both(range: Range) -> Self {
        Self { assumed: range, certain: range }
    }

    pub(crate) const ZERO: Self = Self::point(0);

    pub(crate) fn union(self, other: Self) -> Self {
        Self { assumed: self.assumed.union(other.assumed), certain: self.certain.union(other.certain) }
    }
}

/// A typed expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) node: Node,
    pub(crate) ty: Ty,
    pub(crate) nullable: bool,
    /// For numbers; zero otherwise.
    pub(crate) bounds: Bounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    /// Fixed point with [`QUOTIENT_SCALE`](crate::limits::QUOTIENT_SCALE) decimals, NULL on zero.
    Div,
    /// Remainder, NULL on zero.
    Mod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
}

impl Comparison {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::NotEq => "<>",
            Self::Lt => "<",
            Self::LtEq => "<=",
            Self::Gt => ">",
            Self::GtEq => ">=",
        }
    }

    /// The comparison with its sides exchanged.
    pub(crate) fn flipped(self) -> Self {
        match self {
            Self::Eq => Self::Eq,
            Self::NotEq => Self::NotEq,
            Self::Lt => Self::Gt,
            Self::LtEq => Self::GtEq,
            Self::Gt => Self::Lt,
            Self::GtEq => Self::LtEq,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextFunction {
    Lower,
    Upper,
    Trim,
    Length,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatePart {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Dow,
    Isodow,
    Doy,
}

impl DatePart {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Quarter => "quarter",
            Self::Month => "month",
            Self::Week => "week",
            Self::Day => "day",
            Self::Dow => "dow",
            Self::Isodow => "isodow",
            Self::Doy => "doy",
        }
    }

    /// By name, as `date_trunc` and `extract` spell it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Year, Self::Quarter, Self::Month, Self::Week, Self::Day, Self::Dow, Self::Isodow, Self::Doy]
            .into_iter()
            .find(|part| part.name().eq_ignore_ascii_case(name))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CastTo {
    BigInt,
    Decimal(u8),
    Text,
    Date,
    Timestamp,
    Bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InnerAggregate {
    CountRows,
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
}

impl InnerAggregate {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CountRows | Self::Count | Self::CountDistinct => "COUNT",
            Self::Sum => "SUM",
            Self::Avg => "AVG",
            Self::Min => "MIN",
            Self::Max => "MAX",
        }
    }
}

/// Expression forms. Operands have been checked when a node exists.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Column {
        relation: usize,
        name: String,
    },
    Number(i128),
    Text(String),
    Bool(bool),
    Date(Date),
    /// Microseconds since the epoch.
    Timestamp(i64),
    Null,
    Neg(Box<Scalar>),
    Abs(Box<Scalar>),
    Arithmetic(Arithmetic, Box<Scalar>, Box<Scalar>),
    Compare(Comparison, Box<Scalar>, Box<Scalar>),
    Distinct {
        negated: bool,
        left: Box<Scalar>,
        right: Box<Scalar>,
    },
    And(Vec<Scalar>),
    Or(Vec<Scalar>),
    Not(Box<Scalar>),
    IsNull(Box<Scalar>),
    InList(Box<Scalar>, Vec<Scalar>),
    Case {
        branches: Vec<(Scalar, Scalar)>,
        otherwise: Option<Box<Scalar>>,
    },
    Coalesce(Vec<Scalar>),
    NullIf(Box<Scalar>, Box<Scalar>),
    Like {
        expr: Box<Scalar>,
        pattern: String,
        insensitive: bool,
    },
    TextCall(TextFunction, Box<Scalar>),
    Substring {
        expr: Box<Scalar>,
        from: i64,
        length: Option<i64>,
    },
    Concat(Box<Scalar>, Box<Scalar>),
    DateTrunc(DatePart, Box<Scalar>),
    Extract(DatePart, Box<Scalar>),
    ShiftDays(Box<Scalar>, i64),
    ShiftMonths(Box<Scalar>, i64),
    /// Whole days from the second to the first.
    DaysBetween(Box<Scalar>, Box<Scalar>),
    Cast(CastTo, Box<Scalar>),
    /// Inside per-shopper subqueries only.
    Aggregate {
        function: InnerAggregate,
        arg: Option<Box<Scalar>>,
        filter: Option<Box<Scalar>>,
    },
}

impl Scalar {
    pub(crate) fn new(node: Node, ty: Ty, nullable: bool) -> Self {
        Self { node, ty, nullable, bounds: Bounds::ZERO }
    }

    pub(crate) fn number(node: Node, scale: u8, nullable: bool, bounds: Bounds) -> Self {
        Self { node, ty: Ty::Num(scale), nullable, bounds }
    }

    pub(crate) fn scale(&self) -> Option<u8> {
        match self.ty {
            Ty::Num(scale) => Some(scale),
            _ => None,
        }
    }

    pub(crate) fn is_literal(&self) -> bool {
        matches!(
            self.node,
            Node::Number(_) | Node::Text(_) | Node::Bool(_) | Node::Date(_) | Node::Timestamp(_) | Node::Null
        )
    }

    /// Direct operands.
    pub(crate) fn children(&self) -> Vec<&Self> {
        match &self.node {
            Node::Column { .. }
            | Node::Number(_)
            | Node::Text(_)
            | Node::Bool(_)
            | Node::Date(_)
            | Node::Timestamp(_)
            | Node::Null => Vec::new(),
            Node::Neg(a)
            | Node::Abs(a)
            | Node::Not(a)
            | Node::IsNull(a)
            | Node::TextCall(_, a)
            | Node::DateTrunc(_, a)
            | Node::Extract(_, a)
            | Node::ShiftDays(a, _)
            | Node::ShiftMonths(a, _)
            | Node::Cast(_, a) => vec![a],
            Node::Like { expr, .. } | Node::Substring { expr, .. } => vec![expr],
            Node::Arithmetic(_, a, b)
            | Node::Compare(_, a, b)
            | Node::NullIf(a, b)
            | Node::Concat(a, b)
            | Node::DaysBetween(a, b)
            | Node::Distinct { left: a, right: b, .. } => vec![a, b],
            Node::And(list) | Node::Or(list) | Node::Coalesce(list) => list.iter().collect(),
            Node::InList(a, list) => std::iter::once(&**a).chain(list).collect(),
            Node::Case { branches, otherwise } => {
                branches.iter().flat_map(|(c, r)| [c, r]).chain(otherwise.as_deref()).collect()
            }
            Node::Aggregate { arg, filter, .. } => {
                arg.as_deref().into_iter().chain(filter.as_deref()).collect()
            }
        }
    }

    /// Calls `f` on it and on everything in it.
    pub(crate) fn for_each_mut(&mut self, f: &mut dyn FnMut(&mut Self)) {
        f(self);
        match &mut self.node {
            Node::Column { .. }
            | Node::Number(_)
            | Node::Text(_)
            | Node::Bool(_)
            | Node::Date(_)
            | Node::Timestamp(_)
            | Node::Null => {}
            Node::Neg(a)
            | Node::Abs(a)
            | Node::Not(a)
            | Node::IsNull(a)
            | Node::TextCall(_, a)
            | Node::DateTrunc(_, a)
            | Node::Extract(_, a)
            | Node::ShiftDays(a, _)
            | Node::ShiftMonths(a, _)
            | Node::Cast(_, a)
            | Node::Like { expr: a, .. }
            | Node::Substring { expr: a, .. } => a.for_each_mut(f),
            Node::Arithmetic(_, a, b)
            | Node::Compare(_, a, b)
            | Node::NullIf(a, b)
            | Node::Concat(a, b)
            | Node::DaysBetween(a, b)
            | Node::Distinct { left: a, right: b, .. } => {
                a.for_each_mut(f);
                b.for_each_mut(f);
            }
            Node::And(list) | Node::Or(list) | Node::Coalesce(list) => {
                list.iter_mut().for_each(|a| a.for_each_mut(f))
            }
            Node::InList(a, list) => {
                a.for_each_mut(f);
                list.iter_mut().for_each(|a| a.for_each_mut(f));
            }
            Node::Case { branches, otherwise } => {
                for (when, then) in branches {
                    when.for_each_mut(f);
                    then.for_each_mut(f);
                }
                otherwise.iter_mut().for_each(|a| a.for_each_mut(f));
            }
            Node::Aggregate { arg, filter, .. } => {
                arg.iter_mut().chain(filter).for_each(|a| a.for_each_mut(f));
            }
        }
    }

    /// Calls `f` on every column in it.
    pub(crate) fn visit_columns(&self, f: &mut dyn FnMut(usize, &str)) {
        if let Node::Column { relation, name } = &self.node {
            f(*relation, name);
        }
        for child in self.children() {
            child.visit_columns(f);
        }
    }

    /// Whether an aggregate occurs in it.
    pub(crate) fn has_aggregate(&self) -> bool {
        matches!(self.node, Node::Aggregate { .. }) || self.children().into_iter().any(Self::has_aggregate)
    }
}

/// A column a relation offers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) ty: Ty,
    pub(crate) nullable: bool,
    pub(crate) bounds: Bounds,
    pub(crate) domain: Option<Domain>,
    pub(crate) hidden: bool,
}

/// Where a relation's rows come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    Private {
        table: String,
        unit_key: String,
    },
    Public {
        table: String,
        key: Vec<String>,
    },
    /// A subquery that carries the unit key.
    Shopper(Box<Shopper>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinKind {
    First,
    Inner,
    Left,
}

/// One relation of a FROM clause, in join order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Relation {
    pub(crate) alias: String,
    pub(crate) source: Source,
    pub(crate) fields: Vec<Field>,
    pub(crate) join: JoinKind,
    /// (side that came earlier, column of this relation).
    pub(crate) on: Vec<(Scalar, Scalar)>,
}

impl Relation {
    /// The visible name of its unit key, if its rows belong to shoppers.
    pub(crate) fn unit_key(&self) -> Option<&str> {
        match &self.source {
            Source::Private { unit_key, .. } => Some(unit_key),
            Source::Public { .. } => None,
            Source::Shopper(shopper) => Some(&shopper.unit_name),
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// FROM and WHERE.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Block {
    pub(crate) relations: Vec<Relation>,
    /// Conjuncts, sorted by their printed form, without duplicates.
    pub(crate) filters: Vec<Scalar>,
}

/// A subquery whose rows belong to shoppers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shopper {
    pub(crate) block: Block,
    /// Output columns; the unit key is among them.
    pub(crate) items: Vec<(String, Scalar)>,
    /// The output name of the unit key.
    pub(crate) unit_name: String,
    /// GROUP BY, the unit key included; `None` for a plain filtered subquery.
    pub(crate) group: Option<Vec<Scalar>>,
    pub(crate) having: Option<Scalar>,
}

/// A base aggregate of the private core.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measure {
    pub(crate) kind: MeasureForm,
    pub(crate) filter: Option<Scalar>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MeasureForm {
    Units,
    /// All rows, or those where the expression is not NULL.
    Rows(Option<Scalar>),
    Sum(Scalar),
}

/// A group key and, where it is public, how its code is made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) expr: Scalar,
    pub(crate) public: Option<PublicKey>,
}

/// The public values of a key and how the stream makes their positions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PublicKey {
    pub(crate) domain: Vec<KeyValue>,
    pub(crate) code: KeyCode,
    /// NULL is the last value of the domain.
    pub(crate) with_null: bool,
}

/// How a position in a domain is computed from a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum KeyCode {
    /// The sibling column `"<name>#code"`.
    Sibling,
    /// `value - first` where the value is in the range.
    Offset { first: i128, last: i128 },
    /// Steps of a calendar unit since the first day.
    Calendar { part: DatePart, first: Date, last: Date },
    /// A part of a date, `part - first`, for days in the range.
    Part { part: DatePart, first: Date, last: Date, lowest: i64 },
    /// CASE with literal results: the position of each branch, then of ELSE.
    Branches { codes: Vec<Option<usize>>, otherwise: Option<usize> },
    /// A condition: false 0, true 1.
    Condition,
}

/// The private core: what decides cost and answer before post-processing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Core {
    pub(crate) block: Block,
    pub(crate) keys: Vec<Key>,
    pub(crate) measures: Vec<Measure>,
}
