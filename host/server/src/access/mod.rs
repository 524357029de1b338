//! Who may come in, and what they may do.
//!
//! | file | duty |
//! |---|---|
//! | `selector.rs` | a set of commands, keys and channels that are allowed together |
//! | `user.rs` | a user: ways to log in, and selectors |
//! | `file.rs` | the file of users, and the file of a password |
//! | `denials.rs` | what was refused lately, for `ACL LOG` |
//!
//! # Rules
//! There is always a user `default`: everybody is, who has proved nothing, where it is on
//! and needs no password. Without a file it may do everything, which configuration allows
//! on loopback only unless it says otherwise in so many words; a password file gives it a
//! password; a file of users says what it says of it, and where it says nothing `default`
//! is off.
//!
//! A connection holds its user, whose rules are replaced as a whole, so that a change
//! counts from the next command on, whoever runs it. Users are removed with their
//! connections. A user that may do everything costs a command one load.
//!
//! Passwords are kept as SHA-256 only, and compared in a time that doesn't tell how much
//! was right.

mod denials;
mod file;
mod selector;
mod user;

pub use denials::{Denials, Refusal};
pub use file::AccessFileError;
pub use selector::{CATEGORIES, Denial, RuleError, Selector};
pub use user::{Rules, User};

use crate::failure::Failure;
use lightning_ops::configuration::Configuration;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// The user that everybody is who has proved nothing.
pub const DEFAULT_USER: &str = "default";

/// The users by name.
type Users = BTreeMap<Arc<str>, Arc<User>>;

/// Where users come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Source {
    password_file: Option<PathBuf>,
    users_file: Option<PathBuf>,
}

/// What a file says, read and found right.
#[derive(Debug)]
pub struct ReadAccess {
    source: Source,
    rules: BTreeMap<Arc<str>, Rules>,
}

/// All users.
pub struct Access {
    users: RwLock<Users>,
    source: RwLock<Source>,
    /// What was refused lately.
    pub denials: Denials,
}

impl fmt::Debug for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Access")
            .field("users", &self.lock().len())
            .finish_non_exhaustive()
    }
}

impl ReadAccess {
    /// Reads the files that configuration names.
    ///
    /// # Errors
    /// One can't be read, others than its owner and group can read it, or what it says
    /// makes no sense; or everybody could come in from other machines.
    pub fn read(configuration: &Configuration) -> Result<Self, AccessFileError> {
        let security = &configuration.security;
        let source = Source {
            password_file: security.password_file.clone(),
            users_file: security.acl_file.clone(),
        };
        let read = Self {
            rules: source.read()?,
            source,
        };
        let is_open = read
            .rules
            .get(DEFAULT_USER)
            .is_some_and(Rules::lets_everybody_in);
        let bind = &configuration.database.bind;
        let is_local = bind
            .iter()
            .all(|address| address.to_canonical().is_loopback());
        match &read.source.users_file {
            Some(path) if is_open && !is_local && !security.allow_unauthenticated => {
                Err(AccessFileError::new(
                    path,
                    "other machines reach database.bind, and the user `default` needs no \
                     password: give it one or turn it off, or write \
                     security.allow_unauthenticated = true",
                ))
            }
            _ => Ok(read),
        }
    }
}

impl Source {
    fn read(&self) -> Result<BTreeMap<Arc<str>, Rules>, AccessFileError> {
        if let Some(path) = &self.users_file {
            return file::users(path);
        }
        let mut rules = Rules::everything();
        if let Some(path) = &self.password_file {
            rules.set_password(&file::password(path)?);
        }
        Ok([(Arc::from(DEFAULT_USER), rules)].into())
    }
}

/// Users that are gone: their connections are to be closed.
pub type Changed = Vec<Arc<User>>;

impl Access {
    /// The users that were read.
    #[must_use]
    pub fn new(read: ReadAccess) -> Self {
        let access = Self {
            users: RwLock::default(),
            source: RwLock::default(),
            denials: Denials::default(),
        };
        access.replace(read);
        access
    }

