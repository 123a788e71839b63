package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// pieces are entries of rule %s, and what people write between them.
var (
	stateForms = []string{
		"%s: {state: disabled}\n", "%s: {state: clipped, confidence_max: 0.5, reason: \"a # b\"} # why\n",
		"%s:\n  state: disabled\n  reason: noisy\n", "%s:   \n    state: disabled # one\n\n    # two\n    set_by: 'bob''s'\n    # three\n",
		"\"%s\": {state: enabled, reason: looked at}\n", "'%s' : {\n  state: disabled,\n  # in it\n  set_by: x\n  }\n",
		"%s: {state: disabled, set_at: 2026-01-02T03:04:05Z, expires_at: 2030-01-02T03:04:05+01:00}\n",
		"%s:\n  state: disabled\n  reason: over two\n    lines\n",
	}
	// These are written in another form when the file is edited.
	oddStateForms = []string{
		"%s:\n  state: disabled\n  reason: |-\n    text\n", "%s:\n  state: disabled\n  reason: >-\n    # text\n", "? %s\n: {state: disabled}\n",
		"%s: {state: disabled, reason: \"two\n# lines\"}\n", "%s: {state: disabled, reason: 'it''\n# s'}\n", "%s: {state: disabled\n}\n", "%s: {state: disabled}\r\n",
	}
	betweenStates = []string{"", "", "", "\n", "# directly\n", "# apart\n\n", "\n\n# above\n", "  # indented\n", " \n"}
)

// drawStates returns the text of a file.
func drawStates(t *rapid.T, forms []string) string {
	text := rapid.SampledFrom([]string{"", "", "# mine\n", "---\n", "# mine\n\n", "---\n# mine\n"}).Draw(t, "preamble")
	for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(stateIDs), rapid.SampledFrom([]int{0, 4}).Draw(t, "least"), len(stateIDs), rapid.ID).Draw(t, "ids") {
		text += strings.ReplaceAll(rapid.SampledFrom(forms).Draw(t, "form"), "%s", id)
		text += rapid.SampledFrom(betweenStates).Draw(t, "between")
	}
	if rapid.Bool().Draw(t, "no end") {
		text = strings.TrimSuffix(text, "\n")
	}
	return text
}

var stateIDs = []string{"R1", "R2", "R3", "R4", "true_", "A_1"}

func drawEdits(t *rapid.T) map[string]RuleState {
	return rapid.MapOfN(rapid.SampledFrom(append([]string{"NEW", "007"}, stateIDs...)), rapid.SampledFrom([]RuleState{
		{}, {}, {State: Disabled, SetBy: "file"}, {State: Clipped, ConfidenceMax: 0.25, SetBy: "bob", Reason: "no: 'really' # it is"},
		{State: Disabled, SetBy: "eve", ExpiresAt: time.Date(2031, 2, 3, 4, 5, 6, 7, time.UTC), SetAt: time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)},
	}), 0, 3).Draw(t, "edits")
}

// sameStates compares two readings of one text.
func sameStates(t interface{ Fatalf(string, ...any) }, got, want *StateFile) {
	same := string(got.Text) == string(want.Text) && got.Complete == want.Complete && got.Problems.Error() == want.Problems.Error() &&
		maps.Equal(got.Broken, want.Broken) && maps.EqualFunc(got.States, want.States, RuleState.Equal) &&
		(got.layout == nil) == (want.layout == nil)
	if same && got.layout != nil {
		same = got.layout.preamble == want.layout.preamble && slices.Equal(got.layout.entries, want.layout.entries)
	}
	if !same {
		t.Fatalf("got  %+v\n%v\nwant %+v\n%v\nof\n%s", got.layout, got.Problems, want.layout, want.Problems, want.Text)
	}
}

// editAndCheck edits a file, and reads all of the result.
func editAndCheck(t interface{ Fatalf(string, ...any) }, f *StateFile, edits map[string]RuleState) *StateFile {
	next, err := f.Edit(edits)
	if err != nil {
		t.Fatalf("%v, of\n%s", err, f.Text)
	}
	want := maps.Clone(f.States)
	for id, s := range edits {
		if want[id] = s; s.IsZero() {
			delete(want, id)
		}
	}
	read := ParseStates("s.yaml", next.Text)
	if len(read.Problems) > 0 || !maps.EqualFunc(want, read.States, RuleState.Equal) {
		t.Fatalf("%+v made\n%s\nof\n%s\n%v\n%s", edits, next.Text, f.Text, read.Problems, cmp.Diff(want, read.States))
	}
	sameStates(t, next, read)
	return next
}

