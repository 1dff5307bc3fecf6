//! What shard 0 tells of users and of what they may do.

use std::sync::Arc;

use crate::broker::access::{self, User};
use crate::broker::event::Event;
use crate::broker::parameters::{Meaning, Parameter, ParameterKey};
use crate::shard::Shard;

impl Shard {
    /// Tells of a parameter that is a user or a permission; `old`: what it was before.
    pub(super) fn tell_access_set(&mut self, new: &Parameter, old: Option<&Parameter>, vhost: &str, by: &str) {
        let name = &*new.key.name;
        let event = |event| Event::new(event).text("user", name).text("vhost", vhost);
        let texts = |mut event: Event, keys: &[&str], value| {
            for key in keys {
                event = event.text(key, &access::text_of(value, key));
            }
            event.by(by)
        };
        match &new.meaning {
            Meaning::User(user) => {
                let old =
                    old.and_then(|old| if let Meaning::User(old) = &old.meaning { Some(old.clone()) } else { None });
                self.tell_user_set(user, old.as_deref(), by);
            }
            Meaning::Permission(_) => {
                self.tell(|_| Some(texts(event("permission.created"), &["configure", "write", "read"], &new.value)));
            }
            Meaning::Topics(_) => {
                let before = old.map(|old| access::topic_rows(&old.value)).unwrap_or_default();
                let now = access::topic_rows(&new.value);
                for row in before.iter().filter(|row| now.iter().all(|other| other.0 != row.0)) {
                    self.tell(|_| Some(event("topic.permission.deleted").text("exchange", &row.0).by(by)));
                }
                for row in now.iter().filter(|row| !before.contains(row)) {
                    let event = || event("topic.permission.created").text("exchange", &row.0);
                    self.tell(|_| Some(event().text("write", &row.1).text("read", &row.2).by(by)));
                }
            }
            _ => {}
        }
    }

    fn tell_user_set(&mut self, user: &User, old: Option<&User>, by: &str) {
        let event = |event| Event::new(event).text("name", &user.name);
        let is_new = old.is_none();
        if is_new {
            self.tell(|_| Some(event("user.created").by(by)));
        }
        if old.is_some_and(|old| old.credential != user.credential) {
            let what = if user.credential.is_some() { "user.password.changed" } else { "user.password.cleared" };
            self.tell(|_| Some(event(what).by(by)));
        }
        let had: &[Arc<str>] = old.map_or(&[], |old| &old.tags);
        if had != user.tags {
            self.tell(|_| Some(event("user.tags.set").texts("tags", user.tags.iter().map(|tag| &**tag)).by(by)));
        }
    }

    /// Tells of the end of such a parameter.
    pub(super) fn tell_access_cleared(&mut self, key: &ParameterKey, old: Option<&Parameter>, vhost: &str, by: &str) {
        let event = |event| Event::new(event).text("user", &key.name).text("vhost", vhost);
        match old.map(|old| &old.meaning) {
            Some(Meaning::User(_)) => self.tell(|_| Some(Event::new("user.deleted").text("name", &key.name).by(by))),
            Some(Meaning::Permission(_)) => self.tell(|_| Some(event("permission.deleted").by(by))),
            Some(Meaning::Topics(_)) => {
                for row in old.map(|old| access::topic_rows(&old.value)).unwrap_or_default() {
                    self.tell(|_| Some(event("topic.permission.deleted").text("exchange", &row.0).by(by)));
                }
            }
            _ => {}
        }
    }
}
