//! DNS (RFC 1035): dnsmasq on real servers, and questions to it.

use anyhow::{Context, Result, bail, ensure};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use xtask::lab::background::Background;
use xtask::lab::host::Host;
use xtask::lab::wait;

use crate::scene::DEADLINE;

/// The name that every server knows, each by another address.
const NAME: &str = "who.lab";

/// Starts a dnsmasq on an address that the host holds; it answers questions for [`NAME`] with
/// `answer`.
///
/// # Errors
/// When it cannot be started.
pub fn start(host: &Host, listen: SocketAddr, answer: Ipv4Addr) -> Result<Background> {
    let mut command = host.command("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--user=root",
        "--pid-file",
        "--log-facility=-",
    ]);
    command
        .arg(format!("--listen-address={}", listen.ip()))
        .arg(format!("--port={}", listen.port()))
        .arg(format!("--address=/{NAME}/{answer}"));
    let server = host.spawn("dnsmasq", command)?;
    wait::until("dnsmasq answers", DEADLINE, || {
        let asked = host.inside(|| {
            let socket = UdpSocket::bind((listen.ip(), 0))?;
            socket.connect(listen)?;
            ask(&socket, 1)
        })?;
        Ok(match asked {
            Ok(_) => wait::Seen::Done(()),
            Err(error) => wait::Seen::NotYet(format!("{error:#}; {}", server.log())),
        })
    })?;
    Ok(server)
}

/// Asks for the address of [`NAME`] over a connected socket.
///
/// # Errors
/// When no answer comes, or another than to this question.
pub fn ask(socket: &UdpSocket, id: u16) -> Result<Ipv4Addr> {
    let question = question(id);
    socket.set_read_timeout(Some(xtask::load::PATIENCE))?;
    socket.send(&question).context("cannot send a question")?;
    let mut answer = [0; 512];
    let length = socket
        .recv(&mut answer)
        .with_context(|| format!("no answer to question {id} of {:?}", socket.peer_addr()))?;
    let answer = &answer[..length];
    ensure!(answer.len() > question.len(), "an answer of {length} bytes");
    ensure!(
        answer[..2] == id.to_be_bytes(),
        "the answer to another question"
    );
    let counts = [answer[4], answer[5], answer[6], answer[7]];
    ensure!(counts == [0, 1, 0, 1], "no single answer: {answer:?}");
    // The record ends with the address, its length before it.
    match answer[question.len()..] {
        [.., 0, 4, a, b, c, d] => Ok(Ipv4Addr::new(a, b, c, d)),
        _ => bail!("no address in {answer:?}"),
    }
}

/// A question for the IPv4 address of [`NAME`], recursion desired.
fn question(id: u16) -> Vec<u8> {
    let mut question = id.to_be_bytes().to_vec();
    question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in NAME.split('.') {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    question
}
