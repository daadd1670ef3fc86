//! `PostgreSQL`. Every query runs as an unnamed statement in a transaction of its own that only reads, so that it also works
//! behind a pooler that hands out connections by transaction.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::TryStreamExt;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::Semaphore;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Answer, Answers, Listed, SourceError, SourceValue, Wanted};
use crate::clock::UnixMillis;
use crate::features::warming::config::DatabaseConfig;
use crate::features::warming::template::{PartKind, Parts, Template};
use crate::lifecycle::Tasks;

/// The time to connect, and to wait for a connection of the pool.
const CONNECT: Duration = Duration::from_secs(2);
/// How much longer than the server's own limit the service waits for a query.
const GRACE: Duration = Duration::from_secs(1);
/// The most keys of a run.
const ROW_LIMIT: usize = 100_000;
/// The most bytes of one query's rows.
const BYTE_LIMIT: usize = 64 << 20;
/// From 1970-01-01 to 2000-01-01, where `PostgreSQL`'s time begins, milliseconds.
const EPOCH: i64 = 946_684_800_000;
/// How much earlier than the last look changes are read again, milliseconds: a transaction that commits late has an
/// earlier time of change.
const OVERLAP: i64 = 10_000;

/// The connections to the database.
#[derive(Clone, Debug)]
pub(in crate::features::warming) struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: tokio_postgres::Config,
    tls: Option<RootCertStore>,
    statement_timeout: Duration,
    slots: Semaphore,
    idle: Mutex<Vec<Client>>,
    tasks: Tasks,
}

impl Database {
    /// Reads the URL and the certificate authorities. Connects to nothing yet.
    ///
    /// # Errors
    /// A file that cannot be read or used; the text does not contain the URL.
    pub(in crate::features::warming) fn new(config: &DatabaseConfig, tasks: Tasks) -> Result<Self, String> {
        let url = std::fs::read_to_string(&config.url_file).map_err(|error| format!("cannot be read: {error}"))?;
        let url = url.trim().parse::<tokio_postgres::Config>();
        let mut parsed = url.map_err(|_| "must contain a URL such as postgres://user:password@host/name".to_owned())?;
        parsed.application_name("gridtokenx-redis").connect_timeout(CONNECT);
        let is_remote = parsed.get_hosts().iter().any(|host| matches!(host, Host::Tcp(_)));
        let tls = if is_remote && parsed.get_ssl_mode() != SslMode::Disable {
            // An unencrypted connection must be asked for with sslmode=disable.
            parsed.ssl_mode(SslMode::Require);
            Some(roots(&config.ca_file)?)
        } else {
            None
        };
        Ok(Self(Arc::new(Inner {
            config: parsed,
            tls,
            statement_timeout: config.statement_timeout.duration(),
            slots: Semaphore::new(config.pool_size),
            idle: Mutex::default(),
            tasks,
        })))
    }

    async fn connect(&self) -> Result<Client, SourceError> {
        let unreachable = |_| SourceError::temporary("the database cannot be reached");
        let connecting = async {
            match &self.0.tls {
                None => {
                    let (client, connection) = self.0.config.connect(NoTls).await?;
                    self.0.tasks.spawn_connection(async move { _ = connection.await });
                    Ok::<_, tokio_postgres::Error>(client)
                }
                Some(roots) => {
                    let config =
                        rustls::ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
                    let (client, connection) = self.0.config.connect(MakeRustlsConnect::new(config)).await?;
                    self.0.tasks.spawn_connection(async move { _ = connection.await });
                    Ok(client)
                }
            }
        };
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected.map_err(unreachable),
            Err(_) => Err(SourceError::temporary("the database did not accept a connection in time")),
        }
    }

    /// Runs a query. A connection that failed or was given up is closed, never reused.
    async fn rows(&self, sql: &str, arguments: &[Argument]) -> Result<Rows, SourceError> {
        let waiting = tokio::time::timeout(CONNECT, self.0.slots.acquire());
        let Ok(Ok(_slot)) = waiting.await else {
            return Err(SourceError::temporary("all connections to the database are busy"));
        };
        loop {
            let idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let was_idle = idle.is_some();
            let client = match idle {
                Some(client) if client.is_closed() => continue,
                Some(client) => client,
                None => self.connect().await?,
            };
            let limit = self.0.statement_timeout + GRACE;
            let answered = match tokio::time::timeout(limit, self.transaction(&client, sql, arguments)).await {
                Ok(answered) => answered,
                Err(_) => Err(QueryError::Source(SourceError::temporary("the database did not answer in time"))),
            };
            match answered {
                Ok(rows) => {
                    self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
                    return Ok(rows);
                }
                // The server had closed the idle connection.
                Err(QueryError::Database(_)) if was_idle && client.is_closed() => {}
                Err(QueryError::Database(error)) => return Err(explain(&error)),
                Err(QueryError::Source(error)) => return Err(error),
            }
        }
    }

    async fn transaction(&self, client: &Client, sql: &str, arguments: &[Argument]) -> Result<Rows, QueryError> {
        let timeout = self.0.statement_timeout.as_millis();
        client
            .batch_execute(&format!(
                "BEGIN READ ONLY; SET LOCAL statement_timeout = {timeout}; SET LOCAL lock_timeout = {timeout}; \
                 SET LOCAL idle_in_transaction_session_timeout = {}",
                timeout + 1_000
            ))
            .await?;
        let clock = client.query_typed_raw("SELECT (extract(epoch FROM now()) * 1000)::int8", NOTHING).await?;
        let now: Vec<Row> = clock.try_collect().await?;
        let as_of = now.first().and_then(|row| row.try_get::<_, i64>(0).ok());
        let parameters = arguments.iter().map(|argument| (argument, argument.sql_type()));
        let mut stream = pin!(client.query_typed_raw(sql, parameters).await?);
        let (mut rows, mut bytes, mut is_cut) = (Vec::new(), 0_usize, false);
        while let Some(row) = stream.try_next().await? {
            bytes += row.raw_size_bytes();
            if rows.len() == ROW_LIMIT || bytes > BYTE_LIMIT {
                is_cut = true;
                break;
            }
            rows.push(row);
        }
        if is_cut {
            // The rest of the rows is not read: the connection is of no use any more.
            _ = client.cancel_token().cancel_query(NoTls).await;
            return Err(QueryError::Source(SourceError::permanent("the query returns too many rows or bytes")));
        }
        client.batch_execute("COMMIT").await?;
        Ok(Rows { rows, as_of })
    }
}

