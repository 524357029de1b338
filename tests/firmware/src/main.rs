//! The engine as a program for a microcontroller: no operating system, one core,
//! 40 KiB of heap, a flash chip.
//!
//! It writes, reads, scans, commits, merges and closes; it cuts the power in the
//! middle of all that, over and over, opens again, and checks everything that was
//! acknowledged. At the end it prints how much heap and stack it took. The exit
//! code (by semihosting) is 0 only where all of it held. `cargo xtask size` builds
//! it, runs it under QEMU, and reads its symbols.
#![no_std]
#![no_main]

extern crate alloc;

mod console;
mod flash;
mod memory;
mod script;

use alloc::sync::Arc;
use console::{Part, line};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m_rt::{entry, exception};
use cortex_m_semihosting::debug;
use flash::Flash;
use lightning_core::db::Engine;
use lightning_platform::{Platform, Wait};
use memory::Heap;

/// What the stack may take, so that heap and stack fit into 80 KiB. It has more room
/// than that: an overflow would show as nothing but a fault.
const STACK_BYTES_MAX: usize = 40 << 10;

/// Times that a lock was found taken: never, on one core without interrupts.
static WAITS: AtomicU32 = AtomicU32::new(0);

struct NeverWaits;

impl Wait for NeverWaits {
    fn relax(&self, _: u32) {
        WAITS.fetch_add(1, Ordering::Relaxed);
    }
}

/// A shared handle on a value of no size, without an allocation that could fail:
/// `Arc::new` aborts where memory is out, and nothing in this image may.
macro_rules! shared {
    ($value:ident) => {{
        const _: () = assert!(size_of::<$value>() == 0 && align_of::<$value>() == 1);
        let empty: Arc<[u8]> = Arc::default();
        // SAFETY: the pointer comes from `into_raw` of an empty slice, whose data have
        // the size and alignment of the value; a value of no size has no bytes.
        unsafe { Arc::from_raw(Arc::into_raw(empty).cast::<$value>()) }
    }};
}

fn platform() -> Platform {
    Platform {
        storage: shared!(Flash),
        memory: shared!(Heap),
        wait: shared!(NeverWaits),
        codec: None,
        cipher: None,
    }
}

#[entry]
fn main() -> ! {
    // SAFETY: the first call of all, and the only one.
    unsafe { memory::init() }
    flash::erase_all();
    let outcome = script::run(&platform());
    let checks = match outcome {
        Ok(checks) => checks,
        Err(failure) => {
            line(&[
                Part::Text("FAILED: "),
                Part::Text(failure.what),
                Part::Text(", error code "),
                Part::Number(failure.code),
                Part::Text(", at step "),
                Part::Number(failure.step),
            ]);
            stop(debug::EXIT_FAILURE)
        }
    };
    for (name, figure) in [
        ("power cuts", u64::from(checks.cuts)),
        ("commits acknowledged", u64::from(checks.commits)),
        ("entries checked", u64::from(checks.entries)),
        ("generations published", checks.flips),
        ("plan bytes", checks.plan_bytes),
        ("heap peak bytes", memory::peak_bytes() as u64),
        ("handle bytes", size_of::<Engine>() as u64),
        ("heap room bytes", memory::HEAP_BYTES as u64),
        ("stack peak bytes", memory::stack_peak_bytes() as u64),
        ("stack allowed bytes", STACK_BYTES_MAX as u64),
        ("locks waited for", u64::from(WAITS.load(Ordering::Relaxed))),
        ("flash rules broken", u64::from(flash::violations())),
        ("heap bytes left over", memory::used_bytes() as u64),
    ] {
        line(&[Part::Text(name), Part::Text(": "), Part::Number(figure)]);
    }
    let is_clean = memory::stack_peak_bytes() <= STACK_BYTES_MAX
        && flash::violations() == 0
        && memory::used_bytes() == 0
        && WAITS.load(Ordering::Relaxed) == 0;
    stop(if is_clean {
        debug::EXIT_SUCCESS
    } else {
        debug::EXIT_FAILURE
    })
}

fn stop(code: debug::ExitStatus) -> ! {
    loop {
        debug::exit(code);
    }
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    if let Some(at) = info.location() {
        line(&[
            Part::Text("PANIC in "),
            Part::Text(at.file()),
            Part::Text(":"),
            Part::Number(u64::from(at.line())),
        ]);
    }
    stop(debug::EXIT_FAILURE)
}

#[exception]
unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
    line(&[Part::Text("HARD FAULT")]);
    stop(debug::EXIT_FAILURE)
}
