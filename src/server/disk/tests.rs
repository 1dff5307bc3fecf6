use super::directory::{DataDirectory, Fault};
use super::*;

use crate::server::tests::Scratch;

fn content(file: &DirectoryFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize + 10];
    let len = file.read_at(0, &mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

#[test]
fn files_are_made_written_read_and_cut() {
    let scratch = Scratch::new();
    let disk = DirectoryDisk::open(scratch.path()).unwrap();
    for how in [Open::Read, Open::Write] {
        assert_eq!(disk.open("a", how).unwrap_err().kind(), ErrorKind::NotFound);
    }
    let file = disk.open("a", Open::Create).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(2, &[b"cd", b"", b"e", b"fgh"]).unwrap();
    file.write_at(0, &[b"ab"]).unwrap();
    file.write_at(8, &[]).unwrap();
    assert_eq!(content(&file), b"abcdefgh");
    file.sync().unwrap();
    disk.sync_directory().unwrap();

    let again = disk.open("a", Open::Create).unwrap();
    assert_eq!(content(&again), b"abcdefgh", "it was there");
    let mut two = [0; 2];
    assert_eq!(again.read_at(3, &mut two).unwrap(), 2);
    assert_eq!(&two, b"de");
    assert_eq!(again.read_at(7, &mut two).unwrap(), 1);
    assert_eq!(again.read_at(8, &mut two).unwrap(), 0);
    assert_eq!(again.read_at(1 << 40, &mut two).unwrap(), 0);
    again.truncate(3).unwrap();
    assert_eq!(content(&file), b"abc");
    assert!(disk.open("a", Open::Read).unwrap().write_at(0, &[b"x"]).is_err());
}

#[test]
fn more_parts_than_the_system_takes_at_once_are_written() {
    let scratch = Scratch::new();
    let disk = DirectoryDisk::open(scratch.path()).unwrap();
    let bytes: Vec<u8> = (0..5 * SLICES_MAX).map(|at| at as u8).collect();
    let parts: Vec<&[u8]> = bytes.chunks(2).collect();
    let file = disk.open("a", Open::Create).unwrap();
    file.write_at(0, &parts).unwrap();
    assert_eq!(content(&file), bytes);
}

#[test]
fn short_and_interrupted_writes_are_continued() {
    let parts: [&[u8]; 4] = [b"ab", b"", b"cdefg", b"h"];
    for step in 1..=8 {
        let mut written = vec![];
        let mut calls = 0;
        write_all(100, &parts, |slices, at| {
            calls += 1;
            if calls % 2 == 1 {
                return Err(ErrorKind::Interrupted.into());
            }
            assert_eq!(at, 100 + written.len() as u64);
            let given: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let count = given.len().min(step);
            written.extend_from_slice(&given[..count]);
            Ok(count)
        })
        .unwrap();
        assert_eq!(written, b"abcdefgh", "{step}");
    }
    let nothing = write_all(0, &parts, |_, _| Ok(0)).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WriteZero);
    let mut calls = 0;
    let full = write_all(0, &parts, |_, _| {
        calls += 1;
        if calls == 1 { Ok(3) } else { Err(Errno::NOSPC.into()) }
    })
    .unwrap_err();
    assert!(is_full(&full));
    assert!(!is_full(&Errno::IO.into()));
    assert!(is_full(&or_full(Errno::DQUOT.into())));
    assert_eq!(or_full(Errno::IO.into()).raw_os_error(), Some(Errno::IO.raw_os_error()));
}

#[test]
fn room_is_reserved_and_what_is_there_stays() {
    let scratch = Scratch::new();
    let disk = DirectoryDisk::open(scratch.path()).unwrap();
    type Reserve = fn(&DirectoryFile, u64) -> Result<()>;
    for (name, reserve) in [("a", DiskFile::allocate as Reserve), ("b", DirectoryFile::fill)] {
        let file = disk.open(name, Open::Create).unwrap();
        file.write_at(0, &[b"abc"]).unwrap();
        let len = (2 << 20) + 5;
        reserve(&file, len).unwrap();
        assert_eq!(file.len().unwrap(), len);
        reserve(&file, 10).unwrap();
        assert_eq!(file.len().unwrap(), len, "it does not shrink");
        let bytes = content(&file);
        assert!(bytes.starts_with(b"abc") && bytes[3..].iter().all(|byte| *byte == 0));
    }
    assert!(disk.open("a", Open::Write).unwrap().allocate(1 << 60).is_err());
    assert!(disk.free_bytes().unwrap() <= disk.total_bytes().unwrap());
    assert!(disk.total_bytes().unwrap() > 1 << 20);
}

