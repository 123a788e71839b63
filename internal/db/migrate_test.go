package db_test

import (
	"errors"
	"testing"

	"bittern/internal/db"
)

func TestMigratedIsRight(t *testing.T) {
	f := newFleet(t)
	found, err := db.Check(t.Context(), f.ops)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		if p.Severity == "error" {
			t.Errorf("%s (%s)", p.What, p.Hint)
		} else {
			t.Logf("%s (%s)", p.What, p.Hint)
		}
	}
	done, err := db.Migrate(t.Context(), f.super)
	if err != nil || len(done) != 0 {
		t.Errorf("once more: %v, %v", done, err)
	}
}

func TestMigratorNeedsNoSuperuser(t *testing.T) {
	f := newFleet(t)
	exec(t, f.super, "DELETE FROM fleet.schema_versions WHERE version = 11; DROP VIEW fleet.host_rule_status")
	done, err := db.Migrate(t.Context(), f.Connect(t, "fleet_migrator"))
	if err != nil || len(done) != 1 || done[0].Version != 11 {
		t.Fatalf("%v, %v", done, err)
	}
	if _, err := db.Migrate(t.Context(), f.ops); err == nil {
		t.Error("an operator may migrate")
	}
}

func TestNewerSchemaIsLeftAlone(t *testing.T) {
	f := newFleet(t)
	exec(t, f.super, "INSERT INTO fleet.schema_versions (version, name, sha256) VALUES (99, 'to_come', '')")
	if _, err := db.Migrate(t.Context(), f.super); !errors.Is(err, db.ErrNewer) {
		t.Errorf("got %v", err)
	}
}

func TestEditedMigrationIsNoticed(t *testing.T) {
	f := newFleet(t)
	exec(t, f.super, "UPDATE fleet.schema_versions SET sha256 = 'other' WHERE version = 3")
	if _, err := db.Migrate(t.Context(), f.super); !errors.Is(err, db.ErrEdited) {
		t.Errorf("got %v", err)
	}
}
