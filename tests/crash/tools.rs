//! The commands for data directories: `leveret store inspect`, `leveret store repair`, `leveret snapshot`.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::broker::{self, Broker, Options};
use crate::load::World;
use crate::place::{self, Folder};
use crate::reports::Turn;
use crate::rng::Rng;
use crate::seed;
use crate::truth::How;
use crate::written::{Plan, Written, serve};

const PLAN: Plan = Plan { messages: 200, size_max: 3000, window: 10, acked: 30, restart_at: Some(120) };

/// Runs a command on a directory; returns whether it was content, and what it said.
fn command(words: &[&str], dir: &std::path::Path) -> (bool, String) {
    let words = [words, &[dir.to_str().expect("a plain name")]].concat();
    let output = broker::command(&words);
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// All files of a folder with their contents.
fn contents(dir: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let names = place::names(dir, "").into_iter().filter(|name| name != "lock");
    names.map(|name| (name.clone(), fs::read(dir.join(name)).unwrap_or_default())).collect()
}

#[test]
fn inspect_reads_and_finds_damage_and_repair_sets_it_aside() {
    let _turn = Turn::take();
    let folder = Folder::new("inspect");
    let written = Written::new(&folder, PLAN);
    let before = contents(&written.dir);
    let (sound, text) = command(&["store", "inspect"], &written.dir);
    assert!(sound, "{text}");
    assert!(before.iter().all(|(name, _)| text.contains(name.as_str())), "it names every file: {text}");
    assert!(contents(&written.dir) == before, "it only reads");

    // One bit in the body of one message.
    let (id, (name, at, _)) = written.places().into_iter().nth(100).expect("a body");
    let path = written.dir.join(&name);
    let mut bytes = fs::read(&path).expect("a segment");
    bytes[at + 9] ^= 4;
    fs::write(&path, bytes).expect("a segment");
    let before = contents(&written.dir);
    let (sound, text) = command(&["store", "inspect"], &written.dir);
    assert!(!sound && text.contains(&name), "{text}");
    assert!(contents(&written.dir) == before, "it only reads");

    let (_, said) = command(&["store", "repair"], &written.dir);
    let (sound, text) = command(&["store", "inspect"], &written.dir);
    assert!(sound, "after the repair, which said {said}: {text}");
    let came = serve(&written.dir).expect("it starts");
    assert!(came.altered.is_empty(), "{:?}", came.altered);
    assert_eq!(written.wrong(&came), None);
    let lost = written.lost(&came);
    assert!(!lost.is_empty() && lost.iter().all(|(_, lost)| *lost == id), "{lost:?} instead of {id:?}");
}

#[test]
fn commands_say_what_is_wrong_with_a_directory() {
    let folder = Folder::new("commands");
    let options = Options::new(&folder.join("data"));
    let broker = Broker::must_start(&options);
    let (repaired, text) = command(&["store", "repair"], &options.data_dir);
    assert!(!repaired && text.contains("in use"), "{text}");
    broker.stop();
    let missing = folder.join("missing");
    for words in [&["store", "inspect"][..], &["store", "repair"], &["snapshot", "to", "--data-dir"]] {
        let (done, text) = command(words, &missing);
        assert!(!done && text.contains(missing.to_str().expect("a plain name")), "{words:?}: {text}");
        assert!(!missing.exists(), "{words:?} has made it");
    }
}

#[test]
fn a_snapshot_under_load_starts_as_a_copy() {
    let test = "a_snapshot_under_load_starts_as_a_copy";
    let mut rng = Rng::new(seed(test));
    let folder = Folder::new(test);
    let options = Options::new(&folder.join("data")).small();
    let world = World::new();
    let broker = Broker::must_start(&options);
    world.declare(broker.address).expect("the load's queues");
    let load = world.load(broker.address, rng.next());
    sleep(Duration::from_millis(150));
    let copy = folder.join("copy");
    let copy_text = copy.to_str().expect("a plain name");
    let before = world.copy();
    let (done, text) = command(&["snapshot", copy_text, "--data-dir"], &options.data_dir);
    assert!(done, "{text}");
    let copied = before.and_later(&world);
    let (sound, text) = command(&["store", "inspect"], &copy);
    assert!(sound, "{text}");
    let (again, text) = command(&["snapshot", copy_text, "--data-dir"], &options.data_dir);
    assert!(!again, "over another copy: {text}");
    broker.kill();
    load.after_the_end(&world.truth, false);

    world.truth.check("the broker that was copied");

    copied.truth.killed();
    let broker = Broker::must_start(&Options::new(&copy).small());
    copied.definitions.check(broker.address, &copied.truth).expect("the copy answers");
    copied.drain(broker.address, How::Drain).expect("the copy gives everything back");
    copied.truth.check("the copy");
    broker.stop();
}
