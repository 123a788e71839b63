package db_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"bittern/internal/db"
	"bittern/internal/db/pgtest"
)

// pooledWithin bounds clients that could wait for each other's locks for ever.
const pooledWithin = time.Minute

// operator connects as commands do, until the test ends.
func operator(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := db.ConnectOperator(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// pooled is a fleet behind a PgBouncer, with two operators who are not the only ones on their connections.
func pooled(t *testing.T) (*fleet, *pgtest.Bouncer, []string) {
	t.Helper()
	f := newFleet(t)
	operators := []string{"alice_" + f.Name, "bob_" + f.Name}
	for _, o := range operators {
		exec(t, f.super, "CREATE ROLE "+o+" LOGIN IN ROLE fleet_operator")
		exec(t, f.super, "GRANT CONNECT ON DATABASE "+f.Name+" TO "+o)
		t.Cleanup(func() {
			if _, err := f.super.Exec(context.Background(), "DROP OWNED BY "+o+"; DROP ROLE "+o); err != nil {
				t.Error(err)
			}
		})
	}
	roles := append([]string{"postgres", "fleet_operator", "fleet_migrator", "fleet_maint", "fleet_console"}, operators...)
	return f, f.Pool(t, 2, roles...), operators
}

// TestPooled has operators work by way of a PgBouncer at once, many to a connection of the server. Each is who he is.
func TestPooled(t *testing.T) {
	f, bouncer, operators := pooled(t)
	ctx, cancel := context.WithTimeout(t.Context(), pooledWithin)
	defer cancel()
	const clients, rounds = 4, 8
	var together sync.WaitGroup
	var hosts sync.Map
	for _, role := range operators {
		for client := range clients {
			conn := operator(t, bouncer.DSN(role, f.Name))
			if err := db.Direct(t.Context(), conn); !errors.Is(err, db.ErrPooled) {
				t.Fatalf("the PgBouncer is not noticed: %v", err)
			}
			together.Go(func() {
				for round := range rounds {
					name := fmt.Sprintf("%s-%d-%d", role, client, round)
					if err := work(ctx, conn, name); err != nil {
						t.Errorf("%s: %v", name, err)
					}
					hosts.Store(name, role)
				}
			})
		}
	}
	// Meanwhile others look, and migrate.
	for range 2 {
		conn, migrator := operator(t, bouncer.DSN("fleet_console", f.Name)), operator(t, bouncer.DSN("fleet_migrator", f.Name))
		together.Go(func() {
			for range rounds {
				if _, err := db.ReadStatus(ctx, conn); err != nil {
					t.Error(err)
				}
				if _, err := db.Check(ctx, conn); err != nil {
					t.Error(err)
				}
				if done, err := db.Migrate(ctx, migrator); err != nil || len(done) != 0 {
					t.Errorf("migrating: %v, %v", done, err)
				}
			}
		})
	}
	together.Wait()
	rows, err := f.super.Query(t.Context(), "SELECT h.name, h.enrolled_by::text, h.revoked_by::text, s.set_by, g.created_by::text FROM fleet.hosts h JOIN fleet.rule_state s ON s.scope_id = h.host_id JOIN fleet.host_groups g ON g.name = h.name")
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Name, Enrolled, Revoked, Set, Made string }])
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		role, _ := hosts.LoadAndDelete(r.Name)
		if r.Enrolled != role || r.Revoked != role || r.Set != role || r.Made != role {
			t.Errorf("done by %v, noted as %+v", role, r)
		}
	}
	hosts.Range(func(name, _ any) bool { t.Errorf("%s is not there", name); return true })
	if n := one[int](t, f.super, "SELECT count(DISTINCT gen)::int FROM fleet.rule_state"); n != len(all) {
		t.Errorf("%d generations for %d changes", n, len(all))
	}
	if left := one[int](t, f.super, "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory'"); left != 0 {
		t.Errorf("%d locks were left behind", left)
	}
	// Roles belong to the cluster.
	exec(t, f.super, "DO $$ DECLARE r record; BEGIN FOR r IN SELECT db_role FROM fleet.hosts LOOP EXECUTE format('DROP OWNED BY %I; DROP ROLE %I', r.db_role, r.db_role); END LOOP; END $$")
}

