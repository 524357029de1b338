//! Rust source as tokens: what is test code, and what refers to which module.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The tokens of a file, or the line where it is no Rust.
pub fn parse(text: &str) -> Result<TokenStream, usize> {
    text.parse()
        .map_err(|error: proc_macro2::LexError| error.span().start().line)
}

/// Code without test-only items, and the lines that those take.
pub struct WithoutTests {
    /// What is left.
    pub tokens: Vec<TokenTree>,
    /// The lines of each item under `#[cfg(test)]`, attribute included.
    pub removed: Vec<RangeInclusive<usize>>,
    /// The names of modules under `#[cfg(test)]` that are files of their own.
    pub files: Vec<String>,
}

/// Takes out every item, field or statement under `#[cfg(test)]`, also inside groups.
pub fn without_tests(stream: TokenStream) -> WithoutTests {
    let mut result = WithoutTests {
        tokens: Vec::new(),
        removed: Vec::new(),
        files: Vec::new(),
    };
    result.tokens = strip(stream, &mut result);
    result
}

fn strip(stream: TokenStream, result: &mut WithoutTests) -> Vec<TokenTree> {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if is_attribute(&tokens, at) && is_test_condition(&tokens[at + 1]) {
            let end = item_end(&tokens, at);
            let last = &tokens[end - 1];
            result
                .removed
                .push(tokens[at].span().start().line..=last.span().end().line);
            // `mod NAME ;` are the last three tokens of a module in its own file.
            let item = &tokens[at..end];
            if let [.., keyword, name, semicolon] = item
                && keyword.to_string() == "mod"
                && semicolon.to_string() == ";"
            {
                result.files.push(name.to_string());
            }
            at = end;
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                let inner = strip(group.stream(), result).into_iter().collect();
                let mut stripped = proc_macro2::Group::new(group.delimiter(), inner);
                stripped.set_span(group.span());
                kept.push(TokenTree::Group(stripped));
            }
            other => kept.push(other.clone()),
        }
        at += 1;
    }
    kept
}

fn is_punct(tokens: &[TokenTree], at: usize, wanted: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn ident(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_attribute(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens, at, '#')
        && matches!(tokens.get(at + 1),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket)
}

/// Whether an attribute's bracket is `cfg(test)` or `cfg(all(.., test, ..))`.
fn is_test_condition(bracket: &TokenTree) -> bool {
    let TokenTree::Group(bracket) = bracket else {
        return false;
    };
    let tokens: Vec<TokenTree> = bracket.stream().into_iter().collect();
    let Some(TokenTree::Group(condition)) = tokens.get(1) else {
        return false;
    };
    if ident(&tokens, 0).as_deref() != Some("cfg") {
        return false;
    }
    let condition: Vec<TokenTree> = condition.stream().into_iter().collect();
    match (ident(&condition, 0).as_deref(), condition.get(1)) {
        (Some("test"), None) => true,
        (Some("all"), Some(TokenTree::Group(all))) => {
            let all: Vec<TokenTree> = all.stream().into_iter().collect();
            (0..all.len()).any(|at| {
                ident(&all, at).as_deref() == Some("test")
                    && (at + 1 == all.len() || is_punct(&all, at + 1, ','))
                    && (at == 0 || is_punct(&all, at - 1, ','))
            })
        }
        _ => false,
    }
}

/// The index after the item whose first attribute stands at `start`.
fn item_end(tokens: &[TokenTree], start: usize) -> usize {
    let mut at = start;
    while is_attribute(tokens, at) {
        at += 2;
    }
    if ident(tokens, at).as_deref() == Some("pub") {
        at += 1;
        if let Some(TokenTree::Group(group)) = tokens.get(at)
            && group.delimiter() == Delimiter::Parenthesis
        {
            at += 1;
        }
    }
    let first = ident(tokens, at).unwrap_or_default();
    let second = ident(tokens, at + 1).unwrap_or_default();
    let (at_brace, at_comma) = match first.as_str() {
        "use" | "static" | "type" | "let" => (false, false),
        "const" => (
            matches!(second.as_str(), "fn" | "unsafe" | "async" | "extern"),
            false,
        ),
        "extern" => (second != "crate", false),
        "mod" | "fn" | "struct" | "enum" | "union" | "impl" | "trait" | "unsafe" | "async"
        | "macro_rules" => (true, false),
        _ => (true, true),
    };
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => break,
            TokenTree::Punct(punct) if at_comma && punct.as_char() == ',' => break,
            TokenTree::Group(group) if at_brace && group.delimiter() == Delimiter::Brace => break,
            _ => {}
        }
    }
    at
}

