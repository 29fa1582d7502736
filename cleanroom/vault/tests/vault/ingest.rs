//! Loading: what is refused and how, what is kept, and what a crash leaves behind.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::support::*;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use vault::{IngestOptions, Ports, Quiet, Vault, VaultRefused};

const LINES: &str = "till,basket_id,product_id,paid,pieces\n";

/// Loads one more file into the small shop and returns the refusal; the vault must be as it was.
fn refusal(name: &str, text: &[u8]) -> VaultRefused {
    let home = tempfile::tempdir().unwrap();
    let mut vault = shop(home.path());
    let (snapshot, before) = (vault.snapshot(), listing(home.path()));
    let path = home.path().join(name);
    fs::write(&path, text).unwrap();
    let refused = vault.ingest(&path, &IngestOptions::default(), &Quiet).unwrap_err();
    fs::remove_file(&path).unwrap();
    assert_eq!(vault.snapshot(), snapshot, "{refused}");
    assert_eq!(listing(home.path()), before, "nothing is left behind: {refused}");
    for planted in PLANTED {
        assert!(!format!("{refused} {refused:?}").contains(planted), "{refused}");
    }
    refused
}

fn listing(home: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for folder in ["parts", "manifests", "units"] {
        for entry in fs::read_dir(home.join("vault").join(folder)).unwrap() {
            names.push(entry.unwrap().path().display().to_string());
        }
    }
    names.sort();
    names
}

#[test]
fn a_bad_file_or_row_refuses_the_whole_load_and_says_where_and_why() {
    for (name, text, code, message) in [
        (
            "lines-2.csv",
            "till,basket_id,product_id,paid\n1,1,1,1\n",
            "file-refused",
            "column `pieces` of table `lines` is missing",
        ),
        (
            "lines-2.csv",
            "till,basket_id,paid,product_id,paid,pieces\n",
            "file-refused",
            "two columns are named `paid`",
        ),
        (
            "lines-2.csv",
            "till,basket_id,product_id,paid,pieces,vip\n",
            "file-refused",
            "column `vip` is not in the catalogue's table `lines`",
        ),
        ("lines-2.csv", "", "file-refused", "is missing"),
        (
            "lines-2.csv",
            "1,100,1.00,1\n2,x,1.00,1\n",
            "bad-rows",
            "1 bad row: nothing was loaded; `lines-2.csv` line 3 column `product_id`: is no whole number",
        ),
        (
            "lines-2.csv",
            "1,100,1.005,1\n",
            "bad-rows",
            "line 2 column `paid`: is no amount with at most 2 digits after the point",
        ),
        (
            "lines-2.csv",
            "1,100,1000.01,1\n",
            "bad-rows",
            "column `paid`: is outside its bounds of 0 to 100000",
        ),
        ("lines-2.csv", "1,100,1.00,100\n", "bad-rows", "column `pieces`: is outside its bounds of 0 to 99"),
        ("lines-2.csv", "1,100,,1\n", "bad-rows", "column `paid`: is empty"),
        ("lines-2.csv", ",100,1,1\n", "bad-rows", "column `basket_id`: is empty"),
        ("lines-2.csv", "77,100,1,1\n", "bad-rows", "column `basket_id`: leads to no row of its table"),
        ("lines-2.csv", "1,100,1\n", "bad-rows", "line 2: has 4 fields where the header has 5"),
        (
            "shoppers-2.csv",
            "card,name,phone,tier\n  ,Aigerim Plantedova,+77012345678,gold\n",
            "bad-rows",
            "line 2 column `card`: is empty, so the row belongs to no shopper",
        ),
        (
            "shoppers-2.csv",
            "card,name,phone,tier\nCARD-7788991,Aigerim Plantedova,,+77012345678\n",
            "bad-rows",
            "column `tier`: is not in its domain",
        ),
        (
            "baskets-2.csv",
            "basket_id,card,sold_at\n1,CARD-5544331,2026-01-01 00:00:00\n",
            "bad-rows",
            "column `basket_id`: is the key of a row of another shopper too",
        ),
        (
            "baskets-2.csv",
            "basket_id,card,sold_at\nCARD-5544331,1,CARD-7788991\n",
            "bad-rows",
            "is no whole number",
        ),
        (
            "products-2.csv",
            "product_id,department\n5,A\n5,B\n",
            "bad-rows",
            "line 3 column `product_id`: is the key of an earlier row too",
        ),
        (
            "consents-2.csv",
            "card,purpose,state,at\nCARD-1,measurement,maybe,2026-01-01 00:00:00\n",
            "bad-rows",
            "column `state`: is not in its domain",
        ),
        ("lines-2.parquet", "PAR1 this is cut off", "file-refused", "it is no complete Parquet file"),
        ("unknown.csv", "a\n1\n", "nothing-to-load", "holds no file of any table"),
    ] {
        let text = if text.is_empty()
            || text.contains(|c: char| c.is_alphabetic()) && !text.starts_with(['1', '2', ',', '7'])
        {
            text.to_owned()
        } else {
            format!("{LINES}{}", text.lines().map(|line| format!("9,{line}\n")).collect::<String>())
        };
        let refused = refusal(name, text.as_bytes());
        assert_eq!(refused.code(), code, "{text} {refused}");
        assert!(refused.to_string().contains(message), "{text}\n{refused}\n{message}");
        assert!(!refused.to_string().contains('\n'));
    }
}

