package attack

import (
	"os"
	"strings"
	"testing"
)

func load(t testing.TB) *Catalogue {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCatalogueKnowsVersion19(t *testing.T) {
	c := load(t)
	if got := c.Version(); got != "19.1" {
		t.Errorf("version: got %s, want 19.1", got)
	}
	if got := len(c.Tactics()); got != 15 {
		t.Errorf("got %d tactics, want 15", got)
	}
	for id, name := range map[string]string{"TA0005": "Stealth", "TA0112": "Defense Impairment", "TA0002": "Execution"} {
		if tactic, ok := c.Tactic(id); !ok || tactic.Name != name {
			t.Errorf("%s: got %+v, %v; want %s", id, tactic, ok, name)
		}
	}
	shell, ok := c.Technique("T1059.004")
	if !ok || shell.Name != "Unix Shell" || shell.Parent != "T1059" || !shell.Linux || shell.Status != Active || strings.Join(shell.Tactics, " ") != "TA0002" {
		t.Errorf("T1059.004: got %+v, %v", shell, ok)
	}
}

func TestCheck(t *testing.T) {
	c := load(t)
	for _, tc := range []struct {
		id, replacement string
		status          Status
	}{
		{"T1105", "", Active},
		{"TA0011", "", Active},
		{"T1562.001", "T1685", Revoked},
		{"T1070.002", "T1685.006", Revoked},
		{"T1043", "", Deprecated},
		{"T9999", "", Unknown},
		{"TA9999", "", Unknown},
		{"", "", Unknown},
	} {
		replacement, status := c.Check(tc.id)
		if replacement != tc.replacement || status != tc.status {
			t.Errorf("%s: got %q, %v; want %q, %v", tc.id, replacement, status, tc.replacement, tc.status)
		}
	}
}

func TestRevokedIdsLeadToActiveOnes(t *testing.T) {
	c := load(t)
	for _, technique := range c.Techniques() {
		if technique.Status != Revoked {
			continue
		}
		if _, status := c.Check(technique.ReplacedBy); status != Active {
			t.Errorf("%s is replaced by %q, which is %v", technique.ID, technique.ReplacedBy, status)
		}
	}
}

func TestDataCarriesMitresTerms(t *testing.T) {
	data, err := os.ReadFile("data/attack.csv")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(data), "# "+Notice+"\n") {
		t.Error("data/attack.csv does not begin with MITRE's copyright line")
	}
	licence, err := Licence()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(licence, Notice) {
		t.Error("data/LICENSE.txt does not contain MITRE's copyright line")
	}
}

func TestParseRefuses(t *testing.T) {
	const head = "version,19.1\ntactic,TA0001,Initial Access\n"
	for _, tc := range []struct{ in, want string }{
		{"", "no version"},
		{head, "no techniques"},
		{head + "technique,T1001,x,TA0001,linux,retired,\n", `line 3: T1001 has the unknown status "retired"`},
		{head + "technique,T1001,x,TA0002,linux,active,\n", "unknown tactic TA0002"},
		{head + "technique,T1001.001,x,TA0001,linux,active,\n", "unknown technique T1001"},
		{head + "technique,T1001,x,TA0001,linux,revoked,T1002\n", "unknown technique T1002"},
		{head + "technique,T1001,x,TA0001,linux,active,\ntechnique,T1001,x,TA0001,linux,active,\n", "line 4: T1001 is there twice"},
		{head + "technique,T1001\n", "line 3: not a record"},
	} {
		if _, err := parse(strings.NewReader(tc.in)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: got error %v, want one that says %q", tc.in, err, tc.want)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := Load(); err != nil {
			b.Fatal(err)
		}
	}
}
