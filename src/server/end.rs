//! The end of a server: it is announced, then the listeners are closed, then what is under way is finished.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::worker::Worker;
use super::{Running, Server};
use crate::config::Config;
use crate::metrics::Open;
use crate::shutdown::{DrainPolicy, Phase};

/// The time after the listeners are closed in which connections that were accepted just before may send their first
/// request.
const LAST_REQUESTS: Duration = Duration::from_millis(250);

/// The part of `server.drain_period` that is left for the connections to upstream and for the operator's listener.
const RESERVE: Duration = Duration::from_millis(250);

/// How a server of this configuration ends.
pub(super) fn policy(config: &Config) -> DrainPolicy {
    let (delay, period) = (config.server.drain_delay, config.server.drain_period);
    // The embedded broker keeps nothing (`memory`). What is shared is known to all others.
    let keeps_memory = config.cluster.is_some() || config.state.path.is_some() && !config.upstream.is_local();
    DrainPolicy { delay, period, keeps_memory }
}

impl Running {
    /// Announces the end: everything is served, but each answer is the last one of its connection. [`Running::drain`]
    /// has to follow after `delay`.
    pub(super) fn announce(&mut self, delay: Duration) {
        self.announced = Some(Instant::now());
        self.server.begin_draining(
            Phase::Leaving,
            delay,
            "draining: not ready any more; connections are taken and served until the delay is over",
        );
    }

    /// Closes the listeners, finishes what is under way, and ends.
    pub async fn drain(self) {
        let Self { server, workers, announced, accepting, listening: _ } = self;
        let period = server.config.server.drain_period;
        let began = announced.unwrap_or_else(Instant::now);
        if announced.is_some() {
            server.shared.drain.enter(Phase::Closed);
        } else {
            // Without a delay, all phases are entered at once.
            server.begin_draining(Phase::Draining, Duration::ZERO, "draining: no connections are taken");
        }
        let _stopped = accepting.await;
        let end = Instant::now() + period;
        let Open { connections, relays, requests } = server.shared.metrics.open();
        tracing::info!(
            seconds = began.elapsed().as_secs_f64(),
            period_seconds = period.as_secs_f64(),
            connections,
            relays,
            requests,
            "listeners closed: what is under way is finished"
        );
        if announced.is_some() {
            sleep(LAST_REQUESTS.min(period / 4)).await;
            server.shared.drain.enter(Phase::Draining);
        }
        server.finish(workers, began, end).await;
    }
}

impl Server {
    /// Enters `phase`, the first one of the end, and logs what is open.
    fn begin_draining(&self, phase: Phase, delay: Duration, message: &str) {
        let (drain, metrics) = (&self.shared.drain, &self.shared.metrics);
        drain.enter(phase);
        metrics.set_draining();
        let Open { connections, relays, requests } = metrics.open();
        tracing::info!(
            delay_seconds = delay.as_secs_f64(),
            suppresses = drain.suppresses(),
            connections,
            relays,
            requests,
            "{message}"
        );
    }

    /// Waits for what is under way, then ends the workers and whatever still runs there. Everything is over at `end`,
    /// but for the memory, which is written then.
    async fn finish(self, workers: Vec<Worker>, began: Instant, end: Instant) {
        let reserve = RESERVE.min(self.config.server.drain_period / 4);
        let left = self.shared.tasks.finish(until(end - reserve)).await;
        if left > 0 {
            tracing::warn!(left, "the drain period is over; what still runs is ended");
        }
        for worker in workers {
            worker.end();
        }
        // The broker's clients are gone, and what that has ended is told.
        let untold = match &self.webhooks {
            Some(webhooks) => webhooks.finish(until(end - reserve / 2)).await,
            None => 0,
        };
        let open = self.pools.finish(until(end - reserve / 2)).await;
        if left == 0 {
            self.leave(until(end)).await;
        }
        self.stop_admin.enter(Phase::Draining);
        let asking = self.admin_tasks.finish(until(end)).await;
        // Every worker has ended, and with it every ticket: what was cut off is in doubt.
        self.succession.write(&self.assignments, self.shared.clock, asking == 0).await;
        tracing::info!(
            left,
            untold,
            upstream_connections = open,
            admin_connections = asking,
            seconds = began.elapsed().as_secs_f64(),
            "drained"
        );
    }
}

impl Server {
    /// Leaves the shared memory, if there is one: nothing that was sent is in flight any more.
    async fn leave(&self, within: Duration) {
        let missed = match timeout(within, self.assignments.leave()).await {
            Ok(missed) => missed,
            Err(_elapsed) => self.assignments.stores().into_iter().map(|(id, _)| id).collect(),
        };
        if !missed.is_empty() {
            tracing::warn!(
                apps = missed.join(", "),
                "the shared memory does not know that this usher has left: the others miss it, and suppress nothing until it is back or given up (cluster.member_timeout)"
            );
        }
    }
}

fn until(moment: Instant) -> Duration {
    moment.saturating_duration_since(Instant::now())
}
