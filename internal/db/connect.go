package db

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"bittern/internal/pki"
)

// ErrUnverified is that a connection would go over a network to a server that nobody has checked.
var ErrUnverified = errors.New("it goes over a network, and needs sslmode=verify-full")

// ErrPooled is that a pooler such as PgBouncer stands between us and the server.
var ErrPooled = errors.New("this needs a connection of its own: connect to the server itself, not by way of PgBouncer")

// ErrExpired is that a host's certificate is no longer good.
var ErrExpired = errors.New("the certificate has expired")

// Connect connects with a connection string, a URL or keys and values as of libpq. The files that it names are read anew each time. Its errors
// hold no password.
func Connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	config, err := Parse(dsn)
	if err != nil {
		return nil, err
	}
	return connect(ctx, config)
}

// ConnectOperator is Connect for commands of operators, who may come by way of a PgBouncer that gives out its connections by the
// transaction. A statement that was prepared there, as pgx does it by default, is there no more with the next one, or another client's of the same
// name is: here each statement is by itself, unless the connection string says default_query_exec_mode. That costs next to nothing for
// commands that make a call or two.
func ConnectOperator(ctx context.Context, dsn string) (*pgx.Conn, error) {
	config, err := Parse(dsn)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(dsn, "default_query_exec_mode") {
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	return connect(ctx, config)
}

// direct fails with ErrPooled unless the server itself is at the other end: a pooler can't tell its clients the number of a
// server's process, since that changes.
func direct(ctx context.Context, conn *pgx.Conn) error {
	var pid uint32
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_backend_pid()").Scan(&pid); err != nil {
		return fmt.Errorf("asking the server who it is: %w", err)
	}
	if pid != conn.PgConn().PID() {
		return ErrPooled
	}
	return nil
}

func connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		// Of that the server says no more than an alert of TLS.
		if at, expired := expired(config.TLSConfig, time.Now()); expired {
			err = fmt.Errorf("%w (sslcert: %w at %s)", err, ErrExpired, at.UTC().Format(time.RFC3339))
		}
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	return conn, nil
}

// expired reports whether the certificate that we show has expired, and when, as far as this host's clock is right.
func expired(t *tls.Config, now time.Time) (at time.Time, is bool) {
	if t == nil || len(t.Certificates) == 0 || len(t.Certificates[0].Certificate) == 0 {
		return at, false
	}
	cert, err := x509.ParseCertificate(t.Certificates[0].Certificate[0])
	if err != nil {
		return at, false
	}
	return cert.NotAfter, now.After(cert.NotAfter)
}

// Parse reads a connection string, and refuses what is not safe: a network without sslmode=verify-full, also as a second
// choice, and a key that others can read.
func Parse(dsn string) (*pgx.ConnConfig, error) {
	for _, key := range keyFiles(dsn) {
		if err := pki.CheckKeyFile(key); err != nil {
			return nil, fmt.Errorf("reading the connection string: %w", err)
		}
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("reading the connection string: %w", err) // without the password, pgx sees to it
	}
	if err := safe(config.Host, config.TLSConfig); err != nil {
		return nil, err
	}
	for _, f := range config.Fallbacks {
		if err := safe(f.Host, f.TLSConfig); err != nil {
			return nil, err
		}
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "bittern"
	}
	return config, nil
}

func safe(host string, t *tls.Config) error {
	ip := net.ParseIP(host)
	switch {
	case filepath.IsAbs(host), strings.HasPrefix(host, "@"), host == "localhost", ip != nil && ip.IsLoopback():
		return nil
	case t != nil && !t.InsecureSkipVerify && t.ServerName != "":
		return nil
	}
	return fmt.Errorf("connecting to database server %s: %w", host, ErrUnverified)
}

var sslkeyPair = regexp.MustCompile(`(?:^|\s)sslkey\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S+))`)

// keyFiles are the files of keys that a connection string names, or the environment.
func keyFiles(dsn string) (files []string) {
	if u, err := url.Parse(dsn); err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
		files = append(files, u.Query()["sslkey"]...)
	} else {
		for _, m := range sslkeyPair.FindAllStringSubmatch(dsn, -1) {
			files = append(files, m[1]+m[2])
		}
	}
	if file := os.Getenv("PGSSLKEY"); file != "" && len(files) == 0 {
		files = append(files, file)
	}
	return files
}
