//! A life of a database as a list of operations, drawn from one seed.
//!
//! Every operation carries all that it needs and means something wherever it stands, if
//! only nothing: so any part of a list is a list, and a failing one can be made shorter.

use lightning_core::db::{Durability, Options};
use lightning_platform::IoErrorKind;
use lightning_sim::{CallFailure, CallKind, CrashMode, Random, SimOptions};

use crate::model::Value;

/// Logical clients, each with a transaction and a snapshot of its own at most.
pub const CLIENTS: u64 = 4;
/// Names of tables.
pub const SLOTS: u64 = 3;
/// So many different keys.
pub const KEYS: u64 = 160;

/// Where in a key range a delete or a scan ends.
pub type KeyRange = (u16, Option<u16>);

/// What is done to a transaction or to the database at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put(u8, u16, Value),
    Delete(u8, u16),
    DeleteRange(u8, KeyRange),
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    Get(u8, u16),
    /// A range, and whether from its end.
    Scan(u8, KeyRange, bool),
    Count(u8),
}

/// A power cut: what is left of unsynced changes, and the origin of chance for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerCut {
    pub mode: CrashMode,
    pub seed: u64,
}

/// One operation of a life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// One blind write.
    Write(Change),
    /// A read of what is acknowledged.
    Read(Query),
    Begin(u8, bool),
    InTransaction(u8, Change),
    ReadInTransaction(u8, Query),
    Commit(u8),
    Rollback(u8),
    CreateTable(u8),
    DropTable(u8),
    Snapshot(u8),
    ReadInSnapshot(u8, Query),
    EndSnapshot(u8),
    /// A cursor that is moved between the next operations.
    Cursor {
        slot: u8,
        operations: u8,
        seed: u64,
    },
    /// A value written by stream around the next operations; dropped where it isn't kept.
    Stream {
        change: (u8, u16, Value),
        operations: u8,
        is_kept: bool,
    },
    /// A load that becomes a run, around the next operations.
    Ingest {
        slot: u8,
        first: u16,
        step: u16,
        value: Value,
        operations: u8,
        is_kept: bool,
    },
    /// A load straight into a tree.
    Load {
        slot: u8,
        first: u16,
        step: u16,
        value: Value,
    },
    /// With a sync, or without.
    Flush(bool),
    Poll(u32),
    Freeze,
    Mark,
    Drain,
    RenewLog,
    TrimLog,
    TrimPages,
    Sweep,
    Verify,
    /// The clock jumps by so many milliseconds.
    Clock(i64),
    /// The power goes now.
    Crash(PowerCut),
    /// It goes at the n-th storage operation from now on, during it or after it.
    CrashSoon(u64, bool, PowerCut),
    /// The process dies; what was written is there.
    Kill(u64),
    /// It ends in order.
    Close(u64),
    /// The n-th call of a kind from now on fails, perhaps cut short.
    FailSoon(CallKind, u64, CallFailure),
    /// The device has room for so many bytes more.
    Full(u64),
    /// It has room again.
    Roomy,
    /// Damage to a copy of the files: it is opened and read.
    Damage(u64),
    /// The n-th write from now on is lost, or lands elsewhere, in silence.
    LieSoon(u64, bool),
}

/// A device and the sizes of a database on it.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub name: &'static str,
    pub sim: SimOptions,
    pub options: Options,
    pub value_bytes_longest: u64,
}

impl Setup {
    /// The same with sizes that are no multiples of anything, as where they are fitted to
    /// the memory that there is.
    pub fn uneven(mut self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut more = |bytes: u32| random.below(u64::from(bytes)) as u32;
        let options = &mut self.options;
        options.memtable_bytes += more(6 << 10);
        let most = options.memtable_bytes.min(options.segment_bytes) / 3;
        options.transaction_bytes = most - more(128);
        options.value_bytes_max = options.transaction_bytes / 4 * 3 - more(64);
        options.range_bytes += more(512);
        options.log_buffer_bytes += more(4 << 10);
        options.write_buffer_bytes += more(4 << 10);
        options.read_set_bytes += more(512);
        options.cache_bytes += u64::from(more(16 << 10));
        options.slice_bytes_min += u64::from(more(8 << 10));
        options.file_bytes_max += u64::from(more(1 << 20));
        options.memtables += more(2);
        options.stage_pages += more(3);
        self
    }
}

