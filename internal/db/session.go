package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"bittern/internal/rules/mirror"
)

// Session is one conversation of an agent with the fleet's store. Each of its calls ends within a bound. One goroutine may use it.
type Session struct {
	conn   *pgx.Conn
	within time.Duration
}

// OpenSession connects as the host's role, with its certificate read anew.
func OpenSession(ctx context.Context, dsn string, within time.Duration) (*Session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, errSlow)
	defer cancel()
	conn, err := Connect(ctx, dsn)
	if err != nil {
		return nil, slow(ctx, err)
	}
	return &Session{conn, within}, nil
}

// Close ends it. It waits for the server for a second at most; one that is gone need not be told.
func (s *Session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx)
}

// Closed reports whether nothing more can be said.
func (s *Session) Closed() bool { return s.conn.IsClosed() }

// Inventory is what a host says of itself. It changes rarely.
type Inventory struct {
	Hostname     string            `json:"hostname"`
	Kernel       string            `json:"kernel"` // release
	Arch         string            `json:"arch"`
	Distro       string            `json:"distro"`
	AgentVersion string            `json:"agent_version"`
	Hooks        map[string]string `json:"hooks"` // by event class; "" where there is none
	MachineID    string            `json:"machine_id"`
	BootID       string            `json:"boot_id"`
	Instance     string            `json:"instance"` // a UUID that each process has of its own, so that clones are told apart
}

// Pace is how often the server wants to hear of a host.
type Pace struct {
	Sync, Heartbeat time.Duration
	DrainRows       int // old records, each second
}

// Welcome is the answer to a hello.
type Welcome struct {
	Host        string // its UUID
	ServerTime  time.Time
	Schema      int
	Pace        Pace
	Publication string // that the host is to run; "" for none
	Clone       bool   // other machines say that they are this host
}

// RefusedError says that the server wants nothing of this host.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the database refuses this host: it is %s (see bittern db enroll)", e.Reason)
}

const helloCall = `SELECT host_uuid::text, server_time, schema_version, sync_ms, heartbeat_s, drain_rows_s, publication, clone, refused
FROM fleet.agent_hello_v1($1)`

// Hello says who the host is. It comes first.
func (s *Session) Hello(ctx context.Context, i Inventory) (w Welcome, err error) {
	var host, publication, refused *string
	var at *time.Time
	var schema, sync, heartbeat, drain *int
	var clone *bool
	err = s.call(ctx, "greeting the database", helloCall, []any{i}, &host, &at, &schema, &sync, &heartbeat, &drain, &publication, &clone, &refused)
	if err == nil && refused != nil {
		err = &RefusedError{*refused}
	}
	if err != nil {
		return w, err
	}
	return Welcome{
		Host: of(host), ServerTime: of(at), Schema: of(schema), Pace: paceOf(of(sync), of(heartbeat), of(drain)),
		Publication: of(publication), Clone: of(clone),
	}, nil
}

