//! From positions to what a destination calls them: identifiers are streamed out of the vault, hashed and forgotten.

use std::fmt;

use identity::{Canonical, IdentifierKind, RenderRefused, Renderer, Token};
use ids::{Digest, UnitIx};
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
    /// Whose identifier is also one of somebody who must not be addressed, and so is not sent.
    pub shared: RoaringBitmap,
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unreached, shared) = (self.unreached.len(), self.shared.len());
        write!(f, "Rendered({:?}, unreached {unreached}, shared {shared})", self.members)
    }
}

/// How one destination names shoppers.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    /// By which identifiers, best first.
    pub reached: &'a [IdentifierKind],
    /// Into what they are turned.
    pub renderer: &'a Renderer,
}

/// Asks the vault for the identifiers of `units`, best kind first, and turns each into a token at once. Who is reached by a
/// better kind is not asked for the next. Tokens of `blocked` shoppers, of any kind, are left out whosever else they are.
///
/// # Errors
/// When the vault does not answer.
pub fn render(
    units: &RoaringBitmap,
    blocked: &RoaringBitmap,
    naming: Naming<'_>,
    members: &dyn Members,
) -> Result<Rendered, TickFailed> {
    let room = usize::try_from(units.len()).unwrap_or(0);
    let (mut all, mut left) = (batch::Members::with_capacity(room), units.clone());
    let mut shared = RoaringBitmap::new();
    let taboo = taboo(blocked, naming, members)?;
    for kind in naming.reached {
        if left.is_empty() {
            break;
        }
        for (unit, token) in named(&left, *kind, naming.renderer, members, |unit, token| (unit, token))? {
            // The vault may name more than it was asked for, or twice.
            if !left.remove(unit.0) {
                continue;
            }
            if taboo.binary_search(&fingerprint(&token)).is_ok() {
                shared.insert(unit.0);
            } else {
                all.push(unit, token.as_str())?;
            }
        }
    }
    all.sort_by_token();
    Ok(Rendered { members: all, unreached: left, shared })
}

/// Fingerprints of every token of these shoppers, sorted.
fn taboo(blocked: &RoaringBitmap, naming: Naming<'_>, members: &dyn Members) -> Result<Vec<u64>, TickFailed> {
    let mut taboo = Vec::new();
    for kind in naming.reached {
        taboo.extend(named(blocked, *kind, naming.renderer, members, |_, token| fingerprint(&token))?);
    }
    taboo.sort_unstable();
    taboo.dedup();
    Ok(taboo)
}

/// A number out of a token. Two tokens with one number are taken for one: among ten million that happens about once in
/// 200,000 runs, and then somebody is left out.
fn fingerprint(token: &Token) -> u64 {
    let digest = Digest::of(token.as_str().as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The tokens of shoppers, on all cores, as `keep` wants them.
fn named<R: Send>(
    units: &RoaringBitmap,
    kind: IdentifierKind,
    renderer: &Renderer,
    members: &dyn Members,
    keep: impl Fn(UnitIx, Token) -> R + Sync,
) -> Result<Vec<R>, TickFailed> {
    let read = |each: &mut dyn FnMut((UnitIx, Canonical))| {
        members.identifiers(units, kind, &mut |unit, identifier| each((unit, identifier.clone())))
    };
    let pieces = crew::spread(read, |piece: Vec<(UnitIx, Canonical)>| {
        let tokens = piece.iter().filter_map(|(unit, identifier)| match renderer.token(identifier) {
            Ok(token) => Some(keep(*unit, token)),
            // The format has no form for it: the next kind is tried, or the shopper is counted as not reached.
            Err(RenderRefused::NoOpenForm { .. } | RenderRefused::NothingLeft(_)) => None,
        });
        tokens.collect::<Vec<_>>()
    })??;
    Ok(pieces.into_iter().flatten().collect())
}
