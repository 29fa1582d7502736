//! From a signed token (JWS compact form, RFC 7515; claims, RFC 7519) to a principal.
//!
//! The advice of RFC 8725 is followed by construction: the key decides the algorithm, the algorithms are a fixed list of
//! asymmetric ones, `typ`, `iss` and `aud` are compulsory, and nothing in the header can point at a key.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ids::{Clock, PartyId, Timestamp};
use jsonwebtoken::Algorithm;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::jwks::{Jwks, TrustedKey};
use crate::principal::{Principal, Role};

/// Largest token in bytes. Ours have about 400; those of identity providers with long group lists about 4,000.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How far the issuer's clock may be off ours, in seconds.
pub const CLOCK_LEEWAY_SECS: i64 = 30;
/// Values of the header's `typ`, in lower case: plain tokens and access tokens (RFC 9068).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// Why a token was refused. The message never repeats any part of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenRefused {
    /// More than [`TOKEN_BYTES_MAX`] bytes.
    #[error("the token is larger than {TOKEN_BYTES_MAX} bytes")]
    TooLarge,
    /// Not three base64url parts with a JSON object in the first.
    #[error(
        "the token is not a signed token in compact form: expected three base64url parts joined by full stops"
    )]
    Malformed,
    /// Its `typ` is missing or another one.
    #[error("the token is of another type: expected `typ` to be `JWT` or `at+jwt`")]
    TypeWrong,
    /// Its `alg` is not on the list: this is where `none` and shared secrets end.
    #[error("the token's algorithm is not allowed: expected `EdDSA`, `ES256` or `RS256`")]
    AlgorithmForbidden,
    /// It has a `crit` member: it demands an extension, and we know none.
    #[error("the token demands an extension (`crit`) that is not supported")]
    ExtensionUnknown,
    /// It has no `kid`.
    #[error("the token does not name its key: expected a `kid`")]
    KeyMissing,
    /// Its `kid` is not in the key set.
    #[error(
        "the token's key is not in the key set: sign in again, or ask the operator whether keys were exchanged"
    )]
    KeyUnknown,
    /// Its `alg` is not that of the key it names.
    #[error("the token's algorithm is not that of the key it names")]
    KeyMismatch,
    /// The signature is not that of the key it names over these very bytes.
    #[error("the token's signature does not verify")]
    SignatureInvalid,
    /// Properly signed, but a claim is missing, repeated or of the wrong form.
    #[error("the token's claims are incomplete or of the wrong form: expected `iss sub aud exp party role`")]
    ClaimsMalformed,
    /// Its `iss` is another one.
    #[error("the token comes from another issuer")]
    IssuerWrong,
    /// Its `aud` does not name us.
    #[error("the token is meant for another audience")]
    AudienceWrong,
    /// Its `exp` has passed.
    #[error("the token has expired: sign in again")]
    Expired,
    /// Its `nbf` lies ahead.
    #[error("the token is not valid yet: check the clocks")]
    NotYetValid,
    /// Its `sub` is not a subject.
    #[error("the token's subject is not 1 to 96 printable ASCII characters without spaces")]
    SubjectInvalid,
    /// Its `party` is not a party, or not one that takes part.
    #[error("the token's party is not one of this clean room")]
    PartyUnknown,
    /// Its `role` is not a role.
    #[error("the token's role is not one of `analyst legal steward regulator dpo gateway`")]
    RoleUnknown,
}

impl TokenRefused {
    /// A stable name of the reason, for clients, metrics and the log.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "token_too_large",
            Self::Malformed => "token_malformed",
            Self::TypeWrong => "token_type_wrong",
            Self::AlgorithmForbidden => "token_algorithm_forbidden",
            Self::ExtensionUnknown => "token_extension_unknown",
            Self::KeyMissing => "token_key_missing",
            Self::KeyUnknown => "token_key_unknown",
            Self::KeyMismatch => "token_key_mismatch",
            Self::SignatureInvalid => "token_signature_invalid",
            Self::ClaimsMalformed => "token_claims_malformed",
            Self::IssuerWrong => "token_issuer_wrong",
            Self::AudienceWrong => "token_audience_wrong",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::SubjectInvalid => "token_subject_invalid",
            Self::PartyUnknown => "token_party_unknown",
            Self::RoleUnknown => "token_role_unknown",
        }
    }
}

/// Verifies tokens of one issuer for one audience against one key set. Holds no secret.
#[derive(Debug, Clone)]
pub struct TokenVerifier {
    issuer: String,
    audience: String,
    keys: Jwks,
    parties: Option<BTreeSet<PartyId>>,
}

impl TokenVerifier {
    /// `issuer` and `audience` are compared to the token's `iss` and `aud` byte by byte.
    pub fn new(issuer: &str, audience: &str, keys: Jwks) -> Self {
        Self { issuer: issuer.to_owned(), audience: audience.to_owned(), keys, parties: None }
    }

