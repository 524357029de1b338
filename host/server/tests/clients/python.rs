//! redis-py, installed by pip below the build folder.

use crate::support::{Service, has, run};
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "8.1.0";
const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/clients/ordinary_work.py"
);

/// Where redis-py is; `None`, told on standard error, where it can't be had.
fn library() -> Option<PathBuf> {
    if !has("python3", "python3") {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("redis-py-{VERSION}"));
    if folder.join("redis/client.py").is_file() {
        return Some(folder);
    }
    // Beside its name first, so that one that was cut off isn't taken for whole.
    let beside = folder.with_extension(std::process::id().to_string());
    let installed = Command::new("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(["--root-user-action=ignore", "--no-compile", "--target"])
        .arg(&beside)
        .arg(format!("redis=={VERSION}"))
        .output();
    let is_there = installed.is_ok_and(|output| output.status.success());
    if !is_there || std::fs::rename(&beside, &folder).is_err() && !folder.is_dir() {
        eprintln!("SKIPPED: pip can't install redis {VERSION}");
        return None;
    }
    Some(folder)
}

#[test]
fn redis_py_does_ordinary_work_in_either_version() {
    let Some(library) = library() else {
        return;
    };
    let service = Service::start();
    for version in ["2", "3"] {
        let mut command = Command::new("python3");
        command
            // What it warns of is a complaint.
            .args(["-W", "error", SCRIPT, &service.port, version])
            .env("PYTHONPATH", &library)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        assert_eq!(run(&mut command, ""), "done\n");
    }
}
