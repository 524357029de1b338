//! The core's protocols without locks, in every schedule that loom finds.
//!
//! The modules below are the core's own files: `sync` takes its atomics from
//! loom here (build.rs sets the switch), so that loom decides which thread goes
//! on at each step, and which of the values that the memory model allows a load
//! sees. What the protocols protect is watched by cells of loom, which report
//! every access that isn't ordered against a change.
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

/// The part of the format that the memtable is made with.
mod format {
    pub(crate) use crate::bytes;
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
}

mod bench;
mod lists;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pager::models;

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
