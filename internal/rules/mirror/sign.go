package mirror

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// Publication is a manifest with its signature, as a publisher has made it.
type Publication struct {
	ID        string // SHA-256 of the manifest, in hexadecimal
	KeyID     string // "" if it is not signed
	Manifest  []byte
	Signature []byte // Ed25519; nil if it is not signed
}

// Errors of signatures.
var (
	ErrUnsigned  = errors.New("it is not signed, and rules that are not signed are not to be taken")
	ErrKey       = errors.New("it is signed with a key that is not among those that are trusted")
	ErrSignature = errors.New("its signature is wrong")
)

// KeyID names a key: half of its SHA-256, in hexadecimal.
func KeyID(key ed25519.PublicKey) string { return SumOf(key)[:32] }

// Sign makes a publication of a manifest. A nil key makes one that is not signed.
func Sign(manifest []byte, key ed25519.PrivateKey) Publication {
	p := Publication{ID: SumOf(manifest), Manifest: manifest}
	if key != nil {
		p.KeyID, p.Signature = KeyID(key.Public().(ed25519.PublicKey)), ed25519.Sign(key, manifest)
	}
	return p
}

// verify reports why a publication is not to be believed.
func (c *Config) verify(p Publication) error {
	if p.ID != SumOf(p.Manifest) {
		return fmt.Errorf("checking a publication of rules: its manifest is not the one of id %.64q", p.ID)
	}
	if err := c.trusts(p); err != nil {
		return fmt.Errorf("checking publication %s of rules: %w", p.ID, err)
	}
	return nil
}

func (c *Config) trusts(p Publication) error {
	for _, key := range c.Keys {
		if p.KeyID == KeyID(key) {
			if !ed25519.Verify(key, p.Manifest, p.Signature) {
				return ErrSignature
			}
			return nil
		}
	}
	switch {
	case c.Unsigned: // there is nothing by which to tell
		return nil
	case len(p.Signature) == 0:
		return ErrUnsigned
	}
	return fmt.Errorf("%w (key %.64q)", ErrKey, p.KeyID)
}

// ReadKeys reads public keys, of which each file can hold several: PEM, PKIX.
func ReadKeys(paths ...string) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading a key of rules: %w", err)
		}
		before := len(keys)
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "PUBLIC KEY" {
				return nil, fmt.Errorf("reading the keys in %s: it holds a %s, want a PUBLIC KEY", path, block.Type)
			}
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("reading the keys in %s: %w", path, err)
			}
			public, ok := key.(ed25519.PublicKey)
			if !ok {
				return nil, fmt.Errorf("reading the keys in %s: it holds a key that is not of Ed25519", path)
			}
			keys = append(keys, public)
		}
		if len(keys) == before {
			return nil, fmt.Errorf("reading the keys in %s: it holds no public key in PEM", path)
		}
	}
	return keys, nil
}
