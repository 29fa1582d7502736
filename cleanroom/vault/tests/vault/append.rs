//! Rows handed over in memory: the same rules as for files, three ways to say whose they are, nothing in plain on disk.

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use ids::{Date, Digest, UnitIx};

use super::support::*;
use vault::{IngestOptions, Ports, Quiet, Rows, Shopper, Vault, VaultRefused};

const CAMPAIGN: &str = "campaign-planted-4711";

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn days(values: &[&str]) -> ArrayRef {
    Arc::new(Date32Array::from_iter_values(values.iter().map(|day| day.parse::<Date>().unwrap().as_days())))
}

/// Assignments without the column that says whose they are.
fn assigned(arms: &[&str]) -> Vec<(&'static str, ArrayRef)> {
    let rows = arms.len();
    vec![
        ("campaign_id", texts(&vec![CAMPAIGN; rows])),
        ("arm", texts(arms)),
        ("assigned_on", days(&vec!["2026-02-01"; rows])),
    ]
}

fn by_unit(units: &[u32], arms: &[&str]) -> RecordBatch {
    let unit: ArrayRef = Arc::new(UInt32Array::from(units.to_vec()));
    batch([vec![("unit_ix", unit)], assigned(arms)].concat())
}

fn by_card(cards: &[&str], arms: &[&str]) -> RecordBatch {
    batch([vec![("card", texts(cards))], assigned(arms)].concat())
}

fn append(vault: &mut Vault, batches: Vec<RecordBatch>) -> Result<vault::IngestReport, VaultRefused> {
    vault.append(vec![Rows::batches("assignments", batches)], &IngestOptions::default(), &Quiet)
}

const ARMS: &str = "SELECT unit_ix, \"arm#code\" FROM assignments ORDER BY 1, 2";

fn arms(vault: &Vault) -> Vec<Vec<Option<i64>>> {
    rows(&unseal(vault), ARMS)
}

#[test]
fn a_declared_table_is_empty_at_first_and_takes_rows_by_card_by_position_and_by_pseudonym() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = shop(home.path());
    assert_eq!(arms(&vault), Vec::<Vec<Option<i64>>>::new());
    let report = append(&mut vault, vec![by_card(&[" card-7788991 "], &["treatment"])]).unwrap();
    assert_eq!((report.units_added, report.tables[0].rows), (0, 1));
    append(&mut vault, vec![by_unit(&[1], &["control"])]).unwrap();
    let third = vault.shoppers().unwrap().pseudonym(UnitIx(2)).unwrap();
    let pseudonym = FixedSizeBinaryArray::try_from_iter([third.as_bytes().to_vec()].into_iter()).unwrap();
    let pseudonym: ArrayRef = Arc::new(pseudonym);
    let rows_of_third = batch([vec![("unit_pseudonym", pseudonym)], assigned(&["control"])].concat());
    append(&mut vault, vec![rows_of_third]).unwrap();
    assert_eq!(arms(&vault), [[0, 0], [1, 1], [2, 1]].map(|row| row.map(Some).to_vec()));
    assert!(is_clustered(&unseal(&vault), "assignments"));
    // A card that nobody has seen becomes a shopper, as in a file.
    let report = append(&mut vault, vec![by_card(&["card-new"], &["control"])]).unwrap();
    assert_eq!((report.units_added, report.units), (1, 4));
    assert_eq!(vault.shoppers().unwrap().find("CARD-NEW"), Shopper::Known(UnitIx(3)));
    let vault = reopen(home.path()).unwrap();
    assert_eq!(arms(&vault).len(), 4);
    assert_eq!(vault.verify().unwrap(), 3 + 3 + 4 + 2 + 3 + 4);
}

