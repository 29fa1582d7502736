//! Bad input through the binary: a clear error, the right exit code, and nothing changed.
#![expect(clippy::unwrap_used, reason = "test code")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use common::{Room, assert_fails, assert_ok, write_data};
use parquet::arrow::ArrowWriter;

/// A load with one file replaced; asserts that it is refused, says so, and changes nothing.
fn refused_load(room: &Room, file: &str, text: &str, says: &[&str]) {
    write_data(&room.data());
    let path = room.data().join(file);
    fs::write(&path, text).unwrap();
    let before = room.vault_state();
    let output = room.run(&["ingest", room.data().to_str().unwrap()]);
    assert_fails(&output, 1, says);
    assert_fails(&output, 1, &[file, "why:", "way out:"]);
    assert_eq!(room.vault_state(), before, "{file}");
}

#[test]
fn a_bad_file_is_refused_with_file_line_column_and_reason_and_nothing_is_kept() {
    let room = Room::empty();
    let head = "card_id,tier,birth_year,phone\n";
    let row = |text: &str| format!("{head}card-1,basic,1980,+77010000001\n{text}\n");
    refused_load(
        &room,
        "shoppers.csv",
        &row("card-2,basic,eighty,+77010000002"),
        &["line 3 column `birth_year`", "bad-rows"],
    );
    refused_load(
        &room,
        "shoppers.csv",
        "card_id,tier,phone\ncard-1,basic,+77010000001\n",
        &["birth_year", "file-refused"],
    );
    refused_load(
        &room,
        "shoppers.csv",
        "card_id,tier,tier,birth_year,phone\nc,basic,basic,1980,\n",
        &["tier", "file-refused"],
    );
    refused_load(&room, "shoppers.csv", &row(",basic,1980,+77010000002"), &["line 3 column `card_id`"]);
    refused_load(
        &room,
        "shoppers.csv",
        &row("card-2,basic,1850,+77010000002"),
        &["line 3 column `birth_year`", "1900"],
    );
    refused_load(&room, "shoppers.csv", &row("card-2,silver,1980,+77010000002"), &["line 3 column `tier`"]);
    refused_load(
        &room,
        "lines.csv",
        "card_id,product_id,bought_on,channel,quantity,amount\nc,1,2024-02-30,offline,1,1.00\n",
        &["line 2 column `bought_on`"],
    );

    // The same room takes the good files afterwards.
    write_data(&room.data());
    assert_ok(&room.run(&["ingest", room.data().to_str().unwrap()]));
    let again = room.json(&["ingest", room.data().to_str().unwrap()]);
    assert_eq!(again["unchanged"], true);
}

#[test]
fn a_truncated_parquet_file_is_refused() {
    let room = Room::empty();
    write_data(&room.data());
    fs::remove_file(room.data().join("shoppers.csv")).unwrap();
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let schema = Schema::new(vec![
        text("card_id"),
        text("tier"),
        Field::new("birth_year", DataType::Int64, true),
        text("phone"),
    ]);
    let words = |value: &str| Arc::new(StringArray::from(vec![value; 3])) as _;
    let years = Arc::new(Int64Array::from(vec![1980; 3]));
    let columns = vec![words("card-1"), words("gold"), years as _, words("+77010000001")];
    let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    let path = room.data().join("shoppers.parquet");
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let before = room.vault_state();
    let output = room.run(&["ingest", room.data().to_str().unwrap()]);
    assert_fails(&output, 1, &["shoppers.parquet", "file-refused"]);
    assert_eq!(room.vault_state(), before);

    fs::write(&path, &bytes).unwrap();
    assert_ok(&room.run(&["ingest", room.data().to_str().unwrap()]));
}

#[test]
fn a_disk_that_takes_no_more_in_mid_ingest_changes_nothing() {
    let room = Room::empty();
    write_data(&room.data());
    // A limit of 1 KiB per file stops the sealing of a part; the shell ignores the signal so that the write fails.
    let before = room.vault_state();
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
    let output = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_cleanroom"), "--home"])
        .arg(&room.home)
        .arg("ingest")
        .arg(room.data())
        .output()
        .unwrap();
    assert_fails(&output, 1, &["error: ", "why:"]);
    assert_eq!(room.vault_state(), before);
    assert_ok(&room.run(&["ingest", room.data().to_str().unwrap()]));
}

fn parts(room: &Room) -> Vec<PathBuf> {
    let state = room.vault_state();
    let parts: Vec<PathBuf> = state
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.extension().is_some_and(|e| e == "parquet"))
        .collect();
    assert!(parts.len() >= 2, "{parts:?}");
    parts
}

const COUNT: [&str; 3] = ["query", "--party=retailer", "SELECT COUNT(*) AS n FROM lines"];

