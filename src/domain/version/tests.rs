use super::VersionOperation as Op;
use super::VersionState::{Destroyed, Disabled, Enabled, PendingDeletion};
use super::*;

const NOW: Now = Now { wall: Time::from_millis(0), boot: [1; 16], since_boot_ms: 0 };

fn version(number: u64) -> Version {
    Version { id: VersionId::from_bytes([number as u8; 16]), number, created: Time::from_millis(5) }
}

fn in_state(state: VersionState) -> VersionRecord {
    let mut record = VersionRecord { state, ..VersionRecord::new(1) };
    match state {
        PendingDeletion => record.deletion = Some(Deletion::schedule(&NOW, 7).unwrap()),
        Destroyed => record.tombstone = Some(version(1)),
        Enabled | Disabled => {}
    }
    record
}

#[test]
fn each_operation_leads_to_its_state_or_to_its_error() {
    let refused = Err(Status::StateModifiedFailed);
    let table = [
        (Op::Decrypt, [Ok(Enabled), Err(Status::KeyVersionDisabled), Err(Status::KeyVersionDisabled)]),
        (Op::Enable, [Ok(Enabled), Ok(Enabled), refused]),
        (Op::Disable, [Ok(Disabled), Ok(Disabled), refused]),
        (Op::ScheduleDeletion, [refused, Ok(PendingDeletion), refused]),
        (Op::CancelDeletion, [refused, refused, Ok(Disabled)]),
    ];
    for (operation, expected) in table {
        for (state, expected) in [Enabled, Disabled, PendingDeletion].into_iter().zip(expected) {
            let found = after(state, operation, false).map_err(|error| error.status());
            assert_eq!(found, expected, "{operation:?} of a version that is {state:?}");
        }
    }
}

#[test]
fn nothing_leaves_destruction() {
    for operation in [Op::Decrypt, Op::Enable, Op::Disable, Op::ScheduleDeletion, Op::CancelDeletion] {
        assert_eq!(after(Destroyed, operation, false).unwrap_err().status(), Status::KeyVersionDestroyed);
    }
}

#[test]
fn the_primary_stays_enabled() {
    for operation in [Op::Disable, Op::ScheduleDeletion] {
        assert_eq!(after(Enabled, operation, true).unwrap_err().status(), Status::StateModifiedFailed);
    }
    assert_eq!(after(Enabled, Op::Enable, true).unwrap(), Enabled);
}

#[test]
fn a_record_has_a_deletion_exactly_while_one_is_pending() {
    for state in VersionState::ALL {
        for operation in [Op::Enable, Op::Disable, Op::ScheduleDeletion, Op::CancelDeletion] {
            let mut record = in_state(state);
            let before = record;
            match record.change(operation, false, 7, &NOW) {
                Ok(()) => assert!(record.is_sound(), "{operation:?} of {state:?}"),
                Err(_) => assert_eq!(record, before, "a refused {operation:?} of {state:?} changed something"),
            }
        }
    }
    let mut record = in_state(Disabled);
    assert_eq!(record.change(Op::ScheduleDeletion, false, 6, &NOW).unwrap_err().status(), Status::InvalidArgument);
}

#[test]
fn a_destroyed_version_keeps_its_identity_and_its_dates() {
    let mut record = in_state(PendingDeletion);
    record.note_use(VersionUse::Decrypt, Time::from_millis(86_400_000));
    let gone = record.destroyed(version(1));
    assert!(gone.is_sound());
    assert_eq!((gone.tombstone, gone.last_decrypt), (Some(version(1)), record.last_decrypt));
}

#[test]
fn last_used_dates_only_move_forward() {
    let mut record = VersionRecord::new(1);
    for (day, expected) in [(3, 3), (2, 3), (4, 4)] {
        record.note_use(VersionUse::Encrypt, Time::from_millis(day));
        assert_eq!(record.last_encrypt, Some(Time::from_millis(expected)));
    }
    assert_eq!(record.last_decrypt, None);
}

#[test]
fn records_stay_in_order_and_unknown_versions_are_enabled() {
    let mut records = VersionRecords::default();
    for number in [5, 2, 9, 2] {
        records.put(VersionRecord { state: Disabled, ..VersionRecord::new(number) });
    }
    assert_eq!(records.all().iter().map(|record| record.number).collect::<Vec<_>>(), [2, 5, 9]);
    assert_eq!((records.of(5).state, records.of(4).state), (Disabled, Enabled));
    assert!(VersionRecords::in_order(vec![VersionRecord::new(2), VersionRecord::new(2)]).is_none());
    assert!(VersionRecords::in_order(vec![VersionRecord::new(2), VersionRecord::new(1)]).is_none());
}

#[test]
fn the_earliest_deletion_is_looked_at_first() {
    let mut records = VersionRecords::default();
    assert_eq!(records.next_look(), None);
    records.put(in_state(PendingDeletion));
    assert_eq!(records.next_look(), in_state(PendingDeletion).deletion.map(|deletion| deletion.next_look()));
}
