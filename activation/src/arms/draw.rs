//! The draw: HMAC of the household under a campaign's key, and the commitment to that key.
//!
//! # Guarantee
//! * **A function.** A household's arm depends on its key, the campaign's key and the shares only; all cards of a household
//!   are in one arm, and asking again gives the same.
//! * **The exact share.** `u`, the first eight bytes of the HMAC, is control iff `u · 10,000 < share · 2⁶⁴`: the
//!   probability is the share but for less than 2⁻⁶⁴.
//! * **Hiding.** The commitment is SHA-256 over 256 random bits of key and public facts. Who sees it learns the arms of
//!   nobody unless they guess the key (SHA-256 as a random oracle).
//! * **Binding.** To open it to another key, share, campaign or pairing is to find a collision of SHA-256, because all
//!   of them are in its input, each preceded by its length.
//!
//! What a commitment cannot show is that the retailer drew one key and not a hundred to keep the nicest. The pre-period in
//! the lift report shows whether the arms differ before the start.

use std::fmt;

use ids::{CampaignId, Digest, Entropy, EntropyFailed};
use ring::hmac;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::stores::{Pair, Pairing};
use crate::campaign::Place;
use crate::keys::{Secrets, keyed_u64, leading};
use crate::members::HouseholdKey;

const LABEL_CAMPAIGN: &[u8] = b"cleanroom/holdout/commitment/v1";
const LABEL_GLOBAL: &[u8] = b"cleanroom/holdout/global-commitment/v1";
/// First byte of what is hashed for a household, 33 bytes in all.
const HOUSEHOLD: u8 = 0x01;
/// What is hashed for a pair of stores begins with the length of this part, a zero byte.
const STORES: u8 = 0x02;

/// Where a household belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// Addressed.
    Treatment,
    /// Never addressed by this campaign; what it does is what would have happened anyway.
    Control,
    /// Never addressed by any campaign of the period; it is in neither arm of this one.
    Global,
}

impl Arm {
    /// The word in the vault's table of assignments.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Treatment => "treatment",
            Self::Control => "control",
            Self::Global => "global",
        }
    }
}

/// What is committed to besides the key: public from the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Design {
    /// Whose arms.
    pub campaign: CampaignId,
    /// Households left out, in hundredths of a per cent.
    pub share_bp: u16,
    /// The commitment of the period's global control group, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global: Option<Commitment>,
    /// Digest of the matched pairs of stores, if stores are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing: Option<Digest>,
}

/// A commitment: public from before the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commitment(pub Digest);

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A campaign's secret. It is derived from the master key and a random salt of its own. Wiped when dropped.
pub struct ArmsKey(Zeroizing<[u8; 32]>);

impl ArmsKey {
    /// A new random salt for a campaign.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn salt(entropy: &dyn Entropy) -> Result<[u8; 32], EntropyFailed> {
        let mut salt = [0; 32];
        entropy.fill(&mut salt)?;
        Ok(salt)
    }

    /// The key of a campaign.
    pub fn derive(secrets: &Secrets, campaign: &CampaignId, salt: &[u8; 32]) -> Self {
        Self(secrets.campaign(campaign, salt))
    }

    fn commit(&self, design: &Design) -> Commitment {
        commit(&self.0, design)
    }
}

impl fmt::Debug for ArmsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArmsKey(redacted)")
    }
}

fn commit(key: &[u8; 32], design: &Design) -> Commitment {
    let global = design.global.map(|global| global.0);
    let optional = |digest: &Option<Digest>| digest.map_or(Vec::new(), |digest| digest.as_bytes().to_vec());
    Commitment(Digest::of_parts(&[
        LABEL_CAMPAIGN,
        design.campaign.as_str().as_bytes(),
        &design.share_bp.to_be_bytes(),
        &optional(&global),
        &optional(&design.pairing),
        key,
    ]))
}

/// The households that no campaign of a period addresses.
pub struct GlobalHoldout {
    key: Zeroizing<[u8; 32]>,
    share_bp: u16,
    period: String,
}

impl GlobalHoldout {
    /// The global control group of a period such as `2026-H2`.
    pub fn derive(secrets: &Secrets, period: &str, share_bp: u16) -> Self {
        Self { key: secrets.global(period), share_bp: share_bp.min(10_000), period: period.to_owned() }
    }

    /// What is logged when the period begins.
    pub fn commitment(&self) -> Commitment {
        Commitment(Digest::of_parts(&[
            LABEL_GLOBAL,
            self.period.as_bytes(),
            &self.share_bp.to_be_bytes(),
            self.key.as_ref(),
        ]))
    }
}

impl fmt::Debug for GlobalHoldout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GlobalHoldout({}, {} bp)", self.period, self.share_bp)
    }
}

/// A share of a key's outputs.
#[derive(Clone)]
struct Share {
    key: hmac::Key,
    share_bp: u16,
}

impl Share {
    fn new(key: &[u8; 32], share_bp: u16) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), share_bp }
    }

    fn takes(&self, household: &HouseholdKey) -> bool {
        let mut message = [HOUSEHOLD; 33];
        for (to, from) in message.iter_mut().skip(1).zip(household.as_bytes()) {
            *to = *from;
        }
        below(leading(&hmac::sign(&self.key, &message)), self.share_bp)
    }
}

