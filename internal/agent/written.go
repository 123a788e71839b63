package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"bittern/internal/event"
)

// written are the records at the end of the output that an agent before us has written, by
// event.IDKey. Killed between writing a record and giving it back to the kernel, it has
// left us one that is written already.
type written map[string]bool

func (w written) has(id string) bool { return w[event.IDKey(id)] }

// writtenTail is how many bytes of the output are looked at: more than one record of the kernel
// gives.
const writtenTail = 1 << 20

// writtenBefore looks at the end of the output, if that is a file that grows. If its last line was
// torn by the end of the agent that wrote it, it is ended there: the record comes again.
func writtenBefore(out io.Writer) (written, error) {
	file, ok := out.(*os.File)
	if !ok {
		return nil, nil
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return nil, nil // to a terminal or a pipe: who reads it may see a record again
	}
	tail, err := readTail(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), info.Size())
	if err != nil {
		return nil, fmt.Errorf("looking at what has been written before: %w", err)
	}
	seen := make(written)
	for line := range bytes.Lines(tail) {
		var record struct {
			Event struct {
				ID string `json:"id"`
			} `json:"event"`
		}
		if json.Unmarshal(line, &record) == nil && record.Event.ID != "" && bytes.HasSuffix(line, []byte{'\n'}) {
			seen[event.IDKey(record.Event.ID)] = true
		}
	}
	if !bytes.HasSuffix(tail, []byte{'\n'}) {
		if _, err := file.Write([]byte{'\n'}); err != nil {
			return nil, &SinkError{err}
		}
	}
	return seen, nil
}

// readTail opens the file anew, since the output need not be readable.
func readTail(path string, size int64) (_ []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	tail := make([]byte, min(size, writtenTail))
	n, err := file.ReadAt(tail, size-int64(len(tail)))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return tail[:n], err
}
