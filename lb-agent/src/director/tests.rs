//! Edits, counters, restarts and faults, over a datapath in memory.

use super::memory::{Memory, Tables};
use super::warnings::has_to_answer;
use super::*;
use crate::model::Server;
use crate::model::tests::{
    add_server, add_service, delete_server, delete_service, edits, server, server_options, service,
    service_options,
};
use crate::state::tests::TestDirectory;
use lb_common::api::{
    AttachMode, Forwarding, Interface, MarkRule, Next, NoServer, Protocol, ServerOptions,
    ServiceAddress, ServiceStatus, Timeouts, Tunnel, Warning, WarningKind,
};
use proptest::prelude::*;
use std::time::Duration;

/// A director whose directory and maps outlive it.
struct Lab {
    directory: TestDirectory,
    maps: Memory,
    director: Director,
}

impl Lab {
    fn new() -> Self {
        let (directory, maps) = (TestDirectory::new(), Memory::default());
        let director = start(&directory, &maps).expect("a first start");
        Self {
            directory,
            maps,
            director,
        }
    }

    /// Kills the agent and starts it again.
    fn restart(&mut self) {
        self.director = start(&self.directory, &self.maps).expect("a restart");
    }

    fn edit(&mut self, edits: &[Edit]) {
        let outcomes = self.director.edit(edits);
        assert!(outcomes.iter().all(Option::is_none), "{outcomes:?}");
    }

    fn id(&self, of: u8, number: u8) -> ServerId {
        let found = self
            .director
            .model
            .servers()
            .find(|s| s.service == service(of) && s.address == server(number));
        found.expect("a known server").id
    }

    fn status(&self, of: u8) -> ServiceStatus {
        let services = self.director.services().services;
        let found = services.into_iter().find(|s| s.service == service(of));
        found.expect("a known service")
    }

    fn connections(&self, of: u8) -> u64 {
        self.status(of).counters.connections
    }

    /// The tables hold exactly what the model says.
    fn check(&self) {
        let expected = Tables::expected(&self.director.model);
        let tables = self.maps.tables();
        assert_eq!(tables.services, expected.services);
        let live = |tables: &Tables| -> Vec<_> {
            let servers = tables.servers.iter();
            servers.map(|(id, e)| (*id, e.address, e.live)).collect()
        };
        assert_eq!(live(&tables), live(&expected));
    }
}

fn start(directory: &TestDirectory, maps: &Memory) -> anyhow::Result<Director> {
    let (store, state) = Store::open(&directory.join("state"))?;
    Director::start(store, state, Box::new(maps.clone()), BTreeMap::new())
}

fn zero(of: u8) -> Edit {
    Edit::Zero {
        service: Some(service(of)),
    }
}

fn hop() -> NextHop {
    NextHop {
        ifindex: 2,
        interface: "eth0".into(),
        source: [2, 0, 0, 0, 0, 1],
        destination: [2, 0, 0, 0, 0, 0xfe],
        mtu: 1500,
        preferred_source: None,
    }
}

#[test]
fn a_batch_is_written_once_and_refusals_stand_alone() {
    let mut lab = Lab::new();
    let before = lab.maps.tables().writes;
    let outcomes = lab.director.edit(&[
        add_service(1),
        add_service(1),
        add_server(1, 1),
        add_server(2, 1),
        add_server(1, 2),
    ]);
    let refused: Vec<_> = outcomes
        .iter()
        .map(|o| o.as_ref().map(|r| r.kind))
        .collect();
    assert_eq!(
        refused,
        [
            None,
            Some(RefusalKind::Exists),
            None,
            Some(RefusalKind::NoService),
            None
        ]
    );
    assert_eq!(lab.maps.tables().writes, before + 1);
    lab.check();
}

#[test]
fn a_datapath_that_fails_leaves_everything_as_it_was() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_server(1, 1)]);
    lab.maps.tables().broken = true;
    let set = Edit::SetTimeouts {
        timeouts: Timeouts {
            tcp: 5,
            tcp_fin: 5,
            udp: 5,
        },
    };
    let outcomes = lab
        .director
        .edit(&[delete_server(1, 1), add_service(2), add_service(2), set]);
    let kinds: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| outcome.expect("refused").kind)
        .collect();
    let failed = RefusalKind::Failed;
    assert_eq!(kinds, [failed, failed, RefusalKind::Exists, failed]);
    lab.maps.tables().broken = false;
    lab.check();
    assert_eq!(lab.director.timeouts().tcp, 900);
    lab.restart();
    assert_eq!(lab.director.services().services.len(), 1);
    assert_eq!(lab.status(1).servers.len(), 1);
}

