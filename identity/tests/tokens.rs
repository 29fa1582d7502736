//! Tokens from outside: what is accepted, and each way to be refused.
#![expect(clippy::unwrap_used, reason = "test code")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{
    CLOCK_LEEWAY_SECS, Jwks, LOCAL_AUDIENCE, LOCAL_ISSUER, LocalIssuer, Principal, Role, TOKEN_BYTES_MAX,
    TokenRefused, TokenVerifier,
};
use ids::{ManualClock, SystemEntropy, Timestamp};
use proptest::prelude::*;
use ring::hmac;
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};

const NOW: i64 = 1_700_000_000;

fn at(seconds: i64) -> ManualClock {
    ManualClock::at(Timestamp::from_millis(seconds * 1000))
}

fn ada() -> Principal {
    Principal::local("ada@nord".parse().unwrap(), "brand-nord".parse().unwrap(), Role::Analyst)
}

/// An issuer, a verifier that trusts it, and the means to sign what the issuer would not.
struct World {
    issuer: LocalIssuer,
    verifier: TokenVerifier,
}

impl World {
    fn new() -> Self {
        let issuer = LocalIssuer::generate(&SystemEntropy::new()).unwrap();
        let verifier = TokenVerifier::new(LOCAL_ISSUER, LOCAL_AUDIENCE, issuer.jwks());
        Self { issuer, verifier }
    }

    fn kid(&self) -> String {
        self.issuer.jwks().key_ids().next().unwrap().to_owned()
    }

    fn header(&self) -> Value {
        json!({ "typ": "JWT", "alg": "EdDSA", "kid": self.kid() })
    }

    fn claims() -> Value {
        json!({
            "iss": LOCAL_ISSUER, "aud": LOCAL_AUDIENCE, "sub": "ada@nord", "party": "brand-nord", "role": "analyst",
            "exp": NOW + 600, "nbf": NOW,
        })
    }

    /// Any header and payload, properly signed with the issuer's key.
    fn signed(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&self.issuer.to_pkcs8()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())))
    }

    fn with(&self, member: &str, header: Option<Value>, claim: Option<Value>) -> String {
        let (mut headers, mut claims) = (self.header(), Self::claims());
        match (header, claim) {
            (Some(value), _) => drop(headers.as_object_mut().unwrap().insert(member.to_owned(), value)),
            (None, Some(value)) => drop(claims.as_object_mut().unwrap().insert(member.to_owned(), value)),
            (None, None) => drop(claims.as_object_mut().unwrap().remove(member)),
        }
        self.signed(&headers.to_string(), &claims.to_string())
    }

    fn refused(&self, token: &str) -> TokenRefused {
        let refused = self.verifier.verify(token, &at(NOW)).unwrap_err();
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!format!("{refused} {refused:?}").contains(part), "the refusal repeats the token");
        }
        refused
    }
}

#[test]
fn a_good_token_gives_its_principal() {
    let world = World::new();
    let token = world.issuer.issue(&ada(), 600, &at(NOW)).unwrap();
    assert_eq!(world.verifier.verify(&token, &at(NOW)), Ok(ada()));
    // The forge of these tests makes good tokens too, so that what it changes is what is refused.
    let forged = world.signed(&world.header().to_string(), &World::claims().to_string());
    assert_eq!(world.verifier.verify(&forged, &at(NOW)), Ok(ada()));
    for typ in ["jwt", "at+jwt", "AT+JWT"] {
        assert_eq!(
            world.verifier.verify(&world.with("typ", Some(json!(typ)), None), &at(NOW)),
            Ok(ada()),
            "{typ}"
        );
    }
    let several = world.with("aud", None, Some(json!(["other", LOCAL_AUDIENCE])));
    assert_eq!(world.verifier.verify(&several, &at(NOW)), Ok(ada()));
    assert_eq!(world.verifier.verify(&world.with("nbf", None, None), &at(NOW)), Ok(ada()));
}

#[test]
fn tokens_of_another_implementation_are_accepted() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/python.json")).unwrap();
    let keys = Jwks::parse(&vectors["jwks"].to_string()).unwrap();
    let verifier = TokenVerifier::new("https://id.example.com", "cleanroom", keys);
    for name in ["es256", "rs256"] {
        let token = vectors[name].as_str().unwrap();
        assert_eq!(verifier.verify(token, &at(NOW)), Ok(ada()), "{name}");
        let (message, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let changed = format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(verifier.verify(&changed, &at(NOW)), Err(TokenRefused::SignatureInvalid), "{name}");
    }
}

