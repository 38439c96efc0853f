//! What a forwarded frame must be, judged by etherparse and not by lb's own parser.

use etherparse::{SlicedPacket, TransportSlice};
use lb_common::datapath::Way;

/// Judges a frame that direct routing sent on: addressed to the way's next hop, one hop less to
/// live, header checksum right, and not one other byte touched.
///
/// # Panics
///
/// When it is anything else.
pub fn routed(before: &[u8], after: &[u8], way: &Way) {
    let parse = |frame| SlicedPacket::from_ethernet(frame).expect("a valid frame");
    let (old, new) = (parse(before), parse(after));

    let link = new.link.as_ref().and_then(|link| link.to_header());
    let link = link.and_then(|link| link.ethernet2()).expect("Ethernet");
    assert_eq!(link.destination, way.destination.bytes(), "next hop");
    assert_eq!(link.source, way.source.bytes(), "egress interface");

    let ip = |packet: &SlicedPacket<'_>| {
        let Some(etherparse::NetSlice::Ipv4(slice)) = &packet.net else {
            panic!("no IPv4 packet")
        };
        slice.header().to_header()
    };
    let (old_ip, new_ip) = (ip(&old), ip(&new));
    assert_eq!(new_ip.time_to_live, old_ip.time_to_live - 1, "TTL");
    assert_eq!(
        new_ip.header_checksum,
        new_ip.calc_header_checksum(),
        "IP checksum"
    );

    let address = (new_ip.source, new_ip.destination);
    match &new.transport {
        Some(TransportSlice::Tcp(tcp)) => assert_eq!(
            tcp.calc_checksum_ipv4(address.0, address.1)
                .expect("it fits"),
            tcp.checksum(),
            "TCP checksum"
        ),
        Some(TransportSlice::Udp(udp)) => {
            let header = udp.to_header();
            let right = header.calc_checksum_ipv4_raw(address.0, address.1, udp.payload());
            assert_eq!(right.expect("it fits"), udp.checksum(), "UDP checksum");
        }
        // A part of a packet has no checksum that could be right.
        None if new_ip.is_fragmenting_payload() => {}
        other => panic!("neither TCP nor UDP: {other:?}"),
    }

    // Ethernet addresses, TTL and IP checksum are the only bytes that may differ.
    let touched = |at: usize| at < 12 || at == 22 || at == 24 || at == 25;
    assert_eq!(before.len(), after.len(), "length");
    for (at, (old, new)) in before.iter().zip(after).enumerate() {
        assert!(
            old == new || touched(at),
            "byte {at}: {old:02x} became {new:02x}"
        );
    }
}
