package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keepAlive is how often a stream without news says that it is still there.
const keepAlive = 15 * time.Second

// Limits of streams, in records.
const (
	streamLimit = 1024 // that may wait for one listener
	recentLimit = 256  // that are kept
)

// Severities are those of rules, from least to most.
var Severities = []string{"informational", "low", "medium", "high", "critical"}

// Encoder is a detection or a gap, or whatever else is written where they are.
type Encoder interface {
	AppendJSON(dst []byte) []byte
	AppendText(dst []byte, colour bool) []byte
}

// Record is something to stream, with what one can filter by.
type Record struct {
	Encoder
	RuleID   string // "" of what is of no rule, such as a gap
	Severity string
	Class    string
	Attack   []string // ids of tactics, techniques and sub-techniques
	Repeats  bool     // it says how many detections a limit held back, of whichever class
}

// streamRecords streams detections and gap records, as server-sent events. What the queries mean is
// in openapi.yaml. Records of no rule always come: that events were lost concerns everybody.
func (s *Server) streamRecords(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f, err := newFilter(q)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	text, colour := q.Get("form") == "text", q.Get("colour") == "true"
	stream(w, r, s.Records, func(rec Record) (string, []byte, bool) {
		if rec.RuleID == "" {
			return "gap", encode(rec, text, colour), true
		}
		if !f.wants(rec) {
			return "", nil, false
		}
		if rec.Repeats {
			return "repeats", encode(rec, text, colour), true
		}
		return "detection", encode(rec, text, colour), true
	})
}

func encode(rec Record, text, colour bool) []byte {
	if text {
		return rec.AppendText(nil, colour)
	}
	return rec.AppendJSON(nil)
}

// filter says which records somebody wants. Of each list that is not empty, one has to fit.
type filter struct {
	rules, classes, attack []string
	least                  int // severity; -1 for any, also none
}

func newFilter(q url.Values) (filter, error) {
	f := filter{rules: q["rule"], classes: q["class"], attack: q["attack"], least: -1}
	if name := q.Get("severity"); name != "" {
		if f.least = slices.Index(Severities, name); f.least < 0 {
			return f, fmt.Errorf("unknown severity %q: want %s", name, strings.Join(Severities, ", "))
		}
	}
	if form := q.Get("form"); form != "" && form != "json" && form != "text" {
		return f, fmt.Errorf("unknown form %q: want json or text", form)
	}
	return f, nil
}

func (f filter) wants(rec Record) bool {
	within := func(list []string, one string) bool { return len(list) == 0 || slices.Contains(list, one) }
	return within(f.rules, rec.RuleID) && (rec.Repeats || within(f.classes, rec.Class)) &&
		slices.Index(Severities, rec.Severity) >= f.least && f.tagged(rec.Attack)
}

// tagged reports whether one of the tags is asked for; a technique stands for its sub-techniques.
func (f filter) tagged(ids []string) bool {
	return len(f.attack) == 0 || slices.ContainsFunc(ids, func(id string) bool {
		return slices.ContainsFunc(f.attack, func(wanted string) bool {
			return strings.EqualFold(id, wanted) || strings.HasPrefix(id, strings.ToUpper(wanted)+".")
		})
	})
}

// streamChanges streams what becomes of changes of rules. The query topic, which may be there
// several times, names topics; one that ends in a dot, all that begin so.
func (s *Server) streamChanges(w http.ResponseWriter, r *http.Request) {
	topics := r.URL.Query()["topic"]
	stream(w, r, s.Changes, func(c Change) (string, []byte, bool) {
		wanted := len(topics) == 0 || slices.ContainsFunc(topics, func(t string) bool {
			return t == c.Topic || strings.HasSuffix(t, ".") && strings.HasPrefix(c.Topic, t)
		})
		data, err := json.Marshal(c)
		return c.Topic, data, wanted && err == nil
	})
}

// stream sends what a hub publishes, encoded, until somebody hangs up, or only what is there with the
// query follow=false. The query recent asks for some that were published before.
func stream[T any](w http.ResponseWriter, r *http.Request, hub *Hub[T], encode func(T) (name string, data []byte, wanted bool)) {
	recent, follow := 0, r.URL.Query().Get("follow") != "false"
	if given := r.URL.Query().Get("recent"); given != "" {
		var err error
		if recent, err = strconv.Atoi(given); err != nil || recent < 0 {
			refuse(w, http.StatusBadRequest, fmt.Errorf("recent is %q: want a whole number", given))
			return
		}
	}
	listening := hub.Listen(streamLimit, recent)
	defer listening.Close()
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	// The first line says that nothing is missed from now on.
	err := sendEvent(w, out, "", nil)
	for err == nil && (follow || listening.waits()) {
		ctx, cancel := context.WithTimeout(r.Context(), keepAlive)
		v, lost, next := listening.Next(ctx)
		cancel()
		switch {
		case errors.Is(next, context.DeadlineExceeded):
			err = sendEvent(w, out, "", nil)
			continue
		case next != nil:
			return
		}
		if name, data, wanted := encode(v); wanted {
			err = sendEvent(w, out, name, data)
		}
		if lost > 0 && err == nil {
			err = sendEvent(w, out, "lost", fmt.Appendf(nil, `{"lost":%d}`, lost))
		}
	}
}

// sendEvent sends a server-sent event; without a name, a comment.
func sendEvent(w http.ResponseWriter, out *http.ResponseController, name string, data []byte) error {
	var err error
	if name == "" {
		_, err = fmt.Fprint(w, ":\n\n")
	} else {
		_, err = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, data)
	}
	return errors.Join(err, out.Flush())
}
