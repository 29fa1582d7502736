//! The Merkle tree of RFC 6962 §2.1 and its proofs (RFC 9162 §2.1.3 and §2.1.4).

use ids::Digest;
use ring::digest::{Context, SHA256};

/// Hash of a leaf: SHA-256 of 0x00 and its bytes.
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    hash(0x00, &[leaf])
}

/// Hash of an inner node: SHA-256 of 0x01 and its two children.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    hash(0x01, &[left.as_bytes(), right.as_bytes()])
}

/// Root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

fn hash(prefix: u8, parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(&[prefix]);
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Digest::from_bytes(bytes)
}

/// A proof about a tree was asked for that the tree cannot give.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum ProofRefused {
    /// The leaf is not in the tree.
    #[error("entry {index} is not in the tree of {size} entries")]
    OutsideTree {
        /// The leaf asked for.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// The sizes are in the wrong order or beyond what is there.
    #[error("there is no consistency proof from size {old} to size {new} in a log of {size} entries")]
    Sizes {
        /// The smaller tree.
        old: u64,
        /// The larger tree.
        new: u64,
        /// What is there.
        size: u64,
    },
}

/// All complete nodes of a growing tree, 64 bytes per leaf.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// `levels[k][i]` is the root of the leaves from `i·2^k` to `(i+1)·2^k`.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// Adds a leaf by its hash.
    pub(crate) fn push(&mut self, leaf: Digest) {
        let (mut node, mut level) = (leaf, 0);
        loop {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(row) = self.levels.get_mut(level) else { return };
            row.push(node);
            match row.as_slice() {
                [.., left, right] if row.len() % 2 == 0 => node = node_hash(left, right),
                _ => return,
            }
            level += 1;
        }
    }

    /// Number of leaves.
    pub(crate) fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// The complete node over the leaves from `index·2^level` to `(index+1)·2^level`.
    pub(crate) fn node(&self, level: usize, index: u64) -> Option<Digest> {
        self.levels.get(level)?.get(usize::try_from(index).ok()?).copied()
    }

    /// Root of the first `size` leaves; `None` if there are fewer.
    pub(crate) fn root(&self, size: u64) -> Option<Digest> {
        if size == 0 { Some(empty_root()) } else { self.range(0, size) }
    }

    /// Root of the leaves `begin..end`, which is a subtree of RFC 6962: `begin` is a multiple of the next power of two.
    fn range(&self, begin: u64, end: u64) -> Option<Digest> {
        let count = end.checked_sub(begin)?;
        if count.is_power_of_two() {
            return self.node(count.trailing_zeros() as usize, begin / count);
        }
        let middle = begin + split(count)?;
        Some(node_hash(&self.range(begin, middle)?, &self.range(middle, end)?))
    }

    /// The inclusion proof of the leaf `index` in the tree of the first `size` leaves, from sibling to root.
    pub(crate) fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, ProofRefused> {
        let refused = ProofRefused::OutsideTree { index, size: size.min(self.size()) };
        if index >= size {
            return Err(refused);
        }
        let mut proof = Vec::new();
        self.path(index, 0, size, &mut proof).ok_or(refused)?;
        Ok(proof)
    }

    /// PATH(m, D[begin:end]) of RFC 6962 §2.1.1.
    fn path(&self, index: u64, begin: u64, end: u64, proof: &mut Vec<Digest>) -> Option<()> {
        let Some(split) = split(end - begin) else { return Some(()) };
        let middle = begin + split;
        if index < middle {
            self.path(index, begin, middle, proof)?;
            proof.push(self.range(middle, end)?);
        } else {
            self.path(index, middle, end, proof)?;
            proof.push(self.range(begin, middle)?);
        }
        Some(())
    }

    /// The consistency proof between the first `old` and the first `new` leaves.
    pub(crate) fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, ProofRefused> {
        let refused = ProofRefused::Sizes { old, new, size: self.size() };
        if old > new || new > self.size() {
            return Err(refused);
        }
        let mut proof = Vec::new();
        if old > 0 && old < new {
            self.subproof(old, 0, new, true, &mut proof).ok_or(refused)?;
        }
        Ok(proof)
    }

    /// SUBPROOF(m, D[begin:end], complete) of RFC 6962 §2.1.2; `old` counts from 0, not from `begin`.
    fn subproof(&self, old: u64, begin: u64, end: u64, complete: bool, proof: &mut Vec<Digest>) -> Option<()> {
        if old == end {
            if !complete {
                proof.push(self.range(begin, end)?);
            }
            return Some(());
        }
        let middle = begin + split(end - begin)?;
        if old <= middle {
            self.subproof(old, begin, middle, complete, proof)?;
            proof.push(self.range(middle, end)?);
        } else {
            self.subproof(old, middle, end, false, proof)?;
            proof.push(self.range(begin, middle)?);
        }
        Some(())
    }
}

/// The largest power of two below `count`; `None` for fewer than two leaves.
fn split(count: u64) -> Option<u64> {
    (count >= 2).then(|| 1 << (u64::BITS - 1 - (count - 1).leading_zeros()))
}

/// A tree's right edge only: enough for its root, a few hundred bytes for any size.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    /// Complete subtrees from left to right, each with the power of two that it spans.
    subtrees: Vec<(u32, Digest)>,
}

impl Edge {
    /// Adds a leaf by its hash.
    pub(crate) fn push(&mut self, leaf: Digest) {
        let (mut level, mut node) = (0, leaf);
        while let Some((_, left)) = self.subtrees.pop_if(|(other, _)| *other == level) {
            node = node_hash(&left, &node);
            level += 1;
        }
        self.subtrees.push((level, node));
    }

    /// Root of what was added so far.
    pub(crate) fn root(&self) -> Digest {
        let roots = self.subtrees.iter().rev().map(|(_, root)| *root);
        roots.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root)
    }
}

/// Does `proof` show that `leaf` (a [`leaf_hash`]) is entry `index` of the tree with `size` entries and this `root`?
/// RFC 9162 §2.1.3.2.
pub fn verify_inclusion(index: u64, size: u64, leaf: &Digest, proof: &[Digest], root: &Digest) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut derived) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            derived = node_hash(sibling, &derived);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            derived = node_hash(&derived, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && derived == *root
}

/// Does `proof` show that the tree of `new` entries extends the tree of `old` entries? RFC 9162 §2.1.4.2; every tree
/// extends the empty one.
pub fn verify_consistency(old: u64, new: u64, old_root: &Digest, new_root: &Digest, proof: &[Digest]) -> bool {
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root() && (new > 0 || old_root == new_root);
    }
    if old >= new {
        return old == new && proof.is_empty() && old_root == new_root;
    }
    let (first, rest) = match proof.split_first() {
        _ if old.is_power_of_two() => (old_root, proof),
        Some((first, rest)) => (first, rest),
        None => return false,
    };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_derived, mut new_derived) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_derived = node_hash(sibling, &old_derived);
            new_derived = node_hash(sibling, &new_derived);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_derived = node_hash(&new_derived, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_derived == *old_root && new_derived == *new_root
}