/// A name directly below the root of the crate that some code refers to.
#[derive(Debug, PartialEq, Eq)]
pub struct RootReference {
    /// The name after `crate::`; `*` for a glob.
    pub name: String,
    /// Where it stands.
    pub line: usize,
}

/// Every reference through the root of the crate: `crate::x`, each branch of
/// `crate::{x, y}`, and a chain of `super` that ends at the root. `depth` is the
/// number of modules that the file is inside (0 for `lib.rs`). Macros of the
/// crate (`crate::x!`) belong to no module and aren't listed.
pub fn root_references(tokens: &[TokenTree], depth: usize) -> Vec<RootReference> {
    let mut found = Vec::new();
    walk(tokens, depth, &mut found);
    found
}

fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':')
}

fn walk(tokens: &[TokenTree], depth: usize, found: &mut Vec<RootReference>) {
    let mut at = 0;
    while at < tokens.len() {
        match ident(tokens, at).as_deref() {
            Some("mod") => {
                if let Some(TokenTree::Group(group)) = tokens.get(at + 2) {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    walk(&inner, depth + 1, found);
                    at += 3;
                    continue;
                }
            }
            Some("crate") if is_path_separator(tokens, at + 1) => {
                names_after(tokens, at + 3, found);
            }
            Some("super") => {
                let mut levels = 1;
                let mut next = at + 1;
                while is_path_separator(tokens, next)
                    && ident(tokens, next + 2).as_deref() == Some("super")
                {
                    levels += 1;
                    next += 3;
                }
                if levels >= depth && is_path_separator(tokens, next) {
                    names_after(tokens, next + 2, found);
                }
                at = next;
                continue;
            }
            _ => {}
        }
        if let Some(TokenTree::Group(group)) = tokens.get(at) {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            walk(&inner, depth, found);
        }
        at += 1;
    }
}

/// The names that stand right after `crate::`, one or several in braces.
fn names_after(tokens: &[TokenTree], at: usize, found: &mut Vec<RootReference>) {
    match tokens.get(at) {
        Some(TokenTree::Ident(_)) if is_punct(tokens, at + 1, '!') => {}
        Some(TokenTree::Group(group)) => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            let mut starts = true;
            for (index, token) in inner.iter().enumerate() {
                if starts {
                    names_after(&inner, index, found);
                }
                starts = matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
            }
        }
        Some(token) => {
            found.push(RootReference {
                name: token.to_string(),
                line: token.span().start().line,
            });
        }
        None => {}
    }
}

/// The lines of conditional compilation (`cfg`, `cfg_attr`, `cfg!`) that name
/// one of `conditions`.
pub fn condition_lines(stream: TokenStream, conditions: &[&str]) -> Vec<usize> {
    let mut lines = Vec::new();
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        let before = at.checked_sub(1).map(|before| {
            if is_punct(&tokens, before, '!') {
                before.saturating_sub(1)
            } else {
                before
            }
        });
        let name = before.and_then(|before| ident(&tokens, before));
        if matches!(name.as_deref(), Some("cfg" | "cfg_attr")) {
            if names_any(group.stream(), conditions) {
                lines.push(group.span_open().start().line);
            }
        } else {
            lines.extend(condition_lines(group.stream(), conditions));
        }
    }
    lines
}

fn names_any(stream: TokenStream, names: &[&str]) -> bool {
    stream.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => names.iter().any(|name| ident == name),
        TokenTree::Group(group) => names_any(group.stream(), names),
        _ => false,
    })
}

