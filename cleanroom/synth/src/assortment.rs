//! What is sold: suppliers, brands, categories, products, and how likely each product is in each week.

use ids::Date;

use crate::calendar::Calendar;
use crate::draw::{Alias, Stream, below, chance, stream};

/// A supplier, its main brand, and a second brand that it uses in one category.
pub(crate) struct Supplier {
    pub(crate) name: &'static str,
    pub(crate) brand: &'static str,
    second: Option<(&'static str, &'static str)>,
}

const fn supplier(name: &'static str, brand: &'static str) -> Supplier {
    Supplier { name, brand, second: None }
}

/// The retailer's own label.
const PRIVATE_LABEL: &str = "north-own";

/// All suppliers. The first eight are those of the sample agreement.
pub(crate) const SUPPLIERS: [Supplier; 13] = [
    Supplier { name: "brand-nord", brand: "Nord", second: Some(("Baby food", "Nord Kids")) },
    Supplier { name: "brand-vita", brand: "Vita", second: Some(("Water", "Vita Sport")) },
    supplier("brand-sol", "Sol"),
    supplier("brand-terra", "Terra"),
    supplier("brand-lumi", "Lumi"),
    supplier("brand-aqua", "Aqua"),
    supplier("brand-bravo", "Bravo"),
    supplier(PRIVATE_LABEL, "North Own"),
    supplier("brand-taiga", "Taiga"),
    supplier("brand-karat", "Karat"),
    supplier("brand-iris", "Iris"),
    supplier("brand-panda", "Panda"),
    supplier("brand-volt", "Volt"),
];

/// Who buys from a category at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Audience {
    Everyone,
    Babies,
    Pets,
    Adults,
}

/// When a category sells better.
#[derive(Clone, Copy)]
enum Season {
    Flat,
    Summer,
    Winter,
    Feasts,
}

