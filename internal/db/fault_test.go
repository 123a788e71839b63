package db_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/db"
	"bittern/internal/db/pgtest"
	"bittern/internal/outbox"
	"bittern/internal/pki"
	"bittern/internal/require"
)

// trial is a delivery by way of a proxy to a server that something happens to.
type trial struct {
	*checked
	delivery *delivery
	proxy    *proxy
	host     db.Enrolment
	certs    string // directory of its certificate and key
	sent     []outbox.Record
	gone     int // of the first records: they went with the partition that was dropped
}

// bound is that of calls in a trial.
const bound = 2 * time.Second

func newTrial(t *testing.T, c *checked) *trial {
	t.Helper()
	tr := &trial{checked: c, certs: t.TempDir()}
	var err error
	if tr.host, err = db.Enroll(t.Context(), c.conn, t.Name(), nil); err != nil {
		t.Fatal(err)
	}
	dsn, err := c.TLS(tr.certs, tr.host.Role)
	if err != nil {
		t.Fatal(err)
	}
	tr.proxy = newProxy(t, dsn)
	tr.proxy.calm.Store(true)
	tr.delivery = deliverTo(t, db.SinkConfig{DSN: tr.proxy.dsn, Log: quiet(), CallWithin: bound}, func(time.Duration) <-chan time.Time { return time.After(10 * time.Millisecond) })
	return tr
}

// append puts records into the outbox, of times that many years from now.
func (tr *trial) append(t *testing.T, years ...int) {
	t.Helper()
	const records = 20
	var batch []outbox.Record
	for i := range records {
		r := kept(len(tr.sent)+i, fmt.Sprintf(keptDocument, i))
		if len(years) > 0 {
			r.Time = r.Time.AddDate(years[i%len(years)], 0, 0)
		}
		batch = append(batch, r)
	}
	if err := tr.delivery.box.Append(batch...); err != nil {
		t.Fatal(err)
	}
	tr.sent = append(tr.sent, batch...)
}

// wait waits until something is so.
func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

// delivered waits until all that is in the outbox is in the database.
func (tr *trial) delivered(t *testing.T) {
	t.Helper()
	wait(t, "all is delivered", func() bool { return tr.delivery.runner.Stats().Delivered == uint64(len(tr.sent)) })
}

// exactlyOnce is the checker: each record that the outbox took is in the database once, wherever, as it was, or else a loss tells of it.
func (tr *trial) exactlyOnce(t *testing.T) {
	t.Helper()
	if lost := tr.delivery.box.Losses(); len(lost) != 0 {
		t.Errorf("lost: %v", lost)
	}
	for _, r := range tr.sent[tr.gone:] {
		got := row(t, tr.conn, `SELECT (SELECT array_agg(event_time) FROM fleet.detections WHERE host_id = $1 AND detection_id = $2) AS here,
			(SELECT array_agg(event_time) FROM fleet.detections_late WHERE host_id = $1 AND detection_id = $2) AS late,
			(SELECT count(*) FROM fleet.dead_letters WHERE host_id = $1 AND detection_id = $2) AS dead,
			(SELECT array_agg(event_time) = ARRAY[$3::timestamptz] FROM (SELECT * FROM fleet.detections UNION ALL SELECT * FROM fleet.detections_late) d WHERE host_id = $1 AND detection_id = $2) AS right`,
			tr.host.HostID, r.ID.String(), r.Time)
		if got["right"] != true || got["dead"] != 0.0 {
			t.Errorf("record %d of %s: %v", r.Seq, r.Time, got)
		}
	}
}

func (tr *trial) late(t *testing.T) int {
	t.Helper()
	return one[int](t, tr.conn, "SELECT count(*)::int FROM fleet.detections_late WHERE host_id = $1", tr.host.HostID)
}

