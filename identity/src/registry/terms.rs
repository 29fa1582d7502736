//! What the shopper was told when asked: the part of a consent record that many shoppers share.
//!
//! Fields follow ISO/IEC TS 27560:2023 (consent record information structure) and article 8 of Kazakhstan's law 94-V on
//! personal data, which wants in every consent: the operator's name and BIN, its term, whether data goes to third parties,
//! across the border or into publicly available sources, and which data are collected.

use std::fmt;

use ids::{Digest, PartyId};
use serde::{Deserialize, Serialize};

/// Longest terms as JSON, in bytes.
pub const TERMS_BYTES_MAX: usize = 16 * 1024;
/// Most controllers, categories or recipients of one kind.
const ITEMS_MAX: usize = 64;
/// Longest text of a field, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Digits of a Kazakh business identification number.
const BIN_DIGITS: usize = 12;

/// Who decides what the data is used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controller {
    /// The party of the agreement.
    pub party: PartyId,
    /// Its registered name.
    pub name: String,
    /// Its BIN: twelve digits.
    pub bin: String,
}

/// The text that the shopper was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Its name, such as `loyalty-terms`.
    pub id: String,
    /// Its version, such as `2026-03`.
    pub version: String,
    /// Its language (BCP 47), such as `kk`.
    pub language: String,
}

/// Notice, controllers, data, recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Who asked.
    pub controller: Controller,
    /// Who decides together with them.
    #[serde(default)]
    pub joint_controllers: Vec<Controller>,
    /// What the shopper was shown.
    pub notice: Notice,
    /// Whose law applies (ISO 3166), such as `KZ`.
    pub jurisdiction: String,
    /// Which data are collected, in words.
    pub data_categories: Vec<String>,
    /// Who else gets them, in words; empty if nobody.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// Whether data goes to third parties.
    pub third_party_transfer: bool,
    /// Whether data goes across the border.
    pub cross_border_transfer: bool,
    /// Whether data is published.
    pub public_dissemination: bool,
    /// How long data is kept after the term, in days.
    pub storage_days: u32,
}

/// A field of the terms that is missing, malformed or contradicts another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the terms' `{field}` {reason}")]
pub struct TermsRefused {
    field: &'static str,
    reason: String,
}

impl TermsRefused {
    fn new(field: &'static str, reason: impl fmt::Display) -> Self {
        Self { field, reason: reason.to_string() }
    }

    /// The field.
    pub const fn field(&self) -> &'static str {
        self.field
    }
}

impl Terms {
    /// Refuses terms on which nobody could have consented validly.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), TermsRefused> {
        check_controller("controller", &self.controller)?;
        items("joint_controllers", self.joint_controllers.len(), 0)?;
        for joint in &self.joint_controllers {
            check_controller("joint_controllers", joint)?;
        }
        text("notice.id", &self.notice.id)?;
        text("notice.version", &self.notice.version)?;
        let language = &self.notice.language;
        let subtag =
            |part: &str| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
        if language.len() > 35 || !language.split('-').all(subtag) {
            return Err(TermsRefused::new(
                "notice.language",
                "is no language tag such as `kk`, `ru` or `en-GB`",
            ));
        }
        if self.jurisdiction.len() != 2 || !self.jurisdiction.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(TermsRefused::new("jurisdiction", "is no country code such as `KZ`"));
        }
        items("data_categories", self.data_categories.len(), 1)?;
        items("recipients", self.recipients.len(), 0)?;
        for category in &self.data_categories {
            text("data_categories", category)?;
        }
        for recipient in &self.recipients {
            text("recipients", recipient)?;
        }
        let others = !self.recipients.is_empty() || !self.joint_controllers.is_empty();
        if others != self.third_party_transfer {
            let reason = if others {
                "is false although recipients or joint controllers are named"
            } else {
                "is true but nobody is named in `recipients` or `joint_controllers`"
            };
            return Err(TermsRefused::new("third_party_transfer", reason));
        }
        let bytes = self.canonical()?.len();
        if bytes > TERMS_BYTES_MAX {
            return Err(TermsRefused::new(
                "data_categories",
                format!("makes the terms {bytes} bytes long: at most {TERMS_BYTES_MAX}"),
            ));
        }
        Ok(())
    }

    /// The terms as JSON, fields in the order of this type.
    pub(super) fn canonical(&self) -> Result<String, TermsRefused> {
        serde_json::to_string(self)
            .map_err(|why| TermsRefused::new("controller", format!("cannot be written: {why}")))
    }

    /// Digest of the terms as they are stored.
    pub(super) fn digest_of(canonical: &str) -> Digest {
        Digest::of_parts(&[b"consent terms 1", canonical.as_bytes()])
    }
}

fn check_controller(field: &'static str, controller: &Controller) -> Result<(), TermsRefused> {
    text(field, &controller.name)?;
    if controller.bin.len() != BIN_DIGITS || !controller.bin.bytes().all(|b| b.is_ascii_digit()) {
        return Err(TermsRefused::new(field, format!("has a BIN that is not {BIN_DIGITS} digits")));
    }
    Ok(())
}

fn text(field: &'static str, text: &str) -> Result<(), TermsRefused> {
    if text.trim().is_empty() {
        return Err(TermsRefused::new(field, "is empty"));
    }
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(TermsRefused::new(
            field,
            format!("is longer than {TEXT_BYTES_MAX} bytes or has control characters"),
        ));
    }
    Ok(())
}

fn items(field: &'static str, count: usize, least: usize) -> Result<(), TermsRefused> {
    if (least..=ITEMS_MAX).contains(&count) {
        Ok(())
    } else {
        Err(TermsRefused::new(field, format!("has {count} items: expected {least} to {ITEMS_MAX}")))
    }
}
