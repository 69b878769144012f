//! Counts what a test allocates on its own thread.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// Bytes of one thread since a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Allocated {
    /// Allocated and not freed; less than nothing where more was freed.
    pub kept: isize,
    /// The most of it at any moment.
    pub most: isize,
}

thread_local! {
    static COUNT: Cell<Allocated> = const { Cell::new(Allocated { kept: 0, most: 0 }) };
}

/// What `work` answers, and the bytes that this thread allocated for it.
pub(crate) fn allocated<T>(work: impl FnOnce() -> T) -> (T, Allocated) {
    let before = COUNT.get();
    COUNT.set(Allocated::default());
    let answer = work();
    let count = COUNT.get();
    COUNT.set(Allocated { kept: before.kept + count.kept, most: before.most.max(before.kept + count.most) });
    (answer, count)
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(more: usize, less: usize) {
    // A thread that ends has none.
    let _ = COUNT.try_with(|count| {
        let Allocated { kept, most } = count.get();
        let kept = kept + isize::try_from(more).unwrap_or(isize::MAX) - isize::try_from(less).unwrap_or(isize::MAX);
        count.set(Allocated { kept, most: most.max(kept) });
    });
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
// SAFETY: everything is handed on to the system's own allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promises are those of this function too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}
