// Cases for RabbitMQ's Java client: java Cases CASES_FILE [NAME_PART...]
import com.rabbitmq.client.*;
import java.io.*;
import java.math.BigDecimal;
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

public class Cases {
    interface Act { void run() throws Exception; }
    interface On { void run(Channel ch) throws Exception; }
    interface Check { boolean done() throws Exception; }
    record Case(String name, Act run) {}

    static final int PORT = Integer.parseInt(System.getenv("AMQP_PORT"));
    static final List<Case> CASES = new ArrayList<>();
    static final List<Connection> OPEN = new CopyOnWriteArrayList<>();
    static final AtomicInteger COUNT = new AtomicInteger();
    static final AMQP.BasicProperties NONE = new AMQP.BasicProperties();
    static String title;

    static String name() { return "java-" + title + "-" + ProcessHandle.current().pid() + "-" + COUNT.incrementAndGet(); }
    static byte[] bytes(Object s) { return s.toString().getBytes(StandardCharsets.UTF_8); }
    static String string(byte[] b) { return new String(b, StandardCharsets.UTF_8); }
    static void eq(Object got, Object want) { if (!Objects.deepEquals(got, want)) throw new AssertionError("got " + got + ", want " + want); }
    static void check(boolean is, Object what) { if (!is) throw new AssertionError(what); }

    static ConnectionFactory factory(int port) {
        ConnectionFactory f = new ConnectionFactory();
        f.setHost("127.0.0.1");
        f.setPort(port);
        f.setAutomaticRecoveryEnabled(false);
        f.setExceptionHandler(new com.rabbitmq.client.impl.ForgivingExceptionHandler() { protected void log(String message, Throwable e) {} });
        return f;
    }

    static Connection connect() throws Exception {
        Connection c = factory(PORT).newConnection();
        OPEN.add(c);
        return c;
    }

    static Channel channel() throws Exception { return connect().createChannel(); }
    static String exclusive(Channel ch, Map<String, Object> args) throws Exception { return ch.queueDeclare("", false, true, false, args).getQueue(); }
    static String exclusive(Channel ch) throws Exception { return exclusive(ch, null); }
    static String shared(Channel ch) throws Exception { return ch.queueDeclare(name(), false, false, false, null).getQueue(); }
    static void put(Channel ch, String q, Object body) throws Exception { ch.basicPublish("", q, NONE, bytes(body)); }

    static void until(String what, Check c) throws Exception {
        for (long end = System.nanoTime() + 10_000_000_000L; !c.done(); Thread.sleep(5)) check(System.nanoTime() < end, what);
    }

    static GetResponse get(Channel ch, String q, boolean autoAck) throws Exception {
        GetResponse[] r = new GetResponse[1];
        until("no message in " + q, () -> (r[0] = ch.basicGet(q, autoAck)) != null);
        return r[0];
    }

    static void ready(Channel ch, String q, int n) throws Exception { until("not " + n + " messages in " + q, () -> ch.queueDeclarePassive(q).getMessageCount() == n); }

    static class Take extends DefaultConsumer {
        final BlockingQueue<Delivery> in = new LinkedBlockingQueue<>();
        final BlockingQueue<String> cancels = new LinkedBlockingQueue<>();
        Take(Channel ch) { super(ch); }
        public void handleDelivery(String tag, Envelope e, AMQP.BasicProperties p, byte[] b) { in.add(new Delivery(e, p, b)); }
        public void handleCancel(String tag) { cancels.add(tag); }
        Delivery next() throws Exception { Delivery d = in.poll(10, TimeUnit.SECONDS); check(d != null, "no delivery"); return d; }
        String text() throws Exception { return string(next().getBody()); }
        void none() throws Exception { Delivery d = in.poll(200, TimeUnit.MILLISECONDS); check(d == null, "a delivery too many"); }
    }

    static void said(ShutdownSignalException e, boolean hard, int code, String text, int classId, int methodId) {
        eq(e.isHardError(), hard);
        if (e.getReason() instanceof AMQP.Channel.Close c) eq(List.of(c.getReplyCode(), c.getReplyText(), c.getClassId(), c.getMethodId()), List.of(code, text, classId, methodId));
        else if (e.getReason() instanceof AMQP.Connection.Close c) eq(List.of(c.getReplyCode(), c.getReplyText(), c.getClassId(), c.getMethodId()), List.of(code, text, classId, methodId));
        else throw new AssertionError(e);
    }

