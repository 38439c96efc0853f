use super::check::{self, Program};
use super::machine::{Address, Answers, LO, Link, Machine, full};
use super::options::{Decapsulation, Wanted};
use super::plan::{self, Action, Step, ipv4};
use super::record::{self, Here, Record};
use crate::cli::Conflict;
use crate::config::XdpMode;
use lb_common::api::AttachMode;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn link(name: &str, ifindex: u32) -> Link {
    Link {
        name: name.to_owned(),
        ifindex,
        up: true,
        mtu: 1500,
        mac: (name != LO).then_some(MAC),
    }
}

fn address(interface: &str, text: &str, prefix: u8) -> Address {
    Address {
        interface: interface.to_owned(),
        address: ip(text),
        prefix,
    }
}

/// A machine as it is after installation, with Debian's settings.
fn machine() -> Machine {
    let mut machine = Machine {
        links: vec![link(LO, 1), link("eth0", 2), link("eth1", 3)],
        addresses: vec![
            address(LO, "127.0.0.1", 8),
            address(LO, "::1", 128),
            address("eth0", "10.0.0.11", 24),
        ],
        ..Machine::default()
    };
    for interface in ["all", "eth0", "eth1"] {
        for name in ["arp_ignore", "arp_announce", "rp_filter"] {
            machine
                .sysctls
                .insert(ipv4(interface, name), "0".to_owned());
        }
    }
    for key in [plan::DISABLE_IPV6, "net/ipv4/tcp_syncookies"] {
        machine.sysctls.insert(key.to_owned(), "0".to_owned());
    }
    machine.answers = [Some(answers("eth0")), Some(answers("eth0"))];
    machine
}

fn answers(interface: &str) -> Answers {
    Answers {
        interface: interface.to_owned(),
        advmss: None,
    }
}

fn wanted(vips: &[&str], tunnels: &[&str]) -> Wanted {
    Wanted {
        vips: vips.iter().map(|vip| ip(vip)).collect(),
        interface: "eth0".to_owned(),
        decapsulation: (!tunnels.is_empty()).then(|| Decapsulation {
            tunnels: tunnels.iter().map(|&tunnel| tunnel.to_owned()).collect(),
            gue_port: 6080,
            xdp_mode: XdpMode::Native,
            pin_path: "/sys/fs/bpf/lb-real-server".into(),
        }),
    }
}

/// Carries out steps on the model of a machine; each must begin where the machine is.
fn carry_out(machine: &mut Machine, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Sysctl { key, from, to } => {
                let before = machine.sysctls.insert(key.clone(), to.clone());
                assert_eq!(before.as_ref(), Some(from), "{step}");
            }
            Step::Add(address) => {
                assert!(!plan::is_on_lo(machine, *address), "{step}");
                machine.addresses.push(Address {
                    interface: LO.to_owned(),
                    address: *address,
                    prefix: full(*address),
                });
            }
            Step::Remove(address) => {
                assert!(plan::is_on_lo(machine, *address), "{step}");
                let place = |other: &Address| other.interface == LO && other.address == *address;
                machine.addresses.retain(|other| !place(other));
            }
        }
    }
}

fn setup(machine: &mut Machine, wanted: &Wanted, before: Option<&Record>) -> (Vec<Step>, Record) {
    let here = Here::find().expect("a /proc");
    let plan = plan::setup(wanted, machine, before, &here).expect("nothing in the way");
    carry_out(machine, &plan.steps);
    (plan.steps, plan.record)
}

fn lines(steps: &[Step]) -> Vec<String> {
    steps.iter().map(Step::to_string).collect()
}

#[test]
fn a_fresh_machine_gets_all_of_it_arp_before_addresses() {
    let mut machine = machine();
    machine
        .sysctls
        .insert(ipv4("all", "rp_filter"), "1".to_owned());
    let (steps, _) = setup(
        &mut machine,
        &wanted(&["10.0.0.100", "fd00::100"], &["ipip"]),
        None,
    );
    assert_eq!(
        lines(&steps),
        [
            "net.ipv4.conf.all.arp_ignore: 0 -> 1",
            "net.ipv4.conf.all.arp_announce: 0 -> 2",
            "net.ipv4.conf.eth0.arp_ignore: 0 -> 1",
            "net.ipv4.conf.eth0.arp_announce: 0 -> 2",
            "net.ipv4.conf.eth0.rp_filter: 0 -> 2",
            "lo: add 10.0.0.100/32",
            "lo: add fd00::100/128",
        ]
    );
}

