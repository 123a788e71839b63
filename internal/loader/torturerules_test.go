package loader

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"bittern/internal/event"
	"bittern/internal/rules"
	"bittern/internal/rules/rulestest"
)

// subject is an execution that versions of rules are about.
type subject struct {
	path string
	args []string
	cwd  string
	uid  uint32
}

var curlSubject = subject{"/usr/bin/curl", []string{"-q", "http://198.51.100.7/x"}, "/root", 1000}

// event is what the kernel captures of it.
func (s subject) event() *event.Event {
	ev := &event.Event{Class: event.ProcessExec, User: event.User{ID: s.uid}}
	for f, v := range map[event.Field]string{
		event.ProcessExecutable:       s.path,
		event.ProcessWorkingDirectory: s.cwd,
		event.ProcessCommandLine:      filepath.Base(s.path) + " " + strings.Join(s.args, " "),
	} {
		if err := ev.Set(f, v); err != nil {
			panic(err)
		}
	}
	return ev
}

// waysToHit is in how many ways hitting says the same.
const waysToHit = 16

// hitting is the condition of version n of a rule that always matches the subject, each time
// in another way: another word, another key, a prefix above or below one that is there, a
// suffix, a gram, a number, a negative, a wildcard, nothing at all, or up to 24 clauses.
func hitting(s subject, n int) string {
	dir, name := filepath.Split(s.path)
	word := fmt.Sprintf("word%04d", n)
	// Keys below one another and above, of every length.
	prefix := s.path[:1+n%len(s.path)]
	suffix := s.path[n%(len(s.path)-1):]
	switch n % waysToHit {
	case 0:
		return fmt.Sprintf("  s: {process.executable: %s}", s.path)
	case 1:
		return fmt.Sprintf("  s: {process.executable: [%s, /opt/%s]}", s.path, word)
	case 2:
		return fmt.Sprintf("  s: {process.executable|startswith: %s}", prefix)
	case 3:
		return fmt.Sprintf("  s: {process.executable|startswith: [%s, %s%s, /opt/%s/]}", dir, s.path, word, word)
	case 4:
		return fmt.Sprintf("  s: {process.executable|endswith: '%s'}", suffix)
	case 5:
		return fmt.Sprintf("  s: {process.executable|endswith|nocase: [/%s, /%s]}", strings.ToUpper(name), word)
	case 6:
		return "  s: {process.command_line|contains: 'http'}"
	case 7:
		return fmt.Sprintf("  s: {process.command_line|contains: ['198.51.100.7', '%s']}", word)
	case 8:
		return fmt.Sprintf("  s: {user.id: [%d, %d]}", s.uid, 100_000+n)
	case 9:
		return fmt.Sprintf("  s: {user.id: %d}\n  n: {process.executable|endswith: /%s}\n  condition: s and not n", s.uid, word)
	case 10:
		return fmt.Sprintf("  n: {process.executable|endswith: /%s}\n  condition: not n", word)
	case 11:
		return "  s: {process.args|contains: q}"
	case 12:
		return "  s: {process.executable: '/*'}"
	case 13:
		return fmt.Sprintf("  s: {process.executable|endswith: /%s, process.command_line|contains: http}\n"+
			"  u: {user.id: %d, process.working_directory: %s}\n  condition: s or u", name, s.uid, s.cwd)
	case 14:
		return fmt.Sprintf("  s: {process.executable: %s}\n  n: {process.command_line|contains: '%s'}\n  condition: s and not n", s.path, word)
	}
	var b strings.Builder
	names := []string{"s"}
	fmt.Fprintf(&b, "  s: {process.executable: %s}\n", s.path)
	for i := range n / waysToHit % 24 {
		fmt.Fprintf(&b, "  c%d: {process.executable: /opt/%s-%d, user.id: %d}\n", i, word, i, i)
		names = append(names, fmt.Sprintf("c%d", i))
	}
	return b.String() + "  condition: " + strings.Join(names, " or ")
}

// stock are the versions that a run gives to its rules, compiled.
type stock struct {
	ids      []string
	versions [][]*rules.Rule // of each rule
	kinds    []*event.Event  // to be judged, the subject first
}

// Rules of which the number ends so always match the subject, and are never deleted.
func constant(rule int) bool { return rule%4 < 2 }

func newStock(t testing.TB, seed uint64, s subject, n int) *stock {
	t.Helper()
	g := rulestest.New(seed)
	st := &stock{kinds: []*event.Event{s.event()}}
	for len(st.kinds) < tortureKinds {
		st.kinds = append(st.kinds, g.Event())
	}
	for i := range tortureRules {
		id := fmt.Sprintf("T%d", i)
		st.ids = append(st.ids, id)
		versions := make([]*rules.Rule, n)
		for v := range versions {
			if constant(i) || v%2 == 0 {
				versions[v] = parseRule(t, ruleText(id, v+1, hitting(s, v*tortureRules+i)))
			} else {
				versions[v] = parseRule(t, g.RuleFor(id, v+1, event.ProcessExec))
			}
		}
		st.versions = append(st.versions, versions)
	}
	return st
}

// turn is one writer's way through the versions of its own rules.
type turn struct {
	stock *stock
	rnd   *rand.Rand
	own   []int
}

// next is what the writer commits next: mostly two rules at once that always match, now and
// then all, and sometimes one that comes or goes.
func (w *turn) next() []Swap {
	switch w.rnd.IntN(8) {
	case 0:
		return w.swaps(w.own...)
	case 1, 2:
		return w.swaps(w.own[2+w.rnd.IntN(len(w.own)-2)])
	}
	return w.swaps(w.own[:2]...)
}

func (w *turn) swaps(numbers ...int) []Swap {
	swaps := make([]Swap, len(numbers))
	for i, n := range numbers {
		swaps[i].RuleID = w.stock.ids[n]
		if constant(n) || w.rnd.IntN(4) > 0 {
			versions := w.stock.versions[n]
			swaps[i].New = versions[w.rnd.IntN(len(versions))]
		}
	}
	return swaps
}

// begin is the first commit of all.
func (s *stock) begin() []Swap {
	swaps := make([]Swap, len(s.ids))
	for i, id := range s.ids {
		swaps[i] = Swap{id, s.versions[i][0]}
	}
	return swaps
}

// bystanders are rules that are there and match none of the events.
func (s *stock) bystanders(t testing.TB, n int) []Swap {
	t.Helper()
	var swaps []Swap
	for i := 0; len(swaps) < n; i++ {
		r := parseRule(t, rulestest.CorpusRule(i, 1))
		if s.passing(r) == 0 {
			swaps = append(swaps, Swap{r.ID, r})
		}
	}
	return swaps
}

// passing says which kinds of events the kernel lets pass for a rule: bit 8*kind.
func (s *stock) passing(r *rules.Rule) (bits uint64) {
	for kind, ev := range s.kinds {
		if r.Plans()[0].Passes(ev) {
			bits |= 1 << (kind * tortureRules)
		}
	}
	return bits
}
