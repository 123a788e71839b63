package loader

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"bittern/internal/rules"
)

// journal is a file that says which rule versions an instance has had. Records that are
// in the ring when the agent is killed name versions by number, and its successor learns here what
// they were. It need not survive the machine: the ring does not either.
type journal struct {
	path string

	mu      sync.Mutex
	file    *os.File
	written int  // bytes
	torn    bool // there may be more than that, which does not count
	floor   int  // bytes when it was last written anew
}

// entry of a journal, one a line. A version is born and dies in two entries.
type journalEntry struct {
	ID       uint64 `json:"id"`
	Born     uint64 `json:"born,omitempty"` // epoch
	Died     uint64 `json:"died,omitempty"` // epoch
	Document string `json:"document,omitempty"`
}

// journalSlack is how much a journal may grow before it is written anew, in bytes and in
// multiples of its size then.
const (
	journalSlack  = 1 << 20
	journalGrowth = 4
)

func journalPath(dir, instance string) string { return filepath.Join(dir, "versions-"+instance) }

// newJournal begins the journal of an instance in a directory, which it makes if need be.
func newJournal(dir, instance string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("beginning the journal of rule versions: %w", err)
	}
	path := journalPath(dir, instance)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("beginning the journal of rule versions: %w", err)
	}
	return &journal{path: path, file: file}, nil
}

func appendEntry(to *bytes.Buffer, e journalEntry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	to.Write(line)
	return to.WriteByte('\n')
}

func appendVersion(to *bytes.Buffer, v version) error {
	if err := appendEntry(to, journalEntry{ID: v.id, Born: v.born, Document: string(v.rule.Document())}); err != nil || v.died == never {
		return err
	}
	return appendEntry(to, journalEntry{ID: v.id, Died: v.died})
}

// swap notes what is about to be born and to die, by one write.
func (j *journal) swap(born, died []*version) error {
	var lines bytes.Buffer
	for _, v := range born {
		if err := appendVersion(&lines, *v); err != nil {
			return err
		}
	}
	for _, v := range died {
		if err := appendEntry(&lines, journalEntry{ID: v.id, Died: v.died}); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.mend(); err != nil {
		return err
	}
	if _, err := j.file.Write(lines.Bytes()); err != nil {
		j.torn = true
		return errors.Join(fmt.Errorf("noting rule versions: %w", err), j.mend())
	}
	j.written += lines.Len()
	return nil
}

// mend takes back what a failed write has left: nothing of that swap has happened.
func (j *journal) mend() error {
	if !j.torn {
		return nil
	}
	if err := j.file.Truncate(int64(j.written)); err != nil {
		return fmt.Errorf("mending the journal of rule versions: %w", err)
	}
	j.torn = false
	return nil
}

// compact writes the journal anew, with the versions that are still known, if it has become
// much longer than it need be.
func (j *journal) compact(v *versions) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.written < journalSlack+journalGrowth*j.floor {
		return nil
	}
	var lines bytes.Buffer
	for _, known := range v.known() {
		if err := appendVersion(&lines, known); err != nil {
			return err
		}
	}
	scratch := j.path + ".new"
	file, err := os.OpenFile(scratch, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("writing the journal of rule versions anew: %w", err)
	}
	_, err = file.Write(lines.Bytes())
	if err == nil {
		err = os.Rename(scratch, j.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing the journal of rule versions anew: %w", err), file.Close(), os.Remove(scratch))
	}
	err = j.file.Close()
	j.file, j.written, j.floor, j.torn = file, lines.Len(), lines.Len(), false
	return err
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Close()
}

// readJournal reads what a dead agent has noted. A last line that is torn is of a swap that was
// not made.
func readJournal(dir, instance string, parse func(document []byte) (*rules.Rule, error)) (*versions, error) {
	data, err := os.ReadFile(journalPath(dir, instance))
	if err != nil {
		return nil, fmt.Errorf("reading the journal of rule versions: %w", err)
	}
	v := newVersions()
	for line := range bytes.Lines(data) {
		if !bytes.HasSuffix(line, []byte{'\n'}) {
			break
		}
		var e journalEntry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("reading the journal of rule versions %s: %w", journalPath(dir, instance), err)
		}
		switch known := v.byID[e.ID]; {
		case e.Died != 0 && known != nil:
			known.died = e.Died
		case e.Born != 0:
			v.byID[e.ID] = &version{id: e.ID, born: e.Born, died: never, restore: sync.OnceValues(func() (*rules.Rule, error) {
				return parse([]byte(e.Document))
			})}
		}
	}
	return v, nil
}

// removeJournals removes those of all instances but the given ones.
func removeJournals(dir string, keep []string) error {
	found, err := filepath.Glob(journalPath(dir, "*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range found {
		if slices.ContainsFunc(keep, func(id string) bool { return path == journalPath(dir, id) }) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
