//! Settings of the service on its machine: who may come in, the admin socket, the hardware.

use super::Section;
use crate::configuration::setting::{DefaultValue, Effect, Kind, Setting};

pub(super) const SECURITY: Section = Section {
    name: "security",
    documentation: "Who may come in, and by what way.",
    settings: &[
        Setting {
            section: "security",
            name: "password_file",
            also_in: &[],
            variables: &["LIGHTNING_DB_PASSWORD_FILE"],
            kind: Kind::Path,
            default: DefaultValue::Unset,
            effect: Effect::Reload,
            documentation: "A file with the password that clients give by AUTH. It is refused \
                            where others than its owner and group may read it.",
        },
        Setting {
            section: "security",
            name: "acl_file",
            also_in: &[],
            variables: &["LIGHTNING_DB_ACL_FILE"],
            kind: Kind::Path,
            default: DefaultValue::Unset,
            effect: Effect::Reload,
            documentation: "A file with the users, a line each as `ACL LIST` tells them: who \
                            they are, how they log in, and which commands, keys and channels \
                            they may use. A user `default` that it doesn't name is off. `ACL \
                            LOAD` and a reload read it again, `ACL SAVE` writes it. It takes \
                            the place of `password_file`, and is refused where others than its \
                            owner and group may read it.",
        },
        Setting {
            section: "security",
            name: "allow_unauthenticated",
            also_in: &[],
            variables: &["LIGHTNING_DB_ALLOW_UNAUTHENTICATED"],
            kind: Kind::Boolean,
            default: DefaultValue::Boolean(false),
            effect: Effect::Restart,
            documentation: "Whether clients of other machines may come in without a password. \
                            Everybody who reaches the port then reads and writes everything.",
        },
        Setting {
            section: "security",
            name: "allow_debug",
            also_in: &[],
            variables: &["LIGHTNING_DB_ALLOW_DEBUG"],
            kind: Kind::Boolean,
            default: DefaultValue::Boolean(false),
            effect: Effect::Restart,
            documentation: "Whether clients may use DEBUG, which serves tests: with it a client \
                            holds up threads of the service.",
        },
        Setting {
            section: "security",
            name: "tls_cert_file",
            also_in: &[],
            variables: &["LIGHTNING_DB_TLS_CERT_FILE"],
            kind: Kind::Path,
            default: DefaultValue::Unset,
            effect: Effect::Reload,
            documentation: "The certificate and those that signed it, as PEM. With it \
                            `database.port` speaks TLS only, unless `tls_port` is given. \
                            A reload reads a renewed one; the first needs a restart.",
        },
        Setting {
            section: "security",
            name: "tls_key_file",
            also_in: &[],
            variables: &["LIGHTNING_DB_TLS_KEY_FILE"],
            kind: Kind::Path,
            default: DefaultValue::Unset,
            effect: Effect::Reload,
            documentation: "The certificate's private key, as PEM. It is refused where others \
                            than its owner and group may read it.",
        },
        Setting {
            section: "security",
            name: "tls_port",
            also_in: &[],
            variables: &["LIGHTNING_DB_TLS_PORT"],
            kind: Kind::Integer {
                least: 0,
                most: 65_535,
                unit: "",
            },
            default: DefaultValue::Integer(0),
            effect: Effect::Restart,
            documentation: "A port of its own for TLS, so that `database.port` stays without; 0 \
                            for none.",
        },
    ],
};

pub(super) const ADMIN: Section = Section {
    name: "admin",
    documentation: "How lightning-cli reaches the service.",
    settings: &[Setting {
        section: "admin",
        name: "socket",
        also_in: &[],
        variables: &[],
        kind: Kind::Path,
        default: DefaultValue::Derived("`admin.sock` in `database.path`"),
        effect: Effect::Restart,
        documentation: "The Unix socket for lightning-cli; who may write to it may do anything. \
                        Its path takes at most 107 bytes.",
    }],
};

pub(super) const SERVICE: Section = Section {
    name: "service",
    documentation: "What the service asks of the machine.",
    settings: &[
        Setting {
            section: "service",
            name: "huge_pages",
            also_in: &[],
            variables: &["LIGHTNING_DB_HUGE_PAGES"],
            kind: Kind::Choice(&["off", "try", "on"]),
            default: DefaultValue::Text("try"),
            effect: Effect::Restart,
            documentation: "Whether cache and write buffers consist of huge pages, so that \
                            finding what is in memory costs the processor less: try takes those \
                            that were set aside (`vm.nr_hugepages`), where there are enough for \
                            a part, and asks the system for its transparent ones otherwise; on \
                            doesn't start without enough that were set aside; off takes none. \
                            Those that were set aside are taken at start, transparent ones in \
                            steps of 2 MiB.",
        },
        Setting {
            section: "service",
            name: "numa",
            also_in: &[],
            variables: &["LIGHTNING_DB_NUMA"],
            kind: Kind::ChoiceOrNumberSet(&["off", "interleave"]),
            default: DefaultValue::Text("off"),
            effect: Effect::Restart,
            documentation: "Where the engine's memory lies on a machine with several memory \
                            nodes: interleave spreads it over all, numbers such as `0` or `0-1` \
                            name the nodes that it may take, off leaves it to the system. With \
                            numbers, threads run on those nodes' processors, too, unless \
                            `cpu_affinity` is written. Near memory is faster; a node that is \
                            full is, where it is the only one, a lack of memory.",
        },
        Setting {
            section: "service",
            name: "cpu_affinity",
            also_in: &[],
            variables: &["LIGHTNING_DB_CPU_AFFINITY"],
            kind: Kind::NumberSet,
            default: DefaultValue::Unset,
            effect: Effect::Restart,
            documentation: "The processors that the service's threads may run on, such as \
                            `0-7`; all that the process was given where none is written. \
                            Keeps them from others' processors and caches, and others' work \
                            from theirs only where that is kept away, too.",
        },
        Setting {
            section: "service",
            name: "direct_io",
            also_in: &[],
            variables: &["LIGHTNING_DB_DIRECT_IO"],
            kind: Kind::Boolean,
            default: DefaultValue::Boolean(false),
            effect: Effect::Restart,
            documentation: "Whether pages are read and written past the system's cache. Nothing \
                            is kept in memory twice; what the cache of the database is too small \
                            for comes from the disk each time, and nothing is read ahead. A file \
                            system that can't is named in the log, and used as before.",
        },
        Setting {
            section: "service",
            name: "prefault",
            also_in: &[],
            variables: &["LIGHTNING_DB_PREFAULT"],
            kind: Kind::Boolean,
            default: DefaultValue::Boolean(false),
            effect: Effect::Restart,
            documentation: "Whether all planned memory is touched at start, so that no request \
                            waits for it later and the start fails where there is too little. \
                            Starting takes longer, and the memory is taken at once.",
        },
    ],
};