#[test]
fn equal_rows_are_loaded_once_however_they_are_cut_and_a_key_decides_where_one_is_given() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = shop(home.path());
    let whole = by_unit(&[2, 0, 1], &["treatment", "control", "treatment"]);
    assert!(!append(&mut vault, vec![whole.clone()]).unwrap().unchanged);
    let snapshot = vault.snapshot();
    let cut = vec![whole.slice(0, 1), whole.slice(1, 0), whole.slice(1, 2)];
    assert!(append(&mut vault, cut).unwrap().unchanged);
    assert_eq!((vault.snapshot(), arms(&vault).len()), (snapshot, 3));
    // Another order, another value, another table: other rows.
    assert!(
        !append(&mut vault, vec![by_unit(&[0, 2, 1], &["control", "treatment", "treatment"])])
            .unwrap()
            .unchanged
    );
    let mut once = |key: &[u8], batch: RecordBatch| {
        let rows = Rows::batches("assignments", vec![batch]).once(Digest::of(key));
        vault.append(vec![rows], &IngestOptions::default(), &Quiet).unwrap().unchanged
    };
    assert!(!once(b"batch 1", whole.clone()), "the key and not the content names the load");
    assert!(once(b"batch 1", by_unit(&[0], &["control"])));
    assert!(!once(b"batch 2", whole.clone()));
    assert_eq!(arms(&vault).len(), 12);
    // Two tables in one call are one snapshot.
    let before = vault.sequence();
    let products = batch(vec![
        ("product_id", Arc::new(Int64Array::from(vec![200])) as ArrayRef),
        ("department", texts(&["FISH"])),
    ]);
    let both = vec![
        Rows::batches("assignments", vec![by_unit(&[1], &["control"])]),
        Rows::batches("products", vec![products]),
    ];
    let report = vault.append(both, &IngestOptions::default(), &Quiet).unwrap();
    assert_eq!((report.tables.len(), vault.sequence()), (2, before + 1));
    assert_eq!(rows(&unseal(&vault), "SELECT count(*) FROM products"), [[Some(3)]]);
}

