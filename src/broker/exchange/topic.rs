//! The topic exchange: patterns of words, `*` for one word and `#` for any number (reference section 10).
//!
//! Keys without wildcards are found by their hash, as in a direct exchange. Keys with wildcards stand in a trie, one
//! word a step. Matching walks the message's words once and carries the *set* of nodes reached so far, so any number
//! of `#` costs at most words × nodes: no backtracking, no combinations (CVE-2026-67419), no recursion.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;
use smallvec::SmallVec;

use super::interner::Slots;
use super::members::{Members, sort_unique};
use super::slot_index::{NONE, SlotIndex};
use super::{Destination, Keys, Routes};

/// As RabbitMQ 4.3.5.
const HASH_WILDCARDS_MAX: usize = 2;

/// What hangs on a key.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) members: Members,
    /// Where a key with wildcards ends in the trie
    node: u32,
}

impl Default for Leaf {
    fn default() -> Leaf {
        Leaf { members: Members::None, node: NONE }
    }
}

/// The trie of the keys with wildcards; node 0 is its root.
#[derive(Debug)]
pub(super) struct Topic {
    nodes: Slots<Node>,
    /// (parent, word) → child, for words that are no wildcards
    edges: SlotIndex,
    hash: RandomState,
    /// Mixes a parent into the hash of a word; as secret as the seeds
    edge_seed: u64,
}

#[derive(Debug)]
struct Node {
    parent: u32,
    /// A key that has this node's word, which is kept as long as the node; `NONE` for the wildcards
    anchor: u32,
    /// Where in that key the word begins
    word_start: u32,
    star: u32,
    hash: u32,
    child_count: u32,
    /// The key that ends here
    key: u32,
}

impl Default for Node {
    fn default() -> Node {
        Node { parent: NONE, anchor: NONE, word_start: 0, star: NONE, hash: NONE, child_count: 0, key: NONE }
    }
}

const ROOT: u32 = 0;

type NodeSet = SmallVec<[u32; 16]>;

/// More than two `#` are refused with RabbitMQ's text.
pub(super) fn validate(key: &str) -> Result<(), String> {
    let count = words(key).filter(|word| *word == b"#").count();
    if count <= HASH_WILDCARDS_MAX {
        return Ok(());
    }
    Err(format!("Topic binding key '{key}' uses {count} '#' wildcards, at most {HASH_WILDCARDS_MAX} are allowed"))
}

/// The empty key has no words at all, not one empty word.
fn words(key: &str) -> impl Iterator<Item = &[u8]> {
    key.as_bytes().split(|octet| *octet == b'.').take(if key.is_empty() { 0 } else { usize::MAX })
}

impl Topic {
    pub(super) fn new(hash: RandomState) -> Topic {
        let mut nodes = Slots::default();
        nodes.insert(Node::default());
        let edge_seed = hash.hash_one("edge") | 1;
        Topic { nodes, edges: SlotIndex::default(), hash, edge_seed }
    }

    pub(super) fn add(&mut self, keys: &mut Keys, key: u32, destination: Destination) {
        if keys.leaf(key).node == NONE && words(keys.value(key)).any(|word| matches!(word, b"*" | b"#")) {
            let node = self.plant(keys, key);
            keys.leaf_mut(key).node = node;
        }
        keys.leaf_mut(key).members.add(destination);
    }

    pub(super) fn remove(&mut self, keys: &mut Keys, key: u32, destination: Destination) {
        let leaf = keys.leaf_mut(key);
        leaf.members.remove(destination);
        if leaf.members.is_empty() && leaf.node != NONE {
            let node = std::mem::replace(&mut leaf.node, NONE);
            self.nodes[node].key = NONE;
            self.prune(keys, node);
        }
    }

    /// Makes the path of a key; returns its end.
    fn plant(&mut self, keys: &mut Keys, key: u32) -> u32 {
        let mut node = ROOT;
        let mut word_start = 0;
        let mut anchored = 0;
        for word in words(keys.value(key)) {
            let known = match word {
                b"*" => self.nodes[node].star,
                b"#" => self.nodes[node].hash,
                _ => self.child(keys, node, word, self.word_hash(word)).unwrap_or(NONE),
            };
            let parent = node;
            node = known;
            if known == NONE {
                let anchor = if matches!(word, b"*" | b"#") { NONE } else { key };
                node = self.nodes.insert(Node { parent, anchor, word_start, ..Node::default() });
                self.nodes[parent].child_count += 1;
                match word {
                    b"*" => self.nodes[parent].star = node,
                    b"#" => self.nodes[parent].hash = node,
                    _ => {
                        self.edges.insert(self.edge_hash(parent, self.word_hash(word)), node);
                        anchored += 1;
                    }
                }
            }
            word_start += word.len() as u32 + 1;
        }
        self.nodes[node].key = key;
        keys.retain(key, anchored);
        node
    }

