//! `serve`: the service from start to drain.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::refuse;
use crate::app::{App, Reloader, check_config};
use crate::clock::Clock;
use crate::config::auth::AuthConfig;
use crate::config::log::LogConfig;
use crate::config::redis::RedisConfig;
use crate::config::{Config, env};
use crate::http::server::{self, Worker};
use crate::lifecycle::{self, deadline, exit_code};
use crate::redis::{self, EmbeddedServer, ScriptState};
use crate::telemetry::logging;

/// `file` is where `config` was read from, to be read again on SIGHUP.
pub(super) fn run(config: Config, file: Option<PathBuf>) -> ExitCode {
    if let Err(error) = check_config(&config) {
        return refuse(exit_code::CONFIG, &error);
    }
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(exit_code::FAILURE, &error),
    };
    match runtime.block_on(serve(config, file)) {
        Ok(code) => ExitCode::from(code),
        Err(Refusal { code, reason }) => refuse(code, &reason),
    }
}

/// Why the service does not start, and the exit code that says so.
struct Refusal {
    code: u8,
    reason: String,
}

impl Refusal {
    fn because(code: u8) -> impl Fn(&dyn std::fmt::Display) -> Self {
        move |reason| Self { code, reason: reason.to_string() }
    }
}

async fn serve(config: Config, file: Option<PathBuf>) -> Result<u8, Refusal> {
    let misconfigured = Refusal::because(exit_code::CONFIG);
    let failed = Refusal::because(exit_code::FAILURE);
    let auth: AuthConfig = config.section().map_err(|error| misconfigured(&error))?;
    let log: LogConfig = config.section().map_err(|error| misconfigured(&error))?;
    let logging = logging::install(&log).map_err(|error| misconfigured(&error))?;
    let (config, embedded) = with_private_redis(config).await?;

    let http: crate::config::http::HttpConfig = config.section().map_err(|error| misconfigured(&error))?;
    let workers = http.worker_count();
    let app = App::build(config, Clock::System, workers + 1).map_err(|error| misconfigured(&error))?;
    logging.register(&app.deps.metrics);
    let tasks = app.deps.tasks.clone();
    let signalled = lifecycle::shutdown_signal(&tasks).map_err(|error| failed(&error))?;
    let hangups = lifecycle::hangups().map_err(|error| failed(&error))?;
    let reloader = app.reloader();
    tasks.spawn("config.reload", |stop| follow_file(reloader, file, hangups, stop));
    let listener = server::bind(app.address())
        .map_err(|error| Refusal { code: exit_code::UNAVAILABLE, reason: format!("{}: {error}", app.address()) })?;
    // Port 0 in the configuration means any free one.
    let address = listener.local_addr().map_err(|error| failed(&error))?;
    app.attach();
    refuse_disabled_scripts(&app).await?;

    let drain = CancellationToken::new();
    let mut threads = Vec::new();
    let mut senders = Vec::new();
    for lane in 1..=workers {
        let (sender, receiver) = mpsc::unbounded_channel();
        senders.push(sender);
        threads.push(start_worker(&app, lane, receiver, drain.clone()).map_err(|error| failed(&error))?);
    }
    announce(&app, address, &auth, embedded.is_some());

    let stop_accepting = CancellationToken::new();
    let accepting = server::accept(listener, senders, app.http.max_connections, stop_accepting.clone());
    let mut embedded = embedded;
    let reason = tokio::select! {
        () = accepting => "the listener ended",
        () = signalled.cancelled() => "signal",
        () = tasks.failed() => "a task failed",
        () = ended(&mut embedded) => "the private redis-server ended",
    };
    tracing::info!(reason, "draining");
    app.deps.phase.begin_draining();
    stop_accepting.cancel();
    drain.cancel();
    let begun = Instant::now();
    let limit = app.http.shutdown_deadline.duration();
    let drained = tokio::time::timeout(limit, async {
        for (_, done) in &mut threads {
            // A worker that panicked has dropped its sender: it is done as well.
            let _ = done.await;
        }
        tasks.stop();
        tasks.drained().await;
    });
    let in_time = drained.await.is_ok();
    app.deps.traces.stop(limit.saturating_sub(begun.elapsed())).await;
    if let Some(server) = embedded {
        server.stop().await;
    }
    let clean = in_time && reason == "signal";
    tracing::info!(in_time, "stopped");
    Ok(if clean { exit_code::CLEAN } else { exit_code::FAILURE })
}