/// Department, category, suppliers (space-separated, without `brand-`; `own` is the private label), lowest and highest
/// price in tenge, popularity, season, audience.
type Row = (&'static str, &'static str, &'static str, u32, u32, f64, Season, Audience);

use Audience::{Adults, Babies, Everyone, Pets};
use Season::{Feasts, Flat, Summer, Winter};

#[rustfmt::skip]
const CATEGORIES: [Row; 45] = [
    ("Dairy", "Milk", "nord sol lumi bravo own", 350, 900, 9.0, Flat, Everyone),
    ("Dairy", "Yoghurt", "nord vita lumi bravo own", 150, 900, 7.0, Flat, Everyone),
    ("Dairy", "Cheese", "nord sol own", 900, 4500, 4.0, Feasts, Everyone),
    ("Dairy", "Butter", "nord sol lumi own", 700, 2200, 2.5, Flat, Everyone),
    ("Dairy", "Eggs", "lumi taiga own", 600, 1300, 4.0, Flat, Everyone),
    ("Bakery", "Bread", "sol bravo terra own", 120, 800, 9.0, Flat, Everyone),
    ("Bakery", "Biscuits", "terra sol bravo own", 300, 1600, 4.0, Flat, Everyone),
    ("Bakery", "Cakes", "sol terra own", 900, 6500, 1.5, Feasts, Everyone),
    ("Bakery", "Pastry", "sol bravo own", 200, 900, 3.0, Flat, Everyone),
    ("Snacks", "Chocolate", "terra bravo vita own", 300, 2500, 4.5, Feasts, Everyone),
    ("Snacks", "Crisps", "terra bravo own", 350, 1400, 3.0, Summer, Everyone),
    ("Snacks", "Nuts", "terra sol vita own", 500, 3500, 1.5, Winter, Everyone),
    ("Snacks", "Dried fruit", "terra sol own", 600, 3000, 1.0, Winter, Everyone),
    ("Drinks", "Juice", "vita aqua sol own", 400, 1500, 3.5, Summer, Everyone),
    ("Drinks", "Water", "aqua vita bravo own", 150, 700, 5.0, Summer, Everyone),
    ("Drinks", "Coffee", "sol bravo aqua own", 1200, 7000, 2.0, Winter, Everyone),
    ("Drinks", "Tea", "sol terra bravo own", 500, 3500, 2.5, Winter, Everyone),
    ("Drinks", "Beer", "bravo aqua vita own", 350, 1500, 2.5, Summer, Adults),
    ("Baby", "Baby food", "nord vita bravo own", 300, 1800, 3.0, Flat, Babies),
    ("Baby", "Nappies", "panda iris own", 2500, 9500, 1.5, Flat, Babies),
    ("Baby", "Baby care", "panda iris", 600, 3500, 1.0, Flat, Babies),
    ("Meat", "Beef", "taiga sol own", 1800, 5500, 3.0, Feasts, Everyone),
    ("Meat", "Chicken", "taiga bravo lumi own", 900, 2800, 4.0, Flat, Everyone),
    ("Meat", "Sausage", "taiga bravo sol own", 700, 3500, 4.0, Flat, Everyone),
    ("Meat", "Horse meat", "taiga own", 2500, 7500, 0.6, Winter, Everyone),
    ("Produce", "Vegetables", "terra lumi taiga own", 100, 1200, 8.0, Flat, Everyone),
    ("Produce", "Fruit", "terra vita lumi own", 250, 2200, 7.0, Summer, Everyone),
    ("Produce", "Herbs", "terra lumi own", 120, 500, 2.0, Summer, Everyone),
    ("Produce", "Mushrooms", "terra taiga own", 400, 1500, 1.0, Flat, Everyone),
    ("Frozen", "Ice cream", "nord lumi bravo own", 200, 2200, 2.5, Summer, Everyone),
    ("Frozen", "Dumplings", "taiga bravo sol own", 700, 2800, 2.5, Winter, Everyone),
    ("Frozen", "Frozen vegetables", "terra taiga own", 500, 1600, 1.5, Winter, Everyone),
    ("Frozen", "Fish", "taiga vita own", 1200, 6000, 1.2, Flat, Everyone),
    ("Pantry", "Pasta", "sol terra bravo own", 250, 1200, 3.0, Flat, Everyone),
    ("Pantry", "Rice and grain", "sol terra own", 300, 1500, 3.0, Flat, Everyone),
    ("Pantry", "Oil", "sol terra bravo own", 700, 3500, 2.0, Flat, Everyone),
    ("Pantry", "Sugar and flour", "sol bravo own", 300, 1600, 2.0, Flat, Everyone),
    ("Pantry", "Sauces", "bravo sol vita own", 300, 1600, 2.0, Flat, Everyone),
    ("Household", "Cleaning", "karat volt iris own", 500, 3500, 2.0, Flat, Everyone),
    ("Household", "Laundry", "karat volt own", 900, 6500, 1.5, Flat, Everyone),
    ("Household", "Paper", "karat panda iris own", 300, 2800, 3.0, Flat, Everyone),
    ("Personal care", "Hair care", "iris karat panda own", 800, 4500, 1.5, Flat, Everyone),
    ("Personal care", "Oral care", "iris karat vita own", 500, 2800, 1.2, Flat, Everyone),
    ("Pet", "Cat food", "panda taiga volt own", 150, 4500, 3.5, Flat, Pets),
    ("Pet", "Dog food", "panda taiga own", 200, 9500, 2.0, Flat, Pets),
];

/// Departments in the order in which they first occur.
#[rustfmt::skip]
pub(crate) const DEPARTMENTS: [&str; 12] = [
    "Dairy", "Bakery", "Snacks", "Drinks", "Baby", "Meat", "Produce", "Frozen", "Pantry", "Household", "Personal care",
    "Pet",
];

/// One article.
#[derive(Debug)]
pub(crate) struct Product {
    /// From 100,001 upwards.
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) brand: &'static str,
    pub(crate) supplier: &'static str,
    pub(crate) department: &'static str,
    pub(crate) department_ix: usize,
    pub(crate) category: &'static str,
    pub(crate) private_label: bool,
    pub(crate) audience: Audience,
    /// Shelf price of one piece in tiyn (1/100 tenge), a multiple of 500.
    pub(crate) price_minor: i64,
}

/// One week: how likely each product is, and by how many percent it is reduced.
#[derive(Debug)]
struct Week {
    alias: Alias,
    reduced_percent: Vec<u8>,
}

/// All products, and their weeks.
#[derive(Debug)]
pub(crate) struct Assortment {
    products: Vec<Product>,
    weeks: Vec<Week>,
}

