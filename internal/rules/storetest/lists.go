package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"bittern/internal/rules"
)

// listChecks are those that a store has to pass about lists that rules share. The lists are in
// documents of sources.
var listChecks = map[string]func(t *testing.T, b Backend){
	"a list changes all rules that use it, as a whole":          together,
	"a list that is wrong leaves everything as it is":           wrongList,
	"a list that is removed leaves everything as it is":         removedList,
	"a list comes after the rule that needs it":                 laterList,
	"the first of two definitions counts":                       twiceDefined,
	"a list that doesn't fit one of its rules changes none":     misfit,
	"a rule that is wrong gets what its list becomes":           staleRule,
	"a list moves to another source, and changes in a set":      movedList,
	"no snapshot has two versions of a list":                    oneVersion,
	"the rules of a list are the same after a restart":          restarted,
	"an exception can be a list, and a list can be one of many": excepted,
}

// Listed returns the text of a rule that uses the list named tools.
func Listed(id string, version int) string {
	return strings.Replace(Text(id, version), "  field: command_text\n  pattern: 'needle-"+fmt.Sprint(version)+"'\n",
		"  s: {process.executable|endswith: {list: tools}}\n", 1)
}

// ToolsText returns the text of a document that is the list named tools.
func ToolsText(values ...string) string {
	return "lists: {tools: [" + strings.Join(values, ", ") + "]}\n"
}

// valuesOf are the values that rules of a list have, "" if they don't have the same.
func valuesOf(loaded []rules.Stated) string {
	var first rules.Lists
	for _, r := range loaded {
		uses := r.Uses()
		switch {
		case len(uses) == 0:
		case first == nil:
			first = uses
		case !first["tools"].Same(uses["tools"]):
			return ""
		}
	}
	return first["tools"].Hash.String()
}

func together(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "tools.yml", ToolsText("/a"))
	b.Put(t, "a.yml", Join(Listed("R1", 1), Text("R9", 1)))
	b.Put(t, "b.yml", Join(Listed("R2", 1), Listed("R3", 1)))
	Expect(t, sub, "definition R1 v1", "definition R9 v1", "definition R2 v1", "definition R3 v1")
	before := b.Load()
	b.Put(t, "tools.yml", ToolsText("/a", "/b"))
	changes := Expect(t, sub, "definition R1 v1", "definition R2 v1", "definition R3 v1")
	oneSet(t, changes)
	for i, r := range []*rules.Rule{before[0].Rule, before[1].Rule, before[2].Rule} {
		if changes[i].Rule.Hash == r.Hash || !changes[i].Rule.SameText(r) {
			t.Errorf("%s can't be told from its version before, or has another text", r.ID)
		}
	}
	b.Put(t, "tools.yml", "# the same\n"+ToolsText("/b", "/a", "/b"))
	Quiet(t, b, sub)
	if got := b.Problems(); got != nil {
		t.Errorf("problems %+v", got)
	}
}

func wrongList(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "tools.yml", ToolsText("/a"))
	b.Put(t, "a.yml", Listed("R1", 1))
	b.Put(t, "b.yml", Join(Listed("R2", 1), Text("R9", 1)))
	Expect(t, sub, "definition R1 v1", "definition R2 v1", "definition R9 v1")
	before := valuesOf(b.Load())
	for _, text := range []string{ToolsText("[/b]"), ToolsText(), CutText, "lists: {tool: [/b]}\nmore: 1\n"} {
		b.Put(t, "tools.yml", text)
		Expect(t, sub, "rejected", "rejected R1", "rejected R2")
		WantProblem(t, b, "a.yml", "list tools can't be used: ", "R1")
		WantProblem(t, b, "b.yml", "tools.yml:", "R2")
		if valuesOf(b.Load()) != before {
			t.Errorf("%q: the rules have other values", text)
		}
		b.Put(t, "tools.yml", ToolsText("/a"))
		Quiet(t, b, sub)
		if got := b.Problems(); got != nil {
			t.Errorf("problems %+v", got)
		}
	}
	b.Put(t, "tools.yml", ToolsText("[/b]"))
	Expect(t, sub, "rejected", "rejected R1", "rejected R2")
	b.Put(t, "b.yml", Join(Listed("R2", 1), Text("R9", 2)))
	Expect(t, sub, "definition R9 v2", "rejected R2") // nothing else is disturbed
	b.Put(t, "tools.yml", ToolsText("/b"))
	oneSet(t, Expect(t, sub, "definition R1 v1", "definition R2 v1"))
	Quiet(t, b, sub)
}

