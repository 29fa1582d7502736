//! Keys and tampering: what opens, what does not, and what it says then.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::*;
use ids::SystemEntropy;
use vault::{HotStore, HotStoreConfig, IngestOptions, Ports, Quiet, RootKey, Vault, VaultRefused};

fn unseal_refusal(home: &Path) -> VaultRefused {
    match reopen(home) {
        Err(refused) => refused,
        Ok(vault) => HotStore::unseal(&vault, HotStoreConfig::default()).unwrap_err(),
    }
}

fn part_file(vault: &Vault, table: &str) -> (String, PathBuf) {
    let (_, part) = vault.parts().find(|(of, _)| *of == table).unwrap();
    (part.to_owned(), vault.part_path(part))
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).map(drop).unwrap()
        }
    }
}

#[test]
fn a_wrong_root_key_opens_nothing_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    drop(shop(home.path()));
    let other = RootKey::generate(&SystemEntropy::new()).unwrap();
    let refused = Vault::open(&home.path().join("vault"), &other, Ports::system()).unwrap_err();
    assert_eq!(refused.code(), "wrong-root-key");
    assert!(refused.to_string().contains("nothing was opened"), "{refused}");
    assert_eq!(unseal(&reopen(home.path()).unwrap()).units(), 3);
}

#[test]
fn a_missing_vault_and_an_occupied_folder_are_named() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(reopen(home.path()).unwrap_err().code(), "no-vault");
    drop(shop(home.path()));
    let again = Vault::create(&home.path().join("vault"), shop_catalogue(), &root_key(), Ports::system());
    assert_eq!(again.unwrap_err().code(), "exists");
}

#[test]
fn one_flipped_bit_anywhere_in_the_vault_is_found() {
    let home = tempfile::tempdir().unwrap();
    let vault = shop(home.path());
    let (_, part) = part_file(&vault, "lines");
    let dir = home.path().join("vault");
    let only = |folder: &str| fs::read_dir(dir.join(folder)).unwrap().next().unwrap().unwrap().path();
    for path in [part, only("manifests"), dir.join("CURRENT")] {
        let whole = fs::read(&path).unwrap();
        for at in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            fs::write(&path, &changed).unwrap();
            let code = unseal_refusal(home.path()).code();
            let named = ["vault-tampered", "wrong-root-key", "vault-file-missing"].contains(&code);
            // Of the pointer's own text a bit may also hit the name of the root key or of the manifest.
            assert!(
                named && (code == "vault-tampered" || path.ends_with("CURRENT")),
                "{code} {path:?} byte {at}"
            );
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(unseal_refusal(home.path()).code(), "vault-tampered", "{path:?} truncated");
        fs::write(&path, whole).unwrap();
    }
    assert!(reopen(home.path()).is_ok());
}

#[test]
fn swapped_and_missing_parts_are_named() {
    let home = tempfile::tempdir().unwrap();
    let vault = shop(home.path());
    let ((lines, lines_path), (baskets, baskets_path)) =
        (part_file(&vault, "lines"), part_file(&vault, "baskets"));
    let (one, two) = (fs::read(&lines_path).unwrap(), fs::read(&baskets_path).unwrap());
    fs::write(&lines_path, &two).unwrap();
    fs::write(&baskets_path, &one).unwrap();
    let refused = unseal_refusal(home.path());
    assert_eq!(refused.code(), "parts-swapped");
    assert!(refused.to_string().contains(&lines) && refused.to_string().contains(&baskets), "{refused}");
    fs::remove_file(&lines_path).unwrap();
    fs::write(&baskets_path, &two).unwrap();
    assert_eq!(unseal_refusal(home.path()).code(), "vault-file-missing");
}

#[test]
fn a_vault_that_was_set_back_is_noticed_by_its_head_file() {
    let home = tempfile::tempdir().unwrap();
    let (dir, head) = (home.path().join("vault"), home.path().join("head"));
    let ports = || Ports::system().with_head(&head);
    shop_files(&home.path().join("in"));
    let mut vault = Vault::create(&dir, shop_catalogue(), &root_key(), ports()).unwrap();
    vault.ingest(&home.path().join("in"), &IngestOptions::default(), &Quiet).unwrap();
    copy_folder(&dir, &home.path().join("old"));
    fs::write(home.path().join("lines-2.csv"), "till,basket_id,product_id,paid,pieces\n1,1,100,1,1\n")
        .unwrap();
    vault.ingest(&home.path().join("lines-2.csv"), &IngestOptions::default(), &Quiet).unwrap();
    let newest = vault.snapshot();
    drop(vault);
    assert_eq!(Vault::open(&dir, &root_key(), ports()).unwrap().snapshot(), newest);
    fs::remove_dir_all(&dir).unwrap();
    copy_folder(&home.path().join("old"), &dir);
    assert_eq!(Vault::open(&dir, &root_key(), ports()).unwrap_err().code(), "vault-rolled-back");
}

