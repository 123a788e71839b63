package pki_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bittern/internal/pki"
)

func TestSigningKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.key")
	public, err := pki.NewSigningKey(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.ReadSigningKey(path)
	if err != nil || !key.Public().(ed25519.PublicKey).Equal(public) {
		t.Errorf("got another key, %v", err)
	}
	data, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if read, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil || !public.Equal(read) {
		t.Errorf("the public half is another one: %v", err)
	}
	if _, err := pki.NewSigningKey(path); err == nil {
		t.Error("a key was replaced")
	}
	if err := os.Remove(path + ".pub"); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.NewSigningKey(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("a key was replaced: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.ReadSigningKey(path); !errors.Is(err, pki.ErrOpenKey) {
		t.Errorf("got %v", err)
	}
	dir := t.TempDir()
	if _, err := pki.Init(dir, "x", time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.ReadSigningKey(filepath.Join(dir, "ca.key")); err == nil || !strings.Contains(err.Error(), "is not an Ed25519 key") {
		t.Errorf("got %v", err)
	}
}
