package db

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"bittern/internal/rules"
	"bittern/internal/rules/fsstore"
	"bittern/internal/rules/mirror"
)

// PublishConfig says what is to be published, and for whom.
type PublishConfig struct {
	Dir string // of rule files
	// Parse is how agents read them, see fsstore.Config.
	Parse func(path string, data []byte, lists rules.Lists) *rules.File
	// Key signs; nil publishes without a signature, if Unsigned says so too.
	Key      ed25519.PrivateKey
	Unsigned bool
	Scope    string // fleet, group or host
	Target   string // name of the group or of the host; a host's uuid or role will do
	// AllowBad publishes files that have errors as well, and a directory without any. Agents keep the last good version of a rule.
	AllowBad bool
	// Waiting is told that somebody holds the directory, and who; may be nil.
	Waiting func(by string)
	Log     *slog.Logger
}

// Validate reports what is missing.
func (c PublishConfig) Validate() error {
	var errs []error
	if c.Dir == "" || c.Parse == nil || c.Log == nil {
		errs = append(errs, errors.New("a directory, a parse function and a logger are needed"))
	}
	if (c.Key == nil) != c.Unsigned {
		errs = append(errs, errors.New("either a key is needed, or to say that there is to be no signature"))
	}
	if c.Scope != "fleet" && c.Scope != "group" && c.Scope != "host" || (c.Scope == "fleet") != (c.Target == "") {
		errs = append(errs, fmt.Errorf("rules can't be for %q %q: they are for the fleet, a group or a host", c.Scope, c.Target))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("publishing rules: %w", err)
	}
	return nil
}

// Published is what Publish has done.
type Published struct {
	Publication string         `json:"publication"`
	Ruleset     string         `json:"ruleset"`
	KeyID       string         `json:"key_id"` // "" if it is not signed
	Files       int            `json:"files"`
	Rules       int            `json:"rules"`
	New         bool           `json:"new"`        // the database did not have it
	Generation  int64          `json:"generation"` // in which agents learn of it; 0 if it was to be run already
	Problems    rules.Problems `json:"-"`          // of the files: warnings, and with AllowBad errors
}

// BadRulesError is that files have errors, so that they are not published.
type BadRulesError struct {
	Dir      string
	Problems rules.Problems
}

func (e *BadRulesError) Error() string {
	return fmt.Sprintf("publishing %s: its files have errors:\n%s", e.Dir, e.Problems.Error())
}

// ErrNoRules is that a directory has no rule files.
var ErrNoRules = errors.New("there are no rule files in it, and with it no rule would run any more")

// Publish publishes a directory of rule files as it is, and says that it is to be run.
func Publish(ctx context.Context, conn *pgx.Conn, cfg PublishConfig) (Published, error) {
	p, err := NewPublisher(ctx, cfg)
	if err != nil {
		return Published{}, err
	}
	defer p.Close()
	return p.Publish(ctx, conn)
}

// Publisher publishes a directory again and again. It is not for several goroutines.
type Publisher struct {
	cfg   PublishConfig
	store *fsstore.Store
	last  *contents       // that was published last; nil if none was
	known map[string]bool // versions of rules that the server has
}

// NewPublisher reads the directory, once nobody holds it.
func NewPublisher(ctx context.Context, cfg PublishConfig) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Publisher{cfg: cfg, known: map[string]bool{}}
	if err := p.unheld(ctx, nil); err != nil {
		return nil, err
	}
	store, err := fsstore.Open(fsstore.Config{Dir: cfg.Dir, Parse: cfg.Parse, Logger: cfg.Log, Rescan: rescan})
	if err != nil {
		return nil, err
	}
	p.store = store
	return p, nil
}

// rescan finds what makes no event, such as edits behind links that lead out of the directory.
const rescan = time.Minute

// Close ends the watching of the directory.
func (p *Publisher) Close() { p.store.Stop() }

// Publish publishes what the directory has now.
func (p *Publisher) Publish(ctx context.Context, conn *pgx.Conn) (Published, error) {
	now, err := p.contents(ctx)
	if err != nil {
		return Published{}, err
	}
	return p.publish(ctx, conn, now)
}