#[test]
fn a_service_counts_what_its_removed_servers_counted() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_server(1, 1), add_server(1, 2)]);
    let (first, second) = (lab.id(1, 1), lab.id(1, 2));
    for port in 0..5 {
        lab.maps.connect(first, port, 100);
    }
    lab.maps.connect(second, 9, 100);
    lab.edit(&[delete_server(1, 1)]);
    assert_eq!(lab.connections(1), 6, "retired");
    lab.director.sweep();
    assert!(lab.director.model.server(first).is_some(), "flows live on");
    lab.maps.disconnect();
    lab.director.sweep();
    assert!(lab.director.model.server(first).is_none(), "freed");
    assert_eq!(lab.connections(1), 6);
    lab.restart();
    assert_eq!(lab.connections(1), 6, "over a restart");
    lab.edit(&[add_server(1, 3)]);
    assert_eq!(lab.id(1, 3), first, "the id is used again");
    assert_eq!(lab.status(1).servers[0].counters, Counters::default());
    assert_eq!(lab.connections(1), 6);
}

#[test]
fn a_server_that_comes_back_keeps_its_counts() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_server(1, 1)]);
    lab.maps.connect(lab.id(1, 1), 1, 100);
    lab.edit(&[delete_server(1, 1), add_server(1, 1)]);
    assert_eq!(lab.status(1).servers[0].counters.connections, 1);
    assert_eq!(lab.status(1).servers[0].active, 1);
    assert_eq!(lab.connections(1), 1);
}

#[test]
fn a_new_service_does_not_count_what_the_old_one_did() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_server(1, 1)]);
    lab.maps.connect(lab.id(1, 1), 1, 100);
    lab.edit(&[delete_service(1)]);
    lab.director.sweep();
    lab.edit(&[add_service(1), add_server(1, 1)]);
    let status = lab.status(1);
    assert_eq!(status.counters, Counters::default());
    assert_eq!(status.servers[0].counters, Counters::default());
    assert_eq!(status.servers[0].active, 1, "its flow goes on");
    lab.maps.connect(lab.id(1, 1), 2, 100);
    assert_eq!(lab.connections(1), 1);
    lab.restart();
    assert_eq!(lab.connections(1), 1, "over a restart");
}

#[test]
fn zeroing_hides_what_was_counted() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_service(2)]);
    lab.edit(&[add_server(1, 1), add_server(1, 2), add_server(2, 1)]);
    for (of, number) in [(1, 1), (1, 2), (2, 1)] {
        lab.maps.connect(lab.id(of, number), 1, 100);
    }
    lab.edit(&[delete_server(1, 2), zero(1)]);
    assert_eq!((lab.connections(1), lab.connections(2)), (0, 1));
    assert_eq!(lab.status(1).servers[0].counters, Counters::default());
    lab.maps.connect(lab.id(1, 1), 2, 40);
    assert_eq!(lab.status(1).counters.in_bytes, 40);
    lab.restart();
    assert_eq!((lab.connections(1), lab.connections(2)), (1, 1));
    lab.maps.disconnect();
    lab.director.sweep();
    assert_eq!(lab.connections(1), 1, "freeing a server moves nothing");
    lab.edit(&[Edit::Zero { service: None }]);
    assert_eq!((lab.connections(1), lab.connections(2)), (0, 0));
}

#[test]
fn rates_follow_the_kernels_estimator_and_zeroing() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_server(1, 1)]);
    for port in 0..200 {
        lab.maps.connect(lab.id(1, 1), port, 100);
    }
    lab.director.tick_rates();
    let status = lab.status(1);
    // 200 << 9, a quarter of it, (25600 + 511) >> 10; 20000 << 4, a quarter, (80000 + 15) >> 5.
    assert_eq!(
        (status.rates.connections, status.rates.in_bytes),
        (25, 2500)
    );
    assert_eq!(status.servers[0].rates, status.rates);
    lab.edit(&[zero(1)]);
    assert_eq!(lab.status(1).rates.connections, 0);
    lab.director.tick_rates();
    assert_eq!(lab.status(1).rates.connections, 0);
    lab.restart();
    lab.director.tick_rates();
    assert_eq!(lab.status(1).rates.connections, 0, "old counts are no rate");
}

