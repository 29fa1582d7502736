//! The exact figures of what was written, counted while it is generated.

use std::collections::BTreeMap;

use ids::Date;
use serde::Serialize;

use crate::Retailer;
use crate::assortment::DEPARTMENTS;
use crate::shopper::{Basket, CampaignSales, EFFECT_PERCENT, Line, PURPOSES, Shopper};

/// One group of lines. Money in minor units (tiyn, 1/100 tenge), as paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Cell {
    /// Different loyalty shoppers with at least one line.
    pub shoppers: u64,
    /// Lines.
    pub lines: u64,
    /// Sum of `amount`.
    pub sales_minor: i64,
}

/// Figures over one population of loyalty shoppers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// Shoppers, with or without purchases.
    pub shoppers: u64,
    /// Baskets.
    pub baskets: u64,
    /// All their lines.
    pub all: Cell,
    /// Sum of `discount`, in minor units.
    pub discount_minor: i64,
    /// By `products.department`.
    pub by_department: BTreeMap<String, Cell>,
    /// By `lines.channel`.
    pub by_channel: BTreeMap<String, Cell>,
    /// By month of `lines.bought_on`, such as `2024-01`.
    pub by_month: BTreeMap<String, Cell>,
    /// By week of `lines.bought_on`: its Monday.
    pub by_week: BTreeMap<String, Cell>,
}

/// Consent to one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ConsentTruth {
    /// Shoppers who gave it.
    pub given: u64,
    /// Of these, who took it back.
    pub withdrawn: u64,
    /// Who agrees after all events: given less withdrawn.
    pub allowed: u64,
}

/// One arm of the campaign, from the first to the last day of its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ArmTruth {
    /// Shoppers in `exposures`: assigned to this arm and met by an opportunity.
    pub shoppers: u64,
    /// Of these, who bought the brand within the window.
    pub buyers: u64,
    /// Their lines of the brand within the window.
    pub lines: u64,
    /// What they paid for them, in minor units.
    pub sales_minor: i64,
}

/// The campaign and its true effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CampaignTruth {
    /// `campaigns.campaign_id`.
    pub campaign_id: String,
    /// `campaigns.brand`.
    pub brand: String,
    /// First day of the window.
    pub starts: Date,
    /// Last day of the window.
    pub ends: Date,
    /// Chance, in percent, with which an exposed shopper's line of the brand was bought once more.
    pub effect_percent: u32,
    /// Shown to.
    pub treatment: ArmTruth,
    /// Withheld from.
    pub control: ArmTruth,
    /// Lines of the brand by treated shoppers, from the day of the exposure on, without what the campaign added.
    pub affected_lines: u64,
    /// What was paid for them, in minor units.
    pub affected_sales_minor: i64,
    /// Lines that are there only because of the campaign: the true incremental lines.
    pub added_lines: u64,
    /// What was paid for them, in minor units: the true incremental sales.
    pub added_sales_minor: i64,
}

/// The exact figures of what was written; `truth.json` holds the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// The seed.
    pub seed: u64,
    /// First day of the period.
    pub first_day: Date,
    /// Last day of the period.
    pub last_day: Date,
    /// Rows of `lines`, guests' included.
    pub lines: u64,
    /// Rows of `baskets`, guests' included.
    pub baskets: u64,
    /// Lines of baskets without a card.
    pub guest_lines: u64,
    /// Baskets without a card.
    pub guest_baskets: u64,
    /// What guests paid, in minor units.
    pub guest_sales_minor: i64,
    /// All loyalty shoppers, whatever they agreed to.
    pub loyalty: Totals,
    /// Per purpose: the loyalty shoppers who agree to it after all consent events. This is what an answer for that
    /// purpose is about.
    pub consenting: BTreeMap<String, Totals>,
    /// Per purpose: consent.
    pub consents: BTreeMap<String, ConsentTruth>,
    /// The campaign.
    pub campaign: CampaignTruth,
}

/// Sums over one population; `cells` holds departments, then channels, months and weeks.
#[derive(Debug, Clone, Default)]
struct Tally {
    shoppers: u64,
    baskets: u64,
    discount: i64,
    all: Cell,
    cells: Vec<Cell>,
}

