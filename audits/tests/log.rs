//! The log as its users and its verifiers see it, on a real disk.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use audits::verify::{self, Bodies, verify_consistency};
use audits::{
    BodyKey, Charge, Decision, Entry, EntryRefused, Kind, Log, LogConfig, LogKey, LogRefused, Receipt,
    Remaining, VerifierKey,
};
use ids::{Delta, Digest, ManualClock, MicroRho, SystemClock, SystemEntropy, Timestamp};
use tempfile::TempDir;

struct Home {
    dir: TempDir,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn config(&self) -> LogConfig {
        config(self.dir.path())
    }

    fn create(&self) -> Log {
        let (key, body_key) = keys();
        let entropy = Arc::new(SystemEntropy::new());
        Log::create(self.config(), key, body_key, Arc::new(SystemClock), entropy).unwrap()
    }

    fn open(&self) -> Result<Log, LogRefused> {
        open(self.dir.path())
    }

    fn log(&self) -> PathBuf {
        self.config().dir
    }
}

fn config(home: &Path) -> LogConfig {
    LogConfig {
        dir: home.join("log"),
        head_path: home.join("head"),
        origin: "audit.example.kz/test".to_owned(),
    }
}

fn keys() -> (LogKey, BodyKey) {
    (LogKey::from_bytes([1; 32]), BodyKey::from_bytes([2; 32]))
}

fn open(home: &Path) -> Result<Log, LogRefused> {
    let (key, body_key) = keys();
    Log::open(config(home), key, body_key, Arc::new(SystemClock), Arc::new(SystemEntropy::new()))
}

fn entry(number: u64) -> Entry {
    Entry { consent_epoch: Some(number), ..Entry::new(Kind::QueryReleased) }
}

/// An entry that uses every member.
fn full() -> Entry {
    Entry {
        kind: Kind::QueryReleased,
        principal: Some("anna@brand-nord".parse().unwrap()),
        party: Some("brand-nord".parse().unwrap()),
        role: Some("analyst".parse().unwrap()),
        purpose: Some("measurement".parse().unwrap()),
        consent_epoch: Some(7),
        bundle: Some(Digest::of(b"bundle")),
        clauses: vec!["JV-3.1".parse().unwrap(), "JV-3.2".parse().unwrap()],
        decision: Some(Decision::Permitted),
        reason: Some("ok".parse().unwrap()),
        datasets: vec!["retail".parse().unwrap()],
        snapshot: Some(Digest::of(b"snapshot")),
        plan: Some(Digest::of(b"plan")),
        request: Some("req_1".parse().unwrap()),
        release: Some("rel_1".parse().unwrap()),
        charge: Some(Charge {
            rho: MicroRho::from_units(8300),
            delta: Delta::from_units(1_000_000_000),
            blocks: vec!["retail/2017-Q1".parse().unwrap()],
        }),
        remaining: Some(Remaining {
            rho: MicroRho::from_units(91_700),
            delta: Delta::from_units(9_000_000_000),
        }),
        result: Some(Digest::of(b"result")),
        destination: Some("cli".parse().unwrap()),
        audience: Some("coffee-spring".parse().unwrap()),
        target: Some(0),
        campaign: Some("butter-spring".parse().unwrap()),
        commitment: Some(Digest::of(b"commitment")),
    }
}

/// All files below a folder, relative to it.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(next) = dirs.pop() {
        for item in fs::read_dir(next).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// The independent verifier: `None` if Python or its packages are not there.
fn python(dir: &Path, vkey: &VerifierKey) -> Option<Result<String, String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify.py");
    let run = Command::new("python3").arg(script).arg(dir).arg(vkey.to_string()).output();
    let Ok(run) = run else {
        say("skipped: python3 is not installed");
        return None;
    };
    match run.status.code() {
        Some(77) => {
            say(String::from_utf8_lossy(&run.stdout).trim());
            None
        }
        Some(0) => Some(Ok(String::from_utf8_lossy(&run.stdout).trim().to_owned())),
        _ => Some(Err(String::from_utf8_lossy(&run.stderr).into_owned())),
    }
}

