//! The pieces of a line of keepalived.conf(5).

/// A line without its comment and the blanks around it; none if a quote stays open. A backslash
/// takes its meaning from `#`, `!` and quotes, and stays at the end of a line.
pub(super) fn decomment(line: &str) -> Option<String> {
    let mut text = String::with_capacity(line.len());
    let mut quoted = false;
    let mut characters = line.trim_matches([' ', '\t']).chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => quoted = !quoted,
            '!' | '#' if !quoted => break,
            '\\' => match characters.next() {
                Some(mark @ ('!' | '#')) if !quoted => {
                    text.push(mark);
                    continue;
                }
                Some(next) => {
                    text.push('\\');
                    text.push(next);
                    continue;
                }
                None => {
                    text.truncate(text.trim_end_matches([' ', '\t']).len());
                }
            },
            _ => {}
        }
        text.push(character);
    }
    text.truncate(text.trim_end_matches([' ', '\t']).len());
    (!quoted).then_some(text)
}

/// The pattern behind `include` and its kin.
pub(super) fn include(text: &str) -> Option<&str> {
    let (word, pattern) = text.split_once([' ', '\t'])?;
    let kind = word.strip_prefix("include")?;
    ["", "r", "m", "w", "b", "a"]
        .contains(&kind)
        .then(|| pattern.trim_start_matches([' ', '\t']))
}

/// Name and value of `$NAME=value`.
pub(super) fn definition(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.strip_prefix('$')?.split_once('=')?;
    is_name(name).then(|| (name, value.trim_start_matches([' ', '\t'])))
}

pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(is_name_character)
}

const fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// The name of `NAME` or `{NAME}`, and what is behind it.
pub(super) fn reference(text: &str) -> Option<(&str, &str)> {
    if let Some(inside) = text.strip_prefix('{') {
        let (name, behind) = inside.split_once('}')?;
        let plain = |text: char| is_name_character(text) || text == ' ' || text == '\t';
        return (name.starts_with(is_name_character) && name.chars().all(plain))
            .then_some((name, behind));
    }
    let end = text.find(|character| !is_name_character(character));
    let (name, behind) = text.split_at(end.unwrap_or(text.len()));
    let ends = behind.is_empty() || behind.starts_with([' ', '\t', ',', ')']);
    (is_name(name) && ends).then_some((name, behind))
}

/// What is inside `(...)`, and the line behind it.
pub(super) fn parentheses(text: &str) -> Option<(&str, &str)> {
    let inside = text.trim_start_matches([' ', '\t']).strip_prefix('(')?;
    let (words, line) = inside.split_once(')')?;
    Some((words, line.trim_start_matches([' ', '\t'])))
}

/// A number as strtol reads it with base 0; 0 if there is none.
pub(super) fn number(text: &str) -> Option<i64> {
    let text = text.trim_matches([' ', '\t']);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = if digits.is_empty() {
        0
    } else if let Some(digits) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        i64::from_str_radix(digits, 16).ok()?
    } else if digits.starts_with('0') {
        i64::from_str_radix(digits, 8).ok()?
    } else {
        digits.parse().ok()?
    };
    Some(if negative { -number } else { number })
}

/// The words of `a, b` as `[[a], [b]]`, and of `{a, b}, {c}` as `[[a, b], [c]]`.
pub(super) fn groups(text: &str) -> Option<Vec<Vec<&str>>> {
    let mut groups = Vec::new();
    let mut rest = text.trim_matches([' ', '\t']);
    loop {
        let (group, behind) = match rest.strip_prefix('{') {
            Some(inside) => {
                let (group, behind) = inside.split_once('}')?;
                let behind = behind.trim_start_matches([' ', '\t']);
                (group.split(',').map(str::trim).collect(), behind)
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (vec![rest[..end].trim()], &rest[end..])
            }
        };
        groups.push(group);
        if behind.is_empty() {
            return Some(groups);
        }
        rest = behind.strip_prefix(',')?.trim_start_matches([' ', '\t']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_end_where_no_quote_or_backslash_keeps_them() {
        for (line, text) in [
            ("  a b\t# c", "a b"),
            ("a ! b", "a"),
            ("a \"# b\" c # d", "a \"# b\" c"),
            ("a \\# b", "a # b"),
            ("a \"\\# b\"", "a \"\\# b\""),
            ("a \\\" # b", "a \\\""),
            ("a  \\  ", "a\\"),
            ("\\", "\\"),
            ("#", ""),
        ] {
            assert_eq!(decomment(line).as_deref(), Some(text), "{line}");
        }
        assert_eq!(decomment("a \"b # c"), None);
    }

    #[test]
    fn parameters_have_two_forms() {
        for (text, expected) in [
            ("A", Some(("A", ""))),
            ("A b", Some(("A", " b"))),
            ("A,b", Some(("A", ",b"))),
            ("{A}b", Some(("A", "b"))),
            ("{_ENV HOME}", Some(("_ENV HOME", ""))),
            ("A.b", None),
            ("1", None),
            ("{", None),
            ("{A-}", None),
            ("", None),
        ] {
            assert_eq!(reference(text), expected, "{text}");
        }
        assert_eq!(definition("$A= b"), Some(("A", "b")));
        assert_eq!(definition("$A ="), None);
        assert_eq!(definition("$1=x"), None);
    }

    #[test]
    fn numbers_are_strtol_with_base_0() {
        for (text, expected) in [
            ("7", Some(7)),
            (" -7 ", Some(-7)),
            ("0x1F", Some(31)),
            ("010", Some(8)),
            ("0", Some(0)),
            ("", Some(0)),
            ("08", None),
            ("x", None),
            ("+-1", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn lists_have_one_level_of_braces() {
        let expected: &[&[&str]] = &[&["a", "b"], &["1", ""], &["2"]];
        assert_eq!(groups("{a, b}, {1,}, 2").unwrap(), expected);
        assert_eq!(groups("{a"), None);
        assert_eq!(groups("{a} b"), None);
    }

    #[test]
    fn includes_have_six_names() {
        for word in [
            "include", "includer", "includem", "includew", "includeb", "includea",
        ] {
            assert_eq!(include(&format!("{word}  x y")), Some("x y"));
        }
        assert_eq!(include("includes x"), None);
        assert_eq!(include("include"), None);
    }
}
