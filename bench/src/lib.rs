//! An allocator that counts what one part of a process asks of it, for measurements of cost.
//!
//! Only threads that called [`count_this_thread`] are counted, so that a load generator in the same process does not
//! blur the figures of what it loads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator with a counter before it. Make it a test's `#[global_allocator]`.
pub struct Counting;

/// From now on the calling thread's allocations are counted.
pub fn count_this_thread() {
    COUNTED.set(true);
}

/// Allocations by all threads that are counted, since the start; growing one counts as one more.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn note() {
    // A thread that ends has no such value any more, and is not counted then.
    if COUNTED.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged, whose contract this is; counting allocates nothing and
// does not unwind.
#[allow(unsafe_code, reason = "GlobalAlloc cannot be implemented otherwise; without it nobody counts allocations")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(at, layout) }
    }
}
