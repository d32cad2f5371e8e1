//! Plots as SVG: lines over evenly spaced places, and horizontal bars; logarithmic where values differ much.

use std::fmt::Write;

use crate::section::{Bar, Kind, Plot, Series, digits};

const WIDTH: f64 = 900.0;
const FONT: &str = "font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\"";
const INK: &str = "#24292f";
const FAINT: &str = "#6e7781";
const GRID: &str = "#d8dee4";
/// libkms stands out; its second and third line are lighter.
const OURS: [&str; 3] = ["#c2410c", "#f59e0b", "#7c2d12"];
const THEIRS: [&str; 9] =
    ["#1f6feb", "#2da44e", "#8250df", "#0e7490", "#57606a", "#bf3989", "#6f8f00", "#3b5b92", "#9a6700"];

pub fn svg(plot: &Plot) -> String {
    match &plot.kind {
        Kind::Lines { places, series } => lines(plot, places, series),
        Kind::Bars(bars) => self::bars(plot, bars),
    }
}

/// Where a value is between the ends of a logarithmic axis, 0 to 1.
struct Log {
    low: f64,
    high: f64,
}

impl Log {
    /// The ends are the values' own, widened a little.
    fn around(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(0.0, f64::max);
        let room = (high / low).max(1.5).powf(0.06);
        Self { low: low / room, high: high * room }
    }

    fn at(&self, value: f64) -> f64 {
        (value / self.low).ln() / (self.high / self.low).ln()
    }

    /// 1, 2, 5 of each decade, or 1 where there are many decades.
    fn ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let steps: &[f64] = match decades {
            d if d > 3.5 => &[1.0],
            d if d > 0.9 => &[1.0, 2.0, 5.0],
            _ => &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
        };
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let values = (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        values.filter(|&value| value >= self.low && value <= self.high).collect()
    }
}

struct Svg(String);

impl Svg {
    fn new(height: f64, title: &str) -> Self {
        let mut svg = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\" {FONT}>\n<title>{}</title>\n<rect width=\"100%\" height=\"100%\" \
             fill=\"#ffffff\"/>\n",
            escaped(title)
        ));
        svg.text(24.0, 32.0, "start", 17.0, INK, title, " font-weight=\"600\"");
        svg
    }

    #[allow(clippy::too_many_arguments, reason = "each is an attribute of the element")]
    fn text(&mut self, x: f64, y: f64, anchor: &str, size: f64, colour: &str, text: &str, more: &str) {
        let text = escaped(text);
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{colour}\"{more}>{text}</text>"
        );
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.0,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        );
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// About; a reader's font isn't known here.
fn text_width(text: &str) -> f64 {
    7.0 * text.chars().count() as f64
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The colours of names in order: ours from one set, the others' from another.
fn colours<'a>(ours: impl Iterator<Item = bool> + 'a) -> impl Iterator<Item = &'static str> + 'a {
    let (mut own, mut other) = (0, 0);
    ours.map(move |ours| {
        let (set, at): (&[&str], &mut usize) = if ours { (&OURS, &mut own) } else { (&THEIRS, &mut other) };
        *at += 1;
        set[(*at - 1) % set.len()]
    })
}

fn lines(plot: &Plot, places: &[String], series: &[Series]) -> String {
    const HEIGHT: f64 = 470.0;
    let longest = series.iter().map(|series| text_width(&series.name)).fold(0.0, f64::max);
    let (left, right, top, bottom) = (78.0, WIDTH - longest - 24.0, 64.0, HEIGHT - 62.0);
    let all = || series.iter().flat_map(|series| series.values.iter().flatten().copied());
    let scale = Log::around(all());
    let y = |value: f64| bottom - scale.at(value) * (bottom - top);
    let x = |place: usize| left + (place as f64 + 0.35) * (right - left) / (places.len() as f64 - 0.3);

    let mut svg = Svg::new(HEIGHT, &plot.title);
    svg.text(24.0, 52.0, "start", 12.0, FAINT, &plot.y, "");
    for tick in scale.ticks() {
        svg.line((left, y(tick)), (right, y(tick)), GRID, 1.0);
        svg.text(left - 8.0, y(tick) + 4.0, "end", 12.0, FAINT, &plain(tick), "");
    }
    for (i, place) in places.iter().enumerate() {
        svg.line((x(i), bottom), (x(i), bottom + 5.0), FAINT, 1.0);
        svg.text(x(i), bottom + 20.0, "middle", 12.0, FAINT, place, "");
    }
    svg.line((left, bottom), (right, bottom), FAINT, 1.0);
    svg.text((left + right) / 2.0, bottom + 44.0, "middle", 12.0, FAINT, &plot.x, "");

    let painted: Vec<(&Series, &str)> = series.iter().zip(colours(series.iter().map(|series| series.ours))).collect();
    // Ours are drawn last, on top.
    for (series, colour) in painted.iter().filter(|(s, _)| !s.ours).chain(painted.iter().filter(|(s, _)| s.ours)) {
        let points: Vec<(f64, f64)> =
            series.values.iter().enumerate().filter_map(|(i, value)| value.map(|value| (x(i), y(value)))).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let width = if series.ours { 3.0 } else { 1.8 };
        let _ = writeln!(
            svg.0,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"/>",
            path.join(" ")
        );
        for (x, y) in points {
            let radius = if series.ours { 4.0 } else { 2.8 };
            let _ = writeln!(svg.0, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\"/>");
        }
    }
    // Names are next to the ends of their lines, pushed apart.
    let mut labels: Vec<(f64, &Series, &str)> = painted
        .iter()
        .filter_map(|(series, colour)| {
            series.values.last().copied().flatten().map(|value| (y(value), *series, *colour))
        })
        .collect();
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted: Vec<f64> = labels.iter().map(|label| label.0).collect();
    for ((at, series, colour), place) in labels.iter().zip(spread(&wanted, 17.0, top, bottom)) {
        let end = x(places.len() - 1);
        svg.line((end + 7.0, *at), (right + 10.0, place), colour, 0.8);
        let weight = if series.ours { " font-weight=\"600\"" } else { "" };
        svg.text(right + 14.0, place + 4.0, "start", 12.0, colour, &series.name, weight);
    }
    svg.end()
}

