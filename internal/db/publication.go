package db

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"bittern/internal/rules/mirror"
)

// ReadPublication returns the publication that this host is to take its rules from; nil if that is the known one, or if there is none.
func ReadPublication(ctx context.Context, conn *pgx.Conn, known string) (*mirror.Publication, error) {
	var p mirror.Publication
	var manifest string
	err := conn.QueryRow(ctx, "SELECT publication, manifest, signature, key_id FROM fleet.agent_manifest_v1($1)", known).Scan(&p.ID, &manifest, &p.Signature, &p.KeyID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading which rules are to run: %w", err)
	}
	p.Manifest = []byte(manifest)
	return &p, nil
}

// ReadBlobs returns pages and files of that publication by their SHA-256, at most 500, and of those as many as the server sends at once:
// at least one of those that it has. What it returns is for the mirror to check.
func ReadBlobs(ctx context.Context, conn *pgx.Conn, sums []string) (map[string][]byte, error) {
	rows, err := conn.Query(ctx, "SELECT sha256, body FROM fleet.agent_blobs_v1($1)", sums)
	if err != nil {
		return nil, fmt.Errorf("reading rules: %w", err)
	}
	blobs := make(map[string][]byte, len(sums))
	var sum string
	var body []byte
	_, err = pgx.ForEachRow(rows, []any{&sum, &body}, func() error {
		blobs[sum] = append([]byte{}, body...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading rules: %w", err)
	}
	return blobs, nil
}
