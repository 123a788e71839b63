// Package db is the fleet's store in PostgreSQL, 14 to 18: its schema, what operators do to it, and how agents deliver to it. Agents
// call functions of the schema and nothing else.
package db

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// We run migrations ourselves. Tern's library (looked at: v2.3.4, alive, MIT) keeps one number, so that neither who migrated
// when nor an edited migration shows, takes a lock of the session, which is lost behind PgBouncer, treats SQL as a Go
// template, and adds a dozen modules to an agent that runs as root.

//go:embed bootstrap/*.sql migrations/*.sql query/*.sql
var files embed.FS

// Errors of Migrate and Check.
var (
	ErrNewer       = errors.New("the database's schema is newer than this program")
	ErrEdited      = errors.New("a migration was changed after it was applied")
	ErrNotPrepared = errors.New("the first migration makes roles, and needs a superuser")
)

// A lock of ours: "bittern" and a number, as bytes.
const migrateLock = 0x62697474_65726e01

// A migration that waits for a lock blocks all who come after it.
const lockWithin = "10s"

// Migration is a step of the schema.
type Migration struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	SHA256  string `json:"sha256"` // of its text
	sql     string
}

var migrationName = regexp.MustCompile(`^(\d{3})_([a-z_]+)\.sql$`)

// Migrations are all that this program knows, in order.
func Migrations() ([]Migration, error) { return readMigrations(files) }

func readMigrations(from fs.FS) ([]Migration, error) {
	names, err := fs.Glob(from, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("looking for migrations: %w", err)
	}
	var all []Migration
	for i, name := range names {
		data, err := fs.ReadFile(from, name)
		if err != nil {
			return nil, fmt.Errorf("reading migration %s: %w", name, err)
		}
		parts := migrationName.FindStringSubmatch(path.Base(name))
		if parts == nil || parts[1] != fmt.Sprintf("%03d", i+1) {
			return nil, fmt.Errorf("reading migration %s: its name must begin with number %03d", name, i+1)
		}
		sum := sha256.Sum256(data)
		all = append(all, Migration{Version: i + 1, Name: parts[2], SHA256: hex.EncodeToString(sum[:]), sql: string(data)})
	}
	return all, nil
}

// Migrate brings a database up to date, and returns what it did. It is all or nothing. Several may run at once: they queue. As
// a superuser it also makes the roles, and takes from PUBLIC what hosts must not have; the first time it has to be
// one, later fleet_migrator will do.
func Migrate(ctx context.Context, conn *pgx.Conn) ([]Migration, error) {
	all, err := Migrations()
	if err != nil {
		return nil, err
	}
	return migrate(ctx, conn, all)
}

func migrate(ctx context.Context, conn *pgx.Conn, all []Migration) (done []Migration, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = '"+lockWithin+"'"); err != nil {
			return fmt.Errorf("setting up the migration: %w", err)
		}
		// Waiting for another migration takes as long as that does.
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock("+strconv.Itoa(migrateLock)+"); SET LOCAL lock_timeout = '"+lockWithin+"'"); err != nil {
			return fmt.Errorf("taking the lock of migrations: %w", err)
		}
		if err := bootstrap(ctx, tx); err != nil {
			return err
		}
		applied, err := versions(ctx, tx)
		if err != nil {
			return err
		}
		if done, err = pending(all, applied); err != nil {
			return err
		}
		for _, m := range done {
			if _, err := tx.Exec(ctx, m.sql); err != nil {
				return fmt.Errorf("applying migration %03d_%s: %w%s", m.Version, m.Name, err, at(err, m.sql))
			}
			if _, err := tx.Exec(ctx, "INSERT INTO fleet.schema_versions (version, name, sha256) VALUES ($1, $2, $3)", m.Version, m.Name, m.SHA256); err != nil {
				return fmt.Errorf("noting migration %03d_%s: %w", m.Version, m.Name, err)
			}
		}
		if err := makeDays(ctx, tx, nil); err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// bootstrap makes what only a superuser can, and becomes the owner for the rest of the transaction.
func bootstrap(ctx context.Context, tx pgx.Tx) error {
	var super, ready bool
	if err := tx.QueryRow(ctx, `SELECT rolsuper, EXISTS (SELECT FROM pg_roles o WHERE o.rolname = 'fleet_owner') FROM pg_roles WHERE rolname = current_user`).Scan(&super, &ready); err != nil {
		return fmt.Errorf("asking who we are: %w", err)
	}
	if !super && !ready {
		return fmt.Errorf("migrating the database: %w", ErrNotPrepared)
	}
	if super {
		names, err := fs.Glob(files, "bootstrap/*.sql")
		if err != nil {
			return fmt.Errorf("looking for the set-up: %w", err)
		}
		for _, name := range names {
			text := mustRead(name)
			if _, err := tx.Exec(ctx, text); err != nil {
				return fmt.Errorf("applying %s: %w%s", name, err, at(err, text))
			}
		}
	}
	if _, err := tx.Exec(ctx, "SET LOCAL ROLE fleet_owner"); err != nil {
		return fmt.Errorf("becoming the schema's owner: %w", err)
	}
	if _, err := tx.Exec(ctx, mustRead("query/versions.sql")); err != nil {
		return fmt.Errorf("making the table of versions: %w", err)
	}
	return nil
}

// pending are the migrations that are to come.
func pending(all, applied []Migration) ([]Migration, error) {
	if len(applied) > len(all) {
		return nil, fmt.Errorf("comparing schema %d with %d, which this program knows: %w", applied[len(applied)-1].Version, len(all), ErrNewer)
	}
	for i, a := range applied {
		if a.Version != all[i].Version || a.SHA256 != all[i].SHA256 {
			return nil, fmt.Errorf("comparing migration %03d_%s: %w", a.Version, a.Name, ErrEdited)
		}
	}
	return all[len(applied):], nil
}

func versions(ctx context.Context, q querier) ([]Migration, error) {
	rows, err := q.Query(ctx, "SELECT version, name, sha256 FROM fleet.schema_versions ORDER BY version")
	if err != nil {
		return nil, fmt.Errorf("reading the schema's version: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m Migration, err error) {
		return m, row.Scan(&m.Version, &m.Name, &m.SHA256)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the schema's version: %w", err)
	}
	return all, nil
}

// at says where in a text of SQL an error is.
func at(err error, sql string) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Position == 0 || int(pg.Position) > len(sql) {
		return ""
	}
	line := 1
	for _, c := range sql[:pg.Position-1] {
		if c == '\n' {
			line++
		}
	}
	return fmt.Sprintf(" (line %d)", line)
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// mustRead returns a file that was embedded.
func mustRead(name string) string {
	data, err := files.ReadFile(name)
	if err != nil {
		panic(err) // the build holds it
	}
	return string(data)
}
