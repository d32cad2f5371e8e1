//! `kms encrypt`, `decrypt`, `reencrypt`, `inspect`, `datakey`.

use std::path::{Path, PathBuf};

use kms::{KeyRef, Keystore, file::FileOptions};
use serde_json::{Value, json};

use crate::args::{Datakey, Decrypt, Encrypt, Inspect, Reencrypt, Target};
use crate::bulk;
use crate::data::{self, EXTENSION, MOST_CIPHERTEXT, MOST_PLAINTEXT, Place, is_stdin};
use crate::exit::{Exit, Failure, Result};
use crate::key::pairs;
use crate::output::{self, table, text};
use crate::session::Session;
use crate::stream::{self, Input, SMALL, Watch};

/// Header, nonce and tag of a blob.
const OVERHEAD: u64 = 80;

pub fn encrypt(session: &Session, args: &Encrypt) -> Result<()> {
    if let Some(folders) = folders(args.file.as_deref(), args.output_dir.as_deref(), "encrypt")? {
        return bulk::tree::encrypt(session, args, folders.0, folders.1);
    }
    let place = place(&args.target, args.file.as_deref(), |input| {
        let mut name = input.as_os_str().to_owned();
        name.push(format!(".{EXTENSION}"));
        Some(name.into())
    });
    place.check(args.armor)?;
    let key = session.key_to_encrypt(args.key.as_deref())?;
    let context = pairs(&args.context.context);
    let mode = data::mode(args.file.as_deref());
    let mut input = Input::open(args.file.as_deref())?;
    if !input.is_large()? {
        let blob = session.keystore.encrypt(key, &input.bytes(SMALL)?, &context)?;
        let blob = if args.armor { data::armor(&blob) } else { blob };
        return place.write(&blob, mode);
    }
    if args.armor {
        let mut sealed = Vec::new();
        let options = FileOptions::new().threads(args.threads);
        session.keystore.encrypt_copy(key, &**input.bytes(MOST_PLAINTEXT)?, &mut sealed, &context, &options)?;
        return place.write(&data::armor(&sealed), mode);
    }
    if let (Some(path), Some(len), Place::File { path: target, replace }) = (&input.path, input.len, &place) {
        let watch = Watch::new(Some(len), true);
        let step = |done| watch.step(done);
        let options = FileOptions::new().threads(args.threads).replace(*replace).progress(&step);
        let done = session.keystore.encrypt_file(key, path, target, &context, &options);
        return watch.end(done).map(|_| ());
    }
    stream::copy(&place, input.len, args.threads, mode, |out, options| {
        session.keystore.encrypt_copy(key, input.reader(), out, &context, options)
    })
}

pub fn decrypt(session: &Session, args: &Decrypt) -> Result<()> {
    if let Some(folders) = folders(args.file.as_deref(), args.output_dir.as_deref(), "decrypt")? {
        return bulk::tree::decrypt(session, args, folders.0, folders.1);
    }
    let place = place(&args.target, args.file.as_deref(), |input| {
        (input.extension()? == EXTENSION).then(|| input.with_extension(""))
    });
    place.check(true)?;
    let context = pairs(&args.context.context);
    let mode = data::mode(args.file.as_deref());
    let shown = output::shown(args.file.as_deref());
    let named =
        |failure: Failure| if failure.text.contains(&shown) { failure } else { failure.of_file(Path::new(&shown)) };
    let mut input = Input::open(args.file.as_deref())?;
    if input.is_encrypted_file()? {
        place.check(false)?;
        if let (Some(path), Some(len), Place::File { path: target, replace }) = (&input.path, input.len, &place) {
            let watch = Watch::new(Some(len), true);
            let step = |done| watch.step(done);
            let options = FileOptions::new().threads(args.threads).replace(*replace).progress(&step);
            let done = session.keystore.decrypt_file(path, target, &context, &options);
            return watch.end(done).map(|_| ()).map_err(named);
        }
        let copied = stream::copy(&place, input.len, args.threads, mode, |out, options| {
            session.keystore.decrypt_copy(input.reader(), out, &context, options)
        });
        return copied.map_err(named);
    }
    let blob = data::ciphertext(input.bytes(MOST_CIPHERTEXT)?);
    if Keystore::is_encrypted_file(&blob) {
        place.check(false)?;
        let copied = stream::copy(&place, None, args.threads, mode, |out, options| {
            session.keystore.decrypt_copy(&**blob, out, &context, options)
        });
        return copied.map_err(named);
    }
    let plaintext = session.keystore.decrypt(&blob, &context).map_err(|error| named(error.into()))?;
    let is_text = std::str::from_utf8(&plaintext)
        .is_ok_and(|text| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r')));
    place.check(is_text)?;
    place.write(&plaintext, mode)
}

/// Where a folder goes; none where a single file is meant.
fn folders<'a>(source: Option<&'a Path>, target: Option<&'a Path>, verb: &str) -> Result<Option<(&'a Path, &'a Path)>> {
    match (source.filter(|path| !is_stdin(Some(path))), target) {
        (Some(source), Some(target)) => Ok(Some((source, target))),
        (None, Some(_)) => Err(Failure::usage("--output-dir needs a file or a folder")),
        (Some(source), None) if source.is_dir() => Err(Failure::usage(format!("{} is a folder", source.display()))
            .next(format!("kms {verb} {} --output-dir FOLDER", source.display()))),
        _ => Ok(None),
    }
}

