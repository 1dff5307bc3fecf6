use std::collections::BTreeMap;

use super::*;

#[test]
fn positions_ascend_whatever_goes_to_which_queue() {
    let properties: &[u8] = &[0, 0];
    for mask in 0..1u32 << 12 {
        // Four messages, persistent or not, each in some of two queues.
        let is = |bit: u32| mask & (1 << bit) != 0;
        let content = Content { names: b"\0\0", properties, body: &[], frames: &[] };
        let contents: Vec<Content<'_>> = (0..4).map(|_| content).collect();
        let mut ledger = Ledger::new(true, 1);
        let mut noted = 0;
        for queue in 0..2 {
            let inside = (0..4).filter(|index| is(4 + 4 * queue + index));
            for (position, index) in inside.enumerate() {
                ledger.message(Some(index), queue.into(), position as u64, &contents[index as usize], is(index));
                noted += 1;
            }
        }
        ledger.write_fan(&contents);
        let mut next: BTreeMap<QueueId, u64> = BTreeMap::new();
        for (_, record) in record::records(&ledger.records.take(vec![])) {
            let Ok(record::Record::Messages(messages)) = record else { panic!("{mask:#x}: not messages") };
            for (queue, first) in messages.places() {
                assert_eq!(first, next.insert(queue, first + u64::from(messages.count)).unwrap_or(0), "{mask:#x}");
            }
        }
        assert_eq!(next.values().sum::<u64>(), noted, "{mask:#x}");
    }
}
