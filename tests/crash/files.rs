//! A backup, and the encryption, decryption and re-encryption of a file, killed at each call that writes. An existing
//! output is complete, nothing is lost, and a second run succeeds.

use std::os::unix::fs::FileExt;
use std::path::Path;

use kms::file::FileOptions;
use kms::{Keystore, Options};

use crate::calls::{Kind, Plan, Watch, When};
use crate::role;
use crate::scene::{ROOT, copy, folder};
use crate::together::each;

const WHENS: &[(When, Option<Kind>)] = &[(When::Before, None), (When::Within, Some(Kind::Write))];
/// Several chunks of the file format, the last one short.
const LEN: usize = 70_000;

struct Job {
    name: &'static str,
    run: fn(&Keystore, &Path) -> kms::Result<()>,
    /// Whether the output exists. It must then be complete.
    check: fn(&Keystore, &Path) -> bool,
}

const JOBS: &[Job] = &[
    Job {
        name: "backup",
        run: |kms, folder| kms.backup(folder.join("backup.db")),
        check: |kms, folder| {
            let path = folder.join("backup.db");
            let recorded = kms.backups().unwrap();
            if !path.exists() {
                return false;
            }
            let copy = Keystore::open(path.to_str().unwrap(), &options().read_only(true)).unwrap();
            copy.verify(|fault| panic!("{fault:?}")).unwrap();
            assert_eq!(copy.decrypt(&std::fs::read(folder.join("blob")).unwrap(), &[]).unwrap()[..], content());
            let keys = kms.keys().map(|key| key.unwrap());
            assert!(recorded.len() == 1 && keys.into_iter().all(|key| recorded[0].has_newest_version_of(&key)));
            true
        },
    },
    Job {
        name: "encrypt",
        run: |kms, folder| {
            let (from, to) = (folder.join("plain"), folder.join("new.kms"));
            kms.encrypt_file("alias/files", from, to, &[], &FileOptions::new().threads(1)).map(drop)
        },
        check: |kms, folder| {
            assert_eq!(std::fs::read(folder.join("plain")).unwrap(), content());
            opens(kms, &folder.join("new.kms"))
        },
    },
    Job {
        name: "decrypt",
        run: |kms, folder| {
            let (from, to) = (folder.join("sealed.kms"), folder.join("out"));
            kms.decrypt_file(from, to, &[], &FileOptions::new().threads(1)).map(drop)
        },
        check: |kms, folder| {
            assert!(opens(kms, &folder.join("sealed.kms")));
            let out = folder.join("out");
            out.exists().then(|| assert_eq!(std::fs::read(&out).unwrap(), content())).is_some()
        },
    },
    Job {
        name: "reencrypt",
        run: |kms, folder| kms.reencrypt_file(folder.join("sealed.kms"), &[], None).map(drop),
        check: |kms, folder| {
            assert!(opens(kms, &folder.join("sealed.kms")));
            kms.inspect_file(folder.join("sealed.kms")).unwrap().blob.is_primary && !has_two_headers(folder)
        },
    },
];

/// Whether the header under the former version is still there.
fn has_two_headers(folder: &Path) -> bool {
    let file = std::fs::File::open(folder.join("sealed.kms")).unwrap();
    let mut slots = [0; 8192];
    file.read_exact_at(&mut slots, 0).unwrap();
    slots.chunks(4096).all(|slot| slot.iter().any(|byte| *byte != 0))
}

fn content() -> Vec<u8> {
    (0..LEN).map(|at| (at % 251) as u8).collect()
}

/// Whether the encrypted file exists; its content must then be right.
fn opens(kms: &Keystore, path: &Path) -> bool {
    if !path.exists() {
        return false;
    }
    let mut opened = Vec::new();
    kms.decrypt_copy(std::fs::File::open(path).unwrap(), &mut opened, &[], &FileOptions::new().threads(1)).unwrap();
    assert_eq!(opened, content());
    true
}

fn options() -> Options {
    Options::new().root_key(&ROOT).rotation_thread(false)
}