func (p *Publisher) publish(ctx context.Context, conn *pgx.Conn, now *contents) (Published, error) {
	if err := p.check(now); err != nil {
		return Published{}, err
	}
	manifest, pages := mirror.NewManifest(now.list, rulesetOf(now.rules), p.how(now), time.Now())
	if p.cfg.Key != nil {
		manifest.KeyID = mirror.KeyID(p.cfg.Key.Public().(ed25519.PublicKey))
	}
	if err := readable(manifest, pages); err != nil {
		return Published{}, fmt.Errorf("publishing %s: agents would refuse it: %w", p.cfg.Dir, err)
	}
	done := Published{Ruleset: manifest.Ruleset, KeyID: manifest.KeyID, Files: len(now.list), Rules: len(now.rules), Problems: now.problems}
	var sent []string
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var known *string
		if err := tx.QueryRow(ctx, "SELECT fleet.begin_publish_v1($1, $2)", manifest.Content(), done.KeyID).Scan(&known); err != nil {
			return err
		}
		if done.New = known == nil; done.New {
			var err error
			if sent, err = p.send(ctx, tx, now, manifest, pages); err != nil {
				return err
			}
			signed := mirror.Sign(manifest.Bytes(), p.cfg.Key)
			if err := p.manifest(ctx, tx, signed, manifest.Ruleset, now); err != nil {
				return err
			}
			known = &signed.ID
		}
		done.Publication = *known
		var gen *int64
		if err := tx.QueryRow(ctx, "SELECT fleet.assign_v1($1, $2, $3)", p.cfg.Scope, p.cfg.Target, done.Publication).Scan(&gen); err != nil {
			return err
		}
		if gen != nil {
			done.Generation = *gen
		}
		return nil
	})
	if err != nil {
		return Published{}, fmt.Errorf("publishing %s: %w", p.cfg.Dir, err)
	}
	for _, hash := range sent {
		p.known[hash] = true
	}
	p.last = now
	return done, nil
}

// readable reads a manifest as agents will.
func readable(manifest mirror.Manifest, pages [][]byte) error {
	parsed, err := mirror.ParseManifest(manifest.Bytes())
	if err != nil {
		return err
	}
	next := -1
	_, err = parsed.ReadPages(func(mirror.Blob) ([]byte, error) {
		next++
		return pages[next], nil
	})
	return err
}

// check says what keeps contents from being published.
func (p *Publisher) check(now *contents) error {
	switch {
	case len(now.list) > mirror.MaxFiles:
		return fmt.Errorf("publishing %s: it has %d files, the limit is %d", p.cfg.Dir, len(now.list), mirror.MaxFiles)
	case len(now.unreadable) > 0: // without them agents would delete rules
		return &BadRulesError{p.cfg.Dir, now.problems}
	case p.cfg.AllowBad:
		return nil
	case now.problems.Failed():
		return &BadRulesError{p.cfg.Dir, now.problems}
	case len(now.list) == 0:
		return fmt.Errorf("publishing %s: %w", p.cfg.Dir, ErrNoRules)
	}
	return nil
}

// how is how agents are to take contents in: like the edit that has made them, if they were watched.
func (p *Publisher) how(now *contents) mirror.How {
	switch {
	case p.last != nil && now.whole:
		return mirror.Together
	case p.last != nil && now.edits(p.last) == 1:
		return mirror.Single
	case now.problems.Failed():
		return mirror.Apart
	}
	return mirror.Together
}

// rulesetOf is the name of a set of rules, as fleet.ruleset_of has it.
func rulesetOf(all []*rules.Rule) string {
	lines := make([]string, len(all))
	for i, r := range all {
		lines[i] = r.ID + " " + r.Hash.String() + "\n"
	}
	slices.Sort(lines) // an id holds nothing that comes before a space
	return mirror.SumOf([]byte(strings.Join(lines, "")))
}

// manifest publishes a manifest whose pages and files were sent.
func (p *Publisher) manifest(ctx context.Context, tx pgx.Tx, signed mirror.Publication, ruleset string, now *contents) error {
	var known bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM fleet.rulesets r WHERE r.ruleset = $1)", ruleset).Scan(&known); err != nil {
		return err
	}
	var set map[string]string // as JSON null if the server has it
	if !known {
		set = make(map[string]string, len(now.rules))
		for _, r := range now.rules {
			set[r.ID] = r.Hash.String()
		}
	}
	var id string
	err := tx.QueryRow(ctx, "SELECT fleet.publish_v1($1, $2, $3, $4)", string(signed.Manifest), signed.Signature, signed.KeyID, nullable(set)).Scan(&id)
	if err == nil && id != signed.ID {
		err = fmt.Errorf("the server calls the publication %s, and not %s", id, signed.ID)
	}
	return err
}

