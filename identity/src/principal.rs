//! The verified caller and what it may be.

use std::fmt;
use std::str::FromStr;

use ids::{PartyId, Subject};
use serde::{Deserialize, Serialize};

/// What a caller is for its party. The list is closed: a token with any other role is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Asks questions for a supplier.
    Analyst,
    /// Reads and signs the agreement, for the retailer or for the joint-venture partner.
    Legal,
    /// Operates the clean room: loads data, activates policy.
    Steward,
    /// Reads and verifies the log from outside.
    Regulator,
    /// Data protection officer.
    Dpo,
    /// The device and push gateway: a machine.
    Gateway,
}

/// Why a text is not a role.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a role: expected one of `analyst legal steward regulator dpo gateway`")]
pub struct RoleUnknown {
    text: String,
}

impl Role {
    /// Every role, in the order of this document.
    pub const ALL: [Self; 6] =
        [Self::Analyst, Self::Legal, Self::Steward, Self::Regulator, Self::Dpo, Self::Gateway];

    /// The role as it stands in tokens, policies and log entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Analyst => "analyst",
            Self::Legal => "legal",
            Self::Steward => "steward",
            Self::Regulator => "regulator",
            Self::Dpo => "dpo",
            Self::Gateway => "gateway",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = RoleUnknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|role| role.as_str() == text);
        named.ok_or_else(|| RoleUnknown { text: text.chars().take(32).collect() })
    }
}

/// A caller whose identity has been established, acting for one party in one role.
///
/// One is made by [`crate::TokenVerifier`] out of a verified token, or by [`Principal::local`] where the operating
/// system has already decided who may run the program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    subject: Subject,
    party: PartyId,
    role: Role,
}

impl Principal {
    /// The caller of the embedded command line: whoever can start the program and read its key files is trusted to say
    /// for whom it acts. Never call this with names that came over a network.
    pub const fn local(subject: Subject, party: PartyId, role: Role) -> Self {
        Self { subject, party, role }
    }

    /// Who, within the party.
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The party that the caller acts for.
    pub const fn party(&self) -> &PartyId {
        &self.party
    }

    /// In which role.
    pub const fn role(&self) -> Role {
        self.role
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_print_and_parse_and_agree_with_serde() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{role}\""));
        }
        for text in ["", "Analyst", "admin", "analyst "] {
            assert!(text.parse::<Role>().is_err(), "{text}");
        }
    }
}
