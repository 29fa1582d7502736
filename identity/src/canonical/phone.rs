//! A telephone number out of whatever was typed, by the rules of libphonenumber, with Kazakhstan as the country of
//! numbers that name none.

use super::IDENTIFIER_BYTES_MAX;
use super::digits::{self, Dialled};
use super::plan::{Length, PhoneKind, Plan, Plans};
use super::refused::IdentifierRefused;

/// The country of numbers without country code (ISO 3166).
pub const REGION_DEFAULT: &str = "KZ";
/// Its country code, which it shares with Russia: `+7 3…`, `+7 4…`, `+7 8…` and `+7 9…` are Russian, `+7 7…` is Kazakh.
const CODE_DEFAULT: u16 = 7;
/// Digits of a national number, from the shortest that is looked at to the longest (as libphonenumber).
const NATIONAL_DIGITS: std::ops::RangeInclusive<usize> = 2..=17;

/// A valid number of some country; personal data. Its `Debug` tells kind and region only.
#[derive(Clone, PartialEq, Eq)]
pub struct Phone {
    e164: String,
    region: &'static str,
    kind: PhoneKind,
}

impl Phone {
    /// Reads a number.
    ///
    /// Digits of all scripts, white space, dashes, brackets, slashes and invisible characters between them, `tel:`, `00`
    /// for `+`, `8~10`, the national prefix and an extension at the end (dropped) are understood. Letters are not.
    ///
    /// # Guarantee
    /// Where this gives a number, libphonenumber with the same metadata gives the same number, finds it valid, and of
    /// the same kind; a number that it would reach only by ignoring a `+` (`+8 707…`) is refused here.
    ///
    /// # Errors
    /// See [`IdentifierRefused`]; the error never holds the number.
    pub fn parse(text: &str) -> Result<Self, IdentifierRefused> {
        if text.len() > IDENTIFIER_BYTES_MAX {
            return Err(IdentifierRefused::TooLarge);
        }
        let plans = Plans::get();
        let home = plans.of_region(CODE_DEFAULT, REGION_DEFAULT).ok_or(IdentifierRefused::PhoneCountry)?;
        let (code, national) = split(plans, home, &digits::read(text)?)?;
        if !NATIONAL_DIGITS.contains(&national.len()) {
            return Err(IdentifierRefused::PhoneLength);
        }
        let owner = plans.owner(code, &national);
        match owner.and_then(|plan| plan.kind(&national).map(|kind| (plan, kind))) {
            Some((plan, kind)) => Ok(Self { e164: format!("+{code}{national}"), region: &plan.region, kind }),
            None => Err(why_invalid(plans.sharing(code), &national)),
        }
    }

    /// The number as E.164 writes it: `+`, country code, national number.
    pub fn e164(&self) -> &str {
        &self.e164
    }

    /// What the number is for.
    pub const fn kind(&self) -> PhoneKind {
        self.kind
    }

    /// ISO 3166 code of the country it belongs to, or `001` for a number of no country.
    pub const fn region(&self) -> &'static str {
        self.region
    }

    pub(super) fn into_e164(self) -> String {
        self.e164
    }
}

impl std::fmt::Debug for Phone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Phone({}, {}, redacted)", self.region, self.kind.as_str())
    }
}

/// Country code and national number.
fn split(plans: &Plans, home: &Plan, dialled: &Dialled) -> Result<(u16, String), IdentifierRefused> {
    let digits = dialled.digits.as_str();
    let abroad = if dialled.international { Some(digits) } else { home.without_international_prefix(digits) };
    let (code, national, plan) = match abroad {
        Some(digits) => {
            let (code, national) = plans.split_country(digits).ok_or(IdentifierRefused::PhoneCountry)?;
            (code, national.to_owned(), plans.sharing(code).first())
        }
        None => match with_own_code(home, digits) {
            Some(national) => (CODE_DEFAULT, national, plans.sharing(CODE_DEFAULT).first()),
            None => (CODE_DEFAULT, digits.to_owned(), Some(home)),
        },
    };
    let Some(plan) = plan else { return Err(IdentifierRefused::PhoneCountry) };
    let stripped = plan.without_national_prefix(&national);
    let better = !matches!(plan.length(&stripped), Length::TooShort | Length::LocalOnly | Length::Between);
    Ok((code, if better { stripped } else { national }))
}

/// The national number of digits that begin with the country's own code without a `+`: if they are plausible only
/// without it, or too long with it.
fn with_own_code(home: &Plan, digits: &str) -> Option<String> {
    let rest = digits.strip_prefix('7')?;
    let national = home.without_national_prefix(rest);
    let only_without = !home.is_plausible(digits) && home.is_plausible(&national);
    (only_without || home.length(digits) == Length::TooLong).then_some(national)
}

/// The reason that helps: a wrong number of digits, or a range that is not assigned.
fn why_invalid(sharing: &[Plan], national: &str) -> IdentifierRefused {
    if sharing.iter().any(|plan| plan.length(national) == Length::Possible) {
        IdentifierRefused::PhoneUnassigned
    } else {
        IdentifierRefused::PhoneLength
    }
}
