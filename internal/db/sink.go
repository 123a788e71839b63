package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"bittern/internal/outbox"
	"bittern/internal/sink"
)

// callWithin bounds each call of the server, so that one that hangs is noticed.
const callWithin = 30 * time.Second

// SinkConfig says how records get into the fleet's store.
type SinkConfig struct {
	DSN    string               // of a host's role
	Outbox outbox.ID            // that the records come from
	Losses func() []outbox.Loss // its ledger, which is told as well; nil for none
	Log    *slog.Logger
	// CallWithin bounds each call of the server, with the connecting that it may take; 30 s if 0.
	CallWithin time.Duration
}

// Sink delivers records to the fleet's store: each exactly once, whenever the connection, the server or the agent dies, since the store
// knows a record by its id. A record that the server refuses is put among the dead letters, and holds back no other. It is a sink.Sink.
type Sink struct {
	cfg    SinkConfig
	conn   *pgx.Conn     // nil: not connected
	losses []outbox.Loss // that the server has
}

// NewSink returns a sink that is not connected yet.
func NewSink(cfg SinkConfig) (*Sink, error) {
	if cfg.Log == nil {
		return nil, errors.New("delivering to the database: no logger given")
	}
	if _, err := Parse(cfg.DSN); err != nil {
		return nil, err
	}
	if cfg.CallWithin == 0 {
		cfg.CallWithin = callWithin
	}
	return &Sink{cfg: cfg}, nil
}

// Deliver returns when the server has committed the batch.
func (s *Sink) Deliver(ctx context.Context, batch []outbox.Record) error {
	if err := s.deliver(ctx, batch); err != nil {
		return s.failed(err)
	}
	if err := s.tellLosses(ctx); err != nil {
		// The records are there. It is tried again with the next ones.
		s.cfg.Log.Warn("losses were not told to the database", "error", s.failed(err))
	}
	return nil
}

// Close ends the connection. It has no errors: what was delivered is committed, and a server that is gone need not be told.
func (s *Sink) Close() error {
	if s.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx)
	s.conn = nil
	return nil
}

// failed gives the connection up unless it is the records that the server does not like: nothing is known of one that was cut, and one that works may
// lead to a standby, or have settings of its role that are long taken back.
func (s *Sink) failed(err error) error {
	if s.conn != nil && (s.conn.IsClosed() || !ofClass(err, "22", "23", "40")) {
		_ = s.Close()
	}
	return err
}

// call makes one call of the server.
func (s *Sink) call(ctx context.Context, sql string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallWithin)
	defer cancel()
	if s.conn == nil {
		conn, err := Connect(ctx, s.cfg.DSN)
		if err != nil {
			return err
		}
		s.conn = conn
	}
	return explained(s.conn.QueryRow(ctx, sql, args...).Scan(into...))
}

// deliver sends records. Those that the server will never take are found by halving.
func (s *Sink) deliver(ctx context.Context, batch []outbox.Record) error {
	refused := s.ingest(ctx, batch)
	switch {
	case refused == nil:
		return nil
	case !forGood(refused):
		return refused
	case len(batch) > 1:
		half := len(batch) / 2
		if err := s.deliver(ctx, batch[:half]); err != nil {
			return err
		}
		return s.deliver(ctx, batch[half:])
	}
	r := &batch[0]
	s.cfg.Log.Error("the database refuses a record, it is among its dead letters", "id", r.ID.String(), "kind", r.Kind.String(), "rule_id", r.Rule, "error", refused)
	return s.bury(ctx, r, refused)
}

// forGood reports whether the server refuses something that it will refuse the next time as well.
func forGood(err error) bool { return ofClass(err, "22", "23") }

// ofClass reports whether the server has answered with an SQLSTATE of one of those classes.
func ofClass(err error, classes ...string) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && len(answer.Code) == 5 && slices.Contains(classes, answer.Code[:2])
}

const (
	ingestCall = "SELECT accepted, duplicates, late FROM fleet.ingest_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
	buryCall   = "SELECT accepted FROM fleet.ingest_raw_v1($1, $2, $3, $4, $5, $6, $7, $8)"
	lossesCall = "SELECT changed FROM fleet.ingest_losses_v1($1, $2, $3, $4, $5, $6, $7, $8)"
)

