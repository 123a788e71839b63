package db_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// ruleset is the SHA-256 of lines "ID HASH", by ids; see fleet.ruleset_of.
func ruleset(rules map[string]string) string {
	var all []string
	for id, hash := range rules {
		all = append(all, id+" "+hash+"\n")
	}
	sum := sha256.Sum256([]byte(strings.Join(sorted(all), "")))
	return hex.EncodeToString(sum[:])
}

func contentHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// publish publishes rules of these bodies, by id, and returns the ruleset.
func (f *fleet) publish(bodies map[string]string) string {
	f.t.Helper()
	var all []map[string]any
	hashes := map[string]string{}
	for id, body := range bodies {
		hashes[id] = contentHash(body)
		all = append(all, map[string]any{"rule_id": id, "rule_version": 1, "name": "name of " + id, "attack": []string{"T1059"},
			"content_hash": hashes[id], "body": body, "signature": "0102"})
	}
	text, err := json.Marshal(all)
	if err != nil {
		f.t.Fatal(err)
	}
	got := one[string](f.t, f.ops, "SELECT fleet.publish_ruleset_v1($1, 'the manifest', '\\x0304', 'key')", string(text))
	if want := ruleset(hashes); got != want {
		f.t.Fatalf("the ruleset is %s, want %s", got, want)
	}
	return got
}

func TestRulesArePublished(t *testing.T) {
	f := newFleet(t)
	h, other := f.host("a"), f.host("b")
	a := &agent{conn: h.conn}
	a.want(t, "")
	if a.ruleset != nil {
		t.Errorf("got ruleset %s", *a.ruleset)
	}
	first, second := f.publish(map[string]string{"R1": "one", "R_2": "two"}), f.publish(map[string]string{"R1": "one", "R3": "three"})
	exec(t, f.ops, "SELECT fleet.assign_ruleset_v1('fleet', NULL, $1)", first)
	exec(t, f.ops, "SELECT fleet.make_group_v1('canary', 0), fleet.set_member_v1('canary', 'b', true), fleet.assign_ruleset_v1('group', 'canary', $1)", second)
	a.want(t, "")
	b := &agent{conn: other.conn}
	b.want(t, "")
	if *a.ruleset != first || *b.ruleset != second {
		t.Fatalf("got %s and %s", *a.ruleset, *b.ruleset)
	}
	got := row(t, h.conn, "SELECT * FROM fleet.agent_manifest_v1(NULL)")
	if got["ruleset"] != first || got["manifest"] != "the manifest" || got["key_id"] != "key" || got["signature"] != `\x0304` || len(got["rules"].(map[string]any)) != 2 {
		t.Errorf("got %v", got)
	}
	if n := one[int](t, h.conn, "SELECT count(*)::int FROM fleet.agent_manifest_v1($1)", first); n != 0 {
		t.Error("a manifest is sent that is known")
	}
	got = row(t, h.conn, "SELECT * FROM fleet.agent_rules_v1($1)", []string{contentHash("two"), contentHash("three"), contentHash("none")})
	if got["rule_id"] != "R_2" || got["body"] != "two" || got["signature"] != `\x0102` {
		t.Errorf("got %v", got)
	}
	// What another group is to run is none of its business.
	if n := one[int](t, other.conn, "SELECT count(*)::int FROM fleet.agent_rules_v1($1)", []string{contentHash("two")}); n != 0 {
		t.Error("a host gets rules of others")
	}
	exec(t, f.ops, "SELECT fleet.assign_ruleset_v1('group', 'canary', NULL)")
	if b.want(t, ""); *b.ruleset != first {
		t.Errorf("got %s", *b.ruleset)
	}
}

