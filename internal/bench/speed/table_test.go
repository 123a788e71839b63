package main

import (
	"strings"
	"testing"

	"bittern/internal/bench/subject"
)

func TestTable(t *testing.T) {
	table := newTable([]subject.Kind{{Name: "open"}})
	table.addWithout(costs{2000})
	table.addWithout(costs{1000})
	for size := range sizes {
		table.before[0][size] = []float64{1000, 1000, 2000}
		table.with[0][size] = []float64{3000, float64(1500 * (size + 1)), 4000}
		table.ratios[0][size] = []float64{3, 2 + float64(size), 9}
		table.sizes[size] = footprint{
			rss: []float64{3 << 20, 1 << 20}, maps: []float64{1 << 20}, programs: []float64{1 << 19}, startUp: []float64{1, 2, 3},
		}
	}
	table.opens = opens{opened: 10, missed: 1, doubled: 2, replacements: 3, versions: 4}
	var b strings.Builder
	if err := table.write(&b); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{
		"3 rounds;",
		"no agent, µs 16 rules 256 rules 4096 rules 4096 / 16",
		// of the minima and median; 4096 / 16 of each round is 1, 4/2 and 1
		"open+close, x no agent 1.00 1.50 1.500 3.000 3.000 3.000 3.000 4.000 2.000 1.000",
		"programs, MiB 0.50 0.50",
		"RSS, MiB 1.00 2.00",
		"ready, s 1.00 2.00",
		"one of 4097 rules was replaced 3 times: 1 missed and 2 reported twice of 10, by 4 versions",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}
