package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"bittern/internal/rules/fsstore"
	shipped "bittern/rules"
)

// rulesDir returns the directory of rules to use, and says which it is if nobody
// has chosen it. The shipped rules are written to the state directory once, so that
// they can be edited there.
func rulesDir(s *settings, p paths, log *slog.Logger) (string, error) {
	if s.rules != "" {
		return s.rules, nil
	}
	if isDir(p.rules) {
		return p.rules, nil
	}
	dir := filepath.Join(s.state, "rules")
	if isDir(dir) {
		log.Info("using the rules in the state directory: edit them, changes go live at once", "dir", dir)
		return dir, nil
	}
	if err := writeShipped(dir); err != nil {
		return "", fmt.Errorf("writing the shipped rules to %s: %w (choose another place with --state, or name a directory of rules with --rules)", dir, err)
	}
	log.Info("shipped rules written: edit them, changes go live at once", "dir", dir)
	return dir, nil
}

// writeShipped makes a directory with the shipped rules: all of them or, after an
// error, none.
func writeShipped(dir string) (err error) {
	state := filepath.Dir(dir)
	owner, err := ownerAbove(state)
	if err != nil {
		return err
	}
	made := !isDir(state)
	if err := os.MkdirAll(state, 0o755); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(state, ".rules-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temporary))
		}
	}()
	written := []string{temporary}
	if made {
		written = append(written, state)
	}
	names, err := shippedNames()
	if err != nil {
		return err
	}
	for _, name := range names {
		data, err := fs.ReadFile(shipped.FS, name)
		if err != nil {
			return err
		}
		path := filepath.Join(temporary, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
		written = append(written, path)
	}
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	for _, path := range written {
		if err := owner.give(path); err != nil {
			return err
		}
	}
	return os.Rename(temporary, dir)
}

// shippedNames lists the rule files in the binary.
func shippedNames() ([]string, error) {
	entries, err := fs.ReadDir(shipped.FS, ".")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if fsstore.Accepts(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// owner is who gets the files that root makes in somebody's directory, so that
// whoever runs the agent by sudo in a directory of their own can edit the rules.
type owner struct{ uid, gid int }

// ownerAbove returns the owner of the nearest directory that exists.
func ownerAbove(path string) (owner, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return owner{}, err
	}
	for {
		info, err := os.Stat(path)
		if err == nil {
			st := info.Sys().(*syscall.Stat_t)
			return owner{int(st.Uid), int(st.Gid)}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return owner{}, err
		}
		path = filepath.Dir(path)
	}
}

func (o owner) give(path string) error {
	if os.Geteuid() != 0 || o.uid == 0 {
		return nil
	}
	return os.Lchown(path, o.uid, o.gid)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