#[test]
fn direct_routing_leaves_rp_filter_and_ipv6_leaves_all_of_ipv4() {
    let mut machine = machine();
    machine
        .sysctls
        .insert(ipv4("all", "rp_filter"), "1".to_owned());
    let (steps, _) = setup(&mut machine.clone(), &wanted(&["10.0.0.100"], &[]), None);
    assert!(!lines(&steps).iter().any(|line| line.contains("rp_filter")));
    let (steps, _) = setup(&mut machine, &wanted(&["fd00::100"], &["gre"]), None);
    assert_eq!(lines(&steps), ["lo: add fd00::100/128"]);
}

#[test]
fn what_was_right_before_is_not_ours() {
    let mut machine = machine();
    for (name, value) in [("arp_ignore", "2"), ("arp_announce", "2")] {
        machine.sysctls.insert(ipv4("all", name), value.to_owned());
        machine.sysctls.insert(ipv4("eth0", name), value.to_owned());
    }
    machine.addresses.push(address(LO, "10.0.0.100", 32));
    let original = machine.clone();
    let (steps, record) = setup(&mut machine, &wanted(&["10.0.0.100"], &[]), None);
    assert_eq!(lines(&steps), Vec::<String>::new());
    let (steps, stay) = plan::undo(&record, &machine);
    assert_eq!((steps, stay), (vec![], vec![]));
    assert_eq!(machine.addresses, original.addresses);
}

#[test]
fn a_second_setup_changes_nothing_and_other_addresses_only_those() {
    let mut machine = machine();
    let original = machine.clone();
    let first = wanted(&["10.0.0.100"], &["ipip"]);
    let (_, record) = setup(&mut machine, &first, None);
    let (steps, record) = setup(&mut machine, &first, Some(&record));
    assert_eq!(lines(&steps), Vec::<String>::new());
    let second = wanted(&["10.0.0.101"], &["ipip"]);
    let (steps, record) = setup(&mut machine, &second, Some(&record));
    assert_eq!(
        lines(&steps),
        ["lo: add 10.0.0.101/32", "lo: remove 10.0.0.100/32"]
    );
    let (steps, stay) = plan::undo(&record, &machine);
    carry_out(&mut machine, &steps);
    assert_eq!(stay, Vec::<String>::new());
    assert_eq!(
        (machine.sysctls, machine.addresses),
        (original.sysctls, original.addresses)
    );
}

#[test]
fn what_somebody_changed_since_stays() {
    let mut machine = machine();
    let (_, record) = setup(&mut machine, &wanted(&["10.0.0.100"], &[]), None);
    let key = ipv4("all", "arp_ignore");
    machine.sysctls.insert(key.clone(), "8".to_owned());
    let (steps, stay) = plan::undo(&record, &machine);
    assert!(
        !lines(&steps)
            .iter()
            .any(|line| line.contains("all.arp_ignore"))
    );
    assert_eq!(
        stay,
        [
            "net.ipv4.conf.all.arp_ignore stays 8: it was 0, was set to 1, and somebody changed it \
          since"
        ]
    );
    // Nor does the next setup take it for its own.
    let (_, record) = setup(&mut machine, &wanted(&["10.0.0.100"], &[]), Some(&record));
    assert_eq!(record.sysctl(&key), None);
}

#[test]
fn what_stands_in_the_way_is_refused_with_the_cure() {
    let here = Here::find().expect("a /proc");
    let refused = |machine: &Machine, vip: &str| {
        plan::setup(&wanted(&[vip], &[]), machine, None, &here).expect_err("refused")
    };
    for (place, cure) in [
        (
            address("eth0", "10.0.0.100", 32),
            "ip address del 10.0.0.100/32 dev eth0",
        ),
        (
            address("eth1", "10.0.0.100", 24),
            "ip address del 10.0.0.100/24 dev eth1",
        ),
        (
            address(LO, "10.0.0.100", 24),
            "ip address del 10.0.0.100/24 dev lo",
        ),
    ] {
        let mut machine = machine();
        machine.addresses.push(place);
        let error = refused(&machine, "10.0.0.100");
        assert!(error.is::<Conflict>());
        assert!(error.to_string().contains(cure), "{error}");
    }
    let mut down = machine();
    down.links[0].up = false;
    assert!(
        refused(&down, "10.0.0.100")
            .to_string()
            .contains("ip link set lo up")
    );
    let mut without = machine();
    without
        .sysctls
        .insert(plan::DISABLE_IPV6.to_owned(), "1".to_owned());
    let error = refused(&without, "fd00::1").to_string();
    assert!(
        error.contains("sysctl -w net.ipv6.conf.lo.disable_ipv6=0"),
        "{error}"
    );
}

