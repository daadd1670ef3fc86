//! A real S3 server, which keeps its objects in memory and is stopped at the end of the test.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::python::venv_program;
use super::{eventually, free_port};

const SIGNATURE: &str =
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

pub struct S3Server {
    process: Child,
    address: SocketAddr,
}

impl S3Server {
    /// Starts a server with one bucket. The test fails if it is not installed.
    pub async fn start(bucket: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new(venv_program("moto_server"));
        command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { process: command.spawn().expect("the server starts"), address };
        eventually("the S3 server listens", async || TcpStream::connect(address).is_ok()).await;
        assert_eq!(server.request(Method::PUT, bucket, "").await.0, 200);
        server
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends a request and returns the status and the body of the response. The server does not check signatures, but takes a request
    /// without one for that of a stranger.
    pub async fn request(&self, method: Method, path: &str, body: &str) -> (u16, Vec<u8>) {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::builder().method(method).uri(format!("{}/{path}", self.endpoint()));
        let request = request.header("authorization", SIGNATURE);
        let response = client.request(request.body(Body::from(body.to_owned())).expect("a request")).await;
        let response = response.expect("a response");
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.expect("a body").to_bytes().to_vec())
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
