package rules

import (
	"strings"

	"bittern/internal/event"
)

// demand is what one literal asks of the kernel: that a value hits each of its
// groups. Whatever satisfies the literal meets the demand.
type demand struct {
	groups []Group // empty: nothing, so every event meets it
	never  bool    // no event satisfies the literal
	weak   bool    // some event may meet the demand and not satisfy the literal
}

// piece is text that a value has: at its start, at its end, both (it is the
// whole value), or somewhere.
type piece struct {
	text       string
	start, end bool
}

// hold says how the keys found for a piece relate to it. The larger, the less
// they say.
type hold uint8

const (
	holdNever  hold = iota // no value has the piece
	holdExact              // a value hits a key if, and only if, it has the piece
	holdWeak               // a value that has the piece hits a key
	holdAlways             // the field always has a value, and every value has the piece
	holdOpen               // no key narrows the search
)

// demandOf returns the demand of a literal.
func demandOf(l *literal) demand {
	if KernelField(l.field) && l.field.Info().Values != nil {
		return codeDemand(l)
	}
	if l.field.Info().Address {
		return addressDemand(l)
	}
	switch l.op {
	case opNumber:
		if !KernelField(l.field) {
			return demand{weak: true}
		}
		return demand{groups: []Group{{{Field: l.field, Kind: NumberEquals, Number: l.number}}}}
	case opEquals:
		return anyPiece(l.field, l.fold, []piece{{text: l.text, start: true, end: true}})
	case opContains:
		return anyPiece(l.field, l.fold, []piece{{text: l.text}})
	case opStartsWith:
		return anyPiece(l.field, l.fold, []piece{{text: l.text, start: true}})
	case opEndsWith:
		return anyPiece(l.field, l.fold, []piece{{text: l.text, end: true}})
	case opGlob:
		return globDemand(l)
	case opRegexp:
		return regexpDemand(l.field, l.syntax)
	}
	return demand{weak: true}
}

// anyPiece demands that a value has at least one of the pieces.
func anyPiece(field event.Field, fold bool, pieces []piece) demand {
	var keys []Key
	worst := holdNever
	for _, p := range pieces {
		found, h := pieceKeys(field, fold, p)
		if h >= holdAlways {
			return demand{weak: h == holdOpen}
		}
		keys = append(keys, found...)
		worst = max(worst, h)
	}
	if worst == holdNever {
		return demand{never: true}
	}
	return demand{groups: []Group{normalGroup(keys)}, weak: worst == holdWeak}
}

// allPieces demands that a value has every piece. It is weak unless there is
// only one, since keys neither know the order of the pieces nor that it must be
// the same value that has them.
func allPieces(field event.Field, fold bool, pieces []piece) demand {
	all := demand{weak: len(pieces) > 1}
	for _, p := range pieces {
		d := anyPiece(field, fold, []piece{p})
		if d.never {
			return d
		}
		all.groups = append(all.groups, d.groups...)
		all.weak = all.weak || d.weak
	}
	return all
}

// globDemand takes the parts of a glob, cut at each "?", for themselves.
func globDemand(l *literal) demand {
	var pieces []piece
	wild := false
	last := len(l.glob) - 1
	for i, part := range l.glob {
		segments := strings.Split(part, string(globAny))
		wild = wild || len(segments) > 1
		for j, text := range segments {
			p := piece{text: text, start: i == 0 && j == 0, end: i == last && j == len(segments)-1}
			if text != "" || (p.start && p.end) {
				pieces = append(pieces, p)
			}
		}
	}
	if len(pieces) == 0 { // only wildcards
		d := anyPiece(l.field, l.fold, []piece{{}})
		d.weak = d.weak || wild
		return d
	}
	d := allPieces(l.field, l.fold, pieces)
	switch {
	case wild:
		d.weak = !d.never
	case len(pieces) == 2 && pieces[0].start && pieces[1].end && alwaysOneValue(l.field):
		// "head*tail": both keys decide it if head and tail can't share bytes.
		head, headHold := pieceKeys(l.field, l.fold, pieces[0])
		tail, tailHold := pieceKeys(l.field, l.fold, pieces[1])
		if headHold == holdExact && tailHold == holdExact && !mayOverlap(head[0].Text, tail[0].Text) {
			d.weak = false
		}
	}
	return d
}

// mayOverlap reports whether a value shorter than both together can start with
// head and end with tail. Case is left out of account, to be on the safe side.
func mayOverlap(head, tail string) bool {
	head, tail = lowerASCII(head), lowerASCII(tail)
	if strings.Contains(head, tail) || strings.Contains(tail, head) {
		return true
	}
	for n := 1; n < min(len(head), len(tail)); n++ {
		if head[len(head)-n:] == tail[:n] {
			return true
		}
	}
	return false
}

