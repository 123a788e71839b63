package mirror

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bittern/internal/rules/fsstore"
)

// fetchMost is how many pages or files are fetched at once.
const fetchMost = 500

// Fetch returns content by its SHA-256, as much of it as is there, and as fits; for what is left it is called again.
type Fetch func(ctx context.Context, sums []string) (map[string][]byte, error)

// Take makes the rules directory like a publication. Its signature is checked before anything else is looked at. Until all that is
// missing was fetched and is on disk, nothing happens: after an error the rules are those of before, or if one happened later than that,
// the next Take of the same publication ends what this one has begun, and so does Open.
func (m *Mirror) Take(ctx context.Context, p Publication, fetch Fetch) error {
	if p.ID == m.Publication() && p.ID != "" {
		m.note(p.ID, nil)
		return nil
	}
	how, want, pages, err := m.read(ctx, p, fetch)
	if err == nil {
		err = m.take(ctx, p, how, want, pages, fetch)
	}
	if err != nil {
		m.note(m.Publication(), err)
		return err
	}
	return nil
}

// read returns what a publication says, and the pages that are not on disk yet.
func (m *Mirror) read(ctx context.Context, p Publication, fetch Fetch) (How, map[string]File, map[string][]byte, error) {
	if err := m.cfg.verify(p); err != nil {
		return "", nil, nil, err
	}
	manifest, err := ParseManifest(p.Manifest)
	if err != nil {
		return "", nil, nil, err
	}
	pages := map[string][]byte{}
	missing := map[string]Blob{}
	for _, b := range manifest.Pages {
		data, err := m.page(b)
		if err != nil || !b.is(data) {
			missing[b.Sum] = b
		}
	}
	err = fetchAll(ctx, missing, fetch, func(sum string, data []byte) error {
		pages[sum] = data
		return nil
	})
	if err != nil {
		return "", nil, nil, fmt.Errorf("fetching the pages of publication %s: %w", p.ID, err)
	}
	want, err := manifest.ReadPages(func(b Blob) ([]byte, error) {
		if data, ok := pages[b.Sum]; ok {
			return data, nil
		}
		return m.page(b)
	})
	return manifest.How, want, pages, err
}

// fetchAll fetches content, and checks it before it is used.
func fetchAll(ctx context.Context, missing map[string]Blob, fetch Fetch, use func(sum string, data []byte) error) error {
	left := slices.Sorted(maps.Keys(missing))
	for len(left) > 0 {
		got, err := fetch(ctx, left[:min(len(left), fetchMost)])
		if err != nil {
			return err
		}
		asked := len(left)
		rest := left[:0:0]
		for i, sum := range left {
			data, ok := got[sum]
			if !ok || i >= fetchMost {
				rest = append(rest, sum)
				continue
			}
			if b := missing[sum]; !b.is(data) {
				return fmt.Errorf("what was sent for %s of %d bytes is something else, of %d bytes", sum, b.Size, len(data))
			}
			if err := use(sum, data); err != nil {
				return err
			}
		}
		if left = rest; len(left) == asked {
			return fmt.Errorf("%s and %d more were not sent", left[0], len(left)-1)
		}
	}
	return ctx.Err()
}

// take stages what is missing, decides, and carries it out.
func (m *Mirror) take(ctx context.Context, p Publication, how How, want map[string]File, pages map[string][]byte, fetch Fetch) error {
	have, err := m.scan(m.have)
	if err != nil {
		return err
	}
	m.have = have
	todo := planFor(have, want, m.staged)
	// Whoever holds the directory is asked before anything is fetched, and again when it is our turn.
	if m.holds(how, todo) {
		if err := m.heldByOthers(); err != nil {
			return fmt.Errorf("taking publication %s: %w", p.ID, err)
		}
	}
	if err := m.stage(ctx, todo, have, pages, fetch); err != nil {
		return fmt.Errorf("fetching the files of publication %s: %w", p.ID, err)
	}
	if err := m.decide(p); err != nil {
		return err
	}
	if err := m.apply(p, how, todo); err != nil {
		m.note("", err) // it is like neither
		return fmt.Errorf("taking publication %s: %w", p.ID, err)
	}
	m.note(p.ID, nil)
	m.log.Info("rules taken", "publication", p.ID, "key", p.KeyID, "files", len(want), "renamed", len(todo.moves), "written", len(todo.puts), "removed", len(todo.removes))
	m.sweep()
	return nil
}

