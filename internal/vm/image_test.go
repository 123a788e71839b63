package vm

import (
	"fmt"
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
