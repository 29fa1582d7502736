//! Record and replay (dp-engines T1, T4): the same question on a dataset and on its neighbour, with the mechanism's
//! choices of the first run frozen in the second.

use std::sync::{Arc, Mutex};

use engine::scan::{Executor, HotExecutor, Scan, ScanFailed, ScanPlan, SelectionKey, Totals};
use privacy::Bound;

use crate::house::{Data, House, Memory, NoNoise, Recorder, Rng, analyst, dataset, question};

const QUERIES: [&str; 9] = [
    "SELECT COUNT(*) AS n FROM transactions",
    "SELECT COUNT(DISTINCT household_id) AS n, SUM(sales_value) AS s FROM transactions WHERE quantity > 1",
    "SELECT department, COUNT(DISTINCT household_id) AS n, SUM(sales_value) AS s FROM transactions \
     JOIN products ON transactions.product_id = products.product_id GROUP BY department",
    "SELECT week, AVG(sales_value) AS a FROM transactions GROUP BY week",
    "SELECT age, COUNT(*) AS n, SUM(sales_value) AS s FROM transactions \
     JOIN demographics ON transactions.household_id = demographics.household_id GROUP BY age",
    "SELECT age, COUNT(*) AS n FROM demographics GROUP BY age",
    "SELECT store_id, COUNT(DISTINCT household_id) AS n, SUM(sales_value) AS s FROM transactions GROUP BY store_id",
    "SELECT store_id, department, COUNT(*) AS n FROM transactions \
     JOIN products ON transactions.product_id = products.product_id GROUP BY store_id, department",
    "SELECT COUNT(*) FILTER (WHERE big > 5000) AS n FROM \
     (SELECT household_id, SUM(sales_value) AS big FROM transactions GROUP BY household_id) AS f",
];

/// Passes plans on with one selection key for all of them.
struct SameSelection(Arc<Recorder>, Mutex<Option<SelectionKey>>);

impl Executor for SameSelection {
    fn begin(&self, mut plan: ScanPlan) -> Result<Box<dyn Scan + '_>, ScanFailed> {
        plan.selection = *self.1.lock().unwrap().get_or_insert(plan.selection);
        self.0.begin(plan)
    }
}

/// Columns of exact numbers, one per measure, over the union of both sides' groups.
fn columns(one: &Totals, other: &Totals) -> Vec<(Vec<i128>, Vec<i128>)> {
    match (one, other) {
        (Totals::Public(one), Totals::Public(other)) => {
            assert_eq!(one.len(), other.len());
            let pairs = one.iter().cloned().zip(other.iter().cloned());
            pairs
                .inspect(|(one, other)| assert_eq!(one.len(), other.len(), "the same public groups"))
                .collect()
        }
        (Totals::Private(one), Totals::Private(other)) => {
            let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            let width = one.values().chain(other.values()).map(Vec::len).max().unwrap_or(0);
            let side = |of: &std::collections::BTreeMap<_, Vec<i128>>, measure: usize| {
                keys.iter().map(|key| of.get(*key).map_or(0, |sums| sums[measure])).collect()
            };
            (0..width).map(|measure| (side(one, measure), side(other, measure))).collect()
        }
        _ => panic!("the kind of groups depends on data"),
    }
}

fn distance_squared(one: &[i128], other: &[i128]) -> u128 {
    one.iter().zip(other).map(|(a, b)| (a - b).unsigned_abs().pow(2)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbouring_datasets_differ_by_no_more_than_the_declared_sensitivity() {
    let mut rng = Rng(2026);
    let house = House::new();
    let idle = Arc::new(HotExecutor::new(Memory::of(&Data::random(0, 1), true), 1));
    let mut room = house.room_with(idle.clone(), Arc::new(NoNoise)).await;
    let mut houses = vec![house];
    for case in 0..216 {
        if case % 45 == 44 {
            // The δ of one budget is enough for fifty questions with private keys.
            houses.push(House::new());
            room = houses[houses.len() - 1].room_with(idle.clone(), Arc::new(NoNoise)).await;
        }
        let sql = QUERIES[case % QUERIES.len()];
        let data = Data::random(rng.next(), 25 + rng.below(30) as u32);
        // Half of the time the shopper with the most rows: the hardest neighbour.
        let busiest =
            (0..data.units).max_by_key(|unit| data.lines.iter().filter(|line| line.unit == *unit).count());
        let gone = if case % 2 == 0 { busiest.unwrap() } else { rng.below(u64::from(data.units)) as u32 };
        let neighbour = data.without(gone);

        let (recorder, seen) = Recorder::over(HotExecutor::new(Memory::of(&data, true), 1));
        let executor = Arc::new(SameSelection(recorder, Mutex::new(None)));
        let ask = |executor: Arc<dyn Executor>, side: u8| {
            let known = dataset(executor.clone());
            let snapshot = ids::Digest::of(format!("{case} {side}").as_bytes());
            let set =
                engine::Dataset::new(known.schema().clone(), known.span(), snapshot, 1, executor).unwrap();
            room.replace_dataset(set);
            let mut asked = question(sql);
            // Small, so that all cases fit into one budget.
            asked.epsilon = Some(ids::MicroEpsilon::from_units(100_000));
            asked.groups_max = Some(4);
            let room = &room;
            async move { room.ask(&analyst(), asked).await }
        };
        let first = ask(executor.clone(), 0).await.unwrap();
        let selection = *executor.1.lock().unwrap();
        let bounds: Vec<Bound> = seen.lock().unwrap().bounds.pop().unwrap();

        let (recorder, other) = Recorder::over(HotExecutor::new(Memory::of(&neighbour, true), 1));
        other.lock().unwrap().replay = Some(bounds.clone());
        let second = ask(Arc::new(SameSelection(recorder, Mutex::new(selection))), 1).await;

        let second = second.unwrap();
        assert_eq!(first.charge, second.charge, "case {case}: the same cost");
        let (mut seen, mut other) = (seen.lock().unwrap(), other.lock().unwrap());
        assert_eq!(seen.plans[0].statement, other.plans[0].statement, "case {case}: the same plan");
        for (one, two) in seen.norms.iter().flatten().zip(other.norms.iter().flatten()) {
            assert!(distance_squared(one, two) <= 1, "case {case}: {sql}: histograms differ by one shopper");
        }
        let (one, two) = (seen.totals.pop().unwrap(), other.totals.pop().unwrap());
        for ((one, two), bound) in columns(&one, &two).iter().zip(&bounds) {
            let (distance, allowed) = (distance_squared(one, two), bound.sensitivity().squared());
            assert!(distance <= allowed, "case {case}: {sql}: {distance} > {allowed} without shopper {gone}");
        }
    }
}
