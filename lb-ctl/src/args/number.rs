//! Numbers as C reads them.

use std::ops::RangeInclusive;

/// A decimal number in `range`: blanks before it and a sign are allowed, nothing after it.
pub(crate) fn decimal(text: &str, range: RangeInclusive<i64>) -> Option<i64> {
    let text = text.trim_start_matches(is_space);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| range.contains(number))
}

/// A decimal number that fits `T` and lies in `range`.
pub(crate) fn fitting<T: TryFrom<i64>>(text: &str, range: RangeInclusive<i64>) -> Option<T> {
    decimal(text, range).and_then(|number| number.try_into().ok())
}

/// The number a text starts with, 0 when it starts with none.
pub(crate) fn leading(text: &str) -> i64 {
    let text = text.trim_start_matches(is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = digits
        .bytes()
        .take_while(u8::is_ascii_digit)
        .fold(0_i64, |number, digit| {
            number
                .saturating_mul(10)
                .saturating_add(i64::from(digit - b'0'))
        });
    if negative { -number } else { number }
}

/// C's `isspace`.
pub(crate) const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_strtol_with_nothing_behind() {
        for (text, number) in [("7", 7), (" 7", 7), ("+7", 7), ("-7", -7), ("010", 10)] {
            assert_eq!(decimal(text, -10..=10), Some(number), "{text:?}");
        }
        for text in [
            "",
            " ",
            "+",
            "7 ",
            "0x7",
            "7s",
            "11",
            "+-7",
            "99999999999999999999",
        ] {
            assert_eq!(decimal(text, -10..=10), None, "{text:?}");
        }
    }

    #[test]
    fn leading_numbers_are_atoi() {
        for (text, number) in [
            ("63x", 63),
            (" 62", 62),
            ("+61", 61),
            ("-1", -1),
            ("abc", 0),
        ] {
            assert_eq!(leading(text), number, "{text:?}");
        }
    }
}
