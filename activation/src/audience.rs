//! What one campaign has at one destination, and how it changes.
//!
//! ```text
//! target = segment ∧ consent ∧ ¬suppressed ∧ ¬holdout ∧ ¬expired          delta = target against what was told
//! ```
//!
//! # Guarantee
//! * **A control household is never addressed**: only who is drawn into treatment, by a household key that the vault gave
//!   for this very tick, can be added; who has no household key cannot.
//! * **Removals are never delayed** where consent, suppression, holdout or term demand them: at the next tick, without
//!   floor. Everything else moves once per period, and only if enough changes have gathered ([`GuardKey`]).
//! * **No audience below the floor**, tested on the noisy size alone, and none that differs from another one of the same
//!   buyer by a handful of shoppers; what the refusal itself tells is bounded ([`advantage_bound`]).
//! * **Epochs**: pseudonyms of an old epoch are taken back whole, *then* the same shoppers are told under the new one, so
//!   that nobody is there under two names.

mod admission;
mod crew;
mod floor;
mod guard;
mod plan;
mod roll;
mod terms;
mod tokens;

use std::fmt;

use ids::{AudienceId, CampaignId, DestinationId, Digest, Entropy, EntropyFailed, PartyId, Timestamp};
use roaring::RoaringBitmap;

pub use admission::{Admitted, Asking, NotAdmitted, Other, Outcome, judge};
pub use floor::{CONTROLS_MIN, FLOOR_DEFAULT, FLOOR_MIN, Floor, FloorRefused, NoisySize};
pub use guard::{ATTEMPTS_MAX, CHANGES_MIN, GuardKey, WINDOW_DAYS, advantage_bound, size_divergence};
pub use plan::{Plan, Regular, Step, close, plan};
pub use roll::Roll;
pub(crate) use roll::eligible;
pub use terms::{AudienceRules, RulesRefused, TERM_DAYS_DEFAULT, TERM_DAYS_MAX, Terms};
pub use tokens::{Naming, Rendered, TickFailed, render};

/// An audience as the store keeps it. Nothing in it names a shopper outside the vault.
#[derive(Clone, PartialEq)]
pub struct Audience {
    /// Its name; never used again, also after it was closed.
    pub id: AudienceId,
    /// Of which campaign.
    pub campaign: CampaignId,
    /// At which destination.
    pub destination: DestinationId,
    /// Who gets it.
    pub buyer: PartyId,
    /// Digest of the segment's predicate.
    pub segment: Digest,
    /// When it was admitted.
    pub opened: Timestamp,
    /// When it was closed for good.
    pub closed: Option<Timestamp>,
    /// The last period in which other changes than urgent removals were decided on.
    pub period: Option<u64>,
    /// Who was eligible, controls included, when it was last told: what the guard compares.
    pub basis: RoaringBitmap,
    /// Until when everybody who was told may be held.
    pub terms: Terms,
    /// Who was to be added by a tick that is not known to be finished: the next one adds them, so that a crash between the
    /// removal under an old epoch and the addition under the new one loses nobody.
    pub owed: RoaringBitmap,
}

impl Audience {
    /// A new name, `aud-` and 32 hex digits.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn name(entropy: &dyn Entropy) -> Result<AudienceId, EntropyFailed> {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes)?;
        // Hex digits and a dash are a name by every rule; a failed parse would be a defect of the rules themselves.
        format!("aud-{}", hex::encode(bytes)).parse().map_err(|_| EntropyFailed)
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audience")
            .field("id", &self.id)
            .field("campaign", &self.campaign)
            .field("destination", &self.destination)
            .field("buyer", &self.buyer)
            .field("opened", &self.opened)
            .field("closed", &self.closed)
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}
