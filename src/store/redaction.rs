//! What may be shown of a location: no password, in any build and however malformed the text.

/// Settings of a location whose values may be shown.
const HARMLESS: [&str; 21] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "connections",
    "dbname",
    "host",
    "hostaddr",
    "keystore",
    "notify",
    "options",
    "passfile",
    "port",
    "schema",
    "service",
    "ssl",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

/// The location without a password. A text in which the password cannot be found with certainty loses more than that.
pub fn shown_location(location: &str) -> String {
    if let Some((scheme, rest)) = location.split_once("://") {
        return url(scheme, rest);
    }
    match location.split_once(':') {
        Some((scheme @ ("postgres" | "postgresql"), keywords)) => format!("{scheme}:{}", shown_keywords(keywords)),
        _ => location.to_owned(),
    }
}

fn is_harmless(setting: &str) -> bool {
    let name = setting.split_once('=').map_or(setting, |(name, _)| name);
    HARMLESS.contains(&name.trim())
}

fn url(scheme: &str, rest: &str) -> String {
    // The last one: a password may have been written without percent-encoding.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((login, rest)) => (login.split_once(':').map_or(login, |(user, _)| user), Some(rest)),
        None => (rest, None),
    };
    let (user, rest) = match rest {
        Some(rest) => (format!("{user}@"), rest),
        None => (String::new(), user),
    };
    let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, name)| (rest, Some(name)));
    let (server, settings) = rest.split_once('?').map_or((rest, None), |(server, settings)| (server, Some(settings)));
    let mut shown = format!("{scheme}://{user}{server}");
    let mut separator = '?';
    for setting in settings.unwrap_or_default().split('&').filter(|setting| is_harmless(setting)) {
        shown.push(separator);
        shown.push_str(setting);
        separator = '&';
    }
    if let Some(name) = fragment {
        shown.push('#');
        shown.push_str(name);
    }
    shown
}

/// The settings as they are written, up to the first that is malformed.
fn shown_keywords(text: &str) -> String {
    let mut shown: Vec<&str> = Vec::new();
    let mut rest = text.trim_start();
    while let Some(end) = end_of_setting(rest) {
        let (setting, left) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if is_harmless(setting) {
            shown.push(setting);
        }
        rest = left.trim_start();
    }
    shown.join(" ")
}

/// Where the first of several settings ends, with quotes and backslashes as libpq reads them.
fn end_of_setting(text: &str) -> Option<usize> {
    let (name, value) = text.split_once('=')?;
    let value = value.trim_start();
    let begin = text.len() - value.len();
    if name.trim().is_empty() || name.trim().contains(char::is_whitespace) {
        return None;
    }
    let is_quoted = value.starts_with('\'');
    let mut chars = value.char_indices().skip(usize::from(is_quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '\'' if is_quoted => return Some(begin + at + 1),
            c if c.is_whitespace() && !is_quoted => return Some(begin + at),
            _ => {}
        }
    }
    (!is_quoted).then_some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_no_shown_location() {
        for (location, wanted) in [
            ("keys.db", "keys.db"),
            ("sqlite:a@b:c", "sqlite:a@b:c"),
            ("postgres://ann:secret@db:1/keys?sslmode=disable#ring", "postgres://ann@db:1/keys?sslmode=disable#ring"),
            ("postgres://:secret@db", "postgres://@db"),
            ("postgresql://db/keys?password=secret&schema=s", "postgresql://db/keys?schema=s"),
            ("postgres://db/keys?p%61ssword=secret", "postgres://db/keys"),
            ("postgres://db?sslpassword=secret#ring", "postgres://db#ring"),
            ("postgres://ann:se@c/r?e#t@db/keys", "postgres://ann@db/keys"),
            ("postgress://ann:secret@db", "postgress://ann@db"),
            ("postgres:host=db password=secret user=ann", "postgres:host=db user=ann"),
            ("postgres:host = db password = 'it\\'s secret' dbname='a b'", "postgres:host = db dbname='a b'"),
            ("postgresql:password=se\\ cret user=ann", "postgresql:user=ann"),
            ("postgres:password='secret user=ann", "postgres:"),
            ("postgres:secret", "postgres:"),
        ] {
            assert_eq!(shown_location(location), wanted);
        }
    }
}
