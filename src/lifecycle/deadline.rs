//! Deadlines by the tick: exact to 4 ms, and next to free.
//!
//! Every request has two deadlines that almost never pass. A runtime's timers are exact to 1 ms and cost a system call
//! each: a timer that is earlier than all others wakes the very thread that sets it (measured: an eight-byte write per
//! request, a tenth of a cached read). A worker therefore has a wheel of its own, turned by one timer as long as anybody
//! waits. Other threads have no wheel, and their deadlines are the runtime's timers.
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
/// A turn of the wheel is about 2 s; later deadlines stay for further turns.
const SLOTS: usize = 1_024;
/// The wheel goes on turning for a while after the last deadline, since the next one is likely to come.
const IDLE_TICKS: u32 = 10;

thread_local! {
    static WHEEL: RefCell<Option<Arc<Wheel>>> = const { RefCell::new(None) };
}

/// Gives this thread a wheel, turned on its runtime.
pub fn start_wheel(tasks: &Tasks) {
    let wheel = Arc::new(Wheel::new());
    WHEEL.set(Some(Arc::clone(&wheel)));
    tasks.spawn("deadlines", |stop| async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = wheel.turn_for_ever() => {}
        }
        // Whoever waits from now on has the runtime's timers again.
        WHEEL.set(None);
    });
}

/// Resolves at `at` or up to two ticks later.
pub fn deadline(at: Instant) -> Deadline {
    Deadline { at, state: State::New }
}

/// Runs `future` until `at`; `None` when it was not done by then.
pub async fn until<F: Future>(at: Instant, future: F) -> Option<F::Output> {
    Until { future, deadline: deadline(at) }.await
}

pin_project! {
    struct Until<F> {
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
                    let ticket = wheel.enter(self.at, cx.waker());
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
            wheel.leave(*ticket);
        }
    }
}

/// A place in the wheel and the visit that it belongs to: places are used again.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    place: usize,
    visit: u64,
}

#[derive(Debug)]
struct Wheel {
    started: Instant,
    inner: Mutex<Inner>,
    entered: Notify,
}

#[derive(Debug)]
struct Inner {
    /// The next tick to be served.
    tick: u64,
    /// Whether somebody turns the wheel.
    turning: bool,
    slots: Vec<Vec<(Ticket, u64)>>,
    places: Vec<Place>,
    free: Vec<usize>,
    visits: u64,
}

#[derive(Debug)]
struct Place {
    visit: u64,
    /// Gone once the deadline has passed.
    waker: Option<Waker>,
}

impl Wheel {
    fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        let inner = Inner { tick: 0, turning: false, slots, places: Vec::new(), free: Vec::new(), visits: 0 };
        Self { started: Instant::now(), inner: Mutex::new(inner), entered: Notify::new() }
    }

    fn enter(&self, at: Instant, waker: &Waker) -> Ticket {
        let mut inner = self.lock();
        if !inner.turning {
            // Nobody waited: the ticks since then need no service.
            inner.tick = ticks(self.started.elapsed());
        }
        // Rounded up, so that a deadline never passes early.
        let due = (ticks(at.saturating_duration_since(self.started)) + 1).max(inner.tick);
        inner.visits += 1;
        let place = Place { visit: inner.visits, waker: Some(waker.clone()) };
        let ticket = Ticket { place: inner.free.pop().unwrap_or(inner.places.len()), visit: inner.visits };
        match inner.places.get_mut(ticket.place) {
            Some(old) => *old = place,
            None => inner.places.push(place),
        }
        if let Some(slot) = inner.slot(due) {
            slot.push((ticket, due));
        }
        if !inner.turning {
            inner.turning = true;
            self.entered.notify_one();
        }
        ticket
    }

    fn poll(&self, ticket: Ticket, waker: &Waker) -> Poll<()> {
        let mut inner = self.lock();
        match inner.places.get_mut(ticket.place).map(|place| &mut place.waker) {
            Some(Some(known)) => {
                known.clone_from(waker);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    fn leave(&self, ticket: Ticket) {
        let mut inner = self.lock();
        if let Some(place) = inner.places.get_mut(ticket.place) {
            // The slot still names the visit; it is dropped when its tick comes.
            *place = Place { visit: 0, waker: None };
            inner.free.push(ticket.place);
        }
    }

    async fn turn_for_ever(&self) {
        // Aligned to the ticks, so that a deadline passes little later than its tick.
        let mut ticks = tokio::time::interval_at(self.started.into(), TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            self.entered.notified().await;
            let mut idle = 0;
            while idle < IDLE_TICKS {
                ticks.tick().await;
                idle = if self.turn() { 0 } else { idle + 1 };
            }
            let mut inner = self.lock();
            inner.turning = inner.free.len() < inner.places.len();
            if inner.turning {
                // Somebody came in at the last moment.
                self.entered.notify_one();
            }
        }
    }

    /// Wakes everybody whose tick has come; whether anybody still waits.
    fn turn(&self) -> bool {
        let now = ticks(self.started.elapsed());
        let mut inner = self.lock();
        while inner.tick <= now {
            let tick = inner.tick;
            let mut due = inner.slot(tick).map(std::mem::take).unwrap_or_default();
            due.retain(|(ticket, at)| {
                let Some(place) = inner.places.get_mut(ticket.place).filter(|place| place.visit == ticket.visit) else {
                    return false;
                };
                if *at > tick {
                    return true;
                }
                if let Some(waker) = place.waker.take() {
                    waker.wake();
                }
                false
            });
            if let Some(slot) = inner.slot(tick) {
                *slot = due;
            }
            inner.tick += 1;
        }
        inner.free.len() < inner.places.len()
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

/// Whole ticks in a time.
fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX)
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
        assert_eq!((inner.places.len(), inner.free.len()), (1, 1), "one place, used again and again");
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
