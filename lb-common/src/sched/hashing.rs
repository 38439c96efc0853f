//! The hashes of ipvs's schedulers, which are the same on every director.

use crate::addr::Addr;

/// Slots of the tables of sh and dh (CONFIG_IP_VS_SH_TAB_BITS, CONFIG_IP_VS_DH_TAB_BITS).
pub(super) const SLOTS: u32 = 256;

/// Slots of the table of mh, a prime (CONFIG_IP_VS_MH_TAB_INDEX).
pub(super) const MH_SLOTS: u32 = 4093;

/// The keys of mh's two hashes, either half (net/netfilter/ipvs/ip_vs_mh.c:
/// `generate_hash_secret`).
pub(super) const MH_KEYS: [u64; 2] = [2_654_435_761, 2_654_446_892];

/// An address as the number that is hashed: of an IPv6 address its four words mixed.
#[inline(always)]
pub(super) const fn fold(address: Addr) -> u32 {
    if address.is_v4() {
        return address.v4_number();
    }
    let [a, b, c, d] = address.words();
    u32::from_be(a ^ b ^ c ^ d)
}

/// The slot of a number among [`SLOTS`] (include/linux/hash.h: `hash_32`).
#[inline(always)]
pub(super) const fn slot(number: u32) -> u32 {
    number.wrapping_mul(0x61c8_8647) >> 24
}

/// The low half of SipHash-1-3 of a number's four bytes under the key of `half` twice
/// (lib/siphash.c: `hsiphash_1u32`, where words have 64 bits).
#[inline(always)]
pub(super) const fn siphash(number: u32, half: u64) -> u32 {
    let mut v = [
        0x736f_6d65_7073_6575 ^ half,
        0x646f_7261_6e64_6f6d ^ half,
        0x6c79_6765_6e65_7261 ^ half,
        0x7465_6462_7974_6573 ^ half,
    ];
    let block = 4 << 56 | number as u64;
    v[3] ^= block;
    v = round(v);
    v[0] ^= block;
    v[2] ^= 0xff;
    v = round(round(round(v)));
    (v[0] ^ v[1] ^ v[2] ^ v[3]) as u32
}

#[inline(always)]
const fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    /// Address, folded, slot of sh, slot with port 40000, first hash of mh, slot of mh, and with
    /// port 40000. Computed with the kernel's own sources, compiled unmodified.
    const GOLDEN: [(&str, u32, u32, u32, u32, u32, u32); 6] = [
        ("10.0.0.1", 0x0a00_0001, 39, 203, 0x0308_0ce4, 3711, 2940),
        (
            "192.168.1.10",
            0xc0a8_010a,
            248,
            156,
            0xd5e9_59b6,
            3323,
            1622,
        ),
        ("203.0.113.7", 0xcb00_7107, 124, 32, 0xa86e_2c15, 1705, 2964),
        (
            "255.255.255.255",
            0xffff_ffff,
            158,
            66,
            0x22c5_d719,
            3432,
            1103,
        ),
        ("2001:db8::1", 0x2001_0db9, 63, 226, 0xcdc3_f189, 3457, 3517),
        (
            "2001:db8:1:2:3:4:5:6",
            0x2006_0db8,
            124,
            32,
            0x2919_ec91,
            735,
            3591,
        ),
    ];

    #[test]
    fn addresses_hash_as_in_the_kernel() {
        for (address, folded, sh, sh_port, hash, mh, mh_port) in GOLDEN {
            let number = fold(address.parse::<IpAddr>().unwrap().into());
            assert_eq!(number, folded, "{address}");
            assert_eq!(slot(number), sh, "{address}");
            assert_eq!(slot(number.wrapping_add(40_000)), sh_port, "{address}");
            assert_eq!(siphash(number, MH_KEYS[0]), hash, "{address}");
            assert_eq!(hash % MH_SLOTS, mh, "{address}");
            let with_port = siphash(number.wrapping_add(40_000), MH_KEYS[0]);
            assert_eq!(with_port % MH_SLOTS, mh_port, "{address}");
        }
    }

    #[test]
    fn numbers_hash_as_in_the_kernel() {
        assert_eq!(siphash(0, MH_KEYS[0]), 0x1d5a_77c2);
        assert_eq!(siphash(1, MH_KEYS[0]), 0x16ec_66b2);
        assert_eq!(siphash(0, MH_KEYS[1]), 0xf882_433f);
        assert_eq!(siphash(1, MH_KEYS[1]), 0x8210_aad1);
        assert_eq!(siphash(0x0a00_0001, MH_KEYS[1]), 0x48f9_d0c1);
    }
}
