package outbox

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// sectorBytes is what a disk writes all of, or nothing.
const sectorBytes = 512

// errDead is what a process gets that has been killed.
var errDead = errors.New("the process is dead")

// simDisk is a disk in memory with a page cache in front of it. What it does when it has a choice is up to rand.
type simDisk struct {
	mu       sync.Mutex
	rand     *rand.Rand
	names    map[string]*simFile // as the kernel has them
	platter  map[string]*simFile // as they are after a power failure
	unsynced []naming            // what is between the two
	process  int                 // the one that lives: handles of others are dead
	dead     bool
	left     int // operations that change something until the process is killed, in the midst of the last one; < 0: it is not
	done     int // such operations
	open     int // handles

	failWrite, failSync, failCreate, failRead error  // nil: it works
	creating                                  func() // called before a file is made; nil for none
	readOnly                                  bool
}

// naming is a creation, renaming or removal: the names that it changes, nil for those that are no more.
type naming map[string]*simFile

type simFile struct {
	cache, platter []byte
	dirty          map[int]bool // sectors
	bad            map[int]bool // blocks that can't be read
}

func newSimDisk(seed uint64) *simDisk {
	return &simDisk{rand: rand.New(rand.NewPCG(seed, 1)), names: make(map[string]*simFile), platter: make(map[string]*simFile), left: -1}
}

// kill ends the process. The page cache survives.
func (d *simDisk) kill() {
	d.process++
	d.dead, d.left, d.open = false, -1, 0
}

// powerFail ends all: each thing that was not synced survives or does not, by itself.
func (d *simDisk) powerFail() {
	d.kill()
	for _, change := range d.unsynced {
		if d.rand.IntN(2) == 0 {
			d.platter = renamed(d.platter, change)
		}
	}
	d.unsynced = nil
	d.names = maps.Clone(d.platter)
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		d.names[name].lose(d.rand)
	}
}

func (d *simDisk) works() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failWrite, d.failSync, d.failCreate, d.failRead, d.readOnly = nil, nil, nil, nil, false
	d.left = -1
}

func (d *simDisk) faulty() bool {
	return d.readOnly || errors.Join(d.failWrite, d.failSync, d.failCreate, d.failRead) != nil
}

func renamed(names map[string]*simFile, change naming) map[string]*simFile {
	for name, f := range change {
		if f == nil {
			delete(names, name)
		} else {
			names[name] = f
		}
	}
	return names
}

// lose makes the file what is on the platter, and some of what is not.
func (f *simFile) lose(r *rand.Rand) {
	f.writeBack(func() bool { return r.IntN(2) == 0 })
	if len(f.cache) != len(f.platter) && r.IntN(2) == 0 {
		f.platter = resized(f.platter, len(f.cache))
	}
	f.cache = slices.Clone(f.platter)
	f.dirty = nil
}

// writeBack puts those dirty sectors on the platter that it is told to.
func (f *simFile) writeBack(chosen func() bool) {
	for _, sector := range slices.Sorted(maps.Keys(f.dirty)) {
		from, to := sector*sectorBytes, min((sector+1)*sectorBytes, len(f.cache))
		if from >= to || !chosen() {
			continue
		}
		if to > len(f.platter) {
			f.platter = resized(f.platter, to)
		}
		copy(f.platter[from:to], f.cache[from:to])
	}
	f.dirty = nil
}

func resized(data []byte, size int) []byte {
	if size <= len(data) {
		return data[:size]
	}
	return append(data, make([]byte, size-len(data))...)
}

// change counts an operation that changes something; the last one of a process is torn.
func (d *simDisk) change(err error) (torn bool, _ error) {
	switch {
	case d.dead:
		return false, errDead
	case d.readOnly:
		return false, unix.EROFS
	}
	d.done++
	if d.left > 0 {
		d.left--
	}
	if d.left == 0 {
		d.dead = true
		return true, nil
	}
	return false, err
}

func (d *simDisk) name(change naming) {
	renamed(d.names, change)
	d.unsynced = append(d.unsynced, change)
}

func (d *simDisk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.names)), d.failRead
}

func (d *simDisk) Open(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[name]
	switch {
	case d.dead:
		return nil, errDead
	case f == nil:
		return nil, fs.ErrNotExist
	case d.failRead != nil:
		return nil, d.failRead
	}
	d.open++
	return &simHandle{disk: d, file: f, process: d.process}, nil
}

