//! Canonical JSON (RFC 8785, JCS), whole numbers only.
//!
//! JCS prints numbers as ECMAScript does, which is exact for whole numbers up to 2⁵³ − 1. Larger ones and fractions
//! are refused instead of printed in a form that another reader could round.

use serde_json::Value;

/// Largest whole number every JSON reader keeps exactly (I-JSON, RFC 7493 §2.2).
pub(crate) const INTEGER_MAX: u64 = (1 << 53) - 1;

/// A number has no exact canonical form: a fraction, or beyond 2⁵³ − 1. It carries the number as it was given.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("the number `{0}` has no exact form in canonical JSON")]
pub struct NumberRefused(pub(crate) String);

/// The canonical text of `value`: what digests and signatures are made over.
///
/// # Errors
/// When it holds a fraction or a whole number beyond 2⁵³ − 1.
pub fn canonical(value: &Value) -> Result<String, NumberRefused> {
    let mut text = String::new();
    write(value, &mut text)?;
    Ok(text)
}

fn write(value: &Value, out: &mut String) -> Result<(), NumberRefused> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out)?,
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            // RFC 8785 §3.2.3 sorts by UTF-16 code units; the map's own order may be another one.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (position, (name, member)) in members.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_string(name, out);
                out.push(':');
                write(member, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn write_number(number: &serde_json::Number, out: &mut String) -> Result<(), NumberRefused> {
    let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    match magnitude {
        Some(magnitude) if magnitude <= INTEGER_MAX => {
            out.push_str(&number.to_string());
            Ok(())
        }
        _ => Err(NumberRefused(number.to_string())),
    }
}

/// RFC 8785 §3.2.2.2: the short escapes, `\u00xx` in lower case for the other controls, everything else as it is.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_are_escaped_as_in_rfc_8785_section_3_2_2() {
        let value: Value =
            serde_json::from_str(r#"{"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/"}"#).unwrap();
        assert_eq!(canonical(&value).unwrap(), r#"{"string":"€$\u000f\nA'B\"\\\\\"/"}"#);
    }

    #[test]
    fn names_are_sorted_by_utf_16_as_in_rfc_8785_section_3_2_3() {
        let value = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh", "1": "One",
            "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control", "\u{f6}": "Latin Small Letter O With Diaeresis"
        });
        let text = canonical(&value).unwrap();
        let order = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"]
            .map(|word| text.find(word).unwrap());
        assert!(order.is_sorted(), "{text}");
    }

    #[test]
    fn only_whole_numbers_that_every_reader_keeps_are_printed() {
        assert_eq!(
            canonical(&json!([0, -1, INTEGER_MAX, null, true, false])).unwrap(),
            "[0,-1,9007199254740991,null,true,false]"
        );
        for refused in [json!(0.5), json!(INTEGER_MAX + 1), json!(u64::MAX), json!(i64::MIN)] {
            assert!(canonical(&refused).is_err(), "{refused}");
        }
    }
}