fn lines_parquet(path: &Path, paid: Vec<f64>) {
    let n = paid.len() as i64;
    let ints = |value: i64| Arc::new(Int64Array::from_iter_values((0..n).map(|_| value))) as ArrayRef;
    let columns = [
        ("basket_id", ints(1)),
        ("product_id", ints(100)),
        ("paid", Arc::new(Float64Array::from(paid)) as ArrayRef),
        ("pieces", ints(2)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_doubles_become_exact_cents_and_truncated_files_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = shop(home.path());
    let path = home.path().join("lines-2.parquet");
    lines_parquet(&path, vec![0.1, 0.2, 19.99]);
    let report = vault.ingest(&path, &IngestOptions::default(), &Quiet).unwrap();
    assert_eq!(report.tables[0].rows, 3);
    assert_eq!(rows(&unseal(&vault), "SELECT sum(paid)::BIGINT FROM lines"), [[Some(3551 + 10 + 20 + 1999)]]);
    let whole = fs::read(&path).unwrap();
    for length in [0, 4, whole.len() / 2, whole.len() - 1] {
        assert_eq!(refusal("lines-3.parquet", &whole[..length]).code(), "file-refused", "{length} bytes");
    }
    lines_parquet(&path, vec![0.1, 0.001]);
    let refused = refusal("lines-3.parquet", &fs::read(&path).unwrap()).to_string();
    assert!(refused.contains("`lines-3.parquet` row 2 column `paid`: is no amount"), "{refused}");
}

#[test]
fn a_first_load_without_a_table_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = new_vault(home.path(), shop_catalogue());
    shop_files(&home.path().join("in"));
    fs::remove_file(home.path().join("in/products.csv")).unwrap();
    let refused = vault.ingest(&home.path().join("in"), &IngestOptions::default(), &Quiet).unwrap_err();
    assert_eq!((refused.code(), refused.to_string().contains("`products`")), ("table-absent", true));
}

#[test]
fn many_bad_rows_are_counted_and_the_first_are_shown() {
    let mut text = LINES.to_owned();
    (0..50_000).for_each(|i| text.push_str(if i % 2 == 0 { "9,1,100,1,1\n" } else { "9,1,100,x,x\n" }));
    let refused = refusal("lines-2.csv", text.as_bytes());
    let VaultRefused::Rows(rows) = &refused else { panic!("{refused}") };
    assert_eq!((rows.total, rows.shown.len(), rows.shown[1].row), (25_000, 10, 5));
    assert!(refused.to_string().ends_with("and 24990 more"), "{refused}");
}

#[test]
fn quarantine_keeps_the_good_rows_and_writes_positions_without_values() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = shop(home.path());
    let (path, bad) = (home.path().join("shoppers-2.csv"), home.path().join("bad.csv"));
    fs::write(
        &path,
        "card,name,phone,tier\nCARD-9,New One,,gold\nCARD-5544331,Bolat Secretov,+77770001122,tin\n",
    )
    .unwrap();
    let options = IngestOptions { quarantine: Some(bad.clone()), ..IngestOptions::default() };
    let report = vault.ingest(&path, &options, &Quiet).unwrap();
    assert_eq!((report.tables[0].rows, report.tables[0].quarantined, report.units_added), (1, 1, 1));
    let text = fs::read_to_string(&bad).unwrap();
    assert_eq!(text, "file,counted_in,row,column,reason\nshoppers-2.csv,line,3,tier,is not in its domain\n");
    assert_eq!(
        vault.ingest(&path, &options, &Quiet).unwrap_err().code(),
        "exists",
        "an old list is never overwritten"
    );
}

