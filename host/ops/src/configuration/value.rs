//! The value of a setting: read from TOML or from text, checked, shown.

use super::event_classes::EventClasses;
use super::setting::{DefaultValue, Kind, Setting};
use std::fmt;
use std::net::IpAddr;

/// The most processors and NUMA nodes that a set may name.
const NUMBER_MAX: u32 = 4_095;

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A truth value.
    Boolean(bool),
    /// A number.
    Integer(i64),
    /// A text: a word, a path, addresses, a set of numbers.
    Text(String),
    /// None.
    Unset,
}

/// Why a value is not what a setting takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is something else: what, in words.
    Type(String),
    /// It is out of range: the value.
    Range(String),
}

impl Value {
    /// What counts where `setting` is written nowhere; derived ones are unset here.
    #[must_use]
    pub fn default_of(setting: &Setting) -> Self {
        match setting.default {
            DefaultValue::Boolean(value) => Self::Boolean(value),
            DefaultValue::Integer(value) => Self::Integer(value),
            DefaultValue::Text(value) => Self::Text(value.to_owned()),
            DefaultValue::Unset | DefaultValue::Derived(_) => Self::Unset,
        }
    }

    /// The value as it stands in a variable; `None` where it is unset.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Boolean(value) => Some(value.to_string()),
            Self::Integer(value) => Some(value.to_string()),
            Self::Text(value) => Some(value.clone()),
            Self::Unset => None,
        }
    }

    /// The value as it stands in a file.
    pub(super) fn to_toml(&self) -> toml_edit::Value {
        match self {
            Self::Boolean(value) => (*value).into(),
            Self::Integer(value) => (*value).into(),
            Self::Text(value) => value.as_str().into(),
            Self::Unset => "".into(),
        }
    }
}

/// As it stands in a file.
impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.to_toml())
    }
}

impl Kind {
    /// Reads what stands in a file.
    pub(super) fn read_toml(&self, found: &toml_edit::Item) -> Result<Value, Refusal> {
        let value = match found.as_value() {
            Some(toml_edit::Value::Boolean(value)) => Value::Boolean(*value.value()),
            Some(toml_edit::Value::Integer(value)) => Value::Integer(*value.value()),
            Some(toml_edit::Value::String(value)) => Value::Text(value.value().clone()),
            Some(toml_edit::Value::Array(list)) if *self == Self::Addresses => {
                let texts: Option<Vec<&str>> = list.iter().map(|one| one.as_str()).collect();
                match texts {
                    Some(texts) => Value::Text(texts.join(" ")),
                    None => return Err(Refusal::Type("a list of other things".to_owned())),
                }
            }
            _ => return Err(Refusal::Type(described(found))),
        };
        self.check(value)
    }

    /// Reads what stands in a variable or on a command line.
    ///
    /// # Errors
    /// The text is something else, or out of range.
    pub fn read_text(&self, text: &str) -> Result<Value, Refusal> {
        let trimmed = text.trim();
        let value = match self {
            Self::Boolean => match trimmed.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Value::Boolean(true),
                "false" | "no" | "off" | "0" => Value::Boolean(false),
                _ => return Err(Refusal::Type(quoted(text))),
            },
            Self::Integer { .. } | Self::PowerOfTwo { .. } => match trimmed.parse() {
                Ok(number) => Value::Integer(number),
                Err(_) if is_number(trimmed) => return Err(Refusal::Range(trimmed.to_owned())),
                Err(_) => return Err(Refusal::Type(quoted(text))),
            },
            Self::Path => Value::Text(text.to_owned()),
            _ => Value::Text(trimmed.to_owned()),
        };
        self.check(value)
    }

    /// The value if this kind of setting takes it, in its one spelling.
    fn check(&self, value: Value) -> Result<Value, Refusal> {
        let other = |value: &Value| Refusal::Type(value_described(value));
        match (self, value) {
            (Self::Boolean, Value::Boolean(value)) => Ok(Value::Boolean(value)),
            (Self::Integer { least, most, .. }, Value::Integer(number)) => {
                if (*least..=*most).contains(&number) {
                    Ok(Value::Integer(number))
                } else {
                    Err(Refusal::Range(number.to_string()))
                }
            }
            (Self::PowerOfTwo { least, most, .. }, Value::Integer(number)) => {
                if (*least..=*most).contains(&number) && number.count_ones() == 1 {
                    Ok(Value::Integer(number))
                } else {
                    Err(Refusal::Range(number.to_string()))
                }
            }
            (Self::Choice(words), Value::Text(text)) => {
                let lower = text.to_ascii_lowercase();
                if words.contains(&lower.as_str()) {
                    Ok(Value::Text(lower))
                } else {
                    Err(Refusal::Type(quoted(&text)))
                }
            }
            (Self::Path, Value::Text(text)) => {
                if text.is_empty() {
                    Ok(Value::Unset)
                } else if text.contains(['\0', char::REPLACEMENT_CHARACTER]) {
                    // The latter stands for what is not UTF-8 in a variable.
                    Err(Refusal::Type(
                        "a text with a zero byte or one that is not UTF-8".to_owned(),
                    ))
                } else {
                    Ok(Value::Text(text))
                }
            }
            (Self::Addresses, Value::Text(text)) => match addresses(&text) {
                Some(list) if !list.is_empty() => {
                    let list: Vec<String> = list.iter().map(IpAddr::to_string).collect();
                    Ok(Value::Text(list.join(" ")))
                }
                _ => Err(Refusal::Type(quoted(&text))),
            },
            (Self::NumberSet, Value::Text(text)) => {
                if text.is_empty() {
                    return Ok(Value::Unset);
                }
                match number_set(&text) {
                    Some(_) => Ok(Value::Text(text)),
                    None => Err(Refusal::Type(quoted(&text))),
                }
            }
            (Self::ChoiceOrNumberSet(words), Value::Text(text)) => {
                let lower = text.to_ascii_lowercase();
                if words.contains(&lower.as_str()) {
                    Ok(Value::Text(lower))
                } else if number_set(&text).is_some() {
                    Ok(Value::Text(text))
                } else {
                    Err(Refusal::Type(quoted(&text)))
                }
            }
            (Self::EventClasses, Value::Text(text)) => match EventClasses::parse(&text) {
                Some(EventClasses::NONE) => Ok(Value::Unset),
                Some(classes) => Ok(Value::Text(classes.to_string())),
                None => Err(Refusal::Type(quoted(&text))),
            },
            (_, value) => Err(other(&value)),
        }
    }

    /// What is taken, in words: `a whole number`, `a path`.
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Boolean => "true or false".to_owned(),
            Self::Integer { .. } => format!("a whole number {}", self.range()),
            Self::PowerOfTwo { .. } => self.range(),
            Self::Choice(words) => one_of(words),
            Self::Path => "the text of a path".to_owned(),
            Self::Addresses => {
                "an IP address such as \"127.0.0.1\", or several with spaces between".to_owned()
            }
            Self::NumberSet => "a text of numbers and ranges such as \"0-3,8\"".to_owned(),
            Self::ChoiceOrNumberSet(words) => {
                format!("{}, or numbers and ranges such as \"0-3,8\"", one_of(words))
            }
            Self::EventClasses => {
                "a text of letters among \"Ag$lshzxeKEtmdn\", such as \"KEA\"".to_owned()
            }
        }
    }

    /// The range, with its unit, in words.
    #[must_use]
    pub fn range(&self) -> String {
        let with_unit = |range: String, unit: &str| {
            if unit.is_empty() {
                range
            } else {
                format!("{range} {unit}")
            }
        };
        match self {
            Self::Integer { least, most, unit } => {
                with_unit(format!("from {least} to {most}"), unit)
            }
            Self::PowerOfTwo { least, most, unit } => {
                with_unit(format!("a power of two from {least} to {most}"), unit)
            }
            _ => self.expected(),
        }
    }
}