// of is the zero value for null.
func of[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func paceOf(syncMS, heartbeatS, drain int) Pace {
	return Pace{time.Duration(syncMS) * time.Millisecond, time.Duration(heartbeatS) * time.Second, drain}
}

// Heartbeat is how a host is.
type Heartbeat struct {
	BootID        string     `json:"boot_id"`
	MachineID     string     `json:"machine_id"`
	Instance      string     `json:"instance"`
	AppliedGen    int64      `json:"applied_gen"` // up to which states count
	Ruleset       string     `json:"ruleset"`     // that runs, see Report
	Publication   string     `json:"publication"` // that was taken in last; "" if rules come from elsewhere
	Problem       string     `json:"problem"`     // the newest one that concerns all rules; "" for none
	OutboxRecords uint64     `json:"outbox_records"`
	OutboxBytes   int64      `json:"outbox_bytes"`
	OldestUnsent  *time.Time `json:"oldest_unsent"`
	LostTotal     uint64     `json:"lost_total"`
	CPU           float64    `json:"cpu"` // share of one core
	RSS           int64      `json:"rss"` // bytes
	Time          time.Time  `json:"time"`
}

// Known is what a host knows already: the states up to a generation of a timeline. The zero value is nothing.
type Known struct {
	Generation int64
	Timeline   string
}

// News is what has changed since.
type News struct {
	Known       // from now on
	ServerTime  time.Time
	Pace        Pace
	Clone       *bool // nil unless a heartbeat was sent
	Changed     bool  // what follows says something
	Resync      bool  // what States does not name has no state any more
	Publication string
	States      []RemoteState
}

// RemoteState is what operators have decided of a rule.
type RemoteState struct {
	RuleID  string `json:"rule_id"`
	Deleted bool   `json:"deleted"` // nothing any more
	Decision
	Next []Decision `json:"next"` // those that count when the ones before have ended
}

// Decision is one of them.
type Decision struct {
	State         string    `json:"state"` // enabled, disabled or clipped
	ConfidenceMax *float64  `json:"confidence_max"`
	ExpiresIn     *float64  `json:"expires_in"` // s; null for never
	Reason        string    `json:"reason"`
	SetBy         string    `json:"set_by"`
	SetAt         time.Time `json:"set_at"`
	Scope         string    `json:"scope"` // fleet, group or host
}

const syncCall = `SELECT generation, timeline::text, server_time, sync_ms, heartbeat_s, drain_rows_s, resync, clone, publication, states
FROM fleet.agent_sync_v1($1, $2, $3)`

// Sync asks what is new. With a heartbeat it says how the host is.
func (s *Session) Sync(ctx context.Context, known Known, h *Heartbeat) (n News, err error) {
	var generation, timeline, heartbeat any
	if known != (Known{}) {
		generation, timeline = known.Generation, known.Timeline
	}
	if h != nil {
		heartbeat = h
	}
	var publication *string
	var sync, beat, drain int
	var states []byte
	err = s.call(ctx, "asking the database for states", syncCall, []any{generation, timeline, heartbeat},
		&n.Generation, &n.Timeline, &n.ServerTime, &sync, &beat, &drain, &n.Resync, &n.Clone, &publication, &states)
	if err != nil {
		return n, err
	}
	n.Pace, n.Publication, n.Changed = paceOf(sync, beat, drain), of(publication), states != nil
	if n.Changed {
		if err := json.Unmarshal(states, &n.States); err != nil {
			return n, fmt.Errorf("reading the states that the database gives: %w", err)
		}
	}
	return n, nil
}

// Report is which rules a host runs.
type Report struct {
	Ruleset    string            // the name of the set: see RulesetOf
	Rules      map[string]string // content hashes by rule
	Exceptions []Exception       // what differs, by rule
}

// Exception is a rule that does not simply run in the version of the set.
type Exception struct {
	RuleID      string    `json:"rule_id"`
	ContentHash string    `json:"content_hash"` // of the version that runs; "" for none
	Status      string    `json:"status"`
	Error       string    `json:"error"`
	Kernel      string    `json:"kernel"`
	Since       time.Time `json:"since"`
}

const reportCall = "SELECT known FROM fleet.agent_report_v1($1, $2, $3)"

// Report says which rules run. A set is sent whole only if the server does not know it.
func (s *Session) Report(ctx context.Context, r Report) error {
	exceptions := r.Exceptions
	if exceptions == nil {
		exceptions = []Exception{}
	}
	var known bool
	err := s.call(ctx, "telling the database which rules run", reportCall, []any{r.Ruleset, nil, exceptions}, &known)
	if err != nil || known {
		return err
	}
	return s.call(ctx, "telling the database which rules run", reportCall, []any{r.Ruleset, r.Rules, exceptions}, &known)
}

// call makes a call that returns one row.
func (s *Session) call(ctx context.Context, what, sql string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.within, errSlow)
	defer cancel()
	err := s.conn.QueryRow(ctx, sql, args...).Scan(into...)
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, explained(slow(ctx, err)))
}

// slow is an error, or that there was no answer in time if that is why.
func slow(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errSlow) {
		return cause
	}
	return err
}

// errSlow is what a call ends with that takes too long.
var errSlow = errors.New("no answer in time")

// Publication returns the rules that the host is to run; nil if they are those that it knows, or if there are none.
func (s *Session) Publication(ctx context.Context, known string) (*mirror.Publication, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.within, errSlow)
	defer cancel()
	p, err := ReadPublication(ctx, s.conn, known)
	return p, slow(ctx, err)
}

// Blobs returns parts of a publication by their SHA-256, see ReadBlobs.
func (s *Session) Blobs(ctx context.Context, sums []string) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.within, errSlow)
	defer cancel()
	blobs, err := ReadBlobs(ctx, s.conn, sums)
	return blobs, slow(ctx, err)
}
