// Command speed measures the agent on the machine that it runs on, which internal/vm
// boots for it: what it costs programs, of which none of its rules matches, and what it
// takes. It prints one table.
//
// The host as a whole is watched, so it belongs into a machine of its own.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bittern/internal/bench/subject"
	"bittern/internal/rules/rulestest"
)

// sizes are the numbers of rules, of a small, a middling and a large site.
var sizes = []int{16, 256, 4096}

func main() {
	b := &bench{}
	flag.StringVar(&b.agent.Program, "agent", "/bench/bittern", "the agent's program")
	flag.StringVar(&b.workload.Program, "workload", "/bench/workload", "the program of workload.c")
	flag.StringVar(&b.tiny, "tiny", "/bin/true", "static program that ends at once")
	flag.IntVar(&b.rounds, "rounds", 9, "how often each number of rules is measured")
	flag.IntVar(&b.workload.CPU, "cpu", 1, "processor that is measured")
	flag.DurationVar(&b.workload.Batch, "batch", 100*time.Millisecond, "time that a batch of calls takes")
	flag.IntVar(&b.workload.Batches, "batches", 8, "batches of which the fastest counts")
	flag.IntVar(&b.replacements, "replacements", 40, "how often a rule is replaced")
	flag.Parse()
	if err := b.run(); err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

// run measures in a directory of its own.
func (b *bench) run() (err error) {
	if b.dir, err = os.MkdirTemp("", "speed-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	for _, n := range sizes {
		if err := b.writeRules(n); err != nil {
			return err
		}
	}
	if err := b.writeOpened(); err != nil {
		return err
	}
	t, err := b.measure()
	if err != nil {
		return err
	}
	if t.opens, err = b.replace(); err != nil {
		return err
	}
	return t.write(os.Stdout)
}

func (b *bench) rules(n int) string { return filepath.Join(b.dir, fmt.Sprint(n)) }

func (b *bench) writeRules(n int) error {
	if err := os.Mkdir(b.rules(n), 0o755); err != nil {
		return err
	}
	for i, text := range rulestest.MixedCorpus(n) {
		if err := os.WriteFile(filepath.Join(b.rules(n), fmt.Sprintf("c%04d.yml", i)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeOpened writes the file that is opened, with a path as long as many are.
func (b *bench) writeOpened() error {
	const name = "srv/projects/quarter/reports/number-0042.txt"
	path := filepath.Join(b.dir, name)
	b.kinds = []subject.Kind{
		{Name: "open", Argument: path}, {Name: "exec", Argument: b.tiny}, {Name: "getppid"}, {Name: "connect"},
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte("42\n"), 0o644)
}