/// Says something even when the test passes, which `println!` in a test does not.
fn say(text: &str) {
    std::io::stderr().write_all(format!("independent verifier {text}\n").as_bytes()).unwrap();
}

/// Promise 10.
#[test]
fn the_log_verifies_with_independent_tools_one_flipped_bit_dropped_or_swapped_entry_is_found() {
    let home = Home::new();
    let log = home.create();
    for number in 0..5 {
        let body = (number % 2 == 0).then_some(b"SELECT COUNT(*) FROM baskets".as_slice());
        log.append(if number == 3 { full() } else { entry(number) }, body).unwrap();
    }
    log.erase_body(2, Entry::new(Kind::BodyErased)).unwrap();
    let vkey = log.verifier_key().clone();
    drop(log);
    let dir = home.log();
    let verified = verify::folder(&dir, &vkey).unwrap();
    assert_eq!(
        (verified.size, verified.bodies_present, verified.bodies_erased, verified.live),
        (6, 2, 1, false)
    );
    if let Some(said) = python(&dir, &vkey) {
        assert_eq!(said, Ok(format!("6 {}", verified.root.to_hex())));
    }
    every_changed_file_is_found(&dir, &vkey);
    every_dropped_or_swapped_entry_is_found(&dir, &vkey);
    assert_eq!(verify::folder(&dir, &vkey), Ok(verified), "all is as before");
}

fn every_changed_file_is_found(dir: &Path, vkey: &VerifierKey) {
    for path in files(dir) {
        let relative = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        for position in 0..bytes.len() {
            // Each bit of a byte in turn, another one for each position, so that the whole takes seconds.
            let mut changed = bytes.clone();
            changed[position] ^= 1 << (position % 8);
            fs::write(&path, &changed).unwrap();
            let refused =
                verify::folder(dir, vkey).expect_err(&format!("{relative} with byte {position} changed"));
            assert!(!refused.code().is_empty() && refused.to_string().contains('`'), "{refused}");
        }
        for changed in
            [bytes.get(1..), bytes.get(..bytes.len().saturating_sub(1)), Some(&[&bytes[..], b"\0"].concat())]
        {
            if changed.is_some_and(|changed| changed != bytes) {
                fs::write(&path, changed.unwrap()).unwrap();
                verify::folder(dir, vkey).expect_err(&format!("{relative} cut or extended"));
            }
        }
        fs::remove_file(&path).unwrap();
        let narrower = relative.contains(".p/") && !relative.ends_with(".p/6");
        // A superseded partial file may go, and so may the empty lock file; every other file is missed.
        assert_eq!(verify::folder(dir, vkey).is_ok(), narrower || relative == "lock", "{relative} removed");
        fs::write(&path, &bytes).unwrap();
    }
    for stray in ["notes.txt", "tile/0/1", "tile/0/000.p/7", "tile/entries/001", "bodies/900", "tile/9/000"] {
        fs::create_dir_all(dir.join(stray).parent().unwrap()).unwrap();
        fs::write(dir.join(stray), b"x").unwrap();
        let refused = verify::folder(dir, vkey).unwrap_err();
        assert_eq!(refused.file(), stray);
        fs::remove_file(dir.join(stray)).unwrap();
    }
}

