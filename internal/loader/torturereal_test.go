package loader

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// executions are the real events of a torture: on every CPU, a tiny program is executed over and
// over, each time with another number behind its arguments.
type executions struct {
	least   uint64 // that a run waits for
	program subject
	cgroup  *os.File
	ledger  *ledger

	numbers  atomic.Uint64
	stop     atomic.Bool
	workers  sync.WaitGroup
	reading  sync.WaitGroup
	epoch    atomic.Uint64 // of the event read last
	seen     map[uint64]int
	verdicts verdicts
}

// prepare makes the program, and returns what its executions look like.
func (e *executions) prepare(t *testing.T, cgroup *os.File) subject {
	t.Helper()
	e.cgroup = cgroup
	path := filepath.Join(tempDir(t), "curl")
	if runtime.GOARCH == "amd64" {
		// xor edi, edi; mov eax, 231 (exit_group); syscall
		code := []byte{0x31, 0xff, 0xb8, 231, 0, 0, 0, 0x0f, 0x05}
		if err := os.WriteFile(path, staticProgram(t, elf.ELFCLASS64, code, nil), 0o755); err != nil {
			t.Fatal(err)
		}
	} else {
		copyFile(t, "/bin/true", path)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	e.program = subject{path, curlSubject.args, dir, uint32(os.Getuid())}
	return e.program
}

// start executes and reads. The torture's end waits for enough of it.
func (e *executions) start(t *testing.T, l *ledger, p *progress) {
	e.ledger, e.seen = l, make(map[uint64]int)
	e.epoch.Store(l.k.epoch())
	judged := p.judged
	p.judged = func() uint64 {
		if e.numbers.Load() < e.least {
			return 0
		}
		return judged()
	}
	for cpu := range runtime.NumCPU() {
		e.workers.Go(func() {
			defer pin(t, cpu)()
			for !e.stop.Load() && !t.Failed() {
				if err := e.execute(e.numbers.Add(1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	e.reading.Go(func() { e.read(t, l.k.Reader()) })
}

// execute runs the program, on the CPU of this thread.
func (e *executions) execute(number uint64) error {
	args := append([]string{filepath.Base(e.program.path)}, e.program.args...)
	p, err := os.StartProcess(e.program.path, append(args, strconv.FormatUint(number, 10)), &os.ProcAttr{
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(e.cgroup.Fd())},
	})
	if err != nil {
		return err
	}
	_, err = p.Wait()
	return err
}

func (e *executions) read(t *testing.T, r *Reader) {
	cpus := make(map[uint32]uint64)
	for {
		m, err := r.Next()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		args := m.Event.Process.Args
		number, err := strconv.ParseUint(args[len(args)-1], 10, 64)
		if err != nil {
			t.Errorf("an execution of %q", args)
			return
		}
		e.seen[number]++
		e.epoch.Store(m.Event.Epoch)
		e.ledger.checked(&e.verdicts, cpus, m.Event, m.Rules)
	}
}

// behind reports whether the reader is so far behind that the ledger would forget what it has
// to know.
func (e *executions) behind(epoch uint64) bool { return epoch-e.epoch.Load() > tortureEpochs/2 }

// finish ends the executions and counts those of which there was not exactly one event.
func (e *executions) finish(t *testing.T, o *outcome) {
	t.Helper()
	e.stop.Store(true)
	e.workers.Wait()
	e.ledger.k.Stop()
	e.reading.Wait()
	counters, err := e.ledger.k.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if c := counters.Total(); c.LostRingFull+c.LostBusy+c.LostSkipped+c.Spills > 0 {
		t.Errorf("records were lost, or spilled: %+v", c)
	}
	o.executed = e.numbers.Load()
	for number := uint64(1); number <= o.executed; number++ {
		switch n := e.seen[number]; {
		case n == 0:
			e.verdicts.missed++
		case n > 1:
			e.verdicts.doubled++
		}
	}
	if e.verdicts.wrong() > 0 {
		o.first = append(o.first, fmt.Sprintf("real executions: %+v", e.verdicts))
	}
	o.add(e.verdicts)
}
