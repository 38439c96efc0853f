//! The figures that lb is to reach, from the rows measured.

use super::baseline::{H, LRU_INSERT};
use super::lb::{self, Bytes};
use super::report::Row;
use super::ruler::Flows;
use serde::Serialize;
use std::fmt;

/// A figure and whether it meets its target. Ratios are of minima, net of the ruler.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    /// The target's name.
    target: &'static str,
    /// What was compared.
    what: String,
    /// The figure.
    value: f64,
    /// What it must not exceed.
    limit: f64,
    /// Whether it does not.
    met: bool,
}

/// The table's heading.
pub(super) const HEADING: &str = "target   value    limit          figure";

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.limit < 10.0 { 2 } else { 0 };
        let met = if self.met { "met" } else { "MISSED" };
        write!(
            f,
            "{:<4} {:>9.digits$} {:>8.digits$}  {met:<6}  {}",
            self.target, self.value, self.limit, self.what
        )
    }
}

impl Figure {
    pub(super) fn new(target: &'static str, what: String, value: f64, limit: f64) -> Self {
        Self {
            target,
            what,
            value,
            limit,
            met: value <= limit,
        }
    }
}

/// A ratio of two rows: target, limit, row, row it is compared with, flows of both.
type Ratio = (&'static str, f64, &'static str, &'static str, Flows);

const RATIOS: [Ratio; 23] = [
    ("P1", 1.6, lb::TCP, H, Flows::Known(1 << 10)),
    ("P2", 0.6, lb::TCP, H, Flows::Known(1 << 20)),
    ("P1", 1.6, lb::IPIP, H, Flows::Known(1 << 10)),
    ("P2", 0.6, lb::IPIP, H, Flows::Known(1 << 20)),
    ("P2", 0.6, lb::TCP6, H, Flows::Known(1 << 20)),
    ("P2", 0.6, lb::NAT, H, Flows::Known(1 << 20)),
    ("P3", 1.3, lb::NAT, lb::TCP, Flows::Known(1 << 10)),
    ("P3", 1.3, lb::REPLY, lb::TCP, Flows::Known(1 << 10)),
    ("P3", 1.3, lb::NAT6, lb::TCP6, Flows::Known(1 << 10)),
    ("P3", 1.3, lb::REPLY6, lb::TCP6, Flows::Known(1 << 10)),
    ("P4", 1.3, lb::TCP6, lb::TCP, Flows::Known(1 << 10)),
    ("P4", 1.3, lb::IPIP6, lb::IPIP, Flows::Known(1 << 10)),
    ("P4", 1.3, lb::GRE, lb::IPIP, Flows::Known(1 << 10)),
    ("P4", 1.3, lb::GUE, lb::IPIP, Flows::Known(1 << 10)),
    ("P4", 1.3, lb::NAT6, lb::NAT, Flows::Known(1 << 10)),
    ("P4", 1.1, lb::UDP, lb::TCP, Flows::Known(1 << 10)),
    ("P4", 1.1, lb::UDP, lb::TCP, Flows::Known(1 << 20)),
    ("P5", 0.4, lb::NEW, LRU_INSERT, Flows::New),
    ("P6", 0.9, lb::NOT_OURS, H, Flows::Known(1)),
    ("P7", 1.3, lb::SERVICES, lb::TCP, Flows::Known(1 << 10)),
    ("P7", 1.3, lb::SERVICES, lb::TCP, Flows::Known(1 << 17)),
    ("P7", 1.3, lb::SERVICES, lb::TCP, Flows::Known(1 << 20)),
    ("P7", 1.3, lb::SERVICES, lb::TCP, Flows::Known(1)),
];

/// The figures of which all rows were measured.
pub(super) fn figures(rows: &[Row], memory: Bytes) -> Vec<Figure> {
    let find = |name, flows| {
        rows.iter()
            .find(|row| row.name == name && row.flows == flows)
    };
    let mut figures = Vec::new();
    for (target, limit, name, other, flows) in RATIOS {
        if let (Some(row), Some(over)) = (find(name, flows), find(other, flows)) {
            let what = format!("{name} over {other}, {flows}");
            figures.push(Figure::new(target, what, row.net_min / over.net_min, limit));
        }
    }
    let flows = f64::from(lb::SIZES.flows);
    figures.push(Figure::new(
        "P10",
        format!(
            "bytes a flow: {} MB of maps, {} MB of them for flows and {} MB for each CPU",
            memory.all / 1_000_000,
            memory.flows / 1_000_000,
            memory.cpu / 1_000_000
        ),
        memory.all as f64 / flows,
        160.0,
    ));
    if let Some(verified) = rows
        .iter()
        .find(|row| row.name == lb::TCP)
        .and_then(|row| row.verified)
    {
        figures.push(Figure::new(
            "P14",
            "instructions verified".to_owned(),
            verified.into(),
            100_000.0,
        ));
    }
    figures
}
