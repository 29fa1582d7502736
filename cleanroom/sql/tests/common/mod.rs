//! The small retailer that all tests of this crate ask about.

#![expect(clippy::unwrap_used, reason = "test code")]

use sql::{Column, Domain, ForeignKey, Schema, Table, TableKind, Type};

fn column(name: &str, ty: Type) -> Column {
    Column { name: name.into(), ty, nullable: false, domain: None, bounds: None, hidden: false }
}

fn values(list: &[&str]) -> Option<Domain> {
    Some(Domain::Values(list.iter().map(|value| (*value).to_owned()).collect()))
}

fn key(column: &str, table: &str, key: &str) -> ForeignKey {
    ForeignKey { column: column.into(), table: table.into(), key: key.into() }
}

fn private(
    name: &str,
    columns: Vec<Column>,
    event_time: Option<&str>,
    foreign_keys: Vec<ForeignKey>,
) -> Table {
    let kind = TableKind::Private { unit_key: "card_id".into() };
    Table { name: name.into(), kind, columns, event_time: event_time.map(str::to_owned), foreign_keys }
}

fn public(name: &str, key: &[&str], columns: Vec<Column>) -> Table {
    let kind = TableKind::Public { key: key.iter().map(|k| (*k).to_owned()).collect() };
    Table { name: name.into(), kind, columns, event_time: None, foreign_keys: vec![] }
}

/// Lines, baskets and shoppers are private; products, stores and prices are public.
#[allow(unreachable_pub, clippy::allow_attributes, reason = "shared by several test binaries")]
pub fn retailer() -> Schema {
    let money = Type::Money { scale: 2 };
    let lines = private(
        "lines",
        vec![
            column("card_id", Type::Text),
            column("basket_id", Type::Int),
            column("product_id", Type::Int),
            Column { nullable: true, ..column("store_id", Type::Int) },
            column("day", Type::Date),
            Column { bounds: Some((-100, 1000)), ..column("qty", Type::Int) },
            column("amount", money),
            Column { nullable: true, bounds: Some((0, 100_000)), ..column("discount", money) },
            Column { nullable: true, ..column("note", Type::Text) },
            column("points", Type::Int),
        ],
        Some("day"),
        vec![key("basket_id", "baskets", "basket_id"), key("product_id", "products", "product_id")],
    );
    let baskets = private(
        "baskets",
        vec![
            column("card_id", Type::Text),
            column("basket_id", Type::Int),
            Column { domain: values(&["online", "offline"]), ..column("channel", Type::Text) },
            column("at", Type::Timestamp),
            Column { nullable: true, ..column("paid_cash", Type::Bool) },
        ],
        Some("at"),
        vec![],
    );
    let shoppers = private(
        "shoppers",
        vec![
            column("card_id", Type::Text),
            Column { hidden: true, ..column("phone", Type::Text) },
            Column { nullable: true, domain: values(&["gold", "silver"]), ..column("tier", Type::Text) },
            Column {
                nullable: true,
                domain: Some(Domain::IntRange { min: 18, max: 99 }),
                ..column("age", Type::Int)
            },
            Column { nullable: true, ..column("city", Type::Text) },
            Column { nullable: true, ..column("born", Type::Date) },
        ],
        None,
        vec![],
    );
    let products = public(
        "products",
        &["product_id"],
        vec![
            column("product_id", Type::Int),
            Column { domain: values(&["GROCERY", "DAIRY", "DRUG"]), ..column("department", Type::Text) },
            Column { nullable: true, domain: values(&["Own", "Nord"]), ..column("brand", Type::Text) },
            column("title", Type::Text),
            Column { domain: Some(Domain::Values(vec![])), ..column("commodity", Type::Text) },
        ],
    );
    let stores = public(
        "stores",
        &["store_id"],
        vec![
            column("store_id", Type::Int),
            Column { domain: values(&["north", "south"]), ..column("region", Type::Text) },
        ],
    );
    let prices = public(
        "prices",
        &["product_id", "store_id"],
        vec![column("product_id", Type::Int), column("store_id", Type::Int), column("shelf_price", money)],
    );
    Schema {
        dataset: "retail".parse().unwrap(),
        tables: vec![lines, baskets, shoppers, products, stores, prices],
        first_day: "2017-01-01".parse().unwrap(),
        last_day: "2017-12-31".parse().unwrap(),
    }
}
