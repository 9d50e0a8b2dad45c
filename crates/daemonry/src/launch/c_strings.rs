//! Strings as execve(2) takes them.

use std::cell::UnsafeCell;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use crate::error::{Error, Result};

/// Null-terminated pointers to strings that it keeps alive, and into which the child may write.
pub(super) struct Pointers {
    pub(super) pointers: Vec<*mut libc::c_char>,
    _strings: Vec<Box<[UnsafeCell<u8>]>>,
}

impl Pointers {
    pub(super) fn new(strings: Vec<CString>) -> Self {
        let strings: Vec<Box<[UnsafeCell<u8>]>> = strings
            .into_iter()
            .map(|string| string.into_bytes_with_nul().into_iter().map(UnsafeCell::new).collect())
            .collect();
        let pointers =
            strings.iter().map(|string| string.as_ptr().cast_mut().cast()).chain([ptr::null_mut()]).collect();
        Self { pointers, _strings: strings }
    }

    pub(super) fn as_ptr(&self) -> *const *const libc::c_char {
        self.pointers.as_ptr().cast()
    }
}

pub(crate) fn c_string(text: &OsStr, what: &str) -> Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Error::InvalidPlan(format!("{what} contains a NUL byte")))
}