/// Sums of one chunk, or of everything so far.
#[derive(Debug, Clone)]
pub(crate) struct Tallies {
    /// Everybody, then those who agree to each of [`PURPOSES`].
    populations: [Tally; 1 + PURPOSES.len()],
    consents: [ConsentTruth; PURPOSES.len()],
    control: ArmTruth,
    treatment: ArmTruth,
    campaign: CampaignSales,
    guest_baskets: u64,
    guest: Cell,
    /// One shopper's cells, kept to spare allocations.
    scratch: Vec<Cell>,
    months: usize,
}

impl Tallies {
    pub(crate) fn new(retailer: &Retailer) -> Self {
        let months = retailer.calendar.months();
        let size = DEPARTMENTS.len() + 2 + months + retailer.calendar.weeks();
        let empty = Tally { cells: vec![Cell::default(); size], ..Tally::default() };
        Self {
            populations: std::array::from_fn(|_| empty.clone()),
            consents: Default::default(),
            control: ArmTruth::default(),
            treatment: ArmTruth::default(),
            campaign: CampaignSales::default(),
            guest_baskets: 0,
            guest: Cell::default(),
            scratch: vec![Cell::default(); size],
            months,
        }
    }

    /// Counts a shopper with their baskets.
    pub(crate) fn shopper(
        &mut self,
        retailer: &Retailer,
        shopper: &Shopper,
        sales: CampaignSales,
        baskets: &[Basket],
        lines: &[Line],
    ) {
        let (mut all, mut discount) = (Cell { shoppers: 1, ..Cell::default() }, 0);
        self.scratch.fill(Cell::default());
        for basket in baskets {
            let month = retailer.calendar.month_of(basket.day);
            let week = retailer.calendar.week_of(basket.day);
            let mut whole = Cell { shoppers: 1, ..Cell::default() };
            for line in lines.get(basket.lines.clone()).into_iter().flatten() {
                let department =
                    retailer.assortment.products().get(line.product).map(|product| product.department_ix);
                if let Some(cell) = department.and_then(|department| self.scratch.get_mut(department)) {
                    cell.add(Cell { shoppers: 1, lines: 1, sales_minor: line.amount });
                }
                whole.lines += 1;
                whole.sales_minor += line.amount;
                discount += line.discount;
            }
            let channel = DEPARTMENTS.len() + usize::from(basket.online);
            let months_from = DEPARTMENTS.len() + 2;
            for position in [channel, months_from + month, months_from + self.months + week] {
                if let Some(cell) = self.scratch.get_mut(position) {
                    cell.add(whole);
                }
            }
            all.lines += whole.lines;
            all.sales_minor += whole.sales_minor;
        }
        // One shopper is one shopper, however many lines they have in a cell.
        for cell in &mut self.scratch {
            cell.shoppers = cell.shoppers.min(1);
        }
        all.shoppers = u64::from(all.lines > 0);
        let agrees =
            shopper.consents.map(|consent| consent.is_some_and(|consent| consent.withdrawn_at.is_none()));
        for (tally, counts) in self.populations.iter_mut().zip(std::iter::once(true).chain(agrees)) {
            if counts {
                tally.shopper(baskets.len() as u64, discount, all, &self.scratch);
            }
        }
        self.consents_of(shopper);
        self.campaign_of(shopper, sales);
    }

    fn consents_of(&mut self, shopper: &Shopper) {
        for (truth, consent) in self.consents.iter_mut().zip(shopper.consents) {
            if let Some(consent) = consent {
                truth.given += 1;
                truth.withdrawn += u64::from(consent.withdrawn_at.is_some());
                truth.allowed += u64::from(consent.withdrawn_at.is_none());
            }
        }
    }

    fn campaign_of(&mut self, shopper: &Shopper, sales: CampaignSales) {
        let Some(assignment) = shopper.assignment.filter(|assignment| assignment.seen_on.is_some()) else {
            return;
        };
        let arm = if assignment.treatment { &mut self.treatment } else { &mut self.control };
        arm.add(ArmTruth {
            shoppers: 1,
            buyers: u64::from(sales.lines > 0),
            lines: sales.lines,
            sales_minor: sales.sales_minor,
        });
        self.campaign.add(sales);
    }

    /// Counts the baskets of guests.
    pub(crate) fn guests(&mut self, baskets: &[Basket], lines: &[Line]) {
        self.guest_baskets += baskets.len() as u64;
        for line in baskets.iter().flat_map(|basket| lines.get(basket.lines.clone()).into_iter().flatten()) {
            self.guest.add(Cell { shoppers: 0, lines: 1, sales_minor: line.amount });
        }
    }

