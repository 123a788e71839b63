// Package pgtest gives tests real PostgreSQL servers: throw-away clusters of the version that is installed, reached by a
// Unix socket as the superuser, and by TLS on loopback with client certificates of a throw-away authority.
package pgtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"bittern/internal/pki"
)

// Config says how a cluster is to be.
type Config struct {
	Programs string            // directory of initdb and postgres, see require.DB
	Fsync    bool              // as in production; without, a crash of the machine loses the cluster, which nobody misses
	Settings map[string]string // of postgresql.conf, beside ours
}

// Cluster is a running server.
type Cluster struct {
	Socket string // directory of the Unix socket, where every local user may be any role
	Port   int
	CA     *pki.CA
	CAFile string // its certificate

	dir    string
	cmd    *exec.Cmd
	log    *logBuffer
	exited chan struct{}
	err    error // of the process, once exited is closed
}

// The server writes this when connections can be made.
const readyLine = "database system is ready to accept connections"

// PID is the server's process.
func (c *Cluster) PID() int { return c.cmd.Process.Pid }

// stopWithin bounds how long a server may take to stop before it is killed.
const stopWithin = 20 * time.Second

// prefix is that of the clusters' directories.
const prefix = "bittern-pg-"

// Start makes a cluster and runs its server. It ends with Stop, or else with this process.
func Start(c Config) (*Cluster, error) {
	sweep()
	dir, err := os.MkdirTemp("", prefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, fmt.Errorf("making a cluster: %w", err)
	}
	cluster := &Cluster{dir: dir, Socket: dir, log: &logBuffer{}}
	if err := cluster.start(c); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a cluster: %w\n%s", err, cluster.log), os.RemoveAll(dir))
	}
	return cluster, nil
}

func (c *Cluster) start(cfg Config) error {
	attr, err := unprivileged(c.dir)
	if err != nil {
		return err
	}
	data := filepath.Join(c.dir, "data")
	initdb := exec.Command(filepath.Join(cfg.Programs, "initdb"), "-D", data, "-U", "postgres", "-A", "trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.SysProcAttr, initdb.Dir = attr, c.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("running initdb: %w: %s", err, out)
	}
	if err := c.certify(data); err != nil {
		return err
	}
	if c.Port, err = freePort(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, "postgresql.auto.conf"), []byte(c.settings(cfg)), 0o600); err != nil {
		return err
	}
	if err := chown(c.dir, attr); err != nil {
		return err
	}
	return c.run(exec.Command(filepath.Join(cfg.Programs, "postgres"), "-D", data), attr)
}

// hba lets local users be any role, and others only the one of their certificate.
const hba = `
local   all all trust
hostssl all all 127.0.0.1/32 cert
`

func (c *Cluster) settings(cfg Config) string {
	var b strings.Builder
	set := func(name, value string) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	}
	for name, value := range map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(c.Port), "unix_socket_directories": c.Socket,
		"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "ca.crt",
		"shared_buffers": "64MB", "max_connections": "60", "max_wal_size": "256MB", "autovacuum": "off", "jit": "off",
		"timezone": "UTC", "log_line_prefix": "%m [%p] %u@%d ", "logging_collector": "off", "log_destination": "stderr",
	} {
		set(name, value)
	}
	if !cfg.Fsync {
		set("fsync", "off")
		set("full_page_writes", "off")
		set("synchronous_commit", "off")
	}
	for name, value := range cfg.Settings {
		set(name, value)
	}
	return b.String()
}

// run starts the server and waits until it accepts connections. The kernel ends the server with the thread that started it,
// so that one thread does nothing but wait for it.
func (c *Cluster) run(cmd *exec.Cmd, attr *syscall.SysProcAttr) error {
	a := *attr
	a.Pdeathsig = syscall.SIGQUIT // an immediate shutdown, also of all its backends
	cmd.SysProcAttr, cmd.Dir = &a, c.dir
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	c.cmd, c.exited = cmd, make(chan struct{})
	started, ready := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		c.follow(stderr, ready)
		c.err = cmd.Wait()
		close(c.exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	select {
	case <-ready:
		return nil
	case <-c.exited:
		return fmt.Errorf("the server ended: %w", c.err)
	}
}

func (c *Cluster) follow(stderr io.Reader, ready chan<- struct{}) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		c.log.add(lines.Text())
		if ready != nil && strings.Contains(lines.Text(), readyLine) {
			close(ready)
			ready = nil
		}
	}
	// A line too long: the server must not block on what it writes.
	_, _ = io.Copy(io.Discard, stderr)
}

// Stop ends the server and removes the cluster.
func (c *Cluster) Stop() error {
	err := c.cmd.Process.Signal(syscall.SIGINT) // a fast shutdown
	select {
	case <-c.exited:
	case <-time.After(stopWithin):
		err = errors.Join(err, errors.New("stopping a cluster: it did not stop, and is killed"), c.cmd.Process.Signal(syscall.SIGQUIT))
		<-c.exited
	}
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// Log returns what the server has written last.
func (c *Cluster) Log() string { return c.log.String() }

// unprivileged returns how to run the server's programs: not as root, which they refuse.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return &syscall.SysProcAttr{}, nil
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
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return attr, chown(dir, attr)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// logBuffer keeps the end of what a server writes.
type logBuffer struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

const logBytes = 32 << 10

func (b *logBuffer) add(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lines.Len() > logBytes {
		b.lines.Next(b.lines.Len() - logBytes/2)
	}
	b.lines.WriteString(line + "\n")
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines.String()
}
