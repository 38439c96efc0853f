//! Numbers as keepalived reads them: the digits a word begins with.

/// A number, and whether it is all of its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) value: u32,
    pub(super) whole: bool,
}

/// 31 days, the longest timeout that ipvs takes.
pub(super) const LONGEST_TIMEOUT: u32 = 31 * 24 * 60 * 60;

/// Reads a number that is all of its word.
pub(super) fn read(word: Option<&str>, least: u32, most: u32) -> Result<Number, String> {
    let number = leading(word, least, most)?;
    if number.whole {
        Ok(number)
    } else {
        Err(format!("`{}' is no number", word.unwrap_or_default()))
    }
}

/// Reads a number of which keepalived takes the digits in front (`strtoul`), none being 0.
pub(super) fn leading(word: Option<&str>, least: u32, most: u32) -> Result<Number, String> {
    let Some(word) = word else {
        return Err(format!("it has no value; write one from {least} to {most}"));
    };
    let text = word.trim_start();
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|digit: char| !digit.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, behind) = text.split_at(end);
    let value = match digits {
        "" => Some(0),
        digits => digits.parse().ok(),
    };
    match value {
        Some(value) if (least..=most).contains(&value) && !text.starts_with('-') => Ok(Number {
            value,
            whole: !digits.is_empty() && behind.is_empty(),
        }),
        Some(_) if digits.is_empty() && !text.starts_with('-') => {
            Err(format!("`{word}' is no number"))
        }
        Some(_) | None => Err(format!("`{word}' is not in {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_in_front_count() {
        for (word, value, whole) in [
            ("7", 7, true),
            (" 7", 7, true),
            ("+7", 7, true),
            ("7s", 7, false),
            ("$N", 0, false),
            ("", 0, false),
        ] {
            assert_eq!(
                leading(Some(word), 0, 9),
                Ok(Number { value, whole }),
                "{word:?}"
            );
            assert_eq!(read(Some(word), 0, 9).is_ok(), whole, "{word:?}");
        }
        for word in ["-1", "10", "99999999999999999999"] {
            assert!(leading(Some(word), 0, 9).is_err(), "{word}");
        }
        assert!(leading(Some("0"), 1, 9).is_err());
        assert!(leading(None, 0, 9).is_err());
    }
}
