//! One function per script; the script's header is its contract.
//!
//! Every reply is a list of words: a status and what belongs to it. [`BookService::call`](super::service) handles the
//! statuses that all scripts share.

use super::keys::BookKeys;
use super::rules::Rules;
use crate::lua_scripts;
use crate::redis::{BadReply, Binding, Fence, Key, LuaScript, ScriptCall};

lua_scripts! {
    SETTINGS = "orderbook/settings.lua";
    DELETE = "orderbook/delete.lua";
    PLACE = "orderbook/place.lua" after "orderbook/book.lua";
    FIND = "orderbook/find.lua" after "orderbook/book.lua";
    CANCEL = "orderbook/cancel.lua" after "orderbook/book.lua";
    VIEW = "orderbook/view.lua" after "orderbook/book.lua";
    SWEEP = "orderbook/sweep.lua" after "orderbook/book.lua";
    PAGE = "orderbook/page.lua" after "orderbook/book.lua";
    AMEND = "orderbook/amend.lua" after "orderbook/book.lua";
    FILLS = "orderbook/fills.lua" after "orderbook/book.lua";
    CANCEL_OWNER = "orderbook/cancel_owner.lua" after "orderbook/book.lua";
    CHANGES = "orderbook/changes.lua" after "orderbook/book.lua";
    REPLACE = "orderbook/replace.lua" after "orderbook/book.lua";
}

/// The reply of a script of a book.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub status: String,
    pub words: Vec<String>,
}

impl Reply {
    /// The word at a position; empty if the script sent fewer.
    pub(super) fn word(&self, at: usize) -> &str {
        self.words.get(at).map(String::as_str).unwrap_or_default()
    }

    /// The number at a position; 0 if there is none.
    pub(super) fn number<T: std::str::FromStr + Default>(&self, at: usize) -> T {
        self.word(at).parse().unwrap_or_default()
    }
}

pub(super) type BookCall = ScriptCall<Vec<String>, Reply>;

/// A book as a script call names it.
pub(super) struct Target<'a> {
    pub keys: &'a BookKeys<'a>,
    pub rules: &'a Rules,
    /// The clock argument.
    pub now: &'a str,
    /// How long the book is kept, milliseconds.
    pub life: u64,
    pub fence: Option<&'a Fence>,
}

impl Target<'_> {
    fn call(&self, script: &'static LuaScript, more: &[Key]) -> Binding {
        let keys = [self.keys.book().as_slice(), more].concat();
        self.with_book(script.guarded_write(self.fence, &keys.iter().collect::<Vec<_>>()))
    }

    /// A call that changes nothing but to end what has expired: if it fails, nothing of the request was applied.
    fn read(&self, script: &'static LuaScript, more: &[Key]) -> Binding {
        let keys = [self.keys.book().as_slice(), more].concat();
        self.with_book(script.read(&keys.iter().collect::<Vec<_>>()))
    }

    fn with_book(&self, call: Binding) -> Binding {
        call.arg(self.now).arg(self.keys.first_hour).arg(self.life).arg(self.rules.text()).arg(self.keys.moved())
    }
}

fn reply(words: Vec<String>) -> Result<Reply, BadReply> {
    let mut words = words.into_iter();
    let status = words.next().ok_or_else(|| BadReply::new("nothing"))?;
    Ok(Reply { status, words: words.collect() })
}

/// 30 digits, as scripts add them.
pub(super) fn thirty_digits(units: i128) -> String {
    format!("{units:030}")
}

pub(super) fn settings(
    keys: &BookKeys<'_>,
    fence: Option<&Fence>,
    now: &str,
    rules: &Rules,
    create_only: bool,
    life: u64,
) -> BookCall {
    let book = keys.book();
    SETTINGS
        .guarded_write(fence, &book.iter().collect::<Vec<_>>())
        .arg(now)
        .arg(rules.text())
        .arg(u8::from(create_only))
        .arg(life)
        .returns(reply)
}

