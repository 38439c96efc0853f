//! Reads what the program hands over, and sends on what goes on.

use super::ftp::Ftp;
use super::held::{Frame, Held, Limits};
use super::helper::{Case, Side};
use super::path::{Heard, TooBig};
use super::sip::{self, Sip};
use crate::datapath::{Help, Punt, Punts};
use crate::director::Shared;
use lb_common::datapath::{kind, stages};
use lb_common::layout::punt::Why;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// The reader's task and what it knows.
pub(crate) struct Reader {
    punts: AsyncFd<Punts>,
    director: Shared,
    held: Held,
    heard: Heard,
    ftp: Ftp,
    sip: Sip,
    /// How many fragments were said to be lost.
    told: u64,
}

impl Reader {
    /// Most packets in one go: others of the agent's tasks want their turn as well.
    const BATCH: usize = 256;

    /// How often there is something to do when there are no packets.
    const IDLE: Duration = Duration::from_secs(5);

    /// How often helpers forget what is over.
    const SWEEP: Duration = Duration::from_secs(60);

    /// # Errors
    ///
    /// When the ring buffer cannot be waited for, or the kernel does not tell the time.
    pub(crate) fn new(punts: Punts, director: Shared, directory: &Path) -> anyhow::Result<Self> {
        let ftp = Ftp::new(directory, &punts, punts.now()?);
        Ok(Self {
            punts: punts.watched()?,
            director,
            held: Held::new(Limits::DEFAULT),
            heard: Heard::default(),
            ftp,
            sip: Sip::default(),
            told: 0,
        })
    }

    /// Reads until it is aborted, which loses what waits.
    pub(crate) async fn run(mut self) {
        let mut swept = Instant::now();
        let mut told = swept;
        loop {
            let wait = self.held.ask_again(Instant::now()).unwrap_or(Self::IDLE);
            if let Err(error) = self.read(wait).await {
                tracing::error!("cannot wait for packets of the program any more: {error}");
                return;
            }
            self.release();
            let now = Instant::now();
            if now.saturating_duration_since(told) >= Self::IDLE {
                told = now;
                self.tell_losses();
            }
            if now.saturating_duration_since(swept) >= Self::SWEEP {
                swept = now;
                self.sweep();
            }
        }
    }

    /// Takes what comes within `wait`.
    async fn read(&mut self, wait: Duration) -> std::io::Result<()> {
        let mut taken = Vec::new();
        match tokio::time::timeout(wait, self.punts.readable_mut()).await {
            Err(_) => return Ok(()),
            Ok(guard) => {
                let mut guard = guard?;
                while taken.len() < Self::BATCH {
                    match guard.get_inner_mut().next() {
                        Some(punt) => taken.push(punt),
                        None => {
                            guard.clear_ready();
                            break;
                        }
                    }
                }
            }
        }
        for punt in taken {
            self.take(punt).await;
        }
        Ok(())
    }

    async fn take(&mut self, mut punt: Punt) {
        match punt.why {
            Why::EarlyFragment => self.keep(punt),
            Why::TunnelError => {
                let now = Instant::now();
                if let Some(error) = TooBig::read(&mut punt.frame)
                    && self.heard.is_news(error, now)
                {
                    self.director
                        .with(move |director| director.shorten_way(&error, now))
                        .await;
                }
            }
            Why::FromClient => self.help(Side::Client, punt),
            Why::FromServer => self.help(Side::Server, punt),
        }
    }

    fn keep(&mut self, mut punt: Punt) {
        let Ok(packet) = stages::parse(punt.frame.as_mut_slice()) else {
            return self.say_cut(&punt);
        };
        if packet.kind == kind::LATER && !punt.cut {
            let frame = Frame {
                ifindex: punt.ifindex,
                bytes: punt.frame,
            };
            let packet = stages::fragment_tuple(&packet);
            self.held.keep(packet, frame, Instant::now());
        }
    }

    /// Sends the fragments on that need not wait any longer.
    fn release(&mut self) {
        let now = Instant::now();
        if self.held.ask_again(now).is_none() {
            return;
        }
        let punts = self.punts.get_ref();
        let due = match punts.now() {
            Ok(tick) => self.held.due(now, |packet| punts.has(packet, tick)),
            Err(error) => {
                tracing::error!("{error:#}");
                return;
            }
        };
        for Frame { ifindex, bytes } in due {
            self.send(ifindex, &bytes);
        }
    }

    /// Lets a helper have a packet, and does what it says.
    fn help(&mut self, side: Side, mut punt: Punt) {
        let punts = self.punts.get_ref();
        let (Ok(packet), Ok(now)) = (stages::parse(punt.frame.as_mut_slice()), punts.now()) else {
            return self.say_cut(&punt);
        };
        if punt.cut {
            return self.say_cut(&punt);
        }
        let case = Case {
            side,
            service: punt.service,
            punt: &punt,
            packet: &packet,
            now,
        };
        if side == Side::Server && punt.service == u32::MAX {
            return sip::call_out(punts, &case);
        }
        let known = punts.known(side, &packet, now);
        match (punts.helped().service(punt.service), &known) {
            (Some(service), Some(known))
                if service.help == Help::Ftp && known.is_masqueraded && packet.is_tcp() =>
            {
                self.ftp.help(punts, &case, known);
            }
            (Some(service), known) if service.help == Help::Sip => {
                self.sip.help(punts, &case, &service, known.as_ref());
            }
            (Some(_) | None, _) => case.send(punts, &punt.frame),
        }
    }

    fn send(&self, ifindex: u32, frame: &[u8]) {
        if let Err(error) = self.punts.get_ref().send(ifindex, frame) {
            tracing::warn!("{error:#}");
        }
    }

    fn say_cut(&self, punt: &Punt) {
        if punt.cut {
            tracing::warn!(
                "a packet on interface {} is longer than the agent can take, and is lost",
                punt.ifindex
            );
        }
    }

    fn sweep(&mut self) {
        let punts = self.punts.get_ref();
        self.ftp.sweep(punts);
        self.sip.sweep();
        match punts.now() {
            Ok(now) => punts.sweep(now),
            Err(error) => tracing::error!("{error:#}"),
        }
    }

    fn tell_losses(&mut self) {
        let lost = self.held.lost();
        if lost != self.told {
            tracing::warn!(
                "{} fragments were lost that came before the first ones of their packets: too many \
                 do",
                lost - self.told
            );
            self.told = lost;
        }
    }
}
