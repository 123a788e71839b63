package db

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// explained adds what to do to errors of the server that don't say it.
func explained(err error) error {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.Code {
	case "3F000", "42883", "42P01", "42703": // no such schema, function, table, column
		return fmt.Errorf("%w (the schema of the database is older than this program, or it has none: bittern db migrate)", err)
	}
	return err
}
