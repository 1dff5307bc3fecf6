//! The walls of the house: who may know whom, how large a file may be, and what may not be in any file.
//!
//! Everything is read from the folder itself, not from a version control system, so that an export passes as well.
//! Each check is a function from files to findings, and has a test that shows it finding something.

#![allow(clippy::disallowed_methods)] // it reads the files of the project

use std::fs;
use std::path::Path;

/// A room: the rooms and the crates that it may know. `*` is everybody.
struct Room {
    name: &'static str,
    rooms: &'static [&'static str],
    crates: &'static [&'static str],
    /// May know of the operating system, and of chance.
    system: bool,
}

const ROOMS: &[Room] = &[
    Room { name: "amqp", rooms: &[], crates: &[], system: false },
    Room { name: "connection", rooms: &["amqp", "limits"], crates: &["bytes", "slab"], system: false },
    Room {
        name: "broker",
        rooms: &["amqp", "time"],
        crates: &[
            "ahash",
            "argon2",
            "base64",
            "bytes",
            "md5",
            "memmap2",
            "regex",
            "serde_json",
            "sha2",
            "siphasher",
            "slab",
            "smallvec",
            "subtle",
        ],
        system: false,
    },
    Room {
        name: "shard",
        rooms: &["amqp", "connection", "broker", "config::Settings", "config::settings", "limits", "store", "time"],
        crates: &["ahash", "bytes", "rand_chacha", "slab", "smallvec"],
        system: false,
    },
    Room { name: "store", rooms: &["limits"], crates: &["ahash", "crc32c"], system: false },
    Room { name: "limits", rooms: &[], crates: &[], system: false },
    Room { name: "time", rooms: &[], crates: &[], system: false },
    Room { name: "config", rooms: &["limits"], crates: &["lexopt", "log"], system: true },
    Room { name: "server", rooms: &["*"], crates: &["*"], system: true },
];

/// What the rooms without a system may use of the standard library. Not among it: clocks, sockets, files, threads,
/// locks, the environment, and whatever else makes one run differ from another.
const STD: &[&str] = &[
    "array",
    "borrow",
    "cell::Cell",
    "cell::RefCell",
    "cmp",
    "collections::BTreeMap",
    "collections::BTreeSet",
    "collections::BinaryHeap",
    "collections::HashMap", // its type, with a seeded hash: .clippy.toml forbids HashMap::new
    "collections::HashSet",
    "collections::VecDeque",
    "collections::btree_map",
    "convert",
    "error::Error", // what programs that embed the broker pass on
    "fmt",
    "hash",
    "io::Error", // what a disk answers with
    "io::ErrorKind",
    "io::IoSlice",
    "io::Result",
    "iter",
    "mem",
    "net::IpAddr",
    "net::Ipv4Addr",
    "net::Ipv6Addr",
    "net::SocketAddr",
    "num",
    "ops",
    "rc::Rc",
    "result",
    "slice",
    "str",
    "sync::Arc",
    "sync::OnceLock",
    "time::Duration",
    "vec",
];

/// No file of the library is longer.
const LINES_MAX: usize = 800;
/// Longer files are listed, each with the most that it may have.
const LINES_FREE: usize = 400;
/// So much below its ceiling, a ceiling is to be lowered.
const CEILING_SLACK: usize = 60;
const MEDIAN_MAX: usize = 250;
const CEILINGS: &[(&str, usize)] = &[
    ("src/broker/entries.rs", 450),
    ("src/broker/queue.rs", 420),
    ("src/broker/topology.rs", 540),
    ("src/connection/mod.rs", 580),
    ("src/shard/admin.rs", 420),
    ("src/shard/dispatch/connection.rs", 450),
    ("src/shard/mod.rs", 420),
    ("src/shard/owner.rs", 540),
    ("src/shard/receive.rs", 405),
];

const WIDTH_MAX: usize = 120;
/// Files with longer lines, and why.
const WIDE: &[(&str, &str)] = &[
    ("src/amqp/method.rs", "the specification is a table: one method, one line"),
    ("tests/protocol/definitions.rs", "the same, written down a second time"),
];

