//! Opens shared objects so that each keeps its own symbols: several libcryptos live side by side in one process.

use std::ffi::{CStr, CString, c_void};
use std::path::Path;

/// A shared object that stays loaded until the process ends.
#[derive(Clone, Copy)]
pub struct Object(*mut c_void);

unsafe impl Send for Object {}
unsafe impl Sync for Object {}

impl Object {
    pub fn open(path: &Path) -> Result<Self, String> {
        let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| "a path with NUL".to_owned())?;
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_DEEPBIND) };
        if handle.is_null() {
            let text = unsafe { CStr::from_ptr(libc::dlerror()) };
            return Err(text.to_string_lossy().into_owned());
        }
        Ok(Self(handle))
    }

    pub fn address(self, symbol: &CStr) -> Option<*mut c_void> {
        let address = unsafe { libc::dlsym(self.0, symbol.as_ptr()) };
        (!address.is_null()).then_some(address)
    }
}

/// Declares a struct of C functions and how to find them all in an `Object`.
macro_rules! functions {
    ($(#[$doc:meta])* $table:ident { $($field:ident: $symbol:literal = ($($argument:ty),* $(,)?) $(-> $result:ty)?;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $table {
            $(pub $field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl $table {
            pub fn find(object: $crate::dynamic::Object) -> Result<Self, String> {
                Ok(Self {
                    $($field: {
                        let symbol = std::ffi::CString::new($symbol).map_err(|e| e.to_string())?;
                        let address = object.address(&symbol).ok_or(concat!("no function ", $symbol))?;
                        // The declarations above are those of the C headers.
                        unsafe {
                            std::mem::transmute::<
                                *mut std::ffi::c_void,
                                unsafe extern "C" fn($($argument),*) $(-> $result)?,
                            >(address)
                        }
                    },)*
                })
            }
        }
    };
}
pub(crate) use functions;
