use super::*;

#[test]
fn an_address_is_looked_up_kept_and_resolved() {
    let mut table = table();
    table.want(ip("10.0.0.5"));
    assert_eq!(
        table.way(ip("10.0.0.5")),
        Some(&Way::Unresolved(Unresolved::Pending))
    );
    assert_eq!(
        answer(&mut table, &via("10.0.0.5")),
        [
            Effect::Keep {
                hop: hop("10.0.0.5"),
                exclusive: true
            },
            Effect::Changed(ip("10.0.0.5"), incomplete("10.0.0.5")),
        ]
    );
    table.event(Event::Neighbour(
        hop("10.0.0.5"),
        kept(State::Usable(OTHER)),
    ));
    assert_eq!(
        table.effects(),
        [Effect::Changed(ip("10.0.0.5"), resolved(OTHER))]
    );
}

#[test]
fn servers_with_one_address_share_it() {
    let mut table = through_router(&["10.1.0.5"]);
    table.want(ip("10.1.0.5"));
    assert_eq!(table.effects(), []);
    table.unwant(ip("10.1.0.5"));
    assert_eq!(table.effects(), []);
    assert_eq!(table.way(ip("10.1.0.5")), Some(&resolved(ROUTER)));
    table.unwant(ip("10.1.0.5"));
    assert_eq!(table.effects(), [Effect::Release(hop("10.0.0.254"))]);
    assert_eq!(table.way(ip("10.1.0.5")), None);
    table.unwant(ip("10.1.0.5"));
    assert_eq!(table.effects(), []);
}

#[test]
fn a_neighbour_is_released_only_by_its_last_address() {
    let mut table = through_router(&["10.1.0.5", "10.1.0.6"]);
    table.unwant(ip("10.1.0.5"));
    assert_eq!(table.effects(), []);
    table.unwant(ip("10.1.0.6"));
    assert_eq!(table.effects(), [Effect::Release(hop("10.0.0.254"))]);
}

#[test]
fn somebody_elses_entry_is_used_and_never_touched() {
    let mut table = table();
    let theirs = Neighbour {
        state: State::Usable(OTHER),
        keeper: Keeper::Other,
    };
    table.event(Event::Neighbour(hop("10.0.0.5"), theirs));
    table.want(ip("10.0.0.5"));
    assert_eq!(
        answer(&mut table, &via("10.0.0.5")),
        [Effect::Changed(ip("10.0.0.5"), resolved(OTHER))]
    );
    table.unwant(ip("10.0.0.5"));
    assert_eq!(table.effects(), []);
}

#[test]
fn an_entry_made_permanent_under_us_is_left_behind() {
    let mut table = through_router(&["10.1.0.5"]);
    let theirs = Neighbour {
        state: State::Usable(OTHER),
        keeper: Keeper::Other,
    };
    table.event(Event::Neighbour(hop("10.0.0.254"), theirs));
    assert_eq!(
        table.effects(),
        [Effect::Changed(ip("10.1.0.5"), resolved(OTHER))]
    );
    table.unwant(ip("10.1.0.5"));
    assert_eq!(table.effects(), []);
}

#[test]
fn a_learned_entry_is_used_at_once_and_taken_over() {
    let mut table = table();
    let learned = Neighbour {
        state: State::Usable(OTHER),
        keeper: Keeper::Nobody,
    };
    table.event(Event::Neighbour(hop("10.0.0.5"), learned));
    table.want(ip("10.0.0.5"));
    assert_eq!(
        answer(&mut table, &via("10.0.0.5")),
        [
            Effect::Keep {
                hop: hop("10.0.0.5"),
                exclusive: false
            },
            Effect::Changed(ip("10.0.0.5"), resolved(OTHER)),
        ]
    );
}

#[test]
fn an_entry_met_unannounced_is_looked_at_before_it_is_taken_over() {
    let mut table = table();
    table.want(ip("10.0.0.5"));
    answer(&mut table, &via("10.0.0.5"));
    let silent = Neighbour {
        state: State::Incomplete,
        keeper: Keeper::Nobody,
    };
    table.found(hop("10.0.0.5"), Some(silent.clone()));
    assert_eq!(
        table.effects(),
        [Effect::Keep {
            hop: hop("10.0.0.5"),
            exclusive: false
        }]
    );

    // An older look never replaces what a notification has said since.
    table.event(Event::Neighbour(
        hop("10.0.0.5"),
        kept(State::Usable(OTHER)),
    ));
    table.effects();
    table.found(hop("10.0.0.5"), Some(silent));
    assert_eq!(table.effects(), []);
    assert_eq!(table.way(ip("10.0.0.5")), Some(&resolved(OTHER)));
}

#[test]
fn a_failed_neighbour_holds_packets_and_a_moved_one_is_followed_at_once() {
    let mut table = through_router(&["10.1.0.5"]);
    table.event(Event::Neighbour(hop("10.0.0.254"), kept(State::Failed)));
    let failed = Unresolved::Failed {
        neighbour: ip("10.0.0.254"),
        interface: "eth0".into(),
    };
    assert_eq!(
        table.effects(),
        [Effect::Changed(ip("10.1.0.5"), Way::Unresolved(failed))]
    );
    table.event(Event::Neighbour(
        hop("10.0.0.254"),
        kept(State::Usable(OTHER)),
    ));
    assert_eq!(
        table.effects(),
        [Effect::Changed(ip("10.1.0.5"), resolved(OTHER))]
    );
    table.event(Event::Neighbour(
        hop("10.0.0.254"),
        kept(State::Usable(OTHER)),
    ));
    assert_eq!(table.effects(), []);
}

#[test]
fn a_removed_neighbour_is_asked_for_again() {
    let mut table = through_router(&["10.1.0.5"]);
    table.event(Event::NeighbourGone(hop("10.0.0.254")));
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
}

#[test]
fn a_refusal_is_told_and_ends_with_the_first_sign_of_life() {
    let mut table = table();
    table.want(ip("10.0.0.5"));
    answer(&mut table, &via("10.0.0.5"));
    table.refused(hop("10.0.0.5"), libc::ENOBUFS);
    let refused = Unresolved::Refused {
        neighbour: ip("10.0.0.5"),
        interface: "eth0".into(),
        errno: libc::ENOBUFS,
    };
    assert_eq!(
        table.effects(),
        [Effect::Changed(ip("10.0.0.5"), Way::Unresolved(refused))]
    );
    table.event(Event::Neighbour(
        hop("10.0.0.5"),
        kept(State::Usable(OTHER)),
    ));
    assert_eq!(
        table.effects(),
        [Effect::Changed(ip("10.0.0.5"), resolved(OTHER))]
    );
}

#[test]
fn leftovers_are_released_and_only_these() {
    let mut table = through_router(&["10.1.0.5"]);
    let theirs = Neighbour {
        state: State::Usable(OTHER),
        keeper: Keeper::Other,
    };
    table.event(Event::Neighbour(
        hop("10.0.0.7"),
        kept(State::Usable(OTHER)),
    ));
    table.event(Event::Neighbour(hop("10.0.0.8"), theirs));
    table.release_leftovers();
    assert_eq!(table.effects(), [Effect::Release(hop("10.0.0.7"))]);
}
