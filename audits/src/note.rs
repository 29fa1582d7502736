//! Signed notes and checkpoints (C2SP `signed-note` and `tlog-checkpoint`), signed with Ed25519 (RFC 8032).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ids::{Digest, Entropy, EntropyFailed};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

/// The signature type byte of a plain Ed25519 note signature.
const ED25519_NOTE: u8 = 0x01;
/// Longest origin in bytes; the format sets no limit, a file name and a line on a screen do.
const ORIGIN_BYTES_MAX: usize = 255;
/// More signatures than the specification asks a verifier to accept are not read.
const SIGNATURES_MAX: usize = 64;

/// Name of a log: a web address without scheme and final slash, such as `audit.dcr.example.kz/main-2026`. It is also the
/// name of the log's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

/// Why a text is not an origin.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{text}` is not an origin: expected 1 to {ORIGIN_BYTES_MAX} printable characters without spaces and `+`, such as `audit.example.kz/main-2026`"
)]
pub struct OriginRefused {
    text: String,
}

impl Origin {
    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = OriginRefused;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=ORIGIN_BYTES_MAX).contains(&text.len());
        if fits && !text.chars().any(|c| c == '+' || c.is_whitespace() || c.is_control()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(OriginRefused {
                text: text.chars().filter(|c| !c.is_control()).take(ORIGIN_BYTES_MAX).collect(),
            })
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The log's signing key. Whoever has it can sign another history, so it lies away from the log's folder.
pub struct LogKey(Zeroizing<[u8; 32]>);

impl LogKey {
    /// A new key.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyFailed> {
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(seed.as_mut())?;
        Ok(Self(seed))
    }

    /// From the 32-byte Ed25519 seed (RFC 8032 §5.1.5).
    pub fn from_bytes(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// The 32-byte seed, for keeping it in a key file.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.0.clone()
    }

    /// The public half, under the log's name.
    ///
    /// # Errors
    /// Never for a seed of 32 bytes; the signature library's check is passed on instead of ignored.
    pub fn verifier_key(&self, origin: &Origin) -> Result<VerifierKey, NoteRefused> {
        let pair = self.pair()?;
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Ok(VerifierKey { name: origin.clone(), public })
    }

    fn pair(&self) -> Result<Ed25519KeyPair, NoteRefused> {
        Ed25519KeyPair::from_seed_unchecked(self.0.as_ref()).map_err(|_| NoteRefused::Key)
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogKey(…)")
    }
}

/// What a verifier must know beforehand: the log's name and public key. Its text form is the `vkey` of signed notes,
/// `name+key id+base64(type, public key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: Origin,
    public: [u8; 32],
}

/// Why a text is not a verifier key.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum VerifierKeyRefused {
    /// Not three fields.
    #[error("a verifier key has the form `name+8 hex digits+base64`")]
    Form,
    /// The name is no origin.
    #[error(transparent)]
    Name(#[from] OriginRefused),
    /// Another algorithm.
    #[error("the verifier key is not an Ed25519 note key (type 1, 32 bytes)")]
    Type,
    /// The fields do not belong together.
    #[error("the key id does not belong to this name and key: the text was damaged or put together")]
    KeyId,
}

impl VerifierKey {
    /// The log's name.
    pub fn origin(&self) -> &Origin {
        &self.name
    }

    /// The 32 bytes of the Ed25519 public key.
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    /// The first four bytes of SHA-256(name, newline, type, public key).
    pub fn key_id(&self) -> [u8; 4] {
        let digest = Digest::of(&[self.name.as_str().as_bytes(), b"\n", &self.typed()].concat());
        let [a, b, c, d, ..] = *digest.as_bytes();
        [a, b, c, d]
    }

    fn typed(&self) -> Vec<u8> {
        [&[ED25519_NOTE], self.public.as_slice()].concat()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, hex::encode(self.key_id()), BASE64.encode(self.typed()))
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyRefused;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = text.trim_end().splitn(3, '+');
        let (Some(name), Some(id), Some(typed)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(VerifierKeyRefused::Form);
        };
        let typed = BASE64.decode(typed).map_err(|_| VerifierKeyRefused::Form)?;
        let Some((&ED25519_NOTE, public)) = typed.split_first() else { return Err(VerifierKeyRefused::Type) };
        let public = public.try_into().map_err(|_| VerifierKeyRefused::Type)?;
        let key = Self { name: name.parse()?, public };
        if id == hex::encode(key.key_id()) { Ok(key) } else { Err(VerifierKeyRefused::KeyId) }
    }
}

