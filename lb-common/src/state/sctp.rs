//! SCTP as a director sees it (net/netfilter/ipvs/ip_vs_proto_sctp.c).

use super::{Class, Direction};

/// An association's state, with ipvs's number.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing seen.
    None = 0,
    /// The client's INIT was seen.
    Init1 = 1,
    /// It was seen again.
    Init = 2,
    /// The server sent its cookie.
    CookieSent = 3,
    /// The client sent it back.
    CookieReplied = 4,
    /// The server opened.
    CookieWait = 5,
    /// The client sent its cookie.
    Cookie = 6,
    /// The server sent it back.
    CookieEchoed = 7,
    /// Both sides agreed.
    Established = 8,
    /// The server is done.
    ShutdownSent = 9,
    /// The client is done.
    ShutdownReceived = 10,
    /// The server agreed to be done.
    ShutdownAckSent = 11,
    /// The server refused.
    Rejected = 12,
    /// Over.
    Closed = 13,
}

/// States in which the association is not known to be answered, as bits by number.
pub(super) const HALF_OPEN: u64 = 0xff;

impl State {
    /// Every state, by number.
    pub const ALL: [Self; 14] = [
        Self::None,
        Self::Init1,
        Self::Init,
        Self::CookieSent,
        Self::CookieReplied,
        Self::CookieWait,
        Self::Cookie,
        Self::CookieEchoed,
        Self::Established,
        Self::ShutdownSent,
        Self::ShutdownReceived,
        Self::ShutdownAckSent,
        Self::Rejected,
        Self::Closed,
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
            Self::Init1 => "INIT1",
            Self::Init => "INIT",
            Self::CookieSent => "C-SENT",
            Self::CookieReplied => "C-REPLIED",
            Self::CookieWait => "C-WAIT",
            Self::Cookie => "COOKIE",
            Self::CookieEchoed => "C-ECHOED",
            Self::Established => "ESTABLISHED",
            Self::ShutdownSent => "S-SENT",
            Self::ShutdownReceived => "S-RECEIVED",
            Self::ShutdownAckSent => "S-ACK-SENT",
            Self::Rejected => "REJECTED",
            Self::Closed => "CLOSED",
        }
    }

    /// The timeout in seconds that ipvs starts with (`sctp_timeouts`).
    #[must_use]
    pub const fn default_timeout(self) -> u32 {
        match self {
            Self::None => 2,
            Self::Init1 | Self::Rejected => 4,
            Self::Established => 900,
            Self::Init
            | Self::CookieSent
            | Self::CookieReplied
            | Self::CookieWait
            | Self::Cookie
            | Self::CookieEchoed
            | Self::ShutdownSent
            | Self::ShutdownReceived
            | Self::ShutdownAckSent
            | Self::Closed => 61,
        }
    }
}

/// What a packet's first chunk says (`sctp_events`).
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Data, or anything not named here.
    Data = 0,
    /// INIT.
    Init = 1,
    /// INIT ACK.
    InitAck = 2,
    /// COOKIE ECHO.
    CookieEcho = 3,
    /// COOKIE ACK.
    CookieAck = 4,
    /// SHUTDOWN.
    Shutdown = 5,
    /// SHUTDOWN ACK.
    ShutdownAck = 6,
    /// SHUTDOWN COMPLETE.
    ShutdownComplete = 7,
    /// ERROR.
    Error = 8,
    /// ABORT.
    Abort = 9,
}

impl Event {
    /// The event of a chunk type (RFC 9260, section 3.2).
    #[inline(always)]
    #[must_use]
    pub const fn of_chunk(chunk: u8) -> Self {
        match chunk {
            1 => Self::Init,
            2 => Self::InitAck,
            6 => Self::Abort,
            7 => Self::Shutdown,
            8 => Self::ShutdownAck,
            9 => Self::Error,
            10 => Self::CookieEcho,
            11 => Self::CookieAck,
            14 => Self::ShutdownComplete,
            _ => Self::Data,
        }
    }
}

/// The next class of an association after a packet with this [`Event`]'s number.
///
/// `class` must be an SCTP class.
#[inline(always)]
#[must_use]
pub fn next(direction: Direction, class: Class, event: u8) -> Class {
    let state = class.number().wrapping_sub(Class::SCTP) & 0xf;
    let rows = &STATES[direction as usize % 3];
    let row = rows[usize::from(event) % 16];
    Class::new(Class::SCTP + ((row >> (u32::from(state) * 4)) & 0xf) as u8)
}

