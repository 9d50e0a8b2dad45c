//! The user that the daemon runs as: users and groups, looked up and checked before anything is forked.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User};

use crate::error::{Error, Result, Step};
use crate::sys;

/// A user or a group, by name or number. A name of digits alone that the database does not have is a number, as for chown(1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRef {
    /// As the database spells it.
    Name(String),
    /// Its number.
    Id(u32),
}

/// The ids that a daemon runs with: real, effective and saved alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// All supplementary groups, in ascending order.
    pub groups: Vec<u32>,
}

/// What the user database has about the user that a daemon runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its ids.
    pub ids: Ids,
    /// Its name, if the database has it.
    pub name: Option<String>,
    /// Its home directory; `/` if the database does not have it.
    pub home: PathBuf,
    /// Its login shell; `/bin/sh` if the database does not have it.
    pub shell: PathBuf,
}

impl Account {
    /// Looks up who `user` is, with `group` instead of its primary group and `groups` instead of the supplementary ones that
    /// the database gives it, where they are given. Without `user` it is the caller, with no supplementary group but those
    /// given.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUser`]; [`Error::System`] with [`Step::LookUpUser`] when the database cannot be asked.
    pub fn look_up(user: Option<&UserRef>, group: Option<&UserRef>, groups: Option<&[UserRef]>) -> Result<Self> {
        let (uid, entry) = match user {
            Some(who) => find_user(who)?,
            None => (nix::unistd::geteuid(), User::from_uid(nix::unistd::geteuid()).map_err(failed)?),
        };
        let gid = match (group, &entry) {
            (Some(group), _) => find_group(group)?,
            (None, Some(entry)) => entry.gid,
            (None, None) => return Err(Error::UnknownUser { kind: "user", name: uid.to_string(), needs_group: true }),
        };
        let mut groups: Vec<u32> = match (groups, &entry) {
            (Some(groups), _) => {
                groups.iter().map(|group| find_group(group).map(Gid::as_raw)).collect::<Result<Vec<_>>>()?
            }
            (None, Some(entry)) if user.is_some() => {
                let name = CString::new(entry.name.as_str()).map_err(|_| failed(Errno::EINVAL))?;
                sys::groups_of(&name, gid.as_raw()).map_err(failed)?
            }
            (None, _) => Vec::new(),
        };
        groups.sort_unstable();
        groups.dedup();
        let ids = Ids { uid: uid.as_raw(), gid: gid.as_raw(), groups };
        Ok(match entry {
            Some(User { name, dir, shell, .. }) => Self { ids, name: Some(name), home: dir, shell },
            None => Self { ids, name: None, home: "/".into(), shell: "/bin/sh".into() },
        })
    }
}

/// Variables that lead to the files, the agents and the session of one user, by their names.
const OF_ONE_USER: &[&str] = &[
    // Which program, and where its files lie.
    "HOME",
    "LOGNAME",
    "MAIL",
    "MAILDIR",
    "MAILPATH",
    "SHELL",
    "USER",
    "USERNAME",
    "GNUPGHOME",
    "HISTFILE",
    "KRB5CCNAME",
    "KRB5_KTNAME",
    "TEMP",
    "TEMPDIR",
    "TMP",
    "TMPDIR",
    // Its desktop and terminal.
    "DISPLAY",
    "ICEAUTHORITY",
    "SESSION_MANAGER",
    "STY",
    "WINDOWID",
    "XAUTHORITY",
    // How it came to its rights.
    "DOAS_USER",
];

/// The same by how their names begin.
const OF_ONE_USER_BEGINNING: &[&str] =
    &["DBUS_", "GNOME_KEYRING_", "GPG_", "PKEXEC_", "PULSE_", "SSH_", "SUDO_", "TMUX", "WAYLAND_", "XDG_"];

