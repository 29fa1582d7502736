//! What leaves the clean room: batches of tokens for one audience at one destination.
//!
//! A [`Batch`] holds tokens only. Which shopper a token stands for ([`ids::UnitIx`]) is known to the outbox and to the
//! vault, and is in no type that a destination is handed.

use std::fmt;
use std::str::FromStr;

use ids::{AudienceId, DestinationId, Digest, Timestamp, UnitIx};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Most members of a batch: what large platforms take in one call.
pub const MEMBERS_MAX: usize = 10_000;
/// Longest token in bytes. A scoped pseudonym has 43, a hexadecimal SHA-256 has 64.
pub const TOKEN_BYTES_MAX: usize = 128;

/// What a destination knows a shopper by. Personal data: it is never printed, logged or part of an error.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, ZeroizeOnDrop)]
pub struct Token(String);

/// Why a text is not a token. The text itself is not repeated.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error(
    "not a token: expected 1 to {TOKEN_BYTES_MAX} printable ASCII characters without spaces, quotes, commas and backslashes"
)]
pub struct TokenRefused;

impl Token {
    /// For the body of a request, and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a text can be a token: what needs no escape in JSON, CSV or a header.
    pub fn fits(text: &str) -> bool {
        let plain = |b: u8| b.is_ascii_graphic() && !b"\"',\\`".contains(&b);
        (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
    }
}

impl FromStr for Token {
    type Err = TokenRefused;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if Self::fits(text) { Ok(Self(text.to_owned())) } else { Err(TokenRefused) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// One audience at one destination. Batches of a lane are ordered; batches of two lanes are not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Where to.
    pub destination: DestinationId,
    /// Which audience there; its id is never used twice.
    pub audience: AudienceId,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.destination, self.audience)
    }
}

/// What a batch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// The members join the audience.
    Add,
    /// The members leave it. A removal of somebody who is not in it succeeds.
    Remove,
}

impl Op {
    /// `add` or `remove`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }
}

/// Name of a batch and its idempotency key: it follows from the content and the place in the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(Digest);

impl BatchId {
    /// From its digest, as read back.
    pub const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest.
    pub const fn digest(&self) -> &Digest {
        &self.0
    }

    /// `content` is a keyed digest of the tokens, so that nobody can confirm a guessed member from the id.
    pub(crate) fn derive(place: &Place, content: &[u8]) -> Self {
        let expires = place.expires.map_or(i64::MAX, Timestamp::as_millis);
        Self(Digest::of_parts(&[
            b"activation/batch/v1",
            place.lane.destination.as_str().as_bytes(),
            place.lane.audience.as_str().as_bytes(),
            &place.epoch.to_be_bytes(),
            place.op.as_str().as_bytes(),
            &place.seq.to_be_bytes(),
            &place.part.to_be_bytes(),
            &expires.to_be_bytes(),
            content,
        ]))
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BatchId {
    type Err = ids::DigestRefused;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Where a batch stands and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The lane.
    pub lane: Lane,
    /// Under which epoch the tokens were derived.
    pub epoch: u64,
    /// What it does.
    pub op: Op,
    /// Position in the lane. Of two batches that name one member, the one with the larger number has the last word.
    pub seq: u64,
    /// Which part of the batch that was queued at `seq`: 0 for the whole, others for what it was split into.
    pub part: u32,
    /// From when on the destination drops the members by itself; removals have none.
    pub expires: Option<Timestamp>,
}

/// A batch without its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name and idempotency key.
    pub id: BatchId,
    /// Where it stands and what it does.
    pub place: Place,
    /// Number of members, 1 to [`MEMBERS_MAX`].
    pub count: u32,
}

/// A batch as a destination gets it. It never changes: what is sent again under one id is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Name and place.
    pub header: Header,
    /// The members, in an order that says nothing about them.
    pub members: Vec<Token>,
}

/// Members on their way in: which shopper, and the token that stands for them at the destination.
///
/// One buffer, because there may be millions.
#[derive(Clone, Default)]
pub struct Members {
    text: Zeroizing<String>,
    /// Unit, start and end of the token in `text`.
    spans: Vec<(u32, usize, usize)>,
}

impl Members {
    /// None yet; room for `members`.
    pub fn with_capacity(members: usize) -> Self {
        let text = Zeroizing::new(String::with_capacity(members.saturating_mul(43)));
        Self { text, spans: Vec::with_capacity(members) }
    }

    /// Adds one.
    ///
    /// # Errors
    /// When the text is not a token.
    pub fn push(&mut self, unit: UnitIx, token: &str) -> Result<(), TokenRefused> {
        if !Token::fits(token) {
            return Err(TokenRefused);
        }
        let start = self.text.len();
        self.text.push_str(token);
        self.spans.push((unit.0, start, self.text.len()));
        Ok(())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Units and tokens, in the present order.
    pub fn iter(&self) -> impl Iterator<Item = (UnitIx, &str)> {
        self.spans.iter().filter_map(|(unit, start, end)| Some((UnitIx(*unit), self.text.get(*start..*end)?)))
    }

    /// Keeps the members whose unit passes.
    pub fn retain(&mut self, mut keep: impl FnMut(UnitIx) -> bool) {
        self.spans.retain(|(unit, ..)| keep(UnitIx(*unit)));
    }

    /// Orders the members by token and drops a unit's second token.
    ///
    /// Units must not decide the order: two destinations that both got their members by unit could be joined row by row.
    /// A token is a keyed hash per destination, so that its order is another at each of them.
    pub fn sort_by_token(&mut self) {
        let text = &self.text;
        let token = |span: &(u32, usize, usize)| text.get(span.1..span.2);
        self.spans.sort_unstable_by(|a, b| token(a).cmp(&token(b)).then(a.0.cmp(&b.0)));
        let mut seen = RoaringBitmap::new();
        self.spans.retain(|(unit, ..)| seen.insert(*unit));
    }

    /// The units.
    pub fn units(&self) -> RoaringBitmap {
        self.spans.iter().map(|(unit, ..)| *unit).collect()
    }

    /// The tokens with the units that share each. Two cards registered with one phone are two units and one token: the
    /// destination knows one member. The members must be sorted.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = u32>)> {
        let same = |a: &(u32, usize, usize), b: &(u32, usize, usize)| {
            self.text.get(a.1..a.2) == self.text.get(b.1..b.2)
        };
        self.spans.chunk_by(same).filter_map(|spans| {
            let (_, start, end) = spans.first()?;
            Some((self.text.get(*start..*end)?, spans.iter().map(|(unit, ..)| *unit)))
        })
    }

