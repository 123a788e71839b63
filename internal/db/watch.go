package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Delays between attempts to publish while the database is away.
const (
	retryFirst = time.Second
	retryMost  = time.Minute
)

// Watcher publishes each edit of a directory as it happens.
type Watcher struct {
	Publisher *Publisher
	Connect   func(ctx context.Context) (*pgx.Conn, error)
	// Done is told of each publication, and of what keeps one from being made: a *BadRulesError, or that the database is away.
	Done func(Published, error)

	Retry time.Duration // the first delay after an error; 0 means a second

	conn *pgx.Conn
	told string // what was said last to be wrong
}

// Run publishes until the context is done, whose error it returns, or until the server refuses what it would refuse the next time too.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.disconnect()
	first := w.Retry
	if first == 0 {
		first = retryFirst
	}
	for delay := first; ; {
		err := w.once(ctx)
		var bad *BadRulesError
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("watching %s: %w", w.Publisher.cfg.Dir, ctx.Err())
		case err == nil:
			delay, w.told = first, ""
		case errors.As(err, &bad), errors.Is(err, ErrNoRules):
			if w.told != err.Error() { // not all that happens in the directory is an edit
				w.Done(Published{}, err)
			}
			w.told = err.Error()
		case refusal(err):
			return err
		default:
			w.Done(Published{}, err)
			if err := pause(ctx, delay); err != nil {
				return fmt.Errorf("watching %s: %w", w.Publisher.cfg.Dir, err)
			}
			delay = min(2*delay, retryMost)
			continue
		}
		select {
		case <-w.Publisher.store.Revised():
		case <-ctx.Done():
		}
	}
}

// once publishes what there is, if that is news.
func (w *Watcher) once(ctx context.Context) error {
	now, err := w.Publisher.contents(ctx)
	if err != nil {
		return err
	}
	if last := w.Publisher.last; last != nil && maps.Equal(now.sums, last.sums) {
		return nil
	}
	if err := w.Publisher.check(now); err != nil {
		return err
	}
	if w.conn == nil || w.conn.IsClosed() {
		if w.conn, err = w.Connect(ctx); err != nil {
			w.conn = nil
			return err
		}
	}
	calling, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	done, err := w.Publisher.publish(calling, w.conn, now)
	if err != nil {
		w.disconnect()
		return err
	}
	w.Done(done, nil)
	return nil
}

// publishWithin is how long it may take to publish, so that a server that hangs is noticed. The first time is all of the files.
const publishWithin = 5 * time.Minute

func (w *Watcher) disconnect() {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = w.conn.Close(ctx) // nothing is known of one that has failed
	w.conn = nil
}

// refusal reports whether a server has refused something for good: it is not away, nor busy, nor ending.
func refusal(err error) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return errors.Is(err, ErrUnverified)
	}
	for _, class := range []string{"08", "40", "53", "55", "57", "58", "XX"} {
		if strings.HasPrefix(answer.Code, class) {
			return false
		}
	}
	return answer.Code != "25P03" // it was idle in a transaction for too long
}

// pause waits for about as long.
func pause(ctx context.Context, about time.Duration) error {
	select {
	case <-time.After(about/2 + rand.N(about)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
