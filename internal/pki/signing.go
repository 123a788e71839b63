package pki

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// NewSigningKey makes a key to sign with, in a new file that nobody else can read, and its public half in another one, with .pub at the
// end of its name. It returns that half.
func NewSigningKey(path string) (ed25519.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	if _, err := os.Lstat(path + ".pub"); err == nil {
		return nil, fmt.Errorf("making a key: %s.pub is there already", path)
	}
	if err := create(path, 0o600, &pem.Block{Type: "PRIVATE KEY", Bytes: secret}); err != nil {
		return nil, err
	}
	return public, create(path+".pub", 0o644, &pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// ReadSigningKey reads a key that nobody else can read.
func ReadSigningKey(path string) (ed25519.PrivateKey, error) {
	if err := CheckKeyFile(path); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("reading key %s: it does not hold a PRIVATE KEY in PEM (make one with bittern db key)", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("reading key %s: it is not an Ed25519 key (make one with bittern db key)", path)
	}
	return private, nil
}

// create writes a new file.
func create(path string, mode os.FileMode, block *pem.Block) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	return errors.Join(pem.Encode(f, block), f.Sync(), f.Close())
}