impl Assortment {
    pub(crate) fn new(seed: u64, calendar: &Calendar) -> Self {
        let mut rng = stream(seed, Stream::Assortment);
        let (mut products, mut weights, mut seasons) = (Vec::new(), Vec::new(), Vec::new());
        for &(department, category, sellers, low, high, popularity, season, audience) in &CATEGORIES {
            let sellers: Vec<&Supplier> = sellers.split(' ').filter_map(supplier_of).collect();
            // 24 to 42 articles, every supplier at least five times.
            let count = 24 + below(&mut rng, 19);
            for (rank, seller) in (0..count).zip(sellers.iter().cycle()) {
                let brand = match seller.second {
                    Some((only_in, brand)) if only_in == category => brand,
                    _ => seller.brand,
                };
                let tenge = low + below(&mut rng, high - low + 1);
                let id = 100_001 + products.len() as i64;
                products.push(Product {
                    id,
                    name: format!("{brand} {category} {}", rank + 1),
                    brand,
                    supplier: seller.name,
                    department,
                    department_ix: DEPARTMENTS
                        .iter()
                        .position(|&name| name == department)
                        .unwrap_or_default(),
                    category,
                    private_label: seller.name == PRIVATE_LABEL,
                    audience,
                    price_minor: i64::from(tenge.next_multiple_of(5)) * 100,
                });
                // Zipf's law within a category: a few articles make most of the sales.
                weights.push(popularity / f64::from(rank + 1).powf(0.9));
                seasons.push(season);
            }
        }
        let weeks = (0..calendar.weeks()).map(|week| {
            let month = calendar.week_start(week).ymd().1;
            let reduced_percent: Vec<u8> = products
                .iter()
                .map(|_| if chance(&mut rng, 8) { 10 + 5 * below(&mut rng, 5) as u8 } else { 0 })
                .collect();
            let weekly: Vec<f64> = (weights.iter().zip(&seasons).zip(&reduced_percent))
                .map(|((weight, season), &percent)| {
                    // A reduced article sells up to 1.9 times as often.
                    weight * season_factor(*season, month) * (1.0 + f64::from(percent) * 0.03)
                })
                .collect();
            Week { alias: Alias::new(&weekly), reduced_percent }
        });
        let weeks = weeks.collect();
        Self { products, weeks }
    }

    /// A product out of one week's choice, and by how many percent it is reduced in that week.
    pub(crate) fn draw(&self, week: usize, rng: &mut impl rand::Rng) -> Option<(usize, &Product, u8)> {
        let week = self.weeks.get(week)?;
        let index = week.alias.draw(rng);
        Some((index, self.products.get(index)?, week.reduced_percent.get(index).copied()?))
    }

    pub(crate) fn products(&self) -> &[Product] {
        &self.products
    }
}

fn supplier_of(short: &str) -> Option<&'static Supplier> {
    let is = |supplier: &&Supplier| {
        supplier.name.strip_prefix("brand-") == Some(short)
            || supplier.name.strip_prefix("north-") == Some(short)
    };
    SUPPLIERS.iter().find(is)
}

fn season_factor(season: Season, month: u32) -> f64 {
    match (season, month) {
        (Flat, _) => 1.0,
        (Summer, 6..=8) | (Winter, 12 | 1 | 2) => 1.7,
        (Summer, 12 | 1 | 2) | (Winter, 6..=8) => 0.6,
        (Feasts, 12 | 3) => 1.8,
        _ => 1.0,
    }
}

/// The campaign that has a true effect.
#[derive(Debug, Clone)]
pub(crate) struct Campaign {
    pub(crate) id: &'static str,
    pub(crate) brand: &'static str,
    pub(crate) starts: Date,
    pub(crate) ends: Date,
}

impl Campaign {
    /// Starts in the middle of the period and lasts eight weeks, or a quarter of a short period.
    pub(crate) fn new(calendar: &Calendar) -> Self {
        let starts = calendar.first().plus_days(calendar.days() / 2);
        let ends = starts.plus_days((calendar.days() / 4).min(56) - 1);
        Self { id: "nord-autumn", brand: "Nord", starts, ends }
    }

    pub(crate) fn contains(&self, day: Date) -> bool {
        (self.starts..=self.ends).contains(&day)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn the_assortment_has_the_promised_shape() {
        let calendar = Calendar::new(Date::from_days(19_723), 366);
        let assortment = Assortment::new(1, &calendar);
        let products = assortment.products();
        assert!((1_200..1_800).contains(&products.len()), "{}", products.len());
        let mut sellers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for product in products {
            sellers.entry(product.category).or_default().insert(product.supplier);
            assert_eq!(DEPARTMENTS[product.department_ix], product.department);
            assert!(product.price_minor >= 10_000 && product.price_minor % 500 == 0);
        }
        assert_eq!(sellers.len(), 45);
        for (_, category, names, ..) in CATEGORIES {
            assert_eq!(sellers[category].len(), names.split(' ').count(), "{category}");
        }
        assert!(sellers.values().filter(|sellers| sellers.len() < 3).count() >= 2);
        let suppliers: BTreeSet<&str> = products.iter().map(|product| product.supplier).collect();
        assert_eq!(suppliers.len(), SUPPLIERS.len());
        let ids: BTreeSet<i64> = products.iter().map(|product| product.id).collect();
        assert_eq!(ids.len(), products.len());
    }
}
