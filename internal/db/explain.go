package db

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrOlder is that the database lacks a function which agents call.
var ErrOlder = errors.New("the database's schema is older than this agent; an operator has to run bittern db migrate")

// explained says of errors of calls what they mean, where the server does not.
func explained(err error) error {
	var answer *pgconn.PgError
	if errors.As(err, &answer) && (answer.Code == "42883" || answer.Code == "3F000" || answer.Code == "42703") { // no such function, schema, column of its result
		return fmt.Errorf("%w: %w", ErrOlder, err)
	}
	return err
}
