//! `serve`: runs the service until it is stopped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use prometheus::IntCounter;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Failure, runtime};
use crate::app::{App, Reloaded, Reloader, check_config};
use crate::clock::Clock;
use crate::config::auth::AuthConfig;
use crate::config::log::{LogConfig, LogFormat};
use crate::config::redis::RedisConfig;
use crate::config::{Config, Sources, env};
use crate::http::server::{self, Worker};
use crate::lifecycle::{self, Heartbeats, Supervisor, deadline, exit_code};
use crate::redis::{self, EmbeddedServer, Redis, ScriptState};
use crate::telemetry::logging::{self, Logging};

/// Runs the service; `file` is the configuration file, which SIGHUP reads again.
///
/// The log begins before the configuration is checked, so that the reason not to start is a log line as well. Without a
/// valid `[log]`, it has the form that the environment sets, or the default one.
pub(super) fn run(config: Result<Config, Failure>, file: Option<PathBuf>) -> Result<u8, Failure> {
    let configured = config.as_ref().ok().and_then(|config| config.section::<LogConfig>().ok());
    let log = configured.map_or_else(default_log, Ok)?;
    let logging = logging::install(&log).map_err(Failure::config)?;
    let ended = config.and_then(|config| {
        for warning in &config.sources().warnings {
            tracing::warn!(target: logging::STARTUP, "{warning}");
        }
        check_config(&config).map_err(Failure::config)?;
        let runtime = runtime()?;
        let ended = runtime.block_on(serve(config, file, log.format, &logging));
        // After a second signal, blocking work may still run.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Err(Failure { code, reason }) if log.format == LogFormat::Json => {
            tracing::error!(target: logging::STARTUP, reason, exit_code = code, "the service does not run");
            Ok(code)
        }
        ended => ended,
    }
}

fn default_log() -> Result<LogConfig, Failure> {
    let of_environment = Config::load(None, env::variables()).and_then(|config| config.section());
    of_environment.or_else(|_| Config::load(None, []).and_then(|config| config.section())).map_err(Failure::config)
}

async fn serve(config: Config, file: Option<PathBuf>, format: LogFormat, logging: &Logging) -> Result<u8, Failure> {
    let auth: AuthConfig = config.section().map_err(Failure::config)?;
    let supervisor =
        Supervisor::find(&env::variables()).map_err(|error| Failure::other(format!("NOTIFY_SOCKET: {error}")))?;
    let (config, embedded) = with_private_redis(config).await?;

    let http: crate::config::http::HttpConfig = config.section().map_err(Failure::config)?;
    let workers = http.worker_count();
    let app = App::build(config, Clock::System, workers + 1).map_err(Failure::config)?;
    logging.register(&app.deps.metrics);
    if embedded.is_some() {
        let redis: RedisConfig = app.deps.config.section().map_err(Failure::config)?;
        app.deps.metrics.watch_directory("redis", redis.embedded.data_dir);
    }
    let tasks = app.deps.tasks.clone();
    let shutdown = lifecycle::shutdown_signals(&tasks).map_err(Failure::other)?;
    let hangups = lifecycle::hangups().map_err(Failure::other)?;
    let reloader = app.reloader();
    let reloads = app.deps.metrics.counter("config_reloads_total", "Reads of the configuration on SIGHUP", &["result"]);
    let results = ["applied", "refused"].map(|result| reloads.with_label_values(&[result]));
    tasks.spawn("config.reload", |stop| follow_file(reloader, file, hangups, results, stop));
    let listener =
        server::bind(app.address()).map_err(|error| Failure::unavailable(format!("{}: {error}", app.address())))?;
    // Port 0 in the configuration means any free port.
    let address = listener.local_addr().map_err(Failure::other)?;
    app.attach();
    require_scripts(&app).await?;

    let drain = CancellationToken::new();
    let watched = Watched { supervisor: supervisor.clone(), heartbeats: Heartbeats::new(workers) };
    let mut workers_done = Vec::new();
    let mut senders = Vec::new();
    for lane in 1..=workers {
        let (sender, receiver) = mpsc::unbounded_channel();
        senders.push(sender);
        workers_done.push(start_worker(&app, lane, receiver, drain.clone(), watched.clone()).map_err(Failure::other)?);
    }
    announce(&app, address, &auth, embedded.is_some(), format);
    watched.supervisor.watch(&watched.heartbeats, &tasks);
    supervisor.ready();

    let stop_accepting = CancellationToken::new();
    let accepting = server::accept(listener, senders, app.http.max_connections, stop_accepting.clone());
    let mut embedded = embedded;
    let reason = tokio::select! {
        () = accepting => "the listener ended",
        () = shutdown.requested.cancelled() => "signal",
        () = tasks.failed() => "a task failed",
        () = ended(&mut embedded) => "the private redis-server ended",
    };
    tracing::info!(reason, "draining");
    supervisor.stopping();
    app.deps.phase.begin_draining();
    stop_accepting.cancel();
    drain.cancel();
    let begun = Instant::now();
    let limit = app.http.shutdown_deadline.duration();
    let drained = tokio::time::timeout(limit, async {
        for done in workers_done {
            // A worker that panicked has dropped its sender, which also ends the wait.
            let _ = done.await;
        }
        tasks.stop();
        tasks.drained().await;
    });
    let in_time = tokio::select! {
        drained = drained => drained.is_ok(),
        () = shutdown.forced.cancelled() => false,
    };
    let rest = async {
        app.deps.traces.stop(limit.saturating_sub(begun.elapsed())).await;
        if let Some(server) = embedded {
            server.stop().await;
        }
    };
    tokio::select! {
        () = rest => {}
        // A private server that is not waited for stops by itself.
        () = shutdown.forced.cancelled() => {}
    }
    if shutdown.forced.is_cancelled() {
        tracing::warn!("second signal: stopped without waiting");
    }
    let clean = in_time && reason == "signal";
    tracing::info!(in_time, "stopped");
    Ok(if clean { exit_code::CLEAN } else { exit_code::FAILURE })
}

