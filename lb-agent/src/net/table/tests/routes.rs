use super::*;

#[test]
fn a_link_that_goes_down_unresolves_at_once_and_puts_its_routes_in_doubt() {
    let mut table = through_router(&["10.1.0.5"]);
    table.event(Event::Link(2, link(false)));
    let down = Way::Unresolved(Unresolved::LinkDown {
        interface: "eth0".into(),
    });
    assert_eq!(table.effects(), [Effect::Changed(ip("10.1.0.5"), down)]);
    assert_eq!(looked_up(&mut table), ["10.1.0.5"]);

    table.event(Event::NeighbourGone(hop("10.0.0.254")));
    assert_eq!(table.effects(), []);
    table.event(Event::Link(2, link(true)));
    assert_eq!(
        table.effects(),
        [
            Effect::Keep {
                hop: hop("10.0.0.254"),
                exclusive: true
            },
            Effect::Changed(ip("10.1.0.5"), incomplete("10.0.0.254")),
        ]
    );
    assert_eq!(looked_up(&mut table), ["10.1.0.5"]);
}

#[test]
fn a_deleted_link_unresolves() {
    let mut table = through_router(&["10.1.0.5"]);
    table.event(Event::LinkGone(2));
    let gone = Way::Unresolved(Unresolved::LinkGone { ifindex: 2 });
    assert_eq!(table.effects(), [Effect::Changed(ip("10.1.0.5"), gone)]);
}

#[test]
fn a_link_that_comes_up_puts_every_route_in_doubt() {
    let mut table = table();
    table.want(ip("10.1.0.5"));
    answer(&mut table, &Route::None(Unresolved::NoRoute));
    table.event(Event::Link(3, link(true)));
    assert_eq!(looked_up(&mut table), ["10.1.0.5"]);
}

#[test]
fn address_mtu_and_name_of_a_link_are_followed() {
    let mut table = through_router(&["10.1.0.5"]);
    let renamed = Link {
        name: "lan".into(),
        ethernet: Some(OTHER),
        running: true,
        mtu: 9000,
    };
    table.event(Event::Link(2, renamed));
    let effects = table.effects();
    let [Effect::Changed(_, Way::Resolved(next_hop))] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (&*next_hop.interface, next_hop.source, next_hop.mtu),
        ("lan", OTHER, 9000)
    );
    assert!(!table.is_in_doubt());
}

#[test]
fn a_route_change_concerns_the_addresses_it_covers() {
    let mut table = through_router(&["10.1.0.5", "10.1.1.5", "10.2.0.5", "fd00::5"]);
    let change =
        |address, length| Event::Routes(super::super::super::prefix::range(address, length));
    table.event(change(ip("10.1.0.0"), 16));
    assert_eq!(looked_up(&mut table), ["10.1.0.5", "10.1.1.5"]);
    table.event(change(ip("0.0.0.0"), 0));
    assert_eq!(looked_up(&mut table), ["10.1.0.5", "10.1.1.5", "10.2.0.5"]);
    table.event(change(ip("::"), 0));
    assert_eq!(looked_up(&mut table), ["fd00::5"]);
    table.event(change(ip("192.0.2.0"), 24));
    assert!(!table.is_in_doubt());
    table.event(Event::AddressGone(ip("10.0.0.1")));
    assert_eq!(looked_up(&mut table).len(), 4);
    table.event(Event::AddressGone(ip("10.0.0.2")));
    assert!(!table.is_in_doubt());
}

#[test]
fn a_new_route_moves_the_address_to_its_next_hop() {
    let mut table = through_router(&["10.1.0.5"]);
    table.doubt_all();
    table.look_up_doubtful();
    assert_eq!(
        answer(&mut table, &via("10.0.0.253")),
        [
            Effect::Release(hop("10.0.0.254")),
            Effect::Keep {
                hop: hop("10.0.0.253"),
                exclusive: true
            },
            Effect::Changed(ip("10.1.0.5"), incomplete("10.0.0.253")),
        ]
    );
    // The old router's address must not come back.
    table.event(Event::Neighbour(
        hop("10.0.0.254"),
        kept(State::Usable(ROUTER)),
    ));
    assert_eq!(table.effects(), []);
}

