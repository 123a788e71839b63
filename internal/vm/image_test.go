package vm

import (
	"fmt"
	"slices"
	"testing"
)

func TestMatching(t *testing.T) {
	all := &Binaries{Tests: map[string][]string{"a": {"TestOne", "TestTwo"}, "b": {"TestOne", "FuzzIt"}}}
	for pattern, want := range map[string]string{
		"":              "map[a:[TestOne TestTwo] b:[TestOne FuzzIt]]",
		"Two":           "map[a:[TestTwo]]",
		"^TestOne$/sub": "map[a:[TestOne] b:[TestOne]]",
		"Three":         "map[]",
	} {
		some, err := all.matching(pattern)
		if err != nil || fmt.Sprint(some.Tests) != want {
			t.Errorf("%q: got %v, %v; want %s", pattern, some, err, want)
		}
	}
	if _, err := all.matching("("); err == nil {
		t.Error("a pattern that is none was taken")
	}
}

func TestSelected(t *testing.T) {
	all := &Binaries{Tests: map[string][]string{"a": {"TestOne", "TestTwo"}, "b": {"TestOne", "FuzzIt"}}}
	for _, tc := range []struct {
		by            []Selection
		pattern, want string
		run           string // what the guest is told
	}{
		{nil, "", "map[a:[TestOne TestTwo] b:[TestOne FuzzIt]]", ""},
		{nil, "One/sub", "map[a:[TestOne] b:[TestOne]]", "One/sub"},
		{[]Selection{{"a", ""}}, "", "map[a:[TestOne TestTwo]]", ""},
		{[]Selection{{"a", "Two|Three"}, {"b", ""}}, "", "map[a:[TestTwo] b:[TestOne FuzzIt]]", "^(FuzzIt|TestOne|TestTwo)$"},
		{[]Selection{{"a", "Two"}, {"b", "One"}}, "Test.*/sub", "map[a:[TestTwo] b:[TestOne]]", "^(TestOne|TestTwo)$/sub"},
	} {
		some, err := all.selected(tc.by)
		if err == nil {
			some, err = some.matching(tc.pattern)
		}
		if err != nil || fmt.Sprint(some.Tests) != tc.want {
			t.Errorf("%v, %q: got %v, %v; want %s", tc.by, tc.pattern, some, err, tc.want)
			continue
		}
		cargo, err := some.cargo(nil, tc.pattern, true, 0)
		if err != nil || !slices.Contains(cargo.Arguments, "-run="+tc.run) {
			t.Errorf("%v, %q: got %v, %v; want -run=%s", tc.by, tc.pattern, cargo.Arguments, err, tc.run)
		}
	}
	for _, by := range []Selection{{"c", ""}, {"a", "Three"}, {"a", "("}} {
		if _, err := all.selected([]Selection{by}); err == nil {
			t.Errorf("%v was taken", by)
		}
	}
}
