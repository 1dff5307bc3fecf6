//! Memory for blocks of messages: mapped from the system one by one, so that a block that is free goes back to it. An
//! allocator that keeps neighbours together does not give much back after a large backlog.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Zeroed bytes of a fixed number.
#[derive(Debug)]
pub enum BlockMemory {
    /// Mapped.
    Mapped(MmapMut),
    /// From the allocator, when the system gives no more maps.
    Allocated(Box<[u8]>),
}

impl BlockMemory {
    /// So many bytes. They take no memory until they are written.
    pub fn new(bytes: usize) -> BlockMemory {
        match MmapMut::map_anon(bytes) {
            Ok(map) => BlockMemory::Mapped(map),
            Err(_) => BlockMemory::Allocated(vec![0; bytes].into()),
        }
    }
}

impl Deref for BlockMemory {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            BlockMemory::Mapped(map) => map,
            BlockMemory::Allocated(bytes) => bytes,
        }
    }
}

impl DerefMut for BlockMemory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            BlockMemory::Mapped(map) => map,
            BlockMemory::Allocated(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for BlockMemory {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
