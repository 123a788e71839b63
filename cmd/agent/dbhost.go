package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"bittern/internal/db"
	"bittern/internal/pki"
)

func newDBEnroll(a *app) *cobra.Command {
	f, output := &dbFlags{}, ""
	var labels map[string]string
	var authority, out string
	cmd := &cobra.Command{
		Use:   "enroll HOST",
		Short: "make a host, with a role of its own",
		Long: `Make a host of that name in the database, with a role of its own.

With --ca and --out its key and certificate are made here, for you to carry to the host:
HOST.key and HOST.crt in a directory. Without, a token is printed, good once and for a day:
whoever has it may have the certificate request of a key made on the host signed, see
"bittern db sign".`,
		Example: `  bittern db enroll web-1 --label env=prod
  bittern db enroll web-1 --ca ca --out bundle`,
		Args: exactlyOne("a host"),
		RunE: f.connected(a, func(ctx context.Context, conn *pgx.Conn, cmd *cobra.Command, args []string) error {
			if (authority == "") != (out == "") {
				return usagef(cmd, "--ca and --out go together")
			}
			if out != "" && strings.ContainsAny(args[0], "/\x00") {
				return usagef(cmd, "host %q can't be the name of a file", args[0])
			}
			var ca *pki.CA
			if authority != "" {
				var err error
				if ca, err = pki.Load(authority); err != nil { // before the host is made
					return err
				}
			}
			e, err := db.Enroll(ctx, conn, args[0], labels)
			if err != nil {
				return err
			}
			if ca != nil {
				if err := bundle(ctx, conn, ca, e, filepath.Join(out, args[0])); err != nil {
					return err
				}
			}
			if output == "json" {
				return writeJSON(a.out, e)
			}
			table := newTable(a.out)
			row(table, "host", args[0])
			row(table, "uuid", e.UUID)
			row(table, "role", e.Role)
			if ca != nil {
				row(table, "certificate", filepath.Join(out, args[0])+".crt")
				row(table, "key", filepath.Join(out, args[0])+".key")
			} else {
				row(table, "token", e.Token)
				row(table, "good until", when(e.ExpiresAt))
			}
			return table.Flush()
		}),
	}
	f.addTo(cmd)
	cmd.Flags().StringToStringVar(&labels, "label", nil, "`KEY=VALUE` that says something of the host")
	addAuthority(cmd, &authority)
	cmd.Flags().StringVar(&out, "out", "", "`directory` for the host's key and certificate")
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

func addAuthority(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "ca", "", "`directory` of the certificate authority, see bittern db ca")
	_ = cmd.MarkFlagDirname("ca")
}

// bundle makes a host's key and certificate. The token is used up by it.
func bundle(ctx context.Context, conn *pgx.Conn, ca *pki.CA, e db.Enrolment, path string) error {
	if _, err := db.Redeem(ctx, conn, e.Token); err != nil {
		return err
	}
	return certify(ctx, conn, ca, e.Role, path)
}

// certify makes a key and a certificate for a role.
func certify(ctx context.Context, conn *pgx.Conn, ca *pki.CA, role, path string) error {
	key, err := pki.NewKey()
	if err != nil {
		return err
	}
	der, err := ca.Client(role, key.Public(), time.Now())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("making a directory for the key: %w", err)
	}
	// First of all: it fails if there is such a file.
	if err := pki.WriteKey(path+".key", key); err != nil {
		return err
	}
	if err := note(ctx, conn, role, der); err != nil {
		return errors.Join(err, os.Remove(path+".key"))
	}
	return pki.WriteCert(path+".crt", der)
}

func note(ctx context.Context, conn *pgx.Conn, role string, der []byte) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("reading the certificate of %s: %w", role, err)
	}
	return db.NoteCertificate(ctx, conn, role, cert.SerialNumber.String(), cert.NotAfter)
}

func newDBRenew(a *app) *cobra.Command {
	f := &dbFlags{}
	var authority, out string
	cmd := &cobra.Command{
		Use:   "renew HOST",
		Short: "make another certificate for a host",
		Long: `Make another key and certificate for the role of a host: by its name, uuid or role. The one before
stays good until it expires. Where the agent's connection string says that they are, they
are read at its next connection: it needs no restart.`,
		Example: `  bittern db renew web-1 --ca ca --out bundle`,
		Args:    exactlyOne("a host"),
		RunE: f.connected(a, func(ctx context.Context, conn *pgx.Conn, cmd *cobra.Command, args []string) error {
			if authority == "" || out == "" {
				return usagef(cmd, "--ca and --out are needed")
			}
			if strings.ContainsAny(args[0], "/\x00") {
				return usagef(cmd, "host %q can't be the name of a file", args[0])
			}
			ca, err := pki.Load(authority)
			if err != nil {
				return err
			}
			role, err := db.RoleOf(ctx, conn, args[0])
			if err != nil {
				return err
			}
			path := filepath.Join(out, args[0])
			if err := certify(ctx, conn, ca, role, path); err != nil {
				return err
			}
			table := newTable(a.out)
			row(table, "role", role)
			row(table, "certificate", path+".crt")
			row(table, "key", path+".key")
			return table.Flush()
		}),
	}
	f.addTo(cmd)
	addAuthority(cmd, &authority)
	cmd.Flags().StringVar(&out, "out", "", "`directory` for the host's key and certificate")
	return cmd
}