    /** act must make the broker close the channel (or the connection) with exactly this. */
    static void closes(Connection c, boolean hard, int code, String text, int classId, int methodId, On act) throws Exception {
        Channel ch = c.createChannel();
        CompletableFuture<ShutdownSignalException> end = new CompletableFuture<>();
        ch.addShutdownListener(end::complete);
        try { act.run(ch); } catch (IOException | AlreadyClosedException e) { /* told below */ }
        ShutdownSignalException e;
        try { e = end.get(10, TimeUnit.SECONDS); } catch (TimeoutException t) { throw new AssertionError("no close: " + text); }
        said(e, hard, code, text, classId, methodId);
        if (!hard) c.createChannel().close();
    }

    static void closes(Connection c, int code, String text, int classId, int methodId, On act) throws Exception { closes(c, false, code, text, classId, methodId, act); }

    static class Broker implements AutoCloseable {
        final int port;
        final Path folder;
        Process process;

        Broker() throws Exception {
            try (ServerSocket s = new ServerSocket(0, 1, InetAddress.getByName("127.0.0.1"))) { port = s.getLocalPort(); }
            String out = System.getenv("OUT");
            folder = out == null ? Files.createTempDirectory("second-") : Files.createTempDirectory(Path.of(out), "second-");
            Runtime.getRuntime().addShutdownHook(new Thread(() -> { if (process != null) process.destroyForcibly(); }));
        }

        void start() throws Exception {
            process = new ProcessBuilder(System.getenv("LEVERET_BIN"), "--port", "" + port, "--shards", System.getenv().getOrDefault("SHARDS", "1"))
                .directory(folder.toFile()).redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(folder.resolve("broker.log").toFile())).start();
            for (int i = 0; i < 400; i++, Thread.sleep(100)) {
                try (Socket s = new Socket("127.0.0.1", port)) { return; } catch (IOException e) { check(process.isAlive(), "the broker ended"); }
            }
            throw new AssertionError("the broker does not listen");
        }

        void stop() throws Exception {
            if (process == null) return;
            process.destroy();
            if (!process.waitFor(20, TimeUnit.SECONDS)) process.destroyForcibly().waitFor();
            process = null;
        }

