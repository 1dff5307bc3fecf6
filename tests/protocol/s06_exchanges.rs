//! Section 6: exchange methods.

use leveret::amqp::Value;
use leveret::amqp::method::*;

use crate::net::{Net, scripts};
use crate::say::*;

fn inequivalent(argument: &str, received: &str, current: &str) -> String {
    format!("inequivalent arg '{argument}' for exchange 'x' in vhost '/': received {received} but current is {current}")
}

/// Declares exchange x one way, then another: 406.
fn differs(t: &Net, first: ExchangeDeclare<'_>, second: ExchangeDeclare<'_>, text: &str) {
    let (a, b) = (t.peer(), t.peer());
    a.send(first).expect(ExchangeDeclareOk {});
    b.send(second).closed(406, text, ExchangeDeclare::ID);
    a.send(first).expect(ExchangeDeclareOk {});
}

/// Declares exchange x one way, then another: the same.
fn same(t: &Net, first: ExchangeDeclare<'_>, second: ExchangeDeclare<'_>) {
    let (a, b) = (t.peer(), t.peer());
    a.send(first).expect(ExchangeDeclareOk {});
    b.send(second).expect(ExchangeDeclareOk {});
}

const AE: &str = "alternate-exchange";

scripts! {
    s6_declare_of_every_type(t) {
        let a = t.peer();
        for kind in ["direct", "fanout", "topic", "headers"] {
            a.exchange(kind, kind).send(exchange(kind, kind)).expect(ExchangeDeclareOk {});
        }
    }

    s6_declare_with_every_flag(t) {
        let a = t.peer();
        a.send(ExchangeDeclare { durable: true, auto_delete: true, internal: true, ..exchange("x", "topic") });
        a.expect(ExchangeDeclareOk {});
    }

    s6_declared_here_known_everywhere(t) {
        let a = t.peer();
        a.exchange("x", "direct");
        for _ in 0..4 {
            t.peer().has_exchange("x");
        }
    }

    s6_declare_of_an_unknown_type(t) {
        for kind in ["zzqx", "Direct", ""] {
            let a = t.peer();
            a.send(exchange("x", kind));
            let text = a.close_text(406, ExchangeDeclare::ID);
            let accepted = ["unknown", "invalid"].map(|word| format!("PRECONDITION_FAILED - {word} exchange type '{kind}'"));
            assert!(accepted.contains(&text), "{text}");
        }
    }

    s6_the_type_is_checked_before_the_name(t) {
        let a = t.peer();
        a.send(exchange("amq.foo", "zzqx")).closed_like(406, "", ExchangeDeclare::ID);
        a.reopen().send(exchange("", "zzqx")).closed_like(406, "", ExchangeDeclare::ID);
    }

    s6_redeclare_with_another_type(t) {
        let text = inequivalent("type", "'fanout'", "'direct'");
        differs(t, exchange("x", "direct"), exchange("x", "fanout"), &text);
    }

    s6_redeclare_with_another_durable(t) {
        let durable = ExchangeDeclare { durable: true, ..exchange("x", "direct") };
        let text = inequivalent("durable", "'false'", "'true'");
        differs(t, durable, exchange("x", "direct"), &text);
    }

    s6_redeclare_with_another_durable_the_other_way(t) {
        let durable = ExchangeDeclare { durable: true, ..exchange("x", "direct") };
        let text = inequivalent("durable", "'true'", "'false'");
        differs(t, exchange("x", "direct"), durable, &text);
    }

    s6_redeclare_with_another_auto_delete(t) {
        let auto = ExchangeDeclare { auto_delete: true, ..exchange("x", "direct") };
        let text = inequivalent("auto_delete", "'true'", "'false'");
        differs(t, exchange("x", "direct"), auto, &text);
    }

    s6_redeclare_with_another_internal(t) {
        let internal = ExchangeDeclare { internal: true, ..exchange("x", "direct") };
        let text = inequivalent("internal", "'true'", "'false'");
        differs(t, exchange("x", "direct"), internal, &text);
    }

    s6_the_type_is_compared_first(t) {
        let all = ExchangeDeclare { durable: true, auto_delete: true, internal: true, ..exchange("x", "fanout") };
        let text = inequivalent("type", "'fanout'", "'direct'");
        differs(t, exchange("x", "direct"), all, &text);
    }

    s6_durable_is_compared_before_auto_delete_and_internal(t) {
        let all = ExchangeDeclare { durable: true, auto_delete: true, internal: true, ..exchange("x", "direct") };
        let text = inequivalent("durable", "'true'", "'false'");
        differs(t, exchange("x", "direct"), all, &text);
    }

    s6_auto_delete_is_compared_before_internal(t) {
        let both = ExchangeDeclare { auto_delete: true, internal: true, ..exchange("x", "direct") };
        let text = inequivalent("auto_delete", "'true'", "'false'");
        differs(t, exchange("x", "direct"), both, &text);
    }

    s6_redeclare_with_another_alternate_exchange(t) {
        let (first, second) = ([(AE, s("foo"))], [(AE, s("bar"))]);
        let text = inequivalent(AE, "'bar'", "'foo'");
        differs(t, exchange_with("x", "direct", &first), exchange_with("x", "direct", &second), &text);
    }

    s6_redeclare_without_the_alternate_exchange(t) {
        let text = inequivalent(AE, "none", "the value 'foo' of type 'longstr'");
        differs(t, exchange_with("x", "direct", &[(AE, s("foo"))]), exchange("x", "direct"), &text);
    }

    s6_redeclare_with_a_new_alternate_exchange(t) {
        let text = inequivalent(AE, "the value 'foo' of type 'longstr'", "none");
        differs(t, exchange("x", "direct"), exchange_with("x", "direct", &[(AE, s("foo"))]), &text);
    }

    s6_other_arguments_are_not_compared(t) {
        same(t, exchange("x", "direct"), exchange_with("x", "direct", &[("x-foo", int(1)), ("bar", s("baz"))]));
    }

    s6_an_alternate_exchange_that_is_no_string(t) {
        let a = t.peer();
        let text = "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'x' in vhost '/'";
        a.send(exchange_with("x", "direct", &[(AE, int(1))])).closed(406, text, ExchangeDeclare::ID);
        a.reopen().no_exchange("x");
    }

    s6_an_alternate_exchange_need_not_exist(t) {
        t.peer().send(exchange_with("x", "direct", &[(AE, s("nowhere"))])).expect(ExchangeDeclareOk {});
    }

    s6_passive_declare_of_a_missing_exchange(t) {
        let a = t.peer();
        a.send(exchange_passive("x")).closed(404, "no exchange 'x' in vhost '/'", ExchangeDeclare::ID);
    }

    s6_passive_declare_ignores_everything_else(t) {
        let a = t.peer();
        a.exchange("x", "direct");
        a.send(ExchangeDeclare {
            passive: true, durable: true, auto_delete: true, internal: true,
            ..exchange_with("x", "fanout", &[(AE, int(1))])
        });
        a.expect(ExchangeDeclareOk {});
        a.send(ExchangeDeclare { passive: true, ..exchange("x", "zzqx") }).expect(ExchangeDeclareOk {});
    }

    s6_a_passive_declare_creates_nothing(t) {
        t.peer().no_exchange("x").no_exchange("x");
    }

    s6_delete(t) {
        let (a, b) = (t.peer(), t.peer());
        a.exchange("x", "direct").send(exchange_delete("x")).expect(ExchangeDeleteOk {});
        b.no_exchange("x");
    }

    s6_delete_of_a_missing_exchange_is_ok(t) {
        t.peer().send(exchange_delete("x")).expect(ExchangeDeleteOk {});
    }

    s6_delete_of_a_system_exchange(t) {
        let a = t.peer();
        for name in ["amq.direct", "amq.rabbitmq.trace", "amq.nope"] {
            let text = format!("deletion of system exchange '{name}' in vhost '/' not allowed");
            a.send(exchange_delete(name)).closed(403, &text, ExchangeDelete::ID).reopen();
        }
    }

    s6_delete_if_unused_of_a_bound_exchange(t) {
        let (a, b) = (t.peer(), t.peer());
        a.exchange("x", "direct").queue(declare("q")).bind("q", "x", "k");
        b.send(ExchangeDelete { if_unused: true, ..exchange_delete("x") });
        b.closed(406, "exchange 'x' in vhost '/' in use", ExchangeDelete::ID).reopen().has_exchange("x");
        a.send(unbind("q", "x", "k")).expect(QueueUnbindOk {});
        b.send(ExchangeDelete { if_unused: true, ..exchange_delete("x") }).expect(ExchangeDeleteOk {});
    }

    s6_delete_if_unused_of_a_source_of_exchanges(t) {
        let a = t.peer();
        a.exchange("x", "direct").exchange("y", "fanout").e_bind("y", "x", "k");
        a.send(ExchangeDelete { if_unused: true, ..exchange_delete("x") });
        a.closed(406, "exchange 'x' in vhost '/' in use", ExchangeDelete::ID);
    }

    s6_being_a_destination_or_an_alternate_is_no_use(t) {
        let a = t.peer();
        a.exchange("x", "fanout").exchange("y", "fanout").e_bind("x", "y", "");
        a.send(exchange_with("z", "fanout", &[(AE, s("x"))])).expect(ExchangeDeclareOk {});
        a.send(ExchangeDelete { if_unused: true, ..exchange_delete("x") }).expect(ExchangeDeleteOk {});
    }

    s6_delete_without_if_unused_removes_bindings(t) {
        let (a, b) = (t.peer(), t.peer());
        a.exchange("x", "fanout").queue(declare("q")).bind("q", "x", "");
        a.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
        b.exchange("x", "fanout").publish(to("x", ""));
        b.counts("q", 0, 0);
    }

    s6_delete_removes_bindings_to_it_too(t) {
        let a = t.peer();
        a.exchange("x", "fanout").exchange("y", "fanout").queue(declare("q")).e_bind("y", "x", "").bind("q", "y", "");
        a.send(exchange_delete("y")).expect(ExchangeDeleteOk {});
        a.exchange("y", "fanout").bind("q", "y", "").publish(to("x", "")).holds("q", &[]);
        a.send(ExchangeDelete { if_unused: true, ..exchange_delete("x") }).expect(ExchangeDeleteOk {});
    }

    s6_publishing_to_a_deleted_exchange(t) {
        let (a, b) = (t.peer(), t.peer());
        a.exchange("x", "fanout");
        b.publish(to("x", ""));
        a.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
        b.publish(to("x", "")).closed(404, "no exchange 'x' in vhost '/'", BasicPublish::ID);
    }

    s6_a_redeclared_exchange_takes_its_new_type(t) {
        let (a, b) = (t.peer(), t.peer());
        a.exchange("x", "direct").queue(declare("q")).bind("q", "x", "k");
        b.publish(to("x", "k"));
        a.send(exchange_delete("x")).expect(ExchangeDeleteOk {}).exchange("x", "fanout").bind("q", "x", "k");
        b.publish(to("x", "other")).holds("q", &["m", "m"]);
    }

    s6_auto_delete_when_the_last_binding_goes(t) {
        let (a, b) = (t.peer(), t.peer());
        a.send(ExchangeDeclare { auto_delete: true, ..exchange("x", "direct") }).expect(ExchangeDeclareOk {});
        a.queue(declare("q")).bind("q", "x", "1").bind("q", "x", "2");
        a.send(unbind("q", "x", "1")).expect(QueueUnbindOk {});
        b.has_exchange("x");
        a.send(unbind("q", "x", "2")).expect(QueueUnbindOk {});
        b.no_exchange("x");
    }

    s6_auto_delete_when_the_last_queue_goes(t) {
        let (a, b) = (t.peer(), t.peer());
        a.send(ExchangeDeclare { auto_delete: true, ..exchange("x", "direct") }).expect(ExchangeDeclareOk {});
        a.queue(declare("q")).bind("q", "x", "1").send(delete("q")).expect(delete_ok(0));
        b.no_exchange("x");
    }

    s6_auto_delete_when_an_exclusive_queue_goes_with_its_connection(t) {
        let (a, b) = (t.peer(), t.peer());
        a.send(ExchangeDeclare { auto_delete: true, ..exchange("x", "direct") }).expect(ExchangeDeclareOk {});
        a.queue(exclusive("q")).bind("q", "x", "1").quit();
        b.no_exchange("x");
    }

    s6_auto_delete_when_the_last_exchange_is_unbound(t) {
        let (a, b) = (t.peer(), t.peer());
        a.send(ExchangeDeclare { auto_delete: true, ..exchange("x", "direct") }).expect(ExchangeDeclareOk {});
        a.exchange("y", "fanout").e_bind("y", "x", "").send(e_unbind("y", "x", "")).expect(ExchangeUnbindOk {});
        b.no_exchange("x").has_exchange("y");
    }

    s6_auto_delete_when_the_last_destination_exchange_is_deleted(t) {
        let (a, b) = (t.peer(), t.peer());
        a.send(ExchangeDeclare { auto_delete: true, ..exchange("x", "direct") }).expect(ExchangeDeclareOk {});
        a.exchange("y", "fanout").e_bind("y", "x", "").send(exchange_delete("y")).expect(ExchangeDeleteOk {});
        b.no_exchange("x");
    }

    s6_auto_delete_runs_upstream(t) {
        let (a, b) = (t.peer(), t.peer());
        for name in ["x", "y", "z"] {
            a.send(ExchangeDeclare { auto_delete: true, ..exchange(name, "fanout") }).expect(ExchangeDeclareOk {});
        }
        a.queue(declare("q")).bind("q", "z", "").e_bind("z", "y", "").e_bind("y", "x", "");
        a.send(delete("q")).expect(delete_ok(0));
        b.no_exchange("z").no_exchange("y").no_exchange("x");
    }

    s6_a_never_bound_auto_delete_exchange_stays(t) {
        let (a, b) = (t.peer(), t.peer());
        a.send(ExchangeDeclare { auto_delete: true, ..exchange("x", "direct") }).expect(ExchangeDeclareOk {});
        a.publish(to("x", "k")).send(unbind("q", "x", "k")).expect(QueueUnbindOk {}).quit();
        b.has_exchange("x");
    }

    s6_bindings_to_an_auto_delete_exchange_do_not_count(t) {
        let a = t.peer();
        a.send(ExchangeDeclare { auto_delete: true, ..exchange("x", "direct") }).expect(ExchangeDeclareOk {});
        a.exchange("y", "fanout").e_bind("x", "y", "").send(e_unbind("x", "y", "")).expect(ExchangeUnbindOk {});
        a.has_exchange("x");
    }

    s6_bind_exchange_to_exchange(t) {
        let (a, b) = (t.peer(), t.peer());
        a.exchange("x", "direct").exchange("y", "direct").queue(declare("q")).bind("q", "y", "k").e_bind("y", "x", "k");
        b.publish(to("x", "k"));
        let message = b.get("q");
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("x", "k"));
    }

    s6_exchange_bind_is_idempotent(t) {
        let a = t.peer();
        a.exchange("x", "direct").exchange("y", "direct").e_bind("y", "x", "k").e_bind("y", "x", "k");
        a.queue(declare("q")).bind("q", "y", "k").send(e_unbind("y", "x", "k")).expect(ExchangeUnbindOk {});
        a.publish(to("x", "k")).holds("q", &[]);
    }

    s6_exchange_unbind_is_idempotent(t) {
        let a = t.peer();
        a.exchange("x", "direct").exchange("y", "direct");
        a.send(e_unbind("y", "x", "k")).expect(ExchangeUnbindOk {});
        a.send(e_unbind("nope", "x", "k")).expect(ExchangeUnbindOk {});
        a.send(e_unbind("y", "nope", "k")).expect(ExchangeUnbindOk {});
    }

    s6_exchange_unbind_takes_the_one_binding(t) {
        let a = t.peer();
        a.exchange("x", "direct").exchange("y", "fanout").e_bind("y", "x", "1").e_bind("y", "x", "2");
        a.queue(declare("q")).bind("q", "y", "").send(e_unbind("y", "x", "1")).expect(ExchangeUnbindOk {});
        a.publish(to("x", "1")).publish(Publish { body: "two", ..to("x", "2") }).holds("q", &["two"]);
    }

    s6_exchange_bind_with_a_missing_end(t) {
        let a = t.peer();
        a.exchange("x", "direct");
        a.send(e_bind("nope", "x", "k")).closed(404, "no exchange 'nope' in vhost '/'", ExchangeBind::ID).reopen();
        a.send(e_bind("x", "nope", "k")).closed(404, "no exchange 'nope' in vhost '/'", ExchangeBind::ID);
    }

    s6_an_exchange_may_be_bound_to_itself(t) {
        let a = t.peer();
        a.exchange("x", "fanout").e_bind("x", "x", "").queue(declare("q")).bind("q", "x", "");
        a.publish(to("x", "")).holds("q", &["m"]);
    }

    s6_cycles_of_exchanges_are_safe(t) {
        let a = t.peer();
        a.exchange("x", "fanout").exchange("y", "fanout").exchange("z", "fanout").queue(declare("q"));
        a.e_bind("y", "x", "").e_bind("z", "y", "").e_bind("x", "z", "").bind("q", "z", "").bind("q", "x", "");
        for name in ["x", "y", "z"] {
            a.publish(to(name, "")).holds("q", &["m"]);
        }
        a.send(exchange_delete("y")).expect(ExchangeDeleteOk {}).publish(to("x", "")).holds("q", &["m"]);
    }

    s6_exchanges_may_be_bound_with_arguments(t) {
        let a = t.peer();
        let arguments = table(&[("x-match", s("any")), ("colour", s("red"))]);
        a.exchange("x", "headers").exchange("y", "fanout").queue(declare("q")).bind("q", "y", "");
        a.send(ExchangeBind { arguments, ..e_bind("y", "x", "") }).expect(ExchangeBindOk {});
        a.publish(Publish { properties: with_headers(&[("colour", s("red"))]), ..to("x", "") });
        a.publish(Publish { properties: with_headers(&[("colour", s("blue"))]), body: "no", ..to("x", "") });
        a.holds("q", &["m"]);
        a.send(ExchangeUnbind { arguments, ..e_unbind("y", "x", "") }).expect(ExchangeUnbindOk {});
        a.publish(Publish { properties: with_headers(&[("colour", s("red"))]), ..to("x", "") }).holds("q", &[]);
    }

    s6_durable_exchanges_may_be_bound_to_transient_ones(t) {
        let a = t.peer();
        a.exchange("x", "fanout");
        a.send(ExchangeDeclare { durable: true, ..exchange("y", "fanout") }).expect(ExchangeDeclareOk {});
        a.e_bind("y", "x", "").e_bind("x", "y", "");
    }

    s6_an_alternate_exchange_of_the_wrong_type_on_redeclare(t) {
        let text = inequivalent(AE, "the value 'true' of type 'bool'", "none");
        let wrong = exchange_with("x", "direct", &[(AE, Value::Bool(true))]);
        differs(t, exchange("x", "direct"), wrong, &text);
    }
}
