package outbox

import (
	"cmp"
	"slices"
)

// bytesOf sums up what segments take on the disk.
func bytesOf(all []*segment) (sum int64) {
	for _, s := range all {
		if s.file != nil {
			sum += s.size
		}
	}
	return sum
}

// arrange sorts the segments of a tier, and separates those that others have taken the place of. It sets where each one
// ends that another one follows.
func arrange(all []*segment) (live, obsolete []*segment) {
	slices.SortFunc(all, func(a, b *segment) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.made, b.made)) })
	for i, s := range all {
		if replaced(s, all) || i+1 < len(all) && all[i+1].first == s.first && all[i+1].made > s.made && !s.merged {
			obsolete = append(obsolete, s)
		} else {
			live = append(live, s)
		}
	}
	for i, s := range live {
		if i+1 == len(live) {
			break
		}
		s.lastSeq = live[i+1].firstSeq - 1
		if !s.sealed || s.next > live[i+1].first {
			s.next = live[i+1].first
		}
		s.sealed = true
	}
	return live, obsolete
}

// replaced reports whether what a segment holds was put together into another one.
func replaced(s *segment, all []*segment) bool {
	for _, m := range all {
		if m != s && m.merged && m.made > s.made && m.first <= s.first && s.first < m.next {
			return true
		}
	}
	return false
}
