//! That the ruler measures what it says, on the kernel: as root, with the eBPF toolchain.

use super::baseline;
use super::lb::{self, Lb};
use super::ruler::{Expect, Flows, Maps, PASS, Ruler, Run, TX};
use super::subject::Subject;
use super::traffic::{Traffic, Transport, Visit};
use aya::Ebpf;
use aya::programs::{TestRun as _, TestRunOptions};

const NEEDS: &str = "needs root and the eBPF toolchain";

fn bench() -> (Ebpf, Maps) {
    let mut object = super::load("bench").expect(NEEDS);
    baseline::configure(&mut object).unwrap();
    let maps = Maps::take(&mut object).unwrap();
    (object, maps)
}

fn run<'a>(subject: &'a Subject, traffic: &'a Traffic, packets: u32) -> Run<'a> {
    Run {
        program: &subject.program,
        traffic,
        flows: Flows::Known(1 << 10),
        visit: Visit::AtRandom,
        expect: subject.expect,
        packets,
    }
}

fn row<'a>(subjects: &'a [Subject], name: &str) -> &'a Subject {
    subjects.iter().find(|row| row.name == name).unwrap()
}

/// Why there is a feeder: repeated on its own, a program that grows the packet runs out of
/// headroom, and what is measured from then on is its failure.
#[test]
fn root_only_the_feeder_makes_every_repeat_the_same() {
    let (object, maps) = bench();
    let packet = Traffic::TCP.packet();
    let alone = super::xdp(&object, "nothing_grown").unwrap();
    let mut out = [0; 2048];
    let result = alone
        .test_run(TestRunOptions {
            data_in: Some(&packet),
            data_out: Some(&mut out),
            repeat: 1000,
            ..TestRunOptions::new()
        })
        .unwrap();
    assert_ne!(result.return_value, TX);
    assert!(result.data_size_out as usize > packet.len() + 20);

    let mut ruler = Ruler::new(&object, maps).unwrap();
    let subjects = baseline::subjects(&object).unwrap();
    let grown = row(&subjects, baseline::NOTHING_GROWN);
    ruler.run(&run(grown, &Traffic::TCP, 1000)).unwrap();
}

/// The path of failure is fast and must not count.
#[test]
fn root_a_lookup_that_misses_is_refused() {
    let (object, maps) = bench();
    let mut ruler = Ruler::new(&object, maps).unwrap();
    let subjects = baseline::subjects(&object).unwrap();
    let h = row(&subjects, baseline::H);
    let error = ruler.run(&run(h, &Traffic::TCP, 1)).unwrap_err();
    assert!(error.to_string().contains("XDP_DROP"), "{error}");
    h.fill(&mut ruler, Flows::Known(1 << 10)).unwrap();
    ruler.run(&run(h, &Traffic::TCP, 1000)).unwrap();
}

/// One good packet at the end does not hide bad ones before it.
#[test]
fn root_packets_before_the_last_are_judged() {
    let (object, maps) = bench();
    let mut ruler = Ruler::new(&object, maps).unwrap();
    let subjects = baseline::subjects(&object).unwrap();
    let h = row(&subjects, baseline::H);
    // Half of the flows are known: sooner or later a run ends with a known one.
    h.fill(&mut ruler, Flows::Known(1 << 9)).unwrap();
    let errors = (0..64)
        .map(|_| ruler.run(&run(h, &Traffic::TCP, 1000)).unwrap_err())
        .map(|error| error.to_string())
        .collect::<Vec<_>>();
    assert!(errors.iter().any(|error| error.contains("XDP_DROP")));
    assert!(
        errors
            .iter()
            .any(|error| error.contains("were readdressed"))
    );
}

/// What the feeder writes is the packet that was asked for, byte by byte.
#[test]
fn root_flow_zero_is_fed_as_described() {
    let (object, maps) = bench();
    let mut ruler = Ruler::new(&object, maps).unwrap();
    let subjects = baseline::subjects(&object).unwrap();
    let nothing = row(&subjects, baseline::NOTHING);
    for traffic in [Traffic::TCP, Traffic::UDP, Traffic::TCP6] {
        for (reply, services) in [(false, 1), (false, 10_000), (true, 1)] {
            let traffic = Traffic {
                reply,
                services,
                ..traffic
            };
            let run = Run {
                flows: Flows::Known(1),
                ..run(nothing, &traffic, 3)
            };
            assert_eq!(ruler.run(&run).unwrap().last, traffic.packet());
        }
    }
}

