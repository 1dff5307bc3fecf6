//! A file system that is cut off under load: what was not synced is lost for good.

use std::thread::sleep;
use std::time::Duration;

use crate::broker::{Broker, Options};
use crate::load::World;
use crate::place::{Folder, Mount};
use crate::rng::Rng;
use crate::truth::How;
use crate::{rounds, seed, skip};

const MIB: u64 = 256;

#[test]
fn a_file_system_that_is_cut_off() {
    let test = "a_file_system_that_is_cut_off";
    let mut rng = Rng::new(seed(test));
    let folder = Folder::new(test);
    let mut world = World::new();
    let count = rounds(5, 200);
    for round in 0..=count {
        let mount = match Mount::ext4(&folder, MIB) {
            Ok(mount) => mount,
            Err(reason) if round == 0 => return skip(test, &reason),
            Err(reason) => panic!("{round}: {reason}"),
        };
        let mut options = Options::new(&mount.path().join("data")).shards(1 + rng.below(3) as usize);
        options.beside = folder.join("broker");
        options.small = rng.chance(50);
        let broker = Broker::must_start(&options);
        world.definitions.check(broker.address, &world.truth).expect("the broker answers");
        if rng.chance(60) || round == count {
            world.drain(broker.address, How::Drain).expect("the broker gives everything back");
        }
        world.truth.check(&format!("{test}: round {round}, after the start"));
        if round == count {
            broker.stop();
            break;
        }
        world.declare(broker.address).expect("the load's queues");
        let cutter = match mount.cutter() {
            Ok(cutter) => cutter,
            Err(reason) => return skip(test, &reason),
        };
        let load = world.load(broker.address, rng.next());
        sleep(Duration::from_millis(20 + rng.below(300)));
        // The cut has no one moment: the kernel may call a sync done that it overtakes. With the power gone nobody
        // would hear of it, so what is confirmed from now on does not count.
        let known = world.copy();
        let cut = cutter.cut();
        if cut.is_ok() {
            sleep(Duration::from_millis(rng.below(50)));
        }
        broker.kill();
        load.after_the_end(&world.truth, false);
        world.truth.check(&format!("{test}: round {round}, under load"));
        if let Err(reason) = cut {
            return skip(test, &reason);
        }
        world = known.and_later(&world);
        world.truth.killed();
    }
    eprintln!("{test}: {count} rounds, {:?}", world.truth.tally());
}