/// Moves sorted places so far apart that none is nearer than `gap` to the next, and all stay between the ends.
fn spread(wanted: &[f64], gap: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut places = wanted.to_vec();
    for _ in 0..200 {
        for i in 1..places.len() {
            let overlap = gap - (places[i] - places[i - 1]);
            if overlap > 0.0 {
                places[i - 1] -= overlap / 2.0;
                places[i] += overlap / 2.0;
            }
        }
        let count = places.len();
        for (i, place) in places.iter_mut().enumerate() {
            *place = place.clamp(top + i as f64 * gap, bottom - (count - 1 - i) as f64 * gap);
        }
    }
    places
}

fn bars(plot: &Plot, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| text_width(&bar.name)).fold(0.0, f64::max);
    let (left, right, top, step) = (longest + 30.0, WIDTH - 110.0, 62.0, 32.0);
    let bottom = top + step * bars.len() as f64;
    let height = bottom + 58.0;
    let values = || bars.iter().map(|bar| bar.value);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let logarithmic = most / least > 8.0;
    // Logarithmic bars have no natural start: a decade below the shortest shows it as a bar too.
    let scale = Log { low: least / 2.5, high: most * 1.05 };
    let x = |value: f64| {
        let part = if logarithmic { scale.at(value) } else { value / (most * 1.05) };
        left + part * (right - left)
    };
    let ticks = if logarithmic { scale.ticks() } else { linear_ticks(most) };

    let mut svg = Svg::new(height, &plot.title);
    for tick in ticks {
        svg.line((x(tick), top - 4.0), (x(tick), bottom), GRID, 1.0);
        svg.text(x(tick), bottom + 18.0, "middle", 12.0, FAINT, &plain(tick), "");
    }
    for (i, bar) in bars.iter().enumerate() {
        let y = top + step * i as f64;
        let colour = if bar.ours { OURS[0] } else { "#8c959f" };
        let weight = if bar.ours { " font-weight=\"600\"" } else { "" };
        let _ = writeln!(
            svg.0,
            "<rect x=\"{left}\" y=\"{:.1}\" width=\"{:.1}\" height=\"20\" rx=\"2\" fill=\"{colour}\"/>",
            y + 3.0,
            x(bar.value) - left
        );
        svg.text(left - 10.0, y + 17.5, "end", 12.5, INK, &bar.name, weight);
        svg.text(x(bar.value) + 7.0, y + 17.5, "start", 12.0, INK, &bar.label, "");
    }
    svg.line((left, top - 4.0), (left, bottom), FAINT, 1.0);
    let note = if logarithmic { format!("{} (logarithmic)", plot.x) } else { plot.x.clone() };
    svg.text((left + right) / 2.0, bottom + 40.0, "middle", 12.0, FAINT, &note, "");
    svg.end()
}

fn linear_ticks(most: f64) -> Vec<f64> {
    let rough = most / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|s| s * power).into_iter().find(|&step| step >= rough).unwrap_or(power);
    (0..).map(|i| f64::from(i) * step).take_while(|&tick| tick <= most * 1.05).collect()
}

/// A tick's number without needless zeros.
fn plain(value: f64) -> String {
    if value >= 100.0 {
        return digits(value);
    }
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
