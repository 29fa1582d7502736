//! How fast rows pass the aggregator. Not a test of correctness; run it alone:
//! `cargo test -p engine --release speed -- --ignored --nocapture`.

use std::time::Instant;

use engine::scan::{Bounding, Executor, Groups, HotExecutor, ScanMeasure, ScanPlan, SelectionKey, Totals};
use ids::SystemEntropy;
use privacy::{Bound, MeasureKind};
use sql::StreamColumn;

use crate::house::{Data, Memory};

const ROWS: u64 = 20_000_000;
const UNITS: u32 = 500_000;

#[test]
#[ignore = "a measurement of half a minute"]
fn speed_of_20_million_lines_of_500_thousand_shoppers() {
    let mut data = Data { units: UNITS, lines: Vec::new(), ages: Vec::new(), withdrawn: Vec::new() };
    data.withdrawn.extend([3, 4]);
    let memory = Memory::of(&data, true);
    memory.run(&format!(
        "CREATE TABLE wide AS SELECT (i * {UNITS} // {ROWS})::UINTEGER AS unit_ix, (hash(i) % 40)::BIGINT AS product_id, \
         (hash(i + 1) % 1500)::BIGINT AS cents FROM range({ROWS}) r(i)"
    ));
    memory.run("CREATE TABLE shelf AS SELECT i AS product_id, (i % 12)::INTEGER AS code FROM range(40) r(i)");
    let plain = [
        "SELECT code, count(*), sum(cents)::BIGINT FROM wide JOIN shelf USING (product_id) GROUP BY code",
        "SELECT code, count(DISTINCT unit_ix), sum(cents)::BIGINT FROM wide JOIN shelf USING (product_id) GROUP BY code",
    ];
    for sql in plain {
        let start = Instant::now();
        memory.plain(&format!("SELECT count(*) FROM ({sql})"));
        memory.plain(sql);
        println!("DuckDB, one thread, twice: {:?}: {sql}", start.elapsed());
    }
    let statement = "SELECT unit_ix, code AS g, cents AS m1 FROM wide JOIN shelf USING (product_id) \
                     WHERE unit_ix >= $1 AND unit_ix < $2";
    for (workers, search) in [(1, false), (2, false), (2, true)] {
        let sum = if search {
            Bounding::Search(Bound::Norm(1 << 40))
        } else {
            Bounding::Fixed(Bound::Norm(20_000))
        };
        let plan = ScanPlan {
            statement: statement.to_owned(),
            columns: vec![StreamColumn::Unit, StreamColumn::Group, StreamColumn::Measure(1)],
            groups: Groups::Public { cells: 12 },
            measures: vec![
                ScanMeasure {
                    kind: MeasureKind::Units,
                    column: None,
                    row_max: 1,
                    bounding: Bounding::Fixed(Bound::Groups(12)),
                },
                ScanMeasure { kind: MeasureKind::Sum, column: Some(1), row_max: 1 << 30, bounding: sum },
            ],
            purpose: "measurement".parse().unwrap(),
            selection: SelectionKey::draw(&SystemEntropy::new()).unwrap(),
        };
        let executor = HotExecutor::new(memory.clone(), workers);
        for _ in 0..3 {
            let start = Instant::now();
            let mut scan = executor.begin(plan.clone()).unwrap();
            if search {
                scan.norms().unwrap();
            }
            let totals = scan.totals(&[Bound::Groups(12), Bound::Norm(20_000)]).unwrap();
            println!("engine, {workers} workers, search {search}: {:?}", start.elapsed());
            assert!(matches!(totals, Totals::Public(sums) if sums.len() == 2));
        }
    }
}
