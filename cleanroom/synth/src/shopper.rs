//! One shopper: who they are, what they agreed to, what they buy, and what the campaign adds.

use ids::Date;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal, Poisson};

use crate::Retailer;
use crate::assortment::{Audience, Product};
use crate::draw::{Stream, below, chance, stream};
use crate::stores::Store;

/// Purposes of consent and how many percent give it. The names are the agreement's.
pub(crate) const PURPOSES: [(&str, u32); 3] =
    [("measurement", 92), ("activation", 70), ("personalisation", 60)];
/// Position of `activation` in [`PURPOSES`].
const ACTIVATION: usize = 1;
/// Of those who gave it, percent who take it back during the period.
const WITHDRAWN_PERCENT: u32 = 3;
/// Percent of addressable shoppers who are never shown the campaign.
const HOLDOUT_PERCENT: u32 = 30;
/// Percent of addressable shoppers, in both arms, with whom the campaign had an opportunity.
const OPPORTUNITY_PERCENT: u32 = 80;
/// Percent of the brand's lines that the campaign adds.
pub(crate) const EFFECT_PERCENT: u32 = 10;
/// Percent of baskets bought online.
const ONLINE_PERCENT: u32 = 15;
/// Percent of offline baskets in the home store.
const HOME_PERCENT: u32 = 85;
/// Standard deviation of the logarithm of how active a shopper is: the most active tenth buys about a third.
const ACTIVITY_SIGMA: f64 = 0.8;
/// Most active: times the mean.
const ACTIVITY_MAX: f64 = 20.0;
/// Standard deviation of the logarithm of a basket's size.
const SIZE_SIGMA: f64 = 0.7;
/// Largest basket in lines.
const BASKET_LINES_MAX: f64 = 120.0;
/// Mean basket in lines, where the mean number of lines per shopper allows it.
const BASKET_LINES_MEAN: f64 = 8.0;
/// Lines of an order for another audience are drawn again at most so often.
const REDRAWS_MAX: usize = 16;

/// How much is bought, derived from the options.
#[derive(Debug)]
pub(crate) struct Habits {
    baskets_mean: f64,
    activity: LogNormal<f64>,
    size: LogNormal<f64>,
}

impl Habits {
    /// `None` only if a parameter were not finite.
    pub(crate) fn new(lines_per_shopper: f64) -> Option<Self> {
        let size_mean = BASKET_LINES_MEAN.min(1.0 + lines_per_shopper / 4.0);
        let activity = LogNormal::new(-ACTIVITY_SIGMA * ACTIVITY_SIGMA / 2.0, ACTIVITY_SIGMA).ok()?;
        // A size is 1 plus a rounded-down log-normal; rounding down takes half a line off on average.
        let size = LogNormal::new((size_mean - 0.5).ln() - SIZE_SIGMA * SIZE_SIGMA / 2.0, SIZE_SIGMA).ok()?;
        Some(Self { baskets_mean: lines_per_shopper / size_mean, activity, size })
    }

    fn basket_lines(&self, rng: &mut ChaCha8Rng) -> u32 {
        1 + self.size.sample(rng).min(BASKET_LINES_MAX - 1.0) as u32
    }
}

/// One basket; its lines are a range of the chunk's lines.
#[derive(Debug)]
pub(crate) struct Basket {
    pub(crate) shopper: Option<u32>,
    pub(crate) store: i64,
    pub(crate) day: Date,
    pub(crate) at_micros: i64,
    pub(crate) online: bool,
    pub(crate) lines: std::ops::Range<usize>,
}

/// One line of a basket. Money in tiyn.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) product: usize,
    pub(crate) quantity: i64,
    pub(crate) amount: i64,
    pub(crate) discount: i64,
}

/// What happened to one consent, in microseconds of local time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Consent {
    pub(crate) given_at: i64,
    pub(crate) withdrawn_at: Option<i64>,
}

/// The campaign and one shopper: the arm, and the day of the opportunity, which in the control arm was not used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assignment {
    pub(crate) treatment: bool,
    pub(crate) seen_on: Option<Date>,
}

/// What is known about one shopper beside the baskets.
#[derive(Debug)]
pub(crate) struct Shopper {
    pub(crate) index: u32,
    pub(crate) tier: &'static str,
    pub(crate) region_home: &'static str,
    pub(crate) birth_year: i64,
    pub(crate) joined: Date,
    pub(crate) consents: [Option<Consent>; PURPOSES.len()],
    pub(crate) assignment: Option<Assignment>,
}

