//! Combinations of options that cannot be.

use super::error::Failure;
use super::options::Options;
use super::stamp;

/// The most producers: their number has two bytes in each message.
pub const PRODUCERS_MAX: usize = 65_535;

/// Checks that the options go together.
///
/// # Errors
/// [`Failure::Usage`] with the first that does not.
pub fn validate(o: &Options) -> Result<(), Failure> {
    let rules: &[(bool, &str)] = &[
        (o.producers == 0 && o.consumers == 0 && o.idle_connections == 0, "there is neither a producer nor a consumer"),
        (o.autoack && o.multi_ack_every > 0, "--autoack and --multi-ack-every exclude each other"),
        (o.autoack && o.ctxsize > 0, "--autoack and --ctxsize exclude each other: there is nothing to commit"),
        (o.confirm.is_some() && o.ptxsize > 0, "--confirm and --ptxsize exclude each other"),
        (o.rate.is_some() && o.publishing_interval.is_some(), "--rate and --publishing-interval exclude each other"),
        (o.queue.is_some() && o.queue_pattern.is_some(), "--queue and --queue-pattern exclude each other"),
        (o.queue.as_deref().is_some_and(|queue| queue.contains(',')), "--queue takes one queue: see --queue-pattern"),
        (o.queue.as_deref() == Some(""), "--queue needs a name: leave it out for queues that the broker names"),
        (
            o.queue_pattern.as_deref().is_some_and(|pattern| expand(pattern, 1).is_none()),
            "--queue-pattern has one place for the number: %d",
        ),
        (o.queue_pattern.is_some() && o.queue_to < o.queue_from, "--queue-pattern-to is below --queue-pattern-from"),
        (o.queue_pattern.is_none() && (o.queue_from, o.queue_to) != (1, 1), "--queue-pattern is missing"),
        (
            o.qos > 0 && o.multi_ack_every > u64::from(o.qos),
            "--multi-ack-every must be less than or equal to --qos: it would wait for ever",
        ),
        (
            o.global_qos > 0 && o.multi_ack_every > u64::from(o.global_qos),
            "--multi-ack-every must be less than or equal to --global-qos: it would wait for ever",
        ),
        (
            o.multi_ack_every > 0 && o.ctxsize > 0 && !o.ctxsize.is_multiple_of(o.multi_ack_every),
            "--ctxsize must be a multiple of --multi-ack-every: a commit would leave messages out",
        ),
        (
            o.ctxsize > 0 && [o.qos, o.global_qos].iter().any(|qos| *qos > 0 && u64::from(*qos) < o.ctxsize),
            "--ctxsize must be less than or equal to the prefetch count: it would wait for ever",
        ),
        (o.random_routing_key && o.routing_key.is_some(), "--random-routing-key and --routing-key exclude each other"),
        (o.backlog.is_some() && o.consumers == 0, "--backlog without consumers: nobody would make it smaller"),
        (
            o.backlog.is_some() && o.slow_consumers >= o.consumers && o.consumers > 0,
            "--backlog with slow consumers only: nobody would make it smaller",
        ),
        (o.backlog.is_some() && o.producers == 0, "--backlog without producers: there is nobody to pause"),
        (o.slow_consumers > o.consumers, "there are more --slow-consumers than --consumers"),
        (
            o.consumers > 0 && o.slow_consumers == o.consumers && o.cmessages.is_some(),
            "--cmessages with slow consumers only",
        ),
        (
            o.warmup.as_nanos() > 0 && (o.pmessages.is_some() || o.cmessages.is_some()),
            "--warmup does not go with --pmessages and --cmessages: they count from the first message on",
        ),
        (o.warmup.as_nanos() > 0 && o.time.is_none(), "--warmup needs --time"),
        (o.drain.is_some() && o.consumers == 0, "--drain without consumers: nobody would drain"),
        (o.check && o.consumers == 0, "--check without consumers: nobody would see the messages"),
        (o.check && o.random_routing_key, "--check with random routing keys: who gets what is not known"),
        (o.check && o.slow_consumers > 0, "--check with slow consumers: they never see their messages"),
        (o.check && o.size < stamp::SEQUENCE_BYTES, "--check needs messages of 12 bytes or more"),
        (o.check && o.rpc, "--check and --rpc exclude each other: each reply answers one request"),
        (o.rpc && (o.producers == 0 || o.consumers == 0), "--rpc needs producers and consumers"),
        (
            o.rpc && (o.confirm.is_some() || o.ptxsize > 0 || o.ctxsize > 0 || o.backlog.is_some() || o.rate.is_some()),
            "--rpc has its own pace: no --confirm, --ptxsize, --ctxsize, --backlog or --rate",
        ),
        (o.rpc && o.publishing_interval.is_some(), "--rpc has its own pace: no --publishing-interval"),
        (o.rpc && o.cmessages.is_some(), "--rpc ends with --time or --pmessages, not with --cmessages"),
        (o.rpc && o.size < stamp::TIME_BYTES, "--rpc needs messages of 8 bytes or more"),
        (o.rpc && o.slow_consumers > 0, "--rpc with slow consumers: their requests would never be answered"),
        (!o.rpc && o.in_flight != 1, "--in-flight is for --rpc: see --confirm and --backlog"),
        (o.predeclared && o.keep, "--keep says nothing with --predeclared: nothing is declared"),
        (o.predeclared && o.bindings > 0, "--bindings does not go with --predeclared: bindings would be left behind"),
        (
            o.predeclared && o.consumers > 0 && o.queue.is_none() && o.queue_pattern.is_none(),
            "--predeclared needs --queue or --queue-pattern for the consumers",
        ),
        (o.bindings > 0 && o.exchange.as_deref() == Some(""), "--bindings: the default exchange cannot be bound to"),
        (
            o.bindings > 0 && o.consumers == 0 && o.queue.is_none() && o.queue_pattern.is_none(),
            "--bindings: there is no queue to bind",
        ),
        (
            o.exchange.as_deref() == Some("") && o.random_routing_key,
            "--random-routing-key: the default exchange routes by the queues' names",
        ),
        (
            o.backlog.is_some()
                && o.random_routing_key
                && o.copies.is_none()
                && !["fanout", "headers"].contains(&&*o.kind),
            "--backlog with random routing keys: who gets what is not known, give --copies",
        ),
        (o.frame_max > 0 && o.frame_max < 4096, "--framemax is at least 4096"),
        (o.json.as_deref().is_some_and(|json| Some(json) == o.csv.as_deref()), "--json and --csv are the same file"),
    ];
    if let Some((_, text)) = rules.iter().find(|(broken, _)| *broken) {
        return Err(Failure::usage(*text));
    }
    if o.producers.saturating_mul(o.producer_channels.into()) > PRODUCERS_MAX {
        return Err(Failure::usage(format!("at most {PRODUCERS_MAX} producers (channels) are possible")));
    }
    Ok(())
}

