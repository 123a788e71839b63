package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"bittern/internal/db"
)

// fleetHost is an agent that takes rules and states from a fleet's store.
type fleetHost struct {
	db.Enrolment
	*asker
	p    *process
	cg   *cgroup
	args []string
	next int         // execution
	want map[int]int // versions that report executions, 0 for none
}

func (h *fleetHost) start(t *testing.T) {
	t.Helper()
	h.p, h.asker = askable(t, h.args...)
}

// execute has some executions judged, which the version is to report.
func (h *fleetHost) execute(t *testing.T, version int) {
	t.Helper()
	for range 5 {
		h.next++
		h.want[h.next] = version
		h.cg.execute(t, h.next)
	}
}

// TestFleet has two hosts take rules and states from a database, be cut off from it, and be restarted while they are: what counts on
// each host at each execution is what operators have said, as far as it was heard, and the database has each detection once.
func TestFleet(t *testing.T) {
	super, first, dsn, enroll := fleetStore(t)
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := super.Exec(t.Context(), sql, args...); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec("UPDATE fleet.settings SET sync_ms = 100, heartbeat_s = 1")
	master, keys := t.TempDir(), t.TempDir()
	key := filepath.Join(keys, "rules.key")
	operator := &asker{called(t, self(t), "bittern"), append(os.Environ(), rootVariable+"="+t.TempDir(), "BITTERN_DSN="+super.Config().ConnString())}
	operator.ask(t, 0, "db", "key", key)
	publish := func(version int) {
		t.Helper()
		write(t, filepath.Join(master, "numbered.yml"), numberedRule("FLEET", version))
		operator.ask(t, 0, "db", "publish", master, "--key", key)
	}
	publish(1)

	second, otherDSN := enroll("other")
	hosts := []*fleetHost{{Enrolment: first}, {Enrolment: second}}
	for i, h := range hosts {
		h.cg, h.want = newCgroup(t), map[int]int{}
		h.args = []string{
			"--rules", fromPostgres, "--rules-keys", key + ".pub", "--database", []string{dsn, otherDSN}[i], "--state", t.TempDir(),
			"--cgroup", h.cg.path, "--pins", off, "--metrics", off, "--no-stdout",
		}
		if i == 1 {
			h.args = append(h.args, "--floor", "FLE*")
		}
		h.start(t)
		h.p.logged(t, "rule live", "rule_id", "FLEET", "rule_version", 1.0)
		h.execute(t, 1)
	}
	publish(2)
	for _, h := range hosts {
		h.p.logged(t, "rule live", "rule_id", "FLEET", "rule_version", 2.0)
		h.execute(t, 2)
	}
	a, b := hosts[0], hosts[1]
	exec("SELECT fleet.set_state_v1('fleet', NULL, 'FLEET', 'disabled', NULL, '1 hour', 'noisy', 'alice')")
	exec("SELECT fleet.set_state_v1('host', 'other', 'FLEET', 'enabled', NULL, NULL, 'not here', 'bob')")
	a.p.logged(t, "rule state set", "rule_id", "FLEET", "state", "disabled", "by", "alice (fleet)", "reason", "noisy")
	b.p.logged(t, "rule state set", "rule_id", "FLEET", "state", "enabled", "by", "bob (host)")
	a.execute(t, 0)
	b.execute(t, 2)
	a.says(t, 0, "status", "fleet ", "connected for", "1 states", "rules of publication")
	a.says(t, 0, "state list", "FLEET", "disabled", "fleet", "noisy")
	status := func(h *fleetHost) (status string) {
		t.Helper()
		err := super.QueryRow(t.Context(), "SELECT coalesce((SELECT status FROM fleet.host_rule_status WHERE host_id = $1 AND rule_id = 'FLEET'), '')", h.HostID).Scan(&status)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	waitFor(t, "the database to know which rules run", func() bool { return status(a) == "disabled" && status(b) == "live" })

	// A host with a floor.
	exec("SELECT fleet.set_state_v1('host', 'other', 'FLEET', 'disabled', NULL, NULL, 'off', 'mallory')")
	waitFor(t, "the database to know that a state does not count", func() bool {
		var n int
		err := super.QueryRow(t.Context(), "SELECT count(*) FROM fleet.host_rule_exceptions WHERE host_id = $1 AND status = 'live' AND error LIKE '%floor%'", b.HostID).Scan(&n)
		return err == nil && n == 1
	})
	b.execute(t, 2)
	b.says(t, 0, "status", "fleet ", "without effect here")
	exec("SELECT fleet.set_state_v1('host', 'other', 'FLEET', 'enabled', NULL, NULL, 'not here', 'bob')")

	// Cut off, also over a restart: what was said goes on to count.
	for _, h := range hosts {
		exec("ALTER ROLE " + h.Role + " NOLOGIN")
		exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", h.Role)
	}
	a.p.logged(t, "no connection to the fleet's database, it is tried again")
	if code, _ := a.p.stop(t, syscall.SIGTERM); code != 0 {
		all, _, _ := a.p.log.snapshot()
		t.Errorf("exit code %d, want 0: %s", code, strings.Join(all[max(0, len(all)-10):], "\n"))
	}
	a.start(t)
	a.execute(t, 0)
	b.execute(t, 2)
	publish(3)
	exec("SELECT fleet.clear_state_v1('fleet', NULL, 'FLEET')")
	b.execute(t, 2)
	a.execute(t, 0)
	for _, h := range hosts {
		exec("ALTER ROLE " + h.Role + " LOGIN")
	}
	for _, h := range hosts {
		h.p.logged(t, "rule live", "rule_id", "FLEET", "rule_version", 3.0)
		h.execute(t, 3)
	}
	waitFor(t, "the database to know which rules run", func() bool { return status(a) == "live" && status(b) == "live" })
	for _, h := range hosts {
		if code, _ := h.p.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		var want []string
		for n := range h.next {
			if version := h.want[n+1]; version > 0 {
				want = append(want, fmt.Sprintf("numbered-%d by %d", n+1, version))
			}
		}
		rows, err := super.Query(t.Context(), `SELECT (body #>> '{process,args,1}') || ' by ' || (body #>> '{rule,version}') FROM fleet.detections
			WHERE host_id = $1 AND kind = 'detection'`, h.HostID)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("host %s has\n%s\nwant\n%s", h.Role, strings.Join(got, ", "), strings.Join(want, ", "))
		}
	}
}
