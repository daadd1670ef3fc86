//! The negative control: a subscriber of the same Redis channel that does not check the order of offsets.
//!
//! The model must find what it misses; otherwise the faults of the test lose nothing, and the test proves nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::observer::{Observer, Position, Published};

/// Opens a connection to the server to which the subscriber subscribes.
pub type PubSubLink = Box<dyn Fn() -> redis::RedisResult<redis::Connection> + Send>;

/// Records what a plain SUBSCRIBE receives. It subscribes again when its connection is lost, as the service does.
pub struct Recorder(JoinHandle<Vec<Value>>);

impl Recorder {
    pub fn start(link: PubSubLink, channel: String, done: &Arc<AtomicBool>) -> Self {
        let done = Arc::clone(done);
        Self(std::thread::spawn(move || {
            let mut messages = Vec::new();
            while !done.load(Ordering::SeqCst) {
                let _ = record(&link, &channel, &done, &mut messages);
                // The pause of a client before it connects again.
                std::thread::sleep(Duration::from_millis(50));
            }
            messages
        }))
    }

    /// Checks that the model rejects what was recorded in the first epoch, which later faults end.
    pub fn expect_loss(self, published: &Published) {
        let messages = self.0.join().expect("the recorder ends");
        let mut observer = Observer::new("the subscriber without a check".to_owned(), published.start().clone());
        let of_epoch = |message: &&Value| message["epoch"] == published.start().epoch;
        for message in messages.iter().filter(of_epoch) {
            observer.message(Position::of(message), 0);
        }
        assert!(observer.received() > 100, "it recorded {} messages only", observer.received());
        assert!(observer.has_violation(), "the faults of this test lose no message: it proves nothing");
    }
}

/// Records until the connection is lost or `done` is set.
fn record(link: &PubSubLink, channel: &str, done: &AtomicBool, messages: &mut Vec<Value>) -> redis::RedisResult<()> {
    let mut connection = link()?;
    let mut subscribed = connection.as_pubsub();
    subscribed.subscribe(channel)?;
    subscribed.set_read_timeout(Some(Duration::from_millis(100)))?;
    while !done.load(Ordering::SeqCst) {
        match subscribed.get_message() {
            Ok(message) => {
                let text: String = message.get_payload()?;
                messages.push(serde_json::from_str(&text).expect("JSON"));
            }
            Err(error) if error.is_timeout() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
