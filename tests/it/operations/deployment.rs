//! The files with which the service is deployed: they are valid, limit what they run, and contain no password.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use crate::support::{RedisServer, ServiceProcess, in_repository, output_text, run_python_tool};

fn read(path: &str) -> String {
    std::fs::read_to_string(in_repository(path)).expect("a file")
}

#[test]
fn shipped_configurations_of_the_service_are_valid() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "a password").expect("written");
    for file in [
        "config/compose.toml",
        "config/kubernetes/overlays/single/config.toml",
        "config/kubernetes/overlays/sentinel/config.toml",
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
        command.arg("--config").arg(in_repository(file)).arg("check-config").env_clear();
        if read(file).contains("password_file") {
            command.env("GTX__REDIS__PASSWORD_FILE", secret.path());
        }
        command.env("JWT_SECRET", "0123456789abcdef0123456789abcdef");
        let output = command.output().expect("the binary runs");
        // Compose's mode is a variable of its own.
        assert!(output.status.success(), "{file}: {}", output_text(&output));
    }
}

#[tokio::test]
async fn manifests_of_kubernetes_fit_their_schemas_and_run_as_a_numeric_user() {
    let files = [
        "config/kubernetes/base/deployment.yaml",
        "config/kubernetes/base/service.yaml",
        "config/kubernetes/base/disruption-budget.yaml",
        "config/kubernetes/base/network-policy.yaml",
        "config/kubernetes/components/autoscaling/autoscaler.yaml",
    ];
    let paths: Vec<String> = files.iter().map(|file| in_repository(file).display().to_string()).collect();
    let arguments: Vec<&str> = std::iter::once("--strict").chain(paths.iter().map(String::as_str)).collect();
    let output = run_python_tool("kubernetes-validate", &arguments).await;
    assert!(output.status.success(), "{}", output_text(&output));
    let deployment = read(files[0]);
    for setting in
        ["runAsUser: 65532", "runAsNonRoot: true", "readOnlyRootFilesystem: true", "drop: [ALL]", "memory: 512Mi"]
    {
        assert!(deployment.contains(setting), "{setting}");
    }
    let probe = deployment.split("readinessProbe:").nth(1).expect("a probe");
    assert!(probe.contains("path: /health/traffic"), "an outage of Redis must not empty the Service");
}

#[test]
fn compose_limits_every_container_and_contains_no_password() {
    let text = read("docker-compose.yml");
    assert!(!text.lines().any(|line| line.starts_with("name:")), "Compose 1.29 refuses the element `name`");
    let services = text.split_once("\nservices:\n").expect("services").1.split_once("\nvolumes:\n").expect("volumes").0;
    let names = |line: &&str| line.starts_with("  ") && !line.starts_with("   ") && line.trim_end().ends_with(':');
    let count = services.lines().filter(names).count();
    assert_eq!(count, 4);
    for limit in ["    mem_limit: ", "    cpus: ", "    restart: unless-stopped", "      \u{2d} \"127.0.0.1:"] {
        let found = services.lines().filter(|line| line.starts_with(limit)).count();
        // Redis has no port on this machine.
        assert_eq!(found, if limit.contains("127.0.0.1") { count - 1 } else { count }, "{limit}");
    }
    for line in text.lines().filter(|line| line.contains("PASSWORD: ")) {
        let value = line.split_once("PASSWORD: ").expect("a value").1;
        assert!(value.starts_with("${") && (value.contains(":?") || value.ends_with(":-}")), "{line}");
    }
}

#[test]
fn a_supervisor_learns_of_the_start_of_life_and_of_the_stop() {
    let unit = read("config/systemd/gridtokenx-redis.service");
    assert!(unit.contains("\nType=notify\n") && unit.contains("\nWatchdogSec=30\n"));
    let redis = RedisServer::start();
    let path = redis.directory().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let next = || {
        let mut message = [0; 64];
        let length = socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let variables = [("NOTIFY_SOCKET", path.to_str().expect("text")), ("WATCHDOG_USEC", "3000000")];
    let mut service = ServiceProcess::start_on(&redis, &variables);
    let mut seen = Vec::new();
    while seen.iter().filter(|message| *message == "WATCHDOG=1").count() < 3 || !seen.contains(&"READY=1".to_owned()) {
        seen.push(next());
    }
    assert_eq!(service.get("/health/live").0, 200);
    service.signal("TERM");
    while next() != "STOPPING=1" {}
    let (status, output) = service.ended();
    assert!(status.success(), "{output}");
}
