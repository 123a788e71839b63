package loader

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"bittern/internal/event"
	"bittern/internal/require"
	"bittern/internal/rules"
)

func say(word string) error {
	_, err := fmt.Println(word)
	return err
}

func awaitEnd() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// background starts an act that goes on until the returned function is called, which returns what it
// said last. It has said its first word by now.
func background(t *testing.T, cmd *exec.Cmd) (end func() string) {
	t.Helper()
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var last string
	end = sync.OnceValue(func() string {
		input.Close()
		rest, err := io.ReadAll(output)
		if err := errors.Join(err, cmd.Wait()); err != nil {
			t.Error(err)
		}
		last += string(rest)
		words := strings.Fields(last)
		if len(words) == 0 {
			return ""
		}
		return words[len(words)-1]
	})
	t.Cleanup(func() { end() })
	first := make([]byte, 1)
	if _, err := io.ReadFull(output, first); err != nil {
		t.Fatal(err)
	}
	last = string(first)
	return end
}

// stream executes a program with a number, opens a file with it in its name, and sends a datagram to
// the port of that number, until its input ends; then it says the last number.
func stream(args []string) error {
	ended := make(chan error, 1)
	go func() { ended <- awaitEnd() }()
	if err := say("begun"); err != nil {
		return err
	}
	for n := 1; n < 60_000; n++ {
		select {
		case err := <-ended:
			return errors.Join(err, say(fmt.Sprint(n-1)))
		default:
		}
		if err := errors.Join(exec.Command("/bin/true", fmt.Sprint("numbered-", n)).Run(), openNumbered(args[0], n), sendNumbered(n)); err != nil {
			return err
		}
	}
	return errors.New("there are no more ports")
}

func openNumbered(dir string, n int) error {
	f, err := os.Create(filepath.Join(dir, fmt.Sprint("numbered-", n)))
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func sendNumbered(n int) error {
	c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: n})
	if err != nil {
		return err
	}
	return c.Close()
}

// heir is one in a row of kernels that take over from each other.
type heir struct {
	*Kernel
	read sync.WaitGroup
}

// tally counts the matches of each class by their number.
type tally struct {
	mu   sync.Mutex
	seen map[event.Class]map[int][]string // where each record of it was
}