// stage writes the content of all files that are to be put in place, and the pages.
func (m *Mirror) stage(ctx context.Context, todo plan, have map[string]present, pages map[string][]byte, fetch Fetch) error {
	at := map[Blob]string{} // where content is already
	for name, h := range have {
		at[h.blob] = name
	}
	missing := map[string]Blob{}
	names := map[string][]string{}
	for _, f := range todo.puts {
		data, ok := m.copied(f, at[f.Blob])
		switch {
		case m.staged(f):
		case ok:
			if err := m.disk.write(m.incoming(f.Name), data); err != nil {
				return err
			}
		default:
			missing[f.Sum] = f.Blob
			names[f.Sum] = append(names[f.Sum], f.Name)
		}
	}
	err := fetchAll(ctx, missing, fetch, func(sum string, data []byte) error {
		for _, name := range names[sum] {
			if err := m.disk.write(m.incoming(name), data); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, sum := range slices.Sorted(maps.Keys(pages)) {
		if err := m.put(m.in(pagesName, sum), pages[sum]); err != nil {
			return err
		}
	}
	return m.flush(todo.puts, len(pages) > 0)
}

// copied returns the content of a file that needs not be fetched: it is there under another name, or there is none.
func (m *Mirror) copied(f File, from string) ([]byte, bool) {
	if f.Size == 0 {
		return nil, f.is(nil)
	}
	if from == "" {
		return nil, false
	}
	data, err := os.ReadFile(m.in(rulesName, from))
	return data, err == nil && f.is(data)
}

// flush brings to disk what was staged, also by a Take before that has failed.
func (m *Mirror) flush(puts []File, pages bool) error {
	var dirs []string
	if len(puts) > 0 {
		paths := make([]string, len(puts))
		for i, f := range puts {
			paths[i] = m.incoming(f.Name)
		}
		if err := m.disk.flush(m.cfg.Dir, paths...); err != nil {
			return fmt.Errorf("writing rules to disk: %w", err)
		}
		dirs = append(dirs, m.in(incomingName))
	}
	if pages {
		dirs = append(dirs, m.in(pagesName))
	}
	return m.syncAll(dirs...)
}

// holds reports whether a plan is to be carried out under a hold. One rename by itself needs none, and is not the same: a set takes
// effect as a whole, while of a file that is wrong in parts the others do.
func (m *Mirror) holds(how How, todo plan) bool {
	return todo.edits() > 0 && (how == Together || how == Single && todo.edits() > 1)
}

func (m *Mirror) apply(p Publication, how How, todo plan) error {
	release := func() error { return nil }
	if m.holds(how, todo) {
		if err := m.heldByOthers(); err != nil {
			return err
		}
		var err error
		if release, err = m.hold(p); err != nil {
			return err
		}
	}
	// After an error the hold stays, so that nobody sees the half; whoever ends it ends the hold.
	if err := m.carryOut(todo); err != nil {
		return err
	}
	if err := release(); err != nil {
		return err
	}
	return m.unhold()
}

// hold holds the rules directory. One of ours that was left behind is ours still.
func (m *Mirror) hold(p Publication) (release func() error, err error) {
	if m.holdIsOurs() {
		return func() error { return nil }, nil
	}
	held, err := fsstore.Hold(m.RulesDir(), holdMark+p.ID)
	if err != nil {
		return nil, err
	}
	return held.Release, nil
}

// heldByOthers is an error if somebody else holds the directory: what would be done now would be part of what they do.
func (m *Mirror) heldByOthers() error {
	info, err := os.Lstat(filepath.Join(m.RulesDir(), fsstore.HoldName))
	if err != nil || m.holdIsOurs() {
		return nil //nolint:nilerr // there is no hold
	}
	return fmt.Errorf("the rules directory %s is held by somebody else since %s", m.RulesDir(), info.ModTime().Format(time.RFC3339))
}
