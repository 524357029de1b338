//! Each setting of the table is seen to do something by a test, which is named here.
//!
//! A setting without a test that sees its effect is a promise that nobody keeps: the check
//! below fails for one that isn't listed, and for a test that isn't there any more.

use lightning_ops::configuration::all;
use std::collections::BTreeMap;
use std::path::Path;

/// The setting, the file below `host` and the test in it.
const SEEN: &[(&str, &str, &str)] = &[
    (
        "database.path",
        PROGRAM,
        "without_a_file_it_says_where_its_data_are",
    ),
    ("database.bind", LIMITS, "clients_come_in_where_it_is_said"),
    ("database.port", LIMITS, "clients_come_in_where_it_is_said"),
    (
        "database.databases",
        LIMITS,
        "as_many_databases_are_selected_as_are_said",
    ),
    (
        "database.page_size",
        LIMITS,
        "a_page_has_the_size_of_its_creation",
    ),
    ("database.cache_size_mb", LIMITS, MEMORY),
    ("database.max_memory_mb", LIMITS, MEMORY),
    ("database.use_optimized_page_manager", SETTINGS, TOUCHED),
    ("database.lsm_memtable_size_mb", LIMITS, MEMORY),
    (
        "database.compaction_threads",
        SETTINGS,
        "as_many_threads_merge_as_are_said",
    ),
    (
        "database.version_cleanup_interval_sec",
        SETTINGS,
        "expired_entries_go_as_often_as_it_is_said",
    ),
    ("performance.compression_enabled", SETTINGS, COMPRESSED),
    ("performance.compression_type", SETTINGS, COMPRESSED),
    (
        "performance.write_batch_size",
        LIMITS,
        "as_many_commands_are_committed_together_as_are_said",
    ),
    ("performance.prefetch_enabled", SETTINGS, AHEAD),
    ("performance.prefetch_distance", SETTINGS, AHEAD),
    ("durability.wal_sync_mode", LIMITS, FLUSHED),
    ("durability.periodic_sync_ms", LIMITS, FLUSHED),
    (
        "durability.enable_safety_guards",
        SETTINGS,
        "little_room_on_the_disk_refuses_what_needs_more",
    ),
    (
        "durability.enable_paranoia_checks",
        SETTINGS,
        "damage_is_looked_for_in_the_background",
    ),
    (
        "durability.checkpoint_interval_sec",
        SETTINGS,
        "the_log_is_written_to_the_page_file_though_writes_go_on",
    ),
    ("limits.max_active_transactions", LIMITS, MEMORY),
    (
        "limits.max_connections_per_address",
        LIMITS,
        "one_address_has_as_many_connections_as_are_said",
    ),
    ("limits.max_unauthenticated_connections", LIMITS, STRANGERS),
    (
        "limits.tracking_table_max_keys",
        "server/tests/service/tracking.rs",
        "as_many_keys_are_tracked_as_are_said",
    ),
    (
        "limits.idle_timeout_sec",
        LIMITS,
        "clients_that_say_nothing_are_let_go",
    ),
    ("limits.max_query_bytes", LIMITS, LENGTHS),
    ("limits.max_client_output_bytes", LIMITS, LENGTHS),
    (
        "limits.max_connections",
        LIMITS,
        "as_many_clients_are_connected_as_are_said",
    ),
    (
        "limits.request_timeout_sec",
        LIMITS,
        "a_request_waits_for_others_as_long_as_is_said",
    ),
    ("logging.level", PROGRAM, LINES),
    ("logging.format", PROGRAM, LINES),
    ("logging.file", PROGRAM, FILES),
    ("logging.max_size_mb", PROGRAM, FILES),
    ("logging.max_files", PROGRAM, FILES),
    (
        "admin.socket",
        PROGRAM,
        "the_admin_socket_takes_the_place_of_a_dead_one",
    ),
    ("monitoring.bind", PROGRAM, PORTS),
    ("monitoring.metrics_port", PROGRAM, PORTS),
    ("monitoring.health_check_port", PROGRAM, PORTS),
    ("monitoring.metrics_enabled", MONITORING, SWITCHED_OFF),
    ("monitoring.prometheus_export", MONITORING, SWITCHED_OFF),
    ("monitoring.slowlog_log_slower_than_us", LIMITS, SLOW),
    ("monitoring.slowlog_max_len", LIMITS, SLOW),
    ("monitoring.latency_monitor_threshold_ms", LIMITS, SLOW),
    (
        "monitoring.notify_keyspace_events",
        "server/tests/service/notifications.rs",
        "each_command_tells_its_events_in_their_order",
    ),
    ("security.password_file", LIMITS, STRANGERS),
    (
        "security.acl_file",
        "server/tests/service/access.rs",
        "users_of_a_file_do_what_they_may",
    ),
    ("security.allow_unauthenticated", LIMITS, STRANGERS),
    ("security.allow_debug", LIMITS, SLOW),
    ("security.tls_cert_file", LIMITS, TLS),
    ("security.tls_key_file", LIMITS, TLS),
    ("security.tls_port", LIMITS, TLS),
    (
        "service.huge_pages",
        SETTINGS,
        "huge_pages_are_taken_asked_for_or_not_wanted",
    ),
    (
        "service.numa",
        SETTINGS,
        "memory_lies_on_nodes_and_threads_with_it",
    ),
    (
        "service.cpu_affinity",
        SETTINGS,
        "threads_stay_on_the_processors_that_were_named",
    ),
    (
        "service.direct_io",
        SETTINGS,
        "pages_go_past_the_system_cache_where_the_file_system_can",
    ),
    ("service.prefault", SETTINGS, TOUCHED),
];

