//! Lightning DB: an embedded, ordered, transactional key-value database.
