package pgtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bittern/internal/pki"
)

// certify makes an authority, and the server's certificate by it.
func (c *Cluster) certify(data string) error {
	now := time.Now()
	ca, err := pki.New("pgtest", now)
	if err != nil {
		return err
	}
	key, err := pki.NewKey()
	if err != nil {
		return err
	}
	cert, err := ca.Server([]string{"127.0.0.1", "localhost"}, key.Public(), now)
	if err != nil {
		return err
	}
	c.CA, c.CAFile = ca, filepath.Join(data, "ca.crt")
	if err := pki.WriteKey(filepath.Join(data, "server.key"), key); err != nil {
		return err
	}
	if err := pki.WriteCert(filepath.Join(data, "server.crt"), cert); err != nil {
		return err
	}
	return pki.WriteCert(c.CAFile, ca.Cert.Raw)
}

// Client writes the certificate and the key with which a role logs in to a directory, and returns their paths.
func (c *Cluster) Client(dir, role string) (cert, key string, err error) {
	k, err := pki.NewKey()
	if err != nil {
		return "", "", err
	}
	der, err := c.CA.Client(role, k.Public(), time.Now())
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, role+".crt"), filepath.Join(dir, role+".key")
	if err := pki.WriteKey(key, k); err != nil {
		return "", "", err
	}
	return cert, key, pki.WriteCert(cert, der)
}

// chown gives a tree to whoever the server runs as.
func chown(dir string, owner *syscall.Credential) error {
	if owner == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}

// sweep removes the clusters of processes that were killed. Their servers died with them.
func sweep(in string) {
	found, err := filepath.Glob(filepath.Join(in, prefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range found {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix), "-")
		if n, err := strconv.Atoi(pid); err != nil || n <= 0 || syscall.Kill(n, 0) != syscall.ESRCH {
			continue
		}
		_ = os.RemoveAll(dir)
	}
}
