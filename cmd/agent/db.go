package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"bittern/internal/db"
	"bittern/internal/pki"
)

const dbLong = `Work with the fleet's database, as an operator of it. Agents need none of this.

The database is named by --dsn, by BITTERN_DSN, or by a file that --dsn-file names: a URL, or
keys and values as of libpq. Over a network it must say sslmode=verify-full. No message
and no log holds its password.`

// dbFlags name a database.
type dbFlags struct{ dsn, file string }

func newDB(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "db",
		Short: "set up and look after the fleet's database",
		Long:  dbLong,
		Args:  group,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDBMigrate(a), newDBStatus(a), newDBCheck(a), newDBMaintain(a), newDBEnroll(a), newDBSign(a), newDBRenew(a), newDBRevoke(a), newDBAuthority(a),
		newDBKey(a), newDBPublish(a))
	return cmd
}

func (f *dbFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dsn, "dsn", "", "`connection string` of the database (default BITTERN_DSN)")
	cmd.Flags().StringVar(&f.file, "dsn-file", "", "`file` that holds it, which nobody else may read")
	_ = cmd.MarkFlagFilename("dsn-file")
}

// read returns the connection string: of the flag, of the file, or of the environment.
func (f *dbFlags) read(a *app) (string, error) {
	switch {
	case f.dsn != "" && f.file != "":
		return "", errors.New("name the database by --dsn or by --dsn-file, not by both")
	case f.dsn != "":
		return f.dsn, nil
	case f.file != "":
		if err := pki.CheckKeyFile(f.file); err != nil {
			return "", err
		}
		data, err := os.ReadFile(f.file)
		if err != nil {
			return "", fmt.Errorf("reading the connection string: %w", err)
		}
		return strings.TrimSpace(string(data)), nil
	}
	if dsn, ok := a.env(variable("dsn")); ok && dsn != "" {
		return dsn, nil
	}
	return "", fmt.Errorf("name the database by --dsn, --dsn-file or %s", variable("dsn"))
}

// connected makes a command that works with the database. A signal interrupts it.
func (f *dbFlags) connected(a *app, do func(ctx context.Context, conn *pgx.Conn, cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		dsn, err := f.read(a)
		if err != nil {
			return usagef(cmd, "%w", err)
		}
		ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer cancel()
		conn, err := db.ConnectOperator(ctx, dsn)
		if err == nil {
			err = errors.Join(do(ctx, conn, cmd, args), conn.Close(context.WithoutCancel(ctx)))
		}
		var usage *usageError
		if err != nil && !errors.Is(err, errReported) && !errors.As(err, &usage) {
			return errors.New(redact(err.Error())) // whatever a server or a library says
		}
		return err
	}
}

func newDBMigrate(a *app) *cobra.Command {
	f, output := &dbFlags{}, ""
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "bring the database's schema up to date",
		Long: `Bring the database's schema up to date: all of it, or nothing. Several may run at once.

The first time it makes the roles, and takes from everybody what hosts must not have. That
needs a superuser, and so does an update of those; for the schema by itself the role
fleet_migrator will do. A schema that is newer than this program is left alone.`,
		Args: noArguments,
		RunE: f.connected(a, func(ctx context.Context, conn *pgx.Conn, _ *cobra.Command, _ []string) error {
			done, err := db.Migrate(ctx, conn)
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(a.out, append([]db.Migration{}, done...))
			}
			for _, m := range done {
				fmt.Fprintf(a.out, "%03d_%s\n", m.Version, m.Name)
			}
			if len(done) == 0 {
				fmt.Fprintln(a.out, "the schema is up to date")
			}
			return nil
		}),
	}
	f.addTo(cmd)
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

func newDBMaintain(a *app) *cobra.Command {
	f, output := &dbFlags{}, ""
	cmd := &cobra.Command{
		Use:   "maintain",
		Short: "make partitions ahead, and remove what is old; to be run each hour",
		Long: `Make the partitions of the days to come, remove detections, late detections and dead letters
that are older than fleet.settings says, and publications of rules that nobody is to run, but
the newest 20 and those of the last day; and end transactions that hosts have left open. It is
to be run each hour, as role fleet_maint, over a direct connection: through PgBouncer it is refused.`,
		Args: noArguments,
		RunE: f.connected(a, func(ctx context.Context, conn *pgx.Conn, _ *cobra.Command, _ []string) error {
			done, err := db.Maintain(ctx, conn)
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(a.out, done)
			}
			fmt.Fprintf(a.out, "partitions: %d made, %d dropped\nremoved: %d late detections, %d dead letters, %d publications with %d files, %d rulesets\ntransactions of hosts ended: %d\n",
				len(done.Made), len(done.Dropped), done.Late, done.DeadLetters,
				done.Publications, done.Blobs, done.Rulesets, done.Transactions)
			return nil
		}),
	}
	f.addTo(cmd)
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}
