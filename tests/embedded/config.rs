//! The configuration of the binary: files, variables, options, what it says of them, and its log.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directory that is gone after the test.
struct Place(PathBuf);

impl Place {
    /// A new directory with these files.
    fn with(files: &[(&str, &[u8])]) -> Place {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("leveret-config-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        for (name, bytes) in files {
            let at = path.join(name);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, bytes).unwrap();
        }
        Place(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The binary in this directory, without RabbitMQ's variables but these.
    fn command(&self, variables: &[(&str, &str)], line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
        command.args(line.split_whitespace()).current_dir(&self.0);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RABBITMQ_")) {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
        command
    }

    fn run(&self, variables: &[(&str, &str)], line: &str) -> Output {
        self.command(variables, line).output().expect("the binary")
    }

    /// The exit code and the standard output, or the standard error output where there is no other.
    fn said(&self, variables: &[(&str, &str)], line: &str) -> (i32, String) {
        let output = self.run(variables, line);
        let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A broker that is killed when the test is over.
struct Running(Child);

impl Running {
    /// Starts it, and returns when it listens.
    fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary");
        let output = BufReader::new(child.stdout.take().unwrap());
        let ready = output.lines().map_while(Result::ok).any(|line| line.contains(" ready on "));
        assert!(ready, "it does not listen");
        Running(child)
    }

    fn stop(mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_bad_file_stops_the_start_and_everything_wrong_is_named() {
    let text = b"heartbeat = 10\nhearbeat = 10\ntcp_listen_options.backlog = 4\nframe_max = 7\nlog.console\n";
    let place = Place::with(&[("a.conf", text)]);
    let output = place.run(&[], "--in-memory --listen 127.0.0.1:0 --config a.conf");
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty());
    let expected = "leveret: a.conf:5: expected `key = value`\n\
                    leveret: a.conf:2: unknown key hearbeat: did you mean heartbeat?\n\
                    leveret: a.conf:4: bad value of frame_max, `7`: expected a size such as 131072 or 128KB, 4096 \
                    bytes to 512 MiB, or 0 for no limit\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);

    let checked = expected.replace("leveret: ", "error: ")
        + "warning: a.conf:3: tcp_listen_options.backlog is not honoured yet\nthe configuration cannot be used\n";
    assert_eq!(place.said(&[], "config check --config a.conf"), (78, checked));
}

#[test]
fn check_says_what_there_is_to_know() {
    let place =
        Place::with(&[("a.conf", b"management.tcp.port = 1\n"), ("advanced.config", b"[]."), ("x.config", b"[].")]);
    let good = "the configuration can be used\n";
    assert_eq!(place.said(&[], "config check"), (0, good.into()));
    let expected = format!(
        "warning: advanced.config: is not honoured yet: it is in the format of Erlang's terms\n\
         warning: a.conf:1: management.tcp.port is not honoured yet\n\
         warning: environment: RABBITMQ_ERLANG_COOKIE has no effect: it is about the inside of RabbitMQ\n\
         warning: command line: --http-port is not honoured yet\n{good}"
    );
    let said = place.said(&[("RABBITMQ_ERLANG_COOKIE", "x")], "config check --config a.conf --http-port 3");
    assert_eq!(said, (0, expected));
    for (variables, expected) in [
        (
            [("RABBITMQ_SSL_CERTFILE", "x")],
            "error: environment: RABBITMQ_SSL_CERTFILE is set but deprecated: use ssl_options.certfile in a \
             configuration file\n",
        ),
        (
            [("RABBITMQ_CONFIG_FILE", "x")],
            "error: environment: RABBITMQ_CONFIG_FILE: x.config is in the format of Erlang's terms, which is not \
             supported\n",
        ),
    ] {
        let (code, text) = place.said(&variables, "config check");
        assert_eq!((code, text), (78, format!("{expected}the configuration cannot be used\n")));
    }
    let (code, text) = place.said(&[("RABBITMQ_CONFIG_FILE", "etc/none")], "config check");
    assert_eq!(code, 0);
    assert_eq!(text, format!("warning: environment: RABBITMQ_CONFIG_FILE: there is no file etc/none\n{good}"));
    assert_eq!(place.said(&[], "config"), (2, "leveret: config is followed by check or show (try --help)\n".into()));
    assert_eq!(place.said(&[], "config check --nonsense").0, 2);
}

#[test]
fn files_are_read_in_the_order_of_their_names_and_the_last_word_counts() {
    let place = Place::with(&[
        ("etc/a.conf", b"heartbeat = 1\nchannel_max = 1\ndefault_pass = x\n"),
        ("etc/conf.d/20-b.conf", b"heartbeat = 3\n"),
        ("etc/conf.d/10-a.conf", b"heartbeat = 2\nframe_max = $(FRAME)\n"),
        ("etc/conf.d/30-c.conf.bak", b"heartbeat = 4\n"),
        ("etc/conf.d/.hidden.conf", b"heartbeat = 5\n"),
        ("more/x", b"cluster_name = $(frame_max)#\n"),
        ("more/y", b"heartbeat = 6\n"),
    ]);
    let frame = ("FRAME", "8192");
    let in_conf_d = "heartbeat = 3 # etc/conf.d/20-b.conf:1\nchannel_max = 1 # etc/a.conf:2\n\
                     default_pass = ******** # etc/a.conf:3\nframe_max = 8192 # etc/conf.d/10-a.conf:2\n";
    assert_eq!(place.said(&[frame], "config show -c etc/a.conf"), (0, in_conf_d.into()));
    let named = [frame, ("RABBITMQ_CONFIG_FILE", "etc/a")];
    assert_eq!(place.said(&named, "config show"), (0, in_conf_d.into()));
    let (code, text) = place.said(&[], "config show -c etc/a.conf");
    assert_eq!(code, 78);
    assert!(text.contains("etc/conf.d/10-a.conf:2: frame_max: there is no key and no variable FRAME"), "{text}");
    for (pattern, expected) in [
        ("more", "heartbeat = 6 # more/y:1\n"),
        ("more/*", "heartbeat = 6 # more/y:1\n"),
        ("more/y", "heartbeat = 6 # more/y:1\n"),
        ("etc/conf.d/20*.conf", "heartbeat = 3 # etc/conf.d/20-b.conf:1\n"),
        ("none/*", ""),
    ] {
        let variables = [frame, ("frame_max", "z"), ("RABBITMQ_CONFIG_FILES", pattern)];
        let (code, text) = place.said(&variables, "config show");
        assert_eq!(code, 0, "{text}");
        let text = text.replace("cluster_name = z # more/x:1\n", "");
        assert_eq!(text.trim(), expected.trim(), "{pattern}");
    }
}

#[test]
fn files_that_are_none_are_told_from_one_another() {
    let long = [&b"heartbeat = "[..], &vec![b'1'; 10 << 20]].concat();
    let line = [&b"\n\nheartbeat = "[..], &vec![b'1'; 3 << 20]].concat();
    let key = vec![b'k'; 3 << 20];
    let place = Place::with(&[
        ("utf.conf", b"# a\nheartbeat = 1\ndefault_pass = \xff\n"),
        ("utf16.conf", b"\xff\xfeh\0e\0"),
        ("long.conf", &long),
        ("line.conf", &line),
        ("key.conf", &[&key[..], b" = 1"].concat()),
        ("dir/x", b""),
    ]);
    let shown = format!("`{}...`", "1".repeat(60));
    for (file, expected) in [
        ("utf.conf", "utf.conf:3: is not UTF-8 text\n"),
        ("utf16.conf", "utf16.conf:1: is not UTF-8 text\n"),
        ("long.conf", "long.conf: is larger than 4194304 bytes\n"),
        ("line.conf", &format!("line.conf:3: bad value of heartbeat, {shown}: expected seconds, 0 to 65535\n")),
        ("key.conf", "key.conf:1: the key is longer than 512 bytes\n"),
        ("dir", "dir: cannot be read: Is a directory (os error 21)\n"),
        ("none.conf", "none.conf: cannot be read: No such file or directory (os error 2)\n"),
    ] {
        let (code, text) = place.said(&[], &format!("--in-memory --listen 127.0.0.1:0 --config {file}"));
        assert_eq!((code, text), (78, format!("leveret: {expected}")), "{file}");
    }
}

#[test]
fn the_log_goes_where_it_is_said_and_the_number_of_the_process_to_its_file() {
    let text = b"log.dir = logs\nlog.file = a.log\nlog.file.formatter = json\nnum_acceptors.tcp = 5\n";
    let place = Place::with(&[("a.conf", text)]);
    let line = "--in-memory --listen 127.0.0.1:0 --config a.conf";
    let pid_file = ("RABBITMQ_PID_FILE", "pid");
    let running = Running::start(&mut place.command(&[pid_file], line));
    let pid = running.0.id();
    assert_eq!(fs::read_to_string(place.at("pid")).unwrap(), format!("{pid}\n"));
    running.stop();
    assert!(!place.at("pid").exists());
    let log = |path: &Path| fs::read_to_string(path).unwrap();
    let lines = log(&place.at("logs/a.log"));
    let said = "\"level\":\"warning\",\"msg\":\"a.conf:4: num_acceptors.tcp has no effect: it is about the inside of \
                RabbitMQ\",\"domain\":\"rabbitmq\"}";
    assert!(lines.lines().next().unwrap().ends_with(said), "{lines}");
    assert!(lines.contains("\"msg\":\"stopping\""), "{lines}");

    // Variables go over files, and an option over both.
    let variables = [pid_file, ("RABBITMQ_KEEP_PID_FILE_ON_EXIT", "true"), ("RABBITMQ_LOGS", "logs/b.log")];
    Running::start(&mut place.command(&variables, &format!("{line} --log-level error"))).stop();
    assert!(place.at("pid").exists());
    assert_eq!(log(&place.at("logs/a.log")), lines);
    assert_eq!(log(&place.at("logs/b.log")), "");

    let (code, text) = place.said(&[("RABBITMQ_LOG_BASE", "a.conf/x")], line);
    assert_eq!(code, 1);
    assert!(text.starts_with("leveret: cannot log to a.conf/x/a.log: "), "{text}");
}
