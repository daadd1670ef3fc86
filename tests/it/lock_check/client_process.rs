//! A process with one client for each replica, which can be paused and killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::client::{Client, Orders};
use super::history::Event;
use super::process::Process;

/// The name under which this test binary runs the clients.
const ENTRY: &str = "lock_check::client_process::clients_as_a_process";

/// Not a test but the process that [`ClientProcess::start`] starts. It reads orders from standard input, whose end
/// stops the clients, and writes events to standard output.
#[test]
#[ignore = "a part of the other tests, which start it with orders"]
fn clients_as_a_process() {
    let mut input = std::io::stdin().lock();
    let mut line = String::new();
    input.read_line(&mut line).expect("standard input");
    if line.is_empty() {
        return;
    }
    let orders: Vec<Orders> = serde_json::from_str(&line).expect("orders");
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for orders in orders {
            threads.spawn(|| Client::new(orders).run(&stop));
        }
        // Returns even if the test that started this process has died.
        let _ = input.read_to_end(&mut Vec::new());
        stop.store(true, Ordering::SeqCst);
    });
}

/// The events of a run, in the order of arrival.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<Vec<Event>>>);

impl Record {
    pub fn push(&self, event: Event) {
        self.0.lock().expect("the events").push(event);
    }

    /// The events until now.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().expect("the events").clone()
    }

    pub fn grants(&self) -> usize {
        let events = self.0.lock().expect("the events");
        events.iter().filter(|event| matches!(event, Event::Granted { .. })).count()
    }
}

pub struct ClientProcess {
    pub process: Process,
    listener: Option<JoinHandle<()>>,
}

impl ClientProcess {
    pub fn start(orders: &[Orders], record: &Record) -> Self {
        let binary = std::env::current_exe().expect("this binary");
        let mut command = Command::new(binary);
        command.args([ENTRY, "--exact", "--ignored", "--nocapture"]);
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()));
        let output = process.0.stdout.take().expect("its output");
        let record = record.clone();
        let listener = std::thread::spawn(move || listen(output, &record));
        let mut line = serde_json::to_string(orders).expect("orders are JSON");
        line.push('\n');
        process.0.stdin.as_mut().expect("its input").write_all(line.as_bytes()).expect("the process listens");
        Self { process, listener: Some(listener) }
    }

    /// Stops the clients; [`ClientProcess::end`] waits for them.
    pub fn stop(&mut self) {
        drop(self.process.0.stdin.take());
    }

    /// Waits until all events are recorded.
    pub fn end(&mut self) {
        self.stop();
        if let Some(listener) = self.listener.take() {
            listener.join().expect("the listener ends");
        }
        assert!(self.process.0.wait().expect("a status").success(), "a client process failed");
    }

    /// SIGKILL. Earlier events are recorded.
    pub fn kill(&mut self) {
        self.process.kill();
        if let Some(listener) = self.listener.take() {
            listener.join().expect("the listener ends");
        }
    }
}

fn listen(output: ChildStdout, record: &Record) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        // The test harness around the clients writes lines too.
        if let Some(at) = line.find('{') {
            record.push(Event::from_line(&line[at..]));
        }
    }
}
