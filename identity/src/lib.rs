//! Who asks, and whom the data is about.
//!
//! * [`TokenVerifier`] turns a signed token into a [`Principal`] or into a refusal that never repeats the token;
//!   [`LocalIssuer`] signs tokens for the embedded service, [`Jwks`] is the strictly read set of trusted public keys.
//! * [`PseudonymKey`] turns a shopper's unit key into a [`ShopperPseudonym`] that means nothing without the key.
//! * [`Canonical`] is the one internal form of a phone or an e-mail address, and [`Renderer`] turns it into what a
//!   destination gets: a pseudonym of its own, or, where a platform demands it, that platform's hash.
//! * [`Consents`] says, per purpose, which shoppers agreed; [`registry::Registry`] is where it is written down who said
//!   what and when.
//!
//! It never reads the clock or the system's randomness (both are passed in as [`ids::Clock`] and [`ids::Entropy`]),
//! opens no network connection, and touches two kinds of files: a key set, which it reads, and the registry's database.
//!
//! ```
//! use identity::{Jwks, LocalIssuer, Principal, Role, TokenVerifier, LOCAL_AUDIENCE, LOCAL_ISSUER};
//! use ids::{ManualClock, SystemEntropy, Timestamp};
//!
//! let issuer = LocalIssuer::generate(&SystemEntropy::new())?;
//! let verifier = TokenVerifier::new(LOCAL_ISSUER, LOCAL_AUDIENCE, issuer.jwks());
//! let clock = ManualClock::at(Timestamp::from_millis(1_700_000_000_000));
//!
//! let analyst = Principal::local("ada".parse()?, "brand-nord".parse()?, Role::Analyst);
//! let token = issuer.issue(&analyst, 3600, &clock)?;
//! assert_eq!(verifier.verify(&token, &clock)?, analyst);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod canonical;
mod consents;
mod issuer;
mod jwks;
mod principal;
mod pseudonym;
pub mod registry;
mod rendering;
mod tokens;

pub use canonical::{
    Canonical, IDENTIFIER_BYTES_MAX, IdentifierKind, IdentifierKindUnknown, IdentifierRefused,
    NUMBERING_PLAN_VERSION, Phone, PhoneKind, REGION_DEFAULT,
};
pub use consents::{ConsentEvent, ConsentEventUnknown, Consents, ConsentsBuilder};
pub use issuer::{
    IssueRefused, IssuerRefused, LOCAL_AUDIENCE, LOCAL_ISSUER, LocalIssuer, TOKEN_LIFETIME_SECS_MAX,
};
pub use jwks::{Jwks, JwksRefused};
pub use principal::{Principal, Role, RoleUnknown};
pub use pseudonym::{PseudonymKey, ShopperPseudonym};
pub use rendering::{
    DestinationClass, DestinationClassUnknown, MasterKey, OpenFormat, OpenFormatUnknown, OpenHash,
    PSEUDONYM_EPOCH_DAYS, PseudonymEpoch, RenderRefused, Renderer, ScopedKey, ScopedPseudonym,
    ScopedRenderer, Token,
};
pub use tokens::{CLOCK_LEEWAY_SECS, TOKEN_BYTES_MAX, TokenRefused, TokenVerifier};