#[test]
fn rotation_moves_every_key_and_touches_no_row() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = shop(home.path());
    let (snapshot, before) = (vault.snapshot(), fs::read(home.path().join("vault/CURRENT")).unwrap());
    let parts: Vec<_> = vault.parts().map(|(_, part)| fs::read(vault.part_path(part)).unwrap()).collect();
    let next = RootKey::generate(&SystemEntropy::new()).unwrap();
    vault.rotate(&next).unwrap();
    assert_eq!(vault.snapshot(), snapshot);
    let parts_after: Vec<_> =
        vault.parts().map(|(_, part)| fs::read(vault.part_path(part)).unwrap()).collect();
    assert!(parts == parts_after);
    drop(vault);
    assert_eq!(reopen(home.path()).unwrap_err().code(), "wrong-root-key");
    let mut vault = Vault::open(&home.path().join("vault"), &next, Ports::system()).unwrap();
    assert_eq!(
        rows(&unseal(&vault), "SELECT count(*), sum(paid)::BIGINT FROM lines"),
        [[Some(4), Some(3551)]]
    );
    let after = fs::read_to_string(home.path().join("vault/CURRENT")).unwrap();
    let hex =
        |text: &str| text.split('"').filter(|word| word.len() > 100).map(str::to_owned).collect::<Vec<_>>();
    let old = hex(&String::from_utf8(before).unwrap());
    assert!(
        old.len() > 5 && hex(&after).iter().all(|wrapped| !old.contains(wrapped)),
        "every wrapped key is new"
    );
    let changed = vault.ingest(&home.path().join("in"), &IngestOptions::default(), &Quiet).unwrap();
    assert!(changed.unchanged, "the rotated vault knows what it has loaded");
}

#[test]
fn destroying_a_parts_key_erases_the_part() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = shop(home.path());
    let (part, path) = part_file(&vault, "lines");
    let (sealed, snapshot) = (fs::read(&path).unwrap(), vault.snapshot());
    vault.destroy_part(&part).unwrap();
    assert_ne!(vault.snapshot(), snapshot);
    assert!(!path.exists());
    assert_eq!(vault.part_key(&part).unwrap_err().code(), "no-part");
    drop(vault);
    let key_ring = fs::read_to_string(home.path().join("vault/CURRENT")).unwrap();
    assert!(!key_ring.contains(&part), "the wrapped key is gone");
    // Even whoever kept the sealed file cannot bring it back into the vault.
    fs::write(&path, sealed).unwrap();
    let vault = reopen(home.path()).unwrap();
    assert_eq!(rows(&unseal(&vault), "SELECT count(*) FROM lines"), [[Some(0)]]);
    assert!(!path.exists(), "it is cleaned up as a stranger");
}

#[test]
fn direct_identifiers_come_back_only_through_their_own_door() {
    let home = tempfile::tempdir().unwrap();
    let vault = shop(home.path());
    let mut names = Vec::new();
    vault
        .open_identifiers("shoppers", "name", &mut |unit, name| names.push((unit.0, name.to_owned())))
        .unwrap();
    assert_eq!(
        names,
        [(0, "Aigerim Plantedova".to_owned()), (1, "Bolat Secretov".to_owned()), (2, "C".to_owned())]
    );
    let mut phones = 0;
    vault.open_identifiers("shoppers", "phone", &mut |_, _| phones += 1).unwrap();
    assert_eq!(phones, 2, "an empty one is skipped");
    assert!(vault.open_identifiers("shoppers", "tier", &mut |_, _| ()).is_err());
    let columns = rows(
        &unseal(&vault),
        "SELECT count(*) FROM duckdb_columns() WHERE table_name = 'shoppers' AND column_name IN ('name', 'phone', 'card')",
    );
    assert_eq!(columns, [[Some(0)]], "they are not in the hot store");
}
