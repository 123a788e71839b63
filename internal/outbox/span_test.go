package outbox

import "testing"

func TestSpans(t *testing.T) {
	all := []span{{from: 2, to: 5}, {from: 5, to: 5}, {from: 7, to: 9}}
	have := progress{acked: 1, ahead: all}
	for seq, want := range []bool{true, true, false, true, true, true, false, false, true, true, false} {
		if got := have.has(uint64(seq)); got != want {
			t.Errorf("has %d: %v", seq, got)
		}
	}
	for _, c := range []struct {
		from, before uint64
		want         bool
	}{{3, 6, true}, {4, 5, true}, {2, 6, false}, {3, 7, false}, {3, 10, false}, {8, 10, true}, {8, 11, false}, {6, 8, false}} {
		if got := hasAll(all, c.from, c.before); got != c.want {
			t.Errorf("has all from %d on before %d: %v", c.from, c.before, got)
		}
	}
}

func TestCountBetween(t *testing.T) {
	all := make([]span, 2)
	all[0].first[High], all[0].next[High] = 3, 5
	all[1].first[High], all[1].next[High] = 8, 10
	for _, c := range []struct{ from, before, want uint64 }{{1, 11, 6}, {4, 9, 3}, {3, 5, 0}, {5, 8, 3}, {8, 8, 0}, {9, 2, 0}} {
		if got := countBetween(all, High, c.from, c.before); got != c.want {
			t.Errorf("from %d on before %d: %d, want %d", c.from, c.before, got, c.want)
		}
	}
}
