//! The firmware image: building, measuring and running it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Route;
use crate::process;

const MANIFEST: &str = "tests/firmware/Cargo.toml";
/// It ends within seconds; an emulator that doesn't is stopped.
const RUN_TIME_MAX: Duration = Duration::from_secs(180);

/// Builds and links the image.
pub fn build(route: &Route) -> Result<PathBuf> {
    process::run(
        route
            .build()
            .args(["--locked", "--manifest-path", MANIFEST]),
    )?;
    route.built("firmware")
}

/// Prints what the image takes of flash and RAM. The simulated flash chip is a
/// section of its own and counts for neither.
pub fn report(image: &Path) -> Result<()> {
    let listed = process::capture(Command::new("arm-none-eabi-size").arg("-A").arg(image))?;
    let text =
        section(&listed, ".vector_table") + section(&listed, ".text") + section(&listed, ".rodata");
    if text == 0 {
        bail!("arm-none-eabi-size printed no sections:\n{listed}");
    }
    println!(
        "firmware image: text {text} B (code {} B, constants {} B), data {} B, bss {} B",
        section(&listed, ".text"),
        section(&listed, ".rodata"),
        section(&listed, ".data"),
        section(&listed, ".bss"),
    );
    Ok(())
}

/// Bytes of a section; 0 where there is none.
fn section(listed: &str, name: &str) -> u64 {
    listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.first() == Some(&name))
        .and_then(|words| words.get(1)?.parse().ok())
        .unwrap_or(0)
}

/// Runs the image under QEMU: its own checks decide, by the exit code.
pub fn run(image: &Path) -> Result<()> {
    let mut command = Command::new("qemu-system-arm");
    command
        .args(["-M", "mps2-an386", "-nographic"])
        .args(["-semihosting-config", "enable=on,target=native"])
        .args(["-icount", "shift=0"])
        .arg("-kernel")
        .arg(image)
        .stdin(Stdio::null());
    let line = process::describe(&command);
    println!("$ {line}");
    let mut emulator = command
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = emulator.try_wait()? {
            break status;
        }
        if start.elapsed() > RUN_TIME_MAX {
            emulator.kill()?;
            emulator.wait()?;
            bail!("the image ran longer than {} s", RUN_TIME_MAX.as_secs());
        }
        sleep(Duration::from_millis(20));
    };
    if !status.success() {
        bail!("the image failed under QEMU: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read_by_their_whole_name() {
        let listed = "firmware  :\nsection  size  addr\n.text  182472  1024\n\
                      .text.other  7  0\n.bss  43168  536871008\nTotal  1\n";
        assert_eq!(section(listed, ".text"), 182_472);
        assert_eq!(section(listed, ".bss"), 43_168);
        assert_eq!(section(listed, ".data"), 0);
    }
}