#[test]
fn next_hops_reach_every_server_of_the_address() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_service(2), add_server(1, 1)]);
    let address = server(1).address;
    assert_eq!(lab.director.wanted(), BTreeSet::from([address]));
    lab.director.set_reach(address, Reach::Hop(hop()));
    lab.edit(&[add_server(2, 1)]);
    for of in [1, 2] {
        let entry = lab.maps.tables().servers[&lab.id(of, 1)].clone();
        assert_eq!(entry.hop, Some(hop()));
        let Next::Resolved { interface, mac } = lab.status(of).servers[0].next.clone() else {
            panic!("not resolved");
        };
        assert_eq!(
            (interface.as_str(), mac.as_str()),
            ("eth0", "02:00:00:00:00:fe")
        );
    }
    let why = "no route to it: add one".to_owned();
    lab.director.set_reach(address, Reach::Nowhere(why.clone()));
    assert_eq!(lab.maps.tables().servers[&lab.id(1, 1)].hop, None);
    assert_eq!(lab.status(1).servers[0].next, Next::Unresolved { why });
}

#[test]
fn a_server_on_the_director_needs_no_way_but_to_be_masqueraded() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_server(1, 1)]);
    let address = server(1).address;
    lab.director.set_reach(address, Reach::Here);
    assert_eq!(lab.status(1).servers[0].next, Next::Local);
    assert!(lab.maps.tables().servers[&lab.id(1, 1)].here);

    let forward = |forwarding| Edit::EditServer {
        service: service(1),
        server: server(1),
        options: ServerOptions {
            forwarding,
            ..server_options(1)
        },
    };
    lab.edit(&[forward(Forwarding::Masquerade)]);
    let next = lab.status(1).servers[0].next.clone();
    let Next::Unresolved { why } = next else {
        panic!("{next:?}");
    };
    assert!(why.contains("use -g"), "{why}");
    assert!(!lab.maps.tables().servers[&lab.id(1, 1)].here);
    lab.edit(&[forward(Forwarding::Tunnel(Tunnel::Ipip))]);
    assert_eq!(lab.status(1).servers[0].next, Next::Local);

    // Wherever its address is, when it is said to be here.
    lab.director.set_reach(address, Reach::Hop(hop()));
    lab.edit(&[forward(Forwarding::Local)]);
    assert_eq!(lab.status(1).servers[0].next, Next::Local);
    assert!(lab.maps.tables().servers[&lab.id(1, 1)].here);
}

#[test]
fn a_tunnel_needs_an_address_to_send_from() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_server(1, 1)]);
    let address = server(1).address;
    lab.edit(&[Edit::EditServer {
        service: service(1),
        server: server(1),
        options: ServerOptions {
            forwarding: Forwarding::Tunnel(Tunnel::Ipip),
            ..server_options(1)
        },
    }]);
    lab.director.set_reach(address, Reach::Hop(hop()));
    let next = lab.status(1).servers[0].next.clone();
    let Next::Unresolved { why } = next else {
        panic!("{next:?}");
    };
    assert!(why.contains("no IPv4 address"), "{why}");
    assert_eq!(lab.maps.tables().servers[&lab.id(1, 1)].hop, None);
    let with_source = NextHop {
        preferred_source: Some([10, 0, 0, 2].into()),
        ..hop()
    };
    lab.director
        .set_reach(address, Reach::Hop(with_source.clone()));
    assert_eq!(
        lab.maps.tables().servers[&lab.id(1, 1)].hop,
        Some(with_source)
    );
}

