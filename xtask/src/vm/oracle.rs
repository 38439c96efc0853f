//! The kernel's `ip_vs` as the judge: Ethernet frames go into a machine that directs them, and
//! what leaves it tells which server it chose.
//!
//! A [`Director`] has one network card, and everything that is not its own lies behind it: this
//! side answers every ARP request with a MAC that spells the address asked for. So servers need
//! not exist, a frame names its next hop under every forwarding method, and a frame to a server
//! is the whole effect of a decision.
//!
//! Nothing here waits for time to pass. After each frame an echo request follows; the card keeps
//! order, so when the answer is back, all that the frame gave rise to is back, too.
//!
//! IPv4 only; IPv6 is switched off on the card, for it speaks unasked.

use super::{Output, Running, Series, Vm};
use anyhow::{Context as _, Result, bail, ensure};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// The card's MAC, to which frames are addressed.
pub const DIRECTOR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The director's own address, which answers echo requests. Services have others.
pub const DIRECTOR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Who sends the echo requests.
const FENCE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// A machine that forwards by `ip_vs`.
pub struct Director {
    vm: Running,
    /// The number of the last echo request.
    fence: u16,
}

impl Director {
    /// Boots a director with a kernel of `series`.
    ///
    /// # Errors
    ///
    /// As [`Vm::new`] and [`Vm::boot`].
    pub fn boot(series: Series) -> Result<Self> {
        let mut vm = Vm::new(series)?.boot()?;
        vm.run(&format!(
            "set -e
            cd /proc/sys/net/ipv4
            echo 1 >ip_forward
            for option in rp_filter send_redirects; do echo 0 >conf/all/$option; done
            echo 0 >conf/eth0/send_redirects
            echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6
            modprobe ip_vs
            ip link set eth0 up
            ip address add {DIRECTOR}/32 dev eth0
            ip route add default dev eth0"
        ))?
        .success()
        .context("cannot set up the director")?;
        // Longer than any exchange takes on a busy host; only a machine that hangs meets it.
        vm.card().set_read_timeout(Some(Duration::from_secs(60)))?;
        vm.card().set_write_timeout(Some(Duration::from_secs(60)))?;
        let mut director = Self { vm, fence: 0 };
        // Whatever the card said while it came up.
        director.drain()?;
        Ok(director)
    }

    /// Runs `ipvsadm` with `arguments`, written as in a shell.
    ///
    /// # Errors
    ///
    /// As [`Running::run`]. A refusal by ipvsadm is no error but a status.
    pub fn ipvsadm(&mut self, arguments: &str) -> Result<Output> {
        self.vm.run(&format!("ipvsadm {arguments}"))
    }

    /// Makes `address` one of the director's, as a service's address has to be.
    ///
    /// # Errors
    ///
    /// Fails when it is one already, and as [`Running::run`].
    pub fn add_address(&mut self, address: Ipv4Addr) -> Result<()> {
        self.vm
            .run(&format!("ip address add {address}/32 dev lo"))?
            .success()?;
        Ok(())
    }

    /// Runs any script inside.
    ///
    /// # Errors
    ///
    /// As [`Running::run`].
    pub fn run(&mut self, script: &str) -> Result<Output> {
        self.vm.run(script)
    }

    /// Sends an Ethernet frame and returns those that left the director for it.
    ///
    /// # Errors
    ///
    /// Fails when the machine does not answer.
    pub fn send(&mut self, frame: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.vm
            .card()
            .send(frame)
            .context("cannot send to the machine")?;
        self.drain()
    }

    /// Sends Ethernet frames, in order, and returns those that left the director for them, in order.
    ///
    /// # Errors
    ///
    /// Fails when the machine does not answer.
    pub fn send_all(&mut self, frames: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        /// What leaves the director has room in its card until it is taken.
        const BATCH: usize = 64;
        let mut left = Vec::new();
        for batch in frames.chunks(BATCH) {
            for frame in batch {
                self.vm
                    .card()
                    .send(frame)
                    .context("cannot send to the machine")?;
            }
            left.extend(self.drain()?);
        }
        Ok(left)
    }

    /// Sends one UDP datagram to `service` from each of `clients`, in order, and returns the
    /// server that each went to, if any. New clients are new flows, so this is the scheduler's
    /// sequence.
    ///
    /// # Errors
    ///
    /// As [`Self::send`]; and when a datagram makes several frames.
    pub fn picks(
        &mut self,
        service: SocketAddrV4,
        clients: impl IntoIterator<Item = SocketAddrV4>,
    ) -> Result<Vec<Option<SocketAddrV4>>> {
        let pick = |client| {
            let frames = self.send(&udp(client, service))?;
            match &frames[..] {
                [] => Ok(None),
                [frame] => server(frame),
                _ => bail!("{client} to {service} made {} frames", frames.len()),
            }
        };
        clients.into_iter().map(pick).collect()
    }

