//! node-redis and ioredis, installed by npm below the build folder.

use crate::support::{Service, has, run};
use std::path::{Path, PathBuf};
use std::process::Command;

const LIBRARIES: [&str; 2] = ["redis@6.3.1", "ioredis@6.0.0"];
const SCRIPT: &str = include_str!("ordinary_work.mjs");

/// A folder with the libraries and the script, which looks for them beside itself;
/// `None`, told on standard error, where they can't be had.
fn folder() -> Option<PathBuf> {
    if !has("node", "nodejs") || !has("npm", "npm") {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(LIBRARIES.join("-"));
    if !folder.join("node_modules/ioredis/package.json").is_file() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("package.json"), "{\"private\":true}\n").unwrap();
        let installed = Command::new("npm")
            .current_dir(&folder)
            .args(["install", "--silent", "--no-audit", "--no-fund"])
            .args(LIBRARIES)
            .output();
        if !installed.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: npm can't install {}", LIBRARIES.join(" and "));
            return None;
        }
    }
    std::fs::write(folder.join("ordinary_work.mjs"), SCRIPT).unwrap();
    Some(folder)
}

#[test]
fn node_redis_and_ioredis_do_ordinary_work() {
    let Some(folder) = folder() else {
        return;
    };
    let service = Service::start();
    let mut command = Command::new("node");
    command
        .current_dir(&folder)
        .args(["--trace-uncaught", "ordinary_work.mjs", &service.port]);
    assert_eq!(run(&mut command, ""), "done\n");
}
