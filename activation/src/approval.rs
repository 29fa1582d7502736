//! Approvals: signed notes (C2SP, Ed25519) by the retailer and every partner whose data is used, each over one exact
//! content of one campaign in one revision.
//!
//! What is signed is a text of six lines that a person can read and any signed-note tool can sign:
//!
//! ```text
//! cleanroom/campaign-approval/v1
//! campaign butter-spring
//! revision 2
//! content sha256:…
//! approvers jv-north retailer
//! party retailer
//! ```
//!
//! # Guarantee
//! An [`Approval`] exists only if a key of that party signed exactly these six lines. The revision makes a signature over
//! an earlier submission useless for a later one even where the content came back unchanged; the list of approvers makes
//! a store that forgets a partner contradict the signature of the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use audits::{LogKey, NoteRefused, Origin, VerifierKey};
use ids::{CampaignId, Digest, PartyId, Timestamp};
use serde::{Deserialize, Serialize};

/// First line of every statement.
const TITLE: &str = "cleanroom/campaign-approval/v1";
/// Longest note that is read, bytes.
const NOTE_BYTES_MAX: usize = 16 * 1024;

/// Who must approve: policy says so, out of the contracts of the data that is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Required {
    /// Whose channels and data they are.
    pub retailer: PartyId,
    /// Whose data is used, too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub partners: BTreeSet<PartyId>,
}

impl Required {
    /// Every party that must approve.
    pub fn parties(&self) -> BTreeSet<&PartyId> {
        self.partners.iter().chain([&self.retailer]).collect()
    }
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Of which campaign.
    pub campaign: CampaignId,
    /// In which revision.
    pub revision: u32,
    /// Over which content.
    pub content: Digest,
    /// Who must approve.
    pub approvers: BTreeSet<PartyId>,
    /// Who says so.
    pub party: PartyId,
}

impl Statement {
    /// The six lines.
    pub fn text(&self) -> String {
        let mut approvers = String::new();
        for party in &self.approvers {
            // Writing to a String cannot fail.
            let _ = write!(approvers, " {party}");
        }
        format!(
            "{TITLE}\ncampaign {}\nrevision {}\ncontent {}\napprovers{approvers}\nparty {}\n",
            self.campaign, self.revision, self.content, self.party
        )
    }

    /// The signed note. `name` is the key's name, under which [`Approvers`] knows it.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub fn sign(&self, name: &Origin, key: &LogKey) -> Result<String, NoteRefused> {
        audits::sign_note(&self.text(), name, key)
    }

    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let statement = Self {
            campaign: field("campaign")?.parse().ok()?,
            revision: field("revision")?.parse().ok()?,
            content: field("content")?.parse().ok()?,
            approvers: field("approvers")?.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?,
            party: field("party")?.parse().ok()?,
        };
        // Only the one canonical writing counts.
        (statement.text() == text).then_some(statement)
    }
}

/// The public keys of those who may approve.
#[derive(Debug, Clone, Default)]
pub struct Approvers {
    keys: BTreeMap<PartyId, Vec<VerifierKey>>,
}

