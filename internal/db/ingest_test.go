package db_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// batch is the arguments of ingest_v1.
type batch struct {
	ids, kinds, rules, hashes, severities, attacks, bodies []string
	times                                                  []time.Time
	confidences                                            []*float32
	counts, seqs                                           []int64
	segment                                                string
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// detections makes n rows of now.
func detections(n int, body string) *batch {
	b := &batch{segment: newUUID()}
	half := float32(0.5)
	for i := range n {
		b.ids, b.kinds, b.rules = append(b.ids, newUUID()), append(b.kinds, "detection"), append(b.rules, "BT0001")
		b.hashes, b.severities = append(b.hashes, strings.Repeat("ab", 32)), append(b.severities, "high")
		b.attacks, b.bodies = append(b.attacks, "TA0002,T1059,T1059.004"), append(b.bodies, body)
		b.times, b.confidences = append(b.times, time.Now()), append(b.confidences, &half)
		b.counts, b.seqs = append(b.counts, 1), append(b.seqs, int64(i+1))
	}
	return b
}

const ingestSQL = "SELECT accepted, duplicates, late FROM fleet.ingest_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"

func (b *batch) args() []any {
	return []any{b.ids, b.kinds, b.times, b.rules, b.hashes, b.severities, b.confidences, b.attacks, b.counts, b.bodies, b.segment, b.seqs}
}

func (b *batch) send(ctx context.Context, conn *pgx.Conn) (got [3]int, err error) {
	return got, conn.QueryRow(ctx, ingestSQL, b.args()...).Scan(&got[0], &got[1], &got[2])
}

// wantSent sends a batch that must be taken, and compares accepted, duplicates and late.
func (b *batch) wantSent(t testing.TB, conn *pgx.Conn, want [3]int) {
	t.Helper()
	got, err := b.send(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("accepted, duplicates, late: got %v, want %v", got, want)
	}
}

// state is the SQLSTATE of an error, "" for none.
func state(err error) string {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &pg):
		return pg.Code
	}
	return err.Error()
}

func TestIngest(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	b := detections(3, `{"a": [1, "ü"]}`)
	b.wantSent(t, h.conn, [3]int{3, 0, 0})
	b.wantSent(t, h.conn, [3]int{0, 3, 0})
	more := detections(2, "{}")
	more.ids[0], more.times[0] = b.ids[0], b.times[0]
	more.wantSent(t, h.conn, [3]int{1, 1, 0})

	old := detections(3, "{}")
	old.times[0], old.times[1] = time.Unix(0, 0), time.Now().AddDate(1, 0, 0)
	old.wantSent(t, h.conn, [3]int{3, 0, 2})
	old.wantSent(t, h.conn, [3]int{0, 3, 0})

	got := row(t, f.super, "SELECT attack, body, severity, confidence, content_hash, kind, count, seq, segment FROM fleet.detections WHERE detection_id = $1", b.ids[1])
	if fmt.Sprint(got["attack"]) != "[TA0002 T1059 T1059.004]" || fmt.Sprint(got["body"]) != "map[a:[1 ü]]" || got["segment"] != b.segment || got["seq"] != 2.0 {
		t.Errorf("got %v", got)
	}
	if n := one[int](t, f.super, "SELECT count(*)::int FROM fleet.detections_late WHERE host_id = $1", h.HostID); n != 2 {
		t.Errorf("%d late", n)
	}
}

