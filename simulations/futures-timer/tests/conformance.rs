//! The shim does what the original does, as far as libp2p relies on it. Against real clocks, for upstream
//! knows no other.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Far longer than the tests wait.
const LONG: Duration = Duration::from_secs(3_600);

const SHORT: Duration = Duration::from_millis(30);

/// What a delay must be able to do.
trait Timer: Future<Output = ()> + Unpin {
    fn new(duration: Duration) -> Self;
    fn reset(&mut self, duration: Duration);
}

impl Timer for futures_timer::Delay {
    fn new(duration: Duration) -> Self {
        Self::new(duration)
    }

    fn reset(&mut self, duration: Duration) {
        self.reset(duration);
    }
}

impl Timer for upstream_timer::Delay {
    fn new(duration: Duration) -> Self {
        Self::new(duration)
    }

    fn reset(&mut self, duration: Duration) {
        self.reset(duration);
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<T: Timer>(timer: &mut T, wakes: &Arc<Wakes>) -> Poll<()> {
    let waker = Waker::from(wakes.clone());
    Pin::new(timer).poll(&mut Context::from_waker(&waker))
}

async fn count(wakes: &Arc<Wakes>, wanted: usize) {
    let begin = Instant::now();
    while wakes.0.load(Ordering::SeqCst) < wanted && begin.elapsed() < Duration::from_secs(5) {
        tokio::task::yield_now().await;
    }
    assert_eq!(wakes.0.load(Ordering::SeqCst), wanted);
}

async fn behaves<T: Timer>() {
    // It is not ready before its time, wakes once, and stays ready.
    let wakes = Arc::new(Wakes::default());
    let begin = Instant::now();
    let mut timer = T::new(SHORT);
    assert_eq!(poll(&mut timer, &wakes), Poll::Pending);
    count(&wakes, 1).await;
    assert!(begin.elapsed() >= SHORT);
    assert_eq!(poll(&mut timer, &wakes), Poll::Ready(()));
    assert_eq!(poll(&mut timer, &wakes), Poll::Ready(()));

    // Brought forward, it wakes who polled before.
    let wakes = Arc::new(Wakes::default());
    let mut timer = T::new(LONG);
    assert_eq!(poll(&mut timer, &wakes), Poll::Pending);
    timer.reset(SHORT);
    count(&wakes, 1).await;
    assert_eq!(poll(&mut timer, &wakes), Poll::Ready(()));

    // Put off, it is not ready at its first time.
    let wakes = Arc::new(Wakes::default());
    let mut timer = T::new(SHORT);
    assert_eq!(poll(&mut timer, &wakes), Poll::Pending);
    timer.reset(LONG);
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(poll(&mut timer, &wakes), Poll::Pending);

    // One that was ready, was reset and was not polled since wakes nobody: the lost wake-up of whoever
    // relies on it must show in a simulation too.
    let wakes = Arc::new(Wakes::default());
    let mut timer = T::new(Duration::ZERO);
    tokio::time::sleep(SHORT).await;
    assert_eq!(poll(&mut timer, &wakes), Poll::Ready(()));
    timer.reset(SHORT);
    tokio::time::sleep(SHORT * 3).await;
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
    assert_eq!(poll(&mut timer, &wakes), Poll::Ready(()));
}

#[tokio::test]
async fn upstream_behaves_as_described() {
    behaves::<upstream_timer::Delay>().await;
}

#[tokio::test]
async fn the_shim_behaves_like_upstream() {
    behaves::<futures_timer::Delay>().await;
}
