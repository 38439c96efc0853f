//! The machine and its oracle. Boots Debian's kernel, and fetches it the first time.

use std::net::{Ipv4Addr, SocketAddrV4};
use xtask::vm::oracle::{self, Director};
use xtask::vm::{Output, Series, Vm};

const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 80);

#[test]
fn scripts_run_apart_from_each_other_and_from_the_console() {
    let mut vm = Vm::new(Series::V6_1)
        .unwrap()
        .with_file(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm.rs"))
        .boot()
        .unwrap();
    let script = "echo to the console >/dev/console; printf 'a\\n\\000b'; echo c >&2; exit 7";
    let expected = Output {
        status: 7,
        stdout: "a\n\0b".to_owned(),
        stderr: "c\n".to_owned(),
    };
    assert_eq!(vm.run(script).unwrap(), expected);

    // More than any buffer on the way holds.
    let long = vm.run("yes | head -c 3000000").unwrap();
    assert_eq!((long.status, long.stdout.len()), (0, 3_000_000));

    let here = vm
        .run("cat vm.rs; ls /sys/kernel/btf/vmlinux; grep -q ' /sys/fs/bpf bpf ' /proc/mounts")
        .unwrap();
    assert_eq!(
        here.stdout,
        concat!(include_str!("vm.rs"), "/sys/kernel/btf/vmlinux\n")
    );
    assert_eq!(here.status, 0, "{here:?}");

    let panic = vm
        .run("echo c >/proc/sysrq-trigger")
        .unwrap_err()
        .to_string();
    assert!(panic.contains("Kernel panic"), "{panic}");
}

#[test]
fn ip_vs_picks_servers_by_weight_in_its_own_order() {
    let commands = [
        "-A -u 10.0.0.1:80 -s wrr",
        "-a -u 10.0.0.1:80 -r 10.0.0.2 -g -w 3",
        "-a -u 10.0.0.1:80 -r 10.0.0.3 -g -w 1",
    ];
    let picks = oracle::picks(Series::V6_1, &commands, SERVICE, 12).unwrap();
    let last: Vec<u8> = picks.iter().map(|server| server.ip().octets()[3]).collect();
    // The server added last is asked first, and the first round starts below every weight.
    assert_eq!(last, [3, 2, 2, 2, 3, 2, 2, 2, 3, 2, 2, 2]);
}

#[test]
fn a_server_is_known_under_every_forwarding_method() {
    let mut director = Director::boot(Series::V6_1).unwrap();
    director.add_address(*SERVICE.ip()).unwrap();
    // A client each: a flow of the one before still leads to the server that is gone.
    for (port, method, server) in [
        (1024, "-g", "10.0.0.2:80"),
        (1025, "-m", "10.0.0.2:8080"),
        (1026, "-i", "10.0.0.2:80"),
    ] {
        let mut ipvsadm = |arguments: &str| director.ipvsadm(arguments).unwrap().success().unwrap();
        ipvsadm("-C");
        ipvsadm("-A -u 10.0.0.1:80 -s rr");
        ipvsadm(&format!("-a -u 10.0.0.1:80 -r {server} {method}"));
        let client = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), port);
        let picks = director.picks(SERVICE, [client]).unwrap();
        assert_eq!(picks, [Some(server.parse().unwrap())], "{method}");
    }

    // Nobody to serve: the client hears of it, and no server does.
    director
        .ipvsadm("-d -u 10.0.0.1:80 -r 10.0.0.2")
        .unwrap()
        .success()
        .unwrap();
    let client = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1027);
    assert_eq!(director.picks(SERVICE, [client]).unwrap(), [None]);

    let refused = director.ipvsadm("-d -u 10.0.0.1:80 -r 10.0.0.2").unwrap();
    assert_eq!((refused.status, refused.stdout.as_str()), (255, ""));
    assert!(
        refused.stderr.contains("No such destination"),
        "{refused:?}"
    );
}
