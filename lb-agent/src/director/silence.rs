//! Masqueraded servers from which nothing comes back: what their counters tell, without I/O.
//!
//! A server whose default route does not lead through the director answers its clients directly,
//! from an address that they never spoke to. They reset that connection, unseen by the director,
//! and ask again; nobody logs anything. What the director does see: connections begin, packets go,
//! and none comes back.

use crate::model::ServerId;
use lb_common::api::Counters;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The masqueraded servers that have to answer whoever opens a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Silence(BTreeMap<ServerId, Watch>);

#[derive(Clone, Copy, Debug)]
struct Watch {
    /// What it had counted when its last answer was seen, or when the watch began.
    answered: Counters,
    /// Since when connections begin without an answer.
    asked: Option<Instant>,
    silent: bool,
}

/// What a look at a server told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It does not answer.
    Silent,
    /// It does again.
    Answers,
}

/// What went to a server since its last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered {
    pub(crate) connections: u64,
    pub(crate) packets: u64,
}

impl Silence {
    /// How long a server may take to answer: clients ask again after one second, and after two more
    /// (RFC 6298, section 2.1).
    const PATIENCE: Duration = Duration::from_secs(3);

    /// How many packets it takes: a client that asks three times, or three that ask once.
    const PACKETS: u64 = 3;

    /// Begins to watch a server, unless it is watched already: what it has counted until now tells
    /// nothing.
    pub(crate) fn begin(&mut self, id: ServerId, counted: Counters) {
        self.0.entry(id).or_insert(Watch::from(counted));
    }

    /// Takes in what a server has counted until now.
    pub(crate) fn look(&mut self, id: ServerId, now: Instant, counted: Counters) -> Option<News> {
        let watch = self.0.entry(id).or_insert(Watch::from(counted));
        if counted.out_packets != watch.answered.out_packets {
            let news = watch.silent.then_some(News::Answers);
            *watch = Watch::from(counted);
            return news;
        }
        let Unanswered {
            connections,
            packets,
        } = watch.unanswered(counted);
        // Without a new connection nothing has to be answered: what packets say may be all said.
        if connections == 0 {
            watch.answered = counted;
            return None;
        }
        let asked = *watch.asked.get_or_insert(now);
        let silent = packets >= Self::PACKETS && now.duration_since(asked) >= Self::PATIENCE;
        let news = silent && !watch.silent;
        watch.silent |= silent;
        news.then_some(News::Silent)
    }

    /// A server gets no packets at present, or no new connections: that it does not answer tells
    /// nothing.
    pub(crate) fn pause(&mut self, id: ServerId, counted: Counters) {
        if let Some(watch) = self.0.get_mut(&id) {
            *watch = Watch::from(counted);
        }
    }

    /// Forgets a server: it does not have to answer, or is gone.
    pub(crate) fn forget(&mut self, id: ServerId) {
        self.0.remove(&id);
    }

    /// The silent servers.
    pub(crate) fn servers(&self) -> impl Iterator<Item = ServerId> {
        let silent = self.0.iter().filter(|(_, watch)| watch.silent);
        silent.map(|(id, _)| *id)
    }

    /// What went to a server in vain that has counted `counted`.
    pub(crate) fn unanswered(&self, id: ServerId, counted: Counters) -> Option<Unanswered> {
        Some(self.0.get(&id)?.unanswered(counted))
    }
}

impl From<Counters> for Watch {
    fn from(answered: Counters) -> Self {
        Self {
            answered,
            asked: None,
            silent: false,
        }
    }
}

