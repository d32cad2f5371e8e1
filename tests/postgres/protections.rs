//! Tests fail if the protection that they test is switched off.

use std::process::{Command, Stdio};

const SWITCHED_OFF: [(&str, &str); 18] = [
    (
        "KMS_FAULT_COMMIT_UNASKED",
        "commits::a_connection_that_is_cut_during_commit_loses_no_change_and_makes_none_twice",
    ),
    ("KMS_FAULT_COMMIT_REPEATED", "commits::a_change_that_the_server_cancels_at_its_commit_is_not_acknowledged"),
    (
        "KMS_FAULT_ROLLBACK_UNNOTICED",
        "rollback::after_a_failover_that_lost_changes_nothing_is_written_until_an_operator_accepts",
    ),
    (
        "KMS_FAULT_ROLLBACK_UNNOTICED",
        "rollback::a_shard_that_was_put_back_is_noticed_by_the_checkpoint_of_who_never_saw_it",
    ),
    ("KMS_FAULT_ROLLBACK_REPLACES", "rollback::a_forked_child_refuses_what_its_parent_would"),
    ("KMS_FAULT_ROLLBACK_UNNOTICED", "rollback::a_forked_child_refuses_what_its_parent_would"),
    (
        "KMS_FAULT_ROLLBACK_UNNOTICED",
        "rollback::a_whole_database_of_before_is_noticed_by_the_anchor_and_without_one_by_who_saw_more",
    ),
    ("KMS_FAULT_ANCHOR_NOT_STRICT", "rollback::with_a_strict_anchor_a_new_process_notices_the_loss_of_the_last_change"),
    ("KMS_FAULT_COPY_UNCLAIMED", "copies::of_two_copiers_to_one_location_one_is_refused"),
    ("KMS_FAULT_UNANNOUNCED", "hosts::a_neighbour_on_the_host_sees_a_change_at_its_next_call"),
    ("KMS_FAULT_CLOCKS_UNCOMPARED", "hosts::a_host_whose_clock_is_wrong_destroys_nothing_that_another_confirmed"),
    ("KMS_FAULT_UNHEARD", "news::an_announced_change_is_seen_long_before_the_next_poll"),
    ("KMS_FAULT_NEWS_UNBOUNDED", "news::a_flood_of_notifications_makes_few_polls"),
    ("KMS_FAULT_ONE_CONNECTION", "connections::a_change_that_waits_for_another_process_delays_nothing_in_other_shards"),
    ("KMS_FAULT_MOMENTS_MIXED", "connections::threads_that_read_and_change_at_once_see_no_loss_and_obey_every_change"),
    ("KMS_FAULT_DELETION_NOT_KEPT", "pooling::what_a_transaction_deleted_before_its_last_statements_is_deleted"),
    ("KMS_FAULT_STATEMENTS_CLOSED", "pooling::statements_that_are_used_no_more_are_not_closed_in_another_session"),
    ("KMS_FAULT_UNCHECKED", "what_a_database_user_edits_is_noticed"),
];

#[test]
fn tests_of_protections_fail_without_them() {
    if SWITCHED_OFF.iter().any(|(switch, _)| std::env::var_os(switch).is_some()) {
        return;
    }
    let run = |(switch, test): &(&str, &str)| {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", test]).env(switch, "1").stdout(Stdio::piped()).stderr(Stdio::null());
        again.spawn().unwrap()
    };
    let running: Vec<_> = SWITCHED_OFF.iter().map(run).collect();
    for ((switch, test), child) in SWITCHED_OFF.iter().zip(running) {
        let done = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout);
        assert!(text.contains("running 1 test"), "there is no test {test}");
        assert!(!done.status.success(), "{test} passes with {switch}");
    }
}
