package repeat

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bittern/internal/rules"
)

// Journal keeps windows in a file, so that they outlive the agent. The page cache keeps what was written
// when a process is killed; it need not survive the machine, since the kernel's ring does not either.
// A nil Journal keeps nothing.
//
// The file has a place for each window. A place is written by one system call, over the older of its
// two copies, so that whenever the agent dies a place holds the window as it was before or after a change. Beside
// it lie the documents of the rule versions that have windows.
type Journal struct {
	dir    string
	file   *os.File
	out    io.WriterAt // the file
	vacant []int       // places below next that are free
	next   int         // place behind the last one
	writes []uint64
	kept   map[rules.Hash]bool // versions whose documents are there
	buf    []byte
}

// place is where a window is kept, from 1 on; 0 is nowhere.
type place int

const windowsFile = "windows"

// OpenJournal opens the journal in a directory, which it makes if need be, and returns the windows that are in it.
// parse reads the document of a rule. damage is what can't be read of it: windows that are lost, or rules of which
// only the id, the version and the limit are known. A file that is of no use is put aside.
func OpenJournal(dir string, parse func(document []byte) (*rules.Rule, error)) (_ *Journal, found []*Window, damage []error, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("opening the journal of repeats: %w", err)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, nil, err
	}
	j := &Journal{dir: dir, kept: make(map[rules.Hash]bool)}
	if err := j.open(); err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			j.file.Close()
		}
	}()
	data, err := os.ReadFile(j.path())
	if err != nil {
		return nil, nil, nil, err
	}
	found, damage, err = j.read(data)
	if err != nil {
		return nil, nil, nil, err
	}
	return j, found, append(damage, j.restore(found, parse)...), nil
}

func (j *Journal) path() string { return filepath.Join(j.dir, windowsFile) }

