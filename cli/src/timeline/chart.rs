//! What a timeline shows, before it is drawn.

/// What a version, or its key, does during a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Encrypts,
    Decrypts,
    Disabled,
    Pending,
    Destroyed,
}

impl Kind {
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Encrypts, "encrypts and decrypts"),
        (Self::Decrypts, "decrypts"),
        (Self::Disabled, "disabled"),
        (Self::Pending, "pending deletion"),
        (Self::Destroyed, "destroyed"),
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    LastEncrypt,
    LastDecrypt,
    NextRotation,
}

impl Mark {
    pub const ALL: [(Self, char, &'static str); 3] = [
        (Self::LastEncrypt, 'E', "last encrypted"),
        (Self::LastDecrypt, 'D', "last decrypted"),
        (Self::NextRotation, 'R', "next rotation"),
    ];

    pub fn letter(self) -> char {
        Self::ALL.iter().find(|(mark, _, _)| *mark == self).map_or('?', |(_, letter, _)| *letter)
    }
}

/// Unix milliseconds, like all times of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: i64,
    pub to: i64,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub struct Lane {
    pub name: String,
    pub state: String,
    /// In the order of time.
    pub spans: Vec<Span>,
    pub marks: Vec<(i64, Mark)>,
}

#[derive(Debug, Clone)]
pub struct Chart {
    pub key: String,
    pub title: String,
    pub from: i64,
    pub to: i64,
    pub now: i64,
    pub lanes: Vec<Lane>,
    /// Older versions without a lane.
    pub omitted: usize,
    /// Where the log begins, if it was cut after `from`: what was disabled before that is not known.
    pub known_from: Option<i64>,
}

impl Chart {
    /// A time as a position from 0 to `width`.
    pub fn position(&self, time: i64, width: f64) -> f64 {
        let share = (time.saturating_sub(self.from)) as f64 / (self.to.saturating_sub(self.from).max(1)) as f64;
        share.clamp(0.0, 1.0) * width
    }

    /// What the lanes do not show, for people.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.omitted > 0 {
            let plural = if self.omitted == 1 { "" } else { "s" };
            notes.push(format!("and {} older version{plural}; --limit 0 shows all", self.omitted));
        }
        if let Some(time) = self.known_from {
            let date = label(self, time);
            notes.push(format!("the change log begins on {date}: what was disabled before that is not shown"));
        }
        notes
    }

    /// The kinds and marks that occur, for the legend.
    pub fn kinds(&self) -> impl Iterator<Item = &'static (Kind, &'static str)> {
        let occurs = |kind: Kind| self.lanes.iter().flat_map(|lane| &lane.spans).any(|span| span.kind == kind);
        Kind::ALL.iter().filter(move |(kind, _)| occurs(*kind))
    }

    pub fn marks(&self) -> impl Iterator<Item = &'static (Mark, char, &'static str)> {
        let occurs = |mark: Mark| {
            self.lanes.iter().flat_map(|lane| &lane.marks).any(|(at, known)| *known == mark && *at <= self.to)
        };
        Mark::ALL.iter().filter(move |(mark, _, _)| occurs(*mark))
    }
}

/// A time of a chart's axis: the day, or the minute where the chart is about hours.
pub fn label(chart: &Chart, millis: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(millis).unwrap_or_default();
    let time = time.with_timezone(&chrono::Local);
    let is_short = chart.to.saturating_sub(chart.from) < 3 * 86_400_000;
    time.format(if is_short { "%m-%d %H:%M" } else { "%Y-%m-%d" }).to_string()
}

#[cfg(test)]
pub mod sample {
    use super::*;

    const DAY: i64 = 86_400_000;

    /// Three versions over 300 days: the first waits for its deletion, the second is disabled.
    pub fn chart() -> Chart {
        let start = 1_700_000_000_000 / DAY * DAY + DAY * 11 / 24; // The same day in nearly all time zones.
        let span = |from: i64, to: i64, kind| Span { from: start + from * DAY, to: start + to * DAY, kind };
        let lane = |name: &str, state: &str, spans, marks: &[(i64, Mark)]| Lane {
            name: name.to_owned(),
            state: state.to_owned(),
            spans,
            marks: marks.iter().map(|(day, mark)| (start + day * DAY, *mark)).collect(),
        };
        let (encrypts, decrypts, disabled, pending) = (Kind::Encrypts, Kind::Decrypts, Kind::Disabled, Kind::Pending);
        Chart {
            key: "0b6feef4-2b80-4eb4-9385-fcac28eab045".to_owned(),
            title: "alias/<cards> & more: Enabled".to_owned(),
            from: start,
            to: start + 300 * DAY,
            now: start + 270 * DAY,
            omitted: 1,
            known_from: Some(start + 30 * DAY),
            lanes: vec![
                lane(
                    "key",
                    "Enabled",
                    vec![span(0, 120, encrypts), span(120, 150, disabled), span(150, 270, encrypts)],
                    &[(290, Mark::NextRotation)],
                ),
                lane("version 3", "primary", vec![span(200, 270, encrypts)], &[(269, Mark::LastEncrypt)]),
                lane(
                    "version 2",
                    "Disabled",
                    vec![span(100, 200, encrypts), span(200, 250, decrypts), span(250, 270, disabled)],
                    &[(199, Mark::LastEncrypt), (230, Mark::LastDecrypt)],
                ),
                lane(
                    "version 1",
                    "PendingDeletion",
                    vec![
                        span(0, 100, encrypts),
                        span(100, 220, decrypts),
                        span(220, 260, disabled),
                        span(260, 270, pending),
                        span(270, 300, pending),
                    ],
                    &[(99, Mark::LastEncrypt), (180, Mark::LastDecrypt)],
                ),
            ],
        }
    }
}
