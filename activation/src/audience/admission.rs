//! Whether a segment may become an audience of a buyer.

use ids::{AudienceId, DestinationId, Digest, PartyId, Timestamp};
use roaring::RoaringBitmap;

use super::floor::{CONTROLS_MIN, Floor, NoisySize};
use super::guard::{ATTEMPTS_MAX, GuardKey, WINDOW_DAYS};

/// What is asked.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Who would get it.
    pub buyer: PartyId,
    /// The segment's predicate.
    pub segment: Digest,
    /// Its size as released.
    pub size: NoisySize,
    /// The agreement's floor.
    pub floor: Floor,
    /// Households left out, in hundredths of a per cent.
    pub share_bp: u16,
    /// When.
    pub at: Timestamp,
}

impl Asking {
    /// The window of a moment: whole periods of 30 days since 1970-01-01, UTC.
    pub fn window(&self) -> u64 {
        u64::try_from(self.at.as_secs().div_euclid(86_400 * WINDOW_DAYS)).unwrap_or(0)
    }

    /// When the next window begins.
    pub fn window_ends(&self) -> Timestamp {
        let days = self.window().saturating_add(1).saturating_mul(WINDOW_DAYS.unsigned_abs());
        Timestamp::from_millis(0).plus_secs(i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(86_400))
    }

    /// What needs no member to be looked at.
    ///
    /// # Errors
    /// Below the floor, or with too few controls.
    pub fn of_size(&self) -> Result<(), NotAdmitted> {
        let size = self.size.value();
        if !self.floor.admits(self.size) {
            return Err(NotAdmitted::Floor { size, floor: self.floor.shoppers() });
        }
        let share = u64::from(self.share_bp);
        if size.saturating_mul(share) < CONTROLS_MIN * 10_000 {
            let least = (CONTROLS_MIN * 10_000).div_ceil(size.max(1));
            return Err(NotAdmitted::Controls { size, share_bp: self.share_bp, least_bp: least });
        }
        Ok(())
    }
}

/// Another audience of the same buyer: open, or admitted within the window.
#[derive(Clone, PartialEq)]
pub struct Other {
    /// Its predicate.
    pub segment: Digest,
    /// Who was eligible.
    pub basis: RoaringBitmap,
}

impl std::fmt::Debug for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Other({})", self.segment)
    }
}

/// What the guard says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Different enough from all others, or there are none.
    Admitted,
    /// Too similar to one of them.
    TooSimilar,
}

/// Why a segment does not become an audience. What is said rests on released numbers; of the comparison no more is said than
/// that it failed: neither with which audience, nor by how much, nor in which direction.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum NotAdmitted {
    /// Too small.
    #[error("the segment's noisy size {size} is below the floor of {floor}: widen the segment")]
    Floor {
        /// As released.
        size: u64,
        /// The agreement's.
        floor: u64,
    },
    /// Too few would be left out.
    #[error(
        "a share of {share_bp} hundredths of a per cent of about {size} leaves fewer than {CONTROLS_MIN} controls: leave out at least {least_bp}, or widen the segment"
    )]
    Controls {
        /// As released.
        size: u64,
        /// As asked.
        share_bp: u16,
        /// What would do.
        least_bp: u64,
    },
    /// Too similar.
    #[error(
        "the segment is too similar to another audience of this buyer: use that one, or choose a segment that clearly differs"
    )]
    TooSimilar,
    /// Nothing left to try.
    #[error(
        "this buyer has used all {ATTEMPTS_MAX} attempts at an audience: the next window begins at {until}"
    )]
    Attempts {
        /// When the next window begins.
        until: Timestamp,
    },
}

impl NotAdmitted {
    /// A stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Floor { .. } => "audience-below-floor",
            Self::Controls { .. } => "audience-few-controls",
            Self::TooSimilar => "audience-too-similar",
            Self::Attempts { .. } => "audience-attempts-used",
        }
    }
}

/// Compares a new audience with the others of its buyer, controls included: two audiences of one segment under two draws
/// would differ by their controls alone, and seem to differ enough. Others of the same predicate do not count: that is the
/// same audience again, not a difference.
///
/// This is a decision on exact bitmaps: see [`super::guard`](super) for what it tells. The caller asks once per buyer,
/// predicate and window, and keeps the answer.
pub fn judge(asking: &Asking, eligible: &RoaringBitmap, others: &[Other], key: &GuardKey) -> Outcome {
    let different = others.iter().filter(|other| other.segment != asking.segment);
    let least = different.map(|other| other.basis.symmetric_difference_len(eligible)).min();
    let needed = key.difference(&asking.buyer, &asking.segment, asking.window());
    match least {
        Some(least) if least < needed => Outcome::TooSimilar,
        _ => Outcome::Admitted,
    }
}

/// Proof that an audience was admitted for exactly one content and destination. Only the store makes one, after the
/// verdict is durable and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    pub(crate) content: Digest,
    pub(crate) destination: DestinationId,
    pub(crate) audience: AudienceId,
}

impl Admitted {
    /// For which content.
    pub const fn content(&self) -> Digest {
        self.content
    }

    /// At which destination.
    pub const fn destination(&self) -> &DestinationId {
        &self.destination
    }

    /// Under which name.
    pub const fn audience(&self) -> &AudienceId {
        &self.audience
    }
}
