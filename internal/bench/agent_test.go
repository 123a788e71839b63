package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bittern/internal/require"
	"bittern/internal/rules/rulestest"
)

// corpusSize is the number of rules of a large site.
const corpusSize = 4096

// site is what all benchmarks start from: the agent's program, a tiny static program
// to execute, a directory with 4,096 rules, and a cgroup.
type site struct {
	bittern string
	tiny    string
	rules   string
	cgroup  string
	within  *os.File // the cgroup, open
}

// tinySource ends at once, without a C library, so that what is measured is fork,
// exec and wait.
const tinySource = `
void _start(void)
{
#if defined(__x86_64__)
	__asm__ volatile("mov $60, %eax; xor %edi, %edi; syscall");
#elif defined(__aarch64__)
	__asm__ volatile("mov x8, #93; mov x0, #0; svc #0");
#endif
}
`

func newSite(b *testing.B) *site {
	b.Helper()
	require.Root(b)
	require.BPF(b)
	dir := b.TempDir()
	s := &site{
		bittern: filepath.Join(dir, "bittern"), tiny: filepath.Join(dir, "tiny"),
		rules: filepath.Join(dir, "rules"), cgroup: require.Cgroup(b),
	}
	build := exec.Command("go", "build", "-o", s.bittern, "bittern/cmd/agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	mustRun(b, build)
	source := filepath.Join(dir, "tiny.c")
	writeFile(b, source, tinySource)
	mustRun(b, exec.Command("gcc", "-O2", "-static", "-nostdlib", "-o", s.tiny, source))
	if err := os.Mkdir(s.rules, 0o755); err != nil {
		b.Fatal(err)
	}
	for i, text := range rulestest.Corpus(corpusSize) {
		writeFile(b, filepath.Join(s.rules, fmt.Sprintf("c%04d.yml", i)), text)
	}
	var err error
	if s.within, err = os.Open(s.cgroup); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.within.Close() })
	return s
}

func mustRun(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("running %v: %v\n%s", cmd.Args, err, out)
	}
}

func writeFile(b *testing.B, path, text string) {
	b.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
}

// execute runs the tiny program in the cgroup: fork, exec, wait.
func (s *site) execute(b *testing.B, args ...string) {
	p, err := os.StartProcess(s.tiny, append([]string{s.tiny}, args...), &os.ProcAttr{
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(s.within.Fd())},
	})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		b.Fatal(err)
	}
}

// detection is what the benchmarks need of one.
type detection struct {
	Time time.Time `json:"@timestamp"`
	Rule struct {
		ID      string `json:"id"`
		Version string `json:"version"`
	} `json:"rule"`
}

// running is an agent at work.
type running struct {
	cmd        *exec.Cmd
	startUp    time.Duration // from fork to all rules live
	detections chan detection
	ended      sync.WaitGroup
}

// start runs the agent on the site's rules, and returns once they are live.
func (s *site) start(b *testing.B) *running {
	b.Helper()
	r := &running{detections: make(chan detection, 1<<16)}
	r.cmd = exec.Command(s.bittern, "run", "--rules", s.rules, "--cgroup", s.cgroup, "--output", "json", "--log-format", "text")
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	if err := r.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ready := make(chan error, 1)
	r.ended.Go(func() {
		lines := bufio.NewScanner(stderr)
		var said strings.Builder
		for lines.Scan() {
			if strings.Contains(lines.Text(), "bittern is running") {
				r.startUp = time.Since(begin)
				ready <- nil
				break
			}
			said.WriteString(lines.Text() + "\n")
		}
		select {
		case ready <- fmt.Errorf("the agent ended before it was ready:\n%s", said.String()):
		default:
		}
		_, _ = io.Copy(io.Discard, stderr) // keeps the agent from blocking
	})
	r.ended.Go(func() {
		defer close(r.detections)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var d detection
			if json.Unmarshal(lines.Bytes(), &d) == nil && d.Rule.ID != "" {
				r.detections <- d
			}
		}
	})
	if err := <-ready; err != nil {
		b.Fatal(err)
	}
	return r
}

func (r *running) stop(b *testing.B) {
	b.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	r.ended.Wait()
	if err := r.cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}

// settle waits until the agent has used no CPU for a while: until its runtime has
// cleaned up after the start.
func (r *running) settle(b *testing.B) {
	b.Helper()
	for before := ""; ; time.Sleep(100 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", r.cmd.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		if string(stat) == before {
			return
		}
		before = string(stat)
	}
}

// rss returns the resident memory of the agent in bytes.
func (r *running) rss(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	return 1024 * sumFields(b, string(status), "VmRSS:")
}

// mapBytes returns the memory that the kernel charges for the agent's BPF maps.
func (r *running) mapBytes(b *testing.B) float64 {
	b.Helper()
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", r.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	seen, total := make(map[string]bool), 0.0
	for _, path := range infos {
		info, err := os.ReadFile(path)
		if err != nil {
			continue // closed meanwhile
		}
		_, id, isMap := strings.Cut(string(info), "map_id:")
		if !isMap || seen[id] {
			continue
		}
		seen[id] = true
		total += sumFields(b, string(info), "memlock:")
	}
	return total
}

// sumFields adds up the numbers that follow a key in lines of "key: number".
func sumFields(b *testing.B, text, key string) float64 {
	b.Helper()
	sum := 0.0
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}
