//! Ends of a process and what the next one finds: power cuts, kills, closings, recoveries
//! that are cut off or fail, and damage to files at rest.

use std::sync::Arc;

use lightning_core::db::Engine;
use lightning_core::error::Error;
use lightning_platform::{File, IoErrorKind};
use lightning_sim::{CallFailure, CallKind, CrashMode, Random, SimStorage, UnfaithfulStorage, mix};

use crate::plan::{PowerCut, failure};
use crate::reading::{self, Unread};
use crate::world::{Client, Step, Stop, World, input, memory, platform, wrong};

/// Recoveries in a row that something happens to.
const TROUBLED_MAX: u64 = 3;

/// What happens to a recovery.
#[derive(Debug)]
enum Trouble {
    None,
    CutAfter(u64),
    CutDuring(u64),
    Memory(u64),
    Fails(CallKind, u64, CallFailure),
}

impl World<'_> {
    /// The power goes now.
    pub fn crash(&mut self, cut: PowerCut) -> Step<()> {
        self.counts.crashes += 1;
        let floor = self.floor_after_power_cut();
        let image = self.storage.inner().crash_image(cut.mode, cut.seed);
        self.go_on(image, floor, cut.seed)
    }

    /// It went during the last operation.
    pub fn after_power_cut(&mut self) -> Step<()> {
        let seed = mix(self.incarnation);
        let cut = self.power_cut.take().unwrap_or(PowerCut {
            mode: CrashMode::Random,
            seed,
        });
        self.crash(cut)
    }

    /// The engine takes no more writes: what it holds can still be read, and all that was
    /// acknowledged is there after a restart or a power cut.
    pub fn after_poison(&mut self) -> Step<()> {
        if self.engine.is_poisoned() {
            self.says_so()?;
        }
        let seed = mix(self.incarnation ^ 17);
        let modes = CrashMode::EVERY;
        let mode = modes[(seed / 2 % 7) as usize];
        if seed.is_multiple_of(2) {
            self.crash(PowerCut { mode, seed })
        } else {
            self.kill(seed)
        }
    }

    /// After a failed sync nothing is acknowledged any more.
    fn says_so(&mut self) -> Step<()> {
        let engine = Arc::clone(&self.engine);
        for syncs in [true, false] {
            match engine.flush_step(syncs) {
                Err(Error::Poisoned) => {}
                other => return wrong(format!("poisoned, and a flush answers {other:?}")),
            }
        }
        match engine.delete(16, b"poisoned", self.now_ms) {
            Err(Error::Poisoned) => {}
            other => return wrong(format!("poisoned, and a delete answers {other:?}")),
        }
        let durable = engine.statistics().durable_sequence;
        if durable > self.durable.max(self.model.last_sequence()) {
            return wrong("poisoned, and more is durable than was committed");
        }
        Ok(())
    }

    /// The process dies; what it wrote is still read by the next one.
    pub fn kill(&mut self, seed: u64) -> Step<()> {
        let floor = self.written;
        let floor = if self.has_lied() {
            self.floor_of_a_liar()
        } else {
            floor
        };
        let image = self.storage.inner().restart();
        self.go_on(image, floor, seed)
    }

    /// It ends in order: everything is there afterwards.
    pub fn close(&mut self, seed: u64) -> Step<()> {
        for client in 0..self.clients.len() as u8 {
            self.rollback(client)?;
            self.end_kept(client)?;
        }
        let mut left = 40;
        loop {
            match self.engine.mark() {
                Ok(()) => break,
                Err(error) if left > 0 => {
                    left -= 1;
                    self.excuse(error)?;
                    if let Err(error) = self.engine.poll_maintenance(Default::default()) {
                        self.excuse(error)?;
                    }
                }
                Err(error) => {
                    self.excuse(error)?;
                    break;
                }
            }
        }
        self.note_watermarks()?;
        if left == 40 && !self.lies && self.durable < self.model.last_sequence() {
            return wrong("a mark left commits behind");
        }
        self.kill(seed)
    }

    /// The least commit that must be there after a power cut.
    fn floor_after_power_cut(&self) -> u64 {
        if self.has_lied() {
            self.floor_of_a_liar()
        } else {
            self.durable
        }
    }

    /// Opens what the next process finds, and compares it with the model.
    fn go_on(&mut self, image: SimStorage, floor: u64, seed: u64) -> Step<()> {
        self.check_violations()?;
        let lied = self.has_lied();
        self.lied = lied;
        self.landed_before |= self.storage.has_landed_before();
        self.clients.clear();
        self.clients
            .resize_with(crate::plan::CLIENTS as usize, Client::default);
        self.incarnation += 1;
        self.power_cut = None;
        let opened = self.recover(image, seed, lied);
        let (storage, engine, lost_power) = match opened {
            Err(Stop::Found) => {
                self.counts.refused += 1;
                return Err(Stop::Found);
            }
            other => other?,
        };
        let floor = if lost_power {
            floor.min(self.floor_after_power_cut())
        } else {
            floor
        };
        self.storage = storage;
        self.count_evacuated();
        self.engine = Arc::new(engine);
        self.has_fault = lied;
        self.is_full = false;
        let found = self.engine.statistics().appended_sequence;
        let last = self.model.last_sequence();
        self.note(|| format!("      opened: commit {found}, at least {floor}, of {last}"));
        if found < floor || found > last {
            return wrong(format!(
                "recovery found commit {found}; {floor} are acknowledged, of {last}"
            ));
        }
        let mut moment = self.model.moment_of(found);
        if let Some(before) = self.in_doubt.take()
            && moment == self.model.last()
            && self.reads_right(before)?
        {
            moment = before;
        }
        self.model.cut(moment);
        self.floor_ms = self.probe_floor()?;
        self.durable = self.engine.statistics().durable_sequence;
        if self.durable < floor || self.durable > found {
            return wrong("recovery says something else of what is durable");
        }
        self.durable_before = self.durable_before.min(self.durable);
        self.durable_earlier = self.durable_earlier.min(self.durable_before);
        self.written = found;
        match self.compare_all("after recovery") {
            Err(Stop::Found) if !lied => wrong("corruption without damage"),
            outcome => outcome,
        }
    }

    /// Opens, with trouble at first; answers the engine, what it stands on, and whether the
    /// power went meanwhile.
    fn recover(
        &mut self,
        image: SimStorage,
        seed: u64,
        lied: bool,
    ) -> Step<(UnfaithfulStorage, Engine, bool)> {
        let mut lost_power = false;
        let mut random = Random::new(mix(seed ^ 99));
        let mut image = image;
        image.set_capacity(self.setup.sim.capacity_bytes);
        for round in 0.. {
            let may_trouble = round < TROUBLED_MAX;
            let fails = |random: &mut Random, kind, nth_max| {
                let nth = 1 + random.below(nth_max);
                Trouble::Fails(kind, nth, failure(random, IoErrorKind::Device))
            };
            let trouble = match random.below(if may_trouble { 16 } else { 1 }) {
                1..=2 => Trouble::CutAfter(1 + random.below(16)),
                3..=4 => Trouble::CutDuring(1 + random.below(16)),
                5 => Trouble::Memory(1 + random.below(30)),
                6 => fails(&mut random, CallKind::Sync, 4),
                7 => fails(&mut random, CallKind::Write, 12),
                8 => fails(&mut random, CallKind::Read, 12),
                _ => Trouble::None,
            };
            let storage = UnfaithfulStorage::new(image.clone(), self.habit, mix(seed ^ round));
            let memory = memory();
            let mut is_troubled = true;
            match &trouble {
                Trouble::None => is_troubled = false,
                Trouble::CutAfter(operation) => image.cut_after(*operation),
                Trouble::CutDuring(operation) => image.cut_during(*operation),
                Trouble::Memory(reservation) => memory.fail_at(*reservation, random.chance(1, 2)),
                Trouble::Fails(kind, nth, failure) => storage.fail(*kind, *nth, *failure),
            }
            self.note(|| format!("      recovery: {trouble:?}"));
            let now_ms = self.tell_time();
            let opened = Engine::open(
                &platform(storage.clone(), &memory),
                &self.setup.options,
                input(mix(seed ^ round ^ 7), now_ms),
            );
            let is_powered = image.has_power();
            let error = match opened {
                Ok(engine) if is_powered => {
                    image.cancel_cut();
                    storage.clear();
                    memory.clear_faults();
                    return Ok((storage, engine, lost_power));
                }
                Ok(engine) => {
                    drop(engine);
                    None
                }
                Err(error) => Some(error),
            };
            let violation = image.violations().first().cloned();
            if let Some(violation) = violation.filter(|_| self.habit.is_none() && !lied) {
                return wrong(format!("storage contract, in recovery: {violation}"));
            }
            let mode = CrashMode::EVERY[random.below(7) as usize];
            self.note(|| format!("      recovery: {error:?}, then {mode:?}"));
            match error {
                _ if !is_powered => {
                    self.counts.crashes += 1;
                    lost_power = true;
                    image = image.crash_image(mode, random.next_u64());
                }
                Some(Error::OutOfMemory { .. }) if is_troubled => image = image.restart(),
                Some(Error::Io { .. }) if is_troubled => {
                    self.counts.faults += 1;
                    image = if random.chance(1, 2) {
                        image.restart()
                    } else {
                        lost_power = true;
                        image.crash_image(mode, random.next_u64())
                    };
                }
                Some(Error::Corruption { .. }) if lied => return Err(Stop::Found),
                Some(error) => return wrong(format!("recovery answered: {error}")),
                None => return wrong("recovery without an outcome"),
            }
        }
        wrong("recovery never came to its end")
    }

    /// Whether everything is as it was at a moment.
    fn reads_right(&mut self, moment: u64) -> Step<bool> {
        let engine = Arc::clone(&self.engine);
        let snapshot = match engine.snapshot(0) {
            Ok(snapshot) => snapshot,
            Err(error) => return self.excuse(error).map(|_| false),
        };
        let found = reading::everything(&engine, &snapshot, &self.model, moment);
        engine.end(snapshot);
        match found {
            Ok(_) => Ok(true),
            Err(Unread::Wrong(_)) => Ok(false),
            Err(Unread::Engine(error)) => self.excuse(error).map(|_| false),
        }
    }

    /// Compares all rows of all tables with the last moment.
    pub fn compare_all(&mut self, when: &str) -> Step<()> {
        let engine = Arc::clone(&self.engine);
        let snapshot = match engine.snapshot(0) {
            Ok(snapshot) => snapshot,
            Err(error) => return self.excuse(error).map(|_| ()),
        };
        let moment = self.model.moment_of(snapshot.sequence);
        let found = reading::everything(&engine, &snapshot, &self.model, moment);
        engine.end(snapshot);
        let found = found.map_err(|unread| match unread {
            Unread::Wrong(reason) => Unread::Wrong(format!("{when}: {reason}")),
            engine => engine,
        });
        let seen = self.settle(found)?;
        self.trace = mix(self.trace ^ seen);
        Ok(())
    }

    /// Damages a copy of the files as they are, opens it, and reads everything: it is right,
    /// or an error says where it isn't.
    pub fn damage(&mut self, seed: u64) -> Step {
        if self.has_lied() || self.habit.is_some() {
            return Ok(0);
        }
        let mut random = Random::new(seed);
        let image = if random.chance(1, 2) {
            self.storage.inner().restart()
        } else {
            self.storage.inner().crash_image(CrashMode::Synced, 0)
        };
        image.set_capacity(self.setup.sim.capacity_bytes);
        // What hits two flushes at once takes a last one and the only one that knows of it.
        let block_bytes = self.setup.sim.geometry.write_block_bytes.min(512) as usize;
        let done = damage_something(&image, block_bytes, &mut random);
        self.counts.damages += 1;
        let storage = UnfaithfulStorage::new(image, None, seed);
        let now_ms = self.tell_time();
        let opened = Engine::open(
            &platform(storage, &memory()),
            &self.setup.options,
            input(seed, now_ms),
        );
        let engine = match opened {
            Ok(engine) => engine,
            Err(Error::Corruption { .. }) => {
                self.counts.refused += 1;
                return Ok(1);
            }
            Err(error) => return wrong(format!("{done}: the error names no place: {error}")),
        };
        let found = engine.statistics().appended_sequence;
        // The last flush is all that a torn tail may have taken.
        if found < self.durable_before || found > self.model.last_sequence() {
            let floor = self.durable_before;
            return wrong(format!(
                "{done}: commit {found} of at least {floor}, and no error"
            ));
        }
        let snapshot = match engine.snapshot(0) {
            Ok(snapshot) => snapshot,
            Err(error) => return wrong(format!("{done}: {error}")),
        };
        let moment = self.model.moment_of(found);
        let seen = reading::everything(&engine, &snapshot, &self.model, moment);
        let in_doubt = self.in_doubt;
        let seen = match (seen, in_doubt) {
            (Err(Unread::Wrong(_)), Some(before)) => {
                reading::everything(&engine, &snapshot, &self.model, before)
            }
            (seen, _) => seen,
        };
        engine.end(snapshot);
        match seen {
            Ok(seen) => Ok(seen),
            Err(Unread::Engine(Error::Corruption { .. })) => {
                self.counts.refused += 1;
                Ok(2)
            }
            Err(Unread::Engine(error)) => wrong(format!("{done}: reading: {error}")),
            Err(Unread::Wrong(reason)) => wrong(format!("{done}: {reason}")),
        }
    }
}

