//! Deadlines with a resolution of 4 ms that cost almost nothing.
//!
//! Every request has two deadlines that almost never pass. The runtime's timers are exact to 1 ms and cost a system call
//! each: a timer that is due before all others wakes the very thread that sets it (measured: an eight-byte write per
//! request, a tenth of a cached read). Each worker therefore has a timing wheel, which one timer turns while deadlines
//! are set. Other threads have no wheel, and their deadlines use the runtime's timers.
//!
//! Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987 (scheme 6, with lazy removal).

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::Tasks;

const TICK: Duration = Duration::from_millis(2);
/// One turn of the wheel takes about 2 s; a later deadline stays in its slot for further turns.
const SLOTS: usize = 1_024;
/// How long the wheel keeps turning without deadlines, since the next one is likely to come soon.
const IDLE_TICKS: u32 = 10;

thread_local! {
    static WHEEL: RefCell<Option<Arc<Wheel>>> = const { RefCell::new(None) };
}

/// Gives this thread a wheel, turned on its runtime.
pub fn start_wheel(tasks: &Tasks) {
    let wheel = Arc::new(Wheel::new());
    WHEEL.set(Some(Arc::clone(&wheel)));
    tasks.spawn_last("deadlines", |stop| async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = wheel.run() => {}
        }
        // Deadlines that are set after this use the runtime's timers.
        WHEEL.set(None);
    });
}

/// A future that resolves at `at` or up to two ticks later.
pub fn deadline(at: Instant) -> Deadline {
    Deadline { at, state: State::New }
}

/// Runs `future` until `at`; `None` if it has not finished by then.
///
/// Not an `async fn`, whose future would hold `future` twice: as its argument and while it runs.
pub fn until<F: Future>(at: Instant, future: F) -> Until<F> {
    Until { future, deadline: deadline(at) }
}

pin_project! {
    /// The future of [`until`].
    #[derive(Debug)]
    pub struct Until<F> {
        #[pin]
        future: F,
        deadline: Deadline,
    }
}

impl<F: Future> Future for Until<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Pin::new(this.deadline).poll(cx).map(|()| None),
        }
    }
}

/// See [`deadline`].
#[derive(Debug)]
pub struct Deadline {
    at: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    New,
    OnWheel { wheel: Arc<Wheel>, ticket: Ticket },
    OnTimer(Pin<Box<tokio::time::Sleep>>),
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let State::New = self.state {
            let wheel = WHEEL.with_borrow(Clone::clone);
            self.state = match wheel {
                Some(wheel) => {
                    let ticket = wheel.add(self.at, cx.waker());
                    State::OnWheel { wheel, ticket }
                }
                None => State::OnTimer(Box::pin(tokio::time::sleep_until(self.at.into()))),
            };
            if let State::OnWheel { .. } = self.state {
                return Poll::Pending;
            }
        }
        match &mut self.state {
            State::OnWheel { wheel, ticket } => wheel.poll(*ticket, cx.waker()),
            State::OnTimer(timer) => timer.as_mut().poll(cx),
            State::New => Poll::Pending,
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let State::OnWheel { wheel, ticket } = &self.state {
            wheel.remove(*ticket);
        }
    }
}

/// An entry of the wheel, and the number that tells its deadline from earlier ones, since entries are reused.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    entry: usize,
    number: u64,
}

#[derive(Debug)]
struct Wheel {
    started: Instant,
    inner: Mutex<Inner>,
    added: Notify,
}

#[derive(Debug)]
struct Inner {
    /// The next tick to process.
    tick: u64,
    /// Whether the wheel is turning.
    turning: bool,
    slots: Vec<Vec<(Ticket, u64)>>,
    entries: Vec<Entry>,
    free: Vec<usize>,
    /// How many deadlines there have been.
    count: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// Taken when the deadline has passed.
    waker: Option<Waker>,
}