/// Places that may call `unwrap` or `expect`, and why.
const UNWRAPS: &[(&str, &str)] = &[];

/// What may be at the top, beside names that begin with a dot.
const TOP: &[&str] = &["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "benches", "perf", "src", "tests"];

/// Where the packages in Cargo.lock come from. Cargo itself writes this, whatever mirror it uses.
const LOCK_SOURCE: &str = concat!("source = \"registry+https://github.com/rust-lang/crates.", "io-index\"");

/// Text that is in no file, and why. In pieces, because this file is one too.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of somebody's machine"),
    (concat!("/ro", "ot/"), "a path of somebody's machine"),
    (concat!("/ho", "me/"), "a path of somebody's machine"),
    (concat!("/Use", "rs/"), "a path of somebody's machine"),
    (concat!("crates", ".io"), "a registry's host"),
    (concat!("pypi", ".org"), "a registry's host"),
    (concat!("pythonhosted", ".org"), "a registry's host"),
    (concat!("npmjs", ".org"), "a registry's host"),
    (concat!("yarnpkg", ".com"), "a registry's host"),
    (concat!("proxy.golang", ".org"), "a registry's host"),
    (concat!("sum.golang", ".org"), "a registry's host"),
    (concat!("maven.apache", ".org"), "a registry's host"),
    (concat!("maven", ".org"), "a registry's host"),
    (concat!("rubygems", ".org"), "a registry's host"),
];

// ---- files

struct File {
    /// From the top, with slashes.
    path: String,
    text: String,
}

fn file(path: &str, text: &str) -> File {
    File { path: path.into(), text: text.into() }
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names at the top that belong to nobody: what `.gitignore` lists there.
fn ignored() -> Vec<String> {
    let text = fs::read_to_string(top().join(".gitignore")).unwrap_or_default();
    let mut names: Vec<String> = text.lines().filter_map(|line| Some(line.strip_prefix('/')?.into())).collect();
    names.push(".git".into());
    names
}

/// The names at the top.
fn names() -> Vec<String> {
    let ignored = ignored();
    let mut names: Vec<String> = fs::read_dir(top())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !ignored.contains(name))
        .collect();
    names.sort();
    names
}

/// Every file, by path.
fn files() -> Vec<File> {
    let mut found = vec![];
    let mut folders: Vec<String> = vec![];
    let mut see = |path: String, folders: &mut Vec<String>| {
        let at = top().join(&path);
        if at.is_dir() {
            folders.push(path);
        } else if let Ok(bytes) = fs::read(at) {
            found.push(file(&path, &String::from_utf8_lossy(&bytes)));
        }
    };
    names().into_iter().for_each(|name| see(name, &mut folders));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(top().join(&folder)).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            // Left there by tools that were run in place.
            if !["target", "node_modules", "__pycache__"].contains(&&*name) {
                see(format!("{folder}/{name}"), &mut folders);
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 100, "the files were not found");
    found
}

fn is_rust(file: &File) -> bool {
    file.path.ends_with(".rs")
}

fn in_library(file: &File) -> bool {
    is_rust(file) && file.path.starts_with("src/")
}

// ---- Rust, as far as needed

#[derive(Debug, Clone, PartialEq)]
struct Token {
    line: usize,
    /// A name or number, `::`, one other character, or `""` for any string.
    text: String,
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The tokens of a Rust file, without comments and what is in strings.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut found, mut i, mut line): (Vec<Token>, usize, usize) = (vec![], 0, 1);
    while i < chars.len() {
        let start = i;
        let mut token = String::new();
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= chars.len() {
                        break;
                    }
                }
            }
            '"' => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
                token = "\"\"".into();
            }
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            '\'' => i += 1, // a lifetime: its name stands alone
            c if c.is_alphanumeric() || c == '_' => {
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
                token = chars[start..i].iter().collect();
                let hashes = (i..).take_while(|&i| at(i) == '#').count();
                if token.ends_with('r') && token.len() <= 2 && at(i + hashes) == '"' {
                    i += hashes + 1;
                    let closes = |i: usize| at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#');
                    while i < chars.len() && !closes(i) {
                        i += 1;
                    }
                    i += hashes + 1;
                    token = "\"\"".into();
                }
            }
            ':' if at(i + 1) == ':' => {
                i += 2;
                token = "::".into();
            }
            c => {
                i += 1;
                if !c.is_whitespace() {
                    token = c.into();
                }
            }
        }
        if !token.is_empty() {
            found.push(Token { line, text: token });
        }
        line += chars[start..i.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

/// A file of tests in the library: `tests.rs`, or one in the folder beside it.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn matches(tokens: &[Token], pattern: &[&str]) -> bool {
    tokens.len() >= pattern.len() && tokens.iter().zip(pattern).all(|(token, text)| token.text == *text)
}

