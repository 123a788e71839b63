package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bittern/internal/pki"
)

func TestAuthority(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "ca"), time.Now()
	if _, err := pki.Init(dir, "test", now); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Init(dir, "test", now); err == nil {
		t.Error("an authority was replaced")
	}
	ca, err := pki.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	// The request asks for another name: it gets the one that we give.
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "postgres"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := ca.ClientFromRequest("h_1", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(signed)
	if err != nil {
		t.Fatal(err)
	}
	if cert.Subject.CommonName != "h_1" || cert.IsCA {
		t.Errorf("got %s, authority: %v", cert.Subject, cert.IsCA)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("a host can pass for the server")
	}
	for range 2 {
		if err := ca.Revoke(cert.SerialNumber, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := ca.Revoke(big.NewInt(5), now); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, pki.CRLFile))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil || len(list.RevokedCertificateEntries) != 2 || list.CheckSignatureFrom(ca.Cert) != nil {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	ca, err := pki.New("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, other)
	if err != nil {
		t.Fatal(err)
	}
	broken := append([]byte(nil), der...)
	broken[len(broken)-1] ^= 1
	for _, request := range [][]byte{nil, []byte("x"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: broken}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})} {
		if _, err := ca.ClientFromRequest("h_1", request, time.Now()); err == nil {
			t.Errorf("signed: %q", request)
		}
	}
}

func TestOpenKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Init(dir, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Load(dir); !errors.Is(err, pki.ErrOpenKey) {
		t.Errorf("got %v", err)
	}
}