func removedList(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "tools.yml", ToolsText("/a"))
	b.Put(t, "a.yml", Listed("R1", 1))
	Expect(t, sub, "definition R1 v1")
	b.Remove(t, "tools.yml")
	Expect(t, sub, "rejected R1")
	WantProblem(t, b, "a.yml", `unknown list "tools"`, "R1")
	WantLive(t, b, "R1v1")
	b.Put(t, "other.yml", ToolsText("/a"))
	Quiet(t, b, sub)
	WantProblem(t, b, "a.yml", "")
	b.Remove(t, "other.yml")
	Expect(t, sub, "rejected R1")
	b.Remove(t, "a.yml")
	Expect(t, sub, "deleted R1")
	Quiet(t, b, sub)
}

func laterList(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "a.yml", Join(Listed("R1", 1), Text("R9", 1)))
	b.Put(t, "b.yml", Listed("R2", 1))
	Expect(t, sub, "definition R9 v1", "rejected R1", "rejected R2")
	WantProblem(t, b, "a.yml", `unknown list "tools"`)
	b.Put(t, "tools.yml", ToolsText("/a"))
	oneSet(t, Expect(t, sub, "definition R1 v1", "definition R2 v1"))
	WantProblem(t, b, "a.yml", "")
	Quiet(t, b, sub)
}

func twiceDefined(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "tools.yml", ToolsText("/a"))
	b.Put(t, "a.yml", Listed("R1", 1))
	Expect(t, sub, "definition R1 v1")
	b.Put(t, "more.yml", Join(ToolsText("/b"), Text("R9", 1)))
	Expect(t, sub, "definition R9 v1", "rejected")
	WantProblem(t, b, "more.yml", "list tools is already defined in ")
	b.Put(t, "more.yml", Join(ToolsText("/c"), Text("R9", 1)))
	Expect(t, sub, "rejected")
	b.Remove(t, "tools.yml")
	Expect(t, sub, "definition R1 v1")
	Quiet(t, b, sub)
	WantProblem(t, b, "more.yml", "")
}

// numbered is Listed for a field that is a number.
func numbered(id string, version int) string {
	return strings.Replace(Listed(id, version), "process.executable|endswith", "user.id", 1)
}

func misfit(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "tools.yml", ToolsText("'1'"))
	b.Put(t, "a.yml", Listed("R1", 1))
	b.Put(t, "b.yml", numbered("R2", 1))
	Expect(t, sub, "definition R1 v1", "definition R2 v1")
	before := valuesOf(b.Load())
	b.Put(t, "tools.yml", ToolsText("'1'", "x"))
	Expect(t, sub, "rejected", "rejected R1", "rejected R2")
	WantProblem(t, b, "tools.yml", "so rule R2 can't use list tools for user.id")
	WantProblem(t, b, "a.yml", "list tools can't be used: ", "R1")
	WantProblem(t, b, "b.yml", "tools.yml:1:", "R2")
	if valuesOf(b.Load()) != before {
		t.Error("one of the rules has other values")
	}
	b.Put(t, "c.yml", numbered("R3", 1))
	Expect(t, sub, "rejected R3")
	b.Remove(t, "c.yml")
	Quiet(t, b, sub)
	b.Remove(t, "b.yml") // the one that it doesn't fit
	changes := Expect(t, sub, "deleted R2", "definition R1 v1")
	oneSet(t, changes)
	b.Put(t, "b.yml", numbered("R2", 1)) // the list was there first
	Expect(t, sub, "rejected R2")
	WantProblem(t, b, "a.yml", "")
	WantLive(t, b, "R1v1")
	Quiet(t, b, sub)
}

