//! Key sets (RFC 7517), read strictly: a key that is not understood in full is a reason to refuse the file, not to skip
//! the key, because a skipped key shows up only when its tokens fail.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Largest key set file in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Most keys in one set: a rotation needs two or three.
const KEYS_MAX: usize = 32;
/// Longest key id in bytes.
const KID_BYTES_MAX: usize = 128;
/// RSA moduli: below is too weak (NIST SP 800-131A), above is too slow for a key that strangers may choose.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Members beside those that define the key which may stand in a key and are not needed to use it.
const MEMBERS_IGNORED: [&str; 7] = ["key_ops", "x5u", "x5c", "x5t", "x5t#S256", "ext", "iat"];
/// Members that only private or symmetric keys have (RFC 7518, section 6).
const MEMBERS_SECRET: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a key set was refused. Messages name the file, the key and the member, never a key's value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwksRefused {
    /// The file cannot be read.
    #[error("the key set `{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is larger than any key set needs to be.
    #[error("the key set `{}` is larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not the JSON of a key set.
    #[error(
        "the key set is not a JSON object with the one member `keys`, a list of objects (line {line}, column {column})"
    )]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// No key or too many.
    #[error("the key set has {count} keys: expected 1 to {KEYS_MAX}")]
    Count {
        /// How many there are.
        count: usize,
    },
    /// One of the keys.
    #[error("key {position} of the key set, `{kid}`: {reason}")]
    Key {
        /// Position, from 1.
        position: usize,
        /// Its id, or `?`.
        kid: String,
        /// What is wrong, and the way out.
        reason: String,
    },
}

impl JwksRefused {
    /// A stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "jwks_unreadable",
            Self::TooLarge { .. } => "jwks_too_large",
            Self::Malformed { .. } => "jwks_malformed",
            Self::Count { .. } => "jwks_count",
            Self::Key { .. } => "jwks_key",
        }
    }
}

/// The public keys that tokens may be signed with, by key id. Several keys at once are how keys are rotated: publish
/// the new one, sign with it, remove the old one when its last token has expired.
#[derive(Clone)]
pub struct Jwks(BTreeMap<String, TrustedKey>);

/// One key, for exactly one algorithm.
#[derive(Clone)]
pub(crate) struct TrustedKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
    /// The members that define it, for [`Jwks::to_json`].
    members: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySetText {
    keys: Vec<Map<String, Value>>,
}

impl Jwks {
    /// Reads a key set file.
    pub fn load(path: &Path) -> Result<Self, JwksRefused> {
        let unreadable = |source| JwksRefused::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(JwksRefused::TooLarge { path: path.to_owned() });
        }
        Self::parse(&text)
    }

    /// Reads the text of a key set: `{"keys": [..]}`. Each key needs a `kid` of its own and is one of
    /// `OKP`/`Ed25519` (EdDSA), `EC`/`P-256` (ES256), `RSA` of 2048 to 4096 bits (RS256).
    pub fn parse(text: &str) -> Result<Self, JwksRefused> {
        let set: KeySetText = serde_json::from_str(text)
            .map_err(|error| JwksRefused::Malformed { line: error.line(), column: error.column() })?;
        if !(1..=KEYS_MAX).contains(&set.keys.len()) {
            return Err(JwksRefused::Count { count: set.keys.len() });
        }
        let mut keys = BTreeMap::new();
        for (index, members) in set.keys.iter().enumerate() {
            let kid = members.get("kid").and_then(Value::as_str).unwrap_or("?");
            let refused = |reason| JwksRefused::Key {
                position: index + 1,
                kid: kid.chars().take(KID_BYTES_MAX).collect(),
                reason,
            };
            let key = TrustedKey::parse(members).map_err(refused)?;
            if keys.insert(kid.to_owned(), key).is_some() {
                return Err(refused("its `kid` is used twice: give each key its own".to_owned()));
            }
        }
        Ok(Self(keys))
    }

    /// The set of one Ed25519 key, named by its thumbprint.
    pub(crate) fn ed25519(public: &[u8; 32]) -> Self {
        let (kid, x) = (ed25519_thumbprint(public), URL_SAFE_NO_PAD.encode(public));
        let members =
            json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x });
        let key = DecodingKey::from_ed_der(public);
        Self(BTreeMap::from([(kid, TrustedKey { algorithm: Algorithm::EdDSA, key, members })]))
    }

    /// Both sets in one, as during a rotation; of two keys with one id, this set's stays.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        for (kid, key) in other.0 {
            self.0.entry(kid).or_insert(key);
        }
        self
    }

    /// The ids of the keys, in alphabetical order.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The set as JSON, such as [`Jwks::parse`] reads it.
    pub fn to_json(&self) -> String {
        json!({ "keys": self.0.values().map(|key| &key.members).collect::<Vec<_>>() }).to_string()
    }

    pub(crate) fn find(&self, kid: &str) -> Option<&TrustedKey> {
        self.0.get(kid)
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl TrustedKey {
    fn parse(members: &Map<String, Value>) -> Result<Self, String> {
        if let Some(name) = MEMBERS_SECRET.into_iter().find(|name| members.contains_key(*name)) {
            return Err(format!(
                "it has the secret member `{name}`: publish only the public half, and replace this key"
            ));
        }
        let kid = text(members, "kid")?;
        if !(1..=KID_BYTES_MAX).contains(&kid.len()) || !kid.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!(
                "its `kid` is not 1 to {KID_BYTES_MAX} printable ASCII characters without spaces"
            ));
        }
        if members.contains_key("use") && text(members, "use")? != "sig" {
            return Err("its `use` is not `sig`: remove keys that do not sign tokens from the set".to_owned());
        }
        let (algorithm, name, key, own) = match text(members, "kty")? {
            "OKP" => (Algorithm::EdDSA, "EdDSA", ed25519(members)?, &["crv", "x"][..]),
            "EC" => (Algorithm::ES256, "ES256", p256(members)?, &["crv", "x", "y"][..]),
            "RSA" => (Algorithm::RS256, "RS256", rsa(members)?, &["n", "e"][..]),
            other => return Err(format!("its `kty` is `{}`: expected `OKP`, `EC` or `RSA`", short(other))),
        };
        if members.contains_key("alg") && text(members, "alg")? != name {
            return Err(format!("its `alg` does not fit its type: expected `{name}`"));
        }
        let known = |name: &str| {
            ["kid", "kty", "use", "alg"].contains(&name)
                || own.contains(&name)
                || MEMBERS_IGNORED.contains(&name)
        };
        if let Some(name) = members.keys().find(|name| !known(name)) {
            return Err(format!("it has the unknown member `{}`: remove it", short(name)));
        }
        // The crate finds points off the curve and unusable moduli only when it builds a verifier: build one now.
        jsonwebtoken::crypto::verify("", b"", &key, algorithm)
            .map_err(|_| "it is not a valid public key".to_owned())?;
        let mut public: Map<String, Value> =
            own.iter().filter_map(|&name| Some((name.to_owned(), members.get(name)?.clone()))).collect();
        for (member, value) in [("kid", kid), ("kty", text(members, "kty")?), ("use", "sig"), ("alg", name)] {
            public.insert(member.to_owned(), value.into());
        }
        Ok(Self { algorithm, key, members: Value::Object(public) })
    }
}

