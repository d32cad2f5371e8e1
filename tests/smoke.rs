use kms::*;
#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    let path = path.to_str().unwrap();
    let o = Options::new().root_key_file(dir.path().join("root.key")).create(true);
    let kms = Kms::open(path, &o).unwrap();
    let id = kms
        .create_key(&CreateKey { rotate_every: Some(Interval::from_seconds(1).unwrap()), ..Default::default() })
        .unwrap()
        .to_string();
    let mut blobs = vec![];
    let start = std::time::Instant::now();
    while start.elapsed().as_millis() < 3500 {
        blobs.push(kms.encrypt(&id, b"hello", &[("a", "b")]).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    println!("{:?}", kms.describe_key(&id).unwrap());
    println!("{:?}", kms.health().unwrap());
    let t = std::time::Instant::now();
    drop(kms);
    println!("close {:?}", t.elapsed());
    let kms = Kms::open(path, &o).unwrap();
    for b in &blobs {
        assert_eq!(&**kms.decrypt(b, &[("a", "b")]).unwrap(), b"hello");
    }
    let n = kms.reencrypt(&blobs[0], &[("a", "b")], &id, &[]).unwrap();
    assert!(kms.inspect(&n).unwrap().is_primary);
    assert!(!kms.inspect(&blobs[0]).unwrap().is_primary);
    let t = std::time::Instant::now();
    for _ in 0..100000 {
        kms.encrypt(&id, b"hello", &[]).unwrap();
    }
    println!("enc {:?}", t.elapsed() / 100000);
    println!("{:?}", std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>());
    kms.list_key_versions(&id, None, 100, |v, p| {
        println!("{v:?} {p}");
        true
    })
    .unwrap();
}