#[test]
fn what_a_router_says_of_a_tunnel_shortens_no_other_way_to_its_end() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_service(2)]);
    lab.edit(&[add_server(1, 1), add_server(2, 1)]);
    let forward = |of, forwarding| Edit::EditServer {
        service: service(of),
        server: server(1),
        options: ServerOptions {
            forwarding,
            ..server_options(1)
        },
    };
    lab.edit(&[forward(1, Forwarding::Tunnel(Tunnel::Ipip))]);
    let (address, source) = (server(1).address, [10, 0, 0, 2].into());
    let reach = |mtu| {
        Reach::Hop(NextHop {
            mtu,
            preferred_source: Some(source),
            ..hop()
        })
    };
    lab.director.set_reach(address, reach(1500));
    let error = TooBig {
        server: address,
        source,
        protocol: protocol::IPIP,
        port: None,
        mtu: 1400,
    };
    lab.director.shorten_way(&error, Instant::now());
    let mtu = |lab: &Lab, of| {
        let entry = lab.maps.tables().servers[&lab.id(of, 1)].clone();
        entry.hop.map(|hop| hop.mtu)
    };
    assert_eq!((mtu(&lab, 1), mtu(&lab, 2)), (Some(1400), Some(1500)));
    // Another next hop is narrow as well, until it is the narrowest.
    lab.director.set_reach(address, reach(9000));
    assert_eq!((mtu(&lab, 1), mtu(&lab, 2)), (Some(1400), Some(9000)));
    lab.director.set_reach(address, reach(1280));
    assert_eq!((mtu(&lab, 1), mtu(&lab, 2)), (Some(1280), Some(1280)));
    lab.director.set_reach(address, reach(1500));
    // As the servers are edited, so is what counts for them.
    lab.edit(&[
        forward(1, Forwarding::Route),
        forward(2, Forwarding::Tunnel(Tunnel::Ipip)),
    ]);
    assert_eq!((mtu(&lab, 1), mtu(&lab, 2)), (Some(1500), Some(1400)));
}

#[test]
fn settings_marks_and_answers_survive_the_agent() {
    let mut lab = Lab::new();
    let rule = MarkRule {
        protocol: None,
        from: None,
        to: None,
        ports: None,
        interface: Some("eth1".to_owned()),
        mark: 7,
    };
    lab.edit(&[
        add_service(1),
        Edit::SetNoServer {
            service: service(1),
            answer: NoServer::Reset,
        },
        Edit::AddMarkRule { rule: rule.clone() },
        Edit::Set {
            name: "pmtu_disc".to_owned(),
            value: Some(0),
        },
    ]);
    // Once from the journal, once from a snapshot.
    for _ in 0..2 {
        lab.restart();
        assert_eq!(lab.status(1).no_server, NoServer::Reset);
        assert_eq!(lab.director.marks().rules, std::slice::from_ref(&rule));
        assert_eq!(
            lab.maps.tables().settings,
            Some(Setting::ConnReuseMode.bits(1))
        );
        lab.director.compact();
    }
}

#[test]
fn next_hops_are_wanted_as_long_as_flows_live() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_server(1, 1)]);
    lab.maps.connect(lab.id(1, 1), 1, 1);
    lab.edit(&[delete_service(1)]);
    lab.director.sweep();
    assert_eq!(lab.director.wanted().len(), 1);
    lab.maps.disconnect();
    lab.director.sweep();
    assert!(lab.director.wanted().is_empty());
}

#[test]
fn maps_of_another_state_are_emptied() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_server(1, 1)]);
    lab.maps.connect(lab.id(1, 1), 1, 1);
    let other = TestDirectory::new();
    let director = start(&other, &lab.maps).expect("a start");
    assert!(lab.maps.tables().flows.is_empty());
    assert!(director.services().services.is_empty());
}

#[test]
fn new_maps_start_counters_and_ids_afresh() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_server(1, 1), add_server(1, 2)]);
    lab.maps.connect(lab.id(1, 1), 1, 1);
    lab.edit(&[delete_server(1, 1), zero(1)]);
    lab.maps = Memory::default();
    lab.restart();
    lab.check();
    assert_eq!(lab.director.model.servers().count(), 1, "no retired ones");
    lab.maps.connect(lab.id(1, 2), 1, 1);
    assert_eq!(lab.connections(1), 1);
}

