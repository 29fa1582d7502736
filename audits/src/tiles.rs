//! Names and contents of the log's files (C2SP `tlog-tiles`), plus the few that are ours.

use std::fmt;

/// Hashes per tile and entries per bundle.
pub(crate) const TILE_WIDTH: u64 = 256;
/// Bytes of a hash.
pub(crate) const HASH_BYTES: usize = 32;
/// Tree levels per tile level.
pub(crate) const TILE_HEIGHT: usize = 8;
/// No log of 2⁶⁴ entries needs more tile levels.
const TILE_LEVELS_MAX: u8 = 8;

/// Hashes in row `n` of a level: 1 to 256, where 256 is a full tile.
pub(crate) type Width = u16;

/// A file of the log's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Name {
    /// The signed tree head.
    Checkpoint,
    /// Locked by the one writer.
    Lock,
    /// Hashes `n·256 ..` of the nodes that span 256^level leaves.
    Tile { level: u8, n: u64, width: Width },
    /// Entries `n·256 ..`.
    Entries { n: u64, width: Width },
    /// The sealed bodies of the batch that begins with entry `first`.
    Bodies { first: u64 },
    /// A checkpoint or bodies file that was being replaced.
    Temporary,
}

/// Where a file is written before it takes the place of another.
pub(crate) const TEMPORARY: &str = "replacing.tmp";
/// File name of [`Name::Lock`].
pub(crate) const LOCK: &str = "lock";
/// File name of [`Name::Checkpoint`].
pub(crate) const CHECKPOINT: &str = "checkpoint";

impl Name {
    /// The file of this path below the log's folder (`/` between its parts); `None` for any other writing.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let name = match path.split_once('/') {
            None if path == CHECKPOINT => Self::Checkpoint,
            None if path == LOCK => Self::Lock,
            None if path == TEMPORARY => Self::Temporary,
            Some(("bodies", rest)) => Self::Bodies { first: parse_number(rest)? },
            Some(("tile", rest)) => match rest.split_once('/')? {
                ("entries", rest) => {
                    let (n, width) = parse_position(rest)?;
                    Self::Entries { n, width }
                }
                (level, rest) => {
                    let (n, width) = parse_position(rest)?;
                    Self::Tile {
                        level: level.parse().ok().filter(|level| *level < TILE_LEVELS_MAX)?,
                        n,
                        width,
                    }
                }
            },
            _ => return None,
        };
        // One file, one name: whatever prints differently is a stranger.
        (name.to_string() == path).then_some(name)
    }

    /// How many entries the log must have for this file to belong to it.
    pub(crate) fn reach(self) -> u64 {
        match self {
            Self::Tile { level, n, width } => {
                let span = 1_u64.checked_shl(u32::from(level) * TILE_HEIGHT as u32).unwrap_or(u64::MAX);
                n.saturating_mul(TILE_WIDTH).saturating_add(u64::from(width)).saturating_mul(span)
            }
            Self::Entries { n, width } => n.saturating_mul(TILE_WIDTH).saturating_add(u64::from(width)),
            Self::Bodies { first } => first.saturating_add(1),
            Self::Checkpoint | Self::Lock | Self::Temporary => 0,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix =
            |width: Width| if u64::from(width) < TILE_WIDTH { format!(".p/{width}") } else { String::new() };
        match *self {
            Self::Checkpoint => f.write_str(CHECKPOINT),
            Self::Lock => f.write_str(LOCK),
            Self::Temporary => f.write_str(TEMPORARY),
            Self::Tile { level, n, width } => write!(f, "tile/{level}/{}{}", number(n), suffix(width)),
            Self::Entries { n, width } => write!(f, "tile/entries/{}{}", number(n), suffix(width)),
            Self::Bodies { first } => write!(f, "bodies/{}", number(first)),
        }
    }
}

/// Groups of three digits, all but the last marked with `x`: 1234067 is `x001/x234/067`.
fn number(n: u64) -> String {
    let (rest, last) = (n / 1000, format!("{:03}", n % 1000));
    if rest == 0 { last } else { format!("{}/{last}", mark(&number(rest))) }
}

/// Marks the last group too.
fn mark(groups: &str) -> String {
    match groups.rsplit_once('/') {
        Some((front, last)) => format!("{front}/x{last}"),
        None => format!("x{groups}"),
    }
}