/// Edits the newest bundle as an attacker would who can also recompute hashes, but not sign.
fn every_dropped_or_swapped_entry_is_found(dir: &Path, vkey: &VerifierKey) {
    let (bundle_path, tile_path) = (dir.join("tile/entries/000.p/6"), dir.join("tile/0/000.p/6"));
    let (bundle, tile) = (fs::read(&bundle_path).unwrap(), fs::read(&tile_path).unwrap());
    let mut entries = Vec::new();
    let mut rest = bundle.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (entry, after) = after.split_at(u16::from_be_bytes(*length).into());
        entries.push(entry.to_vec());
        rest = after;
    }
    let write = |entries: &[Vec<u8>], with_hashes: bool| {
        let framed =
            entries.iter().flat_map(|entry| [&(entry.len() as u16).to_be_bytes(), entry.as_slice()].concat());
        fs::write(&bundle_path, framed.collect::<Vec<_>>()).unwrap();
        let hashes = entries.iter().flat_map(|entry| *audits::leaf_hash(entry).as_bytes());
        fs::write(&tile_path, if with_hashes { hashes.collect() } else { tile.clone() }).unwrap();
    };
    for with_hashes in [false, true] {
        for at in 0..entries.len() {
            let mut dropped = entries.clone();
            dropped.remove(at);
            write(&dropped, with_hashes);
            verify::folder(dir, vkey).expect_err(&format!("entry {at} dropped"));
            let mut repeated = entries.clone();
            repeated[at] = entries[(at + 1) % entries.len()].clone();
            write(&repeated, with_hashes);
            verify::folder(dir, vkey).expect_err(&format!("entry {at} replaced"));
            for other in 0..at {
                let mut swapped = entries.clone();
                swapped.swap(at, other);
                write(&swapped, with_hashes);
                verify::folder(dir, vkey).expect_err(&format!("entries {other} and {at} swapped"));
            }
        }
    }
    if let Some(said) = python(dir, vkey) {
        assert!(said.is_err(), "the independent verifier sees it, too");
    }
    write(&entries, true);
}

#[test]
fn a_leaf_is_golden_and_every_other_writing_of_it_is_refused() {
    let home = Home::new();
    let (key, body_key) = keys();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_123)));
    let log = Log::create(home.config(), key, body_key, clock, Arc::new(SystemEntropy::new())).unwrap();
    log.append(full(), None).unwrap();
    let logged = log.entry(0).unwrap();
    assert_eq!(logged.entry, full());
    let leaf = String::from_utf8(logged.to_leaf().unwrap()).unwrap();
    let digest = |text: &[u8]| Digest::of(text).to_string();
    let golden = format!(
        r#"{{"audience":"coffee-spring","bundle":"{}","campaign":"butter-spring","charge":{{"blocks":["retail/2017-Q1"],"delta_femto":1000000000,"rho_micro":8300}},"clauses":["JV-3.1","JV-3.2"],"commitment":"{}","consent_epoch":7,"datasets":["retail"],"decision":"permitted","destination":"cli","kind":"query-released","party":"brand-nord","plan":"{}","principal":"anna@brand-nord","purpose":"measurement","reason":"ok","release":"rel_1","remaining":{{"delta_femto":9000000000,"rho_micro":91700}},"request":"req_1","result":"{}","role":"analyst","snapshot":"{}","target":0,"time":1790000000123,"v":1}}"#,
        digest(b"bundle"),
        digest(b"commitment"),
        digest(b"plan"),
        digest(b"result"),
        digest(b"snapshot"),
    );
    assert_eq!(leaf, golden);
    for other in [
        leaf.replace(":7,", ": 7,"),
        leaf.replace("\"v\":1", "\"v\":2"),
        leaf.replace("\"v\":1", "\"v\":1,\"w\":1"),
        leaf.replace("\"target\":0", "\"target\":0.0"),
        leaf.replace("query-released", "query-reles\\u0061ed"),
        leaf.replace("query-released", "query-forgotten"),
        leaf.replace("\"target\":0,", "\"target\":null,"),
        leaf.replace("brand-nord\",\"plan", "Brand\",\"plan"),
        format!("{leaf}\n"),
        String::new(),
    ] {
        assert!(audits::Logged::from_leaf(0, other.as_bytes()).is_err(), "{other}");
    }
}

