package db_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestNoChangeIsMissed lets operators change states in transactions that commit in any order, while an agent syncs all the time. At
// the end it must know all. A watermark by the time of the change is run beside it, and loses some: so the test can find a loss.
func TestNoChangeIsMissed(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	reader := f.Connect(t, "fleet_console")
	exec(t, f.super, `CREATE TABLE public.naive (rule_id text, at timestamptz DEFAULT clock_timestamp());
		GRANT ALL ON public.naive TO fleet_operator, fleet_console; GRANT USAGE ON SCHEMA public TO fleet_operator, fleet_console`)
	const operators, each = 6, 25
	var wg sync.WaitGroup
	failed := make(chan error, operators)
	for o := range operators {
		conn := f.Connect(t, "fleet_operator")
		wg.Go(func() {
			for i := range each {
				err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
					rule := fmt.Sprintf("R%d_%d", o, i)
					if _, err := tx.Exec(t.Context(), "INSERT INTO public.naive (rule_id) VALUES ($1)", rule); err != nil {
						return err
					}
					for n := range 3 {
						if _, err := tx.Exec(t.Context(), "SELECT fleet.set_state_v1('fleet', NULL, $1, 'clipped', 0.5, NULL, '')", fmt.Sprintf("%s_%d", rule, n)); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	a := &agent{conn: h.conn}
	naive, mark := map[string]bool{}, "-infinity"
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if err := a.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		mark = poll(t, reader, mark, naive)
	}
	close(failed)
	for err := range failed {
		t.Fatal(err)
	}
	if len(a.states) != operators*each*3 {
		t.Errorf("the agent knows %d states of %d", len(a.states), operators*each*3)
	}
	if len(naive) == operators*each {
		t.Log("this time a watermark by times has lost nothing")
	}
	t.Logf("a watermark by times has lost %d of %d", operators*each-len(naive), operators*each)
}

func poll(t *testing.T, conn *pgx.Conn, mark string, seen map[string]bool) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT rule_id, at::text FROM public.naive WHERE at > $1::text::timestamptz ORDER BY at", mark)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var rule string
		if err := rows.Scan(&rule, &mark); err != nil {
			t.Fatal(err)
		}
		seen[rule] = true
	}
	return mark
}

// TestLateCommit is the same with an order that is forced: the transaction that began first commits last.
func TestLateCommit(t *testing.T) {
	f := newFleet(t)
	a := &agent{conn: f.host("a").conn}
	first, second := f.Connect(t, "fleet_operator"), f.Connect(t, "fleet_operator")
	exec(t, first, "BEGIN")
	exec(t, first, "SELECT fleet.set_state_v1('fleet', NULL, 'R1', 'clipped', 0.5, NULL, '')")
	waits := make(chan error, 1)
	go func() {
		_, err := second.Exec(t.Context(), "SELECT fleet.set_state_v1('fleet', NULL, 'R2', 'clipped', 0.5, NULL, '')")
		waits <- err
	}()
	// The second one can't get ahead: it waits for the clock, and the agent sees neither.
	for one[int](t, f.super, "SELECT count(*)::int FROM pg_locks WHERE NOT granted") == 0 {
		select {
		case err := <-waits:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
	}
	a.want(t, "")
	exec(t, first, "COMMIT")
	if err := <-waits; err != nil {
		t.Fatal(err)
	}
	a.want(t, "R1 clipped fleet, R2 clipped fleet")
}