/// Why a note is not believed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum NoteRefused {
    /// Not a signed note.
    #[error("it is not a signed note: {reason}")]
    Form {
        /// What is wrong.
        reason: &'static str,
    },
    /// No signature by the key that is trusted.
    #[error("it is not signed by the key of `{origin}`")]
    Unsigned {
        /// The trusted name.
        origin: String,
    },
    /// A signature that claims to be by the trusted key is not.
    #[error("the signature by `{origin}` is wrong")]
    Signature {
        /// The trusted name.
        origin: String,
    },
    /// The checkpoint of another log.
    #[error("it belongs to the log `{found}`, not to `{expected}`")]
    Origin {
        /// The log that it names.
        found: String,
        /// The log that was asked for.
        expected: String,
    },
    /// The signing key cannot be used.
    #[error("the signing key cannot be used")]
    Key,
}

/// A tree head: three lines that a person can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: Origin,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree of these entries.
    pub root: Digest,
}

impl Checkpoint {
    /// The three lines that are signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.as_bytes()))
    }

    /// The signed note.
    ///
    /// # Errors
    /// Never for a seed of 32 bytes.
    pub fn sign(&self, key: &LogKey) -> Result<String, NoteRefused> {
        sign_note(&self.text(), &self.origin, key)
    }

    /// Reads a note that must be signed by `key`. Signatures by other keys are ignored, as the specification demands.
    ///
    /// # Errors
    /// When it is no note, not signed by `key`, or the checkpoint of another log.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, NoteRefused> {
        let text = open_note(note, key)?;
        let form = |reason| NoteRefused::Form { reason };
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root), Some(""), None) =
            (lines.next(), lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(form("a checkpoint of this log has exactly three lines"));
        };
        if origin != key.name.as_str() {
            return Err(NoteRefused::Origin { found: origin.to_owned(), expected: key.name.to_string() });
        }
        let size: u64 = size.parse().map_err(|_| form("the second line is not a tree size"))?;
        let root = BASE64.decode(root).map_err(|_| form("the third line is not a root hash"))?;
        let root = root.try_into().map_err(|_| form("the third line is not a root hash"))?;
        let checkpoint = Self { origin: key.name.clone(), size, root: Digest::from_bytes(root) };
        // Sizes such as `+7` or `007` parse; only the one canonical writing counts.
        if checkpoint.text() == text { Ok(checkpoint) } else { Err(form("the tree size is not canonical")) }
    }
}

/// A signed note: `text`, which ends with a newline, and one signature by `key` under `name`.
///
/// # Errors
/// When the text does not end with a newline or holds another control character.
pub fn sign_note(text: &str, name: &Origin, key: &LogKey) -> Result<String, NoteRefused> {
    if !text.ends_with('\n') || text.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NoteRefused::Form {
            reason: "a note's text is of whole lines without control characters",
        });
    }
    let id = key.verifier_key(name)?.key_id();
    let signature = key.pair()?.sign(text.as_bytes());
    let signed = BASE64.encode([id.as_slice(), signature.as_ref()].concat());
    Ok(format!("{text}\n— {name} {signed}\n"))
}

