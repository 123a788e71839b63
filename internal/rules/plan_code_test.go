package rules

import (
	"fmt"
	"slices"
	"testing"

	"bittern/internal/event"
)

// Each enumerated field is tried with every value it can have, and with none: the
// kernel decides all literals on it, and their negations.
func TestPlansOfEnumeratedFields(t *testing.T) {
	t.Parallel()
	for _, info := range event.Fields() {
		if info.Values == nil {
			continue
		}
		if !KernelField(info.Field) {
			t.Errorf("the kernel does not know %s", info.Name)
		}
		class := info.Classes[0]
		blank := event.Blank(class)
		events := []*event.Event{&blank}
		for _, value := range info.Values {
			ev := event.Blank(class)
			if err := ev.Set(info.Field, value); err != nil {
				t.Fatal(err)
			}
			events = append(events, &ev)
		}
		if info.Many {
			ev := event.Blank(class)
			if err := ev.Set(info.Field, info.Values[0], info.Values[len(info.Values)-1]); err != nil {
				t.Fatal(err)
			}
			events = append(events, &ev)
		}
		first, last := info.Values[0], info.Values[len(info.Values)-1]
		for _, key := range []string{
			": " + first, ": [" + first + ", " + last + "]", "|nocase: '" + lowerASCII(last) + "'", ": '?*'", ": '" + first[:1] + "*" + first[2:] + "'",
			"|contains: '" + last[1:3] + "'", "|startswith: '" + first[:2] + "'", "|endswith|nocase: T", "|contains: nothing",
			"|re: '^(" + first + "|" + last[:2] + ".*)$'", "|re: '(?i)[a-m]{3}'", "|contains|all: [a, e]",
		} {
			for _, condition := range []string{"s", "not s"} {
				rule := ruleFor(t, class, fmt.Sprintf("  s: {%s%s}\n  condition: %s", info.Name, key, condition))
				plan := rule.Plans()[0]
				if !plan.Exact {
					t.Errorf("%s%s is not decided in the kernel:\n%s", info.Name, key, plan)
				}
				for _, ev := range events {
					if match, pass := rule.Match(ev), plan.Passes(ev); match != pass {
						t.Errorf("%s of %s%s on %q: match %v, pass %v\n%s", condition, info.Name, key, ev.Strings(info.Field, nil), match, pass, plan)
					}
				}
			}
		}
	}
}

// The kernel and user space number values alike.
func TestCodesAreOneMoreThanIndexes(t *testing.T) {
	ev := event.Event{Operation: "rename", Privilege: event.Privilege{Capabilities: 1<<21 | 1, Namespaces: 1 << 7}}
	for f, want := range map[event.Field][]uint64{
		event.FileOperation:         {5},
		event.PrivilegeCapabilities: {1, 22},
		event.PrivilegeNamespaces:   {8},
		event.NetworkTransport:      nil,
		event.FilePath:              nil,
	} {
		if have := ev.Codes(f, nil); !slices.Equal(have, want) {
			t.Errorf("%s has the codes %d, want %d", f, have, want)
		}
	}
}
