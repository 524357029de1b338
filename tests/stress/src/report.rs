//! What a part came to, as it is printed.

/// What a part came to.
pub struct Report {
    /// The part.
    pub name: &'static str,
    /// How many cases there were.
    pub cases: u64,
    /// Those that were bad, with all that repeats them.
    pub failures: Vec<String>,
    /// What else there is to say.
    pub words: String,
}

impl Report {
    /// Prints it; answers whether there were cases and none was bad.
    pub fn print(&self) -> bool {
        for failure in &self.failures {
            println!("{}: {failure}", self.name);
        }
        let (cases, bad) = (self.cases, self.failures.len());
        println!("{} cases {cases} bad {bad}: {}", self.name, self.words);
        cases > 0 && bad == 0
    }
}
