//! What the demo asks: the same story over different data.

use ids::PartyId;
use vault::{Catalogue, Domain};

/// The words of one story.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// Whose data it is, for the title.
    pub(super) title: String,
    /// The party that asks.
    pub(super) asker: PartyId,
    /// Questions that are answered.
    pub(super) questions: Vec<Asked>,
    /// A question that the agreement denies.
    pub(super) denied: Denied,
    /// A statement that is refused.
    pub(super) refused: String,
    /// Questions that use a budget up.
    pub(super) exhausted: Exhausted,
}

/// A question, and how its owner would count exactly.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// What it is about.
    pub(super) title: String,
    /// The question.
    pub(super) sql: String,
    /// What may be spent on it; the agreement's default where it lacks.
    pub(super) epsilon: Option<f64>,
    /// The exact answer.
    pub(super) truth: Truth,
}

/// The owner's own count: `from` in plain SQL over the unsealed tables, folded over the shoppers who agreed.
#[derive(Debug, Clone)]
pub(super) struct Truth {
    /// The tables, joined, under their own names; the first is private.
    pub(super) from: String,
    /// The tables named in `from`: row filters of the permit on these are applied.
    pub(super) tables: Vec<String>,
    /// The group key, if any: an expression and the column of the answer that carries it.
    pub(super) key: Option<(String, String)>,
    /// Columns of the answer and what they measure.
    pub(super) measures: Vec<(String, Measure)>,
    /// The footprint's columns, `(table, column)`, for the permit that brings the row filters.
    pub(super) columns: Vec<(String, String)>,
}

/// What a column of the answer measures.
#[derive(Debug, Clone)]
pub(super) enum Measure {
    /// Distinct shoppers.
    Units,
    /// Rows.
    Rows,
    /// The sum of an integer expression, shown with this many decimals.
    Sum {
        /// The expression.
        value: String,
        /// Decimals.
        scale: u8,
    },
}

/// A question that the agreement denies.
#[derive(Debug, Clone)]
pub(super) struct Denied {
    pub(super) title: String,
    pub(super) asker: PartyId,
    pub(super) sql: String,
    pub(super) epsilon: Option<f64>,
}

/// Questions that use a budget up: `{n}` in the statement is replaced by 1, 2, 3 …
#[derive(Debug, Clone)]
pub(super) struct Exhausted {
    pub(super) asker: PartyId,
    pub(super) sql: String,
    pub(super) epsilon: Option<f64>,
    pub(super) questions_max: u32,
}

fn party(name: &str) -> Result<PartyId, ids::NameRefused> {
    name.parse()
}

fn pairs(columns: &[(&str, &str)]) -> Vec<(String, String)> {
    columns.iter().map(|(table, column)| ((*table).to_owned(), (*column).to_owned())).collect()
}

fn sum(value: &str) -> Measure {
    Measure::Sum { value: value.to_owned(), scale: 2 }
}

