//! Progress on standard error: a bar with rows per second where a person watches, silence where not.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Format;

/// Long work on its way.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Work of `total` pieces called `unit`; without a total a spinner that counts.
    pub fn start(format: Format, label: &str, unit: &str, total: Option<u64>) -> Self {
        let bar = match (format, total) {
            (Format::Json | Format::Csv, _) => {
                ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
            }
            (Format::Table, Some(total)) => ProgressBar::new(total),
            (Format::Table, None) => ProgressBar::new_spinner(),
        };
        let template = match total {
            Some(_) => format!(
                "  {label:<24} [{{bar:28}}] {{human_pos}} of {{human_len}} {unit} · {{per_sec}} · {{eta}}"
            ),
            None => format!("  {label:<24} {{spinner}} {{human_pos}} {unit} · {{per_sec}} · {{elapsed}}"),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }

    /// The whole work is `total` pieces, `done` of them are finished.
    pub fn set(&self, done: u64, total: Option<u64>) {
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
