use super::*;

fn content<'a>(names: &'a [u8], body: &'a [u8]) -> Content<'a> {
    Content { names, properties: &[0x10, 0, 2], body, frames: &[] }
}

#[test]
fn kept_content_comes_back_whatever_its_size() {
    let mut blocks = Blocks::new(1024, 300, 4);
    let bodies: Vec<Vec<u8>> = (0..200).map(|i| vec![i as u8; i * 3]).collect();
    let kept: Vec<MessageRef> = bodies.iter().map(|body| blocks.keep(&content(b"\x01e\x02rk", body))).collect();
    for (message, body) in kept.iter().zip(&bodies) {
        let (read, own) = blocks.content(*message);
        assert_eq!((read.exchange(), read.routing_key(), read.properties), ("e", "rk", &[0x10, 0, 2][..]));
        assert_eq!(read.body, &body[..]);
        assert_eq!(own.is_some(), read.record_bytes() >= 300);
    }
    for message in kept {
        blocks.release(message);
    }
    let counts = blocks.counts();
    assert_eq!(counts.live, 0);
    assert!(counts.blocks <= 1, "only the current block may stay: {counts:?}");
}

#[test]
fn living_messages_of_dead_blocks_move_together() {
    let mut blocks = Blocks::new(4096, 2048, 0);
    let mut keep = |n: u32| {
        blocks.stamp = Stamp::at(n.into());
        blocks.keep(&content(b"\0\0", &n.to_be_bytes()))
    };
    let all: Vec<MessageRef> = (0..10_000).map(&mut keep).collect();
    let before = blocks.counts().blocks;
    // One of forty is left, and every left one is in two queues.
    let (mut one, mut other) = (vec![], vec![]);
    for (n, message) in all.into_iter().enumerate() {
        if n % 40 == 0 {
            blocks.retain(message);
            one.push((n as u32, message));
            other.push((n as u32, message));
        } else {
            blocks.release(message);
        }
    }
    assert!(blocks.is_sparse());
    let mut compaction = blocks.begin_compaction();
    for (_, message) in one.iter_mut().chain(&mut other) {
        *message = blocks.compact(&mut compaction, *message);
    }
    blocks.end_compaction(compaction);
    assert_eq!(blocks.stamp, Stamp::at(9999), "what comes next is of its own time");
    let after = blocks.counts();
    assert!(after.blocks * 10 < before, "{before} -> {after:?}");
    assert_eq!(after.live, 500);
    for ((n, message), (_, twin)) in one.iter().zip(&other) {
        assert_eq!(message, twin);
        assert_eq!(blocks.content(*message).0.body, n.to_be_bytes());
        assert_eq!(blocks.stamp_of(*message), Stamp::at((*n).into()), "moved messages keep their stamp");
        blocks.release(*message);
        blocks.release(*twin);
    }
    assert_eq!(blocks.counts().live, 0);
}

#[test]
fn what_lies_in_shared_blocks_stays_in_them_when_it_is_moved() {
    let mut blocks = Blocks::new(4096, 300, 0);
    let body = [7; 350];
    let all: Vec<MessageRef> = (0..400).map(|_| blocks.store(&content(b"\0\0", &body))).collect();
    let per_block = all.iter().filter(|message| message.block == all[0].block).count();
    let (left, gone): (Vec<_>, Vec<_>) = all.into_iter().enumerate().partition(|(n, _)| n % per_block == 0);
    gone.into_iter().for_each(|(_, message)| blocks.release(message));
    assert!(blocks.is_sparse());
    let mut compaction = blocks.begin_compaction();
    for (_, message) in left {
        let moved = blocks.compact(&mut compaction, message);
        let (content, own) = blocks.content(moved);
        assert!(content.body == body && own.is_none());
        blocks.release(moved);
    }
    blocks.end_compaction(compaction);
    assert_eq!(blocks.counts().live, 0);
}

#[test]
fn a_block_lives_as_long_as_its_last_reference() {
    let mut blocks = Blocks::new(64, 32, 0);
    let first = blocks.keep(&content(b"\0\0", b"a"));
    blocks.retain(first);
    for _ in 0..10 {
        let other = blocks.keep(&content(b"\0\0", b"b"));
        blocks.release(other);
    }
    blocks.release(first);
    assert_eq!(blocks.content(first).0.body, b"a");
    assert_eq!(blocks.counts().live, 1);
    blocks.release(first);
    assert_eq!(blocks.counts().live, 0);
}
