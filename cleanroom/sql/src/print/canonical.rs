//! Canonical SQL: printed from the plan, in the language that analysts write. Parsing and resolving it gives the same
//! plan, so the text stands for the question.

use ids::Date;

use super::{aliases, ident, text_literal};
use crate::plan::{
    Arithmetic, Block, CastTo, InnerAggregate, JoinKind, Measure, MeasureForm, Node, Relation, Scalar,
    Shopper, Source, TextFunction, Ty, pow10,
};

/// An expression over the rows of `relations`.
pub(crate) fn scalar(relations: &[Relation], scalar: &Scalar) -> String {
    Printer { names: aliases(relations) }.print(scalar)
}

struct Printer {
    names: Vec<String>,
}

impl Printer {
    fn print(&self, scalar: &Scalar) -> String {
        let list =
            |items: &[Scalar], by: &str| items.iter().map(|i| self.operand(i)).collect::<Vec<_>>().join(by);
        match &scalar.node {
            Node::Column { relation, name } => {
                let table = self.names.get(*relation).map_or("", String::as_str);
                format!("{}.{}", ident(table), ident(name))
            }
            Node::Number(value) => number(*value, scalar.scale().unwrap_or(0)),
            Node::Text(text) => text_literal(text),
            Node::Bool(value) => if *value { "TRUE" } else { "FALSE" }.to_owned(),
            Node::Date(day) => format!("DATE '{day}'"),
            Node::Timestamp(micros) => format!("TIMESTAMP '{}'", timestamp(*micros)),
            Node::Null => "NULL".to_owned(),
            Node::Neg(a) => format!("-{}", self.operand(a)),
            Node::Abs(a) => format!("ABS({})", self.print(a)),
            Node::Arithmetic(op, a, b) => {
                let symbol = match op {
                    Arithmetic::Add => "+",
                    Arithmetic::Sub => "-",
                    Arithmetic::Mul => "*",
                    Arithmetic::Div => "/",
                    Arithmetic::Mod => "%",
                };
                format!("{} {symbol} {}", self.operand(a), self.operand(b))
            }
            Node::Compare(op, a, b) => format!("{} {} {}", self.operand(a), op.symbol(), self.operand(b)),
            Node::Distinct { negated, left, right } => {
                let not = if *negated { "NOT " } else { "" };
                format!("{} IS {not}DISTINCT FROM {}", self.operand(left), self.operand(right))
            }
            Node::And(parts) => list(parts, " AND "),
            Node::Or(parts) => list(parts, " OR "),
            Node::Not(a) => format!("NOT {}", self.operand(a)),
            Node::IsNull(a) => format!("{} IS NULL", self.operand(a)),
            Node::InList(a, items) => format!("{} IN ({})", self.operand(a), list(items, ", ")),
            Node::Case { branches, otherwise } => self.case(branches, otherwise.as_deref()),
            Node::Coalesce(items) => {
                let items: Vec<String> = items.iter().map(|item| self.print(item)).collect();
                format!("COALESCE({})", items.join(", "))
            }
            Node::NullIf(a, b) => format!("NULLIF({}, {})", self.print(a), self.print(b)),
            Node::Like { expr, pattern, insensitive } => {
                let op = if *insensitive { "ILIKE" } else { "LIKE" };
                format!("{} {op} {}", self.operand(expr), text_literal(pattern))
            }
            Node::TextCall(function, a) => {
                let name = match function {
                    TextFunction::Lower => "LOWER",
                    TextFunction::Upper => "UPPER",
                    TextFunction::Trim => "TRIM",
                    TextFunction::Length => "LENGTH",
                };
                format!("{name}({})", self.print(a))
            }
            Node::Substring { expr, from, length } => match length {
                Some(length) => format!("SUBSTRING({} FROM {from} FOR {length})", self.print(expr)),
                None => format!("SUBSTRING({} FROM {from})", self.print(expr)),
            },
            Node::Concat(a, b) => format!("{} || {}", self.operand(a), self.operand(b)),
            Node::DateTrunc(part, a) => format!("DATE_TRUNC('{}', {})", part.name(), self.print(a)),
            Node::Extract(part, a) => format!("DATE_PART('{}', {})", part.name(), self.print(a)),
            Node::ShiftDays(a, days) => self.shifted(a, *days, "DAY"),
            Node::ShiftMonths(a, months) => self.shifted(a, *months, "MONTH"),
            Node::DaysBetween(a, b) => format!("{} - {}", self.operand(a), self.operand(b)),
            Node::Cast(to, a) => format!("CAST({} AS {})", self.print(a), cast_name(*to)),
            Node::Aggregate { function, arg, filter } => {
                self.aggregate(*function, arg.as_deref(), filter.as_deref())
            }
        }
    }

