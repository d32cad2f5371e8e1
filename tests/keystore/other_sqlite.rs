//! Another copy of SQLite in this process.

use std::ffi::CString;

/// Opens, reads and closes `path` through it, where the system has one.
pub fn with_other_sqlite(path: &str) -> bool {
    type Open = unsafe extern "C" fn(*const libc::c_char, *mut *mut libc::c_void) -> i32;
    type Exec = unsafe extern "C" fn(
        *mut libc::c_void,
        *const libc::c_char,
        *const libc::c_void,
        *const libc::c_void,
        *const libc::c_void,
    ) -> i32;
    type Close = unsafe extern "C" fn(*mut libc::c_void) -> i32;
    // SAFETY: the signatures of the three functions are stable; the handle is used by this thread alone.
    unsafe {
        let library = libc::dlopen(c"libsqlite3.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        if library.is_null() {
            return false;
        }
        let symbol = |name: &std::ffi::CStr| libc::dlsym(library, name.as_ptr());
        let open: Open = std::mem::transmute(symbol(c"sqlite3_open"));
        let exec: Exec = std::mem::transmute(symbol(c"sqlite3_exec"));
        let close: Close = std::mem::transmute(symbol(c"sqlite3_close"));
        let path = CString::new(path).unwrap();
        let mut handle = std::ptr::null_mut();
        open(path.as_ptr(), &mut handle);
        let null = std::ptr::null();
        exec(handle, c"SELECT count(*) FROM key".as_ptr(), null, null, null);
        close(handle);
    }
    true
}
