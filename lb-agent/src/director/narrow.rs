//! Links on the ways to tunnelled servers that take shorter packets than the next hop does: what
//! routers said, as long as it counts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The narrow links by the server addresses that they are on the way to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Narrow(BTreeMap<IpAddr, Link>);

#[derive(Clone, Copy, Debug)]
struct Link {
    /// The longest packet that it takes, in bytes.
    mtu: u32,
    /// The longest that the next hop takes.
    hop: u32,
    until: Instant,
}

impl Narrow {
    /// How long a router's word counts, for the path may have changed by then: as long as with the
    /// kernel (`net.ipv4.route.mtu_expires`).
    const PATIENCE: Duration = Duration::from_secs(600);

    /// The longest packet on the way to an address of which the next hop takes `hop` bytes.
    pub(crate) fn mtu(&mut self, address: IpAddr, hop: u32) -> u32 {
        match self.0.get_mut(&address) {
            Some(link) => {
                link.hop = hop;
                hop.min(link.mtu)
            }
            None => hop,
        }
    }

    /// A router said that a link on the way to an address takes `mtu` bytes, where `known` were
    /// thought possible. Returns whether that is news.
    pub(crate) fn note(&mut self, address: IpAddr, mtu: u32, known: u32, now: Instant) -> bool {
        let until = now + Self::PATIENCE;
        match self.0.get_mut(&address) {
            // What is wider than the narrowest link says nothing of that one.
            Some(link) if mtu > link.mtu => false,
            Some(link) => {
                link.until = until;
                let news = mtu < link.mtu;
                link.mtu = mtu;
                news
            }
            None if mtu >= known => false,
            None => {
                let hop = known;
                self.0.insert(address, Link { mtu, hop, until });
                true
            }
        }
    }

    /// Forgets what was said too long ago. Returns the addresses, and how long packets may be on
    /// the ways there again.
    pub(crate) fn forget(&mut self, now: Instant) -> Vec<(IpAddr, u32)> {
        let mut over = Vec::new();
        self.0.retain(|address, link| {
            let counts = now < link.until;
            if !counts {
                over.push((*address, link.hop));
            }
            counts
        });
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn a_way_is_narrow_for_ten_minutes() {
        let (mut narrow, start) = (Narrow::default(), Instant::now());
        assert!(narrow.note(address(11), 1400, 1500, start));
        assert_eq!(narrow.mtu(address(11), 1500), 1400);
        assert_eq!(narrow.mtu(address(12), 1500), 1500);
        assert_eq!(narrow.forget(start + Narrow::PATIENCE / 2), []);
        assert_eq!(
            narrow.forget(start + Narrow::PATIENCE),
            [(address(11), 1500)]
        );
        assert_eq!(narrow.mtu(address(11), 1500), 1500);
        assert_eq!(narrow.forget(start + Narrow::PATIENCE), []);
    }

    #[test]
    fn the_narrowest_link_counts_from_when_it_was_last_heard_of() {
        let (mut narrow, start) = (Narrow::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!narrow.note(address(11), 1500, 1500, start));
        assert!(narrow.note(address(11), 1400, 1500, start));
        assert!(!narrow.note(address(11), 1450, 1400, after(100)));
        assert!(!narrow.note(address(11), 1400, 1400, after(200)));
        assert!(narrow.note(address(11), 1300, 1400, after(300)));
        assert_eq!(narrow.forget(after(899)), []);
        assert_eq!(narrow.forget(after(900)), [(address(11), 1500)]);
    }

    #[test]
    fn another_next_hop_is_narrow_as_well() {
        let (mut narrow, now) = (Narrow::default(), Instant::now());
        assert!(narrow.note(address(11), 1400, 1500, now));
        assert_eq!(narrow.mtu(address(11), 9000), 1400);
        assert_eq!(narrow.mtu(address(11), 1280), 1280);
        assert_eq!(narrow.mtu(address(11), 9000), 1400);
        assert_eq!(narrow.forget(now + Narrow::PATIENCE), [(address(11), 9000)]);
    }
}