#[test]
fn a_tampered_part_is_found_before_anything_is_answered() {
    let room = Room::filled();
    let part = &parts(&room)[0];
    let mut bytes = fs::read(part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(part, bytes).unwrap();
    assert_fails(&room.run(&COUNT), 1, &["was changed", "vault-tampered"]);
    let doctor = room.run(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("FAILED"));
}

#[test]
fn swapped_parts_are_found_before_anything_is_answered() {
    let room = Room::filled();
    let parts = parts(&room);
    let (one, two) = (fs::read(&parts[0]).unwrap(), fs::read(&parts[1]).unwrap());
    fs::write(&parts[0], two).unwrap();
    fs::write(&parts[1], one).unwrap();
    assert_fails(&room.run(&COUNT), 1, &["swapped"]);
}

#[test]
fn a_wrong_root_key_opens_nothing() {
    let room = Room::filled();
    let key = room.home.join("keys/root.key");
    fs::write(&key, "ab".repeat(32)).unwrap();
    assert_fails(&room.run(&COUNT), 1, &["wrong-root-key", "root key"]);
}

#[test]
fn a_key_that_others_may_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let room = Room::filled();
    let key = room.home.join("keys/root.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_fails(&room.run(&COUNT), 1, &["chmod 600"]);
    let doctor = room.run(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
}

#[test]
fn questions_that_are_refused_denied_or_too_dear_end_with_their_exit_codes() {
    let room = Room::filled();
    let ask = |party: &str, more: &[&str], sql: &str| {
        let party = format!("--party={party}");
        room.run(&[&["query", party.as_str()], more, &[sql]].concat())
    };
    assert_ok(&ask("retailer", &[], "SELECT COUNT(DISTINCT card_id) AS n FROM shoppers"));
    assert_fails(&ask("retailer", &[], "SELECT COUNT(*) FROM nowhere"), 2, &["nowhere", "where:"]);
    assert_fails(&ask("retailer", &[], "SELECT SUM(nothing) FROM lines"), 2, &["nothing"]);
    assert_fails(&ask("retailer", &[], "SELECT phone FROM shoppers"), 2, &["phone"]);
    assert_fails(&ask("retailer", &[], "SELECT MAX(amount) FROM lines"), 2, &["way out:"]);
    assert_fails(&ask("retailer", &["--epsilon=-1"], "SELECT COUNT(*) AS n FROM lines"), 2, &["positive"]);
    assert_fails(&ask("retailer", &["--epsilon=50"], "SELECT COUNT(*) AS n FROM lines"), 3, &["clause"]);
    assert_fails(
        &ask("retailer", &["--purpose=activation"], "SELECT COUNT(*) AS n FROM lines"),
        3,
        &["clause"],
    );
    assert_fails(&ask("nobody", &[], "SELECT COUNT(*) AS n FROM lines"), 3, &["UNKNOWN-PARTY"]);

    // The smallest quota runs out; the last answer says so by its exit code, and charges nothing.
    let mut codes = Vec::new();
    for n in 0..12 {
        let sql = format!("SELECT COUNT(DISTINCT card_id) AS n FROM lines WHERE quantity > {n}");
        codes.push(ask("brand-lumi", &[], &sql).status.code().unwrap());
        if codes.last() != Some(&0) {
            break;
        }
    }
    assert_eq!(codes.pop(), Some(4), "{codes:?}");
    assert!(codes.len() >= 2 && codes.iter().all(|code| *code == 0), "{codes:?}");
    let before = room.json(&["budget", "--party", "brand-lumi"]);
    assert_fails(
        &ask("brand-lumi", &[], "SELECT COUNT(DISTINCT card_id) AS n FROM lines WHERE quantity > 40"),
        4,
        &["block", "exhausted"],
    );
    assert_eq!(room.json(&["budget", "--party", "brand-lumi"])["blocks"], before["blocks"]);
    assert_ok(&room.run(&["audit", "verify"]));
}

#[test]
fn the_command_line_itself_is_checked() {
    let room = Room::empty();
    assert_eq!(room.run(&["no-such-command"]).status.code(), Some(2));
    assert_fails(&room.run(&["serve", "--listen", "0.0.0.0:0"]), 2, &["TLS", "127.0.0.1"]);
    let catalogue = room.folder.path().join("catalogue.toml");
    let again = room.run(&[
        "init",
        "--catalogue",
        catalogue.to_str().unwrap(),
        "--policy",
        common::bundle("jv-north").to_str().unwrap(),
        "--party",
        "retailer",
    ]);
    assert_fails(&again, 1, &["home_taken", "nothing was changed"]);
    let elsewhere = room.folder.path().join("nothing-here");
    let missing = std::process::Command::new(env!("CARGO_BIN_EXE_cleanroom"))
        .arg("--home")
        .arg(elsewhere)
        .arg("budget")
        .output()
        .unwrap();
    assert_fails(&missing, 1, &["home_missing", "cleanroom init"]);
}

#[test]
fn a_flipped_bit_in_the_log_is_found_by_its_file() {
    let room = Room::filled();
    assert_ok(&room.run(&["audit", "verify"]));
    let mut files = Vec::new();
    let mut folders = vec![room.home.join("log/tile")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    for file in &files {
        let good = fs::read(file).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(file, bad).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        assert_fails(&room.run(&["audit", "verify"]), 1, &["does not verify", name]);
        fs::write(file, good).unwrap();
    }
    assert!(!files.is_empty());
    assert_ok(&room.run(&["audit", "verify"]));
}
