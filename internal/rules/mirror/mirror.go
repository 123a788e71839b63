package mirror

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"bittern/internal/rules/fsstore"
)

// Config is what a Mirror needs. Dir and Log are required, and Keys or Unsigned.
type Config struct {
	// Dir is a directory that nobody else touches. It is made if it is not there.
	Dir string
	// Keys are those of publishers that are trusted.
	Keys []ed25519.PublicKey
	// Unsigned: publications that are not signed are taken too, and those whose key is not known.
	Unsigned bool
	Log      *slog.Logger

	disk disk // nil but in tests
}

// Validate reports what is missing.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("no directory given"))
	}
	if len(c.Keys) == 0 && !c.Unsigned {
		errs = append(errs, errors.New("no key given whose signatures are to be trusted"))
	}
	if c.Log == nil {
		errs = append(errs, errors.New("no logger given"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("configuring a mirror of rules: %w", err)
	}
	return nil
}

// Mirror is a rules directory that is like what was published. Take is for one goroutine at a time; all else is for any.
type Mirror struct {
	cfg  Config
	disk disk
	log  *slog.Logger
	have map[string]present // for Take

	mu      sync.Mutex // guards what follows
	taken   string
	problem error
}

// Open makes the directory ready, and is to be called before a rule store is opened on it. It ends what an agent that was killed has
// begun. That something is damaged is no error: see Problem; then Publication is "", so that all of it is fetched again, and
// files stay as they are until it is.
func Open(cfg Config) (*Mirror, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Mirror{cfg: cfg, disk: cfg.disk, log: cfg.Log.With("component", "rule mirror")}
	if m.disk == nil {
		m.disk = realDisk{}
	}
	for _, dir := range []string{cfg.Dir, m.in(pagesName), m.in(incomingName), m.in(rulesName), m.in(rulesName, fsstore.ListsName)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making a directory for rules: %w", err)
		}
	}
	if err := m.recover(); err != nil {
		m.note("", err)
		m.log.Error("the rules taken are damaged, and are fetched again", "error", err)
	}
	m.sweep() // what is left of a Take that had not decided yet may not all be on disk, whatever it looks like now
	// All that was begun was ended, or can't be. There is no store yet whom the hold would hold.
	if err := m.unhold(); err != nil {
		return nil, err
	}
	return m, nil
}

// RulesDir is the directory for a rule store.
func (m *Mirror) RulesDir() string { return RulesIn(m.cfg.Dir) }

// RulesIn is that directory in one of a Mirror.
func RulesIn(dir string) string { return filepath.Join(dir, rulesName) }

// Publication is the id of the publication that the directory is like; "" if it is like none.
func (m *Mirror) Publication() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken
}

// Problem is what is wrong: what Open has found, or why the last Take has failed; nil if nothing is.
func (m *Mirror) Problem() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.problem
}

func (m *Mirror) note(taken string, problem error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taken, m.problem = taken, problem
}

// recover brings the directory to what was decided last.
func (m *Mirror) recover() error {
	p, want, ok, err := m.decided()
	if err != nil || !ok {
		return err
	}
	have, err := m.scan(nil)
	if err != nil {
		return err
	}
	todo := planFor(have, want, m.staged)
	var missing []string
	todo.puts, missing = m.ready(todo.puts)
	if err := m.carryOut(todo); err != nil {
		return err
	}
	if m.have, err = m.scan(have); err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("checking the rules of publication %s: of %d files %d are missing or not as they were, the first is %s", p.ID, len(want), len(missing), missing[0])
	}
	m.note(p.ID, nil)
	if err := m.cfg.verify(p); err != nil {
		// It was good when it was taken, and a host without rules is worse off.
		m.note(p.ID, err)
		m.log.Warn("the rules taken would be refused now, and stay", "error", err)
	}
	return nil
}

// staged reports whether the content of a file waits.
func (m *Mirror) staged(f File) bool {
	info, err := os.Lstat(m.incoming(f.Name))
	if err != nil || !info.Mode().IsRegular() || info.Size() != f.Size {
		return false
	}
	data, err := os.ReadFile(m.incoming(f.Name))
	return err == nil && f.is(data)
}

// ready parts files into those whose content waits, and the names of the others.
func (m *Mirror) ready(puts []File) (ready []File, missing []string) {
	for _, f := range puts {
		if m.staged(f) {
			ready = append(ready, f)
		} else {
			missing = append(missing, f.Name)
		}
	}
	return ready, missing
}

// carryOut renames and removes. What it is stopped in the middle of can be planned and carried out again.
func (m *Mirror) carryOut(p plan) error {
	if p.edits() == 0 {
		return nil
	}
	for _, v := range p.moves {
		if err := m.disk.rename(m.in(rulesName, v.from), m.in(rulesName, v.to)); err != nil {
			return fmt.Errorf("renaming rules: %w", err)
		}
	}
	for _, f := range p.puts {
		if err := m.disk.rename(m.incoming(f.Name), m.in(rulesName, f.Name)); err != nil {
			return fmt.Errorf("putting rules in place: %w", err)
		}
	}
	for _, name := range p.removes {
		if err := m.disk.remove(m.in(rulesName, name)); err != nil {
			return fmt.Errorf("removing rules: %w", err)
		}
	}
	return m.syncAll(m.RulesDir(), m.in(rulesName, fsstore.ListsName))
}

// sweep removes all but the pages of the publication. What it can't remove does no harm.
func (m *Mirror) sweep() {
	keep := map[string]bool{}
	if data, err := os.ReadFile(m.in(recordName)); err == nil {
		if p, err := readRecord(data); err == nil {
			if manifest, err := ParseManifest(p.Manifest); err == nil {
				for _, page := range manifest.Pages {
					keep[page.Sum] = true
				}
			}
		}
	}
	for _, dir := range []string{incomingName, pagesName} {
		entries, err := os.ReadDir(m.in(dir))
		if err != nil {
			m.log.Warn("what is no longer needed was not removed", "error", err)
			continue
		}
		for _, e := range entries {
			if dir == pagesName && keep[e.Name()] {
				continue
			}
			if err := m.disk.remove(m.in(dir, e.Name())); err != nil {
				m.log.Warn("what is no longer needed was not removed", "error", err)
			}
		}
	}
}

// holdMark begins a hold of ours.
const holdMark = "bittern takes publication "

// unhold removes a hold of ours that was left behind.
func (m *Mirror) unhold() error {
	if !m.holdIsOurs() {
		return nil
	}
	if err := m.disk.remove(filepath.Join(m.RulesDir(), fsstore.HoldName)); err != nil {
		return fmt.Errorf("removing a hold that was left behind: %w", err)
	}
	return nil
}

func (m *Mirror) holdIsOurs() bool {
	return strings.HasPrefix(fsstore.Holder(filepath.Join(m.RulesDir(), fsstore.HoldName)), holdMark)
}
