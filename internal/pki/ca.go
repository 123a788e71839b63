// Package pki is the small certificate authority of a fleet: it certifies hosts to the database, and the database to
// hosts. Keys are ECDSA on P-256. It knows nothing of Postgres but that a certificate's common name is a role.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Files of an authority's directory.
const (
	CertFile = "ca.crt" // of the authority, for all who check
	keyFile  = "ca.key"
	CRLFile  = "ca.crl" // for ssl_crl_file
)

// Lifetimes. A host's certificate is renewed by enrolling it again; whoever loses one revokes it.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 397 * 24 * time.Hour
	crlLife  = 365 * 24 * time.Hour
	backdate = 5 * time.Minute // for hosts whose clocks are behind
)

// CA is a certificate authority that can sign.
type CA struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string // "" if it is in memory only
}

// New makes an authority in memory.
func New(name string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key for %s: %w", name, err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of %s: %w", name, err)
	}
	return &CA{Cert: cert, key: key}, nil
}

// Init makes an authority in a directory, which must not hold one yet.
func Init(dir, name string, now time.Time) (*CA, error) {
	ca, err := New(name, now)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	if err := WriteKey(filepath.Join(dir, keyFile), ca.key); err != nil {
		return nil, err
	}
	if err := WriteCert(filepath.Join(dir, CertFile), ca.Cert.Raw); err != nil {
		return nil, err
	}
	ca.dir = dir
	return ca, ca.writeCRL(nil, now)
}

// Load reads an authority from its directory.
func Load(dir string) (*CA, error) {
	key, err := ReadKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	cert, err := readPEM(filepath.Join(dir, CertFile), "CERTIFICATE", x509.ParseCertificate)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("reading the authority in %s: %s is not the key of %s", dir, keyFile, CertFile)
	}
	return &CA{Cert: cert, key: key, dir: dir}, nil
}

// Client makes a certificate with which a host logs in as a role.
func (ca *CA) Client(role string, public any, now time.Time) ([]byte, error) {
	return ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: role}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, public, now)
}

// Server makes a certificate for a database server of these names and addresses.
func (ca *CA) Server(hosts []string, public any, now time.Time) ([]byte, error) {
	if len(hosts) == 0 {
		return nil, errors.New("signing a server's certificate: no names given")
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: hosts[0]}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	return ca.sign(template, public, now)
}

// ClientFromRequest is Client for a certificate request in PEM. Of the request it takes only the key: the name is ours to give.
func (ca *CA) ClientFromRequest(role string, request []byte, now time.Time) ([]byte, error) {
	block, _ := pem.Decode(request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("reading a certificate request: it is not one in PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("checking that the request holds the sender's own key: %w", err)
	}
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("reading a certificate request: its key is not ECDSA on P-256")
	}
	return ca.Client(role, csr.PublicKey, now)
}

func (ca *CA) sign(template *x509.Certificate, public any, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber, template.KeyUsage = serial, x509.KeyUsageDigitalSignature
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.Add(leafLife)
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, public, ca.key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate for %s: %w", template.Subject.CommonName, err)
	}
	return der, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	return serial, nil
}
