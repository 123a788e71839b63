package sink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bittern/internal/outbox"
)

func TestDocument(t *testing.T) {
	last := time.Date(2026, 11, 23, 16, 30, 0, 5e6, time.FixedZone("x", 3600))
	const added = `"aggregated":{"count":3,"last":"2026-11-23T15:30:00.005Z"}`
	for in, want := range map[string]string{
		`{"a":1,"bittern":{"b":{"c":"}"}},"z":[2]}`: `{"a":1,"bittern":{"b":{"c":"}"},` + added + `},"z":[2]}`,
		`{"bittern":{}}`:       `{"bittern":{` + added + `}}`,
		`{"a":{"bittern":{}}}`: `{"a":{"bittern":{}},"bittern":{` + added + `}}`,
		`{}`:                   `{"bittern":{` + added + `}}`,
		`{"a":"bittern"}`:      `{"a":"bittern","bittern":{` + added + `}}`,
	} {
		got, err := Document(outbox.Record{JSON: []byte(in), Count: 3, Last: last})
		if err != nil || string(got) != want {
			t.Errorf("%s becomes %s (%v), want %s", in, got, err, want)
		}
	}
	for _, in := range []string{``, `[]`, `"x"`, `{"bittern":7}`, `{"bittern":`, `{"a":1`, `x`} {
		if got, err := Document(outbox.Record{JSON: []byte(in), Count: 2}); err == nil {
			t.Errorf("%q becomes %s", in, got)
		}
		r := outbox.Record{JSON: []byte(in), Count: 2}
		if got := document(&r); string(got) != in {
			t.Errorf("%q is written as %q", in, got)
		}
	}
	if _, err := Document(outbox.Record{JSON: []byte(`{"bittern":7}`), Count: 2}); !errors.Is(err, ErrNotObject) {
		t.Error(err)
	}
	one := record(1)
	if got, err := Document(one); err != nil || &got[0] != &one.JSON[0] {
		t.Error("a record by itself is copied")
	}
}

// pair is a member of an object; a value is a []pair, or raw text.
type pair struct {
	key   string
	value any
}

func (p pair) String() string { return fmt.Sprintf("%q:%v", p.key, p.value) }

func object(pairs []pair) string {
	var parts []string
	for _, p := range pairs {
		key, _ := json.Marshal(p.key) // of a string
		value := fmt.Sprint(p.value)
		if inner, ok := p.value.([]pair); ok {
			value = object(inner)
		}
		parts = append(parts, string(key)+":"+value)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestDocumentProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var gen func(depth int) []pair
		gen = func(depth int) (all []pair) {
			keys := rapid.SliceOfNDistinct(rapid.OneOf(rapid.String(), rapid.Just("bittern")), 0, 5, rapid.ID).Draw(t, "keys")
			for _, key := range keys {
				value := rapid.SampledFrom([]any{`1`, `"}"`, `"\"bittern\":{"`, `[{"bittern":{}}]`, `null`}).Draw(t, "value")
				if depth < 3 && rapid.Bool().Draw(t, "nested") || depth == 0 && key == "bittern" {
					value = gen(depth + 1)
				}
				all = append(all, pair{key, value})
			}
			return all
		}
		doc := gen(0)
		last := time.Unix(0, rapid.Int64Range(0, 1<<61).Draw(t, "last"))
		count := rapid.Uint64Min(2).Draw(t, "count")
		got, err := Document(outbox.Record{JSON: []byte(object(doc)), Count: count, Last: last})
		if err != nil {
			t.Fatal(err)
		}
		want := slices.Clone(doc)
		added := pair{"aggregated", fmt.Sprintf(`{"count":%d,"last":"%s"}`, count, last.UTC().Format(time.RFC3339Nano))}
		i := slices.IndexFunc(want, func(p pair) bool { return p.key == "bittern" })
		if i < 0 {
			want = append(want, pair{"bittern", []pair{added}})
		} else {
			want[i].value = append(slices.Clone(want[i].value.([]pair)), added)
		}
		if string(got) != object(want) || !json.Valid(got) {
			t.Fatalf("%s, want %s", got, object(want))
		}
	})
}

func TestLine(t *testing.T) {
	last := time.Date(2026, 11, 23, 16, 30, 0, 0, time.Local)
	for _, c := range []struct {
		text  string
		want  string
		count uint64
	}{
		{"\x1b[2m2026-11-23 16:29:01.123\x1b[0m \x1b[31mhigh\x1b[0m cmd=x m", "2026-11-23 16:29:01.123 high cmd=x m", 1},
		{"\x1b[2m2026-11-23 16:29:01.123\x1b[0m high", "2026-11-23 16:29:01.123 x 3 until 2026-11-23 16:30:00.000 high", 3},
		{"2026-11-23 16:29:01.123", "2026-11-23 16:29:01.123 x 3 until 2026-11-23 16:30:00.000", 3},
		{"rule BT0001 is live", "x 3 until 2026-11-23 16:30:00.000 rule BT0001 is live", 3},
		{"", "x 3 until 2026-11-23 16:30:00.000 ", 3},
	} {
		r := outbox.Record{Text: []byte(c.text), Count: c.count, Last: last}
		if got := Line(r, false); string(got) != c.want {
			t.Errorf("%q becomes %q, want %q", c.text, got, c.want)
		}
		if got := Line(r, true); string(plain(got)) != c.want || strings.Count(string(got), "\x1b") != strings.Count(c.text, "\x1b") {
			t.Errorf("%q becomes %q, want the same with colours", c.text, got)
		}
	}
	if text := []byte("x"); &Line(outbox.Record{Text: text}, false)[0] != &text[0] {
		t.Error("a line without colours is copied")
	}
}

func TestID(t *testing.T) {
	r := record(77)
	if id, ok := parseID(formatID(r.ID)); !ok || !bytes.Equal(id[:], r.ID[:]) {
		t.Errorf("%v becomes %v", r.ID, id)
	}
	for _, bad := range []string{"", "x", strings.Repeat("0", 36), "00000000-0000-0000-0000-00000000000g"} {
		if _, ok := parseID(bad); ok {
			t.Errorf("%q is an id", bad)
		}
	}
}
