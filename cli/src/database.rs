//! What commands do with a keystore in a database beyond what they do with a file.

use kms::{Keystore, Options, Status, database};
use serde_json::json;

use crate::args::{AcceptRollback, Global, Init};
use crate::confirm::confirm;
use crate::exit::{Exit, Failure, Result};
use crate::keystore_location::KeystoreLocation;
use crate::location::Location;
use crate::output::{self, Output};

/// Makes the tables, or brings them to this version, and lets a role use them. Returns what was done; none where the keystore
/// exists already, and so is not to be made.
pub fn prepare(keystore: &KeystoreLocation, args: &Init, json: bool) -> Result<Option<String>> {
    let location = keystore.unredacted();
    let done = database::prepare(&location, args.grant.as_deref()).map_err(|error| {
        let lacks_privilege = error.status() == Status::KeystoreIo && error.text().contains("privilege");
        let failure = Failure::from(error);
        match lacks_privilege {
            true => {
                failure.next("kms init LOCATION --grant ROLE as the owner of the tables; --print-sql, to see the SQL")
            }
            false => failure,
        }
    })?;
    let mut text = match done.former_version {
        0 => format!("made the tables of version {}\n", done.version),
        former if former < done.version => format!("brought the tables from version {former} to {}\n", done.version),
        _ => String::new(),
    };
    if let Some(role) = &args.grant {
        text.push_str(&format!("{} may use them\n", output::clean(role)));
    }
    if !done.has_keystore {
        return Ok(Some(text));
    }
    if text.is_empty() {
        return Err(Failure::new(
            Exit::Keystore,
            "Keystore.Exists",
            format!("there is a keystore at {keystore} already, in tables of version {}", done.version),
        )
        .next("kms status, to look into it; --grant ROLE, to let programs use it; or another name after #"));
    }
    Output { json }.print(
        || json!({ "Keystore": keystore.to_string(), "TableVersion": done.version, "Exists": true }),
        || format!("{text}there is a keystore at {keystore} already; it is unchanged\n"),
    )?;
    Ok(None)
}

pub fn script(keystore: &KeystoreLocation, args: &Init) -> Result<()> {
    output::print(&database::script(&keystore.unredacted(), args.grant.as_deref())?)
}

/// Has all processes continue with what the database has now.
pub fn accept_rollback(global: &Global, args: &AcceptRollback) -> Result<()> {
    let location = Location::find(global)?;
    let keystore = location.keystore()?;
    if !keystore.is_database() {
        return Err(Failure::usage(format!("{keystore} is a file; of an older copy, its anchor decides"))
            .next("kms help anchor"));
    }
    let options = location.root.set(Options::new().actor(&global.actor).rotation_thread(false))?;
    let options = location.anchored(options);
    let plan = [
        format!("continue with what {keystore} has now, in all programs"),
        "changes that it lost stay lost; what was encrypted under lost versions opens no more".to_owned(),
    ];
    if !confirm(args.reviewed, &plan)? {
        return Ok(());
    }
    let opened = Keystore::open(&keystore.unredacted(), &options.accept_rollback(true))?;
    let is_rolled_back = opened.health()?.rolled_back;
    Output { json: global.json }.print(
        || json!({ "Keystore": keystore.to_string(), "RolledBack": is_rolled_back }),
        || format!("programs continue with {keystore} as it is\nnext: kms verify\n"),
    )
}
