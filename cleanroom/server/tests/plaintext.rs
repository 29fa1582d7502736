//! Promise 7: plaintext rows, keys and direct identifiers never reach disk, logs, errors or metrics.
#![expect(clippy::unwrap_used, reason = "test code")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use common::{Room, assert_ok, http, write_data};
use serde_json::json;

/// What was planted in the files: cards, phone numbers as written and as made canonical, and their parts.
const PLANTED: [&str; 5] = ["card-00042", "card-00399", "+77010000042", "77010000042", "7010000399"];

/// Every file below a folder, searched for what was planted; gives how many were searched.
fn search(folder: &Path) -> usize {
    let mut searched = 0;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            searched += search(&path);
            continue;
        }
        let Ok(bytes) = fs::read(&path) else { continue };
        for planted in PLANTED {
            let found = bytes.windows(planted.len()).any(|window| window == planted.as_bytes());
            assert!(!found, "`{planted}` is in {}", path.display());
        }
        searched += 1;
    }
    searched
}

fn say_nothing(text: &str) {
    for planted in PLANTED {
        assert!(!text.contains(planted), "`{planted}` is in: {text}");
    }
}

#[test]
fn plaintext_rows_keys_and_direct_identifiers_never_reach_disk_logs_errors_or_metrics() {
    let room = Room::empty();
    write_data(&room.data());
    let temporary = room.folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let run = |args: &[&str]| {
        let output =
            room.command().env("TMPDIR", &temporary).env("RUST_LOG", "trace").args(args).output().unwrap();
        say_nothing(&common::stderr(&output));
        say_nothing(&String::from_utf8_lossy(&output.stdout));
        output
    };
    // A load with a bad row names its place, not its values; a good one leaves only ciphertext.
    let bad = room.folder.path().join("bad");
    write_data(&bad);
    let path = bad.join("shoppers.csv");
    let text = fs::read_to_string(&path).unwrap().replace("card-00042,basic", "card-00042,platinum");
    assert!(text.contains("platinum"));
    fs::write(&path, text).unwrap();
    assert_eq!(run(&["ingest", bad.to_str().unwrap()]).status.code(), Some(1));
    assert_ok(&run(&["ingest", room.data().to_str().unwrap()]));
    let files = search(&room.home) + search(&temporary);
    assert!(files > 10, "only {files} files were searched");

    // Questions, refused ones too, and the running service with everything unsealed in memory.
    assert_ok(&run(&["query", "SELECT tier, COUNT(DISTINCT card_id) AS n FROM shoppers GROUP BY tier"]));
    assert_eq!(run(&["query", "SELECT phone FROM shoppers"]).status.code(), Some(2));
    let mut service = room
        .command()
        .env("TMPDIR", &temporary)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(service.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address: SocketAddr =
        line.split("http://").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let bearer = format!("Bearer {}", room.token("retailer"));
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    for sql in
        ["SELECT COUNT(*) AS n FROM lines", "SELECT card_id FROM lines", "SELECT SUM(amount) AS s FROM lines"]
    {
        let body = json!({ "sql": sql, "purpose": "measurement" }).to_string();
        let (_, answer) = http(address, "POST", "/v1/queries", &headers, &body).unwrap();
        say_nothing(&answer);
    }
    for path in ["/metrics", "/v1/catalogue?purpose=measurement", "/v1/budget"] {
        say_nothing(&http(address, "GET", path, &headers, "").unwrap().1);
    }
    search(&room.home);
    search(&temporary);
    service.kill().unwrap();
    service.wait().unwrap();

    // The search itself finds what is there.
    let planted = fs::read(room.data().join("shoppers.csv")).unwrap();
    assert!(planted.windows(PLANTED[0].len()).any(|window| window == PLANTED[0].as_bytes()));
}
