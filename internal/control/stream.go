package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// keepAlive is how often a stream without news says that it is still there.
const keepAlive = 15 * time.Second

// severities from least to most.
var severities = []string{"informational", "low", "medium", "high", "critical"}

// streamRecords streams detections and gap records from now on, as server-sent events. The query
// rule, which may be there several times, names rules; severity is the least. Gap records always come.
func (s *Server) streamRecords(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	least := 0
	if name := q.Get("severity"); name != "" {
		if least = slices.Index(severities, name); least < 0 {
			refuse(w, http.StatusBadRequest, fmt.Errorf("unknown severity %q: want %s", name, strings.Join(severities, ", ")))
			return
		}
	}
	wanted := func(rec Record) bool {
		if rec.RuleID == "" {
			return true
		}
		return slices.Index(severities, rec.Severity) >= least && (len(q["rule"]) == 0 || slices.Contains(q["rule"], rec.RuleID))
	}
	stream(w, r, &s.Records, func(rec Record) (string, []byte, bool) {
		name := "detection"
		if rec.RuleID == "" {
			name = "gap"
		}
		return name, rec.JSON, wanted(rec)
	})
}

// streamChanges streams what becomes of changes of rules. The query topic, which may be there
// several times, names topics; one that ends in a dot, all that begin so.
func (s *Server) streamChanges(w http.ResponseWriter, r *http.Request) {
	topics := r.URL.Query()["topic"]
	stream(w, r, &s.Changes, func(c Change) (string, []byte, bool) {
		wanted := len(topics) == 0 || slices.ContainsFunc(topics, func(t string) bool {
			return t == c.Topic || strings.HasSuffix(t, ".") && strings.HasPrefix(c.Topic, t)
		})
		data, err := json.Marshal(c)
		return c.Topic, data, wanted && err == nil
	})
}

// stream sends what a hub publishes, encoded, until somebody hangs up.
func stream[T any](w http.ResponseWriter, r *http.Request, hub *Hub[T], encode func(T) (name string, data []byte, wanted bool)) {
	listening := hub.Listen(streamLimit)
	defer listening.Close()
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	// The first line says that nothing is missed from now on.
	err := sendEvent(w, out, "", nil)
	for err == nil {
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
