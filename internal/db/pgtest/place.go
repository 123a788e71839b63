package pgtest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// prefix is that of the clusters' directories.
const prefix = "bittern-pg-"

// place is a directory of programs that are run by a user without privileges, since servers refuse root: on this system, or in a
// root tree of scripts/postgres/fetch.sh.
type place struct {
	dir      string // short enough for the path of a Unix socket
	programs string // as those who run there see it
	root     string // of the tree; "" for this system
	owner    *syscall.Credential
}

// newPlace makes one for servers in that directory of programs.
func newPlace(programs string) (p place, err error) {
	if p.root, p.programs, err = tree(programs); err != nil {
		return p, err
	}
	if p.owner, err = unprivileged(); err != nil {
		return p, err
	}
	sweep(os.TempDir())
	name := prefix + strconv.Itoa(os.Getpid()) + "-"
	if p.root == "" {
		if p.dir, err = os.MkdirTemp("", name); err != nil {
			return p, err
		}
		return p, p.own()
	}
	sweep(filepath.Join(p.root, "tmp"))
	if err := furnish(p.root, p.owner); err != nil {
		return p, err
	}
	within, err := os.MkdirTemp(filepath.Join(p.root, "tmp"), name)
	if err != nil {
		return p, err
	}
	p.dir = filepath.Join(os.TempDir(), filepath.Base(within))
	if err := os.Symlink(within, p.dir); err != nil {
		return p, errors.Join(err, os.RemoveAll(within))
	}
	return p, p.own()
}

// tree is the root of the tree that holds a directory of programs, and what that is called within.
func tree(programs string) (root, within string, err error) {
	const where = "/usr/lib/postgresql/"
	programs, err = filepath.Abs(programs)
	if err != nil {
		return "", "", err
	}
	root, version, found := strings.Cut(programs, where)
	if !found || root == "" {
		return "", programs, nil
	}
	if os.Geteuid() != 0 {
		return "", "", errors.New("to run a server in a root tree needs root")
	}
	return root, where + version, nil
}

// furnish puts into a tree what can't be there before the machine and its users are known.
func furnish(root string, owner *syscall.Credential) error {
	// initdb asks what its user is called.
	user := []byte("postgres:x:" + strconv.Itoa(int(owner.Uid)) + ":" + strconv.Itoa(int(owner.Gid)) + "::/:/bin/sh\n")
	path := filepath.Join(root, "etc/passwd")
	if has, err := os.ReadFile(path); err != nil || !bytes.Equal(has, user) {
		if err := os.WriteFile(path, user, 0o644); err != nil {
			return err
		}
	}
	null := filepath.Join(root, "dev/null")
	if err := unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil && !errors.Is(err, os.ErrExist) {
		return &os.PathError{Op: "mknod", Path: null, Err: err}
	}
	return os.Chmod(null, 0o666) // whatever the umask
}

// command is one of the programs.
func (p place) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.programs, name), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: p.root, Credential: p.owner}
	cmd.Dir = p.seen(p.dir)
	return cmd
}

// seen is a path in the place as those who run there see it.
func (p place) seen(path string) string {
	if p.root == "" {
		return path
	}
	return "/tmp/" + strings.TrimPrefix(path, filepath.Dir(p.dir)+"/")
}

// own gives all that is in the place to those who run there.
func (p place) own() error { return chown(p.dir+"/.", p.owner) }

func (p place) remove() error {
	if p.root == "" {
		return os.RemoveAll(p.dir)
	}
	return errors.Join(os.RemoveAll(filepath.Join(p.root, "tmp", filepath.Base(p.dir))), os.Remove(p.dir))
}

// unprivileged is who runs programs that refuse root; nil if this process is not root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
