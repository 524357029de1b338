//! Windows shell of Lightning DB. Holds nothing yet: the port comes with the service packages.