prop_compose! {
    fn any_machine()(
        values in prop::collection::vec(0u8..4, 9),
        vips in prop::collection::vec(0u8..4, 0..3),
    ) -> Machine {
        let mut machine = machine();
        let mut values = values.iter();
        for interface in ["all", "eth0", "eth1"] {
            for name in ["arp_ignore", "arp_announce", "rp_filter"] {
                let value = values.next().expect("nine of them");
                machine.sysctls.insert(ipv4(interface, name), value.to_string());
            }
        }
        for vip in vips {
            let vip = address(LO, &format!("10.0.0.10{vip}"), 32);
            if !machine.addresses.contains(&vip) {
                machine.addresses.push(vip);
            }
        }
        machine
    }
}

prop_compose! {
    fn any_wanted()(
        vips in prop::collection::btree_set(0u8..4, 1..4),
        tunnels in any::<bool>(),
        interface in prop::sample::select(vec!["eth0", "eth1"]),
    ) -> Wanted {
        let vips: Vec<String> = vips.iter().map(|vip| format!("10.0.0.10{vip}")).collect();
        let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
        Wanted {
            interface: interface.to_owned(),
            ..wanted(&vips, if tunnels { &["gue"] } else { &[] })
        }
    }
}

proptest! {
    /// However many setups there were, each leaves what it asks for, the same setup again changes
    /// nothing, and undoing leaves the machine as it was before the first.
    #[test]
    fn any_setups_are_undone(machine in any_machine(), all in prop::collection::vec(any_wanted(), 1..5)) {
        let mut now = machine.clone();
        let mut record: Option<Record> = None;
        for wanted in &all {
            let (_, new) = setup(&mut now, wanted, record.as_ref());
            for vip in &wanted.vips {
                prop_assert!(plan::is_on_lo(&now, *vip));
            }
            let name = &wanted.interface;
            prop_assert!(plan::effective(&now, name, "arp_announce") >= 2);
            if wanted.decapsulation.is_some() {
                prop_assert_ne!(plan::effective(&now, name, "rp_filter"), 1);
            }
            let (again, _) = setup(&mut now, wanted, Some(&new));
            prop_assert_eq!(lines(&again), Vec::<String>::new());
            record = Some(new);
        }
        let (steps, stay) = plan::undo(&record.expect("at least one"), &now);
        carry_out(&mut now, &steps);
        prop_assert_eq!(stay, Vec::<String>::new());
        prop_assert_eq!(&now.sysctls, &machine.sysctls);
        let sorted = |machine: &Machine| {
            let mut addresses = machine.addresses.clone();
            addresses.sort_by_key(|a| (a.interface.clone(), a.address));
            addresses
        };
        prop_assert_eq!(sorted(&now), sorted(&machine));
    }
}

/// A machine with programs, and the record of what was changed on it.
#[derive(Clone, Debug)]
struct World {
    machine: Machine,
    programs: BTreeMap<PathBuf, Wanted>,
    record: Option<Record>,
}

impl World {
    fn new(machine: Machine) -> Self {
        Self {
            machine,
            programs: BTreeMap::new(),
            record: None,
        }
    }

    /// What a setup would do.
    fn actions(&self, wanted: &Wanted) -> Vec<Action> {
        let here = Here::find().expect("a /proc");
        let before = self.record.as_ref();
        let plan = plan::setup(wanted, &self.machine, before, &here).expect("nothing in the way");
        let program = wanted
            .decapsulation
            .as_ref()
            .map(|decapsulation| record::Program {
                pin_path: decapsulation.pin_path.clone(),
                mounted: false,
                mac: MAC,
            });
        plan::actions(plan, program, before)
    }

