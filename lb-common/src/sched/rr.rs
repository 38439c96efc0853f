//! Round robin: the next server in the list (net/netfilter/ipvs/ip_vs_rr.c).

use super::{Step, Turn};
use crate::layout::{Member, Service};

pub(super) struct Pick {
    len: u32,
    place: u32,
    turn: Turn,
    found: Option<u32>,
}

impl Pick {
    #[inline(always)]
    pub(super) fn new(service: &Service, turn: Turn) -> Self {
        Self {
            len: service.len,
            place: turn.place.into(),
            turn,
            found: None,
        }
    }

    #[inline(always)]
    pub(super) fn server(&self) -> Option<u32> {
        self.found
    }

    #[inline(always)]
    pub(super) fn turn(&self) -> Turn {
        if self.found.is_some() {
            Turn {
                place: self.place as u16,
                ..self.turn
            }
        } else {
            self.turn
        }
    }
}

impl Step for Pick {
    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        self.place = if self.place >= self.len {
            1
        } else {
            self.place + 1
        };
        Some(self.place - 1)
    }

    #[inline(always)]
    fn see(&mut self, member: Member, usable: bool) -> bool {
        if usable {
            self.found = Some(member.server);
        }
        usable
    }
}
