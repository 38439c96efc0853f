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
    NoService = 4, Pass, "no_service", "no service has this address, protocol and port";
    /// A frame for another host's Ethernet address, seen because the network floods it.
    OtherHost = 5, Pass, "other_host", "the frame is for another host";
    /// A TCP packet that is no SYN and belongs to no known connection.
    NoFlow = 6, Pass, "no_flow", "no connection is known and the packet does not open one";
    /// The source address cannot be a client's.
    Martian = 7, Drop, "martian", "the source address cannot be a client's";
    /// TTL would reach 0. Not passed on: the virtual address is the director's own, and its stack
    /// would answer for the server with a reset.
    TtlExceeded = 8, Drop, "ttl_exceeded", "the packet's TTL ends here";
    /// The service has no server that may take a new connection: port unreachable.
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
    /// The packet is longer than its way allows, whether it may be fragmented or not.
    TooBig = 15, Drop, "too_big", "the packet is longer than the way to its server allows";
    /// A fragment of which the first one was not seen yet.
    EarlyFragment = 16, Drop, "early_fragment", "a fragment came before the first one of its packet";
    /// An ICMP error about no known connection.
    NoQuotedFlow = 17, Pass, "no_quoted_flow", "an ICMP error quotes a packet of no known connection";
    /// The agent has it now, and sends it on.
    Helped = 18, Drop, "helped", "the agent's helper took the packet and sends it on";
    /// The agent should have got it, and has no room.
    HelperBusy = 19, Drop, "helper_busy", "the agent's helper has no room for the packet";
    /// A header cannot be added or taken, for want of room in the buffer.
    NoHeadroom = 20, Drop, "no_headroom", "the driver's buffer has no room for another header";
    /// Not an outcome but an event: an ICMP error or reset went back to the sender.
    Answered = 21, Drop, "answered", "an ICMP error or reset went back to the sender";
    /// Not an outcome but an event: an answer was due, and too many had been given.
    AnswersLimited = 22, Drop, "answers_limited", "an answer was due, and too many had been given";
    /// Not an outcome but an event: the host's stack routes a translated reply.
    RoutedByHost = 23, Pass, "routed_by_host", "the host's stack routes a translated packet";
    /// The service has no server, and answers with a reset.
    NoServerReset = 24, Drop, "no_server_reset", "no server of the service may take a new connection; it resets";
    /// The service has no server, and does not answer.
    NoServerSilent = 25, Drop, "no_server_silent", "no server of the service may take a new connection; it is silent";
    /// A later fragment would overwrite its packet's transport header (RFC 1858).
    Overlap = 26, Drop, "overlap", "a fragment overlaps its packet's transport header";
    /// The flow table has no room for a masqueraded flow, which cannot do without.
    NoRoom = 27, Drop, "no_room", "the flow table has no room for a new connection to a masqueraded server";
}

impl Reason {
    /// The reason with this number; [`Reason::Inconsistent`] for a number that no reason has.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        const TABLE: [Reason; 64] = Reason::table(0);
        TABLE[number as usize & 63]
    }

    /// The reason whose number is one less; [`Reason::Inconsistent`] for a number that no reason
    /// has.
    ///
    /// It has a table of its own: Linux 6.1's verifier, told that a number is not 0, does not know
    /// that one less is not negative.
    #[inline(always)]
    #[must_use]
    pub const fn from_one_more(number: u64) -> Self {
        const TABLE: [Reason; 64] = Reason::table(1);
        TABLE[number as usize & 63]
    }

    /// Every reason, at its number and `shift`. As long as a power of two, so that a mask is all the
    /// check that an index needs.
    const fn table(shift: usize) -> [Self; 64] {
        let mut table = [Self::Inconsistent; 64];
        let mut i = 0;
        while i < Self::ALL.len() {
            table[i + shift] = Self::ALL[i];
            i += 1;
        }
        table
    }

    /// How many reasons there are.
    pub const COUNT: u32 = Self::ALL.len() as u32;

    /// The reasons that senders are told, as bits by number.
    pub const ANSWERED: u64 = 1 << Self::TtlExceeded as u32
        | 1 << Self::NoServer as u32
        | 1 << Self::NoServerReset as u32
        | 1 << Self::TooBig as u32;

    /// What becomes of packets, as a mask of the reasons for which they are dropped, by number.
    pub const DROPPED: u64 = {
        let mut mask = 0;
        let mut i = 0;
        while i < Self::ALL.len() {
            if matches!(Self::ALL[i].action(), Action::Drop) {
                mask |= 1 << i;
            }
            i += 1;
        }
        mask
    };
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
