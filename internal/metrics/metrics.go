// Package metrics is what an agent tells Prometheus. Some of it the agent counts as it goes, in a Set; the
// rest is asked of the kernel and of the rules at each scrape.
package metrics

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const namespace = "bittern"

// Result is what became of a change of a rule.
type Result string

// The results.
const (
	Live     Result = "live"     // a version was made live
	Deleted  Result = "deleted"  // a rule was taken out
	Rejected Result = "rejected" // a file is wrong
	Refused  Result = "refused"  // the kernel has no room or no hook
)

// Overflow is what became of a source that found no room among those that limits count apart.
type Overflow string

// The overflows.
const (
	Forgotten Overflow = "forgotten" // another source's window was given up for it, which had held nothing back
	Unlimited Overflow = "unlimited" // the detection was written, whatever the limit
)

// Set is what the agent counts as it goes. See New; a nil Set counts nothing.
type Set struct {
	registry *prometheus.Registry

	changes     *prometheus.CounterVec
	lastSuccess prometheus.Gauge
	editToLive  prometheus.Histogram
	detections  *prometheus.CounterVec
	repeats     *prometheus.CounterVec
	windows     prometheus.Gauge
	overflows   *prometheus.CounterVec
	prefiltered prometheus.Counter
	lost        *prometheus.CounterVec
	configRight prometheus.Gauge
	configTime  prometheus.Gauge
}

// New makes a set of an agent of that version, with nothing counted yet.
func New(version string) *Set {
	s := &Set{
		registry: prometheus.NewRegistry(),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "rule_changes_total",
			Help: "Changes of rules, by what became of them.",
		}, []string{"result"}),
		lastSuccess: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "rule_last_change_timestamp_seconds",
			Help: "When a change of a rule took effect last.",
		}),
		editToLive: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "rule_edit_to_live_seconds",
			Help:    "Time from the kernel's report of an edit to the epoch in which it counts.",
			Buckets: prometheus.ExponentialBuckets(250e-6, 2, 14), // to 2 s
		}),
		detections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "rule_detections_total",
			Help: "Detections, by rule. A rule without any has no series.",
		}, []string{"rule_id"}),
		repeats: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "rule_repeats_total",
			Help: "Detections that a rule's limit has held back: counted, and told together. A rule without any has no series.",
		}, []string{"rule_id"}),
		windows: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "limit_windows",
			Help: "Windows of limits that are open: one for each rule version and source.",
		}),
		overflows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "limit_overflows_total",
			Help: "How often a source found no room among those that limits count apart, so that more was written.",
		}, []string{"outcome"}),
		prefiltered: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "prefiltered_total",
			Help: "Pairs of event and rule that the kernel let pass, and the exact matcher did not.",
		}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "lost_records_total",
			Help: "Records that never became detections, by class and reason; each is in a gap record as well.",
		}, []string{"class", "reason"}),
		configRight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "config_last_reload_successful",
			Help: "1 if the configuration was right when it was read last, else 0: then what was in force still is.",
		}),
		configTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "config_last_reload_success_timestamp_seconds",
			Help: "When the configuration was read last and was right.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info",
		Help:        "1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	for _, r := range []Result{Live, Deleted, Rejected, Refused} {
		s.changes.WithLabelValues(string(r)) // a rate needs the zero
	}
	for _, o := range []Overflow{Forgotten, Unlimited} {
		s.overflows.WithLabelValues(string(o))
	}
	s.registry.MustRegister(build, s.changes, s.lastSuccess, s.editToLive, s.detections, s.repeats, s.windows, s.overflows, s.prefiltered, s.lost, s.configRight, s.configTime,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// Loaded says that all rules that are there at the start have been made live.
func (s *Set) Loaded() {
	if s != nil {
		s.lastSuccess.SetToCurrentTime()
	}
}

// Configured says that the configuration was read, and whether it was right.
func (s *Set) Configured(right bool) {
	if s == nil {
		return
	}
	if !right {
		s.configRight.Set(0)
		return
	}
	s.configRight.Set(1)
	s.configTime.SetToCurrentTime()
}

// Changed counts a change of a rule. after is how long it took, 0 if that is not known.
func (s *Set) Changed(result Result, after time.Duration) {
	if s == nil {
		return
	}
	s.changes.WithLabelValues(string(result)).Inc()
	if result != Live && result != Deleted {
		return
	}
	s.lastSuccess.SetToCurrentTime()
	if after > 0 {
		s.editToLive.Observe(after.Seconds())
	}
}

// Detected counts a detection.
func (s *Set) Detected(ruleID string) {
	if s != nil {
		s.detections.WithLabelValues(ruleID).Inc()
	}
}

// Repeated counts a detection that was held back.
func (s *Set) Repeated(ruleID string) {
	if s != nil {
		s.repeats.WithLabelValues(ruleID).Inc()
	}
}

// LimitWindows says how many windows of limits are open.
func (s *Set) LimitWindows(n int) {
	if s != nil {
		s.windows.Set(float64(n))
	}
}

// Overflowed counts a source that found no room.
func (s *Set) Overflowed(outcome Overflow) {
	if s != nil {
		s.overflows.WithLabelValues(string(outcome)).Inc()
	}
}

// Forget ends the series of a rule that is deleted.
func (s *Set) Forget(ruleID string) {
	if s != nil {
		s.detections.DeleteLabelValues(ruleID)
		s.repeats.DeleteLabelValues(ruleID)
	}
}

// Prefiltered counts a candidate of the kernel that is no detection.
func (s *Set) Prefiltered() {
	if s != nil {
		s.prefiltered.Inc()
	}
}

// Lost counts records that are lost, when they are reported.
func (s *Set) Lost(class, reason string, count uint64) {
	if s != nil {
		s.lost.WithLabelValues(class, reason).Add(float64(count))
	}
}
