//! `-b`: scheduler flags by name.

use super::{Refused, check};

/// The names, their bit, and the one scheduler that has them if not all do.
const FLAGS: &[(&str, u8, Option<&str>)] = &[
    ("flag-1", 1, None),
    ("flag-2", 2, None),
    ("flag-3", 4, None),
    ("sh-fallback", 1, Some("sh")),
    ("sh-port", 2, Some("sh")),
    ("mh-fallback", 1, Some("mh")),
    ("mh-port", 2, Some("mh")),
];

/// The names that go with a scheduler; every name if it is not known yet.
pub(crate) fn names(scheduler: &str) -> impl Iterator<Item = &'static str> {
    FLAGS
        .iter()
        .filter(move |(.., only)| scheduler.is_empty() || only.is_none_or(|only| only == scheduler))
        .map(|(name, ..)| *name)
}

/// The bits that a comma-separated list names.
///
/// deviates: a list of nothing but commas names no flag; ipvsadm crashes on it.
pub(super) fn bits(list: &str, scheduler: &str) -> Result<u8, Refused> {
    let mut bits = 0;
    for name in list.split(',').filter(|name| !name.is_empty()) {
        let (_, bit, only) = FLAGS
            .iter()
            .find(|(known, ..)| *known == name)
            .ok_or_else(|| check(format!("invalid scheduler flag `{name}'")))?;
        if only.is_some_and(|only| only != scheduler) {
            return Err(check(format!("incompatible scheduler flag `{name}'")));
        }
        bits |= bit;
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::bits;

    #[test]
    fn lists_are_the_sum_of_their_names() {
        assert_eq!(bits("sh-port,sh-fallback", "sh"), Ok(3));
        assert_eq!(bits("flag-1,,flag-3,", "rr"), Ok(5));
        assert_eq!(bits("", "rr"), Ok(0));
        assert_eq!(bits(",", "rr"), Ok(0));
        assert!(bits("sh-port", "mh").is_err());
        assert!(bits("flag-4", "mh").is_err());
    }
}
