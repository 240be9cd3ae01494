//! Progress of long work: bars on a terminal, nothing in a pipe.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows progress on standard error when that is a terminal; standard output stays free for results.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bars: MultiProgress,
}

impl Progress {
    /// Bars on a terminal, none in a pipe.
    pub(crate) fn detect() -> Self {
        // This target is hidden by itself when standard error is no terminal.
        Self { bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()) }
    }

    /// A bar for so many steps. It goes away when it is finished and cleared.
    pub(crate) fn bar(&self, total: u64, what: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {elapsed}");
        let bar = ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.begin(bar, what)
    }

    /// A spinner for work of unknown length.
    pub(crate) fn spinner(&self, what: &str) -> ProgressBar {
        self.begin(ProgressBar::new_spinner(), what)
    }

    /// A line of text that bars do not overwrite, on standard output.
    pub(crate) fn say(&self, line: &str) {
        self.bars.suspend(|| println!("{line}"));
    }

    fn begin(&self, bar: ProgressBar, what: &str) -> ProgressBar {
        let bar = self.bars.add(bar).with_message(what.to_owned());
        if !self.bars.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        bar
    }
}
