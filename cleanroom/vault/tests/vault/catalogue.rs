//! The catalogue file: what is taken, and that whatever does not fit is refused with its place.

use super::support::SHOP;
use vault::{COMPLETE_JOURNEY, Catalogue, ColumnType, Domain, UnitSource};

#[test]
fn the_shipped_catalogue_is_valid_and_says_what_it_should() {
    let catalogue = Catalogue::parse(COMPLETE_JOURNEY).unwrap();
    assert_eq!(catalogue.dataset().as_str(), "complete-journey");
    let lines = catalogue.table("transactions").unwrap();
    assert_eq!(catalogue.unit_key(lines), Some("household_id"));
    assert_eq!(lines.column("sales_value").unwrap().ty, ColumnType::Money { scale: 2 });
    assert_eq!(lines.column("sales_value").unwrap().bounds, Some((0, 100_000)));
    assert_eq!(lines.column("week").unwrap().domain, Some(Domain::IntRange { min: 1, max: 53 }));
    assert!(lines.visible_columns().all(|column| column.name != "household_id"));
}

#[test]
fn a_unit_is_reached_through_foreign_keys() {
    let catalogue = Catalogue::parse(SHOP).unwrap();
    let lines = catalogue.table("lines").unwrap();
    assert_eq!(lines.unit_source(), Some(&UnitSource::Via("basket_id".to_owned())));
    assert_eq!(catalogue.unit_key(lines), Some("card"));
    assert_eq!(catalogue.unit_key(catalogue.table("products").unwrap()), None);
}

#[test]
fn a_catalogue_that_does_not_fit_together_is_refused_with_its_place() {
    for (from, to, message) in [
        ("kind = \"public\"", "kind = \"secret\"", "line "),
        ("ignore = [\"till\"]", "ignored = [\"till\"]", "unknown field `ignored`"),
        ("time_zone = \"UTC\"", "", "missing field `time_zone`"),
        (
            "unit = { via = \"basket_id\" }",
            "unit = { via = \"product_id\" }",
            "table `lines`: the unit path leads through",
        ),
        (
            "unit = { via = \"basket_id\" }",
            "unit = { via = \"paid\" }",
            "`unit = { via = \"paid\" }` is no foreign key",
        ),
        ("unit = { via = \"basket_id\" }", "unit = { by = \"basket_id\" }", "`unit` is a column name or"),
        ("unit = { via = \"basket_id\" }", "", "table `lines`: a private table has a `unit`"),
        ("key = [\"product_id\"]\n", "", "table `products`: a public table has a `key`"),
        ("key = [\"product_id\"]\n", "key = [\"sku\"]\n", "`product_id` is not the key of `products`"),
        ("table = \"baskets\", key", "table = \"basket\", key", "foreign key to `basket`, which is no table"),
        ("type = \"money\", scale = 2", "type = \"money\"", "column `lines.paid`: money needs a `scale`"),
        (
            "type = \"money\", scale = 2",
            "type = \"int\"",
            "column `lines.paid`: only int (whole numbers) and money",
        ),
        ("min = \"0.00\"", "min = \"0.001\"", "`0.001` is not an amount"),
        ("min = \"0.00\"", "min = \"2000.00\"", "`bounds`: min is above max"),
        ("domain = [\"gold\", \"silver\"]", "domain = [\"gold\", \"gold\"]", "the domain lists twice `gold`"),
        ("domain = [\"gold\", \"silver\"]", "domain = []", "a domain has 1 to"),
        ("domain = [\"gold\", \"silver\"]", "domain = \"from-data\"", "would publish what shoppers did"),
        (
            "domain = [\"gold\", \"silver\"]",
            "domain = { min = 1, max = 2 }",
            "this domain does not fit a text",
        ),
        ("domain = \"from-data\"", "domain = \"from-file\"", "is not `\"from-data\"`"),
        ("{ name = \"tier\", type", "{ name = \"Tier\", type", "`Tier` cannot be a name"),
        ("{ name = \"tier\", type", "{ name = \"unit_ix\", type", "`unit_ix` cannot be a name"),
        ("{ name = \"tier\", type", "{ name = \"name\", type", "two columns are named `name`"),
        (
            "name = \"name\", type = \"text\"",
            "name = \"name\", type = \"id\"",
            "a direct identifier is a text",
        ),
        (
            "event_time = \"sold_at\"",
            "event_time = \"basket_id\"",
            "event time `basket_id` is no date or timestamp",
        ),
        ("table = \"consents\"", "table = \"products\"", "`products` is no private table"),
        ("at = \"at\"", "at = \"card\"", "`at` must be a timestamp column"),
        ("at = \"at\"\n", "", "`[consent]`: give either"),
        (
            "kind = \"private\"\nunit = \"card\"\ncolumns",
            "kind = \"private\"\nunit = \"card\"\nfiles = [\"../x.csv\"]\ncolumns",
            "leads out of the folder",
        ),
    ] {
        assert!(SHOP.contains(from), "{from}");
        let refused = Catalogue::parse(&SHOP.replacen(from, to, 1)).expect_err(to).to_string();
        assert!(refused.starts_with("catalogue refused at ") && refused.contains(message), "{to}: {refused}");
        assert!(!refused.contains('\n'), "{refused}");
    }
}
