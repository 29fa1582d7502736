//! Who may be addressed, as of one moment: the five sets that a target is made of, read once per campaign and tick.

use ids::Timestamp;
use roaring::RoaringBitmap;

use super::crew;
use super::tokens::TickFailed;
use crate::arms::{Arm, Arms};
use crate::campaign::Content;
use crate::members::{HouseholdKey, Members};

/// The sets. Nothing in it names a shopper outside the vault.
#[derive(Clone, PartialEq)]
pub struct Roll {
    pub(crate) segment: RoaringBitmap,
    pub(crate) consented: RoaringBitmap,
    pub(crate) suppressed: RoaringBitmap,
    /// Drawn into treatment, by the household keys of this very moment.
    pub(crate) treated: RoaringBitmap,
    pub(crate) consents_ending: Vec<(Timestamp, RoaringBitmap)>,
    consent_epoch: u64,
}

impl std::fmt::Debug for Roll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Roll(consent epoch {})", self.consent_epoch)
    }
}

impl Roll {
    /// Reads the sets. `told` is everybody whom any destination of the campaign holds or is about to: they are drawn, too, so
    /// that a household that changed is noticed. Consents that end before `until` come with their ends.
    ///
    /// # Errors
    /// When the vault does not answer.
    pub fn take(
        content: &Content,
        arms: &Arms,
        told: &RoaringBitmap,
        until: Timestamp,
        members: &dyn Members,
    ) -> Result<Self, TickFailed> {
        let segment = members.segment(&content.segment.id, &content.segment.digest)?;
        let (consented, consent_epoch) = members.consented(&content.purpose)?;
        let suppressed = members.suppressed()?;
        let consents_ending = members.consents_ending(&content.purpose, until)?;
        let asked = ((&segment | told) & &consented) - &suppressed;
        let treated = treated(arms, &asked, members)?;
        Ok(Self { segment, consented, suppressed, treated, consents_ending, consent_epoch })
    }

    /// The number of the state of consents that was read.
    pub const fn consent_epoch(&self) -> u64 {
        self.consent_epoch
    }

    /// Who may be addressed by this campaign, in the segment or not: consent ∧ ¬suppressed ∧ ¬holdout.
    pub(crate) fn allowed(&self) -> RoaringBitmap {
        (&self.consented & &self.treated) - &self.suppressed
    }

    /// Who is eligible, controls included: segment ∧ consent ∧ ¬suppressed. This is what the guard compares, and what is
    /// assigned to arms.
    pub fn eligible(&self) -> RoaringBitmap {
        (&self.segment & &self.consented) - &self.suppressed
    }

    /// The roll of a destination that would not take these: they are not tried again.
    pub fn without(&self, units: &RoaringBitmap) -> Self {
        Self { treated: &self.treated - units, ..self.clone() }
    }

    /// Whose identifiers must not be among those that are added: controls and suppressed shoppers of the segment. A phone
    /// that is known of two cards would otherwise reach a control through the other card.
    pub fn blocked(&self) -> RoaringBitmap {
        (self.eligible() - &self.treated) | (&self.segment & &self.suppressed)
    }

    /// Who is to be addressed: eligible and drawn into treatment.
    pub fn target(&self) -> RoaringBitmap {
        self.eligible() & &self.treated
    }
}

/// Who eligible means before arms exist: for the admission of an audience.
pub(crate) fn eligible(content: &Content, members: &dyn Members) -> Result<RoaringBitmap, TickFailed> {
    let segment = members.segment(&content.segment.id, &content.segment.digest)?;
    let (consented, _) = members.consented(&content.purpose)?;
    Ok((segment & consented) - members.suppressed()?)
}

/// Who of these is drawn into treatment. Who has no household key is not.
fn treated(arms: &Arms, asked: &RoaringBitmap, members: &dyn Members) -> Result<RoaringBitmap, TickFailed> {
    let read = |each: &mut dyn FnMut((u32, HouseholdKey))| {
        members.households(asked, &mut |unit, household| each((unit.0, household)))
    };
    let pieces = crew::spread(read, |piece: Vec<(u32, HouseholdKey)>| {
        let (mut treated, mut held_out) = (RoaringBitmap::new(), RoaringBitmap::new());
        for (unit, household) in piece {
            let arm = if arms.of(&household) == Arm::Treatment { &mut treated } else { &mut held_out };
            arm.insert(unit);
        }
        (treated, held_out)
    })??;
    let (mut treated, mut held_out) = (RoaringBitmap::new(), RoaringBitmap::new());
    for (yes, no) in pieces {
        treated |= yes;
        held_out |= no;
    }
    // Whoever the vault named with two households must be treated under both.
    Ok((treated - held_out) & asked)
}
