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
    until: Instant,
}

impl Narrow {
    /// How long a router's word counts, for the path may have changed by then: as long as with the
    /// kernel (`net.ipv4.route.mtu_expires`).
    const PATIENCE: Duration = Duration::from_secs(600);

    /// The longest packet that links on the way to an address take, as far as routers told.
    pub(crate) fn mtu(&self, address: IpAddr) -> Option<u32> {
        self.0.get(&address).map(|link| link.mtu)
    }

    /// A router said that a link on the way to an address takes `mtu` bytes, where the next hop
    /// takes `hop`. Returns whether that is news.
    pub(crate) fn note(&mut self, address: IpAddr, mtu: u32, hop: u32, now: Instant) -> bool {
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
            None if mtu >= hop => false,
            None => {
                self.0.insert(address, Link { mtu, until });
                true
            }
        }
    }

    /// Forgets what was said too long ago. Returns the addresses.
    pub(crate) fn forget(&mut self, now: Instant) -> Vec<IpAddr> {
        let over = self.0.extract_if(.., |_, link| now >= link.until);
        over.map(|(address, _)| address).collect()
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
        assert!(!narrow.note(address(11), 1500, 1500, start));
        assert_eq!(narrow.mtu(address(11)), None);
        assert!(narrow.note(address(11), 1400, 1500, start));
        assert_eq!(narrow.mtu(address(11)), Some(1400));
        assert_eq!(narrow.mtu(address(12)), None);
        assert_eq!(
            narrow.forget(start + Narrow::PATIENCE / 2),
            [] as [IpAddr; 0]
        );
        assert_eq!(narrow.forget(start + Narrow::PATIENCE), [address(11)]);
        assert_eq!(narrow.mtu(address(11)), None);
        assert_eq!(narrow.forget(start + Narrow::PATIENCE), [] as [IpAddr; 0]);
    }

    #[test]
    fn the_narrowest_link_counts_from_when_it_was_last_heard_of() {
        let (mut narrow, start) = (Narrow::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(narrow.note(address(11), 1400, 1500, start));
        assert!(!narrow.note(address(11), 1450, 1500, after(100)));
        assert!(!narrow.note(address(11), 1400, 1500, after(200)));
        assert!(narrow.note(address(11), 1300, 1500, after(300)));
        assert_eq!(narrow.forget(after(899)), [] as [IpAddr; 0]);
        assert_eq!(narrow.forget(after(900)), [address(11)]);
    }
}