/// The generated retailer, asked by a dairy brand under the agreement `jv-north`.
pub(super) fn retail() -> Result<Script, ids::NameRefused> {
    let lines = |key: Option<(&str, &str)>, measures: Vec<(&str, Measure)>, columns: &[(&str, &str)]| Truth {
        from: "lines JOIN products ON lines.product_id = products.product_id".to_owned(),
        tables: vec!["lines".to_owned(), "products".to_owned()],
        key: key.map(|(expression, column)| (expression.to_owned(), column.to_owned())),
        measures: measures.into_iter().map(|(column, measure)| (column.to_owned(), measure)).collect(),
        columns: pairs(columns),
    };
    let asked = |title: &str, sql: &str, truth| Asked {
        title: title.to_owned(),
        sql: sql.to_owned(),
        epsilon: None,
        truth,
    };
    let both = || vec![("shoppers", Measure::Units), ("sales", sum("lines.amount"))];
    Ok(Script {
        title: "a grocery retailer with a joint-venture partner and five suppliers".to_owned(),
        asker: party("brand-nord")?,
        questions: vec![
            asked(
                "How many shoppers buy in my categories?",
                "SELECT COUNT(DISTINCT card_id) AS shoppers FROM lines",
                lines(None, vec![("shoppers", Measure::Units)], &[("lines", "card_id")]),
            ),
            asked(
                "What do they spend there?",
                "SELECT SUM(amount) AS sales FROM lines",
                lines(None, vec![("sales", sum("lines.amount"))], &[("lines", "amount")]),
            ),
            asked(
                "Shoppers and sales by category",
                "SELECT products.category, COUNT(DISTINCT lines.card_id) AS shoppers, SUM(lines.amount) AS sales\n\
                 FROM lines JOIN products ON lines.product_id = products.product_id\n\
                 GROUP BY products.category ORDER BY sales DESC LIMIT 12",
                lines(
                    Some(("products.category", "category")),
                    both(),
                    &[("lines", "card_id"), ("lines", "amount"), ("products", "category")],
                ),
            ),
            asked(
                "Shoppers and sales by month",
                "SELECT EXTRACT(MONTH FROM bought_on) AS month, COUNT(DISTINCT card_id) AS shoppers, SUM(amount) AS sales\n\
                 FROM lines GROUP BY EXTRACT(MONTH FROM bought_on) ORDER BY month",
                lines(
                    Some(("EXTRACT(MONTH FROM lines.bought_on)", "month")),
                    both(),
                    &[("lines", "card_id"), ("lines", "amount"), ("lines", "bought_on")],
                ),
            ),
        ],
        denied: Denied {
            title: "The joint-venture partner asks for sales by brand".to_owned(),
            asker: party("jv-partner")?,
            sql: "SELECT products.brand, SUM(lines.amount) AS sales\n\
                  FROM lines JOIN products ON lines.product_id = products.product_id GROUP BY products.brand"
                .to_owned(),
            epsilon: None,
        },
        refused: "SELECT MAX(amount) FROM lines".to_owned(),
        exhausted: Exhausted {
            asker: party("brand-lumi")?,
            sql: "SELECT COUNT(DISTINCT card_id) AS shoppers FROM lines WHERE quantity > {n}".to_owned(),
            epsilon: None,
            questions_max: 60,
        },
    })
}

/// The Complete Journey, asked by an insights team.
pub(super) fn complete_journey() -> Result<Script, ids::NameRefused> {
    let transactions =
        |measures: Vec<(&str, Measure)>, key: Option<(&str, &str)>, columns: &[(&str, &str)]| Truth {
            from: "transactions".to_owned(),
            tables: vec!["transactions".to_owned()],
            key: key.map(|(expression, column)| (expression.to_owned(), column.to_owned())),
            measures: measures.into_iter().map(|(column, measure)| (column.to_owned(), measure)).collect(),
            columns: pairs(columns),
        };
    let sales = || ("sales", sum("transactions.sales_value"));
    let value = ("transactions", "sales_value");
    let asked = |title: &str, sql: &str, truth| Asked {
        title: title.to_owned(),
        sql: sql.to_owned(),
        epsilon: Some(2.0),
        truth,
    };
    let departments = Truth {
        from: "transactions JOIN products ON transactions.product_id = products.product_id".to_owned(),
        tables: vec!["transactions".to_owned(), "products".to_owned()],
        ..transactions(
            vec![("households", Measure::Units), sales()],
            Some(("products.department", "department")),
            &[value, ("transactions", "household_id"), ("products", "department")],
        )
    };
    Ok(Script {
        title: "The Complete Journey: one year of a grocery chain's loyalty households".to_owned(),
        asker: party("insights")?,
        questions: vec![
            asked(
                "How many households bought anything?",
                "SELECT COUNT(DISTINCT household_id) AS households FROM transactions",
                transactions(vec![("households", Measure::Units)], None, &[("transactions", "household_id")]),
            ),
            asked(
                "What did they spend?",
                "SELECT SUM(sales_value) AS sales FROM transactions",
                transactions(vec![sales()], None, &[value]),
            ),
            asked(
                "Households and sales by department",
                "SELECT products.department, COUNT(DISTINCT transactions.household_id) AS households,\n\
                 \x20      SUM(transactions.sales_value) AS sales\n\
                 FROM transactions JOIN products ON transactions.product_id = products.product_id\n\
                 GROUP BY products.department ORDER BY sales DESC",
                departments,
            ),
            asked(
                "Sales by week",
                "SELECT week, SUM(sales_value) AS sales FROM transactions GROUP BY week ORDER BY week",
                transactions(
                    vec![sales()],
                    Some(("transactions.week", "week")),
                    &[value, ("transactions", "week")],
                ),
            ),
        ],
        denied: Denied {
            title: "The insights team asks for sales by manufacturer".to_owned(),
            asker: party("insights")?,
            sql: "SELECT products.manufacturer_id, SUM(transactions.sales_value) AS sales\n\
                  FROM transactions JOIN products ON transactions.product_id = products.product_id\n\
                  GROUP BY products.manufacturer_id"
                .to_owned(),
            epsilon: None,
        },
        refused: "SELECT MAX(sales_value) FROM transactions".to_owned(),
        exhausted: Exhausted {
            asker: party("insights")?,
            sql: "SELECT COUNT(*) AS lines FROM transactions WHERE quantity > {n}".to_owned(),
            epsilon: Some(4.0),
            questions_max: 200,
        },
    })
}

