//! The table of what was measured.

use anyhow::Result;

/// What a figure is, and which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Operations a second; more is better.
    Rate,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// A plain number.
    Number,
}

/// One figure of both.
pub struct Row {
    pub name: String,
    pub unit: Unit,
    pub redis: Option<f64>,
    pub lightning: Option<f64>,
}

impl Unit {
    fn text(self, value: f64) -> String {
        match self {
            Self::Rate => format!("{value:.0} /s"),
            Self::Microseconds => format!("{value:.2} us"),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Bytes => format!("{:.1} MB", value / 1e6),
            Self::Number => format!("{value:.3}"),
        }
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        let redis = self.redis.filter(|redis| *redis > 0.0)?;
        Some(self.lightning? / redis)
    }
}

/// Prints the rows: the ratio is ours to Redis's, whichever way is better.
pub fn print(rows: &[Row]) -> Result<()> {
    println!("| what | redis-server | lightning | ratio |");
    println!("|---|---:|---:|---:|");
    for row in rows {
        let text = |value: Option<f64>| value.map_or_else(String::new, |one| row.unit.text(one));
        let ratio = row
            .ratio()
            .map_or_else(String::new, |one| format!("{one:.2}"));
        println!(
            "| {} | {} | {} | {ratio} |",
            row.name,
            text(row.redis),
            text(row.lightning)
        );
    }
    Ok(())
}

/// The one in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
