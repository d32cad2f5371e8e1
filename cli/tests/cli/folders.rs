//! Folders are encrypted into the same tree elsewhere, and decrypted from it.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::Place;

fn with_tree() -> Place {
    let place = Place::with_key();
    std::fs::create_dir_all(place.path("photos/2026/may")).unwrap();
    for (name, content) in [("a.jpg", vec![1; 10]), ("2026/b.jpg", vec![2; 100_000]), ("2026/may/c", vec![])] {
        place.write(&format!("photos/{name}"), content);
    }
    std::fs::set_permissions(place.path("photos/a.jpg"), PermissionsExt::from_mode(0o640)).unwrap();
    symlink("a.jpg", place.path("photos/link")).unwrap();
    place
}

#[test]
fn a_folder_is_encrypted_and_decrypted_with_its_tree() {
    let place = with_tree();
    let err = place.fails(2, "--output-dir", ["encrypt", "photos"]);
    assert!(err.contains("photos is a folder"), "{err}");
    let done = place.json(["encrypt", "photos", "--output-dir", "sealed", "-c", "album=1"]);
    assert_eq!((&done["Encrypted"], &done["Skipped"]["Links"]), (&3.into(), &1.into()), "{done}");
    assert_eq!(std::fs::metadata(place.path("sealed/a.jpg.kms")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(place.json(["inspect", "sealed"])["Count"], 3);
    place.write("sealed/readme", "not encrypted");
    let shown = place.ok(["decrypt", "sealed", "-d", "back", "-c", "album=1"]);
    assert!(shown.contains("decrypted 3 files") && shown.contains("skipped 1 file that is not encrypted"), "{shown}");
    for name in ["a.jpg", "2026/b.jpg", "2026/may/c"] {
        assert!(place.read(&format!("photos/{name}")) == place.read(&format!("back/{name}")), "{name}");
    }
    place.fails(5, "--context", ["decrypt", "sealed", "-d", "other"]);
}

#[test]
fn a_second_run_writes_what_is_missing_and_keeps_the_rest() {
    let place = with_tree();
    place.ok(["encrypt", "photos", "-d", "sealed"]);
    let before = place.read("sealed/a.jpg.kms");
    std::fs::remove_file(place.path("sealed/2026/b.jpg.kms")).unwrap();
    let shown = place.ok(["encrypt", "photos", "-d", "sealed"]);
    assert!(shown.contains("encrypted 1 file, 2 there already"), "{shown}");
    assert!(place.read("sealed/a.jpg.kms") == before);
    std::thread::sleep(std::time::Duration::from_millis(20));
    place.write("photos/a.jpg", "changed");
    assert!(place.fails(1, "--force", ["encrypt", "photos", "-d", "sealed"]).contains("a.jpg.kms exists and is older"));
    place.ok(["encrypt", "photos", "-d", "sealed", "--force"]);
    place.ok(["decrypt", "sealed/a.jpg.kms", "-o", "out"]);
    assert_eq!(place.read("out"), b"changed");
    assert!(place.fails(2, "elsewhere", ["encrypt", "photos", "-d", "photos/sealed"]).contains("within"));
    let run = place.run(["decrypt", "sealed", "-d", "sealed"]);
    assert_eq!(run.code, Some(2), "{}", run.err);
}
