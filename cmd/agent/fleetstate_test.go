package main

import (
	"strings"
	"testing"
	"time"

	"bittern/internal/control"
)

// TestScopeIsShown: who has set a state, and for which hosts.
func TestScopeIsShown(t *testing.T) {
	past := time.Now().Add(-time.Hour) // by a clock that was set since
	s := control.State{State: "disabled", ExpiresAt: &past, SetBy: "carol", Scope: "fleet"}
	var out strings.Builder
	if err := listStates(&out, "text", map[string]control.State{"R1": s, "R2": {State: "disabled", ExpiresAt: &past, SetBy: "me"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"R1  disabled  until ", "  by carol (fleet)\n", "R2  disabled  expired ", "  by me\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if text := stateText(s); !strings.HasSuffix(text, ", by carol (fleet)") {
		t.Error(text)
	}
	data := `{"topic": "rule.state.R1", "result": "set", "by": "carol (fleet)", "state": {"state": "disabled", "set_by": "carol", "scope": "fleet"}}`
	if text, err := changeText([]byte(data)); err != nil || !strings.HasSuffix(text, ": disabled, by carol (fleet)") {
		t.Errorf("%q, %v", text, err)
	}
}
