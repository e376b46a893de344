//! How fast bytes may leave, all connections together.

use std::{future::Future, pin::Pin, sync::Mutex, time::Duration};

use ferry_session::send;
use tokio::time::{Instant, sleep_until};

/// How late a timer may be without making the rate too low.
const SLACK: Duration = Duration::from_millis(50);

/// As fast as it goes, or so many bytes a second.
pub(crate) struct Pace {
    rate: Option<u64>,
    /// When everything that was allowed so far has left at the rate.
    paid_until: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Pace { rate, paid_until: Mutex::new(None) }
    }
}

impl send::Pace for Pace {
    fn at_once(&self) -> usize {
        match self.rate {
            None => usize::MAX,
            // A quarter of a second's worth, as long as frames stay larger than what is around them.
            Some(rate) => usize::try_from(rate / 4).unwrap_or(usize::MAX).max(4096),
        }
    }

    fn allow(&self, bytes: usize) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let Some(rate) = self.rate else { return Box::pin(std::future::ready(())) };
        Box::pin(async move {
            let until = {
                let mut paid_until = ferry_store::lock(&self.paid_until);
                let now = Instant::now();
                // Time in which nothing was sent is not saved up, but what a timer slept too long is.
                let from = paid_until.map_or(now, |until| until.max(now - SLACK));
                let until = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
                *paid_until = Some(until);
                until
            };
            sleep_until(until).await;
        })
    }
}
