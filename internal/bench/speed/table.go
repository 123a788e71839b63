package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bittern/internal/bench/subject"
)

// table is what was measured.
type table struct {
	kinds   []subject.Kind
	without [][]float64   // by kind: costs without an agent
	before  [][][]float64 // by kind and number of rules: those just before the ones with an agent
	with    [][][]float64 // the same: costs with one
	ratios  [][][]float64 // the same: costs with one against those without just before and after
	sizes   []footprint
	opens   opens
}

func newTable(kinds []subject.Kind) *table {
	t := &table{kinds: kinds, without: make([][]float64, len(kinds)), sizes: make([]footprint, len(sizes))}
	for range kinds {
		t.before = append(t.before, make([][]float64, len(sizes)))
		t.with = append(t.with, make([][]float64, len(sizes)))
		t.ratios = append(t.ratios, make([][]float64, len(sizes)))
	}
	return t
}

func (t *table) addWithout(c costs) {
	for k := range c {
		t.without[k] = append(t.without[k], c[k])
	}
}

// titles of the kinds.
var titles = map[string]string{
	"open": "open+close", "exec": "fork+exec+wait", "getppid": "getppid", "connect": "connect to loopback+close",
}

const mebibyte = 1 << 20

// write prints two figures in each cell. Of ratios they are the ratio of the lowest costs,
// which what else goes on at the machine disturbs least and which are of as many
// measurements with as without, and the median of the ratios to
// what was measured just before and after; of other values the lowest and the median.
func (t *table) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Linux %s, %d processors, %d rounds; ratios: of the minima, and median; else minimum and median\n",
		release(), runtime.NumCPU(), len(t.ratios[0][0]))
	head := []string{"", "no agent, µs"}
	for _, n := range sizes {
		head = append(head, fmt.Sprintf("%d rules", n))
	}
	last := len(sizes) - 1
	row(&b, append(head, fmt.Sprintf("%d / %d", sizes[last], sizes[0]))...)
	for k, kind := range t.kinds {
		cells := []string{titles[kind.Name] + ", x no agent", pair(t.without[k], 1e3)}
		lowest := func(size int) float64 { return slices.Min(t.with[k][size]) }
		for size := range sizes {
			cells = append(cells, ratio(lowest(size)/slices.Min(t.before[k][size]), t.ratios[k][size]))
		}
		growth := make([]float64, len(t.ratios[k][0]))
		for i := range growth {
			growth[i] = t.ratios[k][last][i] / t.ratios[k][0][i]
		}
		row(&b, append(cells, ratio(lowest(last)/lowest(0), growth))...)
	}
	for _, f := range []struct {
		title string
		of    func(footprint) []float64
		unit  float64
	}{
		{"kernel memory of maps, MiB", func(f footprint) []float64 { return f.maps }, mebibyte},
		{"kernel memory of programs, MiB", func(f footprint) []float64 { return f.programs }, mebibyte},
		{"RSS, MiB", func(f footprint) []float64 { return f.rss }, mebibyte},
		{"start to ready, s", func(f footprint) []float64 { return f.startUp }, 1},
	} {
		cells := []string{f.title, ""}
		for _, size := range t.sizes {
			cells = append(cells, pair(f.of(size), f.unit))
		}
		row(&b, cells...)
	}
	o := t.opens
	fmt.Fprintf(&b, "opens while one of %d rules was replaced %d times: %d missed and %d reported twice of %d, by %d versions\n",
		sizes[last]+1, o.replacements, o.missed, o.doubled, o.opened, o.versions)
	_, err := io.WriteString(w, b.String())
	return err
}

// row writes a line of the table; the first cell is the widest.
func row(b *strings.Builder, cells ...string) {
	line := fmt.Sprintf("%-38s", cells[0])
	for _, cell := range cells[1:] {
		line += fmt.Sprintf("%18s", cell)
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}

// pair is the minimum and the median of values in some unit.
func pair(values []float64, unit float64) string {
	return fmt.Sprintf("%.2f %.2f", slices.Min(values)/unit, median(values)/unit)
}

func ratio(ofMinima float64, all []float64) string {
	return fmt.Sprintf("%.3f %.3f", ofMinima, median(all))
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(name.Release[:])
}
