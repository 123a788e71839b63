package db_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"bittern/internal/db"
	"bittern/internal/db/pgtest"
)

// refused tries to connect, which must fail with that SQLSTATE.
func refused(t *testing.T, dsn, want string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err == nil {
		conn.Close(t.Context())
	}
	if !strings.Contains(state(err), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLogins(t *testing.T) {
	f := newFleet(t)
	attacker, victim := f.enroll("attacker"), f.enroll("victim")
	refused(t, strings.Replace(attacker.dsn, "://"+attacker.Role, "://"+victim.Role, 1), "28000")
	refused(t, strings.Replace(attacker.dsn, "://"+attacker.Role, "://postgres", 1), "28000")
	refused(t, strings.Replace(attacker.dsn, "://"+attacker.Role, "://fleet_owner", 1), "28000")
	refused(t, strings.Replace(attacker.dsn, "/"+f.Name+"?", "/postgres?", 1), denied)
	refused(t, strings.Replace(attacker.dsn, "/"+f.Name+"?", "/template1?", 1), denied)
	refused(t, strings.Replace(attacker.dsn, "sslmode=verify-full", "sslmode=disable", 1), "28000")
	none := attacker.dsn[:strings.Index(attacker.dsn, "?")] + "?sslmode=require"
	refused(t, none, "28000")
	// Another authority's certificate of the right name.
	other, err := pgtest.Start(pgtest.Config{Programs: programs(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := other.Stop(); err != nil {
			t.Error(err)
		}
	}()
	cert, key, err := other.Client(t.TempDir(), victim.Role)
	if err != nil {
		t.Fatal(err)
	}
	// The client hears why only if it reads that before it writes; the server's log has it in any case, soon.
	conn, err := pgx.Connect(t.Context(), strings.Replace(none, attacker.Role, victim.Role, 1)+"&sslcert="+cert+"&sslkey="+key)
	if err == nil {
		_ = conn.Close(context.Background())
		t.Error("another authority's certificate is good")
	}
	for end := time.Now().Add(10 * time.Second); !strings.Contains(f.Log(), "certificate verify failed") && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if !strings.Contains(f.Log(), "certificate verify failed") {
		t.Errorf("the server has refused it for another reason: %v", err)
	}
	// And the third connection.
	pgtest.Dial(t, attacker.dsn)
	pgtest.Dial(t, attacker.dsn)
	refused(t, attacker.dsn, "53300")
}

// TestTimeouts: a host may set its own time-outs, so that what bounds it is the maintenance, and its two connections.
func TestTimeouts(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	exec(t, h.conn, "SET statement_timeout = 20")
	if _, err := h.conn.Exec(t.Context(), "SELECT count(*) FROM generate_series(1, 1000000000000)"); state(err) != "57014" {
		t.Errorf("got %v", err)
	}
	exec(t, h.conn, "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = 0")
	exec(t, h.conn, "BEGIN")
	exec(t, h.conn, "SELECT fleet.agent_sync_v1(0, NULL, '{}')")
	detections(1, "{}").wantSent(t, h.conn, [3]int{1, 0, 0})
	exec(t, h.conn, "LISTEN x; NOTIFY x")
	// It holds up nobody else meanwhile.
	other := f.host("b")
	detections(1, "{}").wantSent(t, other.conn, [3]int{1, 0, 0})
	exec(t, f.ops, "SELECT fleet.set_state_v1('fleet', NULL, 'BT0001', 'clipped', 0.5, NULL, '')")
	exec(t, f.ops, "UPDATE fleet.settings SET open_s = 0")
	done, err := db.Maintain(t.Context(), f.Connect(t, "fleet_maint"))
	if err != nil || done.Transactions != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := h.conn.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("its connection is still there")
	}
}

// TestNotify: LISTEN and NOTIFY can't be taken from anybody. A host that listens in a transaction keeps what it and others
// have sent in the server's queue, whose bound is 8 GB; nothing of ours listens or notifies, and the maintenance ends it.
func TestNotify(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	second := pgtest.Dial(t, h.dsn)
	exec(t, h.conn, "LISTEN x")
	exec(t, h.conn, "BEGIN")
	exec(t, h.conn, "SELECT 1")
	payload := strings.Repeat("x", 7000)
	for range 200 {
		exec(t, second, "NOTIFY x, '"+payload+"'")
	}
	usage := "SELECT pg_notification_queue_usage()"
	if one[float64](t, f.super, usage) == 0 {
		t.Error("the queue is empty, so that this test shows nothing")
	}
	detections(1, "{}").wantSent(t, f.host("b").conn, [3]int{1, 0, 0})
	exec(t, f.ops, "UPDATE fleet.settings SET open_s = 0")
	if _, err := db.Maintain(t.Context(), f.Connect(t, "fleet_maint")); err != nil {
		t.Fatal(err)
	}
	exec(t, second, "NOTIFY x")
	exec(t, f.super, "LISTEN y; NOTIFY y") // who listens anew moves the queue's end
	exec(t, f.super, "UNLISTEN *")
	if left := one[float64](t, f.super, usage); left > 0.001 {
		t.Errorf("%v of the queue is in use", left)
	}
}

// TestReplay: a host that sends another's records makes rows of its own of them.
func TestReplay(t *testing.T) {
	f := newFleet(t)
	attacker, victim := f.host("attacker"), f.host("victim")
	b := detections(2, `{"of": "victim"}`)
	b.wantSent(t, victim.conn, [3]int{2, 0, 0})
	later := detections(1, "{}")
	forged := *b
	forged.bodies = []string{`{"of": "attacker"}`, "{}"}
	forged.ids[1] = later.ids[0]
	forged.wantSent(t, attacker.conn, [3]int{2, 0, 0})
	later.segment = b.segment
	later.wantSent(t, victim.conn, [3]int{1, 0, 0})
	if got := one[string](t, f.super, "SELECT body->>'of' FROM fleet.detections WHERE host_id = $1 AND detection_id = $2", victim.HostID, b.ids[0]); got != "victim" {
		t.Errorf("got %s", got)
	}
}

// TestSecondLine breaks the first: a function that takes the host from a setting. Row security then refuses.
func TestSecondLine(t *testing.T) {
	f := newFleet(t)
	attacker, victim := f.host("attacker"), f.host("victim")
	detections(1, "{}").wantSent(t, victim.conn, [3]int{1, 0, 0})
	exec(t, f.super, `CREATE OR REPLACE FUNCTION fleet.require_host() RETURNS bigint LANGUAGE sql STABLE AS
		$$ SELECT coalesce(current_setting('app.host', true)::bigint, fleet.session_host()) $$`)
	exec(t, attacker.conn, "SET app.host = '"+itoa(victim.HostID)+"'")
	if _, err := detections(1, "{}").send(t.Context(), attacker.conn); state(err) != denied {
		t.Errorf("got %v", err)
	}
	// A function that forgets whose rows it reads.
	exec(t, f.super, `CREATE FUNCTION fleet.leak_v1() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$
		SELECT count(*) FROM fleet.detections $$; ALTER FUNCTION fleet.leak_v1() OWNER TO fleet_owner; GRANT EXECUTE ON FUNCTION fleet.leak_v1() TO fleet_agent`)
	if n := one[int64](t, attacker.conn, "SELECT fleet.leak_v1()"); n != 0 {
		t.Errorf("it sees %d rows of others", n)
	}
	if n := one[int64](t, victim.conn, "SELECT fleet.leak_v1()"); n != 1 {
		t.Errorf("the victim sees %d rows of its own", n)
	}
	// Without forced row security it would: the test shows something.
	exec(t, f.super, "ALTER TABLE fleet.detections NO FORCE ROW LEVEL SECURITY")
	if n := one[int64](t, attacker.conn, "SELECT fleet.leak_v1()"); n != 1 {
		t.Errorf("%d rows without row security", n)
	}
	found, err := db.Check(t.Context(), f.ops)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"row security is not forced on fleet.detections", "hosts may call fleet.leak_v1()", "fleet.leak_v1() runs as its owner, and has no search_path"} {
		if !hasFinding(found, want) {
			t.Errorf("Check does not say %q", want)
		}
	}
}

func hasFinding(found []db.Finding, text string) bool {
	for _, p := range found {
		if strings.Contains(p.What, text) || strings.Contains(p.Hint, text) {
			return true
		}
	}
	return false
}

func TestRevoke(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	if err := db.NoteCertificate(t.Context(), f.ops, h.Role, "4711", h.ExpiresAt); err != nil {
		t.Fatal(err)
	}
	exec(t, h.conn, "BEGIN")
	exec(t, h.conn, "SELECT fleet.agent_sync_v1(0, NULL, '{}')") // an open transaction is no way to stay
	r, err := db.Revoke(t.Context(), f.ops, "a")
	if err != nil || r.Role != h.Role || len(r.Serials) != 1 || r.Serials[0] != "4711" {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := h.conn.Exec(context.Background(), "SELECT 1"); err == nil {
		t.Error("it is still connected")
	}
	refused(t, h.dsn, "28000")
	if _, err := db.Redeem(t.Context(), f.ops, h.Token); err == nil {
		t.Error("its token is still good")
	}
	if _, err := db.Revoke(t.Context(), f.ops, h.Role); err != nil {
		t.Errorf("once more: %v", err)
	}
	if _, err := db.Revoke(t.Context(), f.ops, "nobody"); err == nil || !strings.Contains(err.Error(), "there is no host nobody") {
		t.Errorf("got %v", err)
	}
}

func TestTokens(t *testing.T) {
	f := newFleet(t)
	h := f.enroll("a")
	if strings.Contains(one[string](t, f.super, "SELECT string_agg(t::text, '') FROM fleet.enrolment_tokens t"), h.Token) {
		t.Error("the token is in the database")
	}
	role, err := db.Redeem(t.Context(), f.ops, h.Token)
	if err != nil || role != h.Role {
		t.Fatalf("%s, %v", role, err)
	}
	for _, token := range []string{h.Token, "", "x", h.Token + "A"} {
		if _, err := db.Redeem(t.Context(), f.ops, token); err == nil {
			t.Errorf("token %q is good", token)
		}
	}
	second := f.enroll("b")
	exec(t, f.super, "UPDATE fleet.enrolment_tokens SET expires_at = now() WHERE used_at IS NULL")
	if _, err := db.Redeem(t.Context(), f.ops, second.Token); err == nil {
		t.Error("an expired token is good")
	}
}
