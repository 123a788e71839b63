package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bittern/internal/event"
	"bittern/internal/fleet"
	"bittern/internal/loader"
	"bittern/internal/outbox"
	"bittern/internal/sink"
)

// Kernel is what is asked of the kernel's side.
type Kernel interface {
	Counters() (loader.Counters, error)
	Usage() loader.Usage
	Ring() loader.RingUsage
	AttachedStats() ([]loader.ProgramStats, error)
	MapBytes() (uint64, error)
}

// RuleCounts is how the rules are.
type RuleCounts struct {
	States map[string]int // how many are in each
	Hash   string         // of all live rules; the same on hosts with the same rules
	Queue  int            // changes that wait
}

// Rules is what is asked of the rules.
type Rules interface {
	RuleCounts(ctx context.Context) (RuleCounts, error)
}

// Queue is what is asked of the outbox and of its sinks.
type Queue interface {
	Stats() outbox.Stats
	Losses() []outbox.Loss
	SinkStats() map[string]sink.Stats
}

// Fleet is what is asked of the link to the fleet's store.
type Fleet interface {
	// Status is of a link; false if there is none.
	FleetStatus() (fleet.Status, bool)
}

// patience is how long a scrape waits for the rules.
const patience = 5 * time.Second

// Collect has all of them asked at each scrape.
func (s *Set) Collect(k Kernel, r Rules, q Queue, f Fleet) {
	s.registry.MustRegister(&collector{kernel: k, rules: r, queue: q, fleet: f})
}

type collector struct {
	kernel Kernel
	rules  Rules
	queue  Queue
	fleet  Fleet
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

var (
	events         = desc("events_total", "Events that the kernel has judged.", "class")
	matches        = desc("matches_total", "Events that at least one rule let pass in the kernel.", "class")
	spills         = desc("spills_total", "Matches of more rules than a record names.", "class")
	unknownParents = desc("unknown_parents_total", "Events whose parent process was not known.", "class")
	untracked      = desc("untracked_processes_total", "Processes that found no room in the process table.")
	kernelLost     = desc("kernel_lost_events_total", "Events and matches that the kernel's side has lost.", "class", "reason")

	epoch        = desc("epoch", "The epoch by which the kernel judges: one more with each change of rules.")
	gracePeriods = desc("grace_periods_total", "Grace periods of the kernel that reclamation has waited for.")
	slots        = desc("slots", "Room for clauses of rules in the kernel.", "class", "state")
	keys         = desc("keys", "Keys in the kernel's index of rules.")
	cells        = desc("cells", "Cells in the kernel's rows of rules.")
	mapBytes     = desc("map_bytes", "Memory of the kernel's maps.")
	ringUsed     = desc("ring_used_bytes", "Bytes of matches that wait in the ring.")
	ringSize     = desc("ring_size_bytes", "Bytes that the ring has room for.")

	programRuns    = desc("program_runs_total", "Runs of a BPF program; counted with --program-stats only.", "program")
	programSeconds = desc("program_run_seconds_total", "Time that a BPF program has run; counted with --program-stats only.", "program")
	programSkipped = desc("program_skipped_total", "Events at which the kernel did not run a BPF program, since it was at work already.", "program")

	ruleCount = desc("rules", "Rules, by state. Clipped ones are live or stale as well.", "state")
	ruleHash  = desc("rules_info", "1; hash tells sets of live rules apart.", "hash")
	queued    = desc("queued_changes", "Changes of rules that wait for their turn.")
)

// Describe says nothing, so that what can't be asked may be left out.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

func (c *collector) Collect(to chan<- prometheus.Metric) {
	out := sender{to}
	c.counters(out)
	c.usage(out)
	c.programs(out)
	c.ruleCounts(out)
	c.outbox(out)
	c.link(out)
}

// sender sends metrics, or what stands in their way.
type sender struct{ to chan<- prometheus.Metric }

func (s sender) counter(d *prometheus.Desc, v float64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (s sender) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sender) failed(d *prometheus.Desc, err error) { s.to <- prometheus.NewInvalidMetric(d, err) }

func (c *collector) counters(out sender) {
	all, err := c.kernel.Counters()
	if err != nil {
		out.failed(events, err)
		return
	}
	for _, class := range event.Classes() {
		n, name := all.Classes[class], class.String()
		out.counter(events, float64(n.Events), name)
		out.counter(matches, float64(n.Matches), name)
		out.counter(spills, float64(n.Spills), name)
		out.counter(unknownParents, float64(n.UnknownParents), name)
		out.counter(kernelLost, float64(n.LostRingFull), name, loader.RingFull.String())
		out.counter(kernelLost, float64(n.LostBusy), name, loader.Busy.String())
		out.counter(kernelLost, float64(n.LostSkipped), name, loader.Skipped.String())
	}
	out.counter(untracked, float64(all.Untracked))
}

func (c *collector) usage(out sender) {
	u, ring := c.kernel.Usage(), c.kernel.Ring()
	out.gauge(epoch, float64(u.Epoch))
	out.counter(gracePeriods, float64(u.GracePeriods))
	for _, class := range event.Classes() {
		out.gauge(slots, float64(u.Slots[class].Taken), class.String(), "used")
		out.gauge(slots, float64(u.Slots[class].Free), class.String(), "free")
	}
	out.gauge(keys, float64(u.Keys))
	out.gauge(cells, float64(u.Cells))
	out.gauge(ringUsed, float64(ring.Used))
	out.gauge(ringSize, float64(ring.Size))
	bytes, err := c.kernel.MapBytes()
	if err != nil {
		out.failed(mapBytes, err)
		return
	}
	out.gauge(mapBytes, float64(bytes))
}

func (c *collector) programs(out sender) {
	all, err := c.kernel.AttachedStats()
	if err != nil {
		out.failed(programRuns, err)
	}
	for _, p := range all {
		out.counter(programRuns, float64(p.Runs), p.Name)
		out.counter(programSeconds, p.RunTime.Seconds(), p.Name)
		out.counter(programSkipped, float64(p.Skipped), p.Name)
	}
}

func (c *collector) ruleCounts(out sender) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n, err := c.rules.RuleCounts(ctx)
	if err != nil {
		out.failed(ruleCount, err)
		return
	}
	for state, count := range n.States {
		out.gauge(ruleCount, float64(count), state)
	}
	out.gauge(ruleHash, 1, n.Hash)
	out.gauge(queued, float64(n.Queue))
}
