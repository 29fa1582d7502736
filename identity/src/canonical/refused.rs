//! Why a text is not an identifier. No variant can hold the text: an error travels into logs and reports.

use super::plan::PhoneKind;
use super::{IDENTIFIER_BYTES_MAX, REGION_DEFAULT};

/// Why a text was refused; never repeats any part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IdentifierRefused {
    /// Nothing is left after white space and invisible characters.
    #[error("the identifier is empty")]
    Empty,
    /// More than [`IDENTIFIER_BYTES_MAX`] bytes.
    #[error("the identifier is longer than {IDENTIFIER_BYTES_MAX} bytes")]
    TooLarge,
    /// Not what the canonicaliser ever made.
    #[error("the stored identifier is not in canonical form: load its table again")]
    NotCanonical,
    /// Letters, a second `+`, or signs that no number is written with.
    #[error(
        "the phone number holds other characters than digits, separators, one leading `+` and an extension"
    )]
    PhoneCharacters,
    /// After `+`, `00` or `8~10` comes no country code that exists.
    #[error(
        "the phone number has no existing country code: write `+`, the country code and the whole number"
    )]
    PhoneCountry,
    /// No number of the country has so many digits.
    #[error("the phone number has a digit too many or too few for its country (default: {REGION_DEFAULT})")]
    PhoneLength,
    /// Of the right length, but in a range that the country has not assigned. Nothing is guessed.
    #[error("the phone number lies in no assigned range of its country (default: {REGION_DEFAULT})")]
    PhoneUnassigned,
    /// A valid number, but a service's or a company's.
    #[error("the phone number is a {} number and not a person's", .0.as_str())]
    PhoneNotPersonal(PhoneKind),
    /// No `@`.
    #[error("the e-mail address has no `@`")]
    EmailWithoutAt,
    /// Nothing before the last `@`, more than 64 bytes of it, or characters that stand there only in lists and names.
    #[error(
        "the part of the e-mail address before the last `@` is empty, too long or holds forbidden characters"
    )]
    EmailLocalPart,
    /// Nothing after the last `@`, no full stop in it, or a name that no registry could have given out.
    #[error("the domain of the e-mail address is not an internet domain name with at least one full stop")]
    EmailDomain,
    /// Longer than a mail server takes.
    #[error("the e-mail address is longer than 254 bytes")]
    EmailTooLong,
}

impl IdentifierRefused {
    /// A stable name of the reason, for reports and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "identifier_empty",
            Self::TooLarge => "identifier_too_large",
            Self::NotCanonical => "identifier_not_canonical",
            Self::PhoneCharacters => "phone_characters",
            Self::PhoneCountry => "phone_country",
            Self::PhoneLength => "phone_length",
            Self::PhoneUnassigned => "phone_unassigned",
            Self::PhoneNotPersonal(_) => "phone_not_personal",
            Self::EmailWithoutAt => "email_without_at",
            Self::EmailLocalPart => "email_local_part",
            Self::EmailDomain => "email_domain",
            Self::EmailTooLong => "email_too_long",
        }
    }
}
