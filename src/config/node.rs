//! What a broker calls itself, and limits of it as a whole: what each key does.

use super::draft::{Draft, short};
use super::value;

pub fn cluster_name(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.cluster_name = Some(short(value)?);
    Some(())
}

pub fn product_name(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.advertise.product = short(value)?;
    Some(())
}

pub fn product_version(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.advertise.version = short(value)?;
    Some(())
}

/// Sets what connection.start says. Clients look at RabbitMQ's product and version; its other texts come with them.
pub fn advertise(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    let (product, version) = value::product_version(value)?;
    let advertise = &mut draft.config.settings.advertise;
    advertise.product = product.into();
    advertise.version = version.into();
    if product == "RabbitMQ" {
        advertise.platform = "Erlang/OTP 27.3".into();
        advertise.copyright = "Copyright (c) 2007-2025 Broadcom Inc and/or its subsidiaries".into();
        advertise.information = "Licensed under the MPL 2.0. Website: https://rabbitmq.com".into();
    }
    Some(())
}

pub fn connection_max(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.node.connection_max = most(value)?;
    Some(())
}

pub fn max_connections(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.max_connections = Some(most(value)?);
    Some(())
}

pub fn channel_max_per_node(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.node.channel_max_per_node = most(value)?;
    Some(())
}

pub fn consumer_max_per_channel(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.node.consumer_max_per_channel = most(value)?;
    Some(())
}

pub fn vhost_max(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.node.vhost_max = most(value)?;
    Some(())
}

pub fn cluster_queue_limit(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.node.queue_max = most(value)?;
    Some(())
}

pub fn cluster_exchange_limit(draft: &mut Draft, _: &str, value: &str) -> Option<()> {
    draft.config.settings.node.exchange_max = most(value)?;
    Some(())
}

fn most(value: &str) -> Option<Option<u32>> {
    match value {
        "infinity" => Some(None),
        _ => Some(Some(value::integer(value, 0, u32::MAX.into())? as u32)),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::file::parse;

    #[test]
    fn newer_names_count() {
        for (text, expected) in [
            ("max_connections = 1\nconnection_max = 2", (Some(1), 2047)),
            ("max_connections = infinity\nconnection_max = 2", (None, 2047)),
            ("connection_max = 2\nchannel_max = 3", (Some(2), 3)),
            ("max_channels_per_connection = 4\nchannel_max = 3", (None, 4)),
        ] {
            let (config, _) = parse("f", text, Config::default()).unwrap();
            assert_eq!((config.settings.node.connection_max, config.settings.channel_max), expected, "{text}");
        }
    }

    #[test]
    fn what_it_calls_itself() {
        let text = "product.name = P\nproduct.version = 7\ncluster_name = c";
        let (config, _) = parse("f", text, Config::default()).unwrap();
        let advertise = &config.settings.advertise;
        assert_eq!([&*advertise.product, &*advertise.version, &*advertise.cluster_name], ["P", "7", "c"]);
    }
}
