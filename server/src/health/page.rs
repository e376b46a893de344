//! The text format of Prometheus, version 0.0.4: families of numbers, each with a line of help and its type.
//!
//! It is written by hand: it is these few lines, and the crates for it bring a registry that is global to the process, and
//! ask whoever counts to look names up in it.

use std::fmt::{Display, Write};

use ferry_store::Histogram;

/// What a page is served as.
pub(super) const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page in the making. Names, help and labels are this program's own words, so none of them needs escaping.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// A number that only grows.
    pub(super) fn counter(&mut self, name: &str, help: &str, number: u64) {
        self.family(name, "counter", help);
        self.line(format_args!("{name} {number}"));
    }

    /// One that grows for each value of a label.
    pub(super) fn counters<L: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        numbers: impl IntoIterator<Item = (L, u64)>,
    ) {
        self.family(name, "counter", help);
        for (value, number) in numbers {
            self.line(format_args!("{name}{{{label}=\"{value}\"}} {number}"));
        }
    }

    /// The same for two labels, the first of which has this value in some of the numbers.
    pub(super) fn counters_of_two<L: Display>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        numbers: impl IntoIterator<Item = (&'static str, L, u64)>,
    ) {
        self.family(name, "counter", help);
        let [first, second] = labels;
        for (one, other, number) in numbers {
            self.line(format_args!("{name}{{{first}=\"{one}\",{second}=\"{other}\"}} {number}"));
        }
    }

    /// A number that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, number: impl Display) {
        self.family(name, "gauge", help);
        self.line(format_args!("{name} {number}"));
    }

    /// A fact, as a number that is always 1.
    pub(super) fn fact(&mut self, name: &str, help: &str, label: &str, value: &str) {
        self.family(name, "gauge", help);
        self.line(format_args!("{name}{{{label}=\"{value}\"}} 1"));
    }

    /// How often a number was how large, in a unit that is so many of the histogram's.
    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram, unit: f64) {
        self.family(name, "histogram", help);
        let mut so_far = 0;
        for (bound, often) in &histogram.buckets {
            so_far += often;
            match bound {
                Some(bound) => {
                    let bound = *bound as f64 / unit;
                    self.line(format_args!("{name}_bucket{{le=\"{bound}\"}} {so_far}"));
                }
                None => self.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {so_far}")),
            }
        }
        self.line(format_args!("{name}_sum {}", histogram.sum as f64 / unit));
        self.line(format_args!("{name}_count {so_far}"));
    }

    /// The whole of it.
    pub(super) fn text(self) -> String {
        self.0
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A string takes everything.
        let _ = writeln!(self.0, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.counter("a_total", "First.", 1);
        page.counters("b_total", "Second.", "kind", [("x", 2), ("y", 0)]);
        page.counters_of_two("c_total", "Third.", ["way", "code"], [("in", "Busy", 3)]);
        page.gauge("d_seconds", "Fourth.", 1.5);
        page.fact("e_info", "Fifth.", "version", "1.2.3");
        let buckets = vec![(Some(500), 2), (Some(1_000_000), 1), (None, 1)];
        page.histogram("f_seconds", "Sixth.", &Histogram { buckets, sum: 40_500_000 }, 1e6);
        let expected = "\
# HELP a_total First.
# TYPE a_total counter
a_total 1
# HELP b_total Second.
# TYPE b_total counter
b_total{kind=\"x\"} 2
b_total{kind=\"y\"} 0
# HELP c_total Third.
# TYPE c_total counter
c_total{way=\"in\",code=\"Busy\"} 3
# HELP d_seconds Fourth.
# TYPE d_seconds gauge
d_seconds 1.5
# HELP e_info Fifth.
# TYPE e_info gauge
e_info{version=\"1.2.3\"} 1
# HELP f_seconds Sixth.
# TYPE f_seconds histogram
f_seconds_bucket{le=\"0.0005\"} 2
f_seconds_bucket{le=\"1\"} 3
f_seconds_bucket{le=\"+Inf\"} 4
f_seconds_sum 40.5
f_seconds_count 4
";
        assert_eq!(page.text(), expected);
    }
}
