//! That the ruler measures what it says, on the kernel: `cargo test -p xtask -- --ignored`.

use super::baseline;
use super::ruler::{Expect, Flows, Maps, Ruler, Run, TX};
use super::subject::Subject;
use super::traffic::{Traffic, Transport, Visit};
use aya::Ebpf;
use aya::programs::{TestRun as _, TestRunOptions};

const NEEDS: &str = "needs root and the eBPF toolchain";

fn bench() -> (Ebpf, Maps) {
    let object = super::object().expect(NEEDS);
    let mut object = super::load(&object).expect(NEEDS);
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
#[ignore = "needs root and the eBPF toolchain"]
fn only_the_feeder_makes_every_repeat_the_same() {
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
#[ignore = "needs root and the eBPF toolchain"]
fn a_lookup_that_misses_is_refused() {
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
#[ignore = "needs root and the eBPF toolchain"]
fn packets_before_the_last_are_judged() {
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

/// Every kind of packet reaches the program whole: the ruler checks each header checksum.
#[test]
#[ignore = "needs root and the eBPF toolchain"]
fn every_kind_of_traffic_is_fed() {
    let (object, maps) = bench();
    let mut ruler = Ruler::new(&object, maps).unwrap();
    let subjects = baseline::subjects(&object).unwrap();
    let parse = row(&subjects, "parse");
    for transport in [Transport::Tcp(0x02), Transport::Udp] {
        for reply in [false, true] {
            for services in [1, 10_000] {
                let traffic = Traffic {
                    transport,
                    reply,
                    services,
                    ..Traffic::TCP
                };
                for (flows, visit) in [
                    (Flows::Known(1 << 20), Visit::AtRandom),
                    (Flows::Known(1 << 20), Visit::InTurn),
                    (Flows::New, Visit::InTurn),
                ] {
                    let run = Run {
                        flows,
                        visit,
                        ..run(parse, &traffic, 1000)
                    };
                    ruler.run(&run).unwrap();
                }
            }
        }
    }
    let wrong = Run {
        expect: Expect {
            readdressed: false,
            ..parse.expect
        },
        ..run(parse, &Traffic::TCP, 1)
    };
    ruler.run(&wrong).unwrap_err();
}