#[test]
fn rows_in_memory_are_refused_like_rows_of_files_and_then_nothing_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = shop(home.path());
    let before = vault.snapshot();
    let unit = |units: &[u32]| Arc::new(UInt32Array::from(units.to_vec())) as ArrayRef;
    let mut extra = assigned(&["control"]);
    extra.push(("hue", texts(&["blue"])));
    let cases: Vec<(RecordBatch, &str, &str)> = vec![
        (by_unit(&[0, 7], &["control", "control"]), "bad-rows", "row 2: is about no shopper"),
        (by_unit(&[0, 1], &["control", "both"]), "bad-rows", "row 2 column `arm`: is not in its domain"),
        (by_card(&["", "CARD-1"], &["control", "control"]), "bad-rows", "row 1 column `card`: is empty"),
        (batch(assigned(&["control"])), "file-refused", "column `card` of table `assignments` is missing"),
        (
            batch([vec![("unit_ix", unit(&[0]))], extra].concat()),
            "file-refused",
            "`hue` is not in the catalogue",
        ),
        (
            batch(
                [vec![("unit_ix", unit(&[0])), ("card", texts(&["CARD-1"]))], assigned(&["control"])]
                    .concat(),
            ),
            "file-refused",
            "two columns are named `card`",
        ),
        (
            batch(
                [vec![("unit_ix", Arc::new(Int64Array::from(vec![0])) as ArrayRef)], assigned(&["control"])]
                    .concat(),
            ),
            "file-refused",
            "`unit_ix` is not UInt32",
        ),
    ];
    for (batch, code, text) in cases {
        let refused = append(&mut vault, vec![batch]).unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.to_string().contains(text), "{refused}");
        assert!(!refused.to_string().contains("both"), "values are not repeated: {refused}");
        assert_eq!(vault.snapshot(), before);
    }
    let lines = batch(vec![
        ("unit_ix", unit(&[0])),
        ("basket_id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("product_id", Arc::new(Int64Array::from(vec![100])) as ArrayRef),
        ("paid", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("pieces", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
    ]);
    let rows = vec![Rows::batches("lines", vec![lines])];
    let refused = vault.append(rows, &IngestOptions::default(), &Quiet).unwrap_err();
    assert!(refused.to_string().contains("finds its shoppers otherwise"), "{refused}");
    let rows = vec![Rows::batches("nowhere", vec![by_unit(&[0], &["control"])])];
    assert_eq!(vault.append(rows, &IngestOptions::default(), &Quiet).unwrap_err().code(), "no-table");
    drop(vault);
    assert_eq!(reopen(home.path()).unwrap().snapshot(), before);
}

#[test]
fn a_stream_of_csv_is_the_same_load_as_the_file() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = shop(home.path());
    let text = "till,basket_id,product_id,paid,pieces\n9,1,100,7.00,1\n9,4,101,8.00,1\n";
    let rows_of = |text: &str| Rows::csv("lines", text.as_bytes(), 1 << 20).unwrap();
    let report = vault.append(vec![rows_of(text)], &IngestOptions::default(), &Quiet).unwrap();
    assert_eq!(report.tables[0].rows, 2);
    assert_eq!(rows(&unseal(&vault), "SELECT sum(paid)::BIGINT FROM lines"), [[Some(3551 + 1500)]]);
    let path = home.path().join("lines-9.csv");
    fs::write(&path, text).unwrap();
    assert!(vault.ingest(&path, &IngestOptions::default(), &Quiet).unwrap().unchanged);
    let bad = text.replace("8.00", "eight");
    let refused = vault.append(vec![rows_of(&bad)], &IngestOptions::default(), &Quiet).unwrap_err();
    assert!(refused.to_string().contains("`rows for lines` line 3 column `paid`"), "{refused}");
    assert_eq!(Rows::csv("lines", text.as_bytes(), 10).unwrap_err().code(), "file-refused");
}

#[test]
fn an_append_leaves_nothing_in_plain_and_survives_a_crash_at_any_point() {
    for operations in 0.. {
        let home = tempfile::tempdir().unwrap();
        let old = shop(home.path()).snapshot();
        let disk = FailingDisk::after(operations, ErrorKind::Other);
        let ports = Ports { disk: Arc::new(disk.clone()), ..Ports::system() };
        let given = by_card(&["CARD-7788991", "CARD-5544331"], &["treatment", "control"]);
        let result = Vault::open(&home.path().join("vault"), &root_key(), ports)
            .and_then(|mut vault| append(&mut vault, vec![given.clone()]));
        let mut vault = reopen(home.path()).unwrap();
        let kept = arms(&vault);
        assert!(
            kept.is_empty() && vault.snapshot() == old || kept.len() == 2,
            "after {operations} operations"
        );
        assert!(result.is_err() || kept.len() == 2);
        let again = append(&mut vault, vec![given]).unwrap();
        assert_eq!((again.unchanged, arms(&vault).len()), (kept.len() == 2, 2));
        for file in walk(&home.path().join("vault")) {
            let bytes = fs::read(&file).unwrap();
            for planted in PLANTED.into_iter().chain([CAMPAIGN, "treatment"]) {
                let found = bytes.windows(planted.len()).any(|w| w.eq_ignore_ascii_case(planted.as_bytes()));
                assert!(!found, "`{planted}` is in {}", file.display());
            }
        }
        if !disk.has_failed() {
            assert!(result.is_ok() && operations > 10);
            break;
        }
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_refreshed_hot_store_shows_the_new_snapshot_and_leaves_the_old_one_to_who_holds_it() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = shop(home.path());
    let old = unseal(&vault);
    let mut held = old.worker().unwrap();
    let mut last = old.refreshed(&vault, &Default::default(), &Quiet).unwrap();
    for round in 0..3_u32 {
        append(&mut vault, vec![by_unit(&[round, 0], &["control", "treatment"])]).unwrap();
        let products = format!("product_id,department\n{},NEW-{round}\n", 300 + round);
        let products = Rows::csv("products", products.as_bytes(), 1 << 10).unwrap();
        vault.append(vec![products], &IngestOptions::default(), &Quiet).unwrap();
        let next = last.refreshed(&vault, &Default::default(), &Quiet).unwrap();
        assert_eq!((next.snapshot(), next.units()), (vault.snapshot(), vault.units()));
        let fresh = unseal(&vault);
        for sql in [
            ARMS,
            "SELECT unit_ix, count(*), sum(paid)::BIGINT FROM lines GROUP BY 1 ORDER BY 1",
            "SELECT product_id, \"department#code\" FROM products ORDER BY 1",
            "SELECT unit_ix, basket_id FROM baskets ORDER BY 1, 2",
        ] {
            assert_eq!(rows(&next, sql), rows(&fresh, sql), "{sql}");
        }
        assert_eq!(next.catalogue(), fresh.catalogue());
        assert!(is_clustered(&next, "assignments"));
        last = next;
    }
    assert_eq!(rows(&old, ARMS), Vec::<Vec<Option<i64>>>::new(), "the old snapshot is as it was");
    drop(old);
    let mut seen = 0;
    held.stream::<vault::StreamFailed>("SELECT unit_ix FROM lines", 0, 9, &mut |batch| {
        seen += batch.num_rows();
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, 4, "a worker keeps the tables of its snapshot");
    drop(held);
    assert_eq!(rows(&last, "SELECT count(*) FROM lines"), [[Some(4)]]);
}