fn open(folder: &Path) -> Keystore {
    Keystore::open(folder.join("keys.db").to_str().unwrap(), &options()).unwrap()
}

/// A keystore, a file, and the file encrypted under a former version.
fn scene() -> tempfile::TempDir {
    let folder = folder();
    let kms = Keystore::open(folder.path().join("keys.db").to_str().unwrap(), &options().create(true)).unwrap();
    let key = kms.create_key(&kms::CreateKey::default()).unwrap();
    kms.create_alias(key, "alias/files").unwrap();
    std::fs::write(folder.path().join("plain"), content()).unwrap();
    std::fs::write(folder.path().join("blob"), kms.encrypt(key, &content(), &[]).unwrap()).unwrap();
    let (from, to) = (folder.path().join("plain"), folder.path().join("sealed.kms"));
    kms.encrypt_file(key, from, to, &[], &FileOptions::new()).unwrap();
    kms.rotate(key).unwrap();
    folder
}

/// All but the journal, which appears and disappears with the dates of use.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // Of a file system without files that have no name.
    let is_named = std::env::var_os("KMS_FAULT_NAMED_OUTPUTS").is_some();
    let expected = |name: &String| name != "keys.db-journal" && !(is_named && name.ends_with(".part"));
    let mut names: Vec<String> = names.filter(expected).collect();
    names.sort();
    names
}

/// Role. Argument: the job.
pub fn kill_file_each(arguments: &[String]) {
    let job = JOBS.iter().find(|job| job.name == arguments[0]).unwrap();
    let scene = scene();
    let clean = {
        let done = folder();
        copy(scene.path(), done.path());
        (job.run)(&open(done.path()), done.path()).unwrap();
        names(done.path())
    };
    let (mut kills, mut whole, mut absent) = (0, 0, 0);
    for (when, only) in WHENS {
        for point in 1.. {
            let folder = folder();
            copy(scene.path(), folder.path());
            let killed = killed_at(job, folder.path(), Plan::Kill { at: point, when: *when, only: *only });
            let kms = open(folder.path());
            kms.verify(|fault| panic!("{fault:?}")).unwrap();
            let is_done = (job.check)(&kms, folder.path());
            if !killed {
                assert!(is_done, "{}: neither killed nor done", job.name);
                break;
            }
            kills += 1;
            match is_done {
                true => whole += 1,
                false => {
                    absent += 1;
                    (job.run)(&kms, folder.path())
                        .unwrap_or_else(|e| panic!("{} again, {when:?} {point}: {e}", job.name));
                    assert!((job.check)(&kms, folder.path()), "{}: a second run did not finish", job.name);
                }
            }
            assert_eq!(names(folder.path()), clean, "{}, {when:?} {point}: something was left", job.name);
        }
    }
    println!("{kills} {whole} {absent}");
}

fn killed_at(job: &Job, folder: &Path, plan: Plan) -> bool {
    crate::killed::in_child(|| {
        let watch = Watch::over(folder);
        let kms = open(folder);
        watch.plan(plan);
        (job.run)(&kms, folder).unwrap();
    })
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn killed_at_any_write_point_an_output_is_whole_or_not_there() {
    kill_each(&["backup", "encrypt", "decrypt", "reencrypt"], &[]);
}

#[cfg(kms_faults)]
#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn the_same_holds_where_every_file_has_a_name() {
    kill_each(&["encrypt", "decrypt"], &[("KMS_FAULT_NAMED_OUTPUTS", "1")]);
}

fn kill_each(jobs: &[&str], environment: &[(&str, &str)]) {
    each(jobs.to_vec(), |name| {
        let output = role::command("kill-file-each").arg(name).envs(environment.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let counts: Vec<usize> = text.split_whitespace().map(|count| count.parse().unwrap()).collect();
        println!("{name}: {} kills, {} after the output was there, {} before", counts[0], counts[1], counts[2]);
        assert!(counts[0] > 3 && counts[2] > 2, "{name}: {counts:?}");
    });
}
