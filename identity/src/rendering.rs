//! How an identifier leaves the house.
//!
//! To *scoped* destinations (our own gateway, a partner) each shopper goes as a pseudonym that means nothing elsewhere or
//! later. To *open* destinations (Google, Meta, UID2) they go as the unsalted hash that the platform demands: anybody who
//! has the phone or the address computes the same, so whatever is sent there can be joined with everything else. That is
//! the platform's rule, not ours; what we do is keep the two classes apart in types, policy and log.

mod open;
mod scoped;

use std::fmt;
use std::str::FromStr;

use crate::canonical::{Canonical, IdentifierKind};

pub use open::{OpenFormat, OpenFormatUnknown, OpenHash};
pub use scoped::{
    MasterKey, PSEUDONYM_EPOCH_DAYS, PseudonymEpoch, ScopedKey, ScopedPseudonym, ScopedRenderer,
};

/// Whether what a destination gets can be joined with what others have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DestinationClass {
    /// Gets pseudonyms of its own, new ones in each epoch.
    Scoped,
    /// Gets unsalted hashes: joinable by construction. Needs a purpose and a floor of its own.
    Open,
}

impl DestinationClass {
    /// Both classes.
    pub const ALL: [Self; 2] = [Self::Scoped, Self::Open];

    /// The class as it stands in policy, in destinations' files and, as the joinability of what was sent, in the log.
    pub const fn joinability(self) -> &'static str {
        match self {
            Self::Scoped => "scoped",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for DestinationClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.joinability())
    }
}

/// Why a text is no class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a class of destinations: expected `scoped` or `open`")]
pub struct DestinationClassUnknown {
    text: String,
}

impl FromStr for DestinationClass {
    type Err = DestinationClassUnknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|class| class.joinability() == text);
        found.ok_or_else(|| DestinationClassUnknown { text: text.chars().take(32).collect() })
    }
}

/// Why an identifier cannot be rendered for a destination. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RenderRefused {
    /// Open formats know phones and e-mail addresses only.
    #[error("a {} has no form that `{}` takes: only phones and e-mail addresses have", .kind.as_str(), .format.as_str())]
    NoOpenForm {
        /// What it is.
        kind: IdentifierKind,
        /// What it was to become.
        format: OpenFormat,
    },
    /// Nothing is left of the mailbox's name after the format's own rules, such as of `+tag@gmail.com`.
    #[error("nothing is left of the e-mail address after the rules of `{}`", .0.as_str())]
    NothingLeft(OpenFormat),
}

impl RenderRefused {
    /// A stable name of the reason.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoOpenForm { .. } => "render_no_open_form",
            Self::NothingLeft(_) => "render_nothing_left",
        }
    }
}

/// Turns identifiers into what one destination gets, for the length of one run.
pub enum Renderer {
    /// For a scoped destination in one epoch.
    Scoped(ScopedRenderer),
    /// For an open destination.
    Open(OpenFormat),
}

impl Renderer {
    /// The class of what comes out.
    pub const fn class(&self) -> DestinationClass {
        match self {
            Self::Scoped(_) => DestinationClass::Scoped,
            Self::Open(_) => DestinationClass::Open,
        }
    }

    /// The destination's identifier.
    ///
    /// # Errors
    /// Only for open destinations: they do not know every kind of identifier.
    pub fn token(&self, identifier: &Canonical) -> Result<Token, RenderRefused> {
        match self {
            Self::Scoped(renderer) => Ok(renderer.pseudonym(identifier).token()),
            Self::Open(format) => Ok(format.hash(identifier)?.token(*format)),
        }
    }
}

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scoped(_) => f.write_str("Renderer(scoped, key redacted)"),
            Self::Open(format) => write!(f, "Renderer({})", format.as_str()),
        }
    }
}

/// An identifier as one destination takes it: pseudonymous personal data. It lives in memory, in the sealed outbox and in
/// the request to its destination, and is never printed or logged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(Box<str>);

impl Token {
    /// The text to send.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}
