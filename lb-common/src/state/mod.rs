//! Connection states and their timeouts, as ipvs has them.

pub mod sctp;
pub mod tcp;

/// The timeout of UDP flows in seconds that ipvs starts with (`udp_timeouts`).
pub const UDP_TIMEOUT: u32 = 300;

/// Whose packet moves a connection's state on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The client's, where the server's packets are seen as well: masqueraded.
    Input = 0,
    /// The server's.
    Output = 1,
    /// The client's, where the server's packets go another way.
    InputOnly = 2,
}

/// A protocol's state, numbered over all protocols: what a flow's word and the table of
/// timeouts know a state by.
///
/// TCP states are 0 to 10, with ipvs's own numbers; UDP is 16 and 17; SCTP states are 32 to 45,
/// ipvs's number and 32. Entries that are no connections have 20 to 23.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class(u8);

impl Class {
    /// How many classes a flow's word can tell apart.
    pub const COUNT: u32 = 64;

    /// A UDP flow of which one packet was seen.
    ///
    /// deviates: ipvs does not tell it from [`Class::UDP`]; here
    /// it may make room for another flow when the table is full, so that a flood of single
    /// datagrams cannot fill it.
    pub const UDP_FIRST: Self = Self(16);
    /// A UDP flow.
    pub const UDP: Self = Self(17);
    /// A persistence template of which no connection was established yet.
    pub const TEMPLATE: Self = Self(20);
    /// A persistence template with an established connection (`IP_VS_CTPL_S_ASSURED`).
    pub const ASSURED: Self = Self(21);
    /// An IP packet in fragments.
    pub const FRAGMENT: Self = Self(22);
    /// What a scheduler remembers.
    pub const CACHE: Self = Self(23);
    /// The first SCTP state.
    pub const SCTP: u8 = 32;

    /// The class with the low six bits of `number`.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number & 0x3f)
    }

    /// The class's number, below [`Class::COUNT`].
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether this is a connection's state.
    #[inline(always)]
    #[must_use]
    pub const fn is_connection(self) -> bool {
        self.0 < Self::TEMPLATE.0 || self.0 > Self::CACHE.0
    }

    /// Whether this is a template's state.
    #[inline(always)]
    #[must_use]
    pub const fn is_template(self) -> bool {
        self.0 & !1 == Self::TEMPLATE.0
    }

    const fn mask(states: &[tcp::State]) -> u64 {
        let mut mask = 0;
        let mut i = 0;
        while i < states.len() {
            mask |= 1 << states[i] as u64;
            i += 1;
        }
        mask
    }

    /// Whether flows of this class count as active connections
    /// (net/netfilter/ipvs/ip_vs_proto_tcp.c: `tcp_state_active_table`; UDP never does).
    #[inline(always)]
    #[must_use]
    pub const fn is_active(self) -> bool {
        use tcp::State::{Established, SynRecv, SynSent, Synack};
        const ACTIVE: u64 = Class::mask(&[Established, SynSent, SynRecv, Synack])
            | 1 << (Class::SCTP + sctp::State::Established as u8);
        ACTIVE >> self.0 & 1 != 0
    }

    /// Whether flows of this class are not known to be answered: the first to make room.
    #[inline(always)]
    #[must_use]
    pub const fn is_half_open(self) -> bool {
        use tcp::State::{None, SynRecv, SynSent, Synack};
        const HALF_OPEN: u64 = Class::mask(&[None, SynSent, SynRecv, Synack])
            | 1 << Class::UDP_FIRST.0
            | 1 << Class::FRAGMENT.0
            | sctp::HALF_OPEN << Class::SCTP;
        HALF_OPEN >> self.0 & 1 != 0
    }

    /// Whether flows of this class never make room for others.
    #[inline(always)]
    #[must_use]
    pub const fn is_established(self) -> bool {
        const ESTABLISHED: u64 = Class::mask(&[tcp::State::Established])
            | 1 << Class::UDP.0
            | 1 << Class::ASSURED.0
            | 1 << (Class::SCTP + sctp::State::Established as u8);
        ESTABLISHED >> self.0 & 1 != 0
    }

    /// The state's name in listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UDP | Self::UDP_FIRST => "UDP",
            Self::ASSURED => "ASSURED",
            Self(number) if number >= Self::SCTP => {
                sctp::State::from_number(number - Self::SCTP).map_or("NONE", sctp::State::name)
            }
            Self(number) => tcp::State::from_number(number).map_or("NONE", tcp::State::name),
        }
    }

    /// The timeout in seconds that ipvs starts with; none for a number no state has.
    #[must_use]
    pub const fn default_timeout(self) -> Option<u32> {
        match self {
            Self::UDP | Self::UDP_FIRST => Some(UDP_TIMEOUT),
            // A minute is what ipvs gives templates that are held by connections.
            Self::TEMPLATE | Self::ASSURED => Some(60),
            // As long as the kernel waits for the rest of a packet (IP_FRAG_TIME).
            Self::FRAGMENT => Some(30),
            // sysctl_lblc_expiration: a day.
            Self::CACHE => Some(24 * 60 * 60),
            Self(number) if number >= Self::SCTP => {
                match sctp::State::from_number(number - Self::SCTP) {
                    Some(state) => Some(state.default_timeout()),
                    None => None,
                }
            }
            Self(number) => match tcp::State::from_number(number) {
                Some(state) => Some(state.default_timeout()),
                None => None,
            },
        }
    }
}

impl From<sctp::State> for Class {
    #[inline(always)]
    fn from(state: sctp::State) -> Self {
        Self(Self::SCTP + state as u8)
    }
}

impl From<tcp::State> for Class {
    #[inline(always)]
    fn from(state: tcp::State) -> Self {
        Self(state as u8)
    }
}
