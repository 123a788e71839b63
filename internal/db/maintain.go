package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const maintainLock = 0x62697474_65726e02

// ErrBusy is that somebody else maintains the database.
var ErrBusy = errors.New("the database is being maintained already")

// Maintained is what Maintain has done.
type Maintained struct {
	Made         []string `json:"made"`    // days that got a partition
	Dropped      []string `json:"dropped"` // days whose partition is gone
	Late         int64    `json:"late_removed"`
	DeadLetters  int64    `json:"dead_letters_removed"`
	Publications int64    `json:"publications_removed"`
	Blobs        int64    `json:"blobs_removed"` // pages and files of those
	Rulesets     int64    `json:"rulesets_removed"`
	Transactions int64    `json:"transactions_ended"` // of hosts, that were left open
}

// Maintain makes partitions ahead, removes what is older than it is to be kept, and ends transactions that hosts have left open. It
// is to be run each day, as fleet_maint or a superuser, by a connection of its own: not through PgBouncer. Run
// again after a failure it goes on where it was.
func Maintain(ctx context.Context, conn *pgx.Conn) (done Maintained, err error) {
	// What follows sets the session's role, and takes a lock of the session: behind a pooler other clients would get both.
	if err := direct(ctx, conn); err != nil {
		return done, fmt.Errorf("maintaining the database: %w", err)
	}
	var locked bool
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_try_advisory_lock($1)", int64(maintainLock)).Scan(&locked); err != nil {
		return done, fmt.Errorf("taking the lock of maintenance: %w", err)
	}
	if !locked {
		return done, fmt.Errorf("taking the lock of maintenance: %w", ErrBusy)
	}
	defer func() {
		_, unlock := conn.Exec(ctx, "RESET ROLE; RESET search_path; RESET lock_timeout; SELECT pg_catalog.pg_advisory_unlock("+fmt.Sprint(int64(maintainLock))+")")
		if unlock != nil {
			err = errors.Join(err, fmt.Errorf("giving back the lock of maintenance: %w", unlock))
		}
	}()
	if err := conn.QueryRow(ctx, mustRead("query/end_open.sql")).Scan(&done.Transactions); err != nil {
		return done, fmt.Errorf("ending what hosts have left open: %w", err)
	}
	if _, err := conn.Exec(ctx, "SET search_path = pg_catalog, pg_temp; SET lock_timeout = '"+lockWithin+"'; SET ROLE fleet_owner"); err != nil {
		return done, fmt.Errorf("becoming the schema's owner: %w", err)
	}
	if err := makeDays(ctx, conn, &done.Made); err != nil {
		return done, err
	}
	if err := dropDays(ctx, conn, &done.Dropped); err != nil {
		return done, err
	}
	err = age(ctx, conn, []step{{"late detections", "late", &done.Late}, {"dead letters", "dead_letters", &done.DeadLetters}})
	if err == nil {
		err = agePublications(ctx, conn, &done)
	}
	return done, err
}

// step is something old that goes.
type step struct {
	what, file string
	removed    *int64 // nil if nobody wants to know
}

func age(ctx context.Context, q querier, steps []step) error {
	for _, s := range steps {
		tag, err := q.Exec(ctx, mustRead("query/age_"+s.file+".sql"))
		if err != nil {
			return fmt.Errorf("removing old %s: %w", s.what, err)
		}
		if s.removed != nil {
			*s.removed = tag.RowsAffected()
		}
	}
	return nil
}

// agePublications removes old publications. A publisher was told which blobs the server has, so that none may go before it is done.
func agePublications(ctx context.Context, conn *pgx.Conn, done *Maintained) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "LOCK TABLE fleet.publications IN SHARE ROW EXCLUSIVE MODE"); err != nil {
			return fmt.Errorf("keeping publishers out: %w", err)
		}
		return age(ctx, tx, []step{
			{"publications", "publications", &done.Publications}, {"pages", "pages", nil}, {"blobs", "blobs", &done.Blobs},
			{"rulesets that nobody runs", "rulesets", &done.Rulesets},
		})
	})
}

// makeDays makes the partitions of yesterday, for clocks that are behind, and of the days to come.
func makeDays(ctx context.Context, q querier, made *[]string) error {
	rows, err := q.Query(ctx, mustRead("query/make_days.sql"))
	if err != nil {
		return fmt.Errorf("making partitions: %w", err)
	}
	days, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	if err != nil {
		return fmt.Errorf("making partitions: %w", err)
	}
	if made != nil {
		for _, d := range days {
			*made = append(*made, d.Format(time.DateOnly))
		}
	}
	return nil
}

// dropDays drops partitions that are older than they are to be kept. First their days are taken from the table that
// ingestion goes by; then each is detached without locking out anybody; then its table goes.
func dropDays(ctx context.Context, conn *pgx.Conn, dropped *[]string) error {
	if _, err := conn.Exec(ctx, mustRead("query/forget_days.sql")); err != nil {
		return fmt.Errorf("forgetting old days: %w", err)
	}
	rows, err := conn.Query(ctx, mustRead("query/old_partitions.sql"))
	if err != nil {
		return fmt.Errorf("looking for old partitions: %w", err)
	}
	type partition struct {
		Name                 string
		Attached, Unfinished bool
	}
	old, err := pgx.CollectRows(rows, pgx.RowToStructByPos[partition])
	if err != nil {
		return fmt.Errorf("looking for old partitions: %w", err)
	}
	for _, p := range old {
		name := pgx.Identifier{"fleet", p.Name}.Sanitize()
		how := ""
		switch {
		case p.Unfinished: // a maintenance that was killed
			how = " FINALIZE"
		case p.Attached:
			how = " CONCURRENTLY"
		}
		if p.Attached {
			if _, err := conn.Exec(ctx, "ALTER TABLE fleet.detections DETACH PARTITION "+name+how); err != nil {
				return fmt.Errorf("detaching partition %s: %w", p.Name, err)
			}
		}
		if _, err := conn.Exec(ctx, "DROP TABLE "+name); err != nil {
			return fmt.Errorf("dropping partition %s: %w", p.Name, err)
		}
		*dropped = append(*dropped, p.Name)
	}
	return nil
}
