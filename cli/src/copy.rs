//! `kms copy`: the keystore at another location, from a file to a database or back, while programs use it.

use std::cell::Cell;

use kms::backup::CopyStep;
use kms::{Keystore, Options};
use serde_json::json;

use crate::args::{Copy, Global};
use crate::exit::Result;
use crate::location::{Location, shown};
use crate::output::{self, Output};
use crate::step::reached;
use crate::stream::Watch;

pub fn run(global: &Global, args: &Copy) -> Result<()> {
    let location = Location::find(global)?;
    let source = args.source.display().to_string();
    let options = location.root.set(Options::new().actor(&global.actor).rotation_thread(false))?;
    // The anchor is that of the keystore that is configured.
    let is_configured = location.keystore.as_ref() == Some(&args.source);
    let anchored = if is_configured { location.anchored(options.clone()) } else { options };
    let keystore = Keystore::open(&source, &anchored)?;
    let watch = Watch::new(None, false).of_items();
    let compared = Cell::new(0);
    let report = keystore.copy(&args.target.display().to_string(), |step| match step {
        CopyStep::Copied(keys) => {
            reached("copy: keys copied");
            watch.show(keys);
        }
        CopyStep::Compared(keys) => {
            reached("copy: keys compared");
            compared.set(keys);
            watch.show(keys);
        }
        _ => reached("copy: locked"),
    });
    let report = watch.end(report)?;
    let (from, to) = (shown(&args.source), shown(&args.target));
    Output { json: global.json }.print(
        || {
            json!({ "Keystore": from, "Copy": to, "KeyCount": report.keys, "KeyVersionCount": report.versions,
                "AliasCount": report.aliases, "ComparedKeyCount": compared.get() })
        },
        || {
            format!(
                "copied {from} to {to}: {}, {}, {}; all were compared\n\
                 Changes of {from} from now on are not in the copy: start its programs with the copy, or stop them.\n\
                 next: kms status --keystore {to}\n",
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
