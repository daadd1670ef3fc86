//! An nginx in front of the service.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{eventually, free_port};

/// An nginx process, which ends with the test.
pub struct Nginx {
    process: Child,
    pub address: SocketAddr,
    _directory: TempDir,
}

impl Nginx {
    /// Starts nginx with what `http` returns for the address on which it shall listen.
    ///
    /// A missing nginx is a failure that says how to install it, never a skip.
    pub async fn start(http: impl FnOnce(SocketAddr) -> String) -> Self {
        let directory = tempfile::Builder::new().prefix("gtx-nginx-").tempdir().expect("a temporary directory");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {of};"));
        let config = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{}\n{}\n}}\n",
            places.concat(),
            http(address)
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, config).expect("a file");
        // Debian installs it outside the PATH of users.
        let installed = Path::new("/usr/sbin/nginx");
        let mut command = Command::new(if installed.exists() { installed } else { Path::new("nginx") });
        command.arg("-p").arg(directory.path()).arg("-c").arg(file).args(["-e", "error.log"]);
        let process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.unwrap_or_else(|_| panic!("nginx is not installed: run scripts/setup_tests.sh nginx"));
        let nginx = Self { process, address, _directory: directory };
        eventually("nginx listens", async || TcpStream::connect(address).is_ok()).await;
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
