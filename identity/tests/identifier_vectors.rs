//! Every trap of identifiers that is known from practice: what they become, or with which reason they are refused.

#![cfg(test)]

use identity::{Canonical, IDENTIFIER_BYTES_MAX, IdentifierKind, Phone};
use proptest::prelude::*;

/// What becomes of a text: the canonical form, or the code of the refusal.
fn phone(text: &str) -> String {
    Canonical::phone(text).map_or_else(|refused| refused.code().to_owned(), |phone| phone.as_str().to_owned())
}

fn email(text: &str) -> String {
    Canonical::email(text).map_or_else(|refused| refused.code().to_owned(), |email| email.as_str().to_owned())
}

#[test]
fn a_kazakh_mobile_is_one_number_in_all_its_spellings() {
    for text in [
        "+77071234567",
        "+7 707 123 45 67",
        "8 707 123 45 67",
        "87071234567",
        "77071234567",
        "7071234567",
        "8 (707) 123-45-67",
        "8-707-123-45-67",
        "+7 (707) 123–45–67",
        "8~10 7 707 123 45 67",
        "007 707 123 45 67",
        "00 7 (707) 1234567",
        "+7\u{a0}707\u{a0}123\u{a0}45\u{a0}67",
        "\u{feff}+7707\u{200b}1234567\u{202c}",
        "٨٧٠٧١٢٣٤٥٦٧",
        "۸۷۰۷۱۲۳۴۵۶۷",
        "＋７７０７１２３４５６７",
        "８（７０７）１２３－４５－６７",
        "tel:+7-707-123-45-67",
        "TEL: 8 707 123 45 67",
        "8 707 123 45 67 ext. 12",
        "8 707 123 45 67 доб. 12",
        "8 707 123 45 67 доб 12",
        "87071234567x12",
        "+77071234567;ext=12",
        "8 707 123 45 67 #12",
        " 8.707.123.45.67\t\r\n",
    ] {
        assert_eq!(phone(text), "+77071234567", "{text:?}");
    }
}

#[test]
fn plus_seven_is_split_between_kazakhstan_and_russia() {
    for (text, e164, region) in [
        ("9161955558", "+79161955558", "RU"),
        ("8 916 195-55-58", "+79161955558", "RU"),
        ("+7 495 123 45 67", "+74951234567", "RU"),
        ("8 727 250 00 00", "+77272500000", "KZ"),
        ("8 747 123 45 67", "+77471234567", "KZ"),
        ("+998 90 123 45 67", "+998901234567", "UZ"),
        ("00996 555 123 456", "+996555123456", "KG"),
        ("810 998 90 123 45 67", "+998901234567", "UZ"),
    ] {
        assert_eq!(phone(text), e164, "{text}");
        assert_eq!(Phone::parse(text).unwrap().region(), region, "{text}");
    }
}

#[test]
fn what_is_no_number_is_refused_and_nothing_is_guessed() {
    for (text, code) in [
        ("", "identifier_empty"),
        (" \u{200b}\t", "identifier_empty"),
        ("()-", "identifier_empty"),
        ("+", "phone_length"),
        // Unassigned, though possible: 6xx.
        ("+7 610 123 45 67", "phone_unassigned"),
        ("8 610 123 45 67", "phone_unassigned"),
        ("+7 709 123 45 67", "phone_unassigned"),
        // The national prefix behind a plus: +870 is Inmarsat, and the others are no country.
        ("+8 707 123 45 67", "phone_length"),
        ("+8 777 123 45 67", "phone_country"),
        ("+8 916 195 55 58", "phone_country"),
        ("+0 707 123 45 67", "phone_country"),
        ("000 707 123 45 67", "phone_country"),
        // Short codes and fragments.
        ("1414", "phone_length"),
        ("112", "phone_length"),
        ("707123", "phone_length"),
        ("7071234", "phone_length"),
        ("8 707 123 45 678", "phone_length"),
        ("+7 707 123 45 67 8", "phone_length"),
        ("1", "phone_length"),
        ("870712345678707123456787071234567", "phone_length"),
        // Two numbers, words, service codes.
        ("8 707 123 45 67, 8 707 123 45 68", "phone_characters"),
        ("87071234567/87071234568", "phone_length"),
        ("8 707 ABC DEFG", "phone_characters"),
        ("8 800 FLOWERS", "phone_characters"),
        ("моб. 8 707 123 45 67", "phone_characters"),
        ("8 707 123 45 67 Ада", "phone_characters"),
        ("*100#", "phone_characters"),
        ("8+7071234567", "phone_characters"),
        ("++77071234567", "phone_characters"),
        ("8707①②③4567", "phone_characters"),
        ("87071234567 ext", "phone_characters"),
        ("87071234567 ext 1234567890", "phone_characters"),
        ("x12", "phone_characters"),
        ("ada@example.com", "phone_characters"),
    ] {
        assert_eq!(phone(text), code, "{text:?}");
    }
    assert_eq!(phone(&"7".repeat(IDENTIFIER_BYTES_MAX + 1)), "identifier_too_large");
}

