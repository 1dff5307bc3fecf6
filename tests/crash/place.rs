//! Places for data directories: folders that go when the test is over, and file systems of their own where the machine
//! allows them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that is removed at the end, unless the test has failed: then somebody wants to look at it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        Folder::below(Path::new(env!("CARGO_TARGET_TMPDIR")), name).expect("a folder for the test")
    }

    /// A folder in memory where the system has such a place: for tests that start a broker over and over and do not
    /// mean the disk.
    pub fn in_memory(name: &str) -> Folder {
        Folder::below(Path::new("/dev/shm"), name).unwrap_or_else(|| Folder::new(name))
    }

    fn below(place: &Path, name: &str) -> Option<Folder> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = place.join(format!("leveret-crash-{name}-{}-{number}", std::process::id()));
        // Only below what is there.
        fs::create_dir(&path).ok()?;
        Some(Folder(path))
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("left for a look: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Copies a folder of files; `from` may be in use, and holes stay holes where the system can.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder for the copy");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_name() != "lock" && entry.file_type().expect("a type").is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}

/// The names of a folder's files that begin so, sorted.
pub fn names(folder: &Path, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.filter_map(|name| name.into_string().ok()).collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names
}

/// Runs a program to its end; an error is a reason to skip a test.
pub fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A file system that is unmounted at the end.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// A tmpfs of this size in a folder.
    pub fn tmpfs(folder: &Folder, mib: u32) -> Result<Mount, String> {
        let at = folder.join("small");
        fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "none", &text(&at)])?;
        Ok(Mount { at })
    }

    /// An ext4 in a file of the folder; made when it is not there yet.
    pub fn ext4(folder: &Folder, mib: u64) -> Result<Mount, String> {
        let (at, image) = (folder.join("disk"), folder.join("image"));
        fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        if !image.exists() {
            let file = fs::File::create(&image).map_err(|error| error.to_string())?;
            file.set_len(mib << 20).map_err(|error| error.to_string())?;
            run("mkfs.ext4", &["-q", "-F", &text(&image)])?;
        }
        run("mount", &["-o", "loop", &text(&image), &text(&at)])?;
        Ok(Mount { at })
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Nobody can write to it any more.
    pub fn only_to_be_read(&self) -> Result<(), String> {
        run("mount", &["-o", "remount,ro", &text(&self.at)])
    }

    /// Gets ready to cut an ext4 off.
    pub fn cutter(&self) -> Result<Cutter, String> {
        let mut child = Command::new("python3");
        child.args(["-c", CUTTER, &text(&self.at)]);
        let spawned = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = spawned.map_err(|error| format!("python3: {error}"))?;
        let mut ready = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let _ = output.read_line(&mut ready);
        match &*ready {
            "ready\n" => Ok(Cutter { process, output }),
            _ => Err("python3 does not get ready".into()),
        }
    }
}

/// Has everything open, and waits for a line. The number is EXT4_IOC_SHUTDOWN, the flag NOLOGFLUSH: not even the log of
/// the file system is written.
const CUTTER: &str = "
import fcntl, os, struct, sys
directory = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
if sys.stdin.readline():
    try:
        fcntl.ioctl(directory, 0x8004587D, struct.pack('I', 2))
        print('done', flush=True)
    except OSError as error:
        print(error, flush=True)
";

/// Cuts a file system off.
#[derive(Debug)]
pub struct Cutter {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Cutter {
    /// What is not on the disk by now never comes there.
    pub fn cut(mut self) -> Result<(), String> {
        let mut input = self.process.stdin.take().expect("it is piped");
        input.write_all(b"now\n").map_err(|error| error.to_string())?;
        let mut said = String::new();
        let _ = self.output.read_line(&mut said);
        drop(input);
        let _ = self.process.wait();
        if said == "done\n" { Ok(()) } else { Err(format!("the file system is not cut off: {}", said.trim())) }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = run("umount", &[&text(&self.at)]) {
            eprintln!("{error}");
            let _ = run("umount", &["-l", &text(&self.at)]);
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("the test's folders have plain names").to_owned()
}
