package rules

import (
	"bytes"
	"maps"
	"slices"
	"strings"
)

// Reparse is ParseStates of what the file has now. Entries that it has in common with what it
// had are not read again.
func (f *StateFile) Reparse(data []byte) *StateFile {
	if bytes.Equal(data, f.Text) {
		return f
	}
	if next := f.splice(data); next != nil {
		return next
	}
	return ParseStates(f.path, data)
}

// splice reads what lies between the entries at the start and at the end that are as they were. It
// returns nil where that does not do, such as for what is wrong: only who reads all of it can
// say where.
func (f *StateFile) splice(data []byte) *StateFile {
	if f.layout == nil {
		return nil
	}
	text, old := string(data), f.layout.entries
	from, at := 0, 0
	if strings.HasPrefix(text, f.layout.preamble) {
		at = len(f.layout.preamble)
		for from < len(old) && strings.HasPrefix(text[at:], old[from].text()) {
			at += old[from].size()
			from++
		}
	}
	to, until := len(old), len(text)
	for to > from && strings.HasSuffix(text[at:until], old[to-1].text()) {
		to--
		until -= old[to].size()
	}
	if to < len(old) && until > 0 && text[until-1] != '\n' { // it is behind a comment, say
		until += old[to].size()
		to++
	}
	// One more on either side, since comments and lines that are indented belong to what is above or
	// below them; where there is none, to the start or the end of the file.
	if from > 0 {
		from--
		at -= old[from].size()
	}
	if from == 0 {
		at = 0
	}
	if to < len(old) {
		until += old[to].size()
		to++
	}
	read := ParseStates(f.path, data[at:until])
	if read.layout == nil || len(read.Problems) > 0 {
		return nil
	}
	next := &StateFile{path: f.path, Text: data, States: maps.Clone(f.States), Broken: f.Broken, Complete: true}
	for _, e := range old[from:to] {
		delete(next.States, e.id)
	}
	for id, s := range read.States {
		if _, twice := next.States[id]; twice {
			return nil
		}
		next.States[id] = s
	}
	next.layout = &stateLayout{preamble: f.layout.preamble, entries: slices.Concat(old[:from], read.layout.entries, old[to:])}
	if from == 0 {
		next.layout.preamble = read.layout.preamble
	}
	if next.layout.fits(len(data)) != nil {
		return nil
	}
	return next
}
