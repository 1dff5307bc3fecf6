use super::*;

use std::sync::mpsc;

use crate::server::tests::Scratch;

/// A door that copies nothing, and says what it was told; `fail` is an error, and `hang` takes for ever.
fn open(directory: &Path) -> Control {
    let snapshot: Snapshot = Box::new(|target| {
        let (sender, receiver) = mpsc::channel();
        let name = target.file_name().unwrap().to_string_lossy().into_owned();
        match &*name {
            "fail" => sender.send(Err("it\ncannot be".into())).unwrap(),
            "gone" => {}
            "hang" => std::mem::forget(sender),
            _ => sender.send(Ok(format!("copied to {}", target.display()))).unwrap(),
        }
        receiver
    });
    Control::open(directory, snapshot).unwrap()
}

fn raw(directory: &Path, said: &[u8]) -> String {
    let mut stream = UnixStream::connect(directory.join(CONTROL_NAME)).unwrap();
    stream.write_all(said).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn a_request_has_an_answer() {
    let scratch = Scratch::new();
    let directory = scratch.path();
    let nobody = format!("no broker runs with the data directory {}", directory.display());
    assert_eq!(request::snapshot(directory, Path::new("/t")), Err(nobody.clone()));
    let control = open(directory);
    let mode = fs::metadata(directory.join(CONTROL_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(request::snapshot(directory, Path::new("/a b/é")), Ok("copied to /a b/é".into()));
    let relative = std::env::current_dir().unwrap().join("x");
    assert_eq!(request::snapshot(directory, Path::new("x")), Ok(format!("copied to {}", relative.display())));
    assert_eq!(request::snapshot(directory, Path::new("/fail")), Err("it cannot be".into()));
    let stops = "the broker stops: the copy in /gone is not complete";
    assert_eq!(request::snapshot(directory, Path::new("/gone")), Err(stops.into()));
    assert!(request::snapshot(directory, Path::new("/a\nb")).unwrap_err().contains("line feed"));
    drop(control);
    assert_eq!(request::snapshot(directory, Path::new("/t")), Err(nobody));
    assert!(!directory.join(CONTROL_NAME).exists());
}

#[test]
fn what_makes_no_sense_is_refused_and_the_door_stays_open() {
    let scratch = Scratch::new();
    let directory = scratch.path();
    let _control = open(directory);
    for (said, expected) in [
        (&b"destroy all\n"[..], "error unknown command `destroy all`\n"),
        (b"\n", "error unknown command ``\n"),
        (b"snapshot x\n", "error x is no absolute path\n"),
        (b"snapshot /t", ""),
        (b"", ""),
        (&[b'x'; 20_000], ""),
    ] {
        assert_eq!(raw(directory, said), expected);
    }
    let silent = UnixStream::connect(directory.join(CONTROL_NAME)).unwrap();
    drop(silent);
    assert_eq!(request::snapshot(directory, Path::new("/t")), Ok("copied to /t".into()));
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_long_names_are_no_obstacle() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("x".repeat(200));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join(CONTROL_NAME), "left behind").unwrap();
    let _control = open(&directory);
    assert_eq!(request::snapshot(&directory, Path::new("/t")), Ok("copied to /t".into()));
}

#[test]
fn a_stop_waits_for_nobody() {
    let scratch = Scratch::new();
    let directory = scratch.path().to_owned();
    let control = open(&directory);
    let asker = std::thread::spawn({
        let directory = directory.clone();
        move || request::snapshot(&directory, Path::new("/hang"))
    });
    // It says nothing, and waits behind the other.
    let silent = UnixStream::connect(directory.join(CONTROL_NAME)).unwrap();
    drop(control);
    let told = asker.join().unwrap();
    assert!(told.is_err(), "{told:?}");
    drop(silent);
}
