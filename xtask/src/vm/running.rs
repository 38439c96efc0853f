//! A machine that runs: QEMU, and the control port through which scripts go in.

use anyhow::{Context as _, Result, anyhow, bail};
use std::fs;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What a script left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit status, as the shell gives it: 128 and more for a signal.
    pub status: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Returns the standard output of a script that succeeded.
    ///
    /// # Errors
    ///
    /// Fails with the script's own words when its status is not 0.
    pub fn success(self) -> Result<String> {
        if self.status != 0 {
            bail!(
                "status {} in the machine: {}{}",
                self.status,
                self.stdout,
                self.stderr
            );
        }
        Ok(self.stdout)
    }
}

/// The oldest processor with all that the kernel makes use of. Newer ones have wider registers,
/// which programs then use and which emulation is slow at.
const CPU: &str = "Nehalem";

/// A kernel that panics reboots at once, which ends QEMU. Randomized addresses and guards against
/// speculation make the emulator translate programs anew: starting one takes 27 ms without them,
/// 110 ms with.
const CMDLINE: &str = "console=ttyS0 quiet panic=-1 norandmaps mitigations=off";

/// A machine that takes scripts. It is gone when this is dropped, and soon after when this process
/// dies: it powers off when the control port closes.
pub struct Running {
    qemu: Child,
    /// QEMU's standard input and output, which is the machine's control port.
    control: BufReader<Deadline>,
    limit: Duration,
    card: UnixDatagram,
    /// Holds sockets, archive and console log. Removed last.
    directory: Scratch,
}

impl Running {
    pub(super) fn start(image: PathBuf, archive: &[u8], limit: Duration) -> Result<Self> {
        let directory = Scratch::new()?;
        let initramfs = directory.0.join("initramfs");
        fs::write(&initramfs, archive)?;
        let (host, machine) = (directory.0.join("host"), directory.0.join("machine"));
        let card = UnixDatagram::bind(&host)?;

        let (ours, theirs) = UnixStream::pair()?;
        let theirs = OwnedFd::from(theirs);
        let qemu = Command::new("qemu-system-x86_64")
            .args([
                "-nodefaults",
                "-no-user-config",
                "-no-reboot",
                "-display",
                "none",
            ])
            // One processor: a kernel that patches its own code while another emulated one runs it
            // has been seen to die of it at boot.
            .args(["-accel", "tcg", "-cpu", CPU])
            .args(["-smp", "1", "-m", "1024"])
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", CMDLINE])
            .args([
                "-serial",
                &format!("file:{}", directory.console().display()),
            ])
            .args([
                "-chardev",
                "stdio,id=control,signal=off",
                "-device",
                "virtio-serial-pci",
            ])
            .args(["-device", "virtserialport,chardev=control"])
            .arg("-netdev")
            .arg(format!(
                "dgram,id=card,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                machine.display(),
                host.display()
            ))
            .args([
                "-device",
                "virtio-net-pci,netdev=card,mac=02:00:00:00:00:01,romfile=",
            ])
            .stdin(Stdio::from(theirs.try_clone()?))
            .stdout(Stdio::from(theirs))
            .stderr(Stdio::from(fs::File::create(directory.0.join("qemu"))?))
            .spawn()
            .context("cannot start qemu-system-x86_64")?;

        let control = BufReader::new(Deadline {
            stream: ours,
            until: Instant::now() + limit,
        });
        let mut running = Self {
            qemu,
            control,
            limit,
            card,
            directory,
        };
        let mut line = String::new();
        match running.control.read_line(&mut line) {
            Ok(_) if line == "ready\n" => {}
            Ok(_) => {
                return Err(running
                    .failure(&anyhow!("it said {line:?}"))
                    .context("it did not boot"));
            }
            Err(error) => return Err(running.failure(&error.into()).context("it did not boot")),
        }
        running
            .card
            .connect(&machine)
            .context("QEMU has not opened the network card's socket")?;
        Ok(running)
    }

    /// Runs `script` with `/bin/sh` as root in `/root`, and waits for its end.
    ///
    /// # Errors
    ///
    /// Fails when the machine dies or the script exceeds the limit; the end of the console is part
    /// of the message. A script's own exit status is no error.
    pub fn run(&mut self, script: &str) -> Result<Output> {
        self.control.get_mut().until = Instant::now() + self.limit;
        self.exchange(script).map_err(|error| self.failure(&error))
    }

    /// Returns the machine's network card, `eth0` inside: each datagram is one Ethernet frame.
    pub fn card(&self) -> &UnixDatagram {
        &self.card
    }

    fn exchange(&mut self, script: &str) -> Result<Output> {
        let mut port = &self.control.get_ref().stream;
        write!(port, "{}\n{script}", script.len())?;
        let mut line = String::new();
        self.control.read_line(&mut line)?;
        let numbers: Vec<usize> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [status, stdout, stderr] = numbers[..] else {
            bail!("it ended, or answered {line:?}");
        };
        let mut text = |length| -> Result<String> {
            let mut bytes = vec![0; length];
            self.control.read_exact(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Output {
            status: i32::try_from(status)?,
            stdout: text(stdout)?,
            stderr: text(stderr)?,
        })
    }

    /// Adds to `error` what the machine and QEMU said last.
    fn failure(&self, error: &anyhow::Error) -> anyhow::Error {
        let last = |name: &Path| {
            let text = fs::read(name).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<_> = text.lines().collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        };
        anyhow!(
            "the machine failed: {error:#}\n{}\n{}",
            last(&self.directory.0.join("qemu")),
            last(&self.directory.console())
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Neither fails unless QEMU ended by itself.
        self.qemu.kill().ok();
        self.qemu.wait().ok();
    }
}

/// A stream that is read until a point in time.
struct Deadline {
    stream: UnixStream,
    until: Instant,
}

impl Read for Deadline {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        let over = || io::Error::new(ErrorKind::TimedOut, "its time is over");
        if left.is_zero() {
            return Err(over());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(bytes).map_err(|error| {
            if error.kind() == ErrorKind::WouldBlock {
                over()
            } else {
                error
            }
        })
    }
}

/// A directory of this process's, removed when dropped. Its path is short, as those of sockets
/// have to be.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lb-vm-{}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn console(&self) -> PathBuf {
        self.0.join("console")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in a temporary directory harms nobody.
        fs::remove_dir_all(&self.0).ok();
    }
}
