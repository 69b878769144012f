//! How much memory the threads of the agent hold.

/// One heap for all threads of the process, for their few small allocations at a time; by default glibc makes one for
/// each thread, and each keeps pages of its own. Meant for the first line of a program; where the C library is another
/// one, it does nothing.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "mallopt(3) is a call of the C library")]
    // SAFETY: the parameter and its value are those of the manual, and no memory is handed over.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
