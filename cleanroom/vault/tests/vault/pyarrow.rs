//! An independent reader: PyPI `pyarrow` opens a part with its key and AAD prefix, and not without.

use std::process::Command;

use super::support::*;

const SCRIPT: &str = r#"
import base64, sys
import pyarrow.parquet as pq, pyarrow.parquet.encryption as pe
path, prefix, key, column = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]), sys.argv[4]
def read(key, prefix):
    properties = pe.create_decryption_properties(footer_key=key, aad_prefix=prefix.encode() or None)
    return pq.ParquetFile(path, decryption_properties=properties).read()
table = read(key, prefix)
print(table.num_rows, sum(table[column].to_pylist()), ",".join(table.column_names))
for name, attempt in [
    ("no key", lambda: pq.read_table(path)),
    ("other key", lambda: read(bytes(32), prefix)),
    ("no prefix", lambda: read(key, "")),
    ("other prefix", lambda: read(key, prefix + "x")),
]:
    try:
        attempt()
        print("OPENED with", name)
    except Exception:
        print("refused:", name)
"#;

/// `None` if python, pyarrow or its low-level decryption is absent; then the test says so.
fn pyarrow(arguments: &[&str]) -> Option<String> {
    let probe = "from pyarrow.parquet.encryption import create_decryption_properties";
    let present =
        Command::new("python3").args(["-c", probe]).output().is_ok_and(|output| output.status.success());
    if !present {
        println!("skipped: python3 with pyarrow is not installed (pip install pyarrow)");
        return None;
    }
    let output = Command::new("python3").args(["-c", SCRIPT]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn pyarrow_reads_a_part_with_its_key_and_aad_prefix_and_nothing_opens_it_without() {
    let home = tempfile::tempdir().unwrap();
    let vault = shop(home.path());
    let (_, part) = vault.parts().find(|(table, _)| *table == "lines").unwrap();
    let (prefix, key) = vault.part_key(part).unwrap();
    let path = vault.part_path(part);
    let text = pyarrow(&[path.to_str().unwrap(), &prefix, &hex::encode(*key), "paid"]);
    let Some(text) = text else { return };
    assert_eq!(
        text,
        "4 3551 unit_ix,basket_id,product_id,paid,pieces\n\
         refused: no key\nrefused: other key\nrefused: no prefix\nrefused: other prefix\n"
    );
}
