// Cases for amqp091-go: amqp091-own CASES_FILE [NAME_PART...]
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

type skip string

var (
	port    = os.Getenv("AMQP_PORT")
	title   string
	count   int
	open    []*amqp.Connection
	brokers []*broker
	ctx     = context.Background()
)

func fail(format string, a ...any) { panic(fmt.Errorf(format, a...)) }

func ok(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](v T, err error) T { ok(err); return v }

func eq(got, want any) {
	if !reflect.DeepEqual(got, want) {
		fail("got %#v, want %#v", got, want)
	}
}

func name() string { count++; return fmt.Sprintf("go-%s-%d-%d", title, os.Getpid(), count) }

func url(port, user, vhost string) string {
	return fmt.Sprintf("amqp://%s@127.0.0.1:%s/%s", user, port, vhost)
}

func connect() *amqp.Connection {
	c := must(amqp.Dial(url(port, "guest:guest", "%2F")))
	open = append(open, c)
	return c
}

func channel() *amqp.Channel { return must(connect().Channel()) }

func exclusive(ch *amqp.Channel, args amqp.Table) string {
	return must(ch.QueueDeclare("", false, false, true, false, args)).Name
}

func put(ch *amqp.Channel, exchange, key, body string) {
	ok(ch.PublishWithContext(ctx, exchange, key, false, false, amqp.Publishing{Body: []byte(body)}))
}

func until(what string, done func() bool) {
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			fail("%s", what)
		}
	}
}

func get(ch *amqp.Channel, q string, autoAck bool) (d amqp.Delivery) {
	until("no message in "+q, func() (found bool) {
		var err error
		d, found, err = ch.Get(q, autoAck)
		ok(err)
		return
	})
	return
}

func ready(ch *amqp.Channel, q string, n int) {
	until(fmt.Sprintf("not %d messages in %s", n, q), func() bool {
		return must(ch.QueueDeclarePassive(q, false, false, false, false, nil)).Messages == n
	})
}

func next(c <-chan amqp.Delivery) amqp.Delivery {
	select {
	case d, more := <-c:
		if !more {
			fail("deliveries ended")
		}
		return d
	case <-time.After(10 * time.Second):
		fail("no delivery")
	}
	panic(nil)
}

func none(c <-chan amqp.Delivery) {
	select {
	case d := <-c:
		fail("a delivery too many: %q", d.Body)
	case <-time.After(200 * time.Millisecond):
	}
}

func said(err *amqp.Error, code int, text string) {
	if err == nil {
		fail("closed without an error, want %s", text)
	}
	eq([]any{err.Code, err.Reason}, []any{code, text})
}

// act must make the broker close the channel with exactly this; the connection goes on
func closes(c *amqp.Connection, code int, text string, act func(*amqp.Channel) error) {
	ch := must(c.Channel())
	note := ch.NotifyClose(make(chan *amqp.Error, 1))
	_ = act(ch)
	select {
	case err := <-note:
		said(err, code, text)
	case <-time.After(10 * time.Second):
		fail("no close: %s", text)
	}
	ok(must(c.Channel()).Close())
}

func closesConnection(code int, text string, act func(*amqp.Channel) error) {
	c := connect()
	note := c.NotifyClose(make(chan *amqp.Error, 1))
	_ = act(must(c.Channel()))
	select {
	case err := <-note:
		said(err, code, text)
	case <-time.After(10 * time.Second):
		fail("no close: %s", text)
	}
}

type broker struct {
	port, folder string
	process      *exec.Cmd
}

func (b *broker) start() {
	if b.port == "" {
		l := must(net.Listen("tcp", "127.0.0.1:0"))
		_, b.port, _ = net.SplitHostPort(l.Addr().String())
		ok(l.Close())
		b.folder = must(os.MkdirTemp(os.Getenv("OUT"), "second-"))
	}
	shards := os.Getenv("SHARDS")
	if shards == "" {
		shards = "1"
	}
	b.process = exec.Command(os.Getenv("LEVERET_BIN"), "--port", b.port, "--shards", shards)
	b.process.Dir = b.folder
	log := must(os.OpenFile(b.folder+"/broker.log", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644))
	b.process.Stdout, b.process.Stderr = log, log
	ok(b.process.Start())
	brokers = append(brokers, b)
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.1:"+b.port); err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			fail("the broker does not listen")
		}
	}
}

