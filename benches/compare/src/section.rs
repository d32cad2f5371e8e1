//! What a group hands to the report: tables, plots, rows of the list of promises.

use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
pub struct Section {
    pub title: String,
    /// Paragraphs above the tables.
    pub text: Vec<String>,
    pub tables: Vec<Table>,
    pub plots: Vec<Plot>,
    pub promises: Vec<Promise>,
    /// What could not be measured here, and why; a line each.
    pub absent: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub struct Table {
    pub caption: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
pub struct Plot {
    /// The file's name without its ending.
    pub name: String,
    pub title: String,
    pub x: String,
    pub y: String,
    pub kind: Kind,
}

#[derive(Serialize, Deserialize)]
pub enum Kind {
    /// One line a series over evenly spaced places; the vertical axis is logarithmic.
    Lines { places: Vec<String>, series: Vec<Series> },
    /// One bar a row; the horizontal axis is logarithmic if the values differ much.
    Bars(Vec<Bar>),
}

#[derive(Serialize, Deserialize)]
pub struct Series {
    pub name: String,
    pub values: Vec<Option<f64>>,
    pub ours: bool,
}

#[derive(Serialize, Deserialize)]
pub struct Bar {
    pub name: String,
    pub value: f64,
    pub label: String,
    pub ours: bool,
}

#[derive(Serialize, Deserialize)]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// A row of "what it must show".
#[derive(Serialize, Deserialize)]
pub struct Promise {
    pub what: String,
    pub limit: Limit,
    pub unit: String,
    pub measured: f64,
    /// Both absolute figures that the measured one is made of, or where it comes from.
    pub figures: String,
}

impl Promise {
    pub fn kept(&self) -> bool {
        match self.limit {
            Limit::AtMost(limit) => self.measured <= limit,
            Limit::AtLeast(limit) => self.measured >= limit,
        }
    }
}

/// A duration in nanoseconds, with three digits and its unit.
pub fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    format!("{} {unit}", digits(value))
}

/// A number with three digits, or all of those before the point, in groups of three.
pub fn digits(value: f64) -> String {
    match value {
        v if v >= 99.95 => grouped(v.round() as u64),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// A number of things, in groups of three digits.
pub fn count(value: usize) -> String {
    grouped(value as u64)
}

fn grouped(value: u64) -> String {
    let text = value.to_string();
    let mut out = String::new();
    for (i, digit) in text.chars().enumerate() {
        if i > 0 && (text.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub fn size(bytes: usize) -> String {
    match bytes {
        b if b >= 1 << 20 => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 => format!("{} KiB", b >> 10),
        b => format!("{b} B"),
    }
}
