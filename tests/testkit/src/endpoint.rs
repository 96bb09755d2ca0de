//! The metrics endpoint of a watch, read with a real HTTP client and a parser of the Prometheus text format.

use prometheus_parse::Scrape;
pub use prometheus_parse::Value;

use crate::deadline::{DEADLINE, poll};
use crate::running::Running;

/// The address at which a watch serves its metrics.
pub struct Endpoint(String);

impl Endpoint {
    /// Returns the endpoint of a watch with `--metrics-addr 127.0.0.1:0`, from its message on stderr.
    #[track_caller]
    pub fn of(cswatch: &mut Running) -> Endpoint {
        let line = cswatch.expect_stderr("serving metrics at ");
        let (_, url) = line.split_once("http://").expect("a URL");
        let (address, _) = url.split_once('/').expect("a path");
        Endpoint(address.to_owned())
    }

    /// Sends a GET request, and returns the status and the body of the response.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut response = agent().get(self.url(path)).call().expect("a response");
        let body = response.body_mut().read_to_string().expect("text");
        (response.status().as_u16(), body)
    }

    /// Sends a POST request, and returns the status of the response.
    #[track_caller]
    pub fn post(&self, path: &str) -> u16 {
        let response = agent().post(self.url(path)).send_empty();
        response.expect("a response").status().as_u16()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0)
    }

    /// Reads and parses the metrics.
    #[track_caller]
    pub fn scrape(&self) -> Metrics {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        let scrape = Scrape::parse(body.lines().map(|line| Ok(line.to_owned())));
        Metrics(scrape.expect("the text format"))
    }

    /// Waits until `fits` returns true for the value of a metric; `None` while it is absent.
    #[track_caller]
    pub fn expect(&self, name: &str, label: Option<&str>, fits: impl Fn(Option<f64>) -> bool) {
        let found = poll(DEADLINE, || {
            fits(self.scrape().value(name, label)).then_some(())
        });
        assert!(found.is_some(), "{name}\n{}", self.get("/metrics").1);
    }
}

/// Returns a client that does not treat any status as an error.
fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    ureq::Agent::new_with_config(config.build())
}

/// The parsed metrics.
pub struct Metrics(pub Scrape);

impl Metrics {
    /// Returns the sum of a metric over all its labels.
    pub fn sum(&self, name: &str) -> f64 {
        let samples = self.0.samples.iter().filter(|sample| sample.metric == name);
        samples.filter_map(|sample| number(&sample.value)).sum()
    }

    /// Returns the value of a metric, of the sample with this label value if one is given.
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
