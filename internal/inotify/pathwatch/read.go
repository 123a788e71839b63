package pathwatch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrUnsettled says that a file was being written all the time while it was to be read.
var ErrUnsettled = errors.New("another program is writing it")

// Whoever writes a file is waited for, for a while.
const (
	settlePoll = 2 * time.Millisecond
	settleMost = 2 * time.Second
)

// Read reads a file of at most that many bytes when all of it is there: an editor that saves in place
// leaves it empty for a moment. It waits for the writer, and returns ErrUnsettled if that takes too long.
func Read(path string, most int64) ([]byte, error) {
	for end := time.Now().Add(settleMost); ; time.Sleep(settlePoll) {
		data, err := tryRead(path, most)
		if !errors.Is(err, ErrUnsettled) || time.Now().After(end) {
			return data, err
		}
	}
}

// tryRead is Read that waits for nobody.
func tryRead(path string, most int64) ([]byte, error) {
	// Not blocking, for a named pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	before, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !before.Mode().IsRegular():
		return nil, fmt.Errorf("reading %s: it is not a file", path)
	case before.Size() > most:
		return nil, fmt.Errorf("reading %s: it has %d bytes, the limit is %d", path, before.Size(), most)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	writers := WritersOf(int(f.Fd()))
	// Asked second: a writer that closed it before the first question has written all by now.
	after, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if writers == SomeWriter || int64(len(data)) != after.Size() || changed(before, after) {
		return nil, fmt.Errorf("reading %s: %w", path, ErrUnsettled)
	}
	return data, nil
}

func changed(before, after fs.FileInfo) bool {
	return before.Size() != after.Size() || !before.ModTime().Equal(after.ModTime())
}
