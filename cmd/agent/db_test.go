package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"bittern/internal/db/pgtest"
	"bittern/internal/require"
)

// TestScriptsDB runs those that work with a database, which is empty at first.
func TestScriptsDB(t *testing.T) {
	cluster, err := pgtest.Start(pgtest.Config{Programs: require.DB(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := cluster.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	dsn := (&pgtest.Database{Cluster: cluster, Name: "fleet"}).DSN("postgres")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/db",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(variable("dsn"), dsn)
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return cluster.Create(t.Context(), "fleet")
		},
	})
}
