//! The servers as their entries have them, and what follows from all of them together.

use super::hints::Hints;
use super::maps::Maps;
use lb_common::addr::Addr;
use lb_common::layout::{Hint, features, server_flags};
use lb_common::service::Key;
use std::collections::{BTreeMap, HashMap};

/// What of a server's entry matters beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The service it was added to, live or deleted; none for one that only flows know.
    pub(crate) key: Option<Key>,
    /// Its address.
    pub(crate) address: Addr,
    /// How packets are to reach it, as [`Servers::METHOD`] of its flags.
    pub(crate) method: u32,
    /// Its address is the director's own.
    pub(crate) here: bool,
}

impl Entry {
    /// How packets reach it: a server on the director gets them through the stack, whatever the
    /// method, but for one that would have to translate them.
    fn effective(&self) -> u32 {
        if self.here && self.method & server_flags::METHOD != server_flags::MASQUERADE {
            server_flags::LOCAL
        } else {
            self.method
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self.effective() & server_flags::METHOD {
            server_flags::MASQUERADE => Some(Hint::Masqueraded),
            server_flags::IPIP | server_flags::GRE | server_flags::GUE => Some(Hint::Tunnelled),
            _ => None,
        }
    }
}

/// Every server with an entry, live or retired.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    entries: BTreeMap<u32, Entry>,
    /// How many servers each service has, those included that were removed and have flows.
    of: HashMap<Key, u32>,
    masqueraded: u32,
    tunnelled: u32,
    /// What entries asked for until they changed, by server: it stays until they are written.
    left: Vec<(u32, Entry)>,
    pub(crate) hints: Hints,
}

impl Servers {
    /// The part of a server's flags that this is about.
    pub(crate) const METHOD: u32 = server_flags::METHOD | server_flags::CHECKSUM;

    /// What is known of a server.
    pub(crate) fn get(&self, id: u32) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Notes what a server's entry is going to be.
    pub(crate) fn put(&mut self, maps: &Maps, id: u32, entry: Entry) {
        self.add(maps, &entry);
        if let Some(before) = self.entries.insert(id, entry) {
            self.left.push((id, before));
        }
    }

    /// Lets go of what a server's entry was, once it is written.
    pub(crate) fn settle(&mut self, maps: &Maps, id: u32) {
        let (done, left) = std::mem::take(&mut self.left)
            .into_iter()
            .partition(|(other, _)| *other == id);
        self.left = left;
        let done: Vec<(u32, Entry)> = done;
        for (_, entry) in done {
            self.subtract(maps, &entry);
        }
    }

    /// Forgets a server whose entry is free; gives its service if that was its last.
    pub(crate) fn forget(&mut self, maps: &Maps, id: u32) -> Option<Key> {
        self.settle(maps, id);
        let entry = self.entries.remove(&id)?;
        self.subtract(maps, &entry);
        entry.key.filter(|key| !self.has_of(key))
    }

    /// Whether a service has servers, those included that were removed and have flows.
    pub(crate) fn has_of(&self, key: &Key) -> bool {
        self.of.contains_key(key)
    }

    /// [`Self::METHOD`] of a server's flags.
    pub(crate) fn method(&self, id: u32) -> u32 {
        self.entries.get(&id).map_or(0, Entry::effective)
    }

    /// The features that servers ask for.
    pub(crate) fn features(&self) -> u32 {
        let feature = |count, feature| if count == 0 { 0 } else { feature };
        feature(self.masqueraded, features::MASQUERADE) | feature(self.tunnelled, features::TUNNEL)
    }

    fn add(&mut self, maps: &Maps, entry: &Entry) {
        if let Some(key) = entry.key {
            *self.of.entry(key).or_default() += 1;
        }
        if let Some(hint) = entry.hint() {
            *self.count(hint) += 1;
            self.hints.add(maps, hint, entry.address);
        }
    }

    fn subtract(&mut self, maps: &Maps, entry: &Entry) {
        if let Some(key) = entry.key
            && let Some(count) = self.of.get_mut(&key)
        {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&key);
            }
        }
        if let Some(hint) = entry.hint() {
            *self.count(hint) -= 1;
            self.hints.remove(maps, hint, entry.address);
        }
    }

    fn count(&mut self, hint: Hint) -> &mut u32 {
        match hint {
            Hint::Masqueraded => &mut self.masqueraded,
            Hint::Tunnelled | Hint::Virtual => &mut self.tunnelled,
        }
    }
}