#[test]
fn ids_that_only_flows_know_are_not_given_away() {
    let mut lab = Lab::new();
    lab.edit(&[add_service(1), add_server(1, 1)]);
    let unrecorded = lab.id(1, 1);
    lab.maps.connect(unrecorded, 1, 1);
    // The journal lost the edits: the file system was full, say.
    let journal = lab.directory.join("state/journal.ndjson");
    let text = std::fs::read_to_string(&journal).expect("there");
    let head = text.lines().next().expect("a head");
    std::fs::write(&journal, format!("{head}\n")).expect("writable");
    lab.restart();
    lab.edit(&[add_service(1), add_server(1, 2)]);
    assert_ne!(lab.id(1, 2), unrecorded);
    lab.restart();
    assert_ne!(lab.id(1, 2), unrecorded);
    lab.maps.disconnect();
    lab.maps
        .tables()
        .servers
        .get_mut(&unrecorded)
        .expect("kept")
        .live = false;
    lab.director.sweep();
    lab.edit(&[add_server(1, 3)]);
    assert_eq!(lab.id(1, 3), unrecorded);
}

#[test]
fn ten_thousand_servers_come_in_by_one_batch() {
    let mut lab = Lab::new();
    let mut edits = Vec::new();
    for number in 0..1_000u16 {
        let [high, low] = number.to_be_bytes();
        let address = numbered_service(high, low);
        edits.push(Edit::AddService {
            service: address,
            options: service_options("wrr"),
        });
        for member in 0..10 {
            edits.push(Edit::AddServer {
                service: address,
                server: server(member + 1),
                options: server_options(1),
            });
        }
    }
    lab.edit(&edits);
    lab.check();
    lab.restart();
    lab.check();
    assert_eq!(lab.director.model.servers().count(), 10_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Written by changes alone, in batches some of which fail, the tables hold what the model
    /// says; an id that flows use never means another server, over restarts too.
    #[test]
    fn the_tables_follow_the_model(
        steps in prop::collection::vec(
            (prop::collection::vec(edits(), 0..6), 0..8u8, any::<prop::sample::Index>()), 0..20),
    ) {
        let mut lab = Lab::new();
        let mut port = 0;
        for (batch, dice, which) in steps {
            lab.maps.tables().broken = dice == 0;
            lab.director.edit(&batch);
            lab.maps.tables().broken = false;
            lab.check();
            let listed: Vec<_> = lab.director.model.servers()
                .filter(|s| matches!(s.standing, Standing::Live { .. }))
                .map(|s| s.id)
                .collect();
            if dice % 2 == 1 && !listed.is_empty() {
                port += 1;
                lab.maps.connect(*which.get(&listed), port, 10);
            }
            match dice {
                2 => lab.restart(),
                4 => lab.maps.disconnect(),
                6 => lab.director.sweep(),
                0 | 1 | 3 | 5 | 7.. => {}
            }
            for flow in &lab.maps.tables().flows {
                prop_assert!(lab.director.model.server(flow.server).is_some());
            }
        }
    }
}

fn numbered_service(high: u8, low: u8) -> ServiceAddress {
    ServiceAddress::Address {
        protocol: Protocol::Tcp,
        address: [10, 1, high, low].into(),
        port: 80,
    }
}

#[test]
fn a_masqueraded_server_that_answers_nobody_is_told_of_until_it_does() {
    let mut lab = Lab::new();
    let forward = |number, forwarding| Edit::AddServer {
        service: service(1),
        server: server(number),
        options: ServerOptions {
            forwarding,
            ..server_options(1)
        },
    };
    lab.edit(&[
        add_service(1),
        forward(1, Forwarding::Masquerade),
        // The others' answers never come through the director, or they get no packets.
        forward(2, Forwarding::Route),
        forward(3, Forwarding::Masquerade),
    ]);
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let hop = NextHop {
        interface: "no-such-interface".into(),
        preferred_source: Some([192, 168, 0, 254].into()),
        ..hop()
    };
    let attached = |name: &str| Interface {
        name: name.to_owned(),
        mode: AttachMode::Native,
    };
    lab.maps.tables().interfaces = vec![attached("eth0"), attached("no-such-interface")];
    for number in [1, 2] {
        let address = server(number).address;
        lab.director.set_reach(address, Reach::Hop(hop.clone()));
    }
    for port in 1..=3 {
        for number in 1..=3 {
            lab.maps.connect(lab.id(1, number), port, 60);
        }
    }
    lab.director.watch_for_silence(after(1));
    assert_eq!(lab.director.warnings(), []);
    lab.director.watch_for_silence(after(4));
    let [Warning { kind, message }] = &lab.director.warnings()[..] else {
        panic!("{:?}", lab.director.warnings());
    };
    assert_eq!(*kind, WarningKind::NoReplies);
    for part in [
        "masqueraded server 192.168.0.1:80 of TCP 10.0.0.1:80",
        "3 connections of 3 packets",
        "`ip route replace default via 192.168.0.254`",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // No route mends it where answers come in beside the program.
    lab.maps.tables().interfaces.pop();
    let told = &lab.director.warnings()[0].message;
    for part in [
        "is not attached to no-such-interface",
        "`--interface no-such-interface`",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert!(!told.contains("route replace"), "{told}");
    lab.maps.answer(lab.id(1, 1));
    lab.director.watch_for_silence(after(5));
    assert_eq!(lab.director.warnings(), []);
}

fn masqueraded(weight: u32) -> ServerOptions {
    ServerOptions {
        forwarding: Forwarding::Masquerade,
        ..server_options(weight)
    }
}

/// A director with a masqueraded server that is silent after four seconds.
fn silent(start: Instant) -> Lab {
    let mut lab = Lab::new();
    let add = Edit::AddServer {
        service: service(1),
        server: server(1),
        options: masqueraded(1),
    };
    lab.edit(&[add_service(1), add]);
    lab.director.set_reach(server(1).address, Reach::Hop(hop()));
    lab.watch(start, 0);
    lab.connect_thrice();
    lab.watch(start, 1);
    lab.watch(start, 4);
    assert_eq!(lab.director.warnings().len(), 1);
    lab
}

impl Lab {
    fn watch(&mut self, start: Instant, seconds: u64) {
        self.director
            .watch_for_silence(start + Duration::from_secs(seconds));
    }

    fn connect_thrice(&self) {
        for port in 1..=3 {
            self.maps.connect(self.id(1, 1), port, 60);
        }
    }

    fn edit_options(&mut self, options: ServerOptions) {
        self.edit(&[Edit::EditServer {
            service: service(1),
            server: server(1),
            options,
        }]);
    }
}

#[test]
fn a_quiesced_server_may_be_silent() {
    let start = Instant::now();
    let mut lab = silent(start);
    lab.edit_options(masqueraded(0));
    assert_eq!(lab.director.warnings(), []);
    // A persistent client still comes to it.
    lab.connect_thrice();
    for seconds in 5..20 {
        lab.watch(start, seconds);
    }
    assert_eq!(lab.director.warnings(), []);
    // What went there meanwhile tells nothing.
    lab.edit_options(masqueraded(1));
    lab.watch(start, 20);
    lab.watch(start, 30);
    assert_eq!(lab.director.warnings(), []);
    lab.connect_thrice();
    lab.watch(start, 31);
    lab.watch(start, 34);
    assert_eq!(lab.director.warnings().len(), 1);
}

#[test]
fn counters_that_are_zeroed_end_no_silence() {
    let start = Instant::now();
    let mut lab = silent(start);
    let before = lab.director.warnings();
    lab.edit(&[Edit::Zero {
        service: Some(service(1)),
    }]);
    assert_eq!(lab.director.warnings(), before);
    lab.watch(start, 5);
    assert_eq!(lab.director.warnings(), before);
}

#[test]
fn what_a_server_got_while_it_was_routed_to_asks_for_no_answer() {
    let start = Instant::now();
    let mut lab = silent(start);
    // All between two looks.
    lab.edit_options(server_options(1));
    assert_eq!(lab.director.warnings(), []);
    lab.connect_thrice();
    lab.edit_options(masqueraded(1));
    lab.watch(start, 5);
    lab.watch(start, 20);
    assert_eq!(lab.director.warnings(), []);
}

#[test]
fn a_silent_server_that_goes_or_needs_no_answer_is_not_told_of() {
    let mut lab = Lab::new();
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let masqueraded = ServerOptions {
        forwarding: Forwarding::Masquerade,
        ..server_options(1)
    };
    for (round, end) in [
        Edit::EditServer {
            service: service(1),
            server: server(1),
            options: server_options(1),
        },
        delete_server(1, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let at = |seconds| after(round as u64 * 100 + seconds);
        lab.edit(&[
            add_service(1),
            Edit::AddServer {
                service: service(1),
                server: server(1),
                options: masqueraded.clone(),
            },
        ]);
        lab.director.set_reach(server(1).address, Reach::Hop(hop()));
        lab.director.watch_for_silence(at(0));
        for port in 1..=3 {
            lab.maps.connect(lab.id(1, 1), port, 60);
        }
        lab.director.watch_for_silence(at(1));
        lab.director.watch_for_silence(at(4));
        assert_eq!(lab.director.warnings().len(), 1);
        lab.edit(&[end]);
        lab.director.watch_for_silence(at(5));
        assert_eq!(lab.director.warnings(), []);
        lab.edit(&[delete_service(1)]);
    }
}

#[test]
fn only_marks_of_protocols_with_answers_ask_for_one() {
    let rule = |protocol| MarkRule {
        protocol,
        from: None,
        to: None,
        ports: None,
        interface: None,
        mark: 7,
    };
    for (protocols, watched) in [
        (&[Some(Protocol::Tcp), Some(Protocol::Sctp)][..], true),
        (&[Some(Protocol::Tcp), Some(Protocol::Udp)], false),
        (&[None], false),
    ] {
        let rules: Vec<_> = protocols.iter().map(|protocol| rule(*protocol)).collect();
        let server = Server {
            id: ServerId(1),
            service: ServiceAddress::Mark {
                mark: 7,
                family: Family::Ipv4,
            },
            address: server(1),
            options: ServerOptions {
                forwarding: Forwarding::Masquerade,
                ..server_options(1)
            },
            last_weight: 0,
            standing: Standing::Retired { service: None },
        };
        assert_eq!(has_to_answer(&server, &rules), watched, "{protocols:?}");
    }
}

#[test]
fn a_duplicate_address_is_told_of_with_the_services_at_it() {
    let mut lab = Lab::new();
    let address = std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100);
    let duplicate = |length| Duplicate {
        address,
        length,
        interface: "eth0".to_owned(),
    };
    lab.director.set_duplicates(BTreeSet::from([duplicate(64)]));
    let told = |director: &Director| {
        let warnings = director.warnings();
        let [Warning { kind, message }] = &warnings[..] else {
            panic!("{warnings:?}");
        };
        assert_eq!(*kind, WarningKind::DuplicateAddress);
        assert!(
            message.contains("`ip address delete fd00::100/64 dev eth0`"),
            "{message}"
        );
        message.clone()
    };
    let own = told(&lab.director);
    assert!(
        own.starts_with("the director's own address, fd00::100 on eth0"),
        "{own}"
    );
    for (port, whose) in [
        (80, "the virtual address of TCP [fd00::100]:80, fd00::100"),
        (
            443,
            "the virtual address of TCP [fd00::100]:80 and 1 more, ",
        ),
    ] {
        lab.edit(&[Edit::AddService {
            service: ServiceAddress::Address {
                protocol: Protocol::Tcp,
                address: address.into(),
                port,
            },
            options: service_options("rr"),
        }]);
        let message = told(&lab.director);
        assert!(message.starts_with(whose), "{message}");
    }
    lab.director.set_duplicates(BTreeSet::new());
    assert_eq!(lab.director.warnings(), []);
}

#[test]
fn a_service_at_a_link_local_address_is_told_of() {
    let mut lab = Lab::new();
    let service = |address: &str| ServiceAddress::Address {
        protocol: Protocol::Tcp,
        address: address.parse().expect("an address"),
        port: 80,
    };
    let add = |address| Edit::AddService {
        service: service(address),
        options: service_options("rr"),
    };
    lab.edit(&[add("fd00::1"), add("10.0.0.1"), add("fe80::1")]);
    let warnings = lab.director.warnings();
    let [Warning { kind, message }] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    assert_eq!(*kind, WarningKind::LinkLocal);
    assert!(message.starts_with("TCP [fe80::1]:80 is at a"), "{message}");
}