pub(super) fn delete(keys: &BookKeys<'_>, fence: Option<&Fence>) -> ScriptCall<i64, ()> {
    let all = keys.all();
    DELETE.guarded_write(fence, &all.iter().collect::<Vec<_>>()).returns(|_| Ok(()))
}

/// An order on its way to Redis.
pub(super) struct Placement<'a> {
    pub id: &'a str,
    pub side: &'a str,
    pub ticks: i64,
    pub quantity: i128,
    /// Escaped.
    pub owner: String,
    pub owner_key: Key,
    pub expires_at: Option<u64>,
    /// Lives in milliseconds.
    pub default_life: u64,
    pub longest_life: u64,
    /// The digest of the request and [`super::record::rest`].
    pub content: String,
    pub max_orders: usize,
    pub max_own: usize,
}

impl Placement<'_> {
    fn expiry(&self) -> String {
        self.expires_at.map(|at| at.to_string()).unwrap_or_default()
    }
}

pub(super) fn place(target: &Target<'_>, order: Placement<'_>) -> BookCall {
    let expiry = order.expiry();
    target
        .call(&PLACE, &[order.owner_key, target.keys.staged_orders()])
        .arg(order.id)
        .arg(order.side)
        .arg(order.ticks)
        .arg(thirty_digits(order.quantity))
        .arg(order.owner)
        .arg(expiry)
        .arg(order.default_life)
        .arg(order.longest_life)
        .arg(order.content)
        .arg(order.max_orders)
        .arg(order.max_own)
        .returns(reply)
}

pub(super) fn find(target: &Target<'_>, id: &str) -> BookCall {
    target.read(&FIND, &[]).arg(id).returns(reply)
}

/// `owner` is escaped; empty: any.
pub(super) fn cancel(target: &Target<'_>, id: &str, owner: &str) -> BookCall {
    target.call(&CANCEL, &[]).arg(id).arg(owner).returns(reply)
}

pub(super) fn view(target: &Target<'_>, depth: usize) -> BookCall {
    target.read(&VIEW, &[]).arg(depth).returns(reply)
}

pub(super) fn sweep(target: &Target<'_>) -> BookCall {
    target.call(&SWEEP, &[]).returns(reply)
}

/// A page of orders to read.
pub(super) struct PageRequest<'a> {
    /// `b`, `s` or `owner`.
    pub list: &'a str,
    /// Escaped; empty for the list of a side.
    pub owner: &'a str,
    pub owner_key: Key,
    /// Score and sequence of the last order before the page; empty: from the start.
    pub score: &'a str,
    pub sequence: &'a str,
    pub limit: usize,
    /// Only this side of an owner's orders; empty: both.
    pub side: &'a str,
}

pub(super) fn page(target: &Target<'_>, page: PageRequest<'_>) -> BookCall {
    target
        .read(&PAGE, &[page.owner_key])
        .arg(page.list)
        .arg(page.owner)
        .arg(page.score)
        .arg(page.sequence)
        .arg(page.limit)
        .arg(page.side)
        .returns(reply)
}

/// What an amendment changes; `None`: nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amendment<'a> {
    pub id: &'a str,
    /// Escaped; empty: any.
    pub owner: &'a str,
    pub ticks: Option<i64>,
    /// The whole quantity.
    pub quantity: Option<i128>,
    pub expires_at: Option<u64>,
    pub longest_life: u64,
    /// Sequence and revision that the order must have.
    pub version: Option<(u64, u64)>,
}

pub(super) fn amend(target: &Target<'_>, amendment: &Amendment<'_>) -> BookCall {
    fn text(number: Option<impl ToString>) -> String {
        number.map(|number| number.to_string()).unwrap_or_default()
    }
    target
        .call(&AMEND, &[])
        .arg(amendment.id)
        .arg(amendment.owner)
        .arg(text(amendment.ticks))
        .arg(amendment.quantity.map(thirty_digits).unwrap_or_default())
        .arg(text(amendment.expires_at))
        .arg(amendment.longest_life)
        .arg(amendment.version.map(|(sequence, revision)| format!("{sequence} {revision}")).unwrap_or_default())
        .returns(reply)
}

