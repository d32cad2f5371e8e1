//! A file that appears under its name complete, or not at all.

use std::path::{Path, PathBuf};

use super::pipeline::failed;
use crate::error::{Error, Result, Status, shown_path};
use crate::sys::file::{self, File};
use crate::sys::{fault, random};

/// A file next to its target, removed when dropped unpublished.
pub struct NewOutput<'a> {
    pub file: File,
    /// Where the file system has no files without a name, so that a killed process leaves one.
    temporary: Option<PathBuf>,
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
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Ok(file) = File::create_unnamed(folder, 0o600)
            && !fault::wanted("KMS_FAULT_NAMED_OUTPUTS")
        {
            return Ok(Self { file, temporary: None, target, replace });
        }
        let temporary = temporary_name(target)?;
        let file = File::create_new(&temporary, 0o600).map_err(|e| failed("make a file beside", target, &e))?;
        Ok(Self { file, temporary: Some(temporary), target, replace })
    }

    /// Set the mode and the name of the file. Both are durable then.
    pub fn publish(self, mode: u32) -> Result<()> {
        let target = self.target;
        let fail = |e: std::io::Error| failed("write", target, &e);
        // A copy must not carry over set-user-ID and set-group-ID bits.
        self.file.set_mode(mode & 0o777).map_err(fail)?;
        self.file.sync().map_err(fail)?;
        match self.name()? {
            Ok(()) => file::sync_folder_of(target).map_err(fail),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(target)),
            Err(e) => Err(fail(e)),
        }
    }
}

impl NewOutput<'_> {
    fn name(&self) -> Result<std::io::Result<()>> {
        let target = self.target;
        Ok(match (&self.temporary, self.replace) {
            (Some(temporary), true) => std::fs::rename(temporary, target),
            (Some(temporary), false) => file::publish_new(temporary, target),
            (None, false) => self.file.link_new(target),
            (None, true) => match self.file.link_new(target) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    let temporary = temporary_name(target)?;
                    let renamed = self.file.link_new(&temporary).and_then(|()| std::fs::rename(&temporary, target));
                    if renamed.is_err() {
                        let _ = std::fs::remove_file(&temporary);
                    }
                    renamed
                }
                linked => linked,
            },
        })
    }
}

impl Drop for NewOutput<'_> {
    fn drop(&mut self) {
        // Gone once it is published.
        if let Some(temporary) = &self.temporary {
            let _ = std::fs::remove_file(temporary);
        }
    }
}

fn temporary_name(target: &Path) -> Result<PathBuf> {
    let random: [u8; 8] = random::array()?;
    let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(target.with_file_name(format!(".kms-{name}.part")))
}

fn exists(target: &Path) -> Error {
    Status::FileExists.error(format!("{} exists; choose another name, or ask to replace it", shown_path(target)))
}
