//! Numbers never change, retryable means so, and a message has what its reader needs.

use super::*;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

fn io(kind: IoErrorKind) -> Error {
    Error::io(IoError::new(kind, 5), IoAction::Read, File::Pages, 4_096)
}

/// Every reason with its number, and whether retrying may help.
fn every() -> [(Error, u16, bool); 32] {
    let key = KeySample::of(b"key");
    [
        (io(IoErrorKind::Device), 100, false),
        (io(IoErrorKind::StorageFull), 101, false),
        (io(IoErrorKind::PermissionDenied), 102, false),
        (io(IoErrorKind::NotFound), 103, false),
        (io(IoErrorKind::InUse), 104, false),
        (io(IoErrorKind::ReadOnly), 105, false),
        (
            Error::corrupt(CorruptionReason::Checksum, File::Log(3), 512),
            200,
            false,
        ),
        (Error::NotADatabase, 201, false),
        (Error::DatabaseExists, 202, false),
        (
            Error::Unsupported {
                version: 7,
                features: 0x40,
            },
            203,
            false,
        ),
        (Error::Options(OptionProblem::Runs), 300, false),
        (
            Error::MemoryPlan {
                needed_bytes: 4_321,
                limit_bytes: 1_234,
            },
            301,
            false,
        ),
        (Error::OutOfMemory { bytes: 4_321 }, 302, false),
        (
            Error::OverLimit {
                limit: Limit::Cursors,
                value: 9,
                maximum: 8,
            },
            303,
            false,
        ),
        (Error::Conflict { table: 16, key }, 400, true),
        (Error::TransactionTooOld, 401, true),
        (Error::SnapshotTooOld, 402, true),
        (Error::ValueDiffers, 403, false),
        (Error::NoSuchTable, 404, false),
        (Error::TableExists, 405, false),
        (Error::NotAscending { key }, 406, false),
        (Error::FrontFull, 500, true),
        (Error::LogFull, 501, true),
        (Error::WouldRead, 502, true),
        (Error::Busy, 503, true),
        (Error::StorageFull, 504, false),
        (Error::Poisoned, 600, false),
        (Error::OutcomeUnknown, 601, false),
        (Error::ReadOnly, 602, false),
        (Error::Internal(77), 900, false),
        // The same numbers again, whatever else the reason carries.
        (io(IoErrorKind::UnexpectedEnd), 100, false),
        (Error::Internal(78), 900, false),
    ]
}

fn assert_all_differ(messages: &[String]) {
    for (index, one) in messages.iter().enumerate() {
        assert!(!one.is_empty());
        let again = messages.iter().skip(index + 1).find(|other| *other == one);
        assert_eq!(again, None);
    }
}

#[test]
fn numbers_are_those_that_were_given_out() {
    for (error, code, is_retryable) in every() {
        assert_eq!(error.code(), code, "{error:?}");
        assert_eq!(error.is_retryable(), is_retryable, "{error:?}");
    }
}

#[test]
fn no_two_reasons_say_the_same() {
    let messages: Vec<String> = every()
        .iter()
        .map(|(error, ..)| error.to_string())
        .collect();
    assert_all_differ(&messages);
}

#[test]
fn a_message_has_place_key_and_limit() {
    let said = |error: Error, parts: &[&str]| {
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "`{message}` has no `{part}`");
        }
    };
    let actions = [
        (IoAction::Read, "reading"),
        (IoAction::Write, "writing"),
        (IoAction::Sync, "syncing"),
        (IoAction::Directory, "creating or listing"),
        (IoAction::Length, "resizing"),
    ];
    for (action, verb) in actions {
        let error = IoError::new(IoErrorKind::Device, 5);
        let error = Error::io(error, action, File::Log(12), 8_192);
        said(error, &[verb, "log slot 12", "8192"]);
    }
    said(
        Error::corrupt(CorruptionReason::KeyOrder, File::Pages, 65_536),
        &["page file", "65536", "keys out of order"],
    );
    said(
        Error::Unsupported {
            version: 9,
            features: 0x30,
        },
        &["format 9", "0x30"],
    );
    said(
        Error::MemoryPlan {
            needed_bytes: 4_321,
            limit_bytes: 1_234,
        },
        &["4321", "1234"],
    );
    said(Error::OutOfMemory { bytes: 4_321 }, &["4321"]);
    let key = KeySample::of(b"a\x00\"z");
    said(
        Error::Conflict { table: 17, key },
        &["17", "\"a\\x00\\\"z\""],
    );
    said(Error::NotAscending { key }, &["\"a\\x00\\\"z\""]);
    said(Error::Internal(341), &["341"]);
}

#[test]
fn every_reason_limit_and_option_has_words_of_its_own() {
    use CorruptionReason as Reason;
    let reasons = [
        Reason::Checksum,
        Reason::Structure,
        Reason::Identity,
        Reason::OutOfFile,
        Reason::NoSuperblock,
        Reason::StaleSuperblock,
        Reason::MissingSegment,
        Reason::SegmentHeader,
        Reason::Frame,
        Reason::Transform,
        Reason::KeyOrder,
        Reason::Count,
        Reason::Space,
    ]
    .map(|reason| reason.to_string());
    assert_all_differ(&reasons);
    let limits = [
        Limit::KeyBytes,
        Limit::ValueBytes,
        Limit::TransactionBytes,
        Limit::Snapshots,
        Limit::Cursors,
        Limit::Pins,
        Limit::TableNameBytes,
        Limit::Tables,
        Limit::PageFileBytes,
        Limit::LogSlots,
        Limit::RangeTombstones,
    ]
    .map(|limit| {
        let error = Error::OverLimit {
            limit,
            value: 12,
            maximum: 11,
        };
        let message = error.to_string();
        assert!(
            message.ends_with(": 12 is over the limit of 11"),
            "{message}"
        );
        message
    });
    assert_all_differ(&limits);
    let problems = [
        OptionProblem::PageBytes,
        OptionProblem::UnitBytes,
        OptionProblem::SegmentBytes,
        OptionProblem::LogBufferBytes,
        OptionProblem::ArenaBytes,
        OptionProblem::TransactionBytes,
        OptionProblem::ValueBytes,
        OptionProblem::CacheBytes,
        OptionProblem::Trees,
        OptionProblem::Memtables,
        OptionProblem::Snapshots,
        OptionProblem::Transactions,
        OptionProblem::Geometry,
        OptionProblem::Runs,
        OptionProblem::RangeBytes,
        OptionProblem::PageBytesDiffer,
        OptionProblem::Codec,
        OptionProblem::Cipher,
    ]
    .map(|problem| Error::Options(problem).to_string());
    assert_all_differ(&problems);
}

#[test]
fn a_sample_is_the_key_or_its_beginning() {
    let whole = [b'k'; 32];
    assert_eq!(KeySample::of(&whole).bytes(), whole);
    assert_eq!(KeySample::of(b"").bytes(), b"");
    assert_eq!(format!("{}", KeySample::of(&whole)).matches('…').count(), 0);
    let long = [b'k'; 33];
    assert_eq!(KeySample::of(&long).bytes(), whole);
    assert!(format!("{}", KeySample::of(&long)).ends_with("…\""));
}
