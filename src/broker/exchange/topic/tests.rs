use super::super::tests::{bind, routed, table, to};
use super::super::{Destination, Destination::Queue, ExchangeKind, RoutingTable};
use crate::amqp::Table;

fn words(key: &str) -> impl Iterator<Item = &str> {
    key.split('.').filter(|_| !key.is_empty())
}

/// All pairs of rest of pattern and rest of words, one by one: slow and plain.
fn fits(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((&"#", rest)), None) => fits(rest, key),
        (Some((&"#", rest)), Some((_, others))) => fits(rest, key) || fits(pattern, others),
        (Some(_), None) => false,
        (Some((word, rest)), Some((other, others))) => (*word == "*" || word == other) && fits(rest, others),
    }
}

#[test]
fn the_table_of_the_reference() {
    let patterns = ["#", "*", "*.*", "a.#", "#.a", "a.*", "a.#.a"];
    for (key, expected) in [
        ("", "y......"),
        ("a", "yy.yy.."),
        (".", "y.y...."),
        ("a.", "y.yy.y."),
        ("a.a", "y.yyyyy"),
        ("a.b.a", "y..yy.y"),
    ] {
        for (pattern, expected) in patterns.into_iter().zip(expected.chars()) {
            let mut exchange = table(ExchangeKind::Topic);
            assert!(bind(&mut exchange, 1, pattern));
            assert_eq!(routed(&exchange, key).len(), usize::from(expected == 'y'), "{key:?} under {pattern}");
        }
    }
}

#[test]
fn words_empty_literal_and_wild() {
    for (pattern, key, expected) in [
        ("", "", true),
        ("", "a", false),
        ("", ".", false),
        ("a.*.b", "a..b", true),
        ("a*", "a*", true),
        ("a*", "ab", false),
        ("a#.*", "a#.x", true),
        ("a.*", "a.*", true),
        ("a.#", "a.#", true),
        ("a.b", "a.*", false),
        ("a.b", "#", false),
        ("*", "#", true),
        ("#.#", "", true),
        ("#.*", "", false),
        ("#.*.#", "a", true),
        ("*.#.*", "a", false),
    ] {
        let mut exchange = table(ExchangeKind::Topic);
        assert!(bind(&mut exchange, 1, pattern));
        assert_eq!(routed(&exchange, key).len(), usize::from(expected), "{key:?} under {pattern:?}");
    }
}

struct Generator(u64);

impl Generator {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn key(&mut self, alphabet: &[&str], words_max: usize) -> String {
        let count = self.below(words_max + 1);
        (0..count).map(|_| alphabet[self.below(alphabet.len())]).collect::<Vec<_>>().join(".")
    }
}

#[test]
fn agrees_with_the_plain_matcher_while_bindings_come_and_go() {
    for seed in 0..8 {
        let mut generator = Generator(seed);
        let mut exchange = table(ExchangeKind::Topic);
        let mut model: Vec<(Destination, String)> = vec![];
        for round in 0..1500 {
            let binding = (Queue(generator.below(12) as u32), generator.key(&["a", "b", "", "*", "#", "a*"], 5));
            match generator.below(if round % 500 < 250 { 5 } else { 2 }) {
                0 => {
                    let at = model.iter().position(|b| *b == binding);
                    assert_eq!(exchange.unbind(binding.0, &binding.1, Table::EMPTY), at.is_some());
                    at.map(|at| model.remove(at));
                }
                1 if generator.below(8) == 0 => {
                    let before = model.len();
                    model.retain(|b| b.0 != binding.0);
                    assert_eq!(exchange.remove_destination(binding.0), before - model.len());
                }
                _ => {
                    assert_eq!(bind_it(&mut exchange, &binding), !model.contains(&binding));
                    if !model.contains(&binding) {
                        model.push(binding);
                    }
                }
            }
            assert_eq!(exchange.binding_count(), model.len());
            let key = generator.key(&["a", "b", "", "c", "*", "a*"], 6);
            let key_words: Vec<&str> = words(&key).collect();
            let mut expected: Vec<Destination> = model
                .iter()
                .filter(|(_, pattern)| fits(&words(pattern).collect::<Vec<_>>(), &key_words))
                .map(|b| b.0)
                .collect();
            expected.sort_unstable();
            expected.dedup();
            let mut found = routed(&exchange, &key);
            found.sort_unstable();
            assert_eq!(found, expected, "seed {seed} round {round} key {key:?}");
        }
        for queue in 0..12 {
            exchange.remove_destination(Queue(queue));
        }
        assert!(exchange.is_empty());
        let super::super::Matching::Topic(topic) = &exchange.matching else { panic!("a topic exchange") };
        assert_eq!(topic.nodes[super::ROOT].child_count, 0);
        assert_eq!(topic.edges.find(0, |_| true), None);
        assert_eq!(exchange.keys.iter().count(), 0, "no key is kept by a node");
    }
}

fn bind_it(exchange: &mut RoutingTable, binding: &(Destination, String)) -> bool {
    exchange.bind(to(binding.0), &binding.1, Table::EMPTY)
}

#[test]
fn many_hashes_cost_words_times_nodes() {
    // 120 `#` in one key, and a message of 127 words that fits at no end: 2^120 ways for a backtracking matcher.
    let mut exchange = table(ExchangeKind::Topic);
    let pattern = vec!["#.a"; 60].join(".") + ".z";
    bind(&mut exchange, 1, &pattern);
    bind(&mut exchange, 2, &(vec!["#"; 127].join(".") + ".z"));
    let key = vec!["a"; 127].join(".");
    for _ in 0..100 {
        assert_eq!(routed(&exchange, &key), []);
    }
    assert_eq!(routed(&exchange, &(key + ".z")), [Queue(1), Queue(2)]);
}

#[test]
fn more_than_two_hashes_are_refused() {
    let validate = |key| RoutingTable::validate(ExchangeKind::Topic, key, Table::EMPTY, None);
    assert_eq!(validate("#.a.#"), Ok(()));
    assert_eq!(validate("a#.b#.c#.#"), Ok(()));
    let text = "Topic binding key '#.a.#.#' uses 3 '#' wildcards, at most 2 are allowed";
    assert_eq!(validate("#.a.#.#"), Err(text.to_owned()));
    assert_eq!(RoutingTable::validate(ExchangeKind::Direct, "#.#.#", Table::EMPTY, None), Ok(()));
}

#[test]
fn a_key_may_be_of_any_length() {
    let mut exchange = table(ExchangeKind::Topic);
    let key = "*.".repeat(100_000);
    assert!(bind(&mut exchange, 1, &key));
    assert_eq!(routed(&exchange, &".".repeat(100_000)), [Queue(1)]);
    assert_eq!(exchange.remove_destination(Queue(1)), 1);
}