fn parse_number(text: &str) -> Option<u64> {
    text.split('/').try_fold(0_u64, |n, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        n.checked_mul(1000)?.checked_add(digits.parse().ok()?)
    })
}

fn parse_position(text: &str) -> Option<(u64, Width)> {
    match text.split_once(".p/") {
        Some((n, width)) => {
            let width = width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(&u64::from(*width)))?;
            Some((parse_number(n)?, width))
        }
        None => Some((parse_number(text)?, TILE_WIDTH as Width)),
    }
}

/// The tiles of one level between two counts of its hashes, each as wide as the larger count makes it.
pub(crate) fn grown(old: u64, new: u64) -> impl Iterator<Item = (u64, Width)> {
    let tiles = if old == new { 0..0 } else { old / TILE_WIDTH..new.div_ceil(TILE_WIDTH) };
    tiles.map(move |n| (n, (new - n * TILE_WIDTH).min(TILE_WIDTH) as Width))
}

/// Adds an entry to a bundle: its length as two bytes, big endian, and the entry. `None` beyond 65,535 bytes.
pub(crate) fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Option<()> {
    bundle.extend_from_slice(&u16::try_from(entry.len()).ok()?.to_be_bytes());
    bundle.extend_from_slice(entry);
    Some(())
}

/// The first entry of a bundle and the bytes after it; `None` if it is cut off.
pub(crate) fn split_entry(bundle: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bundle.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_equal_the_specifications_examples() {
        for (name, path) in [
            (Name::Tile { level: 0, n: 1_234_067, width: 256 }, "tile/0/x001/x234/067"),
            (Name::Tile { level: 0, n: 273, width: 112 }, "tile/0/273.p/112"),
            (Name::Tile { level: 1, n: 1, width: 17 }, "tile/1/001.p/17"),
            (Name::Tile { level: 2, n: 0, width: 1 }, "tile/2/000.p/1"),
            (Name::Entries { n: 1000, width: 256 }, "tile/entries/x001/000"),
            (Name::Entries { n: 0, width: 255 }, "tile/entries/000.p/255"),
            (Name::Bodies { first: 1_000_000 }, "bodies/x001/x000/000"),
        ] {
            assert_eq!(name.to_string(), path);
            assert_eq!(Name::parse(path), Some(name));
        }
    }

    #[test]
    fn a_log_of_70_000_has_the_tiles_that_the_specification_counts() {
        let count = |level: u32| 70_000_u64 >> (8 * level);
        let full = |level: u32| grown(0, count(level)).filter(|(_, width)| *width == 256).count();
        let partial = |level: u32| grown(0, count(level)).find(|(_, width)| *width < 256);
        assert_eq!((full(0), partial(0)), (273, Some((273, 112))));
        assert_eq!((full(1), partial(1)), (1, Some((1, 17))));
        assert_eq!((full(2), partial(2)), (0, Some((0, 1))));
        assert_eq!(grown(0, 512).collect::<Vec<_>>(), [(0, 256), (1, 256)], "width 0 is never written");
        assert_eq!(grown(256, 257).collect::<Vec<_>>(), [(1, 1)]);
    }

    #[test]
    fn other_writings_are_strangers() {
        for path in [
            "",
            "checkpoint/",
            "tile/0/1",
            "tile/0/0001",
            "tile/00/001",
            "tile/8/001",
            "tile/0/x000/001",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "tile/0/001.p/01",
            "tile/0/001.p/+1",
            "tile/entries/x1/001",
            "bodies/1",
            "Checkpoint",
            "notes.txt",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(Name::parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn names_round_trip(level in 0_u8..8, n: u64, width in 1_u16..=256) {
            for name in [Name::Tile { level, n, width }, Name::Entries { n, width }, Name::Bodies { first: n }] {
                prop_assert_eq!(Name::parse(&name.to_string()), Some(name));
            }
        }

        #[test]
        fn bundles_round_trip(entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..70), 0..9)) {
            let mut bundle = Vec::new();
            for entry in &entries {
                push_entry(&mut bundle, entry).unwrap();
            }
            let mut rest = bundle.as_slice();
            for entry in &entries {
                let (found, after) = split_entry(rest).unwrap();
                prop_assert_eq!(found, entry.as_slice());
                rest = after;
            }
            prop_assert!(rest.is_empty() && split_entry(rest).is_none());
        }
    }
}