// work is what an operator does to a host.
func work(ctx context.Context, conn *pgx.Conn, name string) error {
	e, err := db.Enroll(ctx, conn, name, map[string]string{"env": "test"})
	if err != nil {
		return err
	}
	if role, err := db.Redeem(ctx, conn, e.Token); err != nil || role != e.Role {
		return fmt.Errorf("redeeming: %s, %w", role, err)
	}
	if err := db.NoteCertificate(ctx, conn, e.Role, e.UUID, e.ExpiresAt); err != nil {
		return err
	}
	var group, gen int64
	if err := conn.QueryRow(ctx, "SELECT fleet.make_group_v1($1, 1)", name).Scan(&group); err != nil {
		return err
	}
	if err := conn.QueryRow(ctx, "SELECT fleet.set_state_v1('host', $1, 'BT0001', 'clipped', $2, $3, 'x')", e.UUID, 0.5, "1 hour").Scan(&gen); err != nil {
		return err
	}
	r, err := db.Revoke(ctx, conn, e.UUID)
	if err == nil && (r.Role != e.Role || len(r.Serials) != 1) {
		err = fmt.Errorf("revoked %+v, want %s", r, e.Role)
	}
	return err
}

// TestPooledMigrate: several migrate an empty database by way of a PgBouncer at once. The lock is the transaction's.
func TestPooledMigrate(t *testing.T) {
	f, bouncer, _ := pooled(t)
	ctx, cancel := context.WithTimeout(t.Context(), pooledWithin)
	defer cancel()
	empty := f.Name + "_empty"
	if err := f.Create(t.Context(), empty); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dropDatabase(f, empty); err != nil {
			t.Error(err)
		}
	})
	var together sync.WaitGroup
	var sum sync.Map
	for n := range 4 {
		conn := operator(t, bouncer.DSN("postgres", empty))
		together.Go(func() {
			done, err := db.Migrate(ctx, conn)
			if err != nil {
				t.Error(err)
			}
			sum.Store(n, len(done))
		})
	}
	together.Wait()
	total := 0
	sum.Range(func(_, n any) bool { total += n.(int); return true })
	if all, err := db.Migrations(); err != nil || total != len(all) {
		t.Errorf("%d migrations were applied, of %d: %v", total, len(all), err)
	}
}

// TestPooledMaintenance: it is refused, and leaves nothing behind that other clients would get.
func TestPooledMaintenance(t *testing.T) {
	f, bouncer, _ := pooled(t)
	_, err := db.Maintain(t.Context(), operator(t, bouncer.DSN("fleet_maint", f.Name)))
	if !errors.Is(err, db.ErrPooled) || !strings.Contains(err.Error(), "not by way of PgBouncer") {
		t.Errorf("got %v", err)
	}
	if left := one[int](t, f.super, "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory'"); left != 0 {
		t.Errorf("%d locks were left behind", left)
	}
	if _, err := db.Maintain(t.Context(), operator(t, f.DSN("fleet_maint"))); err != nil {
		t.Errorf("to the server itself: %v", err)
	}
}

func TestExecMode(t *testing.T) {
	f := newFleet(t)
	for suffix, want := range map[string]pgx.QueryExecMode{"": pgx.QueryExecModeCacheDescribe, "&default_query_exec_mode=exec": pgx.QueryExecModeExec} {
		if got := operator(t, f.DSN("fleet_operator")+suffix).Config().DefaultQueryExecMode; got != want {
			t.Errorf("%q: got %v, want %v", suffix, got, want)
		}
	}
}
