//! Direct identifiers: brought into one form at ingest, opened for the members of an audience only.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use identity::{Canonical, IdentifierKind};
use ids::UnitIx;
use roaring::RoaringBitmap;

use super::support::*;
use vault::{Catalogue, IngestOptions, IngestReport, Quiet, Reached, Vault};

const CARDS: &str = r#"
dataset = "cards"
time_zone = "UTC"

[consent]
assumed = ["measurement"]
basis = "test"

[household]
table = "cards"
column = "household"

[[table]]
name = "cards"
kind = "private"
unit = "card"
columns = [
  { name = "card", type = "text" },
  { name = "household", type = "text", nullable = true },
  { name = "mobile", type = "text", nullable = true, direct_identifier = "phone" },
  { name = "email", type = "text", nullable = true, direct_identifier = true },
  { name = "full_name", type = "text", direct_identifier = "other" },
]
"#;

const FIRST: &str = "card,household,mobile,email,full_name\n\
    A,h1,8 (707) 123-45-67,Anna@Example.COM,Anna\n\
    B, H1 ,+7 707 765 43 21,,Boris\n\
    C,,12,not an address,Clara\n\
    D,h2,+77070000001,d@example.com,Dina\n";

fn load(vault: &mut Vault, home: &Path, name: &str, text: &str) -> IngestReport {
    let path = home.join(name);
    fs::write(&path, text).unwrap();
    vault.ingest(&path, &IngestOptions::default(), &Quiet).unwrap()
}

fn cards(home: &Path) -> (Vault, IngestReport) {
    let mut vault = new_vault(home, Catalogue::parse(CARDS).unwrap());
    let report = load(&mut vault, home, "cards.csv", FIRST);
    (vault, report)
}

fn members(units: impl IntoIterator<Item = u32>) -> RoaringBitmap {
    units.into_iter().collect()
}

fn identifiers(
    vault: &Vault,
    members: &RoaringBitmap,
    kind: IdentifierKind,
) -> (BTreeMap<u32, Canonical>, Reached) {
    let mut found = BTreeMap::new();
    let reached = vault.identifiers(members, kind, &mut |unit, canonical| {
        assert!(found.insert(unit.0, canonical.clone()).is_none(), "once per member");
    });
    (found, reached.unwrap())
}

fn texts(found: &BTreeMap<u32, Canonical>) -> Vec<(u32, &str)> {
    found.iter().map(|(unit, canonical)| (*unit, canonical.as_str())).collect()
}

#[test]
fn phones_and_addresses_become_canonical_and_the_others_are_counted_without_failing_the_load() {
    let home = tempfile::tempdir().unwrap();
    let (vault, report) = cards(home.path());
    let table = &report.tables[0];
    assert_eq!((table.rows, table.quarantined), (4, 0), "the rows are kept");
    let odd: Vec<_> = table.unaddressable.iter().map(|odd| (odd.column.as_str(), odd.total)).collect();
    assert_eq!(odd, [("mobile", 1), ("email", 1)]);
    for odd in &table.unaddressable {
        assert_eq!((odd.shown.len(), odd.shown[0].row, odd.shown[0].file.as_str()), (1, 4, "cards.csv"));
        assert!(!odd.shown[0].reason.contains("not an address"), "{}", odd.shown[0]);
    }
    let everybody = members(0..4);
    let (phones, reached) = identifiers(&vault, &everybody, IdentifierKind::Phone);
    assert_eq!(texts(&phones), [(0, "+77071234567"), (1, "+77077654321"), (3, "+77070000001")]);
    assert_eq!(reached, Reached { members: 3, unusable: 1 });
    let (emails, reached) = identifiers(&vault, &everybody, IdentifierKind::Email);
    assert_eq!(texts(&emails), [(0, "anna@example.com"), (3, "d@example.com")]);
    assert_eq!(reached, Reached { members: 2, unusable: 1 });
    let (cards, reached) = identifiers(&vault, &everybody, IdentifierKind::Card);
    assert_eq!((cards.len(), reached.members), (4, 4));
    let pseudonym = vault.shoppers().unwrap().pseudonym(UnitIx(2)).unwrap();
    assert_eq!(cards[&2], Canonical::card(&pseudonym));
    let mut names = Vec::new();
    vault
        .open_identifiers("cards", "full_name", &mut |unit, name| names.push((unit.0, name.to_owned())))
        .unwrap();
    assert_eq!(names[2], (2, "Clara".to_owned()), "what is no address is kept as it came");
}

