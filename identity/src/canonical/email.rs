//! An e-mail address out of whatever was typed.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;

use super::IDENTIFIER_BYTES_MAX;
use super::digits::is_invisible;
use super::refused::IdentifierRefused;

/// Longest address and longest local part in bytes (RFC 5321, section 4.5.3.1, with RFC 3696's erratum 1690).
const ADDRESS_BYTES_MAX: usize = 254;
const LOCAL_BYTES_MAX: usize = 64;

/// The canonical address: NFKC, without white space and invisible characters, lower case, domain as A-labels.
///
/// The domain goes through UTS #46 without transitional mappings, with the STD 3 rules for host names and the checks of
/// hyphens, joiners, direction and DNS lengths: what IDNA 2008 registers, in its one ASCII form. A full stop at its end
/// means the same domain and is dropped. Dots and `+tag` before the `@` are kept: whether `a.b+c@…` is `ab@…` is a rule
/// of a mail provider and not of the address, so it belongs into renderings.
pub(super) fn canonical(text: &str) -> Result<String, IdentifierRefused> {
    if text.len() > IDENTIFIER_BYTES_MAX {
        return Err(IdentifierRefused::TooLarge);
    }
    let folded = folded(text);
    if folded.is_empty() {
        return Err(IdentifierRefused::Empty);
    }
    let (local, domain) = folded.rsplit_once('@').ok_or(IdentifierRefused::EmailWithoutAt)?;
    // Joiners are meaningful in a few scripts' domain names, and there the rules of IDNA decide; in a mailbox's name
    // nobody sees them.
    let joined: String = local.chars().filter(|&c| !is_joiner(c)).collect();
    let local: String = joined.nfkc().collect();
    if !is_local_part(&local) {
        return Err(IdentifierRefused::EmailLocalPart);
    }
    let domain = ascii_domain(domain).ok_or(IdentifierRefused::EmailDomain)?;
    let address = format!("{local}@{domain}");
    if address.len() > ADDRESS_BYTES_MAX { Err(IdentifierRefused::EmailTooLong) } else { Ok(address) }
}

/// Whether this has the outer form of a canonical address; a filter against mixed-up columns, not a second reading.
pub(super) fn is_shaped(text: &str) -> bool {
    let domain = |domain: &str| {
        domain.contains('.')
            && domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
    };
    text.len() <= ADDRESS_BYTES_MAX
        && !text.bytes().any(|b| b.is_ascii_uppercase())
        && text.rsplit_once('@').is_some_and(|(local, rest)| is_local_part(local) && domain(rest))
}

/// NFKC, stripped, in lower case. Composed once more, because lower case may decompose.
fn folded(text: &str) -> String {
    let visible = |c: &char| !c.is_whitespace() && (!is_invisible(*c) || is_joiner(*c));
    let shown: String = text.nfkc().filter(visible).collect();
    shown.to_lowercase().nfkc().collect()
}

const fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Whether a mailbox may be called so. Brackets, commas, colons and quotes come from lists and display names
/// (`Ada <ada@…>, …`), which are not one address; between quotes an `@` is allowed.
fn is_local_part(local: &str) -> bool {
    let inner = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let forbidden = |c: char| matches!(c, '"' | '(' | ')' | ',' | ':' | ';' | '<' | '>' | '[' | ']' | '\\');
    let (name, quoted) = inner.map_or((local, false), |inner| (inner, true));
    !name.is_empty()
        && local.len() <= LOCAL_BYTES_MAX
        && !name.contains(forbidden)
        && (quoted || !name.contains('@'))
}

/// The domain in ASCII; `None` unless it has a full stop, and its last label is no number (an address of a machine is
/// none of a person).
fn ascii_domain(domain: &str) -> Option<String> {
    let domain = domain.strip_suffix(['.', '\u{3002}']).unwrap_or(domain);
    let ascii = Uts46::new()
        .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Verify)
        .ok()?;
    let (_, last) = ascii.rsplit_once('.')?;
    let numeric = last.bytes().all(|b| b.is_ascii_digit());
    (!numeric).then(|| ascii.into_owned())
}
