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
    pub(super) name: &'static str,
    /// How many flows.
    pub(super) flows: Flows,
    /// Without the ruler: the median less the ruler's median.
    net_ns: f64,
    /// As measured: the median.
    raw_ns: f64,
    /// `net_ns` over that of H, for established flows.
    ratio_h: Option<f64>,
    /// `net_min` over that of H, for established flows.
    ratio_h_min: Option<f64>,
    /// `net_ns` over that of an LRU map's insert, for new flows.
    ratio_insert: Option<f64>,
    /// `net_min` over that of an LRU map's insert, for new flows.
    ratio_insert_min: Option<f64>,
    /// The least less the ruler's least: the figure of the machine's quietest moments.
    pub(super) net_min: f64,
    /// The most less the ruler's least.
    net_max: f64,
    /// The least as measured.
    raw_min: f64,
    /// The most as measured.
    raw_max: f64,
    /// Rounds measured.
    rounds: usize,
    /// Packets of each round.
    packets: u32,
    /// Instructions that the verifier looked at.
    pub(super) verified: Option<u32>,
}

/// The table's heading: columns as in [`Row`]'s text form.
pub(super) const HEADING: &str =
    "flows    row                 raw ns   net ns  (min..max)          ratio, of minima  verified";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flows = match self.flows {
            Flows::Known(flows) => flows.to_string(),
            Flows::New => "new".to_owned(),
        };
        let ratio = match (self.ratio_h, self.ratio_h_min) {
            (Some(ratio), Some(min)) => format!("{ratio:.2} {min:.2} h"),
            _ => match (self.ratio_insert, self.ratio_insert_min) {
                (Some(ratio), Some(min)) => format!("{ratio:.2} {min:.2} insert"),
                _ => String::new(),
            },
        };
        let noise = format!("({:.1}..{:.1})", self.net_min, self.net_max);
        let verified = self
            .verified
            .map_or(String::new(), |count| count.to_string());
        write!(
            f,
            "{flows:<8} {:<18} {:>7.1}  {:>7.1}  {noise:<18}  {ratio:<17} {verified}",
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
        let raw = Spread::of(rounds, subject.name)?;
        let ruler = ruler(subject, rounds)?;
        rows.push(Row {
            name: subject.name,
            flows,
            net_ns: raw.median - ruler.median,
            raw_ns: raw.median,
            ratio_h: None,
            ratio_h_min: None,
            ratio_insert: None,
            ratio_insert_min: None,
            net_min: raw.min - ruler.min,
            net_max: raw.max - ruler.min,
            raw_min: raw.min,
            raw_max: raw.max,
            rounds: raw.rounds,
            packets,
            verified: subject.verified,
        });
    }
    let yardstick = |name| {
        let row = rows.iter().find(|row| row.name == name)?;
        Some((row.net_ns, row.net_min))
    };
    let (h, insert) = (yardstick(H), yardstick(LRU_INSERT));
    for row in &mut rows {
        if ![NOTHING, NOTHING6, NOTHING_GROWN].contains(&row.name) {
            row.ratio_h = h.map(|(net, _)| row.net_ns / net);
            row.ratio_h_min = h.map(|(_, min)| row.net_min / min);
            row.ratio_insert = insert.map(|(net, _)| row.net_ns / net);
            row.ratio_insert_min = insert.map(|(_, min)| row.net_min / min);
        }
    }
    Ok(rows)
}

/// The ruler's part of a row.
fn ruler(subject: &Subject, rounds: &Rounds) -> anyhow::Result<Spread> {
    let still = Spread::of(
        rounds,
        match subject.traffic.peer {
            IpAddr::V4(_) => NOTHING,
            IpAddr::V6(_) => NOTHING6,
        },
    )?;
    if subject.expect.growth == 0 {
        return Ok(still);
    }
    // Both moves of the head, there by the program and back by the ruler, are the same helper.
    let (unmoved, moved) = (
        Spread::of(rounds, NOTHING)?,
        Spread::of(rounds, NOTHING_GROWN)?,
    );
    Ok(Spread {
        min: still.min + (moved.min - unmoved.min) / 2.0,
        median: still.median + (moved.median - unmoved.median) / 2.0,
        ..still
    })
}

/// What the rounds of a row came to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
    rounds: usize,
}

impl Spread {
    fn of(rounds: &Rounds, name: &str) -> anyhow::Result<Self> {
        let measured = rounds.get(name).and_then(|values| Self::new(values));
        measured.with_context(|| format!("row {name} was not measured"))
    }

    /// The spread of values; none without a value. Of two middle ones the upper is the median.
    fn new(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            min: *sorted.first()?,
            median: *sorted.get(sorted.len() / 2)?,
            max: *sorted.last()?,
            rounds: sorted.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_moves_the_maximum_only() {
        let spread = Spread::new(&[3.0, 1000.0, 1.0, 2.0, 4.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 3.0, 1000.0));
        assert_eq!(Spread::new(&[]), None);
    }
}