    fn lock(&self) -> RwLockReadGuard<'_, Users> {
        self.users.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other users from here on; answers those that are gone. Without a file of users those
    /// that commands have made stay.
    pub fn replace(&self, read: ReadAccess) -> Changed {
        let ReadAccess { source, rules } = read;
        let is_whole = source.users_file.is_some();
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        let mut gone = Vec::new();
        if is_whole {
            users.retain(|name, user| {
                let stays = rules.contains_key(name);
                if !stays {
                    gone.push(Arc::clone(user));
                }
                stays
            });
        }
        for (name, rules) in rules {
            match users.get(&name) {
                Some(user) => user.set_rules(rules),
                None => {
                    let user = Arc::new(User::new(Arc::clone(&name), rules));
                    users.insert(name, user);
                }
            }
        }
        drop(users);
        *self.source.write().unwrap_or_else(PoisonError::into_inner) = source;
        gone
    }

    fn users_file(&self) -> Option<PathBuf> {
        let source = self.source.read().unwrap_or_else(PoisonError::into_inner);
        source.users_file.clone()
    }

    /// Reads the file of users again; answers the users that are gone, `None` where there is
    /// no such file.
    ///
    /// # Errors
    /// What is wrong with the file; nothing is changed then.
    pub fn load(&self) -> Result<Option<Changed>, AccessFileError> {
        let Some(path) = self.users_file() else {
            return Ok(None);
        };
        let rules = file::users(&path)?;
        let source = Source {
            users_file: Some(path),
            password_file: None,
        };
        Ok(Some(self.replace(ReadAccess { source, rules })))
    }

    /// Writes the users into their file; answers whether there is one.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self) -> Result<bool, AccessFileError> {
        let Some(path) = self.users_file() else {
            return Ok(false);
        };
        let mut text = String::new();
        for user in self.list() {
            text.push_str(&user.line());
            text.push('\n');
        }
        file::write(&path, &text).map(|()| true)
    }

    /// All users, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<User>> {
        self.lock().values().cloned().collect()
    }

    /// The user of this name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Arc<User>> {
        let name = std::str::from_utf8(name).ok()?;
        self.lock().get(name).cloned()
    }

    /// Gives a user rules; one that there isn't is made.
    pub fn set(&self, name: &str, rules: Rules) -> Arc<User> {
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = users.get(name) {
            user.set_rules(rules);
            return Arc::clone(user);
        }
        let name: Arc<str> = name.into();
        let user = Arc::new(User::new(Arc::clone(&name), rules));
        users.insert(name, Arc::clone(&user));
        user
    }

    /// Removes a user; answers whom, where there is one.
    pub fn remove(&self, name: &[u8]) -> Option<Arc<User>> {
        let name = std::str::from_utf8(name).ok()?;
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        users.remove(name)
    }

    /// The user that everybody is who has proved nothing; `None`: they have to log in.
    #[must_use]
    pub fn user_of_strangers(&self) -> Option<Arc<User>> {
        let user = self.lock().get(DEFAULT_USER).cloned();
        user.filter(|user| user.rules().lets_everybody_in())
    }

    /// The user that name and password prove; `is_short`: only the password was given.
    ///
    /// # Errors
    /// What the client is told.
    pub fn log_in(
        &self,
        name: &[u8],
        password: &[u8],
        is_short: bool,
    ) -> Result<Arc<User>, Failure> {
        if is_short
            && let Some(user) = self.find(DEFAULT_USER.as_bytes())
            && user.rules().needs_no_password()
        {
            return Err(Failure::reply(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
            ));
        }
        self.find(name)
            .filter(|user| user.rules().admits(password))
            .ok_or(Failure::reply(
                "WRONGPASS invalid username-password pair or user is disabled.",
            ))
    }
}
