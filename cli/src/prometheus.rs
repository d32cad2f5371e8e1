//! `kms status --prometheus`: the report as metrics, for a textfile collector.

use std::fmt::Write;

use crate::output;
use crate::report::Report;
use crate::times::now;

pub fn text(report: &Report) -> String {
    let mut out = String::new();
    let mut metric = |name: &str, help: &str, samples: &[(String, u64)]| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let plain = |value: u64| vec![(String::new(), value)];
    let states: Vec<_> =
        report.states.iter().map(|(state, count)| (format!("{{state=\"{state}\"}}"), *count)).collect();
    metric("kms_keys", "Keys by state.", &states);
    metric("kms_key_versions", "Key versions.", &plain(report.versions));
    metric("kms_key_versions_disabled", "Disabled key versions.", &plain(report.disabled_versions));
    metric(
        "kms_key_versions_pending_deletion",
        "Key versions that wait for their deletion.",
        &plain(report.version_deletions.len() as u64),
    );
    metric("kms_log_entries", "Entries of the change log.", &plain(report.log_entries));
    metric("kms_keys_damaged", "Keys whose row is damaged.", &plain(report.damaged));
    metric("kms_keys_rotating", "Keys with a rotation policy.", &plain(report.rotating));
    metric("kms_keys_overdue", "Enabled keys whose rotation is overdue.", &plain(report.overdue));
    metric("kms_keys_waiting_for_backup", "Overdue keys that wait for a backup.", &plain(report.waiting));
    metric("kms_keys_pending_deletion", "Keys that wait for their deletion.", &plain(report.deletions.len() as u64));
    let seconds =
        |time: Option<kms::Time>| plain(time.map_or(0, |time| u64::try_from(time.millis() / 1000).unwrap_or_default()));
    let next = report.next.first().map(|(time, _)| *time);
    metric("kms_next_rotation_timestamp_seconds", "The next rotation; 0 without one.", &seconds(next));
    let deletion = report.deletions.first().map(|(time, _)| *time);
    metric("kms_next_deletion_timestamp_seconds", "The next deletion; 0 without one.", &seconds(deletion));
    let flags: Vec<_> = report
        .health
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, set)| {
            (format!("{{flag=\"{}\"}}", output::clean(name)), u64::from(*set == serde_json::Value::Bool(true)))
        })
        .collect();
    metric("kms_health", "1 while a promise holds less.", &flags);
    metric("kms_root_slots", "Root slots.", &plain(report.slots.len() as u64));
    metric("kms_keys_without_backup", "Keys whose newest version no recorded backup has.", &plain(report.uncovered));
    let newest = report.backups.last().map(kms::backup::Backup::created);
    metric("kms_last_backup_timestamp_seconds", "The newest recorded backup; 0 without one.", &seconds(newest));
    metric("kms_generation", "Changes of the keystore, from a random start.", &plain(report.generation));
    if let Some(database) = &report.database {
        let synchronous = u64::from(database.is_synchronous);
        metric("kms_database_standby", "1 if changes wait for a standby.", &plain(synchronous));
        metric(
            "kms_database_durable",
            "1 if changes wait for the server's disk.",
            &plain(u64::from(database.is_durable)),
        );
        let checkpoint = database.checkpoint.unwrap_or_default().try_into().unwrap_or_default();
        metric("kms_database_checkpoint", "Number of the newest checkpoint of all shards.", &plain(checkpoint));
    }
    metric("kms_warnings", "Warnings of kms status.", &plain(report.warnings.len() as u64));
    metric("kms_status_timestamp_seconds", "When this was written.", &seconds(Some(now())));
    out
}
