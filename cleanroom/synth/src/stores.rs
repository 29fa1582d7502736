//! Where it is sold.

use crate::draw::Alias;

/// Region, city, number of stores.
const CITIES: [(&str, &str, usize); 11] = [
    ("South", "Almaty", 8),
    ("South", "Shymkent", 3),
    ("South", "Taraz", 2),
    ("North", "Astana", 6),
    ("North", "Kostanay", 2),
    ("Center", "Karaganda", 3),
    ("Center", "Zhezkazgan", 1),
    ("East", "Oskemen", 2),
    ("East", "Semey", 2),
    ("West", "Aktobe", 2),
    ("West", "Atyrau", 2),
];

/// Format and how much more a large store sells.
const FORMATS: [(&str, f64); 3] = [("hypermarket", 5.0), ("supermarket", 2.5), ("express", 1.0)];

/// One store.
#[derive(Debug)]
pub(crate) struct Store {
    /// From 1 upwards.
    pub(crate) id: i64,
    pub(crate) region: &'static str,
    pub(crate) city: &'static str,
    pub(crate) format: &'static str,
}

/// All stores; the same for every seed.
#[derive(Debug)]
pub(crate) struct Stores {
    all: Vec<Store>,
    by_size: Alias,
}

impl Stores {
    pub(crate) fn new() -> Self {
        let (mut all, mut weights) = (Vec::new(), Vec::new());
        for (region, city, count) in CITIES {
            for (_, (format, weight)) in (0..count).zip(FORMATS.into_iter().cycle()) {
                all.push(Store { id: all.len() as i64 + 1, region, city, format });
                weights.push(weight);
            }
        }
        Self { all, by_size: Alias::new(&weights) }
    }

    pub(crate) fn all(&self) -> &[Store] {
        &self.all
    }

    /// Large stores more often than small ones.
    pub(crate) fn draw(&self, rng: &mut impl rand::Rng) -> Option<&Store> {
        self.all.get(self.by_size.draw(rng))
    }
}