/// What one shopper's lines of the campaign's brand came to within its window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CampaignSales {
    pub(crate) lines: u64,
    pub(crate) sales_minor: i64,
    /// Of these, what would be there without the campaign although it could be affected by it.
    pub(crate) affected_lines: u64,
    pub(crate) affected_sales_minor: i64,
    /// Of these, what the campaign added.
    pub(crate) added_lines: u64,
    pub(crate) added_sales_minor: i64,
}

struct Needs {
    babies: bool,
    pets: bool,
    adults: bool,
}

impl Needs {
    fn admit(&self, audience: Audience) -> bool {
        match audience {
            Audience::Everyone => true,
            Audience::Babies => self.babies,
            Audience::Pets => self.pets,
            Audience::Adults => self.adults,
        }
    }
}

/// Generates one shopper and appends their baskets and lines.
pub(crate) fn generate(
    retailer: &Retailer,
    index: u32,
    baskets: &mut Vec<Basket>,
    lines: &mut Vec<Line>,
) -> Option<(Shopper, CampaignSales)> {
    let mut rng = stream(retailer.options.seed, Stream::Shopper(index));
    let activity = retailer.habits.activity.sample(&mut rng).min(ACTIVITY_MAX);
    let home = retailer.stores.draw(&mut rng)?;
    let needs =
        Needs { babies: chance(&mut rng, 15), pets: chance(&mut rng, 35), adults: chance(&mut rng, 60) };
    let joined = retailer.calendar.first().plus_days(-1 - below(&mut rng, 2_000).cast_signed());
    let consents = draw_consents(retailer, joined, &mut rng);
    let shopper = Shopper {
        index,
        tier: if activity > 2.0 {
            "gold"
        } else if activity > 1.0 {
            "silver"
        } else {
            "basic"
        },
        region_home: home.region,
        birth_year: 1940 + i64::from(below(&mut rng, 34)) + i64::from(below(&mut rng, 34)),
        joined,
        consents,
        assignment: draw_assignment(retailer, consents, &mut rng),
    };
    let mut effect = Effect::of(retailer, &shopper);
    let count = Poisson::new(retailer.habits.baskets_mean * activity).ok()?.sample(&mut rng) as u32;
    for _ in 0..count {
        let basket = draw_basket(retailer, Some(index), home, &mut rng, lines.len());
        fill(retailer, &basket, &needs, &mut rng, lines, &mut effect);
        baskets.push(Basket { lines: basket.lines.start..lines.len(), ..basket });
    }
    Some((shopper, effect.sales))
}

/// Appends `count` baskets of people without a card.
pub(crate) fn generate_guests(
    retailer: &Retailer,
    chunk: u64,
    count: usize,
    baskets: &mut Vec<Basket>,
    lines: &mut Vec<Line>,
) -> Option<()> {
    let mut rng = stream(retailer.options.seed, Stream::Guests(chunk));
    for _ in 0..count {
        let home = retailer.stores.draw(&mut rng)?;
        let needs =
            Needs { babies: chance(&mut rng, 15), pets: chance(&mut rng, 35), adults: chance(&mut rng, 60) };
        let basket = draw_basket(retailer, None, home, &mut rng, lines.len());
        fill(retailer, &basket, &needs, &mut rng, lines, &mut Effect::none());
        baskets.push(Basket { lines: basket.lines.start..lines.len(), ..basket });
    }
    Some(())
}

fn draw_consents(retailer: &Retailer, joined: Date, rng: &mut impl Rng) -> [Option<Consent>; PURPOSES.len()] {
    const DAY: i64 = 86_400_000_000;
    PURPOSES.map(|(_, percent)| {
        let (given, withdrawn) = (chance(rng, percent), chance(rng, WITHDRAWN_PERCENT));
        let minute = i64::from(8 * 60 + below(rng, 14 * 60)) * 60_000_000;
        let later = below(rng, retailer.calendar.days().cast_unsigned());
        let withdrawn_on = i64::from(retailer.calendar.first().as_days()) + i64::from(later);
        given.then(|| Consent {
            given_at: i64::from(joined.as_days()) * DAY + minute,
            withdrawn_at: withdrawn.then_some(withdrawn_on * DAY + minute),
        })
    })
}

