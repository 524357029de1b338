//! Storage simulator.
