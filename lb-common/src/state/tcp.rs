//! TCP as a director sees it (net/netfilter/ipvs/ip_vs_proto_tcp.c).

use super::Class;
use crate::wire::tcp_flags::{ACK, FIN, RST, SYN};

/// A connection's state, with ipvs's number.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing seen.
    None = 0,
    /// Both sides agreed.
    Established = 1,
    /// The server opened.
    SynSent = 2,
    /// The client opened.
    SynRecv = 3,
    /// One side is done.
    FinWait = 4,
    /// Both sides are done.
    TimeWait = 5,
    /// Reset, or over.
    Close = 6,
    /// The client is done, the server is not.
    CloseWait = 7,
    /// The last acknowledgement is due.
    LastAck = 8,
    /// Expected, by a helper.
    Listen = 9,
    /// Opened under defence.
    Synack = 10,
}

impl State {
    /// Every state, by number.
    pub const ALL: [Self; 11] = [
        Self::None,
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Synack,
    ];

    /// The state with a number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        if (number as usize) < Self::ALL.len() {
            Some(Self::ALL[number as usize])
        } else {
            None
        }
    }

    /// The state's name in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait => "FIN_WAIT",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Synack => "SYNACK",
        }
    }

    /// The timeout in seconds that ipvs starts with (`tcp_timeouts`).
    #[must_use]
    pub const fn default_timeout(self) -> u32 {
        match self {
            Self::None => 2,
            Self::Established => 900,
            Self::SynSent | Self::FinWait | Self::TimeWait | Self::Listen | Self::Synack => 120,
            Self::SynRecv | Self::CloseWait => 60,
            Self::Close => 10,
            Self::LastAck => 30,
        }
    }
}

/// The next class of a connection of which only the client's packets are seen, as with direct
/// routing and tunnels (`tcp_states`, rows INPUT_ONLY).
///
/// `class` must be a TCP class. A segment without any of the four flags closes the connection,
/// as it does in ipvs.
#[inline(always)]
#[must_use]
pub const fn next_input_only(class: Class, flags: u8) -> Class {
    use State::{
        Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA,
        Listen as LI, SynRecv as SR, SynSent as SS, TimeWait as TW,
    };
    //                          NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    const ON_SYN: u64 = row([SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR]);
    const ON_FIN: u64 = row([CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW]);
    const ON_ACK: u64 = row([ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES]);
    const ON_RST: u64 = row([CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL]);
    const ON_NONE: u64 = row([CL; 11]);

    let row = if flags & RST != 0 {
        ON_RST
    } else if flags & SYN != 0 {
        ON_SYN
    } else if flags & FIN != 0 {
        ON_FIN
    } else if flags & ACK != 0 {
        ON_ACK
    } else {
        ON_NONE
    };
    let shift = (class.number() as u32 * 4) & 63;
    Class::new(((row >> shift) & 0xf) as u8)
}

/// Packs a row of the table, four bits a state, so that a transition is a shift.
const fn row(states: [State; 11]) -> u64 {
    let mut packed = 0;
    let mut i = 0;
    while i < states.len() {
        packed |= (states[i] as u64) << (i * 4);
        i += 1;
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the kernel as its source prints it, state numbers written as names.
    const TABLE: [(&str, u8, [&str; 11]); 5] = [
        (
            "syn",
            SYN,
            [
                "SR", "ES", "ES", "SR", "SR", "SR", "SR", "SR", "SR", "SR", "SR",
            ],
        ),
        (
            "fin",
            FIN,
            [
                "CL", "FW", "SS", "TW", "FW", "TW", "CL", "CW", "LA", "LI", "TW",
            ],
        ),
        (
            "ack",
            ACK,
            [
                "ES", "ES", "SS", "ES", "FW", "TW", "CL", "CW", "CL", "LI", "ES",
            ],
        ),
        (
            "rst",
            RST,
            [
                "CL", "CL", "CL", "SR", "CL", "CL", "CL", "CL", "LA", "LI", "CL",
            ],
        ),
        ("none", 0, ["CL"; 11]),
    ];

    fn short(class: Class) -> &'static str {
        match class.name() {
            "NONE" => "NO",
            "ESTABLISHED" => "ES",
            "SYN_SENT" => "SS",
            "SYN_RECV" => "SR",
            "FIN_WAIT" => "FW",
            "TIME_WAIT" => "TW",
            "CLOSE" => "CL",
            "CLOSE_WAIT" => "CW",
            "LAST_ACK" => "LA",
            "LISTEN" => "LI",
            "SYNACK" => "SA",
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_state_and_event() {
        for (event, flags, row) in TABLE {
            for (state, expected) in State::ALL.into_iter().zip(row) {
                let next = next_input_only(state.into(), flags);
                assert_eq!(short(next), expected, "{event} in {}", state.name());
            }
        }
    }

    #[test]
    fn flags_have_ipvs_priority() {
        let next = |flags| next_input_only(State::Established.into(), flags).name();
        assert_eq!(next(RST | SYN | FIN | ACK), "CLOSE");
        assert_eq!(next(SYN | FIN | ACK), "ESTABLISHED");
        assert_eq!(next(FIN | ACK), "FIN_WAIT");
        assert_eq!(next(ACK), "ESTABLISHED");
    }

    #[test]
    fn no_class_leaves_the_table() {
        for number in 0..64 {
            for flags in 0..=255 {
                assert!(next_input_only(Class::new(number), flags).number() < 16);
            }
        }
    }
}
