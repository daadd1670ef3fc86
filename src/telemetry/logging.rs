//! Logs on standard output: JSON for log collectors, or text for people.
//!
//! A separate thread writes them. If the reader stalls (a full pipe), lines are dropped and counted, and no request waits.

use std::fmt;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::str::FromStr;

use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Directive;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::metrics::{Metrics, Row};
use super::traces::{TraceIds, current_ids};
use crate::config::log::{LogConfig, LogFormat};

/// The most lines that wait for standard output; a few megabytes.
const MAX_QUEUED_LINES: usize = 8_192;

/// The target of the lines that state the addresses of the service, or why it does not start. Like forced actions (`audit`),
/// they are logged at every level, and so are alerts (`alert`).
pub const STARTUP: &str = "startup";

/// Keeps the log writer running. When it is dropped, it writes the queued lines, for at most a second.
#[must_use]
#[derive(Debug)]
pub struct Logging {
    _writer: WorkerGuard,
    dropped: ErrorCounter,
}

/// Installs the subscriber of the process, and logs panics.
///
/// # Errors
/// What is wrong with `log.level`, or that a subscriber is already installed.
pub fn install(config: &LogConfig) -> Result<Logging, String> {
    let level = EnvFilter::try_new(&config.level).map_err(|error| format!("log.level: {error}"))?;
    let mut filter = level;
    for target in ["alert", "audit", STARTUP] {
        let directive = Directive::from_str(&format!("{target}=info")).map_err(|error| error.to_string())?;
        filter = filter.add_directive(directive);
    }
    let (output, writer) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_QUEUED_LINES)
        .thread_name("log")
        .finish(std::io::stdout());
    let dropped = output.error_counter();
    let lines = tracing_subscriber::fmt::layer().with_writer(output);
    let lines = match config.format {
        LogFormat::Json => {
            let inner = format().json().flatten_event(true).with_current_span(false).with_span_list(false);
            lines.json().event_format(Traced { inner, append: append_to_object }).boxed()
        }
        LogFormat::Pretty => {
            let lines = lines.with_ansi(std::io::stdout().is_terminal());
            lines.event_format(Traced { inner: format(), append: append_to_text }).boxed()
        }
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Logging { _writer: writer, dropped })
}

impl Logging {
    /// Adds the number of dropped lines to `metrics`.
    pub fn register(&self, metrics: &Metrics) {
        let dropped = self.dropped.clone();
        let row = Row::counter("log_lines_dropped_total", "Log lines dropped because standard output was not read");
        #[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
        metrics.on_scrape([row], move || Some([dropped.dropped_lines() as f64]));
    }
}

/// A format that adds the ids of the current trace to each line.
struct Traced<F> {
    inner: F,
    append: fn(&mut Writer<'_>, line: &str, ids: TraceIds) -> fmt::Result,
}

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(ids) = current_ids() else { return self.inner.format_event(context, writer, event) };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        (self.append)(&mut writer, line.trim_end(), ids)
    }
}

fn append_to_object(writer: &mut Writer<'_>, line: &str, TraceIds { trace, span }: TraceIds) -> fmt::Result {
    let open = line.strip_suffix('}').unwrap_or(line);
    writeln!(writer, r#"{open},"trace_id":"{trace}","span_id":"{span}"}}"#)
}

fn append_to_text(writer: &mut Writer<'_>, line: &str, TraceIds { trace, span }: TraceIds) -> fmt::Result {
    writeln!(writer, "{line} trace_id={trace} span_id={span}")
}

/// Logs a panic as one line with its location; the default prints several lines to standard error.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let location = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(location, panic = text, thread = thread.name(), "panic");
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_one_line_with_its_location() {
        let output = Output::default();
        let kept = output.clone();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || kept.clone());
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(log_panic));
        tracing::subscriber::with_default(subscriber.finish(), || {
            let _ = std::panic::catch_unwind(|| panic!("two\nlines of {}", "trouble"));
        });
        std::panic::set_hook(before);
        let text = String::from_utf8(output.0.lock().expect("the output").clone()).expect("text");
        let line: serde_json::Value = serde_json::from_str(&text).expect("one line of JSON");
        assert_eq!(line["panic"], "two\nlines of trouble", "{line}");
        assert!(line["location"].as_str().is_some_and(|place| place.contains("logging.rs:")), "{line}");
        assert_eq!(line["level"], "ERROR", "{line}");
    }
}
