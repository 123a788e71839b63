package event

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Gap says that records of events were lost: what happened between First and
// Last may not all have been judged, or its detections are not all there.
type Gap struct {
	ID          string   // see NewID
	Class       Class    // ClassUnknown if it concerns all
	CPUs        []uint32 // where records were lost; empty if not known
	Count       uint64   // records lost
	Reason      string   // one word, as who lost them names it
	Sink        string   // that lost them; "" if they were lost to all
	Rule        string   // id of the rule that they were of; "" if that is not known
	First, Last time.Time
	Host        *Host // nil if not known
}

// AppendJSON appends the gap as one line of JSON in nested ECS form, without the
// newline that ends the line.
func (g *Gap) AppendJSON(dst []byte) []byte {
	w := writer{buf: append(dst, '{')}
	w.time("@timestamp", g.Last)
	ecsHeader(&w)
	w.object("event", "event.", func() {
		w.text("kind", "pipeline_error")
		w.array("category", g.Class.Info().Category)
		w.text("action", "records_lost")
		w.text("id", g.ID)
		w.time("start", g.First)
		w.time("end", g.Last)
		w.text("reason", g.Reason)
		w.text("module", "bittern")
		w.text("dataset", "bittern.gap")
	})
	w.object("error", "error.", func() { w.text("message", g.message()) })
	appendHost(&w, g.Host)
	w.object("bittern", "bittern.", func() {
		w.object("lost", "bittern.lost.", func() {
			w.text("class", g.class())
			w.text("sink", g.Sink)
			w.text("rule", g.Rule)
			w.number("count", g.Count)
			g.appendCPUs(&w)
		})
		w.texts("escaped", w.escaped)
	})
	return append(w.buf, '}')
}

// MarshalJSON returns what AppendJSON appends.
func (g *Gap) MarshalJSON() ([]byte, error) { return g.AppendJSON(nil), nil }

// AppendText appends the gap as one line of text, without the newline that ends
// the line; see Detection.AppendText.
func (g *Gap) AppendText(dst []byte, colour bool) []byte {
	l := line{buf: dst, colour: colour}
	l.stamp(g.Last)
	l.column(red, "GAP", severityWidth)
	l.add("", appendTail(nil, g.message()))
	return l.buf
}

func (g *Gap) appendCPUs(w *writer) {
	if len(g.CPUs) == 0 {
		return
	}
	w.key("cpus")
	w.buf = append(w.buf, '[')
	for _, cpu := range g.CPUs {
		w.comma()
		w.buf = strconv.AppendUint(w.buf, uint64(cpu), 10)
	}
	w.buf = append(w.buf, ']')
}

func (g *Gap) class() string {
	if g.Class == ClassUnknown {
		return "any"
	}
	return g.Class.String()
}

func (g *Gap) message() string {
	var b strings.Builder
	records := "records"
	if g.Count == 1 {
		records = "record"
	}
	fmt.Fprintf(&b, "lost %d %s of class %s", g.Count, records, g.class())
	if g.Rule != "" {
		b.WriteString(" of rule " + g.Rule)
	}
	if g.Sink != "" {
		b.WriteString(" for sink " + g.Sink)
	}
	if len(g.CPUs) > 0 {
		b.WriteString(" on cpu ")
		for i, cpu := range slices.Sorted(slices.Values(g.CPUs)) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strconv.FormatUint(uint64(cpu), 10))
		}
	}
	if span := g.Last.Sub(g.First); !g.First.IsZero() && span > 0 {
		fmt.Fprintf(&b, " within %s", span.Round(time.Millisecond))
	}
	if g.Reason != "" {
		b.WriteString(": " + g.Reason)
	}
	return b.String()
}