/// Any other dataset: its first private table, counted as a whole and by its first short public domain.
pub(super) fn of_catalogue(catalogue: &Catalogue, asker: PartyId) -> Option<Script> {
    let table = catalogue.tables().iter().find(|table| table.is_private())?;
    let unit = catalogue.unit_key(table)?;
    let name = &table.name;
    let truth = |key: Option<&str>| Truth {
        from: name.clone(),
        tables: vec![name.clone()],
        key: key.map(|column| (format!("{name}.{column}"), column.to_owned())),
        measures: vec![("units".to_owned(), Measure::Units), ("rows".to_owned(), Measure::Rows)],
        columns: key.into_iter().chain([unit]).map(|column| (name.clone(), column.to_owned())).collect(),
    };
    let mut questions = vec![Asked {
        title: "How many, and how many rows of them?".to_owned(),
        sql: format!("SELECT COUNT(DISTINCT {unit}) AS units, COUNT(*) AS rows FROM {name}"),
        epsilon: None,
        truth: truth(None),
    }];
    let keyed = table.visible_columns().find(|column| match &column.domain {
        Some(Domain::Values(values)) => (2..=40).contains(&values.len()),
        Some(Domain::IntRange { min, max }) => max.saturating_sub(*min) < 60,
        _ => false,
    });
    if let Some(column) = keyed {
        let key = &column.name;
        questions.push(Asked {
            title: format!("The same by {key}"),
            sql: format!(
                "SELECT {key}, COUNT(DISTINCT {unit}) AS units, COUNT(*) AS rows FROM {name} GROUP BY {key}"
            ),
            epsilon: None,
            truth: truth(Some(key)),
        });
    }
    Some(Script {
        title: format!("your own dataset `{}`", catalogue.dataset()),
        questions,
        denied: Denied {
            title: "Somebody wants one very exact answer".to_owned(),
            asker: asker.clone(),
            sql: format!("SELECT COUNT(*) AS rows FROM {name}"),
            epsilon: Some(1_000.0),
        },
        refused: format!("SELECT MAX({unit}) FROM {name}"),
        exhausted: Exhausted {
            asker: asker.clone(),
            sql: format!("SELECT {{n}} * COUNT(*) AS rows, COUNT(DISTINCT {unit}) AS units FROM {name}"),
            epsilon: None,
            questions_max: 1,
        },
        asker,
    })
}
