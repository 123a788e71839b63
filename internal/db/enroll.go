package db

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// TokenLasts is how long an enrolment token can be used.
const TokenLasts = 24 * time.Hour

const tokenBytes = 32

// ErrToken is that a token is unknown, used, expired, or of a host that was revoked. Which one is not told.
var ErrToken = errors.New("this token is not good, or not good any more")

// Enrolment is a host that was made.
type Enrolment struct {
	HostID    int64     `json:"host_id"`
	UUID      string    `json:"host_uuid"`
	Role      string    `json:"role"`
	Token     string    `json:"token,omitempty"` // with which a certificate may be asked for, once; the database has its hash only
	ExpiresAt time.Time `json:"token_expires_at"`
}

// Enroll makes a host and its role.
func Enroll(ctx context.Context, conn *pgx.Conn, name string, labels map[string]string) (e Enrolment, err error) {
	secret := make([]byte, tokenBytes)
	if _, err := rand.Read(secret); err != nil {
		return e, fmt.Errorf("making a token: %w", err)
	}
	if labels == nil {
		labels = map[string]string{}
	}
	hash := sha256.Sum256(secret)
	err = conn.QueryRow(ctx, "SELECT host_id, host_uuid::text, db_role::text, token_expires_at FROM fleet.enroll_host_v1($1, $2, $3, $4)",
		name, labels, hash[:], TokenLasts).Scan(&e.HostID, &e.UUID, &e.Role, &e.ExpiresAt)
	if err != nil {
		return Enrolment{}, fmt.Errorf("enrolling host %s: %w", name, err)
	}
	e.Token = base64.RawURLEncoding.EncodeToString(secret)
	return e, nil
}

// Redeem uses up a token, and returns the role that it is for.
func Redeem(ctx context.Context, conn *pgx.Conn, token string) (role string, err error) {
	secret, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(secret) != tokenBytes {
		return "", fmt.Errorf("redeeming a token: %w", ErrToken)
	}
	hash := sha256.Sum256(secret)
	err = conn.QueryRow(ctx, "SELECT db_role::text FROM fleet.redeem_token_v1($1)", hash[:]).Scan(&role)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrToken
	}
	if err != nil {
		return "", fmt.Errorf("redeeming a token: %w", err)
	}
	return role, nil
}

// NoteCertificate keeps the serial number of a certificate, so that Revoke can say which ones are no longer good.
func NoteCertificate(ctx context.Context, conn *pgx.Conn, role, serial string, notAfter time.Time) error {
	if _, err := conn.Exec(ctx, "SELECT fleet.note_certificate_v1($1, $2, $3)", role, serial, notAfter); err != nil {
		return fmt.Errorf("noting the certificate of %s: %w", role, err)
	}
	return nil
}

// Revoked is a host that was locked out.
type Revoked struct {
	UUID    string   `json:"host_uuid"`
	Role    string   `json:"role"`
	Serials []string `json:"serials"` // of its certificates, decimal
	Ended   int      `json:"connections_ended"`
}

// RoleOf returns the role of a host that is not revoked: by its uuid, role or name.
func RoleOf(ctx context.Context, conn *pgx.Conn, host string) (role string, err error) {
	const sql = "SELECT db_role::text FROM fleet.hosts WHERE revoked_at IS NULL AND $1 IN (host_uuid::text, db_role::text, name)"
	rows, err := conn.Query(ctx, sql, host)
	if err != nil {
		return "", fmt.Errorf("looking for host %s: %w", host, err)
	}
	role, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", fmt.Errorf("there is no host %s, or it was revoked", host)
	case errors.Is(err, pgx.ErrTooManyRows):
		return "", fmt.Errorf("there are several hosts called %s: name it by its uuid or its role", host)
	case err != nil:
		return "", fmt.Errorf("looking for host %s: %w", host, err)
	}
	return role, nil
}

// Revoke locks a host out: by its uuid, role or name. When it returns, the host can't log in, and has no connections.
func Revoke(ctx context.Context, conn *pgx.Conn, host string) (r Revoked, err error) {
	err = conn.QueryRow(ctx, "SELECT host_uuid::text, db_role::text, serials FROM fleet.revoke_host_v1($1)", host).Scan(&r.UUID, &r.Role, &r.Serials)
	if err != nil {
		return Revoked{}, fmt.Errorf("revoking host %s: %w", host, err)
	}
	// It may have connected anew until that was committed.
	if err := conn.QueryRow(ctx, "SELECT fleet.end_host_v1($1)", r.Role).Scan(&r.Ended); err != nil {
		return r, fmt.Errorf("ending the connections of host %s: %w", host, err)
	}
	return r, nil
}
