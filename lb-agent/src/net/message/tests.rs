use super::*;

fn entry(state: NeighbourState, protocol: RouteProtocol, managed: bool) -> NeighbourMessage {
    let mut message = name(Hop {
        ifindex: 2,
        address: "10.0.0.5".parse().unwrap(),
    });
    message.header.state = state;
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 5]));
    message
        .attributes
        .push(NeighbourAttribute::Protocol(protocol));
    if managed {
        message
            .attributes
            .push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    }
    message
}

#[test]
fn only_states_with_a_confirmed_address_are_usable() {
    use NeighbourState as N;
    let usable = State::Usable([2, 0, 0, 0, 0, 5]);
    for (state, expected) in [
        (N::Reachable, usable),
        (N::Stale, usable),
        (N::Delay, usable),
        (N::Probe, usable),
        (N::Permanent, usable),
        (N::Noarp, usable),
        (N::None, State::Incomplete),
        (N::Incomplete, State::Incomplete),
        (N::Failed, State::Failed),
    ] {
        let (_, neighbour) = neighbour(&entry(state, RouteProtocol::Unspec, false)).unwrap();
        assert_eq!(neighbour.state, expected, "{state}");
    }
}

#[test]
fn an_entry_without_an_ethernet_address_is_not_usable() {
    for bytes in [vec![], vec![0; 6], vec![10, 0, 0, 1], vec![1; 20]] {
        let mut message = entry(NeighbourState::Reachable, RouteProtocol::Unspec, false);
        message.attributes[1] = NeighbourAttribute::LinkLayerAddress(bytes.clone());
        assert_eq!(
            neighbour(&message).unwrap().1.state,
            State::Incomplete,
            "{bytes:?}"
        );
    }
}

#[test]
fn an_entry_is_ours_by_protocol_and_flag_together() {
    use NeighbourState::{Permanent, Reachable};
    let zebra = RouteProtocol::Zebra;
    for (state, protocol, managed, expected) in [
        (Reachable, PROTOCOL, true, Keeper::Lb),
        (Reachable, PROTOCOL, false, Keeper::Nobody),
        (Permanent, PROTOCOL, false, Keeper::Other),
        (Reachable, zebra, true, Keeper::Other),
        (Reachable, zebra, false, Keeper::Nobody),
    ] {
        let (_, neighbour) = neighbour(&entry(state, protocol, managed)).unwrap();
        assert_eq!(neighbour.keeper, expected, "{state} {protocol} {managed}");
    }
    let mut learned = entry(Reachable, zebra, false);
    learned.header.flags = NeighbourFlags::ExtLearned;
    assert_eq!(neighbour(&learned).unwrap().1.keeper, Keeper::Other);
    learned.header.flags = NeighbourFlags::Proxy;
    assert_eq!(neighbour(&learned), None);
}

#[test]
fn a_port_that_leaves_its_bridge_is_not_a_link_that_is_gone() {
    let mut message = LinkMessage::default();
    message.header.index = 2;
    let gone = RouteNetlinkMessage::DelLink(message.clone());
    assert_eq!(event(&gone), Some(Event::LinkGone(2)));
    message.header.interface_family = AddressFamily::Bridge;
    assert_eq!(event(&RouteNetlinkMessage::DelLink(message)), None);
}
