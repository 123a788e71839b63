package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"bittern/internal/db"
)

func newDBStatus(a *app) *cobra.Command {
	f, output := &dbFlags{}, ""
	cmd := &cobra.Command{
		Use:   "status",
		Short: "say what the database has",
		Args:  noArguments,
		RunE: f.connected(a, func(ctx context.Context, conn *pgx.Conn, _ *cobra.Command, _ []string) error {
			s, err := db.ReadStatus(ctx, conn)
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(a.out, s)
			}
			table := newTable(a.out)
			row(table, "server", "PostgreSQL "+s.Server)
			row(table, "schema", fmt.Sprintf("%d of %d", s.Schema, s.Known))
			if s.Schema > 0 {
				row(table, "hosts", fmt.Sprintf("%d, of which %d silent", s.Hosts, s.Silent))
				row(table, "generation", fmt.Sprint(s.Generation))
				row(table, "detections", "of "+s.FirstDay+" to "+s.LastDay)
				row(table, "dead letters", fmt.Sprint(s.DeadLetters))
				row(table, "size", fmt.Sprintf("%d MiB", s.Bytes>>20))
			}
			return table.Flush()
		}),
	}
	f.addTo(cmd)
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

func newDBCheck(a *app) *cobra.Command {
	f, output := &dbFlags{}, ""
	cmd := &cobra.Command{
		Use:   "check",
		Short: "say what is wrong with the database",
		Long: `Say what is wrong with the database: its schema's version, roles, grants beyond what hosts
need, partitions, clones, the clock. The exit code is 1 if there are errors; warnings alone
leave it at 0.`,
		Args: noArguments,
		RunE: f.connected(a, func(ctx context.Context, conn *pgx.Conn, _ *cobra.Command, _ []string) error {
			found, err := db.Check(ctx, conn)
			if err != nil {
				return err
			}
			if output == "json" {
				if err := writeJSON(a.out, append([]db.Finding{}, found...)); err != nil {
					return err
				}
			} else {
				writeFindings(a, found)
			}
			if slices.ContainsFunc(found, func(p db.Finding) bool { return p.Severity == "error" }) {
				return errReported
			}
			return nil
		}),
	}
	f.addTo(cmd)
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

func writeFindings(a *app, found []db.Finding) {
	for _, p := range found {
		hint := ""
		if p.Hint != "" {
			hint = " (" + p.Hint + ")"
		}
		fmt.Fprintf(a.out, "%s: %s\n", p.Severity, printable(p.What+hint, false))
	}
	if len(found) == 0 {
		fmt.Fprintln(a.out, "nothing is wrong")
	}
}
