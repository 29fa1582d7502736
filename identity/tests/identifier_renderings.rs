//! What destinations get: byte for byte as published, as an independent implementation computes it, and never joinable
//! between scoped destinations or epochs.

#![cfg(test)]

use std::collections::HashSet;
use std::io::Write;
use std::process::{Command, Stdio};

use identity::{
    Canonical, DestinationClass, MasterKey, OpenFormat, PseudonymEpoch, RenderRefused, Renderer, ScopedKey,
    ShopperPseudonym,
};
use ids::{DestinationId, PartyId};
use proptest::prelude::*;

fn open(format: OpenFormat, identifier: &Canonical) -> String {
    Renderer::Open(format).token(identifier).unwrap().as_str().to_owned()
}

fn key(master: u8, tenant: &str, destination: &str, epoch: u32) -> ScopedKey {
    let (tenant, destination): (PartyId, DestinationId) =
        (tenant.parse().unwrap(), destination.parse().unwrap());
    let master = MasterKey::from_bytes([master; 32]);
    ScopedKey::derive(&master, &tenant, &destination, PseudonymEpoch::from_number(epoch))
}

#[test]
fn a_phone_is_rendered_as_the_platforms_publish() {
    let phone = Canonical::phone("8 707 123 45 67").unwrap();
    let with_plus = "a19ed42977fa38ca6c9ba550660af044caf2f4e23355edc22ba5724965dd3b99";
    assert_eq!(open(OpenFormat::Google, &phone), with_plus);
    assert_eq!(open(OpenFormat::Uid2, &phone), "oZ7UKXf6OMpsm6VQZgrwRMry9OIzVe3CK6VySWXdO5k=");
    assert_eq!(
        open(OpenFormat::Meta, &phone),
        "9b57064b1efb4127aafaeca0874cdfd38ab4987896d27bc29e600b0191776325"
    );
}

#[test]
fn an_address_is_rendered_as_the_platforms_publish() {
    let plain = Canonical::email(" User@Example.com ").unwrap();
    let hex = "b4c9a289323b21a01c3e940f150eb9b8c542587f1abfd8f0e1cc1ffc5e475514";
    assert_eq!(open(OpenFormat::Google, &plain), hex);
    assert_eq!(open(OpenFormat::Meta, &plain), hex);
    assert_eq!(open(OpenFormat::Uid2, &plain), "tMmiiTI7IaAcPpQPFQ65uMVCWH8av9jw4cwf/F5HVRQ=");

    let gmail = Canonical::email("JANE.SAOIRSE@gmail.com").unwrap();
    assert_eq!(open(OpenFormat::Uid2, &gmail), "ku4mBX7Z3qJTXWyLFB1INzkyR2WZGW4ANSJUiW21iI8=");
    for alias in ["jane.saoirse+uid2@gmail.com", "janesaoirse@gmail.com", "j.a.n.e.saoirse+a+b@GMAIL.com"] {
        let alias = Canonical::email(alias).unwrap();
        assert_ne!(alias, gmail, "folding is a matter of rendering");
        assert_eq!(open(OpenFormat::Uid2, &alias), open(OpenFormat::Uid2, &gmail));
        assert_ne!(open(OpenFormat::Google, &alias), open(OpenFormat::Google, &gmail));
    }
    // No other domain is folded.
    let other = ["jane.saoirse@googlemail.com", "janesaoirse@googlemail.com"]
        .map(|text| Canonical::email(text).unwrap());
    assert_ne!(open(OpenFormat::Uid2, &other[0]), open(OpenFormat::Uid2, &other[1]));
}

#[test]
fn what_a_platform_cannot_take_is_refused() {
    let card = Canonical::card(&ShopperPseudonym::from_bytes([7; 32]));
    for format in OpenFormat::ALL {
        let refused = Renderer::Open(format).token(&card).unwrap_err();
        assert_eq!(refused.code(), "render_no_open_form");
    }
    let nobody = Canonical::email("+tag@gmail.com").unwrap();
    assert_eq!(OpenFormat::Uid2.hash(&nobody), Err(RenderRefused::NothingLeft(OpenFormat::Uid2)));
    assert!(OpenFormat::Google.hash(&nobody).is_ok());
}

#[test]
fn classes_and_formats_print_and_parse() {
    for class in DestinationClass::ALL {
        assert_eq!(class.joinability().parse(), Ok(class));
    }
    for format in OpenFormat::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
        assert_eq!(Renderer::Open(format).class(), DestinationClass::Open);
    }
    assert_eq!(Renderer::Scoped(key(1, "r", "d", 0).renderer()).class(), DestinationClass::Scoped);
    assert!("Open".parse::<DestinationClass>().is_err());
    assert!("x".parse::<OpenFormat>().is_err());
}

