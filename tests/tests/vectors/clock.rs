//! The clock of the kernel: ticks are jiffies, and deadlines are kept without anyone's help.

use lb_common::flow::Word;
use lb_common::layout::{HotBucket, maps};
use lb_common::memory::Memory;
use lb_common::reason::Reason;
use lb_common::sched::Kind::Rr;
use lb_common::state::Class;
use lb_common::state::tcp::State;
use lb_common::wire::MacAddr;
use lb_tests::case::{INGRESS, SIZES, tcp_service};
use lb_tests::kernel::Kernel;
use lb_tests::packet::flags::{ACK, SYN};
use lb_tests::packet::{DIRECTOR_MAC, tcp};
use std::time::{Duration, Instant};

const CLIENT: &str = "192.0.2.1:40000";
const VIP: &str = "10.0.0.100:80";

#[test]
fn deadlines_are_kept_by_the_kernels_own_clock() {
    // A tick is a jiffy here, so that five of them pass within a test.
    const TICK_SHIFT: u32 = 0;
    const TIMEOUT: u32 = 5;
    let mut memory = Memory::new(SIZES)
        .with_services(&[tcp_service(VIP, Rr, &[1])])
        .with_ingress(INGRESS, MacAddr::new(DIRECTOR_MAC));
    let half_open = Class::from(State::SynRecv);
    memory.control.timeouts[usize::from(half_open.number())] = TIMEOUT;
    let mut kernel = Kernel::load(&memory, TICK_SHIFT).expect("loading takes root");

    let before = kernel.now().expect("the clock runs");
    kernel.run(&tcp(CLIENT, VIP, SYN).bytes()).expect("it runs");
    let after = kernel.now().expect("the clock runs");
    let buckets: Vec<HotBucket> = kernel.values(maps::FLOWS);
    let mut words = buckets
        .iter()
        .flat_map(|bucket| bucket.entries)
        .map(|[_, word]| Word::from_bits(word));
    let word = words.find(|word| *word != Word::VOID).expect("a flow");
    assert_eq!(word.class(), half_open);
    let passed = after.bits().wrapping_sub(before.bits());
    let since = word.deadline().remaining(before) - TIMEOUT;
    assert!(since <= passed, "{before:?}, {word:?}, {after:?}");

    let patience = Instant::now() + Duration::from_secs(60);
    while word.is_live(kernel.now().expect("the clock runs")) {
        assert!(Instant::now() < patience, "the clock stands still");
    }
    let (action, _) = kernel.run(&tcp(CLIENT, VIP, ACK).bytes()).expect("it runs");
    assert_eq!(action, 2, "XDP_PASS");
    let reasons: Vec<u64> = kernel.values(maps::REASONS);
    assert_eq!(reasons[Reason::NoFlow as usize], 1);
}
