//! FTP (RFC 959): vsftpd on real servers, and clients of it.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use xtask::lab::background::Background;
use xtask::lab::host::Host;
use xtask::lab::wait;

use crate::scene::DEADLINE;

/// The name of the file that every server has; its directory has nothing else.
pub const FILE: &str = "parcel";

/// How long [`FILE`] is, in bytes.
pub const LENGTH: usize = 1 << 20;

/// A vsftpd on a real server of the lab.
#[derive(Debug)]
pub struct Server {
    _running: Background,
    /// The file that it serves.
    pub file: PathBuf,
}

impl Server {
    /// Starts one that listens on a port of every address of the host, IPv4 and IPv6; it opens data
    /// connections from the port below. Everybody may read [`FILE`], which is another one on each
    /// host. All its files are in the host's directory.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let dir = host.dir().join(format!("vsftpd-{port}"));
        let (root, empty, config) = (dir.join("root"), dir.join("empty"), dir.join("config"));
        for dir in [&root, &empty] {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let file = root.join(FILE);
        fs::write(&file, bytes(host.name()))?;
        let text = format!(
            "background=NO
listen=NO
listen_ipv6=YES
listen_port={port}
ftp_data_port={}
connect_from_port_20=YES
anonymous_enable=YES
no_anon_password=YES
local_enable=NO
anon_root={}
secure_chroot_dir={}
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
xferlog_enable=NO
ftpd_banner={}
",
            port - 1,
            root.display(),
            empty.display(),
            host.name()
        );
        fs::write(&config, text)?;
        let mut command = host.command("vsftpd");
        command.arg(&config);
        let running = host.spawn("vsftpd", command)?;
        wait::until("vsftpd answers", DEADLINE, || {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            Ok(match host.inside(|| Session::open(address))? {
                Ok(_) => wait::Seen::Done(()),
                Err(error) => wait::Seen::NotYet(format!("{error:#}; {}", running.log())),
            })
        })?;
        Ok(Self {
            _running: running,
            file,
        })
    }
}

/// What a file has in it that nobody can mistake for another.
fn bytes(name: &str) -> Vec<u8> {
    let mut state = name.bytes().fold(1_u64, |state, byte| {
        state.wrapping_mul(257) ^ u64::from(byte)
    });
    let mut bytes = Vec::with_capacity(LENGTH);
    while bytes.len() < LENGTH {
        // Knuth's constants for a linear congruence of 64 bits.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend(state.to_be_bytes());
    }
    bytes
}

/// A control connection, line by line.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<TcpStream>,
    /// The other end.
    peer: SocketAddr,
}

impl Session {
    /// Connects, and logs in as anybody.
    ///
    /// # Errors
    /// When the server does not answer as it should.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, xtask::load::PATIENCE)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut session = Self {
            stream: BufReader::new(stream),
            peer: address,
        };
        session.expect("220")?;
        session.ask("USER anonymous", "230")?;
        Ok(session)
    }

    /// Sends a command; gives the reply, which must have this code.
    ///
    /// # Errors
    /// When there is another reply, or none.
    pub fn ask(&mut self, command: &str, code: &str) -> Result<String> {
        self.say(command)?;
        self.expect(code)
            .with_context(|| format!("after {command}"))
    }

    /// Sends a command, whatever becomes of it.
    ///
    /// # Errors
    /// When the connection is closed.
    pub fn say(&mut self, command: &str) -> Result<()> {
        let line = format!("{command}\r\n");
        Ok(self.stream.get_mut().write_all(line.as_bytes())?)
    }

    /// Reads a reply, which must have this code.
    ///
    /// # Errors
    /// When there is another reply, or none.
    pub fn expect(&mut self, code: &str) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).context("no reply")?;
        ensure!(line.starts_with(code), "{line:?} and not {code}");
        Ok(line)
    }

    /// Sends PASV or EPSV; gives where the server says that it listens.
    ///
    /// # Errors
    /// When it does not say.
    pub fn passive(&mut self, command: &str) -> Result<SocketAddr> {
        let code = if command == "PASV" { "227" } else { "229" };
        let reply = self.ask(command, code)?;
        let (_, inner) = reply.split_once('(').context("no parenthesis")?;
        let (inner, _) = inner.split_once(')').context("no parenthesis")?;
        if let Some(port) = inner.strip_prefix("|||") {
            return Ok(SocketAddr::new(
                self.peer.ip(),
                port.trim_end_matches('|').parse()?,
            ));
        }
        let numbers: Vec<u8> = inner.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let [a, b, c, d, high, low] = numbers[..] else {
            bail!("no address in {reply:?}");
        };
        let address = IpAddr::from([a, b, c, d]);
        Ok(SocketAddr::new(address, u16::from_be_bytes([high, low])))
    }

    /// Fetches [`FILE`] through a listener of the server's.
    ///
    /// # Errors
    /// When it does not come.
    pub fn fetch(&mut self, listener: SocketAddr) -> Result<Vec<u8>> {
        let mut data = TcpStream::connect_timeout(&listener, xtask::load::PATIENCE)
            .with_context(|| format!("cannot connect to {listener}"))?;
        data.set_read_timeout(Some(DEADLINE))?;
        self.ask(&format!("RETR {FILE}"), "150")?;
        let mut file = Vec::new();
        data.read_to_end(&mut file)?;
        self.expect("226")?;
        Ok(file)
    }
}
