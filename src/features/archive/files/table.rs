//! A pack as Parquet, for analyses: a row for each price of each minute, in the version that counts. Nothing here reads it
//! again but to check it: the pack has the same minutes.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, GzipLevel, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{PrimitiveTypeBuilder, Type};

use super::calendar;
use super::error::FileError;
use super::manifest::{Day, Line, MinuteLine, PackLine, counting};
use super::pack::Hashed;
use super::store::{Files, TEMPORARY, sha256};
use crate::clock::UnixMillis;
use crate::random::unique_text;
use crate::tape::{Decimal, Level, Minute, Symbol};

/// The key of the footer under which the SHA-256 of the pack is.
const SOURCE: &str = "gridtokenx.pack.sha256";

/// The rows that are in memory together.
const GROUP: usize = 65_536;

/// The minutes that are in memory together.
const MINUTES: usize = 512;

/// The digits of a decimal, and the bytes that they need.
const PRECISION: u8 = 38;
const WIDTH: i32 = 16;

impl Files {
    /// Writes the table of the last pack of a day, if there is none yet. It is read back.
    ///
    /// # Errors
    /// [`FileError`]; no table counts.
    pub(super) fn ensure_table(
        &self,
        symbol: &Symbol,
        date: UnixMillis,
        now: UnixMillis,
    ) -> std::result::Result<(), FileError> {
        let day = self.day(symbol, date)?;
        let Some(pack) = day.packs.iter().max_by_key(|pack| pack.version).filter(|_| day.deleted_at.is_none()) else {
            return Ok(());
        };
        if day.tables.iter().any(|table| table.version >= pack.version) {
            return Ok(());
        }
        let path = format!("{TEMPORARY}/{now}-{}", unique_text());
        let written = self.fill_table(symbol, &day, pack, &path);
        let placed = written.and_then(|(sha256, bytes)| {
            let name = |version| calendar::table_name(date, version);
            let (version, file) = self.place(symbol, date, &path, &sha256, pack.version, name)?;
            let (minutes, writer) = (day.minutes.len(), self.writer.clone());
            Ok(PackLine { file, version, minutes, bytes, sha256, written_at: now, writer })
        });
        match placed {
            Ok(table) => self.append(symbol, date, &[Line::Table(table)]),
            Err(error) => {
                let _ = self.disk.remove(&path);
                Err(error)
            }
        }
    }

    /// Writes the rows to a temporary file and reads it back. Returns its hash and length.
    fn fill_table(
        &self,
        symbol: &Symbol,
        day: &Day,
        pack: &PackLine,
        path: &str,
    ) -> std::result::Result<(String, u64), FileError> {
        let file = self.disk.create_new(path).map_err(FileError::disk("create", path))?;
        let failed = |error: ParquetError| FileError::disk("write", path)(std::io::Error::other(error));
        let mut table = Table::new(Hashed::new(file), symbol.as_str(), &pack.sha256).map_err(failed)?;
        let lines: Vec<&MinuteLine> = day.minutes.values().filter_map(|versions| counting(versions)).collect();
        for lines in lines.chunks(MINUTES) {
            for (line, trades) in lines.iter().zip(self.minutes(symbol, lines)?) {
                table.add(line, &trades?).map_err(failed)?;
            }
        }
        let (written, rows) = table.finish().map_err(failed)?;
        let (hash, length) = written.finish().map_err(FileError::disk("write", path))?;
        let bytes = self.disk.read(path).map_err(FileError::disk("read", path))?;
        let is_same = sha256(&bytes) == hash;
        if is_same && footer(bytes).is_ok_and(|found| found == (rows, Some(pack.sha256.clone()))) {
            return Ok((hash, length));
        }
        Err(FileError::Damaged { file: path.to_owned(), reason: "it was read back differently".to_owned() })
    }
}

struct Row {
    minute: i64,
    version: i32,
    price: FixedLenByteArray,
    buy: FixedLenByteArray,
    sell: FixedLenByteArray,
    total: FixedLenByteArray,
    trades: i64,
}

/// Writes the rows of a day.
struct Table<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    symbol: ByteArray,
    rows: Vec<Row>,
    count: u64,
}

