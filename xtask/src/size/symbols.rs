//! What must not be in the linked image, read from its machine code.
//!
//! *Aborts for want of memory*: no symbol of `handle_alloc_error` or of a vector's
//! growth may be linked, whoever calls it.
//!
//! *Panics*: every call from a function that may return to one that only panics is
//! a site. Those that only panic are the panic handler, `core::panicking`, and the
//! outlined failures of the library (`slice_index_fail` and the like); whatever
//! else calls one of them is a site, so that none is missed because its callee's
//! name is not known here. The linker folds equal functions, so that the callee's
//! name says little: a site is named after the innermost function of ours that was
//! compiled into that place, which the debug information knows.
//!
//! The list of sites by file and function is committed; it may only get shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

const LIST: &str = "tests/firmware/panics.txt";
const LIST_HEAD: &str = "\
# Panicking call sites that are linked into the firmware image: count, file, function.
# `cargo xtask size` fails for one that is not listed here. The list may only get
# shorter; `cargo xtask size --update-panics` writes it anew.
";

/// Parts of names that no linked symbol may have.
const FORBIDDEN: [&str; 6] = [
    "handle_alloc_error",
    "alloc_error_handler",
    "rust_oom",
    "rdl_oom",
    "raw_vec",
    "capacity_overflow",
];

/// What the library calls its outlined failures, in the last part of a name.
const FAILURES: [&str; 4] = ["fail", "panic", "unwrap_failed", "expect_failed"];

/// One place that can panic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Site {
    /// File and function, as the committed list has them.
    place: String,
    /// The same with the line.
    at: String,
}

