//! The command-line tools of Lightning DB.