// cut ends the host's connections, so that it comes anew.
func (tr *trial) cut(t *testing.T) {
	t.Helper()
	exec(t, tr.conn, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1", tr.host.Role)
}

// drop drops today's partition, with what is in it.
func (tr *trial) drop(t *testing.T) {
	t.Helper()
	exec(t, tr.conn, "DO $$ BEGIN EXECUTE format('DROP TABLE fleet.%I', "+today+"); END $$")
	tr.gone = len(tr.sent)
}

func (tr *trial) halt(t *testing.T, how func() error) {
	t.Helper()
	if err := how(); err != nil {
		t.Fatal(err)
	}
}

func (tr *trial) resume(t *testing.T) {
	t.Helper()
	if err := tr.Resume(); err != nil {
		t.Fatal(err)
	}
	tr.conn = tr.Connect(tr.t, "postgres")
}

const today = "'detections_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')"

// Faults. Records are delivered before; then fault happens, more records come, and an error tells of it if there is one to be told; then undo.
var faults = []struct {
	name        string
	fault, undo func(t *testing.T, tr *trial)
	says        string // the error of the delivery; "" for none, * for any
	years       []int  // of records that come meanwhile
	late        bool   // they are
	mayBeLate   bool   // if they come at that moment
}{
	{name: "immediate shutdown", says: "*",
		fault: func(t *testing.T, tr *trial) {
			tr.halt(t, func() error { return tr.Halt(pgtest.ImmediateShutdown) })
		},
		undo: func(t *testing.T, tr *trial) { tr.resume(t) }},
	{name: "killed", says: "*",
		fault: func(t *testing.T, tr *trial) { tr.halt(t, func() error { return tr.Halt(pgtest.Killed) }) },
		undo:  func(t *testing.T, tr *trial) { tr.resume(t) }},
	{name: "restarts while records come",
		fault: func(t *testing.T, tr *trial) {
			for range 3 {
				tr.append(t)
				tr.halt(t, func() error { return tr.Halt(pgtest.ImmediateShutdown) })
				tr.append(t)
				tr.resume(t)
			}
		}},
	{name: "read-only role", says: "in a read-only transaction",
		fault: func(t *testing.T, tr *trial) {
			exec(t, tr.conn, "ALTER ROLE "+tr.host.Role+" SET default_transaction_read_only = on")
			tr.cut(t)
		},
		undo: func(t *testing.T, tr *trial) {
			exec(t, tr.conn, "ALTER ROLE "+tr.host.Role+" RESET default_transaction_read_only")
		}},
	{name: "standby", says: "in a read-only transaction",
		fault: func(t *testing.T, tr *trial) {
			tr.halt(t, func() error { return tr.Halt(pgtest.FastShutdown) })
			if err := os.WriteFile(filepath.Join(tr.Data(), "standby.signal"), nil, 0o666); err != nil {
				t.Fatal(err)
			}
			tr.resume(t)
		},
		undo: func(t *testing.T, tr *trial) {
			if !one[bool](t, tr.conn, "SELECT pg_promote()") {
				t.Fatal("the standby was not promoted")
			}
		}},
	{name: "full disk", says: "No space left on device", fault: fillDisk,
		undo: func(t *testing.T, tr *trial) {
			if err := os.Remove(filepath.Join(tr.Data(), "small", "ballast")); err != nil {
				t.Fatal(err)
			}
		}},
	{name: "half-open link", says: "deadline exceeded",
		fault: func(_ *testing.T, tr *trial) { tr.proxy.stand.Lock() },
		undo:  func(_ *testing.T, tr *trial) { tr.proxy.stand.Unlock() }},
	{name: "slow link", fault: func(_ *testing.T, tr *trial) { tr.proxy.slow.Store(true) }},
	{name: "partition dropped by hand", mayBeLate: true, says: "a partition was removed meanwhile",
		fault: func(t *testing.T, tr *trial) {
			tr.drop(t)
		},
		undo: func(t *testing.T, tr *trial) {
			f := tr.finding(t, "is not there, and records of its day wait")
			if f == nil {
				t.Fatal("Check does not find it")
			}
			tr.obey(t, f.Hint)
		}},
	{name: "days that nobody has made", late: true,
		fault: func(t *testing.T, tr *trial) {
			tr.drop(t)
			exec(t, tr.conn, "DELETE FROM fleet.detection_days")
		},
		undo: func(t *testing.T, tr *trial) {
			exec(t, tr.conn, "DO $$ DECLARE r record; BEGIN FOR r IN SELECT relname FROM pg_class WHERE relname ~ '^detections_[0-9]{8}$' LOOP EXECUTE format('DROP TABLE fleet.%I', r.relname); END LOOP; END $$")
			tr.obey(t, "run bittern db maintain")
		}},
	{name: "clock that is wrong by years", late: true, years: []int{10, -10, 200, -50}}, // what nanoseconds since 1970 can say, as the kernel's
	{name: "revoked", says: "is not permitted to log in",
		fault: func(t *testing.T, tr *trial) {
			if _, err := db.Revoke(t.Context(), tr.conn, tr.host.Role); err != nil {
				t.Fatal(err)
			}
		},
		undo: func(t *testing.T, tr *trial) {
			exec(t, tr.conn, "UPDATE fleet.hosts SET revoked_at = NULL WHERE host_id = $1", tr.host.HostID)
			exec(t, tr.conn, "ALTER ROLE "+tr.host.Role+" LOGIN")
		}},
	{name: "certificate expired", says: "the certificate has expired at 20",
		fault: func(t *testing.T, tr *trial) { tr.certify(t, time.Now().AddDate(-2, 0, 0)); tr.cut(t) },
		undo:  func(t *testing.T, tr *trial) { tr.certify(t, time.Now()) }},
	{name: "schema older than the agent", says: "an operator has to run bittern db migrate",
		fault: func(t *testing.T, tr *trial) {
			exec(t, tr.conn, "DO $$ BEGIN EXECUTE format('ALTER FUNCTION %s RENAME TO ingest_v0', 'fleet.ingest_v1'::regproc::oid::regprocedure); END $$")
		},
		undo: func(t *testing.T, tr *trial) {
			exec(t, tr.conn, "DO $$ BEGIN EXECUTE format('ALTER FUNCTION %s RENAME TO ingest_v1', 'fleet.ingest_v0'::regproc::oid::regprocedure); END $$")
		}},
	{name: "schema newer than the agent",
		fault: func(t *testing.T, tr *trial) {
			exec(t, tr.conn, "INSERT INTO fleet.schema_versions (version, name, sha256) VALUES (99, 'to_come', ''); ALTER TABLE fleet.detections ADD COLUMN to_come text")
		},
		undo: func(t *testing.T, tr *trial) {
			exec(t, tr.conn, "DELETE FROM fleet.schema_versions WHERE version = 99; ALTER TABLE fleet.detections DROP COLUMN to_come")
		}},
}

// TestFaults: whatever happens to the server, the link, the schema or the host, each record comes to be in the database once.
func TestFaults(t *testing.T) {
	c := newChecked(t, pgtest.Config{Fsync: true}) // a commit must be one
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			tr := newTrial(t, c)
			tr.append(t)
			tr.delivered(t)
			if f.fault != nil {
				f.fault(t, tr)
			}
			at := time.Now()
			tr.append(t, f.years...)
			if f.says == "" {
				tr.delivered(t)
			} else {
				var said error
				wait(t, "an error says "+f.says, func() bool {
					said = tr.delivery.runner.Health()
					return said != nil && (f.says == "*" || strings.Contains(said.Error(), f.says))
				})
				t.Logf("after %s: %v", time.Since(at).Round(time.Millisecond), said)
				if took := time.Since(at); f.name == "half-open link" && took > bound+5*time.Second {
					t.Errorf("it took %s until the link was given up", took)
				}
			}
			if f.undo != nil {
				f.undo(t, tr)
			}
			tr.append(t)
			tr.delivery.end(t)
			tr.exactlyOnce(t)
			if late := tr.late(t) > 0; late != f.late && !f.mayBeLate {
				t.Errorf("%d records are late", tr.late(t))
			}
		})
	}
}

