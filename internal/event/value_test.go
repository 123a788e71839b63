package event_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"bittern/internal/event"
)

// Whatever rule tests set, rules read back.
func TestEveryFieldCanBeSet(t *testing.T) {
	for _, info := range event.Fields() {
		var ev event.Event
		if info.Kind != event.String {
			if err := ev.SetNumber(info.Field, 1); err != nil {
				t.Error(err)
			}
			if n, ok := ev.Number(info.Field); !ok || n != 1 {
				t.Errorf("%s: got back %d, %v", info.Name, n, ok)
			}
			if err := ev.Set(info.Field, "x"); err == nil {
				t.Errorf("%s: takes a string", info.Name)
			}
			continue
		}
		if err := ev.Set(info.Field, "x"); err != nil {
			t.Error(err)
		}
		if got := ev.Strings(info.Field, nil); !slices.Equal(got, []string{"x"}) {
			t.Errorf("%s: got back %q", info.Name, got)
		}
		if err := ev.SetNumber(info.Field, 1); err == nil {
			t.Errorf("%s: takes a number", info.Name)
		}
		if err := ev.Set(info.Field, "x", "y"); (err == nil) != info.Many {
			t.Errorf("%s: two values: %v", info.Name, err)
		}
	}
}

func TestFieldsAndClassesAreFoundByName(t *testing.T) {
	for _, info := range event.Fields() {
		for _, name := range []string{info.Name, info.Alias} {
			if f, ok := event.ParseField(name); name != "" && (!ok || f != info.Field) {
				t.Errorf("field %q: got %s, %v", name, f, ok)
			}
		}
		if len(info.Classes) == 0 || info.Doc == "" {
			t.Errorf("field %s has %d classes and is described as %q", info.Name, len(info.Classes), info.Doc)
		}
	}
	for _, c := range event.Classes() {
		for _, name := range []string{c.Info().Name, c.Info().Alias} {
			if got, ok := event.ParseClass(name); name != "" && (!ok || got != c) {
				t.Errorf("class %q: got %s, %v", name, got, ok)
			}
		}
	}
	for _, name := range []string{"", "unknown", "nothing"} {
		if f, ok := event.ParseField(name); ok {
			t.Errorf("%q is the field %d", name, f)
		}
		if c, ok := event.ParseClass(name); ok {
			t.Errorf("%q is the class %d", name, c)
		}
	}
	if got := event.Class(200).String(); got != "unknown" {
		t.Errorf("a class out of range is called %q", got)
	}
}

// The page for users says what each class is to ECS.
func TestClassesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/detections.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range event.Classes() {
		info := c.Info()
		if row := "| `" + info.Name + "` | `" + info.Category + "`, `" + info.Type + "` |"; !strings.Contains(string(text), row) {
			t.Errorf("docs/detections.md has no row %s", row)
		}
	}
}

func TestPartsOfPaths(t *testing.T) {
	for path, want := range map[string][3]string{
		"":                   {"", "", ""},
		"/":                  {"", "/", ""},
		"/a":                 {"a", "/", ""},
		"/a/b.tar.gz":        {"b.tar.gz", "/a", "gz"},
		"/home/alice/.netrc": {".netrc", "/home/alice", ""},
		"/a.d/b":             {"b", "/a.d", ""},
		"/a/b.":              {"b.", "/a", ""},
		"memfd:x.y":          {"memfd:x.y", "", "y"},
	} {
		d := sampleOpen()
		d.Event.File.Path = path
		var doc struct {
			File struct{ Path, Name, Directory, Extension string }
		}
		if err := json.Unmarshal(d.AppendJSON(nil), &doc); err != nil {
			t.Fatal(err)
		}
		if got := [3]string{doc.File.Name, doc.File.Directory, doc.File.Extension}; got != want || doc.File.Path != path {
			t.Errorf("%q: got %q of %q, want %q", path, got, doc.File.Path, want)
		}
	}
}