/// A fill on its way to Redis.
#[derive(Debug)]
pub(super) struct FillCall<'a> {
    pub trade: &'a str,
    pub buy: &'a str,
    pub sell: &'a str,
    pub ticks: i64,
    pub quantity: i128,
    /// As printed.
    pub price_text: String,
    pub quantity_text: String,
    /// `buy`, `sell` or empty.
    pub taker: &'static str,
    pub timestamp: Option<u64>,
    pub digest: String,
}

/// With `most`, no fill is applied once the window of trades has so many minutes.
pub(super) fn fills(target: &Target<'_>, fills: &[FillCall<'_>], most: Option<u64>) -> BookCall {
    let mut more = target.keys.fills();
    more.extend([target.keys.tape(), target.keys.window()]);
    let call = target.call(&FILLS, &more).arg(most.map(|most| most.to_string()).unwrap_or_default());
    let call = fills.iter().fold(call, |call, fill| {
        call.arg(fill.trade)
            .arg(fill.buy)
            .arg(fill.sell)
            .arg(fill.ticks)
            .arg(thirty_digits(fill.quantity))
            .arg(&fill.price_text)
            .arg(&fill.quantity_text)
            .arg(fill.taker)
            .arg(fill.timestamp.map(|at| at.to_string()).unwrap_or_default())
            .arg(&fill.digest)
    });
    call.returns(reply)
}

/// `owner` is escaped; `side` is a letter, or empty for both.
pub(super) fn cancel_owner(target: &Target<'_>, owner_key: Key, owner: &str, side: &str) -> BookCall {
    target.call(&CANCEL_OWNER, &[owner_key, target.keys.staged_orders()]).arg(owner).arg(side).returns(reply)
}

pub(super) fn changes(target: &Target<'_>, after: u64, limit: usize, for_events: bool) -> BookCall {
    target.read(&CHANGES, &[]).arg(after).arg(limit).arg(u8::from(for_events)).returns(reply)
}

/// A part of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct SnapshotPart<'a> {
    /// Names the snapshot.
    pub name: &'a str,
    /// The levels or orders of the parts before.
    pub before: usize,
    pub is_last: bool,
    pub as_of: Option<u64>,
    pub source: Option<u64>,
}

impl SnapshotPart<'_> {
    fn call(&self, target: &Target<'_>, owners: Vec<Key>, limits: [u64; 3]) -> Binding {
        let text = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let keys = [target.keys.staged(), owners].concat();
        let call = target.call(&REPLACE, &keys).arg(self.name).arg(self.before).arg(u8::from(self.is_last));
        let call = call.arg(text(self.as_of)).arg(text(self.source));
        limits.into_iter().fold(call, Binding::arg)
    }
}

/// Each level is `<b|s><ticks>` and `<quantity> <orders>`.
pub(super) fn replace_levels(target: &Target<'_>, part: SnapshotPart<'_>, levels: &[(String, String)]) -> BookCall {
    let call = part.call(target, Vec::new(), [0; 3]);
    levels.iter().fold(call, |call, (name, total)| call.arg(name).arg(total)).returns(reply)
}

/// `orders` share their limits.
pub(super) fn replace_orders(target: &Target<'_>, part: SnapshotPart<'_>, orders: &[Placement<'_>]) -> BookCall {
    let mut owners: Vec<&Key> = orders.iter().map(|order| &order.owner_key).collect();
    owners.sort_unstable();
    owners.dedup();
    let limits = orders.first().map_or([0; 3], |order| {
        [order.default_life, order.longest_life, u64::try_from(order.max_own).unwrap_or(u64::MAX)]
    });
    let call = part.call(target, owners.iter().copied().cloned().collect(), limits);
    let call = orders.iter().fold(call, |call, order| {
        // From 1, as in Lua.
        let owner = owners.partition_point(|key| **key < order.owner_key) + 1;
        let call = call.arg(order.id).arg(order.side).arg(order.ticks).arg(thirty_digits(order.quantity));
        call.arg(&order.owner).arg(owner).arg(order.expiry()).arg(&order.content)
    });
    call.returns(reply)
}