fn one_of(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.join(""),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// Whether the text is a whole number, of whatever length.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn value_described(value: &Value) -> String {
    match value {
        Value::Boolean(value) => value.to_string(),
        Value::Integer(value) => format!("the number {value}"),
        Value::Text(text) => format!("the text {}", quoted(text)),
        Value::Unset => "nothing".to_owned(),
    }
}

fn described(item: &toml_edit::Item) -> String {
    let what = match item.type_name() {
        "float" => "a number with a fraction",
        "datetime" => "a date",
        "array" | "array of tables" => "a list",
        "inline table" | "table" => "a table",
        other => other,
    };
    what.to_owned()
}

/// The addresses in `text`, or `None` where something else stands there.
pub(super) fn addresses(text: &str) -> Option<Vec<IpAddr>> {
    text.split([' ', ','])
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().ok())
        .collect()
}

/// The numbers in `text`, ascending and each once, or `None` where something else
/// stands there.
pub(super) fn number_set(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u32 = first.trim().parse().ok()?;
        let last: u32 = last.trim().parse().ok()?;
        if first > last || last > NUMBER_MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_numbers_are_read() {
        assert_eq!(number_set("0-2,8, 5"), Some(vec![0, 1, 2, 5, 8]));
        for wrong in ["", "a", "3-1", "1,,2", "0-100000", "-1"] {
            assert_eq!(number_set(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn texts_are_read_as_the_kind_demands() {
        let count = Kind::Integer {
            least: 1,
            most: 10,
            unit: "things",
        };
        assert_eq!(count.read_text(" 7 "), Ok(Value::Integer(7)));
        assert_eq!(count.read_text("11"), Err(Refusal::Range("11".to_owned())));
        let long = "9".repeat(30);
        assert_eq!(count.read_text(&long), Err(Refusal::Range(long.clone())));
        assert_eq!(
            count.read_text("seven"),
            Err(Refusal::Type("\"seven\"".to_owned()))
        );
        assert_eq!(Kind::Boolean.read_text("ON"), Ok(Value::Boolean(true)));
        assert!(Kind::Boolean.read_text("2").is_err());
        assert_eq!(Kind::Path.read_text(""), Ok(Value::Unset));
        assert_eq!(
            Kind::Addresses.read_text("127.0.0.1, ::1"),
            Ok(Value::Text("127.0.0.1 ::1".to_owned()))
        );
        assert!(Kind::Addresses.read_text("localhost").is_err());
        let size = Kind::PowerOfTwo {
            least: 512,
            most: 65_536,
            unit: "bytes",
        };
        assert_eq!(
            size.read_text("4097"),
            Err(Refusal::Range("4097".to_owned()))
        );
        assert_eq!(size.range(), "a power of two from 512 to 65536 bytes");
    }
}
