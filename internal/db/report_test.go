package db_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/db"
	"bittern/internal/rules/mirror"
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

// published is what was published by SQL alone, with files that are no rules: the server does not look into them.
type published struct {
	id, ruleset string
	manifest    mirror.Manifest
	pages       [][]byte
}

// publish publishes files of these bodies, by name, and rules that go by the same names.
func (f *fleet) publish(bodies map[string]string) published {
	f.t.Helper()
	var files []mirror.File
	var versions []map[string]any
	var blobs [][]byte
	hashes := map[string]string{}
	for id, body := range bodies {
		hashes[id] = contentHash(body)
		files = append(files, mirror.File{Name: id + ".yml", Blob: mirror.BlobOf([]byte(body))})
		blobs = append(blobs, []byte(body))
		versions = append(versions, map[string]any{"rule_id": id, "rule_version": 1, "name": "name of " + id, "attack": []string{"T1059"},
			"content_hash": hashes[id], "body": body})
	}
	p := published{ruleset: ruleset(hashes)}
	p.manifest, p.pages = mirror.NewManifest(files, p.ruleset, mirror.Together, time.Now())
	exec(f.t, f.ops, "BEGIN")
	exec(f.t, f.ops, "SELECT fleet.begin_publish_v1($1, 'key')", p.manifest.Content())
	exec(f.t, f.ops, "SELECT fleet.put_blobs_v1($1), fleet.put_versions_v1($2)", append(blobs, p.pages...), versions)
	p.id = one[string](f.t, f.ops, "SELECT fleet.publish_v1($1, '\\x0304', 'key', $2)", string(p.manifest.Bytes()), hashes)
	exec(f.t, f.ops, "COMMIT")
	if want := contentHash(string(p.manifest.Bytes())); p.id != want {
		f.t.Fatalf("the publication is %s, want %s", p.id, want)
	}
	return p
}

func TestRulesArePublished(t *testing.T) {
	f := newFleet(t)
	h, other := f.host("a"), f.host("b")
	a := &agent{conn: h.conn}
	a.want(t, "")
	if a.publication != nil {
		t.Errorf("got publication %s", *a.publication)
	}
	if p, err := db.ReadPublication(t.Context(), h.conn, ""); p != nil || err != nil {
		t.Errorf("got %v, %v", p, err)
	}
	first, second := f.publish(map[string]string{"R1": "one", "R_2": "two"}), f.publish(map[string]string{"R1": "one", "R3": "three"})
	exec(t, f.ops, "SELECT fleet.assign_v1('fleet', NULL, $1)", first.id)
	exec(t, f.ops, "SELECT fleet.make_group_v1('canary', 0), fleet.set_member_v1('canary', 'b', true), fleet.assign_v1('group', 'canary', $1)", second.id)
	if again := one[*int64](t, f.ops, "SELECT fleet.assign_v1('fleet', NULL, $1)", first.id); again != nil {
		t.Errorf("an assignment that was there already makes generation %d", *again)
	}
	a.want(t, "")
	b := &agent{conn: other.conn}
	b.want(t, "")
	if *a.publication != first.id || *b.publication != second.id {
		t.Fatalf("got %s and %s", *a.publication, *b.publication)
	}
	if got := row(t, h.conn, "SELECT publication FROM fleet.agent_hello_v1('{}')"); got["publication"] != first.id {
		t.Errorf("hello says %v", got)
	}
	got, err := db.ReadPublication(t.Context(), h.conn, second.id)
	want := &mirror.Publication{ID: first.id, KeyID: "key", Manifest: first.manifest.Bytes(), Signature: []byte{3, 4}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v: -want +got\n%s", err, diff)
	}
	if got, err := db.ReadPublication(t.Context(), h.conn, first.id); got != nil || err != nil {
		t.Errorf("a manifest is sent that is known: %v, %v", got, err)
	}
	page := mirror.SumOf(first.pages[0])
	blobs, err := db.ReadBlobs(t.Context(), h.conn, []string{contentHash("two"), page, contentHash("three"), contentHash("none"), contentHash("two")})
	if err != nil || len(blobs) != 2 || string(blobs[contentHash("two")]) != "two" || string(blobs[page]) != string(first.pages[0]) {
		t.Errorf("got %q, %v", blobs, err)
	}
	// What another group is to run is none of its business.
	for _, sums := range [][]string{{contentHash("two"), page}, {mirror.SumOf(first.manifest.Bytes())}} {
		if blobs, err := db.ReadBlobs(t.Context(), other.conn, sums); len(blobs) != 0 || err != nil {
			t.Errorf("a host gets files of others: %q, %v", blobs, err)
		}
	}
	exec(t, f.ops, "SELECT fleet.assign_v1('group', 'canary', NULL)")
	if b.want(t, ""); *b.publication != first.id {
		t.Errorf("got %s", *b.publication)
	}
	if got := row(t, f.ops, "SELECT ruleset FROM fleet.publications WHERE publication = $1", first.id); got["ruleset"] != first.ruleset {
		t.Errorf("got %v", got)
	}
}

