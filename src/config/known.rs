//! The names of the keys of RabbitMQ 3.12 to 4.3 and its plugins, so that the file of any user is understood.
//!
//! Names are facts, and these are only names. Those that we honour are among them, for the one who asks what a slip of
//! the pen was meant to be; what they do is in [`keys`](super::keys), which is asked first.
//!
//! A line `prefix: name name` has the names below a prefix, and lines without a colon go on with it. `*` is any one
//! part of a name. `<tls>` and its like stand for the names of a group.

/// The groups, by their marks.
pub const GROUPS: &[(&str, &str)] = &[
    (
        "<tls>",
        "bypass_pem_cache cacertfile cacerts.* cert certfile ciphers.* client_renegotiation crl_check crl_sources.* \
         crl_sources.*.path crl_sources.*.timeout depth dh dhfile fail_if_no_peer_cert honor_cipher_order \
         honor_ecc_order hostname_verification key.DSAPrivateKey key.PrivateKeyInfo key.RSAPrivateKey keyfile \
         log_alert log_level password psk_identity reuse_sessions secure_renegotiate sni verify versions.*",
    ),
    (
        "<tcp>",
        "backlog buffer delay_send dontroute exit_on_close fd high_msgq_watermark high_watermark keepalive \
         linger.on linger.timeout low_msgq_watermark low_watermark nodelay port priority recbuf send_timeout \
         send_timeout_close sndbuf tos",
    ),
    (
        "<format>",
        "formatter formatter.json.field_map formatter.json.verbosity_map formatter.level_format \
         formatter.plaintext.format formatter.single_line formatter.time_format",
    ),
    ("<rotation>", "rotation.compress rotation.count rotation.date rotation.size"),
];

/// What may be honoured in a later version, and what is.
pub const YET: &str = "
: anonymous_login_pass anonymous_login_user channel_max channel_max_per_node cluster_exchange_limit cluster_name
  cluster_queue_limit collect_statistics collect_statistics_interval connection_max consumer_disconnected_timeout
  consumer_max_per_channel consumer_timeout default_pass default_queue_type default_user default_vhost frame_max
  handshake_timeout heartbeat initial_frame_max load_definitions loopback_users max_channels_per_connection
  max_connections max_message_size memory_monitor_interval motd_file password_hashing_module proxy_protocol
  reverse_dns_lookups ssl_cert_login_from ssl_cert_login_san_index ssl_cert_login_san_type ssl_handshake_timeout
  ssl_options tcp_listen_options total_memory_available_override_value vhost_max
auth_backends: * *.authn *.authz
auth_mechanisms: *
credential_validator: min_length regexp validation_backend
default_limits.vhosts.*: max_connections max_queues pattern
default_permissions: configure read write
default_policies.operator.*: apply_to classic_queues.ha_mode classic_queues.ha_params classic_queues.ha_sync_mode
  classic_queues.queue_version delivery_limit expires max_in_memory_bytes max_in_memory_length max_length
  max_length_bytes message_ttl queue_pattern vhost_pattern
default_user_tags: *
default_users: *.configure *.password *.read *.tags *.vhost_pattern *.write
definitions: hashing.algorithm https.url import_backend local.path skip_if_unchanged tls.cacertfile tls.cacerts.*
  tls.cert tls.certfile tls.ciphers.* tls.crl_check tls.depth tls.dh tls.fail_if_no_peer_cert tls.keyfile
  tls.log_alert tls.log_level tls.password tls.reuse_session tls.reuse_sessions tls.secure_renegotiate tls.verify
  tls.versions.*
deprecated_features: permit.*
disk_free_limit: absolute relative
event_exchange: protocol vhost
listeners: ssl ssl.* tcp tcp.*
log: channel.<rotation> channel.file channel.level connection.<rotation> connection.file connection.level console
  console.<format> console.color_esc_seqs.alert console.color_esc_seqs.critical console.color_esc_seqs.debug
  console.color_esc_seqs.emergency console.color_esc_seqs.error console.color_esc_seqs.info
  console.color_esc_seqs.notice console.color_esc_seqs.warning console.level console.stdio console.use_colors
  default.<rotation> default.level dir error_logger_format_depth exchange exchange.<format> exchange.level
  feature_flags.level federation.<rotation> federation.file federation.level file file.<format> file.<rotation>
  file.level journald journald.fields journald.level ldap.level mirroring.<rotation> mirroring.file mirroring.level
  prelaunch.level queue.<rotation> queue.file queue.level ra.<rotation> ra.file ra.level summarize_process_state
  syslog upgrade.<rotation> upgrade.file upgrade.level user.<rotation> user.file user.level
