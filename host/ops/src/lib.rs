//! Operations library of Lightning DB. Holds nothing yet.