#[test]
fn names_are_listed_changed_and_removed() {
    let scratch = Scratch::new();
    let disk = DirectoryDisk::open(scratch.path()).unwrap();
    for name in ["a", "b"] {
        disk.open(name, Open::Create).unwrap().write_at(0, &[name.as_bytes()]).unwrap();
    }
    fs::create_dir(scratch.path().join("folder")).unwrap();
    let names = || {
        let mut names = disk.list().unwrap();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(), "a b folder");
    disk.rename("a", "b").unwrap();
    assert_eq!(names(), "b folder");
    assert_eq!(content(&disk.open("b", Open::Read).unwrap()), b"a");
    assert_eq!(disk.rename("a", "c").unwrap_err().kind(), ErrorKind::NotFound);
    disk.remove("b").unwrap();
    assert_eq!(names(), "folder");
    assert_eq!(disk.remove("b").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn what_is_only_looked_at_is_not_changed() {
    let scratch = Scratch::new();
    let disk = DirectoryDisk::open(scratch.path()).unwrap();
    disk.open("a", Open::Create).unwrap().write_at(0, &[b"abc"]).unwrap();
    let look = DataDirectory::look_at(scratch.path()).unwrap();
    assert_eq!(look.list().unwrap(), ["a"]);
    let file = look.open("a", Open::Read).unwrap();
    assert_eq!(content(&file), b"abc");
    assert!(file.write_at(0, &[b"x"]).is_err() && file.truncate(0).is_err());
    let refused = [
        look.open("a", Open::Write).map(|_| ()),
        look.open("b", Open::Create).map(|_| ()),
        look.rename("a", "b"),
        look.remove("a"),
        look.sync_directory(),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    }
    assert_eq!(content(&file), b"abc");
}

#[test]
fn a_directory_has_one_owner_at_a_time() {
    let scratch = Scratch::new();
    let path = scratch.path().join("made/on the way");
    let first = DataDirectory::take(&path).unwrap();
    let text = format!("the data directory {} is in use by another Leveret", path.display());
    let error = DataDirectory::take(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("{text} (process {})", std::process::id()));
    // Whatever the file says, the lock counts.
    for said in ["", "no number\n", "99999999999999999999999999999999\n"] {
        fs::write(path.join(lock::LOCK_NAME), said).unwrap();
        assert_eq!(DataDirectory::take(&path).unwrap_err().to_string(), text);
    }
    DataDirectory::look_at(&path).unwrap();
    drop(first);
    fs::write(path.join(lock::LOCK_NAME), "123456789 and more\n").unwrap();
    let _second = DataDirectory::take_existing(&path).unwrap();
    assert_eq!(fs::read_to_string(path.join(lock::LOCK_NAME)).unwrap(), format!("{}\n", std::process::id()));
}

#[test]
fn what_is_no_data_directory_is_said_in_one_line() {
    let scratch = Scratch::new();
    let at = |name: &str| scratch.path().join(name);
    fs::write(at("file"), "").unwrap();
    std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
    fs::create_dir_all(at("blocked/lock")).unwrap();
    type Taken = std::result::Result<(), directory::DirectoryError>;
    let take = |path: PathBuf| -> Taken { DataDirectory::take(&path).map(drop) };
    let existing = |path: PathBuf| -> Taken { DataDirectory::take_existing(&path).map(drop) };
    let empty = |path: PathBuf| -> Taken { DataDirectory::take_empty(&path).map(drop) };
    let look = |path: PathBuf| -> Taken { DataDirectory::look_at(&path).map(drop) };
    for (result, name, expected) in [
        (take(at("file")), "file", "the data directory * is not a directory"),
        (take(at("link")), "link", "the data directory * is not a directory"),
        (take(at("file/below")), "file/below", "cannot create the data directory *: "),
        (take(at("blocked")), "blocked", "cannot write to the data directory *: "),
        (existing(at("missing")), "missing", "the data directory * does not exist"),
        (empty(at("blocked")), "blocked", "the directory * is not empty"),
        (empty(at("file")), "file", "the data directory * is not a directory"),
        (look(at("missing")), "missing", "the data directory * does not exist"),
        (look(at("file")), "file", "the data directory * is not a directory"),
    ] {
        let text = result.unwrap_err().to_string();
        let expected = expected.replace('*', &at(name).display().to_string());
        assert!(text.starts_with(&expected) && !text.contains('\n'), "{text}");
    }
    assert!(!at("missing").exists() && !at("nowhere").exists());
    drop(DataDirectory::take_empty(&at("new")).unwrap());
    assert!(matches!(DataDirectory::take(&at("file")).unwrap_err().fault, Fault::NotADirectory));
}