    /// Does these; each finds itself in the record.
    fn act(&mut self, actions: &[Action]) {
        for action in actions {
            let recorded = |program: &record::Program| {
                let mut programs = self.record.iter().flat_map(Record::programs);
                programs.any(|other| other == program)
            };
            match action {
                Action::Record(record) => self.record = Some(record.clone()),
                Action::Forget => self.record = None,
                Action::Attach(wanted, program) => {
                    assert!(recorded(program), "{program:?}: {:?}", self.record);
                    self.programs
                        .insert(program.pin_path.clone(), wanted.clone());
                }
                Action::Detach(program, _) => {
                    assert!(recorded(program), "{program:?}: {:?}", self.record);
                    self.programs.remove(&program.pin_path);
                }
                Action::Step(step) => {
                    let record = self.record.as_ref().expect("a record first");
                    let is_recorded = match step {
                        Step::Sysctl { key, .. } => record.sysctl(key).is_some(),
                        Step::Add(address) | Step::Remove(address) => {
                            record.added.contains(address)
                        }
                    };
                    assert!(is_recorded, "{step}: {record:?}");
                    carry_out(&mut self.machine, std::slice::from_ref(step));
                }
            }
        }
    }

    /// Undoes all that is in the record; says what stays.
    fn undo(&mut self) -> Vec<String> {
        let Some(record) = self.record.take() else {
            return Vec::new();
        };
        let (steps, stay) = plan::undo(&record, &self.machine);
        carry_out(&mut self.machine, &steps);
        for program in record.programs() {
            self.programs.remove(&program.pin_path);
        }
        stay
    }

    /// Settings, addresses and programs, in order.
    fn state(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let mut addresses = self.machine.addresses.clone();
        addresses.sort_by_key(|a| (a.interface.clone(), a.address));
        (
            self.machine.sysctls.clone(),
            addresses,
            self.programs.clone(),
        )
    }
}

/// Setups of which each needs something that the next does not.
fn different_setups() -> [Wanted; 4] {
    let at = |mut wanted: Wanted, pin_path: &str| {
        if let Some(decapsulation) = &mut wanted.decapsulation {
            decapsulation.pin_path = pin_path.into();
        }
        wanted
    };
    [
        at(wanted(&["10.0.0.100"], &["ipip"]), "/sys/fs/bpf/a"),
        at(wanted(&["10.0.0.101"], &["gue"]), "/sys/fs/bpf/b"),
        Wanted {
            interface: "eth1".to_owned(),
            ..wanted(&["10.0.0.101", "10.0.0.102"], &[])
        },
        at(wanted(&["fd00::100"], &["gre"]), "/sys/fs/bpf/a"),
    ]
}

fn strict() -> World {
    let mut machine = machine();
    machine
        .sysctls
        .insert(ipv4("all", "rp_filter"), "1".to_owned());
    World::new(machine)
}

#[test]
fn a_setup_over_another_that_is_killed_anywhere_is_undone() {
    let original = strict();
    for first in different_setups() {
        let mut before = original.clone();
        before.act(&before.actions(&first));
        for second in different_setups() {
            let actions = before.actions(&second);
            for done in 0..=actions.len() {
                let mut killed = before.clone();
                killed.act(&actions[..done]);
                let place = format!("{first:?}, then {done} actions of {actions:?}");
                // By itself, and by way of another setup, killed when it was recorded.
                for third in different_setups() {
                    let mut twice = killed.clone();
                    twice.act(&twice.actions(&third)[..1]);
                    assert_eq!(twice.undo(), Vec::<String>::new(), "{place}, {third:?}");
                    assert_eq!(twice.state(), original.state(), "{place}, {third:?}");
                }
                assert_eq!(killed.undo(), Vec::<String>::new(), "{place}");
                assert_eq!(killed.state(), original.state(), "{place}");
            }
        }
    }
}

#[test]
fn a_setup_over_another_leaves_nothing_of_that() {
    let mut world = strict();
    for wanted in different_setups() {
        world.act(&world.actions(&wanted));
        let mut fresh = strict();
        fresh.act(&fresh.actions(&wanted));
        assert_eq!(world.state(), fresh.state(), "{wanted:?}");
        let record = world.record.as_ref().expect("a record");
        let fresh = fresh.record.expect("a record");
        assert_eq!(
            Vec::from_iter(record.programs()),
            Vec::from_iter(fresh.programs())
        );
        assert_eq!(
            (&record.added, &record.sysctls),
            (&fresh.added, &fresh.sysctls)
        );
    }
}

#[test]
fn a_setup_that_fails_anywhere_leaves_the_one_before() {
    let original = strict();
    let firsts = different_setups().map(Some);
    for first in firsts.into_iter().chain([None]) {
        let mut before = original.clone();
        if let Some(first) = &first {
            before.act(&before.actions(first));
        }
        for second in different_setups() {
            let actions = before.actions(&second);
            for (done, failed) in actions.iter().enumerate() {
                let mut world = before.clone();
                world.act(&actions[..done]);
                let place = format!("{first:?}, then {done} actions of {actions:?}");
                let back = plan::back(&actions[..done], failed, before.record.as_ref());
                world.act(&back);
                assert_eq!(world.state(), before.state(), "{place}");
                assert_eq!(world.record, before.record, "{place}");
            }
        }
    }
}

