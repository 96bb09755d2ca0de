//! Where a watch serves its metrics, read by a real HTTP client and a parser that knows the format.

use prometheus_parse::Scrape;
pub use prometheus_parse::Value;

use crate::deadline::{DEADLINE, poll};
use crate::running::Running;

/// Where a watch serves its metrics.
pub struct Endpoint(String);

impl Endpoint {
    /// That of a watch with `--metrics-addr 127.0.0.1:0`, as it says it.
    #[track_caller]
    pub fn of(cswatch: &mut Running) -> Endpoint {
        let line = cswatch.expect_stderr("serving metrics at ");
        let (_, url) = line.split_once("http://").expect("a URL");
        let (address, _) = url.split_once('/').expect("a path");
        Endpoint(address.to_owned())
    }

    /// Status and body of a GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut response = agent().get(self.url(path)).call().expect("an answer");
        let body = response.body_mut().read_to_string().expect("text");
        (response.status().as_u16(), body)
    }

    /// Status of a POST.
    #[track_caller]
    pub fn post(&self, path: &str) -> u16 {
        let response = agent().post(self.url(path)).send_empty();
        response.expect("an answer").status().as_u16()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0)
    }

    /// The metrics, through a parser that knows the format.
    #[track_caller]
    pub fn scrape(&self) -> Metrics {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        let scrape = Scrape::parse(body.lines().map(|line| Ok(line.to_owned())));
        Metrics(scrape.expect("the text format"))
    }

    /// Waits until a metric fits.
    #[track_caller]
    pub fn expect(&self, name: &str, label: Option<&str>, fits: impl Fn(Option<f64>) -> bool) {
        let found = poll(DEADLINE, || {
            fits(self.scrape().value(name, label)).then_some(())
        });
        assert!(found.is_some(), "{name}\n{}", self.get("/metrics").1);
    }
}

/// A client for which each status is an answer.
fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    ureq::Agent::new_with_config(config.build())
}

/// What was scraped.
pub struct Metrics(pub Scrape);

impl Metrics {
    /// The sum over all labels of a metric.
    pub fn sum(&self, name: &str) -> f64 {
        let samples = self.0.samples.iter().filter(|sample| sample.metric == name);
        samples.filter_map(|sample| number(&sample.value)).sum()
    }

    /// The value of a metric, with a label of this value where there is one.
    pub fn value(&self, name: &str, label: Option<&str>) -> Option<f64> {
        let sample = self.0.samples.iter().find(|sample| {
            sample.metric == name
                && label.is_none_or(|label| sample.labels.values().any(|value| value == label))
        })?;
        number(&sample.value)
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Counter(value) | Value::Gauge(value) => Some(*value),
        _ => None,
    }
}
