// Cases for amqplib (promise API): node cases.js CASES_FILE [NAME_PART...]; amqplib is found in $NODE_PATH
const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const amqp = require('amqplib');
const defs = require(path.join(path.dirname(require.resolve('amqplib')), 'lib', 'defs.js'));

const PORT = process.env.AMQP_PORT;
const url = (port = PORT, user = 'guest:guest', vhost = '%2F') => `amqp://${user}@127.0.0.1:${port}/${vhost}?heartbeat=30`;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const eq = assert.deepEqual;
let title, count, open = [];
const name = (suffix = '') => `amqplib-${title}-${process.pid}-${++count}${suffix}`;

async function connect(...where) {
  const c = await amqp.connect(url(...where));
  c.on('error', (e) => { c.failure = e; });
  open.push(c);
  return c;
}

async function channel(c, confirm) {
  c = c || await connect();
  const ch = await (confirm ? c.createConfirmChannel() : c.createChannel());
  ch.on('error', (e) => { ch.failure = e; });
  ch.model = c;
  return ch;
}

async function until(done, what = 'nothing came', ms = 10000) {
  for (const end = Date.now() + ms; ;) {
    const got = await done();
    if (got) return got;
    assert(Date.now() < end, what);
    await sleep(10);
  }
}

const get = (ch, q, options = { noAck: true }) => until(() => ch.get(q, options), `no message in ${q}`);
const ready = (ch, q, n) => until(async () => (await ch.checkQueue(q)).messageCount === n, `not ${n} messages`);
const ids = (e) => [e.classId, e.methodId];
const said = (e) => /with message "(.*)"/s.exec(e.message)?.[1];

// `act` must make the broker close the channel with exactly this
async function closes(code, text, method, act, ch) {
  ch = ch || await channel();
  try { await act(ch); } catch (e) { ch.failure ||= e; }
  await until(() => ch.failure, `no close: ${text}`);
  eq([ch.failure.code, said(ch.failure), ids(ch.failure)], [code, text, method]);
  await (await ch.model.createChannel()).close(); // the connection goes on
}

async function closesConnection(code, text, act, prepare) {
  const c = await connect();
  const ch = await channel(c);
  const got = prepare && await prepare(ch);
  Promise.resolve().then(() => act(ch, got)).catch(() => {});
  await until(() => c.failure, `no close: ${text}`);
  eq([c.failure.code, said(c.failure)], [code, text]);
}

async function rejects(promise, code, text) {
  const e = await promise.then(() => assert.fail('no error'), (e) => e);
  assert(e.message.includes(text), e.message);
  if (code) eq(e.code ?? code, code);
}

class Broker {
  async start() {
    this.port ||= await new Promise((done) => { const s = net.createServer().listen(0, '127.0.0.1', () => { const p = s.address().port; s.close(() => done(p)); }); });
    this.folder ||= fs.mkdtempSync(path.join(process.env.OUT || os.tmpdir(), 'second-'));
    const log = fs.openSync(path.join(this.folder, 'broker.log'), 'a');
    this.child = spawn(process.env.LEVERET_BIN, ['--port', this.port, '--shards', process.env.SHARDS || '1'], { cwd: this.folder, stdio: ['ignore', log, log] });
    process.once('exit', () => this.child?.kill('SIGKILL'));
    this.ended = new Promise((done) => this.child.on('exit', done));
    await until(() => new Promise((done) => {
      const s = net.connect(this.port, '127.0.0.1', () => { s.destroy(); done(true); }).on('error', () => done(false));
    }), 'the broker does not listen', 40000);
  }

  async stop() {
    if (!this.child) return;
    this.child.kill('SIGTERM');
    const hard = setTimeout(() => this.child.kill('SIGKILL'), 20000);
    await this.ended;
    clearTimeout(hard);
    this.child = null;
  }
}

