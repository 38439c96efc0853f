//! Shells in which `ipvsadm` is one of the two that are compared: Debian's on the kernel's
//! `ip_vs`, or lb-ctl on lb. Names, interfaces and the size of the connection table are the same.

use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use xtask::lab::Lab;
use xtask::lab::background::Background;
use xtask::lab::director::{Director, Programs};
use xtask::vm::{Output, Running, Series, Vm};

/// Names of machines, as the transcripts of lb-ctl's tests know them.
const HOSTS: &str = "127.0.0.1 localhost
::1 localhost
10.0.0.77 vip.example.org vip
192.168.0.77 rs.example.org rs
2001:db8::77 v6.example.org
10.0.0.78 a-really-long-host-name.with-a-long-domain.example.org
";

/// Asks nobody else for names.
const SWITCH: &str = "hosts: files\nservices: files\nprotocols: files\n";

/// Where sync daemons may run, by the name that the transcripts have for it. What the kernel would
/// have to wait for is switched off.
const INTERFACE: &str = "ip link add dummy0 type veth peer name dummy1
    echo 0 >/proc/sys/net/ipv6/conf/dummy0/accept_dad
    ip link set dummy1 up && ip link set dummy0 up";

/// As the lab's directors have it.
const CARD: &str = "ip link set eth0 up && ip address add 10.0.0.2/24 dev eth0";

/// Half of the 4096 that the kernel's connection table has.
const FLOWS: &str = "2048";

/// Runs scripts.
pub(crate) trait Shell {
    /// Runs a script with `/bin/sh` as root.
    fn run(&mut self, script: &str) -> Result<Output>;
}

/// Debian's ipvsadm on the kernel's `ip_vs`.
pub(crate) struct Kernel(Running);

impl Kernel {
    pub(crate) fn boot() -> Result<Self> {
        let vm = Vm::new(Series::V6_1)?.with_file("/etc/services");
        let mut vm = vm.boot()?;
        vm.run(&format!(
            "set -e
            cp services /etc
            cat >/etc/hosts <<'END'\n{HOSTS}END
            cat >/etc/nsswitch.conf <<'END'\n{SWITCH}END
            modprobe ip_vs
            {INTERFACE}
            {CARD}"
        ))?
        .success()
        .context("cannot set up the machine")?;
        Ok(Self(vm))
    }
}

impl Shell for Kernel {
    fn run(&mut self, script: &str) -> Result<Output> {
        self.0.run(script)
    }
}

/// lb-ctl under ipvsadm's name.
pub(crate) struct Product<'a> {
    director: Director<'a>,
    _agent: Background,
}

impl<'a> Product<'a> {
    pub(crate) fn start(lab: &'a Lab) -> Result<Self> {
        let director = Director::new(lab, 1, Programs::built()?);
        let dir = director.host().dir();
        fs::create_dir(dir.join("bin"))?;
        symlink(&director.programs().ctl, dir.join("bin/ipvsadm"))?;
        fs::write(dir.join("hosts"), HOSTS)?;
        fs::write(dir.join("nsswitch.conf"), SWITCH)?;
        director.host().run("sh", ["-c", INTERFACE])?;
        let mut command = director.agent("eth0");
        command.args(["--flows", FLOWS]);
        let agent = director.start_with(command)?;
        Ok(Self {
            director,
            _agent: agent,
        })
    }
}

impl Shell for Product<'_> {
    fn run(&mut self, script: &str) -> Result<Output> {
        let dir = self.director.host().dir();
        let file = |name: &str| dir.join(name);
        // The mounts go with the shell: its mount namespace is its own.
        let prelude = format!(
            "mount --bind {0}/hosts /etc/hosts && mount --bind {0}/nsswitch.conf /etc/nsswitch.conf \
             || exit 125\nPATH={0}/bin:$PATH\n",
            dir.display()
        );
        fs::write(file("script"), prelude + script)?;
        let mut command: Command = self.director.host().command("sh");
        let status = command
            .arg(file("script"))
            .env("LB_SOCKET", self.director.socket())
            .stdin(Stdio::null())
            .stdout(File::create(file("stdout"))?)
            .stderr(File::create(file("stderr"))?)
            .status()
            .context("cannot run a shell")?;
        let text = |name| -> Result<String> {
            Ok(String::from_utf8_lossy(&fs::read(file(name))?).into_owned())
        };
        Ok(Output {
            status: status.code().context("the shell was killed")?,
            stdout: text("stdout")?,
            stderr: text("stderr")?,
        })
    }
}