fn ed25519(members: &Map<String, Value>) -> Result<DecodingKey, String> {
    curve(members, "Ed25519")?;
    Ok(DecodingKey::from_ed_der(&bytes(members, "x", 32)?))
}

fn p256(members: &Map<String, Value>) -> Result<DecodingKey, String> {
    curve(members, "P-256")?;
    // SEC 1, section 2.3.3: the uncompressed point.
    let mut point = vec![4];
    point.extend(bytes(members, "x", 32)?);
    point.extend(bytes(members, "y", 32)?);
    Ok(DecodingKey::from_ec_der(&point))
}

fn rsa(members: &Map<String, Value>) -> Result<DecodingKey, String> {
    let (n, e) = (decoded(members, "n")?, decoded(members, "e")?);
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(format!(
            "its modulus has {bits} bits: expected {} to {}",
            RSA_BITS.start(),
            RSA_BITS.end()
        ));
    }
    if e != [1, 0, 1] {
        return Err("its exponent is not 65537, written `AQAB`".to_owned());
    }
    Ok(DecodingKey::from_rsa_raw_components(&n, &e))
}

fn curve(members: &Map<String, Value>, expected: &str) -> Result<(), String> {
    match text(members, "crv")? {
        crv if crv == expected => Ok(()),
        other => Err(format!("its `crv` is `{}`: expected `{expected}`", short(other))),
    }
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    let value = members.get(name).ok_or_else(|| format!("it lacks the member `{name}`"))?;
    value.as_str().ok_or_else(|| format!("its member `{name}` is not a text"))
}

/// Base64url without padding, as RFC 7515 section 2 wants it.
fn decoded(members: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let encoded = text(members, name)?;
    URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| format!("its member `{name}` is not base64url without padding"))
}

fn bytes(members: &Map<String, Value>, name: &str, length: usize) -> Result<Vec<u8>, String> {
    let bytes = decoded(members, name)?;
    if bytes.len() == length {
        Ok(bytes)
    } else {
        Err(format!("its member `{name}` has {} bytes: expected {length}", bytes.len()))
    }
}

fn short(text: &str) -> String {
    text.chars().take(32).collect()
}