/// Fails where the image holds what it must not, and prints the panicking sites.
pub fn check(image: &Path, update: bool) -> Result<()> {
    let listing = process::capture(
        Command::new("arm-none-eabi-objdump")
            .args(["--disassemble", "--demangle", "--no-show-raw-insn"])
            .arg(image),
    )?;
    let code = Code::read(&listing);
    if code.functions.is_empty() {
        bail!("arm-none-eabi-objdump listed no function");
    }
    let forbidden = code.forbidden();
    if !forbidden.is_empty() {
        bail!(
            "the image can abort for want of memory: {}",
            forbidden.join(", ")
        );
    }
    println!("no symbol of an allocation that aborts");
    let sites = attribute(image, &code.panicking_calls())?;
    println!("{} panicking call sites are linked:", sites.len());
    for site in &sites {
        println!("  {}", site.at);
    }
    let found = count(&sites);
    let path = workspace::root().join(LIST);
    if update {
        fs::write(&path, write_list(&found)).with_context(|| format!("cannot write {LIST}"))?;
        println!("{LIST}: written");
        return Ok(());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {LIST}"))?;
    let listed = read_list(&text).with_context(|| format!("{LIST} is malformed"))?;
    let (new, gone) = compare(&found, &listed);
    if !gone.is_empty() {
        println!(
            "gone, take off the list (`cargo xtask size --update-panics`): {}",
            gone.join("; ")
        );
    }
    if !new.is_empty() {
        bail!("panicking call sites not in {LIST}: {}", new.join("; "));
    }
    Ok(())
}

/// Functions and the jumps between them.
struct Code {
    functions: BTreeMap<u64, String>,
    /// (address of the instruction, start of its function, start of the other one)
    jumps: Vec<(u64, u64, u64)>,
}

impl Code {
    fn read(listing: &str) -> Self {
        let mut functions = BTreeMap::new();
        let mut branches = Vec::new();
        let mut current = 0;
        for line in listing.lines() {
            if let Some((address, name)) = header(line) {
                functions.insert(address, name.to_owned());
                current = address;
            } else if let Some((address, target)) = branch(line) {
                branches.push((address, current, target));
            }
        }
        let jumps = branches
            .into_iter()
            .filter(|(_, from, to)| from != to && functions.contains_key(to))
            .collect();
        Self { functions, jumps }
    }

    fn forbidden(&self) -> Vec<&str> {
        self.functions
            .values()
            .map(String::as_str)
            .filter(|name| FORBIDDEN.iter().any(|part| name.contains(part)))
            .collect()
    }

    /// The addresses of all calls from what may return to what only panics.
    fn panicking_calls(&self) -> Vec<u64> {
        let only_panics: BTreeSet<u64> = self
            .functions
            .iter()
            .filter(|(_, name)| only_panics(name))
            .map(|(address, _)| *address)
            .collect();
        self.jumps
            .iter()
            .filter(|(_, from, to)| only_panics.contains(to) && !only_panics.contains(from))
            .map(|(address, _, _)| *address)
            .collect()
    }
}

fn only_panics(name: &str) -> bool {
    if name.contains("rust_begin_unwind") || name.starts_with("core::panicking::") {
        return true;
    }
    let is_library = ["core::", "alloc::"]
        .iter()
        .any(|head| name.starts_with(head));
    let last = name.rsplit("::").next().unwrap_or(name);
    let is_failure = FAILURES.iter().any(|failure| last.contains(failure));
    // What `const_panic!` makes: `panic_already_borrowed::do_panic::runtime`.
    is_library && (is_failure || name.contains("::do_panic::"))
}

/// `00001480 <name>:`
fn header(line: &str) -> Option<(u64, &str)> {
    let (address, rest) = line.split_once(" <")?;
    let name = rest.strip_suffix(">:")?;
    Some((u64::from_str_radix(address, 16).ok()?, name))
}

/// `1c46:`, `bl`, `6a18 <name>` between tabs, for every kind of jump.
fn branch(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split('\t');
    let address = fields.next()?.trim().strip_suffix(':')?;
    let address = u64::from_str_radix(address, 16).ok()?;
    let mnemonic = fields.next()?.trim();
    if !(mnemonic.starts_with('b') || mnemonic.starts_with("cb")) {
        return None;
    }
    // `cbz r0, 1234 <name>` has a register first.
    let operands = fields.next()?;
    let target = operands.split(" <").next()?.rsplit([' ', ',']).next()?;
    Some((address, u64::from_str_radix(target, 16).ok()?))
}

/// Asks the debug information for the functions at each address, innermost first.
fn attribute(image: &Path, addresses: &[u64]) -> Result<Vec<Site>> {
    let mut sites = Vec::new();
    let root = workspace::root();
    let root = root.to_string_lossy();
    for batch in addresses.chunks(500) {
        let listed = process::capture(
            Command::new("arm-none-eabi-addr2line")
                .args([
                    "--functions",
                    "--inlines",
                    "--demangle",
                    "--addresses",
                    "--exe",
                ])
                .arg(image)
                .args(batch.iter().map(|address| format!("{address:#x}"))),
        )?;
        sites.extend(read_places(&listed, &root));
    }
    if sites.len() != addresses.len() {
        bail!(
            "arm-none-eabi-addr2line placed {} of {} addresses",
            sites.len(),
            addresses.len()
        );
    }
    sites.sort();
    Ok(sites)
}

/// Reads `0x…`, then pairs of lines: function, file and line.
fn read_places(listed: &str, root: &str) -> Vec<Site> {
    let mut sites = Vec::new();
    let mut lines = listed.lines().peekable();
    while let Some(address) = lines.next() {
        let mut frames = Vec::new();
        while let Some(function) = lines.next_if(|line| !line.starts_with("0x")) {
            frames.push((function, lines.next().unwrap_or_default()));
        }
        let ours = frames.iter().find_map(|(function, at)| {
            let at = at.strip_prefix(root)?.trim_start_matches('/');
            Some((*function, at))
        });
        let (function, at) = ours
            .or_else(|| frames.last().copied())
            .unwrap_or((address, "?:0"));
        // The line may be followed by ` (discriminator 2)`.
        let at = at.split(" (").next().unwrap_or(at);
        let at = relative(at);
        let file = at.rsplit_once(':').map_or(at, |(file, _)| file);
        let function = plain(function);
        sites.push(Site {
            place: format!("{file} {function}"),
            at: format!("{at} {function}"),
        });
    }
    sites
}

/// A file of the library or of a package, without the folder that holds all of them.
fn relative(at: &str) -> &str {
    if let Some(start) = at.rfind("/library/") {
        return at.get(start + 1..).unwrap_or(at);
    }
    at.split_once("/registry/src/")
        .and_then(|(_, path)| Some(path.split_once('/')?.1))
        .unwrap_or(at)
}

/// A function's last name: debug information has it with its path or without.
fn plain(function: &str) -> &str {
    let without_arguments = function.split_once('<').map_or(function, |(name, _)| name);
    let name = if without_arguments.is_empty() || without_arguments.ends_with("::") {
        function
    } else {
        without_arguments
    };
    name.rsplit("::").next().unwrap_or(name)
}

fn count(sites: &[Site]) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for site in sites {
        *found.entry(site.place.clone()).or_default() += 1;
    }
    found
}

fn write_list(found: &BTreeMap<String, u32>) -> String {
    let lines = found
        .iter()
        .map(|(place, count)| format!("{count} {place}\n"));
    LIST_HEAD.to_owned() + &lines.collect::<String>()
}

