//! The operating system is chosen in one file of the host, and in the crates made for one.

use super::{Finding, SourceFile, tokens};

const CONDITIONS: [&str; 4] = ["target_os", "target_family", "unix", "windows"];

/// Checks all Rust files, test code too.
pub fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    let mut choosing: Option<&str> = None;
    for file in files
        .iter()
        .filter(|file| file.is_rust() && !file.path.starts_with("host-"))
    {
        let Ok(stream) = tokens::parse(&file.text) else {
            continue;
        };
        for line in tokens::condition_lines(stream, &CONDITIONS) {
            if !file.path.starts_with("host/src/") {
                let message = "conditional on the operating system outside host/src and host-*";
                findings.push(Finding::new(&file.path, line, message));
                continue;
            }
            let first = *choosing.get_or_insert(&file.path);
            if first != file.path {
                let message = format!(
                    "conditional on the operating system in a second file of host/src: \
                     {first} is the one that chooses"
                );
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_of_the_host_chooses() {
        let choice = "#[cfg(target_os = \"linux\")]\nmod a;\n#[cfg(windows)]\nmod b;";
        let files = [
            SourceFile::of("core/src/mem.rs", choice),
            SourceFile::of("host-linux/src/lib.rs", choice),
            SourceFile::of("host/src/os.rs", choice),
            SourceFile::of("host/src/second.rs", "#[cfg(unix)] mod c;"),
            SourceFile::of("host/src/third.rs", "// cfg(unix)\n#[cfg(test)] mod c;"),
        ];
        let mut findings = Vec::new();
        check(&files, &mut findings);
        let found: Vec<(&str, usize)> = findings
            .iter()
            .map(|finding| (finding.file.as_str(), finding.line))
            .collect();
        assert_eq!(
            found,
            [
                ("core/src/mem.rs", 1),
                ("core/src/mem.rs", 3),
                ("host/src/second.rs", 1)
            ]
        );
    }
}
