//! Data directories that nobody wishes for: foreign, incomplete, unreadable, from the future.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use leveret::Server;
use leveret::store::batch::{BATCH_ALIGN, BATCH_HEADER_BYTES, BatchHeader};
use leveret::store::segment::{HEADER_BYTES, SegmentHeader};

use crate::broker::{self, Broker, Options};
use crate::link::{Declare, Link};
use crate::place::{self, Folder, Mount};
use crate::reports::Turn;
use crate::skip;
use crate::small;
use crate::written::{Plan, Written, empty, serve};

/// Several segments, a checkpoint that is not the newest, and a tail.
const PLAN: Plan = Plan { messages: 300, size_max: 8000, window: 20, acked: 40, restart_at: Some(150) };

/// A year.
const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

/// What the broker says when it does not start with this data directory.
fn refusal(data_dir: &Path) -> String {
    let data_dir = data_dir.to_str().expect("a plain name");
    let output = broker::command(&["--listen", "127.0.0.1:0", "--data-dir", data_dir]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text.lines().last().unwrap_or("").to_owned();
    assert!(last.starts_with("leveret: ") && last.contains(data_dir), "one line that names it: {text}");
    last
}

#[test]
fn what_is_no_directory_is_refused() {
    let folder = Folder::in_memory("what_is_no_directory_is_refused");
    let file = folder.join("file");
    fs::write(&file, "something else").expect("a file");
    assert!(refusal(&file).ends_with("is not a directory"), "{}", refusal(&file));
    assert!(refusal(&file.join("below")).contains("cannot create"), "{}", refusal(&file.join("below")));
    assert_eq!(fs::read_to_string(&file).expect("the file"), "something else");
}

#[test]
fn a_directory_that_may_not_be_written_is_refused() {
    let test = "a_directory_that_may_not_be_written_is_refused";
    let folder = Folder::in_memory(test);
    let dir = folder.join("data");
    fs::create_dir(&dir).expect("a directory");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o500)).expect("rights");
    if fs::write(dir.join("probe"), "").is_err() {
        assert!(refusal(&dir).contains("cannot write to"), "{}", refusal(&dir));
        return;
    }
    // Who may write everywhere may not write to a file system that is only to be read.
    match Mount::tmpfs(&folder, 1).and_then(|mount| mount.only_to_be_read().map(|()| mount)) {
        Ok(mount) => assert!(refusal(mount.path()).contains("cannot write to"), "{}", refusal(mount.path())),
        Err(reason) => skip(test, &format!("this user may write everywhere; {reason}")),
    }
}

#[test]
fn a_second_broker_is_kept_out() {
    let folder = Folder::in_memory("a_second_broker_is_kept_out");
    let options = Options::new(&folder.join("data"));
    let first = Broker::must_start(&options);
    let mut link = Link::open(first.address).expect("the broker answers");
    link.declare_queue("q", Declare::Durable).expect("a queue");
    let text = refusal(&options.data_dir);
    assert!(text.contains("in use by another") && text.contains(&first.pid()), "{text}");
    assert_eq!(link.declare_queue("q", Declare::Passive), Ok(0), "the first one is not hurt");
    first.kill();
    // A lock does not outlive its process.
    let next = Broker::must_start(&options);
    let mut link = Link::open(next.address).expect("the broker answers");
    assert_eq!(link.declare_queue("q", Declare::Passive), Ok(0));
    link.close().expect("the broker answers");
    next.stop();
}

/// The header of each segment of a directory, by file.
fn segments(dir: &Path) -> Vec<(String, SegmentHeader)> {
    let mut found = vec![];
    for name in place::names(dir, "segment-") {
        let bytes = fs::read(dir.join(&name)).expect("a segment");
        if let Ok(header) = SegmentHeader::decode(&bytes[..HEADER_BYTES.min(bytes.len())]) {
            found.push((name, header));
        }
    }
    found.sort_by_key(|(_, header)| header.number);
    found
}