#[test]
fn a_token_lives_from_nbf_to_exp_give_or_take_the_leeway() {
    let world = World::new();
    let token = world.issuer.issue(&ada(), 600, &at(NOW)).unwrap();
    let verify = |seconds| world.verifier.verify(&token, &at(seconds));
    assert_eq!(verify(NOW - CLOCK_LEEWAY_SECS - 1), Err(TokenRefused::NotYetValid));
    assert_eq!(verify(NOW - CLOCK_LEEWAY_SECS), Ok(ada()));
    assert_eq!(verify(NOW + 600 + CLOCK_LEEWAY_SECS - 1), Ok(ada()));
    assert_eq!(verify(NOW + 600 + CLOCK_LEEWAY_SECS), Err(TokenRefused::Expired));
    assert_eq!(world.refused(&world.with("exp", None, Some(json!(i64::MIN)))), TokenRefused::Expired);
    assert_eq!(world.refused(&world.with("nbf", None, Some(json!(i64::MAX)))), TokenRefused::NotYetValid);
}

#[test]
fn weak_and_missing_algorithms_are_refused() {
    let world = World::new();
    let claims = URL_SAFE_NO_PAD.encode(World::claims().to_string());
    // Nobody signs at all.
    for alg in ["none", "None", "NONE", ""] {
        let header = json!({ "typ": "JWT", "alg": alg, "kid": world.kid() }).to_string();
        let token = format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(header));
        assert_eq!(world.refused(&token), TokenRefused::AlgorithmForbidden, "{alg}");
    }
    // The public key, which anybody has, used as a shared secret.
    let set: Value = serde_json::from_str(&world.issuer.jwks().to_json()).unwrap();
    let public = URL_SAFE_NO_PAD.decode(set["keys"][0]["x"].as_str().unwrap()).unwrap();
    let header = json!({ "typ": "JWT", "alg": "HS256", "kid": world.kid() }).to_string();
    let message = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), message.as_bytes());
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
    assert_eq!(world.refused(&token), TokenRefused::AlgorithmForbidden);
    // Allowed in general, but not what the named key is for.
    for alg in ["ES256", "RS256"] {
        assert_eq!(
            world.refused(&world.with("alg", Some(json!(alg)), None)),
            TokenRefused::KeyMismatch,
            "{alg}"
        );
    }
}

#[test]
fn a_key_that_is_not_in_the_set_cannot_speak() {
    let (world, stranger) = (World::new(), World::new());
    let token = stranger.issuer.issue(&ada(), 600, &at(NOW)).unwrap();
    assert_eq!(world.refused(&token), TokenRefused::KeyUnknown);
    // The stranger signs under the name of a trusted key.
    let header = world.header().to_string();
    let swapped = stranger.signed(&header, &World::claims().to_string());
    assert_eq!(world.refused(&swapped), TokenRefused::SignatureInvalid);
    // The stranger brings the key along.
    let set: Value = serde_json::from_str(&stranger.issuer.jwks().to_json()).unwrap();
    let mut header = stranger.header();
    header["jwk"] = set["keys"][0].clone();
    assert_eq!(
        world.refused(&stranger.signed(&header.to_string(), &World::claims().to_string())),
        TokenRefused::KeyUnknown
    );
    // After a rotation both speak.
    let both =
        TokenVerifier::new(LOCAL_ISSUER, LOCAL_AUDIENCE, world.issuer.jwks().with(stranger.issuer.jwks()));
    let old = world.issuer.issue(&ada(), 600, &at(NOW)).unwrap();
    assert_eq!(both.verify(&old, &at(NOW)), Ok(ada()));
    assert_eq!(both.verify(&token, &at(NOW)), Ok(ada()));
}