log.syslog: <format> facility host identity ip level multiline_mode port protocol ssl_options ssl_options.<tls>
  transport
loopback_users: *
management: cors.allow_origins cors.allow_origins.* cors.max_age credential_encryption_secret csp.policy
  db_cache_multiplier definitions.require_json_extension delegate_count disable_basic_auth disable_stats
  enable_queue_totals headers.content_type_options headers.frame_options headers.referrer_policy
  headers.xss_protection hsts.policy http.hide_allow_header http.max_body_size http_log_dir listener.ip
  listener.port listener.server.compress listener.server.idle_timeout listener.server.inactivity_timeout
  listener.server.max_keepalive listener.server.request_timeout listener.server.shutdown_timeout listener.ssl
  listener.ssl_opts listener.ssl_opts.<tls> load_definitions login_session_timeout
  oauth_authorization_endpoint_params.* oauth_client_id oauth_client_secret oauth_disable_basic_auth oauth_enabled
  oauth_initiated_logon_type oauth_metadata_url oauth_provider_url oauth_response_type oauth_scopes
  oauth_token_endpoint_params.* path_prefix rates_mode require_auth_for_api_reference
  restrictions.operator_policy_changes.disabled restrictions.quorum_queue_replica_operations.disabled
  sample_retention_policies.*.*
management.oauth_resource_servers.*: disabled id label oauth_authorization_endpoint_params.* oauth_client_id
  oauth_client_secret oauth_initiated_logon_type oauth_metadata_url oauth_provider_url oauth_response_type
  oauth_scopes oauth_token_endpoint_params.*
management.ssl: backlog cacertfile certfile ciphers.* client_renegotiation compress depth fail_if_no_peer_cert
  honor_cipher_order honor_ecc_order idle_timeout inactivity_timeout ip keyfile max_connections max_keepalive
  password port request_timeout reuse_sessions secure_renegotiate shutdown_timeout verify versions.*
management.tcp: compress idle_timeout inactivity_timeout ip max_connections max_keepalive port request_timeout
  shutdown_timeout
message_interceptors: *.*.* incoming.*.overwrite
product: name version
prometheus: authentication.enabled filter_aggregated_queue_metrics_pattern path return_per_object_metrics
prometheus.ssl: backlog cacertfile certfile ciphers.* client_renegotiation compress depth fail_if_no_peer_cert
  honor_cipher_order honor_ecc_order idle_timeout inactivity_timeout ip keyfile max_connections max_keepalive
  password port request_timeout reuse_sessions secure_renegotiate shutdown_timeout verify versions.*
prometheus.tcp: compress idle_timeout inactivity_timeout ip listener max_connections max_keepalive port
  request_timeout shutdown_timeout
queue_types: classic.enabled quorum.enabled stream.enabled
runtime_parameters: limits.*
ssl_options: <tls>
tcp_listen_options: <tcp>
tracing: dir password username
vm_memory_high_watermark: absolute relative
";

/// What is about how RabbitMQ and Erlang work inside.
pub const INSIDE: &str = "
: background_gc_enabled background_gc_target_interval default_worker_pool_size delegate_count hipe_compile
  message_store_shutdown_timeout mnesia_table_loading_retry_limit mnesia_table_loading_retry_timeout
  msg_store_file_size_limit prevent_startup_if_node_was_reset queue_index_embed_msgs_below
  queue_index_max_journal_entries ranch_connection_max ssl_allow_poodle_attack vhost_restart_strategy
  vm_memory_calculation_strategy vm_memory_high_watermark_paging_ratio
classic_queue: default_version
erlang: K
exchange_types: local_random.enabled
management_agent: disable_metrics_collector filter_aggregated_queue_metrics_pattern
metadata_store: khepri.default_timeout khepri.snapshot_interval
num_acceptors: ssl tcp
quorum_queue: commands_soft_limit compress_mem_tables compute_checksums
  continuous_membership_reconciliation.auto_remove continuous_membership_reconciliation.enabled
  continuous_membership_reconciliation.interval continuous_membership_reconciliation.target_group_size
  continuous_membership_reconciliation.trigger_interval initial_cluster_size max_append_entries_rpc_batch_size
  member_placement_tag property_equivalence.relaxed_checks_on_redeclaration segment_compute_checksums
  segment_max_entries segment_max_size_bytes snapshot_chunk_size wal_compute_checksums wal_max_batch_size
  wal_max_entries wal_max_size_bytes
