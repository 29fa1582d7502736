//! Before noise, the engine's numbers are those of plain DuckDB with the same clipping, to the last unit.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::scan::{GroupKey, HotExecutor, Totals};
use engine::{CleanRoom, Dataset};
use privacy::Bound;
use sql::KeyValue;
use vault::{Catalogue, HotStore, HotStoreConfig, IngestOptions, Ports, Quiet, RootKey, Vault};

use crate::house::{Data, House, Memory, NoNoise, Recorder, Rng, analyst, question};

/// Clips as `privacy` documents it, written anew: n = ⌈√Σx²⌉, and if n > bound then x·bound/n towards zero.
fn clipped(vector: &[i64], bound: u64) -> Vec<i128> {
    let square: u128 = vector.iter().map(|&x| u128::from(x.unsigned_abs()).pow(2)).sum();
    let mut norm = (square as f64).sqrt() as u128;
    while norm * norm < square {
        norm += 1;
    }
    while norm > 0 && (norm - 1) * (norm - 1) >= square {
        norm -= 1;
    }
    let (norm, bound) = (norm as i128, i128::from(bound));
    vector.iter().map(|&x| if norm > bound { i128::from(x) * bound / norm } else { i128::from(x) }).collect()
}

/// Rows of (shopper, group, value) as totals per group under a clip bound.
fn totals_of(rows: &[Vec<Option<i64>>], cells: usize, bound: u64) -> Vec<i128> {
    let mut shoppers: HashMap<i64, BTreeMap<usize, i64>> = HashMap::new();
    for row in rows {
        let (unit, group, value) = (row[0].unwrap(), row[1].unwrap() as usize, row[2].unwrap_or(0));
        *shoppers.entry(unit).or_default().entry(group).or_default() += value;
    }
    let mut totals = vec![0; cells];
    for groups in shoppers.values() {
        let values: Vec<i64> = groups.values().copied().collect();
        for (group, value) in groups.keys().zip(clipped(&values, bound)) {
            totals[*group] += value;
        }
    }
    totals
}

const BY_DEPARTMENT: &str = "SELECT department, COUNT(DISTINCT household_id) AS n, SUM(sales_value) AS s, COUNT(*) AS rows_n, \
     SUM(retail_disc) AS d FROM transactions JOIN products ON transactions.product_id = products.product_id \
     GROUP BY department";

/// Asks with no noise and hands out what the executor found.
async fn recorded(data: &Data, clustered: bool, workers: usize, arena: Option<usize>) -> Recorded {
    let mut executor = HotExecutor::new(Memory::of(data, clustered), workers);
    if let Some(bytes) = arena {
        executor = executor.with_arena_bytes_max(bytes);
    }
    let (recorder, seen) = Recorder::over(executor);
    let house = House::new();
    let room: CleanRoom = house.room_with(recorder, Arc::new(NoNoise)).await;
    let release = room.ask(&analyst(), question(BY_DEPARTMENT)).await.unwrap();
    let mut seen = seen.lock().unwrap();
    let Totals::Public(totals) = seen.totals.pop().unwrap() else { panic!("public keys") };
    (values_of(&release), seen.bounds.pop().unwrap(), totals)
}

