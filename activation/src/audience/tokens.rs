//! From positions to what a destination calls them: identifiers are streamed out of the vault, hashed and forgotten.

use std::fmt;

use identity::{Canonical, IdentifierKind, RenderRefused, Renderer};
use ids::UnitIx;
use roaring::RoaringBitmap;

use super::crew::{self, WorkerLost};
use crate::batch;
use crate::members::{Members, MembersFailed};

/// A tick could not be computed. Nothing of it may be sent.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum TickFailed {
    /// The vault did not answer.
    #[error(transparent)]
    Members(#[from] MembersFailed),
    /// A worker stopped.
    #[error(transparent)]
    Worker(#[from] WorkerLost),
    /// A rendering is not a token: a defect.
    #[error(transparent)]
    Token(#[from] batch::TokenRefused),
}

/// Members with their tokens, in the order of the tokens.
#[derive(Clone, Default)]
pub struct Rendered {
    /// For the outbox.
    pub members: batch::Members,
    /// Who has no identifier that the destination takes, and so is not sent.
    pub unreached: RoaringBitmap,
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rendered({:?}, unreached {})", self.members, self.unreached.len())
    }
}

/// Asks the vault for the identifiers of `units`, best kind first, and turns each into a token at once. Who is reached by a
/// better kind is not asked for the next.
///
/// # Errors
/// When the vault does not answer.
pub fn render(
    units: &RoaringBitmap,
    reached_by: &[IdentifierKind],
    renderer: &Renderer,
    members: &dyn Members,
) -> Result<Rendered, TickFailed> {
    let room = usize::try_from(units.len()).unwrap_or(0);
    let (mut all, mut left) = (batch::Members::with_capacity(room), units.clone());
    for kind in reached_by {
        if left.is_empty() {
            break;
        }
        let read = |each: &mut dyn FnMut((UnitIx, Canonical))| {
            members.identifiers(&left, *kind, &mut |unit, identifier| each((unit, identifier.clone())))
        };
        let pieces = crew::spread(read, |piece: Vec<(UnitIx, Canonical)>| {
            let tokens = piece.iter().map(|(unit, identifier)| match renderer.token(identifier) {
                Ok(token) => (*unit, Some(token)),
                // The format has no form for it; it is named by its position only, and the next kind is tried.
                Err(RenderRefused::NoOpenForm { .. } | RenderRefused::NothingLeft(_)) => (*unit, None),
            });
            tokens.collect::<Vec<_>>()
        })??;
        for (unit, token) in pieces.into_iter().flatten() {
            // The vault may name more than it was asked for, or twice.
            if let Some(token) = token
                && left.remove(unit.0)
            {
                all.push(unit, token.as_str())?;
            }
        }
    }
    all.sort_by_token();
    Ok(Rendered { members: all, unreached: left })
}