func newDBSign(a *app) *cobra.Command {
	f := &dbFlags{}
	var authority, tokenFile string
	cmd := &cobra.Command{
		Use:   "sign REQUEST",
		Short: "sign a host's certificate request, for a token",
		Long: `Sign the certificate request in a file (PEM, ECDSA on P-256), and print the certificate. Whose it is
is said by the token, and not by the request. The token is used up.`,
		Example: `  bittern db sign web-1.csr --token-file token --ca ca >web-1.crt`,
		Args:    exactlyOne("a file with a certificate request"),
		RunE: f.connected(a, func(ctx context.Context, conn *pgx.Conn, cmd *cobra.Command, args []string) error {
			if authority == "" || tokenFile == "" {
				return usagef(cmd, "--ca and --token-file are needed")
			}
			ca, err := pki.Load(authority)
			if err != nil {
				return err
			}
			request, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("reading a certificate request: %w", err)
			}
			// Before the token is used up.
			if _, err := ca.ClientFromRequest("test", request, time.Now()); err != nil {
				return err
			}
			token, err := os.ReadFile(tokenFile)
			if err != nil {
				return fmt.Errorf("reading a token: %w", err)
			}
			role, err := db.Redeem(ctx, conn, strings.TrimSpace(string(token)))
			if err != nil {
				return err
			}
			der, err := ca.ClientFromRequest(role, request, time.Now())
			if err != nil {
				return err
			}
			if err := note(ctx, conn, role, der); err != nil {
				return err
			}
			_, err = a.out.Write(pki.EncodeCert(der))
			return err
		}),
	}
	f.addTo(cmd)
	addAuthority(cmd, &authority)
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "`file` that holds the token")
	return cmd
}

func newDBRevoke(a *app) *cobra.Command {
	f, output := &dbFlags{}, ""
	var authority string
	cmd := &cobra.Command{
		Use:   "revoke HOST",
		Short: "lock a host out",
		Long: `Lock a host out: by its name, uuid or role. Its role can't log in any more, and its connections
are ended. With --ca its certificates are put on the authority's list of those that are no
longer good; that list is for the server's ssl_crl_file.`,
		Args: exactlyOne("a host"),
		RunE: f.connected(a, func(ctx context.Context, conn *pgx.Conn, _ *cobra.Command, args []string) error {
			r, err := db.Revoke(ctx, conn, args[0])
			if err != nil {
				return err
			}
			if authority != "" {
				ca, err := pki.Load(authority)
				if err != nil {
					return err
				}
				for _, text := range r.Serials {
					serial, ok := new(big.Int).SetString(text, 10)
					if !ok {
						return fmt.Errorf("reading serial number %q of host %s: it is no number", text, args[0])
					}
					if err := ca.Revoke(serial, time.Now()); err != nil {
						return err
					}
				}
			}
			if output == "json" {
				return writeJSON(a.out, r)
			}
			fmt.Fprintf(a.out, "%s is locked out: role %s, %s\n", printable(args[0], false), r.Role, plural(len(r.Serials), "certificate"))
			return nil
		}),
	}
	f.addTo(cmd)
	addAuthority(cmd, &authority)
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

func newDBAuthority(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "make the fleet's certificate authority",
		Args:  group,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDBAuthorityInit(a), newDBAuthorityServer(a))
	return cmd
}

func newDBAuthorityServer(a *app) *cobra.Command {
	var authority, out string
	cmd := &cobra.Command{
		Use:   "server NAME...",
		Short: "make a certificate for the database's server",
		Long: `Make a key and a certificate for the database's server, by the names and addresses at which hosts
connect to it: server.key and server.crt in a directory, for its ssl_key_file and ssl_cert_file.
A server that has a certificate already needs none of this.`,
		Example: `  bittern db ca server db.example 192.0.2.7 --ca ca --out server`,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd, "name the server")
			}
			if authority == "" || out == "" {
				return usagef(cmd, "--ca and --out are needed")
			}
			ca, err := pki.Load(authority)
			if err != nil {
				return err
			}
			key, err := pki.NewKey()
			if err != nil {
				return err
			}
			der, err := ca.Server(args, key.Public(), time.Now())
			if err != nil {
				return err
			}
			if err := os.MkdirAll(out, 0o700); err != nil {
				return fmt.Errorf("making a directory for the key: %w", err)
			}
			path := filepath.Join(out, "server")
			if err := errors.Join(pki.WriteKey(path+".key", key), pki.WriteCert(path+".crt", der)); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s, for %s\n", path+".crt", strings.Join(args, ", "))
			return nil
		},
	}
	addAuthority(cmd, &authority)
	cmd.Flags().StringVar(&out, "out", "", "`directory` for the server's key and certificate")
	return cmd
}

func newDBAuthorityInit(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "make a certificate authority for the fleet",
		Long: `Make a certificate authority in a directory: ca.key, which only you can read and which belongs on no
server; ca.crt, for the server's ssl_ca_file and for hosts; and ca.crl for ssl_crl_file.`,
		Args: exactlyOne("a directory"),
		RunE: func(_ *cobra.Command, args []string) error {
			ca, err := pki.Init(args[0], name, time.Now())
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s, good until %s\n", filepath.Join(args[0], pki.CertFile), when(ca.Cert.NotAfter))
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "Bittern fleet", "`name` of the authority")
	return cmd
}
