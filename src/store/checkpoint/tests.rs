use super::*;

fn sealing() -> Sealing {
    Sealing::new(&[1; 32], [2; 16]).unwrap()
}

fn states() -> Vec<State> {
    vec![State::new(7, [7; 32]), State::new(9, [9; 32])]
}

#[test]
fn a_checkpoint_is_read_as_it_was_written_and_not_if_it_was_edited() {
    let mut sealing = sealing();
    let record = Checkpoint::encode(&mut sealing, 5, 1_000, true, &states()).unwrap();
    let read = Checkpoint::decode(&mut sealing, &record).unwrap();
    assert_eq!((read.number, read.at_ms, read.is_stopped, &read.states), (5, 1_000, true, &states()));
    for at in 0..record.len() {
        let mut edited = record.clone();
        edited[at] ^= 1;
        assert!(Checkpoint::decode(&mut sealing, &edited).is_err(), "byte {at} may be edited");
        assert!(Checkpoint::decode(&mut sealing, &record[..at]).is_err(), "it may be cut at {at}");
    }
    assert!(Checkpoint::decode(&mut Sealing::new(&[1; 32], [3; 16]).unwrap(), &record).is_err(), "another keystore's");
}

#[test]
fn a_shard_that_lies_before_its_checkpoint_is_noticed() {
    let mut sealing = sealing();
    let record = Checkpoint::encode(&mut sealing, 5, 0, false, &states()).unwrap();
    let checkpoint = Checkpoint::decode(&mut sealing, &record).unwrap();
    let with = |generation, mac| checkpoint.is_covered(&[State::new(7, [7; 32]), State::new(generation, [mac; 32])]);
    assert!(with(9, 9) && with(10, 1));
    assert!(!with(8, 8) && !with(9, 8), "an older or another state passes");
    assert!(!checkpoint.is_covered(&states()[..1]), "a shard may be missing");
}

#[test]
fn a_new_epoch_lies_above_all_numbers_of_the_one_before() {
    assert!(epoch(next_epoch(0)) == 1 && next_epoch(5) == next_epoch(1 << 39));
    assert!(next_epoch(next_epoch(3)) > next_epoch(3) + (1 << 39));
}
