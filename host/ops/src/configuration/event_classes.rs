//! Classes of events on keys, each a letter: those that Redis has.

use std::fmt;

/// Some classes of events, and the channels that they are told on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventClasses(u16);

macro_rules! classes {
    ($($name:ident = $bit:literal, $letter:literal, $doc:literal;)*) => {
        impl EventClasses {
            $(#[doc = $doc] pub const $name: Self = Self(1 << $bit);)*
            /// In the order in which they are shown.
            const LETTERS: &'static [(Self, char)] = &[$((Self::$name, $letter)),*];
        }
    };
}

classes! {
    GENERIC = 0, 'g', "Whatever the type of the value.";
    STRING = 1, '$', "Strings.";
    LIST = 2, 'l', "Lists.";
    SET = 3, 's', "Sets.";
    HASH = 4, 'h', "Hashes.";
    SORTED_SET = 5, 'z', "Sorted sets.";
    EXPIRED = 6, 'x', "A key is removed since it has expired.";
    EVICTED = 7, 'e', "A key is removed for want of memory.";
    STREAM = 8, 't', "Streams.";
    MODULE = 9, 'd', "Types of modules.";
    NEW = 10, 'n', "A key is there that wasn't.";
    KEYSPACE = 11, 'K', "On the channel of the key.";
    KEYEVENT = 12, 'E', "On the channel of the event.";
    KEY_MISS = 13, 'm', "Somebody reads a key that isn't there.";
}

impl EventClasses {
    /// None.
    pub const NONE: Self = Self(0);
    /// Those that `A` stands for: all but new keys and missing ones.
    pub const ALL: Self = Self((1 << 10) - 1);

    /// The classes of these letters; `None` where one is no class.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let class_of = |letter: char| match letter {
            'A' => Some(Self::ALL),
            letter => {
                let found = Self::LETTERS.iter().find(|(_, known)| *known == letter);
                found.map(|(class, _)| *class)
            }
        };
        let classes: Option<Vec<Self>> = text.chars().map(class_of).collect();
        let all = classes?.into_iter();
        Some(all.fold(Self::NONE, |sum, class| Self(sum.0 | class.0)))
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The classes as a number, to be kept where several threads see it.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }

    /// The classes of such a number.
    #[must_use]
    pub fn of_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The same, or none where no channel is among them.
    #[must_use]
    pub fn told(self) -> Self {
        if self.has(Self::KEYSPACE) || self.has(Self::KEYEVENT) {
            self
        } else {
            Self::NONE
        }
    }
}

/// Their letters, in one order, whatever the order in which they were given.
impl fmt::Display for EventClasses {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_all = self.has(Self::ALL);
        if has_all {
            out.write_str("A")?;
        }
        for (class, letter) in Self::LETTERS {
            if self.has(*class) && !(has_all && Self::ALL.has(*class)) {
                write!(out, "{letter}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_shown_in_one_order() {
        for (text, shown) in [
            ("", ""),
            ("gKE", "gKE"),
            ("$lshzxeKE", "$lshzxeKE"),
            ("KA", "AK"),
            ("Eg$lshzxetd", "AE"),
            ("mEKnA", "AnKEm"),
        ] {
            let classes = EventClasses::parse(text).unwrap();
            assert_eq!(classes.to_string(), shown);
            assert_eq!(EventClasses::of_bits(classes.bits()), classes);
        }
        assert_eq!(EventClasses::parse("Kq"), None);
    }

    #[test]
    fn nothing_is_told_without_a_channel() {
        let told = |text| EventClasses::parse(text).unwrap().told();
        assert_eq!(told("A"), EventClasses::NONE);
        assert!(told("gE").has(EventClasses::GENERIC));
    }
}
