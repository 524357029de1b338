//! What a power cut leaves: a new volume made of the durable state and a
//! chosen part of the unsynced changes.
//!
//! Argument for its honesty: a synced change is in the durable state and is
//! never chosen about. The others are done in the order of their calls, each
//! whole, in part or not at all, so that for every write block any of the
//! values it had since the last sync may be what is found. Contents and
//! directory entries are chosen apart: a synced file may be missing where its
//! entry was not synced.

use crate::change::Change;
use crate::content::Content;
use crate::random::Random;
use crate::volume::{DirectoryChange, Volume};
use lightning_platform::File;
use std::collections::BTreeMap;

/// Which of the unsynced changes a power cut leaves on the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CrashMode {
    /// None of them.
    Synced,
    /// All of them.
    All,
    /// Each write block, length, create and remove by itself; how many on the
    /// whole (few, half or most) is drawn for each image.
    Random,
    /// The oldest ones, up to a random one.
    Prefix,
    /// All but a random one.
    DropOne,
    /// Only a random one.
    OnlyOne,
    /// The oldest ones up to one, of which some random write blocks are left.
    /// In half of the images that one is the newest change.
    Torn,
}

impl CrashMode {
    /// Every mode, for loops over all.
    pub const EVERY: [Self; 7] = [
        Self::Synced,
        Self::All,
        Self::Random,
        Self::Prefix,
        Self::DropOne,
        Self::OnlyOne,
        Self::Torn,
    ];
}

/// What is left of one change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remains {
    Nothing,
    Whole,
    Pieces,
}

enum Unsynced<'a> {
    Directory(&'a DirectoryChange),
    Node(u64, &'a Change),
}

impl Unsynced<'_> {
    const fn sequence(&self) -> u64 {
        match self {
            Self::Directory(change) => change.sequence,
            Self::Node(_, change) => change.sequence,
        }
    }
}

fn unsynced_in_order(volume: &Volume) -> Vec<Unsynced<'_>> {
    let directory = &volume.directory;
    let entries = directory.doubtful.iter().chain(&directory.pending);
    let changes = volume.nodes.iter().flat_map(|(&number, node)| {
        let changes = node.doubtful.iter().chain(&node.pending);
        changes.map(move |change| Unsynced::Node(number, change))
    });
    let mut unsynced: Vec<Unsynced<'_>> = entries.map(Unsynced::Directory).chain(changes).collect();
    unsynced.sort_by_key(Unsynced::sequence);
    unsynced
}

/// Decides for each of `count` changes what is left of it.
fn draw(mode: CrashMode, count: usize, random: &mut Random) -> Vec<Remains> {
    let (others, from) = match mode {
        CrashMode::Synced | CrashMode::OnlyOne => (Remains::Nothing, count),
        CrashMode::All | CrashMode::DropOne => (Remains::Whole, count),
        CrashMode::Random => (Remains::Pieces, count),
        CrashMode::Prefix => (Remains::Whole, random.below(count as u64 + 1) as usize),
        CrashMode::Torn if random.chance(1, 2) => (Remains::Whole, count),
        CrashMode::Torn => (Remains::Whole, 1 + random.below(count as u64) as usize),
    };
    let mut remains = vec![others; count];
    remains.iter_mut().skip(from).for_each(|rest| {
        *rest = Remains::Nothing;
    });
    let (chosen, fate) = match mode {
        CrashMode::DropOne => (random.below(count as u64) as usize, Remains::Nothing),
        CrashMode::OnlyOne => (random.below(count as u64) as usize, Remains::Whole),
        CrashMode::Torn => (from.min(count).saturating_sub(1), Remains::Pieces),
        _ => return remains,
    };
    if let Some(rest) = remains.get_mut(chosen) {
        *rest = fate;
    }
    remains
}

impl Volume {
    /// The volume as it is found after a power cut; determined by `mode` and `seed`.
    pub(crate) fn crash_image(&self, mode: CrashMode, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let unsynced = unsynced_in_order(self);
        let remains = draw(mode, unsynced.len(), &mut random);
        let kept_of_sixteen = [2, 8, 14][random.below(3) as usize];
        let mut keep = || random.chance(kept_of_sixteen, 16);
        self.left_with(&unsynced, &remains, &mut keep)
    }

    /// The volume as it is found where exactly those of the unsynced changes survived,
    /// each whole, that `keeps` answers yes to, by their place in the order of the calls.
    pub(crate) fn crash_image_of(&self, keeps: &mut dyn FnMut(usize) -> bool) -> Self {
        let unsynced = unsynced_in_order(self);
        let remains: Vec<Remains> = (0..unsynced.len())
            .map(|index| {
                if keeps(index) {
                    Remains::Whole
                } else {
                    Remains::Nothing
                }
            })
            .collect();
        self.left_with(&unsynced, &remains, &mut || false)
    }

    /// The durable state with what remains of the unsynced changes; `keep` decides about
    /// pieces.
    fn left_with(
        &self,
        unsynced: &[Unsynced<'_>],
        remains: &[Remains],
        mut keep: &mut dyn FnMut() -> bool,
    ) -> Self {
        let mut files = self.directory.durable.clone();
        for (change, &remains) in unsynced.iter().zip(remains) {
            if let Unsynced::Directory(change) = change
                && (remains == Remains::Whole || (remains == Remains::Pieces && keep()))
            {
                change.settle(&mut files);
            }
        }

        let durable = |number: u64| Some((number, self.nodes.get(&number)?.durable.clone()));
        let mut contents: BTreeMap<u64, Content> =
            files.values().copied().filter_map(durable).collect();
        let write_block_bytes = u64::from(self.options.geometry.write_block_bytes);
        for (change, &remains) in unsynced.iter().zip(remains) {
            if let Unsynced::Node(number, change) = change
                && let Some(content) = contents.get_mut(number)
            {
                match remains {
                    Remains::Nothing => {}
                    Remains::Whole => change.survive(content),
                    Remains::Pieces => change.survive_torn(content, write_block_bytes, &mut keep),
                }
            }
        }

        let found = |(file, number)| Some((file, contents.remove(&number)?));
        let files: BTreeMap<File, Content> = files.into_iter().filter_map(found).collect();
        Self::new(self.options, files)
    }
}
