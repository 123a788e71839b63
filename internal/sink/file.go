package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"bittern/internal/outbox"
)

// FileConfig is where a File is.
type FileConfig struct {
	Path string
	// MaxBytes is how large the file gets before it is renamed to PATH.1, and PATH.1 to PATH.2; only a single line can be
	// larger. 0: it is never renamed.
	MaxBytes int64
	// Keep is how many renamed files there are at most.
	Keep int
}

// LeastFileBytes is the least FileConfig.MaxBytes: the files hold what an agent can have left unacknowledged.
const LeastFileBytes = 1 << 20

// Validate says what is wrong.
func (c FileConfig) Validate() error {
	switch {
	case c.Path == "":
		return errors.New("writing records to a file: no path is given")
	case c.MaxBytes != 0 && c.MaxBytes < LeastFileBytes:
		return fmt.Errorf("writing records to %s: a largest size of %d bytes is too small, the least is %d, and 0 is none", c.Path, c.MaxBytes, LeastFileBytes)
	case c.MaxBytes != 0 && (c.Keep < 1 || c.Keep > 1000):
		return fmt.Errorf("writing records to %s: of the renamed files 1 to 1000 can be kept, not %d", c.Path, c.Keep)
	}
	return nil
}

// File writes JSON lines to a file of its own, each record exactly once, whatever kills the agent or the machine.
//
// That takes one fdatasync(2) for each batch, and one for each rotation: a few milliseconds of waiting for the disk,
// up to some tens on a rotating one. Batches grow while it waits, so that this does not bound the rate of records.
//
// No library does it: lumberjack v2, which is the known one and has seen no release since 2023, cannot be told to
// reopen, never syncs, gives old files the time as a name, where a killed agent's last records are not found again, and
// leaves half a line behind when the disk is full.
type File struct {
	cfg FileConfig
	sys system

	again atomic.Bool // Reopen found a delivery going on

	mu      sync.Mutex // held over all below, and while the disk is waited for
	file    handle     // nil: to be opened
	size    int64      // up to the last whole line
	synced  int64      // of size
	torn    bool       // more than size is there, and has to go
	looked  bool       // what an earlier agent has written is in place
	place   place      // is moved by what is synced
	written *outbox.Record
	buf     []byte
	ends    []lineEnd
}

// NewFile touches nothing yet: the first delivery opens the file, or Reopen.
func NewFile(cfg FileConfig) (*File, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &File{cfg: cfg, sys: disk{}}, nil
}

// Reopen closes the file and opens its path anew, if that leads to another one or to none now, which it makes then. If that fails,
// or a delivery is going on, for which it does not wait, the end of that delivery or the next one does it: each of
// them looks where the path leads. Anybody may call it.
func (f *File) Reopen() error {
	if !f.mu.TryLock() {
		f.again.Store(true)
		return nil
	}
	defer f.mu.Unlock()
	return f.ready()
}

// Deliver writes and syncs the batch. An error leaves whole lines only in the file; if that fails as well, what is too much goes
// before anything else is written.
func (f *File) Deliver(_ context.Context, batch []outbox.Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.deliver(batch)
	if f.again.Swap(false) && err == nil {
		_ = f.ready() // the next delivery tries again, and says why it can't
	}
	return err
}

func (f *File) deliver(batch []outbox.Record) error {
	if err := f.ready(); err != nil {
		return err
	}
	rest := f.place.rest(batch)
	for i := range rest {
		doc := document(&rest[i])
		if f.full(len(doc) + 1) {
			if err := f.write(batch); err != nil {
				return err
			}
			if err := f.sync(batch); err != nil {
				return err
			}
			if err := f.rotate(); err != nil {
				return err
			}
		}
		f.buf = append(append(f.buf, doc...), '\n')
		f.ends = append(f.ends, lineEnd{len(f.buf), &rest[i]})
		if len(f.buf) >= writeBytes {
			if err := f.write(batch); err != nil {
				return err
			}
		}
	}
	if err := f.write(batch); err != nil {
		return err
	}
	if err := f.sync(batch); err != nil {
		return err
	}
	f.place.done()
	return nil
}

// full reports whether so many more bytes are too many for the file.
func (f *File) full(more int) bool {
	has := f.size + int64(len(f.buf))
	return f.cfg.MaxBytes > 0 && has > 0 && has+int64(more) > f.cfg.MaxBytes
}

// write writes the buffer. If that fails, the whole lines that could be written are kept and synced.
func (f *File) write(batch []outbox.Record) error {
	if len(f.buf) == 0 {
		return nil
	}
	n, err := f.file.Write(f.buf)
	whole := 0
	for _, end := range f.ends {
		if end.at <= n {
			whole, f.written = end.at, end.record
		}
	}
	f.size += int64(whole)
	f.torn = n > whole
	clear(f.ends)
	f.buf, f.ends = trim(f.buf), f.ends[:0]
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("writing records: %w", err), f.settle(), f.sync(batch))
}

// sync moves the place. If it fails, nobody can say what is on the disk, and a later one that works says nothing about it
// (the kernel takes the pages for clean, fsync(2)): all since the last one is taken back, and written again.
func (f *File) sync(batch []outbox.Record) error {
	if f.written == nil {
		return nil
	}
	last := f.written
	f.written = nil
	if err := f.file.Datasync(); err != nil {
		f.size, f.torn = f.synced, true
		return errors.Join(fmt.Errorf("syncing %s: %w", f.cfg.Path, err), f.settle())
	}
	f.synced = f.size
	f.place.reached(batch, last)
	return nil
}

// settle takes away what is behind the last whole line.
func (f *File) settle() error {
	if !f.torn {
		return nil
	}
	info, err := f.file.Stat()
	if err == nil && info.Size() > f.size {
		err = f.file.Truncate(f.size)
	}
	if err != nil {
		return fmt.Errorf("taking back half a line from %s: %w", f.cfg.Path, err)
	}
	f.torn = false
	return nil
}

// ready has the file open under its path, with nothing but whole lines in it.
func (f *File) ready() error {
	if f.file == nil {
		return f.open()
	}
	info, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("looking at %s: %w", f.cfg.Path, err)
	}
	if links(info) > 0 { // else nobody reads it any more
		if err := f.settle(); err != nil {
			return err
		}
	}
	// Asked each time, which costs little beside a sync.
	there, err := f.sys.Stat(f.cfg.Path)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("looking at %s: %w", f.cfg.Path, err)
	case err != nil || !os.SameFile(info, there):
		if err := f.close(); err != nil {
			return err
		}
		return f.open()
	}
	f.size = there.Size() // it may have been emptied, by logrotate's copytruncate
	f.synced = f.size
	return nil
}

func (f *File) close() error {
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file, f.torn = nil, false
	if err := file.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", f.cfg.Path, err)
	}
	return nil
}

// Close closes the file. What was delivered is synced already.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.close()
}