func (j *Journal) open() (err error) {
	j.file, err = os.OpenFile(j.path(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	// Two agents would write over each other's windows.
	if err := unix.Flock(int(j.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("locking %s: %w (does another agent run?)", j.path(), err), j.file.Close())
	}
	j.out = j.file
	return nil
}

// read reads all places. If the file is of another format, it is put aside and a new one begun.
func (j *Journal) read(data []byte) (found []*Window, damage []error, err error) {
	for at := 0; at < len(data); at += placeBytes {
		win, writes, err := readPlace(data[at:min(at+placeBytes, len(data))])
		if errors.Is(err, errFormat) {
			return nil, []error{fmt.Errorf("the windows in %s.old are not known: %w", j.path(), err)}, j.putAside()
		}
		if err != nil {
			damage = append(damage, fmt.Errorf("place %d of %s: %w", at/placeBytes, j.path(), err))
		}
		j.writes = append(j.writes, writes)
		j.next++
		if win == nil {
			j.vacant = append(j.vacant, j.next-1)
			continue
		}
		win.place = place(j.next)
		found = append(found, win)
	}
	return found, damage, nil
}

// errTorn says that a place had one good copy.
var errTorn = errors.New("one of its copies is damaged, the other one counts")

// readPlace returns what the newer copy says that can be read.
func readPlace(data []byte) (win *Window, writes uint64, err error) {
	var whole [placeBytes]byte
	copy(whole[:], data) // the last one may have one copy only
	first, n, firstErr := readCopy(whole[:copyBytes])
	second, m, secondErr := readCopy(whole[copyBytes:])
	err = errors.Join(firstErr, secondErr)
	switch {
	case err == nil:
	case errors.Is(err, errFormat):
		return nil, 0, err
	case n == 0 && m == 0:
		return nil, 0, errDamaged
	default:
		err = errTorn
	}
	if m > n {
		return second, m, err
	}
	return first, n, err
}

// putAside begins a new file.
func (j *Journal) putAside() error {
	if err := errors.Join(os.Rename(j.path(), j.path()+".old"), j.file.Close()); err != nil {
		return err
	}
	j.vacant, j.writes, j.next = nil, nil, 0
	return j.open()
}

// restore gives windows their rules.
func (j *Journal) restore(found []*Window, parse func([]byte) (*rules.Rule, error)) (damage []error) {
	known := make(map[rules.Hash]*rules.Rule)
	for _, win := range found {
		version := win.Rule.Hash
		r, ok := known[version]
		if !ok {
			var err error
			if r, err = j.readRule(version, parse); err != nil {
				damage = append(damage, fmt.Errorf("rule %s version %d: %w", win.Rule.ID, win.Rule.Version, err))
				r = win.Rule
			} else {
				j.kept[version] = true
			}
			known[version] = r
		}
		win.Rule = r
	}
	// Those of versions that have no window any more.
	files, err := filepath.Glob(j.documentPath("*"))
	if err != nil {
		return append(damage, err)
	}
	for _, path := range files {
		if name := filepath.Base(path); !j.isKept(name) {
			if err := os.Remove(path); err != nil {
				damage = append(damage, err)
			}
		}
	}
	return damage
}

func (j *Journal) isKept(name string) bool {
	for version := range j.kept {
		if name == filepath.Base(j.documentPath(version.String())) {
			return true
		}
	}
	return false
}

func (j *Journal) readRule(version rules.Hash, parse func([]byte) (*rules.Rule, error)) (*rules.Rule, error) {
	document, err := os.ReadFile(j.documentPath(version.String()))
	if err != nil {
		return nil, err
	}
	r, err := parse(document)
	if err != nil {
		return nil, err
	}
	if r.Hash != version || r.Limit == nil {
		return nil, fmt.Errorf("%s: %w", j.documentPath(version.String()), errDamaged)
	}
	return r, nil
}

func (j *Journal) documentPath(version string) string { return filepath.Join(j.dir, "rule-"+version) }

// begin gives a window a place, and keeps the document of its rule. The window is not written yet.
func (j *Journal) begin(win *Window) error {
	if j == nil {
		return nil
	}
	if err := j.keep(win.Rule); err != nil {
		return err
	}
	at := j.next
	if n := len(j.vacant); n > 0 {
		at = j.vacant[n-1]
		j.vacant = j.vacant[:n-1]
	} else {
		j.next++
		j.writes = append(j.writes, 0)
	}
	win.place = place(at + 1)
	return nil
}

func (j *Journal) keep(r *rules.Rule) error {
	if j.kept[r.Hash] {
		return nil
	}
	path := j.documentPath(r.Hash.String())
	if err := os.WriteFile(path+".new", r.Document(), 0o600); err != nil {
		return fmt.Errorf("keeping a rule for its repeats: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("keeping a rule for its repeats: %w", err)
	}
	j.kept[r.Hash] = true
	return nil
}

// save writes a window.
func (j *Journal) save(win *Window) error {
	if j == nil {
		return nil
	}
	return j.write(int(win.place)-1, win)
}

// free ends a window.
func (j *Journal) free(win *Window) error {
	if j == nil {
		return nil
	}
	if err := j.write(int(win.place)-1, nil); err != nil {
		return err
	}
	j.reuse(win)
	return nil
}

// reuse gives the place of a window to the next one, which ends it.
func (j *Journal) reuse(win *Window) {
	if j != nil {
		j.vacant = append(j.vacant, int(win.place)-1)
		win.place = 0
	}
}

func (j *Journal) write(at int, win *Window) error {
	writes := j.writes[at] + 1
	j.buf = appendCopy(j.buf[:0], win, writes)
	offset := int64(at*placeBytes) + int64(writes%2)*copyBytes
	if _, err := j.out.WriteAt(j.buf, offset); err != nil {
		return fmt.Errorf("counting repeats: %w", err)
	}
	j.writes[at] = writes
	return nil
}

// sweep removes the documents of versions that are not in use. One that can't be removed is tried again.
func (j *Journal) sweep(inUse func(rules.Hash) bool) {
	if j == nil {
		return
	}
	for version := range j.kept {
		if !inUse(version) && os.Remove(j.documentPath(version.String())) == nil {
			delete(j.kept, version)
		}
	}
}

// discard makes sure, as far as it can, that what is in the journal is not told again.
func (j *Journal) discard() {
	if j != nil {
		_ = os.Remove(j.path()) // there is an error to report already
	}
}

// Close closes the journal. If no window is in it, nothing of it is left.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	var errs []error
	if len(j.vacant) == j.next {
		j.sweep(func(rules.Hash) bool { return false })
		if err := os.Remove(j.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, j.file.Close())...)
}