/// Without the items that exist in tests only.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let (mut kept, mut i) = (vec![], 0);
    while i < tokens.len() {
        let rest = &tokens[i..];
        let only_tests =
            [&["#", "[", "cfg", "(", "test", ")", "]"][..], &["#", "[", "cfg", "(", "all", "(", "test", ","]];
        if !only_tests.iter().any(|pattern| matches(rest, pattern)) {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        }
        let mut depth = 0;
        while let Some(token) = tokens.get(i) {
            i += 1;
            match &*token.text {
                "{" => depth += 1,
                "}" if depth == 1 => break,
                "}" => depth -= 1,
                ";" if depth == 0 => break,
                _ => {}
            }
        }
    }
    kept
}

/// A path as written, with the number of modules within the file that it is in.
#[derive(Debug, PartialEq)]
struct Named {
    line: usize,
    inside: usize,
    parts: Vec<String>,
}

/// Adds the paths of a use tree; returns what follows it.
fn use_tree(tokens: &[Token], mut i: usize, prefix: &[String], inside: usize, found: &mut Vec<Named>) -> usize {
    let mut parts = prefix.to_vec();
    let line = tokens.get(i).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(i) {
        match &*token.text {
            "::" => i += 1,
            "{" => {
                i += 1;
                while tokens.get(i).is_some_and(|token| token.text != "}") {
                    i = use_tree(tokens, i, &parts, inside, found);
                    i += usize::from(tokens.get(i).is_some_and(|token| token.text == ","));
                }
                return i + 1;
            }
            "as" => i += 2,
            name if is_name(name) || name == "*" => {
                parts.push(name.into());
                i += 1;
            }
            _ => break,
        }
    }
    found.push(Named { line, inside, parts });
    i.max(1)
}

