//! Durations as they are written on a command line.

use std::time::Duration;

/// Reads a duration: a number of seconds, or with `ms`, `s`, `m`, `h` or `d` behind it.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: f64 = digits
        .parse()
        .map_err(|_| "write a number of seconds, or one with ms, s, m, h or d".to_owned())?;
    let seconds = match &text[digits.len()..] {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        other => return Err(format!("{other:?} is no unit: there are ms, s, m, h, d")),
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| *duration >= Duration::from_millis(1))
        .ok_or_else(|| "it is at least a millisecond, and not endless".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_without_a_unit_are_seconds() {
        for (text, milliseconds) in [
            ("5", 5000),
            ("1.5", 1500),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)));
        }
        for text in ["", "x", "5y", "-1", "0", "1e30", "nan"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