    /// Adds a group.
    fn push_group(&mut self, token: &str, units: impl Iterator<Item = u32>) {
        let start = self.text.len();
        self.text.push_str(token);
        let end = self.text.len();
        self.spans.extend(units.map(|unit| (unit, start, end)));
    }

    /// The members of which a unit is among `units` (with the units that share their token), and the others.
    pub(crate) fn divide(&self, units: &RoaringBitmap) -> (Self, Self) {
        let (mut taken, mut left) = (Self::default(), Self::default());
        for (token, group) in self.groups() {
            let group: Vec<u32> = group.collect();
            let to = if group.iter().any(|unit| units.contains(*unit)) { &mut taken } else { &mut left };
            to.push_group(token, group.into_iter());
        }
        (taken, left)
    }

    /// The members whose token stands at a position that passes. The members must be sorted.
    pub(crate) fn pick(&self, passes: impl Fn(usize) -> bool) -> Self {
        let mut picked = Self::default();
        for (_, (token, units)) in self.groups().enumerate().filter(|(position, _)| passes(*position)) {
            picked.push_group(token, units);
        }
        picked
    }

    /// Parts of at most `tokens` tokens each. The members must be sorted.
    pub(crate) fn chunks(&self, tokens: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        for (n, (token, units)) in self.groups().enumerate() {
            if n % tokens.max(1) == 0 {
                parts.push(Self::default());
            }
            if let Some(part) = parts.last_mut() {
                part.push_group(token, units);
            }
        }
        parts
    }

    /// Takes in what another holds.
    pub(crate) fn append(&mut self, other: &Self) {
        other.groups().for_each(|(token, units)| self.push_group(token, units));
    }

    /// How many tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.groups().count()
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({}, redacted)", self.spans.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        let token: Token = "Zx-9_secret".parse().unwrap();
        let mut members = Members::default();
        members.push(UnitIx(7), "Zx-9_secret").unwrap();
        let shown = format!("{token:?} {members:?}");
        assert_eq!(shown, "Token(redacted) Members(1, redacted)");
        let refused = "two words".parse::<Token>().unwrap_err().to_string();
        assert!(!refused.contains("two words"), "{refused}");
    }

    #[test]
    fn the_order_of_members_says_nothing_about_units() {
        let mut members = Members::default();
        for (unit, token) in [(1, "m"), (2, "c"), (3, "x"), (2, "d")] {
            members.push(UnitIx(unit), token).unwrap();
        }
        members.sort_by_token();
        let order: Vec<_> = members.iter().map(|(unit, token)| (unit.0, token.to_owned())).collect();
        assert_eq!(order, [(2, "c".to_owned()), (1, "m".to_owned()), (3, "x".to_owned())]);
    }

    #[test]
    fn cards_that_share_a_token_go_together() {
        let mut members = Members::default();
        for (unit, token) in [(1, "b"), (2, "a"), (3, "b"), (4, "c")] {
            members.push(UnitIx(unit), token).unwrap();
        }
        members.sort_by_token();
        assert_eq!((members.len(), members.tokens()), (4, 3));
        let (taken, left) = members.divide(&RoaringBitmap::from([3]));
        assert_eq!((taken.units(), left.units()), (RoaringBitmap::from([1, 3]), RoaringBitmap::from([2, 4])));
        let parts: Vec<_> = members.chunks(2).iter().map(Members::units).collect();
        assert_eq!(parts, [RoaringBitmap::from([1, 2, 3]), RoaringBitmap::from([4])]);
    }

    #[test]
    fn an_id_follows_from_place_and_content() {
        let place = |seq, part, epoch| Place {
            lane: Lane { destination: "gate".parse().unwrap(), audience: "a-1".parse().unwrap() },
            epoch,
            op: Op::Add,
            seq,
            part,
            expires: None,
        };
        let id = BatchId::derive(&place(1, 0, 3), b"content");
        assert_eq!(id, BatchId::derive(&place(1, 0, 3), b"content"));
        let others = [
            BatchId::derive(&place(2, 0, 3), b"content"),
            BatchId::derive(&place(1, 1, 3), b"content"),
            BatchId::derive(&place(1, 0, 4), b"content"),
            BatchId::derive(&place(1, 0, 3), b"other"),
            BatchId::derive(&Place { op: Op::Remove, ..place(1, 0, 3) }, b"content"),
        ];
        assert!(others.iter().all(|other| *other != id));
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}
