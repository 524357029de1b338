//! A user: ways to log in, and what they may do.

use super::selector::{Denial, RuleError, Selector};
use crate::commands::Command;
use crate::protocol::Arguments;
use ring::digest;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Bytes of SHA-256.
const HASH_BYTES: usize = 32;
type Hash = [u8; HASH_BYTES];

/// A user. Rules are replaced as a whole.
#[derive(Debug)]
pub struct User {
    name: Arc<str>,
    /// May do everything, so that commands needn't be looked at.
    is_unrestricted: AtomicBool,
    rules: RwLock<Arc<Rules>>,
}

/// What a user may do, and how they log in.
#[derive(Debug, Clone)]
pub struct Rules {
    is_on: bool,
    needs_no_password: bool,
    passwords: Vec<Hash>,
    /// A flag of Redis about payloads of `RESTORE`, kept for those who read it.
    payload: Option<&'static str>,
    /// What is allowed; the first is the one that rules without parentheses are about.
    selectors: Vec<Selector>,
}

fn hash(password: &[u8]) -> Hash {
    let digest = digest::digest(&digest::SHA256, password);
    let mut hash = [0; HASH_BYTES];
    for (byte, of) in hash.iter_mut().zip(digest.as_ref()) {
        *byte = *of;
    }
    hash
}

/// Whether both are equal, in a time that doesn't tell where they differ.
fn is_equal(first: &Hash, second: &Hash) -> bool {
    let pairs = first.iter().zip(second);
    let difference = pairs.fold(0, |difference, (first, second)| {
        difference | (first ^ second)
    });
    std::hint::black_box(difference) == 0
}

fn shown(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(text: &[u8]) -> Result<Hash, RuleError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; HASH_BYTES];
    if text.len() != HASH_BYTES * 2 {
        return Err(RuleError::Hash);
    }
    for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
        let digits = (digit(pair[0]), digit(pair[1]));
        let (Some(high), Some(low)) = digits else {
            return Err(RuleError::Hash);
        };
        *byte = high << 4 | low;
    }
    Ok(hash)
}

