//! What the tests of encrypted files share: a keystore, a folder, and a function that opens a file in every way.

use std::path::PathBuf;

use kms::{Keystore, Status, file::FileOptions};

use crate::support::{TestKeystore, memory};

pub const HEADER: usize = Keystore::FILE_HEADER_BYTES;
pub const PREFIX: usize = 56;
pub const CHUNK: usize = 16_384;
pub const SEALED: usize = CHUNK + 16;
pub const CONTEXT: &[(&str, &str)] = &[("tenant", "42"), ("purpose", "backup")];

/// A keystore, a key and a folder.
pub struct World {
    pub kms: TestKeystore,
    pub key: String,
    pub folder: tempfile::TempDir,
}

pub fn world() -> World {
    let kms = memory();
    let key = kms.plain_key();
    World { kms, key, folder: tempfile::tempdir().unwrap() }
}

pub fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 257 + i / 65_537) as u8).collect()
}

impl World {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// The encrypted file of `plaintext`.
    pub fn sealed(&self, plaintext: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.kms.encrypt_copy(&self.key, plaintext, &mut sealed, CONTEXT, &FileOptions::new()).unwrap();
        sealed
    }

    /// Opens through a file and through a stream, which must agree; the stream's output must be a prefix in any case.
    pub fn open(&self, sealed: &[u8], whole: &[u8]) -> Result<Vec<u8>, Status> {
        self.open_with(sealed, whole, CONTEXT)
    }

    pub fn open_with(&self, sealed: &[u8], whole: &[u8], context: &[(&str, &str)]) -> Result<Vec<u8>, Status> {
        let (source, target) = (self.put("damaged", sealed), self.path("opened"));
        let mut streamed = Vec::new();
        let stream = self.kms.decrypt_copy(sealed, &mut streamed, context, &FileOptions::new().threads(1));
        assert!(whole.starts_with(&streamed), "a wrong plaintext left the stream");
        let file = self.kms.decrypt_file(&source, &target, context, &FileOptions::new().threads(1));
        let opened = std::fs::read(&target);
        assert_eq!(file.is_ok(), opened.is_ok(), "an output exists after a failure, or none after success");
        assert_eq!(stream.is_ok(), file.is_ok());
        self.no_leftovers();
        match file {
            Ok(len) => {
                let opened = opened.unwrap();
                assert_eq!(opened.len() as u64, len);
                assert_eq!(opened, streamed);
                std::fs::remove_file(&target).unwrap();
                Ok(opened)
            }
            Err(error) => Err(error.status()),
        }
    }

    pub fn no_leftovers(&self) {
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.ends_with(".part"), "{name} was left behind");
        }
    }
}
