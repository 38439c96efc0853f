//! The way to a server, in three words that are written apart and read as one.

use crate::wire::MacAddr;

/// How frames get to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The next hop's Ethernet address.
    pub destination: MacAddr,
    /// The egress interface's Ethernet address.
    pub source: MacAddr,
    /// The egress interface's index.
    pub ifindex: u32,
    /// The longest packet on that way, in bytes from the network header on.
    pub mtu: u16,
}

impl Way {
    const TAG: u32 = 48;

    /// The way as words under a tag, which is not 0 and differs from the tag before it.
    #[must_use]
    pub const fn encode(&self, tag: u16) -> [u64; 3] {
        let tag = (tag as u64) << Self::TAG;
        [
            self.destination.word() | tag,
            self.source.word() | tag,
            self.ifindex as u64 | (self.mtu as u64) << 32 | tag,
        ]
    }

    /// The tag of a way's words, 0 when there is no way.
    #[must_use]
    pub const fn tag(words: [u64; 3]) -> u16 {
        (words[0] >> Self::TAG) as u16
    }

    /// The way in these words; none when they are of different ways or of none.
    #[inline(always)]
    #[must_use]
    pub const fn decode(words: [u64; 3]) -> Option<Self> {
        let [destination, source, rest] = words;
        let mixed = ((destination ^ source) | (destination ^ rest)) >> Self::TAG;
        if mixed != 0 || destination >> Self::TAG == 0 {
            return None;
        }
        Some(Self {
            destination: MacAddr::from_word(destination),
            source: MacAddr::from_word(source),
            ifindex: rest as u32,
            mtu: (rest >> 32) as u16,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Way = Way {
        destination: MacAddr::new([2, 0, 0, 0, 0, 1]),
        source: MacAddr::new([2, 0, 0, 0, 0, 2]),
        ifindex: 7,
        mtu: 1500,
    };
    const B: Way = Way {
        destination: MacAddr::new([2, 0, 0, 0, 0, 9]),
        ifindex: 8,
        ..A
    };

    #[test]
    fn words_of_one_way_are_that_way() {
        assert_eq!(Way::decode(A.encode(1)), Some(A));
        assert_eq!(Way::decode([0; 3]), None);
    }

    #[test]
    fn every_mixture_of_two_ways_is_none() {
        let (a, b) = (A.encode(1), B.encode(2));
        for pick in 1..7 {
            let mixed = [0, 1, 2].map(|i| if pick >> i & 1 == 0 { a[i] } else { b[i] });
            assert_eq!(Way::decode(mixed), None, "{pick:03b}");
        }
    }
}
