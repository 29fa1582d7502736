//! Promise 7, the vault's part: what must never be found in plain is looked for everywhere the vault could leave it.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::support::*;
use vault::{IngestOptions, Progress};

fn files_under(dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_under(&path, found);
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
}

/// Writes down everything that a load tells the outside.
#[derive(Default)]
struct Heard(Arc<Mutex<String>>);

impl Progress for Heard {
    fn table(&self, table: &str, rows: Option<u64>) {
        self.0.lock().unwrap().push_str(&format!("{table} {rows:?}\n"));
    }
    fn read(&self, rows: u64) {
        self.0.lock().unwrap().push_str(&format!("{rows}\n"));
    }
    fn sealed(&self, rows: u64) {
        self.0.lock().unwrap().push_str(&format!("{rows}\n"));
    }
}

#[test]
fn plaintext_rows_keys_and_direct_identifiers_never_reach_disk_logs_errors_or_metrics() {
    let home = tempfile::tempdir().unwrap();
    let input = tempfile::tempdir().unwrap();
    shop_files(input.path());
    let mut vault = new_vault(home.path(), shop_catalogue());
    let heard = Heard::default();
    vault.ingest(input.path(), &IngestOptions::default(), &heard).unwrap();

    // Refusals of every kind that rows can cause, with planted values in the place of every fault.
    let mut said = String::new();
    let bad = [
        (
            "shoppers-2.csv",
            "card,name,phone,tier\nCARD-7788991,Aigerim Plantedova,+77012345678,Bolat Secretov\n",
        ),
        ("shoppers-2.csv", "card,name,phone,tier\nCARD-7788991,Aigerim Plantedova\n,Bolat Secretov,,gold\n"),
        (
            "baskets-2.csv",
            "basket_id,card,sold_at\n+77012345678,CARD-7788991,Aigerim Plantedova\n1,CARD-5544331,x\n",
        ),
        ("baskets-2.csv", "basket_id,card,sold_at\n1,CARD-5544331,2026-01-01 00:00:00\n"),
        (
            "lines-2.csv",
            "till,basket_id,product_id,paid,pieces\n1,CARD-7788991,CARD-5544331,+77012345678,\"Bolat Secretov\"\n",
        ),
        (
            "consents-2.csv",
            "card,purpose,state,at\nCARD-7788991,Aigerim Plantedova,+77012345678,Bolat Secretov\n",
        ),
    ];
    for (name, text) in bad {
        let path = input.path().join(name);
        fs::write(&path, text).unwrap();
        let refused = vault.ingest(&path, &IngestOptions::default(), &heard).unwrap_err();
        said.push_str(&format!("{refused} {refused:?}\n"));
        let options = IngestOptions {
            quarantine: Some(home.path().join(format!("{}.bad", said.len()))),
            ..IngestOptions::default()
        };
        let kept = vault.ingest(&path, &options, &heard);
        said.push_str(&format!("{kept:?}\n"));
    }
    let hot = unseal(&vault);
    let mut worker = hot.worker().unwrap();
    for sql in [
        "SELECT CAST(tier || 'CARD-7788991' AS BIGINT) FROM shoppers WHERE unit_ix BETWEEN $1 AND $2",
        "SELECT error('+77012345678') FROM shoppers WHERE unit_ix BETWEEN $1 AND $2",
        "SELECT 'Bolat Secretov' FROM nowhere WHERE unit_ix BETWEEN $1 AND $2",
        "COPY shoppers TO '/tmp/planted.csv'",
        "ATTACH '/tmp/planted.db'",
        "SET temp_directory = '/tmp'",
        "INSTALL httpfs",
    ] {
        let failed = worker.stream::<vault::StreamFailed>(sql, 0, 9, &mut |_| Ok(())).unwrap_err();
        said.push_str(&format!("{failed} {failed:?}\n"));
    }
    said.push_str(&format!("{vault:?} {hot:?} {worker:?} {:?}", root_key()));
    said.push_str(&heard.0.lock().unwrap());

    let mut files = Vec::new();
    files_under(home.path(), &mut files);
    assert!(files.len() > 8, "there is something to look at");
    let key = "5a".repeat(32);
    for planted in PLANTED.into_iter().chain(["DAIRY", key.as_str()]) {
        assert!(!said.contains(planted), "`{planted}` was said:\n{said}");
        for (name, bytes) in &files {
            // The names of departments are in the sealed manifest, those of shoppers nowhere: both only sealed.
            assert!(!contains(bytes, planted), "`{planted}` is in {name}");
        }
    }
    assert!(!Path::new("/tmp/planted.csv").exists() && !Path::new("/tmp/planted.db").exists());
    // The search finds what is there: the input itself.
    let mut inputs = Vec::new();
    files_under(input.path(), &mut inputs);
    assert!(PLANTED.iter().all(|planted| inputs.iter().any(|(_, bytes)| contains(bytes, planted))));
}