func nullable(set map[string]string) any {
	if set == nil {
		return nil
	}
	return set
}

// How much is sent at once.
const (
	sumsAtOnce  = 5000
	blobsAtOnce = 500
	bytesAtOnce = 4 << 20
)

// send sends what the server lacks, and returns the versions of rules that it has then.
func (p *Publisher) send(ctx context.Context, tx pgx.Tx, now *contents, manifest mirror.Manifest, pages [][]byte) ([]string, error) {
	bodies := map[string][]byte{}
	for i, b := range manifest.Pages {
		bodies[b.Sum] = pages[i]
	}
	missing, err := ask(ctx, tx, "SELECT fleet.missing_blobs_v1($1)", slices.Sorted(maps.Keys(bodies)))
	if err != nil {
		return nil, err
	}
	blobs := map[string][]byte{}
	for _, sum := range missing {
		blobs[sum] = bodies[sum]
	}
	files := map[string][]byte{}
	now.onPages(manifest, pages, missing, files)
	missing, err = ask(ctx, tx, "SELECT fleet.missing_blobs_v1($1)", slices.Sorted(maps.Keys(files)))
	if err != nil {
		return nil, err
	}
	for _, sum := range missing {
		blobs[sum] = files[sum]
	}
	for part := range parts(slices.Sorted(maps.Keys(blobs)), func(sum string) int { return len(blobs[sum]) }) {
		var send [][]byte
		for _, sum := range part {
			send = append(send, append([]byte{}, blobs[sum]...)) // of nothing it is not NULL
		}
		if _, err := tx.Exec(ctx, "SELECT fleet.put_blobs_v1($1)", send); err != nil {
			return nil, err
		}
	}
	return p.sendVersions(ctx, tx, now.rules)
}

// version is a version of a rule as put_versions_v1 takes it.
type version struct {
	RuleID  string   `json:"rule_id"`
	Version int      `json:"rule_version"`
	Name    string   `json:"name"`
	Attack  []string `json:"attack"`
	Hash    string   `json:"content_hash"`
	Body    string   `json:"body"`
}

func (p *Publisher) sendVersions(ctx context.Context, tx pgx.Tx, all []*rules.Rule) ([]string, error) {
	byHash := map[string]*rules.Rule{}
	for _, r := range all {
		if hash := r.Hash.String(); !p.known[hash] {
			byHash[hash] = r
		}
	}
	hashes := slices.Sorted(maps.Keys(byHash))
	missing, err := ask(ctx, tx, "SELECT fleet.missing_versions_v1($1)", hashes)
	if err != nil {
		return nil, err
	}
	slices.Sort(missing)
	for part := range parts(missing, func(hash string) int { return len(byHash[hash].Document()) }) {
		var send []version
		for _, hash := range part {
			r := byHash[hash]
			send = append(send, version{r.ID, r.Version, r.Name, attackOf(r), hash, string(r.Document())})
		}
		if _, err := tx.Exec(ctx, "SELECT fleet.put_versions_v1($1)", send); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

// attackOf are the ids of all that a rule emits, each once.
func attackOf(r *rules.Rule) []string {
	ids := []string{}
	for _, e := range r.Emits {
		for _, id := range []string{e.Tactic, e.Technique, e.SubTechnique} {
			if id != "" && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// ask asks which of some sums the server lacks.
func ask(ctx context.Context, tx pgx.Tx, sql string, sums []string) (missing []string, err error) {
	for part := range chunks(len(sums), sumsAtOnce) {
		rows, err := tx.Query(ctx, sql, sums[part[0]:part[1]])
		if err != nil {
			return nil, err
		}
		some, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, err
		}
		missing = append(missing, some...)
	}
	return missing, nil
}

// parts are parts of all that are not too much for one call.
func parts(all []string, size func(string) int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for len(all) > 0 {
			n, bytes := 0, 0
			for n < len(all) && n < blobsAtOnce && (n == 0 || bytes+size(all[n]) <= bytesAtOnce) {
				bytes += size(all[n])
				n++
			}
			if !yield(all[:n]) {
				return
			}
			all = all[n:]
		}
	}
}
