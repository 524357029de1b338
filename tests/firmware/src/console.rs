//! Lines of text to the debugger's console, without `core::fmt`: formatting would
//! bring more code and more panicking call sites than the engine has.

use cortex_m_semihosting::hio;

/// Decimal digits of the largest number.
const DIGITS_MAX: usize = 20;

/// One part of a line.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// Text as it is.
    Text(&'a str),
    /// A number in decimal.
    Number(u64),
}

/// Prints the parts, then ends the line. A console that is gone is no error here.
pub fn line(parts: &[Part<'_>]) {
    let Ok(mut out) = hio::hstdout() else {
        return;
    };
    let mut put = |bytes: &[u8]| {
        // Nobody is left to tell where the console fails.
        let _gone = out.write_all(bytes);
    };
    for part in parts {
        match part {
            Part::Text(text) => put(text.as_bytes()),
            Part::Number(number) => {
                let mut digits = [0; DIGITS_MAX];
                let mut rest = *number;
                let mut length = 0;
                for digit in digits.iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                    length += 1;
                    if rest == 0 {
                        break;
                    }
                }
                put(digits.get(DIGITS_MAX - length..).unwrap_or_default());
            }
        }
    }
    put(b"\n");
}