/// The text of a note that is signed by `key`. Signatures by other keys are ignored, as the specification demands.
///
/// # Errors
/// When it is no note, or not signed by `key`.
pub fn open_note<'n>(note: &'n [u8], key: &VerifierKey) -> Result<&'n str, NoteRefused> {
    let form = |reason| NoteRefused::Form { reason };
    let note = std::str::from_utf8(note).map_err(|_| form("it is not UTF-8"))?;
    if note.chars().any(|c| c < ' ' && c != '\n') {
        return Err(form("it has a control character"));
    }
    let (body, signatures) = note.rsplit_once("\n\n").ok_or(form("it has no blank line"))?;
    let text = note.get(..body.len() + 1).ok_or(form("it has no text"))?;
    let signatures = signatures.strip_suffix('\n').ok_or(form("its last line does not end"))?;
    let mut trusted = false;
    for (position, line) in signatures.split('\n').enumerate() {
        let line = line.strip_prefix("— ").ok_or(form("a signature line does not begin with a dash"))?;
        let (name, signed) = line.split_once(' ').ok_or(form("a signature line has no signature"))?;
        let signed = BASE64.decode(signed).map_err(|_| form("a signature is not base64"))?;
        let (id, signature) = signed.split_at_checked(4).ok_or(form("a signature is too short"))?;
        if position >= SIGNATURES_MAX {
            return Err(form("it has too many signatures"));
        }
        if name != key.name.as_str() || id != key.key_id() {
            continue;
        }
        UnparsedPublicKey::new(&ED25519, key.public)
            .verify(text.as_bytes(), signature)
            .map_err(|_| NoteRefused::Signature { origin: name.to_owned() })?;
        trusted = true;
    }
    if trusted { Ok(text) } else { Err(NoteRefused::Unsigned { origin: key.name.to_string() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test key of Tessera's `testdata/build_log.sh`: its seed is public.
    const SEED: &str = "7KZj9JkBfSNlwnx6dnkVjUPP7BMwvbJZKQr70NIXd6A=";
    const VKEY: &str = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";
    /// A checkpoint that Tessera signed with it (warpfork/spicytool, `spicy_test.go`).
    const SIGNED: &str = "example.com/log/testdata\n100270\nGRV1O0dCqmjjPvYi7CtOT79zb/fPwLNsMFWsynwU8Ac=\n\n\
        — example.com/log/testdata M9e0lkcvy5bAe7rrC8tCyAP+my+CLzswA91zOpBNWVU7qCojkUOHnfdQzDImoYeYH8G8PJSwOqsx0RkSa261OmKVwwM=\n";

    fn key() -> VerifierKey {
        VKEY.parse().unwrap()
    }

    #[test]
    fn keys_and_signatures_equal_tesseras() {
        let log_key = LogKey::from_bytes(BASE64.decode(SEED).unwrap().try_into().unwrap());
        let origin: Origin = "example.com/log/testdata".parse().unwrap();
        assert_eq!(log_key.verifier_key(&origin).unwrap().to_string(), VKEY);
        let checkpoint = Checkpoint::open(SIGNED.as_bytes(), &key()).unwrap();
        assert_eq!(checkpoint.size, 100_270);
        // Ed25519 is deterministic: signing again gives Tessera's bytes.
        assert_eq!(checkpoint.sign(&log_key).unwrap(), SIGNED);
    }

    #[test]
    fn every_flipped_bit_of_a_checkpoint_is_refused() {
        for position in 0..SIGNED.len() {
            for bit in 0..8 {
                let mut note = SIGNED.as_bytes().to_vec();
                note[position] ^= 1 << bit;
                assert!(Checkpoint::open(&note, &key()).is_err(), "byte {position}, bit {bit}");
            }
        }
        for length in 0..SIGNED.len() {
            assert!(Checkpoint::open(&SIGNED.as_bytes()[..length], &key()).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn signatures_by_strangers_are_ignored_and_forged_ones_are_not() {
        let witness = "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
        assert!(Checkpoint::open(format!("{SIGNED}{witness}").as_bytes(), &key()).is_ok());
        let forged = SIGNED.replace("100270", "100271");
        let refused = Checkpoint::open(forged.as_bytes(), &key()).unwrap_err();
        assert_eq!(refused.to_string(), "the signature by `example.com/log/testdata` is wrong");
        let stranger = SIGNED.replace("— example.com/log/testdata", "— example.com/log/other");
        let refused = Checkpoint::open(stranger.as_bytes(), &key()).unwrap_err();
        assert_eq!(refused.to_string(), "it is not signed by the key of `example.com/log/testdata`");
    }

    #[test]
    fn the_text_of_the_specifications_example_is_found() {
        // C2SP signed-note: the text itself holds an empty line; the last one separates. The key is not known to us.
        let note = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n\
            — quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
        assert!(matches!(open_note(note.as_bytes(), &key()), Err(NoteRefused::Unsigned { .. })));
    }

    #[test]
    fn a_damaged_verifier_key_is_refused() {
        for (from, to) in
            [("33d7b496", "33d7b497"), ("testdata", "testdatb"), ("kSx", "kSw"), ("+33", "-33"), ("+A", "+B")]
        {
            assert!(VKEY.replace(from, to).parse::<VerifierKey>().is_err(), "{from} → {to}");
        }
        for origin in ["", "a b", "a+b", "a\nb"] {
            assert!(origin.parse::<Origin>().is_err(), "{origin:?}");
        }
    }
}
