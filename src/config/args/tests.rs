//! The command line, line by line.

use super::*;
use crate::config::file;

fn show(line: &str, config: Config) -> String {
    match parse(line.split_whitespace()) {
        Ok(Request::Help) => "help".into(),
        Ok(Request::Version) => "version".into(),
        Ok(Request::Snapshot(arguments)) => {
            let (data_dir, target) = arguments.places(&Environment::default()).unwrap();
            format!("{:?} to {}", data_dir.unwrap_or_default(), target.display())
        }
        Ok(Request::Store(arguments)) => format!("{:?} {}", arguments.command, arguments.directory.display()),
        Ok(Request::Config(command, arguments)) => {
            let config = arguments.over(config);
            format!("{command:?} {:?}", config.listen)
        }
        Ok(Request::Run(arguments)) => {
            let file = arguments.config.clone();
            let config = arguments.over(config);
            let listen: Vec<_> = config.listen.iter().map(|address| address.to_string()).collect();
            let level = config.log.level.map_or("-", |level| level.as_str());
            format!("{} {} {level} {}", listen.join(","), config.shards, file.is_some())
        }
        Err(text) => text,
    }
}

#[test]
fn options_over_the_defaults() {
    for (line, expected) in [
        ("", "127.0.0.1:5672,[::1]:5672 1 - false"),
        ("--port 0", "127.0.0.1:0,[::1]:0 1 - false"),
        ("-p 1234", "127.0.0.1:1234,[::1]:1234 1 - false"),
        ("--port=1234 --shards=64", "127.0.0.1:1234,[::1]:1234 64 - false"),
        ("--listen 0.0.0.0", "0.0.0.0:5672 1 - false"),
        ("--listen 0.0.0.0 --listen [::]:7 --port 8", "0.0.0.0:8,[::]:7 1 - false"),
        ("--listen ::1 --listen ::1", "[::1]:5672 1 - false"),
        ("--config x.conf --log-level warning", "127.0.0.1:5672,[::1]:5672 1 WARN true"),
        ("--log-level none", "127.0.0.1:5672,[::1]:5672 1 OFF false"),
        ("--help --nonsense", "help"),
        ("-V", "version"),
        ("--nonsense", "invalid option '--nonsense'"),
        ("server", "unexpected argument \"server\""),
        ("--port", "missing argument for option '--port'"),
        ("--data-dir", "missing argument for option '--data-dir'"),
        ("--data-dir=", "--data-dir is empty"),
        ("--data-dir d --in-memory", "--data-dir and --in-memory exclude each other"),
        ("--in-memory --data-dir d", "--data-dir and --in-memory exclude each other"),
        ("--port 65536", "bad value of --port, `65536`: expected a number, 0 to 65535"),
        ("--shards 0", "bad value of --shards, `0`: expected a number, 1 to 64"),
        ("--shards 65", "bad value of --shards, `65`: expected a number, 1 to 64"),
        (
            "--listen localhost",
            "bad value of --listen, `localhost`: expected an IP address with or without a port, such as \
             127.0.0.1:5672 or [::1]",
        ),
        ("--log-level loud", "bad value of --log-level, `loud`: expected error, warning, info, debug, trace or none"),
    ] {
        assert_eq!(show(line, Config::default()), expected, "{line}");
    }
}

#[test]
fn durable_things_lie_where_the_nearest_says() {
    let file = |text| file::parse("x", text, defaults()).unwrap().0;
    for (line, text, expected) in [
        ("", "", Some("leveret-data")),
        ("--in-memory", "", None),
        ("--data-dir a --data-dir b", "", Some("b")),
        ("", "store.dir = c", Some("c")),
        ("", "store.dir = none", None),
        ("--data-dir a", "store.dir = none", Some("a")),
        ("--in-memory", "store.dir = c", None),
    ] {
        let Ok(Request::Run(arguments)) = parse(line.split_whitespace()) else { panic!("{line}") };
        assert_eq!(arguments.over(file(text)).data_dir, expected.map(PathBuf::from), "{line} {text}");
    }
    assert_eq!(Config::default().data_dir, None, "a program that embeds a broker asks for one");
}

#[test]
fn snapshots() {
    for (line, expected) in [
        ("snapshot t", "\"leveret-data\" to t"),
        ("snapshot --data-dir d t", "\"d\" to t"),
        ("snapshot", "snapshot needs a directory to copy to"),
        ("snapshot a b", "unexpected argument \"b\""),
        ("snapshot t --port 1", "invalid option '--port'"),
        ("--port 1 snapshot t", "unexpected argument \"snapshot\""),
        ("snapshot --help", "help"),
    ] {
        assert_eq!(show(line, Config::default()), expected, "{line}");
    }
}

#[test]
fn store_commands() {
    let which = "store is followed by inspect or repair, and a data directory";
    for (line, expected) in [
        ("store inspect d", "Inspect d"),
        ("store repair d", "Repair d"),
        ("store", which),
        ("store mend d", which),
        ("store d", which),
        ("store inspect", "store needs a data directory"),
        ("store inspect a b", "unexpected argument \"b\""),
        ("store repair d --force", "invalid option '--force'"),
        ("--port 1 store inspect d", "unexpected argument \"store\""),
        ("store repair --help", "help"),
    ] {
        assert_eq!(show(line, Config::default()), expected, "{line}");
    }
}

#[test]
fn options_over_a_file() {
    let text =
        "listeners.tcp.1 = 10.0.0.1:1\nlisteners.tcp.2 = 10.0.0.1:2\nserver.shards = 3\nlog.default.level = debug";
    for (line, expected) in [
        ("", "10.0.0.1:1,10.0.0.1:2 3 DEBUG false"),
        ("--port 9", "10.0.0.1:9 3 DEBUG false"),
        ("--listen ::1", "[::1]:5672 3 DEBUG false"),
        ("--shards 1 --log-level error", "10.0.0.1:1,10.0.0.1:2 1 ERROR false"),
    ] {
        let (config, _) = file::parse("x", text, Config::default()).unwrap();
        assert_eq!(show(line, config), expected, "{line}");
    }
}