#[test]
fn an_answer_to_an_older_question_is_void() {
    let mut table = through_router(&["10.1.0.5"]);
    table.doubt_all();
    table.look_up_doubtful();
    let old = table.effects();
    table.doubt_all();
    table.look_up_doubtful();
    table.effects();
    let [Effect::LookUp(address, question)] = old.as_slice() else {
        panic!("{old:?}")
    };
    table.answered(*address, *question, Route::None(Unresolved::NoRoute));
    assert_eq!(table.effects(), []);
    assert_eq!(table.way(*address), Some(&resolved(ROUTER)));
}

#[test]
fn ambiguous_and_group_addresses_are_refused_unasked() {
    for (address, why) in [
        ("fe80::1", Unresolved::LinkLocal),
        ("ff02::1", Unresolved::NotUnicast),
        ("224.0.0.1", Unresolved::NotUnicast),
        ("255.255.255.255", Unresolved::NotUnicast),
        ("0.0.0.0", Unresolved::NotUnicast),
    ] {
        let mut table = table();
        table.want(ip(address));
        let expected = Way::Unresolved(why);
        assert_eq!(
            table.effects(),
            [Effect::Changed(ip(address), expected)],
            "{address}"
        );
        table.doubt_all();
        assert_eq!(looked_up(&mut table), [] as [String; 0], "{address}");
    }
}

#[test]
fn reading_everything_again_finds_what_notifications_did_not_say() {
    let mut table = through_router(&["10.1.0.5"]);
    let links = HashMap::from([(2, link(true))]);
    let same = HashMap::from([(hop("10.0.0.254"), kept(State::Usable(ROUTER)))]);
    table.resync(links.clone(), same);
    assert_eq!(table.effects(), []);

    let moved = HashMap::from([(hop("10.0.0.254"), kept(State::Usable(OTHER)))]);
    table.resync(links.clone(), moved);
    assert_eq!(
        table.effects(),
        [Effect::Changed(ip("10.1.0.5"), resolved(OTHER))]
    );

    table.resync(links, HashMap::new());
    assert_eq!(
        table.effects(),
        [
            Effect::Keep {
                hop: hop("10.0.0.254"),
                exclusive: true
            },
            Effect::Changed(ip("10.1.0.5"), incomplete("10.0.0.254")),
        ]
    );
    table.resync(HashMap::new(), HashMap::new());
    let gone = Way::Unresolved(Unresolved::LinkGone { ifindex: 2 });
    assert_eq!(table.effects(), [Effect::Changed(ip("10.1.0.5"), gone)]);
}

#[test]
fn the_periodic_check_takes_turns() {
    let mut table = through_router(&["10.1.0.1", "10.1.0.2", "10.1.0.3"]);
    table.doubt_some(2);
    assert_eq!(looked_up(&mut table), ["10.1.0.1", "10.1.0.2"]);
    table.doubt_some(2);
    assert_eq!(looked_up(&mut table), ["10.1.0.3"]);
    table.doubt_some(2);
    assert_eq!(looked_up(&mut table), ["10.1.0.1", "10.1.0.2"]);
}

#[test]
fn an_interface_without_ethernet_is_refused_and_not_asked() {
    let mut table = Table::default();
    let tunnel = Link {
        name: "gre1".into(),
        ethernet: None,
        running: true,
        mtu: 1476,
    };
    table.event(Event::Link(2, tunnel));
    table.want(ip("10.1.0.5"));
    let refused = Way::Unresolved(Unresolved::NotEthernet {
        interface: "gre1".into(),
    });
    assert_eq!(
        answer(&mut table, &via("10.1.0.5")),
        [Effect::Changed(ip("10.1.0.5"), refused.clone())]
    );
    table.doubt_all();
    table.look_up_doubtful();
    assert_eq!(answer(&mut table, &Route::Encapsulated { ifindex: 2 }), []);
    assert_eq!(table.way(ip("10.1.0.5")), Some(&refused));
}

#[test]
fn the_smaller_mtu_counts() {
    for (route, expected) in [(Some(1400), 1400), (Some(9000), 1500), (None, 1500)] {
        let hop = hop("10.0.0.5");
        let route = Route::Via {
            hop,
            mtu: route,
            preferred_source: None,
        };
        let Way::Resolved(next_hop) = decide::way(&route, Some(&link(true)), Some(&Ok(OTHER)))
        else {
            panic!("{route:?} is not resolved")
        };
        assert_eq!(next_hop.mtu, expected);
    }
}
