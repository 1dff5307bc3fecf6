//! Class connection: handshake, log-in, tuning, closing (rabbitmq-semantics.md section 2).

use crate::amqp::frame::write_method;
use crate::amqp::method::{
    self, ConnectionClose, ConnectionCloseOk, ConnectionOpen, ConnectionOpenOk, ConnectionSecure, ConnectionStart,
    ConnectionStartOk, ConnectionTune, ConnectionTuneOk, ConnectionUpdateSecretOk,
};
use crate::amqp::{Exception, LongStr, Method, MethodId, ReplyCode, Table, TableWriter, Value};
use crate::broker::topology::{QueueKey, VhostId};
use crate::config::settings::Mechanism;
use crate::connection::Phase;
use crate::shard::access::Verdict;
use crate::shard::alarm::Hold;
use crate::shard::member::{ClientCapabilities, Login, Proving};
use crate::shard::mesh::{Caller, Record};
use crate::shard::timer::Timer;
use crate::shard::turn::CloseKind;
use crate::shard::{ConnectionId, Shard};

/// The header that RabbitMQ 4 answers to what it does not speak: AMQP 1.0 with SASL.
const OTHER_PROTOCOL: [u8; 8] = *b"AMQP\x03\x01\x00\x00";
/// How long after our close we wait for close-ok before connection.open.
const CLOSE_WAIT_EARLY_MS: u64 = 3_000;
/// The challenge of RABBIT-CR-DEMO, and what answers it.
const CHALLENGE: &str = "Please tell me your password";
const CHALLENGE_ANSWER: &[u8] = b"My password is ";

/// Capabilities of the server, as RabbitMQ's.
const CAPABILITIES: [&str; 9] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
];

/// Why a log-in failed.
enum Refusal {
    /// Credentials of this user that do not hold, or not here: said to clients that understand. The text goes on behind
    /// the user's name.
    Credentials(String, &'static str),
    /// A response that makes no sense, or an unknown mechanism: never answered.
    Malformed,
}

fn refused(user: &str) -> Refusal {
    Refusal::Credentials(user.into(), "' - invalid credentials")
}

/// User and password of a PLAIN response: `\0user\0password`.
fn plain(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = response.strip_prefix(&[0])?;
    let at = rest.iter().position(|byte| *byte == 0)?;
    let (user, password) = (rest.get(..at)?, rest.get(at + 1..)?);
    (!password.contains(&0)).then_some((user, password))
}

/// User and password of an AMQPLAIN response: a table's contents.
fn amqplain(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let table = Table::check(response).ok()?;
    Some((table.find("LOGIN")?.as_long_str()?, table.find("PASSWORD")?.as_long_str()?))
}

fn capabilities(properties: Table<'_>) -> ClientCapabilities {
    let Some(Value::Table(table)) = properties.find("capabilities") else {
        return ClientCapabilities::default();
    };
    let has = |key| table.find(key) == Some(Value::Bool(true));
    ClientCapabilities {
        authentication_failure_close: has("authentication_failure_close"),
        consumer_cancel_notify: has("consumer_cancel_notify"),
        connection_blocked: has("connection.blocked"),
    }
}

impl Shard {
    fn send_on_connection<M: method::Encode>(&mut self, id: ConnectionId, method: &M) {
        if let Some(out) = self.members.sink(id) {
            write_method(out, 0, method);
        }
    }

    pub(super) fn start_connection(&mut self, id: ConnectionId) {
        let settings = self.settings.clone();
        let says = &settings.advertise;
        let mut capabilities = TableWriter::new();
        for capability in CAPABILITIES {
            capabilities.put(capability, Value::Bool(true));
        }
        let mut properties = TableWriter::new();
        properties.put("capabilities", Value::Table(capabilities.table()));
        for (key, value) in [
            ("cluster_name", &says.cluster_name),
            ("copyright", &says.copyright),
            ("information", &says.information),
            ("platform", &says.platform),
            ("product", &says.product),
            ("version", &says.version),
        ] {
            properties.put(key, Value::LongStr(value.as_bytes()));
        }
        let mechanisms: Vec<&str> = settings.mechanisms.iter().map(|mechanism| mechanism.name()).collect();
        let mechanisms = mechanisms.join(" ");
        let start = ConnectionStart {
            version_major: 0,
            version_minor: 9,
            server_properties: properties.table(),
            mechanisms: LongStr(mechanisms.as_bytes()),
            locales: LongStr(b"en_US"),
        };
        self.send_on_connection(id, &start);
        let wall_ms = self.stamp.wall_ms();
        if let Some(member) = self.members.get_mut(id) {
            member.connected_at_ms = wall_ms;
            member.wire.phase = Phase::StartOk;
        }
    }

