//! From a typed telephone number to its digits: what is dropped, what is mapped, what is refused.

use super::refused::IdentifierRefused;

/// Most digits that are collected: 15 of E.164, an international prefix of 5, and one to see that it is too many.
const DIGITS_MAX: usize = 21;
/// Most digits of an extension that is dropped; beyond, it is not an extension (as libphonenumber decides).
const EXTENSION_DIGITS_MAX: usize = 9;
/// Fewest digits before an extension: fewer are no number that could have one.
const DIGITS_BEFORE_EXTENSION_MIN: usize = 3;
/// What introduces an extension, in lower case, longest first: RFC 3966, English, Russian.
const EXTENSION_LABELS: [&str; 10] =
    [";ext=", "extension", "extn.", "extn", "ext.", "ext", "доб.", "доб", "x", "#"];
/// The scheme of RFC 3966, in lower case.
const SCHEME: &str = "tel:";

/// The zero of every run of ten decimal digits (general category `Nd`) of Unicode 16 beside ASCII. All other digits
/// follow their zero. Circled, superscript and similar signs are not `Nd`: nobody types a number in them.
const ZEROS: [u32; 75] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
    0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x10d40, 0x11066,
    0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x116d0, 0x116da, 0x11730,
    0x118e0, 0x11950, 0x11bf0, 0x11c50, 0x11d50, 0x11da0, 0x11f50, 0x16130, 0x16a60, 0x16ac0, 0x16b50,
    0x16d70, 0x1ccf0, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e5f1,
    0x1e950, 0x1fbf0,
];

/// The digits of a number as it was dialled or written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dialled {
    /// Whether the digits begin with a country code for certain: after `+` or `00`.
    pub international: bool,
    /// ASCII digits.
    pub digits: String,
}

/// Reads a number: maps digits of all scripts, drops separators, invisible characters and an extension, and takes `00`
/// at the start for `+`. Kazakhstan's and Russia's own prefix is `8~10`, so libphonenumber would read `007 707…` as a
/// number that begins with two zeros; but people write `00` there as anywhere else, and no number begins so.
pub(super) fn read(text: &str) -> Result<Dialled, IdentifierRefused> {
    let mut dialled = Dialled { international: false, digits: String::with_capacity(DIGITS_MAX) };
    let text = without_scheme(text);
    for (at, c) in text.char_indices() {
        if let Some(digit) = decimal(c) {
            if dialled.digits.len() == DIGITS_MAX {
                return Err(IdentifierRefused::PhoneLength);
            }
            dialled.digits.push(digit);
        } else if matches!(c, '+' | '\u{ff0b}') && dialled.digits.is_empty() && !dialled.international {
            dialled.international = true;
        } else if !is_separator(c) {
            let rest = text.get(at..).unwrap_or_default();
            if dialled.digits.len() >= DIGITS_BEFORE_EXTENSION_MIN && is_extension(rest) {
                break;
            }
            return Err(IdentifierRefused::PhoneCharacters);
        }
    }
    if dialled.digits.is_empty() {
        return Err(if dialled.international {
            IdentifierRefused::PhoneLength
        } else {
            IdentifierRefused::Empty
        });
    }
    if !dialled.international && dialled.digits.starts_with("00") {
        dialled.international = true;
        dialled.digits.drain(..2);
    }
    Ok(dialled)
}

/// The text after `tel:`, if it begins so.
fn without_scheme(text: &str) -> &str {
    let text = text.trim_start();
    match text.get(..SCHEME.len()) {
        Some(start) if start.eq_ignore_ascii_case(SCHEME) => text.get(SCHEME.len()..).unwrap_or_default(),
        _ => text,
    }
}

/// Whether this is an extension and nothing else: a label, one run of digits, perhaps a hash sign.
fn is_extension(text: &str) -> bool {
    let text = text.to_lowercase();
    let Some(rest) = EXTENSION_LABELS.iter().find_map(|label| text.strip_prefix(label)) else { return false };
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    let rest = rest.trim_matches(is_separator);
    let rest = rest.strip_suffix('#').unwrap_or(rest);
    let digits = rest.chars().count();
    (1..=EXTENSION_DIGITS_MAX).contains(&digits) && rest.chars().all(|c| decimal(c).is_some())
}

/// The ASCII digit of a decimal digit of any script.
fn decimal(c: char) -> Option<char> {
    if c.is_ascii() {
        return c.is_ascii_digit().then_some(c);
    }
    let code = u32::from(c);
    let run = ZEROS.partition_point(|&zero| zero <= code).checked_sub(1)?;
    let value = code.checked_sub(*ZEROS.get(run)?)?;
    char::from_digit(value, 10)
}

/// What people put between digits, and what they cannot see.
fn is_separator(c: char) -> bool {
    matches!(c, '-' | '.' | '/' | '(' | ')' | '[' | ']' | '~'
        | '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2053}' | '\u{2212}' | '\u{223c}' | '\u{301c}' | '\u{30fc}'
        | '\u{fe58}' | '\u{fe63}' | '\u{ff08}' | '\u{ff09}' | '\u{ff0d}'..='\u{ff0f}' | '\u{ff3b}' | '\u{ff3d}'
        | '\u{ff5e}')
        || c.is_whitespace()
        || is_invisible(c)
}

/// Controls, zero-width characters, direction marks, soft hyphens and tags: nothing that a person typed on purpose.
pub(super) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_in_order_and_their_digits_do_not_overlap() {
        assert!(ZEROS.windows(2).all(|two| two[0] + 10 <= two[1]));
        assert_eq!(
            ZEROS.iter().map(|&zero| decimal(char::from_u32(zero + 9).unwrap())).max(),
            Some(Some('9'))
        );
    }

    #[test]
    fn signs_that_only_look_like_digits_are_none() {
        for c in ['²', '①', '½', '〇', '٪'] {
            assert_eq!(decimal(c), None, "{c}");
        }
    }
}