/// Sizes with which everything happens often.
fn busy() -> Options {
    Options {
        page_bytes: 1_024,
        cache_bytes: 32 << 10,
        memtable_bytes: 6 << 10,
        memtables: 3,
        segment_bytes: 16 << 10,
        log_slots: 16,
        log_buffer_bytes: 4 << 10,
        write_buffer_bytes: 8 << 10,
        transactions: 4,
        transaction_bytes: 2 << 10,
        value_bytes_max: 1_400,
        read_set_bytes: 512,
        snapshots: 12,
        cursors: 4,
        reader_slots: 4,
        file_bytes_max: 8 << 20,
        tree_levels: 6,
        stage_pages: 3,
        slice_bytes_min: 4 << 10,
        runs: 2,
        range_bytes: 528,
        ..Options::default()
    }
}

/// Every device and configuration that lives are drawn for.
pub fn setups() -> [Setup; 7] {
    let disk = |name, bytes, options| Setup {
        name,
        sim: SimOptions::disk(bytes),
        options,
        value_bytes_longest: 1_300,
    };
    [
        disk("sectors of 512 bytes", 512, busy()),
        disk(
            "small pages, six runs",
            512,
            Options {
                page_bytes: 512,
                range_bytes: 272,
                filter_bytes: 32,
                segment_bytes: 8 << 10,
                runs: 6,
                ..busy()
            },
        ),
        disk("no runs", 512, Options { runs: 0, ..busy() }),
        disk(
            "sectors of 4,096 bytes",
            4_096,
            Options {
                page_bytes: 4_096,
                cache_bytes: 96 << 10,
                segment_bytes: 64 << 10,
                range_bytes: 2_064,
                runs: 4,
                ..busy()
            },
        ),
        disk(
            "read when written",
            512,
            Options {
                durability: Durability::Written,
                ..busy()
            },
        ),
        disk(
            "four pages a sector",
            4_096,
            Options {
                segment_bytes: 64 << 10,
                ..busy()
            },
        ),
        Setup {
            name: "flash",
            sim: SimOptions::flash(256, 4_096, 16 << 20),
            options: Options {
                file_bytes_max: 4 << 20,
                runs: 1,
                ..busy()
            },
            value_bytes_longest: 1_300,
        },
    ]
}

/// A key by its number: in order, of many lengths, the first one empty.
pub fn key(number: u16) -> Vec<u8> {
    if number == 0 {
        return Vec::new();
    }
    let mut key = format!("{number:03}").into_bytes();
    key.resize(3 + usize::from(number) * 7 % 20, b'k');
    key
}

/// Draws lists of operations.
pub struct Planner {
    random: Random,
    value_bytes_longest: u64,
}

/// A call that fails with this error: half of them are cut short.
pub fn failure(random: &mut Random, error: IoErrorKind) -> CallFailure {
    if random.chance(1, 2) {
        CallFailure::short(error, random.next_u64())
    } else {
        error.into()
    }
}

/// At least so many crashes in a life.
pub const CRASHES_MIN: u64 = 5;

impl Planner {
    pub fn new(seed: u64, setup: &Setup) -> Self {
        Self {
            random: Random::new(seed),
            value_bytes_longest: setup.value_bytes_longest,
        }
    }

    /// A life of `count` operations at least; a sixth of the lives end with a fault that the
    /// storage is silent about.
    pub fn life(&mut self, count: usize) -> Vec<Op> {
        let mut ops = vec![Op::CreateTable(0), Op::CreateTable(1)];
        let crashes = CRASHES_MIN + 1 + self.random.below(3);
        let between = count as u64 / crashes;
        while ops.len() < count {
            for _ in 0..between / 2 + self.random.below(between) {
                self.one(&mut ops);
            }
            ops.push(self.crash());
        }
        if self.random.chance(1, 6) {
            let nth = 1 + self.random.below(60);
            ops.push(Op::LieSoon(nth, self.random.chance(1, 2)));
            for _ in 0..count / 8 {
                self.one(&mut ops);
            }
        }
        ops
    }

    fn power_cut(&mut self) -> PowerCut {
        let modes = CrashMode::EVERY;
        PowerCut {
            mode: modes[self.random.below(modes.len() as u64) as usize],
            seed: self.random.next_u64(),
        }
    }

    fn crash(&mut self) -> Op {
        match self.random.below(10) {
            0..=1 => Op::Crash(self.power_cut()),
            2 => Op::Kill(self.random.next_u64()),
            _ => {
                let operations = 1 + self.random.below(60);
                let is_during = self.random.chance(1, 2);
                Op::CrashSoon(operations, is_during, self.power_cut())
            }
        }
    }

    fn number(&mut self) -> u16 {
        self.random.below(KEYS) as u16
    }

    fn slot(&mut self) -> u8 {
        self.random.below(SLOTS) as u8
    }

    fn client(&mut self) -> u8 {
        self.random.below(CLIENTS) as u8
    }

