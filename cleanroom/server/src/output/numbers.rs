//! Numbers as people read them.

/// Digits in groups of three: `-1,234,567`.
pub fn grouped(value: i128) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0 {
        text.push('-');
    }
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with grouped digits and at most `decimals` places; whole numbers show none when `decimals` is 0.
pub fn number(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "—".to_owned();
    }
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let negative = whole.starts_with('-');
    let magnitude = whole.trim_start_matches('-').parse::<i128>().map_or_else(|_| whole.to_owned(), grouped);
    let sign = if negative { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{magnitude}") } else { format!("{sign}{magnitude}.{fraction}") }
}

/// An amount given in minor units, `scale` decimal places: `money(123_456, 2)` is `1,234.56`.
pub fn money(minor: i128, scale: u8) -> String {
    let unit = 10_i128.checked_pow(u32::from(scale)).unwrap_or(1);
    let sign = if minor < 0 { "-" } else { "" };
    let whole = grouped((minor / unit).abs());
    if scale == 0 {
        return format!("{sign}{whole}");
    }
    let fraction = (minor % unit).abs();
    format!("{sign}{whole}.{fraction:0width$}", width = usize::from(scale))
}

/// A share as a percentage with one decimal place.
pub fn share(value: f64) -> String {
    if value.is_finite() { format!("{:.1} %", value * 100.0) } else { "—".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_threes() {
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567")] {
            assert_eq!(grouped(value), text);
        }
    }

    #[test]
    fn fractions_and_signs_survive() {
        assert_eq!(number(-0.5, 2), "-0.50");
        assert_eq!(number(1234.567, 1), "1,234.6");
        assert_eq!(number(f64::NAN, 1), "—");
        assert_eq!(money(-5, 2), "-0.05");
        assert_eq!(money(123_456, 2), "1,234.56");
        assert_eq!(money(7, 0), "7");
        assert_eq!(share(0.0416), "4.2 %");
    }
}
