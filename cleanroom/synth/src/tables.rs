//! From what was generated to the rows of the tables, one Arrow batch per table and chunk.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use crate::Retailer;
use crate::shopper::{Basket, Line, PURPOSES, Shopper};

/// Digits of money in all and after the point.
pub(crate) const MONEY: (u8, i8) = (12, 2);
/// Most baskets of one chunk: the distance between the first basket ids of two chunks.
const BASKETS_PER_CHUNK: i64 = 1 << 22;

/// The tables with rows per shopper, in the order in which [`Chunk::batches`] gives them.
pub(crate) const CHUNKED: [&str; 5] = ["shoppers", "baskets", "lines", "exposures", "consents"];
/// The small public tables, in the order in which [`public_batches`] gives them.
pub(crate) const PUBLIC: [&str; 3] = ["products", "stores", "campaigns"];

/// The columns of a table, exactly as in the catalogue.
pub(crate) fn schema(table: &str) -> SchemaRef {
    use DataType::{Boolean, Date32, Int64, Utf8};
    let moment = || DataType::Timestamp(TimeUnit::Microsecond, None);
    let money = || DataType::Decimal128(MONEY.0, MONEY.1);
    let columns: Vec<(&str, DataType)> = match table {
        "products" => vec![
            ("product_id", Int64),
            ("product_name", Utf8),
            ("brand", Utf8),
            ("supplier", Utf8),
            ("department", Utf8),
            ("category", Utf8),
            ("private_label", Boolean),
        ],
        "stores" => vec![("store_id", Int64), ("region", Utf8), ("city", Utf8), ("format", Utf8)],
        "campaigns" => vec![("campaign_id", Utf8), ("brand", Utf8), ("starts", Date32), ("ends", Date32)],
        "shoppers" => vec![
            ("card_id", Utf8),
            ("tier", Utf8),
            ("region_home", Utf8),
            ("birth_year", Int64),
            ("joined", Date32),
            ("phone", Utf8),
            ("email", Utf8),
            ("full_name", Utf8),
        ],
        "baskets" => vec![
            ("basket_id", Int64),
            ("card_id", Utf8),
            ("store_id", Int64),
            ("bought_at", moment()),
            ("channel", Utf8),
        ],
        "lines" => vec![
            ("basket_id", Int64),
            ("product_id", Int64),
            ("store_id", Int64),
            ("bought_on", Date32),
            ("channel", Utf8),
            ("quantity", Int64),
            ("amount", money()),
            ("discount", money()),
        ],
        "exposures" => vec![
            ("card_id", Utf8),
            ("campaign_id", Utf8),
            ("arm", Utf8),
            ("channel", Utf8),
            ("kind", Utf8),
            ("store_id", Int64),
            ("seen_on", Date32),
        ],
        _ => vec![("card_id", Utf8), ("purpose", Utf8), ("state", Utf8), ("at", moment())],
    };
    let nullable = |column: &str| {
        (table == "baskets" && column == "card_id") || (table == "exposures" && column == "store_id")
    };
    Arc::new(Schema::new(
        columns.into_iter().map(|(name, ty)| Field::new(name, ty, nullable(name))).collect::<Vec<_>>(),
    ))
}

/// The rows of [`PUBLIC`].
pub(crate) fn public_batches(retailer: &Retailer) -> Result<[RecordBatch; PUBLIC.len()], ArrowError> {
    let products = retailer.assortment.products();
    let stores = retailer.stores.all();
    let campaign = &retailer.campaign;
    let [of_products, of_stores, of_campaigns] = PUBLIC.map(schema);
    Ok([
        RecordBatch::try_new(
            of_products,
            vec![
                ints(products.iter().map(|product| product.id)),
                texts(products.iter().map(|product| product.name.as_str())),
                texts(products.iter().map(|product| product.brand)),
                texts(products.iter().map(|product| product.supplier)),
                texts(products.iter().map(|product| product.department)),
                texts(products.iter().map(|product| product.category)),
                Arc::new(BooleanArray::from_iter(products.iter().map(|product| Some(product.private_label)))),
            ],
        )?,
        RecordBatch::try_new(
            of_stores,
            vec![
                ints(stores.iter().map(|store| store.id)),
                texts(stores.iter().map(|store| store.region)),
                texts(stores.iter().map(|store| store.city)),
                texts(stores.iter().map(|store| store.format)),
            ],
        )?,
        RecordBatch::try_new(
            of_campaigns,
            vec![
                texts([campaign.id]),
                texts([campaign.brand]),
                days([campaign.starts.as_days()]),
                days([campaign.ends.as_days()]),
            ],
        )?,
    ])
}

