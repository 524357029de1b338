//! Arrows between the modules of the core: a module uses only what stands before it.

use super::{Finding, SourceFile, tokens};

const SOURCE: &str = "core/src/";

/// The modules of core/src, lowest first. Those on one line are on the same
/// level and don't use each other, but for [`SAME_LEVEL`].
const LEVELS: [&[&str]; 9] = [
    &["error", "sync", "mem", "limits"],
    &["format"],
    &["wal", "pager"],
    &["btree"],
    &["memtable"],
    &["run"],
    &["txn"],
    &["merge", "recovery"],
    &["db"],
];

/// Uses on the same level: (who, of what).
const SAME_LEVEL: [(&str, &str); 4] = [
    ("mem", "error"),
    ("mem", "sync"),
    ("mem", "limits"),
    ("limits", "error"),
];

fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|modules| modules.contains(&module))
}

fn may_use(user: &str, used: &str) -> bool {
    match (level(user), level(used)) {
        (Some(above), Some(below)) => {
            user == used || below < above || SAME_LEVEL.contains(&(user, used))
        }
        _ => false,
    }
}

/// Checks every file below core/src except its root. Test code may use any module.
pub fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for file in files.iter().filter(|file| file.is_rust()) {
        let Some(path) = file.path.strip_prefix(SOURCE) else {
            continue;
        };
        if path == "lib.rs" {
            continue;
        }
        let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
        let module = parts.first().copied().unwrap_or_default();
        if level(module).is_none() {
            let message = format!(
                "module `{module}` has no place in the module order (xtask/src/tidy/modules.rs)"
            );
            findings.push(Finding::new(&file.path, 0, message));
            continue;
        }
        if file.is_test() {
            continue;
        }
        let depth = parts.len() - usize::from(parts.last() == Some(&"mod"));
        let Ok(stream) = tokens::parse(&file.text) else {
            continue;
        };
        let code = tokens::without_tests(stream).tokens;
        for reference in tokens::root_references(&code, depth) {
            let name = &reference.name;
            if may_use(module, name) {
                continue;
            }
            let message = if level(name).is_some() {
                format!(
                    "`{module}` may not use `{name}`: it doesn't stand before it in {}",
                    order()
                )
            } else {
                format!(
                    "`crate::{name}` is no module of the order: name the module that defines it"
                )
            };
            findings.push(Finding::new(&file.path, reference.line, message));
        }
    }
}

fn order() -> String {
    LEVELS.map(|modules| modules.join(", ")).join(" <- ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        let mut findings = Vec::new();
        check(&[SourceFile::of(path, text)], &mut findings);
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn modules_use_what_stands_before_them() {
        assert!(found("core/src/btree/seek.rs", "use crate::pager::Pager;").is_empty());
        assert!(found("core/src/btree/seek.rs", "use crate::btree::node;").is_empty());
        assert!(found("core/src/lib.rs", "pub use crate::db::Db;").is_empty());
        assert!(found("host/src/lib.rs", "use crate::anything;").is_empty());
    }

    #[test]
    fn arrows_that_point_back_or_sideways_are_found() {
        assert_eq!(
            found("core/src/wal/frame.rs", "\nuse crate::txn::Ticket;"),
            [2]
        );
        assert_eq!(found("core/src/wal/mod.rs", "use super::btree;"), [1]);
        assert_eq!(
            found("core/src/wal/mod.rs", "use crate::pager::Pager;"),
            [1]
        );
        assert_eq!(found("core/src/pager.rs", "use crate::{format, db};"), [1]);
        assert_eq!(found("core/src/pager.rs", "use crate::Error;"), [1]);
        assert_eq!(found("core/src/helpers.rs", ""), [0]);
    }

    #[test]
    fn test_code_may_point_anywhere() {
        let text = "#[cfg(test)]\nmod tests { use crate::db::Db; }";
        assert!(found("core/src/wal/mod.rs", text).is_empty());
        assert!(found("core/src/wal/tests.rs", "use crate::db::Db;").is_empty());
    }

    #[test]
    fn uses_on_the_same_level_make_no_circle() {
        for (user, used) in SAME_LEVEL {
            assert_eq!(level(user), level(used));
            assert!(level(user).is_some());
        }
        // Taking away modules without an outgoing use must end with none left.
        let mut uses = SAME_LEVEL.to_vec();
        while !uses.is_empty() {
            let before = uses.len();
            let users: Vec<&str> = uses.iter().map(|(user, _)| *user).collect();
            uses.retain(|(_, used)| users.contains(used));
            assert!(uses.len() < before, "a circle: {uses:?}");
        }
    }
}
