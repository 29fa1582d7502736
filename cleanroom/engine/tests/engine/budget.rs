//! The ledger under races.

use std::sync::Arc;

use engine::QueryError;
use engine::ledger::{Ledger, SqliteLedger};
use engine::scan::HotExecutor;
use ids::MicroEpsilon;
use privacy::DeltaSplit;

use crate::house::{Data, House, Memory, analyst, bundle, question};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sum_of_charges_never_exceeds_the_grant_when_64_analysts_race_for_the_last_of_a_budget() {
    let house = House::new();
    let room =
        Arc::new(house.room(Arc::new(HotExecutor::new(Memory::of(&Data::random(9, 60), true), 1))).await);
    let split = DeltaSplit::halves(bundle().budgets().delta);
    let price = privacy::rho_within(MicroEpsilon::from_units(4_000_000), split.conversion).units();
    let grant = privacy::rho_within(bundle().budgets().block_cap, split.conversion).units();
    let fits = usize::try_from(grant / price).unwrap();
    assert!((2..64).contains(&fits), "the test needs a budget that some but not all can have: {fits}");

    // Each asks a question of their own, twice at the same time with one request id.
    let race: Vec<_> = (0..64)
        .flat_map(|analyst| [analyst, analyst])
        .map(|number| {
            let room = room.clone();
            let mut asked = question(&format!(
                "SELECT COUNT(DISTINCT household_id) AS n FROM transactions WHERE quantity <> {number}"
            ));
            asked.epsilon = Some(MicroEpsilon::from_units(4_000_000));
            asked.request_id = Some(format!("race-{number}").parse().unwrap());
            tokio::spawn(async move { (number, room.ask(&analyst(), asked).await) })
        })
        .collect();
    let mut released = std::collections::BTreeMap::new();
    for outcome in race {
        let (number, outcome) = outcome.await.unwrap();
        match outcome {
            Ok(release) => {
                let id = released.entry(number).or_insert_with(|| release.release_id.clone());
                assert_eq!(*id, release.release_id, "one request id, one release");
            }
            Err(QueryError::Exhausted(exhausted)) => assert_eq!(exhausted.answers_like_this, 0),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(released.len(), fits, "as many as fit were answered");
    let ledger = SqliteLedger::open(&house.path("ledger.sqlite")).await.unwrap();
    let blocks: Vec<String> = ["2017-Q1", "2017-Q4"].map(str::to_owned).to_vec();
    let spent = ledger.spent(&"complete-journey".parse().unwrap(), &blocks, analyst().party()).await.unwrap();
    for spent in spent {
        assert!(
            spent.all.units() <= grant && spent.all.units() == fits as u64 * price,
            "{spent:?} of {grant}"
        );
    }
    assert_eq!(ledger.crooked_block().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_budget_says_what_is_left_and_a_repeated_question_is_still_free() {
    let house = House::new();
    let room = house.room(Arc::new(HotExecutor::new(Memory::of(&Data::random(10, 60), true), 1))).await;
    let ask = |number: u32, epsilon| {
        let mut asked =
            question(&format!("SELECT COUNT(*) AS n FROM transactions WHERE quantity <> {number}"));
        asked.bounds.insert("COUNT(*)".to_owned(), "100".to_owned());
        asked.epsilon = Some(MicroEpsilon::from_units(epsilon));
        asked
    };
    let mut answered = 0;
    let exhausted = loop {
        match room.ask(&analyst(), ask(answered, 4_000_000)).await {
            Ok(release) => {
                answered += 1;
                assert!(release.budget.answers_like_this < 64);
            }
            Err(QueryError::Exhausted(exhausted)) => break exhausted,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!((exhausted.answers_like_this, exhausted.block.as_str()), (0, "2017-Q1"));
    assert!(exhausted.left < exhausted.asked);
    assert_eq!(room.ask(&analyst(), ask(0, 4_000_000)).await.unwrap().charge.rho.0, 0.0);
    // Exactly what is left can still be spent.
    let last = room.ask(&analyst(), ask(999, exhausted.left.units())).await.unwrap();
    assert!(last.charge.rho.0 > 0.0);
}