    /// Returns what the director has sent up to now, having answered its ARP requests.
    fn drain(&mut self) -> Result<Vec<Vec<u8>>> {
        self.send_fence()?;
        let mut frames = Vec::new();
        let mut buffer = [0; 0x1_0000];
        loop {
            let length = self
                .vm
                .card()
                .recv(&mut buffer)
                .context("the machine is silent")?;
            let frame = &buffer[..length];
            if let Some(answer) = arp_answer(frame) {
                self.vm.card().send(&answer)?;
                // Frames that waited for the answer leave before the answer to a later request.
                self.send_fence()?;
            } else if let Some(number) = echo_number(frame) {
                if number == self.fence {
                    return Ok(frames);
                }
            } else {
                frames.push(frame.to_vec());
            }
        }
    }

    fn send_fence(&mut self) -> Result<()> {
        self.fence = self.fence.wrapping_add(1);
        self.vm.card().send(&echo_request(self.fence))?;
        Ok(())
    }
}

/// Boots a director, gives it `commands`, the arguments of ipvsadm, and returns the servers that
/// the first `flows` new flows to the UDP service `service` go to, in order.
///
/// # Errors
///
/// Fails when ipvsadm refuses a command, when a flow reaches no server, and as [`Director::boot`].
pub fn picks(
    series: Series,
    commands: &[&str],
    service: SocketAddrV4,
    flows: u16,
) -> Result<Vec<SocketAddrV4>> {
    let mut director = Director::boot(series)?;
    director.add_address(*service.ip())?;
    for command in commands {
        director
            .ipvsadm(command)?
            .success()
            .with_context(|| format!("ipvsadm {command}"))?;
    }
    ensure!(
        flows < 0xfc00,
        "{flows} flows are more than one client has ports for"
    );
    let clients =
        (1024..1024 + flows).map(|port| SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), port));
    let picks = director.picks(service, clients)?;
    let picks: Option<Vec<_>> = picks.into_iter().collect();
    picks.context("a flow reached no server")
}

/// Returns the MAC that stands for `address` on the director's wire.
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [2, 0, a, b, c, d]
}

/// Reads the server from a frame sent to one: its address from the MAC, its port from the
/// datagram or segment, within IPIP too. ICMP goes to no server.
///
/// # Errors
///
/// Fails when the frame is not IPv4.
pub fn server(frame: &[u8]) -> Result<Option<SocketAddrV4>> {
    const IPIP: u8 = 4;
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const SCTP: u8 = 132;
    ensure!(frame.get(12..14) == Some(&[8, 0]), "not IPv4: {frame:02x?}");
    let mut packet = &frame[14..];
    loop {
        let header = usize::from(packet.first().context("truncated")? & 15) * 4;
        let protocol = *packet.get(9).context("truncated")?;
        let payload = packet.get(header..).context("truncated")?;
        match protocol {
            IPIP => packet = payload,
            TCP | UDP | SCTP => {
                let address: [u8; 4] = frame[2..6].try_into().expect("four of more than 14");
                let port = payload.get(2..4).context("truncated")?;
                let port = u16::from_be_bytes([port[0], port[1]]);
                return Ok(Some(SocketAddrV4::new(address.into(), port)));
            }
            _ => return Ok(None),
        }
    }
}

/// Builds a UDP datagram without payload, to the director's MAC. It carries no UDP checksum.
pub fn udp(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(8);
    for word in [from.port(), to.port(), 8, 0] {
        datagram.extend(word.to_be_bytes());
    }
    ipv4(17, *from.ip(), *to.ip(), &datagram)
}

fn echo_request(number: u16) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0, 0];
    message.extend(number.to_be_bytes());
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum);
    ipv4(1, FENCE, DIRECTOR, &message)
}

/// Returns the number of the echo request that `frame` answers.
fn echo_number(frame: &[u8]) -> Option<u16> {
    let [to @ .., 0, 0, _, _, _, _, high, low] = frame.get(14..42)? else {
        return None;
    };
    (frame[12..14] == [8, 0] && to.ends_with(&FENCE.octets()))
        .then(|| u16::from_be_bytes([*high, *low]))
}

fn ipv4(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("built here, and short");
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    [&DIRECTOR_MAC[..], &mac_of(from), &[8, 0], &header, payload].concat()
}

/// The Internet checksum (RFC 1071) over an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes
        .chunks_exact(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = u16::try_from(sum).expect("folded twice");
    (!sum).to_be_bytes()
}

/// Answers an ARP request, whoever is asked for.
fn arp_answer(frame: &[u8]) -> Option<Vec<u8>> {
    // Ethernet and IPv4, by the lengths of their addresses; 1 asks, 2 answers (RFC 826).
    const REQUEST: [u8; 10] = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    const ANSWER: [u8; 10] = [8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
    if frame.get(12..22)? != REQUEST {
        return None;
    }
    let (asker, wanted) = (frame.get(22..32)?, frame.get(38..42)?);
    let mac = mac_of(Ipv4Addr::new(wanted[0], wanted[1], wanted[2], wanted[3]));
    Some([&asker[..6], &mac, &ANSWER, &mac, wanted, asker].concat())
}
