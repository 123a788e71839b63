package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"bittern/internal/bench/subject"
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
	state   string
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
		rules: filepath.Join(dir, "rules"), state: filepath.Join(dir, "state"), cgroup: require.Cgroup(b),
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
	for i, text := range rulestest.MixedCorpus(corpusSize) {
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

// start runs the agent on the site's rules, and returns once they are live.
func (s *site) start(b *testing.B) *subject.Agent {
	b.Helper()
	return s.startLogged(b, nil)
}

// startLogged is start, and looks at what the agent logs after that.
func (s *site) startLogged(b *testing.B, log func(line string, at time.Time)) *subject.Agent {
	b.Helper()
	return s.startWith(b, subject.Config{Log: log})
}

// startWith fills in what the site knows.
func (s *site) startWith(b *testing.B, c subject.Config) *subject.Agent {
	b.Helper()
	c.Program, c.Rules, c.State, c.Cgroup = s.bittern, s.rules, s.state, s.cgroup
	agent, err := subject.Start(c)
	if err != nil {
		b.Fatal(err)
	}
	return agent
}

// startRested is start, and waits until the agent is at rest.
func (s *site) startRested(b *testing.B) *subject.Agent {
	b.Helper()
	agent := s.start(b)
	if err := agent.Settle(); err != nil {
		b.Fatal(err)
	}
	return agent
}

func stop(b *testing.B, agent *subject.Agent) {
	b.Helper()
	if err := agent.Stop(); err != nil {
		b.Fatal(err)
	}
}