    /// An expression as part of another: in parentheses unless it cannot be torn apart.
    fn operand(&self, scalar: &Scalar) -> String {
        let printed = self.print(scalar);
        let compound = match &scalar.node {
            Node::Number(value) => *value < 0,
            Node::Neg(_)
            | Node::Arithmetic(..)
            | Node::Compare(..)
            | Node::Distinct { .. }
            | Node::And(_)
            | Node::Or(_)
            | Node::Not(_)
            | Node::IsNull(_)
            | Node::InList(..)
            | Node::Like { .. }
            | Node::Concat(..)
            | Node::ShiftDays(..)
            | Node::ShiftMonths(..)
            | Node::DaysBetween(..) => true,
            Node::Column { .. }
            | Node::Text(_)
            | Node::Bool(_)
            | Node::Date(_)
            | Node::Timestamp(_)
            | Node::Null
            | Node::Abs(_)
            | Node::Case { .. }
            | Node::Coalesce(_)
            | Node::NullIf(..)
            | Node::TextCall(..)
            | Node::Substring { .. }
            | Node::DateTrunc(..)
            | Node::Extract(..)
            | Node::Cast(..)
            | Node::Aggregate { .. } => false,
        };
        if compound { format!("({printed})") } else { printed }
    }

    fn case(&self, branches: &[(Scalar, Scalar)], otherwise: Option<&Scalar>) -> String {
        let mut text = "CASE".to_owned();
        for (when, then) in branches {
            text.push_str(&format!(" WHEN {} THEN {}", self.print(when), self.print(then)));
        }
        if let Some(otherwise) = otherwise {
            text.push_str(&format!(" ELSE {}", self.print(otherwise)));
        }
        text + " END"
    }

    fn shifted(&self, date: &Scalar, amount: i64, unit: &str) -> String {
        let sign = if amount < 0 { '-' } else { '+' };
        format!("{} {sign} INTERVAL '{}' {unit}", self.operand(date), amount.unsigned_abs())
    }

    fn aggregate(&self, function: InnerAggregate, arg: Option<&Scalar>, filter: Option<&Scalar>) -> String {
        let distinct = if function == InnerAggregate::CountDistinct { "DISTINCT " } else { "" };
        let arg = arg.map_or_else(|| "*".to_owned(), |arg| self.print(arg));
        format!("{}({distinct}{arg}){}", function.name(), self.filter(filter))
    }

    fn filter(&self, filter: Option<&Scalar>) -> String {
        filter.map_or_else(String::new, |filter| format!(" FILTER (WHERE {})", self.print(filter)))
    }
}

fn cast_name(to: CastTo) -> String {
    match to {
        CastTo::BigInt => "BIGINT".to_owned(),
        CastTo::Decimal(scale) => format!("DECIMAL(18,{scale})"),
        CastTo::Text => "VARCHAR".to_owned(),
        CastTo::Date => "DATE".to_owned(),
        CastTo::Timestamp => "TIMESTAMP".to_owned(),
        CastTo::Bool => "BOOLEAN".to_owned(),
    }
}

