//! What is tried again and again is said once, until there is something else to say.

/// What was said last.
#[derive(Debug, Default)]
pub struct SayOnce {
    last: String,
}

impl SayOnce {
    /// Whether this is something else than what was said last; it is what was said last from now on.
    pub fn is_news(&mut self, text: &str) -> bool {
        let news = text != self.last;
        if news {
            text.clone_into(&mut self.last);
        }
        news
    }

    /// What was said last; empty when nothing was.
    pub fn last(&self) -> &str {
        &self.last
    }

    /// Whatever comes next is news.
    pub fn forget(&mut self) {
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_again_is_no_news_until_something_else_was_said() {
        let mut said = SayOnce::default();
        let news = ["a", "a", "b", "a", "a"].map(|text| said.is_news(text));
        assert_eq!(news, [true, false, true, true, false]);
        said.forget();
        assert!(said.is_news("a"));
        assert_eq!(said.last(), "a");
    }
}
