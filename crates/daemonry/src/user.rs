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

impl From<&str> for UserRef {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<u32> for UserRef {
    fn from(id: u32) -> Self {
        Self::Id(id)
    }
}

/// The user to run as. What is `None` follows from the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunAs {
    /// The user. Default: the caller.
    pub user: Option<UserRef>,
    /// The primary group. Default: that of the user.
    pub group: Option<UserRef>,
    /// All supplementary groups. Default: those of `user`; without one none.
    pub groups: Option<Vec<UserRef>>,
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
    /// Looks up the user and the groups in the databases of the system.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUser`]; [`Error::System`] with [`Step::LookUpUser`] when the database cannot be asked.
    ///
    /// # References
    ///
    /// [`getpwnam_r(3)`](https://man7.org/linux/man-pages/man3/getpwnam.3.html),
    /// [`getgrouplist(3)`](https://man7.org/linux/man-pages/man3/getgrouplist.3.html)
    pub fn look_up(RunAs { user, group, groups }: &RunAs) -> Result<Self> {
        let (uid, entry) = match user {
            Some(user) => find_user(user)?,
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

    /// The ids to change to; `None` if they are the caller's own. Fails if the caller may not take them.
    pub(crate) fn new_ids(self) -> Result<Option<Ids>> {
        if self.ids.are_own()? {
            return Ok(None);
        }
        self.ids.check_privilege()?;
        Ok(Some(self.ids))
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
    /// What changes in an environment with the variables `inherited` for a daemon that runs as this user: `None` removes a
    /// variable. `HOME`, `USER`, `LOGNAME` and `SHELL` become the user's, and whatever leads to the files, the agents or the session
    /// of the caller is removed. Nothing changes if the caller is that user itself.
    ///
    /// # References
    ///
    /// [`systemd.exec(5)`](https://man7.org/linux/man-pages/man5/systemd.exec.5.html) ("User="),
    /// [`su(1)`](https://man7.org/linux/man-pages/man1/su.1.html) ("--login")
    pub(crate) fn variables<'a>(
        &self,
        inherited: impl Iterator<Item = &'a OsStr>,
    ) -> Vec<(OsString, Option<OsString>)> {
        if self.ids.uid == nix::unistd::geteuid().as_raw() {
            return Vec::new();
        }
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
        let removed = inherited.filter(|name| is_callers(name) && !is_own(name));
        let mut variables: Vec<_> = removed.map(|name| (name.to_owned(), None)).collect();
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

fn find_user(user: &UserRef) -> Result<(Uid, Option<User>)> {
    let by_id = |id| User::from_uid(Uid::from_raw(id)).map(|entry| (Uid::from_raw(id), entry)).map_err(failed);
    match user {
        UserRef::Id(id) => by_id(*id),
        UserRef::Name(name) => match (User::from_name(name).map_err(failed)?, number(name)) {
            (Some(entry), _) => Ok((entry.uid, Some(entry))),
            (None, Some(id)) => by_id(id),
            (None, None) => Err(Error::UnknownUser { kind: "user", name: name.clone(), needs_group: false }),
        },
    }
}

fn find_group(group: &UserRef) -> Result<Gid> {
    match group {
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

    fn user(user: impl Into<UserRef>) -> RunAs {
        RunAs { user: Some(user.into()), ..RunAs::default() }
    }

    fn own_uid() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number_with_its_groups() {
        let root = Account::look_up(&user("root")).expect("root is everywhere");
        assert_eq!((root.ids.uid, root.ids.gid, root.name.as_deref()), (0, 0, Some("root")));
        assert!(root.ids.groups.contains(&0));
        for spelling in [user(0), user("0")] {
            assert_eq!(Account::look_up(&spelling).expect("root is everywhere"), root);
        }
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
        let found = account.variables(removed.into_iter().chain(kept).map(OsStr::new));
        let set = [("HOME", "/srv/www"), ("SHELL", "/bin/sh"), ("USER", "www"), ("LOGNAME", "www")];
        let expected: Vec<(OsString, Option<OsString>)> = removed
            .into_iter()
            .map(|name| (name.into(), None))
            .chain(set.map(|(name, value)| (name.into(), Some(value.into()))))
            .collect();
        assert_eq!(found, expected);
        let nameless = Account { name: None, ..account };
        assert!(nameless.variables(std::iter::empty()).contains(&("USER".into(), None)));
    }

    #[test]
    fn for_the_callers_own_user_nothing_changes() {
        let run_as = RunAs { group: Some(UserRef::Id(0)), ..user(own_uid()) };
        let account = Account::look_up(&run_as).expect("a number and a group are enough");
        assert_eq!(account.variables([OsStr::new("XDG_RUNTIME_DIR"), OsStr::new("HOME")].into_iter()), Vec::new());
    }

    #[test]
    fn only_a_privileged_caller_may_take_other_ids() {
        let ids = Ids { uid: own_uid() + 1, gid: nix::unistd::getegid().as_raw() + 1, groups: vec![7] };
        let account = Account { ids: ids.clone(), name: None, home: "/".into(), shell: "/bin/sh".into() };
        match (account.new_ids(), sys::may_set_ids()) {
            (found, (true, true)) => assert_eq!(found.expect("it is privileged"), Some(ids)),
            (found, _) => {
                let error = found.expect_err("it has no privilege");
                assert!(matches!(error, Error::System { step: Step::SetUid, errno: Errno::EPERM, .. }), "{error}");
            }
        }
    }

    #[test]
    fn the_callers_own_ids_need_no_change_and_no_privilege() {
        let (Ok(groups), gid) = (sys::own_groups(), nix::unistd::getegid().as_raw()) else { return };
        let run_as = RunAs {
            user: Some(UserRef::Id(own_uid())),
            group: Some(UserRef::Id(gid)),
            groups: Some(groups.into_iter().map(UserRef::Id).collect()),
        };
        let account = Account::look_up(&run_as).expect("numbers are enough");
        assert_eq!(account.new_ids().expect("they are the caller's"), None);
    }

    #[test]
    fn given_groups_replace_the_users_own() {
        let groups = Some([9, 4, 9].map(UserRef::Id).into());
        let account = Account::look_up(&RunAs { group: Some(UserRef::Id(7)), groups, ..user(0) });
        let account = account.expect("numbers are enough");
        assert_eq!(account.ids, Ids { uid: 0, gid: 7, groups: vec![4, 9] });
    }

    #[test]
    fn a_user_or_group_that_is_missing_is_named() {
        let unknown = |run_as: &RunAs| Account::look_up(run_as).expect_err("it is missing").to_string();
        assert_eq!(unknown(&user("no-such")), "there is no user \"no-such\"");
        let group = RunAs { group: Some("no-such".into()), ..RunAs::default() };
        assert_eq!(unknown(&group), "there is no group \"no-such\"");
        assert_eq!(
            unknown(&user(3_999_999_999)),
            "the user database does not have user 3999999999, so its group must be given, too"
        );
    }
}