/// The shoppers of one chunk with all that belongs to them, and guests.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) shoppers: Vec<Shopper>,
    pub(crate) baskets: Vec<Basket>,
    pub(crate) lines: Vec<Line>,
}

impl Chunk {
    /// The rows of [`CHUNKED`]. Baskets and their lines are in the order of time, as a till would deliver them.
    pub(crate) fn batches(
        mut self,
        retailer: &Retailer,
        index: u64,
    ) -> Result<[RecordBatch; CHUNKED.len()], ArrowError> {
        self.baskets.sort_by_key(|basket| (basket.at_micros, basket.shopper, basket.lines.start));
        let first_id = index.cast_signed() * BASKETS_PER_CHUNK + 1;
        Ok([
            self.shopper_rows()?,
            self.basket_rows(first_id)?,
            self.line_rows(retailer, first_id)?,
            self.exposure_rows(retailer.campaign.id)?,
            self.consent_rows()?,
        ])
    }

    fn shopper_rows(&self) -> Result<RecordBatch, ArrowError> {
        let shoppers = &self.shoppers;
        let made = |make: fn(u32) -> String| texts(shoppers.iter().map(|shopper| make(shopper.index)));
        let columns = vec![
            made(card_id),
            texts(shoppers.iter().map(|shopper| shopper.tier)),
            texts(shoppers.iter().map(|shopper| shopper.region_home)),
            ints(shoppers.iter().map(|shopper| shopper.birth_year)),
            days(shoppers.iter().map(|shopper| shopper.joined.as_days())),
            made(phone),
            made(email),
            made(full_name),
        ];
        RecordBatch::try_new(schema("shoppers"), columns)
    }

    fn basket_rows(&self, first_id: i64) -> Result<RecordBatch, ArrowError> {
        let baskets = &self.baskets;
        let columns: Vec<ArrayRef> = vec![
            ints((first_id..).take(baskets.len())),
            Arc::new(baskets.iter().map(|basket| basket.shopper.map(card_id)).collect::<StringArray>()),
            ints(baskets.iter().map(|basket| basket.store)),
            moments(baskets.iter().map(|basket| basket.at_micros)),
            texts(baskets.iter().map(|basket| channel(basket.online))),
        ];
        RecordBatch::try_new(schema("baskets"), columns)
    }

    fn line_rows(&self, retailer: &Retailer, first_id: i64) -> Result<RecordBatch, ArrowError> {
        let products = retailer.assortment.products();
        let of = |basket: &Basket| self.lines.get(basket.lines.clone()).unwrap_or_default();
        let lines = || self.baskets.iter().flat_map(of);
        // One value of the basket for each of its lines.
        let per_line = |value: fn(&Basket) -> i64| {
            Int64Array::from_iter_values(
                self.baskets
                    .iter()
                    .flat_map(move |basket| std::iter::repeat_n(value(basket), of(basket).len())),
            )
        };
        let numbered = (first_id..).zip(&self.baskets);
        let columns: Vec<ArrayRef> = vec![
            ints(numbered.flat_map(|(id, basket)| std::iter::repeat_n(id, of(basket).len()))),
            ints(lines().map(|line| products.get(line.product).map_or(0, |product| product.id))),
            Arc::new(per_line(|basket| basket.store)),
            days(
                self.baskets
                    .iter()
                    .flat_map(|basket| std::iter::repeat_n(basket.day.as_days(), of(basket).len())),
            ),
            texts(
                self.baskets
                    .iter()
                    .flat_map(|basket| std::iter::repeat_n(channel(basket.online), of(basket).len())),
            ),
            ints(lines().map(|line| line.quantity)),
            money(lines().map(|line| line.amount))?,
            money(lines().map(|line| line.discount))?,
        ];
        RecordBatch::try_new(schema("lines"), columns)
    }