    fn set_phase(&mut self, id: ConnectionId, phase: Phase) {
        if let Some(member) = self.members.get_mut(id) {
            member.wire.phase = phase;
        }
    }

    /// Answers a protocol header that we do not speak, and closes.
    pub(super) fn refuse_protocol(&mut self, id: ConnectionId) {
        if let Some(out) = self.members.sink(id) {
            out.extend_from_slice(&OTHER_PROTOCOL);
        }
        self.close_after_writing(id);
    }

    fn close_after_writing(&mut self, id: ConnectionId) {
        if let Some(member) = self.members.get_mut(id) {
            member.wire.phase = Phase::Closed;
            member.close = Some(CloseKind::Flushed);
            self.members.mark_dirty(id);
        }
    }

    pub(super) fn connection_method(&mut self, id: ConnectionId, method: &Method<'_>) {
        let Some(member) = self.members.get(id) else { return };
        let phase = member.wire.phase;
        match (phase, method) {
            (Phase::StartOk, Method::ConnectionStartOk(m)) => self.start_ok(id, m),
            (Phase::SecureOk, Method::ConnectionSecureOk(m)) => self.secure_ok(id, m.response.0),
            (Phase::TuneOk, Method::ConnectionTuneOk(m)) => self.tune_ok(id, m),
            (Phase::Open, Method::ConnectionOpen(m)) => self.ask_to_open(id, m.virtual_host),
            (Phase::Running, Method::ConnectionClose(_)) => self.connection_close(id),
            (_, Method::ConnectionClose(_)) => {
                // Also while we wait for close-ok ourselves: the closes have crossed.
                self.send_on_connection(id, &ConnectionCloseOk {});
                if phase != Phase::Closing {
                    self.set_phase(id, Phase::Closed);
                    self.close_deadline(id, phase);
                }
            }
            (Phase::Closing, Method::ConnectionCloseOk(_)) => self.close_after_writing(id),
            (Phase::Running, Method::ConnectionUpdateSecret(_)) => {
                // The internal users have nothing to refresh.
                self.send_on_connection(id, &ConnectionUpdateSecretOk {});
            }
            (phase, method) => {
                let text = format!("unexpected method in connection state {}", phase.name());
                self.close_connection(id, Exception::new(ReplyCode::ChannelError, method.id(), text));
            }
        }
    }

    // ---- log-in

    fn start_ok(&mut self, id: ConnectionId, m: &ConnectionStartOk<'_>) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.capabilities = capabilities(m.client_properties);
        member.client_properties = m.client_properties.as_bytes().into();
        let settings = self.settings.clone();
        let mechanism = Mechanism::from_name(m.mechanism).filter(|mechanism| settings.mechanisms.contains(mechanism));
        match mechanism {
            None => self.refuse_login(id, m.mechanism, Refusal::Malformed),
            Some(Mechanism::Plain) => self.check_password(id, plain(m.response.0), m.mechanism),
            Some(Mechanism::AmqPlain) => self.check_password(id, amqplain(m.response.0), m.mechanism),
            Some(Mechanism::Anonymous) => match &settings.anonymous_login_user {
                Some(name) => self.logged_in(id, name, m.mechanism),
                None => self.refuse_login(id, m.mechanism, refused("")),
            },
            Some(Mechanism::RabbitCrDemo) => {
                if let Some(member) = self.members.get_mut(id) {
                    member.challenged = Some(String::from_utf8_lossy(m.response.0).into());
                    member.wire.phase = Phase::SecureOk;
                }
                self.send_on_connection(id, &ConnectionSecure { challenge: LongStr(CHALLENGE.as_bytes()) });
            }
        }
    }

    fn secure_ok(&mut self, id: ConnectionId, response: &[u8]) {
        let user = self.members.get(id).and_then(|member| member.challenged.clone()).unwrap_or_default();
        let given = response.strip_prefix(CHALLENGE_ANSWER).map(|password| (user.as_bytes(), password));
        self.check_password(id, given, Mechanism::RabbitCrDemo.name());
    }

    fn check_password(&mut self, id: ConnectionId, given: Option<(&[u8], &[u8])>, mechanism: &str) {
        let Some((user, password)) = given else { return self.refuse_login(id, mechanism, Refusal::Malformed) };
        let verdict = self.judge(id, user, password);
        let login = Proving { user: String::from_utf8_lossy(user).into(), mechanism: mechanism.into() };
        match (verdict, self.members.get_mut(id)) {
            (Verdict::Later, Some(member)) => {
                member.proving = Some(Box::new(login));
                member.hold = Hold::Asks;
            }
            (verdict, _) => self.proved(id, &login, matches!(verdict, Verdict::Right)),
        }
    }

