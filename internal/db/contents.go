package db

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bittern/internal/rules"
	"bittern/internal/rules/fsstore"
	"bittern/internal/rules/mirror"
)

// contents are a rules directory as it was at one moment.
type contents struct {
	sums       map[string][32]byte
	data       map[string][]byte
	list       []mirror.File
	unreadable []string
	rules      []*rules.Rule
	problems   rules.Problems
	whole      bool // the last edits were a set
}

// lookAgain is when the directory is looked at again, if nothing tells before that it has changed.
const lookAgain = 250 * time.Millisecond

// contents reads the directory until the store has taken in the same: then no file is half written, and no set half made.
func (p *Publisher) contents(ctx context.Context) (*contents, error) {
	for {
		if err := p.unheld(ctx, p.store.Revised()); err != nil {
			return nil, err
		}
		now, err := readDir(p.cfg.Dir)
		if err != nil {
			return nil, err
		}
		if taken := p.store.Snapshot(); now.are(taken) {
			now.take(taken)
			return now, nil
		}
		select {
		case <-p.store.Revised():
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return nil, fmt.Errorf("reading %s: %w", p.cfg.Dir, ctx.Err())
		}
	}
}

// unheld waits until nobody holds the directory.
func (p *Publisher) unheld(ctx context.Context, revised <-chan struct{}) error {
	path := filepath.Join(p.cfg.Dir, fsstore.HoldName)
	for told := false; ; told = true {
		if _, err := os.Lstat(path); err != nil {
			return nil //nolint:nilerr // there is no hold, or no directory, which is found out next
		}
		if !told && p.cfg.Waiting != nil {
			p.cfg.Waiting(fsstore.Holder(path))
		}
		select {
		case <-revised:
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return fmt.Errorf("waiting until nobody holds %s: %w", p.cfg.Dir, ctx.Err())
		}
	}
}

// readDir reads the files that a rule store would.
func readDir(dir string) (*contents, error) {
	c := &contents{sums: map[string][32]byte{}, data: map[string][]byte{}}
	for _, below := range []string{"", fsstore.ListsName} {
		entries, err := os.ReadDir(filepath.Join(dir, below))
		if below != "" && (errors.Is(err, fs.ErrNotExist) || isFile(filepath.Join(dir, below))) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the directory to be published: %w", err)
		}
		for _, e := range entries {
			if name := filepath.Join(below, e.Name()); fsstore.Accepts(e.Name()) {
				c.read(dir, name)
			}
		}
	}
	return c, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// read reads a file, through links.
func (c *contents) read(dir, name string) {
	path := filepath.Join(dir, name)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return // it was there a moment ago
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().IsRegular() && info.Size() <= mirror.MaxFile {
		if data, err := os.ReadFile(path); err == nil && len(data) <= mirror.MaxFile {
			c.data[name], c.sums[name] = data, sha256.Sum256(data)
			return
		}
	}
	c.unreadable = append(c.unreadable, name)
}

// are reports whether the contents are what a store has taken in.
func (c *contents) are(taken fsstore.Snapshot) bool {
	if len(taken.Files) != len(c.sums) {
		return false
	}
	for name, sum := range c.sums {
		if taken.Files[name] != sum {
			return false
		}
	}
	return true
}

// take fills in what a store makes of the contents.
func (c *contents) take(taken fsstore.Snapshot) {
	for name, data := range c.data {
		c.list = append(c.list, mirror.File{Name: name, Blob: mirror.BlobOf(data)})
	}
	slices.SortFunc(c.list, func(a, b mirror.File) int { return strings.Compare(a.Name, b.Name) })
	for _, r := range taken.Rules {
		c.rules = append(c.rules, r.Rule)
	}
	for _, p := range taken.Problems {
		c.problems = append(c.problems, p.Problems...)
	}
	c.whole = taken.Whole
	for _, name := range c.unreadable {
		if !slices.ContainsFunc(c.problems, func(p rules.Problem) bool { return filepath.Base(p.Pos.File) == filepath.Base(name) }) {
			c.problems = append(c.problems, rules.Problem{Pos: rules.Position{File: name}, Message: "can't be read"})
		}
	}
}

// edits is in how many files the contents differ from others; one that was renamed counts once.
func (c *contents) edits(from *contents) int {
	var gone, come [][32]byte
	n := 0
	for name, sum := range c.sums {
		was, ok := from.sums[name]
		switch {
		case !ok:
			come = append(come, sum)
		case was != sum:
			n++
		}
	}
	for name, sum := range from.sums {
		if _, ok := c.sums[name]; !ok {
			gone = append(gone, sum)
		}
	}
	for _, sum := range gone {
		if i := slices.Index(come, sum); i >= 0 {
			come = slices.Delete(come, i, i+1)
		} else {
			n++
		}
	}
	return n + len(come)
}

// onPages adds the contents of the files that are on some pages.
func (c *contents) onPages(manifest mirror.Manifest, pages [][]byte, some []string, to map[string][]byte) {
	for i, b := range manifest.Pages {
		if !slices.Contains(some, b.Sum) {
			continue
		}
		for line := range strings.Lines(string(pages[i])) {
			parts := strings.Fields(line)
			to[parts[0]] = c.data[parts[2]]
		}
	}
}