    /// Adds the sums of another chunk.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.populations.iter_mut().zip(&other.populations) {
            mine.shoppers += theirs.shoppers;
            mine.baskets += theirs.baskets;
            mine.discount += theirs.discount;
            mine.all.add(theirs.all);
            mine.cells.iter_mut().zip(&theirs.cells).for_each(|(mine, theirs)| mine.add(*theirs));
        }
        for (mine, theirs) in self.consents.iter_mut().zip(other.consents) {
            mine.given += theirs.given;
            mine.withdrawn += theirs.withdrawn;
            mine.allowed += theirs.allowed;
        }
        self.treatment.add(other.treatment);
        self.control.add(other.control);
        self.campaign.add(other.campaign);
        self.guest_baskets += other.guest_baskets;
        self.guest.add(other.guest);
    }

    /// Lines so far, guests' included.
    pub(crate) fn lines(&self) -> u64 {
        self.everybody().all.lines + self.guest.lines
    }

    /// Gives the figures their names.
    pub(crate) fn truth(&self, retailer: &Retailer) -> Truth {
        let [everybody, consenting @ ..] = &self.populations;
        let named = |tally: &Tally| tally.totals(retailer, self.months);
        let purposes = || PURPOSES.iter().map(|(name, _)| (*name).to_owned());
        Truth {
            seed: retailer.options.seed,
            first_day: retailer.options.first_day,
            last_day: retailer.options.last_day,
            lines: self.lines(),
            baskets: everybody.baskets + self.guest_baskets,
            guest_lines: self.guest.lines,
            guest_baskets: self.guest_baskets,
            guest_sales_minor: self.guest.sales_minor,
            loyalty: named(everybody),
            consenting: purposes().zip(consenting.iter().map(named)).collect(),
            consents: purposes().zip(self.consents).collect(),
            campaign: CampaignTruth {
                campaign_id: retailer.campaign.id.to_owned(),
                brand: retailer.campaign.brand.to_owned(),
                starts: retailer.campaign.starts,
                ends: retailer.campaign.ends,
                effect_percent: EFFECT_PERCENT,
                treatment: self.treatment,
                control: self.control,
                affected_lines: self.campaign.affected_lines,
                affected_sales_minor: self.campaign.affected_sales_minor,
                added_lines: self.campaign.added_lines,
                added_sales_minor: self.campaign.added_sales_minor,
            },
        }
    }

    fn everybody(&self) -> &Tally {
        let [everybody, ..] = &self.populations;
        everybody
    }
}

impl Cell {
    fn add(&mut self, other: Self) {
        self.shoppers += other.shoppers;
        self.lines += other.lines;
        self.sales_minor += other.sales_minor;
    }
}

impl ArmTruth {
    fn add(&mut self, other: Self) {
        self.shoppers += other.shoppers;
        self.buyers += other.buyers;
        self.lines += other.lines;
        self.sales_minor += other.sales_minor;
    }
}

impl CampaignSales {
    fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.sales_minor += other.sales_minor;
        self.affected_lines += other.affected_lines;
        self.affected_sales_minor += other.affected_sales_minor;
        self.added_lines += other.added_lines;
        self.added_sales_minor += other.added_sales_minor;
    }
}

impl Tally {
    fn shopper(&mut self, baskets: u64, discount: i64, all: Cell, cells: &[Cell]) {
        self.shoppers += 1;
        self.baskets += baskets;
        self.discount += discount;
        self.all.add(all);
        self.cells.iter_mut().zip(cells).for_each(|(mine, theirs)| mine.add(*theirs));
    }

    fn totals(&self, retailer: &Retailer, months: usize) -> Totals {
        let calendar = &retailer.calendar;
        let mut cells = self.cells.iter().copied();
        let mut take = |names: Vec<String>| names.into_iter().zip(cells.by_ref()).collect::<BTreeMap<_, _>>();
        Totals {
            shoppers: self.shoppers,
            baskets: self.baskets,
            all: self.all,
            discount_minor: self.discount,
            by_department: take(DEPARTMENTS.map(str::to_owned).to_vec()),
            by_channel: take(vec!["offline".to_owned(), "online".to_owned()]),
            by_month: take((0..months).map(|month| calendar.month_name(month)).collect()),
            by_week: take((0..calendar.weeks()).map(|week| calendar.week_start(week).to_string()).collect()),
        }
    }
}