#[test]
fn a_number_of_nobody_is_valid_and_still_refused() {
    for (text, e164, kind) in [
        ("8-800-080-80-80", "+78000808080", "toll-free"),
        ("+7 809 123 45 67", "+78091234567", "premium-rate"),
        ("+41 848 123 456", "+41848123456", "shared-cost"),
        ("+44 55 1234 5678", "+445512345678", "company"),
        ("+800 1234 5678", "+80012345678", "toll-free"),
        ("+979 123 456 789", "+979123456789", "premium-rate"),
    ] {
        let number = Phone::parse(text).unwrap();
        assert_eq!((number.e164(), number.kind().as_str()), (e164, kind), "{text}");
        let refused = Canonical::phone(text).unwrap_err();
        assert_eq!(refused.code(), "phone_not_personal", "{text}");
        assert_eq!(refused.to_string(), format!("the phone number is a {kind} number and not a person's"));
    }
    assert_eq!(phone("+7 808 123 45 67"), "+78081234567", "personal numbers follow a person");
}

#[test]
fn a_mailbox_is_one_address_in_all_its_spellings() {
    for (text, canonical) in [
        ("user@example.com", "user@example.com"),
        (" \tUser@Example.COM\r\n", "user@example.com"),
        ("us er@exam\u{a0}ple.com", "user@example.com"),
        ("user\u{200b}@example.com\u{feff}", "user@example.com"),
        ("ｕｓｅｒ＠ｅｘａｍｐｌｅ．ｃｏｍ", "user@example.com"),
        ("user@example.com.", "user@example.com"),
        ("user@example。com", "user@example.com"),
        ("JANE.SAOIRSE@gmail.com", "jane.saoirse@gmail.com"),
        ("jane+news@gmail.com", "jane+news@gmail.com"),
        ("ада@пошта.қаз", "ада@xn--80a1acn3a.xn--80ao21a"),
        ("АДА@ПОШТА.ҚАЗ", "ада@xn--80a1acn3a.xn--80ao21a"),
        ("ada@XN--80A1ACN3A.xn--80ao21a", "ada@xn--80a1acn3a.xn--80ao21a"),
        // IDNA 2008, not 2003: ß stays itself.
        ("a@faß.de", "a@xn--fa-hia.de"),
        // The Kelvin sign and a ligature are letters in disguise.
        ("\u{212a}ate@o\u{fb03}ce.com", "kate@office.com"),
        ("\"a@b\"@example.com", "\"a@b\"@example.com"),
        ("e\u{301}va@example.com", "éva@example.com"),
        ("k\u{200d}\u{301}a@example.com", "\u{1e31}a@example.com"),
    ] {
        assert_eq!(email(text), canonical, "{text:?}");
    }
}

