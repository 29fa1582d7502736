//! The demo, as a newcomer runs it, on a small retailer.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{assert_fails, assert_ok};
use serde_json::Value;

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cleanroom"));
    command.env_remove("CLEANROOM_HOME").args(["demo", "--once", "--shoppers=2000"]);
    command
}

#[test]
fn the_story_is_told_to_its_end_and_every_step_checks_itself() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let output = demo().arg("--home").arg(&home).output().unwrap();
    assert_ok(&output);
    let story = String::from_utf8(output.stdout).unwrap();
    for part in [
        "What was sealed",
        "exact (owner)",
        "The same question again",
        "free: the noise of",
        "clause JV-2.4",
        "exit code 3",
        "exit code 2",
        "exit code 4",
        "The log verifies",
        "cleanroom --home",
    ] {
        assert!(story.contains(part), "`{part}` is missing in:\n{story}");
    }
    // The home stays and works; a second demo does not touch it.
    let verify = Command::new(env!("CARGO_BIN_EXE_cleanroom"))
        .arg("--home")
        .arg(&home)
        .args(["audit", "verify"])
        .output();
    assert_ok(&verify.unwrap());
    assert_fails(&demo().arg("--home").arg(&home).output().unwrap(), 1, &["home_taken"]);
}

#[test]
fn the_story_as_json_holds_every_step() {
    let output = demo().args(["--format", "json", "--seed", "11"]).output().unwrap();
    assert_ok(&output);
    let story: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = story.get("steps").and_then(Value::as_array).unwrap();
    assert!(steps.len() >= 10, "{}", steps.len());
    assert!(steps.iter().all(|step| step.get("shows").is_some_and(|shows| !shows.is_null())), "{story}");
}

#[test]
fn the_complete_journey_lies_in_its_intervals() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("CLEANROOM_DATA").map_or(beside, PathBuf::from).join("complete_journey");
    if !data.join("transactions.parquet").is_file() {
        // The data may not be shipped with the code; the variable names the folder that holds it.
        let said = b"skipped: no Complete Journey data; set CLEANROOM_DATA\n";
        std::io::Write::write_all(&mut std::io::stderr(), said).unwrap();
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_cleanroom"))
        .env_remove("CLEANROOM_HOME")
        .args(["demo", "--once", "--format=json", "--data"])
        .arg(data)
        .output()
        .unwrap();
    assert_ok(&output);
}
