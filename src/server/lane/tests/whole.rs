//! All threads, with a store.

use super::*;

struct Whole {
    lane: Option<Lane>,
    inlet: LaneInlet,
    inbox: (Poll, Inbox),
}

impl Whole {
    fn open(path: &std::path::Path) -> (Whole, crate::store::Contents) {
        let disk = DirectoryDisk::open(path).unwrap();
        let wall = WallClock::start();
        let limits = crate::limits::Limits::default();
        let opened = crate::store::open::open(disk.clone(), &limits, [7; 16], wall.read()).unwrap();
        assert!(opened.report.is_sound(), "{}", opened.report);
        let poll = Poll::new().unwrap();
        let (inlet, inbox) = inbox::open(poll.registry()).unwrap();
        let lane = Lane::start(Start {
            journal: opened.journal,
            keeper: opened.keeper,
            disk,
            path: path.into(),
            target: |path| Ok((DirectoryDisk::open(path).map_err(|error| error.to_string())?, None)),
            rules: rules(Fsync::Always),
            disk_free_limit: 1,
            inlets: [inlet].into(),
            clock: Clock::start(),
            wall,
        });
        let lane = lane.unwrap();
        (Whole { inlet: lane.inlet(), lane: Some(lane), inbox: (poll, inbox) }, opened.contents)
    }

    fn told(&mut self) -> Completion {
        loop {
            match self.inbox.1.take() {
                Some(Input::Completion(completion)) => return completion,
                Some(other) => panic!("{other:?}"),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn submit(&mut self, seq: u64, fill: impl FnOnce(&mut Records)) {
        let mut records = Records::default();
        fill(&mut records);
        self.inlet.submit(Submission { from: 0, seq, bytes: records.take(vec![]), sync: true });
        assert!(matches!(self.told(), Completion::Durable { seq: durable } if durable == seq));
    }

    /// The messages of the queue from a position on.
    fn fetch(&mut self, from: u64, to: u64) -> Vec<String> {
        let (bytes_max, count_max) = (1 << 20, 100);
        self.inlet.fetch(Fetch { shard: 0, tag: 9, queue: QUEUE, from, to, bytes_max, count_max, ..Fetch::default() });
        let Completion::Fetched(fetched) = self.told() else { panic!("no messages") };
        assert_eq!((fetched.tag, fetched.queue, fetched.lost), (9, QUEUE, 0));
        let text = |message: &crate::store::FetchedMessage| {
            let at = message.at as usize;
            String::from_utf8(fetched.bytes[at..at + message.len as usize].to_vec()).unwrap()
        };
        fetched.messages.iter().map(text).collect()
    }
}

const QUEUE: crate::store::QueueId = crate::store::QueueId(1 << 32 | 1);

#[test]
fn the_threads_run_a_store_copy_it_and_close_it_in_order() {
    let (scratch, copy) = (Scratch::new(), Scratch::new());
    let (mut whole, contents) = Whole::open(scratch.path());
    assert!(contents.queues.is_empty());
    whole.submit(1, |records| {
        records.defined(QUEUE, b"a queue");
        for (position, body) in ["a", "bc", "d"].iter().enumerate() {
            let fill = |place: &mut [u8]| place.copy_from_slice(body.as_bytes());
            records.message(QUEUE, position as u64, 0, body.len(), fill);
        }
    });
    assert_eq!(whole.fetch(0, 3), ["a", "bc", "d"]);
    whole.submit(2, |records| records.settled(QUEUE, 0, 0));
    assert_eq!(whole.fetch(1, 3), ["bc", "d"]);
    let outcome = whole.inlet.copy(copy.path().into()).recv().unwrap().unwrap();
    assert_eq!(outcome, format!("copied to {}: messages: 2, definitions: 1", copy.path().display()));
    let again = whole.inlet.copy(copy.path().into()).recv().unwrap().unwrap_err();
    assert!(again.starts_with(&format!("cannot copy to {}: ", copy.path().display())), "{again}");
    whole.submit(3, |records| records.settled(QUEUE, 1, 1));
    drop(whole.lane.take());

    for (path, ready, first, clean) in [(scratch.path(), 1, 2, true), (copy.path(), 2, 1, false)] {
        let (mut whole, contents) = Whole::open(path);
        assert_eq!((contents.definitions.len(), contents.clean), (1, clean));
        let row = contents.queues[0];
        assert_eq!((row.id, row.first, row.end, row.ready), (QUEUE, first, 3, ready));
        assert_eq!(whole.fetch(first, 3).last().unwrap(), "d");
        drop(whole.lane.take());
    }
}