/// The pattern's name with this number, in the place of `%d` or, with zeros in front, `%03d`.
pub fn expand(pattern: &str, number: u32) -> Option<String> {
    let (head, rest) = pattern.split_once('%')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (width, rest) = rest.split_at(digits);
    let tail = rest.strip_prefix('d')?;
    if tail.contains('%') || !(width.is_empty() || width.starts_with('0')) {
        return None;
    }
    let width = if width.is_empty() { 0 } else { width.parse().ok().filter(|width| *width <= 20)? };
    Some(format!("{head}{number:0width$}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::super::args::{Command, parse};
    use super::*;

    fn said(line: &str) -> String {
        match parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()) {
            Ok(Command::Run(options)) => validate(&options).map_or_else(|error| error.to_string(), |()| String::new()),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_goes_together_passes() {
        for line in [
            "",
            "-a",
            "-A 10 -q 10 -n 20 -q 20",
            "-c 1 -x 2 -X 3",
            "-x 0 -y 1 -u q -p -D 5",
            "-x 1 -y 0 -p -u q",
            "-qp q%d -qpt 10 --check",
            "--rpc --in-flight 7",
            "--backlog 5 -t fanout -y 10 --slow-consumers 5",
            "-x 0 -y 0 --idle-connections 10 -z 1",
        ] {
            assert_eq!(said(line), "", "{line}");
        }
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        for (line, word) in [
            ("-x 0 -y 0", "neither"),
            ("-a -A 10", "exclude"),
            ("-a -n 10", "nothing to commit"),
            ("-c 1 -m 1", "exclude"),
            ("-r 1 -P 1", "exclude"),
            ("-u q -qp q%d", "exclude"),
            ("-u a,b", "one queue"),
            ("-qp q", "%d"),
            ("-qp q%d%d", "%d"),
            ("-qp q%d -qpf 2", "below"),
            ("-qpt 2", "missing"),
            ("-q 3 -A 4", "less than or equal"),
            ("-Q 3 -A 4", "less than or equal"),
            ("-n 5 -A 2", "multiple"),
            ("-n 5 -q 2", "prefetch"),
            ("-K -k x", "exclude"),
            ("--backlog 1 -y 0", "without consumers"),
            ("--backlog 1 -x 0", "without producers"),
            ("--backlog 1 -y 2 --slow-consumers 2", "slow"),
            ("--slow-consumers 2", "more"),
            ("--warmup 1 -C 5", "--warmup"),
            ("--warmup 1", "needs --time"),
            ("--drain 1 -y 0", "without consumers"),
            ("--check -y 0", "without consumers"),
            ("--check -K", "random"),
            ("--check -s 11", "12 bytes"),
            ("--rpc -y 0", "needs"),
            ("--rpc -c 1", "pace"),
            ("--rpc -s 7", "8 bytes"),
            ("--in-flight 2", "--rpc"),
            ("-p", "needs --queue"),
            ("-p -u q --keep", "--keep"),
            ("-p -u q --bindings 3", "--bindings"),
            ("-e amq.default --bindings 3", "default exchange"),
            ("-M 100", "4096"),
            ("-x 70000", "at most"),
            ("--json a --csv a", "same file"),
        ] {
            assert!(said(line).contains(word), "{line}: {:?}", said(line));
        }
    }

    #[test]
    fn patterns_are_expanded() {
        for (pattern, expected) in [
            ("q-%d", Some("q-7")),
            ("%d", Some("7")),
            ("q-%03d.x", Some("q-007.x")),
            ("q", None),
            ("q%s", None),
            ("%d%d", None),
            ("%5d", None),
            ("%099d", None),
        ] {
            assert_eq!(expand(pattern, 7).as_deref(), expected, "{pattern}");
        }
    }
}