func (c *tally) add(m Match) error {
	ev := m.Event
	var text string
	switch ev.Class {
	case event.ProcessExec:
		text = strings.TrimPrefix(ev.Process.CommandLine, "/bin/true numbered-")
	case event.FileOpen:
		text = strings.TrimPrefix(filepath.Base(ev.File.Path), "numbered-")
	case event.NetworkConnect:
		text = fmt.Sprint(ev.Network.Port)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("an event that nobody made: %+v", ev)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[ev.Class] == nil {
		c.seen[ev.Class] = make(map[int][]string)
	}
	c.seen[ev.Class][n] = append(c.seen[ev.Class][n], fmt.Sprintf("instance %s epoch %d cpu %d sequence %d at %v inherited %v",
		m.Instance, ev.Epoch, ev.CPU, ev.Sequence, ev.Uptime, m.Inherited))
	return nil
}

// succeed takes over from the kernel before, if there is one, with rules of its own.
func succeed(t *testing.T, cfg Config, texts []string, c *tally) *heir {
	t.Helper()
	k, err := Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := &heir{Kernel: k}
	t.Cleanup(func() { h.Stop(); h.read.Wait() })
	var swaps []Swap
	for _, text := range texts {
		r := parseRule(t, text)
		swaps = append(swaps, Swap{r.ID, r})
	}
	if _, err := k.Commit(swaps...); err != nil {
		t.Fatal(err)
	}
	if err := k.Attach(); err != nil {
		t.Fatal(err)
	}
	h.read.Go(func() {
		for r := k.Reader(); ; {
			m, err := r.Next()
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err == nil {
				err = c.add(m)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	return h
}

// TestTakeOver hands the best hooks of three kinds from kernel to kernel, with tables of other sizes
// and other rules that match the same, under a stream of events: each is seen exactly once, or
// counted as lost, where a ring was full before somebody read it.
func TestTakeOver(t *testing.T) {
	require.Kernel(t, LeastKernel)
	dir, cgroup := t.TempDir(), require.Cgroup(t)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	cfg := Config{
		Cgroup: cgroup, Pins: require.Pins(t), Journal: filepath.Join(t.TempDir(), "journal"), Log: slog.New(slog.DiscardHandler),
		Restore: func(document []byte) (*rules.Rule, error) { return parseRule(t, string(document)), nil },
	}
	const text = "rule_id: %s\nrule_version: %d\nname: n\napplies_to: [%s]\nmatch: {s: {%s}}\nemits: [{tactic: TA0002, technique_id: T1059, confidence: 1}]\n"
	versions := [][3]string{
		{"process.command_line|contains: 'numbered-'", "file.path|startswith: '" + dir + "/numbered-'", "destination.ip: 127.0.0.1"},
		{"process.executable|endswith: /true", "file.path|contains: '/numbered-'", "destination.ip|cidr: 127.0.0.0/8"},
		{"process.command_line|startswith: '/bin/true '", "file.path|contains: 'numbered-'", "network.transport: udp"},
	}
	texts := func(i int) []string {
		v := versions[i%len(versions)]
		return []string{
			fmt.Sprintf(text, "E", i+1, "process_exec", v[0]), fmt.Sprintf(text, "F", i+1, "file_open", v[1]),
			fmt.Sprintf(text, "N", i+1, "network_connect", v[2]),
		}
	}
	c := &tally{seen: make(map[event.Class]map[int][]string)}
	now := succeed(t, cfg, texts(0), c)
	fd, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	streaming := actCommand(t, "stream", dir)
	end := background(t, in(fd, streaming))
	for i := 1; i < 6; i++ {
		time.Sleep(100 * time.Millisecond)
		now.Leave() // nothing reads now, as after a kill
		now.read.Wait()
		if err := now.Close(); err != nil {
			t.Fatal(err)
		}
		cfg.Slots, cfg.RingBytes = 1024<<(i%2), 1<<(22+i%2)
		now = succeed(t, cfg, texts(i), c)
	}
	time.Sleep(100 * time.Millisecond)
	last, err := strconv.Atoi(end())
	if err != nil || last < 10 {
		t.Fatalf("the stream came to %d: %v", last, err)
	}
	now.Stop()
	now.read.Wait()
	losses, err := now.Losses()
	if err != nil {
		t.Error(err)
	}
	lost, skipped := make(map[event.Class]int), make(map[event.Class]int)
	for _, l := range losses {
		if l.Reason == Skipped { // of anybody's events
			skipped[l.Class] += int(l.New)
		} else {
			lost[l.Class] += int(l.New)
		}
	}
	if err := now.Dispose(); err != nil {
		t.Error(err)
	}
	if err := now.Close(); err != nil {
		t.Error(err)
	}
	for _, class := range []event.Class{event.ProcessExec, event.FileOpen, event.NetworkConnect} {
		missed := 0
		for n := 1; n <= last; n++ {
			switch seen := c.seen[class][n]; {
			case len(seen) == 0:
				missed++
			case len(seen) > 1:
				t.Errorf("%s %d of %d: seen %d times, want once:\n%s", class, n, last, len(seen), strings.Join(seen, "\n"))
			}
		}
		if missed < lost[class] || missed > lost[class]+skipped[class] {
			t.Errorf("%s: %d of %d not seen, %d counted as lost, %d as skipped", class, missed, last, lost[class], skipped[class])
		}
	}
	if _, err := os.Stat(cfg.Pins); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("pins are left: %v", err)
	}
	t.Logf("%d of each, by 6 kernels; lost %v", last, lost)
}

// TestTriedHooksHaveEnded finds a hook while another agent's is attached: what was attached to try it is waited for.
func TestTriedHooksHaveEnded(t *testing.T) {
	require.Kernel(t, LeastKernel)
	cfg := Config{
		Cgroup: require.Cgroup(t), Pins: require.Pins(t), Journal: filepath.Join(t.TempDir(), "journal"), Log: slog.New(slog.DiscardHandler),
		Restore: func(document []byte) (*rules.Rule, error) { return parseRule(t, string(document)), nil },
	}
	c := &tally{seen: make(map[event.Class]map[int][]string)}
	now := succeed(t, cfg, nil, c)
	now.Leave()
	now.read.Wait()
	if err := now.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	wait, waited := next.host.ended, 0
	next.host.ended = func() error { waited++; return wait() }
	release, err := next.Prepare(parseRule(t, strings.Replace(ruleText("N", 1, "  s: {destination.ip: 127.0.0.1}"), "process_exec", "network_connect", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if waited == 0 {
		t.Error("a hook was found, and what was attached for that was not waited for")
	}
	if err := errors.Join(release(), next.Attach()); err != nil {
		t.Error(err)
	}
	next.Stop()
	for r := next.Reader(); err == nil; {
		_, err = r.Next()
	}
	if err := errors.Join(next.Dispose(), next.Close()); err != nil {
		t.Error(err)
	}
}

// TestClosedStub closes a stub whose table somebody else has open: it leads nowhere at once, and not only
// when the last one lets go of the table.
func TestClosedStub(t *testing.T) {
	k := loadForTest(t, Config{Cgroup: require.Cgroup(t)})
	s, err := k.host.attachFor(k.tracker.onExit, "")
	if err != nil {
		t.Fatal(err)
	}
	table, err := s.table.Clone()
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	var program uint32
	if err := table.Lookup(uint32(0), &program); err != nil {
		t.Errorf("an attached stub leads nowhere: %v", err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if err := table.Lookup(uint32(0), &program); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Errorf("a closed stub leads to program %d: %v", program, err)
	}
}
