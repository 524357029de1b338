//! systemd as process 1, in a copy of this system that is thrown away: see [`overlay`].
//!
//! It runs in namespaces of its own, for processes, mounts, networks, and control groups.
//! What is global to the kernel is read-only there, as in a container. The copy's root
//! folder is made the root of the mounts, since a process in a `chroot` may have no
//! user namespace, which the unit's sandbox takes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::overlay;

/// After this many seconds it is given up.
const SECONDS_MAX: u32 = 300;

/// Makes systemd process 1; it runs `/run/given/check.sh` as a service, and ends with it.
const ENTER: &str = r#"
root=$layers/root
mount -t proc proc "$root/proc"
mount --bind -o ro "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/systemd"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
fi
# An image for containers forbids packages to start services.
rm -f "$root/usr/sbin/policy-rc.d"
mkdir -p "$root/run/systemd/system"
cat >"$root/run/systemd/system/check.target" <<'UNIT'
[Unit]
Wants=check.service
UNIT
cat >"$root/run/systemd/system/check.service" <<'UNIT'
[Service]
Type=oneshot
TimeoutStartSec=infinity
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/bin/bash /run/given/check.sh
ExecStopPost=/bin/sh -c 'echo $EXIT_STATUS >/run/given/status; systemctl --force --force poweroff'
StandardOutput=append:/run/given/output
StandardError=append:/run/given/output
UNIT
cd "$root"
mkdir run/before
pivot_root . run/before
exec env -i PATH="$PATH" container=check TERM=dumb sh -c '
    umount --lazy /run/before
    exec /lib/systemd/systemd --system --unit=check.target --log-target=null --show-status=no
' <&- >/dev/null 2>&1
"#;

/// Why there can't be one here.
pub fn refusal() -> Result<Option<String>> {
    if !Path::new("/lib/systemd/systemd").is_file() {
        return Ok(Some("there is no systemd".to_owned()));
    }
    let given = super::folder("check-systemd")?;
    fs::write(
        given.join("check.sh"),
        "systemctl is-system-running || true\n",
    )?;
    Ok(run(&given).err().map(|error| format!("{error:#}")))
}

/// Runs the script `check.sh` of the folder `given`, which is `/run/given` there, as a
/// service of a systemd that is process 1, and prints what it prints.
pub fn run(given: &Path) -> Result<()> {
    let layers = given.with_extension("layers");
    fs::create_dir_all(&layers).context("a folder for the layers")?;
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &SECONDS_MAX.to_string(), "unshare"]);
    command.args(["--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup"]);
    command.args(["--fork", "--kill-child", "bash", "-c"]);
    command.arg(format!("{}{ENTER}", overlay::LAYERS));
    command.arg("enter").arg(&layers).arg(given);
    println!("$ unshare … systemd, {}", given.join("check.sh").display());
    let ended = command.output().context("cannot start timeout")?;
    fs::remove_dir_all(&layers).ok();
    if let Ok(printed) = fs::read_to_string(given.join("output")) {
        print!("{printed}");
    }
    match fs::read_to_string(given.join("status")) {
        Ok(status) if status.trim() == "0" => Ok(()),
        Ok(status) => bail!(
            "{} failed: {}",
            given.join("check.sh").display(),
            status.trim()
        ),
        Err(_) => bail!(
            "systemd did not run as process 1: {} {}",
            ended.status,
            String::from_utf8_lossy(&ended.stderr).trim()
        ),
    }
}