impl Watch {
    fn unanswered(&self, counted: Counters) -> Unanswered {
        let Counters {
            connections,
            in_packets,
            ..
        } = self.answered;
        Unanswered {
            connections: counted.connections.saturating_sub(connections),
            packets: counted.in_packets.saturating_sub(in_packets),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: ServerId = ServerId(7);

    struct Scene {
        silence: Silence,
        start: Instant,
        counted: Counters,
    }

    impl Scene {
        /// A server that has answered before.
        fn new() -> Self {
            let counted = Counters {
                connections: 10,
                in_packets: 50,
                out_packets: 40,
                ..Counters::default()
            };
            let mut scene = Self {
                silence: Silence::default(),
                start: Instant::now(),
                counted,
            };
            assert_eq!(scene.at(0), None);
            scene
        }

        /// A look after so many seconds.
        fn at(&mut self, seconds: u64) -> Option<News> {
            let now = self.start + Duration::from_secs(seconds);
            self.silence.look(SERVER, now, self.counted)
        }

        fn connects(&mut self) {
            self.counted.connections += 1;
            self.asks();
        }

        fn asks(&mut self) {
            self.counted.in_packets += 1;
        }

        fn answers(&mut self) {
            self.counted.out_packets += 1;
        }

        fn silent(&self) -> Vec<ServerId> {
            self.silence.servers().collect()
        }
    }

    #[test]
    fn a_client_that_asks_three_times_in_vain_is_news_once() {
        let mut scene = Scene::new();
        scene.connects();
        assert_eq!(scene.at(1), None);
        scene.asks();
        assert_eq!(scene.at(2), None);
        scene.asks();
        assert_eq!(scene.at(3), None);
        assert_eq!(scene.at(4), Some(News::Silent));
        assert_eq!(scene.silent(), [SERVER]);
        scene.connects();
        assert_eq!(scene.at(5), None);
        assert_eq!(scene.at(500), None);
        let unanswered = scene.silence.unanswered(SERVER, scene.counted);
        let (connections, packets) = (2, 4);
        assert_eq!(
            unanswered,
            Some(Unanswered {
                connections,
                packets
            })
        );
    }

    #[test]
    fn one_answer_takes_it_back_and_the_next_silence_is_news_again() {
        let mut scene = Scene::new();
        for round in 0..2 {
            for _ in 0..3 {
                scene.connects();
            }
            assert_eq!(scene.at(round * 10 + 1), None);
            assert_eq!(scene.at(round * 10 + 4), Some(News::Silent));
            scene.answers();
            assert_eq!(scene.at(round * 10 + 5), Some(News::Answers));
            assert_eq!(scene.silent(), []);
            assert_eq!(scene.at(round * 10 + 9), None);
        }
    }

    #[test]
    fn a_slow_answer_is_an_answer() {
        let mut scene = Scene::new();
        for second in 1..100 {
            scene.connects();
            scene.connects();
            scene.asks();
            assert_eq!(scene.at(second * 2), None);
            scene.answers();
            assert_eq!(scene.at(second * 2 + 1), None);
        }
    }

    #[test]
    fn packets_of_old_connections_ask_for_no_answer() {
        let mut scene = Scene::new();
        for second in 1..100 {
            scene.asks();
            assert_eq!(scene.at(second), None);
        }
        // Nor do they count for a new one.
        scene.connects();
        assert_eq!(scene.at(100), None);
        assert_eq!(scene.at(200), None);
    }

    #[test]
    fn what_was_counted_before_the_agent_came_is_no_silence() {
        let mut scene = Scene::new();
        scene.counted.out_packets = 0;
        scene.silence = Silence::default();
        assert_eq!(scene.at(0), None);
        assert_eq!(scene.at(100), None);
    }

    #[test]
    fn a_server_is_watched_from_its_first_packet_on() {
        let mut scene = Scene::new();
        let mut silence = Silence::default();
        silence.begin(SERVER, scene.counted);
        for _ in 0..3 {
            scene.connects();
        }
        silence.begin(SERVER, scene.counted);
        scene.silence = silence;
        assert_eq!(scene.at(0), None);
        assert_eq!(scene.at(3), Some(News::Silent));
    }

    #[test]
    fn a_server_without_a_way_is_not_silent() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            scene.connects();
        }
        assert_eq!(scene.at(0), None);
        assert_eq!(scene.at(3), Some(News::Silent));
        scene.silence.pause(SERVER, scene.counted);
        assert_eq!(scene.silent(), []);
        assert_eq!(scene.at(9), None);
        assert_eq!(scene.silent(), []);
    }

    #[test]
    fn a_forgotten_server_begins_anew() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            scene.connects();
        }
        assert_eq!(scene.at(0), None);
        assert_eq!(scene.at(3), Some(News::Silent));
        scene.silence.forget(SERVER);
        assert_eq!(scene.silent(), []);
        assert_eq!(scene.at(4), None);
        assert_eq!(scene.silent(), []);
    }
}