/// The thumbprint of an Ed25519 key (RFC 7638 with the members of RFC 8037, appendix A.3): SHA-256 in base64url.
pub(crate) fn ed25519_thumbprint(public: &[u8; 32]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(ids::Digest::of(canonical.as_bytes()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, appendix A.2.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn key(members: &str) -> String {
        format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k","x":"{X}"{members}}}]}}"#)
    }

    fn refused(text: &str) -> JwksRefused {
        Jwks::parse(text).unwrap_err()
    }

    #[test]
    fn agrees_with_rfc_8037_appendix_a() {
        let set = Jwks::parse(&key("")).unwrap();
        let trusted = set.find("k").unwrap();
        // A.3: the thumbprint.
        let public: [u8; 32] = URL_SAFE_NO_PAD.decode(X).unwrap().try_into().unwrap();
        assert_eq!(ed25519_thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        // A.4 and A.5: the signature.
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature =
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let verify =
            |message| jsonwebtoken::crypto::verify(signature, message, &trusted.key, trusted.algorithm);
        assert_eq!(verify(message), Ok(true));
        assert_eq!(verify(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmd"), Ok(false));
    }

    #[test]
    fn what_it_prints_it_reads() {
        let vectors: Value = serde_json::from_str(include_str!("../tests/vectors/python.json")).unwrap();
        let set = Jwks::parse(&vectors["jwks"].to_string()).unwrap().with(Jwks::parse(&key("")).unwrap());
        assert_eq!(set.key_ids().collect::<Vec<_>>(), ["ec-1", "k", "rsa-1"]);
        let again = Jwks::parse(&set.to_json()).unwrap();
        assert_eq!(again.to_json(), set.to_json());
        assert_eq!(format!("{set:?}"), r#"["ec-1", "k", "rsa-1"]"#);
    }

    #[test]
    fn during_a_rotation_the_key_that_was_there_first_stays() {
        let (one, two) = (Jwks::ed25519(&[1; 32]), Jwks::ed25519(&[2; 32]));
        let both = one.clone().with(two.clone()).with(one.clone());
        assert_eq!(both.key_ids().count(), 2);
        assert!(
            both.find(one.key_ids().next().unwrap()).is_some()
                && both.find(two.key_ids().next().unwrap()).is_some()
        );
    }

    #[test]
    fn every_refusal_says_what_is_wrong() {
        for (text, code) in
            [("", "jwks_malformed"), ("[]", "jwks_malformed"), (r#"{"keys":{}}"#, "jwks_malformed")]
        {
            assert_eq!(refused(text).code(), code, "{text}");
        }
        assert_eq!(refused(r#"{"keys":[],"x":1}"#).code(), "jwks_malformed");
        assert_eq!(refused(r#"{"keys":[]}"#).code(), "jwks_count");
        let point = URL_SAFE_NO_PAD.encode([7; 32]);
        for (text, reason) in [
            (
                key(r#","d":"AAAA""#),
                "it has the secret member `d`: publish only the public half, and replace this key",
            ),
            (
                key(r#","use":"enc""#),
                "its `use` is not `sig`: remove keys that do not sign tokens from the set",
            ),
            (key(r#","alg":"HS256""#), "its `alg` does not fit its type: expected `EdDSA`"),
            (key(r#","note":"x""#), "it has the unknown member `note`: remove it"),
            (key("").replace("Ed25519", "X25519"), "its `crv` is `X25519`: expected `Ed25519`"),
            (key("").replace("OKP", "oct"), "its `kty` is `oct`: expected `OKP`, `EC` or `RSA`"),
            (key("").replace("\"kid\":\"k\",", ""), "it lacks the member `kid`"),
            (
                key("").replace("\"k\"", "\"a b\""),
                "its `kid` is not 1 to 128 printable ASCII characters without spaces",
            ),
            (key("").replace("\"k\"", "5"), "its member `kid` is not a text"),
            (key("").replace("URo", "URo="), "its member `x` is not base64url without padding"),
            (key("").replace(X, "AAAA"), "its member `x` has 3 bytes: expected 32"),
            (
                format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"k","x":"{point}","y":"{point}"}}]}}"#),
                "it is not a valid public key",
            ),
            (
                r#"{"keys":[{"kty":"RSA","kid":"k","n":"wAAA","e":"AQAB"}]}"#.to_owned(),
                "its modulus has 24 bits: expected 2048 to 4096",
            ),
        ] {
            let refused = refused(&text);
            assert_eq!(refused.code(), "jwks_key", "{text}");
            assert!(refused.to_string().ends_with(&format!(": {reason}")), "{refused}");
        }
        let twice = key("").replace(
            "\"keys\":[",
            &format!("\"keys\":[{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k\",\"x\":\"{X}\"}},"),
        );
        assert_eq!(
            refused(&twice).to_string(),
            "key 2 of the key set, `k`: its `kid` is used twice: give each key its own"
        );
        let many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; KEYS_MAX + 1].join(","));
        assert_eq!(refused(&many).to_string(), "the key set has 33 keys: expected 1 to 32");
    }

    #[test]
    fn files_are_read_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        assert_eq!(Jwks::load(&path).unwrap_err().code(), "jwks_unreadable");
        std::fs::write(&path, key("")).unwrap();
        assert_eq!(Jwks::load(&path).unwrap().key_ids().collect::<Vec<_>>(), ["k"]);
        std::fs::write(&path, " ".repeat(FILE_BYTES_MAX as usize + 1)).unwrap();
        assert_eq!(Jwks::load(&path).unwrap_err().code(), "jwks_too_large");
    }
}