func (s *Sink) ingest(ctx context.Context, batch []outbox.Record) error {
	n := len(batch)
	ids, kinds, times, rules := make([][16]byte, n), make([]string, n), make([]time.Time, n), make([]string, n)
	hashes, severities, confidences, attacks := make([]string, n), make([]string, n), make([]*float32, n), make([]string, n)
	counts, bodies, seqs := make([]int64, n), make([]string, n), make([]int64, n)
	for i := range batch {
		r := &batch[i]
		body, err := sink.Document(*r)
		if err != nil { // the server says what is wrong with it
			body = r.JSON
		}
		about := aboutOf(body)
		ids[i], kinds[i], times[i], rules[i] = r.ID, r.Kind.String(), r.Time, r.Rule
		hashes[i], severities[i], confidences[i], attacks[i] = about.Bittern.RuleHash, about.Bittern.Severity, about.Bittern.Confidence, about.attack()
		counts[i], bodies[i], seqs[i] = int64(r.Count), string(body), int64(r.Seq)
	}
	var accepted, duplicates, late int
	err := s.call(ctx, ingestCall, []any{ids, kinds, times, rules, hashes, severities, confidences, attacks, counts, bodies, [16]byte(s.cfg.Outbox), seqs},
		&accepted, &duplicates, &late)
	if err != nil {
		return fmt.Errorf("delivering %d records to the database: %w", n, err)
	}
	s.cfg.Log.Debug("delivered to the database", "accepted", accepted, "duplicates", duplicates, "late", late)
	return nil
}

// bury sends a record as it is, with why it was refused.
func (s *Sink) bury(ctx context.Context, r *outbox.Record, why error) error {
	var answer *pgconn.PgError
	code := ""
	if errors.As(why, &answer) {
		code = answer.Code
	}
	var accepted int
	err := s.call(ctx, buryCall, []any{
		[][16]byte{r.ID}, []string{r.Kind.String()}, []string{r.Rule}, []string{code}, []string{why.Error()}, [][]byte{r.JSON},
		[16]byte(s.cfg.Outbox), []int64{int64(r.Seq)},
	}, &accepted)
	if err != nil {
		return fmt.Errorf("putting record %s among the dead letters: %w", r.ID, err)
	}
	return nil
}

// tellLosses sends the ledger, if it has news. Totals only grow, so that it can be sent again.
func (s *Sink) tellLosses(ctx context.Context) error {
	if s.cfg.Losses == nil {
		return nil
	}
	now := s.cfg.Losses()
	if slices.Equal(now, s.losses) {
		return nil
	}
	var sinks, rules, classes, causes []string
	var counts []int64
	var firsts, lasts []time.Time
	for _, l := range now {
		sinks, rules, classes, causes = append(sinks, l.Sink), append(rules, l.Rule), append(classes, l.Class), append(causes, string(l.Cause))
		last := l.Last
		if last.IsZero() {
			last = time.Now()
		}
		first := l.First
		if first.IsZero() {
			first = last
		}
		counts, firsts, lasts = append(counts, int64(l.Count)), append(firsts, first), append(lasts, last)
	}
	var changed int
	for part := range chunks(len(now), mostLosses) {
		a, b := part[0], part[1]
		err := s.call(ctx, lossesCall, []any{[16]byte(s.cfg.Outbox), sinks[a:b], rules[a:b], classes[a:b], causes[a:b], counts[a:b], firsts[a:b], lasts[a:b]}, &changed)
		if err != nil {
			return fmt.Errorf("telling the database what was lost: %w", err)
		}
	}
	s.losses = now
	return nil
}

// mostLosses is how many the server takes at once.
const mostLosses = 1000

// chunks are the bounds of parts of at most so many of n.
func chunks(n, most int) func(yield func([2]int) bool) {
	return func(yield func([2]int) bool) {
		for at := 0; at < n; at += most {
			if !yield([2]int{at, min(at+most, n)}) {
				return
			}
		}
	}
}

// about is what a document says of its rule.
type about struct {
	Bittern struct {
		RuleHash   string   `json:"rule_hash"`
		Severity   string   `json:"severity"`
		Confidence *float32 `json:"confidence"`
		Tags       []struct {
			Tactic       string `json:"tactic"`
			Technique    string `json:"technique"`
			SubTechnique string `json:"subtechnique"`
		} `json:"tags"`
	} `json:"bittern"`
}

// aboutOf reads a document; what it does not say is empty. That it is none the server says.
func aboutOf(document []byte) (a about) {
	_ = json.Unmarshal(document, &a)
	return a
}

// attack are the ids of all tags, each once, joined by commas.
func (a *about) attack() string {
	var ids []string
	for _, t := range a.Bittern.Tags {
		for _, id := range []string{t.Tactic, t.Technique, t.SubTechnique} {
			if id != "" && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return strings.Join(ids, ",")
}
