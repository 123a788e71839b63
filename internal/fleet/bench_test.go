package fleet

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bittern/internal/db"
	"bittern/internal/db/pgtest"
	"bittern/internal/require"
	"bittern/internal/rules/fleetstate"
)

var agents = flag.Int("agents", 1000, "how many hosts BenchmarkAgents simulates")

// BenchmarkAgents has many hosts, with the code that real ones have, linked to one server over TLS, all on this machine. An iteration is a
// change of a state for the whole fleet, timed from before the operator's call until it counts on each host, and a second of quiet.
//
//	idle-...                     the same in ten seconds without any change
//	sync-p50-ms, sync-p99-ms     how long a sync takes
//	effect-p50-ms, effect-p99-ms from the operator's call to the effect on a host
//	db-cores                     processor time of the server
//	agents-cores                 and of all agents
//	db-MiB                       memory of the server: what its processes have of their own
func BenchmarkAgents(b *testing.B) {
	cluster, err := pgtest.Start(pgtest.Config{
		Programs: require.DB(b), Fsync: true, Settings: map[string]string{"max_connections": strconv.Itoa(*agents + 50)},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			b.Error(err)
		}
	})
	if err := cluster.Create(b.Context(), "fleet"); err != nil {
		b.Fatal(err)
	}
	d := &pgtest.Database{Cluster: cluster, Name: "fleet"}
	s := &store{Database: d, super: d.Connect(b, "postgres")}
	if _, err := db.Migrate(b.Context(), s.super); err != nil {
		b.Fatal(err)
	}
	s.ops = d.Connect(b, "fleet_operator")

	// Each real host has a disk of its own, so that these have none in common.
	dir, err := os.MkdirTemp("/dev/shm", "bittern-fleet-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	var all simulated
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(func() { cancel(); all.running.Wait() })
	began := time.Now()
	for n := range *agents {
		all.start(b, ctx, s, filepath.Join(dir, strconv.Itoa(n)))
	}
	all.settled(b, s)
	b.Logf("%d agents linked after %v", *agents, time.Since(began).Round(time.Millisecond))

	report := func(name string, all []time.Duration) {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, name+"-p50-ms")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, name+"-p99-ms")
	}
	all.reset()
	dbBefore, start := processorTime(b, cluster.PID()), time.Now()
	time.Sleep(10 * time.Second)
	idle, idleSyncs := float64(processorTime(b, cluster.PID())-dbBefore)/float64(time.Since(start)), all.reset()

	before := processorTime(b, os.Getpid())
	dbBefore, start = processorTime(b, cluster.PID()), time.Now()
	for n := 0; b.Loop(); n++ {
		rule := fmt.Sprintf("C%d", n)
		at := time.Now()
		s.set(b, "fleet", nil, rule, "disabled", "1 hour")
		all.effects(b, at, n+1)
		time.Sleep(time.Second) // so that most syncs are those that have nothing new
	}
	took := time.Since(start)
	all.mu.Lock()
	defer all.mu.Unlock()
	b.ReportMetric(idle, "idle-db-cores") // not before: the loop throws away what was reported
	report("idle-sync", idleSyncs)
	report("sync", all.syncs)
	report("effect", all.effect)
	b.ReportMetric(float64(len(all.syncs))/took.Seconds(), "syncs/s")
	b.ReportMetric(float64(processorTime(b, cluster.PID())-dbBefore)/float64(took), "db-cores")
	b.ReportMetric(float64(processorTime(b, os.Getpid())-before)/float64(took), "agents-cores")
	b.ReportMetric(float64(privateMemory(cluster.PID()))/(1<<20), "db-MiB")
}

// simulated are agents.
type simulated struct {
	running sync.WaitGroup
	links   []*Link

	mu      sync.Mutex
	syncs   []time.Duration
	arrived []time.Time // changes, on all hosts
	effect  []time.Duration
}

