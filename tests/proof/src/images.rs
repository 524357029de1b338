//! What a power cut may leave of a storage, enumerated, and the images that were judged.
//!
//! Of few unsynced changes every subset is taken, and some images in which the changes
//! survive in pieces. Of many: none, all, all but one and only one of the newest, and
//! images that are drawn in each way that the simulator knows.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lightning_sim::{CrashMode, SimStorage, mix};

/// Changes of which every subset is taken.
const SUBSETS_OF: usize = 4;
/// Of more changes, so many of the newest are left out, or kept alone, one by one.
const NEWEST: usize = 4;
/// Ways in which pieces of changes survive, and how often each is drawn.
const PIECES: [(CrashMode, u64); 2] = [(CrashMode::Random, 3), (CrashMode::Torn, 2)];
/// What is drawn besides where there are many changes.
const DRAWN: [(CrashMode, u64); 3] = [
    (CrashMode::Prefix, 2),
    (CrashMode::DropOne, 1),
    (CrashMode::OnlyOne, 1),
];

/// What survives of the unsynced changes.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// Those whose bits are set, of few.
    Kept(u64),
    /// All but this one.
    Without(usize),
    /// This one alone.
    Only(usize),
    /// What is drawn.
    Drawn(CrashMode, u64),
}

impl Way {
    /// The image that it leaves.
    pub fn image(self, storage: &SimStorage) -> SimStorage {
        match self {
            Self::Kept(bits) => storage.crash_image_of(|index| bits >> index & 1 == 1),
            Self::Without(one) => storage.crash_image_of(|index| index != one),
            Self::Only(one) => storage.crash_image_of(|index| index == one),
            Self::Drawn(mode, seed) => storage.crash_image(mode, seed),
        }
    }
}

/// Every way that is tried for a storage with so many unsynced changes.
pub fn ways(unsynced: usize, seed: u64) -> Vec<Way> {
    let mut ways = Vec::new();
    if unsynced <= SUBSETS_OF {
        ways.extend((0..1 << unsynced).map(Way::Kept));
    } else {
        ways.extend([CrashMode::Synced, CrashMode::All].map(|mode| Way::Drawn(mode, 0)));
        for one in unsynced - NEWEST..unsynced {
            ways.extend([Way::Without(one), Way::Only(one)]);
        }
    }
    let many = unsynced > SUBSETS_OF;
    let drawn = DRAWN.iter().filter(|_| many);
    if unsynced > 0 {
        for (mode, times) in PIECES.iter().chain(drawn) {
            ways.extend((0..*times).map(|time| Way::Drawn(*mode, mix(seed ^ time))));
        }
    }
    ways
}

/// Images that were met, by their digests, and what was found in them; shared by threads.
pub struct Met {
    parts: Vec<Mutex<HashMap<u64, Option<u64>>>>,
}

impl Met {
    pub fn new() -> Self {
        Self {
            parts: (0..64).map(|_| Mutex::default()).collect(),
        }
    }

    fn part(&self, image: u64) -> MutexGuard<'_, HashMap<u64, Option<u64>>> {
        let part = &self.parts[image as usize % self.parts.len()];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is the first time.
    pub fn is_new(&self, image: u64) -> bool {
        let mut part = self.part(image);
        let is_new = !part.contains_key(&image);
        part.entry(image).or_default();
        is_new
    }

    /// Keeps what was found in it.
    pub fn note(&self, image: u64, found: u64) {
        self.part(image).insert(image, Some(found));
    }

    /// What was found in it, where that is known.
    pub fn found(&self, image: u64) -> Option<u64> {
        self.part(image).get(&image).copied().flatten()
    }
}
