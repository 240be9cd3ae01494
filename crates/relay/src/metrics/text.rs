//! Prometheus' text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use partita_core::Refusal;

use super::{Metrics, Refusals};

/// A text under way.
#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn counter(&mut self, name: &str, help: &str, value: &AtomicU64) {
        self.head(name, "counter", help);
        let _ = writeln!(self.0, "{name} {}", value.load(Relaxed));
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn refusals(&mut self, name: &str, help: &str, refusals: &Refusals) {
        self.head(name, "counter", help);
        for (why, count) in refusals.all() {
            let _ = writeln!(self.0, "{name}{{reason=\"{}\"}} {count}", reason(why));
        }
    }
}

/// `NeedControl` becomes `need_control`.
fn reason(why: Refusal) -> String {
    let mut text = String::new();
    for letter in format!("{why:?}").chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

impl Metrics {
    /// The whole text.
    pub(crate) fn render(&self) -> String {
        let mut page = Page::default();
        self.connections(&mut page);
        self.entries(&mut page);
        self.store(&mut page);
        self.queues(&mut page);
        page.0
    }

    fn connections(&self, page: &mut Page) {
        // What ended is read first: a difference is never below zero.
        let (closed, ended) = (self.connections_closed.load(Relaxed), self.sessions_ended.load(Relaxed));
        let open = self.connections_opened.load(Relaxed).saturating_sub(closed);
        let sessions = self.sessions_begun.load(Relaxed).saturating_sub(ended);
        page.gauge("partita_relay_connections", "Connections that are open.", open);
        page.gauge("partita_relay_sessions", "Sessions with remotes that proved who they are.", sessions);
        page.counter("partita_relay_connections_total", "Connections that were opened.", &self.connections_opened);
        page.counter(
            "partita_relay_connections_turned_away_total",
            "Connections over the limit, dropped at the door.",
            &self.connections_turned_away,
        );
        page.counter(
            "partita_relay_handshakes_failed_total",
            "Connections that ended before the remote proved who it is, also those that never became WebSockets.",
            &self.handshakes_failed,
        );
        page.counter("partita_relay_received_bytes_total", "Bytes of frames received.", &self.received_bytes);
        page.counter("partita_relay_received_frames_total", "Frames received.", &self.received_frames);
        page.counter("partita_relay_sent_bytes_total", "Bytes of frames sent.", &self.sent_bytes);
        page.counter("partita_relay_sent_frames_total", "Frames sent.", &self.sent_frames);
    }

    fn entries(&self, page: &mut Page) {
        page.counter("partita_relay_entries_taken_total", "Entries of remotes taken.", &self.entries_taken);
        page.refusals(
            "partita_relay_entries_refused_total",
            "Entries of remotes refused here; each stands for its log, which pauses.",
            &self.refused,
        );
        page.refusals("partita_relay_remote_refusals_total", "Entries that remotes refused.", &self.refused_by_remotes);
        page.refusals(
            "partita_relay_remote_context_refusals_total",
            "Contexts that remotes refused to open.",
            &self.contexts_refused,
        );
    }

    fn store(&self, page: &mut Page) {
        let name = "partita_relay_commit_duration_seconds";
        page.head(name, "histogram", "How long the store took to make a commit durable.");
        self.committed.write(&mut page.0, name);
        page.counter("partita_relay_commits_failed_total", "Commits that failed.", &self.commits_failed);
        page.counter("partita_relay_committed_entries_total", "Entries made durable.", &self.committed_entries);
        page.counter("partita_relay_committed_bytes_total", "Bytes of entries made durable.", &self.committed_bytes);
        let failed = u64::from(self.store_failed.load(Relaxed));
        page.gauge("partita_relay_store_failed", "1 when the store has failed and nothing more is written.", failed);
        if self.room.is_known.load(Relaxed) {
            let free = self.room.free_bytes.load(Relaxed);
            page.gauge("partita_relay_free_bytes", "Bytes that are free on the store's disk.", free);
        }
        page.gauge(
            "partita_relay_short_of_room",
            "1 when no entries are taken because the store's disk has too little room.",
            u64::from(self.is_short()),
        );
    }

    fn queues(&self, page: &mut Page) {
        let sample = &self.sample;
        for (name, help, value) in [
            ("partita_relay_node_queue_events", "Events that wait for the node.", &sample.inbox),
            ("partita_relay_store_queue_operations", "Operations that wait for the store.", &sample.store_queue),
            ("partita_relay_outgoing_bytes", "Bytes that wait for transports.", &sample.outgoing_bytes),
            (
                "partita_relay_outgoing_max_bytes",
                "Bytes that wait for the transport which has most to take.",
                &sample.outgoing_bytes_max,
            ),
            ("partita_relay_contexts", "Contexts in memory.", &sample.contexts),
            ("partita_relay_lagging_sessions", "Sessions whose remote lacks entries.", &sample.lagging_sessions),
            ("partita_relay_lag_entries", "Entries that remotes have not acknowledged.", &sample.lag_entries),
            (
                "partita_relay_lag_max_entries",
                "Entries that the remote furthest behind has not acknowledged.",
                &sample.lag_entries_max,
            ),
        ] {
            page.gauge(name, help, value.load(Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use partita_core::{Observation, Observer as _};

    use super::*;

    #[test]
    fn every_line_is_one_of_the_format_and_every_reason_is_there() {
        let metrics = Metrics::default();
        metrics.observe(&Observation::Refused(Refusal::NeedControl));
        let text = metrics.render();
        assert!(text.contains("partita_relay_entries_refused_total{reason=\"need_control\"} 1\n"));
        assert!(text.contains("partita_relay_entries_refused_total{reason=\"quota\"} 0\n"));
        let mut family = "";
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# HELP ") {
                family = head.split_once(' ').unwrap().0;
            } else if !line.starts_with("# TYPE ") {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(name.starts_with(family) && value.parse::<f64>().is_ok(), "{line}");
            }
        }
    }
}