use State::{
    Closed as CL, Cookie as CO, CookieEchoed as CE, CookieReplied as CR, CookieSent as CS,
    CookieWait as CW, Established as ES, Init as IN, Init1 as I1, None as NO, Rejected as RJ,
    ShutdownAckSent as SA, ShutdownReceived as SR, ShutdownSent as SS,
};

/// `sctp_states` by direction and event; the last rows are no events and change nothing.
#[rustfmt::skip]
static STATES: [[u64; 16]; 3] = {
    const SAME: u64 = row([NO, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]);
    [
        [
            row([ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]), // d
            row([I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN]), // init
            row([CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL]), // init_ack
            row([CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]), // cookie_echo
            row([ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL]), // cookie_ack
            row([SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL]), // shutdown
            row([CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL]), // shut_ack
            row([CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL]), // shut_complete
            row([CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL]), // error
            row([CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL]), // abort
            SAME, SAME, SAME, SAME, SAME, SAME,
        ],
        [
            row([ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]), // d
            row([CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW]), // init
            row([CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]), // init_ack
            row([CE, CE, CE, CE, CE, CE, CE, CE, ES, SS, SR, SA, RJ, CL]), // cookie_echo
            row([ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL]), // cookie_ack
            row([SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL]), // shutdown
            row([SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL]), // shut_ack
            row([CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]), // shut_complete
            row([CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL]), // error
            row([CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL]), // abort
            SAME, SAME, SAME, SAME, SAME, SAME,
        ],
        [
            row([ES, I1, IN, CS, CR, ES, CO, CE, ES, SS, SR, SA, RJ, CL]), // d
            row([I1, IN, IN, IN, IN, IN, CO, CE, ES, SS, SR, SA, IN, IN]), // init
            row([CE, CE, CE, CE, CE, CE, CO, CE, ES, SS, SR, SA, RJ, CL]), // init_ack
            row([ES, ES, ES, ES, ES, ES, CO, CE, ES, SS, SR, SA, RJ, CL]), // cookie_echo
            row([ES, I1, IN, ES, ES, CW, ES, ES, ES, SS, SR, SA, RJ, CL]), // cookie_ack
            row([SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL]), // shutdown
            row([CL, IN, IN, CS, CR, CW, CO, CE, CL, CL, SR, CL, RJ, CL]), // shut_ack
            row([CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, CL, CL, RJ, CL]), // shut_complete
            row([CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]), // error
            row([CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL]), // abort
            SAME, SAME, SAME, SAME, SAME, SAME,
        ],
    ]
};

/// Packs a row of the table, four bits a state.
const fn row(states: [State; 14]) -> u64 {
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

    fn walk(steps: &[(Direction, Event)]) -> &'static str {
        let first = Class::from(State::None);
        let end = steps.iter().fold(first, |class, (direction, event)| {
            next(*direction, class, *event as u8)
        });
        end.name()
    }

    #[test]
    fn an_association_opens_and_ends() {
        use Direction::{Input, InputOnly, Output};
        let open = [
            (Input, Event::Init),
            (Output, Event::InitAck),
            (Input, Event::CookieEcho),
            (Output, Event::CookieAck),
        ];
        assert_eq!(walk(&open), "ESTABLISHED");
        let end = [
            (Input, Event::Shutdown),
            (Output, Event::ShutdownAck),
            (Input, Event::ShutdownComplete),
        ];
        assert_eq!(walk(&[&open[..], &end].concat()), "CLOSED");
        let client_only = [(InputOnly, Event::Init), (InputOnly, Event::CookieEcho)];
        assert_eq!(walk(&client_only), "ESTABLISHED");
        let with_data = [(InputOnly, Event::InitAck), (InputOnly, Event::CookieAck)];
        assert_eq!(walk(&with_data), "ESTABLISHED");
    }

    #[test]
    fn no_class_leaves_the_table() {
        for direction in [Direction::Input, Direction::Output, Direction::InputOnly] {
            for number in 0..64 {
                for event in 0..=255 {
                    let class = next(direction, Class::new(number), event).number();
                    assert!((32..48).contains(&class), "{class}");
                }
            }
        }
    }
}