/// Shoppers who may be addressed when the campaign starts fall into its arms by chance.
fn draw_assignment(
    retailer: &Retailer,
    consents: [Option<Consent>; PURPOSES.len()],
    rng: &mut impl Rng,
) -> Option<Assignment> {
    let campaign = &retailer.campaign;
    let starts_at = i64::from(campaign.starts.as_days()) * 86_400_000_000;
    let treatment = !chance(rng, HOLDOUT_PERCENT);
    let opportunity = chance(rng, OPPORTUNITY_PERCENT);
    let seen_on = campaign.starts.plus_days(below(rng, 7).cast_signed());
    let consent = consents.into_iter().nth(ACTIVATION).flatten()?;
    let addressable = consent.withdrawn_at.is_none_or(|at| at >= starts_at);
    addressable.then_some(Assignment { treatment, seen_on: opportunity.then_some(seen_on) })
}

fn draw_basket(
    retailer: &Retailer,
    shopper: Option<u32>,
    home: &Store,
    rng: &mut ChaCha8Rng,
    first_line: usize,
) -> Basket {
    let (day, at_micros) = retailer.calendar.draw(rng);
    let online = chance(rng, ONLINE_PERCENT);
    let at_home = online || chance(rng, HOME_PERCENT);
    let elsewhere = retailer.stores.draw(rng);
    let store = if at_home { home.id } else { elsewhere.map_or(home.id, |store| store.id) };
    Basket { shopper, store, day, at_micros, online, lines: first_line..first_line }
}

fn fill(
    retailer: &Retailer,
    basket: &Basket,
    needs: &Needs,
    rng: &mut ChaCha8Rng,
    lines: &mut Vec<Line>,
    effect: &mut Effect,
) {
    let week = retailer.calendar.week_of(basket.day);
    let in_window = retailer.campaign.contains(basket.day);
    for _ in 0..retailer.habits.basket_lines(rng) {
        let Some((index, product, percent)) = (0..REDRAWS_MAX)
            .filter_map(|_| retailer.assortment.draw(week, rng))
            .find(|(_, product, _)| needs.admit(product.audience))
        else {
            continue;
        };
        let quantity = draw_quantity(rng);
        let full = product.price_minor * quantity;
        let discount = full * i64::from(percent) / 100;
        let line = Line { product: index, quantity, amount: full - discount, discount };
        if in_window {
            effect.apply(retailer, basket.day, product, &line, lines);
        }
        lines.push(line);
    }
}

/// Three of four lines are for one piece; at most six.
fn draw_quantity(rng: &mut impl Rng) -> i64 {
    match below(rng, 100) {
        0..75 => 1,
        75..91 => 2,
        91..96 => 3,
        96..98 => 4,
        98 => 5,
        _ => 6,
    }
}

/// What the campaign does to one shopper, and a tally of it.
struct Effect {
    /// Day of the exposure and the stream of chance that decides what is added; `None` for the others.
    exposed: Option<(Date, ChaCha8Rng)>,
    sales: CampaignSales,
}

impl Effect {
    fn none() -> Self {
        Self { exposed: None, sales: CampaignSales::default() }
    }

    fn of(retailer: &Retailer, shopper: &Shopper) -> Self {
        let seen = shopper.assignment.filter(|assignment| assignment.treatment).and_then(|a| a.seen_on);
        let rng = || stream(retailer.options.seed, Stream::Effect(shopper.index));
        Self { exposed: seen.map(|day| (day, rng())), sales: CampaignSales::default() }
    }

    /// Counts a line inside the window. Each line of the brand that an exposed shopper buys from the day of the
    /// exposure on is, with a chance of [`EFFECT_PERCENT`], bought once more.
    fn apply(
        &mut self,
        retailer: &Retailer,
        day: Date,
        product: &Product,
        line: &Line,
        lines: &mut Vec<Line>,
    ) {
        if product.brand != retailer.campaign.brand {
            return;
        }
        self.sales.lines += 1;
        self.sales.sales_minor += line.amount;
        if let Some((seen_on, rng)) = &mut self.exposed
            && day >= *seen_on
        {
            self.sales.affected_lines += 1;
            self.sales.affected_sales_minor += line.amount;
            if chance(rng, EFFECT_PERCENT) {
                self.sales.added_lines += 1;
                self.sales.added_sales_minor += line.amount;
                self.sales.lines += 1;
                self.sales.sales_minor += line.amount;
                lines.push(line.clone());
            }
        }
    }
}
