package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"bittern/internal/agent"
	"bittern/internal/attack"
	"bittern/internal/db"
	"bittern/internal/pki"
	"bittern/internal/rules/mirror"
)

// publishFlags say what is to be published, and for whom.
type publishFlags struct {
	db                     dbFlags
	to, key, output        string
	unsigned, watch, force bool
}

func newDBPublish(a *app) *cobra.Command {
	f := &publishFlags{}
	cmd := &cobra.Command{
		Use:   "publish DIR",
		Short: "publish the rules of a directory, for hosts to run",
		Long: `Publish the rule files and lists of a directory, signed with a key of "bittern db key". Hosts whose
rules come from the database take them in as one set: all of it, or nothing. What hosts have
already is not sent again, and to publish the same files again makes no new publication.

A directory in which a file has errors is refused, with all that is wrong. With --force it is
published all the same: hosts keep the last good version of each rule. While there is a file
.hold in the directory nothing is published.

With --watch each edit is published as it happens, until a signal comes. While the
database is away it is tried again and again.`,
		Example: `  bittern db publish /etc/bittern/rules --key rules.key
  bittern db publish rules --to group:canary --key rules.key --watch`,
		Args: exactlyOne("a directory of rule files"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(a, cmd, args[0]) },
	}
	f.db.addTo(cmd)
	cmd.Flags().StringVar(&f.to, "to", "fleet", "`hosts` that are to run them: fleet, group:NAME or host:NAME")
	cmd.Flags().StringVar(&f.key, "key", "", "`file` with the key that signs, which nobody else may read")
	cmd.Flags().BoolVar(&f.unsigned, "unsigned", false, "do not sign; only hosts that are set to take that will")
	cmd.Flags().BoolVar(&f.watch, "watch", false, "publish each edit as it happens")
	cmd.Flags().BoolVar(&f.force, "force", false, "publish files that have errors too, and a directory without any")
	_ = cmd.MarkFlagFilename("key")
	addOutput(cmd, &f.output, "`form`: text or json")
	return cmd
}

// config is what the flags say.
func (f *publishFlags) config(a *app, cmd *cobra.Command, dir string) (cfg db.PublishConfig, err error) {
	if (f.key == "") != f.unsigned {
		return cfg, usagef(cmd, "either --key or --unsigned is needed")
	}
	scope, target, _ := strings.Cut(f.to, ":")
	if scope != "fleet" && scope != "group" && scope != "host" || (scope == "fleet") != (target == "") {
		return cfg, usagef(cmd, "--to %q is not fleet, group:NAME or host:NAME", f.to)
	}
	var key ed25519.PrivateKey
	if f.key != "" {
		if key, err = pki.ReadSigningKey(f.key); err != nil {
			return cfg, err
		}
	}
	catalogue, err := attack.Load()
	if err != nil {
		return cfg, err
	}
	return db.PublishConfig{
		Dir: dir, Parse: agent.Parser(catalogue), Key: key, Unsigned: f.unsigned, Scope: scope, Target: target, AllowBad: f.force,
		Waiting: func(by string) {
			if by != "" {
				by = " (" + printable(by, false) + ")"
			}
			fmt.Fprintf(a.err, "%s is held%s: waiting\n", dir, by)
		},
		Log: slog.New(slog.DiscardHandler),
	}, nil
}

func (f *publishFlags) run(a *app, cmd *cobra.Command, dir string) error {
	cfg, err := f.config(a, cmd, dir)
	if err != nil {
		return err
	}
	if !f.watch {
		return f.db.connected(a, func(ctx context.Context, conn *pgx.Conn, _ *cobra.Command, _ []string) error {
			done, err := db.Publish(ctx, conn, cfg)
			return f.tell(a, done, err)
		})(cmd, nil)
	}
	dsn, err := f.db.read(a)
	if err != nil {
		return usagef(cmd, "%w", err)
	}
	ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	publisher, err := db.NewPublisher(ctx, cfg)
	if err != nil {
		return f.ended(ctx, err)
	}
	defer publisher.Close()
	w := &db.Watcher{
		Publisher: publisher,
		Connect:   func(ctx context.Context) (*pgx.Conn, error) { return db.Connect(ctx, dsn) },
		Done: func(done db.Published, err error) {
			if err := f.tell(a, done, err); err != nil && !errors.Is(err, errReported) {
				fmt.Fprintf(a.err, "bittern: %s\n", redact(err.Error()))
			}
		},
	}
	return f.ended(ctx, w.Run(ctx))
}

// ended is no error if it was meant.
func (f *publishFlags) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return errors.New(redact(err.Error()))
}

// tell says what was published, or what is wrong with the files.
func (f *publishFlags) tell(a *app, done db.Published, err error) error {
	var bad *db.BadRulesError
	switch {
	case errors.As(err, &bad):
		if err := writeProblems(a.err, "text", bad.Problems); err != nil {
			return err
		}
		fmt.Fprintf(a.err, "%s was not published; its files have errors\n", printable(bad.Dir, false))
		return errReported
	case err != nil:
		return err
	}
	if err := writeProblems(a.err, "text", done.Problems); err != nil {
		return err
	}
	if f.output == "json" {
		return writeJSON(a.out, done)
	}
	what := "published"
	if !done.New {
		what = "published before"
	}
	if done.Generation == 0 {
		what += ", and to be run already"
	}
	fmt.Fprintf(a.out, "%s: %s, %s in %s\n", done.Publication[:16], what, plural(done.Rules, "rule"), plural(done.Files, "file"))
	return nil
}

func newDBKey(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "key FILE",
		Short: "make a key to sign rules with",
		Long: `Make a key to sign rules with (Ed25519): FILE, which only you can read and which belongs on no
host; and FILE.pub, which every host is given. Neither replaces a file that is there.`,
		Example: `  bittern db key rules.key`,
		Args:    exactlyOne("a file"),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := pki.NewSigningKey(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s.pub: key %s\n", args[0], mirror.KeyID(key))
			return nil
		},
	}
}