    fn range(&mut self) -> KeyRange {
        let first = self.number();
        let most = [3, 12, 60][self.random.below(3) as usize];
        let to = first + 1 + self.random.below(most) as u16;
        (first, (!self.random.chance(1, 12)).then_some(to))
    }

    fn value(&mut self, longest: u64) -> Value {
        let longest = if self.random.chance(1, 12) {
            longest
        } else {
            longest.min(90)
        };
        let expires = self.random.chance(1, 6);
        Value {
            seed: self.random.next_u64(),
            length: self.random.below(longest) as u32,
            expiry_ms: expires.then(|| 1_000 + self.random.below(20_000)),
            metadata: self.random.chance(1, 8).then_some(7),
        }
    }

    fn change(&mut self) -> Change {
        let (slot, number) = (self.slot(), self.number());
        match self.random.below(20) {
            0 => Change::DeleteRange(slot, self.range()),
            1..=4 => Change::Delete(slot, number),
            _ => Change::Put(slot, number, self.value(self.value_bytes_longest)),
        }
    }

    fn query(&mut self) -> Query {
        let slot = self.slot();
        match self.random.below(6) {
            0..=2 => Query::Get(slot, self.number()),
            3..=4 => Query::Scan(slot, self.range(), self.random.chance(1, 3)),
            _ => Query::Count(slot),
        }
    }

    /// Adds one operation, or a few that belong together.
    fn one(&mut self, ops: &mut Vec<Op>) {
        let op = match self.random.below(200) {
            0..=47 => Op::Write(self.change()),
            48..=57 => Op::Read(self.query()),
            58..=65 => Op::Begin(self.client(), self.random.chance(1, 2)),
            66..=89 => Op::InTransaction(self.client(), self.change()),
            90..=99 => Op::ReadInTransaction(self.client(), self.query()),
            100..=109 => Op::Commit(self.client()),
            110 => Op::Rollback(self.client()),
            111 => Op::DropTable(self.slot()),
            112..=114 => Op::CreateTable(self.slot()),
            115..=118 => Op::Snapshot(self.client()),
            119..=124 => Op::ReadInSnapshot(self.client(), self.query()),
            125..=127 => Op::EndSnapshot(self.client()),
            128 => Op::Cursor {
                slot: self.slot(),
                operations: 3 + self.random.below(20) as u8,
                seed: self.random.next_u64(),
            },
            129..=130 => {
                let mut value = self.value(1);
                value.length = self.random.below(9_000) as u32;
                Op::Stream {
                    change: (self.slot(), self.number(), value),
                    operations: self.random.below(8) as u8,
                    is_kept: self.random.chance(4, 5),
                }
            }
            131..=132 => Op::Ingest {
                slot: self.slot(),
                first: self.number(),
                step: 1 + self.random.below(9) as u16,
                value: self.value(self.value_bytes_longest),
                operations: self.random.below(10) as u8,
                is_kept: self.random.chance(5, 6),
            },
            133 => {
                let load = Op::Load {
                    slot: self.slot(),
                    first: self.number(),
                    step: 1 + self.random.below(9) as u16,
                    value: self.value(200),
                };
                ops.push(Op::Drain);
                load
            }
            134..=145 => Op::Flush(true),
            146..=151 => Op::Flush(false),
            152..=169 => Op::Poll(24),
            170..=173 => Op::Poll(4_096),
            174..=175 => Op::Freeze,
            176 => Op::Mark,
            177 => Op::Drain,
            178 => Op::RenewLog,
            179..=180 => Op::TrimLog,
            181..=182 => Op::TrimPages,
            183..=185 => Op::Sweep,
            186 => Op::Verify,
            187..=189 => {
                let step = self.random.below(4_000) as i64;
                Op::Clock(if self.random.chance(1, 4) {
                    -step
                } else {
                    step
                })
            }
            190 => Op::Close(self.random.next_u64()),
            191 => {
                let kinds = [CallKind::Read, CallKind::Write, CallKind::Sync];
                let kind = kinds[self.random.below(3) as usize];
                let full = kind == CallKind::Write && self.random.chance(1, 2);
                let nth = 1 + self
                    .random
                    .below(if kind == CallKind::Sync { 4 } else { 30 });
                let error = if full {
                    IoErrorKind::StorageFull
                } else {
                    IoErrorKind::Device
                };
                Op::FailSoon(kind, nth, failure(&mut self.random, error))
            }
            192 => Op::Full(self.random.below(24 << 10)),
            193..=194 => Op::Roomy,
            195 => Op::Damage(self.random.next_u64()),
            _ => Op::Write(self.change()),
        };
        ops.push(op);
    }
}