impl<W: Write + Send> Table<W> {
    /// Begins the table of a pack with this hash.
    fn new(out: W, symbol: &str, pack: &str) -> Result<Self> {
        let decimal = |name: &'static str| {
            let [scale, precision] = [Decimal::SCALE, PRECISION].map(i32::from);
            let kind = Some(LogicalType::decimal(scale, precision));
            let column = field(name, Physical::FIXED_LEN_BYTE_ARRAY).with_logical_type(kind);
            column.with_length(WIDTH).with_precision(precision).with_scale(scale).build()
        };
        let time = Some(LogicalType::timestamp(true, TimeUnit::MILLIS));
        let columns = [
            field("minute", Physical::INT64).with_logical_type(time).build()?,
            field("symbol", Physical::BYTE_ARRAY).with_logical_type(Some(LogicalType::String)).build()?,
            field("version", Physical::INT32).build()?,
            decimal("price")?,
            decimal("buy_volume")?,
            decimal("sell_volume")?,
            decimal("total_volume")?,
            field("trade_count", Physical::INT64).build()?,
        ];
        let schema = Type::group_type_builder("minutes").with_fields(columns.map(Arc::new).to_vec()).build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::GZIP(GzipLevel::default()))
            .set_key_value_metadata(Some(vec![KeyValue::new(SOURCE.to_owned(), pack.to_owned())]))
            .build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        Ok(Self { writer, symbol: ByteArray::from(symbol), rows: Vec::new(), count: 0 })
    }

    /// Adds the prices of a minute. Minutes come in their order.
    fn add(&mut self, line: &MinuteLine, trades: &Minute) -> Result<()> {
        for (price, Level { buy, sell, total, trades }) in &trades.levels.by_price {
            self.rows.push(Row {
                minute: line.minute,
                version: i32::try_from(line.version).unwrap_or(i32::MAX),
                price: number(&price.to_string())?,
                buy: number(&buy.to_string())?,
                sell: number(&sell.to_string())?,
                total: number(&total.to_string())?,
                trades: i64::try_from(*trades).unwrap_or(i64::MAX),
            });
            self.count += 1;
        }
        if self.rows.len() >= GROUP { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        column::<Int64Type, _>(&mut group, rows.iter().map(|row| row.minute))?;
        column::<ByteArrayType, _>(&mut group, rows.iter().map(|_| self.symbol.clone()))?;
        column::<Int32Type, _>(&mut group, rows.iter().map(|row| row.version))?;
        for of in [
            |row: &Row| row.price.clone(),
            |row: &Row| row.buy.clone(),
            |row: &Row| row.sell.clone(),
            |row: &Row| row.total.clone(),
        ] {
            column::<FixedLenByteArrayType, _>(&mut group, rows.iter().map(of))?;
        }
        column::<Int64Type, _>(&mut group, rows.iter().map(|row| row.trades))?;
        group.close().map(|_| ())
    }

    /// Writes the rest and the footer. Returns what the rows were written to, and their number.
    fn finish(mut self) -> Result<(W, u64)> {
        self.flush()?;
        let count = self.count;
        Ok((self.writer.into_inner()?, count))
    }
}

fn field(name: &'static str, physical: Physical) -> PrimitiveTypeBuilder<'static> {
    Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED)
}

fn column<T: parquet::data_type::DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: impl Iterator<Item = T::T>,
) -> Result<()> {
    let values: Vec<T::T> = values.collect();
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    column.typed::<T>().write_batch(&values, None, None)?;
    column.close()
}

/// A number in units of 10^-18, as the big-endian bytes that Parquet stores.
fn number(text: &str) -> Result<FixedLenByteArray> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = usize::from(Decimal::SCALE);
    let units = format!("{sign}{whole}{fraction:0<scale$}").parse::<i128>().ok();
    let units = units.filter(|units| fraction.len() <= scale && units.unsigned_abs() < 10_u128.pow(PRECISION.into()));
    let units = units.ok_or_else(|| ParquetError::General(format!("{text} has too many digits")))?;
    Ok(FixedLenByteArray::from(units.to_be_bytes().to_vec()))
}

/// The number of rows and the hash of the pack in the footer of a table.
fn footer(bytes: Vec<u8>) -> Result<(u64, Option<String>)> {
    let reader = SerializedFileReader::new(Bytes::from(bytes))?;
    let metadata = reader.metadata().file_metadata();
    let source = metadata.key_value_metadata().into_iter().flatten().find(|pair| pair.key == SOURCE);
    let rows = u64::try_from(metadata.num_rows()).unwrap_or_default();
    Ok((rows, source.and_then(|pair| pair.value.clone())))
}
