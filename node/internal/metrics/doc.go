// Package metrics counts what a node does, for Prometheus to scrape.
//
// # Guarantees
//
//   - Every number is served under its unit and passes the linter of Prometheus
//     (TestScrape).
//   - How many series there are does not grow with agents, streams, events or
//     readers: labels are routes, status codes, behaviours and parts of the
//     store, and the first MaxConsumers consumers by name (TestBoundedSeries).
//   - What cannot be read just now is left out of a scrape; the rest is served
//     (TestScrapeOfAFailedJournal).
//   - The dashboard in docs/grafana.json asks for nothing that is not served
//     (TestDashboard).
//
// # What it does not do
//
// It does not know routes or flags, and shows no names of streams, agents or
// tokens. Counters begin at 0 with the process.
package metrics
