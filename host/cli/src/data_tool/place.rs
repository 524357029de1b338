//! Where the data are: in a directory, or with a running service.

use super::arguments::GlobalOptions;
use super::store::{Directory, Service, Store, table_of};
use super::{Context, DEFAULT_TABLE};
use crate::failure::{Exit, Failure};
use crate::redis::{Address, Security};
use lightning_db::{Database, Error, IoErrorKind, Reason};
use lightning_ops::admin::{Client, ConfigurationView, Request};
use lightning_ops::configuration::{Value, places};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variable that gives the password, as `redis-cli` has it.
const PASSWORD_VARIABLE: &str = "REDISCLI_AUTH";
/// How long the service that has a directory may take to say where it is.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// What is to be done with the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Only to read them; nothing is changed, and nothing made.
    Read,
    /// To change what is there.
    Change,
    /// To make them where there are none.
    Make,
}

/// Where the data are.
enum Place {
    Directory(PathBuf),
    Service(Address),
}

fn place_of(global: &GlobalOptions) -> Result<Place, Failure> {
    let service = &global.service;
    let by_parts = service.host.is_some() || service.port.is_some();
    if let Some(directory) = &global.data {
        if service.url.is_some() || by_parts {
            return Err(Failure::usage(
                "--data names a directory, and --url, --host and --port a service: leave out one",
            ));
        }
        return Ok(Place::Directory(directory.clone()));
    }
    let mut address = match &service.url {
        Some(url) => {
            Address::of_url(url).map_err(|reason| Failure::usage(format!("--url: {reason}")))?
        }
        None if by_parts => Address::default(),
        None => {
            return Err(Failure::usage(
                "say where the data are: --data DIR is missing, or --url URL for a running service",
            ));
        }
    };
    if let Some(host) = &service.host {
        address.host.clone_from(host);
    }
    if let Some(port) = service.port {
        address.port = port;
    }
    if service.user.is_some() {
        address.user.clone_from(&service.user);
    }
    address.tls |= service.tls || service.cacert.is_some();
    Ok(Place::Service(address))
}

/// The password, from its file or from the environment.
fn password(file: Option<&Path>) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = file else {
        let given = std::env::var_os(PASSWORD_VARIABLE);
        return Ok(given
            .map(|password| password.into_encoded_bytes())
            .filter(|password| !password.is_empty()));
    };
    let text = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
    let is_open =
        lightning_db::is_readable_by_others(path).map_err(|error| Failure::file(path, &error))?;
    let refuse = |reason: &str| Failure::new(Exit::Failed, format!("{}: {reason}", path.display()));
    if is_open {
        return Err(refuse(
            "everybody on this machine can read the password: chmod 600 it",
        ));
    }
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(refuse("the first line, which is the password, is empty"));
    }
    Ok(Some(line.to_vec()))
}

impl Context<'_> {
    /// Opens what the command line names.
    pub(crate) fn open(&self, purpose: Purpose) -> Result<Box<dyn Store>, Failure> {
        match place_of(self.global)? {
            Place::Directory(path) => {
                let database = self.open_directory(&path, purpose)?;
                Ok(Box::new(Directory::new(database)))
            }
            Place::Service(address) => {
                let security = Security {
                    password: password(self.global.service.password_file.as_deref())?,
                    ca_file: self.global.service.cacert.clone(),
                };
                let mut service = Service::open(&address, security)?;
                if purpose != Purpose::Read
                    && let Some(warning) = service.warning()?
                {
                    self.note(&warning);
                }
                Ok(Box::new(service))
            }
        }
    }

    fn open_directory(&self, path: &Path, purpose: Purpose) -> Result<Database, Failure> {
        let is_new = purpose == Purpose::Make && !path.exists();
        let opened = match purpose {
            Purpose::Read => Database::open_read_only(path),
            Purpose::Change => Database::builder().create(false).open(path),
            Purpose::Make => Database::open(path),
        };
        let database = opened.map_err(|error| directory_failure(&error, path))?;
        if is_new {
            self.note(&format_args!("created {}", path.display()));
        }
        Ok(database)
    }

    /// The data directory, for what only a directory can be asked.
    pub(crate) fn directory(&self) -> Result<PathBuf, Failure> {
        match place_of(self.global)? {
            Place::Directory(path) => Ok(path),
            Place::Service(_) => Err(Failure::usage(
                "a service checks its data when lightning-cli asks it to: `lightning-cli verify \
                 integrity`",
            )),
        }
    }

    /// The table's name.
    pub(crate) fn table_name(&self) -> Result<String, Failure> {
        let named = self.named_table()?;
        Ok(named.unwrap_or_else(|| DEFAULT_TABLE.to_owned()))
    }

    /// The table that the command line names, by `--table` or by the URL's number.
    pub(crate) fn named_table(&self) -> Result<Option<String>, Failure> {
        let of_url = match place_of(self.global)? {
            Place::Service(address) => address.database.map(table_of),
            Place::Directory(_) => None,
        };
        match (&self.global.table, of_url) {
            (Some(named), Some(other)) if *named != other => Err(Failure::usage(format!(
                "--table says {named:?}, and the URL's number is {other:?}: leave out one"
            ))),
            (Some(name), _) => Ok(Some(name.clone())),
            (None, of_url) => Ok(of_url),
        }
    }
}

/// A failure to open `path`; where a service has it, with the way to that.
pub(crate) fn directory_failure(error: &Error, path: &Path) -> Failure {
    let mut failure = Failure::database(error);
    let is_in_use = matches!(
        error.reason(),
        Reason::Open {
            kind: IoErrorKind::InUse,
            ..
        }
    );
    if is_in_use
        && let Some(message) = &mut failure.message
        && let Some(way) = way_to_service(path)
    {
        message.push_str(&format!("; it is a service: leave out --data, and {way}"));
    }
    failure
}

/// What to write to reach the service that has this directory, as it says itself.
fn way_to_service(path: &Path) -> Option<String> {
    let socket = places::socket_in(path);
    let mut client = Client::connect(&socket, ASK_TIMEOUT).ok()?;
    let view: ConfigurationView = client.call(&Request::ConfigShow).ok()?;
    let setting = |key: &str| {
        let found = view.settings.iter().find(|setting| setting.key == key);
        found.map(|setting| &setting.value)
    };
    let port = match setting("database.port") {
        // 0 is any: the service says which at its start.
        Some(Value::Integer(port)) if *port > 0 => u16::try_from(*port).ok()?,
        _ => return None,
    };
    let host = match setting("database.bind") {
        Some(Value::Text(hosts)) => hosts.split([',', ' ']).next()?.to_owned(),
        _ => return None,
    };
    let has = |key: &str| matches!(setting(key), Some(Value::Text(text)) if !text.is_empty());
    let has_other_port =
        matches!(setting("security.tls_port"), Some(Value::Integer(port)) if *port > 0);
    let tls = has("security.tls_cert_file") && !has_other_port;
    let address = Address {
        // All addresses of the machine are no place to connect to; this one is among them.
        host: match host.as_str() {
            "0.0.0.0" | "::" => Address::default().host,
            _ => host,
        },
        port,
        tls,
        ..Address::default()
    };
    let mut way = format!("give --url {address}");
    if tls {
        way.push_str(" and --cacert FILE");
    }
    if has("security.password_file") {
        way.push_str(" and --password-file FILE");
    }
    Some(way)
}