/// All paths of a file: those of `use`, taken apart, and those of more than one part in the code.
fn paths(tokens: &[Token]) -> Vec<Named> {
    let (mut found, mut i) = (vec![], 0);
    let (mut depth, mut modules) = (0, vec![]);
    while i < tokens.len() {
        let text = &*tokens[i].text;
        let before = i.checked_sub(1).map_or("", |i| &*tokens[i].text);
        let after = tokens.get(i + 1).map_or("", |token| &*token.text);
        match text {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if modules.last() == Some(&depth) {
                    modules.pop();
                }
            }
            "mod" if tokens.get(i + 2).is_some_and(|token| token.text == "{") => modules.push(depth),
            "use" if after != "<" => {
                i = use_tree(tokens, i + 1, &[], modules.len(), &mut found);
                continue;
            }
            name if is_name(name) && after == "::" && before != "." => {
                let line = tokens[i].line;
                let mut parts = vec![name.to_owned()];
                while matches(&tokens[i + 1..], &["::"]) && tokens.get(i + 2).is_some_and(|t| is_name(&t.text)) {
                    parts.push(tokens[i + 2].text.clone());
                    i += 2;
                }
                found.push(Named { line, inside: modules.len(), parts });
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// The module that a file of the library is.
fn module(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let parts = path.split('/').filter(|part| !["mod", "lib", "main"].contains(part));
    parts.map(str::to_owned).collect()
}

/// A path from the crate's root, if it leads there.
fn from_root(named: &Named, module: &[String]) -> Option<Vec<String>> {
    let up = named.parts.iter().take_while(|part| *part == "super").count();
    let rest = |skip: usize| named.parts.iter().skip(skip).cloned();
    match &*named.parts[0] {
        "crate" => Some(rest(1).collect()),
        "super" if up > named.inside => {
            let keep = module.len().saturating_sub(up - named.inside);
            Some(module[..keep].iter().cloned().chain(rest(up)).collect())
        }
        _ => None,
    }
}

/// Whether a path is, or is in, one of those allowed.
fn allowed(list: &[&str], path: &str) -> bool {
    list.iter()
        .any(|one| *one == "*" || path.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
}

/// The crates that Cargo.toml lists, as the code names them.
fn crates(files: &[File]) -> Vec<String> {
    let manifest = files.iter().find(|file| file.path == "Cargo.toml").map_or("", |file| &file.text);
    let mut inside = false;
    let mut found = vec![];
    for line in manifest.lines() {
        match line.strip_prefix('[') {
            Some(section) => inside = section.contains("dependencies"),
            None if inside => found.extend(line.split_once('=').map(|(name, _)| name.trim().replace('-', "_"))),
            None => {}
        }
    }
    found
}

// ---- the checks

fn walls(files: &[File]) -> Vec<String> {
    let crates = crates(files);
    let mut findings = vec![];
    for file in files.iter().filter(|file| in_library(file) && !["src/lib.rs", "src/main.rs"].contains(&&*file.path)) {
        let module = module(&file.path);
        let path = &file.path;
        let Some(room) = ROOMS.iter().find(|room| room.name == module[0]) else {
            findings.push(format!("{path}: tests/tidy.rs does not know the room"));
            continue;
        };
        let tokens = tokens(&file.text);
        let has_module = |name: &str| tokens.windows(3).any(|t| matches(t, &["mod", name, ";"]));
        for named in paths(&tokens).iter().filter(|named| !named.parts.is_empty()) {
            let (line, first, rest) = (named.line, &*named.parts[0], named.parts[1..].join("::"));
            if let Some(inner) = from_root(named, &module) {
                let target = inner.join("::");
                if inner.first().is_none_or(|other| other != room.name) && !allowed(room.rooms, &target) {
                    findings.push(format!("{path}:{line}: {} may not know crate::{target}", room.name));
                }
            } else if ["std", "core", "alloc"].contains(&first) {
                if !room.system && !allowed(STD, &rest) {
                    findings.push(format!("{path}:{line}: {} may not use {first}::{rest}", room.name));
                }
            } else if crates.iter().any(|one| one == first) && !allowed(room.crates, first) && !has_module(first) {
                findings.push(format!("{path}:{line}: {} may not use the crate {first}", room.name));
            }
        }
    }
    findings
}

fn sizes(files: &[File]) -> Vec<String> {
    let mut findings = vec![];
    let mut all = vec![];
    for file in files.iter().filter(|file| in_library(file)) {
        let (path, lines) = (&*file.path, file.text.lines().count());
        all.push(lines);
        let ceiling = CEILINGS.iter().find(|(listed, _)| *listed == path).map(|(_, lines)| *lines);
        if lines > ceiling.unwrap_or(LINES_FREE) {
            findings.push(format!("{path}: {lines} lines, at most {} allowed", ceiling.unwrap_or(LINES_FREE)));
        } else if let Some(ceiling) = ceiling
            && (lines <= LINES_FREE || ceiling - lines > CEILING_SLACK)
        {
            findings.push(format!("{path}: {lines} lines, lower or remove its ceiling of {ceiling}"));
        }
        if lines > LINES_MAX {
            findings.push(format!("{path}: {lines} lines, and {LINES_MAX} is the most for any file"));
        }
    }
    all.sort();
    match all.get(all.len() / 2) {
        Some(median) if *median >= MEDIAN_MAX => findings.push(format!("the median file has {median} lines")),
        _ => {}
    }
    findings
}

/// Ceilings of files that are not there any more.
fn lists(files: &[File]) -> Vec<String> {
    let listed = CEILINGS.iter().map(|(path, _)| *path);
    let listed = listed.chain(WIDE.iter().chain(UNWRAPS).map(|(path, _)| *path));
    listed
        .filter(|path| !files.iter().any(|file| file.path == *path))
        .map(|path| format!("{path} is listed and does not exist"))
        .collect()
}

fn widths(files: &[File]) -> Vec<String> {
    let mut findings = vec![];
    let ours = |file: &&File| is_rust(file) && !file.path.starts_with("tests/clients/");
    for file in files.iter().filter(ours).filter(|file| !WIDE.iter().any(|(path, _)| *path == file.path)) {
        for (i, line) in file.text.lines().enumerate() {
            let width = line.chars().count();
            if width > WIDTH_MAX {
                findings.push(format!("{}:{}: {width} characters", file.path, i + 1));
            }
        }
    }
    findings
}

/// Words that are not to be committed.
fn words(files: &[File]) -> Vec<String> {
    let mut findings = vec![];
    for file in files.iter().filter(|file| is_rust(file)) {
        let path = &file.path;
        let all = tokens(&file.text);
        for (i, token) in all.iter().enumerate() {
            let is_macro = matches(&all[i + 1..], &["!"]);
            match &*token.text {
                "unsafe" => findings.push(format!("{path}:{}: unsafe", token.line)),
                "todo" | "unimplemented" | "dbg" if is_macro => {
                    findings.push(format!("{path}:{}: {}!", token.line, token.text));
                }
                _ => {}
            }
        }
        // A file of tests is declared as one: `test_files` looks.
        if !in_library(file) || is_test(path) || UNWRAPS.iter().any(|(listed, _)| listed == path) {
            continue;
        }
        let all = without_tests(all);
        for (i, token) in all.iter().enumerate() {
            for name in ["unwrap", "expect"] {
                if matches(&all[i..], &[".", name, "("]) {
                    findings.push(format!("{path}:{}: .{name}()", token.line));
                }
            }
        }
    }
    findings
}

/// Files of tests in the library are compiled in tests only.
fn test_files(files: &[File]) -> Vec<String> {
    let mut findings = vec![];
    for file in files.iter().filter(|file| in_library(file) && is_test(&file.path)) {
        let parent = match file.path.split_once("/tests/") {
            Some((parent, _)) => parent,
            None => file.path.trim_end_matches("/tests.rs"),
        };
        let parents = [format!("{parent}.rs"), format!("{parent}/mod.rs")];
        let declared = files.iter().filter(|other| parents.contains(&other.path)).any(|other| {
            let all = tokens(&other.text);
            let pattern = ["#", "[", "cfg", "(", "test", ")", "]", "mod", "tests", ";"];
            (0..all.len()).any(|i| matches(&all[i..], &pattern))
        });
        if !declared {
            findings.push(format!("{}: not declared with #[cfg(test)]", file.path));
        }
    }
    findings
}

fn forbidden_text(files: &[File]) -> Vec<String> {
    let mut findings = vec![];
    for file in files {
        for (i, line) in file.text.lines().enumerate() {
            if file.path == "Cargo.lock" && line.starts_with("source = ") {
                if line != LOCK_SOURCE {
                    findings.push(format!("{}:{}: a package from elsewhere", file.path, i + 1));
                }
                continue;
            }
            if let Some((_, why)) = FORBIDDEN.iter().find(|(text, _)| line.contains(text)) {
                findings.push(format!("{}:{}: {why}", file.path, i + 1));
            }
        }
    }
    findings
}

fn top_names(names: &[String]) -> Vec<String> {
    names
        .iter()
        .filter(|name| !name.starts_with('.') && !TOP.contains(&&***name))
        .map(|name| format!("{name} does not belong at the top"))
        .collect()
}

/// Settings, options and bounds that the README does not mention.
fn readme(files: &[File]) -> Vec<String> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map_or("", |file| &*file.text);
    let mut names: Vec<String> = vec![];
    let keys = text("src/config/keys.rs").split("#[cfg(test)]").next().unwrap_or("");
    let key = |part: &&str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.*".contains(c))
    };
    names.extend(keys.split('"').skip(1).step_by(2).filter(key).map(str::to_owned));
    let help = text("src/config/args.rs").split("pub const HELP").nth(1).unwrap_or("");
    let help = help.split("\";").next().unwrap_or("");
    names.extend(help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned));
    let limits = text("src/limits.rs").lines().filter_map(|line| line.trim().strip_prefix("pub "));
    names.extend(limits.filter_map(|line| Some(line.split_once(": ")?.0.to_owned())));
    let readme = text("README.md");
    names
        .iter()
        .filter(|name| {
            let quoted = format!("`{name}");
            !readme.split(&quoted).skip(1).any(|rest| rest.starts_with(['`', ' ']))
        })
        .map(|name| format!("README.md does not mention `{name}`"))
        .collect()
}

// ---- the project

fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn rooms_know_only_whom_they_may_know() {
    none(walls(&files()));
}

#[test]
fn files_are_short() {
    none(sizes(&files()));
    none(lists(&files()));
}

#[test]
fn lines_are_short() {
    none(widths(&files()));
}

#[test]
fn nothing_unfinished_or_unchecked_is_in_the_code() {
    none(words(&files()));
    none(test_files(&files()));
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    none(forbidden_text(&files()));
}

#[test]
fn the_top_is_tidy() {
    none(top_names(&names()));
}

#[test]
fn the_readme_mentions_every_setting_option_and_limit() {
    none(readme(&files()));
}

// ---- the checks find something

const MANIFEST: &str = "[dependencies]\nmio = \"1\"\nsmallvec = \"1\" # x\nrand_chacha = \"0\"\nlog = \"0\"\n";

/// Checks one file with this text.
fn found(check: fn(&[File]) -> Vec<String>, path: &str, text: &str) -> String {
    check(&[file("Cargo.toml", MANIFEST), file(path, text)]).join("; ")
}

#[test]
fn walls_are_found_broken() {
    for (path, text, expected) in [
        ("src/amqp/a.rs", "use crate::amqp::frame;", ""),
        ("src/amqp/a.rs", "\nuse crate::broker::queue;", "src/amqp/a.rs:2: amqp may not know crate::broker::queue"),
        ("src/amqp/a.rs", "fn f() { crate::time::Now }", "src/amqp/a.rs:1: amqp may not know crate::time::Now"),
        ("src/amqp/mod.rs", "use super::limits::A;", "src/amqp/mod.rs:1: amqp may not know crate::limits::A"),
        ("src/amqp.rs", "use super::limits::A;", "src/amqp.rs:1: amqp may not know crate::limits::A"),
        ("src/amqp/a.rs", "use super::frame; use self::b::C;", ""),
        ("src/amqp/a.rs", "use super::super::limits;", "src/amqp/a.rs:1: amqp may not know crate::limits"),
        ("src/amqp/a.rs", "mod tests { use super::*; use super::super::frame; }", ""),
        ("src/amqp/mod.rs", "mod tests { use super::*; }", ""),
        ("src/amqp/mod.rs", "mod a { b }\nuse super::*;", "src/amqp/mod.rs:2: amqp may not know crate::*"),
        ("src/connection/a.rs", "use crate::{amqp::A, limits::Limits};", ""),
        (
            "src/connection/a.rs",
            "pub use crate::{amqp::{A, b::*},\n  shard as s};",
            "src/connection/a.rs:2: connection may not know crate::shard",
        ),
        ("src/connection/a.rs", "use crate::Config;", "src/connection/a.rs:1: connection may not know crate::Config"),
        ("src/broker/a.rs", "use crate::limits::A;", "src/broker/a.rs:1: broker may not know crate::limits::A"),
        ("src/shard/a.rs", "use crate::config::{Settings, settings::User};", ""),
        ("src/shard/a.rs", "use crate::config::Config;", "src/shard/a.rs:1: shard may not know crate::config::Config"),
        ("src/shard/a.rs", "use crate::server;", "src/shard/a.rs:1: shard may not know crate::server"),
        ("src/server/a.rs", "use crate::{broker, shard}; use std::fs; use mio::Poll;", ""),
        ("src/config/a.rs", "use std::fs; use crate::limits::Limits; log::Level;", ""),
        ("src/config/a.rs", "use crate::shard;", "src/config/a.rs:1: config may not know crate::shard"),
        ("src/cellar/a.rs", "", "src/cellar/a.rs: tests/tidy.rs does not know the room"),
        // The standard library.
        ("src/shard/a.rs", "use std::{mem, net::SocketAddr, sync::Arc, time::Duration};", ""),
        ("src/shard/a.rs", "use std::time::Instant;", "src/shard/a.rs:1: shard may not use std::time::Instant"),
        ("src/shard/a.rs", "use std::time;", "src/shard/a.rs:1: shard may not use std::time"),
        ("src/shard/a.rs", "use std::time::*;", "src/shard/a.rs:1: shard may not use std::time::*"),
        (
            "src/broker/a.rs",
            "use std::{fs, net::{SocketAddr, TcpStream as T}};",
            "src/broker/a.rs:1: broker may not use std::fs; src/broker/a.rs:1: broker may not use std::net::TcpStream",
        ),
        ("src/amqp/a.rs", "fn f() { ::std::env::var(x) }", "src/amqp/a.rs:1: amqp may not use std::env::var"),
        ("src/amqp/a.rs", "std::thread::sleep()", "src/amqp/a.rs:1: amqp may not use std::thread::sleep"),
        ("src/amqp/a.rs", "std::sync::Mutex::new()", "src/amqp/a.rs:1: amqp may not use std::sync::Mutex::new"),
        // Crates.
        ("src/broker/a.rs", "use smallvec::SmallVec;", ""),
        ("src/amqp/a.rs", "use smallvec::SmallVec;", "src/amqp/a.rs:1: amqp may not use the crate smallvec"),
        ("src/broker/a.rs", "mio::Poll::new()", "src/broker/a.rs:1: broker may not use the crate mio"),
        ("src/shard/a.rs", "log::warn!(x)", "src/shard/a.rs:1: shard may not use the crate log"),
        ("src/shard/mod.rs", "mod log;\nuse log::LogCursor;", ""),
        // What is no code.
        ("src/amqp/a.rs", "// crate::shard\n/* std::fs /* */ std::fs */ \"crate::shard\" r#\"std::fs \" \"#", ""),
        ("src/amqp/a.rs", "let c = '\"'; let d = '\\''; b\"\\\"crate::shard\" ; fn f<'a>() {}", ""),
    ] {
        assert_eq!(found(walls, path, text), expected, "{text}");
    }
}

#[test]
fn long_files_are_found() {
    let lines = |count: usize| "x\n".repeat(count);
    let short = || file("src/a.rs", "x");
    let said = |path: &str, count: usize| {
        let padding = [short(), short(), short()];
        sizes(&padding.into_iter().chain([file(path, &lines(count))]).collect::<Vec<_>>()).join("; ")
    };
    assert_eq!(said("src/b.rs", 400), "");
    assert_eq!(said("src/b.rs", 401), "src/b.rs: 401 lines, at most 400 allowed");
    assert_eq!(said("tests/b.rs", 4000), "");
    assert_eq!(said("src/shard/owner.rs", 540), "");
    assert_eq!(said("src/shard/owner.rs", 541), "src/shard/owner.rs: 541 lines, at most 540 allowed");
    let lower = "src/shard/owner.rs: 401 lines, lower or remove its ceiling of 540";
    assert_eq!(said("src/shard/owner.rs", 401), lower);
    assert!(said("src/b.rs", 801).contains("800 is the most for any file"));
    let long = [file("src/a.rs", &lines(250)), file("src/b.rs", &lines(250)), short()];
    assert_eq!(sizes(&long), ["the median file has 250 lines"]);
    assert!(lists(&[]).contains(&"src/shard/owner.rs is listed and does not exist".to_owned()));
}

#[test]
fn long_lines_are_found() {
    let line = |count: usize| format!("\n{}", "é".repeat(count));
    assert_eq!(found(widths, "tests/a.rs", &line(120)), "");
    assert_eq!(found(widths, "tests/a.rs", &line(121)), "tests/a.rs:2: 121 characters");
    assert_eq!(found(widths, "a.md", &line(121)), "");
}

#[test]
fn words_are_found() {
    let test = "#[cfg(test)]\n#[x]\nmod tests { fn f() { x.unwrap(); } }";
    for (path, text, expected) in [
        ("src/a.rs", "x.unwrap_or(1); fn expect() {} // .unwrap()", ""),
        ("src/a.rs", "x\n  .unwrap();", "src/a.rs:2: .unwrap()"),
        ("src/a.rs", "x.expect(\"y\");", "src/a.rs:1: .expect()"),
        ("src/a.rs", test, ""),
        ("src/a.rs", "#[cfg(all(test, unix))]\nfn f() { x.unwrap() }", ""),
        ("src/a.rs", &format!("{test}\nx.unwrap();"), "src/a.rs:4: .unwrap()"),
        ("src/a.rs", "#[cfg(test)]\nmod tests;\nx.unwrap();", "src/a.rs:3: .unwrap()"),
        ("tests/a.rs", "x.unwrap();", ""),
        ("tests/a.rs", "unsafe { x }", "tests/a.rs:1: unsafe"),
        (
            "src/a.rs",
            "todo!(); unimplemented!(); dbg!(x)",
            "src/a.rs:1: todo!; src/a.rs:1: unimplemented!; src/a.rs:1: dbg!",
        ),
        ("src/a.rs", "let todo = 1; // todo!", ""),
    ] {
        assert_eq!(found(words, path, text), expected, "{text}");
    }
    let text = "#[cfg(test)]\nmod tests;";
    let tests = || file("src/a/tests.rs", "x.unwrap()");
    assert!(test_files(&[file("src/a.rs", text), tests()]).is_empty());
    assert!(test_files(&[file("src/a/mod.rs", text), tests()]).is_empty());
    assert_eq!(test_files(&[file("src/a.rs", "mod tests;"), tests()]).len(), 1);
    let below = || file("src/a/tests/b.rs", "x.unwrap()");
    assert!(test_files(&[file("src/a.rs", text), below()]).is_empty());
    assert_eq!(test_files(&[file("src/a.rs", "mod tests;"), below()]).len(), 1);
    assert_eq!(found(words, "src/a/tests/b.rs", "x.unwrap()"), "");
}

#[test]
fn forbidden_text_is_found() {
    for (text, _) in FORBIDDEN {
        assert!(found(forbidden_text, "tests/x", &format!("a\nb{text}c")).starts_with("tests/x:2: "), "{text}");
    }
    assert_eq!(found(forbidden_text, "Cargo.lock", LOCK_SOURCE), "");
    assert_ne!(found(forbidden_text, "README.md", LOCK_SOURCE), "");
    let other = "source = \"registry+https://mirror.example/index\"";
    assert_eq!(found(forbidden_text, "Cargo.lock", other), "Cargo.lock:1: a package from elsewhere");
}

#[test]
fn names_at_the_top_are_found() {
    let names = [".ci", "src", "notes.md"].map(str::to_owned);
    assert_eq!(top_names(&names), ["notes.md does not belong at the top"]);
}

#[test]
fn what_the_readme_leaves_out_is_found() {
    let files = [
        file("src/config/keys.rs", "(\"a.b\", \"1 to 2\", x), (\"c\", y) #[cfg(test)] \"d\""),
        file("src/config/args.rs", "pub const HELP: &str = \"\\\n  -p, --port PORT  \n\";"),
        file("src/limits.rs", "    pub bytes_max: u8,"),
        file("README.md", "`c` and `--port N` and `a.b.c`"),
    ];
    let expected = ["README.md does not mention `a.b`", "README.md does not mention `bytes_max`"];
    assert_eq!(readme(&files), expected);
}
