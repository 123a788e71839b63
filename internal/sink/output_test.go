package sink

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

func output(t interface{ Fatal(...any) }, w interface{ Write([]byte) (int, error) }, cfg OutputConfig) *Output {
	o, err := NewOutput(w, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOutputPipe(t *testing.T) {
	read, write, err := os.Pipe()
	must(t, err)
	defer read.Close()
	o := output(t, write, OutputConfig{Format: JSON})
	lines := make(chan []byte)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(read); s.Scan(); {
			lines <- append(slices.Clone(s.Bytes()), '\n')
		}
	}()
	go func() { // more than the pipe holds
		defer write.Close()
		if err := o.Deliver(t.Context(), records(1, 2000)); err != nil {
			t.Error(err)
		}
		o.SetFormat(Text)
		if err := o.Deliver(t.Context(), records(2001, 2001)); err != nil {
			t.Error(err)
		}
	}()
	var all []byte
	for line := range lines {
		all = append(all, line...)
	}
	at := bytes.LastIndexByte(all[:len(all)-1], '\n') + 1
	wantSeqs(t, seqs(t, all[:at]), upTo(2000))
	if got, want := string(all[at:]), "2026-11-23 16:29:01.123 high     BT0001 v1 2001\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOutputColour(t *testing.T) {
	var w bytes.Buffer
	must(t, output(t, &w, OutputConfig{Format: Text, Colour: true}).Deliver(t.Context(), records(1, 1)))
	if r := record(1); w.String() != string(r.Text)+"\n" {
		t.Errorf("%q", w.String())
	}
}

func TestOutputGone(t *testing.T) {
	for _, gone := range []error{syscall.EPIPE, syscall.EBADF, os.ErrClosed} {
		var e *GoneError
		if err := output(t, &faulty{err: gone}, OutputConfig{}).Deliver(t.Context(), records(1, 1)); !errors.As(err, &e) {
			t.Errorf("%v is not for good: %v", gone, err)
		}
	}
}

// faulty takes so many bytes, then fails once.
type faulty struct {
	bytes.Buffer
	takes []int
	err   error
}

func (f *faulty) Write(p []byte) (int, error) {
	if len(f.takes) == 0 && f.err == nil {
		return f.Buffer.Write(p)
	}
	n := 0
	if len(f.takes) > 0 {
		n = min(f.takes[0], len(p))
		f.takes = f.takes[1:]
	}
	f.Buffer.Write(p[:n])
	err := f.err
	if len(f.takes) == 0 {
		f.err = nil
	}
	return n, err
}

func TestOutputShortWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &faulty{takes: rapid.SliceOf(rapid.IntRange(0, 3000)).Draw(t, "takes"), err: syscall.ENOSPC}
		o := output(t, w, OutputConfig{Format: JSON})
		for seq := uint64(1); seq <= 60; {
			to := min(60, seq+rapid.Uint64Range(0, 20).Draw(t, "more"))
			batch := records(seq, to)
			for o.Deliver(t.Context(), batch) != nil {
			}
			seq = to + 1
		}
		if !strings.HasSuffix(w.String(), "\n") {
			t.Fatal("the last line has no end")
		}
		wantSeqs(t, seqs(t, w.Bytes()), upTo(60))
	})
}

// reopened opens a file as a shell does for >>.
func reopened(t *testing.T, path string) *os.File {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	must(t, err)
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func TestOutputFileWrittenBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	must(t, output(t, reopened(t, path), OutputConfig{Format: JSON}).Deliver(t.Context(), records(1, 10)))
	must(t, os.WriteFile(path, append(read(t, path), `{"event":{"id":"00`...), 0o600))

	// Killed before it acknowledged 6 to 10; 8 has another time in its id now, and the first attempt writes nothing.
	again := records(6, 12)
	again[2].ID[0] = 0xff
	file := reopened(t, path)
	o := output(t, file, OutputConfig{Format: JSON})
	o.out = &failsOnce{File: file}
	if err := o.Deliver(t.Context(), again); err == nil {
		t.Fatal("no error")
	}
	must(t, o.Deliver(t.Context(), again))
	must(t, o.Deliver(t.Context(), records(1, 1))) // told again later: written, whatever there was

	content := read(t, path)
	torn := `{"event":{"id":"00` + "\n"
	if bytes.Count(content, []byte(torn)) != 1 {
		t.Fatalf("the torn line was not ended: %s", content)
	}
	content = bytes.Replace(content, []byte(torn), nil, 1)
	wantSeqs(t, seqs(t, content), append(upTo(12), 1))
}

type failsOnce struct {
	*os.File
	failed bool
}

func (f *failsOnce) Write(p []byte) (int, error) {
	if !f.failed {
		f.failed = true
		return 0, syscall.EIO
	}
	return f.File.Write(p)
}

// A record to which others were added after it was written is written again.
func TestOutputGrownCount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	write := func(counts ...uint64) {
		batch := records(1, uint64(len(counts)))
		for i, n := range counts {
			batch[i].Count = n
		}
		must(t, output(t, reopened(t, path), OutputConfig{Format: JSON}).Deliver(t.Context(), batch))
	}
	write(3, 1)
	write(3, 1)
	wantSeqs(t, seqs(t, read(t, path)), upTo(2))
	write(3, 4)
	wantSeqs(t, seqs(t, read(t, path)), []uint64{1, 2, 2})
}

func TestReadTail(t *testing.T) {
	long := strings.Repeat("x", 1000) + "\n"
	for _, c := range []struct {
		content string
		tail    int
		torn    int
	}{
		{"", 0, 0}, {"ab\ncd\n", 6, 0}, {"ab\ncd", 5, 2}, {"0123456789\nab\ncd\n", 8, 0},
		{long, 1001, 0}, {"a\n" + long, 1002, 0}, {long + long, 2002, 0}, {long + "0123456789", 1011, 10},
	} {
		tail, torn, err := readTail(strings.NewReader(c.content), int64(len(c.content)), 8)
		if err != nil || torn != c.torn || len(tail) < c.tail || !strings.HasSuffix(c.content, string(tail)) {
			t.Errorf("%.20q: %d bytes, %d torn (%v), want %d, %d", c.content, len(tail), torn, err, c.tail, c.torn)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return content
}