/// The code in one spelling: no comments, no white space, no comma before a closing bracket.
pub fn canonical(tokens: &[TokenTree], out: &mut String) {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let bracket = at + 1 + usize::from(is_punct(tokens, at + 1, '!'));
        if is_punct(tokens, at, '#')
            && let Some(TokenTree::Group(group)) = tokens.get(bracket)
            && group
                .stream()
                .into_iter()
                .next()
                .is_some_and(|first| first.to_string() == "doc")
        {
            at = bracket + 1;
            continue;
        }
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                out.push_str(open);
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                canonical(&inner, out);
                out.push_str(close);
            }
            TokenTree::Punct(punct) => {
                if punct.as_char() != ',' || at + 1 < tokens.len() {
                    out.push(punct.as_char());
                    if punct.spacing() == proc_macro2::Spacing::Alone {
                        out.push(' ');
                    }
                }
            }
            TokenTree::Ident(_) | TokenTree::Literal(_) => {
                out.push_str(&token.to_string());
                out.push(' ');
            }
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(text: &str) -> WithoutTests {
        without_tests(parse(text).expect("valid tokens"))
    }

    fn names(text: &str, depth: usize) -> Vec<String> {
        root_references(&stripped(text).tokens, depth)
            .into_iter()
            .map(|reference| reference.name)
            .collect()
    }

    fn spelled(text: &str) -> String {
        let mut out = String::new();
        canonical(&stripped(text).tokens, &mut out);
        out
    }

    #[test]
    fn test_items_are_taken_out_with_their_lines() {
        let text = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n";
        let result = stripped(text);
        assert_eq!(result.removed, [2..=6]);
        assert_eq!(spelled(text), spelled("fn a() {} fn c() {}"));
        assert_eq!(
            spelled("#[cfg(test)] mod tests; fn c() {}"),
            spelled("fn c() {}")
        );
        assert_eq!(
            spelled("#[cfg(test)] use a::{b, c}; fn d() {}"),
            spelled("fn d() {}")
        );
        assert_eq!(spelled("#[cfg(all(test, loom))] fn a() {} x"), spelled("x"));
        assert_eq!(
            spelled("struct S { #[cfg(test)] a: u8, b: u8 }"),
            spelled("struct S { b: u8 }")
        );
    }

    #[test]
    fn code_that_is_not_only_for_tests_stays() {
        for text in [
            "#[cfg(not(test))] fn a() {}",
            "#[cfg(any(test, loom))] fn a() {}",
        ] {
            assert!(stripped(text).removed.is_empty(), "{text}");
        }
    }

    #[test]
    fn references_through_the_root_are_found_in_every_form() {
        assert_eq!(names("use crate::wal::Frame;", 1), ["wal"]);
        assert_eq!(
            names("use crate::{wal::{Frame, Tail}, pager};", 1),
            ["wal", "pager"]
        );
        assert_eq!(names("fn f() { crate::db::open(); }", 1), ["db"]);
        assert_eq!(
            names("macro_rules! m { () => { $crate::txn::f() } }", 1),
            ["txn"]
        );
        assert_eq!(names("use super::btree;", 1), ["btree"]);
        assert_eq!(names("use super::super::btree;", 2), ["btree"]);
        assert_eq!(
            names("use super::tail; pub(crate) fn f() { crate::bail!() }", 2),
            [""; 0]
        );
        assert_eq!(
            names("mod inner { use super::super::{run, merge}; }", 1),
            ["run", "merge"]
        );
        assert_eq!(
            names("// crate::db::x\nconst A: &str = \"crate::db::x\";", 1),
            [""; 0]
        );
        assert_eq!(names("use crate::*;", 1), ["*"]);
    }

    #[test]
    fn conditions_on_the_system_are_found() {
        let lines = |text: &str| {
            condition_lines(parse(text).expect("valid tokens"), &["target_os", "unix"])
        };
        assert_eq!(lines("#[cfg(target_os = \"linux\")]\nmod a;"), [1]);
        assert_eq!(lines("fn f() {\n if cfg!(unix) {}\n}"), [2]);
        assert_eq!(lines("#![cfg_attr(not(unix), allow(x))]"), [1]);
        assert_eq!(
            lines("#[cfg(test)] mod a { use std::os::unix::fs; }"),
            [0; 0]
        );
    }

    #[test]
    fn the_spelling_ignores_layout_and_comments_only() {
        let one = "/// doc\nfn a(b: u8,) -> u8 { b + 1 } // c";
        assert_eq!(
            spelled(one),
            spelled("//! top\nfn a( b : u8 ) -> u8 {\n b+1 }")
        );
        assert_ne!(spelled(one), spelled("fn a(b: u8) -> u8 { b + 2 }"));
        assert_ne!(spelled("a && b"), spelled("a & &b"));
    }
}