#[test]
fn what_is_no_address_is_refused() {
    let long_local = format!("{}@example.com", "a".repeat(65));
    let long_label = format!("a@{}.com", "b".repeat(64));
    let long = format!("a@{}", ["b".repeat(60).as_str(); 4].join(".") + ".example.com");
    for (text, code) in [
        ("", "identifier_empty"),
        (" \u{200b}\u{7}", "identifier_empty"),
        ("example.com", "email_without_at"),
        ("@example.com", "email_local_part"),
        ("a@b@example.com", "email_local_part"),
        ("Ada <ada@example.com>", "email_local_part"),
        ("a@x.kz,b@x.kz", "email_local_part"),
        ("mailto:ada@example.com", "email_local_part"),
        ("\"@example.com", "email_local_part"),
        ("\"\"@example.com", "email_local_part"),
        ("a@", "email_domain"),
        ("a@localhost", "email_domain"),
        ("a@.", "email_domain"),
        ("a@.com", "email_domain"),
        ("a@example..com", "email_domain"),
        ("a@example.com..", "email_domain"),
        ("a@-example.com", "email_domain"),
        ("a@exa_mple.com", "email_domain"),
        ("a@exam%ple.com", "email_domain"),
        ("a@[192.0.2.1]", "email_domain"),
        ("a@192.0.2.1", "email_domain"),
        ("a@xn--zzzzzz.com", "email_domain"),
        ("a@exam\u{200d}ple.com", "email_domain"),
        (&long_local, "email_local_part"),
        (&long_label, "email_domain"),
        (&long, "email_domain"),
    ] {
        assert_eq!(email(text), code, "{text:?}");
    }
    let just = format!("{}@{}.com", "a".repeat(64), ["b".repeat(62).as_str(); 3].join("."));
    assert_eq!(email(&just), "email_too_long", "{}", just.len());
    assert_eq!(email(&"a".repeat(IDENTIFIER_BYTES_MAX + 1)), "identifier_too_large");
}

#[test]
fn no_error_holds_the_identifier() {
    for text in
        ["8 707 999 88 7", "secretname@", "Secret <secretname@x.kz>", "8 800 secretname", "+7 610 999 88 77"]
    {
        for refused in [Canonical::phone(text).unwrap_err(), Canonical::email(text).unwrap_err()] {
            let told = format!("{refused} {refused:?} {}", refused.code());
            for part in ["999", "secretname", "610"] {
                assert!(!told.contains(part), "{told}");
            }
        }
    }
    let told = format!(
        "{:?} {:?}",
        Phone::parse("87079998877").unwrap(),
        Canonical::email("secretname@x.kz").unwrap()
    );
    assert!(!told.contains("999") && !told.contains("secretname"), "{told}");
}

/// Characters of which hard cases are made.
fn odd() -> impl Strategy<Value = char> {
    prop_oneof![
        5 => prop::char::range('a', 'z'),
        3 => prop::char::range('A', 'Z'),
        2 => prop::sample::select(vec!['@', '.', '-', '+', '"', ' ', 'ß', 'ſ', 'İ', 'Σ', 'ς', 'ﬃ', '\u{212a}', '\u{301}',
            '\u{200d}', '\u{200b}', '。', '＠', 'ǅ', 'ὖ', '\u{345}', 'Ω', '１']),
        1 => any::<char>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn reading_a_canonical_address_again_changes_nothing(
        local in prop::collection::vec(odd(), 1..12), domain in prop::collection::vec(odd(), 1..10)
    ) {
        let text: String = local.into_iter().chain(['@']).chain(domain).chain(".com".chars()).collect();
        if let Ok(once) = Canonical::email(&text) {
            prop_assert_eq!(Canonical::email(once.as_str()), Ok(once.clone()));
            prop_assert_eq!(Canonical::restored(IdentifierKind::Email, once.as_str()), Ok(once));
        }
    }

    #[test]
    fn reading_a_canonical_number_again_changes_nothing(text in "[+]?[0-9]{1,3}[ ()0-9-]{4,14}") {
        if let Ok(once) = Phone::parse(&text) {
            let again = Phone::parse(once.e164()).unwrap();
            prop_assert_eq!(again.e164(), once.e164());
            prop_assert_eq!(again.kind(), once.kind());
        }
    }

    #[test]
    fn no_text_makes_it_stumble(text in any::<String>()) {
        prop_assert!(Canonical::phone(&text).is_err() || text.chars().any(|c| c.is_numeric()));
        prop_assert!(Canonical::email(&text).is_err() || text.nfkc_has_at());
    }
}

trait HasAt {
    fn nfkc_has_at(&self) -> bool;
}

impl HasAt for String {
    fn nfkc_has_at(&self) -> bool {
        self.contains(['@', '＠', '﹫'])
    }
}
