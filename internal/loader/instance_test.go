package loader

import (
	"slices"
	"testing"
	"time"
)

// The agents before us are read in the order in which they were there, which is that of their names.
func TestInstancesSortByTime(t *testing.T) {
	var names []string
	for _, at := range []time.Duration{0, 999 * time.Millisecond, time.Second, 59 * time.Second, 9 * time.Hour, 10 * time.Hour, 1000 * time.Hour} {
		names = append(names, instanceID(at))
	}
	if !slices.IsSorted(names) || len(slices.Compact(names)) != 7 {
		t.Errorf("%q", names)
	}
}