raft: adaptive_failure_detector.detection_threshold adaptive_failure_detector.heartbeat_interval
  adaptive_failure_detector.poll_interval adaptive_failure_detector.scaling_factor data_dir segment_max_entries
  snapshot_chunk_size wal_hibernate_after wal_max_batch_size wal_max_entries wal_max_size_bytes
socket_writer: gc_threshold
sysmon_handler: thresholds.busy_ports thresholds.busy_processes triggers.distribution_port triggers.port
  triggers.process.garbage_collection triggers.process.heap_size triggers.process.long_scheduled_execution
";

/// What is about clusters.
pub const CLUSTER: &str = "
: cluster_keepalive_interval cluster_partition_handling mirroring_sync_batch_size mirroring_sync_max_throughput
  net_ticktime queue_leader_locator queue_master_locator
cluster_formation: discovery_retry_interval discovery_retry_limit internal_lock_retries lock_retry_limit
  lock_retry_timeout node_type peer_discovery_backend target_cluster_size_hint
cluster_formation.aws: access_key_id ec2_instance_states.* hostname_path hostname_path.* instance_tags
  instance_tags.* region secret_key use_autoscaling_group use_private_ip
cluster_formation.classic_config: nodes.*
cluster_formation.consul: acl_token cluster_name deregister_after domain_suffix host include_nodes_with_warnings
  lock_prefix lock_timeout lock_wait_time port scheme ssl_options ssl_options.<tls> svc svc_addr svc_addr_auto
  svc_addr_nic svc_addr_use_nodename svc_id svc_meta svc_meta.* svc_port svc_tags svc_tags.* svc_ttl use_longname
cluster_formation.dns: hostname
cluster_formation.etcd: cluster_name endpoints endpoints.* host key_prefix lock_timeout lock_wait_time node_ttl
  password port scheme ssl_options ssl_options.<tls> username
cluster_formation.k8s: address_type cert_path host hostname_suffix namespace_path ordinal_start port scheme
  seed_node service_name tls.cacertfile tls.certfile tls.fail_if_no_peer_cert tls.keyfile tls.verify token_path
cluster_formation.node_cleanup: interval only_log_warning
cluster_formation.proxy: http_proxy https_proxy proxy_exclusions.*
cluster_formation.randomized_startup_delay_range: max min
cluster_formation.registration: enabled
cluster_partition_handling: pause_if_all_down.nodes.* pause_if_all_down.recover
cluster_tags: *
distribution: listener.interface listener.port_range.max listener.port_range.min
node_tags: *
";

/// What is about parts that there are none of: other protocols, plugins.
pub const ABSENT: &str = "
: link_max_per_session session_max_per_connection
amqp10_client: ssl_options ssl_options.<tls>
amqp1_0: convert_amqp091_headers_to_app_props convert_app_props_to_amqp091_headers default_user default_vhost
  protocol_strict_mode
amqp_client: ssl_options ssl_options.<tls>
auth_cache: cache_module cache_refusals cache_ttl cached_backend cached_backend.authn cached_backend.authz
auth_http: authorization_failure_disclosure connection_timeout http_method request_timeout resource_path ssl_options
  ssl_options.<tls> topic_path user_path vhost_path
auth_ldap: connection_pool_size dn_lookup_attribute dn_lookup_base dn_lookup_bind dn_lookup_bind.password
  dn_lookup_bind.user_dn group_lookup_base idle_timeout log other_bind other_bind.password other_bind.user_dn port
  queries.resource_access queries.tags queries.topic_access queries.vhost_access servers servers.* ssl_options
  ssl_options.<tls> timeout use_ssl use_starttls user_bind_pattern user_dn_pattern
auth_oauth2: additional_scopes_key algorithms.* authorization_endpoint default_key default_oauth_provider
  discovery_endpoint_params.* discovery_endpoint_path end_session_endpoint https.cacertfile https.crl_check
  https.depth https.fail_if_no_peer_cert https.hostname_verification https.peer_verification https.verify issuer
  jwks_uri jwks_url preferred_username_claims.* require_exp resource_server_id resource_server_type scope_aliases.*
  scope_aliases.*.alias scope_aliases.*.scope scope_pattern_syntax scope_prefix signing_keys.* token_endpoint
  verify_aud
