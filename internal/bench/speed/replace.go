package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"bittern/internal/bench/subject"
)

// opens is what became of files that were opened while a rule that matches them all was
// replaced.
type opens struct {
	opened, missed, doubled int
	replacements, versions  int // versions that reported an open
}

// Of the stream of opens.
const (
	openPause    = time.Millisecond
	replacePause = 500 * time.Millisecond
	// lastWait is how long detections may fail to come before the rest counts as missed.
	lastWait = 10 * time.Second
)

// replace renames versions of a rule over each other, among the most rules there are.
func (b *bench) replace() (_ opens, err error) {
	config := b.agent
	config.Rules = b.rules(sizes[len(sizes)-1])
	numbered := filepath.Join(b.dir, "numbered")
	if err := os.Mkdir(numbered, 0o755); err != nil {
		return opens{}, err
	}
	rule := filepath.Join(config.Rules, "numbered.yml")
	if err := rename(rule, numberedRule(numbered, 1)); err != nil {
		return opens{}, err
	}
	agent, err := subject.Start(config)
	if err != nil {
		return opens{}, err
	}
	counted := make(chan tally, 1)
	opened := make(chan int, 1)
	go func() { counted <- count(agent.Detections, opened) }()
	defer func() { err = errors.Join(err, agent.Stop()) }()
	stream, err := b.workload.StartOpens(numbered, openPause)
	if err != nil {
		return opens{}, err
	}
	for version := range b.replacements {
		time.Sleep(replacePause)
		if err := rename(rule, numberedRule(numbered, version+2)); err != nil {
			_, stopped := stream.Stop()
			return opens{}, errors.Join(err, stopped)
		}
	}
	time.Sleep(replacePause)
	n, err := stream.Stop()
	if err != nil {
		return opens{}, err
	}
	opened <- n
	o := (<-counted).against(n)
	o.replacements = b.replacements
	return o, nil
}

// tally counts detections by the number in the name of the file.
type tally struct {
	seen     map[int]int
	versions map[string]bool
}

// against sets what was reported against the number of files that were opened.
func (t tally) against(n int) opens {
	o := opens{opened: n, versions: len(t.versions)}
	for number := range n {
		switch times := t.seen[number]; {
		case times == 0:
			o.missed++
		case times > 1:
			o.doubled++
		}
	}
	return o
}

// count reads detections until, once it is told how many files were opened, none comes
// any more.
func count(detections <-chan subject.Detection, opened <-chan int) tally {
	t := tally{make(map[int]int), make(map[string]bool)}
	quiet := time.NewTimer(time.Hour)
	for {
		select {
		case d, ok := <-detections:
			if !ok {
				return t
			}
			if n, err := strconv.Atoi(filepath.Base(d.File.Path)); err == nil && d.Rule.ID == numberedID {
				t.seen[n]++
				t.versions[d.Rule.Version] = true
			}
			if opened == nil {
				quiet.Reset(lastWait)
			}
		case <-opened:
			opened = nil
			quiet.Reset(lastWait)
		case <-quiet.C:
			return t
		}
	}
}

const numberedID = "NUMBERED"

func numberedRule(dir string, version int) string {
	return fmt.Sprintf(`rule_id: %s
rule_version: %d
name: numbered
applies_to: [file_open]
match:
  file: {file.path|startswith: %s/}
emits:
  - {tactic: TA0006, technique_id: T1552, confidence: 1}
`, numberedID, version, dir)
}

// rename puts a file in the place of another.
func rename(path, text string) error {
	scratch := path + ".tmp" // not a name of a rule file
	if err := os.WriteFile(scratch, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(scratch, path)
}
