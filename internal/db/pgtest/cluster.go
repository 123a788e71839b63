// Package pgtest gives tests real PostgreSQL servers: throw-away clusters of the version that is installed, reached by a
// Unix socket as the superuser, and by TLS on loopback with client certificates of a throw-away authority.
package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

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

	place
	log *logBuffer
	process
}

// PID is the server's process.
func (c *Cluster) PID() int { return c.cmd.Process.Pid }

// Start makes a cluster and runs its server. It ends with Stop, or else with this process.
func Start(c Config) (*Cluster, error) {
	at, err := newPlace(c.Programs)
	if err != nil {
		return nil, fmt.Errorf("making a cluster: %w", err)
	}
	cluster := &Cluster{place: at, Socket: at.dir, log: &logBuffer{}}
	if err := cluster.start(c); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a cluster: %w\n%s", err, cluster.log), at.remove())
	}
	return cluster, nil
}

func (c *Cluster) start(cfg Config) error {
	data := c.Data()
	initdb := c.command("initdb", "-D", c.seen(data), "-U", "postgres", "-A", "trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("running initdb: %w: %s", err, out)
	}
	if err := c.certify(data); err != nil {
		return err
	}
	var err error
	if c.Port, err = freePort(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, "postgresql.auto.conf"), []byte(c.settings(cfg)), 0o600); err != nil {
		return err
	}
	if err := c.own(); err != nil {
		return err
	}
	return c.run()
}

// Data is the server's directory.
func (c *Cluster) Data() string { return filepath.Join(c.dir, "data") }

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
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(c.Port), "unix_socket_directories": c.seen(c.dir),
		"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "ca.crt",
		"shared_buffers": "64MB", "max_connections": "60", "max_wal_size": "256MB", "autovacuum": "off", "jit": "off",
		"timezone": "UTC", "dynamic_shared_memory_type": "mmap", "log_line_prefix": "%m [%p] %u@%d ", "logging_collector": "off", "log_destination": "stderr",
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

// Log returns what the server has written last.
func (c *Cluster) Log() string { return c.log.String() }

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

// last is what was written since some lines ago.
func (b *logBuffer) last() string {
	text := b.String()
	return text[max(0, len(text)-1024):]
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines.String()
}
