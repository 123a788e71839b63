package fsstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Held is a hold that this process has made.
type Held struct {
	Path string
	info os.FileInfo
}

// Hold holds a rules directory. It fails if somebody else does, and says who. says is who we
// are, and why.
func Hold(dir, says string) (*Held, error) {
	path := filepath.Join(dir, HoldName)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		since := ""
		if info, err := os.Lstat(path); err == nil {
			since = " since " + info.ModTime().Format(time.RFC3339)
		}
		return nil, fmt.Errorf("holding %s: it is held%s%s (if whoever made the hold is gone, put the rules in order, then: rm %s)", dir, since, said(Holder(path)), path)
	}
	if err != nil {
		return nil, fmt.Errorf("holding %s: %w", dir, err)
	}
	_, err = fmt.Fprintln(file, says)
	info, statErr := file.Stat()
	if err := errors.Join(err, statErr, file.Close()); err != nil {
		return nil, fmt.Errorf("holding %s: %w", dir, errors.Join(err, os.Remove(path)))
	}
	return &Held{path, info}, nil
}

// Release ends the hold. It is an error if somebody has done so already: then edits took effect
// before their time.
func (h *Held) Release() error {
	switch info, err := os.Lstat(h.Path); {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, h.info):
		return fmt.Errorf("releasing %s: somebody has removed the hold before, so that edits may have taken effect one by one", filepath.Dir(h.Path))
	case err != nil:
		return fmt.Errorf("releasing %s: %w", filepath.Dir(h.Path), err)
	}
	if err := os.Remove(h.Path); err != nil {
		return fmt.Errorf("releasing %s: %w", filepath.Dir(h.Path), err)
	}
	return nil
}
