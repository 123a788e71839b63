package db_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"bittern/internal/db"
	"bittern/internal/db/pgtest"
)

func TestMaintain(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	maint := f.Connect(t, "fleet_maint")
	done, err := db.Maintain(t.Context(), maint)
	if err != nil || len(done.Made) != 0 || len(done.Dropped) != 0 {
		t.Fatalf("with nothing to do: %+v, %v", done, err)
	}
	// A day that is to go, with a row in it, and one that is to come.
	exec(t, f.super, "UPDATE fleet.settings SET detection_days = 3, days_ahead = 9")
	old := time.Now().UTC().AddDate(0, 0, -4)
	exec(t, f.super, "SET ROLE fleet_owner")
	exec(t, f.super, "SELECT fleet.make_day($1)", old)
	exec(t, f.super, "RESET ROLE")
	b := detections(1, "{}")
	b.times[0] = old
	b.wantSent(t, h.conn, [3]int{1, 0, 0})
	exec(t, f.super, `UPDATE fleet.settings SET late_days = 1, dead_letter_days = 1;
		INSERT INTO fleet.detections_late SELECT * FROM fleet.detections; UPDATE fleet.detections_late SET received_at = now() - interval '2 days';
		INSERT INTO fleet.dead_letters SELECT host_id, detection_id, now() - interval '2 days', '', '', '', '', 0, '', detection_id, 0 FROM fleet.detections;
		INSERT INTO fleet.rulesets (ruleset, first_host, created_at) SELECT repeat('0', 64), host_id, now() - interval '2 days' FROM fleet.hosts`)
	gone, assigned, old20 := f.publish(map[string]string{"R1": "gone", "R2": "kept"}), f.publish(map[string]string{"R1": "assigned", "R2": "kept"}), []published{}
	exec(t, f.ops, "SELECT fleet.assign_v1('fleet', NULL, $1)", assigned.id)
	exec(t, f.super, "UPDATE fleet.publications SET published_at = now() - interval '3 days'; UPDATE fleet.rulesets SET created_at = now() - interval '2 days'")
	for i := range 20 {
		old20 = append(old20, f.publish(map[string]string{"R1": fmt.Sprint("newer ", i)}))
	}
	exec(t, f.super, "UPDATE fleet.publications SET published_at = now() - interval '2 days' WHERE published_at > now() - interval '1 day'")
	found, err := db.Check(t.Context(), f.ops)
	if err != nil || !hasFinding(found, "partitions are there for 8 days from today on, of 9") {
		t.Errorf("%v, %v", found, err)
	}
	done, err = db.Maintain(t.Context(), maint)
	if err != nil {
		t.Fatal(err)
	}
	if len(done.Made) != 2 || len(done.Dropped) != 1 || done.Dropped[0] != "detections_"+old.Format("20060102") || done.Late != 1 || done.DeadLetters != 1 ||
		done.Rulesets != 2 || done.Publications != 1 || done.Blobs != 2 {
		t.Errorf("got %+v", done)
	}
	if n := one[int](t, f.super, "SELECT count(*)::int FROM fleet.publications WHERE publication = $1", gone.id); n != 0 {
		t.Error("the old publication is there")
	}
	if blobs, err := db.ReadBlobs(t.Context(), h.conn, []string{contentHash("assigned"), contentHash("kept"), contentHash(string(assigned.pages[0]))}); err != nil || len(blobs) != 3 {
		t.Errorf("of what is to run there are %d blobs: %v", len(blobs), err)
	}
	if n := one[int](t, f.super, "SELECT count(*)::int FROM fleet.publications"); n != len(old20)+1 {
		t.Errorf("%d publications are left", n)
	}
	// The same event once more is late now.
	b.wantSent(t, h.conn, [3]int{1, 0, 1})
	if one[bool](t, maint, "SELECT current_user <> session_user") {
		t.Error("the connection was left as the owner")
	}
}

// TestMaintainGoesOn is about one that was killed between two steps.
func TestMaintainGoesOn(t *testing.T) {
	f := newFleet(t)
	maint := f.Connect(t, "fleet_maint")
	exec(t, f.super, "SET ROLE fleet_owner")
	for days, killed := range map[int]string{200: "DELETE FROM fleet.detection_days WHERE partition = '%s'", 201: "ALTER TABLE fleet.detections DETACH PARTITION fleet.%s"} {
		day := time.Now().UTC().AddDate(0, 0, -days)
		exec(t, f.super, "SELECT fleet.make_day($1)", day)
		exec(t, f.super, fmt.Sprintf(killed, "detections_"+day.Format("20060102")))
	}
	if done, err := db.Maintain(t.Context(), maint); err != nil || len(done.Dropped) != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	if one[int](t, f.super, "SELECT count(*)::int FROM pg_inherits WHERE inhparent = 'fleet.detections'::regclass") != one[int](t, f.super, "SELECT count(*)::int FROM fleet.detection_days") {
		t.Error("days and partitions differ")
	}
}

func TestMaintainIsOne(t *testing.T) {
	f := newFleet(t)
	exec(t, f.super, "SELECT pg_advisory_lock(7091327131538583042)")
	if _, err := db.Maintain(t.Context(), f.Connect(t, "fleet_maint")); !errors.Is(err, db.ErrBusy) {
		t.Errorf("got %v", err)
	}
	if _, err := db.Maintain(t.Context(), f.ops); state(err) != denied {
		t.Errorf("an operator: got %v", err)
	}
}

// TestMigrateTogether: two that migrate an empty database at once.
func TestMigrateTogether(t *testing.T) {
	f := newFleet(t)
	exec(t, f.super, "CREATE DATABASE "+f.Name+"_empty")
	t.Cleanup(func() {
		if err := dropDatabase(f, f.Name+"_empty"); err != nil {
			t.Error(err)
		}
	})
	empty := &pgtest.Database{Cluster: f.Cluster, Name: f.Name + "_empty"}
	results := make(chan int, 3)
	for range cap(results) {
		conn := empty.Connect(t, "postgres")
		go func() {
			done, err := db.Migrate(t.Context(), conn)
			if err != nil {
				t.Error(err)
			}
			results <- len(done)
		}()
	}
	sum := 0
	for range cap(results) {
		sum += <-results
	}
	all, err := db.Migrations()
	if err != nil || sum != len(all) {
		t.Errorf("%d migrations were applied, of %d: %v", sum, len(all), err)
	}
}

func TestCheckOfAnEmptyDatabase(t *testing.T) {
	f := newFleet(t)
	conn := (&pgtest.Database{Cluster: f.Cluster, Name: "postgres"}).Connect(t, "postgres")
	found, err := db.Check(t.Context(), conn)
	if err != nil || !hasFinding(found, "run bittern db migrate") {
		t.Errorf("%v, %v", found, err)
	}
	status, err := db.ReadStatus(t.Context(), conn)
	if err != nil || status.Schema != 0 || status.Known != 11 {
		t.Errorf("%+v, %v", status, err)
	}
	status, err = db.ReadStatus(t.Context(), f.Connect(t, "fleet_console"))
	if err != nil || status.Schema != 11 {
		t.Errorf("%+v, %v", status, err)
	}
}
