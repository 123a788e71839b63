package event

import (
	"strconv"
	"time"
)

// Change says what became of a version of a rule, or of its state.
type Change struct {
	ID      string    // see NewID
	Time    time.Time // from when on it counts, or when it failed
	RuleID  string    // "" if that can't be told
	Version int       // that is live, or that would be; 0: none
	Hash    string    // content hash of that version, hexadecimal
	Result  string    // one word: "live", "deleted", "kept", "refused", "rejected", "set", "expired"
	Epoch   uint64    // from which on it counts; 0 if the kernel has no part in it
	Error   string    // why it failed; "" if it did not
	State   *State    // that was set; nil if it is about a version
	By      string    // who set the state
	Host    *Host     // nil if not known
}

// State is an operator's state of a rule.
type State struct {
	State         string // "enabled", "disabled", "clipped"
	ConfidenceMax *float64
	ExpiresAt     time.Time // zero: never
	Reason        string
	Scope         string // of a fleet's state: "host", "group", "fleet", the hosts that it was given to; "" if it is of this host
}

// AppendJSON appends the change as one line of JSON in nested ECS form, without the newline that ends the line.
func (c *Change) AppendJSON(dst []byte) []byte {
	w := writer{buf: append(dst, '{')}
	w.time("@timestamp", c.Time)
	ecsHeader(&w)
	w.object("event", "event.", func() {
		w.text("kind", "event")
		w.array("category", "configuration")
		w.array("type", c.kind())
		w.text("action", c.action())
		w.text("id", c.ID)
		w.text("outcome", c.outcome())
		w.text("module", "bittern")
		w.text("dataset", c.dataset())
	})
	w.object("rule", "rule.", func() {
		w.text("id", c.RuleID)
		if c.Version > 0 {
			w.id("version", uint64(c.Version))
		}
	})
	w.object("user", "user.", func() { w.text("name", c.By) })
	w.object("error", "error.", func() { w.text("message", c.Error) })
	appendHost(&w, c.Host)
	w.object("bittern", "bittern.", func() {
		w.text("result", c.Result)
		if c.Epoch != 0 {
			w.number("epoch", c.Epoch)
		}
		w.text("rule_hash", c.Hash)
		c.appendState(&w)
		w.texts("escaped", w.escaped)
	})
	return append(w.buf, '}')
}

// MarshalJSON returns what AppendJSON appends.
func (c *Change) MarshalJSON() ([]byte, error) { return c.AppendJSON(nil), nil }

func (c *Change) appendState(w *writer) {
	if c.State == nil {
		return
	}
	w.object("rule_state", "bittern.rule_state.", func() {
		w.text("state", c.State.State)
		if c.State.ConfidenceMax != nil {
			w.confidence("confidence_max", *c.State.ConfidenceMax)
		}
		w.time("expires_at", c.State.ExpiresAt)
		w.text("reason", c.State.Reason)
		w.text("scope", c.State.Scope)
	})
}

func (c *Change) action() string {
	if c.State != nil {
		return "rule_state_" + c.Result
	}
	return "rule_" + c.Result
}

func (c *Change) dataset() string {
	if c.State != nil {
		return "bittern.rule_state"
	}
	return "bittern.rule"
}

func (c *Change) kind() string {
	if c.Result == "deleted" {
		return "deletion"
	}
	return "change"
}

func (c *Change) outcome() string {
	if c.Error != "" {
		return "failure"
	}
	return "success"
}

// AppendText appends the change as one line of text, without the newline that ends the line; see Detection.AppendText.
func (c *Change) AppendText(dst []byte, colour bool) []byte {
	l := line{buf: dst, colour: colour}
	l.stamp(c.Time)
	label, style := "RULE", cyan
	if c.State != nil {
		label = "STATE"
	}
	if c.Error != "" {
		style = red
	}
	l.column(style, label, severityWidth)
	name := string(appendTail(nil, c.RuleID))
	if c.Version > 0 {
		name += " v" + strconv.Itoa(c.Version)
	}
	l.column(bold, name, ruleWidth)
	l.add("", []byte(c.Result))
	if c.State != nil {
		l.word("state", c.State.State)
		if c.State.ConfidenceMax != nil {
			l.word("confidence_max", strconv.FormatFloat(*c.State.ConfidenceMax, 'f', -1, 64))
		}
		if !c.State.ExpiresAt.IsZero() {
			l.word("expires", c.State.ExpiresAt.UTC().Format(time.RFC3339))
		}
		l.known("by", c.By)
		l.known("scope", c.State.Scope)
		l.known("reason", c.State.Reason)
	}
	if c.Epoch != 0 {
		l.word("epoch", strconv.FormatUint(c.Epoch, 10))
	}
	l.known("error", c.Error)
	return l.buf
}