func (b *broker) stop() {
	if b.process == nil {
		return
	}
	process := b.process
	b.process = nil
	_ = process.Process.Signal(syscall.SIGTERM)
	hard := time.AfterFunc(20*time.Second, func() { _ = process.Process.Kill() })
	_ = process.Wait()
	hard.Stop()
}

var cases = []struct {
	name string
	run  func()
}{
	{"declare_active_and_passive", func() {
		ch, q := channel(), name()
		for range 2 {
			eq(must(ch.QueueDeclare(q, true, false, false, false, amqp.Table{"x-max-length": int32(10)})), amqp.Queue{Name: q})
			ok(ch.ExchangeDeclare(q, "topic", true, false, false, false, nil))
		}
		ok(ch.ExchangeDeclarePassive(q, "fanout", false, false, false, false, nil))
		put(ch, "", q, "1")
		ready(ch, q, 1)
		must(ch.Consume(q, "", false, false, false, false, nil))
		until("no consumer", func() bool {
			return must(ch.QueueDeclarePassive(q, true, false, false, false, nil)) == amqp.Queue{Name: q, Consumers: 1}
		})
		must(ch.QueueDelete(q, false, false, false))
		ok(ch.ExchangeDelete(q, false, false))
	}},
	{"declare_server_named_exclusive_auto_delete", func() {
		c, look := connect(), connect()
		ch := must(c.Channel())
		q := exclusive(ch, nil)
		if !regexp.MustCompile(`^amq\.gen-.{22}$`).MatchString(q) {
			fail("name %s", q)
		}
		auto := must(ch.QueueDeclare(name(), false, true, false, false, nil)).Name
		must(ch.Consume(auto, "t", true, false, false, false, nil))
		ok(ch.Cancel("t", false))
		gone := func(q string) {
			closes(look, 404, "NOT_FOUND - no queue '"+q+"' in vhost '/'", func(ch *amqp.Channel) error {
				_, err := ch.QueueDeclarePassive(q, false, false, false, false, nil)
				return err
			})
		}
		gone(auto)
		ok(c.Close())
		gone(q)
	}},
	{"delete_purge_unbind", func() {
		ch := channel()
		eq(must(ch.QueueDelete(name(), false, false, false)), 0)
		ok(ch.ExchangeDelete(name(), false, false))
		ok(ch.QueueUnbind(name(), "k", name(), nil))
		q := exclusive(ch, nil)
		put(ch, "", q, "1")
		put(ch, "", q, "2")
		ready(ch, q, 2)
		eq(must(ch.QueuePurge(q, false)), 2)
	}},
	{"confirm_one_and_many", func() {
		ch, q := channel(), name()
		must(ch.QueueDeclare(q, true, false, false, false, nil))
		ok(ch.Confirm(false))
		send := func(i int) *amqp.DeferredConfirmation {
			return must(ch.PublishWithDeferredConfirmWithContext(ctx, "", q, false, false, amqp.Publishing{Body: []byte(fmt.Sprint(i)), DeliveryMode: uint8(1 + i%2)}))
		}
		eq(send(1).Wait(), true)
		ready(ch, q, 1)
		var all []*amqp.DeferredConfirmation
		for i := range 3000 {
			all = append(all, send(i))
		}
		for i, d := range all {
			eq([]any{d.Wait(), d.DeliveryTag}, []any{true, uint64(i + 2)})
		}
		eq(must(ch.QueueDelete(q, false, false, false)), 3001)
	}},
	{"confirms_are_numbered_in_order", func() {
		ch := channel()
		q := exclusive(ch, nil)
		ok(ch.Confirm(false))
		note := ch.NotifyPublish(make(chan amqp.Confirmation, 100))
		for range 100 {
			put(ch, "", q, "x")
		}
		for i := range 100 {
			eq(<-note, amqp.Confirmation{DeliveryTag: uint64(i + 1), Ack: true})
		}
	}},
	{"confirm_nack", func() {
		ch := channel()
		q := exclusive(ch, amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"})
		ok(ch.Confirm(false))
		var got []bool
		for range 3 {
			got = append(got, must(ch.PublishWithDeferredConfirmWithContext(ctx, "", q, false, false, amqp.Publishing{})).Wait())
		}
		eq(got, []bool{true, false, false})
	}},
	{"return_before_the_confirm", func() {
		ch := channel()
		ok(ch.Confirm(false))
		returns, confirms := ch.NotifyReturn(make(chan amqp.Return)), ch.NotifyPublish(make(chan amqp.Confirmation))
		ok(ch.PublishWithContext(ctx, "amq.direct", "nowhere", true, false, amqp.Publishing{Body: []byte("back"), MessageId: "7"}))
		select {
		case r := <-returns:
			eq([]any{r.ReplyCode, r.ReplyText, r.Exchange, r.RoutingKey, string(r.Body), r.MessageId}, []any{uint16(312), "NO_ROUTE", "amq.direct", "nowhere", "back", "7"})
		case <-confirms:
			fail("the confirm came first")
		}
		eq((<-confirms).Ack, true)
	}},
	{"consume_ack_and_prefetch", func() {
		ch, q := channel(), name()
		must(ch.QueueDeclare(q, false, false, false, false, nil))
		for i := range 10 {
			put(ch, "", q, fmt.Sprint(i))
		}
		ok(ch.Qos(3, 0, false))
		in := must(ch.Consume(q, "tag", false, false, false, false, nil))
		take := func(i int) {
			d := next(in)
			eq([]any{string(d.Body), d.DeliveryTag, d.Redelivered, d.ConsumerTag, d.RoutingKey}, []any{fmt.Sprint(i), uint64(i + 1), false, "tag", q})
		}
		for i := range 3 {
			take(i)
		}
		none(in)
		ok(ch.Ack(2, true))
		take(3)
		take(4)
		none(in)
		ok(ch.Ack(0, true))
		for i := 5; i < 8; i++ {
			take(i)
		}
		ok(ch.Close())
		ch = channel()
		ready(ch, q, 5)
		must(ch.QueueDelete(q, false, false, false))
	}},
	{"get_and_empty", func() {
		ch := channel()
		q := exclusive(ch, nil)
		_, found, err := ch.Get(q, true)
		ok(err)
		eq(found, false)
		put(ch, "", q, "a")
		put(ch, "", q, "b")
		ready(ch, q, 2)
		d := get(ch, q, false)
		eq([]any{d.MessageCount, d.Redelivered, d.DeliveryTag, string(d.Body)}, []any{uint32(1), false, uint64(1), "a"})
		ok(d.Ack(false))
	}},
	{"routing_topic", func() {
		ch, x := channel(), name()
		ok(ch.ExchangeDeclare(x, "topic", false, true, false, false, nil))
		ok(ch.Confirm(false))
		keys := []string{"#", "*", "user.#", "*.critical", "a.#.z"}
		queues := map[string]string{}
		for _, k := range keys {
			queues[k] = exclusive(ch, nil)
			ok(ch.QueueBind(queues[k], k, x, false, nil))
		}
		for key, want := range map[string]string{"user": "# * user.#", "user.critical": "# *.critical user.#", "a.z": "# a.#.z", "a.b.c.z": "# a.#.z", "": "#", "critical": "# *"} {
			must(ch.PublishWithDeferredConfirmWithContext(ctx, x, key, false, false, amqp.Publishing{})).Wait()
			var got []string
			for k, q := range queues {
				for range must(ch.QueuePurge(q, false)) {
					got = append(got, k)
				}
			}
			sort.Strings(got)
			eq(key+": "+strings.Join(got, " "), key+": "+want)
		}
	}},
	{"routing_headers", func() {
		ch, x := channel(), name()
		ok(ch.ExchangeDeclare(x, "headers", false, true, false, false, nil))
		ok(ch.Confirm(false))
		queues := map[string]string{}
		for k, args := range map[string]amqp.Table{"all": {"x-match": "all", "a": 1, "b": "x"}, "any": {"x-match": "any", "a": 1, "b": "x"}, "present": {"a": nil}} {
			queues[k] = exclusive(ch, nil)
			ok(ch.QueueBind(queues[k], "", x, false, args))
		}
		for _, row := range []struct {
			h    amqp.Table
			want string
		}{
			{amqp.Table{"a": int64(1), "b": "x"}, "all any present"}, {amqp.Table{"a": int16(1)}, "any present"}, {amqp.Table{"a": "1"}, "present"}, {amqp.Table{"b": "y"}, ""},
			{amqp.Table{"a": 1.0, "b": "x", "c": nil}, "any present"},
		} {
			must(ch.PublishWithDeferredConfirmWithContext(ctx, x, "", false, false, amqp.Publishing{Headers: row.h})).Wait()
			var got []string
			for k, q := range queues {
				for range must(ch.QueuePurge(q, false)) {
					got = append(got, k)
				}
			}
			sort.Strings(got)
			eq(fmt.Sprint(row.h, strings.Join(got, " ")), fmt.Sprint(row.h, row.want))
		}
	}},
	{"exchange_to_exchange_and_alternate", func() {
		ch, a, b, alt := channel(), name(), name(), name()
		ok(ch.ExchangeDeclare(alt, "fanout", false, true, false, false, nil))
		ok(ch.ExchangeDeclare(a, "direct", false, true, false, false, amqp.Table{"alternate-exchange": alt}))
		ok(ch.ExchangeDeclare(b, "fanout", false, true, false, false, nil))
		ok(ch.ExchangeBind(b, "k", a, false, nil))
		q, lost := exclusive(ch, nil), exclusive(ch, nil)
		ok(ch.QueueBind(q, "", b, false, nil))
		ok(ch.QueueBind(lost, "", alt, false, nil))
		put(ch, a, "k", "1")
		put(ch, a, "z", "2")
		eq(string(get(ch, q, true).Body), "1")
		d := get(ch, lost, true)
		eq([]string{string(d.Body), d.Exchange, d.RoutingKey}, []string{"2", a, "z"})
	}},
	{"request_and_reply", func() {
		server := channel()
		requests := must(server.QueueDeclare(name(), false, true, false, false, nil)).Name
		in := must(server.Consume(requests, "", true, false, false, false, nil))
		go func() {
			for d := range in {
				_ = server.PublishWithContext(ctx, "", d.ReplyTo, false, false, amqp.Publishing{CorrelationId: d.CorrelationId, Body: bytes.ToUpper(d.Body)})
			}
		}()
		for _, direct := range []bool{false, true} {
			ch, reply := channel(), "amq.rabbitmq.reply-to"
			if !direct {
				reply = exclusive(ch, nil)
			}
			answers := must(ch.Consume(reply, "", true, false, false, false, nil))
			for i := range 20 {
				ok(ch.PublishWithContext(ctx, "", requests, false, false, amqp.Publishing{ReplyTo: reply, CorrelationId: fmt.Sprint(i), Body: fmt.Appendf(nil, "ask%d", i)}))
			}
			for i := range 20 {
				d := next(answers)
				eq([]string{d.CorrelationId, string(d.Body)}, []string{fmt.Sprint(i), fmt.Sprintf("ASK%d", i)})
				if direct && !strings.HasPrefix(d.RoutingKey, reply+".") {
					fail("key %s", d.RoutingKey)
				}
			}
		}
	}},
	{"tx_commit_and_rollback", func() {
		c := connect()
		ch, look := must(c.Channel()), must(c.Channel())
		q := exclusive(look, nil)
		ok(ch.Tx())
		put(ch, "", q, "1")
		ok(ch.TxRollback())
		put(ch, "", q, "2")
		must(ch.QueueDeclarePassive(q, false, false, true, false, nil))
		ready(look, q, 0)
		ok(ch.TxCommit())
		d := get(ch, q, false)
		eq(string(d.Body), "2")
		ok(d.Ack(false))
		ok(ch.Close())
		eq(get(look, q, true).Redelivered, true)
		closes(c, 406, "PRECONDITION_FAILED - channel is not transactional", (*amqp.Channel).TxCommit)
		closes(c, 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode", func(ch *amqp.Channel) error { return errors.Join(ch.Tx(), ch.Confirm(false)) })
		closes(c, 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", func(ch *amqp.Channel) error { return errors.Join(ch.Confirm(false), ch.Tx()) })
	}},
	{"big_and_empty_bodies", func() {
		ch := channel()
		q := exclusive(ch, nil)
		in := must(ch.Consume(q, "", true, false, false, false, nil))
		big := make([]byte, 5<<20)
		rand.Read(big)
		for _, body := range [][]byte{{}, big, bytes.Repeat([]byte{206}, 131064), bytes.Repeat([]byte{206}, 131065), {}} {
			ok(ch.PublishWithContext(ctx, "", q, false, false, amqp.Publishing{Body: body}))
			if d := next(in); !bytes.Equal(d.Body, body) {
				fail("%d bytes came for %d", len(d.Body), len(body))
			}
		}
	}},
	{"properties_round_trip", func() {
		ch := channel()
		q := exclusive(ch, nil)
		when := time.Unix(1600000000, 0)
		headers := amqp.Table{
			"bool": true, "u8": byte(200), "i8": int8(-7), "i16": int16(-300), "u16": uint16(60000), "i32": int32(-70000), "u32": uint32(4000000000), "i64": int64(math.MinInt64), "f32": float32(0.5), "f64": 2.5,
			"dec": amqp.Decimal{Scale: 2, Value: 125}, "str": "žluťoučký", "bytes": []byte{0, 255}, "time": when, "nil": nil, "list": []any{int32(1), "two", amqp.Table{"x": []any{true}}, nil},
			"table": amqp.Table{"a": amqp.Table{"b": "c"}},
		}
		want := amqp.Publishing{
			Headers: headers, ContentType: "text/plain", ContentEncoding: "utf-8", DeliveryMode: 2, Priority: 9, CorrelationId: "c", ReplyTo: "r", Expiration: "60000", MessageId: "m",
			Timestamp: when, Type: "t", UserId: "guest", AppId: "a", Body: []byte("x"),
		}
		ok(ch.PublishWithContext(ctx, "", q, false, false, want))
		d := get(ch, q, true)
		for k, v := range headers {
			eq([]any{k, d.Headers[k]}, []any{k, v})
		}
		d.Headers = headers
		eq(amqp.Publishing{
			Headers: d.Headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode, Priority: d.Priority, CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo,
			Expiration: d.Expiration, MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, UserId: d.UserId, AppId: d.AppId, Body: d.Body,
		}, want)
	}},
	{"requeue_order_and_redelivered", func() {
		ch := channel()
		q := exclusive(ch, nil)
		for i := range 6 {
			put(ch, "", q, fmt.Sprint(i))
		}
		ready(ch, q, 6)
		for range 4 {
			get(ch, q, false)
		}
		ok(ch.Reject(3, true))
		ok(ch.Nack(2, true, true))
		ok(ch.Nack(4, false, true))
		for i := range 6 {
			d := get(ch, q, false)
			eq([]any{string(d.Body), d.Redelivered}, []any{fmt.Sprint(i), i < 4})
		}
		ok(ch.Recover(true))
		ready(ch, q, 6)
	}},
	{"consumer_cancel_notice", func() {
		ch, q := channel(), name()
		must(ch.QueueDeclare(q, false, false, false, false, nil))
		note := ch.NotifyCancel(make(chan string, 1))
		in := must(ch.Consume(q, "gone", false, false, false, false, nil))
		must(channel().QueueDelete(q, false, false, false))
		eq(<-note, "gone")
		if _, more := <-in; more {
			fail("deliveries go on")
		}
		exclusive(ch, nil)
	}},
	{"consumer_priority", func() {
		ch := channel()
		q := exclusive(ch, nil)
		ok(ch.Qos(2, 0, false))
		low := must(ch.Consume(q, "", false, false, false, false, amqp.Table{"x-priority": -5}))
		high := must(ch.Consume(q, "", false, false, false, false, amqp.Table{"x-priority": 5}))
		for i := range 4 {
			put(ch, "", q, fmt.Sprint(i))
		}
		eq([]string{string(next(high).Body), string(next(high).Body), string(next(low).Body), string(next(low).Body)}, []string{"0", "1", "2", "3"})
	}},
	{"dead_letter", func() {
		ch := channel()
		dead := exclusive(ch, nil)
		q := exclusive(ch, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
		ok(ch.PublishWithContext(ctx, "", q, false, false, amqp.Publishing{Expiration: "20"}))
		d := get(ch, dead, true)
		death := d.Headers["x-death"].([]any)[0].(amqp.Table)
		if _, is := death["time"].(time.Time); !is {
			fail("time %T", death["time"])
		}
		delete(death, "time")
		eq(death, amqp.Table{"count": int64(1), "reason": "expired", "queue": q, "exchange": "", "routing-keys": []any{q}, "original-expiration": "20"})
		eq([]any{d.Headers["x-first-death-queue"], d.Headers["x-first-death-reason"], d.Headers["x-first-death-exchange"], d.Expiration}, []any{q, "expired", "", ""})
	}},
	{"error_404", func() {
		c, no := connect(), name()
		q, x := "NOT_FOUND - no queue '"+no+"' in vhost '/'", "NOT_FOUND - no exchange '"+no+"' in vhost '/'"
		closes(c, 404, q, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclarePassive(no, false, false, false, false, nil)
			return err
		})
		closes(c, 404, q, func(ch *amqp.Channel) error {
			_, err := ch.Consume(no, "", false, false, false, false, nil)
			return err
		})
		closes(c, 404, q, func(ch *amqp.Channel) error { _, _, err := ch.Get(no, true); return err })
		closes(c, 404, q, func(ch *amqp.Channel) error { _, err := ch.QueuePurge(no, false); return err })
		closes(c, 404, q, func(ch *amqp.Channel) error { return ch.QueueBind(no, "k", "amq.direct", false, nil) })
		closes(c, 404, x, func(ch *amqp.Channel) error {
			return ch.ExchangeDeclarePassive(no, "direct", false, false, false, false, nil)
		})
		closes(c, 404, x, func(ch *amqp.Channel) error {
			return ch.PublishWithContext(ctx, no, "k", false, false, amqp.Publishing{})
		})
	}},
	{"error_406", func() {
		c, q := connect(), name()
		ch := must(c.Channel())
		must(ch.QueueDeclare(q, true, false, false, false, amqp.Table{"x-message-ttl": int32(10)}))
		declare := func(durable bool, args amqp.Table) func(*amqp.Channel) error {
			return func(ch *amqp.Channel) error {
				_, err := ch.QueueDeclare(q, durable, false, false, false, args)
				return err
			}
		}
		pre, mid := "PRECONDITION_FAILED - inequivalent arg '", "' for queue '"+q+"' in vhost '/': received "
		ok(declare(true, amqp.Table{"x-message-ttl": int64(10)})(ch))
		closes(c, 406, pre+"durable"+mid+"'false' but current is 'true'", declare(false, amqp.Table{"x-message-ttl": int32(10)}))
		closes(c, 406, pre+"x-message-ttl"+mid+"'20' but current is '10'", declare(true, amqp.Table{"x-message-ttl": int32(20)}))
		closes(c, 406, pre+"x-message-ttl"+mid+"none but current is the value '10' of type 'signedint'", declare(true, nil))
		closes(c, 406, "PRECONDITION_FAILED - unknown delivery tag 9", func(ch *amqp.Channel) error { return ch.Ack(9, false) })
		closes(c, 406, "PRECONDITION_FAILED - unknown delivery tag 9", func(ch *amqp.Channel) error { return ch.Nack(9, true, true) })
		closes(c, 406, "PRECONDITION_FAILED - unknown delivery tag 9", func(ch *amqp.Channel) error { return ch.Reject(9, false) })
		closes(c, 406, "PRECONDITION_FAILED - invalid expiration 'soon': no_integer", func(ch *amqp.Channel) error {
			return ch.PublishWithContext(ctx, "", q, false, false, amqp.Publishing{Expiration: "soon"})
		})
		must(ch.QueueDelete(q, false, false, false))
	}},
	{"error_405_and_403", func() {
		c, q := connect(), name()
		owner := channel()
		must(owner.QueueDeclare(q, false, false, true, false, nil))
		locked := "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '" + q + "' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration."
		closes(c, 405, locked, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(q, false, false, true, false, nil)
			return err
		})
		closes(c, 405, locked, func(ch *amqp.Channel) error {
			_, err := ch.Consume(q, "", false, false, false, false, nil)
			return err
		})
		closes(c, 405, locked, func(ch *amqp.Channel) error { _, err := ch.QueueDelete(q, false, false, false); return err })
		closes(c, 403, "ACCESS_REFUSED - queue name 'amq.foo' contains reserved prefix 'amq.*'", func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("amq.foo", false, false, false, false, nil)
			return err
		})
		closes(c, 403, "ACCESS_REFUSED - operation not permitted on the default exchange", func(ch *amqp.Channel) error {
			return ch.QueueBind(exclusive(ch, nil), "k", "", false, nil)
		})
		closes(c, 403, "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed", func(ch *amqp.Channel) error { return ch.ExchangeDelete("amq.topic", false, false) })
		mine := must(c.Channel())
		busy := exclusive(mine, nil)
		must(mine.Consume(busy, "", false, true, false, false, nil))
		closes(c, 403, "ACCESS_REFUSED - queue '"+busy+"' in vhost '/' in exclusive use", func(ch *amqp.Channel) error {
			_, err := ch.Consume(busy, "", false, false, false, false, nil)
			return err
		})
	}},
	{"error_530_and_540_close_the_connection", func() {
		closesConnection(530, "NOT_ALLOWED - attempt to reuse consumer tag 't'", func(ch *amqp.Channel) error {
			q := exclusive(ch, nil)
			must(ch.Consume(q, "t", false, false, false, false, nil))
			_, err := ch.Consume(q, "t", false, false, false, false, nil)
			return err
		})
		closesConnection(540, "NOT_IMPLEMENTED - immediate=true", func(ch *amqp.Channel) error {
			return ch.PublishWithContext(ctx, "", "x", false, true, amqp.Publishing{})
		})
		closesConnection(540, "NOT_IMPLEMENTED - prefetch_size!=0 (5)", func(ch *amqp.Channel) error { return ch.Qos(0, 5, false) })
		closesConnection(540, "NOT_IMPLEMENTED - active=false", func(ch *amqp.Channel) error { return ch.Flow(false) })
		closesConnection(540, "NOT_IMPLEMENTED - requeue=false", func(ch *amqp.Channel) error { return ch.Recover(false) })
	}},
	{"refused_vhost_and_login", func() {
		_, err := amqp.Dial(url(port, "guest:guest", "nowhere"))
		var e *amqp.Error
		if !errors.As(err, &e) {
			fail("%v", err)
		}
		if e.Code != 403 && e.Code != 530 { // the client has its own words for it
			fail("%v", e)
		}
		_, err = amqp.Dial(url(port, "guest:wrong", "%2F"))
		if !errors.As(err, &e) || e.Code != 403 {
			fail("%v", err)
		}
	}},
	{"many_channels_and_heartbeat", func() {
		c := must(amqp.DialConfig(url(port, "guest:guest", "%2F"), amqp.Config{Heartbeat: time.Second}))
		open = append(open, c)
		ch := must(c.Channel())
		q := exclusive(ch, nil)
		for range 200 {
			put(must(c.Channel()), "", q, "x")
		}
		ready(ch, q, 200)
		time.Sleep(4 * time.Second)
		ready(ch, q, 200)
	}},
	{"recovery_after_a_restart", func() {
		if os.Getenv("LEVERET_BIN") == "" {
			panic(skip("LEVERET_BIN is unset"))
		}
		b := &broker{}
		defer b.stop()
		for run := range 2 { // as its users do: wait for NotifyClose, dial again, declare again
			b.start()
			c := must(amqp.Dial(url(b.port, "guest:guest", "%2F")))
			ended := c.NotifyClose(make(chan *amqp.Error, 1))
			ch := must(c.Channel())
			must(ch.QueueDeclare("again", true, false, false, false, nil))
			ok(ch.Confirm(false))
			eq(must(ch.PublishWithDeferredConfirmWithContext(ctx, "", "again", false, false, amqp.Publishing{Body: []byte(fmt.Sprint(run))})).Wait(), true)
			eq(string(get(ch, "again", true).Body), fmt.Sprint(run))
			b.stop()
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				fail("the end of the broker was not seen")
			}
		}
	}},
	{"recovery_of_itself_after_a_restart", func() {
		if os.Getenv("LEVERET_BIN") == "" {
			panic(skip("LEVERET_BIN is unset"))
		}
		b := &broker{}
		defer b.stop()
		b.start()
		c := must(amqp.DialConfig(url(b.port, "guest:guest", "%2F"), amqp.Config{Recovery: &amqp.Recovery{
			ReconnectionConfig: &amqp.ReconnectionConfig{MaxRetryCount: 100, RetryInterval: 300 * time.Millisecond},
		}}))
		defer c.CloseDeadline(time.Now().Add(80 * time.Second))
		ch := must(c.Channel())
		q := must(ch.QueueDeclare("itself", true, false, false, false, nil)).Name
		ok(ch.QueueBind(q, "key", "amq.topic", false, nil))
		in := must(ch.Consume(q, "c", true, false, false, false, nil))
		put(ch, "amq.topic", "key", "before")
		eq(string(next(in).Body), "before")
		b.stop()
		time.Sleep(500 * time.Millisecond)
		b.start()
		sent := false
		for end := time.Now().Add(30 * time.Second); !sent; time.Sleep(300 * time.Millisecond) {
			if time.Now().After(end) {
				fail("not recovered")
			}
			sent = ch.PublishWithContext(ctx, "amq.topic", "key", false, false, amqp.Publishing{Body: []byte("after")}) == nil
		}
		eq(string(next(in).Body), "after")
	}},
}

func run(limit time.Duration, f func()) (verdict, why string) {
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		f()
	}()
	select {
	case p := <-done:
		if s, is := p.(skip); is {
			return "SKIP", string(s)
		}
		if p != nil {
			return "FAIL", fmt.Sprint(p)
		}
		return "PASS", ""
	case <-time.After(limit):
		return "FAIL", "the case's time is up"
	}
}

func main() {
	out := must(os.Create(os.Args[1]))
	for _, c := range cases {
		if len(os.Args) > 2 && !func() bool {
			for _, part := range os.Args[2:] {
				if strings.Contains(c.name, part) {
					return true
				}
			}
			return false
		}() {
			continue
		}
		title, count, open = c.name, 0, nil
		began, limit := time.Now(), 20*time.Second
		if strings.HasPrefix(title, "recovery") {
			limit = 90 * time.Second
		}
		verdict, why := run(limit, c.run)
		for _, c := range open {
			_ = c.CloseDeadline(time.Now().Add(time.Second))
		}
		fmt.Fprintln(out, verdict, c.name)
		fmt.Println(verdict, c.name, time.Since(began).Round(time.Millisecond), why)
	}
	for _, b := range brokers { // of a case whose time was up
		b.stop()
	}
}