#[test]
fn rows_without_a_shopper_are_treated_as_the_catalogue_says() {
    for (word, baskets, lines, units) in [("drop", 3, 4, 3), ("own-unit", 4, 5, 4)] {
        let home = tempfile::tempdir().unwrap();
        let catalogue = SHOP.replace("empty_unit = \"drop\"", &format!("empty_unit = \"{word}\""));
        shop_files(&home.path().join("in"));
        let mut vault = new_vault(home.path(), vault::Catalogue::parse(&catalogue).unwrap());
        let report = vault.ingest(&home.path().join("in"), &IngestOptions::default(), &Quiet).unwrap();
        assert_eq!(
            (vault.rows("baskets"), vault.rows("lines"), report.units),
            (baskets, lines, units),
            "{word}"
        );
    }
    let home = tempfile::tempdir().unwrap();
    let catalogue = SHOP.replace("empty_unit = \"drop\"", "");
    shop_files(&home.path().join("in"));
    let mut vault = new_vault(home.path(), vault::Catalogue::parse(&catalogue).unwrap());
    let refused = vault.ingest(&home.path().join("in"), &IngestOptions::default(), &Quiet).unwrap_err();
    assert!(refused.to_string().contains("`baskets.csv` line 4 column `card`: is empty"), "{refused}");
}

#[test]
fn appends_find_their_shoppers_and_keep_every_table_clustered() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = shop(home.path());
    let epoch = unseal(&vault).consents().epoch();
    for load in 0..3 {
        let dir = home.path().join(format!("more-{load}"));
        fs::create_dir(&dir).unwrap();
        let id = 100 + load;
        fs::write(dir.join("baskets.csv"), format!("basket_id,card,sold_at\n{id},card-5544331,2026-02-01 00:00:00\n{id}9,NEW-{load},2026-02-01 00:00:00\n")).unwrap();
        // One line of an old basket, found through the sealed parts, and two of new ones.
        fs::write(dir.join("lines.csv"), format!("{LINES}9,1,100,1,1\n9,{id},102,2,1\n9,{id}9,102,3,1\n"))
            .unwrap();
        fs::write(dir.join("products.csv"), "product_id,department\n101,BREAD\n102,FISH\n").unwrap();
        let before = vault.snapshot();
        vault.ingest(&dir, &IngestOptions { part_rows: 2, ..IngestOptions::default() }, &Quiet).unwrap();
        assert_ne!(vault.snapshot(), before);
    }
    let vault = reopen(home.path()).unwrap();
    let hot = unseal(&vault);
    assert_eq!(hot.units(), 6);
    for table in ["lines", "baskets", "shoppers", "consents"] {
        assert!(is_clustered(&hot, table), "{table}");
    }
    let sums = rows(&hot, "SELECT unit_ix, count(*), sum(paid)::BIGINT FROM lines GROUP BY 1 ORDER BY 1");
    let expected = [[0, 6, 1000 + 1 + 500 + 300], [1, 4, 2050 + 600], [3, 1, 300], [4, 1, 300], [5, 1, 300]];
    assert_eq!(sums, expected.map(|row| row.map(Some).to_vec()));
    let departments = hot.catalogue().table("products").unwrap().column("department").unwrap().domain.clone();
    let names = ["BAKERY", "BREAD", "DAIRY", "FISH"].map(str::to_owned).to_vec();
    assert_eq!(departments, Some(vault::Domain::Values(names)), "what a domain has learned it keeps");
    let codes = rows(&hot, "SELECT product_id, \"department#code\" FROM products ORDER BY 1");
    assert_eq!(
        codes,
        [[100, 2], [101, 1], [102, 3]].map(|row| row.map(Some).to_vec()),
        "rows of a public table are replaced by key"
    );
    assert_eq!(hot.consents().epoch(), epoch, "no consent came in");
}