impl Wheel {
    fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        let inner = Inner { tick: 0, turning: false, slots, entries: Vec::new(), free: Vec::new(), count: 0 };
        Self { started: Instant::now(), inner: Mutex::new(inner), added: Notify::new() }
    }

    fn add(&self, at: Instant, waker: &Waker) -> Ticket {
        let mut inner = self.lock();
        if !inner.turning {
            // No deadline was set: the ticks since then have nothing to process.
            inner.tick = ticks(self.started.elapsed());
        }
        // Rounded up, so that a deadline never passes early.
        let due = (ticks(at.saturating_duration_since(self.started)) + 1).max(inner.tick);
        inner.count += 1;
        let entry = Entry { number: inner.count, waker: Some(waker.clone()) };
        let ticket = Ticket { entry: inner.free.pop().unwrap_or(inner.entries.len()), number: inner.count };
        match inner.entries.get_mut(ticket.entry) {
            Some(old) => *old = entry,
            None => inner.entries.push(entry),
        }
        if let Some(slot) = inner.slot(due) {
            slot.push((ticket, due));
        }
        if !inner.turning {
            inner.turning = true;
            self.added.notify_one();
        }
        ticket
    }

    fn poll(&self, ticket: Ticket, waker: &Waker) -> Poll<()> {
        let mut inner = self.lock();
        match inner.entries.get_mut(ticket.entry).map(|entry| &mut entry.waker) {
            Some(Some(known)) => {
                known.clone_from(waker);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    fn remove(&self, ticket: Ticket) {
        let mut inner = self.lock();
        if let Some(entry) = inner.entries.get_mut(ticket.entry) {
            // The slot still names the deadline; it is removed when its tick comes.
            *entry = Entry { number: 0, waker: None };
            inner.free.push(ticket.entry);
        }
    }

    async fn run(&self) {
        // Aligned to the ticks, so that a deadline passes shortly after its tick.
        let mut ticks = tokio::time::interval_at(self.started.into(), TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            self.added.notified().await;
            let mut idle = 0;
            while idle < IDLE_TICKS {
                ticks.tick().await;
                idle = if self.turn() { 0 } else { idle + 1 };
            }
            let mut inner = self.lock();
            inner.turning = inner.free.len() < inner.entries.len();
            if inner.turning {
                // A deadline was set at the last moment.
                self.added.notify_one();
            }
        }
    }

    /// Wakes the tasks whose deadlines have passed and returns whether deadlines are left.
    fn turn(&self) -> bool {
        let now = ticks(self.started.elapsed());
        let mut inner = self.lock();
        while inner.tick <= now {
            let tick = inner.tick;
            let mut due = inner.slot(tick).map(std::mem::take).unwrap_or_default();
            due.retain(|(ticket, at)| {
                let Some(entry) = inner.entries.get_mut(ticket.entry).filter(|entry| entry.number == ticket.number)
                else {
                    return false;
                };
                if *at > tick {
                    return true;
                }
                if let Some(waker) = entry.waker.take() {
                    waker.wake();
                }
                false
            });
            if let Some(slot) = inner.slot(tick) {
                *slot = due;
            }
            inner.tick += 1;
        }
        inner.free.len() < inner.entries.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn slot(&mut self, tick: u64) -> Option<&mut Vec<(Ticket, u64)>> {
        let at = usize::try_from(tick % SLOTS as u64).ok()?;
        self.slots.get_mut(at)
    }
}

/// The whole ticks in a time.
fn ticks(time: Duration) -> u64 {
    const PER_SECOND: u64 = 1_000_000_000 / NANOS;
    const NANOS: u64 = TICK.subsec_nanos() as u64;
    time.as_secs().saturating_mul(PER_SECOND).saturating_add(u64::from(time.subsec_nanos()) / NANOS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn on_wheel() -> Tasks {
        let tasks = Tasks::new(Clock::System);
        start_wheel(&tasks);
        tasks
    }

    #[tokio::test]
    async fn deadlines_pass_in_time_and_never_early() {
        let _tasks = on_wheel();
        for wait in [0, 1, 2, 3, 20, 150] {
            let (wait, begun) = (Duration::from_millis(wait), Instant::now());
            deadline(begun + wait).await;
            assert!(begun.elapsed() >= wait, "{wait:?}: {:?}", begun.elapsed());
        }
    }

    #[tokio::test]
    async fn a_future_that_is_done_leaves_its_deadline_behind() {
        let _tasks = on_wheel();
        let far = Instant::now() + Duration::from_secs(600);
        for round in 0..10_000 {
            assert_eq!(until(far, std::future::ready(round)).await, Some(round));
            let yielding = async {
                tokio::task::yield_now().await;
                round
            };
            assert_eq!(until(far, yielding).await, Some(round));
        }
        let wheel = WHEEL.with_borrow(Clone::clone).expect("a wheel");
        let inner = wheel.lock();
        assert_eq!((inner.entries.len(), inner.free.len()), (1, 1), "one place, used again and again");
    }

    #[tokio::test]
    async fn the_wheel_starts_again_after_a_rest() {
        let _tasks = on_wheel();
        let wheel = WHEEL.with_borrow(Clone::clone).expect("a wheel");
        deadline(Instant::now() + Duration::from_millis(5)).await;
        while wheel.lock().turning {
            tokio::task::yield_now().await;
        }
        assert_eq!(until(Instant::now() + Duration::from_millis(5), std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn many_deadlines_pass_in_their_order() {
        let _tasks = on_wheel();
        let begun = Instant::now();
        let waits = (0..200_u64).map(|n| async move {
            let wait = Duration::from_millis(n % 10 * 40);
            deadline(begun + wait).await;
            (wait, begun.elapsed())
        });
        for (wait, took) in futures_util::future::join_all(waits).await {
            assert!(took >= wait && took < wait + Duration::from_secs(5), "{wait:?}: {took:?}");
        }
    }

    #[tokio::test]
    async fn without_a_wheel_the_runtimes_timers_serve() {
        assert_eq!(until(Instant::now() + Duration::from_millis(1), std::future::pending::<()>()).await, None);
    }
}