/// Why a list of approvers cannot be used.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ApproversRefused {
    /// Not the form of such a file.
    #[error("the approvers' file cannot be read at line {line}: {reason}")]
    Unreadable {
        /// Where.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// One key for two parties would let one approve for both.
    #[error("the key `{key}` belongs to both `{one}` and `{other}`: give each party its own")]
    Shared {
        /// The key's name.
        key: String,
        /// A party.
        one: PartyId,
        /// Another.
        other: PartyId,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproversFile {
    #[serde(default)]
    approver: Vec<ApproverRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproverRow {
    party: PartyId,
    key: String,
}

impl Approvers {
    /// Reads a TOML file of `[[approver]]` tables, each with `party` and `key` (a signed-note verifier key). A party may have
    /// several keys: those that were replaced stay, so that what they signed can still be checked.
    ///
    /// # Errors
    /// When it cannot be read, or a key belongs to two parties.
    pub fn from_toml(text: &str) -> Result<Self, ApproversRefused> {
        let line_at = |offset: usize| text.bytes().take(offset).filter(|&b| b == b'\n').count() + 1;
        let file: ApproversFile = toml::from_str(text).map_err(|error| ApproversRefused::Unreadable {
            line: error.span().map_or(1, |span| line_at(span.start)),
            reason: error.message().replace('\n', " "),
        })?;
        let mut approvers = Self::default();
        for ApproverRow { party, key } in file.approver {
            let line = text.find(&key).map_or(1, line_at);
            let key: VerifierKey = key.parse().map_err(|refused: audits::VerifierKeyRefused| {
                ApproversRefused::Unreadable { line, reason: refused.to_string() }
            })?;
            approvers.add(party, key)?;
        }
        Ok(approvers)
    }

    /// Adds a key of a party.
    ///
    /// # Errors
    /// When another party has the same key, whatever its name.
    pub fn add(&mut self, party: PartyId, key: VerifierKey) -> Result<(), ApproversRefused> {
        let same = |other: &VerifierKey| other.public_key() == key.public_key();
        let owner = self.keys.iter().find(|(owner, keys)| **owner != party && keys.iter().any(same));
        if let Some((one, _)) = owner {
            return Err(ApproversRefused::Shared {
                key: key.origin().to_string(),
                one: one.clone(),
                other: party,
            });
        }
        self.keys.entry(party).or_default().push(key);
        Ok(())
    }

    fn of(&self, party: &PartyId) -> &[VerifierKey] {
        self.keys.get(party).map_or(&[], Vec::as_slice)
    }

    /// Whose key among all but `party`'s signed this note.
    fn other_signer(&self, note: &str, party: &PartyId) -> Option<&PartyId> {
        let signs = |key: &VerifierKey| audits::open_note(note.as_bytes(), key).is_ok();
        self.keys
            .iter()
            .find(|(owner, keys)| *owner != party && keys.iter().any(signs))
            .map(|(owner, _)| owner)
    }
}

/// One party's approval: the note, which anybody can check again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    party: PartyId,
    note: String,
    at: Timestamp,
}

/// Why a signature is no approval of what is submitted.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ApprovalRefused {
    /// Not a signed approval at all.
    #[error("it is no signed approval: {reason}")]
    Form {
        /// What is wrong.
        reason: String,
    },
    /// The party has no say here.
    #[error("`{party}` is not among those who approve this campaign ({required})")]
    NotAsked {
        /// Who signed.
        party: PartyId,
        /// Who is asked.
        required: String,
    },
    /// Signed by another party's key.
    #[error("it says it is by `{party}` but is signed by a key of `{signer}`")]
    OtherParty {
        /// As it says.
        party: PartyId,
        /// Whose key it is.
        signer: PartyId,
    },
    /// Signed by nobody we know, or not signed rightly.
    #[error("no known key of `{party}` signed it: {reason}")]
    Signature {
        /// As it says.
        party: PartyId,
        /// What the check said.
        reason: String,
    },
    /// Of another campaign.
    #[error("it approves the campaign `{found}`, not `{expected}`")]
    OtherCampaign {
        /// As it says.
        found: CampaignId,
        /// The submitted one.
        expected: CampaignId,
    },
    /// Of another submission: played again.
    #[error(
        "it approves revision {found}, and revision {expected} is submitted: an approval counts once, sign again"
    )]
    OtherRevision {
        /// As it says.
        found: u32,
        /// The submitted one.
        expected: u32,
    },
    /// Of another content.
    #[error("it approves the content {found}, and {expected} is submitted: any change needs a new approval")]
    OtherContent {
        /// As it says.
        found: Digest,
        /// The submitted one.
        expected: Digest,
    },
    /// Made for another circle of approvers.
    #[error("it was signed for the approvers `{found}`, and `{expected}` are required")]
    OtherApprovers {
        /// As it says.
        found: String,
        /// Who is asked.
        expected: String,
    },
    /// Once is enough.
    #[error("`{party}` has approved this revision already")]
    Twice {
        /// Who.
        party: PartyId,
    },
}