#[test]
fn nothing_prints_keys_or_identifiers() {
    let phone = Canonical::phone("+77071234567").unwrap();
    let key = key(0xab, "retailer", "gateway", 1);
    let pseudonym = key.pseudonym(&phone);
    let hash = OpenFormat::Google.hash(&phone).unwrap();
    let told = format!(
        "{:?} {key:?} {:?} {pseudonym:?} {:?} {hash:?} {:?}",
        MasterKey::from_bytes([0xab; 32]),
        key.renderer(),
        pseudonym.token(),
        Renderer::Scoped(key.renderer()),
    );
    assert_eq!(
        told,
        "MasterKey(redacted) ScopedKey(redacted) ScopedRenderer(redacted) ScopedPseudonym(redacted) Token(redacted) \
         OpenHash(redacted) Renderer(scoped, key redacted)"
    );
}

#[test]
fn renderings_are_those_of_an_independent_implementation() {
    let card = Canonical::card(&ShopperPseudonym::from_bytes([0x5a; 32]));
    let mut identifiers = vec![card];
    for n in 0..200_u32 {
        identifiers.push(Canonical::phone(&format!("+7707{n:07}")).unwrap());
        let domain = ["gmail.com", "googlemail.com", "пошта.қаз", "x.kz"][n as usize % 4];
        let name = [format!("a.{n}"), format!("a{n}+t"), format!(".ә{n}."), format!("\"q{n}\"")]
            [n as usize / 4 % 4]
            .clone();
        identifiers.push(Canonical::email(&format!("{name}@{domain}")).unwrap());
    }
    let (mut cases, mut ours) = (String::new(), Vec::new());
    for (n, identifier) in identifiers.iter().enumerate() {
        let (master, epoch) = (n as u8, n as u32 % 7);
        let (tenant, destination) = (["retailer", "r-2"][n % 2], ["gateway", "partner_a", "g"][n % 3]);
        let mut parts =
            vec![key(master, tenant, destination, epoch).pseudonym(identifier).token().as_str().to_owned()];
        if identifier.kind() != identity::IdentifierKind::Card {
            parts.extend(OpenFormat::ALL.map(|format| open(format, identifier)));
        }
        ours.push(parts.join(" "));
        let case = serde_json::json!({
            "master": hex::encode([master; 32]), "tenant": tenant, "destination": destination, "epoch": epoch,
            "kind": identifier.kind().as_str(), "text": identifier.as_str(),
        });
        cases.push_str(&format!("{case}\n"));
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rendering_oracle.py");
    let started = Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = started else {
        writeln!(std::io::stderr(), "skipped: python3 is not installed").unwrap();
        return;
    };
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(cases.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let theirs: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(ours, theirs);
}

proptest! {
    /// Every pair of (destination, epoch), over the same shoppers: no token in common, and no shopper twice in one.
    #[test]
    fn two_destinations_or_two_epochs_never_share_an_identifier(
        master in any::<u8>(),
        destinations in prop::collection::hash_set("[a-z0-9_-]{1,12}", 2..5),
        epochs in prop::collection::hash_set(0_u32..1000, 2..5),
        shoppers in prop::collection::hash_set(0_u32..10_000_000, 1..40),
    ) {
        let identifiers: Vec<Canonical> = shoppers
            .iter()
            .flat_map(|n| {
                let mut card = [0; 32];
                card[..4].copy_from_slice(&n.to_be_bytes());
                [
                    Canonical::phone(&format!("+7707{n:07}")).unwrap(),
                    Canonical::email(&format!("a{n}@x.kz")).unwrap(),
                    Canonical::card(&ShopperPseudonym::from_bytes(card)),
                ]
            })
            .collect();
        let mut seen = HashSet::new();
        for destination in &destinations {
            for epoch in &epochs {
                let renderer = Renderer::Scoped(key(master, "retailer", destination, *epoch).renderer());
                for identifier in &identifiers {
                    let token = renderer.token(identifier).unwrap();
                    prop_assert_eq!(token.as_str().len(), 43);
                    prop_assert!(seen.insert(token.as_str().to_owned()), "two tokens are equal");
                }
            }
        }
        // The same destination and epoch give the same again, whoever derives the key.
        let (destination, epoch) = (destinations.iter().next().unwrap(), epochs.iter().next().unwrap());
        let again = key(master, "retailer", destination, *epoch).pseudonym(&identifiers[0]);
        prop_assert!(seen.contains(again.token().as_str()));
        // Another tenant or another master key are other worlds.
        for other in [key(master, "other", destination, *epoch), key(master ^ 1, "retailer", destination, *epoch)] {
            prop_assert!(!seen.contains(other.pseudonym(&identifiers[0]).token().as_str()));
        }
    }
}