/// The header of a large file is rewritten in place, for any size.
fn reencrypt_file(session: &Session, args: &Reencrypt, path: Option<&Path>) -> Result<()> {
    let Some(path) = path else {
        return Err(Failure::usage(
            "a large file is re-encrypted in place, by its header; name it instead of piping it",
        ));
    };
    if args.target.output.is_some() || args.armor {
        return Err(Failure::usage("a large file is re-encrypted in place, by its header")
            .next(format!("cp {0} COPY; kms reencrypt COPY", path.display())));
    }
    if !args.new_context.is_empty() {
        return Err(bulk::context_stays());
    }
    let destination = args.key.as_deref().map(|name| session.key(name)).transpose()?;
    let context = pairs(&args.context.context);
    let moved = session.keystore.reencrypt_file(path, &context, destination.map(KeyRef::from));
    if !moved.map_err(|error| Failure::from(error).of_file(path))? {
        output::note(&format!("{}: under the newest version already", path.display()));
    }
    Ok(())
}

pub fn reencrypt(session: &Session, args: &Reencrypt) -> Result<()> {
    if bulk::is_meant(&args.files, &args.columns) || args.reviewed.dry_run {
        return bulk::reencrypt(session, args);
    }
    let named = args.files.first().filter(|path| !is_stdin(Some(path)));
    let file = named.map(|path| bulk::meant(path)).transpose()?;
    let mut input = Input::open(file.as_deref())?;
    if input.is_encrypted_file()? {
        return reencrypt_file(session, args, input.path.as_deref());
    }
    let mut place = place(&args.target, file.as_deref(), |input| Some(input.to_owned()));
    if args.target.output.is_none()
        && let Place::File { replace, .. } = &mut place
    {
        *replace = true;
    }
    let given = input.bytes(MOST_CIPHERTEXT)?;
    // What was text stays text.
    let armored = args.armor || !given.starts_with(&data::MAGIC);
    place.check(armored)?;
    let blob = data::ciphertext(given);
    let shown = output::shown(file.as_deref());
    let failed = |error: kms::Error| Failure::from(error).of_file(Path::new(&shown));
    let destination = args.key.as_deref().map(|name| session.key(name)).transpose()?;
    let source = pairs(&args.context.context);
    let context = if args.new_context.is_empty() { source.clone() } else { pairs(&args.new_context) };
    if Keystore::is_encrypted_file(&blob) {
        if !args.new_context.is_empty() {
            return Err(bulk::context_stays());
        }
        let moved = bulk::reencrypt_file(session, &blob, &source, destination)
            .map_err(|failure| failure.of_file(Path::new(&shown)))?;
        return match (moved, &place) {
            (None, Place::File { path, .. }) if Some(path.as_path()) == file.as_deref() => {
                output::note(&format!("{shown}: under the newest version already"));
                Ok(())
            }
            (moved, place) => place.write(&data::armor(moved.as_deref().unwrap_or(&blob)), data::mode(file.as_deref())),
        };
    }
    let info = session.keystore.inspect(&blob).map_err(failed)?;
    let moves = !info.is_primary || destination.is_some_and(|key| key != info.key) || !args.new_context.is_empty();
    if !moves
        && let Place::File { path, .. } = &place
        && Some(path.as_path()) == file.as_deref()
    {
        output::note(&format!("{shown}: under the newest version already"));
        return Ok(());
    }
    let moved = session.keystore.reencrypt(&blob, &source, destination.map(KeyRef::from), &context).map_err(failed)?;
    let moved = if armored { data::armor(&moved) } else { moved };
    place.write(&moved, data::mode(file.as_deref()))
}

pub fn inspect(session: &Session, args: &Inspect) -> Result<()> {
    if args.list || bulk::is_meant(&args.files, &args.columns) {
        return bulk::inspect(session, args);
    }
    let standard_input = [PathBuf::from("-")];
    let files = if args.files.is_empty() { &standard_input[..] } else { &args.files };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for file in files {
        match inspected(session, file) {
            Ok(info) => found.push(info),
            Err(failure) => failures.push(failure.inspecting().of_file(Path::new(&output::shown(Some(file))))),
        }
    }
    session.out.print(
        || json!({ "Files": found }),
        || match found.is_empty() {
            true => String::new(),
            false => table(
                ["FILE", "KEY", "VERSION", "NEWEST", "CONTEXT"],
                found.iter().map(|info| {
                    // Empty where it is unknown.
                    let yes = |name: &str| match info[name].as_bool() {
                        Some(true) => "yes".to_owned(),
                        Some(false) => "no".to_owned(),
                        None => String::new(),
                    };
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
    let mut input = Input::open(Some(file))?;
    let len = input.len;
    let (info, format, size) = match (input.is_encrypted_file()?, &input.path) {
        (true, Some(path)) => {
            let found = session.keystore.inspect_file(path)?;
            (found.blob, "file", found.plaintext_len)
        }
        (true, None) => return Err(Failure::usage("an encrypted file; name it instead of piping it")),
        _ => {
            let blob = data::ciphertext(input.bytes(MOST_CIPHERTEXT)?);
            (session.keystore.inspect(&blob)?, "blob", (blob.len() as u64).saturating_sub(OVERHEAD))
        }
    };
    let number = session.keystore.describe_key_version(info.key, &info.version.to_string())?.number;
    let aliases = session.aliases(info.key)?;
    Ok(json!({
        "File": output::shown(Some(file)),
        "Format": format,
        "PlaintextSize": size,
        "FileSize": len,
        "KeyId": info.key.to_string(),
        "KeyVersionId": info.version.to_string(),
        "Number": number,
        "Key": aliases.first().cloned().unwrap_or_else(|| info.key.to_string()),
        "Version": number.to_string(),
        "Algorithm": info.algorithm,
        // A file's blob always has a context, which binds its header.
        "HasEncryptionContext": if format == "blob" { Value::Bool(info.context_type != 0) } else { Value::Null },
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
