package rules

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

const (
	minGram = 2
	maxGram = 4
)

// stringKey returns a key in normal form: two keys that hit the same values are
// equal. The text must fit, see MaxKeyBytes.
func stringKey(k Key) Key {
	if k.Kind == Gram {
		k.Fold = true
	}
	if k.Fold {
		k.Text = lowerASCII(k.Text)
	}
	if k.Kind != Gram && !hasLetter(k.Text) {
		k.Fold = false
	}
	return k
}

// hasLetter reports whether s has an ASCII letter, so that folding matters.
func hasLetter(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; 'a' <= c && c <= 'z' {
			return true
		}
	}
	return false
}

// compareKeys orders keys for output; the order has no other meaning.
func compareKeys(a, b Key) int {
	fold := func(k Key) int {
		if k.Fold {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.Field, b.Field),
		cmp.Compare(a.Kind, b.Kind),
		strings.Compare(a.Text, b.Text),
		cmp.Compare(fold(a), fold(b)),
		cmp.Compare(a.Number, b.Number),
		a.Network.Addr().Compare(b.Network.Addr()),
		cmp.Compare(a.Network.Bits(), b.Network.Bits()),
	)
}

// keySet is a set of keys that can tell which other keys its own imply: a value
// with prefix "/usr/bin" also has prefix "/usr".
// The zero value is the empty set.
type keySet struct {
	keys  map[Key]struct{}
	kinds [InNetwork + 1]bool // which kinds occur
	shape *keyShape           // of many keys; nil if they are few
}

// keyShape says of many keys which need not be looked for: that takes long.
type keyShape struct {
	lengths [InNetwork + 1][MaxKeyBytes + 1]bool // of texts, by kind
	folds   bool                                 // whether any text folds
}

// manyKeys is from how many on.
const manyKeys = 64

func newKeySet(keys []Key) keySet {
	s := keySet{keys: make(map[Key]struct{}, len(keys))}
	if len(keys) >= manyKeys {
		s.shape = &keyShape{}
	}
	for _, k := range keys {
		s.keys[k] = struct{}{}
		s.kinds[k.Kind] = true
		if s.shape != nil {
			s.shape.lengths[k.Kind][len(k.Text)] = true
			s.shape.folds = s.shape.folds || k.Fold
		}
	}
	return s
}

func (s keySet) has(k Key) bool {
	_, ok := s.keys[k]
	return ok
}

// covers reports whether every value that k hits is hit by a key of the set,
// which may be k itself.
func (s keySet) covers(k Key) bool { return len(s.keys) > 0 && (s.has(k) || s.coversByOther(k)) }

// coversByOther is covers, leaving out k itself.
func (s keySet) coversByOther(k Key) bool {
	switch k.Kind {
	case NumberEquals:
		return false // numbers are equal or have nothing to do with each other
	case InNetwork:
		return s.coversNetwork(k)
	}
	has := func(kind KeyKind, text string) bool {
		if !s.kinds[kind] || s.shape != nil && !s.shape.lengths[kind][len(text)] {
			return false
		}
		implied := Key{Field: k.Field, Kind: kind, Text: text}
		if kind == Gram {
			implied = stringKey(implied)
			return implied != k && s.has(implied)
		}
		// A folded key implies nothing about the case of letters.
		if (!k.Fold || !hasLetter(text)) && implied != k && s.has(implied) {
			return true
		}
		if s.shape != nil && !s.shape.folds {
			return false
		}
		implied.Fold = true
		implied.Text = lowerASCII(text)
		return implied != k && s.has(implied)
	}
	n := len(k.Text)
	if k.Kind == Equals && has(Equals, k.Text) {
		return true
	}
	for i := 0; i <= n; i++ {
		if (k.Kind == Equals || k.Kind == Prefix) && has(Prefix, k.Text[:i]) {
			return true
		}
		if (k.Kind == Equals || k.Kind == Suffix) && has(Suffix, k.Text[i:]) {
			return true
		}
		if s.kinds[Gram] {
			for size := minGram; size <= maxGram && i+size <= n; size++ {
				if has(Gram, k.Text[i:i+size]) {
					return true
				}
			}
		}
	}
	return false
}

// coversNetwork is coversByOther of a network: a larger one of the set has it.
func (s keySet) coversNetwork(k Key) bool {
	for bits := range k.Network.Bits() {
		if s.has(Key{Field: k.Field, Kind: InNetwork, Network: netip.PrefixFrom(k.Network.Addr(), bits).Masked()}) {
			return true
		}
	}
	return false
}

// coversAll reports whether every key is covered, so that hitting one of keys
// means hitting one of the set.
func (s keySet) coversAll(keys []Key) bool {
	for _, k := range keys {
		if !s.covers(k) {
			return false
		}
	}
	return true
}

// normalGroup sorts keys and leaves out repeats and those that another implies.
// It changes keys.
func normalGroup(keys []Key) Group {
	slices.SortFunc(keys, compareKeys)
	keys = slices.Compact(keys)
	if len(keys) < 2 {
		return keys
	}
	set := newKeySet(keys)
	return slices.DeleteFunc(keys, set.coversByOther)
}