func (d *simDisk) Create(name string, size int64) (file, error) {
	if d.creating != nil {
		d.creating()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if torn, err := d.change(d.failCreate); err != nil || torn && d.rand.IntN(2) == 0 {
		return nil, errors.Join(err, deadIf(torn))
	} else if d.names[name] != nil {
		return nil, fs.ErrExist
	}
	f := &simFile{cache: make([]byte, size)}
	d.name(naming{name: f})
	d.open++
	return &simHandle{disk: d, file: f, process: d.process}, deadIf(d.dead)
}

func deadIf(dead bool) error {
	if dead {
		return errDead
	}
	return nil
}

// rename does what changes names, or not if that is what the process dies of.
func (d *simDisk) rename(change func() (naming, bool)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	torn, err := d.change(d.failWrite)
	if err != nil || torn && d.rand.IntN(2) == 0 {
		return errors.Join(err, deadIf(torn))
	}
	names, ok := change()
	if !ok {
		return fs.ErrNotExist
	}
	d.name(names)
	return deadIf(torn)
}

func (d *simDisk) Rename(from, to string) error {
	return d.rename(func() (naming, bool) { return naming{from: nil, to: d.names[from]}, d.names[from] != nil })
}

func (d *simDisk) Remove(name string) error {
	return d.rename(func() (naming, bool) { return naming{name: nil}, d.names[name] != nil })
}

func (d *simDisk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	torn, err := d.change(d.failSync)
	if err != nil || torn {
		return errors.Join(err, deadIf(torn))
	}
	d.platter, d.unsynced = maps.Clone(d.names), nil
	return nil
}

// simHandle is an open file.
type simHandle struct {
	disk    *simDisk
	file    *simFile
	process int
	closed  bool
}

// lock returns why nothing can be done with the handle.
func (h *simHandle) lock() error {
	h.disk.mu.Lock()
	if h.closed {
		return fs.ErrClosed
	}
	return deadIf(h.disk.dead || h.process != h.disk.process)
}

func (h *simHandle) ReadAt(p []byte, off int64) (int, error) {
	defer h.disk.mu.Unlock()
	if err := h.lock(); err != nil {
		return 0, err
	}
	if h.disk.failRead != nil {
		return 0, h.disk.failRead
	}
	for block := range h.file.bad {
		if from := int64(block) * blockBytes; from < off+int64(len(p)) && off < from+blockBytes {
			return 0, unix.EIO
		}
	}
	if off >= int64(len(h.file.cache)) {
		return 0, io.EOF
	}
	n := copy(p, h.file.cache[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *simHandle) WriteAt(p []byte, off int64) (int, error) {
	defer h.disk.mu.Unlock()
	if err := h.lock(); err != nil {
		return 0, err
	}
	torn, err := h.disk.change(h.disk.failWrite)
	n := len(p)
	if torn || err != nil && !h.disk.readOnly && !h.disk.dead {
		n = h.disk.rand.IntN(len(p) + 1)
	} else if err != nil {
		return 0, err
	}
	f := h.file
	f.cache = resized(f.cache, max(len(f.cache), int(off)+n))
	copy(f.cache[off:], p[:n])
	if f.dirty == nil {
		f.dirty = make(map[int]bool)
	}
	for at := int(off) / sectorBytes; at*sectorBytes < int(off)+n; at++ {
		f.dirty[at] = true
	}
	return n, errors.Join(err, deadIf(torn))
}

func (h *simHandle) Size() (int64, error) {
	defer h.disk.mu.Unlock()
	if err := h.lock(); err != nil {
		return 0, err
	}
	return int64(len(h.file.cache)), nil
}

func (h *simHandle) Truncate(size int64) error {
	defer h.disk.mu.Unlock()
	if err := h.lock(); err != nil {
		return err
	}
	if torn, err := h.disk.change(h.disk.failWrite); err != nil || torn {
		return errors.Join(err, deadIf(torn))
	}
	h.file.cache = slices.Clone(resized(h.file.cache, int(size)))
	return nil
}

// Sync is told of a failure once: what was to be written may be on the platter or not, and later ones don't try again.
func (h *simHandle) Sync() error {
	defer h.disk.mu.Unlock()
	if err := h.lock(); err != nil {
		return err
	}
	torn, err := h.disk.change(h.disk.failSync)
	if torn {
		return errDead
	}
	if err != nil && !h.disk.readOnly && !h.disk.dead {
		h.file.writeBack(func() bool { return h.disk.rand.IntN(2) == 0 })
		return err
	} else if err != nil {
		return err
	}
	h.file.writeBack(func() bool { return true })
	h.file.platter = resized(h.file.platter, len(h.file.cache))
	return nil
}

func (h *simHandle) Close() error {
	defer h.disk.mu.Unlock()
	if err := h.lock(); err != nil {
		return err
	}
	h.closed = true
	h.disk.open--
	return nil
}

// fault has something fail from now on.
func (d *simDisk) fault(which int) {
	switch which {
	case 0:
		d.failWrite = unix.EIO
	case 1:
		d.failWrite = unix.ENOSPC
	case 2:
		d.failSync = unix.EIO
	case 3:
		d.failCreate = unix.ENOSPC
	case 4:
		d.readOnly = true
	}
}

// flip damages a file: a bit of it, or a block that can't be read any more.
func (d *simDisk) flip() {
	names := slices.Sorted(maps.Keys(d.names))
	if len(names) == 0 {
		return
	}
	f := d.names[names[d.rand.IntN(len(names))]]
	if len(f.cache) == 0 {
		return
	}
	at := d.rand.IntN(min(len(f.cache), 1<<d.rand.IntN(20)))
	if d.rand.IntN(4) == 0 {
		if f.bad == nil {
			f.bad = make(map[int]bool)
		}
		f.bad[at/blockBytes] = true
		return
	}
	f.cache[at] ^= 1 << d.rand.IntN(8)
}
