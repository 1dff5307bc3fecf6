//! The topology of a run: a part that stands from start to end, whose routing is known exactly, and names that are
//! declared and deleted by everybody, for which only what is impossible is known.

use crate::rng::Rng;

/// A queue by its place in the oracle's list.
pub type QueueNo = u16;
/// The queue number of direct reply-to consumers.
pub const REPLY: QueueNo = u16::MAX;
/// The header that headers bindings look at.
pub const HEADER: &str = "h";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Direct,
    Fanout,
    Topic,
    Headers,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Fanout => "fanout",
            Kind::Topic => "topic",
            Kind::Headers => "headers",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Exchange {
    pub name: &'static str,
    pub kind: Kind,
    pub durable: bool,
    pub alternate: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    Queue(String),
    Exchange(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub source: String,
    pub to: To,
    pub key: String,
    pub header: Option<i32>,
}

/// What stands, and the names that come and go.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Queues that are never deleted or purged.
    pub pillars: Vec<String>,
    pub pillars_durable: Vec<bool>,
    pub exchanges: Vec<Exchange>,
    pub bindings: Vec<Binding>,
    /// Queues that come and go.
    pub volatile: Vec<String>,
    /// Exchanges that come and go.
    pub volatile_exchanges: Vec<String>,
    /// Every other binding that somebody has asked for.
    pub ever: Vec<Binding>,
}

pub const KEYS: [&str; 8] = ["k0", "k1", "k2", "k3", "a", "a.b", "a.b.c", "b.a"];
const PATTERNS: [&str; 6] = ["#", "a.#", "*.b", "a", "*", "#.a"];

impl Plan {
    pub fn draw(rng: &mut Rng, pillars: usize, volatile: usize, volatile_exchanges: usize) -> Plan {
        let names = |prefix: &str, count: usize| (0..count).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
        let pillars = names("p", pillars);
        let mut exchanges = vec![];
        for (name, kind) in [
            ("xd", Kind::Direct),
            ("xf", Kind::Fanout),
            ("xt", Kind::Topic),
            ("xh", Kind::Headers),
            ("xe", Kind::Fanout),
        ] {
            exchanges.push(Exchange { name, kind, durable: rng.chance(50), alternate: None });
        }
        exchanges.push(Exchange { name: "xa", kind: Kind::Direct, durable: true, alternate: Some("xf") });
        let mut bindings = vec![];
        for exchange in &exchanges {
            for _ in 0..rng.range(1, 5) {
                let queue = pillars[rng.below(pillars.len())].clone();
                let key = match exchange.kind {
                    Kind::Topic => rng.pick(&PATTERNS),
                    _ => rng.pick(&KEYS),
                };
                let header = (exchange.kind == Kind::Headers).then(|| rng.below(3) as i32);
                bindings.push(Binding { source: exchange.name.into(), to: To::Queue(queue), key: key.into(), header });
            }
        }
        for (source, to) in [("xe", "xd"), ("xe", "xt"), ("xt", "xe")] {
            if rng.chance(60) {
                let key = if source == "xt" { "a.#" } else { "" };
                let to = To::Exchange(to.into());
                bindings.push(Binding { source: source.into(), to, key: key.into(), header: None });
            }
        }
        let pillars_durable = pillars.iter().map(|_| rng.chance(50)).collect();
        Plan {
            pillars,
            pillars_durable,
            exchanges,
            bindings,
            volatile: names("v", volatile),
            volatile_exchanges: names("e", volatile_exchanges),
            ever: vec![],
        }
    }

    fn kind(&self, exchange: &str) -> Option<Kind> {
        self.exchanges.iter().find(|x| x.name == exchange).map(|x| x.kind)
    }

    fn matches(&self, binding: &Binding, key: &str, header: Option<i32>) -> bool {
        match self.kind(&binding.source) {
            Some(Kind::Direct) => binding.key == key,
            Some(Kind::Fanout) => true,
            Some(Kind::Topic) => topic_matches(&words(&binding.key), &words(key)),
            Some(Kind::Headers) => binding.header.is_none() || binding.header == header,
            // Everybody declares these with another type: any binding may match.
            None => true,
        }
    }

    /// The queues that a message must reach, by name, whatever else goes on.
    pub fn must(&self, exchange: &str, key: &str, header: Option<i32>) -> Vec<String> {
        if exchange.is_empty() {
            return self.pillars.iter().filter(|name| *name == key).cloned().collect();
        }
        self.reach(exchange, key, header, false)
    }

    /// Whether a message may have reached a queue that is not a must.
    pub fn may(&self, exchange: &str, key: &str, header: Option<i32>, queue: &str) -> bool {
        if exchange.is_empty() {
            return key == queue;
        }
        self.reach(exchange, key, header, true).iter().any(|name| name == queue)
    }

    fn reach(&self, exchange: &str, key: &str, header: Option<i32>, ever: bool) -> Vec<String> {
        let mut queues: Vec<String> = vec![];
        let mut exchanges = vec![exchange.to_owned()];
        let mut at = 0;
        while let Some(source) = exchanges.get(at).cloned() {
            at += 1;
            let mut matched = false;
            let more: &[Binding] = if ever { &self.ever } else { &[] };
            for binding in self.bindings.iter().chain(more) {
                if binding.source != source || !self.matches(binding, key, header) {
                    continue;
                }
                matched = true;
                match &binding.to {
                    To::Queue(queue) if !queues.contains(queue) => queues.push(queue.clone()),
                    To::Exchange(next) if !exchanges.contains(next) => exchanges.push(next.clone()),
                    _ => {}
                }
            }
            let alternate = self.exchanges.iter().find(|x| x.name == source).and_then(|x| x.alternate);
            if let Some(next) = alternate
                && (!matched || ever)
                && !exchanges.iter().any(|name| name == next)
            {
                exchanges.push(next.into());
            }
        }
        queues
    }
}

fn words(text: &str) -> Vec<&str> {
    if text.is_empty() { vec![] } else { text.split('.').collect() }
}

fn topic_matches(pattern: &[&str], key: &[&str]) -> bool {
    match pattern.split_first() {
        None => key.is_empty(),
        Some((&"#", rest)) => (0..=key.len()).any(|skip| topic_matches(rest, &key[skip..])),
        Some((&"*", rest)) => !key.is_empty() && topic_matches(rest, &key[1..]),
        Some((word, rest)) => key.first() == Some(word) && topic_matches(rest, &key[1..]),
    }
}
