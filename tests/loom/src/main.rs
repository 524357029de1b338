//! The core's protocols without locks, in every schedule that loom finds.
//!
//! The modules below are the core's own files: `sync` takes its atomics from
//! loom here (build.rs sets the switch), so that loom decides which thread goes
//! on at each step, and which of the values that the memory model allows a load
//! sees. What the protocols protect is watched by cells of loom, which report
//! every access that isn't ordered against a change.
//!
//! What those files stand on and the models don't need, storage above all, has small
//! stand-ins (`pager/stand_in`, `db/stand_in`).
//!
//! loom takes sequentially consistent loads and stores for acquire and release
//! ones; its fences are sequentially consistent. A protocol that holds here needs
//! no more than its fences.

extern crate alloc;

#[rustfmt::skip]
#[path = "../../../core/src/error.rs"]
#[expect(dead_code, reason = "the models need a part of the module")]
mod error;
#[rustfmt::skip]
#[path = "../../../core/src/limits.rs"]
#[expect(dead_code, reason = "the models need a part of the module")]
mod limits;
#[rustfmt::skip]
#[path = "../../../core/src/mem.rs"]
#[expect(dead_code, reason = "the models need a part of the module")]
mod mem;
#[rustfmt::skip]
#[path = "../../../core/src/sync.rs"]
#[expect(dead_code, unused_imports, reason = "the models need a part of the module")]
mod sync;

#[rustfmt::skip]
#[path = "../../../core/src/memtable/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the models need a part of the module")]
mod memtable;

#[rustfmt::skip]
#[path = "../../../core/src/format/bytes.rs"]
#[expect(dead_code, reason = "the models need a part of the module")]
mod bytes;

#[rustfmt::skip]
#[path = "../../../core/src/format/page_ref.rs"]
#[expect(dead_code, reason = "the models need a part of the module")]
mod page_ref;
#[rustfmt::skip]
#[path = "../../../core/src/format/run.rs"]
#[expect(dead_code, reason = "the models need a part of the module")]
mod run;

/// The part of the format that memtable and versions are made with.
mod format {
    pub(crate) use crate::bytes;
    pub(crate) use crate::page_ref;
    pub(crate) use crate::run;
}

/// The parts of the pager that have protocols of their own.
#[expect(dead_code, reason = "the models need a part of the modules")]
mod pager {
    #[rustfmt::skip]
    #[path = "../../../../core/src/pager/epoch.rs"]
    pub mod epoch;
    #[rustfmt::skip]
    #[path = "../../../../core/src/pager/frames.rs"]
    pub mod frames;
    pub mod models;
    mod stand_in;

    pub use epoch::{Epochs, Retired};
    pub use stand_in::{Disk, Pager};
}

/// Versions, and what a transaction has written.
#[expect(dead_code, reason = "the models need a part of the modules")]
mod txn {
    pub mod models;
    #[rustfmt::skip]
    #[path = "../../../../core/src/txn/version.rs"]
    mod version;
    #[rustfmt::skip]
    #[path = "../../../../core/src/txn/writes.rs"]
    mod writes;

    pub use crate::db::MemtableSlot;
    pub use version::{Snapshot, SourceId, Sources, VersionState, Versions};
    pub use writes::WriteSet;
}

/// Commits, and how they become durable.
#[expect(dead_code, reason = "the models need a part of the modules")]
mod db {
    #[rustfmt::skip]
    #[path = "../../../../core/src/db/flush.rs"]
    mod flush;
    pub mod models;
    #[rustfmt::skip]
    #[path = "../../../../core/src/db/slots.rs"]
    mod slots;
    mod stand_in;
    #[rustfmt::skip]
    #[path = "../../../../core/src/db/write.rs"]
    mod write;

    pub use slots::Transaction;
    pub use stand_in::*;
    pub use write::Ticket;
}
use db::wal;

mod bench;
mod lists;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use db::models as commits;
use pager::models;
use txn::models as versions;

/// A model: its name, the rule, how many preemptions are enough for most of its
/// schedules, and what runs in each of them.
struct Model {
    name: &'static str,
    about: &'static str,
    preemptions: usize,
    run: fn(),
}

