//! The machine that is measured on.

use std::fs;
use std::path::Path;

use super::data::Machine;

/// What `/proc` says of it. What it does not say stays empty.
pub fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    Machine {
        cpu: cpu_model(&read("/proc/cpuinfo")),
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u32),
        kernel: format!("{} {}", read("/proc/sys/kernel/ostype").trim(), read("/proc/sys/kernel/osrelease").trim()),
        memory_bytes: memory_bytes(&read("/proc/meminfo")),
        congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
        file_system: file_system(&read("/proc/mounts"), &std::env::temp_dir()),
    }
}

fn cpu_model(cpuinfo: &str) -> String {
    let value = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    value("model name").or_else(|| value("Model")).or_else(|| value("CPU implementer")).unwrap_or_default()
}

/// Type and device of the file system that `path` lies on: of the mounts it lies under, the deepest and latest.
fn file_system(mounts: &str, path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let fields = mounts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let over = fields.filter(|fields| fields.len() > 2 && path.starts_with(fields[1]));
    let found = over.max_by_key(|fields| Path::new(fields[1]).components().count());
    found.map_or(String::new(), |fields| format!("{} ({})", fields[2], fields[0]))
}

fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_read() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: EPYC 7: x\nmodel name\t: other\n"), "EPYC 7: x");
        assert_eq!(cpu_model("processor : 0\nModel : Pi\n"), "Pi");
        assert_eq!(cpu_model(""), "");
        assert_eq!(memory_bytes("MemFree: 1 kB\nMemTotal:       16 kB\n"), 16 * 1024);
        assert_eq!(memory_bytes("MemTotal: x kB"), 0);
    }

    #[test]
    fn the_deepest_mount_over_a_path_is_its_own() {
        let mounts = "/dev/a / ext4 rw 0 0\n/dev/b /there xfs rw 0 0\ntmpfs /there/too tmpfs rw 0 0\n";
        let found = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(found("/there/x/y"), "xfs (/dev/b)");
        assert_eq!(found("/there/too"), "tmpfs (tmpfs)");
        assert_eq!(found("/therefore"), "ext4 (/dev/a)");
        assert_eq!(file_system("", Path::new("/x")), "");
    }
}
