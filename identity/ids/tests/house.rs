//! The house keeps its shape: edges between rooms point one way, and every room obeys the same lints.

#![expect(clippy::expect_used, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which rooms a room may open a door to (the plan's floors, written out).
const ALLOWED: &[(&str, &[&str])] = &[
    ("ids", &[]),
    ("sql", &["ids"]),
    ("privacy", &["ids"]),
    ("synth", &["ids"]),
    ("identity", &["ids"]),
    ("audits", &["ids"]),
    ("policy", &["identity", "ids"]),
    ("vault", &["identity", "ids"]),
    ("engine", &["policy", "sql", "privacy", "vault", "audits", "identity", "ids"]),
    ("activation", &["policy", "audits", "identity", "ids"]),
    ("measure", &["engine", "policy", "sql", "identity", "ids"]),
    (
        "server",
        &[
            "ids",
            "identity",
            "audits",
            "policy",
            "sql",
            "privacy",
            "vault",
            "engine",
            "synth",
            "measure",
            "activation",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn packages(metadata: &Value) -> BTreeMap<&str, &Value> {
    let all = metadata["packages"].as_array().expect("packages");
    all.iter().map(|package| (package["name"].as_str().expect("name"), package)).collect()
}

#[test]
fn edges_point_one_way() {
    let metadata = metadata();
    let packages = packages(&metadata);
    let rooms: BTreeSet<&str> = packages.keys().copied().collect();
    let planned: BTreeSet<&str> = ALLOWED.iter().map(|(room, _)| *room).collect();
    assert_eq!(rooms, planned, "a room was added or removed: write its floor into this table");

    for (room, allowed) in ALLOWED {
        for dependency in packages[room]["dependencies"].as_array().expect("dependencies") {
            let name = dependency["name"].as_str().expect("name");
            // What tests borrow does not ship; `kind` is null for what ships.
            let ships = dependency["kind"].is_null();
            if ships && rooms.contains(name) {
                assert!(allowed.contains(&name), "`{room}` may not depend on `{name}`");
            }
        }
    }
}

#[test]
fn every_room_obeys_the_house_lints() {
    let metadata = metadata();
    for (name, package) in packages(&metadata) {
        let path = package["manifest_path"].as_str().expect("path");
        let manifest = std::fs::read_to_string(path).expect("manifest");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "`{name}` does not take the workspace's lints"
        );
        let description = package["description"].as_str().unwrap_or_default();
        assert!(!description.is_empty(), "`{name}` does not say what it is for");
    }
}

#[test]
fn only_the_vault_the_engine_and_the_server_link_duckdb() {
    let metadata = metadata();
    for (name, package) in packages(&metadata) {
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let links = dependencies.iter().any(|d| d["name"] == "duckdb" && d["kind"].is_null());
        assert!(!links || ["vault", "engine", "server"].contains(&name), "`{name}` links DuckDB");
    }
}

#[test]
fn only_privacy_draws_noise() {
    let metadata = metadata();
    for (name, package) in packages(&metadata) {
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let draws = dependencies.iter().any(|d| d["name"] == "opendp" && d["kind"].is_null());
        assert!(!draws || name == "privacy", "`{name}` reaches OpenDP past the room `privacy`");
    }
}
