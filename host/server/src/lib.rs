//! The service of Lightning DB. Holds nothing yet.
