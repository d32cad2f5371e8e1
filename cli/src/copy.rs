//! `kms copy`: the keystore at another location, from a file to a database or back, while programs use it.

use kms::backup::CopyStep;
use kms::{Keystore, Options};
use serde_json::json;

use crate::args::{Copy, Global};
use crate::exit::{Failure, Result};
use crate::keystore_location::KeystoreLocation;
use crate::location::Location;
use crate::output::{self, Output};
use crate::step::reached;
use crate::stream::Watch;

pub fn run(global: &Global, args: &Copy) -> Result<()> {
    for (location, why) in [(&args.source, "has nothing to copy"), (&args.target, "ends with this command")] {
        if matches!(location.unredacted().as_str(), "memory:" | "-") {
            return Err(Failure::usage(format!("{location} {why}; pass a path"))
                .next("kms copy SRC DST; or kms backup -, to write to standard output"));
        }
    }
    let location = Location::find(global)?;
    let options = location.root.set(Options::new().actor(&global.actor).rotation_thread(false))?;
    // The configured anchor belongs to the configured keystore, under any path; one that this command names belongs to
    // its source.
    let is_configured = location.keystore.as_ref().is_none_or(|keystore| is_same(keystore, &args.source));
    let is_anchored = location.anchor.is_some() && (is_configured || location.anchor_is_named);
    let options = if is_anchored { location.anchored(options) } else { options };
    let keystore = Keystore::open(&args.source.unredacted(), &options)?;
    let watch = Watch::new(None, false).of_items();
    let report = keystore.copy(&args.target.unredacted(), |step| match step {
        CopyStep::Copied(keys) => {
            reached("copy: keys copied");
            watch.show(keys);
        }
        CopyStep::Compared(keys) => {
            reached("copy: keys compared");
            watch.show(keys);
        }
        _ => reached("copy: locked"),
    });
    let report = watch.end(report)?;
    let (from, to) = (args.source.to_string(), args.target.to_string());
    let anchor = if is_anchored { " --anchor-file FILE, a new one: the anchor is of the source" } else { "" };
    Output { json: global.json }.print(
        || {
            json!({ "Keystore": from, "Copy": to, "KeyCount": report.keys, "KeyVersionCount": report.versions,
                "AliasCount": report.aliases })
        },
        || {
            format!(
                "copied {from} to {to}: {}, {}, {}; all were read back\n\
                 Later changes of {from} are not in the copy. Stop its programs, or start them with {to}.\n\
                 next: kms status --keystore {to}{anchor}\n",
                output::count(report.keys, "key"),
                output::count(report.versions, "version"),
                match report.aliases {
                    1 => "1 alias".to_owned(),
                    count => format!("{count} aliases"),
                },
            )
        },
    )
}

/// Whether two locations lead to one keystore.
fn is_same(one: &KeystoreLocation, other: &KeystoreLocation) -> bool {
    let canonical = |location: &KeystoreLocation| location.file().ok().and_then(|path| path.canonicalize().ok());
    match (canonical(one), canonical(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