impl Approval {
    /// Checks a signed note against what is submitted.
    ///
    /// # Errors
    /// With its own reason for each way in which it is not an approval of this.
    pub fn open(
        note: &str,
        expected: &Submission<'_>,
        approvers: &Approvers,
        at: Timestamp,
    ) -> Result<Self, ApprovalRefused> {
        let form = |reason: &str| ApprovalRefused::Form { reason: reason.to_owned() };
        if note.len() > NOTE_BYTES_MAX {
            return Err(form("it is too long"));
        }
        let (body, _) = note.rsplit_once("\n\n").ok_or_else(|| form("it has no blank line"))?;
        let statement = Statement::read(&format!("{body}\n"))
            .ok_or_else(|| form("its text is not the six lines of an approval"))?;
        signed(note, &statement.party, approvers)?;
        expected.same(statement).map(|party| Self { party, note: note.to_owned(), at })
    }

    /// Checks it again, such as after reading it from a store.
    pub(crate) fn check(
        &self,
        expected: &Submission<'_>,
        approvers: &Approvers,
    ) -> Result<(), ApprovalRefused> {
        let again = Self::open(&self.note, expected, approvers, self.at)?;
        if again.party == self.party {
            Ok(())
        } else {
            Err(ApprovalRefused::OtherParty { party: self.party.clone(), signer: again.party })
        }
    }

    /// Who approved.
    pub const fn party(&self) -> &PartyId {
        &self.party
    }

    /// The signed note.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// When it was taken in.
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}

/// One of the party's keys signed the note.
fn signed(note: &str, party: &PartyId, approvers: &Approvers) -> Result<(), ApprovalRefused> {
    let mut reason = "it has none here".to_owned();
    for key in approvers.of(party) {
        match audits::open_note(note.as_bytes(), key) {
            Ok(_) => return Ok(()),
            Err(refused) => reason = refused.to_string(),
        }
    }
    Err(match approvers.other_signer(note, party) {
        Some(signer) => ApprovalRefused::OtherParty { party: party.clone(), signer: signer.clone() },
        None => ApprovalRefused::Signature { party: party.clone(), reason },
    })
}

/// What lies before the approvers.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// Which campaign.
    pub campaign: &'a CampaignId,
    /// In which revision.
    pub revision: u32,
    /// With which content.
    pub content: Digest,
    /// Who must approve.
    pub required: &'a Required,
}

impl Submission<'_> {
    /// What `party` signs to approve it.
    pub fn statement(&self, party: &PartyId) -> Statement {
        Statement {
            campaign: self.campaign.clone(),
            revision: self.revision,
            content: self.content,
            approvers: self.required.parties().into_iter().cloned().collect(),
            party: party.clone(),
        }
    }

    /// The party of a statement that approves exactly this.
    fn same(&self, found: Statement) -> Result<PartyId, ApprovalRefused> {
        let required = self.required.parties();
        if found.campaign != *self.campaign {
            return Err(ApprovalRefused::OtherCampaign {
                found: found.campaign,
                expected: self.campaign.clone(),
            });
        }
        if !required.contains(&found.party) {
            return Err(ApprovalRefused::NotAsked { party: found.party, required: joined(required) });
        }
        if found.revision != self.revision {
            return Err(ApprovalRefused::OtherRevision { found: found.revision, expected: self.revision });
        }
        if found.content != self.content {
            return Err(ApprovalRefused::OtherContent { found: found.content, expected: self.content });
        }
        if !found.approvers.iter().eq(required.iter().copied()) {
            let found = joined(found.approvers.iter());
            return Err(ApprovalRefused::OtherApprovers { found, expected: joined(required) });
        }
        Ok(found.party)
    }
}

fn joined<'a>(parties: impl IntoIterator<Item = &'a PartyId>) -> String {
    parties.into_iter().map(PartyId::as_str).collect::<Vec<_>>().join(" ")
}
