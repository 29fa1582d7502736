//! What the intervals promise, counted.

use std::sync::Arc;

use engine::scan::HotExecutor;
use engine::{Dataset, Question};
use ids::{Digest, MicroEpsilon};
use privacy::OpenDpNoise;

use crate::house::{Data, House, Memory, NoNoise, analyst, dataset, question};

const RELEASES: usize = 400;

fn questions() -> Vec<Question> {
    let sums = "SELECT SUM(sales_value) AS v FROM transactions WHERE quantity > 0";
    let asked = [
        (
            "SELECT department, COUNT(DISTINCT household_id) AS v FROM transactions JOIN products \
          ON transactions.product_id = products.product_id GROUP BY department",
            None,
        ),
        ("SELECT COUNT(*) AS v FROM transactions", Some(("COUNT(*)", "100000"))),
        (sums, Some(("sales_value", "10000.00"))),
    ];
    let with = |(sql, bound): (&str, Option<(&str, &str)>)| {
        let mut asked = question(sql);
        asked.epsilon = Some(MicroEpsilon::from_units(200_000));
        asked.bounds.extend(bound.map(|(name, value)| (name.to_owned(), value.to_owned())));
        asked
    };
    asked.into_iter().map(with).collect()
}

/// Over 400 releases of three questions the share of intervals that cover the truth is binomial around 95 % or a little
/// more (intervals end at whole numbers). Two-sided at 4.9 standard deviations: a false alarm in a million runs.
#[tokio::test(flavor = "multi_thread")]
async fn over_400_releases_of_three_queries_the_interval_covers_the_truth_as_often_as_it_says() {
    let house = House::new();
    let executor = Arc::new(HotExecutor::new(Memory::of(&Data::random(77, 4000), true), 2));
    let plain = House::new();
    let exact = plain.room_with(executor.clone(), Arc::new(NoNoise)).await;
    let room = house.room_with(executor.clone(), Arc::new(OpenDpNoise::default())).await;
    let known = dataset(executor.clone());
    for asked in questions() {
        let truth = exact.ask(&analyst(), asked.clone()).await.unwrap();
        let (mut covered, mut cells) = (0_usize, 0_usize);
        for run in 0..RELEASES {
            // Another snapshot, so that the release is not simply repeated.
            let snapshot = Digest::of(&run.to_be_bytes());
            let set = Dataset::new(known.schema().clone(), known.span(), snapshot, 1, executor.clone());
            room.replace_dataset(set.unwrap());
            let release = room.ask(&analyst(), asked.clone()).await.unwrap();
            for row in &truth.rows {
                let key = row.0.first().map(|(_, key)| key.clone());
                let same = release
                    .rows
                    .iter()
                    .find(|other| row.0.len() == 1 || other.0.first().map(|(_, key)| key) == key.as_ref());
                let (value, noisy) =
                    (row.value("v").unwrap().value.unwrap().0, same.unwrap().value("v").unwrap());
                cells += 1;
                covered += usize::from(noisy.low.unwrap().0 <= value && value <= noisy.high.unwrap().0);
            }
        }
        let n = cells as f64;
        let slack = 4.9 * (n * 0.95 * 0.05).sqrt();
        println!("{covered} of {cells} covered: {:.4} [{}]", covered as f64 / n, asked.sql);
        assert!(covered as f64 >= 0.95 * n - slack, "{covered} of {cells}");
        assert!(
            covered as f64 <= 0.965 * n + slack,
            "{covered} of {cells}: intervals are wider than they say"
        );
    }
}
