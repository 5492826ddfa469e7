//! Becoming a service's user.
//!
//! Accounts come from the system's own look-up (files, LDAP, whatever it is set to), which only libc
//! can ask. Called in a child that executes a command next, never in the guard.

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// A user with its groups.
#[derive(Debug)]
pub(crate) struct Account {
    name: String,
    pub(crate) user: Uid,
    pub(crate) group: Gid,
    pub(crate) home: PathBuf,
    groups: Vec<Gid>,
}

impl Account {
    /// Looks the user up by name.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let unknown = || format!("there is no user {name}: check the service's `user`");
        let text = CString::new(name).map_err(|_| unknown())?;
        let mut space = vec![0; 16 * 1024];
        let mut found = std::ptr::null_mut();
        // SAFETY: an all-zero passwd is a valid value (null pointers and numbers) for the call to fill. The
        // pointers that it is given live until after it; `found` is null or points to `entry`, whose strings
        // lie in `space` and are not used after it; its folder is a text that ends, or null.
        let (user, group, home) = unsafe {
            let mut entry: libc::passwd = std::mem::zeroed();
            let fault = libc::getpwnam_r(
                text.as_ptr(),
                &mut entry,
                space.as_mut_ptr(),
                space.len(),
                &mut found,
            );
            if found.is_null() {
                return Err(match fault {
                    0 => unknown(),
                    fault => {
                        format!(
                            "user {name} cannot be looked up: {}",
                            std::io::Error::from_raw_os_error(fault)
                        )
                    }
                });
            }
            let home = match entry.pw_dir.is_null() {
                true => PathBuf::from("/"),
                false => PathBuf::from(OsStr::from_bytes(CStr::from_ptr(entry.pw_dir).to_bytes())),
            };
            (entry.pw_uid, entry.pw_gid, home)
        };
        let mut groups = vec![0; 1024];
        let mut count = 1024;
        // SAFETY: `groups` has room for `count` numbers; the call writes no more and corrects `count`.
        let result = unsafe { libc::getgrouplist(text.as_ptr(), group, groups.as_mut_ptr(), &mut count) };
        if result < 0 {
            return Err(format!("user {name} is in more than {} groups", groups.len()));
        }
        groups.truncate(usize::try_from(count).unwrap_or(0));
        Ok(Self {
            name: name.to_owned(),
            user: Uid::from_raw(user),
            group: Gid::from_raw(group),
            home,
            groups: groups.into_iter().map(Gid::from_raw).collect(),
        })
    }

    /// Whether this process may become it.
    pub(crate) fn can_be_assumed(&self) -> Result<(), String> {
        let own = geteuid();
        if own.is_root() || own == self.user {
            return Ok(());
        }
        Err(format!(
            "the guard may not become user {}: run it as root or as that user",
            self.name
        ))
    }

    /// Becomes this user for good. Only for a process with one thread: the calls are per thread.
    pub(crate) fn assume(&self) -> Result<(), String> {
        if geteuid() == self.user {
            return Ok(());
        }
        set_thread_groups(&self.groups)
            .and_then(|()| set_thread_res_gid(self.group, self.group, self.group))
            .and_then(|()| set_thread_res_uid(self.user, self.user, self.user))
            .map_err(|error| {
                format!(
                    "the guard may not become user {}: {error}: run it as root or as that user",
                    self.name
                )
            })
    }
}

/// The name of a user, if the system knows one.
#[must_use]
pub fn user_name(user: u32) -> Option<String> {
    let mut space = vec![0; 16 * 1024];
    let mut found = std::ptr::null_mut();
    // SAFETY: as in `Account::named`; the name is a text that ends, or null.
    unsafe {
        let mut entry: libc::passwd = std::mem::zeroed();
        libc::getpwuid_r(user, &mut entry, space.as_mut_ptr(), space.len(), &mut found);
        if found.is_null() || entry.pw_name.is_null() {
            return None;
        }
        Some(CStr::from_ptr(entry.pw_name).to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_name_that_the_system_knows() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(4_000_000_000), None);
    }

    #[test]
    fn root_is_known_and_an_invented_user_is_not() {
        let root = Account::named("root").unwrap();
        assert_eq!((root.user, root.group), (Uid::ROOT, Gid::ROOT));
        assert!(root.groups.contains(&Gid::ROOT));
        assert!(root.home.is_absolute());
        let error = Account::named("nobody-of-this-name").unwrap_err();
        assert!(error.contains("nobody-of-this-name"), "{error}");
    }
}
