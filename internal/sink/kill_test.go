package sink

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"bittern/internal/outbox"
)

var kills = flag.Int("kills", 30, "how often TestFileKilled kills")

// killedVariable names the directory in which the test binary is to be the agent of TestFileKilled.
const killedVariable = "BITTERN_TEST_SINK_KILLED"

// killedRecords is how many records a life of the agent has at hand, more than it lives to deliver.
const killedRecords = 4000

// killed is an agent that delivers from a place that it keeps in a file, and says at each step that it has come so far.
func killed(dir string) {
	place, err := os.OpenFile(filepath.Join(dir, "place"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	f := small(filepath.Join(dir, "log"), 1000)
	f.sys, f.cfg.MaxBytes = telling{}, 16<<10 // few enough files that not every kill is at a rename
	r, err := NewRunner(&kept{place: place}, f, RunnerConfig{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		panic(err)
	}
	if err := r.Run(context.Background()); err != nil {
		panic(err)
	}
}

// step tells whoever kills that it has come so far, and waits until it may go on; at the end of the input it always may.
func step() {
	_, _ = os.Stdout.Write([]byte{'.'}) // who reads may be gone
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// kept is a source with its place, the number of the last record that was acknowledged, in a file.
type kept struct {
	place    *os.File
	end, got uint64
}

func (k *kept) Name() string { return "file" }

func (k *kept) Read(context.Context) ([]outbox.Record, error) {
	var b [8]byte
	if _, err := k.place.ReadAt(b[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	acked := binary.LittleEndian.Uint64(b[:])
	if k.end == 0 {
		k.end = acked + killedRecords
	}
	if acked == k.end {
		return nil, os.ErrClosed
	}
	k.got = min(k.end, acked+1+rand.Uint64N(60))
	step()
	return records(acked+1, k.got), nil
}

func (k *kept) Ack() error {
	step()
	_, err := k.place.WriteAt(binary.LittleEndian.AppendUint64(nil, k.got), 0)
	step()
	return err
}

// telling is a disk that writes in pieces and tells of each.
type telling struct{ disk }

type tellingFile struct{ handle }

func (t telling) Open(path string) (handle, error) {
	step()
	h, err := t.disk.Open(path)
	if err != nil {
		return nil, err
	}
	return tellingFile{h}, nil
}

func (t telling) Rename(from, to string) error {
	step()
	return t.disk.Rename(from, to)
}

func (t tellingFile) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = t.handle.Write(p[n : n+1+rand.IntN(min(len(p)-n, 700))])
		n += m
		step()
	}
	return n, err
}

func (t tellingFile) Datasync() error {
	step()
	defer step()
	return nil // kill -9 leaves what the kernel has
}

// An agent that is killed again and again, at any step, leaves each record once, in order.
func TestFileKilled(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	must(t, err)
	torn := 0
	for range *kills {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), killedVariable+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		in, err := cmd.StdinPipe()
		must(t, err)
		must(t, cmd.Start())
		// Half of the lives end where they wait, in any state there is, the others while they run.
		n := 1 + rand.IntN(400)
		if rand.IntN(2) == 0 {
			_, err = in.Write(make([]byte, n-1))
			must(t, err)
		} else {
			must(t, in.Close())
		}
		steps := bufio.NewReaderSize(out, 16)
		for range n {
			if _, err := steps.ReadByte(); err != nil {
				t.Fatalf("the agent has died by itself: %v", err)
			}
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // killed
		if content, err := os.ReadFile(filepath.Join(dir, "log")); err == nil && len(content) > 0 && content[len(content)-1] != '\n' {
			torn++
		}
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), killedVariable+"="+dir)
	cmd.Stderr = os.Stderr
	must(t, cmd.Run())

	place, err := os.ReadFile(filepath.Join(dir, "place"))
	must(t, err)
	last := binary.LittleEndian.Uint64(place)
	wantSeqs(t, seqs(t, allLines(t, filepath.Join(dir, "log"))), upTo(last))
	t.Logf("%d kills, %d lines torn, %d records", *kills, torn, last)
	if torn == 0 && *kills >= 30 {
		t.Error("no kill has torn a line: this test shows nothing")
	}
}
