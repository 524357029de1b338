//! Where a service is: `redis://[USER@]HOST[:PORT][/N]`, or `rediss://` for TLS, as
//! clients of Redis write it.
//!
//! A password is not taken from there: everybody on a machine can read the command
//! lines of its processes.

use std::fmt;

/// The port of the service unless another one is said.
pub(crate) const DEFAULT_PORT: u16 = 7379;
/// The host unless another one is said.
pub(crate) const DEFAULT_HOST: &str = "127.0.0.1";

/// Where a service is, and as whom to come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name or an address; one of version 6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: Option<String>,
    /// The number of the database.
    pub(crate) database: Option<u32>,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
}

impl Default for Address {
    fn default() -> Self {
        Self {
            host: DEFAULT_HOST.to_owned(),
            port: DEFAULT_PORT,
            user: None,
            database: None,
            tls: false,
        }
    }
}

impl Address {
    /// Reads a URL.
    pub(crate) fn of_url(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or("write redis://HOST:PORT/N, or rediss:// for TLS")?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            other => {
                return Err(format!(
                    "there is no {other}://; write redis:// or rediss://"
                ));
            }
        };
        if let Some(odd) = rest.find(['?', '#', '%', ' ']) {
            return Err(format!("{:?} has no meaning here", &rest[odd..]));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let user = match login {
            Some(login) if login.contains(':') => {
                return Err(
                    "a password on the command line can be read by everybody on this machine: \
                     write it into a file for --password-file, or set REDISCLI_AUTH"
                        .to_owned(),
                );
            }
            Some("") | None => None,
            Some(user) => Some(user.to_owned()),
        };
        let (host, port) = split_port(place)?;
        Ok(Self {
            host: if host.is_empty() { DEFAULT_HOST } else { host }.to_owned(),
            port: match port {
                Some(port) => port
                    .parse()
                    .map_err(|_| format!("{port:?} is no port: there are 1 to 65535"))?,
                None => DEFAULT_PORT,
            },
            user,
            database: match path {
                "" => None,
                path => Some(
                    path.parse()
                        .map_err(|_| format!("{path:?} is no number of a database"))?,
                ),
            },
            tls,
        })
    }
}

fn split_port(place: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest
            .split_once(']')
            .ok_or_else(|| format!("{place:?} lacks its closing bracket"))?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(format!("{rest:?} behind the bracket is no port")),
        };
    }
    match place.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(format!(
            "{place:?}: an address of version 6 stands in brackets, as in [::1]:7379"
        )),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((place, None)),
    }
}

/// As a URL without user and database.
impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        if self.host.contains(':') {
            write!(out, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, host, port, user, database, tls) in [
            ("redis://", "127.0.0.1", 7379, None, None, false),
            ("redis://db", "db", 7379, None, None, false),
            ("redis://db:1/", "db", 1, None, None, false),
            ("rediss://ada@db:7/3", "db", 7, Some("ada"), Some(3), true),
            ("redis://@[::1]:8/0", "::1", 8, None, Some(0), false),
            ("redis://[::1]", "::1", 7379, None, None, false),
        ] {
            let address = Address::of_url(url).unwrap();
            let expected = Address {
                host: host.to_owned(),
                port,
                user: user.map(str::to_owned),
                database,
                tls,
            };
            assert_eq!(address, expected, "{url}");
            let again = Address::of_url(&address.to_string()).unwrap();
            assert_eq!(
                (again.host, again.port, again.tls),
                (host.to_owned(), port, tls)
            );
        }
    }

    #[test]
    fn other_urls_are_refused_with_the_reason() {
        for (url, reason) in [
            ("db:7379", "write redis://HOST:PORT/N"),
            ("http://db", "there is no http://"),
            ("redis://ada:secret@db", "--password-file"),
            ("redis://:secret@db", "--password-file"),
            ("redis://db:x", "is no port"),
            ("redis://db:70000", "is no port"),
            ("redis://db/one", "is no number of a database"),
            ("redis://db/0?a=b", "has no meaning here"),
            ("redis://::1:7379", "in brackets"),
            ("redis://[::1", "closing bracket"),
            ("redis://[::1]7", "is no port"),
        ] {
            let error = Address::of_url(url).unwrap_err();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
