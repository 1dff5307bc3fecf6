//! How much memory the process may take before publishers have to wait: plain data for the server.

/// The memory that the process may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watermark {
    /// So many bytes, or all that there are.
    Bytes(u64),
    /// So many thousandths of the memory that there is. 0 raises the alarm at once.
    Share {
        /// 1000 and more: all of it.
        thousandths: u64,
    },
}

/// When publishers have to wait because of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Above it the alarm is on.
    pub watermark: Watermark,
    /// Bytes of memory that there are. `None`: those of the machine, or of the control group if it may have less.
    pub total_bytes: Option<u64>,
    /// Milliseconds between two looks at the process, at least 1. Above half of the watermark it is a tenth.
    pub interval_ms: u64,
}

impl Default for MemoryConfig {
    fn default() -> MemoryConfig {
        MemoryConfig { watermark: Watermark::Share { thousandths: 600 }, total_bytes: None, interval_ms: 1_000 }
    }
}
