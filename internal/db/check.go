package db

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Finding is something wrong.
type Finding struct {
	Severity string `json:"severity"` // error or warning
	What     string `json:"what"`
	Hint     string `json:"hint,omitempty"`
}

// Status is what a database has.
type Status struct {
	Server      string    `json:"server"` // version of PostgreSQL
	Schema      int       `json:"schema"` // version of the schema, 0 for none
	Known       int       `json:"known"`  // the newest one that this program knows
	Hosts       int64     `json:"hosts"`
	Silent      int64     `json:"silent"` // hosts that have not been heard of for three of their intervals
	Generation  int64     `json:"generation"`
	FirstDay    string    `json:"first_day"` // of detections
	LastDay     string    `json:"last_day"`
	DeadLetters int64     `json:"dead_letters"`
	Bytes       int64     `json:"bytes"` // of the database
	Time        time.Time `json:"time"`  // of the server's clock
}

// clockWithin is by how much the clocks of the server and of who checks may differ.
const clockWithin = 5 * time.Second

// ReadStatus says what a database has. Of one without our schema that is little.
func ReadStatus(ctx context.Context, conn *pgx.Conn) (s Status, err error) {
	all, err := Migrations()
	if err != nil {
		return s, err
	}
	s.Known = len(all)
	var there bool
	if err := conn.QueryRow(ctx, mustRead("query/server.sql")).Scan(&s.Server, &s.Time, &there); err != nil {
		return s, fmt.Errorf("asking the server who it is: %w", err)
	}
	if !there {
		return s, nil
	}
	if err := conn.QueryRow(ctx, mustRead("query/status.sql")).Scan(&s.Schema, &s.Hosts, &s.Silent, &s.Generation, &s.FirstDay, &s.LastDay,
		&s.DeadLetters, &s.Bytes); err != nil {
		return s, fmt.Errorf("reading what the database has: %w", err)
	}
	return s, nil
}

// Check looks for what is wrong with a database: its version, roles, grants, partitions and clock, settings of its server, and
// pg_hba.conf if it can be read, which a superuser can.
func Check(ctx context.Context, conn *pgx.Conn) ([]Finding, error) {
	all, err := Migrations()
	if err != nil {
		return nil, err
	}
	var server string
	var at time.Time
	var there bool
	before := time.Now()
	if err := conn.QueryRow(ctx, mustRead("query/server.sql")).Scan(&server, &at, &there); err != nil {
		return nil, fmt.Errorf("asking the server who it is: %w", err)
	}
	found := checkClock(at, before, time.Now())
	if !there {
		return append(found, Finding{"error", "the schema is not there", "run bittern db migrate"}), nil
	}
	applied, err := versions(ctx, conn)
	if err != nil {
		return nil, err
	}
	if todo, err := pending(all, applied); err != nil {
		return append(found, Finding{"error", err.Error(), "use the program that migrated it, or a newer one"}), nil
	} else if len(todo) > 0 {
		return append(found, Finding{"error", fmt.Sprintf("the schema is version %d, and this program knows %d", len(applied), len(all)), "run bittern db migrate"}), nil
	}
	more, err := findings(ctx, conn, "check")
	if err != nil {
		return nil, err
	}
	found = append(found, more...)
	var readable bool
	if err := conn.QueryRow(ctx, mustRead("query/hba_readable.sql")).Scan(&readable); err != nil {
		return nil, fmt.Errorf("asking for what we may read: %w", err)
	}
	if readable {
		if more, err = findings(ctx, conn, "check_hba"); err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

func findings(ctx context.Context, conn *pgx.Conn, query string) ([]Finding, error) {
	rows, err := conn.Query(ctx, mustRead("query/"+query+".sql"))
	if err != nil {
		return nil, fmt.Errorf("looking for what is wrong: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Finding])
	if err != nil {
		return nil, fmt.Errorf("looking for what is wrong: %w", err)
	}
	return found, nil
}

// checkClock compares the server's time, which is from between two of ours.
func checkClock(server, before, after time.Time) []Finding {
	by := time.Duration(0)
	switch {
	case server.Before(before):
		by = server.Sub(before)
	case server.After(after):
		by = server.Sub(after)
	}
	if by.Abs() <= clockWithin {
		return nil
	}
	return []Finding{{"warning", fmt.Sprintf("the server's clock differs from this host's by %s", by.Round(time.Second)), "have both set by NTP"}}
}
