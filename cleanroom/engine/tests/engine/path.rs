//! The whole path: permits, receipts, re-use, idempotency, consent, previews.

use std::sync::Arc;

use audits::Kind;
use engine::scan::HotExecutor;
use engine::{BoundFrom, CleanRoom, QueryError, Release};
use identity::{Principal, Role};
use ids::{Digest, MicroEpsilon};
use privacy::OpenDpNoise;

use crate::house::{Data, House, Memory, NoNoise, Recorder, analyst, bundle, dataset, question};

const BY_DEPARTMENT: &str = "SELECT department, COUNT(DISTINCT household_id) AS households, SUM(sales_value) AS sales \
     FROM transactions JOIN products ON transactions.product_id = products.product_id \
     GROUP BY department ORDER BY sales DESC";

/// A room with real noise over 3,000 shoppers, and its log.
async fn room(house: &House, data: &Data) -> (CleanRoom, Arc<audits::Log>) {
    let executor = Arc::new(HotExecutor::new(Memory::of(data, true), 2));
    let log = house.log();
    let ports = house.ports(log.clone(), Arc::new(OpenDpNoise::default()));
    (CleanRoom::open(house.settings(), ports, bundle(), dataset(executor)).await.unwrap(), log)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_result_without_a_permit_a_durable_charge_and_a_log_receipt_that_name_this_very_query() {
    let (house, data) = (House::new(), Data::random(1, 3000));
    let (room, log) = room(&house, &data).await;
    let preview = room.preview(&analyst(), question(BY_DEPARTMENT)).await.unwrap();
    let release = room.ask(&analyst(), question(BY_DEPARTMENT)).await.unwrap();

    let entries = log.entries(0..log.size()).unwrap();
    let of = |kind| entries.iter().find(|logged| logged.entry.kind == kind).unwrap();
    let (charge, answer) = (of(Kind::QueryPermitted), of(Kind::QueryReleased));
    for logged in [charge, answer] {
        assert_eq!(logged.entry.plan, Some(preview.fingerprint), "the entry names this very query");
        assert_eq!(logged.entry.request.as_ref(), Some(&release.request_id));
        assert_eq!(logged.entry.clauses, release.policy.clauses);
    }
    assert!(charge.index < answer.index);
    assert_eq!(answer.entry.target, Some(charge.index));
    assert_eq!(answer.entry.result, Some(release.result));
    assert_eq!(answer.entry.release.as_ref(), Some(&release.release_id));
    assert_eq!(release.receipt.index, answer.index);
    let receipt = audits::Receipt {
        index: release.receipt.index,
        tree_size: release.receipt.tree_size,
        root: release.receipt.root,
        checkpoint: release.receipt.checkpoint.clone(),
        proof: release.receipt.proof.clone(),
    };
    receipt.verify(&answer.to_leaf().unwrap(), log.verifier_key()).unwrap();

    // What the log names is the answer as it is shown: everything before `result`.
    let shown = serde_json::to_string(&release).unwrap();
    let end = shown.find(",\"result\":").unwrap();
    assert_eq!(Digest::of(format!("{}}}", shown.get(..end).unwrap()).as_bytes()), release.result);
    let logged_rho = charge.entry.charge.as_ref().unwrap().rho;
    assert_eq!(logged_rho.as_f64(), release.charge.rho.0);
    assert_eq!(release.charge.blocks, ["2017-Q1", "2017-Q2", "2017-Q3", "2017-Q4"]);
    assert_eq!(release.bounds[0].source, BoundFrom::Inherent);
    assert_eq!(release.bounds[1].source, BoundFrom::PrivateHistogram);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_names_the_rule_and_is_logged_and_nothing_is_charged() {
    let (house, data) = (House::new(), Data::random(2, 200));
    let (room, log) = room(&house, &data).await;
    let sql = "SELECT manufacturer_id, COUNT(*) FROM transactions \
               JOIN products ON transactions.product_id = products.product_id GROUP BY manufacturer_id";
    for (who, sql) in [(analyst(), sql), (stranger(), "SELECT COUNT(*) FROM transactions")] {
        let before = log.size();
        let Err(QueryError::Denied(denial)) = room.ask(&who, question(sql)).await else {
            panic!("not denied")
        };
        assert!(!denial.clauses.is_empty() && !denial.reason.is_empty());
        let logged = log.entry(denial.log_index).unwrap();
        assert!(denial.log_index >= before);
        assert_eq!((logged.entry.kind, &logged.entry.clauses), (Kind::QueryDenied, &denial.clauses));
    }
    let budget = room.budget(&analyst()).await.unwrap();
    assert!(budget.blocks.iter().all(|block| block.spent_rho.0 == 0.0));
}

fn stranger() -> Principal {
    Principal::local("eve".parse().unwrap(), "nobody".parse().unwrap(), Role::Analyst)
}

fn without_names(release: &Release) -> (&[engine::Row], &[engine::BoundShown]) {
    (&release.rows, &release.bounds)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_on_the_same_snapshot_is_answered_from_the_stored_release_free_of_charge() {
    let (house, data) = (House::new(), Data::random(3, 3000));
    let (room, log) = room(&house, &data).await;
    let first = room.ask(&analyst(), question(BY_DEPARTMENT)).await.unwrap();
    let spent = room.budget(&analyst()).await.unwrap();

    // The same in other words, with other post-processing, for less: the same noisy numbers.
    let other = "select p.department, count(distinct t.household_id) as households, sum(t.sales_value) as sales \
                 from transactions t join products p on t.product_id = p.product_id \
                 group by p.department order by sales desc";
    assert!(room.preview(&analyst(), question(other)).await.unwrap().free);
    for sql in [BY_DEPARTMENT, other] {
        let again = room.ask(&analyst(), question(sql)).await.unwrap();
        assert_eq!(without_names(&again), without_names(&first));
        assert_eq!((again.charge.rho.0, again.reused_from.as_ref()), (0.0, Some(&first.release_id)));
        let logged = log.entry(again.receipt.index).unwrap();
        assert_eq!((logged.entry.kind, logged.entry.result), (Kind::QueryReused, Some(again.result)));
    }
    let mut cheaper = question(BY_DEPARTMENT);
    cheaper.epsilon = Some(MicroEpsilon::from_units(500_000));
    assert_eq!(room.ask(&analyst(), cheaper).await.unwrap().charge.rho.0, 0.0);
    assert_eq!(room.budget(&analyst()).await.unwrap(), spent);

    // A dearer question, another snapshot or another purpose's consents are not the same question.
    let mut dearer = question(BY_DEPARTMENT);
    dearer.epsilon = Some(MicroEpsilon::from_units(2_000_000));
    assert!(room.ask(&analyst(), dearer).await.unwrap().charge.rho.0 > 0.0);
    let executor = Arc::new(HotExecutor::new(Memory::of(&data, true), 2));
    let (schema, span) = (dataset(executor.clone()).schema().clone(), dataset(executor.clone()).span());
    room.replace_dataset(engine::Dataset::new(schema, span, Digest::of(b"snapshot 2"), 1, executor).unwrap());
    assert!(room.ask(&analyst(), question(BY_DEPARTMENT)).await.unwrap().charge.rho.0 > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_idempotency_key_charges_once_and_belongs_to_one_question() {
    let (house, data) = (House::new(), Data::random(4, 1000));
    let (room, _log) = room(&house, &data).await;
    let mut asked = question("SELECT COUNT(DISTINCT household_id) AS n FROM transactions");
    asked.request_id = Some("key-1".parse().unwrap());
    let first = room.ask(&analyst(), asked.clone()).await.unwrap();
    let spent = room.budget(&analyst()).await.unwrap();
    assert_eq!(
        room.ask(&analyst(), asked.clone()).await.unwrap(),
        first,
        "the same release, to the last byte"
    );
    assert_eq!(room.release(&analyst(), &first.release_id).await.unwrap(), first);
    let mut other = question("SELECT COUNT(*) AS n FROM transactions");
    other.request_id.clone_from(&asked.request_id);
    assert_eq!(room.ask(&analyst(), other).await.unwrap_err().code(), "conflict");
    assert_eq!(room.budget(&analyst()).await.unwrap(), spent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shopper_who_withdrew_consent_contributes_to_nothing() {
    let mut data = Data::random(5, 800);
    data.withdrawn = (0..800).filter(|unit| unit % 3 == 0).collect();
    let house = House::new();
    let memory = Memory::of(&data, true);
    let (recorder, seen) = Recorder::over(HotExecutor::new(memory.clone(), 2));
    let room = house.room_with(recorder, Arc::new(NoNoise)).await;
    let release =
        room.ask(&analyst(), question("SELECT COUNT(DISTINCT household_id) AS n FROM transactions")).await;
    let truth = memory.plain("SELECT count(DISTINCT unit_ix) FROM transactions WHERE unit_ix % 3 <> 0")[0][0]
        .unwrap();
    assert_eq!(release.unwrap().rows[0].value("n").unwrap().value.unwrap().0, truth as f64);

    // All withdrew: the next question sees nobody, and costs the same.
    data.withdrawn = (0..800).collect();
    let nobody =
        Arc::new(Recorder { executor: HotExecutor::new(Memory::of(&data, true), 2), seen: seen.clone() });
    let known = dataset(nobody.clone());
    room.replace_dataset(
        engine::Dataset::new(known.schema().clone(), known.span(), known.snapshot(), 2, nobody).unwrap(),
    );
    room.ask(&analyst(), question("SELECT COUNT(DISTINCT household_id) AS n FROM transactions"))
        .await
        .unwrap();
    let seen = seen.lock().unwrap();
    assert!(matches!(seen.totals.last().unwrap(), engine::scan::Totals::Public(sums) if sums[0] == [0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn preview_and_explain_read_no_data() {
    let house = House::new();
    let (recorder, seen) = Recorder::over(HotExecutor::new(Memory::of(&Data::random(6, 300), true), 2));
    let room = house.room_with(recorder, Arc::new(NoNoise)).await;
    let full = room.explain(&analyst(), question(BY_DEPARTMENT)).await.unwrap();
    let empty = Data { units: 0, lines: Vec::new(), ages: Vec::new(), withdrawn: Vec::new() };
    room.replace_dataset(dataset(Arc::new(HotExecutor::new(Memory::of(&empty, true), 2))));
    assert_eq!(room.explain(&analyst(), question(BY_DEPARTMENT)).await.unwrap(), full);
    assert!(seen.lock().unwrap().plans.is_empty(), "no scan was begun");
    assert_eq!(
        full.passes.iter().map(|pass| pass.step.as_str()).collect::<Vec<_>>(),
        ["parse", "resolve", "gate", "plan", "charge", "execute", "noise", "publish"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_below_the_cohort_are_left_out_by_their_noisy_number() {
    let (house, data) = (House::new(), Data::random(7, 2000));
    let (room, _log) = room(&house, &data).await;
    let release = room.ask(&analyst(), question(BY_DEPARTMENT)).await.unwrap();
    assert!(release.rows.iter().all(|row| row.key("department").unwrap().to_string() != "TRAVEL"));
    assert_eq!((release.suppressed.groups, release.suppressed.floor), (true, 50));
    // Keys out of private rows: a threshold above the floor, and nobody learns whether something is missing.
    let stores = "SELECT store_id, COUNT(DISTINCT household_id) AS n FROM transactions GROUP BY store_id";
    let release = room.ask(&analyst(), question(stores)).await.unwrap();
    assert!(release.suppressed.groups && release.suppressed.floor >= 49);
    assert!(!release.rows.is_empty());
    let floor = release.suppressed.floor as f64;
    assert!(release.rows.iter().all(|row| row.value("n").unwrap().value.unwrap().0 > floor));
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_do_not_fit_are_refused_with_a_way_out() {
    let (house, data) = (House::new(), Data::random(8, 100));
    let (room, _log) = room(&house, &data).await;
    let with = |name: &str, bound: &str| {
        let mut asked = question("SELECT SUM(sales_value) AS s FROM transactions");
        asked.bounds.insert(name.to_owned(), bound.to_owned());
        asked
    };
    for (name, bound) in
        [("sales_value", "0"), ("sales_value", "-3"), ("sales_value", "1.234"), ("salary", "10")]
    {
        let error = room.ask(&analyst(), with(name, bound)).await.unwrap_err();
        assert_eq!(error.code(), "parameter.bounds", "{name} {bound}: {error}");
    }
    let release = room.ask(&analyst(), with("sales_value", "57.12")).await.unwrap();
    assert_eq!((release.bounds[0].clip.0, release.bounds[0].source), (57.12, BoundFrom::Question));
    assert!(release.notes.iter().any(|note| note.contains("may exceed the interval")));
    let mut nothing = question("SELECT COUNT(*) FROM transactions");
    nothing.epsilon = Some(MicroEpsilon::ZERO);
    assert_eq!(room.ask(&analyst(), nothing).await.unwrap_err().code(), "parameter.epsilon");
}