const cases = {
  async declare_active_and_passive() {
    const ch = await channel(), q = name(), x = name('-x');
    for (let i = 0; i < 2; i++) {
      eq({ ...await ch.assertQueue(q, { durable: true, maxLength: 10 }) }, { queue: q, messageCount: 0, consumerCount: 0 });
      await ch.assertExchange(x, 'topic');
    }
    await ch.checkExchange(x);
    ch.sendToQueue(q, Buffer.from('1'));
    await ready(ch, q, 1);
    await ch.consume(q, () => {});
    eq((await ch.checkQueue(q)).consumerCount, 1);
    await ch.deleteQueue(q);
    await ch.deleteExchange(x);
  },

  async declare_server_named_exclusive_auto_delete() {
    const c = await connect(), ch = await channel(c);
    const { queue } = await ch.assertQueue('', { exclusive: true });
    assert.match(queue, /^amq\.gen-.{22}$/);
    const { consumerTag } = await ch.consume(queue, () => {}, { consumerTag: '' });
    assert.match(consumerTag, /^amq\.ctag-.{22}$/);
    const q = name();
    await ch.assertQueue(q, { autoDelete: true, durable: false });
    await ch.cancel((await ch.consume(q, () => {})).consumerTag);
    await closes(404, `NOT_FOUND - no queue '${q}' in vhost '/'`, [50, 10], (d) => d.checkQueue(q));
    await c.close();
    await closes(404, `NOT_FOUND - no queue '${queue}' in vhost '/'`, [50, 10], (d) => d.checkQueue(queue));
  },

  async delete_purge_unbind_of_nothing() {
    const ch = await channel();
    eq((await ch.deleteQueue(name())).messageCount, 0);
    await ch.deleteExchange(name());
    await ch.unbindQueue(name(), name(), 'k');
    const { queue } = await ch.assertQueue('', { exclusive: true });
    for (let i = 0; i < 3; i++) ch.sendToQueue(queue, Buffer.from('x'));
    await ready(ch, queue, 3);
    eq((await ch.purgeQueue(queue)).messageCount, 3);
  },

  async confirm_one_and_many() {
    const ch = await channel(null, true), q = name();
    await ch.assertQueue(q);
    await new Promise((done, fail) => ch.sendToQueue(q, Buffer.from('one'), { persistent: true }, (e) => (e ? fail(e) : done())));
    eq((await ch.checkQueue(q)).messageCount, 1);
    let acked = 0;
    for (let i = 0; i < 2000; i++) ch.publish('', q, Buffer.from(`${i}`), { persistent: i % 2 === 0 }, (e) => { assert(!e); acked++; });
    await ch.waitForConfirms();
    eq([acked, (await ch.checkQueue(q)).messageCount], [2000, 2001]);
    await ch.deleteQueue(q);
  },

  async confirm_nack() {
    const ch = await channel(null, true);
    const { queue } = await ch.assertQueue('', { exclusive: true, maxLength: 1, arguments: { 'x-overflow': 'reject-publish' } });
    const results = [];
    for (let i = 0; i < 3; i++) ch.sendToQueue(queue, Buffer.from('x'), {}, (e) => results.push([i, !e]));
    await ch.waitForConfirms().catch(() => {});
    await until(() => results.length === 3);
    eq(results.sort(), [[0, true], [1, false], [2, false]]);
  },

  async return_before_the_confirm() {
    const ch = await channel(null, true), got = [];
    ch.on('return', (m) => got.push(['return', m.fields.replyCode, m.fields.replyText, m.fields.exchange, m.fields.routingKey, m.content.toString(), m.properties.messageId]));
    ch.publish('amq.direct', 'nowhere', Buffer.from('back'), { mandatory: true, messageId: '7' }, () => got.push(['ack']));
    await ch.waitForConfirms();
    eq(got, [['return', 312, 'NO_ROUTE', 'amq.direct', 'nowhere', 'back', '7'], ['ack']]);
  },

  async consume_ack_and_prefetch() {
    const ch = await channel(), q = name(), got = [];
    await ch.assertQueue(q);
    for (let i = 0; i < 10; i++) ch.sendToQueue(q, Buffer.from(`${i}`));
    await ch.prefetch(3);
    const { consumerTag } = await ch.consume(q, (m) => got.push(m));
    await until(() => got.length === 3);
    await sleep(200);
    eq(got.length, 3);
    ch.ack(got[1], true);
    await until(() => got.length === 5);
    await sleep(200);
    eq(got.map((m) => [m.content.toString(), m.fields.deliveryTag, m.fields.redelivered, m.fields.consumerTag]), [0, 1, 2, 3, 4].map((i) => [`${i}`, i + 1, false, consumerTag]));
    ch.ackAll();
    await until(() => got.length === 8);
    await ch.close();
    const look = await channel();
    await ready(look, q, 5);
    await look.deleteQueue(q);
  },

  async get_and_empty() {
    const ch = await channel();
    const { queue } = await ch.assertQueue('', { exclusive: true });
    eq(await ch.get(queue), false);
    ch.sendToQueue(queue, Buffer.from('a'));
    ch.sendToQueue(queue, Buffer.from('b'));
    await ready(ch, queue, 2);
    const m = await ch.get(queue);
    eq([m.fields.messageCount, m.fields.redelivered, m.fields.deliveryTag, m.content.toString()], [1, false, 1, 'a']);
    ch.ack(m);
  },

  async routing_topic_and_headers() {
    const ch = await channel(null, true), x = name('-t'), h = name('-h');
    await ch.assertExchange(x, 'topic', { durable: false });
    await ch.assertExchange(h, 'headers', { durable: false });
    const bind = async (exchange, key, args) => {
      const { queue } = await ch.assertQueue('', { exclusive: true });
      await ch.bindQueue(queue, exchange, key, args);
      return queue;
    };
    const keys = ['#', '*', 'user.#', '*.critical', 'a.#.z'], queues = [];
    for (const k of keys) queues.push(await bind(x, k));
    const who = async (list) => {
      const got = [];
      for (let i = 0; i < list.length; i++) for (let n = (await ch.purgeQueue(list[i])).messageCount; n > 0; n--) got.push(i);
      return got;
    };
    for (const [key, want] of [['user', [0, 1, 2]], ['user.critical', [0, 2, 3]], ['a.z', [0, 4]], ['a.b.c.z', [0, 4]], ['', [0]], ['critical', [0, 1]]]) {
      ch.publish(x, key, Buffer.from('x'));
      await ch.waitForConfirms();
      eq([key, await who(queues)], [key, want]);
    }
    const matches = [{ 'x-match': 'all', a: 1, b: 'x' }, { 'x-match': 'any', a: 1, b: 'x' }, { a: 1 }], hs = [];
    for (const m of matches) hs.push(await bind(h, '', m));
    for (const [headers, want] of [[{ a: 1, b: 'x' }, [0, 1, 2]], [{ b: 'x' }, [1]], [{ a: 2 }, []], [{ a: 1, c: 0 }, [1, 2]], [{}, []]]) {
      ch.publish(h, '', Buffer.from('x'), { headers });
      await ch.waitForConfirms();
      eq([headers, await who(hs)], [headers, want]);
    }
    await ch.deleteExchange(x);
    await ch.deleteExchange(h);
  },

  async exchange_to_exchange_alternate_and_cc() {
    const ch = await channel(null, true), a = name('-a'), b = name('-b'), alt = name('-alt');
    await ch.assertExchange(alt, 'fanout', { durable: false });
    await ch.assertExchange(a, 'direct', { durable: false, alternateExchange: alt });
    await ch.assertExchange(b, 'fanout', { durable: false });
    await ch.bindExchange(b, a, 'k');
    const { queue: q } = await ch.assertQueue('', { exclusive: true }), { queue: lost } = await ch.assertQueue('', { exclusive: true });
    await ch.bindQueue(q, b, '');
    await ch.bindQueue(lost, alt, '');
    ch.publish(a, 'k', Buffer.from('1'));
    ch.publish(a, 'z', Buffer.from('2'));
    ch.publish('', q, Buffer.from('3'), { CC: [lost], BCC: [q] });
    await ch.waitForConfirms();
    eq([(await get(ch, q)).content.toString(), (await get(ch, lost)).fields.exchange, (await get(ch, q)).properties.headers.CC, (await get(ch, lost)).properties.headers], ['1', a, [lost], { CC: [lost] }]);
    for (const x of [a, b, alt]) await ch.deleteExchange(x);
  },

  async request_and_reply() {
    const server = await channel(), requests = name();
    await server.assertQueue(requests, { autoDelete: true, durable: false });
    await server.consume(requests, (m) => server.sendToQueue(m.properties.replyTo, Buffer.from(m.content.toString().toUpperCase()), { correlationId: m.properties.correlationId }), { noAck: true });
    for (const direct of [false, true]) {
      const ch = await channel(), got = {}, keys = new Set();
      const reply = direct ? 'amq.rabbitmq.reply-to' : (await ch.assertQueue('', { exclusive: true })).queue;
      await ch.consume(reply, (m) => { got[m.properties.correlationId] = m.content.toString(); keys.add(m.fields.routingKey); }, { noAck: true });
      for (let i = 0; i < 20; i++) ch.sendToQueue(requests, Buffer.from(`ask${i}`), { replyTo: reply, correlationId: `${i}` });
      await until(() => Object.keys(got).length === 20);
      for (let i = 0; i < 20; i++) eq(got[i], `ASK${i}`);
      assert([...keys].every((k) => (direct ? k.startsWith('amq.rabbitmq.reply-to.') : k === reply)), `${[...keys]}`);
    }
  },

  async tx_commit_and_rollback() {
    const c = await connect(), ch = await channel(c), look = await channel(c);
    const { queue } = await look.assertQueue('', { exclusive: true });
    const tx = (method, reply) => ch.rpc(method, {}, reply);
    await tx(defs.TxSelect, defs.TxSelectOk);
    ch.sendToQueue(queue, Buffer.from('1'));
    await tx(defs.TxRollback, defs.TxRollbackOk);
    ch.sendToQueue(queue, Buffer.from('2'));
    await ch.checkQueue(queue);
    eq((await look.checkQueue(queue)).messageCount, 0);
    await tx(defs.TxCommit, defs.TxCommitOk);
    eq((await get(look, queue)).content.toString(), '2');
    eq(await look.get(queue), false);
    await closes(406, 'PRECONDITION_FAILED - channel is not transactional', [90, 20], (d) => d.rpc(defs.TxCommit, {}, defs.TxCommitOk));
  },

  async big_and_empty_bodies() {
    const ch = await channel(), got = [], big = crypto.randomBytes(5 << 20);
    const { queue } = await ch.assertQueue('', { exclusive: true });
    await ch.consume(queue, (m) => got.push(m.content), { noAck: true });
    for (const body of [Buffer.alloc(0), big, Buffer.alloc(131064, 206), Buffer.alloc(131065, 206), Buffer.alloc(0)]) ch.sendToQueue(queue, body);
    await until(() => got.length === 5);
    eq(got.map((b) => b.length), [0, big.length, 131064, 131065, 0]);
    assert(got[1].equals(big));
  },

  async properties_round_trip() {
    const ch = await channel();
    const { queue } = await ch.assertQueue('', { exclusive: true });
    const headers = {
      bool: true, byte: { '!': 'byte', value: -7 }, short: { '!': 'short', value: -300 }, int: 70000, long: 2 ** 40, double: 2.5, float: { '!': 'float', value: 0.5 },
      string: 'žluťoučký', nothing: null, bytes: Buffer.from([0, 255]), time: { '!': 'timestamp', value: 1600000000 }, decimal: { '!': 'decimal', value: { digits: 125, places: 2 } },
      array: [1, 'two', { three: [3] }, true, null], table: { a: { b: { c: 'd' } } },
    };
    const want = {
      contentType: 'text/plain', contentEncoding: 'utf-8', deliveryMode: 2, priority: 9, correlationId: 'c', replyTo: 'r', expiration: '60000', messageId: 'm',
      timestamp: 1600000000, type: 't', userId: 'guest', appId: 'a',
    };
    ch.sendToQueue(queue, Buffer.from('x'), { ...want, headers });
    const { properties } = await get(ch, queue);
    for (const [k, v] of Object.entries(want)) eq([k, properties[k]], [k, v]);
    const got = properties.headers;
    for (const [k, v] of Object.entries(headers)) {
      const wants = v?.['!'] && !['timestamp', 'decimal'].includes(v['!']) ? v.value : v;
      eq([k, Buffer.isBuffer(v) ? Buffer.from(got[k]) : got[k]], [k, wants]);
    }
    eq(Object.keys(got).sort(), Object.keys(headers).sort());
  },

  async requeue_order_and_redelivered() {
    const ch = await channel();
    const { queue } = await ch.assertQueue('', { exclusive: true });
    for (let i = 0; i < 6; i++) ch.sendToQueue(queue, Buffer.from(`${i}`));
    await ready(ch, queue, 6);
    const m = [];
    for (let i = 0; i < 4; i++) m.push(await ch.get(queue));
    ch.reject(m[2]);
    ch.nack(m[1], true);
    ch.nack(m[3], false, true);
    const got = [];
    for (let i = 0; i < 6; i++) { const g = await get(ch, queue); got.push([g.content.toString(), g.fields.redelivered]); }
    eq(got, [0, 1, 2, 3, 4, 5].map((i) => [`${i}`, i < 4]));
    ch.sendToQueue(queue, Buffer.from('r'));
    await get(ch, queue, {});
    await ch.recover();
    const again = await get(ch, queue, {});
    eq(again.fields.redelivered, true);
    ch.nackAll(false);
    eq(await ch.get(queue), false);
  },

  async consumer_cancel_notice() {
    const ch = await channel(), q = name(), got = [];
    await ch.assertQueue(q);
    await ch.consume(q, (m) => got.push(m));
    await (await channel()).deleteQueue(q);
    await until(() => got.length);
    eq(got, [null]);
    await ch.assertQueue('', { exclusive: true });
  },

  async consumer_priority() {
    const ch = await channel(), got = [];
    const { queue } = await ch.assertQueue('', { exclusive: true });
    await ch.prefetch(2);
    await ch.consume(queue, () => got.push('low'), { priority: 1 });
    await ch.consume(queue, () => got.push('high'), { priority: 10 });
    for (let i = 0; i < 4; i++) ch.sendToQueue(queue, Buffer.from('x'));
    await until(() => got.length === 4);
    eq([got.slice(0, 2), got.slice(2)], [['high', 'high'], ['low', 'low']]);
  },

  async exclusive_consumer() {
    const ch = await channel(), q = name();
    await ch.assertQueue(q);
    await ch.consume(q, () => {}, { exclusive: true });
    await closes(403, `ACCESS_REFUSED - queue '${q}' in vhost '/' in exclusive use`, [60, 20], (d) => d.consume(q, () => {}));
    await ch.deleteQueue(q);
  },

  async dead_letter_and_ttl() {
    const ch = await channel();
    const { queue: dead } = await ch.assertQueue('', { exclusive: true });
    const { queue } = await ch.assertQueue('', { exclusive: true, deadLetterExchange: '', deadLetterRoutingKey: dead, messageTtl: 50 });
    ch.sendToQueue(queue, Buffer.from('x'));
    const m = await get(ch, dead), death = m.properties.headers['x-death'][0];
    eq([death.reason, death.queue, death.exchange, death['routing-keys'], death.count, death.time['!']], ['expired', queue, '', [queue], 1, 'timestamp']);
  },

  async error_404() {
    const no = name(), q = `NOT_FOUND - no queue '${no}' in vhost '/'`, x = `NOT_FOUND - no exchange '${no}' in vhost '/'`;
    const c = await connect();
    for (const [text, method, act] of [
      [q, [50, 10], (d) => d.checkQueue(no)], [q, [60, 20], (d) => d.consume(no, () => {})], [q, [60, 70], (d) => d.get(no)], [q, [50, 30], (d) => d.purgeQueue(no)],
      [x, [40, 10], (d) => d.checkExchange(no)], [x, [60, 40], (d) => d.publish(no, 'k', Buffer.from('x'))], [q, [50, 20], (d) => d.bindQueue(no, 'amq.direct', 'k')],
    ]) await closes(404, text, method, act, await channel(c));
  },

  async error_406() {
    const ch = await channel(), q = name();
    await ch.assertQueue(q, { durable: true, messageTtl: 10 });
    const pre = `PRECONDITION_FAILED - inequivalent arg '`, mid = `' for queue '${q}' in vhost '/': received `;
    await closes(406, `${pre}durable${mid}'false' but current is 'true'`, [50, 10], (d) => d.assertQueue(q, { durable: false, messageTtl: 10 }));
    await closes(406, `${pre}x-message-ttl${mid}'20' but current is '10'`, [50, 10], (d) => d.assertQueue(q, { messageTtl: 20 }));
    await closes(406, 'PRECONDITION_FAILED - unknown delivery tag 9', [60, 80], (d) => d.ack({ fields: { deliveryTag: 9 } }));
    await closes(406, 'PRECONDITION_FAILED - unknown delivery tag 9', [60, 90], (d) => d.reject({ fields: { deliveryTag: 9 } }));
    await closes(406, 'PRECONDITION_FAILED - unknown delivery tag 9', [60, 120], (d) => d.nack({ fields: { deliveryTag: 9 } }));
    await closes(406, "PRECONDITION_FAILED - invalid expiration 'soon': no_integer", [60, 40], (d) => d.sendToQueue(q, Buffer.from(''), { expiration: 'soon' }));
    await closes(406, 'PRECONDITION_FAILED - reply consumer cannot acknowledge', [60, 20], (d) => d.consume('amq.rabbitmq.reply-to', () => {}));
    await ch.deleteQueue(q);
  },

  async error_405_and_403() {
    const owner = await channel(), q = name(), pre = 'ACCESS_REFUSED - ';
    await owner.assertQueue(q, { exclusive: true });
    const locked = `RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '${q}' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.`;
    for (const [method, act] of [[[50, 10], (d) => d.checkQueue(q)], [[60, 20], (d) => d.consume(q, () => {})], [[60, 70], (d) => d.get(q)], [[50, 40], (d) => d.deleteQueue(q)]]) await closes(405, locked, method, act);
    await closes(403, `${pre}queue name 'amq.foo' contains reserved prefix 'amq.*'`, [50, 10], (d) => d.assertQueue('amq.foo'));
    await closes(403, `${pre}exchange name 'amq.foo' contains reserved prefix 'amq.*'`, [40, 10], (d) => d.assertExchange('amq.foo', 'direct'));
    await closes(403, `${pre}operation not permitted on the default exchange`, [50, 20], (d) => d.bindQueue(q, '', 'k'), await channel(owner.model));
  },

  async error_530_and_540_close_the_connection() {
    const consume = (tag, queue) => ({ ticket: 0, queue, consumerTag: tag, noLocal: false, noAck: false, exclusive: false, nowait: false, arguments: {} });
    const mine = async (ch) => { const { queue } = await ch.assertQueue('', { exclusive: true }); await ch.consume(queue, () => {}, { consumerTag: 't' }); return queue; };
    await closesConnection(530, "NOT_ALLOWED - attempt to reuse consumer tag 't'", (ch, q) => ch.rpc(defs.BasicConsume, consume('t', q), defs.BasicConsumeOk), mine);
    await closesConnection(540, 'NOT_IMPLEMENTED - immediate=true', (ch) => ch.sendMessage({ ticket: 0, exchange: '', routingKey: 'x', mandatory: false, immediate: true }, { headers: {} }, Buffer.from('x')));
    await closesConnection(540, 'NOT_IMPLEMENTED - prefetch_size!=0 (5)', (ch) => ch.rpc(defs.BasicQos, { prefetchCount: 0, prefetchSize: 5, global: false }, defs.BasicQosOk));
  },

  async refused_vhost_and_login() {
    await rejects(amqp.connect(url(PORT, 'guest:guest', 'nowhere')), null, 'Expected ConnectionOpenOk; got <ConnectionClose channel:0>');
    await rejects(amqp.connect(url(PORT, 'guest:wrong')), 403, 'ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.');
  },

  async many_channels_and_heartbeat() {
    const c = await amqp.connect(url().replace('=30', '=1'));
    open.push(c);
    const { queue } = await (await channel(c)).assertQueue('', { exclusive: true });
    const channels = await Promise.all(Array.from({ length: 100 }, () => channel(c)));
    channels.forEach((ch) => ch.sendToQueue(queue, Buffer.from('x')));
    await ready(channels[0], queue, 100);
    await sleep(4000);
    await Promise.all(channels.map((ch) => ch.close()));
    await (await channel(c)).checkQueue(queue);
  },

  async recovery_after_a_restart() {
    if (!process.env.LEVERET_BIN) return 'SKIP';
    const b = new Broker();
    await b.start();
    try {
      let sets = 0;
      const got = [];
      const c = await amqp.connect(url(b.port), {
        recovery: {
          initialDelay: 200, maxDelay: 500,
          setup: async (model) => {
            const ch = await model.createChannel();
            ch.on('error', () => {});
            await ch.assertQueue('again');
            await ch.consume('again', (m) => m && (got.push(m.content.toString()), ch.ack(m)));
            ch.sendToQueue('again', Buffer.from(`run ${++sets}`));
          },
        },
      });
      c.on('error', () => {});
      await until(() => got.includes('run 1'));
      await b.stop();
      await b.start();
      await until(() => got.includes('run 2'), 'not recovered', 30000);
      await c.close();
    } finally {
      await b.stop();
    }
  },
};

process.on('unhandledRejection', (e) => console.log('    unhandled:', e.message));
(async () => {
  const [file, ...parts] = process.argv.slice(2);
  fs.writeFileSync(file, '');
  for (const [t, run] of Object.entries(cases)) {
    if (parts.length && !parts.some((p) => t.includes(p))) continue;
    [title, count, open] = [t, 0, []];
    const began = Date.now();
    let verdict = 'PASS', why = '', timer;
    const limit = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error("the case's time is up")), t.startsWith('recovery') ? 90000 : 20000); });
    try { verdict = (await Promise.race([run(), limit])) || 'PASS'; } catch (e) { verdict = 'FAIL'; why = `\n${e.stack}`; }
    clearTimeout(timer);
    for (const c of open) await Promise.race([c.close().catch(() => {}), sleep(1000)]);
    fs.appendFileSync(file, `${verdict} ${t}\n`);
    console.log(`${verdict} ${t} ${(Date.now() - began) / 1000}s${why}`);
  }
  process.exit(0);
})();
