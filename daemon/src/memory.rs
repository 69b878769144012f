//! How much of the machine's memory a daemon holds, beside what it allocates.

/// An allocation of so many bytes has pages of its own, which go back to the kernel with it; glibc's first figure.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 * 1024;

/// One heap for all threads of the process, for their few small allocations at a time; by default glibc makes one for
/// each thread, and each keeps pages of its own. A large allocation never comes to lie in that heap, where it would
/// leave a hole: by default glibc lets it, once as much was given back. Meant for the first line of a program; where
/// the C library is another one, it does nothing.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "mallopt(3) is a call of the C library")]
    // SAFETY: the parameters and their values are those of the manual, and no memory is handed over.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Gives back what only the start, a handshake or a task needed: pages of the program that the kernel mapped, and free
/// pages of the heap.
///
/// Most of what an agent holds is its own program. Reading settings, enrolling, the handshake and the verification of
/// documents touch nearly all of it, the kernel maps 64 KiB around every touch, and nothing is ever unmapped by itself.
/// Afterwards an idle agent runs a small part of it, again and again. `madvise(MADV_DONTNEED)` takes the pages out of
/// this process. They are clean pages of a file, so they stay in the page cache for as long as the kernel has room, and
/// what is used again is mapped again (about 0.5 µs for 64 KiB) without a read from the disk. What never is used again
/// is from then on nobody's, and the first to go when memory is wanted.
///
/// Only segments that the program's headers call read-only are given back. The linker fills in addresses in others
/// (`.data.rel.ro` too, which is read-only only afterwards): those pages exist nowhere else.
pub fn release() {
    trim_heap();
    #[expect(unsafe_code, reason = "the headers of loaded files are had from the C library alone")]
    // SAFETY: `release_file` is what dl_iterate_phdr(3) asks for, and uses no data.
    unsafe {
        libc::dl_iterate_phdr(Some(release_file), std::ptr::null_mut());
    }
}

/// Gives back the free pages inside the heap, and its free end. Of what a burst freed the C library keeps most, because
/// something that lives stands behind it.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "malloc_trim(3) is a call of the C library")]
    // SAFETY: it may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Called for the program and each of its libraries, while the linker's lock keeps them loaded.
#[expect(unsafe_code, reason = "the C library calls it, and madvise(2) takes addresses")]
unsafe extern "C" fn release_file(info: *mut libc::dl_phdr_info, _: usize, _: *mut libc::c_void) -> libc::c_int {
    // SAFETY: dl_iterate_phdr(3) hands over a valid description with a name and so many headers.
    let (name, base, headers) = unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
        (std::ffi::CStr::from_ptr(info.dlpi_name), info.dlpi_addr, headers)
    };
    // The program's own name is empty. What has another name and no path is the kernel's (`linux-vdso.so.1`).
    if !name.is_empty() && !name.to_bytes().starts_with(b"/") {
        return 0;
    }
    for segment in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
        let Some((start, length)) = whole_pages(base + segment.p_vaddr, segment.p_memsz, page_bytes()) else {
            continue;
        };
        // SAFETY: the range is of one read-only segment of a loaded file. Nobody could write to it, so every page of it
        // is the file's, and a thread that needs one finds the same bytes again.
        let refused = unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) } != 0;
        if refused {
            // Locked pages, for example. They stay, and nothing else is different.
            tracing::debug!("{:?} keeps its pages: {}", name, std::io::Error::last_os_error());
        }
    }
    0
}

/// First address and bytes of the pages that lie wholly in the range; none where it has none.
fn whole_pages(start: u64, bytes: u64, page: u64) -> Option<(u64, usize)> {
    let first = start.next_multiple_of(page);
    let end = (start + bytes) / page * page;
    let length = end.checked_sub(first).filter(|length| *length > 0)?;
    Some((first, usize::try_from(length).ok()?))
}

/// 4096, or 16384 on a Raspberry Pi 5.
fn page_bytes() -> u64 {
    let bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(64 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_are_given_back() {
        let kib = 1024;
        assert_eq!(whole_pages(4 * kib, 12 * kib, 4 * kib), Some((4 * kib, 12 * 1024)));
        assert_eq!(whole_pages(4 * kib + 1, 12 * kib, 4 * kib), Some((8 * kib, 8 * 1024)));
        assert_eq!(whole_pages(4 * kib, 13 * kib, 4 * kib), Some((4 * kib, 12 * 1024)));
        // The pages of a Raspberry Pi 5 are larger than what the file is laid out for.
        assert_eq!(whole_pages(4 * kib, 40 * kib, 16 * kib), Some((16 * kib, 16 * 1024)));
        assert_eq!(whole_pages(4 * kib, 12 * kib, 16 * kib), None);
        assert_eq!(whole_pages(5, 7, 4 * kib), None);
    }

    /// KiB of this process that are mapped from files.
    fn mapped_files() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    static CONSTANTS: [u64; 4096] = {
        let mut numbers = [0; 4096];
        let mut at = 0;
        while at < numbers.len() {
            numbers[at] = (at * at) as u64;
            at += 1;
        }
        numbers
    };
    /// Holds addresses, so the linker writes into it.
    static WORDS: [&str; 3] = ["clean", "dirty", "relocated"];

    #[test]
    fn the_program_goes_on_with_less_memory() {
        let sum = || std::hint::black_box(&CONSTANTS).iter().sum::<u64>();
        let (before, said) = (sum(), std::hint::black_box(WORDS).concat());
        let held = mapped_files();
        release();
        let holds = mapped_files();
        assert!(holds < held, "expected less than {held} KiB of mapped files, found {holds}");
        assert_eq!(sum(), before);
        assert_eq!(std::hint::black_box(WORDS).concat(), said);
        let thread = std::thread::spawn(|| "12".parse::<u8>());
        assert_eq!(thread.join().unwrap(), Ok(12));
    }
}
