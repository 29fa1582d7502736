//! Receipts: what a caller takes away, and what anybody can check without the log (C2SP `tlog-proof`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ids::Digest;

use crate::note::{Checkpoint, NoteRefused, VerifierKey};
use crate::tree::{leaf_hash, verify_inclusion};

/// First line of a proof file.
const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";
/// No tree of 2⁶⁴ leaves has a longer proof.
const PROOF_HASHES_MAX: usize = 64;

/// An entry is durable and part of the signed tree; this is the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Position of the entry.
    pub index: u64,
    /// Entries of the tree that the checkpoint signs.
    pub tree_size: u64,
    /// Root of that tree.
    pub root: Digest,
    /// The signed note, as `checkpoint` held it.
    pub checkpoint: String,
    /// Hashes from the entry's sibling up to the root.
    pub proof: Vec<Digest>,
}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ReceiptRefused {
    /// The text is not a proof file.
    #[error("it is not a `{PROOF_HEADER}` file: {reason}")]
    Form {
        /// What is wrong.
        reason: &'static str,
    },
    /// The checkpoint is not believed.
    #[error("the checkpoint is refused: {0}")]
    Checkpoint(#[from] NoteRefused),
    /// Size or root are not those of the checkpoint.
    #[error("the receipt's size or root are not those that the checkpoint signs")]
    Head,
    /// The hashes do not lead from the entry to the root.
    #[error(
        "the hashes do not lead from entry {index} to the signed root: it is another entry, another index or a changed proof"
    )]
    Proof {
        /// The claimed position.
        index: u64,
    },
}

impl Receipt {
    /// Checks that `leaf` (canonical bytes of the entry) is entry `index` of the log with this key.
    ///
    /// # Errors
    /// When the signature, the head or the proof does not hold.
    pub fn verify(&self, leaf: &[u8], key: &VerifierKey) -> Result<(), ReceiptRefused> {
        let head = Checkpoint::open(self.checkpoint.as_bytes(), key)?;
        if head.size != self.tree_size || head.root != self.root {
            return Err(ReceiptRefused::Head);
        }
        if verify_inclusion(self.index, self.tree_size, &leaf_hash(leaf), &self.proof, &self.root) {
            Ok(())
        } else {
            Err(ReceiptRefused::Proof { index: self.index })
        }
    }

    /// As a `.tlog-proof` file.
    pub fn to_tlog_proof(&self) -> String {
        let hashes: String = self.proof.iter().map(|hash| BASE64.encode(hash.as_bytes()) + "\n").collect();
        format!("{PROOF_HEADER}\nindex {}\n{hashes}\n{}", self.index, self.checkpoint)
    }

    /// Reads a `.tlog-proof` file whose checkpoint must be signed by `key`. Still to be done: [`Receipt::verify`].
    ///
    /// # Errors
    /// When it is no such file or its checkpoint is refused. Extra lines are refused too: nothing authenticates them.
    pub fn from_tlog_proof(text: &str, key: &VerifierKey) -> Result<Self, ReceiptRefused> {
        let form = |reason| ReceiptRefused::Form { reason };
        let rest = text.strip_prefix(PROOF_HEADER).and_then(|rest| rest.strip_prefix("\nindex "));
        let (index, rest) =
            rest.and_then(|rest| rest.split_once('\n')).ok_or(form("its first lines are others"))?;
        let position: u64 = index.parse().map_err(|_| form("the index is not a number"))?;
        if position.to_string() != index {
            return Err(form("the index is not canonical"));
        }
        // Without hashes (a log of one entry) the blank line follows at once.
        let (hashes, checkpoint) = match rest.strip_prefix('\n') {
            Some(checkpoint) => ("", checkpoint),
            None => rest.split_once("\n\n").ok_or(form("it has no blank line"))?,
        };
        let proof = hashes.split('\n').filter(|_| !hashes.is_empty()).map(|line| {
            let hash = BASE64.decode(line).ok().and_then(|hash| hash.try_into().ok());
            hash.map(Digest::from_bytes).ok_or(form("a line is not a hash"))
        });
        let proof = proof.collect::<Result<Vec<_>, _>>()?;
        if proof.len() > PROOF_HASHES_MAX {
            return Err(form("it has too many hashes"));
        }
        let head = Checkpoint::open(checkpoint.as_bytes(), key)?;
        Ok(Self {
            index: position,
            tree_size: head.size,
            root: head.root,
            checkpoint: checkpoint.to_owned(),
            proof,
        })
    }
}