/// A scaled integer as a decimal.
pub(crate) fn number(value: i128, scale: u8) -> String {
    let (factor, magnitude) = (pow10(scale), value.abs());
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 {
        return format!("{sign}{magnitude}");
    }
    let width = usize::from(scale);
    format!("{sign}{}.{:0width$}", magnitude / factor, magnitude % factor)
}

/// `YYYY-MM-DD HH:MM:SS`.
pub(crate) fn timestamp(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let day = Date::from_days(i32::try_from(day).unwrap_or(0));
    format!("{day} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// FROM and WHERE.
pub(crate) fn block(block: &Block) -> String {
    let printer = Printer { names: aliases(&block.relations) };
    let mut text = " FROM ".to_owned();
    for (relation, name) in block.relations.iter().zip(&printer.names) {
        let keyword = match relation.join {
            JoinKind::First => "",
            JoinKind::Inner => " JOIN ",
            JoinKind::Left => " LEFT JOIN ",
        };
        let item = match &relation.source {
            Source::Private { table, .. } | Source::Public { table, .. } if table == name => ident(table),
            Source::Private { table, .. } | Source::Public { table, .. } => {
                format!("{} AS {}", ident(table), ident(name))
            }
            Source::Shopper(inner) => format!("({}) AS {}", shopper(inner), ident(name)),
        };
        text.push_str(keyword);
        text.push_str(&item);
        if !relation.on.is_empty() {
            let on: Vec<String> = relation
                .on
                .iter()
                .map(|(a, b)| format!("{} = {}", printer.operand(a), printer.operand(b)))
                .collect();
            text.push_str(&format!(" ON {}", on.join(" AND ")));
        }
    }
    if !block.filters.is_empty() {
        let filters: Vec<String> = block.filters.iter().map(|filter| printer.operand(filter)).collect();
        text.push_str(&format!(" WHERE {}", filters.join(" AND ")));
    }
    text
}

fn shopper(shopper: &Shopper) -> String {
    let printer = Printer { names: aliases(&shopper.block.relations) };
    let items: Vec<String> = shopper
        .items
        .iter()
        .map(|(name, item)| format!("{} AS {}", printer.print(item), ident(name)))
        .collect();
    let mut text = format!("SELECT {}{}", items.join(", "), block(&shopper.block));
    if let Some(keys) = &shopper.group {
        let keys: Vec<String> = keys.iter().map(|key| printer.print(key)).collect();
        text.push_str(&format!(" GROUP BY {}", keys.join(", ")));
    }
    if let Some(having) = &shopper.having {
        text.push_str(&format!(" HAVING {}", printer.print(having)));
    }
    text
}

/// A base measure as an aggregate.
pub(crate) fn measure(block: &Block, measure: &Measure) -> String {
    let printer = Printer { names: aliases(&block.relations) };
    let call = match &measure.kind {
        MeasureForm::Units => format!("COUNT(DISTINCT {})", unit_column(block)),
        MeasureForm::Rows(None) => "COUNT(*)".to_owned(),
        MeasureForm::Rows(Some(arg)) => format!("COUNT({})", printer.print(arg)),
        MeasureForm::Sum(arg) => format!("SUM({})", printer.print(arg)),
    };
    call + &printer.filter(measure.filter.as_ref())
}

/// AVG of what a sum measure adds up.
pub(crate) fn average(block: &Block, measure: &Measure) -> String {
    let printer = Printer { names: aliases(&block.relations) };
    match &measure.kind {
        MeasureForm::Sum(arg) => {
            format!("AVG({}){}", printer.print(arg), printer.filter(measure.filter.as_ref()))
        }
        MeasureForm::Units | MeasureForm::Rows(_) => String::new(),
    }
}

fn unit_column(block: &Block) -> String {
    let name = block.relations.first().and_then(Relation::unit_key).unwrap_or_default().to_owned();
    scalar(&block.relations, &Scalar::new(Node::Column { relation: 0, name }, Ty::Unit, false))
}