/// Per measure the value that plain SQL sums for it, the bounds, and the totals.
type Recorded = (Vec<&'static str>, Vec<Bound>, Vec<Vec<i128>>);

/// What each measure adds up, told by its name.
fn values_of(release: &engine::Release) -> Vec<&'static str> {
    let value = |name: &str| {
        ["sales_value", "retail_disc"].into_iter().find(|column| name.contains(column)).unwrap_or("1")
    };
    release.bounds.iter().map(|bound| value(&bound.column)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn before_noise_the_engine_equals_plain_duckdb_to_the_last_unit() {
    for seed in 0..8 {
        let mut data = Data::random(100 + seed, 9000);
        data.withdrawn.retain(|unit| unit % 2 == 0);
        let (values, bounds, totals) = recorded(&data, true, 2, None).await;
        let memory = Memory::of(&data, true);
        let out: Vec<String> = data.withdrawn.iter().map(u32::to_string).collect();
        let by = |value: &str| {
            memory.plain(&format!(
                "SELECT unit_ix::BIGINT, \"department#code\"::BIGINT, sum({value})::BIGINT \
                 FROM transactions t JOIN products p ON t.product_id = p.product_id \
                 WHERE unit_ix NOT IN ({}) GROUP BY ALL",
                out.join(", ")
            ))
        };
        for (measure, bound) in bounds.iter().enumerate() {
            match bound {
                Bound::Groups(groups) => {
                    assert_eq!(*groups, 5, "nothing is cut from five departments");
                    let mut count = vec![0_i128; 5];
                    by("1").iter().for_each(|row| count[row[1].unwrap() as usize] += 1);
                    assert_eq!(values[measure], "1");
                    assert_eq!(totals[measure], count, "seed {seed}: shoppers");
                }
                Bound::Norm(norm) => {
                    let value = values[measure];
                    assert_eq!(
                        totals[measure],
                        totals_of(&by(value), 5, *norm),
                        "seed {seed}: {value} at {norm}"
                    );
                }
            }
        }
        assert!(bounds.len() >= 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_or_two_threads_any_order_of_rows_and_a_second_scan_give_equal_integers() {
    let data = Data::random(7, 20_000);
    let reference = recorded(&data, true, 1, None).await;
    assert_eq!(recorded(&data, true, 2, None).await, reference, "threads");
    assert_eq!(recorded(&data, true, 2, Some(0)).await, reference, "read twice");
    assert_eq!(recorded(&data, false, 2, None).await, reference, "rows of a shopper far apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_private_keys_no_shopper_counts_in_more_groups_than_allowed() {
    let data = Data::random(8, 5000);
    let memory = Memory::of(&data, true);
    let mut both = Vec::new();
    for workers in [1, 2] {
        let (recorder, seen) = Recorder::over(HotExecutor::new(memory.clone(), workers));
        let room = House::new();
        let room = room.room_with(recorder, Arc::new(NoNoise)).await;
        let mut asked = question(
            "SELECT store_id, COUNT(DISTINCT household_id) AS n FROM transactions GROUP BY store_id",
        );
        asked.groups_max = Some(3);
        room.ask(&analyst(), asked).await.unwrap();
        let mut seen = seen.lock().unwrap();
        let Totals::Private(groups) = seen.totals.pop().unwrap() else { panic!("private keys") };
        both.push(groups);
    }
    let per_shopper = "FROM (SELECT unit_ix, least(count(DISTINCT store_id), 3) AS k FROM transactions";
    let out: Vec<String> = data.withdrawn.iter().map(u32::to_string).collect();
    let sum = memory.plain(&format!(
        "SELECT sum(k)::BIGINT {per_shopper} WHERE unit_ix NOT IN ({}) GROUP BY unit_ix)",
        out.join(", ")
    ));
    for groups in &both {
        let total: i128 = groups.values().map(|sums| sums[0]).sum();
        assert_eq!(total, i128::from(sum[0][0].unwrap()), "each shopper in exactly min(3, stores) groups");
        let stores: Vec<_> = groups.keys().collect();
        let all: Vec<GroupKey> =
            (0..7).map(|s| GroupKey { code: 0, values: vec![KeyValue::Int(s)] }).collect();
        assert_eq!(stores, all.iter().collect::<Vec<_>>());
    }
}

/// Where the real data lies: `CLEANROOM_DATA`, or beside the checkout.
fn complete_journey() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("CLEANROOM_DATA").map_or(beside, PathBuf::from);
    let folder = root.join("complete_journey");
    folder.join("transactions.parquet").is_file().then_some(folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_complete_journey_the_engine_equals_plain_duckdb_to_the_last_unit() {
    let Some(folder) = complete_journey() else {
        println!("skipped: no Complete Journey data; set CLEANROOM_DATA");
        return;
    };
    let house = House::new();
    let root = RootKey::generate(&ids::SystemEntropy::new()).unwrap();
    let catalogue = Catalogue::parse(vault::COMPLETE_JOURNEY).unwrap();
    let mut sealed = Vault::create(&house.path("vault"), catalogue, &root, Ports::system()).unwrap();
    sealed.ingest(&folder, &IngestOptions::default(), &Quiet).unwrap();
    let hot = Arc::new(HotStore::unseal(&sealed, HotStoreConfig::default()).unwrap());
    let mut results = Vec::new();
    for workers in [1, 2] {
        let (recorder, seen) = Recorder::over(HotExecutor::new(hot.clone(), workers));
        let over = Dataset::over(hot.clone(), workers).unwrap();
        let set =
            Dataset::new(over.schema().clone(), over.span(), over.snapshot(), over.consent_epoch(), recorder);
        let house = House::new();
        let room = house.room_with(Arc::new(HotExecutor::new(hot.clone(), 1)), Arc::new(NoNoise)).await;
        room.replace_dataset(set.unwrap());
        let release = room.ask(&analyst(), question(BY_DEPARTMENT)).await.unwrap();
        let mut seen = seen.lock().unwrap();
        let Totals::Public(totals) = seen.totals.pop().unwrap() else { panic!("public keys") };
        results.push((values_of(&release), seen.bounds.pop().unwrap(), totals));
    }
    assert_eq!(results[0], results[1], "threads");
    let (values, bounds, totals) = &results[0];
    let per_shopper = plain_complete_journey(&hot);
    let cells = totals[0].len();
    let mut norms = 0;
    for (measure, (value, bound)) in values.iter().zip(bounds).enumerate() {
        let Bound::Norm(norm) = bound else {
            let mut households = vec![0_i128; cells];
            per_shopper.iter().for_each(|row| households[row[1].unwrap() as usize] += 1);
            assert_eq!(totals[measure], households, "households by department");
            continue;
        };
        let column = ["sales_value", "1", "retail_disc"].iter().position(|known| known == value).unwrap() + 2;
        let rows: Vec<_> = per_shopper.iter().map(|row| vec![row[0], row[1], row[column]]).collect();
        assert_eq!(totals[measure], totals_of(&rows, cells, *norm), "{value} at {norm}");
        norms += 1;
    }
    assert!(norms >= 3);
}

/// (household, department, sales, rows, discount) by plain DuckDB over the unsealed rows.
fn plain_complete_journey(hot: &HotStore) -> Vec<Vec<Option<i64>>> {
    let mut rows = Vec::new();
    let sql = "SELECT unit_ix::BIGINT, \"department#code\"::BIGINT, sum(sales_value)::BIGINT, count(*)::BIGINT, \
               coalesce(sum(retail_disc), 0)::BIGINT FROM transactions t JOIN products p ON t.product_id = p.product_id \
               GROUP BY unit_ix, \"department#code\"";
    let mut worker = hot.worker().unwrap();
    worker
        .stream::<vault::StreamFailed>(sql, 0, 0, &mut |batch| {
            use arrow::array::AsArray;
            use arrow::datatypes::Int64Type;
            for row in 0..batch.num_rows() {
                let value = |at: usize| Some(batch.column(at).as_primitive::<Int64Type>().value(row));
                rows.push((0..5).map(value).collect());
            }
            Ok(())
        })
        .unwrap();
    rows
}

#[test]
fn the_reference_clip_keeps_its_bound() {
    let mut rng = Rng(3);
    for _ in 0..1000 {
        let vector: Vec<i64> = (0..rng.below(9)).map(|_| rng.below(100_000) as i64 - 50_000).collect();
        let bound = 1 + rng.below(60_000);
        let after: i128 = clipped(&vector, bound).iter().map(|x| x * x).sum();
        assert!(after <= i128::from(bound).pow(2));
        let mut theirs = vector.clone();
        privacy::clip_l2(&mut theirs, bound);
        assert_eq!(theirs.iter().map(|&x| i128::from(x)).collect::<Vec<_>>(), clipped(&vector, bound));
    }
}
