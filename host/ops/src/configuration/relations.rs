//! What must hold between settings.
//!
//! These checks look at values that are each fine by themselves, and at nothing
//! outside: whether a file is there or a port is free is seen by who uses it.

use super::load::Entry;
use super::places::SOCKET_PATH_BYTES_MAX;
use super::problem::{Assignment, Problem};
use super::settings::MEMTABLES;
use super::typed::Typed;
use std::net::IpAddr;

/// Adds what doesn't hold to `problems`.
pub(super) fn check(entries: &[Entry], problems: &mut Vec<Problem>) {
    let values = Typed { entries };
    check_places(&values, problems);
    check_memory(&values, problems);
    check_access(&values, problems);
    check_tls(&values, problems);
    check_ports(&values, problems);
}

fn assignment(values: &Typed<'_>, section: &str, name: &str) -> Assignment {
    let entry = values.entry(section, name);
    Assignment {
        key: entry.setting.key(),
        value: entry.value.to_string(),
        origin: entry.origin.clone(),
    }
}

fn check_places(values: &Typed<'_>, problems: &mut Vec<Problem>) {
    if values.path("database", "path").is_none() {
        problems.push(Problem::NoDataPath);
    }
    if let Some(socket) = values.path("admin", "socket") {
        let bytes = socket.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            problems.push(Problem::SocketPath {
                socket: assignment(values, "admin", "socket"),
                bytes,
                bytes_max: SOCKET_PATH_BYTES_MAX,
            });
        }
    }
}

/// The largest parts of the memory plan have to fit; the engine checks the whole plan
/// when it opens.
fn check_memory(values: &Typed<'_>, problems: &mut Vec<Problem>) {
    let number = |name| values.number("database", name);
    let limit_mb = number("max_memory_mb");
    let needed_mb = number("cache_size_mb") + u64::from(MEMTABLES) * number("lsm_memtable_size_mb");
    if limit_mb > 0 && needed_mb > limit_mb {
        problems.push(Problem::Memory {
            cache: assignment(values, "database", "cache_size_mb"),
            memtables: MEMTABLES,
            memtable: assignment(values, "database", "lsm_memtable_size_mb"),
            limit: assignment(values, "database", "max_memory_mb"),
            needed_mb,
        });
    }
}

fn check_access(values: &Typed<'_>, problems: &mut Vec<Problem>) {
    let is_given = |name| values.path("security", name).is_some();
    let (has_password, has_users) = (is_given("password_file"), is_given("acl_file"));
    if has_password && has_users {
        problems.push(Problem::PasswordAndUsers {
            password: assignment(values, "security", "password_file"),
            users: assignment(values, "security", "acl_file"),
        });
    }
    if has_password || has_users || values.is_on("security", "allow_unauthenticated") {
        return;
    }
    let bind = values.addresses("database", "bind");
    if let Some(address) = bind.into_iter().find(|address| !is_loopback(*address)) {
        problems.push(Problem::Unauthenticated {
            bind: assignment(values, "database", "bind"),
            address,
        });
    }
}

/// Whether only this machine reaches the address, written as IPv6 or not.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn check_tls(values: &Typed<'_>, problems: &mut Vec<Problem>) {
    let is_given = |name| values.path("security", name).is_some();
    let of = |name| assignment(values, "security", name);
    match (is_given("tls_cert_file"), is_given("tls_key_file")) {
        (true, false) => problems.push(Problem::TlsIncomplete {
            given: of("tls_cert_file"),
            missing: "security.tls_key_file",
        }),
        (false, true) => problems.push(Problem::TlsIncomplete {
            given: of("tls_key_file"),
            missing: "security.tls_cert_file",
        }),
        (false, false) if values.port("security", "tls_port") > 0 => {
            problems.push(Problem::TlsWithoutCertificate {
                port: of("tls_port"),
            });
        }
        _ => {}
    }
}

/// Sections and names of a port and of the addresses it is for.
const PORTS: [(&str, &str, &str); 4] = [
    ("database", "port", "database"),
    ("security", "tls_port", "database"),
    ("monitoring", "metrics_port", "monitoring"),
    ("monitoring", "health_check_port", "monitoring"),
];

fn check_ports(values: &Typed<'_>, problems: &mut Vec<Problem>) {
    // 0 stands for any, or for none.
    let port_of = |section: &str, name: &str| match name {
        "metrics_port" if !values.is_on("monitoring", "prometheus_export") => 0,
        _ => values.port(section, name),
    };
    for (index, (section, name, bind)) in PORTS.iter().enumerate() {
        let port = port_of(section, name);
        if port == 0 {
            continue;
        }
        for (other_section, other_name, other_bind) in &PORTS[..index] {
            let is_same = port_of(other_section, other_name) == port;
            if is_same && do_meet(values, bind, other_bind) {
                problems.push(Problem::PortsCollide {
                    first: assignment(values, other_section, other_name),
                    second: assignment(values, section, name),
                });
            }
        }
    }
}

/// Whether one address of each section is the same, or means all.
fn do_meet(values: &Typed<'_>, one: &str, other: &str) -> bool {
    let others = values.addresses(other, "bind");
    values.addresses(one, "bind").iter().any(|address| {
        others
            .iter()
            .any(|other| address == other || address.is_unspecified() || other.is_unspecified())
    })
}