const NOTHING: [(&Argument, Type); 0] = [];

struct Rows {
    rows: Vec<Row>,
    as_of: Option<UnixMillis>,
}

enum QueryError {
    Database(tokio_postgres::Error),
    Source(SourceError),
}

impl From<tokio_postgres::Error> for QueryError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

fn roots(ca_file: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if ca_file.is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    }
    let unusable = |error| format!("the certificates of ca_file cannot be used: {error}");
    for certificate in CertificateDer::pem_file_iter(ca_file).map_err(unusable)? {
        roots.add_parsable_certificates([certificate.map_err(unusable)?]);
    }
    Ok(roots)
}

/// A failure of the database in the words of callers: the class of its SQLSTATE, not its text, which can contain data.
fn explain(error: &tokio_postgres::Error) -> SourceError {
    let Some(code) = error.code() else {
        return SourceError::temporary("the connection to the database broke");
    };
    tracing::warn!(error = %error, code = code.code(), "a query of a warming source failed");
    let is_temporary = ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.code().starts_with(class));
    let reason = format!("the database refused the query (SQLSTATE {})", code.code());
    SourceError { is_temporary, ..SourceError::temporary(reason) }
}

/// The queries of one source.
#[derive(Debug)]
pub(in crate::features::warming) struct DatabaseSource {
    pub database: Database,
    pub keys: Option<String>,
    pub values: String,
}

impl DatabaseSource {
    pub(super) fn lists_keys(&self) -> bool {
        self.keys.is_some()
    }

    pub(super) fn lists_changes(&self) -> bool {
        self.keys.as_ref().is_some_and(|sql| sql.contains("$1"))
    }

    pub(super) async fn keys(&self, template: &Template, since: Option<UnixMillis>) -> Result<Listed, SourceError> {
        let Some(sql) = &self.keys else { return Ok(Listed::default()) };
        let arguments =
            if self.lists_changes() { vec![Argument::Time(since.map(|at| at - OVERLAP))] } else { Vec::new() };
        let Rows { rows, as_of } = self.database.rows(sql, &arguments).await?;
        let keys: Option<Vec<String>> = rows.iter().map(|row| template.print(&parts(row, template)?)).collect();
        let keys =
            keys.ok_or_else(|| SourceError::permanent("the keys query does not return the parts of the template"))?;
        let is_cut = keys.len() >= ROW_LIMIT;
        Ok(Listed { keys, as_of, is_cut })
    }