impl Account {
    /// What changes in the environment of the calling process for a daemon that runs as this user: `None` removes a variable.
    /// `HOME`, `USER`, `LOGNAME` and `SHELL` become the user's, and whatever leads to the files, the agents or the session of the
    /// caller is removed. Nothing changes if the caller is that user itself.
    ///
    /// # References
    ///
    /// [`systemd.exec(5)`](https://man7.org/linux/man-pages/man5/systemd.exec.5.html) ("User="),
    /// [`su(1)`](https://man7.org/linux/man-pages/man1/su.1.html) ("--login")
    pub fn variables(&self) -> Vec<(OsString, Option<OsString>)> {
        if self.ids.uid == nix::unistd::geteuid().as_raw() {
            return Vec::new();
        }
        self.variables_among(std::env::vars_os().map(|(name, _)| name))
    }

    fn variables_among(&self, present: impl Iterator<Item = OsString>) -> Vec<(OsString, Option<OsString>)> {
        let own = [
            ("HOME", Some(self.home.clone().into_os_string())),
            ("SHELL", Some(self.shell.clone().into_os_string())),
            ("USER", self.name.as_ref().map(OsString::from)),
            ("LOGNAME", self.name.as_ref().map(OsString::from)),
        ];
        let is_own = |name: &OsStr| own.iter().any(|(own, _)| name == *own);
        let is_callers = |name: &OsStr| {
            OF_ONE_USER.iter().any(|one| name == *one)
                || OF_ONE_USER_BEGINNING.iter().any(|begin| name.as_bytes().starts_with(begin.as_bytes()))
        };
        let removed = present.filter(|name| is_callers(name) && !is_own(name)).map(|name| (name, None));
        let mut variables: Vec<_> = removed.collect();
        variables.extend(own.into_iter().map(|(name, value)| (name.into(), value)));
        variables
    }
}

impl Ids {
    /// Whether the calling process has exactly these ids.
    pub(crate) fn are_own(&self) -> Result<bool> {
        let (uids, gids) = sys::own_ids().map_err(failed)?;
        let mut groups: Vec<u32> =
            sys::own_groups().map_err(failed)?.into_iter().filter(|group| *group != self.gid).collect();
        groups.sort_unstable();
        // The kernel may count the primary group in or not: it makes no difference to what may be done.
        let wanted = self.groups.iter().copied().filter(|group| *group != self.gid);
        Ok(uids.iter().all(|uid| *uid == self.uid) && gids.iter().all(|gid| *gid == self.gid) && wanted.eq(groups))
    }

    /// Fails where the calling process may not take these ids.
    pub(crate) fn check_privilege(&self) -> Result<()> {
        let (uids, gids) = sys::own_ids().map_err(failed)?;
        let (any_user, any_group) = sys::may_set_ids();
        let refused = |step| Err(Error::system(step, Errno::EPERM));
        if !any_user && uids.iter().any(|uid| *uid != self.uid) {
            return refused(Step::SetUid);
        }
        if !any_group && gids.iter().any(|gid| *gid != self.gid) {
            return refused(Step::SetGid);
        }
        if any_group { Ok(()) } else { refused(Step::SetGroups) }
    }
}

fn find_user(who: &UserRef) -> Result<(Uid, Option<User>)> {
    let by_id = |id| User::from_uid(Uid::from_raw(id)).map(|entry| (Uid::from_raw(id), entry)).map_err(failed);
    match who {
        UserRef::Id(id) => by_id(*id),
        UserRef::Name(name) => match (User::from_name(name).map_err(failed)?, number(name)) {
            (Some(entry), _) => Ok((entry.uid, Some(entry))),
            (None, Some(id)) => by_id(id),
            (None, None) => Err(Error::UnknownUser { kind: "user", name: name.clone(), needs_group: false }),
        },
    }
}

fn find_group(who: &UserRef) -> Result<Gid> {
    match who {
        UserRef::Id(id) => Ok(Gid::from_raw(*id)),
        UserRef::Name(name) => match (Group::from_name(name).map_err(failed)?, number(name)) {
            (Some(group), _) => Ok(group.gid),
            (None, Some(id)) => Ok(Gid::from_raw(id)),
            (None, None) => Err(Error::UnknownUser { kind: "group", name: name.clone(), needs_group: false }),
        },
    }
}