    /// Removes the node and those above it that lead nowhere any more.
    fn prune(&mut self, keys: &mut Keys, mut node: u32) {
        while node != ROOT && self.nodes[node].child_count == 0 && self.nodes[node].key == NONE {
            let parent = self.nodes[node].parent;
            if self.nodes[parent].star == node {
                self.nodes[parent].star = NONE;
            } else if self.nodes[parent].hash == node {
                self.nodes[parent].hash = NONE;
            } else {
                let hash = self.edge_hash(parent, self.word_hash(self.word(keys, node)));
                self.edges.remove(hash, node);
                keys.release(self.nodes[node].anchor);
            }
            self.nodes.remove(node);
            self.nodes[parent].child_count -= 1;
            node = parent;
        }
    }

    fn word<'k>(&self, keys: &'k Keys, node: u32) -> &'k [u8] {
        words(self.rest(keys, node)).next().unwrap_or_default()
    }

    /// The anchor of a node from the node's word on.
    fn rest<'k>(&self, keys: &'k Keys, node: u32) -> &'k str {
        let Node { anchor, word_start, .. } = self.nodes[node];
        keys.value(anchor).get(word_start as usize..).unwrap_or_default()
    }

    fn word_hash(&self, word: &[u8]) -> u64 {
        let mut hasher = self.hash.build_hasher();
        hasher.write(word);
        hasher.finish()
    }

    /// The word was hashed with secret seeds already: to mix the parent in, one multiplication is enough.
    fn edge_hash(&self, parent: u32, word_hash: u64) -> u64 {
        let product = u128::from(word_hash ^ u64::from(parent)) * u128::from(self.edge_seed);
        product as u64 ^ (product >> 64) as u64
    }

    fn child(&self, keys: &Keys, parent: u32, word: &[u8], word_hash: u64) -> Option<u32> {
        self.edges.find(self.edge_hash(parent, word_hash), |node| {
            self.nodes[node].parent == parent
                && match self.rest(keys, node).as_bytes().strip_prefix(word) {
                    Some(rest) => matches!(rest.first(), None | Some(b'.')),
                    None => false,
                }
        })
    }

    pub(super) fn route(&self, keys: &Keys, key: &str, out: &mut Routes) {
        let start = out.len();
        let mut keys_matched = 0;
        if let Some(slot) = keys.find(key) {
            let leaf = keys.leaf(slot);
            // A message key that reads like a binding's with wildcards fits it too, and the trie will find that.
            if leaf.node == NONE && !leaf.members.is_empty() {
                leaf.members.append_to(out);
                keys_matched += 1;
            }
        }
        if self.nodes[ROOT].child_count > 0 {
            keys_matched += self.route_wild(keys, key, out);
        }
        if keys_matched > 1 {
            sort_unique(out, start);
        }
    }

    /// Appends the destinations of the keys with wildcards; returns of how many keys.
    ///
    /// A node that is no `#` is reached through its one parent only, so at most once a word; a `#` once reached is
    /// reached for good, and is kept in a set of its own. So no node is looked at twice for the same word.
    fn route_wild(&self, keys: &Keys, key: &str, out: &mut Routes) -> usize {
        let mut nodes = NodeSet::new();
        let mut hash_nodes = NodeSet::new();
        let mut known = 0; // so many at its front are of words before the one at hand, and sorted
        nodes.push(ROOT);
        for word in words(key) {
            if nodes.is_empty() && hash_nodes.is_empty() {
                break;
            }
            let word_hash = self.word_hash(word);
            let before = nodes.len(); // behind these come those that this word leads to
            let step = |node: u32, next: &mut NodeSet| {
                let Node { star, hash, child_count, .. } = self.nodes[node];
                if star != NONE {
                    next.push(star);
                }
                let wildcards = u32::from(star != NONE) + u32::from(hash != NONE);
                if child_count > wildcards
                    && let Some(child) = self.child(keys, node, word, word_hash)
                {
                    next.push(child);
                }
                hash
            };
            // A `#` right behind a node fits no words at all too, and takes the same step.
            for at in 0..before {
                let node = nodes[at];
                add_hash(&mut hash_nodes, known, step(node, &mut nodes));
            }
            let mut at = 0;
            while let Some(&node) = hash_nodes.get(at) {
                add_hash(&mut hash_nodes, known, step(node, &mut nodes));
                at += 1;
            }
            if hash_nodes.len() > known {
                hash_nodes.sort_unstable();
                known = hash_nodes.len();
            }
            nodes.copy_within(before.., 0);
            nodes.truncate(nodes.len() - before);
        }
        for &node in &nodes {
            let mut hash = self.nodes[node].hash;
            while hash != NONE {
                add_hash(&mut hash_nodes, known, hash);
                hash = self.nodes[hash].hash;
            }
        }
        // The nodes where exactly these words lead, and every `#` on the way.
        let mut keys_matched = 0;
        for &node in nodes.iter().chain(&hash_nodes) {
            let key = self.nodes[node].key;
            if key != NONE {
                keys.leaf(key).members.append_to(out);
                keys_matched += 1;
            }
        }
        keys_matched
    }
}

fn add_hash(hash_nodes: &mut NodeSet, known: usize, hash: u32) {
    if hash != NONE && hash_nodes[..known].binary_search(&hash).is_err() {
        hash_nodes.push(hash);
    }
}

#[cfg(test)]
mod tests;
