package sink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"bittern/internal/outbox"
)

// known are the records at the end of a file that are there already: an agent that was killed between writing records and
// acknowledging them is given them again by the outbox.
type known map[knownKey]bool

// knownKey names a record without the time in its id, the first 6 bytes: a record that is told again has another. That of one
// to which others have been added since differs by their count: it is written again, since the number is nowhere else.
type knownKey struct {
	id    [10]byte
	count uint64
}

func keyOf(id outbox.ID, count uint64) knownKey {
	return knownKey{[10]byte(id[6:]), max(count, 1)}
}

// skip returns how many of the records are there: the first ones, if any are. Behind them none is known.
func (k *known) skip(records []outbox.Record) int {
	for i := range records {
		if len(*k) == 0 {
			return i
		}
		key := keyOf(records[i].ID, records[i].Count)
		if !(*k)[key] {
			*k = nil
			return i
		}
		delete(*k, key)
	}
	return len(records)
}

// add adds the records of whole lines.
func (k *known) add(lines []byte) {
	for line := range bytes.Lines(lines) {
		if !bytes.HasSuffix(line, []byte{'\n'}) {
			return
		}
		var doc struct {
			Event struct {
				ID string `json:"id"`
			} `json:"event"`
			Bittern struct {
				Aggregated struct {
					Count uint64 `json:"count"`
				} `json:"aggregated"`
			} `json:"bittern"`
		}
		if json.Unmarshal(line, &doc) != nil {
			continue
		}
		if id, ok := parseID(doc.Event.ID); ok {
			if *k == nil {
				*k = known{}
			}
			(*k)[keyOf(id, doc.Bittern.Aggregated.Count)] = true
		}
	}
}

// tailBytes is how much of the end of a file is looked at: more than the batch that an agent can have left unacknowledged.
const tailBytes = 1 << 20

// readTail reads the end of a file, at least so much if there is so much, and more until it holds a line as a whole. torn is how
// many bytes follow the last newline.
func readTail(file io.ReaderAt, size, least int64) (tail []byte, torn int, err error) {
	for n := min(size, least); ; n = min(size, n*4) {
		tail = make([]byte, n)
		got, err := file.ReadAt(tail, size-n)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		tail = tail[:got]
		end := bytes.LastIndexByte(tail, '\n') + 1
		if n == size || bytes.IndexByte(tail, '\n')+1 < end {
			return tail, len(tail) - end, nil
		}
	}
}

// writtenBefore looks at the end of an output that is a file. A line that was torn by the end of the agent that wrote it is ended:
// its record comes again.
func writtenBefore(out io.Writer) (known, error) {
	file, ok := out.(*os.File)
	if !ok {
		return nil, nil
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return nil, nil // to a terminal or a pipe: who reads it may see a record again
	}
	// Opened anew, since the output need not be readable.
	readable, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		return nil, fmt.Errorf("looking at what has been written before: %w", err)
	}
	tail, torn, err := readTail(readable, info.Size(), tailBytes)
	if err = errors.Join(err, readable.Close()); err != nil {
		return nil, fmt.Errorf("looking at what has been written before: %w", err)
	}
	var before known
	before.add(tail)
	if torn > 0 {
		if _, err := file.Write([]byte{'\n'}); err != nil {
			return nil, fmt.Errorf("ending the line at the end of the output: %w", err)
		}
	}
	return before, nil
}