// alwaysOneValue reports whether the field has exactly one value in every
// event, if only an empty one. Other fields may have none, but no empty value;
// except process.args, which may have both.
func alwaysOneValue(f event.Field) bool {
	return f == event.ProcessCommandLine || f == event.ProcessParentCommandLine
}

// pieceKeys returns keys of which a value that has the piece hits at least one.
func pieceKeys(field event.Field, fold bool, p piece) ([]Key, hold) {
	if strings.IndexByte(p.text, 0) >= 0 {
		return nil, holdOpen // the kernel's strings end at NUL
	}
	path, isName := pathOfName(field)
	switch {
	case isName:
		return nameKeys(path, fold, p)
	case field == event.ProcessArgs:
		return argumentKeys(fold, p)
	case KernelField(field):
		return valueKeys(field, fold, p)
	}
	return nil, holdOpen
}

// pathOfName returns the field whose last path component f is.
func pathOfName(f event.Field) (path event.Field, ok bool) {
	switch f {
	case event.ProcessName:
		return event.ProcessExecutable, true
	case event.ProcessParentName:
		return event.ProcessParentExecutable, true
	case event.FileName:
		return event.FilePath, true
	}
	return event.FieldInvalid, false
}

// valueKeys is pieceKeys for a field that the kernel knows as it is.
func valueKeys(field event.Field, fold bool, p piece) ([]Key, hold) {
	key := Key{Field: field, Fold: fold, Text: p.text}
	whole := p.start && p.end
	switch {
	case p.text == "" && whole && !alwaysOneValue(field):
		return nil, holdNever
	case p.text == "" && !whole && alwaysOneValue(field):
		return nil, holdAlways
	case p.text == "" && !whole:
		return nil, holdOpen
	case !p.start && !p.end:
		return gramKeys(key)
	}
	h := holdExact
	switch {
	case whole:
		key.Kind = Equals
	case p.start:
		key.Kind = Prefix
	default:
		key.Kind = Suffix
	}
	if n := len(p.text); n > MaxKeyBytes {
		h = holdWeak
		if key.Kind == Suffix {
			key.Text = p.text[n-MaxKeyBytes:]
		} else {
			key.Kind, key.Text = Prefix, p.text[:MaxKeyBytes]
		}
	}
	return []Key{stringKey(key)}, h
}

// gramKeys looks for key.Text anywhere in a value.
func gramKeys(key Key) ([]Key, hold) {
	n := len(key.Text)
	if n < minGram {
		return nil, holdOpen
	}
	h := holdExact
	if n > maxGram || (!key.Fold && hasLetter(key.Text)) {
		h = holdWeak
	}
	if n > maxGram {
		key.Text = rarestGram(key.Text)
	}
	key.Kind = Gram
	return []Key{stringKey(key)}, h
}

// nameKeys is pieceKeys for the last component of a path, which is never empty
// and has no slash. The path may be a bare name: programs are invoked by one, and files
// that are in no directory have one, such as "memfd:x".
func nameKeys(path event.Field, fold bool, p piece) ([]Key, hold) {
	slashed := func(end bool) []Key {
		keys, _ := valueKeys(path, fold, piece{text: "/" + p.text, end: end})
		bare, _ := valueKeys(path, fold, piece{text: p.text, start: true, end: end})
		return append(keys, bare...)
	}
	switch {
	case strings.IndexByte(p.text, '/') >= 0:
		return nil, holdNever
	case p.text == "" && p.start && p.end:
		return nil, holdNever
	case p.text == "":
		return nil, holdOpen
	case p.start && p.end:
		if 1+len(p.text) > MaxKeyBytes {
			return slashed(true), holdWeak
		}
		return slashed(true), holdExact
	case p.start: // a directory's name may start the same
		return slashed(false), holdWeak
	case p.end:
		return valueKeys(path, fold, p)
	}
	keys, h := valueKeys(path, fold, p)
	return keys, max(h, holdWeak)
}

// argumentKeys is pieceKeys for process.args. The kernel sees arguments only as
// parts of the command line: joined by spaces, which may be inside them too.
func argumentKeys(fold bool, p piece) ([]Key, hold) {
	const line = event.ProcessCommandLine
	if p.text == "" {
		return nil, holdOpen
	}
	if len(p.text) >= maxGram || (!p.start && !p.end) {
		keys, h := valueKeys(line, fold, piece{text: p.text})
		return keys, max(h, holdWeak)
	}
	// Too short for a good gram: take in the space beside the argument, or the
	// edge of the command line.
	lefts, rights := []piece{{}}, []piece{{}}
	if p.start {
		lefts = []piece{{text: " "}, {start: true}}
	}
	if p.end {
		rights = []piece{{text: " "}, {end: true}}
	}
	var keys []Key
	for _, left := range lefts {
		for _, right := range rights {
			found, _ := valueKeys(line, fold, piece{text: left.text + p.text + right.text, start: left.start, end: right.end})
			keys = append(keys, found...)
		}
	}
	return keys, holdWeak
}
