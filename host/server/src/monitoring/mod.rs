//! Figures for whoever watches the service: `/metrics`, `/health`, and what
//! `lightning-cli stats` asks for.
//!
//! | file | duty |
//! |---|---|
//! | `samples.rs` | counters of the last five minutes, and differences to them |
//! | `figures.rs` | everything that is known, taken at once |
//! | `exposition.rs` | the text form of Prometheus |
//! | `series.rs` | which series there are, and their names |
//! | `subjects.rs` | the figures of a subject, for people |
//! | `http.rs` | who asks by HTTP |

pub mod exposition;
pub mod figures;
pub mod http;
pub mod samples;
pub mod series;
pub mod subjects;
