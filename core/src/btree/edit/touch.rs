//! Touching: pages that are written again with what they hold, so that they get a new
//! place.

use super::super::change::PageSink;
use super::Editor;
use crate::error::{Error, KeySample, Result};
use crate::pager::Pager;

impl Editor {
    /// Has the leaf whose range holds `key`, and all branches above it, written again.
    /// Keys ascend as in [`apply`](Self::apply), which may change the same key after this.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn touch(&mut self, pager: &Pager, sink: &mut dyn PageSink, key: &[u8]) -> Result<()> {
        if self.has_change && self.last_change.get() > key {
            return Err(Error::NotAscending {
                key: KeySample::of(key),
            });
        }
        self.last_change.set(key);
        self.has_change = true;
        self.last_is_put = false;
        if self.old_root.is_some() && !self.old_is_exhausted() {
            self.seek(pager, sink, key)?;
        }
        Ok(())
    }
}