// certify writes the host's certificate anew, as it would have been made then.
func (tr *trial) certify(t *testing.T, then time.Time) {
	t.Helper()
	path := filepath.Join(tr.certs, tr.host.Role)
	key, err := pki.ReadKey(path + ".key")
	if err != nil {
		t.Fatal(err)
	}
	der, err := tr.CA.Client(tr.host.Role, key.Public(), then)
	if err == nil {
		err = pki.WriteCert(path+".crt", der)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fillDisk moves today's records to a file system that is full.
func fillDisk(t *testing.T, tr *trial) {
	require.Root(t)
	disk := filepath.Join(tr.Data(), "small")
	info, err := os.Stat(tr.Data())
	if err != nil {
		t.Fatal(err)
	}
	var owner unix.Stat_t
	if err := unix.Stat(tr.Data(), &owner); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(disk, info.Mode().Perm()); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=1m,mode=0700,uid=%d,gid=%d", owner.Uid, owner.Gid)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec(tr.t, tr.conn, "DO $$ BEGIN EXECUTE format('ALTER TABLE fleet.%I SET TABLESPACE pg_default', "+today+"); EXECUTE (SELECT string_agg(format('ALTER INDEX %s SET TABLESPACE pg_default', indexrelid::regclass), '; ') FROM pg_index WHERE indrelid = ('fleet.' || "+today+")::regclass); END $$")
		exec(tr.t, tr.conn, "CHECKPOINT")
		exec(tr.t, tr.conn, "DROP TABLESPACE small")
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(errors.Join(err, unix.Unmount(disk, unix.MNT_DETACH)))
		}
	})
	exec(t, tr.conn, "CREATE TABLESPACE small LOCATION '"+disk+"'")
	exec(t, tr.conn, "DO $$ BEGIN EXECUTE format('ALTER TABLE fleet.%I SET TABLESPACE small', "+today+"); END $$")
	ballast, err := os.Create(filepath.Join(disk, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = ballast.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	tr.sent = tr.sent[:len(tr.sent):len(tr.sent)]
	// The pages that it has are filled first.
	for range 30 {
		tr.append(t)
	}
}
