//! TCP as a director sees it (net/netfilter/ipvs/ip_vs_proto_tcp.c).

use super::{Class, Direction};
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

/// The next class of a connection after a segment (`tcp_states`).
///
/// `class` must be a TCP class. A segment without any of the four flags closes the connection,
/// as it does in ipvs.
#[inline(always)]
#[must_use]
pub const fn next(direction: Direction, class: Class, flags: u8) -> Class {
    use State::{
        Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA,
        Listen as LI, SynRecv as SR, SynSent as SS, TimeWait as TW,
    };
    /// Rows for SYN, FIN, ACK, RST.
    #[rustfmt::skip]
    const INPUT: [u64; 4] = [
        //   NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
        row([SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR]),
        row([CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW]),
        row([ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES]),
        row([CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR]),
    ];
    #[rustfmt::skip]
    const OUTPUT: [u64; 4] = [
        row([SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR]),
        row([TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW]),
        row([ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES]),
        row([CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL]),
    ];
    #[rustfmt::skip]
    const INPUT_ONLY: [u64; 4] = [
        row([SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR]),
        row([CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW]),
        row([ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES]),
        row([CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL]),
    ];
    const ON_NONE: u64 = row([CL; 11]);

    let [on_syn, on_fin, on_ack, on_rst] = match direction {
        Direction::Input => INPUT,
        Direction::Output => OUTPUT,
        Direction::InputOnly => INPUT_ONLY,
    };
    let row = if flags & RST != 0 {
        on_rst
    } else if flags & SYN != 0 {
        on_syn
    } else if flags & FIN != 0 {
        on_fin
    } else if flags & ACK != 0 {
        on_ack
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
                let next = next(Direction::InputOnly, state.into(), flags);
                assert_eq!(short(next), expected, "{event} in {}", state.name());
            }
        }
    }

    #[test]
    fn flags_have_ipvs_priority() {
        let after = |flags| next(Direction::InputOnly, State::Established.into(), flags).name();
        assert_eq!(after(RST | SYN | FIN | ACK), "CLOSE");
        assert_eq!(after(SYN | FIN | ACK), "ESTABLISHED");
        assert_eq!(after(FIN | ACK), "FIN_WAIT");
        assert_eq!(after(ACK), "ESTABLISHED");
    }

    #[test]
    fn no_class_leaves_the_table() {
        for number in 0..64 {
            for flags in 0..=255 {
                assert!(next(Direction::InputOnly, Class::new(number), flags).number() < 16);
            }
        }
    }
}
