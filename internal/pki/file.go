package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// ErrOpenKey is that others may read a key.
var ErrOpenKey = errors.New("others can read this key; chmod 600 it")

// NewKey makes a key.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return key, nil
}

// CheckKeyFile fails if anybody but the owner can read a key.
func CheckKeyFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("looking at a key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("looking at key %s, whose mode is %04o: %w", path, info.Mode().Perm(), ErrOpenKey)
	}
	return nil
}

// ReadKey reads a key that nobody else can read.
func ReadKey(path string) (*ecdsa.PrivateKey, error) {
	if err := CheckKeyFile(path); err != nil {
		return nil, err
	}
	return readPEM(path, "PRIVATE KEY", func(der []byte) (*ecdsa.PrivateKey, error) {
		key, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			return nil, err
		}
		ec, ok := key.(*ecdsa.PrivateKey)
		if !ok {
			return nil, errors.New("it is not an ECDSA key")
		}
		return ec, nil
	})
}

// WriteKey writes a key to a new file that nobody else can read. It never replaces one.
func WriteKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("writing key %s: %w", path, err)
	}
	return create(path, 0o600, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// WriteCert writes a certificate.
func WriteCert(path string, der []byte) error {
	return replace(path, EncodeCert(der))
}

// EncodeCert returns a certificate in PEM.
func EncodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Revoke adds a certificate, of which only its serial number counts, to the list of those that are no longer good.
func (ca *CA) Revoke(serial *big.Int, now time.Time) error {
	path := filepath.Join(ca.dir, CRLFile)
	old, err := readPEM(path, "X509 CRL", x509.ParseRevocationList)
	if err != nil {
		return err
	}
	entries := old.RevokedCertificateEntries
	for _, e := range entries {
		if e.SerialNumber.Cmp(serial) == 0 {
			return nil
		}
	}
	return ca.writeCRL(append(entries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: now}), now)
}

func (ca *CA) writeCRL(entries []x509.RevocationListEntry, now time.Time) error {
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(now.UnixNano()), ThisUpdate: now.Add(-backdate), NextUpdate: now.Add(crlLife), RevokedCertificateEntries: entries,
	}, ca.Cert, ca.key)
	if err != nil {
		return fmt.Errorf("signing the list of revoked certificates: %w", err)
	}
	return replace(filepath.Join(ca.dir, CRLFile), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// replace writes a file as a whole: who reads it sees the old one or the new one.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("writing %s: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func readPEM[T any](path, kind string, parse func([]byte) (T, error)) (T, error) {
	var none T
	data, err := os.ReadFile(path)
	if err != nil {
		return none, fmt.Errorf("reading a file of an authority: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return none, fmt.Errorf("reading %s: it does not hold a %s in PEM", path, kind)
	}
	value, err := parse(block.Bytes)
	if err != nil {
		return none, fmt.Errorf("reading %s: %w", path, err)
	}
	return value, nil
}
