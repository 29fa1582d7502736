//! The forms that platforms demand: SHA-256 without key or salt.
//!
//! Sources: Google Ads, *Customer Match, formatting guidelines*; Meta, *Custom audiences, hashing* and the normaliser of its
//! Python SDK; UID2, *Normalization and encoding*. Phones hashed like this are not anonymous: Kazakhstan's mobile numbers
//! are 1.9 × 10⁸, and one core tries them all in minutes.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{RenderRefused, Token};
use crate::canonical::{Canonical, IdentifierKind};

/// Characters that Meta's SDK strips from both ends of an address.
const META_STRIPPED: [char; 7] = [' ', '\t', '\r', '\n', '\0', '\u{0b}', '.'];
/// The domain whose dots and `+tags` UID2 folds; no other, not even `googlemail.com`.
const UID2_FOLDED_DOMAIN: &str = "gmail.com";

/// Whose form it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpenFormat {
    /// Google Customer Match: E.164 with `+`, address as it stands; hexadecimal.
    Google,
    /// Meta custom audiences: digits only; address without full stops at its ends; hexadecimal.
    Meta,
    /// UID2 and EUID: E.164 with `+`; addresses of `gmail.com` without dots and `+tag`; base64 of the raw bytes.
    Uid2,
}

impl OpenFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Google, Self::Meta, Self::Uid2];

    /// The format as it stands in destinations' files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::Meta => "meta",
            Self::Uid2 => "uid2",
        }
    }

    /// The platform's hash of one identifier.
    ///
    /// # Errors
    /// For a card, which no platform knows, and for an address of which the platform's rules leave nothing.
    pub fn hash(self, identifier: &Canonical) -> Result<OpenHash, RenderRefused> {
        let text = identifier.as_str();
        let hashed = match (identifier.kind(), self) {
            (IdentifierKind::Card, _) => {
                return Err(RenderRefused::NoOpenForm { kind: identifier.kind(), format: self });
            }
            (IdentifierKind::Phone, Self::Google | Self::Uid2) | (IdentifierKind::Email, Self::Google) => {
                OpenHash::of(text)
            }
            (IdentifierKind::Phone, Self::Meta) => OpenHash::of(text.trim_start_matches(['+', '0'])),
            (IdentifierKind::Email, Self::Meta) => OpenHash::of(text.trim_matches(META_STRIPPED)),
            (IdentifierKind::Email, Self::Uid2) => match without_gmail_aliases(text) {
                Some(folded) => OpenHash::of(&folded),
                None => return Err(RenderRefused::NothingLeft(self)),
            },
        };
        Ok(hashed)
    }
}

impl fmt::Display for OpenFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an open format: expected one of `google meta uid2`")]
pub struct OpenFormatUnknown {
    text: String,
}

impl FromStr for OpenFormat {
    type Err = OpenFormatUnknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == text);
        found.ok_or_else(|| OpenFormatUnknown { text: text.chars().take(32).collect() })
    }
}

/// UID2's rule for its one folded domain; `None` where nothing is left of the mailbox.
fn without_gmail_aliases(address: &str) -> Option<String> {
    match address.rsplit_once('@') {
        Some((local, UID2_FOLDED_DOMAIN)) => {
            let name = local.split('+').next().unwrap_or_default().replace('.', "");
            (!name.is_empty()).then(|| format!("{name}@{UID2_FOLDED_DOMAIN}"))
        }
        _ => Some(address.to_owned()),
    }
}

/// An unsalted hash of an identifier. Everybody who knows the identifier can compute it: personal data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenHash([u8; 32]);

impl OpenHash {
    fn of(text: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref());
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As the platform takes it: 64 lower-case hexadecimal digits, or for UID2 base64 of the raw bytes (44 characters; not
    /// of the hexadecimal digits, which is the usual mistake).
    pub fn token(&self, format: OpenFormat) -> Token {
        Token(match format {
            OpenFormat::Google | OpenFormat::Meta => hex::encode(self.0).into_boxed_str(),
            OpenFormat::Uid2 => STANDARD.encode(self.0).into_boxed_str(),
        })
    }
}

impl fmt::Debug for OpenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenHash(redacted)")
    }
}
