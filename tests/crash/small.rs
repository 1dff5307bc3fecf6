//! A broker with small segments and frequent checkpoints as a process: a short load gets to do everything that takes
//! the binary gigabytes. It is this test program, started again with the name of the one test below.

use std::env;
use std::io::Write;
use std::path::Path;

use leveret::config::LogConfig;
use leveret::config::file;
use leveret::limits::Limits;
use leveret::server::signals::Signals;
use leveret::{Config, Server};

/// The environment that asks for it.
pub const DATA_DIR: &str = "LEVERET_CRASH_BROKER_DIR";
pub const SETTINGS: &str = "LEVERET_CRASH_BROKER_SETTINGS";
pub const SHARDS: &str = "LEVERET_CRASH_BROKER_SHARDS";

/// A configuration with small files.
pub fn config(data_dir: &Path, shards: usize) -> Config {
    let mut config = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], shards, ..Config::default() };
    config.data_dir = Some(data_dir.to_owned());
    limit(&mut config.settings.limits);
    config
}

fn limit(limits: &mut Limits) {
    limits.stored_messages_bytes_max = 1 << 20;
    limits.segment_bytes = 256 << 10;
    limits.segment_bytes_min = 64 << 10;
    limits.segments_nursery = 2;
    limits.checkpoint_bytes = 1 << 20;
    limits.checkpoint_ms = 200;
}

#[test]
#[ignore = "a broker for other tests, which start it as a process of its own"]
fn a_small_broker() {
    let Some(data_dir) = env::var_os(DATA_DIR) else {
        return;
    };
    let shards = env::var(SHARDS).ok().and_then(|text| text.parse().ok()).expect("a number of shards");
    let small = config(Path::new(&data_dir), shards);
    let settings = env::var_os(SETTINGS).expect("a configuration file");
    let (config, _) = file::load(Path::new(&settings), small).expect("a configuration");
    leveret::server::logger::init(&LogConfig::default()).expect("the only logger");
    let signals = Signals::install().expect("signals");
    let server = match Server::start(config) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("leveret: {error}");
            std::process::exit(1);
        }
    };
    writeln!(std::io::stdout(), "leveret (small) ready on {}", server.local_addr()).expect("somebody listens");
    signals.wait();
    server.shutdown();
}
