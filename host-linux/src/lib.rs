//! Linux shell of Lightning DB.