const MODELS: &[Model] = &[
    Model {
        name: "mutex",
        about: "a lock admits one and orders what they do",
        preemptions: 6,
        run: models::mutex,
    },
    Model {
        name: "exclusive",
        about: "a place has one owner, who sees what the one before left",
        preemptions: 6,
        run: models::exclusive,
    },
    Model {
        name: "epochs",
        about: "what was removed is used again when nobody can see it",
        preemptions: 5,
        run: models::epochs,
    },
    Model {
        name: "epochs-two-readers",
        about: "the same with two readers",
        preemptions: 4,
        run: models::epochs_of_two_readers,
    },
    Model {
        name: "epochs-one-slot",
        about: "the same with two readers and one slot",
        preemptions: 4,
        run: models::epochs_of_one_slot,
    },
    Model {
        name: "frames-one",
        about: "a reader beside an eviction and a refill of the only frame",
        preemptions: 5,
        run: models::one_frame,
    },
    Model {
        name: "frames-forgotten",
        about: "a reader beside a page that is forgotten and its frame's refill",
        preemptions: 4,
        run: models::forgotten,
    },
    Model {
        name: "frames-two-readers",
        about: "two readers pin what a loader wants to evict",
        preemptions: 3,
        run: models::two_readers,
    },
    Model {
        name: "frames-same-page",
        about: "two loaders of one page end with one frame",
        preemptions: 5,
        run: models::same_page,
    },
    Model {
        name: "frames-two-loaders",
        about: "two loaders want the frame that a reader looks at",
        preemptions: 3,
        run: models::two_loaders,
    },
    Model {
        name: "frames-comes-back",
        about: "a frame whose page goes and comes back",
        preemptions: 5,
        run: models::comes_back,
    },
    Model {
        name: "frames-hints",
        about: "a hint never leads to another page",
        preemptions: 5,
        run: models::hints,
    },
    Model {
        name: "frames-crowd",
        about: "more pages than frames, two threads",
        preemptions: 3,
        run: models::crowd,
    },
    Model {
        name: "memtable-gets",
        about: "a get beside inserts finds what may be seen",
        preemptions: 6,
        run: lists::gets,
    },
    Model {
        name: "memtable-scans",
        about: "a scan beside inserts meets all that may be seen, in order",
        preemptions: 6,
        run: lists::scans,
    },
    Model {
        name: "memtable-walks",
        about: "a walk over commits beside the writer meets whole ones",
        preemptions: 6,
        run: lists::walks,
    },
    Model {
        name: "versions-pages",
        about: "pages of a version are used again when no snapshot reads it",
        preemptions: 6,
        run: versions::pages,
    },
    Model {
        name: "versions-watermark",
        about: "a snapshot's version lists all memtables up to its commit",
        preemptions: 6,
        run: versions::watermark,
    },
    Model {
        name: "versions-exchange",
        about: "a memtable is emptied when nobody reads it for the run made of it",
        preemptions: 5,
        run: versions::exchange,
    },
    Model {
        name: "versions-freeze",
        about: "a new memtable beside an exchange: every version lists what it must",
        preemptions: 2,
        run: versions::freeze,
    },
    Model {
        name: "versions-needed",
        about: "a run keeps the older versions that snapshots need",
        preemptions: 6,
        run: versions::needed,
    },
    Model {
        name: "versions-rebase",
        about: "a transaction that commits lets go of what it read, and keeps its place",
        preemptions: 5,
        run: versions::rebase,
    },
    Model {
        name: "versions-places",
        about: "two readers and one place",
        preemptions: 4,
        run: versions::places,
    },
    Model {
        name: "commits-snapshots",
        about: "a snapshot beside commits, a new memtable and flushes sees whole commits",
        preemptions: 6,
        run: commits::snapshots,
    },
    Model {
        name: "commits-group",
        about: "of two who wait for their commits one flushes, and both end",
        preemptions: 5,
        run: commits::group,
    },
    Model {
        name: "commits-beside-a-sync",
        about: "what is written beside a sync is not taken for durable",
        preemptions: 5,
        run: commits::beside_a_sync,
    },
];

/// How long one model explores at most.
const SECONDS_MAX: u64 = 20;

fn main() -> ExitCode {
    let mut only = Vec::new();
    let mut preemptions = None;
    let mut seconds = SECONDS_MAX;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--preemptions" {
            preemptions = arguments.next().and_then(|number| number.parse().ok());
        } else if argument == "--seconds" {
            seconds = arguments
                .next()
                .and_then(|number| number.parse().ok())
                .unwrap_or(SECONDS_MAX);
        } else {
            only.push(argument);
        }
    }
    let mut count = 0;
    for model in MODELS {
        if !only.is_empty() && !only.iter().any(|name| model.name.contains(name.as_str())) {
            continue;
        }
        let start = Instant::now();
        println!("{}: {}", model.name, model.about);
        let bound = preemptions.unwrap_or(model.preemptions);
        let schedules = bench::explore(bound, Duration::from_secs(seconds), model.run);
        let took = start.elapsed().as_secs_f64();
        let end = if took < seconds as f64 {
            "all of them"
        } else {
            "then the time was up"
        };
        println!("  {schedules} schedules of at most {bound} preemptions, {end}, {took:.1} s");
        count += 1;
    }
    if count == 0 {
        println!("no model of that name");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
