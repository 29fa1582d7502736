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
    fn subproof(
        &self,
        old: u64,
        begin: u64,
        end: u64,
        complete: bool,
        proof: &mut Vec<Digest>,
    ) -> Option<()> {
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
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &Digest,
    new_root: &Digest,
    proof: &[Digest],
) -> bool {
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

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use proptest::prelude::*;

    use super::*;

    /// MTH of RFC 6962 §2.1, word for word.
    fn naive_root(leaves: &[Vec<u8>]) -> Digest {
        match leaves {
            [] => empty_root(),
            [leaf] => leaf_hash(leaf),
            _ => {
                let middle = leaves.len().next_power_of_two() / 2;
                node_hash(&naive_root(&leaves[..middle]), &naive_root(&leaves[middle..]))
            }
        }
    }

    /// PATH of RFC 6962 §2.1.1, word for word.
    fn naive_path(index: usize, leaves: &[Vec<u8>]) -> Vec<Digest> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut path, sibling) = if index < left.len() {
            (naive_path(index, left), naive_root(right))
        } else {
            (naive_path(index - left.len(), right), naive_root(left))
        };
        path.push(sibling);
        path
    }

    /// SUBPROOF of RFC 6962 §2.1.2, word for word.
    fn naive_subproof(old: usize, leaves: &[Vec<u8>], complete: bool) -> Vec<Digest> {
        if old == leaves.len() {
            return if complete { Vec::new() } else { vec![naive_root(leaves)] };
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut proof, sibling) = if old <= left.len() {
            (naive_subproof(old, left, complete), naive_root(right))
        } else {
            (naive_subproof(old - left.len(), right, false), naive_root(left))
        };
        proof.push(sibling);
        proof
    }

    fn leaves(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|number| number.to_string().into_bytes()).collect()
    }

    fn tree(leaves: &[Vec<u8>]) -> Tree {
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.push(leaf_hash(leaf)));
        tree
    }

    #[test]
    fn roots_equal_tesseras() {
        // Roots of the checkpoints in the `testdata/log` that Tessera took over from trillian-examples/serverless.
        let words = "one two three four five six seven";
        let words: Vec<Vec<u8>> = words.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let tree = tree(&words);
        for (size, root) in [
            (1, "0Nc2CrefWKseHj/mStd+LqC8B+NrX0btIiPt2SmN+ek="),
            (2, "T1X2GdkhUjV3iyufF9b0kVsWFxIU0VI4EpNml2Teci4="),
            (3, "Wqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk="),
            (4, "zY1lN35vrXYAPixXSd59LsU29xUJtuW4o2dNNg5Y2Co="),
            (5, "gy5gl3aksFyiCO95a/1vLXz88A3dRq+0l9Sxte8ZqZQ="),
            (6, "a6sWvsc2eEzmj72vah7mZ5dwFltivehh2b11qwlp5Jg="),
            (7, "IrSXADBqJ7EQoUODSDKROySgNveeL6CFhik2w/+fS7U="),
        ] {
            assert_eq!(BASE64.encode(tree.root(size).unwrap().as_bytes()), root, "size {size}");
        }
        assert_eq!(empty_root().to_hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn roots_and_proofs_equal_the_recursion_of_rfc_6962() {
        let leaves = leaves(300);
        let tree = tree(&leaves);
        let mut edge = Edge::default();
        for size in 0..=leaves.len() {
            let root = naive_root(&leaves[..size]);
            assert_eq!((tree.root(size as u64), edge.root()), (Some(root), root), "size {size}");
            if let Some(leaf) = leaves.get(size) {
                edge.push(leaf_hash(leaf));
            }
            // All pairs of small trees, a spread of the larger ones.
            for at in (0..size).step_by(if size < 70 { 1 } else { 7 }) {
                let proof = tree.inclusion(at as u64, size as u64).unwrap();
                assert_eq!(proof, naive_path(at, &leaves[..size]), "{at} of {size}");
                assert!(verify_inclusion(at as u64, size as u64, &leaf_hash(&leaves[at]), &proof, &root));
                let old_root = tree.root(at as u64).unwrap();
                let proof = tree.consistency(at as u64, size as u64).unwrap();
                if at > 0 {
                    assert_eq!(proof, naive_subproof(at, &leaves[..size], true), "{at} to {size}");
                }
                assert!(
                    verify_consistency(at as u64, size as u64, &old_root, &root, &proof),
                    "{at} to {size}"
                );
            }
        }
    }

    #[test]
    fn large_trees_around_full_tiles_hold() {
        let leaves = leaves(65_800);
        let tree = tree(&leaves);
        let mut edge = Edge::default();
        for (count, leaf) in (1_u64..).zip(&leaves) {
            edge.push(leaf_hash(leaf));
            if [255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_800].contains(&count) {
                assert_eq!(tree.root(count), Some(naive_root(&leaves[..count as usize])));
                assert_eq!(tree.root(count), Some(edge.root()));
                let root = edge.root();
                for at in [0, 1, 255, 256, 65_535, 65_536].into_iter().filter(|at| *at < count) {
                    let proof = tree.inclusion(at, count).unwrap();
                    assert!(verify_inclusion(at, count, &leaf_hash(&leaves[at as usize]), &proof, &root));
                    let proof = tree.consistency(at, count).unwrap();
                    assert!(verify_consistency(at, count, &tree.root(at).unwrap(), &root, &proof));
                }
            }
        }
    }

    #[test]
    fn what_is_not_there_has_no_proof() {
        let tree = tree(&leaves(5));
        assert!(
            tree.inclusion(5, 5).is_err() && tree.inclusion(0, 6).is_err() && tree.inclusion(0, 0).is_err()
        );
        assert!(tree.consistency(4, 3).is_err() && tree.consistency(1, 6).is_err());
        assert_eq!(tree.root(6), None);
    }

    /// A changed copy of a proof.
    fn changed(proof: &[Digest], how: usize, bit: usize) -> Vec<Digest> {
        let mut proof = proof.to_vec();
        let at = if proof.is_empty() { 0 } else { bit % proof.len() };
        match how % 4 {
            0 if !proof.is_empty() => {
                let mut bytes = *proof[at].as_bytes();
                bytes[bit % 32] ^= 1 << (bit % 8);
                proof[at] = Digest::from_bytes(bytes);
            }
            1 if !proof.is_empty() => drop(proof.remove(at)),
            2 => proof.insert(at, empty_root()),
            _ => proof.push(empty_root()),
        }
        proof
    }

    proptest! {
        #[test]
        fn a_changed_proof_index_size_or_leaf_is_refused(
            size in 1_u64..600, at: prop::sample::Index, other: prop::sample::Index, how: usize, bit: usize,
        ) {
            let leaves = leaves(size as usize);
            let tree = tree(&leaves);
            let (at, other) = (at.index(size as usize) as u64, other.index(size as usize) as u64);
            let (leaf, root) = (leaf_hash(&leaves[at as usize]), tree.root(size).unwrap());
            let proof = tree.inclusion(at, size).unwrap();
            prop_assert!(verify_inclusion(at, size, &leaf, &proof, &root));
            prop_assert!(!verify_inclusion(at, size, &leaf, &changed(&proof, how, bit), &root));
            prop_assert!(!verify_inclusion(at, size, &empty_root(), &proof, &root));
            prop_assert!(!verify_inclusion(at, size, &leaf, &proof, &empty_root()));
            prop_assert!(other == at || !verify_inclusion(other, size, &leaf, &proof, &root));
            prop_assert!(!verify_inclusion(at + size, size, &leaf, &proof, &root));
        }

        #[test]
        fn a_changed_consistency_proof_is_refused(new in 2_u64..600, old: prop::sample::Index, how: usize, bit: usize) {
            let tree = tree(&leaves(new as usize));
            let old = 1 + old.index(new as usize - 1) as u64;
            let (old_root, new_root) = (tree.root(old).unwrap(), tree.root(new).unwrap());
            let proof = tree.consistency(old, new).unwrap();
            prop_assert!(verify_consistency(old, new, &old_root, &new_root, &proof));
            prop_assert!(!verify_consistency(old, new, &old_root, &new_root, &changed(&proof, how, bit)));
            prop_assert!(!verify_consistency(old, new, &empty_root(), &new_root, &proof));
            prop_assert!(!verify_consistency(old, new, &old_root, &empty_root(), &proof));
            prop_assert!(!verify_consistency(new, old, &new_root, &old_root, &proof));
        }
    }
}
