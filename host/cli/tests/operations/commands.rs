//! What the program has beside its duties: help, version, completions, man pages.

use super::support::{Directory, lightning_cli};

#[test]
fn help_and_version_exit_0() {
    let version = format!("lightning-cli {}\n", env!("CARGO_PKG_VERSION"));
    for line in [&["--version"][..], &["version"], &["-V"]] {
        lightning_cli(line).exits(0).prints(&version).tells("");
    }
    for line in [
        &["--version", "--json"][..],
        &["--json", "--version"],
        &["version", "--json"],
        &["--json", "version"],
    ] {
        let ran = lightning_cli(line);
        ran.exits(0).tells("");
        assert_eq!(
            ran.json(),
            serde_json::json!({
                "program": "lightning-cli", "version": env!("CARGO_PKG_VERSION"),
            })
        );
    }
    for line in [
        &["--help"][..],
        &["-h"],
        &["config", "--help"],
        &["config", "set", "--help"],
    ] {
        let ran = lightning_cli(line);
        ran.exits(0).tells("");
        assert!(ran.stdout.contains("lightning-cli"), "{}", ran.stdout);
        assert!(!ran.stdout.contains('\u{1b}'), "colours without a terminal");
    }
    let help = lightning_cli(&["config", "set", "--help"]);
    assert!(help.stdout.contains("Examples:"), "{}", help.stdout);
}

#[test]
fn wrong_lines_exit_64() {
    for line in [
        &[][..],
        &["bogus"],
        &["backup", "create"],
        &["backup"],
        &["config"],
        &["config", "bogus"],
        &["config", "set", "cache_size_mb"],
        &["config", "show", "--set", "novalue"],
        &["config", "check", "a", "--config", "b"],
    ] {
        lightning_cli(line).exits(64).prints("");
    }
}

#[test]
fn completions_and_man_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let ran = lightning_cli(&["completions", shell]);
        ran.exits(0);
        assert!(ran.stdout.contains("reload"), "{shell}");
    }
    let pages = Directory::new();
    lightning_cli(&["man", pages.path().to_str().unwrap()]).exits(0);
    for page in ["lightning-cli.1", "lightning-cli-config-set.1"] {
        let text = std::fs::read_to_string(pages.path().join(page)).unwrap();
        assert!(text.contains(".SH"), "{page}");
    }
    lightning_cli(&["man", &pages.text_of("absent")])
        .exits(2)
        .tells("absent: ");
}