const PROGRAM: &str = "server/tests/service/program.rs";
const MONITORING: &str = "server/tests/service/monitoring.rs";
const SETTINGS: &str = "server/tests/service/settings.rs";
const LIMITS: &str = "server/tests/service/limits.rs";

const AHEAD: &str = "scans_read_ahead_as_far_as_it_is_said";
const COMPRESSED: &str = "pages_are_compressed_as_it_is_said_when_the_database_is_made";
const FLUSHED: &str = "the_log_is_flushed_as_often_as_is_said";
const FILES: &str = "the_log_is_followed_by_the_next_and_the_oldest_goes";
const LENGTHS: &str = "requests_and_replies_are_as_long_as_is_said";
const LINES: &str = "both_forms_of_the_log_are_found_by_their_levels_and_hold_no_data";
const MEMORY: &str = "memory_is_what_the_settings_plan";
const PORTS: &str = "ports_are_those_that_are_configured";
const SLOW: &str = "what_is_slow_is_remembered_as_far_as_is_said";
const STRANGERS: &str = "who_has_no_password_is_kept_out_and_few_may_try";
const SWITCHED_OFF: &str = "durations_and_the_export_can_be_switched_off";
const TLS: &str = "a_certificate_has_clients_speak_tls";
const TOUCHED: &str = "memory_is_touched_at_start_where_it_is_to_be";

#[test]
fn every_setting_has_a_test_that_sees_its_effect() {
    let mut seen = BTreeMap::new();
    for (key, file, test) in SEEN {
        assert!(
            seen.insert(*key, (file, test)).is_none(),
            "{key} stands twice"
        );
    }
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for setting in all() {
        let key = setting.key();
        let found = seen.remove(&key[..]);
        let (file, test) = found.unwrap_or_else(|| panic!("no test sees what {key} does"));
        let text = std::fs::read_to_string(host.join(file)).unwrap();
        let is_there = text.contains(&format!("#[test]\nfn {test}()"));
        assert!(is_there, "{key}: {file} has no test {test}");
        // A test that doesn't name the setting doesn't set it.
        assert!(text.contains(setting.name), "{key}: {file} doesn't name it");
    }
    assert!(seen.is_empty(), "there is no such setting: {seen:?}");
}
