//! Where and how messages are kept on a disk: plain data for the server.

/// The data directory of the binary when nobody says another, below the working directory.
pub const DATA_DIR_DEFAULT: &str = "leveret-data";

/// When what was written is made durable, and with it what a confirm means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before anybody is told that it is: a confirm survives a power cut.
    Always,
    /// Every [`StoreConfig::fsync_interval_ms`]: a confirm survives the end of the process, and a power cut but for
    /// the last interval.
    Interval,
    /// When a segment is full and at a stop: a confirm survives the end of the process. The system writes the rest
    /// when it likes.
    Never,
}

/// Free room of the disk under which publishers are told to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFree {
    /// So many bytes.
    Bytes(u64),
    /// So many thousandths of the machine's memory.
    Memory {
        /// 1000: as much as there is memory.
        thousandths: u64,
    },
}

/// How a durable broker keeps messages. Without a data directory it means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// When what was written is made durable.
    pub fsync: Fsync,
    /// Milliseconds between two syncs of [`Fsync::Interval`], at least 1.
    pub fsync_interval_ms: u64,
    /// Free room under which publishers wait.
    pub disk_free_limit: DiskFree,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig { fsync: Fsync::Always, fsync_interval_ms: 200, disk_free_limit: DiskFree::Bytes(50_000_000) }
    }
}