#[test]
fn consents_follow_the_latest_event() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = shop(home.path());
    let purpose = "measurement".parse().unwrap();
    let allowed = |vault: &Vault| {
        let hot = unseal(vault);
        (
            hot.consents().epoch(),
            (0..3).map(|unit| hot.consents().allows(&purpose, ids::UnitIx(unit))).collect::<Vec<_>>(),
        )
    };
    let (epoch, first) = allowed(&vault);
    assert_eq!(first, [true, false, false]);
    let path = home.path().join("consents-2.csv");
    fs::write(&path, "card,purpose,state,at\nCARD-7788991,measurement,withdrawn,2026-03-01 00:00:00\n")
        .unwrap();
    vault.ingest(&path, &IngestOptions::default(), &Quiet).unwrap();
    assert_eq!(allowed(&vault), (epoch + 1, vec![false, false, false]));
}

#[test]
fn a_crash_at_any_point_of_ingest_leaves_the_old_snapshot_or_the_new_one() {
    let (mut crashes, mut kept_old, mut kept_new) = (0, 0, 0);
    for operations in 0.. {
        let home = tempfile::tempdir().unwrap();
        let old = shop(home.path()).snapshot();
        let path = home.path().join("lines-2.csv");
        fs::write(&path, format!("{LINES}9,1,100,7,1\n9,2,100,8,1\n9,4,100,9,1\n")).unwrap();
        let disk = FailingDisk::after(operations, ErrorKind::Other);
        let ports = Ports { disk: Arc::new(disk.clone()), ..Ports::system() };
        let result = Vault::open(&home.path().join("vault"), &root_key(), ports).and_then(|mut vault| {
            vault.ingest(&path, &IngestOptions { part_rows: 2, ..IngestOptions::default() }, &Quiet)
        });
        let vault = reopen(home.path()).unwrap();
        let (loaded, sum) =
            (vault.rows("lines") == 7, rows(&unseal(&vault), "SELECT sum(paid)::BIGINT FROM lines"));
        assert_eq!(sum, [[Some(if loaded { 3551 + 2400 } else { 3551 })]], "after {operations} operations");
        assert!(loaded || (vault.snapshot() == old && vault.rows("lines") == 4));
        assert!(loaded || result.is_err(), "what was acknowledged is there");
        let parts = fs::read_dir(home.path().join("vault/parts")).unwrap().count();
        assert_eq!(parts, vault.parts().count(), "what a crash left is cleaned up at open");
        let manifests = fs::read_dir(home.path().join("vault/manifests")).unwrap().count();
        assert_eq!(manifests, 1);
        if !disk.has_failed() {
            assert!(result.is_ok() && loaded);
            break;
        }
        crashes += 1;
        if loaded {
            kept_new += 1
        } else {
            kept_old += 1
        }
        let mut vault = vault;
        let again = vault.ingest(&path, &IngestOptions::default(), &Quiet).unwrap();
        assert_eq!(
            (again.unchanged, vault.rows("lines")),
            (loaded, 7),
            "loading again completes it, and only once"
        );
    }
    println!("{crashes} crash points: {kept_old} kept the old snapshot, {kept_new} the new one");
    assert!(kept_old > 10 && kept_new > 0);
}

#[test]
fn a_full_disk_in_mid_ingest_changes_nothing_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let old = shop(home.path()).snapshot();
    let path = home.path().join("lines-2.csv");
    fs::write(&path, format!("{LINES}9,1,100,7,1\n")).unwrap();
    for operations in 0..8 {
        let disk = FailingDisk::after(operations, ErrorKind::StorageFull);
        let ports = Ports { disk: Arc::new(disk), ..Ports::system() };
        let mut vault = Vault::open(&home.path().join("vault"), &root_key(), ports).unwrap();
        let refused = vault.ingest(&path, &IngestOptions::default(), &Quiet).unwrap_err();
        assert_eq!(refused.code(), "disk-full", "after {operations} operations: {refused}");
        assert!(refused.to_string().contains("nothing was changed"));
        drop(vault);
        assert_eq!(reopen(home.path()).unwrap().snapshot(), old);
    }
}

#[test]
fn only_one_process_changes_a_vault() {
    let home = tempfile::tempdir().unwrap();
    drop(shop(home.path()));
    let mut vault = reopen(home.path()).unwrap();
    let lock = fs::File::options().write(true).open(home.path().join("vault/lock")).unwrap();
    lock.lock().unwrap();
    let refused = vault.ingest(&home.path().join("in"), &IngestOptions::default(), &Quiet).unwrap_err();
    assert_eq!(refused.code(), "vault-busy");
    assert!(reopen(home.path()).is_ok(), "reading goes on meanwhile");
}
