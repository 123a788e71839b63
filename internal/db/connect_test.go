package db_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bittern/internal/db"
	"bittern/internal/pki"
)

func TestConnectionsMustBeSafe(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	t.Setenv("HOME", t.TempDir())
	for dsn, ok := range map[string]bool{
		"postgres://u@/d?host=/run/postgresql":                              true,
		"host=/run/postgresql user=u":                                       true,
		"postgres://u@127.0.0.1/d":                                          true,
		"postgres://u@[::1]/d?sslmode=disable":                              true,
		"postgres://u@localhost/d":                                          true,
		"postgres://u@db.example/d?sslmode=verify-full":                     true,
		"host=db.example user=u sslmode=verify-full":                        true,
		"postgres://u@db.example/d":                                         false,
		"postgres://u@db.example/d?sslmode=disable":                         false,
		"postgres://u@db.example/d?sslmode=prefer":                          false,
		"postgres://u@db.example/d?sslmode=require":                         false,
		"postgres://u@db.example/d?sslmode=verify-ca":                       false,
		"postgres://u@10.0.0.1/d?sslmode=require":                           false,
		"postgres://u@127.0.0.1,db.example/d":                               false,
		"postgres://u@a.example,b.example/d?sslmode=verify-full":            true,
		"postgres://u@/d?host=/run/postgresql,db.example&sslmode=verify-ca": false,
	} {
		_, err := db.Parse(dsn)
		if ok && err != nil || !ok && !errors.Is(err, db.ErrUnverified) {
			t.Errorf("%s: got %v", dsn, err)
		}
	}
}

func TestOpenKeysAreRefused(t *testing.T) {
	key := filepath.Join(t.TempDir(), "k")
	if err := os.WriteFile(key, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	for _, dsn := range []string{"postgres://u@localhost/d?sslkey=" + key, "host=localhost sslkey=" + key, "host=localhost sslkey = '" + key + "'"} {
		if _, err := db.Parse(dsn); !errors.Is(err, pki.ErrOpenKey) {
			t.Errorf("%s: got %v", dsn, err)
		}
	}
	t.Setenv("PGSSLKEY", key)
	if _, err := db.Parse("host=localhost"); !errors.Is(err, pki.ErrOpenKey) {
		t.Errorf("got %v", err)
	}
}

func TestErrorsHoldNoPassword(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:geheim@localhost:99999/d", "postgres://u:geheim@localhost:1/d", "postgres://u:geheim@h/d?sslmode=nonsense",
		"host=localhost password=geheim port=x", "host=/nowhere password='geheim' user=u", "postgres://u:geheim@h/%zz",
	} {
		_, err := db.Connect(t.Context(), dsn)
		if err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("got %v", err)
		}
	}
}
