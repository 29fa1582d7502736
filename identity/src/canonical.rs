//! One internal form for what people are reached by, however they or a till typed it.
//!
//! A phone is E.164 (`+77071234567`), an e-mail address is lower-case NFKC with its domain as A-labels. Whoever has
//! neither is known by the keyed pseudonym of the loyalty card. Everything that leaves the house is rendered from this
//! form (see [`crate::Renderer`]), so that one shopper is one identifier, and nothing is ever guessed: a text that
//! is not certainly somebody's identifier is refused, with a reason that does not repeat it.

mod digits;
mod email;
mod phone;
mod plan;
mod refused;

use std::fmt;
use std::str::FromStr;

use crate::pseudonym::ShopperPseudonym;

pub use phone::{Phone, REGION_DEFAULT};
pub use plan::{NUMBERING_PLAN_VERSION, PhoneKind};
pub use refused::IdentifierRefused;

/// Longest text that is looked at, in bytes. E-mail addresses end at 254 (RFC 5321, section 4.5.3.1), phones far
/// below; the rest is room for white space.
pub const IDENTIFIER_BYTES_MAX: usize = 512;

/// What a shopper is reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentifierKind {
    /// A telephone number.
    Phone,
    /// An e-mail address.
    Email,
    /// Neither: the pseudonym of the loyalty card, which only the retailer's own devices can resolve.
    Card,
}

impl IdentifierKind {
    /// Every kind, in the order in which a shopper's best one is chosen.
    pub const ALL: [Self; 3] = [Self::Phone, Self::Email, Self::Card];

    /// The kind as it goes into pseudonyms; it never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Email => "email",
            Self::Card => "card",
        }
    }
}

impl fmt::Display for IdentifierKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text names no kind of identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no kind of identifier: expected one of `phone email card`")]
pub struct IdentifierKindUnknown;

impl FromStr for IdentifierKind {
    type Err = IdentifierKindUnknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(IdentifierKindUnknown)
    }
}

/// One identifier in its canonical form: personal data. It has no `Display` and its `Debug` tells the kind only.
///
/// # Guarantee
/// Two texts that mean the same phone or mailbox, in any of the spellings that `phone` and `email` document, are the
/// same `Canonical`; and reading a canonical form again yields itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Canonical {
    kind: IdentifierKind,
    text: Box<str>,
}

impl Canonical {
    /// The number of a person, out of whatever was typed; a number without country is one of Kazakhstan.
    ///
    /// # Errors
    /// When it is no valid number, or one that is not a person's: toll-free, premium, shared cost, a company's.
    pub fn phone(text: &str) -> Result<Self, IdentifierRefused> {
        let phone = Phone::parse(text)?;
        if phone.kind().is_personal() {
            Ok(Self { kind: IdentifierKind::Phone, text: phone.into_e164().into_boxed_str() })
        } else {
            Err(IdentifierRefused::PhoneNotPersonal(phone.kind()))
        }
    }

    /// A mailbox, out of whatever was typed.
    ///
    /// # Errors
    /// When it is no address that could be delivered to.
    pub fn email(text: &str) -> Result<Self, IdentifierRefused> {
        Ok(Self { kind: IdentifierKind::Email, text: email::canonical(text)?.into_boxed_str() })
    }

    /// The pseudonym of the card of a shopper of whom nothing better is known.
    pub fn card(pseudonym: &ShopperPseudonym) -> Self {
        Self { kind: IdentifierKind::Card, text: hex::encode(pseudonym.as_bytes()).into_boxed_str() }
    }

    /// Reads back what [`Canonical::as_str`] gave and the vault kept sealed: only the outer form is checked again,
    /// because a number that was valid when it came in stays what it is when numbering plans change.
    ///
    /// # Errors
    /// When the text cannot have come from there.
    pub fn restored(kind: IdentifierKind, text: &str) -> Result<Self, IdentifierRefused> {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let fits = match kind {
            IdentifierKind::Phone => text.strip_prefix('+').is_some_and(|digits| {
                (5..=17).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
            }),
            IdentifierKind::Email => email::is_shaped(text),
            IdentifierKind::Card => text.len() == 64 && text.bytes().all(lower_hex),
        };
        if fits { Ok(Self { kind, text: text.into() }) } else { Err(IdentifierRefused::NotCanonical) }
    }

    /// What kind it is.
    pub const fn kind(&self) -> IdentifierKind {
        self.kind
    }

    /// The canonical text. Personal data: it goes into a seal or a pseudonym, never into a log, an error or a file.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Canonical({}, redacted)", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_the_kind_only() {
        let card = Canonical::card(&ShopperPseudonym::from_bytes([0xab; 32]));
        for (canonical, text) in [
            (Canonical::phone("+77071234567").unwrap(), "Canonical(phone, redacted)"),
            (Canonical::email("a@b.kz").unwrap(), "Canonical(email, redacted)"),
            (card, "Canonical(card, redacted)"),
        ] {
            assert_eq!(format!("{canonical:?}"), text);
        }
    }

    #[test]
    fn what_was_kept_is_read_back() {
        let card = Canonical::card(&ShopperPseudonym::from_bytes([0xab; 32]));
        for canonical in [Canonical::phone("87071234567").unwrap(), Canonical::email("A@B.kz").unwrap(), card]
        {
            assert_eq!(Canonical::restored(canonical.kind(), canonical.as_str()), Ok(canonical.clone()));
        }
        for (kind, text) in [
            (IdentifierKind::Phone, "87071234567"),
            (IdentifierKind::Phone, "+7707123456a"),
            (IdentifierKind::Email, "A@b.kz"),
            (IdentifierKind::Email, "a.kz"),
            (IdentifierKind::Card, "AB"),
            (IdentifierKind::Card, ""),
        ] {
            assert_eq!(
                Canonical::restored(kind, text),
                Err(IdentifierRefused::NotCanonical),
                "{kind} {text}"
            );
        }
    }

    #[test]
    fn kinds_print_and_parse() {
        for kind in IdentifierKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("Phone".parse::<IdentifierKind>().is_err());
    }
}
