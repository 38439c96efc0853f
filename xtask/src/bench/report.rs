//! What the measurements come to: net figures, ratios, noise.

use super::baseline::{H, LRU_INSERT, NOTHING, NOTHING_GROWN, NOTHING6};
use super::ruler::Flows;
use super::subject::Subject;
use anyhow::Context as _;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// The rounds of one number of flows: ns a packet of each row in each round, ruler included.
pub(super) type Rounds = BTreeMap<&'static str, Vec<f64>>;

/// One measured cell. Times are ns a packet.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The row's name.
    name: &'static str,
    /// How many flows.
    flows: Flows,
    /// Median without the ruler.
    net_ns: f64,
    /// Median as measured.
    raw_ns: f64,
    /// Net over the net of H, for established flows.
    ratio_h: Option<f64>,
    /// Net over the net of an LRU map's insert, for new flows.
    ratio_insert: Option<f64>,
    /// Least and most of the rounds without the ruler.
    net_min: f64,
    net_max: f64,
    /// Least and most of the rounds as measured.
    raw_min: f64,
    raw_max: f64,
    /// Rounds measured.
    rounds: usize,
    /// Packets of each round.
    packets: u32,
    /// Instructions that the verifier looked at.
    verified: Option<u32>,
}

/// The table's heading: columns as in [`Row`]'s text form.
pub(super) const HEADING: &str =
    "flows    row               raw ns   net ns  (min..max)           ratio      verified";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flows = match self.flows {
            Flows::Known(flows) => flows.to_string(),
            Flows::New => "new".to_owned(),
        };
        let ratio = match (self.ratio_h, self.ratio_insert) {
            (Some(ratio), _) => format!("{ratio:.2} h"),
            (None, Some(ratio)) => format!("{ratio:.2} insert"),
            (None, None) => String::new(),
        };
        let noise = format!("({:.1}..{:.1})", self.net_min, self.net_max);
        let verified = self
            .verified
            .map_or(String::new(), |count| count.to_string());
        write!(
            f,
            "{flows:<8} {:<16} {:>7.1}  {:>7.1}  {noise:<18}  {ratio:<11} {verified}",
            self.name, self.raw_ns, self.net_ns
        )
    }
}

/// The rows of one number of flows.
///
/// # Errors
///
/// When the rows of the ruler are not among those measured.
pub(super) fn rows(
    subjects: &[&Subject],
    rounds: &Rounds,
    flows: Flows,
    packets: u32,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for subject in subjects {
        let raw = of(rounds, subject.name)?;
        let net = net(subject, rounds)?;
        rows.push(Row {
            name: subject.name,
            flows,
            net_ns: median(&net),
            raw_ns: median(raw),
            ratio_h: None,
            ratio_insert: None,
            net_min: least(&net),
            net_max: most(&net),
            raw_min: least(raw),
            raw_max: most(raw),
            rounds: raw.len(),
            packets,
            verified: subject.verified,
        });
    }
    let yardstick = |name| {
        rows.iter()
            .find(|row| row.name == name)
            .map(|row| row.net_ns)
    };
    let (h, insert) = (yardstick(H), yardstick(LRU_INSERT));
    for row in &mut rows {
        row.ratio_h = h.map(|h| row.net_ns / h);
        row.ratio_insert = insert.map(|insert| row.net_ns / insert);
    }
    Ok(rows)
}

/// What a row takes without the ruler, round by round: machines drift, and the ruler of the
/// same round drifted along.
fn net(subject: &Subject, rounds: &Rounds) -> anyhow::Result<Vec<f64>> {
    let raw = of(rounds, subject.name)?;
    let still = of(
        rounds,
        match subject.traffic.peer {
            IpAddr::V4(_) => NOTHING,
            IpAddr::V6(_) => NOTHING6,
        },
    )?;
    // Both moves of the head, there by the program and back by the ruler, are the same helper.
    let moved = of(rounds, NOTHING)?
        .iter()
        .zip(of(rounds, NOTHING_GROWN)?)
        .map(|(still, grown)| {
            if subject.expect.growth == 0 {
                0.0
            } else {
                (grown - still) / 2.0
            }
        });
    Ok(raw
        .iter()
        .zip(still.iter().zip(moved))
        .map(|(raw, (still, moved))| raw - still - moved)
        .collect())
}

fn of<'a>(rounds: &'a Rounds, name: &str) -> anyhow::Result<&'a [f64]> {
    let rounds = rounds.get(name).map(Vec::as_slice);
    rounds.with_context(|| format!("row {name} was not measured"))
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// The middle one, the upper of two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
