//! `kms root`: the root slots, which open the keystore.

use serde_json::json;

use crate::args::{RootAdd, RootCommand, RootRemove};
use crate::confirm::confirm;
use crate::exit::{Failure, Result};
use crate::location;
use crate::output::{self, date, table, text};
use crate::session::Session;

pub fn run(session: &Session, command: &RootCommand) -> Result<()> {
    match command {
        RootCommand::List => {}
        RootCommand::Add(RootAdd { new, label }) => {
            session.keystore.add_root_slot(&location::new_root(new)?, label.as_deref())?;
        }
        RootCommand::Remove(args) => {
            if !remove(session, args)? {
                return Ok(());
            }
        }
        RootCommand::Change(args) => {
            let slots = session.keystore.list_root_slots()?.len();
            let (slots, former) = (output::count(slots as u64, "root slot"), if slots == 1 { "one" } else { "ones" });
            let plan = [format!(
                "replace {slots} by a new one: a key file or a passphrase; backups still need the former {former}"
            )];
            if !confirm(args.reviewed, &plan)? {
                return Ok(());
            }
            session.keystore.change_root(&location::new_root(&args.new)?)?;
            if session.location.root_is_named {
                output::note(
                    "put the new key file or passphrase where the former one was: its file, kms.toml, environment, \
                     services; kms help config",
                );
            }
        }
    }
    list(session)
}

fn remove(session: &Session, args: &RootRemove) -> Result<bool> {
    let slots = session.keystore.list_root_slots()?;
    let named =
        |slot: &&kms::root::RootSlot| slot.id.to_string() == args.slot || slot.label.as_deref() == Some(&args.slot);
    if slots.iter().filter(named).count() > 1 {
        return Err(Failure::usage(format!("several root slots have the label {}", args.slot)).next("kms root list"));
    }
    let slot = slots.iter().find(named);
    let id = slot.map_or_else(|| args.slot.clone(), |slot| slot.id.to_string());
    let label = slot.and_then(|slot| slot.label.clone()).unwrap_or_else(|| "no label".to_owned());
    let mut plan = vec![format!("remove the root slot {id} ({label}); backups still need it")];
    if slot.is_some_and(|slot| slot.opened_this_handle) {
        plan.push("it is the one that opened this keystore just now".to_owned());
    }
    if !confirm(args.reviewed, &plan)? {
        return Ok(false);
    }
    session.keystore.remove_root_slot(&id).map_err(|error| Failure::from(error).next("kms root list"))?;
    Ok(true)
}

fn list(session: &Session) -> Result<()> {
    let slots = session.call("ListRootSlots", &json!({}))?;
    session.out.print(
        || slots.clone(),
        || {
            let rows = slots["RootSlots"]["RootSlot"].as_array().into_iter().flatten();
            table(
                ["SLOT ID", "KIND", "LABEL", "CREATED", ""],
                rows.map(|slot| {
                    let opened = if slot["OpenedThisHandle"] == true { "opened now" } else { "" };
                    [
                        text(slot, "RootSlotId"),
                        text(slot, "Kind").to_lowercase(),
                        text(slot, "Label"),
                        date(&text(slot, "CreationDate")),
                        opened.to_owned(),
                    ]
                }),
            )
        },
    )
}
