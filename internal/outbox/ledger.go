package outbox

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"sync"
	"time"
)

// ledger counts what was lost, for ever.
type ledger struct {
	mu      sync.Mutex
	disk    disk // nil: there is none
	file    file // nil: it could not be opened or made
	writes  uint64
	id      string
	stale   bool // writing to file failed
	unsaved bool // what is in memory may not be on the disk
	losses  losses
	given   []string
	missing map[string]uint64
	noted   map[string]string
}

// openLedger opens the ledger, and makes one if there is none. If the disk does not let it, it is in memory, and the error
// says so.
func openLedger(d disk) (*ledger, error) {
	g := &ledger{disk: d, missing: make(map[string]uint64), noted: make(map[string]string)}
	if d == nil {
		g.id = newID()
		return g, nil
	}
	if err := g.attach(); err != nil {
		g.id = cmp.Or(g.id, newID())
		return g, fmt.Errorf("opening the ledger of losses: %w", err)
	}
	if g.id == "" { // it is from before ledgers had one
		g.id = newID()
		if err := g.write(); err != nil {
			return g, fmt.Errorf("naming the ledger of losses: %w", err)
		}
	}
	return g, nil
}

func newID() string {
	var id ID
	_, _ = rand.Read(id[:]) // it never fails
	return hex.EncodeToString(id[:])
}

// attach opens the file and adds what it says to what is in memory. It makes one if there is none.
func (g *ledger) attach() error {
	f, err := g.disk.Open(ledgerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return g.create()
	} else if err != nil {
		return err
	}
	g.file = f
	switch err := g.read(); {
	case errors.Is(err, errDamaged): // what counts from zero is another one
		g.id = newID()
		return errors.Join(err, g.write())
	case err != nil: // it may be read later
		g.file = nil
		return errors.Join(err, f.Close())
	}
	return f.Sync() // before the other copy is overwritten
}

func (g *ledger) create() error {
	g.id = cmp.Or(g.id, newID())
	f, err := prepare(g.disk, ledgerFile, 2*ledgerCopy, func(f file) error {
		g.file = f
		return g.write()
	})
	if err == nil {
		err = g.disk.Rename(ledgerFile+newSuffix, ledgerFile)
	}
	if err == nil {
		return g.disk.Sync()
	}
	if f != nil {
		err = errors.Join(err, f.Close())
	}
	g.file, g.stale = nil, false
	return err
}

func (g *ledger) read() error {
	b, writes, err := readBook(g.file)
	if err != nil {
		return err
	}
	for _, l := range b.Losses {
		if l != nil {
			g.losses.add(*l)
		}
	}
	g.id = cmp.Or(b.ID, g.id)
	g.writes, g.given = writes, append(b.Given, g.given...)
	for id, n := range b.Missing {
		g.missing[id] = max(g.missing[id], n)
	}
	for what, id := range b.Noted {
		g.noted[what] = id
	}
	return nil
}

// write puts the book on the disk.
func (g *ledger) write() error {
	if g.disk == nil {
		return nil
	}
	g.unsaved = true
	if g.file == nil {
		if err := g.attach(); err != nil {
			return err
		}
	}
	if g.stale { // it may have been opened for reading only
		if f, err := g.disk.Open(ledgerFile); err == nil {
			_ = g.file.Close() // what it says of writing is known
			g.file, g.stale = f, false
		}
	}
	if len(g.given) > mostGiven {
		g.given = slices.Delete(g.given, 0, len(g.given)-mostGiven)
	}
	document, err := json.Marshal(g.book())
	if err != nil {
		return err
	}
	for len(document) > ledgerCopy-ledgerHead {
		if !g.fold() {
			return fmt.Errorf("the ledger of losses is too large: %d bytes", len(document))
		}
		if document, err = json.Marshal(g.book()); err != nil {
			return err
		}
	}
	writes := g.writes + 1
	data := append([]byte(ledgerMagic), make([]byte, ledgerHead-len(ledgerMagic))...)
	le := binary.LittleEndian
	le.PutUint32(data[4:], uint32(len(document)))
	le.PutUint64(data[8:], writes)
	le.PutUint32(data[16:], crc32.Update(crc32.Checksum(data[:16], castagnoli), castagnoli, document))
	if err := writeAll(g.file, append(data, document...), int64(writes%2)*ledgerCopy); err != nil {
		g.stale = true
		return err
	}
	if err := g.file.Sync(); err != nil {
		return err // the same copy again the next time: the other one is on the disk
	}
	g.writes, g.unsaved = writes, false
	return nil
}

func (g *ledger) book() book {
	return book{ID: g.id, Losses: g.sorted(), Given: g.given, Missing: g.missing, Noted: g.noted}
}

func (g *ledger) sorted() []*Loss {
	all := make([]*Loss, 0, len(g.losses))
	for _, l := range g.losses {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b *Loss) int {
		return cmp.Or(cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.Sink, b.Sink), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Class, b.Class))
	})
	return all
}

// Others is the rule of losses that were put together, since there were too many rules.
const Others = "(others)"

// fold puts the half of the losses that is oldest together, whatever their rules. It returns false if there are none.
func (g *ledger) fold() bool {
	all := slices.DeleteFunc(g.sorted(), func(l *Loss) bool { return l.Rule == Others })
	slices.SortStableFunc(all, func(a, b *Loss) int { return a.Last.Compare(b.Last) })
	all = all[:(len(all)+1)/2]
	for _, l := range all {
		delete(g.losses, l.key())
		delete(g.noted, l.what())
		other := *l
		other.Rule = Others
		g.losses.add(other)
	}
	return len(all) > 0
}

// evicted counts what was lost with a segment, which may be known by several ids: those that it took the place of must not come
// back after a power failure.
func (g *ledger) evicted(ids [][16]byte, lost losses) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range lost {
		g.losses.add(*l)
	}
	for _, id := range ids {
		g.given = append(g.given, hex.EncodeToString(id[:]))
	}
	return g.write()
}

// wasGiven reports whether a segment was given up.
func (g *ledger) wasGiven(segment [16]byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.given, hex.EncodeToString(segment[:]))
}

// lacks counts that some records of a segment can't be read, unless that was done. It returns how many are new.
func (g *ledger) lacks(segment [16]byte, records uint64, at time.Time) (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	id := hex.EncodeToString(segment[:])
	known := g.missing[id]
	if records <= known {
		return 0, nil
	}
	g.missing[id] = records
	g.losses.add(Loss{Cause: Damaged, Count: records - known, First: at, Last: at})
	return records - known, g.write()
}

// forget drops what is known of segments that are gone.
func (g *ledger) forget(exists func(id string) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id := range g.missing {
		if !exists(id) {
			delete(g.missing, id)
		}
	}
	g.given = slices.DeleteFunc(g.given, func(id string) bool { return !exists(id) })
}
