//! The local issuer: signs tokens for the embedded service, where no identity provider is at hand.

use std::fmt;

use ids::{Clock, Entropy, EntropyFailed};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use crate::jwks::Jwks;
use crate::principal::Principal;
use crate::tokens::Claims;

/// `iss` of tokens that the local issuer signs.
pub const LOCAL_ISSUER: &str = "cleanroom-local";
/// `aud` of tokens that the local issuer signs.
pub const LOCAL_AUDIENCE: &str = "cleanroom";
/// Longest life of a local token in seconds: thirty days. Who loses one is locked out by exchanging the key.
pub const TOKEN_LIFETIME_SECS_MAX: u64 = 30 * 24 * 3600;

/// What precedes the 32 secret bytes of an Ed25519 key in PKCS#8, version 1 (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const PKCS8_BYTES: usize = PKCS8_PREFIX.len() + 32;

/// Why a key file is not the local issuer's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IssuerRefused {
    /// Neither the 48 bytes of version 1 nor anything else `ring` takes for an Ed25519 key.
    #[error("the issuer's key is not an unencrypted Ed25519 key in PKCS#8 version 1 (48 bytes of DER)")]
    KeyMalformed,
    /// See [`EntropyFailed`].
    #[error(transparent)]
    Entropy(#[from] EntropyFailed),
}

impl IssuerRefused {
    /// A stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::KeyMalformed => "issuer_key_malformed",
            Self::Entropy(_) => "entropy_failed",
        }
    }
}

/// Why no token was signed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IssueRefused {
    /// A life of zero seconds, or longer than [`TOKEN_LIFETIME_SECS_MAX`].
    #[error("a token cannot live `{asked_secs}` seconds: expected 1 to {TOKEN_LIFETIME_SECS_MAX}")]
    Lifetime {
        /// The life that was asked for.
        asked_secs: u64,
    },
    /// The signature could not be made.
    #[error("the token could not be signed")]
    Signing,
}

impl IssueRefused {
    /// A stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Lifetime { .. } => "token_lifetime",
            Self::Signing => "token_signing",
        }
    }
}

/// An Ed25519 key that signs tokens (EdDSA, RFC 8037). The key is wiped when dropped and never printed.
pub struct LocalIssuer {
    pkcs8: Zeroizing<[u8; PKCS8_BYTES]>,
    signing: EncodingKey,
    public: [u8; 32],
    issuer: String,
    audience: String,
}

impl LocalIssuer {
    /// A new random key, signing as [`LOCAL_ISSUER`] for [`LOCAL_AUDIENCE`].
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, IssuerRefused> {
        let mut pkcs8 = Zeroizing::new([0; PKCS8_BYTES]);
        let (prefix, seed) = pkcs8.split_at_mut(PKCS8_PREFIX.len());
        prefix.copy_from_slice(&PKCS8_PREFIX);
        entropy.fill(seed)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// The key out of what [`LocalIssuer::to_pkcs8`] gave, or `openssl genpkey -algorithm ed25519 -outform DER`.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, IssuerRefused> {
        let pkcs8: [u8; PKCS8_BYTES] = der.try_into().map_err(|_| IssuerRefused::KeyMalformed)?;
        let pkcs8 = Zeroizing::new(pkcs8);
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8.as_ref())
            .map_err(|_| IssuerRefused::KeyMalformed)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| IssuerRefused::KeyMalformed)?;
        Ok(Self {
            signing: EncodingKey::from_ed_der(pkcs8.as_ref()),
            pkcs8,
            public,
            issuer: LOCAL_ISSUER.to_owned(),
            audience: LOCAL_AUDIENCE.to_owned(),
        })
    }

    /// The same key under other names: `iss` and `aud` of the tokens it signs from now on.
    #[must_use]
    pub fn named(mut self, issuer: &str, audience: &str) -> Self {
        self.issuer = issuer.to_owned();
        self.audience = audience.to_owned();
        self
    }

    /// The secret key as PKCS#8 DER, for the key file. Wiped when dropped.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.pkcs8.to_vec())
    }

    /// The public key as a key set of one, to be given to a [`crate::TokenVerifier`] or published.
    pub fn jwks(&self) -> Jwks {
        Jwks::ed25519(&self.public)
    }

    /// Signs a token for `principal`, valid from now for `lifetime_secs`.
    pub fn issue(
        &self,
        principal: &Principal,
        lifetime_secs: u64,
        clock: &dyn Clock,
    ) -> Result<String, IssueRefused> {
        if !(1..=TOKEN_LIFETIME_SECS_MAX).contains(&lifetime_secs) {
            return Err(IssueRefused::Lifetime { asked_secs: lifetime_secs });
        }
        let now = clock.now().as_secs();
        let claims = Claims::of(
            principal,
            &self.issuer,
            &self.audience,
            now,
            now.saturating_add_unsigned(lifetime_secs),
        );
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(crate::jwks::ed25519_thumbprint(&self.public));
        jsonwebtoken::encode(&header, &claims, &self.signing).map_err(|_| IssueRefused::Signing)
    }
}

impl fmt::Debug for LocalIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalIssuer({}, key redacted)", self.issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ids::{ManualClock, SystemEntropy, Timestamp};

    struct NoEntropy;
    impl Entropy for NoEntropy {
        fn fill(&self, _: &mut [u8]) -> Result<(), EntropyFailed> {
            Err(EntropyFailed)
        }
    }

    #[test]
    fn keys_survive_the_key_file_and_differ() {
        let one = LocalIssuer::generate(&SystemEntropy::new()).unwrap();
        let same = LocalIssuer::from_pkcs8(&one.to_pkcs8()).unwrap();
        assert_eq!(one.jwks().to_json(), same.jwks().to_json());
        let other = LocalIssuer::generate(&SystemEntropy::new()).unwrap();
        assert_ne!(one.jwks().to_json(), other.jwks().to_json());
    }

    #[test]
    fn bad_keys_and_missing_entropy_are_refused() {
        let good = LocalIssuer::generate(&SystemEntropy::new()).unwrap().to_pkcs8();
        let mut other_curve = good.to_vec();
        other_curve[11] = 0x71; // 1.3.101.113 is Ed448
        for der in [&[][..], &good[..47], &other_curve] {
            assert_eq!(LocalIssuer::from_pkcs8(der).unwrap_err().code(), "issuer_key_malformed");
        }
        assert_eq!(LocalIssuer::generate(&NoEntropy).unwrap_err().code(), "entropy_failed");
    }

    #[test]
    fn a_life_of_nothing_or_of_ages_is_refused() {
        let issuer = LocalIssuer::generate(&SystemEntropy::new()).unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(0));
        let who = Principal::local("a".parse().unwrap(), "b".parse().unwrap(), crate::Role::Dpo);
        for secs in [0, TOKEN_LIFETIME_SECS_MAX + 1, u64::MAX] {
            assert_eq!(issuer.issue(&who, secs, &clock), Err(IssueRefused::Lifetime { asked_secs: secs }));
        }
        assert!(issuer.issue(&who, TOKEN_LIFETIME_SECS_MAX, &clock).is_ok());
    }

    #[test]
    fn debug_tells_no_key() {
        let issuer = LocalIssuer::generate(&SystemEntropy::new()).unwrap();
        assert_eq!(format!("{issuer:?}"), "LocalIssuer(cleanroom-local, key redacted)");
    }
}
