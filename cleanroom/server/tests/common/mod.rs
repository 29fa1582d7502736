//! A small clean room for the tests: its own catalogue, a few hundred shoppers, the sample agreement.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "every test binary uses its own part of this module"
)]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// The catalogue: every domain is declared, so that an empty vault knows as much as a full one.
pub const CATALOGUE: &str = r#"
dataset = "loyalty"
time_zone = "local time of the store"

[consent]
assumed = ["measurement", "operations"]
basis = "test data"

[[table]]
name = "products"
kind = "public"
key = ["product_id"]
columns = [
  { name = "product_id", type = "id", domain = [1, 2, 3, 4] },
  { name = "category", type = "text", domain = ["Milk", "Yoghurt", "Bread"] },
  { name = "department", type = "text", domain = ["Dairy", "Bakery"] },
]

# Named by the agreement's row filters; no test needs rows of them.
[[table]]
name = "campaigns"
kind = "public"
key = ["campaign_id"]
optional = true
columns = [
  { name = "campaign_id", type = "text", domain = ["spring"] },
  { name = "brand", type = "text", domain = ["Nord", "Lumi"] },
]

[[table]]
name = "baskets"
kind = "private"
unit = "card_id"
optional = true
columns = [
  { name = "basket_id", type = "id" },
  { name = "card_id", type = "text" },
  { name = "channel", type = "text", domain = ["offline", "online"] },
]

[[table]]
name = "shoppers"
kind = "private"
unit = "card_id"
columns = [
  { name = "card_id", type = "text" },
  { name = "tier", type = "text", domain = ["basic", "gold"] },
  { name = "birth_year", type = "int", bounds = { min = 1900, max = 2020 } },
  { name = "phone", type = "text", direct_identifier = true },
]

[[table]]
name = "lines"
kind = "private"
unit = "card_id"
event_time = "bought_on"
foreign_keys = [{ column = "product_id", table = "products", key = "product_id" }]
columns = [
  { name = "card_id", type = "text" },
  { name = "product_id", type = "id" },
  { name = "bought_on", type = "date", domain = { first = "2024-01-01", last = "2024-06-30" } },
  { name = "channel", type = "text", domain = ["offline", "online"] },
  { name = "quantity", type = "int", bounds = { min = 1, max = 6 } },
  { name = "amount", type = "money", scale = 2, bounds = { min = "0.00", max = "500.00" } },
]
"#;

/// How many shoppers the test data has.
pub const SHOPPERS: usize = 400;

/// The folder of a sample agreement.
pub fn bundle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policy/bundles").join(name)
}

/// Good files for the catalogue.
pub fn write_data(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let products =
        "product_id,category,department\n1,Milk,Dairy\n2,Milk,Dairy\n3,Bread,Bakery\n4,Bread,Bakery\n";
    std::fs::write(folder.join("products.csv"), products).unwrap();
    let mut shoppers = String::from("card_id,tier,birth_year,phone\n");
    let mut lines = String::from("card_id,product_id,bought_on,channel,quantity,amount\n");
    for n in 0..SHOPPERS {
        let tier = if n % 4 == 0 { "gold" } else { "basic" };
        writeln!(shoppers, "card-{n:05},{tier},{},+7701{n:07}", 1950 + n % 60).unwrap();
        for k in 0..(1 + n % 7) {
            let (product, month, day) = (1 + (n + k) % 4, 1 + (n + k) % 6, 1 + (n * 3 + k) % 28);
            let channel = if (n + k) % 5 == 0 { "online" } else { "offline" };
            let (quantity, amount) = (1 + k % 6, (n * 7 + k * 13) % 90);
            writeln!(
                lines,
                "card-{n:05},{product},2024-{month:02}-{day:02},{channel},{quantity},{amount}.50"
            )
            .unwrap();
        }
    }
    std::fs::write(folder.join("shoppers.csv"), shoppers).unwrap();
    std::fs::write(folder.join("lines.csv"), lines).unwrap();
}

/// A home in a temporary folder.
pub struct Room {
    pub folder: TempDir,
    pub home: PathBuf,
}

impl Room {
    /// Made, but without rows.
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        std::fs::write(folder.path().join("catalogue.toml"), CATALOGUE).unwrap();
        let room = Self { folder, home };
        let catalogue = room.folder.path().join("catalogue.toml");
        let made = room.run(&[
            "init",
            "--catalogue",
            catalogue.to_str().unwrap(),
            "--policy",
            bundle("jv-north").to_str().unwrap(),
            "--party",
            "retailer",
        ]);
        assert_ok(&made);
        room
    }

    /// With the test data sealed.
    pub fn filled() -> Self {
        let room = Self::empty();
        write_data(&room.data());
        assert_ok(&room.run(&["ingest", room.data().to_str().unwrap()]));
        room
    }

    /// Where the test data lies.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The binary on this home.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cleanroom"));
        command.arg("--home").arg(&self.home).env_remove("RUST_LOG").env_remove("CLEANROOM_HOME");
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// Runs the binary and reads its JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[&["--format", "json"], args].concat());
        assert_ok(&output);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A token for an analyst of this party.
    pub fn token(&self, party: &str) -> String {
        let output = self.run(&["token", "--party", party]);
        assert_ok(&output);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Names, sizes and digests of every file below the vault, for "nothing changed".
    pub fn vault_state(&self) -> Vec<(PathBuf, ids::Digest)> {
        let mut files = Vec::new();
        walk(&self.home.join("vault"), &mut files);
        files.sort();
        files
    }
}

fn walk(folder: &Path, files: &mut Vec<(PathBuf, ids::Digest)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            let digest = ids::Digest::of(&std::fs::read(&path).unwrap());
            files.push((path, digest));
        }
    }
}

/// What a process wrote to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Panics with the process's own words unless it ended well.
pub fn assert_ok(output: &Output) {
    let words = stderr(output);
    assert!(
        output.status.success(),
        "{:?}: {words}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
}

/// Asserts an exit code and that every one of these texts is in standard error.
pub fn assert_fails(output: &Output, code: i32, texts: &[&str]) {
    let words = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{words}");
    for text in texts {
        assert!(words.contains(text), "`{text}` is missing in: {words}");
    }
}

/// One HTTP exchange over loopback; `Err` if the server went away.
pub fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let cut = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the answer was cut off");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(cut)?;
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")
            .and_then(|n| n.trim().parse::<usize>().ok())
    });
    if length.is_some_and(|length| length != body.len()) {
        return Err(cut());
    }
    Ok((status, body.to_owned()))
}
