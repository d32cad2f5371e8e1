//! `kms encrypt`, `decrypt`, `reencrypt`, `inspect`, `datakey`.

use std::path::{Path, PathBuf};

use kms::KeyRef;
use serde_json::{Value, json};

use crate::args::{Datakey, Decrypt, Encrypt, Inspect, Reencrypt, Target};
use crate::data::{self, Place, is_stdin};
use crate::exit::{Exit, Failure, Result};
use crate::key::pairs;
use crate::output::{self, table, text};
use crate::session::Session;

/// The most that one blob holds.
const MOST_PLAINTEXT: u64 = 1 << 30;
/// A blob of that, as armored text.
const MOST_CIPHERTEXT: u64 = (MOST_PLAINTEXT + 4096) / 3 * 4 + (MOST_PLAINTEXT / 48) + 4096;
const EXTENSION: &str = "kms";

pub fn encrypt(session: &Session, args: &Encrypt) -> Result<()> {
    let place = place(&args.target, args.file.as_deref(), |input| {
        let mut name = input.as_os_str().to_owned();
        name.push(format!(".{EXTENSION}"));
        Some(name.into())
    });
    place.check(args.armor)?;
    let key = session.key_to_encrypt(args.key.as_deref())?;
    let plaintext = data::read(args.file.as_deref(), MOST_PLAINTEXT)?;
    let blob = session.keystore.encrypt(key, &plaintext, &pairs(&args.context.context))?;
    let blob = if args.armor { data::armor(&blob) } else { blob };
    place.write(&blob, data::mode(args.file.as_deref()))
}