#[test]
fn an_entry_that_is_too_large_is_refused_alone() {
    let home = Home::new();
    let log = home.create();
    let clause = |number: usize| format!("{number:0>90}").parse().unwrap();
    let large = Entry { clauses: (0..50).map(clause).collect(), ..entry(1) };
    let number = Entry { consent_epoch: Some(1 << 53), ..entry(1) };
    let answers = log.append_all(vec![(entry(0), None), (large, None), (number, None), (entry(2), None)]);
    let codes: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().map(|r| r.index).map_err(|e| e.code())).collect();
    assert_eq!(codes, [Ok(0), Err("entry-refused"), Err("entry-refused"), Ok(1)]);
    let refused = log.append(entry(3), Some(&vec![0; audits::BODY_BYTES_MAX + 1])).unwrap_err();
    assert_eq!(refused.code(), "body-too-large");
    assert_eq!(
        EntryRefused::TooLarge { bytes: 5000 }.to_string().split(':').next().unwrap(),
        "the entry takes 5000 bytes but a leaf holds at most 4096"
    );
    assert_eq!(log.size(), 2);
}

#[test]
fn sixty_four_threads_all_get_receipts_that_hold() {
    let home = Home::new();
    let log = home.create();
    let receipts: Vec<(u64, Receipt)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0_u64..64)
            .map(|thread| {
                let log = &log;
                scope.spawn(move || {
                    let append = |turn| {
                        let number: u64 = thread * 100 + turn;
                        (
                            number,
                            log.append(entry(number), (turn == 0).then_some(b"body".as_slice())).unwrap(),
                        )
                    };
                    (0..10).map(append).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(log.size(), 640);
    let vkey = log.verifier_key().clone();
    let newest = log.prove_inclusion(0).unwrap();
    for (number, receipt) in &receipts {
        let logged = log.entry(receipt.index).unwrap();
        assert_eq!(logged.entry, entry(*number));
        receipt.verify(&logged.to_leaf().unwrap(), &vkey).unwrap();
        assert!(receipt.verify(b"{}", &vkey).is_err());
        let proof = log.prove_consistency(receipt.tree_size, 640).unwrap();
        assert!(verify_consistency(receipt.tree_size, 640, &receipt.root, &newest.root, &proof));
    }
    drop(log);
    let verified = verify::folder(&home.log(), &vkey).unwrap();
    assert_eq!((verified.size, verified.bodies_present), (640, 64));
    assert_eq!(home.open().unwrap().entries(250..600).unwrap().len(), 350);
}

#[test]
fn strangers_agree_at_every_kind_of_edge() {
    let home = Home::new();
    let log = home.create();
    let vkey = log.verifier_key().clone();
    let mut agreed = 0;
    for size in [0, 1, 2, 255, 256, 257, 513, 1024, 2000] {
        let more = (log.size()..size).map(|number| (entry(number), None)).collect();
        assert!(log.append_all(more).iter().all(Result::is_ok));
        let verified = verify::folder(&home.log(), &vkey).unwrap();
        assert_eq!((verified.size, verified.live), (size, true));
        match python(&home.log(), &vkey) {
            Some(said) => assert_eq!(said, Ok(format!("{size} {}", verified.root.to_hex()))),
            None => return,
        }
        agreed += 1;
    }
    assert_eq!(agreed, 9);
}

#[test]
fn a_log_beyond_65_536_entries_has_three_levels_and_verifies() {
    let home = Home::new();
    let log = home.create();
    let vkey = log.verifier_key().clone();
    let started = Instant::now();
    let more = (0..65_537).map(|number| (entry(number), None)).collect();
    assert!(log.append_all(more).iter().all(Result::is_ok));
    let appended = started.elapsed();
    drop(log);
    for (path, exists) in [
        ("tile/0/255", true),
        ("tile/0/256.p/1", true),
        ("tile/1/000", true),
        ("tile/1/001", false),
        ("tile/2/000.p/1", true),
        ("tile/entries/255", true),
        ("tile/entries/256.p/1", true),
    ] {
        assert_eq!(home.log().join(path).is_file(), exists, "{path}");
    }
    let started = Instant::now();
    assert_eq!(verify::folder(&home.log(), &vkey).unwrap().size, 65_537);
    println!("65,537 entries: appended in {appended:.1?}, verified in {:.1?}", started.elapsed());
    let full_tile = home.log().join("tile/1/000");
    let mut bytes = fs::read(&full_tile).unwrap();
    bytes[100] ^= 1;
    fs::write(&full_tile, bytes).unwrap();
    let refused = verify::folder(&home.log(), &vkey).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`tile/1/000` at byte 100: the hash is not the one that follows from the tiles below"
    );
}

#[test]
fn an_erased_body_is_gone_and_every_proof_stays() {
    let home = Home::new();
    let log = home.create();
    let bodies: [&[u8]; 3] = [b"first body", b"second body", b"third body"];
    let receipts = log.append_all(bodies.iter().map(|body| (entry(0), Some(*body))).collect());
    let receipts: Vec<Receipt> = receipts.into_iter().map(Result::unwrap).collect();
    assert_eq!(log.body(1).unwrap().as_deref(), Some(b"second body".as_slice()));
    log.erase_body(1, Entry::new(Kind::BodyErased)).unwrap();
    assert_eq!(log.body(0).unwrap().as_deref(), Some(b"first body".as_slice()));
    assert_eq!(log.body(1).unwrap(), None);
    assert_eq!(log.erase_body(1, Entry::new(Kind::BodyErased)).unwrap_err().code(), "nothing-to-erase");
    assert_eq!(log.erase_body(99, Entry::new(Kind::BodyErased)).unwrap_err().code(), "nothing-to-erase");
    let vkey = log.verifier_key().clone();
    for receipt in &receipts {
        receipt.verify(&log.entry(receipt.index).unwrap().to_leaf().unwrap(), &vkey).unwrap();
    }
    drop(log);
    let verified = verify::folder(&home.log(), &vkey).unwrap();
    assert_eq!((verified.bodies_present, verified.bodies_erased), (2, 1));
    // A body that went without an entry is named; an export may lack it.
    for file in fs::read_dir(home.log().join("bodies")).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    let refused = verify::folder(&home.log(), &vkey).unwrap_err();
    assert_eq!((refused.code(), refused.entry_index()), ("body-missing", Some(0)));
    let exported = verify::folder_with(&home.log(), &vkey, Bodies::Optional, &mut |_| ()).unwrap();
    assert_eq!(exported.bodies_absent, 2);
}

#[test]
fn no_body_is_on_disk_in_plain() {
    let home = Home::new();
    let log = home.create();
    log.append(entry(0), Some(b"planted-name +77011234567")).unwrap();
    drop(log);
    for path in files(home.dir.path()) {
        let bytes = fs::read(&path).unwrap();
        assert!(
            !bytes.windows(7).any(|window| window == b"planted" || window == b"7701123"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn a_log_has_one_writer_is_made_on_purpose_and_belongs_to_its_keys() {
    let home = Home::new();
    assert_eq!(home.open().map(drop).unwrap_err().code(), "log-not-found");
    let log = home.create();
    log.append(entry(0), None).unwrap();
    assert_eq!(home.open().map(drop).unwrap_err().code(), "log-locked");
    drop(log);
    let try_with = |config: LogConfig, seed: u8, create: bool| {
        let (key, body_key) = (LogKey::from_bytes([seed; 32]), BodyKey::from_bytes([2; 32]));
        let entropy = Arc::new(SystemEntropy::new());
        let opened = if create {
            Log::create(config, key, body_key, Arc::new(SystemClock), entropy)
        } else {
            Log::open(config, key, body_key, Arc::new(SystemClock), entropy)
        };
        opened.map(drop).map_err(|refused| refused.code())
    };
    assert_eq!(try_with(home.config(), 1, true), Err("log-exists"));
    assert_eq!(try_with(home.config(), 9, false), Err("head-refused"));
    let renamed = LogConfig { origin: "audit.example.kz/other".to_owned(), ..home.config() };
    assert_eq!(try_with(renamed, 1, false), Err("head-refused"));
    let inside = LogConfig { head_path: home.log().join("head"), ..home.config() };
    assert_eq!(try_with(inside, 1, false), Err("head-inside-log"));
    // The same folder under another head: made on purpose or not at all.
    let elsewhere = LogConfig { head_path: home.dir.path().join("other-head"), ..home.config() };
    assert_eq!(try_with(elsewhere.clone(), 1, true), Err("log-exists"));
    assert_eq!(try_with(elsewhere, 1, false), Err("head-missing"));
    assert_eq!(try_with(home.config(), 1, false), Ok(()));
}

#[test]
fn proofs_travel_as_files() {
    let home = Home::new();
    let log = home.create();
    let first = log.append(entry(0), None).unwrap();
    (1..20).for_each(|number| drop(log.append(entry(number), None).unwrap()));
    let vkey = log.verifier_key().clone();
    let leaf = log.entry(7).unwrap().to_leaf().unwrap();
    let receipt = log.prove_inclusion(7).unwrap();
    let text = receipt.to_tlog_proof();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 7\n"));
    assert_eq!(Receipt::from_tlog_proof(&text, &vkey), Ok(receipt));
    assert_eq!(Receipt::from_tlog_proof(&first.to_tlog_proof(), &vkey), Ok(first), "a proof without hashes");
    for position in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[position] ^= 1;
        let changed = String::from_utf8_lossy(&changed).into_owned();
        let checked =
            Receipt::from_tlog_proof(&changed, &vkey).and_then(|receipt| receipt.verify(&leaf, &vkey));
        assert!(checked.is_err(), "byte {position}");
    }
}

fn run(args: &[&str]) -> (i32, String, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_cleanroom-audit")).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (run.status.code().unwrap(), text(run.stdout), text(run.stderr))
}

#[test]
fn the_command_verifies_shows_proves_and_compares() {
    let home = Home::new();
    let log = home.create();
    log.append(entry(0), Some(b"body")).unwrap();
    let denied = Entry { party: Some("brand-sued".parse().unwrap()), ..Entry::new(Kind::QueryDenied) };
    log.append(denied, None).unwrap();
    let (old, path) = (log.checkpoint(), home.dir.path().join("old-checkpoint"));
    fs::write(&path, &old).unwrap();
    log.append(full(), None).unwrap();
    let vkey = log.verifier_key().to_string();
    drop(log);
    let (dir, old) = (home.log(), path.to_str().unwrap());
    let dir = dir.to_str().unwrap();

    let (code, out, _) = run(&["verify", dir, "--key", &vkey]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with("ok: audit.example.kz/test holds 3 entries, all as signed\nroot sha256:"),
        "{out}"
    );
    assert!(out.ends_with("bodies: 1 sealed and unchanged, 0 erased, 0 not here\n"), "{out}");
    let (code, out, _) =
        run(&["show", dir, "--key", &vkey, "--kind", "query-denied", "--party", "brand-sued"]);
    assert_eq!(
        (code, out.lines().count(), out.starts_with("1\t{\"kind\":\"query-denied\"")),
        (0, 1, true),
        "{out}"
    );
    let (code, _, said) = run(&["show", dir, "--key", &vkey, "--kind", "query-forgotten"]);
    assert_eq!(code, 1);
    assert!(said.starts_with("error: `query-forgotten` is not a kind of entry"), "{said}");

    let (code, proof, _) = run(&["prove", dir, "--key", &vkey, "2"]);
    assert_eq!(code, 0);
    let (_, shown, _) = run(&["show", dir, "--key", &vkey, "--from", "2"]);
    let (proof_path, entry_path) = (home.dir.path().join("proof"), home.dir.path().join("entry"));
    fs::write(&proof_path, proof).unwrap();
    fs::write(&entry_path, shown.split('\t').nth(1).unwrap()).unwrap();
    let check =
        ["check", proof_path.to_str().unwrap(), "--entry", entry_path.to_str().unwrap(), "--key", &vkey];
    let (code, out, _) = run(&check);
    assert_eq!((code, out.as_str()), (0, "ok: entry 2 of audit.example.kz/test in the tree of 3 entries\n"));
    fs::write(&entry_path, "{}").unwrap();
    assert_eq!(run(&check).0, 1);

    let (code, out, _) = run(&["consistency", dir, "--key", &vkey, old]);
    assert!(code == 0 && out.starts_with("ok: the log of 3 entries extends the log of 2 entries\n"), "{out}");
    assert_eq!(run(&["consistency", dir, "--key", &vkey, "1", "2"]).0, 0);
    assert_eq!(run(&["consistency", dir, "--key", &vkey, "2", "4"]).0, 1);

    fs::remove_file(home.log().join("tile/0/000.p/3")).unwrap();
    let (code, _, said) = run(&["verify", dir, "--key", &vkey]);
    assert_eq!((code, said.as_str()), (1, "error: `tile/0/000.p/3`: it is missing\n"));
    assert_eq!(run(&["verify", dir]).0, 2);
    let (code, _, said) = run(&["verify", dir, "--key", "no-key"]);
    assert!(code == 1 && said.contains("neither a verifier key nor a file with one"), "{said}");
}

/// The process that is killed: appends and says each receipt aloud. Does nothing unless asked to.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Ok(home) = std::env::var("AUDITS_TEST_HOME") else { return };
    let log = open(Path::new(&home)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for number in 0.. {
                    let body = (number % 2 == 0).then_some(b"body".as_slice());
                    let receipt = log.append(entry(thread * 1_000_000 + number), body).unwrap();
                    println!("receipt {} {} {}", receipt.index, receipt.tree_size, receipt.root);
                }
            });
        }
    });
}