/// The highest number means "leave as it is" to the system calls, so no user can have it.
fn number(name: &str) -> Option<u32> {
    name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse().ok())?.filter(|id| *id != u32::MAX)
}

fn failed(errno: Errno) -> Error {
    Error::system(Step::LookUpUser, errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number_with_its_groups() {
        let root = Account::look_up(Some(&UserRef::Name("root".into())), None, None).expect("root is everywhere");
        assert_eq!((root.ids.uid, root.ids.gid, root.name.as_deref()), (0, 0, Some("root")));
        assert!(root.ids.groups.contains(&0));
        assert_eq!(Account::look_up(Some(&UserRef::Id(0)), None, None).expect("root is everywhere"), root);
        assert_eq!(Account::look_up(Some(&UserRef::Name("0".into())), None, None).expect("root is everywhere"), root);
    }

    #[test]
    fn another_user_gets_variables_of_its_own_and_none_of_the_callers_files_and_session() {
        let account = Account {
            ids: Ids { uid: 4711, gid: 4711, groups: Vec::new() },
            name: Some("www".to_owned()),
            home: "/srv/www".into(),
            shell: "/bin/sh".into(),
        };
        let removed = [
            "XDG_RUNTIME_DIR",
            "XDG_SESSION_ID",
            "MAIL",
            "TMPDIR",
            "SSH_AUTH_SOCK",
            "SSH_CONNECTION",
            "DBUS_SESSION_BUS_ADDRESS",
            "DISPLAY",
            "WAYLAND_DISPLAY",
            "XAUTHORITY",
            "KRB5CCNAME",
            "GNUPGHOME",
            "GPG_AGENT_INFO",
            "SUDO_UID",
            "SUDO_COMMAND",
            "DOAS_USER",
            "PKEXEC_UID",
            "TMUX_PANE",
        ];
        let kept = ["PATH", "LANG", "TZ", "NODE_ENV", "HOME", "TMPDIRS", "MAILER"];
        let found = account.variables_among(removed.into_iter().chain(kept).map(OsString::from));
        let set = [("HOME", "/srv/www"), ("SHELL", "/bin/sh"), ("USER", "www"), ("LOGNAME", "www")];
        let expected: Vec<(OsString, Option<OsString>)> = removed
            .into_iter()
            .map(|name| (name.into(), None))
            .chain(set.map(|(name, value)| (name.into(), Some(value.into()))))
            .collect();
        assert_eq!(found, expected);
        let nameless = Account { name: None, ..account };
        assert!(nameless.variables_among(std::iter::empty()).contains(&("USER".into(), None)));
        let own = Account::look_up(Some(&UserRef::Id(nix::unistd::geteuid().as_raw())), Some(&UserRef::Id(0)), None);
        assert_eq!(own.expect("the caller has an account").variables(), Vec::new());
    }

    #[test]
    fn given_groups_replace_the_users_own() {
        let groups = [UserRef::Id(9), UserRef::Id(4), UserRef::Id(9)];
        let account =
            Account::look_up(Some(&UserRef::Id(0)), Some(&UserRef::Id(7)), Some(&groups)).expect("numbers do");
        assert_eq!(account.ids, Ids { uid: 0, gid: 7, groups: vec![4, 9] });
    }

    #[test]
    fn who_is_not_there_is_named() {
        let unknown = |user: Option<UserRef>, group: Option<UserRef>| {
            Account::look_up(user.as_ref(), group.as_ref(), None).expect_err("nobody is called so").to_string()
        };
        assert_eq!(unknown(Some(UserRef::Name("no-such".into())), None), "there is no user \"no-such\"");
        assert_eq!(unknown(None, Some(UserRef::Name("no-such".into()))), "there is no group \"no-such\"");
        assert_eq!(
            unknown(Some(UserRef::Id(3_999_999_999)), None),
            "the user database does not have user 3999999999, so its group must be given, too"
        );
    }
}
