//! A timeline as text.

use anstyle::{AnsiColor, Style};

use super::chart::{Chart, Kind, label};

const BOLD: Style = Style::new().bold();
/// Narrower than this, a lane shows nothing.
const NARROWEST: usize = 20;

/// A kind of span: its character in ASCII, the one on a terminal, and its colour there.
fn glyph(kind: Kind) -> (char, char, Style) {
    let colour = |colour: AnsiColor| colour.on_default();
    match kind {
        Kind::Encrypts => ('=', '█', colour(AnsiColor::Green)),
        Kind::Decrypts => ('-', '━', colour(AnsiColor::Green)),
        Kind::Disabled => ('.', '░', colour(AnsiColor::Yellow)),
        Kind::Pending => ('!', '▒', colour(AnsiColor::Red)),
        Kind::Destroyed => ('x', '×', colour(AnsiColor::BrightBlack)),
    }
}

/// Draws at most `width` columns; `is_rich` allows characters beyond ASCII. Colour goes where output is no terminal.
pub fn draw(chart: &Chart, width: usize, is_rich: bool) -> String {
    let heads: Vec<String> = chart.lanes.iter().map(|lane| format!("{} {}", lane.name, lane.state)).collect();
    let head = heads.iter().map(String::len).max().unwrap_or_default() + 2;
    let room = width.saturating_sub(head).max(NARROWEST);
    let column = |time: i64| (chart.position(time, room as f64) as usize).min(room - 1);
    let mut out = format!("{BOLD}{}{BOLD:#}\n", chart.title);
    out.push_str(&axis(chart, head, room));
    for (lane, name) in chart.lanes.iter().zip(&heads) {
        let mut cells: Vec<(char, Style)> = vec![(' ', Style::new()); room];
        for span in &lane.spans {
            let (ascii, rich, style) = glyph(span.kind);
            let sign = if is_rich { rich } else { ascii };
            let cells = cells.iter_mut().take(column(span.to) + 1).skip(column(span.from));
            cells.for_each(|cell| *cell = (sign, style));
        }
        if let Some(cell) = cells.get_mut(column(chart.now))
            && column(chart.now) + 1 < room
        {
            *cell = (if is_rich { '│' } else { '|' }, Style::new());
        }
        for (at, mark) in lane.marks.iter().filter(|(at, _)| *at <= chart.to) {
            if let Some(cell) = cells.get_mut(column(*at)) {
                *cell = (mark.letter(), BOLD);
            }
        }
        out.push_str(&format!("{name:head$}"));
        let used = cells.iter().rposition(|(sign, _)| *sign != ' ').map_or(0, |last| last + 1);
        for run in cells[..used].chunk_by(|a, b| a.1 == b.1) {
            let style = run.first().map_or(Style::new(), |(_, style)| *style);
            let text: String = run.iter().map(|(sign, _)| *sign).collect();
            out.push_str(&format!("{style}{text}{style:#}"));
        }
        out.push('\n');
    }
    for note in chart.notes() {
        out.push_str(&format!("{note}\n"));
    }
    let kinds = chart.kinds().map(|(kind, meaning)| {
        let (ascii, rich, style) = glyph(*kind);
        format!("{style}{}{style:#} {meaning}", if is_rich { rich } else { ascii })
    });
    let marks = chart.marks().map(|(_, letter, meaning)| format!("{BOLD}{letter}{BOLD:#} {meaning}"));
    for legend in [kinds.collect::<Vec<_>>(), marks.collect()] {
        if !legend.is_empty() {
            out.push_str(&format!("{}\n", legend.join("  ")));
        }
    }
    out
}

/// The dates of both ends, and `now` where it has room between them.
fn axis(chart: &Chart, head: usize, room: usize) -> String {
    let mut line = vec![' '; room];
    let mut put = |at: usize, text: &str| {
        let range = at.saturating_sub(1)..(at + text.len() + 1).min(room);
        if at + text.len() <= room && line.get(range).is_some_and(|cells| cells.iter().all(|cell| *cell == ' ')) {
            line.iter_mut().skip(at).zip(text.chars()).for_each(|(cell, sign)| *cell = sign);
        }
    };
    let (start, end) = (label(chart, chart.from), label(chart, chart.to));
    put(0, &start);
    let now = (chart.position(chart.now, room as f64) as usize).min(room - 1);
    put(now.saturating_sub(2), "now");
    if chart.to > chart.now {
        put(room.saturating_sub(end.len()), &end);
    }
    let line: String = line.into_iter().collect();
    format!("{:head$}{}\n", "", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::chart::sample;
    use super::*;

    fn without_colour(text: &str) -> String {
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\x1b') {
            plain.push_str(before);
            rest = after.split_once('m').map_or("", |(_, after)| after);
        }
        plain + rest
    }

    #[test]
    fn the_text_of_a_timeline_is_the_recorded_one() {
        let shown = without_colour(&draw(&sample::chart(), 90, false));
        assert_eq!(shown, include_str!("golden.txt"), "{shown}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for (width, is_rich) in [(60, false), (80, true), (250, true)] {
            let shown = without_colour(&draw(&sample::chart(), width, is_rich));
            let lanes = shown.lines().filter(|line| line.starts_with("version"));
            assert!(lanes.clone().count() == 3 && lanes.clone().all(|line| line.chars().count() <= width), "{shown}");
        }
    }
}