#[test]
fn a_later_version_is_refused_and_not_touched() {
    let turn = Turn::take();
    let folder = Folder::in_memory("a_later_version_is_refused");
    let written = Written::new(&folder, PLAN);
    for prefix in ["segment-", "checkpoint-"] {
        for name in place::names(&written.dir, prefix) {
            let dir = folder.join("later");
            place::copy(&written.dir, &dir);
            let path = dir.join(&name);
            let mut bytes = fs::read(&path).expect("a file");
            if bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            assert_eq!(bytes[8..12], [1, 0, 0, 0], "{name}: the version of the format is at 8");
            bytes[8] = 2;
            // A checksum over everything but itself is at 12.
            let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..HEADER_BYTES]);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            fs::write(&path, &bytes).expect("a file");
            let text = refusal(&dir);
            assert!(text.contains("later version"), "{name}: {text}");
            assert_eq!(fs::read(&path).expect("a file"), bytes, "{name} was touched");
            fs::remove_dir_all(&dir).expect("the directory");
        }
    }
    drop(turn);
}

/// Something that happens to a file.
type Mishap = (&'static str, fn(&Path));

const MISHAPS: &[Mishap] = &[
    ("missing", |path| fs::remove_file(path).expect("a file")),
    ("empty", |path| fs::write(path, "").expect("a file")),
    ("cut in half", |path| {
        let file = fs::File::options().write(true).open(path).expect("a file");
        file.set_len(file.metadata().expect("a size").len() / 2).expect("a shorter file");
    }),
    ("a few bytes long", |path| fs::write(path, "what").expect("a file")),
    ("a text", |path| fs::write(path, "something else\n".repeat(1000)).expect("a file")),
    ("a directory", |path| {
        fs::remove_file(path).expect("a file");
        fs::create_dir(path).expect("a directory");
    }),
    ("a link to nothing", |path| {
        fs::remove_file(path).expect("a file");
        std::os::unix::fs::symlink("nothing-here", path).expect("a link");
    }),
];

/// What cannot be told from a segment that was not there yet.
const UNNOTICED: &[&str] = &["missing", "empty", "cut in half", "a link to nothing"];

#[test]
fn files_that_are_not_what_they_were() {
    let test = "files_that_are_not_what_they_were";
    let turn = Turn::take();
    let folder = Folder::in_memory(test);
    let written = Written::new(&folder, PLAN);
    let places = written.places();
    let newest = segments(&written.dir).pop().expect("a segment").0;
    let mut lost_in_all = 0;
    for name in place::names(&written.dir, "") {
        for (what, mishap) in MISHAPS {
            let dir = folder.join("damaged");
            place::copy(&written.dir, &dir);
            mishap(&dir.join(&name));
            let when = format!("{name} is {what}");
            let came = serve(&dir).unwrap_or_else(|text| panic!("{when}: {text}"));
            assert_eq!(came.altered, Vec::<String>::new(), "{when}");
            assert_eq!(written.wrong(&came), None, "{when}");
            let said = turn.said();
            let lost = written.lost(&came);
            for (queue, id) in &lost {
                assert_eq!(places[id].0, name, "{when}: {queue}: {id:?} is lost: {said:?}");
            }
            // Without its last file a journal is a shorter journal, and nobody can tell.
            let is_noticed = name != newest || !UNNOTICED.contains(what);
            assert!(lost.is_empty() || !is_noticed || said.is_trouble(), "{when}: {} lost and not a word", lost.len());
            assert!(!said.has("panicked"), "{when}: {said:?}");
            lost_in_all += lost.len();
            fs::remove_dir_all(&dir).expect("the directory");
        }
    }
    assert!(lost_in_all > 0, "no file matters?");
}

#[test]
fn files_that_cannot_be_read() {
    let test = "files_that_cannot_be_read";
    let folder = Folder::in_memory(test);
    let written = {
        let _turn = Turn::take();
        Written::new(&folder, PLAN)
    };
    let places = written.places();
    for name in place::names(&written.dir, "") {
        let dir = folder.join("damaged");
        place::copy(&written.dir, &dir);
        let path = dir.join(&name).to_str().expect("a plain name").to_owned();
        let mut options = Options::new(&dir).traced("pread64", "error=EIO", &folder.join("trace"));
        options.through.extend(["-P".to_owned(), path]);
        let probe = [&options.through[1..], &["true".to_owned()]].concat();
        if let Err(reason) = place::run("strace", &probe.iter().map(String::as_str).collect::<Vec<_>>()) {
            return skip(test, &reason);
        }
        let broker = Broker::must_start(&options);
        let came = empty(broker.address).unwrap_or_else(|trouble| panic!("{name}: {trouble:?}"));
        assert_eq!(came.altered, Vec::<String>::new(), "{name}");
        assert_eq!(written.wrong(&came), None, "{name}");
        let lost = written.lost(&came);
        for (queue, id) in &lost {
            assert_eq!(places[id].0, name, "{name}: {queue}: {id:?} is lost: {}", broker.log());
        }
        assert!(lost.is_empty() || broker.log().contains(&name), "{name}: {} lost and not a word", lost.len());
        broker.kill();
        fs::remove_dir_all(&dir).expect("the directory");
    }
}

#[test]
fn files_of_others_are_left_alone() {
    let _turn = Turn::take();
    let folder = Folder::in_memory("files_of_others_are_left_alone");
    let written = Written::new(&folder, PLAN);
    let foreign = Folder::in_memory("foreign");
    let other = Written::new(&foreign, PLAN);
    // A segment and a checkpoint of another data directory, and what is nobody's.
    let mut added = vec![];
    let (segment, _) = segments(&other.dir).pop().expect("a segment");
    for (from, to) in [(&*segment, "segment-0000ffff"), ("checkpoint-a", "checkpoint-c")] {
        fs::copy(other.dir.join(from), written.dir.join(to)).expect("a copy");
        added.push(to);
    }
    for name in ["notes.txt", "segment-1", "segment-0000zzzz", ".hidden", "damaged-something"] {
        fs::write(written.dir.join(name), "mine").expect("a file");
        added.push(name);
    }
    let came = serve(&written.dir).expect("it starts");
    assert_eq!((written.wrong(&came), written.lost(&came)), (None, vec![]));
    assert!(came.altered.is_empty(), "{:?}", came.altered);
    for name in &added[2..] {
        assert_eq!(fs::read_to_string(written.dir.join(name)).expect("it is still there"), "mine", "{name}");
    }
}

/// Batches carry a time that never goes back. A directory from a time to come is what a clock looks like that was set
/// back: the broker has no other memory of the time.
#[test]
fn a_clock_that_was_set_back_a_year() {
    let _turn = Turn::take();
    let folder = Folder::in_memory("a_clock_that_was_set_back_a_year");
    let written = Written::new(&folder, Plan { restart_at: None, ..PLAN });
    let (name, header) = segments(&written.dir).pop().expect("a segment");
    let path = written.dir.join(name);
    let mut bytes = fs::read(&path).expect("a segment");
    let mut last = None;
    for at in (HEADER_BYTES..bytes.len()).step_by(BATCH_ALIGN as usize) {
        let end = (at + BATCH_HEADER_BYTES).min(bytes.len());
        if let Some(batch) = BatchHeader::decode(&bytes[at..end], &header.lane) {
            last = Some((at, batch));
        }
    }
    let (at, mut batch) = last.expect("a batch");
    batch.time_ms += YEAR_MS;
    bytes[at..at + BATCH_HEADER_BYTES].copy_from_slice(&batch.encode(&header.lane));
    fs::write(&path, bytes).expect("a segment");
    // Twice: the second start reads what the first one has written with such a time in front of it.
    let server = Server::start(small::config(&written.dir, 2)).expect("it starts");
    let mut link = Link::open(server.local_addr()).expect("it answers");
    link.declare_queue("later", Declare::Durable).expect("a queue");
    link.close().expect("it answers");
    server.shutdown();
    let server = Server::start(small::config(&written.dir, 1)).expect("it starts again");
    let mut link = Link::open(server.local_addr()).expect("it answers");
    assert_eq!(link.declare_queue("later", Declare::Passive), Ok(0));
    let came = empty(server.local_addr()).expect("it gives everything back");
    assert_eq!((written.wrong(&came), written.lost(&came)), (None, vec![]));
    server.shutdown();
}

#[test]
fn another_number_of_shards_than_before() {
    let _turn = Turn::take();
    let folder = Folder::in_memory("another_number_of_shards_than_before");
    let written = Written::new(&folder, PLAN);
    for shards in [7, 1, 3] {
        let server = Server::start(small::config(&written.dir, shards)).expect("it starts");
        let mut link = Link::open(server.local_addr()).expect("it answers");
        for (queue, ids) in &written.alive {
            let ready = link.declare_queue(queue, Declare::Passive).expect("the queue is there");
            assert!(ready as usize >= ids.len(), "{queue}: {ready} of {}", ids.len());
        }
        link.close().expect("it answers");
        server.shutdown();
    }
    let came = serve(&written.dir).expect("it starts");
    assert_eq!((written.wrong(&came), written.lost(&came)), (None, vec![]));
}
