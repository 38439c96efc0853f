//! Why a packet did not go to a server.

/// Declares [`Reason`] from one table, so that code, action, label and text cannot part.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $action:ident, $label:literal, $text:literal;)*) => {
        /// Why a packet did not go to a server: return value, counter, metric label and text.
        ///
        /// Append only: a number once given keeps its meaning, in pinned counters as well.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason { $($(#[$doc])* $name = $code,)* }

        impl Reason {
            /// Every reason, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What becomes of the packet.
            #[inline(always)]
            #[must_use]
            pub const fn action(self) -> Action {
                match self { $(Self::$name => Action::$action,)* }
            }

            /// The metric label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// A sentence for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

/// What becomes of a packet that does not go to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The director's own network stack gets it.
    Pass,
    /// It ends here.
    Drop,
}

reasons! {
    /// Neither IPv4 nor IPv6, or a kind of either that no service has.
    NotIp = 0, Pass, "not_ip", "not an IP packet that services could match";
    /// A header is cut short, or its fields contradict the packet's length.
    Malformed = 1, Pass, "malformed", "a header is cut short or contradicts the packet's length";
    /// An IP fragment.
    Fragment = 2, Pass, "fragment", "an IP fragment";
    /// A transport protocol that no service can have.
    Protocol = 3, Pass, "protocol", "a transport protocol that services do not balance";
    /// No service has this address, protocol and port.
    /// deviates: so has a flow whose service was deleted; ipvs drops its packets.
    NoService = 4, Pass, "no_service", "no service has this address, protocol and port";
    /// A frame for another host's Ethernet address, seen because the network floods it.
    OtherHost = 5, Pass, "other_host", "the frame is for another host";
    /// A TCP packet that is no SYN and belongs to no known connection.
    NoFlow = 6, Pass, "no_flow", "no connection is known and the packet does not open one";
    /// The source address cannot be a client's.
    Martian = 7, Drop, "martian", "the source address cannot be a client's";
    /// TTL would reach 0.
    /// deviates: no ICMP answer yet. Not passed on either: the virtual address is the director's own, and its
    /// stack would answer for the server with a reset.
    TtlExceeded = 8, Drop, "ttl_exceeded", "the packet's TTL ends here";
    /// The service has no server that may take a new connection.
    /// deviates: ipvs answers port unreachable.
    NoServer = 9, Drop, "no_server", "no server of the service may take a new connection";
    /// The connection's server was removed.
    ServerGone = 10, Drop, "server_gone", "the connection's server was removed";
    /// The server's Ethernet address is not known at present.
    Unresolved = 11, Drop, "unresolved", "the server's Ethernet address is not known";
    /// A map entry that must exist does not: the agent and the program disagree.
    Inconsistent = 12, Drop, "inconsistent", "an entry that must exist is missing";
    /// Not an outcome but an event: the flow table had no room, the packet went by hash.
    Untracked = 13, Pass, "untracked", "the flow table had no room; the packet went by hash";
    /// Not an outcome but an event: a half-open or closing flow made room for a new one.
    Evicted = 14, Pass, "evicted", "a half-open or closing connection made room for a new one";
}

impl Reason {
    /// How many reasons there are.
    pub const COUNT: u32 = Self::ALL.len() as u32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_labels_unique() {
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
        }
        let mut labels: Vec<_> = Reason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Reason::ALL.len());
    }
}