fn read_list(text: &str) -> Result<BTreeMap<String, u32>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (count, place) = line.split_once(' ').context("a line without a count")?;
            Ok((place.to_owned(), count.parse()?))
        })
        .collect()
}

/// What was found beyond the list, and what the list has beyond that.
fn compare(
    found: &BTreeMap<String, u32>,
    listed: &BTreeMap<String, u32>,
) -> (Vec<String>, Vec<String>) {
    let beyond = |one: &BTreeMap<String, u32>, other: &BTreeMap<String, u32>| {
        one.iter()
            .filter_map(|(place, count)| {
                let more = count.saturating_sub(other.get(place).copied().unwrap_or(0));
                (more > 0).then(|| format!("{more} {place}"))
            })
            .collect()
    };
    (beyond(found, listed), beyond(listed, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "
00000100 <__rustc::rust_begin_unwind>:
     100:\tb.n\t100 <__rustc::rust_begin_unwind>

00000200 <core::panicking::panic_fmt>:
     202:\tbl\t100 <__rustc::rust_begin_unwind>

00000300 <core::slice::index::slice_index_fail>:
     302:\tbl\t200 <core::panicking::panic_fmt>

00000400 <engine::store>:
     402:\tcbz\tr0, 40a <engine::store+0xa>
     404:\tbl\t500 <core::slice::<impl [T]>::copy_within>
     406:\tbl\t300 <core::slice::index::slice_index_fail>

00000500 <core::slice::<impl [T]>::copy_within>:
     502:\tbeq.w\t300 <core::slice::index::slice_index_fail>
";

    #[test]
    fn calls_into_what_only_panics_are_sites() {
        let code = Code::read(LISTING);
        assert_eq!(code.functions.len(), 5);
        assert_eq!(code.panicking_calls(), [0x406, 0x502]);
        assert!(code.forbidden().is_empty());
    }

    #[test]
    fn outlined_failures_of_the_library_only_panic() {
        for name in [
            "__rustc::rust_begin_unwind",
            "core::panicking::panic_bounds_check",
            "core::cell::panic_already_borrowed::do_panic::runtime",
            "core::slice::copy_from_slice_impl::len_mismatch_fail",
            "core::option::expect_failed",
        ] {
            assert!(only_panics(name), "{name}");
        }
        assert!(!only_panics("core::slice::<impl [T]>::copy_within"));
        assert!(!only_panics("lightning_core::db::fail"));
    }

    #[test]
    fn aborting_allocation_is_forbidden() {
        for name in [
            "alloc::alloc::handle_alloc_error",
            "alloc::raw_vec::RawVecInner<A>::finish_grow",
            "__rustc::__rdl_oom",
        ] {
            let code = Code::read(&format!("00000100 <{name}>:\n"));
            assert_eq!(code.forbidden(), [name]);
        }
    }

    #[test]
    fn a_site_is_the_innermost_function_of_ours() {
        let listed = "0x0000c87a\n\
                      lightning_core::pager::space::Space::load\n\
                      /rustc/5980/library/core/src/slice/mod.rs:5572\n\
                      copy_from_slice<u8>\n\
                      /rustc/5980/library/core/src/slice/mod.rs:4325\n\
                      load\n\
                      /here/core/src/pager/space.rs:229 (discriminator 2)\n\
                      0x00007d7c\n\
                      core::slice::<impl [T]>::copy_within\n\
                      /rustc/5980/library/core/src/slice/index.rs:?\n\
                      0x00006ac0\n\
                      embedded_alloc::llff::Heap::used\n\
                      /where/.cargo/registry/src/index.crates.io-1/embedded-alloc-0.6.0/src/llff.rs:59\n";
        let sites = read_places(listed, "/here");
        let places: Vec<&str> = sites.iter().map(|site| site.place.as_str()).collect();
        assert_eq!(
            places,
            [
                "core/src/pager/space.rs load",
                "library/core/src/slice/index.rs copy_within",
                "embedded-alloc-0.6.0/src/llff.rs used"
            ]
        );
        assert_eq!(sites[0].at, "core/src/pager/space.rs:229 load");
    }

    #[test]
    fn the_list_may_only_get_shorter() {
        let listed = read_list(&format!("{LIST_HEAD}2 a.rs one\n1 b.rs two\n")).unwrap();
        assert_eq!(read_list(&write_list(&listed)).unwrap(), listed);
        let found = read_list("3 a.rs one\n").unwrap();
        let (new, gone) = compare(&found, &listed);
        assert_eq!(new, ["1 a.rs one"]);
        assert_eq!(gone, ["1 b.rs two"]);
        assert!(read_list("one\n").is_err());
    }
}