/// Every flow of every kind reaches the program whole: the ruler checks header checksums.
#[test]
fn root_flows_differ_and_are_sound() {
    let (object, maps) = bench();
    let mut ruler = Ruler::new(&object, maps).unwrap();
    let subjects = baseline::subjects(&object).unwrap();
    let parse = row(&subjects, "parse");
    let many = Flows::Known(1 << 20);
    for (reply, services) in [(false, 1), (false, 10_000), (true, 1)] {
        let traffic = Traffic {
            transport: Transport::Tcp(0x02),
            reply,
            services,
            ..Traffic::TCP
        };
        for (flows, visit) in [
            (many, Visit::AtRandom),
            (many, Visit::InTurn),
            (Flows::New, Visit::InTurn),
        ] {
            let run = Run {
                flows,
                visit,
                ..run(parse, &traffic, 1)
            };
            let seen = (0..100)
                .map(|_| ruler.run(&run).unwrap().last[26..38].to_vec())
                .collect::<std::collections::BTreeSet<_>>();
            assert!(seen.len() > 95, "{} flows of 100 packets", seen.len());
        }
    }
}

/// The yardstick does what a balancer has to: wraps the whole datagram for one server.
#[test]
fn root_h_tunnels() {
    let (object, maps) = bench();
    let mut ruler = Ruler::new(&object, maps).unwrap();
    let subjects = baseline::subjects(&object).unwrap();
    let h = row(&subjects, baseline::H);
    h.fill(&mut ruler, Flows::Known(1)).unwrap();
    let run = Run {
        flows: Flows::Known(1),
        ..run(h, &Traffic::TCP, 5)
    };
    let (inner, outer) = (Traffic::TCP.packet(), ruler.run(&run).unwrap().last);
    assert_eq!(outer[34..], inner[14..]);
    assert_eq!(outer[12..15], [0x08, 0x00, 0x45]);
    assert_eq!(outer[16..18], 60_u16.to_be_bytes());
    assert_eq!(outer[23], 4, "IPIP");
    assert_eq!(outer[30..32], [192, 168]);
}

/// An expectation that is not met is refused, whichever it is.
#[test]
fn root_wrong_expectations_are_refused() {
    let (object, maps) = bench();
    let mut ruler = Ruler::new(&object, maps).unwrap();
    let subjects = baseline::subjects(&object).unwrap();
    let parse = row(&subjects, "parse");
    let right = parse.expect;
    for expect in [
        Expect {
            action: PASS,
            ..right
        },
        Expect {
            growth: 20,
            ..right
        },
        Expect {
            readdressed: false,
            ..right
        },
    ] {
        let run = Run {
            expect,
            ..run(parse, &Traffic::TCP, 1)
        };
        ruler.run(&run).unwrap_err();
    }
}

/// lb's rows measure direct routing: the datagram with one hop less, for a server's address.
#[test]
fn root_lb_routes_directly() {
    let (object, maps) = bench();
    let mut ruler = Ruler::new(&object, maps).unwrap();
    let subjects = Lb::open().unwrap().subjects;
    for name in [lb::TCP, lb::UDP, lb::SERVICES, lb::KERNEL_TCP] {
        let subject = row(&subjects, name);
        subject.fill(&mut ruler, Flows::Known(1)).unwrap();
        let run = Run {
            flows: Flows::Known(1),
            ..run(subject, &subject.traffic, 3)
        };
        let (fed, left) = (subject.traffic.packet(), ruler.run(&run).unwrap().last);
        assert_eq!(left[0], 0x06, "{name}");
        assert_eq!(left[6..12], fed[..6], "{name}");
        assert_eq!(left[22], fed[22] - 1, "{name}");
        assert_eq!(left[26..], fed[26..], "{name}");
    }
}

/// Flows that the table does not hold are not measured as if it did.
#[test]
fn root_unknown_flows_are_refused() {
    let subjects = Lb::open().unwrap().subjects;
    let counted = row(&subjects, lb::TCP).counted.as_ref().unwrap();
    let error = counted.check(1000).unwrap_err();
    assert!(error.to_string().contains("only 0 of 1000"), "{error}");
}