#[test]
fn what_was_not_signed_is_refused() {
    let world = World::new();
    let token = world.issuer.issue(&ada(), 600, &at(NOW)).unwrap();
    let [header, _, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let mut claims = World::claims();
    claims["role"] = json!("steward");
    let tampered = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    assert_eq!(world.refused(&tampered), TokenRefused::SignatureInvalid);
    assert_eq!(
        world.refused(&format!("{}.", token.rsplit_once('.').unwrap().0)),
        TokenRefused::SignatureInvalid
    );
}

#[test]
fn each_other_fault_has_its_own_refusal() {
    let world = World::new();
    let header = |member: &str, value: Value| world.refused(&world.with(member, Some(value), None));
    let claim = |member: &str, value: Value| world.refused(&world.with(member, None, Some(value)));
    assert_eq!(header("typ", json!("JOSE")), TokenRefused::TypeWrong);
    assert_eq!(header("typ", Value::Null), TokenRefused::TypeWrong);
    assert_eq!(header("crit", json!(["exp"])), TokenRefused::ExtensionUnknown);
    assert_eq!(header("kid", Value::Null), TokenRefused::KeyMissing);
    assert_eq!(header("kid", json!("other")), TokenRefused::KeyUnknown);
    assert_eq!(header("alg", json!(5)), TokenRefused::Malformed);
    assert_eq!(claim("iss", json!("https://elsewhere.example")), TokenRefused::IssuerWrong);
    for aud in [json!("cleanroom2"), json!([]), json!(["a", "b"]), json!("CLEANROOM")] {
        assert_eq!(claim("aud", aud), TokenRefused::AudienceWrong);
    }
    assert_eq!(claim("sub", json!("a b")), TokenRefused::SubjectInvalid);
    assert_eq!(claim("party", json!("Brand Nord")), TokenRefused::PartyUnknown);
    for role in ["admin", "Analyst", ""] {
        assert_eq!(claim("role", json!(role)), TokenRefused::RoleUnknown);
    }
    for (member, value) in
        [("exp", json!("soon")), ("exp", json!(1.5)), ("aud", json!(7)), ("role", json!(["analyst"]))]
    {
        assert_eq!(claim(member, value), TokenRefused::ClaimsMalformed, "{member}");
    }
    for member in ["iss", "aud", "sub", "exp", "party", "role"] {
        assert_eq!(world.refused(&world.with(member, None, None)), TokenRefused::ClaimsMalformed, "{member}");
    }
    // A claim that stands there twice: two readers might see two different ones.
    let twice = World::claims().to_string().replacen('{', r#"{"role":"steward","#, 1);
    assert_eq!(
        world.refused(&world.signed(&world.header().to_string(), &twice)),
        TokenRefused::ClaimsMalformed
    );
    let twice = world.header().to_string().replacen('{', r#"{"alg":"none","#, 1);
    assert_eq!(world.refused(&world.signed(&twice, &World::claims().to_string())), TokenRefused::Malformed);
}

#[test]
fn parties_outside_the_agreement_are_refused_once_they_are_known() {
    let world = World::new();
    let token = world.issuer.issue(&ada(), 600, &at(NOW)).unwrap();
    let only = |party: &str| {
        world.verifier.clone().with_parties(["retailer".parse().unwrap(), party.parse().unwrap()])
    };
    assert_eq!(only("brand-nord").verify(&token, &at(NOW)), Ok(ada()));
    assert_eq!(only("brand-vita").verify(&token, &at(NOW)), Err(TokenRefused::PartyUnknown));
}

#[test]
fn what_is_no_token_is_refused_whatever_its_size() {
    let world = World::new();
    let token = world.issuer.issue(&ada(), 600, &at(NOW)).unwrap();
    for text in [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c",
        "é.é.é",
        &format!("{token}.x"),
        &format!(".{token}"),
        &token.replacen('.', "=.", 1),
    ] {
        assert_eq!(world.refused(text), TokenRefused::Malformed, "{text}");
    }
    let long = world.with("pad", None, Some(json!("x".repeat(TOKEN_BYTES_MAX))));
    assert_eq!(world.refused(&long), TokenRefused::TooLarge);
    assert!(
        world.verifier.verify(&world.with("pad", None, Some(json!("x".repeat(5_000)))), &at(NOW)).is_ok()
    );
}

#[test]
fn codes_are_stable_and_distinct() {
    use TokenRefused::*;
    let codes = [
        (TooLarge, "token_too_large"),
        (Malformed, "token_malformed"),
        (TypeWrong, "token_type_wrong"),
        (AlgorithmForbidden, "token_algorithm_forbidden"),
        (ExtensionUnknown, "token_extension_unknown"),
        (KeyMissing, "token_key_missing"),
        (KeyUnknown, "token_key_unknown"),
        (KeyMismatch, "token_key_mismatch"),
        (SignatureInvalid, "token_signature_invalid"),
        (ClaimsMalformed, "token_claims_malformed"),
        (IssuerWrong, "token_issuer_wrong"),
        (AudienceWrong, "token_audience_wrong"),
        (Expired, "token_expired"),
        (NotYetValid, "token_not_yet_valid"),
        (SubjectInvalid, "token_subject_invalid"),
        (PartyUnknown, "token_party_unknown"),
        (RoleUnknown, "token_role_unknown"),
    ];
    for (refused, code) in codes {
        assert_eq!(refused.code(), code);
        let text = refused.to_string();
        assert!(text.starts_with("the token") && !text.ends_with('.') && !text.contains('\n'), "{text}");
    }
}

proptest! {
    /// Whoever a token is issued for, that is who it verifies as.
    #[test]
    fn verify_undoes_issue(
        subject in "[!-~]{1,96}", party in "[a-z0-9_-]{1,96}", role in 0_usize..6, life in 1_u64..1_000_000, now in 0_i64..4_000_000_000
    ) {
        let world = World::new();
        let role = *Role::ALL.get(role).unwrap();
        let principal = Principal::local(subject.parse().unwrap(), party.parse().unwrap(), role);
        let token = world.issuer.issue(&principal, life, &at(now)).unwrap();
        prop_assert_eq!(world.verifier.verify(&token, &at(now)), Ok(principal));
    }

    /// No text makes the verifier panic, and one changed character is never accepted.
    #[test]
    fn strangers_get_a_refusal(text in "\\PC{0,200}", position in 0_usize..1_000, letter in "[A-Za-z0-9_.=-]") {
        let world = World::new();
        prop_assert!(world.verifier.verify(&text, &at(NOW)).is_err());
        let token = world.issuer.issue(&ada(), 600, &at(NOW)).unwrap();
        let position = position % token.len();
        let mut changed = token.clone();
        changed.replace_range(position..=position, &letter);
        prop_assert!(changed == token || world.verifier.verify(&changed, &at(NOW)).is_err(), "{}", position);
    }
}