    /// A password was right, or wrong.
    pub(in crate::shard) fn proved(&mut self, id: ConnectionId, login: &Proving, is_right: bool) {
        match is_right {
            true => self.logged_in(id, &login.user, &login.mechanism),
            false => self.refuse_login(id, &login.mechanism, refused(&login.user)),
        }
    }

    /// Somebody has shown who they are. They may still be in the wrong place.
    fn logged_in(&mut self, id: ConnectionId, name: &str, mechanism: &str) {
        let settings = self.settings.clone();
        let user = self.topology.user(name).cloned();
        let Some(member) = self.members.get_mut(id) else { return };
        let is_near = member.address().ip().to_canonical().is_loopback();
        let near_only = settings.loopback_users.iter().any(|local| *local == *name);
        let Some(user) = user else { return self.refuse_login(id, mechanism, refused(name)) };
        if near_only && !is_near {
            let refusal = Refusal::Credentials(name.into(), "' can only connect via localhost");
            return self.refuse_login(id, mechanism, refusal);
        }
        member.login = Login {
            mechanism: Mechanism::from_name(mechanism),
            user: user.name.clone(),
            impersonator: user.has_tag("impersonator"),
        };
        member.wire.phase = Phase::TuneOk;
        self.tell_log_in(id, name, mechanism, None);
        let tune = ConnectionTune {
            channel_max: settings.channel_max,
            frame_max: settings.frame_max,
            heartbeat: settings.heartbeat_s,
        };
        self.send_on_connection(id, &tune);
    }

    fn refuse_login(&mut self, id: ConnectionId, mechanism: &str, refusal: Refusal) {
        match &refusal {
            Refusal::Credentials(user, why) => {
                self.tell_log_in(id, user, mechanism, Some(&format!("user '{user}{why}")));
            }
            // A mechanism that is not offered is no attempt. What was sent instead of a password is not repeated.
            Refusal::Malformed if Mechanism::from_name(mechanism).is_none() => {}
            Refusal::Malformed => self.tell_log_in(id, "", mechanism, Some("response invalid")),
        }
        let is_told = self.members.get(id).is_some_and(|member| member.capabilities.authentication_failure_close);
        match refusal {
            Refusal::Credentials(..) if is_told => {
                let text = format!(
                    "Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
                );
                self.close_connection(id, Exception::new(ReplyCode::AccessRefused, MethodId::NONE, text));
            }
            _ => self.go_silent(id),
        }
    }

    /// Says nothing and closes after a while: this slows guessing down.
    fn go_silent(&mut self, id: ConnectionId) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.wire.phase = Phase::Closed;
        member.close = None;
        let at = self.now.after_ms(self.settings.limits.refusal_delay_ms);
        self.timers.add(at, Timer::Close(id));
    }

    fn tune_ok(&mut self, id: ConnectionId, m: &ConnectionTuneOk) {
        let (channel_max, frame_max) = (self.settings.channel_max, self.settings.frame_max);
        // "0" means no limit, which is more than any limit.
        let channels_fit = channel_max == 0 || (m.channel_max > 0 && m.channel_max <= channel_max);
        let frames_fit = match (frame_max, m.frame_max) {
            (0, 0) => true,
            (_, 0) => false,
            (0, asked) => asked >= crate::amqp::frame::FRAME_MIN_SIZE,
            (offered, asked) => asked >= crate::amqp::frame::FRAME_MIN_SIZE && asked <= offered,
        };
        if !channels_fit || !frames_fit {
            return self.go_silent(id);
        }
        let Some(member) = self.members.get_mut(id) else { return };
        member.channel_max = m.channel_max;
        member.wire.frame_max = m.frame_max;
        member.wire.phase = Phase::Open;
        self.start_heartbeat(id, m.heartbeat);
    }

    /// The connection may be open in this virtual host, if there is one.
    pub(in crate::shard) fn open_in(&mut self, id: ConnectionId, vhost: Option<VhostId>, name: &str) {
        let Some(vhost) = vhost else {
            let exception =
                Exception::new(ReplyCode::NotAllowed, ConnectionOpen::ID, format!("vhost {name} not found"));
            return self.close_connection(id, exception);
        };
        if let Err(exception) = self.enter(id, vhost) {
            return self.close_connection(id, exception);
        }
        self.set_phase(id, Phase::Running);
        if let Some(member) = self.members.get_mut(id) {
            member.opened = true;
        }
        self.tell_connection_created(id);
        self.send_on_connection(id, &ConnectionOpenOk { reserved_1: "" });
    }

    /// Shard 0 need not count the connection any more.
    fn leave(&mut self, id: ConnectionId) {
        let Some(member) = self.members.get_mut(id) else { return };
        let counted = std::mem::take(&mut member.counted);
        let (vhost, user) = (member.vhost, member.login.user.clone());
        self.count_out(vhost, user, counted);
    }

