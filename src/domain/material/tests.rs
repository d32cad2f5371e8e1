use super::*;

#[test]
fn material_is_usable_until_it_expires_or_is_taken_away() {
    let mut imported = Imported { digest: [1; 32], present: true, expiry: None };
    assert!(imported.usable(Time::from_millis(i64::MAX)), "no date: without end");
    imported.expiry = Some(Deadline::at(Time::from_millis(10)));
    assert!(imported.usable(Time::from_millis(9)));
    assert!(!imported.usable(Time::from_millis(10)), "refused at once, before anything is erased");
    imported.erase();
    assert!(!imported.usable(Time::from_millis(9)));
    assert_eq!(imported.digest, [1; 32], "only the same material may come back");
}