    /// Refuses, from now on, every party that is not among these. Without this call any well-formed party passes here,
    /// and policy, which knows the parties of the agreement, denies the strangers.
    #[must_use]
    pub fn with_parties(mut self, parties: impl IntoIterator<Item = PartyId>) -> Self {
        self.parties = Some(parties.into_iter().collect());
        self
    }

    /// The principal that the token speaks for.
    ///
    /// # Guarantee
    /// If this returns a principal, then a key of the set signed exactly these claims with the one algorithm of that
    /// key, for this audience, and the token's time contains `clock.now()` give or take [`CLOCK_LEEWAY_SECS`]. Claims
    /// are looked at only after the signature has been verified.
    pub fn verify(&self, token: &str, clock: &dyn Clock) -> Result<Principal, TokenRefused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenRefused::TooLarge);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenRefused::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenRefused::Malformed)?;
        if payload.contains('.') {
            return Err(TokenRefused::Malformed);
        }
        let header: Header = decoded(header).ok_or(TokenRefused::Malformed)?;
        let key = self.key_of(&header)?;
        // A signature that is not even base64url is an `Err` there, a wrong one an `Ok(false)`.
        match jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key.key, key.algorithm) {
            Ok(true) => {}
            Ok(false) => return Err(TokenRefused::SignatureInvalid),
            Err(_) => return Err(TokenRefused::Malformed),
        }
        let claims: Claims = decoded(payload).ok_or(TokenRefused::ClaimsMalformed)?;
        self.admit(&claims, clock.now())
    }

    /// The key that the header names, if the header as a whole is acceptable.
    fn key_of(&self, header: &Header) -> Result<&TrustedKey, TokenRefused> {
        let known_type = |typ: &String| TYPES.contains(&typ.to_ascii_lowercase().as_str());
        if !header.typ.as_ref().is_some_and(known_type) {
            return Err(TokenRefused::TypeWrong);
        }
        let algorithm = match header.alg.as_str() {
            "EdDSA" => Algorithm::EdDSA,
            "ES256" => Algorithm::ES256,
            "RS256" => Algorithm::RS256,
            _ => return Err(TokenRefused::AlgorithmForbidden),
        };
        if header.crit.is_some() {
            return Err(TokenRefused::ExtensionUnknown);
        }
        let kid = header.kid.as_deref().ok_or(TokenRefused::KeyMissing)?;
        let key = self.keys.find(kid).ok_or(TokenRefused::KeyUnknown)?;
        if key.algorithm == algorithm { Ok(key) } else { Err(TokenRefused::KeyMismatch) }
    }

    /// Checks the claims of a token whose signature has been verified.
    fn admit(&self, claims: &Claims, now: Timestamp) -> Result<Principal, TokenRefused> {
        if claims.iss != self.issuer {
            return Err(TokenRefused::IssuerWrong);
        }
        if !claims.aud.names(&self.audience) {
            return Err(TokenRefused::AudienceWrong);
        }
        let now = now.as_secs();
        if claims.exp.saturating_add(CLOCK_LEEWAY_SECS) <= now {
            return Err(TokenRefused::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now.saturating_add(CLOCK_LEEWAY_SECS)) {
            return Err(TokenRefused::NotYetValid);
        }
        let subject = claims.sub.parse().map_err(|_| TokenRefused::SubjectInvalid)?;
        let party: PartyId = claims.party.parse().map_err(|_| TokenRefused::PartyUnknown)?;
        if self.parties.as_ref().is_some_and(|parties| !parties.contains(&party)) {
            return Err(TokenRefused::PartyUnknown);
        }
        let role: Role = claims.role.parse().map_err(|_| TokenRefused::RoleUnknown)?;
        Ok(Principal::local(subject, party, role))
    }
}

/// One base64url part with JSON in it.
fn decoded<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// The members of the header that count. Others, such as `jwk` or `jku`, are never looked at, as RFC 7515 allows; a
/// member that appears twice is refused.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

/// The claims that count; others are ignored, as RFC 7519 section 4 wants. Times are whole seconds since 1970.
#[derive(Serialize, Deserialize)]
pub(crate) struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    party: String,
    role: String,
}

/// One audience or several.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn names(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

impl Claims {
    /// The claims of a local token that is valid from `from` until `until`, in seconds since 1970.
    pub(crate) fn of(principal: &Principal, issuer: &str, audience: &str, from: i64, until: i64) -> Self {
        Self {
            iss: issuer.to_owned(),
            sub: principal.subject().to_string(),
            aud: Audience::One(audience.to_owned()),
            exp: until,
            nbf: Some(from),
            iat: Some(from),
            party: principal.party().to_string(),
            role: principal.role().to_string(),
        }
    }
}