/// Reads the configuration again at each SIGHUP until `stop`. A configuration with a mistake changes nothing.
async fn follow_file(
    reloader: Reloader,
    file: Option<PathBuf>,
    mut hangups: Signal,
    [applied_count, refused_count]: [IntCounter; 2],
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = hangups.recv() => {}
        }
        let read = Config::load(file.as_deref(), env::variables());
        match read.and_then(|config| reloader.reload(config)) {
            Ok(Reloaded { applied, waiting }) => {
                applied_count.inc();
                tracing::info!(applied = or_none(&applied), "configuration reloaded");
                if !waiting.is_empty() {
                    tracing::warn!(settings = waiting.join(", "), "changed settings need a restart");
                }
            }
            Err(error) => {
                refused_count.inc();
                tracing::error!(%error, "invalid configuration: the previous one stays in effect");
            }
        }
    }
}

/// Starts a private Redis server if the configuration has no address of one.
async fn with_private_redis(config: Config) -> Result<(Config, Option<EmbeddedServer>), Failure> {
    let redis: RedisConfig = config.section().map_err(Failure::config)?;
    if !redis.needs_private_server() {
        return Ok((config, None));
    }
    let server = EmbeddedServer::start(&redis.embedded).await.map_err(Failure::unavailable)?;
    let config = config.with_redis_url(server.url());
    Ok((config, Some(server)))
}

async fn ended(server: &mut Option<EmbeddedServer>) {
    match server {
        Some(server) => server.ended().await,
        None => std::future::pending().await,
    }
}

/// Stops the start if Redis answers but does not run scripts. An unavailable Redis does not stop it.
async fn require_scripts(app: &App) -> Result<(), Failure> {
    for redis in app.deps.redis.distinct() {
        redis.settled().await;
        if let ScriptState::Refused(reason) = redis.report().scripts {
            let roles: Vec<&str> = redis.roles().iter().map(|role| role.label()).collect();
            let roles = roles.join(", ");
            return Err(Failure::unavailable(format!(
                "redis ({roles}): {reason}; locks, rate limits and time series need scripts"
            )));
        }
    }
    Ok(())
}

/// What a supervisor learns of the workers.
#[derive(Clone)]
struct Watched {
    supervisor: Supervisor,
    heartbeats: Heartbeats,
}

/// Starts the thread of a worker. The receiver hears when the worker has drained, or has panicked.
fn start_worker(
    app: &App,
    lane: usize,
    incoming: mpsc::UnboundedReceiver<server::Handover>,
    drain: CancellationToken,
    watched: Watched,
) -> std::io::Result<oneshot::Receiver<()>> {
    let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
    let worker = Worker::new(app.router.clone(), &app.http, app.deps.metrics.http.connections.clone(), drain);
    let (redis, tasks) = (app.deps.redis.clone(), app.deps.tasks.clone());
    let (done, is_done) = oneshot::channel();
    thread::Builder::new().name(format!("worker-{lane}")).spawn(move || {
        redis::enter_lane(lane);
        runtime.block_on(async {
            deadline::start_wheel(&tasks);
            redis.attach(lane, &tasks);
            watched.supervisor.beat(&watched.heartbeats, lane - 1, &tasks);
            worker.run(incoming, &tasks).await;
            // The main thread waits for the workers; background tasks of this runtime run until they are stopped.
            let _ = done.send(());
            tasks.drained().await;
        });
    })?;
    Ok(is_done)
}

/// Tells where the service listens, which Redis it uses and where its settings come from, at every level of the log.
fn announce(app: &App, address: SocketAddr, auth: &AuthConfig, private: bool, format: LogFormat) {
    let api = format!("http://{address}");
    let (swagger_ui, metrics) = (format!("{api}/swagger-ui/"), format!("{api}/metrics"));
    let servers: Vec<String> = app.deps.redis.distinct().map(|redis| described(redis, private)).collect();
    let Sources { files, variables, .. } = app.deps.config.sources();
    let (files, variables) = (or_none(files), or_none(variables));
    match format {
        LogFormat::Json => {
            let (credentials, redis) = (auth.summary(), servers.join("; "));
            tracing::info!(
                target: logging::STARTUP,
                api, swagger_ui, metrics, credentials, redis, config_files = files, variables, "listening",
            );
        }
        LogFormat::Pretty => {
            println!("API         {api}\nSwagger UI  {swagger_ui}\nMetrics     {metrics}");
            println!("Credentials {}\nFiles       {files}\nVariables   {variables}", auth.summary());
            for server in servers {
                println!("Redis       {server}");
            }
        }
    }
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The address without credentials, the version, the modules, the topology and the roles of a Redis.
fn described(redis: &Redis, private: bool) -> String {
    let report = redis.report();
    let roles: Vec<&str> = report.roles.iter().map(|role| role.label()).collect();
    let kind = if private { "private server" } else { report.topology };
    let condition = match &report.version {
        Some(version) if report.modules.is_empty() => format!("{version}, no modules"),
        Some(version) => format!("{version}, {}", report.modules.join(", ")),
        None => "not connected yet".to_owned(),
    };
    format!("{condition} ({kind}; {}) at {}", roles.join(", "), report.address.unwrap_or_default())
}
