//! A minimal OpenTelemetry collector: accepts OTLP over HTTP/1.1 and keeps the spans.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const ACCEPTED: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

/// A received span, with the attributes of the service that sent it.
#[derive(Clone, Debug)]
pub struct Received {
    pub resource: HashMap<String, String>,
    pub attributes: HashMap<String, String>,
    pub span: Span,
}

pub struct Collector {
    address: SocketAddr,
    scheme: &'static str,
    spans: Arc<Mutex<Vec<Received>>>,
}

impl Collector {
    /// Accepts all spans.
    pub fn start() -> Self {
        Self::responding(ACCEPTED, None)
    }

    /// Accepts all spans over TLS; also returns the certificate to trust, as PEM.
    pub fn start_tls() -> (Self, String) {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocols")
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .expect("a matching key");
        (Self::responding(ACCEPTED, Some(Arc::new(config))), certified.cert.pem())
    }

    /// Accepts connections and never responds.
    pub fn stalled() -> Self {
        Self::responding("", None)
    }

    fn responding(response: &'static str, tls: Option<Arc<ServerConfig>>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let spans: Arc<Mutex<Vec<Received>>> = Arc::default();
        let kept = Arc::clone(&spans);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for connection in listener.incoming() {
                let connection = connection.expect("a connection");
                let mut connection: Box<dyn Connection> = match &tls {
                    Some(config) => {
                        let session = ServerConnection::new(Arc::clone(config)).expect("a session");
                        Box::new(StreamOwned::new(session, connection))
                    }
                    None => Box::new(connection),
                };
                if let Some(request) = read_post(connection.as_mut()) {
                    kept.lock().expect("the spans").extend(received(request));
                    let _ = connection.write_all(response.as_bytes());
                }
                // A stalled collector keeps its connections.
                if response.is_empty() {
                    open.push(connection);
                }
            }
        });
        Self { address, scheme, spans }
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub fn spans(&self) -> Vec<Received> {
        self.spans.lock().expect("the spans").clone()
    }

    /// The spans of a trace, by its id in hexadecimal.
    pub fn trace(&self, id: &str) -> Vec<Received> {
        self.spans().into_iter().filter(|received| hex(&received.span.trace_id) == id).collect()
    }
}

trait Connection: Read + Write + Send {}

impl Connection for TcpStream {}
impl Connection for StreamOwned<ServerConnection, TcpStream> {}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The body of one `POST /v1/traces`; `None` if the connection ends before it is complete.
fn read_post(connection: &mut dyn Connection) -> Option<ExportTraceServiceRequest> {
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    reader.read_exact(&mut body).ok()?;
    Some(ExportTraceServiceRequest::decode(body.as_slice()).expect("an OTLP request"))
}

fn received(request: ExportTraceServiceRequest) -> Vec<Received> {
    let mut all = Vec::new();
    for group in request.resource_spans {
        let resource = attributes(&group.resource.expect("a resource").attributes);
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            all.push(Received { resource: resource.clone(), attributes: attributes(&span.attributes), span });
        }
    }
    all
}

fn attributes(pairs: &[KeyValue]) -> HashMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{}: {other:?}", pair.key),
    };
    pairs.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}