/// Whether `u` of 2⁶⁴ lies in the first `share_bp` of 10,000.
fn below(u: u64, share_bp: u16) -> bool {
    u128::from(u) * 10_000 < (u128::from(share_bp) << 64)
}

/// A campaign's draw.
#[derive(Clone)]
pub struct Arms {
    design: Design,
    commitment: Commitment,
    campaign: Share,
    global: Option<Share>,
}

impl Arms {
    /// The arms under a key.
    pub fn new(
        key: &ArmsKey,
        campaign: CampaignId,
        share_bp: u16,
        global: Option<&GlobalHoldout>,
        pairing: Option<&Pairing>,
    ) -> Self {
        let design = Design {
            campaign,
            share_bp: share_bp.min(10_000),
            global: global.map(GlobalHoldout::commitment),
            pairing: pairing.map(Pairing::digest),
        };
        Self {
            commitment: key.commit(&design),
            campaign: Share::new(&key.0, design.share_bp),
            global: global.map(|global| Share::new(&global.key, global.share_bp)),
            design,
        }
    }

    /// What was committed to.
    pub const fn design(&self) -> &Design {
        &self.design
    }

    /// The commitment to key and design.
    pub const fn commitment(&self) -> Commitment {
        self.commitment
    }

    /// Where a household belongs.
    pub fn of(&self, household: &HouseholdKey) -> Arm {
        if self.global.as_ref().is_some_and(|global| global.takes(household)) {
            Arm::Global
        } else if self.campaign.takes(household) {
            Arm::Control
        } else {
            Arm::Treatment
        }
    }

    /// Which store of each pair shows the campaign (first) and which does not (second): a fair coin per pair.
    ///
    /// # Errors
    /// When these are not the pairs that were committed to.
    pub fn stores<'p>(&self, pairing: &'p Pairing) -> Result<Vec<(&'p Place, &'p Place)>, OpeningRefused> {
        if self.design.pairing != Some(pairing.digest()) {
            return Err(OpeningRefused::Pairing);
        }
        Ok(pairing.pairs.iter().map(|pair| self.flip(pair)).collect())
    }

    fn flip<'p>(&self, pair: &'p Pair) -> (&'p Place, &'p Place) {
        let coin =
            keyed_u64(&self.campaign.key, &[&[STORES], pair.a.0.as_bytes(), pair.b.0.as_bytes()]) >> 63;
        if coin == 0 { (&pair.a, &pair.b) } else { (&pair.b, &pair.a) }
    }
}

impl fmt::Debug for Arms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arms({}, committed to {})", self.design.campaign, self.commitment)
    }
}

/// The key and the design, handed to an auditor after the end: with them and the log anybody can draw again. It opens one
/// campaign and tells nothing about another.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// What was committed to.
    pub design: Design,
    /// The campaign's key, 64 hex digits.
    key: String,
}

/// Why an opening or an assignment is not believed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum OpeningRefused {
    /// The key has another form.
    #[error("the opening's key is not 64 lower-case hex digits")]
    Key,
    /// It opens something else.
    #[error(
        "the opening does not belong to the commitment {commitment}: another key, share, campaign or pairing"
    )]
    Commitment {
        /// What was logged.
        commitment: Commitment,
    },
    /// Other pairs of stores.
    #[error("these are not the pairs of stores that were committed to")]
    Pairing,
    /// The assignment that was used is not the one that was committed to.
    #[error("row {row} of the assignment says `{said}`, the key says `{drawn}`")]
    Assignment {
        /// Which row, from 0. Who it is stays with the auditor.
        row: usize,
        /// As used.
        said: &'static str,
        /// As drawn.
        drawn: &'static str,
    },
}

impl Opening {
    /// The opening of a campaign.
    pub fn new(key: &ArmsKey, arms: &Arms) -> Self {
        Self { design: arms.design.clone(), key: hex::encode(key.0.as_ref()) }
    }

    /// Checks it against the commitment in the log and gives the draw back, without the global group.
    ///
    /// # Errors
    /// When it does not belong to the commitment.
    pub fn open(&self, commitment: Commitment) -> Result<Arms, OpeningRefused> {
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(&self.key, key.as_mut()).map_err(|_| OpeningRefused::Key)?;
        if commit(&key, &self.design) != commitment || self.key.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(OpeningRefused::Commitment { commitment });
        }
        let campaign = Share::new(&key, self.design.share_bp);
        Ok(Arms { design: self.design.clone(), commitment, campaign, global: None })
    }

    /// What an auditor does: opens the commitment and draws every row of the assignment again. Rows of the global group
    /// are passed over: they were drawn under a key of their own, with a commitment of its own. Gives the number of
    /// rows that were checked.
    ///
    /// # Errors
    /// With the first row that differs.
    pub fn verify(
        &self,
        commitment: Commitment,
        assignment: impl IntoIterator<Item = (HouseholdKey, Arm)>,
    ) -> Result<usize, OpeningRefused> {
        let arms = self.open(commitment)?;
        let mut checked = 0;
        for (row, (household, said)) in assignment.into_iter().enumerate() {
            let drawn = arms.of(&household);
            if said != Arm::Global {
                if said != drawn {
                    return Err(OpeningRefused::Assignment {
                        row,
                        said: said.as_str(),
                        drawn: drawn.as_str(),
                    });
                }
                checked += 1;
            }
        }
        Ok(checked)
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opening({}, key redacted)", self.design.campaign)
    }
}
