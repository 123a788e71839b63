package outbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Problem is something that is not as it should be with a file.
type Problem struct {
	File string `json:"file"`
	// Offset and Bytes are where; both are 0 if it is the whole file.
	Offset int64 `json:"offset,omitempty"`
	Bytes  int64 `json:"bytes,omitempty"`
	// Seq is of the record that it is about; 0 if that is not known.
	Seq     uint64 `json:"sequence,omitempty"`
	Message string `json:"message"`
	// Damage says that the disk did not keep what was written. Else it is what an agent leaves that dies, and does no harm.
	Damage bool `json:"damage"`
}

// optional opens a file that need not be there; nil if it is not.
func (v *view) optional(name string) (file, error) {
	f, err := v.disk.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		v.problems = append(v.problems, Problem{File: name, Message: "it is missing; an agent makes it anew when it starts"})
		return nil, nil
	}
	return f, err
}

// twice calls f again if it finds something: an agent may be writing.
func twice(f func() []Problem) []Problem {
	if len(f()) == 0 {
		return nil
	}
	return f()
}

func (v *view) readCursors() error {
	f, err := v.optional(cursorsFile)
	if f == nil {
		return err
	}
	v.cursors, _, _ = readCursors(f)
	v.problems = append(v.problems, twice(func() []Problem { return cursorProblems(f) })...) // which tell of the error
	return f.Close()
}

// cursorProblems checks each copy of each place.
func cursorProblems(f file) (all []Problem) {
	var data [cursorPlaces * cursorPlace]byte
	if n, err := f.ReadAt(data[:], 0); err != nil && !errors.Is(err, io.EOF) || n < len(data) {
		all = append(all, Problem{File: cursorsFile, Offset: int64(n), Bytes: int64(len(data) - n), Message: "the rest of it can't be read", Damage: true})
	}
	for i := range cursorPlaces {
		at := i * cursorPlace
		first, ok := readCursor(data[at : at+cursorCopy])
		second, ok2 := readCursor(data[at+cursorCopy : at+cursorPlace])
		if ok && ok2 {
			continue
		}
		p := Problem{File: cursorsFile, Offset: int64(at), Bytes: cursorCopy, Damage: true}
		switch {
		case !ok && !ok2:
			p.Bytes, p.Message = cursorPlace, fmt.Sprintf("both copies of place %d are damaged: a sink may get again what it has", i)
		case ok && first.writes > 0:
			p.Offset, p.Message = int64(at+cursorCopy), fmt.Sprintf("a copy of the cursor of %q is damaged; the other one counts", first.name)
		case ok2 && second.writes > 0:
			p.Message = fmt.Sprintf("a copy of the cursor of %q is damaged; the other one counts", second.name)
		default: // and the other one was never written
			p.Message = fmt.Sprintf("the only copy of place %d is damaged: a sink may get again what it has", i)
		}
		all = append(all, p)
	}
	return all
}

// copyOf is one copy of the ledger's book, as a file.
type copyOf struct {
	file
	at int64
}

func (c copyOf) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(c.file, c.at, ledgerCopy).ReadAt(p, off)
}

func (v *view) readLedger() error {
	f, err := v.optional(ledgerFile)
	if f == nil {
		return err
	}
	v.book, _, err = readBook(f)
	for range 2 {
		if err != nil {
			v.book, _, err = readBook(f) // an agent may be writing
		}
	}
	v.problems = append(v.problems, twice(func() []Problem { return ledgerProblems(f) })...) // which tell of the error
	return f.Close()
}

// ledgerProblems checks both copies.
func ledgerProblems(f file) (all []Problem) {
	var good, bad []int
	var most uint64
	for i := range 2 {
		c := copyOf{f, int64(i) * ledgerCopy}
		_, writes, err := readBook(c)
		if err == nil {
			good, most = append(good, i), max(most, writes)
			continue
		}
		var head [ledgerHead]byte
		if n, _ := c.ReadAt(head[:], 0); n < len(head) || head != [ledgerHead]byte{} {
			bad = append(bad, i)
		}
	}
	// The first write goes to the second copy, so the other one may never have been written.
	if len(good) == 1 && len(bad) == 0 && most > 1 {
		bad = append(bad, 1-good[0])
	}
	switch {
	case len(good) == 0:
		all = append(all, Problem{File: ledgerFile, Bytes: 2 * ledgerCopy, Message: "both copies are damaged: what was lost is not known", Damage: true})
	case len(bad) > 0:
		all = append(all, Problem{
			File: ledgerFile, Offset: int64(bad[0]) * ledgerCopy, Bytes: ledgerCopy, Damage: true,
			Message: "one of its two copies is damaged, as after a power failure while it was written; the other one counts",
		})
	}
	return all
}
