package mirror

import (
	"maps"
	"slices"
)

// plan is what makes one directory like another. Moves come first, in their order, then puts, then removals.
type plan struct {
	moves   []move
	puts    []File
	removes []string
}

type move struct{ from, to string }

// edits is how many files it changes.
func (p plan) edits() int { return len(p.moves) + len(p.puts) + len(p.removes) }

// planFor finds out what is to be done. A file whose content has another name now is renamed, so that a rule store sees it move;
// what waits under its name is put in place instead of any move. staged says what does.
func planFor(have map[string]present, want map[string]File, staged func(File) bool) plan {
	var p plan
	free := map[Blob][]string{} // content that is not to stay under the name that it has
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if w, ok := want[name]; !ok || w.Blob != have[name].blob {
			free[have[name].blob] = append(free[have[name].blob], name)
		}
	}
	moves := map[string]string{} // from -> to
	for _, name := range slices.Sorted(maps.Keys(want)) {
		w := want[name]
		if h, ok := have[name]; ok && h.blob == w.Blob {
			continue
		}
		if from := free[w.Blob]; len(from) > 0 && !staged(w) {
			moves[from[0]] = name
			free[w.Blob] = from[1:]
			continue
		}
		p.puts = append(p.puts, w)
	}
	p.order(moves, want)
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, moved := moves[name]; !moved {
			if _, ok := want[name]; !ok {
				p.removes = append(p.removes, name)
			}
		}
	}
	return p
}

// order brings moves into an order in which none is over a file that is still to be moved. A ring of moves has no such order: one of
// its files is put in place instead, from a copy.
func (p *plan) order(moves map[string]string, want map[string]File) {
	const waits, begun, done = 0, 1, 2
	state := map[string]int{}
	var visit func(from string)
	visit = func(from string) {
		state[from] = begun
		to := moves[from]
		if _, blocked := moves[to]; blocked {
			switch state[to] {
			case waits:
				visit(to)
			case begun:
				p.puts = append(p.puts, want[to])
				state[from] = done
				return
			}
		}
		p.moves = append(p.moves, move{from, to})
		state[from] = done
	}
	for _, from := range slices.Sorted(maps.Keys(moves)) {
		if state[from] == waits {
			visit(from)
		}
	}
}
