//! Connection states and their timeouts, as ipvs has them.

pub mod tcp;

/// The timeout of UDP flows in seconds that ipvs starts with (`udp_timeouts`).
pub const UDP_TIMEOUT: u32 = 300;

/// A protocol's state, numbered over all protocols: what a flow's word and the table of
/// timeouts know a state by.
///
/// TCP states are 0 to 10, with ipvs's own numbers; UDP is 16 and 17.
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
        const ACTIVE: u64 = Class::mask(&[Established, SynSent, SynRecv, Synack]);
        ACTIVE >> self.0 & 1 != 0
    }

    /// Whether flows of this class are not known to be answered: the first to make room.
    #[inline(always)]
    #[must_use]
    pub const fn is_half_open(self) -> bool {
        use tcp::State::{None, SynRecv, SynSent, Synack};
        const HALF_OPEN: u64 =
            Class::mask(&[None, SynSent, SynRecv, Synack]) | 1 << Class::UDP_FIRST.0;
        HALF_OPEN >> self.0 & 1 != 0
    }

    /// Whether flows of this class never make room for others.
    #[inline(always)]
    #[must_use]
    pub const fn is_established(self) -> bool {
        const ESTABLISHED: u64 = Class::mask(&[tcp::State::Established]) | 1 << Class::UDP.0;
        ESTABLISHED >> self.0 & 1 != 0
    }

    /// The state's name in listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UDP | Self::UDP_FIRST => "UDP",
            Self(number) => tcp::State::from_number(number).map_or("NONE", tcp::State::name),
        }
    }

    /// The timeout in seconds that ipvs starts with; none for a number no state has.
    #[must_use]
    pub const fn default_timeout(self) -> Option<u32> {
        match self {
            Self::UDP | Self::UDP_FIRST => Some(UDP_TIMEOUT),
            Self(number) => match tcp::State::from_number(number) {
                Some(state) => Some(state.default_timeout()),
                None => None,
            },
        }
    }
}

impl From<tcp::State> for Class {
    #[inline(always)]
    fn from(state: tcp::State) -> Self {
        Self(state as u8)
    }
}
