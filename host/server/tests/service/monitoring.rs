//! Figures and health of a running service, by HTTP and by the admin socket.

use super::support::{Directory, Service, find_program};
use lightning_ops::admin::{
    AdminError, CHECKS, HealthStatus, HealthView, Request, SUBJECTS, StatisticsView,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

/// The value of a sample.
fn sample(text: &str, name: &str) -> Option<f64> {
    let found = text.lines().find_map(|line| {
        let (sample, value) = line.rsplit_once(' ')?;
        (sample == name).then_some(value)
    });
    found.map(|value| value.parse().unwrap())
}

#[test]
fn the_series_of_the_manual_are_there_and_count() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["database.max_memory_mb=512"]);
    service.say("SET a 1\r\nGET a\r\nGET b\r\nDEL a\r\nNONSENSE\r\n", 6);
    let (status, head, text) = service.ask("metrics", "GET", "/metrics");
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    for (name, value) in [
        ("lightning_db_operations_total{operation=\"read\"}", 2.0),
        ("lightning_db_operations_total{operation=\"write\"}", 1.0),
        ("lightning_db_operations_total{operation=\"delete\"}", 1.0),
        (
            "lightning_db_operation_duration_seconds_count{operation=\"write\"}",
            1.0,
        ),
        (
            "lightning_db_operation_duration_seconds_bucket{operation=\"read\",le=\"+Inf\"}",
            2.0,
        ),
        (
            "lightning_db_operation_duration_seconds{operation=\"read\",window=\"5m\",le=\"10\"}",
            2.0,
        ),
        ("lightning_db_errors_total{type=\"io\"}", 0.0),
        ("lightning_db_errors_total{type=\"corruption\"}", 0.0),
        ("lightning_db_errors_total{type=\"transaction\"}", 0.0),
        ("lightning_db_commands_refused_total", 1.0),
        ("lightning_db_command_calls_total{command=\"get\"}", 2.0),
        ("lightning_db_memory_limit_bytes", 536_870_912.0),
        ("lightning_db_cache_hit_ratio", 1.0),
    ] {
        assert_eq!(sample(&text, name), Some(value), "{name}\n{text}");
    }
    for name in [
        "lightning_db_operation_duration_seconds_sum{operation=\"write\"}",
        "lightning_db_memory_usage_bytes",
        "lightning_db_disk_usage_bytes",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
    ] {
        assert!(sample(&text, name).unwrap() > 0.0, "{name}");
    }
    // As the health page says: on a disk that is nearly full it is a warning.
    let (_, body) = service.get("health", "/health/detailed");
    let health = ["healthy", "warning"]
        .map(|word| body.contains(&format!("\"status\":\"{word}\",\"details\"")));
    let expected = health.iter().position(|is_it| *is_it).unwrap() as f64;
    assert_eq!(sample(&text, "lightning_db_health_status"), Some(expected));
    assert!(sample(&text, "lightning_db_active_transactions").is_some());
    assert!(text.contains("lightning_db_build_info{version=\""));
    if let Some(promtool) = find_program("promtool") {
        let mut child = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{told}");
    }
    service.stop();
}

#[test]
fn durations_and_the_export_can_be_switched_off() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["monitoring.metrics_enabled=false"]);
    service.say("SET a 1\r\n", 1);
    let (_, text) = service.get("metrics", "/metrics");
    assert!(!text.contains("duration_seconds"), "{text}");
    let writes = "lightning_db_operations_total{operation=\"write\"}";
    assert_eq!(sample(&text, writes), Some(1.0));
    service.stop();
    let service = Service::start(&directory, &["monitoring.prometheus_export=false"]);
    assert_eq!(service.part("metrics"), "none");
    assert_eq!(service.get("health", "/metrics").0, 404);
    // The figures stay to be had.
    let subject = "performance".to_owned();
    let view: StatisticsView = service.call(&Request::Stats { subject }).unwrap();
    assert!(!view.figures.is_empty());
    service.stop();
}

