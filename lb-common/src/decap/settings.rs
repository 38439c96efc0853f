//! Which tunnels end here.

use crate::addr::Port;
use crate::wire::MacAddr;

/// A kind of tunnel.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tunnel {
    /// An IP packet right behind an IP header, of either version each.
    Ipip = 0,
    /// Generic routing encapsulation.
    Gre = 1,
    /// Generic UDP encapsulation.
    Gue = 2,
}

impl Tunnel {
    /// Every kind, by number.
    pub const ALL: [Self; 3] = [Self::Ipip, Self::Gre, Self::Gue];

    /// Its name in lower case, as ipvsadm and counters have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gre => "gre",
            Self::Gue => "gue",
        }
    }
}

/// A set of kinds of tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnels(u8);

impl Tunnels {
    /// The set with one more.
    #[must_use]
    pub const fn with(self, tunnel: Tunnel) -> Self {
        Self(self.0 | 1 << tunnel as u8)
    }

    /// Whether a kind is in the set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, tunnel: Tunnel) -> bool {
        self.0 & 1 << tunnel as u8 != 0
    }
}

/// What the agent tells the program when it loads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The kinds that are taken off.
    pub tunnels: Tunnels,
    /// The UDP port of GUE.
    pub gue_port: Port,
    /// The Ethernet address of the interface.
    pub mac: MacAddr,
}

impl Settings {
    /// The settings as words.
    #[must_use]
    pub const fn encode(self) -> [u64; 2] {
        let rest = self.tunnels.0 as u64 | (self.gue_port.number() as u64) << 16;
        [self.mac.word(), rest]
    }

    /// The settings in these words.
    #[inline(always)]
    #[must_use]
    pub const fn decode(words: [u64; 2]) -> Self {
        Self {
            tunnels: Tunnels(words[1] as u8),
            gue_port: Port::new((words[1] >> 16) as u16),
            mac: MacAddr::from_word(words[0]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_written_and_read() {
        for tunnels in [
            Tunnels::default(),
            Tunnels::default().with(Tunnel::Gre),
            Tunnels::default().with(Tunnel::Ipip).with(Tunnel::Gue),
        ] {
            let settings = Settings {
                tunnels,
                gue_port: Port::new(6080),
                mac: MacAddr::new([2, 3, 4, 5, 6, 7]),
            };
            assert_eq!(Settings::decode(settings.encode()), settings);
        }
    }

    #[test]
    fn a_set_has_what_was_put_in() {
        let tunnels = Tunnels::default().with(Tunnel::Ipip).with(Tunnel::Gue);
        let has = Tunnel::ALL.map(|tunnel| tunnels.has(tunnel));
        assert_eq!(has, [true, false, true]);
    }
}
