package agent

import (
	"strings"
	"testing"

	"bittern/internal/control"
	"bittern/internal/db"
	"bittern/internal/rules"
)

// TestExceptions: a rule that runs as it is written is none.
func TestExceptions(t *testing.T) {
	first, second := &rules.Rule{ID: "R", Hash: rules.Hash{1}}, &rules.Rule{ID: "R", Hash: rules.Hash{2}}
	one := first.Hash.String()
	clipped := rules.RuleState{State: rules.Clipped, ConfidenceMax: 0.5}
	for name, c := range map[string]struct {
		v    view
		held string
		want db.Exception // the zero value if it is none
	}{
		"live":           {view{live: first, newest: first, is: control.Live}, "", db.Exception{}},
		"clipped":        {view{live: first, newest: first, is: control.Live, state: clipped}, "", db.Exception{Status: "clipped", ContentHash: one}},
		"disabled":       {view{newest: first, is: control.Disabled}, "", db.Exception{Status: "disabled"}},
		"stale":          {view{live: first, newest: second, is: control.Stale, problem: "no room"}, "", db.Exception{Status: "stale", ContentHash: one, Error: "no room"}},
		"stale, clipped": {view{live: first, newest: second, is: control.Stale, problem: "no room", state: clipped}, "", db.Exception{Status: "stale", ContentHash: one, Error: "no room"}},
		"waiting":        {view{live: first, newest: second, is: control.Waiting}, "", db.Exception{Status: "waiting", ContentHash: one}},
		"refused":        {view{newest: first, is: control.Refused, problem: "no hook"}, "", db.Exception{Status: "refused", Error: "no hook"}},
		"rejected":       {view{is: control.Rejected, problem: "a.yml:1:2: a \x00 byte\xff"}, "", db.Exception{Status: "rejected", Error: "a.yml:1:2: a  byte"}},
		"held":           {view{live: first, newest: first, is: control.Live}, "floor", db.Exception{Status: "live", ContentHash: one, Error: "a state of the fleet does not count: floor"}},
		"long":           {view{is: control.Rejected, problem: strings.Repeat("é", 2000)}, "", db.Exception{Status: "rejected", Error: strings.Repeat("é", 1024)}},
	} {
		e, is := c.v.exception("R", c.held)
		if want := c.want; want != (db.Exception{}) {
			if want.RuleID = "R"; !is || e != want {
				t.Errorf("%s: %v %+v, want %+v", name, is, e, want)
			}
		} else if is {
			t.Errorf("%s is an exception: %+v", name, e)
		}
	}
}

// TestMachineID: what it is made of can't be told from it, and it is the same each time.
func TestMachineID(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	got := machineID(id)
	if got != machineID(id) || len(got) != 32 || got == id || got == machineID("1"+id[1:]) || machineID("") != "" {
		t.Errorf("got %q", got)
	}
}