#[test]
fn only_members_are_opened_and_the_row_loaded_last_counts() {
    let home = tempfile::tempdir().unwrap();
    let (mut vault, _) = cards(home.path());
    let header = "card,household,mobile,email,full_name\n";
    // A has another number, twice; B gave it back; C has one now; D writes one that is none.
    let second = format!(
        "{header}A,h1,+77072222222,a2@example.com,Anna\nB,h9,,b@example.com,Boris\n\
         C,h2,+77073333333,,Clara\nD,h2,nonsense,,Dina\nA,h1,+77074444444,,Anna\n"
    );
    load(&mut vault, home.path(), "cards-2.csv", &second);
    let (phones, reached) = identifiers(&vault, &members(0..4), IdentifierKind::Phone);
    assert_eq!(texts(&phones), [(0, "+77074444444"), (2, "+77073333333")], "an older number never stands in");
    assert_eq!(reached, Reached { members: 2, unusable: 1 });
    let (emails, _) = identifiers(&vault, &members(0..4), IdentifierKind::Email);
    assert_eq!(texts(&emails), [(1, "b@example.com")]);
    let (phones, reached) = identifiers(&vault, &members([2]), IdentifierKind::Phone);
    assert_eq!((texts(&phones), reached.members), (vec![(2, "+77073333333")], 1));
    assert!(identifiers(&vault, &members([]), IdentifierKind::Phone).0.is_empty());
    assert!(identifiers(&vault, &members([900]), IdentifierKind::Card).0.is_empty());
}

#[test]
fn a_household_is_one_key_and_a_shopper_without_one_is_alone() {
    let home = tempfile::tempdir().unwrap();
    let (mut vault, _) = cards(home.path());
    let households = |vault: &Vault| {
        let mut keys = BTreeMap::new();
        vault
            .households(&members(0..5), &mut |unit, key| assert!(keys.insert(unit.0, key).is_none()))
            .unwrap();
        keys
    };
    let keys = households(&vault);
    assert_eq!(keys.len(), 4);
    assert_eq!(keys[&0], keys[&1], "`h1` and ` H1 ` are one");
    let different: std::collections::BTreeSet<_> = keys.values().collect();
    assert_eq!(different.len(), 3);
    let pseudonyms: Vec<_> = vault.shoppers().unwrap().iter().map(|(_, p)| *p.as_bytes()).collect();
    assert!(keys.values().all(|key| !pseudonyms.contains(key.as_bytes())), "no key is a card's pseudonym");
    load(&mut vault, home.path(), "cards-2.csv", "card,household,mobile,email,full_name\nB,h2,,,Boris\n");
    let moved = households(&vault);
    assert_eq!((moved[&1], moved[&0]), (keys[&3], keys[&0]), "who moves belongs to the new household");
    // Without a household column everybody is alone.
    let other = tempfile::tempdir().unwrap();
    let shop = shop(other.path());
    let mut alone = std::collections::BTreeSet::new();
    shop.households(&members(0..3), &mut |_, key| assert!(alone.insert(key))).unwrap();
    assert_eq!(alone.len(), 3);
}

#[test]
fn a_catalogue_names_a_household_that_can_be_one() {
    for (from, to) in [
        ("column = \"household\"", "column = \"card\""),
        ("column = \"household\"", "column = \"mobile\""),
        ("table = \"cards\"\ncolumn", "table = \"cats\"\ncolumn"),
    ] {
        let text = CARDS.replacen(from, to, 1);
        assert_ne!(text, CARDS);
        let refused = Catalogue::parse(&text).unwrap_err().to_string();
        assert!(refused.contains("`[household]`"), "{refused}");
    }
    let refused = Catalogue::parse(&CARDS.replace("\"phone\"", "\"fax\"")).unwrap_err().to_string();
    assert!(refused.contains("direct_identifier"), "{refused}");
}