func staleRule(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "tools.yml", ToolsText("/a"))
	b.Put(t, "a.yml", Listed("R1", 1))
	b.Put(t, "b.yml", Listed("R2", 1))
	Expect(t, sub, "definition R1 v1", "definition R2 v1")
	for i, bad := range []string{BadText("R1"), CutText, ""} {
		b.Put(t, "a.yml", bad)
		switch i {
		case 0:
			Expect(t, sub, "rejected R1")
		case 1:
			Expect(t, sub, "rejected")
		}
		b.Put(t, "tools.yml", ToolsText("/b", fmt.Sprint("/c", i)))
		var set []rules.Change
		for range 2 {
			set = append(set, Next(t, sub))
		}
		oneSet(t, set)
		if valuesOf(b.Load()) == "" {
			t.Errorf("%q: one of the rules has older values", bad)
		}
		b.Put(t, "a.yml", Listed("R1", 1))
		Quiet(t, b, sub)
	}
	// A list that doesn't fit the version that stays live is as wrong.
	b.Put(t, "a.yml", numbered("R1", 2))
	Expect(t, sub, "rejected R1")
}

func movedList(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "tools.yml", ToolsText("/a"))
	b.Put(t, "a.yml", Listed("R1", 1))
	Expect(t, sub, "definition R1 v1")
	b.Rename(t, "tools.yml", "other.yml")
	Quiet(t, b, sub)
	b.Together(t, func() {
		b.Put(t, "tools.yml", ToolsText("/b"))
		b.Remove(t, "other.yml")
		b.Put(t, "b.yml", Listed("R2", 1))
	})
	oneSet(t, Expect(t, sub, "definition R2 v1", "definition R1 v1"))
	b.Together(t, func() { b.Put(t, "tools.yml", ToolsText("[]")) })
	for _, c := range []rules.Change{Next(t, sub), Next(t, sub), Next(t, sub), Next(t, sub)} {
		if c.Kind != rules.Rejected {
			t.Errorf("%s is live", Show(c))
		}
	}
	b.Put(t, "tools.yml", ToolsText("/c"))
	oneSet(t, Expect(t, sub, "definition R1 v1", "definition R2 v1"))
	Quiet(t, b, sub)
	if got := b.Problems(); got != nil {
		t.Errorf("problems %+v", got)
	}
}

func oneVersion(t *testing.T, b Backend) {
	first := b.Changes()
	b.Put(t, "tools.yml", ToolsText("/0"))
	for i := range 8 {
		b.Put(t, fmt.Sprintf("r%d.yml", i), Listed(fmt.Sprintf("R%d", i), 1))
		Expect(t, first, fmt.Sprintf("definition R%d v1", i))
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	sub := b.Changes()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 1; i <= 50; i++ {
			b.Put(t, "tools.yml", ToolsText(fmt.Sprint("/", i)))
		}
		b.Put(t, "z.yml", Text("END", 1))
	}()
	for {
		if valuesOf(b.Load()) == "" {
			t.Fatal("a snapshot has two versions of a list")
		}
		c, err := sub.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if c.RuleID == "END" {
			break
		}
	}
	<-ended
}

func restarted(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "a.yml", Listed("R1", 1))
	Expect(t, sub, "rejected R1")
	b.Put(t, "z-tools.yml", ToolsText("/a"))
	Expect(t, sub, "definition R1 v1")
	before := b.Load()[0].Hash
	b.Restart(t, func() {})
	if after := b.Load(); len(after) != 1 || after[0].Hash != before {
		t.Errorf("after a restart %s", Live(after))
	}
	b.Restart(t, func() { b.Put(t, "z-tools.yml", ToolsText("/b")) })
	if after := b.Load(); len(after) != 1 || after[0].Hash == before {
		t.Errorf("after a restart with another list %s", Live(after))
	}
	if got := b.Problems(); got != nil {
		t.Errorf("problems %+v", got)
	}
}

func excepted(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "tools.yml", ToolsText("/a"))
	b.Put(t, "a.yml", Text("R1", 1)+"exceptions:\n  - {name: x, match: {process.executable|endswith: [/z, {list: tools}]}}\n")
	Expect(t, sub, "definition R1 v1")
	b.Put(t, "tools.yml", ToolsText("/b"))
	Expect(t, sub, "definition R1 v1")
	Quiet(t, b, sub)
}