func (all *simulated) start(b *testing.B, ctx context.Context, s *store, dir string) {
	b.Helper()
	e, err := db.Enroll(ctx, s.ops, filepath.Base(dir), nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	dsn, err := s.TLS(dir, e.Role)
	if err != nil {
		b.Fatal(err)
	}
	states, err := fleetstate.New(fleetstate.Config{Under: new(bare), File: filepath.Join(dir, "states.json"), Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	link, err := New(Config{DSN: dsn, Host: newHost(e.Role), States: states, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	link.synced = func(took time.Duration) {
		all.mu.Lock()
		defer all.mu.Unlock()
		all.syncs = append(all.syncs, took)
	}
	all.links = append(all.links, link)
	changes := states.Changes()
	all.running.Go(func() { link.Run(ctx) })
	all.running.Go(func() {
		for {
			if _, err := changes.Next(ctx); err != nil {
				return
			}
			now := time.Now()
			all.mu.Lock()
			all.arrived = append(all.arrived, now)
			all.mu.Unlock()
		}
	})
}

// settled waits until all are linked and have said what they run.
func (all *simulated) settled(b *testing.B, s *store) {
	b.Helper()
	for end := time.Now().Add(10 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		var told int
		if err := s.super.QueryRow(b.Context(), "SELECT count(*)::int FROM fleet.host_rulesets").Scan(&told); err != nil {
			b.Fatal(err)
		}
		if told == len(all.links) {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("%d of %d agents are linked; the first one: %v", told, len(all.links), all.links[0].Health())
		}
	}
}

// reset begins to measure anew, and returns how long syncs took until now.
func (all *simulated) reset() (syncs []time.Duration) {
	all.mu.Lock()
	defer all.mu.Unlock()
	syncs = all.syncs
	all.syncs, all.arrived, all.effect = nil, nil, nil
	return syncs
}

// effects waits until a change that was made at a time counts everywhere.
func (all *simulated) effects(b *testing.B, at time.Time, changes int) {
	b.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		all.mu.Lock()
		if len(all.arrived) == changes*len(all.links) {
			for _, t := range all.arrived[(changes-1)*len(all.links):] {
				all.effect = append(all.effect, t.Sub(at))
			}
			all.mu.Unlock()
			return
		}
		all.mu.Unlock()
		if time.Now().After(end) {
			b.Fatal("a change does not count everywhere")
		}
	}
}

// family are a process and its children.
func family(pid int) (pids []string) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		of := filepath.Base(filepath.Dir(path))
		if fields := statOf(path); len(fields) > 3 && (of == strconv.Itoa(pid) || fields[1] == strconv.Itoa(pid)) {
			pids = append(pids, of)
		}
	}
	return pids
}

// statOf are the fields behind the name, of proc_pid_stat(5): state, ppid, …
func statOf(path string) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil // it has ended
	}
	return strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
}

// processorTime is that of a process with its children, also of those that have ended.
func processorTime(b *testing.B, pid int) (sum time.Duration) {
	b.Helper()
	const tick = 10 * time.Millisecond // USER_HZ is 100 everywhere
	for _, of := range family(pid) {
		fields := statOf("/proc/" + of + "/stat")
		if len(fields) < 15 {
			continue
		}
		counted := fields[11:13] // utime, stime
		if of == strconv.Itoa(pid) {
			counted = fields[11:15] // cutime, cstime
		}
		for _, f := range counted {
			n, err := strconv.Atoi(f)
			if err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum
}

// privateMemory is what a process and its children share with nobody, in bytes.
func privateMemory(pid int) (sum int64) {
	for _, of := range family(pid) {
		data, _ := os.ReadFile("/proc/" + of + "/smaps_rollup")
		for line := range strings.Lines(string(data)) {
			if name, value, _ := strings.Cut(line, ":"); strings.HasPrefix(name, "Private_") {
				n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
				sum += n << 10
			}
		}
	}
	return sum
}