#[test]
fn kill_9_loses_no_receipt() {
    let home = Home::new();
    drop(home.create());
    let mut receipts: Vec<(u64, u64, Digest)> = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(6);
    let mut rounds = 0_u64;
    while rounds < 20 && Instant::now() < deadline {
        rounds += 1;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends_until_it_is_killed", "--nocapture"])
            .env("AUDITS_TEST_HOME", home.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        // The moment of the kill varies with the number of receipts seen first.
        let mut line = String::new();
        for _ in 0..3 + rounds * 7 {
            line.clear();
            said.read_line(&mut line).unwrap();
            receipts.extend(parse(&line));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        receipts.extend(rest.lines().filter(|line| line.len() > 60).filter_map(parse));

        let log = home.open().unwrap_or_else(|refused| panic!("round {rounds}: {refused}"));
        let newest = log.prove_inclusion(0).unwrap();
        for (index, size, root) in &receipts {
            log.entry(*index).unwrap();
            let proof = log.prove_consistency(*size, newest.tree_size).unwrap();
            assert!(verify_consistency(*size, newest.tree_size, root, &newest.root, &proof), "entry {index}");
        }
        let vkey = log.verifier_key().clone();
        drop(log);
        verify::folder(&home.log(), &vkey).unwrap();
    }
    println!("{} receipts over {rounds} kills", receipts.len());
    assert!(rounds >= 3 && receipts.len() >= 50, "{} receipts over {rounds} kills", receipts.len());
}

fn parse(line: &str) -> Option<(u64, u64, Digest)> {
    let mut fields = line.trim().rsplit("receipt ").next()?.split(' ');
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
