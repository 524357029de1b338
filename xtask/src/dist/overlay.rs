//! A copy of this system that is thrown away: changes go to memory, networks and
//! processes are its own.
//!
//! The root folder is the lower layer of an overlay whose upper one is in memory, seen
//! in a mount namespace that ends with its processes. Nothing of the system changes.
//! Ports are free there, since the network is an empty one, with its loopback only.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{packages, process};

/// Programs that it takes, and the packages that bring them.
const PROGRAMS: [(&str, &str); 3] = [
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("ip", "iproute2"),
];

/// Lays the system over itself: the folder `$layers/root` is the copy, and the second
/// argument is `/run/given` there.
pub(super) const LAYERS: &str = r#"
set -eu
layers=$1
mount -t tmpfs -o mode=755 tmpfs "$layers"
mkdir "$layers/upper" "$layers/work" "$layers/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layers/upper,workdir=$layers/work" "$layers/root"
mount --rbind /dev "$layers/root/dev"
mount -t tmpfs -o mode=755 tmpfs "$layers/root/run"
mount -t tmpfs -o mode=1777 tmpfs "$layers/root/tmp"
ip link set lo up
mkdir "$layers/root/run/given"
mount --bind "$2" "$layers/root/run/given"
"#;

/// Runs `check.sh` of what was given in the copy.
const ENTER: &str = r#"
mount --rbind /proc "$layers/root/proc"
mount --rbind /sys "$layers/root/sys"
exec chroot "$layers/root" /bin/bash /run/given/check.sh
"#;

/// Why there can't be one here; with `install`, what is lacking is installed.
pub fn refusal(install: bool) -> Option<String> {
    let user = process::capture(Command::new("id").arg("-u")).unwrap_or_default();
    if user.trim() != "0" {
        return Some("it takes root, for a root folder of its own".to_owned());
    }
    for (program, package) in PROGRAMS {
        if packages::has_program(program) {
            continue;
        }
        if !install {
            return Some(format!(
                "there is no {program}: `apt-get install {package}` brings it"
            ));
        }
        if let Err(reason) = packages::install(&[package]) {
            return Some(reason);
        }
    }
    let mut command = namespaces();
    command.args([
        "bash",
        "-c",
        "mount -t tmpfs tmpfs /mnt && ip link set lo up",
    ]);
    process::capture(&mut command)
        .err()
        .map(|error| format!("namespaces are not allowed here: {error:#}"))
}

fn namespaces() -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--net",
        "--pid",
        "--ipc",
        "--fork",
        "--kill-child",
    ]);
    command.arg("--mount-proc");
    command
}

/// Runs the script `check.sh` of the folder `given`, which is `/run/given` there: what is
/// written to it stays.
pub fn run(given: &Path) -> Result<()> {
    let layers = given.with_extension("layers");
    fs::create_dir_all(&layers).context("a folder for the layers")?;
    let mut command = namespaces();
    command
        .args(["bash", "-c", &format!("{LAYERS}{ENTER}"), "enter"])
        .arg(&layers)
        .arg(given);
    // What the shell is told would fill the screen.
    println!("$ unshare … {}", given.join("check.sh").display());
    let status = command.status().context("cannot start unshare")?;
    fs::remove_dir_all(&layers).ok();
    if !status.success() {
        anyhow::bail!("{} failed: {status}", given.join("check.sh").display());
    }
    Ok(())
}