// TestEditsOfAnyFile: what an edit makes of a file reads as it should, and what it is not about
// is as it was written.
func TestEditsOfAnyFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := ParseStates("s.yaml", []byte(drawStates(t, stateForms)))
		if len(f.Problems) > 0 {
			t.Fatalf("%v\n%s", f.Problems, f.Text)
		}
		for range 3 {
			edits := drawEdits(t)
			next := editAndCheck(t, f, edits)
			before, after := string(f.Text), string(next.Text)
			for _, id := range slices.Sorted(maps.Keys(f.States)) {
				if _, edited := edits[id]; edited {
					continue
				}
				for _, form := range stateForms {
					if entry := strings.TrimSuffix(strings.ReplaceAll(form, "%s", id), "\n"); strings.Contains(before, entry) && !strings.Contains(after, entry) {
						t.Fatalf("%s was written anew: from\n%s\nto\n%s", id, before, after)
					}
				}
			}
			for _, comment := range []string{"# mine\n", "# apart\n\n"} {
				if strings.Contains(before, "\n\n"+comment) && !strings.Contains(after, comment) {
					t.Fatalf("%+v lost %q: from\n%s\nto\n%s", edits, comment, before, after)
				}
			}
			f = next
		}
	})
}

// TestEditsOfOddFiles: so does one that has to be written anew first, in each form.
func TestEditsOfOddFiles(t *testing.T) {
	for _, form := range slices.Concat(stateForms, oddStateForms) {
		for _, between := range betweenStates {
			text := "R0: {state: disabled}\n" + strings.ReplaceAll(form, "%s", "R1") + between + "R2: {state: disabled}\n"
			f := ParseStates("s.yaml", []byte(text))
			if len(f.Problems) > 0 {
				t.Fatalf("%v\n%s", f.Problems, text)
			}
			for _, id := range []string{"R0", "R1", "R2", "R3"} {
				for _, s := range []RuleState{{}, {State: Disabled, SetBy: "bob"}} {
					editAndCheck(t, f, map[string]RuleState{id: s})
				}
			}
		}
	}
}

// TestReparse: a file that was edited reads as if it had not been read before.
func TestReparse(t *testing.T) {
	some := []string{"", "\n", "# new\n", "  # new\n", "NEW: {state: disabled}\n", "\nR2: {state: disabled}\n# new", "  state: disabled\n", " ", "x", "---\n", "{", "'"}
	rapid.Check(t, func(t *rapid.T) {
		forms := append(oddStateForms[:1:1], stateForms...)
		f := ParseStates("s.yaml", []byte(drawStates(t, forms)))
		reparse := func(text string) *StateFile {
			next := f.Reparse([]byte(text))
			sameStates(t, next, ParseStates("s.yaml", []byte(text)))
			return next
		}
		text, at := string(f.Text), 0
		lines := slices.Collect(strings.Lines(text + "\n"))
		for _, line := range lines {
			at = min(at+len(line), len(text))
			// With lines, an id is there twice.
			for _, some := range []string{"", line, rapid.SampledFrom(lines).Draw(t, "line"), "# new\n", rapid.SampledFrom(some).Draw(t, "some")} {
				reparse(text[:at] + some + text[at:])
				reparse(some + text[at:])
				reparse(text[:at] + some)
			}
		}
		for range 4 {
			text := string(f.Text)
			from := rapid.IntRange(0, len(text)).Draw(t, "from")
			to := rapid.IntRange(from, min(len(text), from+40)).Draw(t, "to")
			text = text[:from] + rapid.SampledFrom(some).Draw(t, "new") + text[to:]
			if rapid.IntRange(0, 9).Draw(t, "other") == 0 {
				text = drawStates(t, forms)
			}
			f = reparse(text)
		}
	})
}

// FuzzStates reads any bytes after any others, and edits what can be.
func FuzzStates(f *testing.F) {
	f.Add([]byte("R1: {state: disabled}\nR2: {state: disabled}\nR3: {state: disabled}\n"), []byte("R1: {state: disabled}\n# R2: {state: disabled}\nR3: {state: disabled}\n"))
	f.Add([]byte("R1: {state: disabled}\nR2: {state: disabled}\nR3: {state: disabled}\n"), []byte("R1: {state: disabled}\n--- # x\nR3: {state: disabled}\n"))
	for _, form := range oddStateForms {
		f.Add([]byte(fmt.Sprintf(form, "R1")), []byte(fmt.Sprintf(form+form, "R1", "R2")))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		read := ParseStates("s.yaml", second)
		sameStates(t, ParseStates("s.yaml", first).Reparse(second), read)
		for _, s := range []RuleState{{}, {State: Disabled, SetBy: "x"}} {
			next, err := read.Edit(map[string]RuleState{"R1": s})
			if err != nil {
				continue
			}
			want := maps.Clone(read.States)
			if want["R1"] = s; s.IsZero() {
				delete(want, "R1")
			}
			if again := ParseStates("s.yaml", next.Text); len(again.Problems) > 0 || !maps.EqualFunc(want, again.States, RuleState.Equal) {
				t.Errorf("%q became %q: %v", second, next.Text, again.Problems)
			}
		}
	})
}
