package fleetstate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"bittern/internal/rules"
)

// disk is the file of remote states. It is replaced as a whole: whoever reads it has the old one or the new
// one.
type disk struct {
	path string
	ops  ops

	mu   sync.Mutex // held from when it is found out what to write until that has taken effect
	last []byte     // what it has; nil if there is no file, or none that can be used
}

// ops are the steps that can fail; tests replace them.
type ops struct {
	create  func(path string) (*os.File, error)
	write   func(f *os.File, data []byte) error
	sync    func(f *os.File) error
	rename  func(from, to string) error
	syncDir func(path string) error
	remove  func(path string) error
}

func newDisk(path string, with *ops) *disk {
	if with == nil {
		with = &ops{
			create: func(path string) (*os.File, error) {
				return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			},
			write:   func(f *os.File, data []byte) error { _, err := f.Write(data); return err },
			sync:    (*os.File).Sync,
			rename:  os.Rename,
			syncDir: syncDir,
			remove:  os.Remove,
		}
	}
	return &disk{path: filepath.Clean(path), ops: *with}
}

func syncDir(path string) (err error) {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	return dir.Sync()
}

// put writes the file, and returns when that would survive a loss of power. After an error it has
// what it had, as far as that can be done.
func (d *disk) put(data []byte) error {
	tried, err := d.replace(data)
	if err == nil {
		d.last = data
		return nil
	}
	if tried {
		err = errors.Join(err, d.restore())
	}
	return fmt.Errorf("writing %s: %w", d.path, err)
}

// restore puts back what the file had.
func (d *disk) restore() error {
	if d.last == nil {
		err := d.ops.remove(d.path)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return errors.Join(err, d.ops.syncDir(filepath.Dir(d.path)))
	}
	_, err := d.replace(d.last)
	return err
}

// replace makes a file beside it, and then gives that its name. It reports whether it came to that:
// then nothing is sure after an error.
func (d *disk) replace(data []byte) (tried bool, err error) {
	dir, temporary := filepath.Dir(d.path), d.path+".new"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	f, err := d.ops.create(temporary)
	if err != nil {
		return false, err
	}
	err = d.ops.write(f, data)
	if err == nil {
		err = d.ops.sync(f)
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		return false, errors.Join(err, d.ops.remove(temporary))
	}
	if err := d.ops.rename(temporary, d.path); err != nil {
		return true, err // the next one writes over it
	}
	return true, d.ops.syncDir(dir)
}

// The first line of the file: the form, and a checksum of the rest.
const header = "bittern-fleet-states 1 %08x\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stored is the file, but for its first line.
type stored struct {
	Generation int64         `json:"generation"`
	Timeline   string        `json:"timeline"`
	BootID     string        `json:"boot_id"`
	Uptime     time.Duration `json:"uptime_ns"` // when it was written
	Time       time.Time     `json:"time"`      // at the same moment
	Rules      []storedRule  `json:"rules"`
}

type storedRule struct {
	RuleID    string           `json:"rule_id"`
	Decisions []storedDecision `json:"decisions"`
}

type storedDecision struct {
	State         string        `json:"state"`
	ConfidenceMax float64       `json:"confidence_max,omitempty"`
	Due           time.Duration `json:"due_ns,omitempty"` // of the uptime
	Shown         time.Duration `json:"shown_ns,omitempty"`
	ExpiresAt     time.Time     `json:"expires_at,omitzero"` // as it is shown: when the uptime was to be Shown
	Reason        string        `json:"reason,omitempty"`
	SetBy         string        `json:"set_by,omitempty"`
	SetAt         time.Time     `json:"set_at,omitzero"`
	Scope         string        `json:"scope"`
}

// encode makes a file of the content, as of now.
func (c content) encode(clock Clock) []byte {
	out := stored{
		Generation: c.base.generation, Timeline: c.base.timeline,
		BootID: clock.BootID(), Uptime: clock.Uptime(), Time: clock.Now().UTC(), Rules: []storedRule{},
	}
	for _, id := range slices.Sorted(maps.Keys(c.remote)) {
		r := storedRule{RuleID: id}
		for _, d := range c.remote[id] {
			r.Decisions = append(r.Decisions, storedDecision{
				State: d.state.State.String(), ConfidenceMax: d.state.ConfidenceMax, Due: d.due, Shown: d.shown, ExpiresAt: d.state.ExpiresAt,
				Reason: d.state.Reason, SetBy: d.state.SetBy, SetAt: d.state.SetAt, Scope: d.state.Scope,
			})
		}
		out.Rules = append(out.Rules, r)
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(fmt.Sprintf("states that are valid can't be written: %v", err)) // they have no NaN, and times of this era
	}
	text = append(text, '\n')
	return append(fmt.Appendf(nil, header, crc32.Checksum(text, castagnoli)), text...)
}

// load reads the file; nil without an error if there is none.
func (d *disk) load() (*stored, error) {
	data, err := os.ReadFile(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.path, err)
	}
	d.last = data
	return out, nil
}

func decode(data []byte) (*stored, error) {
	first, text, _ := bytes.Cut(data, []byte("\n"))
	if want := fmt.Appendf(nil, header, crc32.Checksum(text, castagnoli)); !bytes.Equal(append(first, '\n'), want) {
		return nil, errors.New("it is damaged, or of another version")
	}
	var out stored
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// since returns what is left of the file's content now. Its deadlines are of another start of the
// machine, maybe: then what was left when it was written counts, less the time of day that has passed
// since. A clock that was set back takes nothing off, so it can't prolong a state beyond that.
func (f *stored) since(clock Clock, now instant) (content, error) {
	out := content{base: base{generation: f.Generation, timeline: f.Timeline, ok: true}, remote: map[string][]decision{}}
	shift := time.Duration(0) // from the file's uptime to that of now
	if boot := clock.BootID(); boot == "" || boot != f.BootID || now.up < f.Uptime {
		passed := min(max(now.wall.Sub(f.Time), 0), 2*most) // no decision has more left
		shift = now.up - f.Uptime - passed
	}
	for _, r := range f.Rules {
		for _, kept := range r.Decisions {
			state, ok := states[kept.State]
			d := decision{due: kept.Due, state: rules.RuleState{
				State: state, ConfidenceMax: kept.ConfidenceMax, ExpiresAt: kept.ExpiresAt, Reason: kept.Reason,
				SetBy: kept.SetBy, SetAt: kept.SetAt, Scope: kept.Scope,
			}}
			if d.due != 0 {
				d.due, d.shown = max(d.due+shift, 1), kept.Shown+shift
				if now.at(d.shown).Sub(kept.ExpiresAt).Abs() > tolerance { // a clock was set
					d.shown, d.state.ExpiresAt = d.due, now.at(d.due)
				}
			}
			d.state = d.state.Normal()
			if err := errors.Join(rules.CheckID(r.RuleID), d.validate()); err != nil || !ok {
				return content{}, errors.Join(err, fmt.Errorf("the state of rule %q is wrong", r.RuleID))
			}
			out.remote[r.RuleID] = append(out.remote[r.RuleID], d)
		}
	}
	return out, nil
}

var states = map[string]rules.State{
	rules.Enabled.String(): rules.Enabled, rules.Disabled.String(): rules.Disabled, rules.Clipped.String(): rules.Clipped,
}