/// Reads the configuration again at each SIGHUP, until `stop`; one with a mistake changes nothing.
async fn follow_file(reloader: Reloader, file: Option<PathBuf>, mut hangups: Signal, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = hangups.recv() => {}
        }
        let read = Config::load(file.as_deref(), env::variables());
        match read.and_then(|config| reloader.reload(config)) {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(error) => tracing::error!(%error, "the configuration has a mistake: the former one stays in force"),
        }
    }
}

/// Without an address for Redis, a private server is started and its address entered.
async fn with_private_redis(config: Config) -> Result<(Config, Option<EmbeddedServer>), Refusal> {
    let redis: RedisConfig = config.section().map_err(|error| Refusal::because(exit_code::CONFIG)(&error))?;
    if redis.base().is_named() || (redis.cache.is_some() && redis.state.is_some()) {
        return Ok((config, None));
    }
    let server = EmbeddedServer::start(&redis.embedded)
        .await
        .map_err(|error| Refusal::because(exit_code::UNAVAILABLE)(&error))?;
    let config = config.with_redis_url(server.url());
    Ok((config, Some(server)))
}

async fn ended(server: &mut Option<EmbeddedServer>) {
    match server {
        Some(server) => server.ended().await,
        None => std::future::pending().await,
    }
}

/// A Redis that answers but lets no script run is refused at start; one that is away is waited for later.
async fn refuse_disabled_scripts(app: &App) -> Result<(), Refusal> {
    for redis in app.deps.redis.distinct() {
        redis.settled().await;
        if let ScriptState::Refused(reason) = redis.report().scripts {
            let roles: Vec<&str> = redis.roles().iter().map(|role| role.label()).collect();
            return Err(Refusal {
                code: exit_code::UNAVAILABLE,
                reason: format!("redis ({}): {reason}; locks, limits and series need scripts", roles.join(", ")),
            });
        }
    }
    Ok(())
}

type WorkerThread = (thread::JoinHandle<()>, oneshot::Receiver<()>);

fn start_worker(
    app: &App,
    lane: usize,
    incoming: mpsc::UnboundedReceiver<(std::net::TcpStream, tokio::sync::OwnedSemaphorePermit)>,
    drain: CancellationToken,
) -> std::io::Result<WorkerThread> {
    let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
    let worker = Worker::new(app.router.clone(), &app.http, app.deps.metrics.http.connections.clone(), drain);
    let (redis, tasks) = (app.deps.redis.clone(), app.deps.tasks.clone());
    let (done, is_done) = oneshot::channel();
    let handle = thread::Builder::new().name(format!("worker-{lane}")).spawn(move || {
        redis::enter_lane(lane);
        runtime.block_on(async {
            deadline::start_wheel(&tasks);
            redis.attach(lane, &tasks);
            worker.run(incoming, &tasks).await;
            // The main thread counts the workers that are done; tasks of this runtime run on until they are stopped.
            let _ = done.send(());
            tasks.drained().await;
        });
    })?;
    Ok((handle, is_done))
}

/// Says where everything is, for the person who typed the command.
fn announce(app: &App, address: SocketAddr, auth: &AuthConfig, private: bool) {
    println!("API         http://{address}");
    println!("Swagger UI  http://{address}/swagger-ui/");
    println!("Metrics     http://{address}/metrics");
    println!("Credentials {}", auth.summary());
    for redis in app.deps.redis.distinct() {
        let report = redis.report();
        let roles: Vec<&str> = report.roles.iter().map(|role| role.label()).collect();
        let kind = if private { "private server" } else { report.topology };
        let condition = match &report.version {
            Some(version) if report.modules.is_empty() => format!("{version}, no modules"),
            Some(version) => format!("{version}, {}", report.modules.join(", ")),
            None => "not reached yet".to_owned(),
        };
        println!("Redis       {condition} ({kind}; {})", roles.join(", "));
    }
}
