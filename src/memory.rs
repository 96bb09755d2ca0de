//! Freed memory that is kept for the next reply. Safe code alone: the allocator is not replaced, only shown a pattern of use.

/// Above the replies of ordinary events (600 KB), below what glibc learns from (32 MB).
const LARGEST_KEPT: usize = 16 * 1024 * 1024;

/// Has glibc keep up to 32 MB of freed memory.
///
/// It gives memory above a threshold back to the kernel as soon as it is free, which for each reply of 600 KB meant 300 page faults:
/// a third of the client's CPU time (29,000 faults in a drain of 100,000 events, 1,000 with this). The threshold follows the largest
/// block that was mapped by itself and freed (`M_MMAP_THRESHOLD` in <https://man7.org/linux/man-pages/man3/mallopt.3.html>). This one
/// is never touched, and so costs no memory. Other allocators see a block come and go.
pub fn keep_freed() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST_KEPT)));
}
