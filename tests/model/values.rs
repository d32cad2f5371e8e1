//! The texts, names and sizes that arguments are picked from: right, wrong, and at a limit.

pub const ALIASES: [&str; 12] = [
    "alias/a",
    "alias/b/c",
    "alias/Z_-9",
    "alias/LONGEST",
    "alias/TOO_LONG",
    "alias/",
    "alias/acs/disk",
    "alias/acsx",
    "alias/a b",
    "alias/\u{e4}",
    "a",
    "",
];

/// How many of [`ALIASES`] can be made.
pub const GOOD_ALIASES: u8 = 4;

pub fn alias(number: u8) -> String {
    match ALIASES[usize::from(number) % ALIASES.len()] {
        "alias/LONGEST" => format!("alias/{}", "x".repeat(255)),
        "alias/TOO_LONG" => format!("alias/{}", "x".repeat(256)),
        name => name.to_owned(),
    }
}

pub const SERVICES: [&str; 6] = ["disk", "mail/in", "", "a b", "\u{e9}", "disk."];

pub const INTERVALS: [&str; 26] = [
    "1d",
    "10d",
    "90d",
    "864000s",
    "3600s",
    "12h",
    "30m",
    "3650d",
    "1s",
    "5",
    "3651d",
    "315360001s",
    "0d",
    "0",
    "01d",
    "1D",
    " 1d",
    "1d ",
    "1.5d",
    "+1d",
    "-1d",
    "",
    "d",
    "1w",
    "99999999999999999999d",
    "106751991167301d",
];

/// How many of [`INTERVALS`] are good.
pub const GOOD_INTERVALS: u8 = 10;

pub fn description(number: u8) -> String {
    match number {
        0 => String::new(),
        1 => "orders".to_owned(),
        2 => "K\u{fc}hlhaus \u{2713} \"quoted\" \\ \n".to_owned(),
        3 => "\u{e9}".repeat(8192),
        _ => "\u{e9}".repeat(8193),
    }
}

pub fn context(number: u8) -> Vec<(String, String)> {
    let long = |encoded: usize| "v".repeat(encoded - 7);
    let entries: &[(&str, &str)] = match number {
        0 | 1 => &[],
        2 => &[("tenant", "42")],
        3 => &[("tenant", "42"), ("b", "")],
        4 => &[("\u{43a}\u{43b}\u{44e}\u{447}", "\u{2713}"), ("a", "1"), ("b", "2")],
        5 => &[("", "x")],
        6 => &[("a", "1"), ("a", "2")],
        7 => &[("a", "1"), ("b", "2"), ("a", "1")],
        8 => &[("a\0", "1")],
        9 => &[("a", "1\0")],
        10 => return vec![("k".to_owned(), long(8192))],
        _ => return vec![("k".to_owned(), long(8193))],
    };
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub fn material(number: u8) -> Vec<u8> {
    match number {
        0 | 1 => vec![number + 1; 32],
        2 => vec![1; 31],
        3 => vec![1; 33],
        _ => Vec::new(),
    }
}

pub fn tag_name(number: u8) -> String {
    match number {
        0..=11 => format!("name{number}/_-.+=@:Z"),
        12 => "n".repeat(128),
        13 => "n".repeat(129),
        14 => String::new(),
        _ => "a b".to_owned(),
    }
}

pub fn tag_value(number: u8) -> String {
    match number {
        0 => String::new(),
        1 => "v/_-.+=@:9".to_owned(),
        2 => "v".repeat(256),
        3 => "v".repeat(257),
        _ => "\u{e9}".to_owned(),
    }
}

pub fn data_key_bytes(number: u8) -> usize {
    [32, 16, 1, 190, 191, 214, 245, 1024, 246, 0, 1025][usize::from(number) % 11]
}