    fn exposure_rows(&self, campaign: &str) -> Result<RecordBatch, ArrowError> {
        let seen = || {
            self.shoppers.iter().filter_map(|shopper| {
                let assignment = shopper.assignment?;
                Some((shopper.index, assignment.treatment, assignment.seen_on?))
            })
        };
        let columns = vec![
            texts(seen().map(|(shopper, ..)| card_id(shopper))),
            texts(seen().map(|_| campaign)),
            texts(seen().map(|(_, treatment, _)| if treatment { "treatment" } else { "control" })),
            texts(seen().map(|_| "push")),
            texts(seen().map(|_| "push")),
            // A push reaches a shopper, not a store.
            new_null_array(&DataType::Int64, seen().count()),
            days(seen().map(|(.., day)| day.as_days())),
        ];
        RecordBatch::try_new(schema("exposures"), columns)
    }

    fn consent_rows(&self) -> Result<RecordBatch, ArrowError> {
        let events = || {
            self.shoppers.iter().flat_map(|shopper| {
                PURPOSES.iter().zip(shopper.consents).flat_map(move |((purpose, _), consent)| {
                    let given = consent.map(|consent| (shopper.index, *purpose, "given", consent.given_at));
                    let withdrawn_at = consent.and_then(|consent| consent.withdrawn_at);
                    given.into_iter().chain(withdrawn_at.map(|at| (shopper.index, *purpose, "withdrawn", at)))
                })
            })
        };
        let columns = vec![
            texts(events().map(|(shopper, ..)| card_id(shopper))),
            texts(events().map(|(_, purpose, ..)| purpose)),
            texts(events().map(|(_, _, state, _)| state)),
            moments(events().map(|(.., at)| at)),
        ];
        RecordBatch::try_new(schema("consents"), columns)
    }
}

/// `LC` and ten digits. Multiplying by a number without a factor in common with 10¹⁰ gives each shopper another one, in
/// no visible order.
fn card_id(shopper: u32) -> String {
    let number = (u64::from(shopper) * 7_368_787_429 + 1_234_567_891) % 10_000_000_000;
    format!("LC{number:010}")
}

/// Kazakhstan, and an operator's numbers counted from zero: well-formed, and visibly made up.
fn phone(shopper: u32) -> String {
    format!("+7700{shopper:07}")
}

/// In a domain that nobody can have (RFC 2606).
fn email(shopper: u32) -> String {
    format!("shopper{shopper:07}@example.com")
}

fn full_name(shopper: u32) -> String {
    const GIVEN: [&str; 8] = ["Aigerim", "Daniyar", "Aruzhan", "Timur", "Olga", "Ruslan", "Madina", "Sergey"];
    let given = GIVEN.get(shopper as usize % GIVEN.len()).copied().unwrap_or_default();
    format!("{given} Synthetic-{shopper:07}")
}

fn channel(online: bool) -> &'static str {
    if online { "online" } else { "offline" }
}

fn ints(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn days(values: impl IntoIterator<Item = i32>) -> ArrayRef {
    Arc::new(Date32Array::from_iter_values(values))
}

fn moments(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values))
}

fn money(values: impl Iterator<Item = i64>) -> Result<ArrayRef, ArrowError> {
    let (digits, scale) = MONEY;
    let array =
        Decimal128Array::from_iter_values(values.map(i128::from)).with_precision_and_scale(digits, scale)?;
    Ok(Arc::new(array))
}

fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}
