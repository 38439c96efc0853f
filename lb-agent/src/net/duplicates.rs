//! Own IPv6 addresses that another machine on the link has: what duplicate address detection found
//! (RFC 4862, section 5.4). The kernel does not answer for them.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

/// An address that this host was given, and cannot use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Duplicate {
    pub(crate) address: Ipv6Addr,
    /// The length of its network's prefix.
    pub(crate) length: u8,
    pub(crate) interface: String,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) ifindex: u32,
    pub(super) address: Ipv6Addr,
    /// The length of its network's prefix.
    pub(super) length: u8,
}

/// What is known of them; a machine without I/O.
#[derive(Clone, Debug, Default)]
pub(super) struct Duplicates {
    found: BTreeSet<Place>,
    /// What was last told.
    told: BTreeSet<Place>,
}

impl Duplicates {
    /// Notes what an address is like now; one that is gone is no duplicate.
    pub(super) fn note(&mut self, place: Place, is_duplicate: bool) {
        if is_duplicate {
            self.found.insert(place);
        } else {
            self.found.remove(&place);
        }
    }

    /// Takes in what all addresses are like now.
    pub(super) fn replace(&mut self, found: BTreeSet<Place>) {
        self.found = found;
    }

    /// The duplicates, if they are others than at the last call.
    pub(super) fn news(&mut self) -> Option<&BTreeSet<Place>> {
        if self.found == self.told {
            return None;
        }
        self.told.clone_from(&self.found);
        Some(&self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(ifindex: u32, last: u16) -> Place {
        Place {
            ifindex,
            address: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last),
            length: 64,
        }
    }

    #[test]
    fn each_change_is_news_once() {
        let mut duplicates = Duplicates::default();
        assert_eq!(duplicates.news(), None);
        duplicates.note(place(2, 1), false);
        assert_eq!(duplicates.news(), None);
        duplicates.note(place(2, 1), true);
        duplicates.note(place(2, 1), true);
        duplicates.note(place(3, 1), true);
        let both = BTreeSet::from([place(2, 1), place(3, 1)]);
        assert_eq!(duplicates.news(), Some(&both));
        assert_eq!(duplicates.news(), None);
        duplicates.note(place(2, 1), false);
        assert_eq!(duplicates.news(), Some(&BTreeSet::from([place(3, 1)])));
    }

    #[test]
    fn what_all_are_like_counts_more_than_what_was_noted() {
        let mut duplicates = Duplicates::default();
        duplicates.note(place(2, 1), true);
        assert!(duplicates.news().is_some());
        duplicates.replace(BTreeSet::from([place(2, 1)]));
        assert_eq!(duplicates.news(), None);
        duplicates.replace(BTreeSet::new());
        assert_eq!(duplicates.news(), Some(&BTreeSet::new()));
    }

    #[test]
    fn what_comes_and_goes_between_two_looks_is_no_news() {
        let mut duplicates = Duplicates::default();
        duplicates.note(place(2, 1), true);
        duplicates.note(place(2, 1), false);
        assert_eq!(duplicates.news(), None);
    }
}
