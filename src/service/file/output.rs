//! A file that appears under its name complete, or not at all.

use std::path::{Path, PathBuf};

use super::pipeline::failed;
use crate::error::{Error, Result, Status, shown_path};
use crate::sys::file::{self, File};
use crate::sys::random;

/// A file under a temporary name beside its target, removed when dropped unpublished.
pub struct NewOutput<'a> {
    pub file: File,
    temporary: PathBuf,
    target: &'a Path,
    replace: bool,
}

impl<'a> NewOutput<'a> {
    /// Fails with `FileExists` where the target exists, unless it is to be replaced.
    pub fn create(target: &'a Path, replace: bool) -> Result<Self> {
        match std::fs::symlink_metadata(target) {
            Ok(found) if !replace || found.is_dir() => return Err(exists(target)),
            _ => {}
        }
        let random: [u8; 8] = random::array()?;
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let temporary = target.with_file_name(format!(".kms-{name}.part"));
        let file = File::create_new(&temporary, 0o600).map_err(|e| failed("make a file beside", target, &e))?;
        Ok(Self { file, temporary, target, replace })
    }

    /// Gives the file its mode and its name. Both are durable then.
    pub fn publish(self, mode: u32) -> Result<()> {
        let target = self.target;
        let fail = |e: std::io::Error| failed("write", target, &e);
        // Who may run the plaintext as another user is not for a copy to decide.
        self.file.set_mode(mode & 0o777).map_err(fail)?;
        self.file.sync().map_err(fail)?;
        let named = match self.replace {
            true => std::fs::rename(&self.temporary, target),
            false => file::publish_new(&self.temporary, target),
        };
        match named {
            Ok(()) => file::sync_folder_of(target).map_err(fail),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(target)),
            Err(e) => Err(fail(e)),
        }
    }
}

impl Drop for NewOutput<'_> {
    fn drop(&mut self) {
        // Gone once it is published.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

fn exists(target: &Path) -> Error {
    Status::FileExists.error(format!("{} exists; choose another name, or ask to replace it", shown_path(target)))
}