/// What is wrong with a machine: the report's lines that are not ok, and whether it is.
fn troubles(wanted: &Wanted, machine: &Machine, program: &Program) -> (bool, Vec<String>) {
    let report = check::check(wanted, machine, program);
    let troubles = report.troubles().map(ToString::to_string).collect();
    (report.is_ok(), troubles)
}

/// A machine that was set up, and the program that goes with it.
fn good(wanted: &Wanted) -> (Machine, Program) {
    let mut machine = machine();
    machine
        .sysctls
        .insert("net/ipv4/tcp_syncookies".to_owned(), "1".to_owned());
    machine.links[1].mtu = 1600;
    setup(&mut machine, wanted, None);
    let decapsulation = wanted.decapsulation.clone();
    let program = decapsulation.map_or_else(Program::default, |decapsulation| Program {
        on_interface: Some(7),
        attached: Some((7, AttachMode::Native)),
        told: Some((decapsulation, MAC)),
        events: Some(vec![("ipip", 10), ("plain", 3)]),
    });
    (machine, program)
}

#[test]
fn after_a_setup_nothing_is_wrong() {
    for tunnels in [&[][..], &["ipip", "gre", "gue"]] {
        let wanted = wanted(&["10.0.0.100", "fd00::100"], tunnels);
        let (machine, program) = good(&wanted);
        assert_eq!(troubles(&wanted, &machine, &program), (true, vec![]));
    }
}

#[test]
fn everything_that_is_missing_is_found_with_its_fix() {
    type Break = fn(&mut Machine, &mut Program);
    let cases: [(Break, &str, &str); 16] = [
        (
            |machine, _| machine.addresses.retain(|a| a.address != ip("10.0.0.100")),
            "10.0.0.100 is not on lo",
            "ip address add 10.0.0.100/32 dev lo",
        ),
        (
            |machine, _| machine.addresses.retain(|a| a.address != ip("fd00::100")),
            "fd00::100 is not on lo",
            "ip address add fd00::100/128 dev lo nodad",
        ),
        (
            |machine, _| machine.addresses.push(address("eth0", "10.0.0.100", 24)),
            "10.0.0.100 is on eth0",
            "ip address del 10.0.0.100/24 dev eth0",
        ),
        (
            |machine, _| machine.addresses.push(address(LO, "10.0.0.100", 8)),
            "makes all of that network",
            "ip address del 10.0.0.100/8 dev lo",
        ),
        (
            |machine, _| {
                for interface in ["all", "eth0"] {
                    machine
                        .sysctls
                        .insert(ipv4(interface, "arp_ignore"), "0".to_owned());
                }
            },
            "arp_ignore=0 on eth0",
            "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.eth0.arp_ignore=1",
        ),
        (
            |machine, _| {
                machine
                    .sysctls
                    .insert(ipv4("eth0", "arp_ignore"), "3".to_owned());
            },
            "arp_ignore=3 on eth0",
            "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.eth0.arp_ignore=1",
        ),
        (
            |machine, _| {
                for interface in ["all", "eth0"] {
                    machine
                        .sysctls
                        .insert(ipv4(interface, "arp_announce"), "1".to_owned());
                }
            },
            "arp_announce=1 on eth0",
            "sysctl -w net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.eth0.arp_announce=2",
        ),
        (
            |machine, _| {
                machine
                    .sysctls
                    .insert(ipv4("all", "rp_filter"), "1".to_owned());
                machine
                    .sysctls
                    .insert(ipv4("eth0", "rp_filter"), "0".to_owned());
                machine.answers[0] = Some(answers("eth1"));
            },
            "whom this host answers by eth1",
            "sysctl -w net.ipv4.conf.eth0.rp_filter=2",
        ),
        (
            |machine, _| {
                machine
                    .sysctls
                    .insert(ipv4("all", "rp_filter"), "1".to_owned());
                machine.answers[0] = None;
            },
            "drops packets out of tunnels",
            "sysctl -w net.ipv4.conf.eth0.rp_filter=2",
        ),
        (
            |_, program| (program.attached, program.on_interface) = (None, None),
            "no program is attached",
            "lb-ctl realserver setup --vip 10.0.0.100 fd00::100 --interface eth0 --decapsulate ipip",
        ),
        (
            |_, program| program.on_interface = Some(8),
            "another XDP program (id 8)",
            "ip link set dev eth0 xdp off",
        ),
        (
            |machine, _| machine.links[1].mac = Some([2, 0, 0, 0, 0, 9]),
            "another Ethernet address",
            "lb-ctl realserver setup",
        ),
        (
            |_, program| {
                let (told, mac) = program.told.clone().expect("told");
                let tunnels = vec!["gre".to_owned()];
                program.told = Some((Decapsulation { tunnels, ..told }, mac));
            },
            "takes packets out of gre, not ipip",
            "lb-ctl realserver setup",
        ),
        (
            |machine, _| machine.links[0].up = false,
            "lo is down",
            "ip link set lo up",
        ),
        (
            |machine, _| machine.links[1].up = false,
            "eth0 is down",
            "ip link set eth0 up",
        ),
        (
            |machine, _| {
                machine.links.remove(1);
            },
            "no interface eth0",
            "ip link",
        ),
    ];
    for (spoil, text, fix) in cases {
        let wanted = wanted(&["10.0.0.100", "fd00::100"], &["ipip"]);
        let (mut machine, mut program) = good(&wanted);
        spoil(&mut machine, &mut program);
        let (ok, troubles) = troubles(&wanted, &machine, &program);
        assert!(!ok, "{text}");
        let found = troubles.iter().find(|trouble| trouble.contains(text));
        let found = found.unwrap_or_else(|| panic!("{text}: {troubles:#?}"));
        assert!(found.contains(fix), "{found}");
    }
}

