package agent

import (
	"testing"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// TestObstacles tells how far events have come of each clause.
func TestObstacles(t *testing.T) {
	r := ruleOf(t, `rule_id: W
rule_version: 1
name: why
applies_to: [process_exec]
match:
  tool: {process.executable: [/bin/a, /bin/b]}
  user: {user.id: 7}
  cron: {process.parent.executable: /bin/cron}
  condition: tool and user and not cron
emits: [{tactic: TA0011, technique_id: T1105, confidence: 0.5}]
`)
	const tool, user = `process.executable: is "/bin/a" | is "/bin/b"`, `user.id: is 7`
	for _, each := range []struct {
		hit  []string
		want string
	}{
		{nil, "no event has hit " + tool},
		{[]string{"7", "/bin/cron"}, "no event has hit " + tool},
		{[]string{"/bin/b"}, "events have hit " + tool + ", and none has hit " + user},
		{[]string{"/bin/b", "7"}, "each of its lines has been hit, but never all by one event"},
		{[]string{"/bin/b", "7", "/bin/cron"}, `what hits all of its lines is excluded by process.parent.executable: is "/bin/cron", or no event hits them all`},
	} {
		got, err := obstacles(r, func(class event.Class, k rules.Key) (bool, error) {
			for _, text := range each.hit {
				if text == k.Text || text == "7" && k.Number == 7 {
					return class == event.ProcessExec, nil
				}
			}
			return false, nil
		})
		if want := "process_exec, clause 1: " + each.want; err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("hit %q: got %q, %v\nwant %q", each.hit, got, err, want)
		}
	}
}
