//! Expressions in DuckDB's words: numbers are scaled integers, nothing can fail on a row.
//!
//! Arithmetic whose result may leave BIGINT is done in HUGEINT; ranges were checked when the plan was made, so it
//! cannot overflow. Division and remainder see NULL for zero; date arithmetic is wrapped in TRY.

use ids::Date;

use super::canonical::timestamp;
use super::{ident, text_literal};
use crate::limits::QUOTIENT_SCALE;
use crate::plan::{
    Arithmetic, CastTo, DatePart, InnerAggregate, Node, Range, Relation, Scalar, Source, TextFunction, Ty,
    pow10,
};

/// Prints expressions over the rows of one block.
pub(crate) struct Physical<'r> {
    pub(crate) names: Vec<String>,
    pub(crate) relations: &'r [Relation],
}

impl Physical<'_> {
    /// An expression as an operand.
    pub(crate) fn operand(&self, scalar: &Scalar) -> String {
        let printed = self.print(scalar);
        if printed.starts_with('-') {
            return format!("({printed})");
        }
        let compound = matches!(
            scalar.node,
            Node::Neg(_)
                | Node::Compare(..)
                | Node::Distinct { .. }
                | Node::And(_)
                | Node::Or(_)
                | Node::Not(_)
                | Node::IsNull(_)
                | Node::InList(..)
                | Node::Like { .. }
                | Node::Concat(..)
        );
        if compound { format!("({printed})") } else { printed }
    }

    /// `a = b` of a join.
    pub(crate) fn equal(&self, a: &Scalar, b: &Scalar) -> String {
        format!("{} = {}", self.operand(a), self.operand(b))
    }

    /// The sibling column with the position of a listed value.
    pub(crate) fn sibling(&self, scalar: &Scalar) -> String {
        match &scalar.node {
            Node::Column { relation, name } => format!("{}.\"{name}#code\"", ident(self.name(*relation))),
            _ => "NULL".to_owned(),
        }
    }

    fn name(&self, relation: usize) -> &str {
        self.names.get(relation).map_or("", String::as_str)
    }

    /// An expression.
    pub(crate) fn print(&self, scalar: &Scalar) -> String {
        let list =
            |items: &[Scalar], by: &str| items.iter().map(|i| self.operand(i)).collect::<Vec<_>>().join(by);
        match &scalar.node {
            Node::Column { relation, .. } if scalar.ty == Ty::Unit => {
                format!("{}.unit_ix", ident(self.name(*relation)))
            }
            Node::Column { relation, name } => format!("{}.{}", ident(self.name(*relation)), ident(name)),
            Node::Number(value) => {
                format!("CAST({value} AS {})", if fits(*value) { "BIGINT" } else { "HUGEINT" })
            }
            Node::Text(text) => text_literal(text),
            Node::Bool(value) => if *value { "TRUE" } else { "FALSE" }.to_owned(),
            Node::Date(day) => format!("DATE '{day}'"),
            Node::Timestamp(micros) => format!("TIMESTAMP '{}'", timestamp(*micros)),
            Node::Null => format!("CAST(NULL AS {})", type_name(scalar.ty)),
            Node::Neg(a) => format!("-{}", self.widened(a, scalar.bounds.certain)),
            Node::Abs(a) => format!("abs({})", self.widened(a, scalar.bounds.certain)),
            Node::Arithmetic(op, a, b) => self.arithmetic(*op, a, b, scalar),
            Node::Compare(op, a, b) => {
                let scale = common_scale(a, b);
                format!("{} {} {}", self.compared(a, scale), op.symbol(), self.compared(b, scale))
            }
            Node::Distinct { negated, left, right } => {
                let (scale, not) = (common_scale(left, right), if *negated { "NOT " } else { "" });
                format!(
                    "{} IS {not}DISTINCT FROM {}",
                    self.compared(left, scale),
                    self.compared(right, scale)
                )
            }
            Node::And(parts) => list(parts, " AND "),
            Node::Or(parts) => list(parts, " OR "),
            Node::Not(a) => format!("NOT {}", self.operand(a)),
            Node::IsNull(a) => format!("{} IS NULL", self.operand(a)),
            Node::InList(a, items) => self.in_list(a, items),
            Node::Case { branches, otherwise } => self.case(branches, otherwise.as_deref(), scalar),
            Node::Coalesce(items) => {
                let items: Vec<String> = items.iter().map(|item| self.rescaled_to(item, scalar)).collect();
                format!("COALESCE({})", items.join(", "))
            }
            Node::NullIf(a, b) => {
                format!("NULLIF({}, {})", self.rescaled_to(a, scalar), self.rescaled_to(b, scalar))
            }
            Node::Like { expr, pattern, insensitive } => {
                let op = if *insensitive { "ILIKE" } else { "LIKE" };
                format!("{} {op} {}", self.operand(expr), text_literal(pattern))
            }
            Node::TextCall(function, a) => {
                let name = match function {
                    TextFunction::Lower => "lower",
                    TextFunction::Upper => "upper",
                    TextFunction::Trim => "trim",
                    TextFunction::Length => "length",
                };
                format!("{name}({})", self.print(a))
            }
            Node::Substring { expr, from, length } => match length {
                Some(length) => format!("substring({}, {from}, {length})", self.print(expr)),
                None => format!("substring({}, {from})", self.print(expr)),
            },
            Node::Concat(a, b) => format!("{} || {}", self.operand(a), self.operand(b)),
            Node::DateTrunc(part, a) => self.truncated(*part, a),
            Node::Extract(part, a) => format!("date_part('{}', {})", part.name(), self.print(a)),
            Node::ShiftDays(a, days) => format!("TRY({} + ({days}))", self.operand(a)),
            Node::ShiftMonths(a, months) => {
                format!("TRY(CAST({} + INTERVAL ({months}) MONTH AS DATE))", self.operand(a))
            }
            Node::DaysBetween(a, b) => format!("TRY(date_diff('day', {}, {}))", self.print(b), self.print(a)),
            Node::Cast(to, a) => self.cast(*to, a, scalar),
            Node::Aggregate { function, arg, filter } => {
                self.aggregate(*function, arg.as_deref(), filter.as_deref(), scalar)
            }
        }
    }

    /// The first day of a calendar unit. Not by `date_trunc`: DuckDB's optimizer applies that to a column's smallest
    /// value while it plans, outside of TRY, and fails where the calendar begins.
    fn truncated(&self, part: DatePart, date: &Scalar) -> String {
        let printed = self.print(date);
        let day = if date.ty == Ty::Timestamp { format!("TRY_CAST({printed} AS DATE)") } else { printed };
        match part {
            DatePart::Year => format!("TRY(make_date(date_part('year', {day}), 1, 1))"),
            DatePart::Quarter => {
                format!("TRY(make_date(date_part('year', {day}), date_part('quarter', {day}) * 3 - 2, 1))")
            }
            DatePart::Month => {
                format!("TRY(make_date(date_part('year', {day}), date_part('month', {day}), 1))")
            }
            DatePart::Week => format!("TRY({day} - CAST(date_part('isodow', {day}) - 1 AS INTEGER))"),
            DatePart::Day | DatePart::Dow | DatePart::Isodow | DatePart::Doy => day,
        }
    }

    /// An operand, as HUGEINT where the result may not fit into BIGINT.
    fn widened(&self, scalar: &Scalar, result: Range) -> String {
        self.wide(self.operand(scalar), result)
    }

    fn wide(&self, printed: String, result: Range) -> String {
        if result.fits_bigint() { printed } else { format!("CAST({printed} AS HUGEINT)") }
    }

    /// A number multiplied by a power of ten.
    fn scaled_up(&self, scalar: &Scalar, by: u8) -> String {
        if let Node::Number(value) = scalar.node {
            let value = value.saturating_mul(pow10(by));
            return format!("CAST({value} AS {})", if fits(value) { "BIGINT" } else { "HUGEINT" });
        }
        if by == 0 {
            return self.operand(scalar);
        }
        let factor = pow10(by);
        let certain = scalar.bounds.certain;
        let result =
            Range { low: certain.low.saturating_mul(factor), high: certain.high.saturating_mul(factor) };
        format!("({} * {factor})", self.widened(scalar, result))
    }

    /// A number at the scale of `like`; anything else as it is.
    fn rescaled_to(&self, scalar: &Scalar, like: &Scalar) -> String {
        match (scalar.scale(), like.scale()) {
            (Some(from), Some(to)) if !matches!(scalar.node, Node::Null) => {
                self.scaled_up(scalar, to.saturating_sub(from))
            }
            _ => self.print(scalar),
        }
    }

    /// A side of a comparison: literals plain, so that they meet the column's own type.
    fn compared(&self, scalar: &Scalar, scale: Option<u8>) -> String {
        match (scalar.scale(), scale) {
            (Some(from), Some(to)) => match scalar.node {
                Node::Number(value) => value.saturating_mul(pow10(to.saturating_sub(from))).to_string(),
                Node::Null => self.print(scalar),
                _ => self.scaled_up(scalar, to.saturating_sub(from)),
            },
            _ => self.operand(scalar),
        }
    }

    fn in_list(&self, subject: &Scalar, items: &[Scalar]) -> String {
        let scale = items.iter().filter_map(Scalar::scale).chain(subject.scale()).max();
        let listed: Vec<String> = items.iter().map(|item| self.compared(item, scale)).collect();
        format!("{} IN ({})", self.compared(subject, scale), listed.join(", "))
    }

    fn case(&self, branches: &[(Scalar, Scalar)], otherwise: Option<&Scalar>, whole: &Scalar) -> String {
        let mut text = "CASE".to_owned();
        for (when, then) in branches {
            text.push_str(&format!(" WHEN {} THEN {}", self.print(when), self.rescaled_to(then, whole)));
        }
        if let Some(otherwise) = otherwise {
            text.push_str(&format!(" ELSE {}", self.rescaled_to(otherwise, whole)));
        }
        text + " END"
    }

    /// The branches of a CASE with their results replaced by positions in the key's domain.
    pub(crate) fn branch_codes(
        &self,
        case: &Scalar,
        codes: &[Option<usize>],
        otherwise: Option<usize>,
    ) -> String {
        let Node::Case { branches, .. } = &case.node else { return "NULL".to_owned() };
        let code = |at: Option<usize>| at.map_or_else(|| "NULL".to_owned(), |at| at.to_string());
        let mut text = "CASE".to_owned();
        for ((when, _), at) in branches.iter().zip(codes) {
            text.push_str(&format!(" WHEN {} THEN {}", self.print(when), code(*at)));
        }
        format!("{text} ELSE {} END", code(otherwise))
    }

    fn arithmetic(&self, op: Arithmetic, a: &Scalar, b: &Scalar, whole: &Scalar) -> String {
        let (from_a, from_b) = (a.scale().unwrap_or(0), b.scale().unwrap_or(0));
        let to = whole.scale().unwrap_or(0);
        let (up_a, up_b) = match op {
            Arithmetic::Add | Arithmetic::Sub | Arithmetic::Mod => (to - from_a.min(to), to - from_b.min(to)),
            Arithmetic::Mul => (0, 0),
            Arithmetic::Div => (
                (QUOTIENT_SCALE + from_b).saturating_sub(from_a),
                from_a.saturating_sub(QUOTIENT_SCALE + from_b),
            ),
        };
        let left = self.wide(self.scaled_up(a, up_a), whole.bounds.certain);
        let right = self.scaled_up(b, up_b);
        match op {
            Arithmetic::Add => format!("({left} + {right})"),
            Arithmetic::Sub => format!("({left} - {right})"),
            Arithmetic::Mul => format!("({left} * {right})"),
            Arithmetic::Div => format!("({left} // NULLIF({right}, 0))"),
            Arithmetic::Mod => format!("({left} % NULLIF({right}, 0))"),
        }
    }

    fn cast(&self, to: CastTo, a: &Scalar, whole: &Scalar) -> String {
        let inner = self.print(a);
        match (to, a.ty) {
            (CastTo::Decimal(_), Ty::Num(_)) => self.rescaled_to(a, whole),
            (CastTo::Decimal(scale), _) => {
                let factor = pow10(scale);
                format!("TRY_CAST(TRY_CAST({inner} AS DECIMAL(18,{scale})) * {factor} AS BIGINT)")
            }
            (CastTo::BigInt, _) => format!("TRY_CAST({inner} AS BIGINT)"),
            (CastTo::Text, _) => format!("CAST({inner} AS VARCHAR)"),
            (CastTo::Date, _) => format!("TRY_CAST({inner} AS DATE)"),
            (CastTo::Timestamp, _) => format!("TRY_CAST({inner} AS TIMESTAMP)"),
            (CastTo::Bool, _) => format!("TRY_CAST({inner} AS BOOLEAN)"),
        }
    }

    fn aggregate(
        &self,
        function: InnerAggregate,
        arg: Option<&Scalar>,
        filter: Option<&Scalar>,
        whole: &Scalar,
    ) -> String {
        let filter = filter.map_or_else(String::new, |f| format!(" FILTER (WHERE {})", self.print(f)));
        let inner = arg.map_or_else(|| "*".to_owned(), |arg| self.print(arg));
        match function {
            InnerAggregate::CountRows | InnerAggregate::Count => format!("count({inner}){filter}"),
            InnerAggregate::CountDistinct => format!("count(DISTINCT {inner}){filter}"),
            InnerAggregate::Sum => format!("sum({inner}){filter}"),
            InnerAggregate::Min => format!("min({inner}){filter}"),
            InnerAggregate::Max => format!("max({inner}){filter}"),
            InnerAggregate::Avg => {
                let up = whole.scale().unwrap_or(0).saturating_sub(arg.and_then(Scalar::scale).unwrap_or(0));
                let factor = pow10(up);
                format!(
                    "(CAST(sum({inner}){filter} AS HUGEINT) * {factor} // NULLIF(count({inner}){filter}, 0))"
                )
            }
        }
    }

    /// Whether DuckDB's type of the printed number is BIGINT already.
    fn is_bigint(&self, scalar: &Scalar) -> bool {
        match &scalar.node {
            Node::Column { relation, .. } => self.relations.get(*relation).is_some_and(|relation| {
                !matches!(relation.source, Source::Shopper(_)) || scalar.bounds.certain.fits_bigint()
            }),
            Node::Number(value) => fits(*value),
            Node::Arithmetic(_, a, b) => {
                scalar.bounds.certain.fits_bigint() && self.is_bigint(a) && self.is_bigint(b)
            }
            Node::Neg(a) | Node::Abs(a) => scalar.bounds.certain.fits_bigint() && self.is_bigint(a),
            _ => false,
        }
    }

    /// A number as BIGINT; NULL where it does not fit, which the declared bounds rule out.
    pub(crate) fn bigint(&self, scalar: &Scalar) -> String {
        let printed = self.print(scalar);
        match (self.is_bigint(scalar), scalar.bounds.certain.fits_bigint()) {
            (true, _) => printed,
            (false, true) => format!("CAST({printed} AS BIGINT)"),
            (false, false) => format!("TRY_CAST({printed} AS BIGINT)"),
        }
    }

    /// An output column of a subquery: BIGINT where its range allows, so that outer expressions know its type.
    pub(crate) fn stored(&self, scalar: &Scalar) -> String {
        match scalar.ty {
            Ty::Num(_) if scalar.bounds.certain.fits_bigint() => self.bigint(scalar),
            _ => self.print(scalar),
        }
    }

    /// The value of a private key: VARCHAR or BIGINT.
    pub(crate) fn private_key(&self, scalar: &Scalar) -> String {
        match scalar.ty {
            Ty::Num(_) => self.bigint(scalar),
            Ty::Text => self.print(scalar),
            Ty::Bool | Ty::Date | Ty::Timestamp | Ty::Unit | Ty::Null => {
                format!("CAST({} AS VARCHAR)", self.print(scalar))
            }
        }
    }

    /// The day under a calendar key, and the test that it lies in the range.
    pub(crate) fn days(&self, key: &Scalar, first: Date, last: Date) -> (String, String) {
        let source = match &key.node {
            Node::DateTrunc(_, inner) | Node::Extract(_, inner) | Node::Cast(CastTo::Date, inner) => inner,
            _ => key,
        };
        let value = self.print(source);
        let end = last.plus_days(1);
        let test = format!("{value} >= DATE '{first}' AND {value} < DATE '{end}'");
        if source.ty == Ty::Timestamp { (format!("CAST({value} AS DATE)"), test) } else { (value, test) }
    }

    /// Steps of a calendar unit from the one that holds `first` to the one that holds the day `value`.
    pub(crate) fn calendar_step(&self, value: &str, part: DatePart, first: Date) -> String {
        let (year, month, _) = first.ymd();
        let month = i64::from(month);
        let year = i64::from(year);
        let step = match part {
            DatePart::Week => {
                format!(
                    "({value} - DATE '{}') // 7",
                    first.plus_days(-crate::calendar::days_since_monday(first))
                )
            }
            DatePart::Month => {
                format!(
                    "date_part('year', {value}) * 12 + date_part('month', {value}) - {}",
                    year * 12 + month
                )
            }
            DatePart::Quarter => {
                let base = year * 4 + (month + 2) / 3;
                format!("date_part('year', {value}) * 4 + date_part('quarter', {value}) - {base}")
            }
            DatePart::Year => format!("date_part('year', {value}) - {year}"),
            DatePart::Day | DatePart::Dow | DatePart::Isodow | DatePart::Doy => {
                format!("{value} - DATE '{first}'")
            }
        };
        format!("CAST({step} AS INTEGER)")
    }
}

fn fits(value: i128) -> bool {
    Range::point(value).fits_bigint()
}

fn common_scale(a: &Scalar, b: &Scalar) -> Option<u8> {
    a.scale().into_iter().chain(b.scale()).max()
}

fn type_name(ty: Ty) -> &'static str {
    match ty {
        Ty::Num(_) => "BIGINT",
        Ty::Text => "VARCHAR",
        Ty::Bool | Ty::Null => "BOOLEAN",
        Ty::Date => "DATE",
        Ty::Timestamp => "TIMESTAMP",
        Ty::Unit => "UINTEGER",
    }
}