auth_oauth2.oauth_providers.*: algorithms.* authorization_endpoint default_key discovery_endpoint_params.*
  discovery_endpoint_path end_session_endpoint https.cacertfile https.crl_check https.depth
  https.hostname_verification https.verify issuer jwks_uri signing_keys.* token_endpoint
auth_oauth2.resource_servers.*: additional_scopes_key id oauth_provider_id preferred_username_claims.* require_exp
  resource_server_type scope_aliases.* scope_aliases.*.alias scope_aliases.*.scope scope_pattern_syntax scope_prefix
  verify_aud
aws: prefer_imdsv2
channel_interceptor: priorities.*
federation: exchanges.connection_close_timeout exchanges.shutdown.link_batch_size exchanges.shutdown.throttle_delay
  exchanges.shutdown.timeout queues.connection_close_timeout queues.shutdown.link_batch_size
  queues.shutdown.throttle_delay queues.shutdown.timeout shutdown.link_batch_size shutdown.throttle_delay
  shutdown.timeout
http_dispatch: access_log_dir auth_backends.* auth_backends.*.authn auth_backends.*.authz
mqtt: allow_anonymous default_pass default_user disconnect_on_unauthorized durable_queue_type exchange listeners.ssl
  listeners.ssl.* listeners.tcp listeners.tcp.* login_timeout mailbox_soft_limit max_connections
  max_packet_size_authenticated max_packet_size_unauthenticated max_session_expiry_interval_seconds
  message_interceptors.*.*.* num_acceptors.ssl num_acceptors.tcp prefetch proxy_protocol retained_message_store
  retained_message_store.max_messages retained_message_store.max_size_bytes
  retained_message_store_dets_sync_interval sparkplug ssl_cert_client_id_from ssl_cert_login
  ssl_cert_login_san_index ssl_cert_login_san_type subscription_ttl tcp_listen_options tcp_listen_options.<tcp>
  topic_alias_maximum vhost
shovel: delete_after_duration_floor local.max_credit operating_mode topology.predeclared
stomp: default_nack_requeue default_pass default_topic_exchange default_user default_vhost hide_server_info
  implicit_connect listeners.ssl listeners.ssl.* listeners.tcp listeners.tcp.* login_timeout max_connections
  max_frame_size max_frame_size_unauthenticated num_acceptors.ssl num_acceptors.tcp proxy_protocol ssl_cert_login
  tcp_listen_options tcp_listen_options.<tcp>
stream: advertised_host advertised_port advertised_tls_host advertised_tls_port credits_required_for_unblocking
  data_dir frame_max heartbeat initial_credits initial_frame_max listeners.ssl listeners.ssl.* listeners.tcp
  listeners.tcp.* max_connections max_super_stream_partitions max_uncompressed_sub_entry_batch_size
  num_acceptors.ssl num_acceptors.tcp read_ahead read_ahead_limit replication.address_family
  replication.port_range.max replication.port_range.min ssl_cert_login tcp_listen_options tcp_listen_options.<tcp>
trust_store: directory https_request_timeout providers.* refresh_interval ssl_options ssl_options.<tls> url
web_mqtt: allow_origins allow_origins.* hsts.policy max_connections num_acceptors.ssl num_acceptors.tcp
  proxy_protocol use_file_handle_cache ws_path
web_mqtt.cowboy_opts: idle_timeout max_empty_lines max_header_name_length max_header_value_length max_headers
  max_keepalive max_request_line_length timeout
web_mqtt.ssl: backlog cacertfile certfile ciphers.* client_renegotiation crl_check depth honor_cipher_order
  honor_ecc_order ip keyfile listener password port reuse_sessions secure_renegotiate versions.*
web_mqtt.tcp: backlog ip listener port
web_mqtt.ws_opts: compress idle_timeout max_frame_size
web_stomp: allow_origins allow_origins.* hsts.policy max_connections num_acceptors.ssl num_acceptors.tcp port
  proxy_protocol use_file_handle_cache use_http_auth ws_frame ws_path
web_stomp.cowboy_opts: idle_timeout max_empty_lines max_header_name_length max_header_value_length max_headers
  max_keepalive max_request_line_length timeout
web_stomp.ssl: backlog cacertfile certfile ciphers.* client_renegotiation crl_check depth honor_cipher_order
  honor_ecc_order ip keyfile listener password port reuse_sessions secure_renegotiate versions.*
web_stomp.tcp: backlog ip listener port
web_stomp.ws_opts: compress idle_timeout max_frame_size
";