pub fn decrypt(session: &Session, args: &Decrypt) -> Result<()> {
    let place = place(&args.target, args.file.as_deref(), |input| {
        (input.extension()? == EXTENSION).then(|| input.with_extension(""))
    });
    place.check(true)?;
    let blob = data::ciphertext(data::read(args.file.as_deref(), MOST_CIPHERTEXT)?);
    let plaintext = session
        .keystore
        .decrypt(&blob, &pairs(&args.context.context))
        .map_err(|error| Failure::from(error).of_file(Path::new(&output::shown(args.file.as_deref()))))?;
    let is_text = std::str::from_utf8(&plaintext)
        .is_ok_and(|text| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r')));
    place.check(is_text)?;
    place.write(&plaintext, data::mode(args.file.as_deref()))
}

pub fn reencrypt(session: &Session, args: &Reencrypt) -> Result<()> {
    let mut place = place(&args.target, args.file.as_deref(), |input| Some(input.to_owned()));
    if args.target.output.is_none()
        && let Place::File { replace, .. } = &mut place
    {
        *replace = true;
    }
    let given = data::read(args.file.as_deref(), MOST_CIPHERTEXT)?;
    // What was text stays text.
    let armored = args.armor || !given.starts_with(&data::MAGIC);
    place.check(armored)?;
    let blob = data::ciphertext(given);
    let file = output::shown(args.file.as_deref());
    let failed = |error: kms::Error| Failure::from(error).of_file(Path::new(&file));
    let destination = args.key.as_deref().map(|name| session.key(name)).transpose()?;
    let source = pairs(&args.context.context);
    let context = if args.new_context.is_empty() { source.clone() } else { pairs(&args.new_context) };
    let info = session.keystore.inspect(&blob).map_err(failed)?;
    let moves = !info.is_primary || destination.is_some_and(|key| key != info.key) || !args.new_context.is_empty();
    if !moves
        && let Place::File { path, .. } = &place
        && Some(path.as_path()) == args.file.as_deref()
    {
        output::note(&format!("{file}: under the newest version already"));
        return Ok(());
    }
    let moved = session.keystore.reencrypt(&blob, &source, destination.map(KeyRef::from), &context).map_err(failed)?;
    let moved = if armored { data::armor(&moved) } else { moved };
    place.write(&moved, data::mode(args.file.as_deref()))
}

pub fn inspect(session: &Session, args: &Inspect) -> Result<()> {
    let standard_input = [PathBuf::from("-")];
    let files = if args.files.is_empty() { &standard_input[..] } else { &args.files };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for file in files {
        match inspected(session, file) {
            Ok(info) => found.push(info),
            Err(failure) => failures.push(failure.of_file(Path::new(&output::shown(Some(file))))),
        }
    }
    session.out.print(
        || json!({ "Files": found }),
        || match found.is_empty() {
            true => String::new(),
            false => table(
                ["FILE", "KEY", "VERSION", "NEWEST", "CONTEXT"],
                found.iter().map(|info| {
                    let yes = |name: &str| if info[name] == true { "yes" } else { "no" }.to_owned();
                    [
                        text(info, "File"),
                        text(info, "Key"),
                        text(info, "Version"),
                        yes("IsPrimary"),
                        yes("HasEncryptionContext"),
                    ]
                }),
            ),
        },
    )?;
    several(failures, files.len(), session.out.json)
}

/// The only failure of a single file is that of the command; those of several are reported one by one.
pub fn several(mut failures: Vec<Failure>, of: usize, json: bool) -> Result<()> {
    let count = failures.len();
    match count {
        0 => return Ok(()),
        1 if of == 1 => return failures.pop().map_or(Ok(()), Err),
        _ => failures.iter().for_each(|failure| output::failure(failure, json)),
    }
    Err(Failure::new(
        Exit::Partial,
        "InvalidParameter.BatchPartial",
        format!("{count} of {of} failed, as listed above"),
    ))
}

fn inspected(session: &Session, file: &Path) -> Result<Value> {
    let blob = data::ciphertext(data::read(Some(file), MOST_CIPHERTEXT)?);
    let info = session.keystore.inspect(&blob)?;
    let number = session.keystore.describe_key_version(info.key, &info.version.to_string())?.0.number;
    let aliases = session.aliases(info.key)?;
    Ok(json!({
        "File": output::shown(Some(file)),
        "Format": "blob",
        "KeyId": info.key.to_string(),
        "KeyVersionId": info.version.to_string(),
        "Number": number,
        "Key": aliases.first().cloned().unwrap_or_else(|| info.key.to_string()),
        "Version": number.to_string(),
        "Algorithm": info.algorithm,
        "HasEncryptionContext": info.context_type != 0,
        "IsPrimary": info.is_primary,
    }))
}

pub fn datakey(session: &Session, args: &Datakey) -> Result<()> {
    let key = session.key_to_encrypt(args.key.as_deref())?;
    if session.out.json && args.sealed.is_none() {
        let context: serde_json::Map<String, Value> =
            args.context.context.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let request = json!({ "KeyId": key.to_string(), "NumberOfBytes": args.bytes, "EncryptionContext": context });
        let action = match args.plaintext.as_deref().is_some_and(is_none) {
            true => "GenerateDataKeyWithoutPlaintext",
            false => "GenerateDataKey",
        };
        let response = session.call(action, &request)?;
        return output::print(&format!("{response:#}\n"));
    }
    let file = |path: &Path| match is_stdin(Some(path)) {
        true => Place::Stdout,
        false => Place::File { path: path.to_owned(), replace: args.force },
    };
    let sealed = args.sealed.as_deref().map_or(Place::Stdout, file);
    let plaintext = match args.plaintext.as_deref() {
        Some(path) if is_none(path) => None,
        path => Some(path.map_or(Place::Stdout, file)),
    };
    sealed.check(false)?;
    if let Some(place) = &plaintext {
        place.check(false)?;
    }
    let (data_key, blob) = session.keystore.generate_data_key(key, args.bytes, &pairs(&args.context.context))?;
    sealed.write(&blob, 0o600)?;
    plaintext.map_or(Ok(()), |place| place.write(&data_key, 0o600))
}

fn is_none(path: &Path) -> bool {
    path.as_os_str() == "none"
}

/// Where the result of an input goes: the named file, a name made from the input's, or standard output.
fn place(target: &Target, input: Option<&Path>, named: impl FnOnce(&Path) -> Option<PathBuf>) -> Place {
    let path = match (&target.output, input) {
        (Some(output), _) => Some(output.clone()),
        (None, input) if is_stdin(input) => None,
        (None, input) => input.and_then(named),
    };
    match path.filter(|path| !is_stdin(Some(path))) {
        Some(path) => Place::File { path, replace: target.force },
        None => Place::Stdout,
    }
}