impl User {
    pub(super) fn new(name: Arc<str>, rules: Rules) -> Self {
        Self {
            name,
            is_unrestricted: AtomicBool::new(rules.is_unrestricted()),
            rules: RwLock::new(Arc::new(rules)),
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rules as they are now.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_rules(&self, rules: Rules) {
        let is_unrestricted = rules.is_unrestricted();
        let mut place = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(rules);
        self.is_unrestricted
            .store(is_unrestricted, Ordering::Release);
    }

    /// Whether they may run a command.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn check(&self, command: &Command, arguments: Arguments<'_>) -> Result<(), Denial> {
        if self.is_unrestricted.load(Ordering::Acquire) {
            return Ok(());
        }
        self.rules().check(command, arguments)
    }

    /// The line that stands for them in a file.
    #[must_use]
    pub fn line(&self) -> String {
        format!("user {} {}", self.name, self.rules().describe())
    }
}

impl Rules {
    /// Those of a user that was just made: they may do nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            is_on: false,
            needs_no_password: false,
            passwords: Vec::new(),
            payload: None,
            selectors: vec![Selector::nothing()],
        }
    }

    /// Those of everybody, where nothing else is said.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            is_on: true,
            needs_no_password: true,
            selectors: vec![Selector::everything()],
            ..Self::nothing()
        }
    }

    pub(super) fn set_password(&mut self, password: &[u8]) {
        self.needs_no_password = false;
        self.passwords = vec![hash(password)];
    }

    /// Whether any password is right.
    #[must_use]
    pub fn needs_no_password(&self) -> bool {
        self.needs_no_password
    }

    /// Whether everybody is this user without a word.
    #[must_use]
    pub fn lets_everybody_in(&self) -> bool {
        self.is_on && self.needs_no_password
    }

    /// Whether the password opens.
    #[must_use]
    pub fn admits(&self, password: &[u8]) -> bool {
        let given = hash(password);
        let mut is_right = self.needs_no_password;
        for known in &self.passwords {
            is_right |= is_equal(known, &given);
        }
        is_right && self.is_on
    }

    fn is_unrestricted(&self) -> bool {
        self.selectors.iter().any(Selector::is_everything)
    }

    /// Whether a command may be run: one of the selectors has to allow all of it.
    ///
    /// # Errors
    /// What stands in the way, by the selector that came furthest.
    pub fn check(&self, command: &Command, arguments: Arguments<'_>) -> Result<(), Denial> {
        let mut worst = Denial::Command;
        for selector in &self.selectors {
            match selector.check(command, arguments) {
                Ok(()) => return Ok(()),
                Err(denial) => worst = worst.max(denial),
            }
        }
        Err(worst)
    }

    /// Whether a channel, or pattern of channels, may be listened to.
    #[must_use]
    pub fn may_listen(&self, channel: &[u8], is_pattern: bool) -> bool {
        let mut selectors = self.selectors.iter();
        selectors.any(|selector| selector.allows_channel(channel, is_pattern))
    }

    /// Applies rules, one after another.
    ///
    /// # Errors
    /// The first that makes no sense, and why.
    pub fn apply<'r>(
        &mut self,
        rules: impl Iterator<Item = &'r [u8]>,
    ) -> Result<(), (Vec<u8>, RuleError)> {
        let mut rules = rules;
        while let Some(rule) = rules.next() {
            let whole = rule.first() == Some(&b'(');
            let mut rule = rule.to_vec();
            while whole && rule.last() != Some(&b')') {
                let Some(more) = rules.next() else {
                    return Err((rule, RuleError::Parenthesis));
                };
                rule.push(b' ');
                rule.extend_from_slice(more);
            }
            self.apply_one(&rule).map_err(|error| (rule, error))?;
        }
        Ok(())
    }

    fn apply_one(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let is_word = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is_word("on") {
            self.is_on = true;
        } else if is_word("off") {
            self.is_on = false;
        } else if is_word("nopass") {
            self.needs_no_password = true;
            self.passwords.clear();
        } else if is_word("resetpass") {
            self.needs_no_password = false;
            self.passwords.clear();
        } else if is_word("sanitize-payload") {
            self.payload = Some("sanitize-payload");
        } else if is_word("skip-sanitize-payload") {
            self.payload = Some("skip-sanitize-payload");
        } else if is_word("clearselectors") {
            self.selectors.truncate(1);
        } else if is_word("reset") {
            *self = Self {
                payload: Some("sanitize-payload"),
                ..Self::nothing()
            };
        } else {
            return match rule {
                [b'>', password @ ..] => {
                    self.add(hash(password));
                    Ok(())
                }
                [b'#', text @ ..] => {
                    self.add(read(text)?);
                    Ok(())
                }
                [b'<', password @ ..] => self.forget(&hash(password)),
                [b'!', text @ ..] => self.forget(&read(text)?),
                [b'(', rules @ .., b')'] => {
                    let mut selector = Selector::nothing();
                    let words = rules.split(|byte| *byte == b' ');
                    for word in words.filter(|word| !word.is_empty()) {
                        selector.apply(word)?;
                    }
                    self.selectors.push(selector);
                    Ok(())
                }
                rule => match self.selectors.first_mut() {
                    Some(root) => root.apply(rule),
                    None => Ok(()),
                },
            };
        }
        Ok(())
    }

    fn add(&mut self, hash: Hash) {
        self.needs_no_password = false;
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
    }

    fn forget(&mut self, hash: &Hash) -> Result<(), RuleError> {
        let count = self.passwords.len();
        self.passwords.retain(|known| known != hash);
        if self.passwords.len() == count {
            return Err(RuleError::NoSuchPassword);
        }
        Ok(())
    }

    /// The words for being on, for passwords, and for payloads.
    #[must_use]
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.is_on { "on" } else { "off" }];
        if self.needs_no_password {
            flags.push("nopass");
        }
        flags.extend(self.payload);
        flags
    }

    /// The passwords' hashes, as they are written.
    #[must_use]
    pub fn hashes(&self) -> Vec<String> {
        self.passwords.iter().map(shown).collect()
    }

    /// The selectors, that of rules without parentheses first.
    #[must_use]
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The rules that make this user of one that was just made.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut words: Vec<String> = self.flags().into_iter().map(str::to_owned).collect();
        words.extend(self.hashes().into_iter().map(|hash| format!("#{hash}")));
        for (index, selector) in self.selectors.iter().enumerate() {
            let text = selector.describe();
            words.push(if index == 0 {
                text
            } else {
                format!("({text})")
            });
        }
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Rules, String> {
        let mut rules = Rules::nothing();
        match rules.apply(text.split(' ').map(str::as_bytes)) {
            Ok(()) => Ok(rules),
            Err((rule, error)) => Err(format!("{}: {error}", String::from_utf8_lossy(&rule))),
        }
    }

    #[test]
    fn only_the_whole_password_is_right_and_only_while_the_user_is_on() {
        let user = rules("on >secret >other").unwrap();
        for (given, is_right) in [
            ("secret", true),
            ("other", true),
            ("secre", false),
            ("secretsecret", false),
            ("", false),
            ("sEcret", false),
        ] {
            assert_eq!(user.admits(given.as_bytes()), is_right, "{given}");
        }
        assert!(!rules("off >secret").unwrap().admits(b"secret"));
        assert!(rules("on nopass").unwrap().admits(b"anything"));
        let user = rules("on nopass >secret <secret").unwrap();
        assert!(!user.admits(b"secret") && !user.admits(b""));
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert!(rules(&format!("on #{hash}")).unwrap().admits(b"secret"));
    }

    #[test]
    fn what_a_user_is_described_by_makes_the_same_user() {
        for text in [
            "off resetchannels -@all",
            "on nopass ~* &* +@all",
            "on nopass sanitize-payload ~a* %R~r %W~w resetchannels &c* -@all +get +@read -mget",
            "on ~* resetchannels +@all -config|set -@dangerous",
            "off resetchannels -@all +select|1 (~x resetchannels -@all +get) (~* &* +@all)",
        ] {
            let described = rules(text).unwrap().describe();
            assert_eq!(described, text);
            assert_eq!(rules(&described).unwrap().describe(), text);
        }
        let renewed = rules("on >x ~* +@all reset").unwrap();
        assert_eq!(
            renewed.describe(),
            "off sanitize-payload resetchannels -@all"
        );
    }

    #[test]
    fn what_makes_no_sense_is_told_as_redis_tells_it() {
        for (text, told) in [
            ("+foo", "+foo: Unknown command or category name in ACL"),
            ("+@foo", "+@foo: Unknown command or category name in ACL"),
            ("bogus", "bogus: Syntax error"),
            ("%Q~x", "%Q~x: Syntax error"),
            (
                "<x",
                "<x: The password you are trying to remove from the user does not exist",
            ),
            (
                "(+get ~x",
                "(+get ~x: Unmatched parenthesis in acl selector",
            ),
            (
                "+client|id|x",
                "+client|id|x: Allowing first-arg of a subcommand is not supported",
            ),
            (
                "-client|id|x",
                "-client|id|x: Unknown command or category name in ACL",
            ),
            (
                "+get|one|two",
                "+get|one|two: Unknown command or category name in ACL",
            ),
        ] {
            assert_eq!(rules(text).unwrap_err(), told);
        }
        assert!(rules("#AB").is_err());
        assert!(rules("~* ~a").unwrap_err().contains("Try 'resetkeys'"));
        assert!(rules("&* &a").unwrap_err().contains("Try 'resetchannels'"));
    }
}
