//! `kms status`: what the keystore holds and what needs attention.

use kms::{KeyId, Time};
use serde_json::{Value, json};

use crate::args::StatusArgs;
use crate::exit::{Exit, Failure, Result};
use crate::output::{self, fields, text};
use crate::report::{Report, gather};
use crate::session::Session;
use crate::times::{iso, now, shown};

pub fn run(session: &Session, args: &StatusArgs) -> Result<()> {
    let report = gather(session)?;
    match args.prometheus {
        true => output::print(&crate::prometheus::text(&report))?,
        false => session.out.print(|| as_json(&report), || as_text(session, &report))?,
    }
    match args.check && !report.warnings.is_empty() {
        true => {
            Err(Failure::new(Exit::Partial, "Cli.Attention", output::count(report.warnings.len() as u64, "warning")))
        }
        false => Ok(()),
    }
}

fn as_json(report: &Report) -> Value {
    let dated = |list: &[(Time, String)], name: &str| -> Vec<Value> {
        list.iter().map(|(time, key)| json!({ "KeyId": key, name: iso(*time) })).collect()
    };
    json!({
        "Keystore": report.keystore,
        "Generation": report.generation,
        "KeyStates": report.states,
        "TotalCount": report.keys,
        "VersionCount": report.versions,
        "DisabledVersionCount": report.disabled_versions,
        "DamagedCount": report.damaged,
        "RotatingCount": report.rotating,
        "OverdueCount": report.overdue,
        "WaitingForBackupCount": report.waiting,
        "SuspendedCount": report.suspended,
        "NextRotations": dated(&report.next, "NextRotationDate"),
        "PendingDeletions": dated(&report.deletions, "DeleteDate"),
        "PendingVersionDeletions": report.version_deletions.iter().map(|(due, key, number)| json!({
            "KeyId": key,
            "Number": number,
            "DeleteDate": iso(*due),
        })).collect::<Vec<_>>(),
        "LogEntryCount": report.log_entries,
        "Health": report.health,
        "RootSlots": { "RootSlot": report.slots },
        "Backups": report.backups.iter().map(|backup| json!({
            "Path": backup.path(),
            "CreationDate": iso(backup.created()),
            "VerifiedDate": backup.verified().map(iso),
            "Generation": backup.generation(),
        })).collect::<Vec<_>>(),
        "KeysWithoutBackupCount": report.uncovered,
        "ModuleUsers": report.module_users.iter().map(|((program, user), last)| json!({
            "Program": program,
            "UserId": user,
            "ProcessId": last.process_id,
            "LastChangeDate": iso(last.time),
        })).collect::<Vec<_>>(),
        "Database": report.database.as_ref().map(|database| json!({
            "Server": database.server,
            "ServerVersion": database.server_version,
            "Database": database.database,
            "Schema": database.schema,
            "Role": database.role,
            "TableVersion": database.tables,
            "Encrypted": database.is_encrypted,
            "Durable": database.is_durable,
            "SynchronousStandby": database.is_synchronous,
            "Checkpoint": database.checkpoint,
        })),
        "Time": iso(now()),
        "Warnings": report.warnings,
    })
}

fn as_text(session: &Session, report: &Report) -> String {
    let named = |key: &str| KeyId::parse(key).map_or_else(|| key.to_owned(), |id| output::clean(&session.named(id)));
    let states: Vec<String> =
        report.states.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{count} {name}")).collect();
    let keys = if states.is_empty() { "none".to_owned() } else { states.join(", ") };
    let roots: Vec<String> = report
        .slots
        .iter()
        .map(|slot| {
            let label = text(slot, "Label");
            let kind = text(slot, "Kind").to_lowercase();
            if label.is_empty() { kind } else { format!("{kind} ({label})") }
        })
        .collect();
    let degraded: Vec<&str> = report
        .health
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, set)| **set == Value::Bool(true))
        .map(|(name, _)| name.as_str())
        .collect();
    let mut versions = report.versions.to_string();
    for (count, state) in
        [(report.disabled_versions, "Disabled"), (report.version_deletions.len() as u64, "PendingDeletion")]
    {
        if count > 0 {
            versions.push_str(&format!(", {count} {state}"));
        }
    }
    let mut rows = vec![
        ("Keystore", format!("{}, generation {}", report.keystore, report.generation)),
        ("Keys", keys),
        ("Versions", versions),
        (
            "Rotation",
            format!(
                "automatic for {}, {} overdue, {} suspended",
                output::count(report.rotating, "key"),
                report.overdue,
                report.suspended
            ),
        ),
    ];
    if let Some(database) = &report.database {
        let encrypted = if database.is_encrypted { "TLS" } else { "not encrypted" };
        let schema = &database.schema;
        let line = format!(
            "PostgreSQL {} at {}, {encrypted}; schema {schema}, tables of version {}, role {}",
            database.server_version, database.server, database.tables, database.role
        );
        rows.insert(1, ("Database", output::clean(&line)));
        let standby = if database.is_synchronous { "has each change" } else { "none that changes wait for" };
        let checkpoint = database.checkpoint.map_or_else(|| "none".to_owned(), |number| format!("number {number}"));
        rows.insert(2, ("Standby", format!("{standby}; checkpoint: {checkpoint}")));
    }
    for (number, (time, key)) in report.next.iter().enumerate() {
        rows.push((if number == 0 { "Next rotations" } else { "" }, format!("{}  {}", shown(*time), named(key))));
    }
    let deletions = report.deletions.iter().map(|(time, key)| format!("{}  {}", shown(*time), named(key)));
    let of_versions = report
        .version_deletions
        .iter()
        .map(|(time, key, number)| format!("{}  {} version {number}", shown(*time), named(key)));
    for (number, line) in deletions.chain(of_versions).enumerate() {
        rows.push((if number == 0 { "Deletions" } else { "" }, line));
    }
    rows.push(("Change log", output::counted(report.log_entries, "entry", "entries")));
    for (number, ((program, user), last)) in report.module_users.iter().enumerate() {
        let program = output::clean(program);
        let line = format!("{}  {program}, user {user}, process {}", shown(last.time), last.process_id);
        rows.push((if number == 0 { "PKCS#11" } else { "" }, line));
    }
    rows.push(("Root slots", roots.join(", ")));
    let backup = report.backups.last().map(|backup| {
        let verified = if backup.verified().is_some() { ", verified" } else { ", not verified" };
        let path = if backup.path() == "-" { "standard output" } else { backup.path() };
        format!("{}  {path}{verified}", shown(backup.created()))
    });
    rows.push(("Last backup", backup.unwrap_or_else(|| "none recorded".to_owned())));
    rows.push(("Health", if degraded.is_empty() { "good".to_owned() } else { degraded.join(", ") }));
    rows.push(("Clock", shown(now())));
    fields(&rows) + &report.warnings.iter().map(|warning| output::warning(warning)).collect::<String>()
}