#[test]
fn the_health_has_the_shape_of_the_manual() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let (status, head, body) = service.ask("health", "GET", "/health");
    let view: HealthView = serde_json::from_str(&body).unwrap();
    assert!(head.contains("content-type: application/json"), "{head}");
    // The machine's disk may be as full as it likes.
    let others = view.details.iter().filter(|(name, _)| *name != "disk");
    for (name, check) in others {
        assert!(check.status < HealthStatus::Critical, "{name}: {body}");
    }
    let worst = view.details.values().map(|check| check.status).max();
    assert_eq!(Some(view.status), worst, "{body}");
    let is_critical = view.status == HealthStatus::Critical;
    assert_eq!(status, if is_critical { 503 } else { 200 });
    assert!(body.starts_with("{\"status\":\""), "{body}");
    let names: Vec<&str> = view.details.keys().map(String::as_str).collect();
    assert_eq!(names, CHECKS.map(|(name, _)| name));
    assert!(view.details.values().all(|check| check.figures.is_empty()));
    let (_, body) = service.get("health", "/health/detailed");
    let detailed: HealthView = serde_json::from_str(&body).unwrap();
    assert!(!detailed.details["memory"].figures.is_empty());
    assert_eq!(detailed.service.unwrap().process, service.process());
    for (method, path, expected) in [
        ("GET", "/nonsense", 404),
        ("GET", "/", 200),
        ("POST", "/health", 405),
        ("HEAD", "/health", status),
    ] {
        let (status, _, body) = service.ask("health", method, path);
        assert_eq!(status, expected, "{method} {path}");
        assert!(method != "HEAD" || body.is_empty());
    }
    service.stop();
}

#[test]
fn what_is_critical_is_told_with_its_remedy() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["limits.max_connections=1"]);
    let mut client = TcpStream::connect(service.clients()).unwrap();
    client.write_all(b"PING\r\n").unwrap();
    let mut reply = [0; 7];
    client.read_exact(&mut reply).unwrap();
    let (status, body) = service.get("health", "/health");
    assert_eq!(status, 503);
    let view: HealthView = serde_json::from_str(&body).unwrap();
    assert_eq!(view.status, HealthStatus::Critical);
    let check = &view.details["connections"];
    assert_eq!(check.message, "1 clients of at most 1");
    assert!(
        check
            .remedy
            .as_ref()
            .unwrap()
            .contains("limits.max_connections")
    );
    let (_, text) = service.get("metrics", "/metrics");
    assert_eq!(sample(&text, "lightning_db_health_status"), Some(2.0));
    service.stop();
}

#[test]
fn tools_are_told_the_health_and_every_subject() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    service.say("SET a 1\r\n", 1);
    let mut tool = service.tool();
    let ask = |tests: &[&str], verify_data| Request::Health {
        tests: tests.iter().map(|test| (*test).to_owned()).collect(),
        verify_data,
        detailed: true,
    };
    let view: HealthView = tool.call(&ask(&["memory"], true)).unwrap();
    assert_eq!(view.details.len(), 2);
    let data = &view.details["data"];
    assert_eq!(data.message, "a sample of 1 entries in 16 tables is sound");
    assert_eq!(data.figures["entries_read"], 1);
    let refused = tool.call::<HealthView>(&ask(&["weather"], false));
    assert!(matches!(&refused, Err(AdminError::Refused(answer)) if answer.exit == 64));
    for (subject, _) in SUBJECTS {
        let subject = subject.to_owned();
        let view: StatisticsView = tool.call(&Request::Stats { subject }).unwrap();
        assert!(view.figures.len() >= 4, "{view:?}");
    }
    let subject = "weather".to_owned();
    let refused = tool.call::<StatisticsView>(&Request::Stats { subject });
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("there are those of performance, memory"),
        "{message}"
    );
    service.stop();
}

#[test]
fn what_is_not_in_memory_is_counted_as_missed() {
    let directory = Directory::new();
    let settings = [
        "database.cache_size_mb=1",
        "database.lsm_memtable_size_mb=1",
    ];
    let service = Service::start(&directory, &settings);
    let value = "x".repeat(3000);
    let count = 2000;
    for part in 0..20 {
        let lines: String = (0..100)
            .map(|number| format!("SET k{} {value}\r\n", part * 100 + number))
            .collect();
        service.say(&lines, 100);
    }
    let lines: String = (0..count).map(|key| format!("STRLEN k{key}\r\n")).collect();
    let lengths = service.say(&lines, count);
    assert!(lengths.iter().all(|length| length == ":3000"));
    let (_, text) = service.get("metrics", "/metrics");
    let of = |name: &str| sample(&text, name).unwrap();
    let misses = of("lightning_db_cache_misses_total");
    assert!(misses > 100.0, "{misses}");
    let ratio = of("lightning_db_cache_hit_ratio");
    assert!(ratio > 0.0 && ratio < 0.99, "{ratio}");
    assert!(of("lightning_db_cache_page_loads_total") > 100.0);
    let written = of("lightning_db_page_file_written_bytes_total");
    assert!(written > 1e6 && of("lightning_db_wal_written_bytes_total") > 5e6);
    service.stop();
}