        public void close() throws Exception { stop(); }
    }

    static void add(String name, Act run) { CASES.add(new Case(name, run)); }

    @SuppressWarnings("unchecked")
    static void routes(String kind, Map<String, Object> bindings, Object[][] rows) throws Exception {
        Channel ch = channel();
        String x = name();
        ch.exchangeDeclare(x, kind, false, true, null);
        ch.confirmSelect();
        Map<String, String> queues = new TreeMap<>();
        for (var b : bindings.entrySet()) {
            queues.put(b.getKey(), exclusive(ch));
            ch.queueBind(queues.get(b.getKey()), x, b.getValue() == null ? b.getKey() : "", (Map<String, Object>) b.getValue());
        }
        for (Object[] row : rows) {
            Map<String, Object> headers = row[0] instanceof Map ? (Map<String, Object>) row[0] : null;
            ch.basicPublish(x, headers == null ? (String) row[0] : "", new AMQP.BasicProperties.Builder().headers(headers).build(), new byte[0]);
            ch.waitForConfirmsOrDie(5000);
            List<String> got = new ArrayList<>();
            for (var q : queues.entrySet()) for (int n = ch.queuePurge(q.getValue()).getMessageCount(); n > 0; n--) got.add(q.getKey());
            eq(row[0] + ": " + String.join(" ", got), row[0] + ": " + row[1]);
        }
    }

    static Map<String, Object> map(Object... pairs) {
        Map<String, Object> m = new LinkedHashMap<>();
        for (int i = 0; i < pairs.length; i += 2) m.put((String) pairs[i], pairs[i + 1]);
        return m;
    }

    static {
        add("declare_active_and_passive", () -> {
            Channel ch = channel();
            String q = name();
            for (int i = 0; i < 2; i++) {
                var ok = ch.queueDeclare(q, true, false, false, Map.of("x-max-length", 10));
                eq(List.of(ok.getQueue(), ok.getMessageCount(), ok.getConsumerCount()), List.of(q, 0, 0));
                ch.exchangeDeclare(q, "topic", true);
            }
            ch.exchangeDeclarePassive(q);
            put(ch, q, "1");
            ready(ch, q, 1);
            ch.basicConsume(q, new Take(ch));
            var ok = channel().queueDeclarePassive(q);
            eq(List.of(ok.getMessageCount(), ok.getConsumerCount()), List.of(0, 1));
            eq(ch.messageCount(q) + ch.consumerCount(q), 1L);
            ch.queueDelete(q);
            ch.exchangeDelete(q);
        });
        add("declare_server_named_exclusive_auto_delete", () -> {
            Connection c = connect(), look = connect();
            Channel ch = c.createChannel();
            String q = ch.queueDeclare().getQueue(), auto = ch.queueDeclare(name(), false, false, true, null).getQueue();
            check(q.matches("amq\\.gen-.{22}"), q);
            String tag = ch.basicConsume(auto, new Take(ch));
            check(tag.matches("amq\\.ctag-.{22}"), tag);
            ch.basicCancel(tag);
            closes(look, 404, "NOT_FOUND - no queue '" + auto + "' in vhost '/'", 50, 10, d -> d.queueDeclarePassive(auto));
            c.close();
            closes(look, 404, "NOT_FOUND - no queue '" + q + "' in vhost '/'", 50, 10, d -> d.queueDeclarePassive(q));
        });
        add("delete_purge_unbind", () -> {
            Channel ch = channel();
            eq(ch.queueDelete(name()).getMessageCount(), 0);
            ch.exchangeDelete(name());
            ch.queueUnbind(name(), name(), "k");
            String q = exclusive(ch);
            put(ch, q, 1);
            ready(ch, q, 1);
            eq(ch.queuePurge(q).getMessageCount(), 1);
            put(ch, q, 1);
            ready(ch, q, 1);
            closes(ch.getConnection(), 406, "PRECONDITION_FAILED - queue '" + q + "' in vhost '/' not empty", 50, 40, d -> d.queueDelete(q, false, true));
            ch.basicConsume(q, new Take(ch));
            closes(ch.getConnection(), 406, "PRECONDITION_FAILED - queue '" + q + "' in vhost '/' in use", 50, 40, d -> d.queueDelete(q, true, false));
        });
        add("confirm_one_and_many", () -> {
            Channel ch = channel();
            String q = ch.queueDeclare(name(), true, false, false, null).getQueue();
            ch.confirmSelect();
            eq(ch.getNextPublishSeqNo(), 1L);
            ch.basicPublish("", q, MessageProperties.PERSISTENT_BASIC, bytes("one"));
            check(ch.waitForConfirms(5000), "nacked");
            eq(ch.queueDeclarePassive(q).getMessageCount(), 1);
            NavigableSet<Long> due = new ConcurrentSkipListSet<>();
            ch.addConfirmListener((tag, multiple) -> { if (multiple) due.headSet(tag, true).clear(); else check(due.remove(tag), tag); }, (tag, multiple) -> {});
            for (int i = 0; i < 5000; i++) {
                due.add(ch.getNextPublishSeqNo());
                ch.basicPublish("", q, i % 2 == 0 ? MessageProperties.PERSISTENT_BASIC : MessageProperties.BASIC, bytes(i));
            }
            until("confirms are due", due::isEmpty);
            eq(ch.queueDelete(q).getMessageCount(), 5001);
        });
        add("confirm_nack", () -> {
            Channel ch = channel();
            String q = exclusive(ch, Map.of("x-max-length", 1, "x-overflow", "reject-publish"));
            ch.confirmSelect();
            put(ch, q, 1);
            eq(ch.waitForConfirms(5000), true);
            put(ch, q, 2);
            eq(ch.waitForConfirms(5000), false);
        });
        add("return_before_the_confirm", () -> {
            Channel ch = channel();
            List<String> got = new CopyOnWriteArrayList<>();
            ch.addReturnListener((code, text, x, key, p, body) -> got.add(code + text + x + key + p.getMessageId() + string(body)));
            ch.addConfirmListener((tag, multiple) -> got.add("ack"), (tag, multiple) -> got.add("nack"));
            ch.confirmSelect();
            for (int i = 0; i < 20; i++) {
                ch.basicPublish("amq.direct", "nowhere", true, new AMQP.BasicProperties.Builder().messageId("m").build(), bytes(i));
                ch.waitForConfirmsOrDie(5000);
                eq(got, List.of("312NO_ROUTEamq.directnowherem" + i, "ack"));
                got.clear();
            }
        });
        add("consume_ack_and_prefetch", () -> {
            Channel ch = channel();
            String q = shared(ch);
            for (int i = 0; i < 10; i++) put(ch, q, i);
            ch.basicQos(3);
            Take t = new Take(ch);
            ch.basicConsume(q, false, "tag", t);
            for (int i = 0; i < 3; i++) {
                Delivery d = t.next();
                Envelope e = d.getEnvelope();
                eq(List.of(string(d.getBody()), e.getDeliveryTag(), e.isRedeliver(), e.getExchange(), e.getRoutingKey()), List.of("" + i, i + 1L, false, "", q));
            }
            t.none();
            ch.basicAck(2, true);
            eq(t.text() + t.text(), "34");
            t.none();
            ch.basicAck(0, true);
            eq(t.text() + t.text() + t.text(), "567");
            ch.close();
            ch = channel();
            ready(ch, q, 5);
            ch.queueDelete(q);
        });
        add("get_and_empty", () -> {
            Channel ch = channel();
            String q = exclusive(ch);
            eq(ch.basicGet(q, true), null);
            put(ch, q, "a");
            put(ch, q, "b");
            ready(ch, q, 2);
            GetResponse r = get(ch, q, false);
            eq(List.of(r.getMessageCount(), r.getEnvelope().getDeliveryTag(), r.getEnvelope().isRedeliver(), string(r.getBody())), List.of(1, 1L, false, "a"));
        });
        add("routing_topic", () -> routes("topic", map("#", null, "*", null, "user.#", null, "*.critical", null, "a.#.z", null), new Object[][] {
            {"user", "# * user.#"}, {"user.critical", "# *.critical user.#"}, {"a.z", "# a.#.z"}, {"a.b.c.z", "# a.#.z"}, {"", "#"}, {"critical", "# *"}}));
        add("routing_headers", () -> routes("headers", map("all", map("x-match", "all", "a", 1, "b", "x"), "any", map("x-match", "any", "a", 1, "b", "x"), "void", map("a", null)), new Object[][] {
            {map("a", 1L, "b", "x"), "all any void"}, {map("a", (short) 1), "any void"}, {map("a", "1"), "void"}, {map("b", "x", "c", true), "any"}, {map(), ""}}));
        add("exchange_to_exchange_alternate_and_cc", () -> {
            Channel ch = channel();
            String a = name(), b = name(), alt = name(), q = exclusive(ch), lost = exclusive(ch);
            ch.exchangeDeclare(alt, "fanout", false, true, null);
            ch.exchangeDeclare(a, "direct", false, true, Map.of("alternate-exchange", alt));
            ch.exchangeDeclare(b, "fanout", false, true, null);
            ch.exchangeBind(b, a, "k");
            ch.queueBind(q, b, "");
            ch.queueBind(lost, alt, "");
            ch.basicPublish(a, "k", NONE, bytes("1"));
            ch.basicPublish(a, "z", NONE, bytes("2"));
            eq(string(get(ch, q, true).getBody()), "1");
            eq(get(ch, lost, true).getEnvelope().getExchange(), a);
            ch.basicPublish("", q, new AMQP.BasicProperties.Builder().headers(Map.of("CC", List.of(lost), "BCC", List.of(lost))).build(), bytes("3"));
            eq(get(ch, q, true).getProps().getHeaders().keySet(), Set.of("CC"));
            eq(get(ch, lost, true).getProps().getHeaders().keySet(), Set.of("CC"));
            eq(ch.basicGet(lost, true), null);
        });
        add("request_and_reply", () -> {
            Channel server = channel();
            String requests = exclusive(server);
            RpcServer rpc = new RpcServer(server, requests) {
                public byte[] handleCall(byte[] body, AMQP.BasicProperties p) { return bytes(string(body).toUpperCase()); }
            };
            Thread loop = new Thread(() -> { try { rpc.mainloop(); } catch (Exception e) { /* closed */ } });
            loop.setDaemon(true);
            loop.start();
            for (String reply : new String[] {"amq.rabbitmq.reply-to", null}) {
                Channel ch = channel();
                RpcClientParams params = new RpcClientParams().channel(ch).exchange("").routingKey(requests).timeout(5000);
                if (reply == null) params.replyTo(exclusive(ch));
                RpcClient client = new RpcClient(params);
                for (int i = 0; i < 20; i++) eq(client.stringCall("ask" + i), "ASK" + i);
            }
            rpc.terminateMainloop();
        });
        add("tx_commit_and_rollback", () -> {
            Connection c = connect();
            Channel ch = c.createChannel(), look = c.createChannel();
            String q = exclusive(look);
            ch.txSelect();
            put(ch, q, 1);
            ch.txRollback();
            put(ch, q, 2);
            ch.queueDeclarePassive(q);
            ready(look, q, 0);
            ch.txCommit();
            GetResponse r = get(ch, q, false);
            eq(string(r.getBody()), "2");
            ch.basicAck(r.getEnvelope().getDeliveryTag(), false);
            ch.close();
            eq(get(look, q, true).getEnvelope().isRedeliver(), true);
            closes(c, 406, "PRECONDITION_FAILED - channel is not transactional", 90, 20, Channel::txCommit);
            closes(c, 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode", 85, 10, d -> { d.txSelect(); d.confirmSelect(); });
            closes(c, 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", 90, 10, d -> { d.confirmSelect(); d.txSelect(); });
        });
        add("big_and_empty_bodies", () -> {
            Channel ch = channel();
            String q = exclusive(ch);
            Take t = new Take(ch);
            ch.basicConsume(q, true, t);
            byte[] big = new byte[5 << 20];
            new Random(7).nextBytes(big);
            for (byte[] body : new byte[][] {{}, big, new byte[131064], new byte[131065], {}}) {
                ch.basicPublish("", q, NONE, body);
                check(Arrays.equals(t.next().getBody(), body), body.length + " bytes differ");
            }
        });
        add("properties_round_trip", () -> {
            Channel ch = channel();
            String q = exclusive(ch);
            Date when = new Date(1600000000000L);
            Map<String, Object> headers = map("bool", true, "byte", (byte) -7, "short", (short) -300, "int", -70000, "long", 1L << 40, "float", 0.5f, "double", 2.5, "dec", new BigDecimal("1.25"),
                "time", when, "void", null, "list", Arrays.asList(1, Map.of("x", 2L), null), "table", Map.of("a", Map.of("b", 3)));
            Map<String, Object> all = new HashMap<>(headers);
            all.put("string", "žluťoučký");
            all.put("bytes", new byte[] {0, -1});
            AMQP.BasicProperties want = new AMQP.BasicProperties("text/plain", "utf-8", all, 2, 9, "c", "r", "60000", "m", when, "t", "guest", "a", "cl");
            ch.basicPublish("", q, want, bytes("x"));
            AMQP.BasicProperties got = get(ch, q, true).getProps();
            for (var h : headers.entrySet()) eq(Arrays.asList(h.getKey(), got.getHeaders().get(h.getKey())), Arrays.asList(h.getKey(), h.getValue()));
            eq(got.getHeaders().get("string").toString(), "žluťoučký");
            check(Arrays.equals((byte[]) got.getHeaders().get("bytes"), new byte[] {0, -1}), "bytes");
            eq(got.getHeaders().keySet(), all.keySet());
            eq(got.builder().headers(null).build(), want.builder().headers(null).build());
            ch.basicPublish("", q, null, bytes("x"));
            eq(get(ch, q, true).getProps(), NONE);
        });
        add("requeue_order_and_redelivered", () -> {
            Channel ch = channel();
            String q = exclusive(ch);
            for (int i = 0; i < 6; i++) put(ch, q, i);
            ready(ch, q, 6);
            for (int i = 0; i < 4; i++) get(ch, q, false);
            ch.basicReject(3, true);
            ch.basicNack(2, true, true);
            ch.basicNack(4, false, true);
            for (int i = 0; i < 6; i++) {
                GetResponse r = get(ch, q, false);
                eq(string(r.getBody()) + r.getEnvelope().isRedeliver(), i + "" + (i < 4));
            }
            ch.basicRecover(true);
            ready(ch, q, 6);
        });
        add("consumer_cancel_notice", () -> {
            Channel ch = channel();
            String q = shared(ch);
            Take t = new Take(ch);
            ch.basicConsume(q, true, "gone", t);
            channel().queueDelete(q);
            eq(t.cancels.poll(10, TimeUnit.SECONDS), "gone");
            ch.basicCancel(ch.basicConsume(exclusive(ch), new Take(ch)));
        });
        add("consumer_priority", () -> {
            Channel ch = channel();
            String q = exclusive(ch);
            ch.basicQos(2);
            Take low = new Take(ch), high = new Take(ch);
            ch.basicConsume(q, false, Map.of("x-priority", -5), low);
            ch.basicConsume(q, false, Map.of("x-priority", 5), high);
            for (int i = 0; i < 4; i++) put(ch, q, i);
            eq(high.text() + high.text() + low.text() + low.text(), "0123");
        });
        add("dead_letter_and_ttl", () -> {
            Channel ch = channel();
            String dead = exclusive(ch), q = exclusive(ch, Map.of("x-dead-letter-exchange", "", "x-dead-letter-routing-key", dead));
            ch.basicPublish("", q, new AMQP.BasicProperties.Builder().expiration("20").build(), bytes("x"));
            GetResponse r = get(ch, dead, true);
            Map<?, ?> h = r.getProps().getHeaders(), death = (Map<?, ?>) ((List<?>) h.get("x-death")).get(0);
            eq(List.of(death.get("count"), death.get("reason").toString(), death.get("queue").toString(), death.get("exchange").toString(), death.get("routing-keys").toString(), death.get("original-expiration").toString()),
                List.of(1L, "expired", q, "", "[" + q + "]", "20"));
            check(death.get("time") instanceof Date, death);
            eq(h.get("x-first-death-queue") + " " + h.get("x-first-death-reason") + " " + r.getProps().getExpiration(), q + " expired null");
        });
        add("error_404", () -> {
            Connection c = connect();
            String no = name(), q = "NOT_FOUND - no queue '" + no + "' in vhost '/'", x = "NOT_FOUND - no exchange '" + no + "' in vhost '/'";
            closes(c, 404, q, 50, 10, d -> d.queueDeclarePassive(no));
            closes(c, 404, q, 60, 20, d -> d.basicConsume(no, new Take(d)));
            closes(c, 404, q, 60, 70, d -> d.basicGet(no, true));
            closes(c, 404, q, 50, 30, d -> d.queuePurge(no));
            closes(c, 404, q, 50, 20, d -> d.queueBind(no, "amq.direct", "k"));
            closes(c, 404, x, 40, 10, d -> d.exchangeDeclarePassive(no));
            closes(c, 404, x, 60, 40, d -> d.basicPublish(no, "k", NONE, bytes("x")));
            closes(c, 404, x, 40, 30, d -> d.exchangeBind("amq.fanout", no, "k"));
        });
        add("error_406", () -> {
            Connection c = connect();
            Channel ch = c.createChannel();
            String q = ch.queueDeclare(name(), true, false, false, Map.of("x-message-ttl", 10)).getQueue(), mid = "' for queue '" + q + "' in vhost '/': received ", pre = "PRECONDITION_FAILED - inequivalent arg '";
            ch.queueDeclare(q, true, false, false, Map.of("x-message-ttl", 10L));
            closes(c, 406, pre + "durable" + mid + "'false' but current is 'true'", 50, 10, d -> d.queueDeclare(q, false, false, false, Map.of("x-message-ttl", 10)));
            closes(c, 406, pre + "x-message-ttl" + mid + "'20' but current is '10'", 50, 10, d -> d.queueDeclare(q, true, false, false, Map.of("x-message-ttl", 20)));
            closes(c, 406, pre + "x-expires" + mid + "the value '5000' of type 'signedint' but current is none", 50, 10, d -> d.queueDeclare(q, true, false, false, Map.of("x-message-ttl", 10, "x-expires", 5000)));
            for (int tag : new int[] {0, 9}) {
                String unknown = "PRECONDITION_FAILED - unknown delivery tag " + tag;
                closes(c, 406, unknown, 60, 80, d -> d.basicAck(tag, false));
                closes(c, 406, unknown, 60, 90, d -> d.basicReject(tag, true));
                closes(c, 406, unknown, 60, 120, d -> d.basicNack(tag, false, true));
            }
            for (var e : Map.of("", "no_integer", "foo", "no_integer", "-1", "{value_negative,-1}", "5x", "{leftover_string,\"x\"}").entrySet())
                closes(c, 406, "PRECONDITION_FAILED - invalid expiration '" + e.getKey() + "': " + e.getValue(), 60, 40, d -> d.basicPublish("", q, new AMQP.BasicProperties.Builder().expiration(e.getKey()).build(), bytes("")));
            closes(c, 406, "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'guest'", 60, 40, d -> d.basicPublish("", q, new AMQP.BasicProperties.Builder().userId("bob").build(), bytes("")));
            closes(c, 406, "PRECONDITION_FAILED - fast reply consumer does not exist", 60, 40, d -> d.basicPublish("", q, new AMQP.BasicProperties.Builder().replyTo("amq.rabbitmq.reply-to").build(), bytes("")));
            ch.queueDelete(q);
        });
        add("error_405_and_403", () -> {
            Connection c = connect();
            Channel owner = channel();
            String q = exclusive(owner);
            String locked = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '" + q + "' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.";
            closes(c, 405, locked, 50, 10, d -> d.queueDeclarePassive(q));
            closes(c, 405, locked, 60, 20, d -> d.basicConsume(q, new Take(d)));
            closes(c, 405, locked, 60, 70, d -> d.basicGet(q, true));
            closes(c, 405, locked, 50, 30, d -> d.queuePurge(q));
            closes(c, 405, locked, 50, 40, d -> d.queueDelete(q));
            String pre = "ACCESS_REFUSED - ", internal = name();
            closes(c, 403, pre + "queue name 'amq.foo' contains reserved prefix 'amq.*'", 50, 10, d -> d.queueDeclare("amq.foo", false, false, false, null));
            closes(c, 403, pre + "exchange name 'amq.foo' contains reserved prefix 'amq.*'", 40, 10, d -> d.exchangeDeclare("amq.foo", "direct"));
            closes(c, 403, pre + "operation not permitted on the default exchange", 50, 20, d -> d.queueBind(exclusive(d), "", "k"));
            closes(c, 403, pre + "operation not permitted on the default exchange", 40, 20, d -> d.exchangeDelete(""));
            closes(c, 403, pre + "deletion of system exchange 'amq.fanout' in vhost '/' not allowed", 40, 20, d -> d.exchangeDelete("amq.fanout"));
            c.createChannel().exchangeDeclare(internal, "fanout", false, false, true, null);
            closes(c, 403, pre + "cannot publish to internal exchange '" + internal + "' in vhost '/'", 60, 40, d -> d.basicPublish(internal, "", NONE, bytes("")));
            owner.exchangeDelete(internal);
            String busy = shared(owner);
            owner.basicConsume(busy, true, "", false, true, null, new Take(owner));
            closes(c, 403, pre + "queue '" + busy + "' in vhost '/' in exclusive use", 60, 20, d -> d.basicConsume(busy, new Take(d)));
            owner.queueDelete(busy);
        });
        add("error_530_and_540_close_the_connection", () -> {
            closes(connect(), true, 530, "NOT_ALLOWED - attempt to reuse consumer tag 't'", 60, 20, d -> {
                String q = exclusive(d);
                d.basicConsume(q, true, "t", new Take(d));
                d.basicConsume(q, true, "t", new Take(d));
            });
            closes(connect(), true, 540, "NOT_IMPLEMENTED - immediate=true", 60, 40, d -> d.basicPublish("", "x", false, true, NONE, bytes("")));
            closes(connect(), true, 540, "NOT_IMPLEMENTED - prefetch_size!=0 (5)", 60, 10, d -> d.basicQos(5, 0, false));
            closes(connect(), true, 540, "NOT_IMPLEMENTED - requeue=false", 60, 110, d -> d.basicRecover(false));
        });
        add("refused_vhost_and_login", () -> {
            ConnectionFactory f = factory(PORT);
            f.setVirtualHost("nowhere");
            try {
                f.newConnection();
                throw new AssertionError("connected");
            } catch (IOException e) {
                said((ShutdownSignalException) e.getCause(), true, 530, "NOT_ALLOWED - vhost nowhere not found", 10, 40);
            }
            f = factory(PORT);
            f.setPassword("wrong");
            try {
                f.newConnection();
                throw new AssertionError("connected");
            } catch (AuthenticationFailureException e) {
                eq(e.getMessage(), "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.");
            }
        });
        add("many_channels_heartbeat_and_server_properties", () -> {
            ConnectionFactory f = factory(PORT);
            f.setRequestedHeartbeat(1);
            Connection c = f.newConnection("own name");
            OPEN.add(c);
            Channel ch = c.createChannel();
            String q = exclusive(ch);
            for (int i = 0; i < 200; i++) put(c.createChannel(), q, i);
            ready(ch, q, 200);
            Thread.sleep(4000);
            ready(ch, q, 200);
            Map<?, ?> capabilities = (Map<?, ?>) c.getServerProperties().get("capabilities");
            for (String k : List.of("publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked", "authentication_failure_close")) eq(k + capabilities.get(k), k + true);
        });
        add("recovery_after_a_restart", () -> {
            try (Broker b = new Broker()) {
                b.start();
                ConnectionFactory f = factory(b.port);
                f.setAutomaticRecoveryEnabled(true);
                f.setNetworkRecoveryInterval(300);
                Connection c = f.newConnection();
                OPEN.add(c);
                Channel ch = c.createChannel();
                ch.exchangeDeclare("x", "topic");
                String q = ch.queueDeclare("durable", true, false, false, null).getQueue(), mine = ch.queueDeclare().getQueue();
                ch.queueBind(q, "x", "a.#");
                ch.queueBind(mine, "x", "a.b");
                Take one = new Take(ch), two = new Take(ch);
                ch.basicConsume(q, true, one);
                ch.basicConsume(mine, true, two);
                ch.confirmSelect();
                ch.basicPublish("x", "a.b", NONE, bytes("before"));
                eq(one.text() + two.text(), "beforebefore");
                CountDownLatch recovered = new CountDownLatch(1);
                ((Recoverable) c).addRecoveryListener(new RecoveryListener() {
                    public void handleRecovery(Recoverable r) { recovered.countDown(); }
                    public void handleRecoveryStarted(Recoverable r) {}
                });
                b.stop();
                b.start();
                check(recovered.await(30, TimeUnit.SECONDS), "not recovered");
                ch.basicPublish("x", "a.b", NONE, bytes("after"));
                ch.waitForConfirmsOrDie(5000);
                eq(one.text() + two.text(), "afterafter");
                c.close();
            }
        });
        add("recovery_after_an_operators_close_of_the_socket", () -> {
            ConnectionFactory f = factory(PORT);
            f.setAutomaticRecoveryEnabled(true);
            f.setNetworkRecoveryInterval(200);
            AtomicReference<Socket> socket = new AtomicReference<>();
            f.setSocketConfigurator(socket::set);
            Connection c = f.newConnection();
            OPEN.add(c);
            Channel ch = c.createChannel();
            ch.basicQos(1);
            String q = shared(ch);
            Take t = new Take(ch);
            ch.basicConsume(q, false, t);
            put(ch, q, "kept");
            eq(t.text(), "kept");
            CountDownLatch recovered = new CountDownLatch(1);
            ((Recoverable) c).addRecoveryListener(new RecoveryListener() {
                public void handleRecovery(Recoverable r) { recovered.countDown(); }
                public void handleRecoveryStarted(Recoverable r) {}
            });
            socket.get().close();
            check(recovered.await(15, TimeUnit.SECONDS), "not recovered");
            Delivery again = t.next();
            eq(string(again.getBody()) + again.getEnvelope().isRedeliver(), "kepttrue");
            ch.basicAck(again.getEnvelope().getDeliveryTag(), false);
            ch.queueDelete(q);
        });
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newCachedThreadPool(r -> { Thread t = new Thread(r); t.setDaemon(true); return t; });
        try (PrintWriter out = new PrintWriter(arguments[0])) {
            for (Case c : CASES) {
                if (arguments.length > 1 && Arrays.stream(arguments).skip(1).noneMatch(c.name::contains)) continue;
                title = c.name;
                String verdict = "PASS";
                long began = System.nanoTime();
                boolean second = c.name.equals("recovery_after_a_restart");
                if (second && System.getenv("LEVERET_BIN") == null) verdict = "SKIP";
                else {
                    Future<?> run = pool.submit(() -> { c.run.run(); return null; });
                    try {
                        run.get(second ? 90 : 20, TimeUnit.SECONDS);
                    } catch (Exception e) {
                        verdict = "FAIL";
                        run.cancel(true);
                        (e.getCause() == null ? e : e.getCause()).printStackTrace(System.out);
                    }
                }
                for (Connection open : OPEN) open.abort(1000);
                OPEN.clear();
                out.println(verdict + " " + c.name);
                out.flush();
                System.out.printf("%s %s %.2fs%n", verdict, c.name, (System.nanoTime() - began) / 1e9);
            }
        }
        System.exit(0);
    }
}
