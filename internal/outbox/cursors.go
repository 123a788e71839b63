package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"sync"
)

// The file of cursors has a place of two copies for each reader. A change overwrites the older copy, so that there is always a good
// one:
//
//	 0  magic         4   "BTC" and the format
//	 4  CRC           4   CRC32C of the rest of the copy
//	 8  writes        8   how often the place was written
//	16  acknowledged  8   sequence up to which the reader has everything
//	24  kinds         4   that it wants
//	28  length        1   of its name; 0: the place is free
//	29  name
const (
	cursorsFile   = "cursors"
	cursorMagic   = "BTC\x01"
	cursorCopy    = 128
	cursorPlace   = 2 * cursorCopy
	cursorPlaces  = 32
	cursorName    = 29
	maxReaderName = 64
)

// cursor is how far a reader has come.
type cursor struct {
	name   string // "": of nobody
	kinds  Kinds
	acked  uint64
	writes uint64
}

// cursors keep how far readers have come.
type cursors struct {
	mu     sync.Mutex
	disk   disk // nil: there is none
	file   file // nil: it is to be made
	places [cursorPlaces]cursor
}

// errNoCursors says that what readers acknowledge is in memory only.
var errNoCursors = errors.New("the disk has not taken the file of cursors")

// readCursors reads the places. damaged says that one of them can't be read.
func readCursors(f file) (places [cursorPlaces]cursor, damaged bool, err error) {
	var data [cursorPlaces * cursorPlace]byte
	n, err := f.ReadAt(data[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return places, true, fmt.Errorf("reading the cursors: %w", err)
	}
	damaged = n < len(data)
	for i := range places {
		bad, empty := 0, 0
		for at := i * cursorPlace; at < (i+1)*cursorPlace; at += cursorCopy {
			c, ok := readCursor(data[at : at+cursorCopy])
			switch {
			case !ok:
				bad++
			case c.writes == 0:
				empty++
			case c.writes > places[i].writes:
				places[i] = c
			}
		}
		damaged = damaged || bad > 0 && bad+empty == 2
	}
	return places, damaged, nil
}

func readCursor(data []byte) (c cursor, ok bool) {
	if [cursorCopy]byte(data) == [cursorCopy]byte{} {
		return cursor{}, true
	}
	le := binary.LittleEndian
	if string(data[:4]) != cursorMagic || le.Uint32(data[4:]) != crc32.Checksum(data[8:], castagnoli) {
		return cursor{}, false
	}
	c.writes, c.acked, c.kinds = le.Uint64(data[8:]), le.Uint64(data[16:]), Kinds(le.Uint32(data[24:]))
	c.name = string(data[cursorName : cursorName+min(int(data[28]), maxReaderName)])
	return c, true
}

// openCursors opens the cursors. known says that those of all readers that there were are there; else it is up to the caller to
// have the file made anew, by renew, once it has a place for each reader.
func openCursors(d disk) (c *cursors, known bool, err error) {
	c = &cursors{disk: d}
	if d == nil {
		return c, true, nil
	}
	f, err := d.Open(cursorsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	} else if err != nil {
		return c, false, fmt.Errorf("opening the cursors: %w", err)
	}
	places, damaged, err := readCursors(f)
	c.places = places
	if err == nil && !damaged {
		c.file = f
		return c, true, nil
	}
	if err == nil {
		err = fmt.Errorf("reading the cursors: %w: readers may get again what they have", errDamaged)
	}
	return c, false, errors.Join(err, f.Close())
}

// renew makes the file, or puts a sound one in the place of what is there. It has all places at once: a reader that had none would
// begin behind all that there is.
func (c *cursors) renew() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.disk == nil || c.file != nil {
		return nil
	}
	f, err := prepare(c.disk, cursorsFile, cursorPlaces*cursorPlace, func(f file) (err error) {
		for i, p := range c.places {
			if p.name != "" {
				err = errors.Join(err, p.put(f, i))
			}
		}
		return errors.Join(err, f.Sync())
	})
	if err != nil {
		return fmt.Errorf("making the cursors: %w", err)
	}
	if err := c.disk.Rename(cursorsFile+newSuffix, cursorsFile); err != nil {
		return errors.Join(fmt.Errorf("making the cursors: %w", err), f.Close())
	}
	c.file = f
	return c.disk.Sync()
}

// sync has the cursors outlive a power failure. Which readers there are must; how far they have come need not.
func (c *cursors) sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return nil
	}
	return c.file.Sync()
}

// find returns the place of a reader; -1 if it has none.
func (c *cursors) find(name string) int {
	for i, p := range c.places {
		if p.name == name {
			return i
		}
	}
	return -1
}

// set keeps how far a reader has come.
func (c *cursors) set(name string, kinds Kinds, acked uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.find(name)
	if at < 0 {
		if at = c.find(""); at < 0 {
			return fmt.Errorf("keeping the cursor of %s: there are %d others, which is all that is possible", name, cursorPlaces)
		}
	}
	return c.write(at, cursor{name: name, kinds: kinds, acked: acked})
}

// retain frees the places of all readers but some, and returns them.
func (c *cursors) retain(some func(name string) bool) (freed []cursor, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, p := range c.places {
		if p.name == "" || some(p.name) {
			continue
		}
		freed = append(freed, p)
		err = errors.Join(err, c.write(i, cursor{}))
	}
	return freed, err
}

func (c *cursors) write(at int, to cursor) error {
	to.writes = c.places[at].writes + 1
	c.places[at] = to
	if c.disk == nil {
		return nil
	} else if c.file == nil {
		return fmt.Errorf("keeping the cursor of %s: %w", to.name, errNoCursors)
	}
	if err := to.put(c.file, at); err != nil {
		err = errors.Join(err, c.file.Close())
		c.file = nil // another one will be made
		return fmt.Errorf("keeping the cursor of %s: %w", to.name, err)
	}
	return nil
}

// put writes a place.
func (c *cursor) put(f file, at int) error {
	var data [cursorCopy]byte
	le := binary.LittleEndian
	copy(data[:], cursorMagic)
	le.PutUint64(data[8:], c.writes)
	le.PutUint64(data[16:], c.acked)
	le.PutUint32(data[24:], uint32(c.kinds))
	data[28] = byte(len(c.name))
	copy(data[cursorName:], c.name)
	le.PutUint32(data[4:], crc32.Checksum(data[8:], castagnoli))
	return writeAll(f, data[:], int64(at*cursorPlace)+int64(c.writes%2)*cursorCopy)
}
