//! Settings of engine and machine: what each does is seen from outside.

use super::support::{Directory, Service};
use lightning_db::{Compression, Database};

#[test]
fn pages_are_compressed_as_it_is_said_when_the_database_is_made() {
    for (settings, expected) in [
        (
            &["performance.compression_enabled=false"][..],
            Compression::None,
        ),
        (&["performance.compression_enabled=true"], Compression::Lz4),
        (
            &[
                "performance.compression_enabled=true",
                "performance.compression_type=zstd",
            ],
            Compression::Zstd,
        ),
    ] {
        let directory = Directory::new();
        let service = Service::start(&directory, settings);
        assert_eq!(service.part("compression"), expected.to_string());
        assert!(!service.stop().contains("compression"));
        // What it was created with stays, and who wants another is told.
        let other = if expected == Compression::None {
            "performance.compression_enabled=true"
        } else {
            "performance.compression_enabled=false"
        };
        let service = Service::start(&directory, &[other]);
        assert_eq!(service.part("compression"), expected.to_string());
        let told = service.stop();
        assert!(
            told.contains("counts only when a database is created"),
            "{told}"
        );
        let database = Database::open_read_only(directory.path().join("data")).unwrap();
        assert_eq!(database.statistics().compression, expected);
    }
}