    // ---- the end

    /// The client closes: close-ok when everything that depends on the connection is gone.
    fn connection_close(&mut self, id: ConnectionId) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.wire.phase = Phase::Closed;
        member.ended = true;
        let (channels, user) = (std::mem::take(&mut member.channels), member.login.user.clone());
        let touched = member.touched & !(1 << self.id.0);
        member.closing_answers = touched.count_ones() + 1;
        let exclusive = std::mem::take(&mut member.exclusive);
        channels.iter().flatten().for_each(|channel| self.tell_channel_closed(id, &user, channel));
        self.leave(id);
        self.end_connection(id, touched, exclusive);
    }

    /// Tells every shard that knows a connection that it has ended.
    pub(in crate::shard) fn end_connection(&mut self, id: ConnectionId, touched: u64, exclusive: Vec<QueueKey>) {
        let whole = self.caller(id, Caller::WHOLE, 0);
        for shard in 0..self.count {
            if touched & (1 << shard) != 0 && shard != self.id.0 {
                self.mesh.send(shard, Record::Gone(whole));
            }
        }
        self.gone(whole, exclusive);
    }

    /// A shard has done all that followed from the end of a connection.
    pub(super) fn connection_gone_done(&mut self, id: ConnectionId) {
        let Some(member) = self.members.get_mut(id) else { return };
        if member.closing_answers == 0 {
            return;
        }
        member.closing_answers -= 1;
        if member.closing_answers == 0 {
            self.send_on_connection(id, &ConnectionCloseOk {});
            self.close_deadline(id, Phase::Running);
        }
    }

    /// Closes the socket if the peer does not within the time that it has: less before it has logged in.
    fn close_deadline(&mut self, id: ConnectionId, before: Phase) {
        let Some(member) = self.members.get(id) else { return };
        let max = self.settings.limits.close_wait_ms;
        let wait = match (before, member.heartbeat.interval_s) {
            (Phase::Running, 0) => max,
            (Phase::Running, interval_s) => max.min(u64::from(interval_s) * 1000),
            _ => CLOSE_WAIT_EARLY_MS.min(max),
        };
        self.timers.add(self.now.after_ms(wait), Timer::Close(id));
    }

    /// Closes a connection for a reason.
    pub(in crate::shard) fn close_connection(&mut self, id: ConnectionId, exception: Exception) {
        let Some(member) = self.members.get_mut(id) else { return };
        match member.wire.phase {
            Phase::Closing | Phase::Closed => return,
            // Whoever sends garbage before having spoken AMQP is not answered in AMQP.
            Phase::ProtocolHeader => return self.drop_connection(id, CloseKind::Reset),
            _ => {}
        }
        let before = member.wire.phase;
        let broken = member.wire.broken;
        member.wire.phase = if broken { Phase::Closed } else { Phase::Closing };
        member.ended = true;
        let (channels, user) = (std::mem::take(&mut member.channels), member.login.user.clone());
        let touched = member.touched;
        let exclusive = std::mem::take(&mut member.exclusive);
        let close = ConnectionClose {
            reply_code: exception.code.number(),
            reply_text: &exception.text,
            class_id: exception.method.class,
            method_id: exception.method.method,
        };
        self.send_on_connection(id, &close);
        channels.iter().flatten().for_each(|channel| self.tell_channel_closed(id, &user, channel));
        // A stream that cannot be followed any more: not even close-ok would be found in it.
        self.close_deadline(id, if broken { Phase::ProtocolHeader } else { before });
        self.leave(id);
        self.end_connection(id, touched, exclusive);
        self.members.resume(id);
    }

    /// Closes every connection because the broker stops.
    pub fn stop(&mut self, now: crate::time::Now) {
        self.now = now;
        self.stopping = true;
        for id in self.members.ids() {
            let phase = self.members.get(id).map(|member| member.wire.phase);
            if phase == Some(Phase::Running) {
                let text = "broker forced connection closure with reason 'shutdown'";
                self.close_connection(id, Exception::new(ReplyCode::ConnectionForced, MethodId::NONE, text));
            } else if phase != Some(Phase::Closing) {
                self.close_after_writing(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_responses() {
        assert_eq!(plain(b"\0guest\0secret"), Some((&b"guest"[..], &b"secret"[..])));
        assert_eq!(plain(b"\0guest\0"), Some((&b"guest"[..], &b""[..])));
        for bad in [&b""[..], b"guest\0secret", b"\0guest", b"me\0guest\0secret", b"\0a\0b\0c"] {
            assert_eq!(plain(bad), None, "{bad:?}");
        }
    }
}