// TestPoison: what the server will never take is of class 22 or 23, so that the agent puts it aside, and nothing of its batch is
// taken. Then it is taken as a dead letter.
func TestPoison(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	for _, tc := range []struct {
		name string
		do   func(b *batch)
	}{
		{"NUL in JSON", func(b *batch) { b.bodies[1] = `{"a": "\u0000"}` }},
		{"NUL byte", func(b *batch) { b.bodies[1] = "{\"a\": \"\x00\"}" }},
		{"not JSON", func(b *batch) { b.bodies[1] = `{` }},
		{"empty body", func(b *batch) { b.bodies[1] = `` }},
		{"lone surrogate", func(b *batch) { b.bodies[1] = `"\ud800"` }},
		{"invalid UTF-8", func(b *batch) { b.bodies[1] = "\"\xff\"" }},
		{"invalid UTF-8 in a rule", func(b *batch) { b.rules[1] = "\xff" }},
		{"huge number", func(b *batch) { b.bodies[1] = `1e1000000` }},
		{"too deep", func(b *batch) { b.bodies[1] = strings.Repeat("[", 30000) + strings.Repeat("]", 30000) }},
		{"large body", func(b *batch) { b.bodies[1] = `"` + strings.Repeat("a", 65536) + `"` }},
		{"long rule", func(b *batch) { b.rules[1] = strings.Repeat("a", 256) }},
		{"long ATT&CK list", func(b *batch) { b.attacks[1] = strings.Repeat("T1059,", 1000) }},
		{"too few bodies", func(b *batch) { b.bodies = b.bodies[1:] }},
		{"too many rows", func(b *batch) { *b = *detections(1001, "{}") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := detections(3, "{}")
			tc.do(b)
			_, err := b.send(t.Context(), h.conn)
			if s := state(err); !strings.HasPrefix(s, "22") && !strings.HasPrefix(s, "23") && !strings.HasPrefix(s, "2202E") {
				t.Errorf("got SQLSTATE %s: %v", s, err)
			}
			if n := one[int](t, f.super, "SELECT count(*)::int FROM fleet.detections"); n != 0 {
				t.Errorf("%d rows of the batch were taken", n)
			}
			if len(b.bodies) != 3 {
				return
			}
			raw := [][]byte{[]byte(b.bodies[1])}
			for want := range 2 {
				var accepted, duplicates int
				err = h.conn.QueryRow(t.Context(), "SELECT * FROM fleet.ingest_raw_v1($1, $2, $3, $4, $5, $6, $7, $8)", b.ids[1:2], b.kinds[1:2],
					[]string{"BT0001"}, []string{state(err)}, []string{tc.name}, raw, b.segment, b.seqs[1:2]).Scan(&accepted, &duplicates)
				if err != nil || accepted != 1-want || duplicates != want {
					t.Errorf("as a dead letter: %d, %d, %v", accepted, duplicates, err)
				}
			}
			kept := row(t, f.super, "SELECT length, octet_length(body) AS kept FROM fleet.dead_letters WHERE detection_id = $1", b.ids[1])
			if kept["length"] != float64(len(raw[0])) || kept["kept"] != float64(min(len(raw[0]), 16384)) {
				t.Errorf("got %v", kept)
			}
		})
	}
}

func TestQuotaMakesHostsWait(t *testing.T) {
	f := newFleet(t)
	h, other := f.host("a"), f.host("b")
	exec(t, f.ops, "UPDATE fleet.settings SET rows_per_day = 5")
	detections(5, "{}").wantSent(t, h.conn, [3]int{5, 0, 0})
	if _, err := detections(1, "{}").send(t.Context(), h.conn); state(err) != "53400" {
		t.Errorf("got %v", err)
	}
	detections(5, "{}").wantSent(t, other.conn, [3]int{5, 0, 0})
	exec(t, f.super, "UPDATE fleet.hosts SET rows_per_day = 6 WHERE host_id = $1", h.HostID)
	detections(1, "{}").wantSent(t, h.conn, [3]int{1, 0, 0})
	exec(t, f.super, "UPDATE fleet.host_usage SET day = day - 1")
	detections(6, "{}").wantSent(t, h.conn, [3]int{6, 0, 0})
}

func TestMissingPartition(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	// The days are forgotten first: what comes is late.
	exec(t, f.super, "DELETE FROM fleet.detection_days")
	detections(2, "{}").wantSent(t, h.conn, [3]int{2, 0, 2})
	// Somebody has dropped a partition by hand, while the day is known: agents are to come again.
	exec(t, f.super, "INSERT INTO fleet.detection_days SELECT (now() AT TIME ZONE 'UTC')::date, 'x'")
	exec(t, f.super, "DROP TABLE fleet.detections_"+time.Now().UTC().Format("20060102"))
	if _, err := detections(2, "{}").send(t.Context(), h.conn); state(err) != "40001" {
		t.Errorf("got %v", err)
	}
}

func TestLossesOnlyGrow(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	ledger, first := newUUID(), time.Now().Add(-time.Hour)
	send := func(ledger string, counts ...int64) int {
		n := len(counts)
		same := func(s string) []string { return strings.Split(strings.TrimSuffix(strings.Repeat(s+",", n), ","), ",") }
		times := make([]time.Time, n)
		for i := range times {
			times[i] = first
		}
		causes := same("quota")
		if n > 1 {
			causes[1] = "disk"
		}
		return one[int](t, h.conn, "SELECT changed FROM fleet.ingest_losses_v1($1, $2, $3, $4, $5, $6, $7, $8)",
			ledger, same("postgres"), same("BT0001"), same("detection"), causes, counts, times, times)
	}
	for _, tc := range []struct {
		counts     []int64
		want, sums int
	}{{[]int64{5, 7}, 2, 12}, {[]int64{5, 7}, 0, 12}, {[]int64{3, 8}, 1, 13}, {[]int64{9}, 1, 17}} {
		if got := send(ledger, tc.counts...); got != tc.want {
			t.Errorf("%v: %d changed, want %d", tc.counts, got, tc.want)
		}
		if sum := one[int](t, f.super, "SELECT sum(count)::int FROM fleet.losses"); sum != tc.sums {
			t.Errorf("%v: %d in sum, want %d", tc.counts, sum, tc.sums)
		}
	}
	if send(newUUID(), 1); one[int](t, f.super, "SELECT sum(count)::int FROM fleet.losses") != 18 {
		t.Error("a new ledger does not count from nothing")
	}
}
