package main

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// logLevels are the values of --log-level.
var logLevels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// newLogger makes a logger whose level may change.
func newLogger(out io.Writer, level slog.Leveler, format string, colour bool) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(&textHandler{out: out, mu: new(sync.Mutex), level: level, colour: colour})
}

// textHandler writes log lines for people. They begin like the lines of
// detections, since both often end up on one terminal: time, then level in the
// column of the severity. Nothing in a value can end the line or move the cursor.
type textHandler struct {
	out    io.Writer
	mu     *sync.Mutex // guards out
	level  slog.Leveler
	colour bool

	component string
	group     string // prefix of names, with a final dot
	attrs     []slog.Attr
}

const (
	stampForm  = "2006-01-02 15:04:05.000"
	levelWidth = 8 // that of a severity in event's text
)

// SGR sequences of ECMA-48.
const (
	sgrReset  = "\x1b[0m"
	sgrDim    = "\x1b[2m"
	sgrRed    = "\x1b[31m"
	sgrYellow = "\x1b[33m"
)

func (h *textHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.attrs = append([]slog.Attr(nil), h.attrs...)
	for _, a := range attrs {
		if a.Key == "component" && h.group == "" {
			next.component = a.Value.String()
			continue
		}
		a.Key = h.group + a.Key
		next.attrs = append(next.attrs, a)
	}
	return &next
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	next := *h
	if name != "" {
		next.group += name + "."
	}
	return &next
}

func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := append([]slog.Attr(nil), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		a.Key = h.group + a.Key
		attrs = append(attrs, a)
		return true
	})
	var b strings.Builder
	h.styled(&b, sgrDim, r.Time.Format(stampForm))
	b.WriteByte(' ')
	style := ""
	switch {
	case r.Level >= slog.LevelError:
		style = sgrRed
	case r.Level >= slog.LevelWarn:
		style = sgrYellow
	}
	h.styled(&b, style, r.Level.String())
	b.WriteString(strings.Repeat(" ", max(1, levelWidth+1-len(r.Level.String()))))
	if h.component != "" {
		b.WriteString(printable(h.component, false) + ": ")
	}
	b.WriteString(printable(r.Message, false))
	for i, a := range attrs {
		b.WriteByte(' ')
		h.styled(&b, sgrDim, a.Key+"=")
		b.WriteString(printable(a.Value.Resolve().String(), i < len(attrs)-1))
	}
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.out, b.String())
	return err
}

func (h *textHandler) styled(b *strings.Builder, style, text string) {
	if h.colour && style != "" {
		text = style + text + sgrReset
	}
	b.WriteString(text)
}

// printable returns s, quoted if it has characters that can't be printed. Where
// more follows, it is also quoted if one could not see where it ends.
func printable(s string, more bool) string {
	quote := more && (s == "" || strings.ContainsAny(s, ` "=`))
	for _, r := range s {
		quote = quote || r == unicode.ReplacementChar || !unicode.IsPrint(r)
	}
	if quote {
		return strconv.Quote(s)
	}
	return s
}