    pub(super) async fn values(&self, template: &Template, wanted: &[Wanted]) -> Result<Answers, SourceError> {
        let all: Vec<Parts> = wanted.iter().map(|wanted| template.read(&wanted.key).unwrap_or_default()).collect();
        let column = |name: &str| all.iter().map(|parts| parts.get(name).cloned().unwrap_or_default()).collect();
        let arguments: Vec<Argument> =
            template.parts().map(|part| Argument::Array(part.kind, column(&part.name))).collect();
        let Rows { rows, .. } = self.database.rows(&self.values, &arguments).await?;
        let mut found = std::collections::HashMap::with_capacity(rows.len());
        for row in &rows {
            let key = parts(row, template).and_then(|parts| template.print(&parts));
            let key = key
                .ok_or_else(|| SourceError::permanent("the values query does not return the parts of the template"))?;
            let Ok(Column(body)) = row.try_get("value") else {
                return Err(SourceError::permanent("the values query returns no usable column `value`"));
            };
            if let Some(body) = body {
                let updated = row.try_get::<_, Column>("updated_at").ok().and_then(|Column(text)| text?.parse().ok());
                found.insert(key, SourceValue { body: body.into(), updated, ..SourceValue::default() });
            }
        }
        Ok(wanted.iter().map(|wanted| found.remove(&wanted.key).map_or_else(|| Ok(Answer::Absent), checked)).collect())
    }
}

/// The value of a row, if it is JSON: columns of type text may hold anything.
fn checked(value: SourceValue) -> Result<Answer, SourceError> {
    match serde_json::from_slice::<serde::de::IgnoredAny>(&value.body) {
        Ok(_) => Ok(Answer::Value(value)),
        Err(_) => Err(SourceError::permanent("the value is no JSON")),
    }
}

fn parts(row: &Row, template: &Template) -> Option<Parts> {
    template
        .parts()
        .map(|part| Some((part.name.clone(), row.try_get::<_, Column>(part.name.as_str()).ok()?.0?)))
        .collect()
}

/// An argument of a query, sent with its type.
#[derive(Debug)]
enum Argument {
    /// Unix milliseconds.
    Time(Option<UnixMillis>),
    Array(PartKind, Vec<String>),
}

impl Argument {
    fn sql_type(&self) -> Type {
        match self {
            Self::Time(_) => Type::TIMESTAMPTZ,
            Self::Array(PartKind::Text, _) => Type::TEXT_ARRAY,
            Self::Array(PartKind::Int8, _) => Type::INT8_ARRAY,
            Self::Array(PartKind::Bool, _) => Type::BOOL_ARRAY,
            Self::Array(PartKind::Uuid, _) => Type::UUID_ARRAY,
        }
    }
}

type SqlError = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Argument {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, SqlError> {
        match self {
            Self::Time(None) => Ok(IsNull::Yes),
            Self::Time(Some(at)) => {
                out.put_i64((at - EPOCH).saturating_mul(1_000));
                Ok(IsNull::No)
            }
            Self::Array(PartKind::Text, items) => items.to_sql(ty, out),
            Self::Array(PartKind::Int8, items) => {
                items.iter().map(|text| text.parse()).collect::<Result<Vec<i64>, _>>()?.to_sql(ty, out)
            }
            Self::Array(PartKind::Bool, items) => {
                items.iter().map(|text| text == "true").collect::<Vec<bool>>().to_sql(ty, out)
            }
            Self::Array(PartKind::Uuid, items) => items
                .iter()
                .map(|text| Uuid::parse(text))
                .collect::<Option<Vec<Uuid>>>()
                .ok_or("no uuid")?
                .to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[derive(Debug)]
struct Uuid(u128);

impl Uuid {
    fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(&text.replace('-', ""), 16).ok().map(Self)
    }
}

impl ToSql for Uuid {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, SqlError> {
        out.put_u128(self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }

    to_sql_checked!();
}

/// A column as the text that a key or a value contains; times in Unix milliseconds.
struct Column(Option<String>);

impl<'a> FromSql<'a> for Column {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, SqlError> {
        let text = match *ty {
            Type::UUID => {
                let digits = format!("{:032x}", u128::from_be_bytes(raw.try_into()?));
                let part = |from, to| digits.get(from..to).unwrap_or_default().to_owned();
                [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
            }
            Type::INT8 => i64::from_be_bytes(raw.try_into()?).to_string(),
            Type::INT4 => i32::from_be_bytes(raw.try_into()?).to_string(),
            Type::INT2 => i16::from_be_bytes(raw.try_into()?).to_string(),
            Type::BOOL => (raw.first() == Some(&1)).to_string(),
            Type::TIMESTAMPTZ | Type::TIMESTAMP => (i64::from_be_bytes(raw.try_into()?) / 1_000 + EPOCH).to_string(),
            // The first byte is the version of the format.
            Type::JSONB => std::str::from_utf8(raw.get(1..).unwrap_or_default())?.to_owned(),
            _ => std::str::from_utf8(raw)?.to_owned(),
        };
        Ok(Self(Some(text)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, SqlError> {
        Ok(Self(None))
    }

    fn accepts(ty: &Type) -> bool {
        [
            Type::UUID,
            Type::INT8,
            Type::INT4,
            Type::INT2,
            Type::BOOL,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMP,
            Type::JSONB,
            Type::JSON,
            Type::TEXT,
            Type::VARCHAR,
            Type::BPCHAR,
            Type::NAME,
        ]
        .contains(ty)
    }
}
