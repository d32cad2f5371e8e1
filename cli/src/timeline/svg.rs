//! A timeline as SVG.

use std::fmt::Write;

use super::chart::{Chart, Kind, Mark, label};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 220.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 68.0;
const ROW: f64 = 26.0;
const BAR: f64 = 14.0;

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Encrypts => "#1a7f4b",
        Kind::Decrypts => "#8fcfae",
        Kind::Disabled => "#e0b040",
        Kind::Pending => "#c8452f",
        Kind::Destroyed => "#b0b0b0",
    }
}

/// Draws the whole picture; it names no file and loads nothing.
pub fn draw(chart: &Chart) -> String {
    let bottom = TOP + chart.lanes.len() as f64 * ROW;
    let notes = chart.notes();
    let height = bottom + 50.0 + 20.0 * notes.len() as f64;
    let x = |time: i64| LEFT + chart.position(time, WIDTH - LEFT - RIGHT);
    let mut out = String::new();
    let mut put = |line: std::fmt::Arguments<'_>| {
        // Writing to a String does not fail.
        let _ = writeln!(out, "{line}");
    };
    put(format_args!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" font-family="sans-serif" font-size="13" fill="#222">"##
    ));
    put(format_args!("<title>{}</title>", escaped(&chart.title)));
    put(format_args!(r##"<rect width="{WIDTH}" height="{height}" fill="#fff"/>"##));
    put(format_args!(r#"<text x="16" y="26" font-size="15" font-weight="bold">{}</text>"#, escaped(&chart.title)));
    put(format_args!(r##"<text x="{LEFT}" y="54" fill="#555">{}</text>"##, label(chart, chart.from)));
    let (now, end) = (x(chart.now), WIDTH - RIGHT);
    if end - now > 130.0 {
        put(format_args!(
            r##"<text x="{end}" y="54" fill="#555" text-anchor="end">{}</text>"##,
            label(chart, chart.to)
        ));
    }
    for (at, lane) in chart.lanes.iter().enumerate() {
        let top = TOP + at as f64 * ROW;
        let base = top + BAR - 2.5;
        put(format_args!(r#"<text x="16" y="{base}">{}</text>"#, escaped(&lane.name)));
        put(format_args!(
            r##"<text x="{}" y="{base}" fill="#555" text-anchor="end" font-size="12">{}</text>"##,
            LEFT - 10.0,
            escaped(&lane.state)
        ));
        for span in &lane.spans {
            // A span of no time is still seen.
            let (left, width) = (x(span.from), (x(span.to) - x(span.from)).max(1.5));
            put(format_args!(
                r#"<rect x="{left:.1}" y="{top}" width="{width:.1}" height="{BAR}" fill="{}"/>"#,
                colour(span.kind)
            ));
        }
    }
    put(format_args!(
        r##"<line x1="{now:.1}" y1="{}" x2="{now:.1}" y2="{bottom}" stroke="#222" stroke-dasharray="3 3"/>"##,
        TOP - 10.0
    ));
    let (anchor, beside) = if end - now > 40.0 { ("middle", now) } else { ("end", end) };
    put(format_args!(r#"<text x="{beside:.1}" y="54" text-anchor="{anchor}">now</text>"#));
    for (at, lane) in chart.lanes.iter().enumerate() {
        let middle = TOP + at as f64 * ROW + BAR / 2.0;
        for (time, mark) in lane.marks.iter().filter(|(time, _)| *time <= chart.to) {
            put(format_args!("{}", sign(*mark, x(*time), middle)));
        }
    }
    let mut line = bottom + 12.0;
    for note in &notes {
        put(format_args!(r##"<text x="16" y="{}" fill="#555" font-size="12">{note}</text>"##, line + 4.0));
        line += 20.0;
    }
    line += 18.0;
    let mut left = 16.0;
    for (kind, meaning) in chart.kinds() {
        let top = line - BAR + 3.0;
        put(format_args!(r#"<rect x="{left}" y="{top}" width="{BAR}" height="{BAR}" fill="{}"/>"#, colour(*kind)));
        put(format_args!(r#"<text x="{}" y="{line}" font-size="12">{meaning}</text>"#, left + 20.0));
        left += 38.0 + 6.6 * meaning.len() as f64;
    }
    for (mark, _, meaning) in chart.marks() {
        put(format_args!("{}", sign(*mark, left + 6.0, line - 4.0)));
        put(format_args!(r#"<text x="{}" y="{line}" font-size="12">{meaning}</text>"#, left + 18.0));
        left += 36.0 + 6.6 * meaning.len() as f64;
    }
    out.push_str("</svg>\n");
    out
}

fn sign(mark: Mark, x: f64, y: f64) -> String {
    match mark {
        Mark::LastEncrypt => {
            format!(r##"<circle cx="{x:.1}" cy="{y}" r="5" fill="#fff" stroke="#222" stroke-width="1.5"/>"##)
        }
        Mark::LastDecrypt => format!(r##"<circle cx="{x:.1}" cy="{y}" r="5" fill="#222" stroke="#fff"/>"##),
        Mark::NextRotation => {
            let (left, right, top, bottom) = (x - 5.0, x + 5.0, y - 5.0, y + 5.0);
            format!(r##"<path d="M{left:.1} {top}L{right:.1} {y}L{left:.1} {bottom}Z" fill="#222"/>"##)
        }
    }
}

/// Text as XML has it, without what XML forbids.
fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => shown.push('?'),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::super::chart::sample;
    use super::*;

    #[test]
    fn the_svg_of_a_timeline_is_the_recorded_one() {
        let shown = draw(&sample::chart());
        assert_eq!(shown, include_str!("golden.svg"), "{shown}");
    }

    #[test]
    fn titles_are_text() {
        assert_eq!(escaped("a<b>&\u{7}\u{FFFF}"), "a&lt;b&gt;&amp;??");
    }
}
