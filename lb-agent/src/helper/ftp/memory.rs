//! A bounded number of connections.

use super::connection::Connection;
use super::{Counters, Ends, Limits};
use std::collections::HashMap;
use std::time::Instant;

/// The connections that are remembered.
#[derive(Debug)]
pub(super) struct Memory {
    limits: Limits,
    connections: HashMap<Ends, Connection>,
}

impl Memory {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            connections: HashMap::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn get(&mut self, ends: &Ends) -> Option<&mut Connection> {
        self.connections.get_mut(ends)
    }

    pub(super) fn look(&self, ends: &Ends) -> Option<&Connection> {
        self.connections.get(ends)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Ends, &Connection)> {
        self.connections.iter()
    }

    pub(super) fn restore(&mut self, ends: Ends, connection: Connection) {
        self.connections.insert(ends, connection);
    }

    pub(super) fn forget(&mut self, ends: &Ends) {
        self.connections.remove(ends);
    }

    /// Forgets connections whose time is over.
    pub(super) fn sweep(&mut self, now: Instant) {
        let idle = self.limits.idle;
        self.connections
            .retain(|_, connection| !connection.is_expired(now, idle));
    }

    /// Makes sure that a connection is remembered, if there is or can be made room for it.
    pub(super) fn remember(
        &mut self,
        ends: &Ends,
        next: u32,
        now: Instant,
        counters: &mut Counters,
    ) {
        if self.connections.contains_key(ends) {
            return;
        }
        if self.is_full() {
            self.sweep(now);
        }
        if self.is_full() {
            counters.evicted += self.evict() as u64;
        }
        if self.is_full() {
            counters.full += 1;
            return;
        }
        let connection = Connection::new(next, now);
        self.connections.insert(*ends, connection);
    }

    fn is_full(&self) -> bool {
        self.connections.len() >= self.limits.connections
    }

    /// Forgets the half longer unseen of those connections that are not changed: they can be
    /// taken up anew. One walk makes room for many. Gives how many.
    fn evict(&mut self) -> usize {
        let changed = |connection: &Connection| connection.stream.is_changed();
        let seen = self.connections.values();
        let seen = seen.filter(|connection| !changed(connection));
        let mut seen: Vec<_> = seen.map(Connection::seen).collect();
        if seen.is_empty() {
            return 0;
        }
        let middle = (seen.len() - 1) / 2;
        let last = *seen.select_nth_unstable(middle).1;
        let before = self.connections.len();
        self.connections
            .retain(|_, connection| changed(connection) || connection.seen() > last);
        before - self.connections.len()
    }
}
