//! Typed names. A value that exists is valid: it was checked when it was made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Entropy, EntropyFailed};

/// Longest name in bytes; keeps log leaves far below their 4 KiB.
const NAME_BYTES_MAX: usize = 96;

/// Why a text is not a name of its kind.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a {kind}: expected 1 to {NAME_BYTES_MAX} characters out of {allowed}")]
pub struct NameRefused {
    text: String,
    kind: &'static str,
    allowed: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $allowed:literal, $test:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameRefused;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all($test);
                if fits {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameRefused { text: text.chars().take(NAME_BYTES_MAX).collect(), kind: $kind, allowed: $allowed })
                }
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameRefused;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
    };
}

const fn slug(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_'
}

name!(
    /// A legal participant: the retailer, a brand, the joint-venture partner.
    PartyId, "party", "`a-z 0-9 - _`", slug
);
name!(
    /// A dataset of the vault; a budget block belongs to one.
    DatasetId, "dataset", "`a-z 0-9 - _`", slug
);
name!(
    /// What data is used for, out of the agreement's closed list, such as `measurement`.
    PurposeId, "purpose", "`a-z 0-9 - _`", slug
);
name!(
    /// A campaign.
    CampaignId, "campaign", "`a-z 0-9 - _`", slug
);
name!(
    /// A segment: a named per-shopper predicate, of which versions exist.
    SegmentId, "segment", "`a-z 0-9 - _`", slug
);
name!(
    /// What one campaign has at one destination; never used twice.
    AudienceId, "audience", "`a-z 0-9 - _`", slug
);
name!(
    /// A place that audiences are sent to: a gateway, a folder, a webhook.
    DestinationId, "destination", "`a-z 0-9 - _`", slug
);
name!(
    /// The verified caller within a party, as the token names it.
    Subject, "subject", "printable ASCII without spaces", |b: u8| b.is_ascii_graphic()
);
name!(
    /// A clause of an agreement, such as `JV-3.1`.
    ClauseId, "clause", "`A-Z a-z 0-9 - _ .`", |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b)
);
name!(
    /// The caller's idempotency key: one key charges once.
    RequestId, "request id", "`A-Z a-z 0-9 - _`", |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
);
name!(
    /// A published release.
    ReleaseId, "release id", "`a-z 0-9 _`", |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'
);

impl ReleaseId {
    /// A new id, `rel_` and 26 characters that carry 130 random bits.
    pub fn random(entropy: &dyn Entropy) -> Result<Self, EntropyFailed> {
        Ok(Self(format!("rel_{}", random_base32(entropy)?)))
    }
}

impl RequestId {
    /// A new id for a caller that brought none.
    pub fn random(entropy: &dyn Entropy) -> Result<Self, EntropyFailed> {
        Ok(Self(format!("req_{}", random_base32(entropy)?)))
    }
}

/// 26 characters of Crockford's base 32 in lower case, one random five-bit group each.
fn random_base32(entropy: &dyn Entropy) -> Result<String, EntropyFailed> {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut bytes = [0; 26];
    entropy.fill(&mut bytes)?;
    Ok(bytes.iter().filter_map(|b| ALPHABET.get(usize::from(b & 31))).map(|&c| char::from(c)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    #[test]
    fn names_are_checked_when_made() {
        assert_eq!("brand-nord".parse::<PartyId>().unwrap().as_str(), "brand-nord");
        for text in ["", "Brand", "a b", "a/b", "é", &"a".repeat(97)] {
            assert!(text.parse::<PartyId>().is_err(), "{text}");
        }
        let refused = "Brand".parse::<PartyId>().unwrap_err().to_string();
        assert_eq!(refused, "`Brand` is not a party: expected 1 to 96 characters out of `a-z 0-9 - _`");
    }

    #[test]
    fn random_ids_differ_and_parse() {
        let entropy = SystemEntropy::new();
        let (one, two) = (ReleaseId::random(&entropy).unwrap(), ReleaseId::random(&entropy).unwrap());
        assert_ne!(one, two);
        assert_eq!(one.as_str().parse(), Ok(one.clone()));
        assert_eq!(one.as_str().len(), 30);
    }
}