// TestBlobsAreSentInParts: one answer is small enough for a slow line, and has something for whoever asks again.
func TestBlobsAreSentInParts(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	bodies := map[string]string{}
	var sums []string
	for i := range 7 {
		id := fmt.Sprint("R", i)
		bodies[id] = strings.Repeat(fmt.Sprint(i), 1<<20)
		sums = append(sums, contentHash(bodies[id]))
	}
	p := f.publish(bodies)
	exec(t, f.ops, "SELECT fleet.assign_v1('host', 'a', $1)", p.id)
	blobs, err := db.ReadBlobs(t.Context(), h.conn, sums)
	if err != nil || len(blobs) != 4 {
		t.Errorf("%d blobs, %v", len(blobs), err)
	}
	if _, err := db.ReadBlobs(t.Context(), h.conn, make([]string, 501)); state(err) != "22023" {
		t.Errorf("got %v", err)
	}
}

func TestPublicationsThatAreRefused(t *testing.T) {
	f := newFleet(t)
	p := f.publish(map[string]string{"R1": "one"})
	empty := ruleset(nil)
	try := func(manifest string, rules any) error {
		_, err := f.ops.Exec(t.Context(), "SELECT fleet.publish_v1($1, NULL, '', $2)", manifest, rules)
		return err
	}
	page := func(text string) string {
		exec(t, f.ops, "SELECT fleet.put_blobs_v1($1)", [][]byte{[]byte(text)})
		return fmt.Sprintf("page %s %d\n", contentHash(text), len(text))
	}
	head := "bittern rules 1\ntime x\nruleset " + empty + "\ntake together\nfiles 1\n"
	rules := map[string]string{}
	for manifest, want := range map[string]string{
		"":   "22023",
		head: "22023",
		strings.Replace(head, "files 1", "files 20001", 1) + page(""): "22023",
		strings.Replace(head, empty, "x", 1) + page(""):               "22023",
		head + strings.Repeat(page(""), 65):                           "22023",
		head + "page " + contentHash("nowhere") + " 7\n":              "23503",
		head + "page " + contentHash("one") + " 4\n":                  "23503",
		head + page(contentHash("one")+" 4 a.yml\n"):                  "23503",
		head + page(contentHash("none")+" 4 a.yml\n"):                 "23503",
		head + page(contentHash("one")+" 3 ../a.yml\n"):               "23503",
		head + page(contentHash("one")+" 3 lists/../a.yml\n"):         "23503",
		head + page("nothing"):                                        "23503",
	} {
		if err := try(manifest, rules); state(err) != want {
			t.Errorf("%q: got %v, want %s", manifest, err, want)
		}
	}
	if err := try(head+page(contentHash("one")+" 3 b.yml\n"), map[string]string{"R1": contentHash("one")}); state(err) != "22023" {
		t.Errorf("rules of another set: %v", err)
	}
	if err := try(head+page(contentHash("one")+" 3 b.yml\n"), nil); state(err) != "23503" {
		t.Errorf("a set that nobody knows: %v", err)
	}
	if err := try(head+page(contentHash("one")+" 3 b.yml\n"), rules); err != nil {
		t.Errorf("one that is right: %v", err)
	}
	if err := try(string(p.manifest.Bytes()), nil); state(err) != "23505" {
		t.Errorf("once more: %v", err)
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
