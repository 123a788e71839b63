package event

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Repeats says how many detections of one rule version and one source were counted and not
// written one by one, since the rule's limit was reached.
type Repeats struct {
	ID          string    // see NewID
	Count       uint64    // since the last such record of the window, if there was one
	Total       uint64    // since the window began
	First, Last time.Time // of those in Count
	Began       time.Time // the window: when its first detection was
	Over        bool      // the window has ended; if not, more may come

	Rule   Rule
	State  string // as in a Detection
	Tags   []Tag
	Limit  Limit
	Source Source
	Host   *Host // nil if not known
}

// Limit is the limit of a rule.
type Limit struct {
	Per    string // "process", "user" or "rule"
	Max    int    // detections written one by one within a window
	Window time.Duration
}

// Source is where the detections came from. Only what the limit counts apart is there.
type Source struct {
	Process Process // "process": PID, StartRel, EntityID and what it runs
	User    User    // "user": ID and Name
}

// AppendJSON appends the record as one line of JSON in nested ECS form, without the newline that ends
// the line.
func (r *Repeats) AppendJSON(dst []byte) []byte {
	w := writer{buf: append(dst, '{')}
	w.time("@timestamp", r.Last)
	ecsHeader(&w)
	w.object("event", "event.", func() {
		w.text("kind", "alert") // detections they are
		w.text("action", "detections_repeated")
		w.text("id", r.ID)
		w.time("start", r.First)
		w.time("end", r.Last)
		if score, ok := severityScore(r.Rule.Severity); ok {
			w.number("severity", score)
		}
		w.text("module", "bittern")
		w.text("dataset", "bittern.repeats")
	})
	w.text("message", r.message())
	appendRule(&w, &r.Rule)
	appendThreat(&w, r.Tags)
	r.appendSource(&w)
	appendHost(&w, r.Host)
	w.object("bittern", "bittern.", func() {
		if confidence, ok := confidenceOf(r.Tags); ok {
			w.confidence("confidence", confidence)
		}
		w.text("state", r.State)
		w.text("severity", r.Rule.Severity)
		w.text("rule_hash", r.Rule.Hash)
		w.object("repeats", "bittern.repeats.", func() {
			w.number("count", r.Count)
			w.number("total", r.Total)
			w.boolean("over", r.Over)
			w.text("per", r.Limit.Per)
			w.number("max", uint64(max(r.Limit.Max, 0)))
			w.number("window", uint64(max(r.Limit.Window, 0)/time.Second))
			w.time("window_start", r.Began)
		})
		appendTags(&w, r.Tags)
		w.texts("escaped", w.escaped)
	})
	return append(w.buf, '}')
}

// MarshalJSON returns what AppendJSON appends.
func (r *Repeats) MarshalJSON() ([]byte, error) { return r.AppendJSON(nil), nil }

func (r *Repeats) appendSource(w *writer) {
	switch r.Limit.Per {
	case "process":
		w.object("process", "process.", func() { appendImage(w, &r.Source.Process) })
	case "user":
		w.object("user", "user.", func() {
			w.id("id", uint64(r.Source.User.ID))
			w.text("name", r.Source.User.Name)
		})
	}
}

// AppendText appends the record as one line of text, without the newline that ends the line; see
// Detection.AppendText.
func (r *Repeats) AppendText(dst []byte, colour bool) []byte {
	l := line{buf: dst, colour: colour}
	l.stamp(r.Last)
	l.rule(&r.Rule, r.Tags)
	l.known("state", r.State)
	l.add(yellow, []byte("REPEATED:"))
	l.add("", []byte(r.message()))
	switch r.Limit.Per {
	case "process":
		l.word("pid", strconv.FormatUint(uint64(r.Source.Process.PID), 10))
		l.known("exe", r.Source.Process.Executable)
	case "user":
		l.word("user", r.Source.User.label())
	}
	return l.buf
}

// message says it in words that hold nothing of an event.
func (r *Repeats) message() string {
	detections := "more detections were"
	if r.Count == 1 {
		detections = "more detection was"
	}
	from := "this rule"
	if r.Limit.Per != "rule" {
		from = "this " + r.Limit.Per
	}
	text := fmt.Sprintf("%d %s counted, not written", r.Count, detections)
	if span := r.Last.Sub(r.First); span > 0 {
		text += fmt.Sprintf(", within %s", span.Round(time.Millisecond))
	}
	if r.Total != r.Count {
		text += fmt.Sprintf(", %d in all", r.Total)
	}
	if !r.Over {
		text += " so far"
	}
	return text + fmt.Sprintf("; %s is over its limit of %d in %s", from, r.Limit.Max, shortly(r.Limit.Window))
}

// shortly leaves out what is zero at the end: 5m for 5m0s.
func shortly(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