/// One piece of damage, and its name.
fn damage_something(image: &SimStorage, block_bytes: usize, random: &mut Random) -> String {
    let files = image.files();
    // The page file half of the time.
    let file = if random.chance(1, 2) {
        File::Pages
    } else {
        files[random.below(files.len() as u64) as usize]
    };
    let Some(bytes) = image.file_bytes(file) else {
        return "no damage".to_owned();
    };
    let is_used = |chunk: &[u8]| chunk.iter().any(|byte| *byte != 0 && *byte != 0xFF);
    let chunks = bytes.chunks(block_bytes).enumerate();
    let used: Vec<usize> = chunks
        .filter(|(_, chunk)| is_used(chunk))
        .map(|(index, _)| index)
        .collect();
    if used.is_empty() {
        return "no damage".to_owned();
    }
    let mut pick = || used[random.below(used.len() as u64) as usize];
    let (one, other) = (pick(), pick());
    let at = (one * block_bytes) as u64;
    let there = (other * block_bytes) as u64;
    let block = |index: usize| bytes.chunks(block_bytes).nth(index).unwrap_or(&[]);
    // Two blocks of a log at once may be a last flush and all that knows of it.
    let kinds = if file == File::Pages { 5 } else { 4 };
    match random.below(kinds) {
        0..=1 => {
            let offset = at + random.below(block_bytes as u64);
            let bit = random.below(8) as u32;
            image.flip_bit(file, offset, bit);
            format!("bit {bit} of byte {offset} of {file:?} flipped")
        }
        2 => {
            image.overwrite_raw(file, at, &vec![0; block(one).len()]);
            format!("{block_bytes} bytes at {at} of {file:?} zeroed")
        }
        3 => {
            image.overwrite_raw(file, at, block(other));
            format!(
                "{block_bytes} bytes at {at} of {file:?} replaced by those at {}",
                there
            )
        }
        _ => {
            image.overwrite_raw(file, at, block(other));
            image.overwrite_raw(file, there, block(one));
            format!(
                "{block_bytes} bytes at {at} of {file:?} swapped with those at {}",
                there
            )
        }
    }
}