#[test]
fn advice_is_no_failure() {
    let decapsulating = wanted(&["10.0.0.100", "fd00::100"], &["ipip", "gre", "gue"]);
    let (mut machine, mut program) = good(&decapsulating);
    machine.links[1].mtu = 1500;
    machine
        .sysctls
        .insert("net/ipv4/tcp_syncookies".to_owned(), "0".to_owned());
    machine.answers[1] = None;
    program.events = Some(vec![("fragment", 5), ("plain", 9)]);
    let (ok, found) = troubles(&decapsulating, &machine, &program);
    assert!(ok);
    for text in [
        // 1500, outer 20, UDP and GUE 12; and the inner headers of each family.
        "mtu 1532`, and as much on all of the way",
        "ip route change default ... advmss 1428",
        "ip -6 route change default ... advmss 1408",
        "packets of clients with more than 1468 bytes",
        "sysctl -w net.ipv4.tcp_syncookies=1",
        "no IPv6 route to clients",
        "5 packets: a fragment of an outer packet",
    ] {
        assert!(
            found.iter().any(|line| line.contains(text)),
            "{text}: {found:#?}"
        );
    }
    // A route that tells clients to send shorter segments is as good.
    machine.answers = [1428, 1408].map(|advmss| {
        Some(Answers {
            advmss: Some(advmss),
            ..answers("eth0")
        })
    });
    let (_, found) = troubles(&decapsulating, &machine, &program);
    assert!(
        !found.iter().any(|line| line.contains("has MTU")),
        "{found:#?}"
    );
    // Over IPv6 the outer header has 40 bytes.
    machine.answers = [None, None];
    machine.addresses.retain(|a| a.interface != "eth0");
    machine.addresses.push(address("eth0", "fd00::11", 64));
    let ipip = wanted(&["fd00::100"], &["ipip"]);
    let (_, found) = troubles(&ipip, &machine, &program);
    assert!(
        found.iter().any(|line| line.contains("eth0 mtu 1540")),
        "{found:#?}"
    );
}

/// The document that the tests of `lb-ctl` hold against its schema.
const DOCUMENT: &str = include_str!("../../../lb-ctl/tests/realserver/report.json");

#[test]
fn the_report_is_the_document_that_lb_ctl_describes() {
    let wanted = wanted(&["10.0.0.100", "fd00::100"], &["ipip", "gue"]);
    let (mut machine, program) = good(&wanted);
    machine.addresses.retain(|a| a.address != ip("10.0.0.100"));
    machine.links[1].mtu = 1500;
    let report = serde_json::to_value(check::check(&wanted, &machine, &program)).expect("JSON");
    let document: serde_json::Value = serde_json::from_str(DOCUMENT).expect("JSON");
    assert_eq!(report, document, "{report:#}");
}