func TestReports(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	rules := map[string]string{"R1": contentHash("1"), "R_1": contentHash("2"), "Ra": contentHash("3")}
	set := ruleset(rules)
	report := "SELECT known FROM fleet.agent_report_v1($1, $2, $3)"
	if one[bool](t, h.conn, report, set, nil, nil) {
		t.Error("the server knows a ruleset that nobody has told")
	}
	// A host can't say of a set what it does not hold: others run it too.
	forged := map[string]string{"R1": contentHash("1")}
	if _, err := h.conn.Exec(t.Context(), report, set, forged, nil); state(err) != "22023" {
		t.Errorf("got %v", err)
	}
	if !one[bool](t, h.conn, report, set, rules, nil) {
		t.Error("the ruleset is not known")
	}
	status := func() string {
		return one[string](t, f.Connect(t, "fleet_console"), "SELECT coalesce(string_agg(rule_id || ' ' || status, ', ' ORDER BY rule_id COLLATE \"C\"), '') FROM fleet.host_rule_status WHERE host_id = $1", h.HostID)
	}
	if got := status(); got != "R1 unknown, R_1 unknown, Ra unknown" {
		t.Errorf("before a heartbeat: %s", got)
	}
	exec(t, h.conn, "SELECT fleet.agent_sync_v1(0, NULL, '{}')")
	exceptions := []map[string]any{
		{"rule_id": "R1", "content_hash": contentHash("old"), "status": "stale", "error": "line 3: unknown field", "kernel": "exact", "since": "2026-01-02T03:04:05Z"},
		{"rule_id": "new", "status": "rejected", "error": strings.Repeat("e", 5000)},
	}
	one[bool](t, h.conn, report, set, nil, exceptions)
	if got := status(); got != "R1 stale, R_1 live, Ra live, new rejected" {
		t.Errorf("got %s", got)
	}
	one[bool](t, h.conn, report, set, nil, nil)
	one[bool](t, h.conn, report, set, nil, exceptions[:1])
	if got := status(); got != "R1 stale, R_1 live, Ra live" {
		t.Errorf("got %s", got)
	}
	one[bool](t, h.conn, report, set, nil, []any{})
	if got := status(); got != "R1 live, R_1 live, Ra live" {
		t.Errorf("got %s", got)
	}
	exec(t, f.super, "UPDATE fleet.host_heartbeat SET last_seen = now() - 4 * interval_s * interval '1 s'")
	if got := status(); got != "R1 unknown, R_1 unknown, Ra unknown" {
		t.Errorf("of a silent host: %s", got)
	}
	for _, bad := range []struct{ set, rules, exceptions any }{
		{"x", nil, nil}, {set, nil, map[string]string{}}, {set, nil, []any{map[string]any{"rule_id": "R1", "status": "unknown"}}},
		{set, nil, []any{map[string]any{"rule_id": "no id", "status": "stale"}}}, {set, nil, []any{map[string]any{}}},
	} {
		if _, err := h.conn.Exec(t.Context(), report, bad.set, bad.rules, bad.exceptions); !strings.HasPrefix(state(err), "22") && !strings.HasPrefix(state(err), "23") {
			t.Errorf("%v: got %v", bad, err)
		}
	}
	exec(t, f.ops, "UPDATE fleet.settings SET rulesets_per_day = 2")
	for i, want := range []string{"", "53400"} {
		more := map[string]string{"R1": contentHash(fmt.Sprint("more", i))}
		if _, err := h.conn.Exec(t.Context(), report, ruleset(more), more, nil); state(err) != want {
			t.Errorf("ruleset %d of a host: %v, want %s", i+2, err, want)
		}
	}
}

func TestHello(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	hello := "SELECT * FROM fleet.agent_hello_v1($1)"
	inventory := map[string]any{"hostname": "web-1", "kernel": "6.12", "arch": "x86_64", "distro": "Debian 13", "agent_version": "1.0", "hooks": []string{"lsm"}, "instance": newUUID()}
	got := row(t, h.conn, hello, inventory)
	if got["host_id"] != float64(h.HostID) || got["host_uuid"] != h.UUID || got["refused"] != nil || got["schema_version"] != 11.0 || got["sync_ms"] != 1000.0 || got["clone"] != false {
		t.Errorf("got %v", got)
	}
	changed := one[string](t, f.super, "SELECT changed_at::text FROM fleet.host_inventory")
	row(t, h.conn, hello, inventory)
	if now := one[string](t, f.super, "SELECT changed_at::text FROM fleet.host_inventory"); now != changed {
		t.Error("an inventory that is the same was written")
	}
	inventory["kernel"] = "6.13"
	row(t, h.conn, hello, inventory)
	if k := one[string](t, f.super, "SELECT kernel FROM fleet.host_inventory"); k != "6.13" {
		t.Errorf("kernel %s", k)
	}
	if _, err := h.conn.Exec(t.Context(), hello, map[string]string{"hooks": strings.Repeat("x", 1<<17)}); state(err) != "22023" {
		t.Errorf("got %v", err)
	}
	exec(t, f.super, "UPDATE fleet.hosts SET revoked_at = now()")
	if got := row(t, h.conn, hello, inventory); got["refused"] != "revoked" || got["host_id"] != nil {
		t.Errorf("got %v", got)
	}
	if _, err := h.conn.Exec(t.Context(), "SELECT fleet.agent_sync_v1(0, NULL, NULL)"); state(err) != "28000" {
		t.Errorf("got %v", err)
	}
}
